"""AlertCommand: of an outage is told once, and once that it is over, whatever happens in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.runner import alert, alert_state
from minimta.runner.alert_send import Alert
from minimta.runner.alert_state import AlertRecord, Trouble
from minimta.runner.outage import Outage
from minimta.system import files, log

NONE, AGE, LOGIN, QUEUE = Trouble


class Watcher:
    """Looks, at times of its own; what is wrong is given."""

    def __init__(self, root: Path) -> None:
        self.options = Options()
        self.options.host_name = "vm1.example.org"
        self.options.queue_directory = str(root / "mqueue")
        self.options.alert_command = "/bin/true"
        self.run = str(root / "run")
        os.makedirs(self.run)
        self.now = 1_800_000_000.0
        self.told: list[Alert] = []
        self.fails = False

    def look(self, trouble: Trouble, seconds: float = 60.0) -> bool:
        self.now += seconds

        def find(options: Options, names: Collection[str], now: float) -> Outage:
            return Outage(trouble, f"trouble {trouble.name}" if trouble else "")

        return alert.look(
            self.options, ["x"], tell=self.tell, clock=lambda: self.now, find=find, run=self.run
        )

    def tell(self, options: Options, one: Alert) -> None:
        if self.fails:
            raise OSError(5, "the server answers 500")
        self.told.append(one)

    @property
    def events(self) -> list[str]:
        return [one.event for one in self.told]


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    return Watcher(tmp_path)


@pytest.mark.parametrize("trouble", [AGE, LOGIN, QUEUE])
def test_an_outage_is_told_exactly_twice(watcher: Watcher, trouble: Trouble) -> None:
    for found in [NONE, NONE, *[trouble] * 500, *[NONE] * 20]:
        watcher.look(found)
    assert watcher.events == ["trouble", "over"]
    first, last = watcher.told
    assert first.text == f"vm1.example.org: mail does not go out: trouble {trouble.name}"
    assert last.text == "vm1.example.org: mail goes out again after 8 h 20 min"


def test_mail_that_grows_old_for_a_refused_login_is_the_same_outage(watcher: Watcher) -> None:
    for found in [LOGIN, LOGIN, LOGIN, AGE, AGE, NONE]:
        watcher.look(found)
    assert watcher.events == ["trouble", "over"]


def test_what_is_worse_is_told(watcher: Watcher) -> None:
    for found in [AGE, AGE, LOGIN, QUEUE, QUEUE, NONE]:
        watcher.look(found)
    assert watcher.events == ["trouble", "trouble", "trouble", "over"]


def test_a_login_that_is_refused_again_while_old_mail_waits_is_told_again(watcher: Watcher) -> None:
    for found in [LOGIN, AGE, LOGIN, NONE]:
        watcher.look(found)
    assert watcher.events == ["trouble", "trouble", "over"]


def test_without_the_option_nobody_looks(watcher: Watcher) -> None:
    watcher.options.alert_command = ""
    assert watcher.look(QUEUE)
    assert not watcher.told
    assert not os.path.exists(alert_state.beside(watcher.options.queue_directory))


def test_what_cannot_be_told_is_tried_again_less_and_less_often(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: said.append(text))
    watcher.fails = True
    for _ in range(600):  # ten hours
        watcher.look(AGE)
    # After 1, 2, 4, 8, 16, 32 minutes, then each hour.
    assert len(said) == 15
    assert set(said) == {"alert (trouble) not sent: the server answers 500"}
    watcher.fails = False
    watcher.look(AGE, 3600)
    watcher.look(NONE)
    assert watcher.events == ["trouble", "over"]


def test_an_outage_that_nobody_heard_of_has_no_end_to_tell(watcher: Watcher) -> None:
    watcher.fails = True
    watcher.look(AGE)
    watcher.fails = False
    watcher.look(NONE)
    assert not watcher.told
    watcher.look(AGE)  # without the pause of the last one
    assert watcher.events == ["trouble"]


def test_the_end_is_told_until_somebody_hears_it(watcher: Watcher) -> None:
    watcher.look(AGE)
    watcher.fails = True
    watcher.look(NONE)
    watcher.fails = False
    watcher.look(NONE, 120)
    assert watcher.events == ["trouble", "over"]


def test_a_clock_that_was_put_right_does_not_silence_us(watcher: Watcher) -> None:
    watcher.fails = True
    watcher.look(AGE)
    watcher.fails = False
    watcher.look(AGE, -10 * 365 * 86400)
    assert watcher.events == ["trouble"]


def test_while_one_tells_another_does_not(watcher: Watcher) -> None:
    with alert_state.locked(watcher.options.queue_directory, watcher.run):
        assert watcher.look(AGE)
    assert not watcher.told
    watcher.look(AGE)
    assert watcher.events == ["trouble"]


def in_another_process(act: Callable[[], object]) -> int:
    pid = os.fork()
    if not pid:
        try:
            act()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_many_runners_tell_once(watcher: Watcher, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    def tell(options: Options, one: Alert) -> None:
        with open(calls, "a") as file:
            file.write(f"{one.event}\n")

    watcher.tell = tell  # type: ignore[method-assign]
    for found in (AGE, NONE):
        children = []
        for _ in range(8):
            pid = os.fork()
            if not pid:
                watcher.look(found)
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        watcher.look(found)
    assert calls.read_text() == "trouble\nover\n"


def test_a_kill_between_telling_and_remembering_makes_one_alert_more_at_most(
    watcher: Watcher, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"

    def tell_and_die(options: Options, one: Alert) -> None:
        with open(calls, "a") as file:
            file.write(f"{one.event}\n")
        if calls.read_text().count("\n") == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    watcher.tell = tell_and_die  # type: ignore[method-assign]
    assert in_another_process(lambda: watcher.look(AGE)) == signal.SIGKILL
    for found in (AGE, AGE, AGE, NONE, NONE):
        watcher.look(found)
    assert calls.read_text().split() == ["trouble", "trouble", "over"]


def test_a_file_that_a_power_cut_left_half_written_is_nothing_told(watcher: Watcher) -> None:
    watcher.look(AGE)
    path = alert_state.beside(watcher.options.queue_directory)
    for left in (b"", b'{"told": 1, "sin', b"[]", b'{"told": 9}'):
        Path(path).write_bytes(left)
        Path(alert_state.aside(watcher.options.queue_directory, watcher.run)).write_bytes(b"")
        watcher.told.clear()
        watcher.look(AGE)
        assert watcher.events == ["trouble"]


def test_it_is_remembered_on_a_full_disk(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """No octet more is needed than the file has had since the first look."""
    watcher.look(AGE)
    path = Path(alert_state.beside(watcher.options.queue_directory))
    size = path.stat().st_size
    for found in (QUEUE, QUEUE, NONE, LOGIN):
        watcher.look(found, 1e8)
        assert path.stat().st_size == size


def test_nothing_is_made_in_run_while_the_file_beside_the_queue_can_be_written(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in (NONE, AGE, NONE):
        watcher.look(found)
    assert os.listdir(watcher.run) == []
    beside = os.stat(alert_state.beside(watcher.options.queue_directory))
    really_write = files.write_all

    def written(file: int, octets: bytes) -> None:
        if os.path.samestat(os.fstat(file), beside):
            raise OSError(5, "I/O error")
        really_write(file, octets)

    monkeypatch.setattr(files, "write_all", written)
    for found in (AGE, AGE, NONE, NONE):
        watcher.look(found)
    assert len(os.listdir(watcher.run)) == 1
    assert watcher.events == ["trouble", "over", "trouble", "over"]


def test_beside_a_queue_that_has_become_read_only_run_remembers(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = alert_state.beside(watcher.options.queue_directory)
    really_open = os.open

    def opened(path: str, flags: int, mode: int = 0o777, **more: int | None) -> int:
        if path == beside:
            raise OSError(30, "Read-only file system", path)
        return really_open(path, flags, mode, **more)

    watcher.look(NONE)
    monkeypatch.setattr(os, "open", opened)
    for found in (QUEUE, QUEUE, QUEUE):
        assert watcher.look(found)
    assert watcher.events == ["trouble"]
    monkeypatch.undo()
    for found in (QUEUE, NONE, NONE):
        watcher.look(found)
    assert watcher.events == ["trouble", "over"]


def test_without_a_place_for_what_was_told_nothing_is_told_and_the_log_says_why(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, bool]] = []
    monkeypatch.setattr(log, "line", lambda qid, text, *, level, error: said.append((text, error)))
    queue = watcher.options.queue_directory
    places = (alert_state.beside(queue), alert_state.aside(queue, watcher.run))
    for path in places:
        os.mkdir(path)
    assert watcher.look(QUEUE)
    assert not watcher.told
    assert said == [(f"no alert: {places[-1]}: Is a directory", True)]


def test_what_no_place_remembers_is_told_to_the_runner(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(file: int, octets: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", no_room)
    assert not watcher.look(QUEUE)
    assert watcher.events == ["trouble"]


def test_what_can_neither_be_told_nor_remembered_is_both_in_the_log(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: said.append(text))

    def no_room(file: int, octets: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", no_room)
    watcher.fails = True
    assert not watcher.look(QUEUE)
    assert said == [
        "alert (trouble) not sent: the server answers 500",
        "alerts are not remembered: No space left on device",
    ]


def test_nothing_secret_is_in_the_file(watcher: Watcher) -> None:
    watcher.look(AGE)
    path = Path(alert_state.beside(watcher.options.queue_directory))
    assert path.stat().st_mode & 0o777 == 0o600
    assert alert_state.read(watcher.options.queue_directory, watcher.run) == AlertRecord(
        AGE, watcher.now, 0, 0.0, watcher.now
    )
    assert b"vm1" not in path.read_bytes()


def test_when_it_is_over_nothing_is_remembered() -> None:
    record = alert_state.was_told(AlertRecord(AGE, 5.0), NONE, 9.0)
    assert record == AlertRecord(NONE, 0.0)
    assert alert_state.was_told(record, AGE, 9.0) == AlertRecord(AGE, 9.0)
