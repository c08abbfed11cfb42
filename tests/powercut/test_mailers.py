"""The power fails in a delivery, whatever the mailer: who has it is not told again, all others are.

A mailbox in mbox format: tests/test_crash.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from minimta.mailers.by_name import Mailers
from minimta.mailers.files import grouping
from minimta.system import privileges
from minimta.system.users import User
from tests.powercut.judge import (
    CAROL,
    DAVE,
    EMMA,
    TEXT,
    Found,
    Marked,
    Trial,
    X,
    Y,
    Z,
    check_outside,
)
from tests.support.fakelmtp import FakeLmtp
from tests.support.fakesmtp import FakeSmtp
from tests.support.powercut import Disk
from tests.support.privatehost import Elsewhere, PrivateHost


@pytest.fixture(autouse=True)
def stay_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are numbers of nobody: what is done in their name is done by a child that has our rights."""

    def as_user(user: User, act: Callable[[], bytes], seconds: float, **named: object) -> bytes:
        return privileges.in_child(act, seconds, named["kept"])  # type: ignore[arg-type]

    monkeypatch.setattr(grouping, "as_user", as_user)
    monkeypatch.setattr(privileges, "become", lambda name: None)
    monkeypatch.setattr(privileges, "drop", lambda uid, gid, groups: None)


def delivered(trial: Trial, *, to_others: bool = False) -> None:
    """Deliver what is queued by the real mailers, with marks; other hosts are real if *to_others*."""

    def act(disk: Disk) -> None:
        deliverer = trial.host.deliverer()
        real = Mailers(trial.host.options, deliverer.mailers.users)
        real |= {} if to_others else {"esmtp": Elsewhere({})}
        for name in ("local", "*file*", "prog", "esmtp"):
            deliverer.mailers[name] = Marked(real[name], disk)
        deliverer.attempt(trial.host.queued())
        disk.mark("over")

    trial.record(act, children=True)


def beside(place: str, user: str, found: Found, marks: list[str], *, is_last: bool = True) -> None:
    """A file or directory has it once; twice only if the power failed before that was written down.

    For the last recipient that is when its batch is over.
    """
    is_recorded = ("over" if is_last else f"recorded {user}") in marks
    copies = found.whole(place)
    assert copies == 1 if is_recorded else copies in (1, 2), f"{copies} in {place}"
    assert found.pieces(place) == 0


# --- files -------------------------------------------------------------------------------------------


def maildir(host: PrivateHost) -> None:
    host.options.local_mailer = "maildir"
    (host.root / "home" / "dave").mkdir(exist_ok=True)


@pytest.mark.parametrize("is_there", [False, True], ids=["new Maildir", "Maildir"])
def test_in_a_maildir(tmp_path: Path, is_there: bool) -> None:
    trial = Trial(tmp_path, maildir)
    if is_there:
        for name in ("", "tmp", "new", "cur"):
            (trial.root / "home" / "dave" / "Maildir" / name).mkdir(mode=0o700)
    trial.host.submit(EMMA, DAVE, text=TEXT)
    delivered(trial)

    def ok(found: Found, marks: list[str]) -> None:
        beside("home/dave/Maildir/new", "dave", found, marks)
        assert found.left == ()

    # tmp, new and cur are made durable one by one, and the last of these fsyncs is for all: the one
    # for cur, which itself may be lost and is made again.
    trial.check_all(ok, redundant=[] if is_there else ["Maildir"] * 3)


def to_a_file(host: PrivateHost) -> None:
    host.aliases("postmaster: root", f"list: {host.root}/home/letters")
    passwd = Path(host.options.passwd_file)
    passwd.write_text(passwd.read_text() + f"filer:x:4001:4001:filer:{host.root}/home:/bin/sh\n")
    host.options.default_user = "filer"


@pytest.mark.parametrize("is_there", [False, True], ids=["new file", "file"])
def test_in_a_file(tmp_path: Path, is_there: bool) -> None:
    trial = Trial(tmp_path, to_a_file)
    earlier = b"From carol Sun Nov 22 09:37:07 2026\nSubject: earlier\n\nearlier letter\n\n"
    if is_there:
        path = trial.root / "home" / "letters"
        path.touch(mode=0o600)
        path.write_bytes(earlier)
    trial.host.submit(EMMA, b"<list@lab1.campus>", text=TEXT)
    delivered(trial)

    def ok(found: Found, marks: list[str]) -> None:
        beside("home/letters", "", found, marks)
        assert found.texts["home/letters"].startswith(earlier if is_there else b"From emma")
        assert found.left == ()

    trial.check_all(ok)


# --- programs and other hosts --------------------------------------------------------------------------


def to_a_program(host: PrivateHost) -> None:
    to_a_file(host)
    host.aliases("postmaster: root", 'list: dave, "|cat >/dev/null", "|cat"')


def test_to_programs(tmp_path: Path) -> None:
    trial = Trial(tmp_path, to_a_program)
    trial.host.submit(EMMA, b"<list@lab1.campus>", text=TEXT)
    delivered(trial)

    def ok(found: Found, marks: list[str]) -> None:
        beside("mail/dave", "dave", found, marks, is_last=False)
        for command in ("cat >/dev/null", "cat"):
            check_outside(found, marks, command, is_last=command == "cat")
        assert found.left == ()

    trial.check_all(ok)


def by_lmtp(host: PrivateHost, place: str) -> None:
    host.options.local_mailer = place


def test_by_lmtp_to_some_now_some_later_some_never(tmp_path: Path) -> None:
    answers = {".": ["250 2.0.0 saved", "452 4.2.2 full", "550 5.2.1 disabled"]}
    with FakeLmtp(answers=answers) as server:
        trial = Trial(tmp_path, partial(by_lmtp, place=server.place))
        trial.host.submit(X, DAVE, CAROL, EMMA, text=TEXT)
        delivered(trial)

    def ok(found: Found, marks: list[str]) -> None:
        check_outside(found, marks, "dave")
        assert found.outside[b"carol"] == 1
        reports = found.outside[b"x@lab2.campus"] + ("done x@lab2.campus" in marks)
        again = found.outside[b"emma"]
        assert again + reports == 1 if "over" in marks else 1 <= again + reports <= 3
        assert not again or "begin x@lab2.campus" not in marks, "the report is on its way"
        assert found.is_clean(accepted="over" in marks)

    trial.check_all(ok)


def by_smart_host(host: PrivateHost, place: str) -> None:
    host.options.smart_host = place
    host.options.connection_cache_timeout = 10


def test_to_another_host_to_some_now_some_later_some_never(tmp_path: Path) -> None:
    answers = {"RCPT": ["250 2.1.5 ok", "452 4.2.2 full", "550 5.1.1 No such mailbox"]}
    with FakeSmtp(answers=answers) as server:
        trial = Trial(tmp_path, partial(by_smart_host, place=server.host))
        trial.host.submit(EMMA, DAVE, X, Y, Z, text=TEXT)
        delivered(trial, to_others=True)
        assert len(server.messages) == 1

    def ok(found: Found, marks: list[str]) -> None:
        beside("mail/dave", "dave", found, marks, is_last=False)
        check_outside(found, marks, "x@lab2.campus")
        assert found.outside[b"y@lab2.campus"] == 1
        again = found.outside[b"z@lab2.campus"]
        returned = found.returned()[b"z@lab2.campus"]
        assert again == 0 if "begin emma" in marks else again + returned >= 1, (again, returned)
        assert returned == 1 if "over" in marks else returned <= 2, (again, returned)
        assert found.is_clean(accepted="over" in marks), found.left

    # That x has it is made durable once more with the names of the report, before anything is done.
    trial.check_all(ok, redundant=["mqueue"])


def test_to_another_host_over_one_connection(tmp_path: Path) -> None:
    """Three messages of one batch; the third comes when the connection was kept."""
    with FakeSmtp() as server:
        trial = Trial(tmp_path, partial(by_smart_host, place=server.host))
        for user in (X, Y, Z):
            trial.host.submit(EMMA, user, text=TEXT)
        delivered(trial, to_others=True)
        assert (len(server.commands), len(server.messages)) == (1, 3)

    def ok(found: Found, marks: list[str]) -> None:
        for user in (X, Y, Z):
            check_outside(found, marks, user[1:-1].decode(), is_last=True)
        assert found.left == ()

    trial.check_all(ok)
