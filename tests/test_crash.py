"""Pull the plug after every system call on a message's way: accept, deliver, defer, bounce.

After each cut, on everything that may then be on the disk, the host starts again and runs its queue.
What was promised before the cut must come out whole; of the recipients of the one act that was under
way each may get it twice. Then every fsync is taken out in turn, and some cut must show it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.files import dotlock
from minimta.mailers.files.mbox import MboxMailer
from minimta.system.users import Users
from tests.support.powercut import Disk, playground, without_waiting
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost
from tests.support.survivors import Identity, State

EMMA, DAVE, X, Y = (
    b"<emma@lab1.campus>",
    b"<dave@lab1.campus>",
    b"<x@lab2.campus>",
    b"<y@lab3.campus>",
)
NOBODY = b"<nosuch@lab1.campus>"
NOW = 1795339967.0
BODY = b"".join(b"line %d of the letter\n" % number for number in range(30))
TEXT = b"Subject: hello\nTo: somebody\n\n" + BODY
EARLIER = b"From carol  Sun Nov 22 09:37:07 2026\nSubject: earlier\n\nearlier letter\n\n"


@dataclass(frozen=True)
class Came:
    """What came out after the host had started again."""

    #: whole letters in dave's mailbox, and pieces of one
    dave: int
    pieces: int
    #: whole reports in emma's mailbox
    bounces: int
    #: recipients that other hosts got it for, now
    remote: tuple[bytes, ...]
    #: is the letter that was there before there?
    earlier: bool
    #: what is left in the queue in the end
    left: tuple[str, ...]

    def is_clean(self, accepted: bool) -> bool:
        """Nothing is left; but of a message that nobody was promised the name of the qf may have
        come to the disk without that of the df. Such a qf is put aside."""
        return not self.left or (not accepted and all(name[:2] == "Qf" for name in self.left))


def recover(root: Path) -> Came:
    """Start the host an hour later, run the queue until nothing changes, sweep, and look."""
    for path in (root / "mail").glob("*.lock"):
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    host = PrivateHost(root, now=NOW + 3600)
    elsewhere = Elsewhere({})
    deliverer = host.deliverer(esmtp=elsewhere)
    users = Users(host.options.passwd_file)
    deliverer.mailers["local"] = MboxMailer(
        host.options, users, clock=host.clock, pause=lambda seconds: None
    )
    for _ in range(3):
        deliverer.attempt(host.queued())
    deliverer.spool.sweep(NOW + 10**9)
    deliverer.spool.close()
    mailbox = text_of(root / "mail" / "dave")
    reports = text_of(root / "mail" / "emma").split(b"From MAILER-DAEMON")[1:]
    whole = mailbox.count(b"\n\n" + BODY + b"\n")
    for text in elsewhere.texts:
        assert text.endswith(b"\n\n" + BODY), "torn on its way out"
    return Came(
        whole,
        mailbox.count(b"Subject: hello\n") - whole,
        sum(BODY in report and b"\nStatus: 5.1.1\n" in report for report in reports),
        tuple(sorted(user.name for job in elsewhere.jobs for user in job.users)),
        EARLIER in mailbox,
        tuple(name for name in host.files()),
    )


def text_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


class Scenario:
    """A journal, and what the states that it may leave come to; each is recovered once."""

    def __init__(self, tmp_path: Path) -> None:
        self.host_root = tmp_path / "host"
        self.host_root.mkdir()
        self.after = tmp_path / "after"
        self.after.mkdir()
        self.host = PrivateHost(self.host_root, now=NOW)
        self.known: dict[Any, Came | AssertionError] = {}
        self.disk: Disk

    def record(self, act: Callable[[Disk], None]) -> None:
        with Disk(self.host_root) as self.disk:
            act(self.disk)

    def check(self, ok: Callable[[Came, list[str]], None], without: tuple[int, ...] = ()) -> None:
        for cut in self.disk.cuts():
            for state in self.disk.survivors(after=cut, without=without):
                try:
                    ok(self._came(state), self.disk.marks(cut))
                except AssertionError as error:
                    raise AssertionError(f"{state.label}: {error}") from error

    def _came(self, state: State) -> Came:
        with pytest.MonkeyPatch.context() as patch, without_waiting():
            patch.setattr(dotlock, "_boot", lambda: "the boot after")
            return self._recovered(state)

    def _recovered(self, state: State) -> Came:
        key = content(state, state.root)
        if key not in self.known:
            with playground(self.after) as fresh:
                state.write(fresh)
                try:
                    self.known[key] = recover(fresh)
                except AssertionError as error:
                    self.known[key] = error
        found = self.known[key]
        if isinstance(found, AssertionError):
            raise found
        return found

    def unnoticed(self, ok: Callable[[Came, list[str]], None]) -> list[str]:
        """What is fsynced without any cut showing that it has to be."""
        found = []
        for k in self.disk.syncs():
            try:
                self.check(ok, (k,))
            except AssertionError:
                continue
            found.append(self.disk.synced(k))
        return found


def content(state: State, identity: Identity) -> Any:
    """What a state is, but for the times of its files."""
    file = state.files.get(identity)
    if file is not None:
        return file.content
    inside = state.names.get(identity, {}).items()
    return frozenset((name, content(state, child)) for name, child in inside)


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return Scenario(tmp_path)


def check_all(
    scenario: Scenario, ok: Callable[[Came, list[str]], None], *, redundant: list[str]
) -> None:
    """No cut loses or tears; each fsync but the *redundant* ones is needed for that."""
    assert scenario.disk.syncs()
    scenario.check(ok)
    assert sorted(scenario.unnoticed(ok)) == sorted(redundant)


# --- accept ------------------------------------------------------------------------------------------


def test_what_was_accepted_is_delivered_whole_whenever_the_power_fails(scenario: Scenario) -> None:
    def act(disk: Disk) -> None:
        scenario.host.submit(EMMA, DAVE, text=TEXT)
        disk.mark("accepted")

    def ok(came: Came, marks: list[str]) -> None:
        assert came.dave == 1 if marks else came.dave in (0, 1)
        assert came.pieces == 0
        assert came.is_clean(accepted=bool(marks))

    scenario.record(act)
    check_all(scenario, ok, redundant=[])


# --- deliver -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", EARLIER], ids=["new mailbox", "mailbox with a letter"])
def test_a_letter_is_in_the_mailbox_or_in_the_queue_whenever_the_power_fails(
    scenario: Scenario, before: bytes
) -> None:
    qid = scenario.host.submit(EMMA, DAVE, text=TEXT)
    mailbox = scenario.host_root / "mail" / "dave"
    if before:
        mailbox.touch(mode=0o600)
        mailbox.write_bytes(before)

    def act(disk: Disk) -> None:
        scenario.host.deliverer().attempt([qid])
        disk.mark("over")

    def ok(came: Came, marks: list[str]) -> None:
        assert came.dave == 1 if marks else came.dave in (1, 2)
        assert came.pieces == 0
        assert came.earlier is bool(before)
        assert came.left == ()

    scenario.record(act)
    check_all(scenario, ok, redundant=[])


def test_of_several_recipients_only_the_one_under_way_may_get_it_twice(scenario: Scenario) -> None:
    qid = scenario.host.submit(EMMA, X, Y, text=TEXT)

    def act(disk: Disk) -> None:
        elsewhere = Elsewhere({})
        elsewhere.before = lambda job: disk.mark(job.users[0].name.decode())
        scenario.host.deliverer(esmtp=elsewhere).attempt([qid])
        disk.mark("over")

    def ok(came: Came, marks: list[str]) -> None:
        sent = [mark.encode() for mark in marks if "@" in mark]
        for user in (X[1:-1], Y[1:-1]):
            copies = (*sent, *came.remote).count(user)
            assert copies >= 1, f"{user!r} lost"
            under_way = "over" not in marks and sent[-1:] == [user]
            assert copies == 1 or under_way, f"{user!r} got it {copies} times"
        assert came.left == ()

    scenario.record(act)
    check_all(scenario, ok, redundant=[])


# --- defer -------------------------------------------------------------------------------------------


def test_a_delay_keeps_who_waits_and_drops_who_has_it(scenario: Scenario) -> None:
    qid = scenario.host.submit(EMMA, DAVE, X, text=TEXT)

    def act(disk: Disk) -> None:
        elsewhere = Elsewhere({X[1:-1]: BUSY})
        elsewhere.before = lambda job: disk.mark("next act")
        scenario.host.deliverer(esmtp=elsewhere).attempt([qid])

    def ok(came: Came, marks: list[str]) -> None:
        assert came.dave == 1 if marks else came.dave in (1, 2)
        assert came.pieces == 0
        assert came.remote == (X[1:-1],)
        assert came.left == ()

    scenario.record(act)
    check_all(scenario, ok, redundant=[])


# --- bounce ------------------------------------------------------------------------------------------


def test_a_failure_is_reported_or_still_queued_whenever_the_power_fails(
    scenario: Scenario,
) -> None:
    qid = scenario.host.submit(EMMA, NOBODY, text=TEXT)

    def act(disk: Disk) -> None:
        scenario.host.deliverer().attempt([qid])
        disk.mark("over")

    def ok(came: Came, marks: list[str]) -> None:
        assert came.bounces >= 1
        assert came.bounces == 1 if marks else came.bounces <= 2
        assert came.is_clean(accepted=bool(marks))

    scenario.record(act)
    check_all(scenario, ok, redundant=[])
