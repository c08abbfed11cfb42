"""Steps of a letter beside its delivery: whichever call fails, it is whole, in one place, and goes on.

adopted      from clientmqueue: once, or twice if its removal there failed
deferred     by a host that is not there: delivered when it is
warned of    the sender is told once, or twice if that could not be recorded; it stays queued
held         in quarantine or not, never both; let go it is delivered
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.queue.selectors import Selection
from minimta.queue.spool import ORPHAN_AGE
from minimta.runner import quarantine, queue_run, take_in
from minimta.runner.deliver import open_spool
from tests.faults.sweep import AMOUNTS, compare, sweep
from tests.faults.test_runner import COUNT, Place, Run, Sink, mbox, smtp
from tests.support.callfaults import CallFault
from tests.support.fakesmtp import FakeSmtp
from tests.support.privatehost import PrivateHost

#: nobody listens there (RFC 1078)
DEAD = "[127.0.0.1]:1"
HOURS = 3600


class Adopted(Run):
    """Two letters in clientmqueue."""

    def __init__(self, directory: Path) -> None:
        def make(host: PrivateHost) -> Place:
            host.options.queue_directory = host.options.client_queue_directory
            return mbox(host)

        super().__init__(directory, make)
        self.host.options.queue_directory = str(directory / "mqueue")

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        super().judge(fault, log)
        with contextlib.closing(open_spool(self.host.options)) as spool:
            take_in.take_in(self.host.options, spool, time.time() + 2 * ORPHAN_AGE)
        left = [path.name for path in (self.host.root / "clientmqueue").iterdir()]
        assert not left, f"left to be adopted: {left}"


class Deferred(Run):
    """Two letters to a host that is not there for now."""

    def __init__(self, directory: Path, server: FakeSmtp, *, age: float = 0.0) -> None:
        self._server = server

        def make(host: PrivateHost) -> Place:
            host.now = time.time() - age
            return smtp(host, server)

        super().__init__(directory, make)
        self.host.now = None
        self.host.options.smart_host = DEAD

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        assert self.copies() == [0] * COUNT
        assert len(self.host.queued()) >= COUNT, "not queued"
        self.host.options.smart_host = self._server.host
        self.settle()
        self.recover()
        assert self.copies() == [1] * COUNT, f"came {self.copies()} times"
        assert not self.host.files(), f"left: {self.host.files()}"
        self.judge_letters(fault)

    def settle(self) -> None:
        """What is still to be done before the host is there."""

    def judge_letters(self, fault: CallFault | None) -> None:
        """Look at what the sender was told."""
        assert not self.host.letters("emma") and not self.host.letters("root"), "a bounce"


class Warned(Deferred):
    """They have waited so long that the sender is to be told."""

    def __init__(self, directory: Path, server: FakeSmtp) -> None:
        super().__init__(directory, server, age=5 * HOURS)

    def settle(self) -> None:
        self.host.options.smart_host = DEAD
        self.recover()
        self.host.options.smart_host = self._server.host

    def judge_letters(self, fault: CallFault | None) -> None:
        told = [str(letter["Subject"]) for letter in self.host.letters("emma")]
        assert all(subject.startswith("Warning: could not send") for subject in told), told
        most = 2 * COUNT if fault is None or not fault.lasting else 3 * COUNT
        assert COUNT <= len(told) <= (COUNT if fault is None else most), f"told {len(told)} times"


class Held(Run):
    """Two letters that are put into quarantine, while a call fails."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, mbox)

    def act(self) -> None:
        with contextlib.suppress(OSError):
            quarantine.change(self.host.options, [Selection("I", "")], "why", lambda text: None)

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        names = [name for name in self.host.files() if name[:2] in ("qf", "hf", "Qf")]
        assert len({name[2:] for name in names}) == len(names) == COUNT, names
        held = [name for name in names if name[:2] == "hf"]
        assert len(held) == COUNT or fault is not None
        queue_run.run(self.host.options, say=lambda text: None)
        assert sum(self.copies()) <= COUNT - len(held), "held, and delivered"
        for kind in "IQ":
            quarantine.change(self.host.options, [Selection(kind, "")], "", lambda text: None)
        self.recover()
        assert self.copies() == [1] * COUNT, f"came {self.copies()} times"
        assert not self.host.files(), f"left: {self.host.files()}"


@pytest.mark.parametrize("make", [Adopted, Held], ids=["adopted", "held"])
@pytest.mark.parametrize("is_full", AMOUNTS)
def test_each_letter_is_in_one_place(
    tmp_path: Path, make: Callable[[Path], Run], *, is_full: bool
) -> None:
    count = sweep(make, tmp_path, is_full=is_full)
    compare(make.__name__.lower(), count, is_full=is_full)


@pytest.mark.parametrize("make", [Deferred, Warned], ids=["deferred", "warned"])
@pytest.mark.parametrize("is_full", AMOUNTS)
def test_each_letter_that_waits_is_delivered_in_the_end(
    tmp_path: Path, make: Callable[[Path, FakeSmtp], Run], *, is_full: bool
) -> None:
    with Sink() as server:
        count = sweep(lambda place: make(place, server), tmp_path, is_full=is_full, every=5)
    compare(make.__name__.lower(), count, is_full=is_full)
