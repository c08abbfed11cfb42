"""One message during one attempt: who has it is in the queue file, and at its end others may have it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.message.envelope import Recipient
from minimta.message.outcome import Outcome
from minimta.queue.locked import LockedMessage
from minimta.queue.spool import Spool
from minimta.routing.destination import Destination
from minimta.runner.checkpoint import BACK_OFF, Deferrals, MessageProgress, Unrecorded
from tests.support.privatehost import BUSY, DOWN, REFUSED, SENT, PrivateHost

EMMA, LIST, X, Y = (
    b"<emma@lab1.campus>",
    b"<all@lab1.campus>",
    b"<x@lab2.campus>",
    b"<y@lab3.campus>",
)
NOW = 1795339967.0


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path, now=NOW)


@pytest.fixture
def spool(host: PrivateHost) -> Iterator[Spool]:
    with contextlib.closing(Spool(host.options.queue_directory)) as one:
        yield one


@pytest.fixture
def deferrals() -> Deferrals:
    return Deferrals(lambda: False)


class Attempt:
    """A message that is being tried, and what others see of it."""

    def __init__(self, host: PrivateHost, spool: Spool, deferrals: Deferrals | None = None) -> None:
        """To X and Y, who are those of a list."""
        self.host, self.qid = host, host.submit(EMMA, LIST)
        self.qf = Path(spool.directory, "qf" + self.qid)
        message = spool.lock(self.qid)
        assert message is not None
        (one,) = message.control.recipients
        expanded = [Recipient(address, one.flags) for address in (X, Y)]
        self.destinations = [Destination(recipient, None) for recipient in expanded]
        self.progress = MessageProgress(message, self.destinations, NOW, deferrals)

    def settle(self, *outcomes: Outcome) -> None:
        for position, outcome in enumerate(outcomes):
            self.progress.settle([position], outcome)

    def close(self, *dropped: int) -> None:
        gone = [self.destinations[number].recipient for number in dropped]
        self.progress.close(gone, now=NOW, options=self.host.options)

    def written(self) -> list[bytes]:
        """Whom the queue file has."""
        return [recipient.address for recipient in self.host.control(self.qid).recipients]

    def is_free(self) -> bool:
        """May another runner have it?"""
        with contextlib.closing(Spool(self.host.options.queue_directory)) as other:
            message = other.lock(self.qid)
            if message is not None:
                message.release()
            return message is not None


@pytest.fixture
def attempt(host: PrivateHost, spool: Spool) -> Attempt:
    return Attempt(host, spool)


@pytest.fixture
def put_off(host: PrivateHost, spool: Spool, deferrals: Deferrals) -> Attempt:
    return Attempt(host, spool, deferrals)


def failing(error: int) -> Callable[..., None]:
    def fails(*unused: object, **also: object) -> None:
        raise OSError(error, "it cannot be done")

    return fails


# --- who has it ---------------------------------------------------------------------------------------


def test_who_has_it_is_written_down_and_why_the_others_wait(attempt: Attempt) -> None:
    attempt.settle(SENT, BUSY)
    attempt.progress.checkpoint()
    assert attempt.written() == [Y]
    control = attempt.host.control(attempt.qid)
    assert control.recipients[0].message == BUSY.stat
    assert control.attempts == 0, "it is under way"
    assert not attempt.is_free()


def test_while_nobody_has_it_nothing_is_written(attempt: Attempt) -> None:
    before = attempt.qf.stat().st_ino
    attempt.settle(DOWN, DOWN)
    attempt.progress.checkpoint()
    assert attempt.qf.stat().st_ino == before


def test_when_all_have_it_the_message_goes_and_its_body_after_it(
    attempt: Attempt, spool: Spool
) -> None:
    attempt.settle(SENT, SENT)
    attempt.close()
    assert attempt.host.files() == ["df" + attempt.qid]
    spool.flush()
    assert attempt.host.files() == []


# --- who waits ----------------------------------------------------------------------------------------


def test_who_waits_is_written_down_and_others_may_try(attempt: Attempt) -> None:
    attempt.host.options.min_queue_age = 600
    attempt.settle(SENT, BUSY)
    attempt.progress.failed(
        [attempt.destinations[1].recipient], BUSY, mailer="", begun=NOW, now=NOW
    )
    attempt.close()
    assert attempt.written() == [Y]
    assert attempt.host.control(attempt.qid).attempts == 1
    assert attempt.qf.stat().st_mtime == NOW + 600
    assert attempt.is_free()
    assert "af" + attempt.qid in attempt.host.files()


def test_whom_a_report_was_about_is_dropped(attempt: Attempt) -> None:
    attempt.settle(REFUSED, BUSY)
    attempt.close(0)
    assert attempt.written() == [Y]


def test_what_is_put_off_names_those_whom_the_list_has(
    put_off: Attempt, deferrals: Deferrals
) -> None:
    put_off.settle(DOWN, DOWN)
    put_off.close()
    assert put_off.written() == [LIST]
    assert not put_off.is_free(), "it is not written yet"
    deferrals.flush()
    assert put_off.written() == [X, Y]
    assert put_off.is_free()


# --- what cannot be written down ------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["rewrite", "retire"])
def test_what_cannot_be_written_down_rests_and_is_let_go(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(LockedMessage, call, failing(errno.EROFS))
    attempt.settle(SENT, SENT if call == "retire" else BUSY)
    with pytest.raises(Unrecorded):
        attempt.close()
    assert attempt.progress.stopped
    assert attempt.qf.stat().st_mtime == NOW + BACK_OFF
    assert attempt.is_free()


def test_what_cannot_be_put_off_rests_and_is_let_go(
    put_off: Attempt, deferrals: Deferrals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LockedMessage, "begin_rewrite", failing(errno.ENOSPC))
    put_off.settle(DOWN, DOWN)
    with pytest.raises(Unrecorded):
        put_off.close()
    deferrals.flush()
    assert put_off.written() == [LIST]
    assert put_off.qf.stat().st_mtime == NOW + BACK_OFF
    assert put_off.is_free()


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_was_put_off_and_cannot_be_ended_rests_and_is_let_go(
    put_off: Attempt, deferrals: Deferrals, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    put_off.settle(DOWN, DOWN)
    put_off.close()
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", failing(errno.EIO))
        deferrals.flush()
    assert put_off.written() == [LIST]
    assert put_off.qf.stat().st_mtime == NOW + BACK_OFF
    assert put_off.is_free()


# --- what is left before its end ------------------------------------------------------------------------


def test_of_what_is_left_those_who_have_it_are_written_down(attempt: Attempt) -> None:
    attempt.settle(SENT)
    attempt.progress.leave()
    assert attempt.written() == [Y]
    assert attempt.is_free()


def test_what_is_left_says_why_it_waits(attempt: Attempt) -> None:
    attempt.progress.why_left = "Deferred: no slot"
    attempt.progress.leave()
    assert attempt.host.control(attempt.qid).message == "Deferred: no slot"
    assert attempt.written() == [LIST]
    assert attempt.is_free()


def test_what_was_stopped_is_let_go_as_it_is(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt.settle(SENT)
    with monkeypatch.context() as patch:
        patch.setattr(LockedMessage, "rewrite", failing(errno.EROFS))
        with pytest.raises(Unrecorded):
            attempt.progress.checkpoint()
    attempt.progress.leave()
    assert attempt.written() == [LIST]
    assert attempt.is_free()
