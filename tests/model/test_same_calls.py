"""The programs of the model are the code's: the same calls, in the same order, on the same files.

Who changes an order in the code sees here which line of ``programs`` it was, and then in
``test_model`` what that is worth.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minimta.mailers.files.mbox import MboxMailer
from minimta.message.envelope import Recipient
from minimta.queue import put_aside
from minimta.queue.adopt import adopt
from minimta.queue.control import Control
from minimta.queue.spool import Spool
from minimta.system.users import Users
from tests.model.programs import PROGRAMS, steps
from tests.support.calls_made import CallsMade
from tests.support.privatehost import DOWN, REFUSED, Elsewhere, PrivateHost

EMMA, DAVE, X = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<x@lab2.campus>"
QID = "6AM9CfOn000096"
LATER = 10**10
#: of no consequence: how the text that is delivered is read, and closing what has no lock
_LEFT_OUT = steps(
    """
    read df
    read mailbox
    read client/df
    close df
    close new/df
    close new/qf
    close client/df
    create af
    read af
    cut af
    write af
    close af
    unlink af
    look af
    """
)


#: who is not root asks the quota so, before several acts: nothing depends on that file
_ASKED = ["create tf", "close tf", "unlink tf"]


class Traced:
    """A host, and what was done on it."""

    def __init__(self, root: Path) -> None:
        self.host = PrivateHost(root)
        self.root = root
        self.queue, self.client = root / "mqueue", root / "clientmqueue"
        self.spool = Spool(str(self.queue))
        self.lines: list[str] = []

    @contextmanager
    def calls(self) -> Iterator[CallsMade]:
        with CallsMade(self.queue, self.client, self.root / "mail") as made:
            yield made
        self.lines = made.lines

    def attempt(self, qid: str, *, remote: Elsewhere | None = None) -> None:
        elsewhere = remote or Elsewhere({})
        with self.calls() as made:
            elsewhere.before = lambda job: made.lines.append("act remote")
            self.host.deliverer(esmtp=elsewhere).attempt([qid])

    def are(self, *programs: str, without: str = "") -> None:
        """Were the calls those of these *programs*, one after the other?"""
        wanted = [str(step) for name in programs for step in PROGRAMS[name]]
        left_out = {*map(str, _LEFT_OUT), "answer remote", "reply", without}
        found = [line for line in _without_question(self.lines) if line not in left_out]
        wanted = [line for line in wanted if line not in left_out]
        difference = "\n".join(difflib.ndiff(wanted, found))
        assert found == wanted, f"the model's calls (-) and the code's (+):\n{difference}"


def _without_question(lines: list[str]) -> list[str]:
    if os.geteuid():
        for number in range(len(lines)):
            if lines[number : number + 3] == _ASKED:
                return lines[:number] + lines[number + 3 :]
    return lines


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    made = Traced(tmp_path)
    yield made
    made.spool.close()


def control(*recipients: bytes) -> Control:
    return Control(1, EMMA, [Recipient(r, "PFD") for r in recipients])


def put(spool: Spool, qid: str = QID, *, keep_lock: bool = False) -> str:
    data = spool.create(qid)
    os.write(data, b"body\n")
    spool.accept(qid, data, control(DAVE), keep_lock=keep_lock)
    return qid


# --- in -------------------------------------------------------------------------------------------


def test_accept(traced: Traced) -> None:
    with traced.calls():
        traced.host.submit(EMMA, DAVE)
    traced.are("accept")


def test_accept_and_keep(traced: Traced) -> None:
    with traced.calls():
        put(traced.spool, keep_lock=True)
    traced.are("accept and keep")
    message = traced.spool.lock(QID)
    assert message is not None
    message.release()


def test_submit(traced: Traced) -> None:
    client = Spool(str(traced.client))
    client.may_list = False  # as in mode 1733
    with traced.calls():
        put(client)
    client.close()
    traced.lines = [line for line in traced.lines if line != "close client/qf"]
    traced.are("submit")


def test_adopt(traced: Traced) -> None:
    client = Spool(str(traced.client))
    put(client)
    client.close()
    options = traced.host.options
    options.min_free_blocks = 0
    with traced.calls():
        assert adopt(
            str(traced.client), traced.spool, options, Users(options.passwd_file), now=LATER
        )
    traced.are("adopt", "accept", "let the letter go")


# --- out ------------------------------------------------------------------------------------------


def test_to_a_new_mailbox(traced: Traced) -> None:
    traced.attempt(traced.host.submit(EMMA, DAVE))
    traced.are("take", "to a new mailbox", "finish")


def test_to_a_mailbox_and_to_an_empty_one(traced: Traced) -> None:
    traced.attempt(traced.host.submit(EMMA, DAVE))
    traced.attempt(traced.host.submit(EMMA, DAVE))
    traced.are("take", "to a mailbox", "finish")
    os.truncate(traced.root / "mail" / "dave", 0)
    traced.attempt(traced.host.submit(EMMA, DAVE))
    traced.are("take", "to an empty mailbox", "finish")


def test_to_a_torn_mailbox(traced: Traced) -> None:
    qid = traced.host.submit(EMMA, DAVE, text=b"Subject: hello\n\n" + b"a line\n" * 9)
    host = traced.host
    mailer = MboxMailer(host.options, Users(host.options.passwd_file))
    mailbox = traced.root / "mail" / "dave"

    def attempt() -> None:
        deliverer = host.deliverer()
        deliverer.mailers["local"] = mailer
        with traced.calls():
            deliverer.attempt([qid])

    kept = {path.name: path.read_bytes() for path in traced.queue.iterdir()}
    attempt()
    for name, text in kept.items():
        (traced.queue / name).write_bytes(text)
        (traced.queue / name).chmod(0o600)
    os.truncate(mailbox, mailbox.stat().st_size - 20)
    attempt()
    traced.are("take", "to a torn mailbox", "finish")


def test_what_was_done_is_recorded_before_the_next_act(traced: Traced) -> None:
    elsewhere = Elsewhere({X[1:-1]: DOWN})
    traced.attempt(traced.host.submit(EMMA, DAVE, X), remote=elsewhere)
    traced.are("take", "to a new mailbox", "record", "to another host", "defer", "release")
    (qid,) = traced.host.queued()
    traced.attempt(qid)
    traced.are("take", "to another host", "finish")


def test_a_batch_is_done_with_one_fsync_of_the_directory(traced: Traced) -> None:
    elsewhere = Elsewhere({})
    qids = [traced.host.submit(EMMA, X) for _ in range(2)]
    with traced.calls() as made:
        elsewhere.before = lambda job: made.lines.append("act remote")
        traced.host.deliverer(esmtp=elsewhere).attempt(qids)
    # Both are locked before the first is delivered; the model takes one after the other. Of calls that
    # are alike CallsMade shows one: "drop" is the second "unlink df".
    traced.are("take", "take", *("to another host", "retire") * 2, "flush")


def test_a_report_is_durable_before_anybody_is_dropped(traced: Traced) -> None:
    elsewhere = Elsewhere({X[1:-1]: REFUSED})
    deliverer = traced.host.deliverer(esmtp=elsewhere)
    qid = traced.host.submit(EMMA, DAVE, X)
    with traced.calls() as made:
        elsewhere.before = lambda job: made.lines.append("act remote")
        deliverer.finished = lambda: made.lines.append("over")
        deliverer.attempt([qid])
    end = traced.lines.index("over")
    rest = [line for line in traced.lines[end + 1 :] if line.endswith(("directory", " df", " af"))]
    traced.lines = traced.lines[:end] + rest[:2]
    traced.are("take", "to a new mailbox", "record", "to another host", "accept", "finish")


# --- put aside, held, removed, swept --------------------------------------------------------------


def test_hold_and_let_go(traced: Traced) -> None:
    put(traced.spool)
    with traced.calls(), traced.spool.lock(QID) as message:  # type: ignore[union-attr]
        message.hold("for a reason")
    traced.lines = [line.replace("lock hf", "lock qf") for line in traced.lines]
    traced.lines = [line.replace("close hf", "close qf") for line in traced.lines]
    traced.are("take", "record", "hold", "release")  # by its new name
    with traced.calls(), traced.spool.lock(QID, kind="hf") as message:  # type: ignore[union-attr]
        message.let_go(0.0)
    traced.are("take from quarantine", "let go", "record", "release")


def test_put_aside_taken_back_removed(traced: Traced) -> None:
    put(traced.spool)
    (traced.queue / f"df{QID}").rename(traced.queue / "kept")
    with traced.calls():
        assert traced.spool.lock(QID) is None
    # It cannot be opened: is it a link? Then there is no other Qf.
    traced.lines = [line.replace("look df Qf", "look Qf") for line in traced.lines]
    traced.are("take", "put aside", without="open df")
    (traced.queue / "kept").rename(traced.queue / f"df{QID}")
    with traced.calls():
        assert put_aside.take_back(traced.spool, QID)
    traced.are("take back")
    os.rename(traced.queue / f"qf{QID}", traced.queue / f"Qf{QID}")
    with traced.calls():
        assert put_aside.remove(traced.spool, QID)
    traced.are("remove")


@pytest.mark.parametrize("kind", ["df", "tf"])
def test_sweep(traced: Traced, kind: str) -> None:
    (traced.queue / f"{kind}{QID}").touch(0o600)
    with traced.calls():
        traced.spool.sweep(LATER)
    traced.are(f"sweep {kind}")
    assert not list(traced.queue.iterdir())


def test_the_test_sees_another_order(traced: Traced) -> None:
    """What would not fail here would be no comparison."""
    traced.lines = ["rename new/tf new/qf", "fsync new/tf"]
    with pytest.raises(AssertionError, match="fsync new/tf"):
        traced.are("accept")
