"""Letters are taken over before each run, which goes on whatever becomes of that."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from minimta.queue import adopt
from minimta.queue.spool import Spool
from minimta.runner import take_in
from minimta.system import log
from tests.support.privatehost import PrivateHost


def test_a_disk_that_fails_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, told = PrivateHost(tmp_path), list[str]()

    def fails(*unused: object, **also: object) -> list[str]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(adopt, "adopt", fails)
    monkeypatch.setattr(log, "line", lambda qid, text, **more: told.append(text))
    with contextlib.closing(Spool(host.options.queue_directory)) as spool:
        assert take_in.take_in(host.options, spool, 1e9) == []
    assert told == ["SYSERR(root): taking in: [Errno 5] Input/output error"]


def test_a_queue_that_cannot_be_read_ends_no_run_that_gives_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, told = PrivateHost(tmp_path), list[str]()

    def fails(*unused: object) -> list[str]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(log, "line", lambda qid, text, **more: told.append(text))
    with contextlib.closing(Spool(host.options.queue_directory)) as spool:
        monkeypatch.setattr(spool, "names", fails)
        take_in.give_back(host.options, spool, 1e9)
        assert told == [], "without filters nothing is looked for"
        host.options.input_mail_filters = ("scan",)
        take_in.give_back(host.options, spool, 1e9)
    assert told == ["SYSERR(root): giving back: [Errno 5] Input/output error"]
