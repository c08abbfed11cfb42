"""What users plant as .forward, and where the mail goes then: as Sendmail decided."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import homes
from tests.support.sharedhost import UIDS, SharedHost, attacking, exchanger

pytestmark = pytest.mark.root

#: deliveries while an attacker swaps
RACES = 20

Plant = Callable[[SharedHost, Path], None]


def text_of(host: SharedHost) -> bytes:
    """All that a .forward can start."""
    made = host.evidence
    return b"\\carol, %b/file\n|touch %b/program\n" % (bytes(made), bytes(made))


def put_forward(host: SharedHost) -> Path:
    return host.put("dave", text_of(host), ".forward")


# --- what is not followed: the mail goes to the mailbox ------------------------------------------

NOT_FOLLOWED = (*homes.SPOILED, *homes.SPOILED_BY_ROOT)


@pytest.mark.parametrize(
    ("spoil", "reason"), [row[1:] for row in NOT_FOLLOWED], ids=[row[0] for row in NOT_FOLLOWED]
)
def test_a_forward_that_others_could_have_written_starts_nothing(
    host: SharedHost, spoil: Callable[[Path], None], reason: str
) -> None:
    path = put_forward(host)
    spoil(path)
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/dave", "mail/carol"}
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)
    assert host.queued() == []
    assert host.told(f"{qids[0]}: forward {path}: {reason.replace('[0-9]+', '65536')}")


def foreign_link(host: SharedHost, path: Path) -> None:
    """To what another wrote for himself; all may read it."""
    host.put("carol", path.read_bytes(), "list")
    path.unlink()
    path.symlink_to("../carol/list")


def foreign_hard_link(host: SharedHost, path: Path) -> None:
    other = host.put("carol", path.read_bytes(), "list")
    path.unlink()
    os.link(other, path)


def link_to_a_secret(host: SharedHost, path: Path) -> None:
    path.unlink()
    path.symlink_to(host.secret)


def link_in_a_shared_directory(host: SharedHost, path: Path) -> None:
    """Leads to a directory of the user's own, but mallory says to which one."""
    old = path.with_name("old")
    old.mkdir()
    os.chown(old, UIDS["dave"], UIDS["dave"])
    path.rename(old / "fw")
    (host.evidence / "d").symlink_to(old)
    path.symlink_to(host.evidence / "d" / "fw")


def foreign_home(host: SharedHost, path: Path) -> None:
    os.chown(path.parent, UIDS["carol"], UIDS["carol"])
    path.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (foreign_link, "Wrong owner directory"),
        (foreign_hard_link, "Wrong owner"),
        (link_to_a_secret, "Wrong owner directory"),
        (foreign_home, "Wrong owner directory"),
        (link_in_a_shared_directory, "Symbolic links not allowed"),
    ],
)
def test_what_another_user_wrote_or_chose_is_nobodys_forward(
    host: SharedHost, plant: Plant, reason: str
) -> None:
    path = put_forward(host)
    plant(host, path)
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/dave", "mail/carol"}
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)
    assert host.told(f"{qids[0]}: forward {path}: ") == f"{qids[0]}: forward {path}: {reason}"
    assert host.leaks() == []


# --- what cannot be read: the mail waits ------------------------------------------------------------


def unreadable(host: SharedHost, path: Path) -> None:
    path.chmod(0)


def hard_link_to_a_secret(host: SharedHost, path: Path) -> None:
    path.unlink()
    os.link(host.secret, path)


def link_to_shadow(host: SharedHost, path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/shadow")


@pytest.mark.parametrize("plant", [unreadable, hard_link_to_a_secret, link_to_shadow])
def test_a_forward_that_the_user_may_not_read_makes_the_mail_wait_unread(
    host: SharedHost, plant: Plant
) -> None:
    """Root could read it: what it would have learned would be told in bounces."""
    path = put_forward(host)
    plant(host, path)
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.queued() == [qids[0]]
    assert host.leaks() == []
    assert host.changes(before) == {"mail/carol"}
    assert host.told(
        "to=<dave@lab1.campus>", "dsn=4.3.0", f"stat=Deferred: {path}: Permission denied"
    )


# --- what is followed -------------------------------------------------------------------------------


def as_it_is(host: SharedHost, path: Path) -> None:
    """Mode 0644."""


def private(host: SharedHost, path: Path) -> None:
    path.chmod(0o600)
    path.parent.chmod(0o700)


def roots(host: SharedHost, path: Path) -> None:
    os.chown(path, 0, 0)


def own_link(host: SharedHost, path: Path) -> None:
    path.rename(path.with_name("fw"))
    path.symlink_to("fw")


def own_hard_link(host: SharedHost, path: Path) -> None:
    os.link(path, path.with_name("fw"))


@pytest.mark.parametrize("plant", [as_it_is, private, roots, own_link, own_hard_link])
def test_a_forward_of_the_users_own_is_followed_as_the_user(host: SharedHost, plant: Plant) -> None:
    plant(host, put_forward(host))
    before = host.snapshot()
    host.run(host.submit_each("dave"))
    assert host.changes(before) == {"mail/carol", "evidence/file", "evidence/program"}
    for name in ("file", "program"):
        assert (host.evidence / name).stat().st_uid == UIDS["dave"]


def test_a_home_that_is_not_there_costs_nobody_his_mail(host: SharedHost) -> None:
    put_forward(host).unlink()
    (host.root / "home" / "dave").rmdir()
    host.run(host.submit_each("dave", "carol"))
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)


# --- races ------------------------------------------------------------------------------------------


def fifo(host: SharedHost, path: Path) -> None:
    os.mkfifo(path)


def others_file(host: SharedHost, path: Path) -> None:
    """A file of carol's that dave may read, and that starts things."""
    os.link(host.put("carol", text_of(host), "list"), path)


def world_writable(host: SharedHost, path: Path) -> None:
    path.write_bytes(text_of(host))
    path.chmod(0o666)


def secret(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.secret)


@pytest.mark.parametrize("plant", [secret, others_file, world_writable, fifo])
def test_no_race_makes_us_follow_what_was_not_checked(host: SharedHost, plant: Plant) -> None:
    """dave lets his .forward change places with what may not be followed."""
    path = host.put("dave", b"\\dave, \\carol\n", ".forward")
    other = path.with_name("other")
    plant(host, other)
    qids = host.submit_each(*["dave"] * RACES)
    with attacking(host.user("dave"), exchanger(path, other)):
        for qid in qids:
            host.run([qid])
    assert host.leaks() == []
    assert os.listdir(host.evidence) == []
    assert host.count("dave") == RACES, "each is in the mailbox or still queued"
    host.run(host.submit_each("emma"))
    assert len(host.letters("emma")) == 1


@pytest.mark.parametrize("what", ["home", "parent"])
def test_no_race_of_directories_leads_to_anothers_forward(host: SharedHost, what: str) -> None:
    """Where somebody else may rename homes, one changes places with a link to his own."""
    evil = host.put("mallory", text_of(host), ".forward")
    home = Path(host.user("dave").home)
    host.put("dave", b"\\dave\n", ".forward")
    swapped = home if what == "home" else home.parent
    link = host.root / "link"
    link.symlink_to(evil.parent if what == "home" else evil.parent.parent)
    qids = host.submit_each(*["dave"] * RACES)
    with attacking(host.user("root"), exchanger(swapped, link)):
        for qid in qids:
            host.run([qid])
    assert os.listdir(host.evidence) == []
    assert host.count("dave") == RACES
