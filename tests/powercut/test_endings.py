"""The power fails in what becomes of a message besides its delivery: nobody is forgotten, nobody is told for ever.

A single failure, a single delay: tests/test_crash.py; what an administrator does: tests/admin/queue/test_crash.py.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.queue import commit, failed_attempts
from minimta.queue.selectors import parse_selection
from minimta.queue.spool import Spool
from minimta.runner import checkpoint, quarantine
from minimta.system import privileges
from tests.powercut.judge import (
    DAVE,
    EMMA,
    NOBODY,
    NOTHING,
    NOW,
    TEXT,
    Found,
    Marked,
    Trial,
    X,
    Y,
    Z,
    check_outside,
)
from tests.support.powercut import Disk
from tests.support.privatehost import BUSY, REFUSED, Elsewhere, PrivateHost

DAY = 86400.0


@pytest.fixture(autouse=True)
def stay_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are numbers of nobody: what is read in their name is read with our rights."""
    monkeypatch.setattr(privileges, "as_user", lambda user, act, *words, **named: act())


def attempted(trial: Trial, elsewhere: Elsewhere | None = None, *, now: float = NOW) -> None:
    """Try all that is queued at *now*; deliveries to mailboxes and other hosts are marked."""

    def act(disk: Disk) -> None:
        trial.host.now = now
        deliverer = trial.host.deliverer()
        deliverer.mailers["local"] = Marked(deliverer.mailers["local"], disk)
        deliverer.mailers["esmtp"] = Marked(elsewhere or Elsewhere({}), disk)
        deliverer.attempt(trial.host.queued())
        disk.mark("over")

    trial.record(act)


# --- deferrals ----------------------------------------------------------------------------------------


def test_many_that_wait_are_written_back_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One syncfs(2) for all; one of them has another recipient, who has it, and is written alone."""
    monkeypatch.setattr(commit, "may_sync_all", lambda group, directory: group)
    monkeypatch.setattr(checkpoint, "_MANY", 3)
    trial = Trial(tmp_path, grouped)
    everybody = (X, Y, Z)
    qids = [trial.host.submit(EMMA, one, text=TEXT) for one in everybody]
    trial.host.submit(EMMA, DAVE, X, text=TEXT)
    attempted(trial, Elsewhere({one[1:-1]: BUSY for one in everybody}))
    assert [trial.host.control(qid).attempts for qid in qids] == [1] * 3

    def ok(found: Found, marks: list[str]) -> None:
        for one, copies in ((X, 2), (Y, 1), (Z, 1)):
            assert found.outside[one[1:-1]] == copies, one
        copies = found.whole("mail/dave")
        assert copies == 1 if "recorded dave" in marks else copies in (1, 2)
        assert found.left == ()

    trial.check_all(ok)
    assert [call.name for call in trial.disk.calls].count("syncfs") == 1


def grouped(host: PrivateHost) -> None:
    host.options.group_commit = True


# --- expansions --------------------------------------------------------------------------------------


def expanding(host: PrivateHost) -> None:
    """dave's .forward, an :include: and an alias: mailboxes here and a host elsewhere."""
    home = host.root / "home" / "dave"
    home.mkdir(exist_ok=True)
    (home / ".forward").write_text("\\dave, x@lab2.campus\n")
    passwd = Path(host.options.passwd_file)
    passwd.write_text(passwd.read_text() + "daemon:x:4001:4001:daemon:/:/bin/sh\n")
    (host.root / "members").write_text("carol\ny@lab2.campus\n")
    host.aliases("postmaster: root", f"team: dave, :include:{host.root}/members")


def test_what_aliases_forward_and_include_lead_to_has_it_once(tmp_path: Path) -> None:
    trial = Trial(tmp_path, expanding)
    trial.host.submit(EMMA, b"<team@lab1.campus>", text=TEXT)
    attempted(trial, Elsewhere({Y[1:-1]: BUSY}))

    def ok(found: Found, marks: list[str]) -> None:
        for user in ("dave", "carol"):
            copies = found.whole(f"mail/{user}")
            assert copies == 1 if f"recorded {user}" in marks else copies in (1, 2), user
        check_outside(found, marks, "x@lab2.campus")
        assert found.outside[b"y@lab2.campus"] == 1
        assert found.left == ()

    trial.check_all(ok)


# --- reports -------------------------------------------------------------------------------------------


def reported(found: Found, marks: list[str], address: bytes, to: str = "emma") -> None:
    """Its failure is told to the sender once, a second time if the power failed meanwhile."""
    times = found.returned(to)[address]
    assert times == 1 if "over" in marks else 1 <= times <= 2, f"{address!r} {times} times"


def test_of_several_failures_each_is_reported(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.host.submit(EMMA, DAVE, NOBODY, NOTHING, X, Y, text=TEXT)
    attempted(trial, Elsewhere({X[1:-1]: REFUSED}))

    def ok(found: Found, marks: list[str]) -> None:
        for address in (NOBODY, NOTHING):
            reported(found, marks, address[1:-1])
        assert found.returned()[X[1:-1]] + found.outside[X[1:-1]] >= 1
        assert not found.outside[X[1:-1]] or "begin emma" not in marks, "told, and sent again"
        check_outside(found, marks, "y@lab2.campus")
        copies = found.whole("mail/dave")
        assert copies == 1 if "recorded dave" in marks else copies in (1, 2)
        assert found.is_clean(accepted="over" in marks), found.left

    # That y has it is made durable once more with the names of the report, before anything is done.
    trial.check_all(ok, redundant=["mqueue"])


def test_who_waits_for_long_hears_of_it_and_stays(tmp_path: Path) -> None:
    trial = Trial(tmp_path, later=7 * 3600)
    trial.host.submit(EMMA, X, text=TEXT)
    attempted(trial, Elsewhere({X[1:-1]: BUSY}), now=NOW + 6 * 3600)

    def ok(found: Found, marks: list[str]) -> None:
        told = found.texts.get("mail/emma", b"").count(b"\nAction: delayed\n")
        assert told == 1 if "over" in marks else told <= 2, f"told {told} times"
        assert found.outside[X[1:-1]] == 1
        assert found.is_clean(accepted="over" in marks), found.left

    # That it was queued, and that it is not to be told again: a warning was promised to nobody.
    trial.check_all(ok, redundant=["mqueue"] * 2)


def test_who_waits_for_too_long_has_it_back(tmp_path: Path) -> None:
    trial = Trial(tmp_path, later=6 * DAY)
    trial.host.submit(EMMA, X, text=TEXT)
    yesterday = int(NOW + 5 * DAY)
    trial.host.rewrite(
        trial.host.queued()[0], lambda control: setattr(control, "last_attempt", yesterday)
    )
    attempted(trial, Elsewhere({X[1:-1]: BUSY}), now=NOW + 6 * DAY)

    def ok(found: Found, marks: list[str]) -> None:
        again, returned = found.outside[X[1:-1]], found.returned()[X[1:-1]]
        assert again + returned >= 1
        assert not again or "begin emma" not in marks, "told, and sent again"
        assert (again, returned) == (0, 1) if "over" in marks else returned <= 2
        assert found.is_clean(accepted="over" in marks), found.left

    trial.check_all(ok)


def test_a_report_that_fails_comes_to_the_postmaster(tmp_path: Path) -> None:
    """A double bounce, into root's mailbox."""
    trial = Trial(tmp_path)
    trial.host.submit(b"<nobody@lab2.campus>", NOBODY, text=TEXT)
    attempted(trial, Elsewhere({b"nobody@lab2.campus": REFUSED}))

    def ok(found: Found, marks: list[str]) -> None:
        # Now the sender can be reached: they are told, or the postmaster.
        again = found.outside[b"nobody@lab2.campus"]
        told = again + found.texts.get("mail/root", b"").count(BOUNCE)
        assert told == 1 if "over" in marks else 1 <= told <= 3, f"told {told} times"
        most = 0 if "begin root" in marks else 1 if "begin nobody@lab2.campus" in marks else 2
        assert again <= most, "what came before is still there"
        assert found.is_clean(accepted="over" in marks), found.left

    trial.check_all(ok)


BOUNCE = b"\nFinal-Recipient: RFC822; nobody@lab2.campus\n"


def no_postmaster(host: PrivateHost) -> None:
    host.aliases("postmaster: nosuch")


def test_a_report_that_nobody_can_get_is_saved_in_roots_mailbox(tmp_path: Path) -> None:
    trial = Trial(tmp_path, no_postmaster)
    trial.host.submit(b"<>", NOBODY, text=TEXT)
    attempted(trial)

    def ok(found: Found, marks: list[str]) -> None:
        saved = found.texts.get("mail/root", b"").count(TEXT.partition(b"\n\n")[2])
        most = 1 if "over" in marks else 2 if "begin root" in marks else 3
        assert 1 <= saved <= most, f"saved {saved} times"
        assert found.is_clean(accepted="over" in marks), found.left

    trial.check_all(ok)


# --- what is held, redirected, noted ------------------------------------------------------------------


def hold(host: PrivateHost, qid: str) -> None:
    quarantine.change(host.options, [parse_selection(f"I{qid}")], "looks bad", lambda text: None)


def let_go(host: PrivateHost, qid: str) -> None:
    quarantine.change(host.options, [parse_selection("Qbad")], "", lambda text: None)


@pytest.mark.parametrize(("act", "waits"), [(hold, True), (let_go, False)])
def test_quarantine_holds_or_lets_go(
    tmp_path: Path, act: Callable[[PrivateHost, str], None], waits: bool
) -> None:
    trial = Trial(tmp_path)
    qid = trial.host.submit(EMMA, DAVE, text=TEXT)
    if not waits:
        hold(trial.host, qid)

    def recorded(disk: Disk) -> None:
        act(trial.host, qid)
        disk.mark("over")

    trial.record(recorded)

    def ok(found: Found, marks: list[str]) -> None:
        held = [name for name in found.left if name[:2] in ("qf", "hf")]
        assert found.whole("mail/dave") + len(held) == 1
        assert bool(held) == waits or "over" not in marks

    # To hold takes a line and a name, each made durable, and either keeps it.
    trial.check_all(ok, redundant=["mqueue"] * 2 if waits else [])


def redirecting(host: PrivateHost) -> None:
    host.options.redirect_all = "tester@staging.example"


def test_of_what_is_redirected_nothing_reaches_others(tmp_path: Path) -> None:
    trial = Trial(tmp_path, redirecting)
    trial.host.submit(EMMA, DAVE, X, Y, text=TEXT)
    attempted(trial)

    def ok(found: Found, marks: list[str]) -> None:
        assert set(found.outside) <= {b"tester@staging.example"}
        check_outside(found, marks, "tester@staging.example", is_last=True)
        copies = found.whole("mail/dave")
        assert copies == 1 if "recorded dave" in marks else copies in (1, 2)
        assert found.left == ()

    trial.check_all(ok)


def test_the_note_of_failed_attempts_may_be_torn_and_harms_nobody(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    qid = trial.host.submit(EMMA, X, text=TEXT)
    for _ in range(2):
        attempted(trial, Elsewhere({X[1:-1]: BUSY}))
    torn = 0
    for cut in trial.disk.cuts():
        for state in trial.disk.survivors(after=cut):
            where = tmp_path / "after" / f"{cut}-{time.monotonic_ns()}"
            where.mkdir()
            state.write(where)
            with contextlib.closing(Spool(str(where / "mqueue"))) as spool:
                notes = failed_attempts.read(spool, qid)
            text = (where / "mqueue" / f"af{qid}").read_bytes()
            torn += len(notes) != text.count(b"\n") - 1
            assert all(note.to == ("<x@lab2.campus>",) for note in notes)

    def ok(found: Found, marks: list[str]) -> None:
        assert found.outside[X[1:-1]] == 1
        assert found.left == ()

    trial.check(ok)
