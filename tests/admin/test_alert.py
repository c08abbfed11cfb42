"""minimta alert: what was told, and a test."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.admin import verbs
from minimta.runner import alert_state
from minimta.runner.alert_state import AlertRecord, Trouble
from minimta.system.users import Users


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="minimta-test-") as name:
        os.chmod(name, 0o755)
        (Path(name) / "out").mkdir()
        (Path(name) / "out").chmod(0o777)
        yield Path(name)


def configured(place: Path, *lines: str) -> str:
    path = place / "minimta.cf"
    user = Users("").by_uid(os.geteuid())
    if user is None:
        pytest.skip("whoever runs the tests has no name")
    whom = "daemon" if os.geteuid() == 0 else user.name
    path.write_text(
        "\n".join(
            ["HostName = vm1.example.org", "RunAsUser =", f"QueueDirectory = {place}/mqueue",
             f"DefaultUser = {whom}", *lines, ""]
        )
    )  # fmt: skip
    path.chmod(0o644)
    return str(path)


def test_a_test_calls_the_program(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = place / "alert"
    program.write_text(f'#!/bin/sh\necho "$MINIMTA_EVENT $(cat)" > {place}/out/told\n')
    program.chmod(0o755)
    path = configured(place, f"AlertCommand = {program}")
    assert verbs.main(["alert", "--test", "-C", path]) == 0
    assert capfd.readouterr().out == "sent\n"
    assert (place / "out/told").read_text() == ("test vm1.example.org: a test of AlertCommand\n")


def test_what_fails_is_told_with_its_exit_code(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = place / "alert"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    path = configured(place, f"AlertCommand = {program}")
    assert verbs.main(["alert", "--test", "-C", path]) == os.EX_TEMPFAIL
    assert capfd.readouterr().err == f"minimta alert: not sent: {program} ended with exit code 9\n"


def test_without_the_option_it_says_what_to_do(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(["alert", "-C", configured(place)]) == os.EX_CONFIG
    assert (
        "nobody hears of outages: AlertCommand = /PROGRAM, or file:/PATH" in capfd.readouterr().err
    )


def test_a_secret_url_is_in_no_complaint(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hook = place / "alert-url"
    hook.write_text("https://hooks.example/a-secret\nno field\n")
    hook.chmod(0o600)
    path = configured(place, f"AlertCommand = file:{hook}")
    assert verbs.main(["alert", "--test", "-C", path]) == os.EX_CONFIG
    said = capfd.readouterr().err
    assert "entry 2 is no field" in said
    assert "hooks.example" not in said


def test_it_tells_what_was_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = configured(place, "AlertCommand = /bin/true")
    assert verbs.main(["alert", "-C", path]) == 0
    assert capfd.readouterr().out == "no outage was told of\n"
    with alert_state.locked(f"{place}/mqueue") as state:
        assert state is not None
        state.write(AlertRecord(Trouble.LOGIN, 1_900_000_000.0, 0, 0.0), 1_900_000_000.0)
    Path(alert_state.aside(f"{place}/mqueue")).unlink(missing_ok=True)
    assert verbs.main(["alert", "-C", path]) == 0
    assert capfd.readouterr().out.endswith(": a login is refused\n")


def test_it_tells_when_it_is_tried_again(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, now = configured(place, "AlertCommand = /bin/false"), time.time()
    for seconds in (3600, -3600):
        with alert_state.locked(f"{place}/mqueue") as state:
            assert state is not None
            state.write(AlertRecord(Trouble.NONE, 0.0, 2, now + seconds), now)
        assert verbs.main(["alert", "-C", path]) == 0
        told = "2 tries to tell were in vain; the next one is not before "
        assert (told in capfd.readouterr().out) is (seconds > 0)
