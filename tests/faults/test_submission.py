"""``sendmail ADDRESS``: whichever call fails, exit code 0 means that the letter is queued, all else that it is not.

the queue fails    75, the caller is told why, and the letter is in dead.letter as far as that can be
tables, users      75, or the letter is queued and the runner looks again; never "unknown"
minimta.cf         that cannot be read now: 72, which is Sendmail's; the letter was not read
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.commands import sendmail
from minimta.config import file as config_file
from minimta.queue.spool import ORPHAN_AGE, Spool
from minimta.system import log
from tests.faults.sweep import AMOUNTS, compare, sweep
from tests.support.callfaults import CallFault
from tests.support.commandhost import Host

BODY = b"".join(b"line %d of the letter\n" % number for number in range(4000))
TEXT = b"Subject: t\nTo: dave\n\n" + BODY
QUEUES = ("mqueue", "clientmqueue")
#: if these fail the letter was not read, or not all of it: there is nothing that could be saved
UNREAD = ("null", "cf", "passwd", "clientmqueue", "stdin")
#: what is done with the descriptors of this process shall not fail
_dup, _dup2, _close, _open = os.dup, os.dup2, os.close, os.open


class Submitted:
    """A letter on standard input of the command."""

    is_process = True

    def __init__(
        self, directory: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        self.host = Host(directory, capfd)
        self.root = directory
        self.arguments = arguments
        (self.root / "stdin").write_bytes(TEXT)
        self.code = -1

    def act(self) -> None:
        with self._standard_files():
            self.code = sendmail.main(["sendmail", *self.arguments])

    @contextlib.contextmanager
    def _standard_files(self) -> Iterator[None]:
        saved, mask = [_dup(number) for number in range(3)], os.umask(0o022)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        said = _open(self.root / "said", flags, 0o600)
        files = [_open(self.root / "stdin", os.O_RDONLY), said, said]
        for number, file in enumerate(files):
            _dup2(file, number)
        try:
            yield
        finally:
            for number, file in enumerate(saved):
                _dup2(file, number)
            for file in {*saved, *files}:
                _close(file)
            os.umask(mask)
            log.configure("sendmail", "none", 0)

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        self._judge_queue(fault)
        if self.code != os.EX_OK:
            self._judge_refusal(fault)
        self.act()
        assert self.code == os.EX_OK, "the next letter is refused"

    def _judge_queue(self, fault: CallFault | None) -> None:
        queued = [one for queue in QUEUES for one in self.host.queued(queue)]
        assert all(body == BODY for _, body in queued), "torn"
        assert [len(control.recipients) for control, _ in queued] in ([], [1])
        is_sure = fault is None or (fault.kind != "unlink" and not fault.lasting)
        assert len(queued) >= (self.code == os.EX_OK), "lost"
        assert len(queued) <= (self.code == os.EX_OK) or not is_sure, "queued, and not 0"
        names = self._names()
        assert len(names) == 2 * len(queued) or not is_sure, names
        for queue in QUEUES:
            spool = Spool(str(self.root / queue))
            spool.sweep(time.time() + 2 * ORPHAN_AGE)
            spool.close()
        assert len(self._names()) == 2 * len(queued), "not swept"

    def _names(self) -> list[str]:
        return [path.name for queue in QUEUES for path in (self.root / queue).glob("[!.]f*")]

    def _judge_refusal(self, fault: CallFault | None) -> None:
        assert fault is not None, "refused without a fault"
        codes = (os.EX_TEMPFAIL, os.EX_OSFILE) if fault.made.subject == "cf" else (os.EX_TEMPFAIL,)
        assert self.code in codes, f"exit code {self.code}"
        said = (self.root / "said").read_bytes()
        assert said or fault.kind == "write", "nothing is said"
        is_saved = self.host.dead_letter().endswith(b"\n\n" + BODY + b"\n")
        assert is_saved or fault.lasting or fault.made.subject in UNREAD, "not saved"


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("command, root", ["dave"]),
        ("command, a user", ["-Ac", "dave"]),
        ("command, -t", ["-t", "-i"]),
    ],
    ids=["root", "user", "-t"],
)
@pytest.mark.parametrize("is_full", AMOUNTS)
def test_0_if_and_only_if_it_is_queued(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    arguments: list[str],
    *,
    is_full: bool,
) -> None:
    monkeypatch.setattr(config_file, "DEFAULT_FILE", str(tmp_path / "case" / "cf"))
    count = sweep(
        lambda directory: Submitted(directory, capfd, arguments), tmp_path, is_full=is_full
    )
    compare(path, count, is_full=is_full)
