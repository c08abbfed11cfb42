"""kill -9 of the queue runner in the middle of every act; then it starts again, and all is counted.

One message goes to a mailbox, a program, a file and another host. Whoever was not in flight at the
moment of the kill has it once in the end, the other one once or, where nobody can know, twice; and
never a piece of it.
"""

from __future__ import annotations

import fcntl
import mailbox
import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path

import pytest

from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.runner.checkpoint import MessageProgress
from minimta.runner.deliver import Deliverer
from tests.support.fakesmtp import FakeSmtp
from tests.support.sharedhost import UIDS, SharedHost

pytestmark = pytest.mark.root

BODY = b"".join(b"line %d of the letter\n" % number for number in range(1500))
TEXT = b"Subject: hello\nTo: all of them\n\n" + BODY
#: who gets it where
PLACES = ("mailbox", "program", "file", "remote")
PAGE = 4096
#: seconds after which something hangs
LONG = 20
#: the first run of it says that it has begun, and waits to be told to go on
PROGRAM = """#!/bin/sh
cd {evidence}
echo begun >>runs
if [ -e armed ]; then echo begun >begun; read word <on; fi
cat >letter.$$
mv letter.$$ done.$$
"""


class Host(SharedHost):
    """dave has a mailbox, carol a program, mallory a file, x@lab2.campus another host."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.file = root / "home" / "mallory" / "letters"
        script = root / "program"
        script.write_text(PROGRAM.format(evidence=self.evidence))
        script.chmod(0o755)
        self.put("carol", f'"|{script}"\n'.encode(), ".forward")
        self.put("mallory", f"{self.file}\n".encode(), ".forward")
        for name in ("begun", "on", "told"):
            os.mkfifo(self.evidence / name)
            (self.evidence / name).chmod(0o666)
        # Open for both: nobody waits for the other side to open it.
        self.fifos = {n: os.open(self.evidence / n, os.O_RDWR) for n in ("begun", "on", "told")}
        self.server = Server()
        self.options.smart_host = self.server.host
        self.qid = self.submit(
            b"<emma@lab1.campus>",
            *(b"<%b@lab1.campus>" % name for name in (b"dave", b"carol", b"mallory")),
            b"<x@lab2.campus>",
            text=TEXT,
        )
        self.runners: list[Runner] = []

    def close(self) -> None:
        for runner in self.runners:
            runner.close()
        for fifo in self.fifos.values():
            os.close(fifo)
        self.server.close()

    def runner(self, fault: Callable[[], None] = lambda: None) -> Runner:
        made = Runner(self, fault)
        self.runners.append(made)
        return made

    def hear(self, fifo: str) -> bytes:
        """What somebody says through it."""
        heard = is_readable(self.fifos[fifo])
        assert heard, f"nothing came through {fifo}"
        return os.read(self.fifos[fifo], 100)

    def counts(self) -> dict[str, int]:
        """How many whole letters came where; a piece of one is an error."""
        texts = {
            "mailbox": letters(self.mailbox("dave")),
            "program": [path.read_bytes() for path in self.evidence.glob("done.*")],
            "file": letters(self.file),
            "remote": [text.replace(b"\r\n", b"\n") for text in self.server.messages],
        }
        for place, found in texts.items():
            for text in found:
                assert text.endswith(b"\n\n" + BODY), f"a piece in {place}"
        return {place: len(found) for place, found in texts.items()}


def letters(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    box = mailbox.mbox(path, create=False)
    try:
        return [box.get_bytes(key) for key in box.keys()]  # noqa: SIM118  # a mailbox iterates over messages
    finally:
        box.close()


def is_readable(file: int) -> bool:
    """Is there something to read, or does it come in time? (poll: descriptors may be over 1023)"""
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(LONG * 1000))


class Server(FakeSmtp):
    """Calls ``at[verb]`` once, when a client says *verb* ("." is the end of the data)."""

    runs_here = True

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, Callable[[], None]] = {}

    def _answer(self, connection: socket.socket, lines: BufferedIOBase, verb: str) -> bytes:
        self.at.pop(verb, lambda: None)()
        return super()._answer(connection, lines, verb)

    def close(self) -> None:
        self._server.server_close()


class Runner:
    """A queue runner: a process that waits to be told to go. Made before any thread is started."""

    def __init__(self, host: Host, fault: Callable[[], None]) -> None:
        waiting, self._telling = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._telling)
                if os.read(waiting, 1):
                    fault()
                    deliverer = Deliverer(LocalHost(host.options), clock=host.clock)
                    deliverer.attempt(host.queued())
            finally:
                os._exit(0)
        os.close(waiting)
        self._end = os.pidfd_open(self.pid)
        self._reaped = False

    def go(self) -> Runner:
        os.write(self._telling, b".")
        return self

    def kill(self) -> None:
        signal.pidfd_send_signal(self._end, signal.SIGKILL)

    def kill_all(self) -> None:
        """It and its children, as systemd ends a service."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self.kill()
        for child in children:
            os.kill(int(child), signal.SIGKILL)

    def status(self) -> int:
        """Minus the signal that ended it, or its exit code."""
        assert is_readable(self._end), "the runner hangs"
        self._reaped = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        if not self._reaped:
            self.kill()
            os.waitpid(self.pid, 0)
        os.close(self._telling)
        os.close(self._end)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="minimta-kill-") as name:
        Path(name).chmod(0o755)
        made = Host(Path(name))
        # Below it no other file system: what is noted of an append is noted there.
        yield made
        made.close()


def once(**more: int) -> dict[str, int]:
    """Everywhere one, but for those named."""
    return {**dict.fromkeys(PLACES, 1), **more}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- in the runner itself ----------------------------------------------------------------------------


def in_the_append() -> None:
    """The kernel ends a write at a page."""

    def writev(file: int, parts: list[bytes]) -> int:
        at = os.fstat(file).st_size
        os.write(file, b"".join(parts)[: 3 * PAGE - at % PAGE])
        die()
        return 0

    os.writev = writev  # type: ignore[assignment]


def somewhere_in_the_append() -> None:
    """As a power cut does."""

    def writev(file: int, parts: list[bytes]) -> int:
        os.write(file, b"".join(parts)[:1001])
        die()
        return 0

    os.writev = writev  # type: ignore[assignment]


def after_the_append() -> None:
    real = os.writev

    def writev(file: int, parts: list[bytes]) -> int:
        real(file, parts)
        die()
        return 0

    os.writev = writev  # type: ignore[assignment]


def before_record(mailer: str) -> Callable[[], None]:
    """The act of *mailer* is done, the record of it is not begun."""

    def fault() -> None:
        real = MessageProgress.checkpoint

        def checkpoint(self: MessageProgress) -> None:
            if self.mailer(list(self.outcomes)[-1]) == mailer:
                die()
            real(self)

        MessageProgress.checkpoint = checkpoint  # type: ignore[method-assign]

    return fault


def before_the_end() -> None:
    """All have it, and the qf still says that one has not."""
    MessageProgress.close = lambda *_, **__: die()  # type: ignore[method-assign]


def without_its_df() -> None:
    """The qf is gone, the df not yet."""
    Spool.flush = lambda *_: die()  # type: ignore[method-assign]


FAULTS: tuple[tuple[Callable[[], None], str], ...] = (
    (in_the_append, ""),
    (somewhere_in_the_append, ""),
    (after_the_append, "mailbox"),
    (before_record("local"), "mailbox"),
    (before_record("prog"), "program"),
    (before_record("*file*"), "file"),
    (before_the_end, "remote"),
    (without_its_df, ""),
)


@pytest.mark.parametrize(
    ("fault", "twice"),
    FAULTS,
    ids=["append", "torn append", "fsync", "mailbox", "program", "file", "end", "df"],
)
def test_a_runner_that_is_killed_gives_to_nobody_twice_but_to_him_in_flight(
    host: Host, fault: Callable[[], None], twice: str
) -> None:
    first, second = host.runner(fault), host.runner()
    with host.server:
        assert first.go().status() == -signal.SIGKILL
        assert second.go().status() == 0
    counts = host.counts()
    assert sum(counts.values()) <= len(PLACES) + 1
    assert counts == once(**({twice: 2} if twice else {}))
    assert host.queued() == []
    assert not list((host.root / "mail").glob("*.lock"))


def test_without_a_kill_all_have_it_once(host: Host) -> None:
    runner = host.runner()
    with host.server:
        assert runner.go().status() == 0
    assert host.counts() == once()
    assert host.files() == []


# --- in what it waits for ----------------------------------------------------------------------------


def test_in_the_dialogue_with_another_host_nobody_gets_it_twice(host: Host) -> None:
    first, second = host.runner(), host.runner()
    host.server.at["DATA"] = first.kill_all
    with host.server:
        assert first.go().status() == -signal.SIGKILL
        assert second.go().status() == 0
    assert host.counts() == once()


@pytest.mark.parametrize("verb", ["DATA", "."])
def test_who_talks_to_a_host_outlives_the_runner_and_it_gets_it_again(
    host: Host, verb: str
) -> None:
    first, second = host.runner(), host.runner()
    host.server.at[verb] = first.kill
    with host.server:
        assert first.go().status() == -signal.SIGKILL
        assert second.go().status() == 0
        host.server.wait_for_messages(2)
    assert host.counts() == once(remote=2)


def stop_in_the_file(host: Host) -> Callable[[], None]:
    """The child that writes to the file tells its number in the middle of it, and waits."""

    def fault() -> None:
        real = os.writev

        def writev(file: int, parts: list[bytes]) -> int:
            if os.fstat(file).st_uid != UIDS["mallory"]:
                return real(file, parts)
            os.writev = real
            os.write(file, b"".join(parts)[: 2 * PAGE])
            told = os.open(host.evidence / "told", os.O_WRONLY)
            os.write(told, b"%d" % os.getpid())
            with open(host.evidence / "on", "rb", buffering=0) as on:
                on.read(1)
            return 2 * PAGE

        os.writev = writev  # type: ignore[assignment]

    return fault


def test_with_the_child_that_writes_the_file_nothing_comes_twice(host: Host) -> None:
    first, second = host.runner(stop_in_the_file(host)), host.runner()
    with host.server:
        first.go()
        child = int(host.hear("told"))
        assert host.file.stat().st_size == 2 * PAGE
        first.kill()
        first.status()
        os.kill(child, signal.SIGKILL)
        assert second.go().status() == 0
    assert host.counts() == once()


def test_a_child_that_outlives_the_runner_ends_what_it_writes(host: Host) -> None:
    first, second = host.runner(stop_in_the_file(host)), host.runner()
    with host.server:
        first.go()
        host.hear("told")
        first.kill()
        first.status()
        os.write(host.fifos["on"], b"\n")
        assert second.go().status() == 0
    assert host.counts() == once(file=2)


def test_a_program_outlives_the_runner_and_runs_again_only_when_it_has_ended(host: Host) -> None:
    (host.evidence / "armed").touch()
    runners = [host.runner() for _ in range(3)]
    runs = host.evidence / "runs"
    with host.server:
        runners[0].go()
        host.hear("begun")
        (host.evidence / "armed").unlink()
        runners[0].kill()
        runners[0].status()
        # The others get it; the program still runs, and is not started beside itself.
        assert runners[1].go().status() == 0
        assert host.counts() == once(program=0)
        assert runs.read_text() == "begun\n"
        (recipient,) = host.control(host.qid).recipients
        assert b"carol" in recipient.address or b"program" in recipient.address
        os.write(host.fifos["on"], b"\n")
        wait_for_lock(host.root / "mqueue" / f"df{host.qid}")
        assert host.counts() == once(), "it got all of the message, although nobody listens"
        assert runners[2].go().status() == 0
    assert host.counts() == once(program=2)
    assert host.queued() == []


def wait_for_lock(path: Path) -> None:
    """Until nobody has it any more."""
    end = time.monotonic() + LONG
    with path.open("rb") as file:
        while time.monotonic() < end:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)
    pytest.fail("the program hangs")
