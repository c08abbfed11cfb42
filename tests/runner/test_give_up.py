"""A message that an administrator gives up goes back to its sender, or stays as it was."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.queue.commit import PlainCommitter
from minimta.queue.locked import LockedMessage
from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.runner.give_up import GivingUp
from minimta.runner.send_reports import ReportSender
from tests.support.privatehost import PrivateHost

EMMA, X = b"<emma@lab1.campus>", b"<x@lab2.campus>"
NOW = 1795339967.0


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path, now=NOW)


@pytest.fixture
def spool(host: PrivateHost) -> Iterator[Spool]:
    with contextlib.closing(Spool(host.options.queue_directory)) as one:
        yield one


def bounced(host: PrivateHost, spool: Spool, message: LockedMessage) -> bool:
    return GivingUp(LocalHost(host.options), spool).bounce(message, "closed", NOW)


def locked(spool: Spool, qid: str) -> LockedMessage:
    message = spool.lock(qid)
    assert message is not None
    return message


def test_it_is_gone_when_its_sender_has_the_report(host: PrivateHost, spool: Spool) -> None:
    qid = host.submit(EMMA, X)
    assert bounced(host, spool, locked(spool, qid))
    (report,) = host.queued()
    assert report != qid
    assert sorted(host.files()) == ["df" + report, "qf" + report]
    host.deliverer().attempt([report])
    assert "554 5.7.1 closed" in host.letters("emma")[0].as_string()


def fails(*unused: object, **also: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_while_no_report_can_be_queued_it_stays(
    host: PrivateHost, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = host.submit(EMMA, X)
    message = locked(spool, qid)
    monkeypatch.setattr(PlainCommitter, "commit", fails)
    assert not bounced(host, spool, message)
    assert [one.address for one in host.control(qid).recipients] == [X]
    locked(spool, qid).release()


def test_after_any_trouble_it_is_let_go(
    host: PrivateHost, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = host.submit(EMMA, X)
    monkeypatch.setattr(ReportSender, "finish", fails)
    with pytest.raises(OSError, match="No space"):
        bounced(host, spool, locked(spool, qid))
    locked(spool, qid).release()
