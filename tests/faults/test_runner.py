"""A queue run: whichever call fails, each letter comes whole, once or at most twice, and the others go on.

Two letters are queued, and a run is made, and at once another one, in which one call fails. What then
has come, and what comes when two runs later find nothing wrong, is counted together. A fault of ours
is never a reason to return a letter, nor to put one aside.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.queue.spool import ORPHAN_AGE
from minimta.routing.local_host import LocalHost
from minimta.runner import queue_run, take_in
from minimta.runner.deliver import Deliverer
from tests.faults.sweep import AMOUNTS, compare, sweep
from tests.support.callfaults import CallFault
from tests.support.fakelmtp import FakeLmtp
from tests.support.fakesmtp import FakeSmtp
from tests.support.privatehost import PrivateHost

EMMA = b"<emma@lab1.campus>"
COUNT = 2
#: a user that need not exist, if we are root
UID = 12345
NOBODY = b"<nosuch@lab1.campus>"
LINES = b"".join(b"line %d of the letter\n" % number for number in range(100))
#: each ends so, and has its number: a letter that came whole
_WHOLE = re.compile(rb"letter (\d)\n" + re.escape(LINES) + rb"end\n")
_ANY = re.compile(rb"^letter \d$", re.MULTILINE)


def body(number: int) -> bytes:
    return b"letter %d\n%bend\n" % (number, LINES)


class Place:
    """Where the letters of a scene go to, and what has come there."""

    def __init__(self, user: bytes, host: PrivateHost) -> None:
        self.user = user
        self.root = host.root
        self.files: Callable[[], list[Path]] = list

    def come(self) -> list[bytes]:
        """Texts that have come, each of one letter or several; LF line ends."""
        return [path.read_bytes() for path in self.files()]


def mbox(host: PrivateHost) -> Place:
    place = Place(b"<dave@lab1.campus>", host)
    place.files = lambda: [path for path in (host.root / "mail").glob("dave")]
    return place


def maildir(host: PrivateHost) -> Place:
    host.options.local_mailer = "maildir"
    (host.root / "home" / "dave").mkdir(mode=0o700)
    place = Place(b"<dave@lab1.campus>", host)
    place.files = lambda: list((host.root / "home" / "dave" / "Maildir" / "new").glob("*"))
    return place


def bounce(host: PrivateHost) -> Place:
    """Letters to nobody: what comes is the report, with the letter in it."""
    place = Place(NOBODY, host)
    place.files = lambda: list((host.root / "mail").glob("emma"))
    return place


def file(host: PrivateHost) -> Place:
    home = robot(host)
    host.aliases("postmaster: root", f"archive: {home}/archive")
    place = Place(b"<archive@lab1.campus>", host)
    place.files = lambda: list(home.glob("archive"))
    return place


def program(host: PrivateHost) -> Place:
    home = robot(host)
    script = host.root / "program"
    script.write_text(f"#!/bin/sh\ncd {home}\ncat >part.$$\nmv part.$$ got.$$\n")
    script.chmod(0o755)
    host.options.smrsh_directory = ""
    host.aliases("postmaster: root", f'list: "|{script}"')
    place = Place(b"<list@lab1.campus>", host)
    place.files = lambda: list(home.glob("got.*"))
    return place


def robot(host: PrivateHost) -> Path:
    """The home of a user in whose name files are written and programs run."""
    home = host.root / "robot"
    home.mkdir()
    for path in (host.root, home):
        path.chmod(0o755)
    uid, gid = (UID, UID) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(home, uid, gid)
    with open(host.options.passwd_file, "a", encoding="ascii") as users:
        users.write(f"robot:x:{uid}:{gid}:Robot:{home}:/bin/sh\n")
    host.options.default_user = "robot"
    return home


class Sink(FakeSmtp):
    """Another host."""

    def take(self) -> list[bytes]:
        """What has come since the last time; called in its process."""
        with self._lock:
            taken, self._messages = self._messages, []
        return taken


class LmtpSink(FakeLmtp, Sink):
    """A mail store."""


class Elsewhere(Place):
    """Letters that go to a server, of this scene alone."""

    def __init__(self, user: bytes, host: PrivateHost, server: FakeSmtp) -> None:
        super().__init__(user, host)
        self._server = server
        self._texts: list[bytes] = []
        server.ask("take")

    def come(self) -> list[bytes]:
        self._texts += [text.replace(b"\r\n", b"\n") for text in self._server.ask("take")]
        return self._texts


def smtp(host: PrivateHost, server: FakeSmtp) -> Place:
    host.options.smart_host = server.host
    return Elsewhere(b"<x@lab2.campus>", host, server)


def lmtp(host: PrivateHost, server: FakeSmtp) -> Place:
    assert isinstance(server, LmtpSink)
    host.options.local_mailer = server.place
    return Elsewhere(b"<dave@lab1.campus>", host, server)


class Run:
    """Two letters in the queue."""

    is_process = True

    def __init__(self, directory: Path, make: Callable[[PrivateHost], Place]) -> None:
        self.host = PrivateHost(directory)
        self.place = make(self.host)
        for number in range(COUNT):
            self.host.submit(EMMA, self.place.user, text=b"Subject: x\n\n" + body(number))

    def act(self) -> None:
        for _ in range(2):
            with contextlib.suppress(OSError):  # the run has ended, the next one comes
                queue_run.run(self.host.options, say=lambda text: None)

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        at_once = self.copies()
        # What cannot be recorded rests for a while; what has no answer is tried in the next run.
        is_record = fault is not None and fault.made.subject in ("tf", "qf", "mqueue")
        assert max(at_once) <= (1 if is_record else 2), f"came {at_once} times at once"
        if fault is None:
            assert at_once == [1] * COUNT and not self.host.files()
        elif not fault.lasting and fault.made.subject in ("df", "qf", "tf"):
            assert max(at_once), "the other letter was not delivered"
        locks = list((self.host.root / "mail").glob("*.lock"))
        assert not locks or (fault is not None and fault.kind == "unlink"), "a lock is left"
        self.recover()
        come = self.copies()
        assert min(come) >= 1, f"lost: {come}"
        assert max(come) <= 2 + (fault is not None and fault.lasting), f"came {come} times"
        assert not self.host.files(), f"left: {self.host.files()}"
        told = ["root", "emma"] if self.place.user != NOBODY else ["root"]
        assert not any(self.host.letters(name) for name in told), "a bounce"
        assert not list((self.host.root / "mail").glob("*.lock")), "a lock is left"

    def recover(self) -> None:
        """What runs of the next hours do, in which nothing fails."""
        for lock in (self.host.root / "mail").glob("*.lock"):
            lock.unlink()  # the process is gone that could not remove it
        deliverer = Deliverer(LocalHost(self.host.options), clock=self.host.clock)
        for _ in range(2):
            take_in.take_in(self.host.options, deliverer.spool, self.host.clock())
            deliverer.attempt(self.host.queued())
        deliverer.spool.sweep(self.host.clock() + 2 * ORPHAN_AGE)
        self.host.end(deliverer)

    def copies(self) -> list[int]:
        """How often each letter has come; a piece of one is an error."""
        texts = self.place.come()
        found = [int(number) for text in texts for number in _WHOLE.findall(text)]
        assert len(found) == sum(len(_ANY.findall(text)) for text in texts), "a piece"
        return [found.count(number) for number in range(COUNT)]


@pytest.mark.parametrize(
    "make", [mbox, maildir, file, program, bounce], ids=lambda make: make.__name__
)
@pytest.mark.parametrize("is_full", AMOUNTS)
def test_each_letter_comes(
    ground: Path, make: Callable[[PrivateHost], Place], *, is_full: bool
) -> None:
    count = sweep(lambda directory: Run(directory, make), ground, is_full=is_full, every=2)
    compare(f"queue run, {make.__name__}", count, is_full=is_full)


@pytest.mark.parametrize(("make", "kind"), [(smtp, Sink), (lmtp, LmtpSink)], ids=["smtp", "lmtp"])
@pytest.mark.parametrize("is_full", AMOUNTS)
def test_each_letter_comes_to_a_server(
    tmp_path: Path,
    make: Callable[[PrivateHost, FakeSmtp], Place],
    kind: Callable[[], FakeSmtp],
    *,
    is_full: bool,
) -> None:
    with kind() as server:
        count = sweep(
            lambda directory: Run(directory, lambda host: make(host, server)),
            tmp_path,
            is_full=is_full,
            every=3,
        )
    compare(f"queue run, {make.__name__}", count, is_full=is_full)
