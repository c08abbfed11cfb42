"""``newaliases`` and ``mailq``: whichever call fails, what was there before stands, and it is told.

newaliases    0: the new database is there; else 73, 75 ...: the old one, whole; no piece is left
mailq         0 and a list, or 75 and why; the queue is as it was
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from minimta.commands import mailq, newaliases
from minimta.maps.cdb import Cdb
from tests.faults.sweep import AMOUNTS, compare, sweep
from tests.support.callfaults import CallFault
from tests.support.privatehost import PrivateHost

OLD, NEW = "postmaster: emma", "postmaster: dave"


class Command:
    """A command on a private host, and its exit code; an OSError is what ``main`` makes 75 of."""

    is_process = True

    def __init__(self, directory: Path) -> None:
        self.host = PrivateHost(directory)
        self.code = -1

    def act(self) -> None:
        self.code = os.EX_TEMPFAIL
        with contextlib.suppress(OSError):
            self.code = self.run()

    def run(self) -> int:
        raise NotImplementedError

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        raise NotImplementedError


class Newaliases(Command):
    """A database is there, and its text is newer."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._database = Path(self.host.options.alias_files[0] + ".cdb")
        self.host.aliases(OLD)
        self.run()
        self.host.aliases(NEW)

    def run(self) -> int:
        return newaliases.run(self.host.options)

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        found = self._value()
        assert found in (b"emma", b"dave"), found
        # A text that may not be read is told, and no failure (recorded in Sendmail 8.17).
        is_forbidden = fault is not None and fault.code == errno.EACCES
        assert found == b"dave" or self.code != os.EX_OK or is_forbidden, "told that it is new"
        assert self.code == os.EX_OK or fault is not None
        may_stay = fault is not None and fault.kind in ("unlink", "rename", "replace", "remove")
        names = {path.name for path in self.host.root.glob("aliases*")}
        left = names - {"aliases", "aliases.cdb", "aliases.cdb.lock"}
        assert not left or may_stay, f"left: {left}"
        assert self.run() == os.EX_OK
        assert self._value() == b"dave"

    def _value(self) -> bytes | None:
        with contextlib.closing(Cdb(str(self._database))) as database:
            return database.get(b"postmaster")


class Mailq(Command):
    """Two messages are queued."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        for _ in range(2):
            self.host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
        self._before = self._queue()

    def run(self) -> int:
        return mailq.show(self.host.options)

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        assert self.code in (os.EX_OK, os.EX_TEMPFAIL, os.EX_CONFIG), self.code
        assert self.code == os.EX_OK or fault is not None
        assert self._queue() == self._before, "the queue is another"

    def _queue(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.host.root / "mqueue").iterdir()}


@pytest.mark.parametrize("make", [Newaliases, Mailq], ids=["newaliases", "mailq"])
@pytest.mark.parametrize("is_full", AMOUNTS)
def test_what_was_there_stands(tmp_path: Path, make: type[Command], *, is_full: bool) -> None:
    count = sweep(make, tmp_path, is_full=is_full)
    compare(make.__name__.lower(), count, is_full=is_full)
