"""How an alert is told: by a program without rights, or by HTTPS; and that its URL stays secret."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.config import alerts
from minimta.config.options import Options, by_name
from minimta.runner import alert_send
from minimta.runner.alert_send import Alert, body_of, read_hook, send, why_not_told
from minimta.system.safefile import Untrusted
from minimta.system.tls import server_context
from tests.support.certificates import Authority
from tests.support.fakehook import HANG, SECRET_PATH, FakeHook

ALERT = Alert("trouble", "vm1.example.org", "vm1.example.org: mail does not go out: trouble")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    tmp_path.chmod(0o755 if os.geteuid() == 0 else 0o700)
    made = Options()
    made.run_as_user = ""
    made.alert_format = "text"
    return made


# --- the option -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("/usr/local/sbin/alert", "/usr/local/sbin/alert"),
        ("|/usr/local/sbin/alert 'two words'", "/usr/local/sbin/alert 'two words'"),
        ("file:/etc/mail/alert-url", "file:/etc/mail/alert-url"),
        ("FILE: /etc/mail/alert-url", "file:/etc/mail/alert-url"),
    ],
)
def test_what_the_option_takes(text: str, value: str) -> None:
    assert alerts.command(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://ntfy.sh/secret", "a URL is a secret, and everybody may read this file"),
        ("http://ntfy.sh/secret", "a URL is a secret"),
        ("file:relative", "none of /PROGRAM ARGUMENTS, file:/PATH"),
        ("mail root", "none of"),
        ("/bin/x 'open", "No closing quotation"),
    ],
)
def test_what_it_does_not_take(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        by_name("AlertCommand").value(text)


# --- a program ------------------------------------------------------------------------------------


def program(root: Path, *lines: str) -> str:
    path = root / "alert"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a user of the system can get, and put nothing."""
    with tempfile.TemporaryDirectory(prefix="minimta-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def by_program(options: Options, place: Path, *lines: str, arguments: str = "") -> None:
    options.default_user = "daemon" if os.geteuid() == 0 else _own_name()
    options.alert_command = f"{program(place, *lines)} {arguments}"
    send(options, ALERT)


def _own_name() -> str:
    from minimta.system.users import Users

    user = Users("").by_uid(os.geteuid())
    if user is None:
        pytest.skip("whoever runs the tests has no name")
    return user.name


def test_a_program_gets_the_sentence_and_nothing_of_our_environment(
    options: Options, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_RUNNER", "x")
    (place / "out").mkdir()
    (place / "out").chmod(0o777)
    told = place / "out" / "told"
    by_program(
        options, place, f'cat > {told}; env >> {told}; pwd >> {told}; echo "$@" >> {told}',
        arguments="'two words' three",
    )  # fmt: skip
    lines = told.read_text().splitlines()
    assert lines[0] == ALERT.text
    assert {
        "MINIMTA_EVENT=trouble",
        "MINIMTA_HOST=vm1.example.org",
        f"MINIMTA_TEXT={ALERT.text}",
    } <= set(lines)
    assert lines[-2:] == ["/", "two words three"]
    assert "SECRET_OF_THE_RUNNER" not in told.read_text()


@pytest.mark.root
def test_a_program_runs_as_defaultuser(options: Options, place: Path) -> None:
    (place / "out").mkdir()
    (place / "out").chmod(0o777)
    by_program(options, place, f"id -un > {place}/out/told; id -Gn >> {place}/out/told")
    assert (place / "out/told").read_text().split() == ["daemon", "daemon"]


def test_a_program_that_fails_has_not_told(options: Options, place: Path) -> None:
    with pytest.raises(OSError, match="ended with exit code 3"):
        by_program(options, place, "exit 3")


def test_a_program_that_does_not_end_is_ended_with_what_it_began(
    options: Options, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_send, "_TIME", 0.5)
    begun = time.monotonic()
    with pytest.raises(OSError, match=r"did not end in 0\.5 seconds"):
        by_program(options, place, "sleep 60 & sleep 60")
    assert time.monotonic() - begun < 30


def test_a_program_that_is_not_there_is_told(options: Options, place: Path) -> None:
    options.alert_command = f"{place}/none"
    with pytest.raises(ValueError, match="stat failed"):
        send(options, ALERT)


@pytest.mark.root
def test_a_program_that_others_could_change_is_not_run(options: Options, place: Path) -> None:
    path = program(place, "true")
    os.chmod(path, 0o777)
    options.alert_command = path
    with pytest.raises(Untrusted, match="writable"):
        send(options, ALERT)


@pytest.mark.root
def test_nothing_runs_as_root(options: Options, place: Path) -> None:
    options.alert_command = program(place, "true")
    options.default_user = "root"
    with pytest.raises(ValueError, match="DefaultUser root is nobody who may run it"):
        send(options, ALERT)


# --- a URL ----------------------------------------------------------------------------------------


def hook_file(root: Path, *lines: str) -> Path:
    path = root / "alert-url"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


class Campus:
    def __init__(self, root: Path) -> None:
        authority = Authority(root)
        self.certificate = authority.certificate
        self.good = server_context(authority.issue("127.0.0.1"))
        self.other = server_context(authority.issue("mx.other.campus"))


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


def post(options: Options, root: Path, campus: Campus, *lines: str) -> None:
    root.chmod(0o700)
    options.ca_cert_file = campus.certificate
    options.alert_command = f"file:{hook_file(root, *lines)}"
    send(options, ALERT)


@pytest.mark.debian("openssl")
def test_plain_text_for_ntfy_with_a_token(options: Options, tmp_path: Path, campus: Campus) -> None:
    with FakeHook(campus.good) as hook:
        post(options, tmp_path, campus, "# ntfy", hook.url, "Authorization: Bearer tk_1", "Tags: x")
        [taken] = hook.taken
    assert taken.path == SECRET_PATH
    assert taken.fields["Content-Type"] == "text/plain; charset=utf-8"
    assert taken.fields["Authorization"] == "Bearer tk_1"
    assert taken.fields["Tags"] == "x"
    assert taken.body.decode() == f"{ALERT.text}\n"


@pytest.mark.debian("openssl")
def test_json_for_slack_and_others(options: Options, tmp_path: Path, campus: Campus) -> None:
    options.alert_format = "json"
    with FakeHook(campus.good) as hook:
        post(options, tmp_path, campus, hook.url)
        [taken] = hook.taken
    assert taken.fields["Content-Type"] == "application/json"
    assert json.loads(taken.body) == {
        "text": ALERT.text,
        "content": ALERT.text,
        "message": ALERT.text,
        "title": "vm1.example.org: mail",
        "event": "trouble",
        "host": "vm1.example.org",
    }


@pytest.mark.debian("openssl")
@pytest.mark.parametrize(
    ("status", "why"),
    [(302, "redirect"), (404, "no such hook"), (500, "answers 500"), (HANG, "tim|takes too long")],
)
def test_what_was_not_taken_is_told_without_the_url(
    options: Options,
    tmp_path: Path,
    campus: Campus,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    why: str,
) -> None:
    monkeypatch.setattr(alert_send, "_TIME", 3.0)
    with FakeHook(campus.good, status) as hook:
        with pytest.raises(OSError, match=why) as caught:
            post(options, tmp_path, campus, hook.url)
        assert len(hook.taken) == 1  # no redirect is followed
    assert SECRET_PATH not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.debian("openssl")
def test_nothing_is_sent_to_who_is_not_the_named_host(
    options: Options, tmp_path: Path, campus: Campus
) -> None:
    with FakeHook(campus.other) as hook:
        with pytest.raises(OSError, match="certificate") as caught:
            post(options, tmp_path, campus, hook.url)
        assert not hook.taken
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    "lines",
    [
        ["http://h.example/x"],
        [""],
        ["https://u:p@h.example/x"],
        ["https://h.example/x", "no field"],
        ["https://h.example/x", "Host: elsewhere"],
        ["https://h.example/x", "A B: c"],
    ],
)
def test_nonsense_in_the_file_is_told_and_not_shown(tmp_path: Path, lines: list[str]) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ValueError, match=r"the first line is no URL|is no field") as caught:
        read_hook(str(hook_file(tmp_path, *lines)))
    assert "h.example" not in str(caught.value)


def test_a_file_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = hook_file(tmp_path, "https://h.example/x")
    path.chmod(0o644)
    with pytest.raises(Untrusted, match="World readable file; it must be root's, mode 600"):
        read_hook(str(path))


def test_every_status_has_its_words() -> None:
    assert why_not_told(200) == why_not_told(204) == ""
    assert why_not_told(418) == "the server answers 418"


def test_the_sentence_is_a_line() -> None:
    assert body_of(ALERT, "text")[1].count(b"\n") == 1
