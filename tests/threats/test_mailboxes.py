"""What users plant in the mail spool, where root writes (CVE-2008-2936, CVE-2020-8793)."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from minimta.mailers.files.mbox import MboxMailer
from minimta.runner.deliver import Deliverer
from minimta.system.users import Users
from tests.support.plants import Plant, directory, fifo, sock
from tests.support.sharedhost import UIDS, SharedHost, attacking, exchanger, replacer, state_of

pytestmark = pytest.mark.root

#: deliveries while an attacker swaps
RACES = 80


def link_to_the_canary(host: SharedHost, box: Path) -> None:
    box.symlink_to(host.canary)


def link_to_the_secret(host: SharedHost, box: Path) -> None:
    box.symlink_to(host.secret)


def link_to_nothing(host: SharedHost, box: Path) -> None:
    box.symlink_to(host.evidence / "new")


def link_to_own_file(host: SharedHost, box: Path) -> None:
    box.symlink_to(host.put("dave", b"mine\n", "mb"))


def link_to_another_mailbox(host: SharedHost, box: Path) -> None:
    box.symlink_to("emma")


def hard_link_to_the_canary(host: SharedHost, box: Path) -> None:
    os.link(host.canary, box)


def hard_link_to_own_file(host: SharedHost, box: Path) -> None:
    os.link(host.put("dave", b"mine\n", "mb", 0o600), box)


def file_of(owner: str, mode: int = 0o600) -> Plant:
    def plant(host: SharedHost, box: Path) -> None:
        box.write_bytes(b"")
        os.chown(box, UIDS.get(owner, 0), UIDS.get(owner, 0))
        box.chmod(mode)

    return plant


def device(host: SharedHost, box: Path) -> None:
    os.mknod(box, 0o20600, os.makedev(1, 3))  # /dev/null
    os.chown(box, UIDS["dave"], UIDS["dave"])


#: name, what is planted, and what the log says about it
PLANTED: tuple[tuple[str, Plant, str], ...] = (
    ("link to the canary", link_to_the_canary, "is no regular file"),
    ("link to a secret", link_to_the_secret, "is no regular file"),
    ("link to nothing", link_to_nothing, "is no regular file"),
    ("link to an own file", link_to_own_file, "is no regular file"),
    ("link to another mailbox", link_to_another_mailbox, "is no regular file"),
    ("hard link to the canary", hard_link_to_the_canary, "has 2 names"),
    ("hard link to an own file", hard_link_to_own_file, "has 2 names"),
    ("attacker's file", file_of("mallory"), f"belongs to uid {UIDS['mallory']}"),
    ("attacker's file 0660", file_of("mallory", 0o660), f"belongs to uid {UIDS['mallory']}"),
    ("root's file", file_of("root"), "belongs to uid 0"),
    ("0666", file_of("dave", 0o666), "has mode 666"),
    ("set-uid", file_of("dave", 0o4600), "has mode 4600"),
    ("executable", file_of("dave", 0o700), "has mode 700"),
    ("fifo", fifo, "is no regular file"),
    ("directory", directory, "is no regular file"),
    ("device", device, "is no regular file"),
    ("socket", sock, "is no regular file"),
)


@pytest.mark.parametrize("mode", [0o2775, 0o1777], ids=["2775 root:mail", "1777 root:root"])
@pytest.mark.parametrize(
    ("plant", "reason"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED]
)
def test_what_is_planted_as_mailbox_gets_nothing_and_the_mail_waits(
    host: SharedHost, mode: int, plant: Plant, reason: str
) -> None:
    host.set_spool(mode, grp.getgrnam("mail").gr_gid if mode == 0o2775 else 0)
    box = host.mailbox("dave")
    plant(host, box)
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/carol"}
    assert len(host.letters("carol")) == 1
    assert host.queued() == [qids[0]]
    assert host.told(f"{qids[0]}: mailbox {box} {reason}")
    assert host.told("to=<dave@lab1.campus>", "dsn=4.2.0, stat=Deferred: ", reason)
    assert host.leaks() == []
    remove(box)
    host.run()
    assert len(host.letters("dave")) == 1
    assert host.queued() == []


def remove(box: Path) -> None:
    if box.is_dir() and not box.is_symlink():
        box.rmdir()
    else:
        box.unlink()


def test_a_mailbox_in_the_name_of_another_costs_only_its_owner_his_mail(host: SharedHost) -> None:
    """One message to both: the recipients part company."""
    file_of("mallory")(host, host.mailbox("dave"))
    qid = host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>")
    host.run()
    assert len(host.letters("carol")) == 1
    assert [r.address for r in host.control(qid).recipients] == [b"<dave@lab1.campus>"]
    assert host.mailbox("dave").stat().st_size == 0


def impatient(host: SharedHost) -> Deliverer:
    """Tries again and again, but at once."""
    made = host.deliverer()
    users = Users(host.options.passwd_file)
    made.mailers["local"] = MboxMailer(host.options, users, pause=lambda seconds: None)
    return made


@pytest.mark.parametrize("kind", ["link", "hard link", "device"])
def test_no_race_of_a_mailbox_with_what_is_not_his_makes_us_write_there(
    host: SharedHost, kind: str
) -> None:
    """dave, who may rename his mailbox, lets it change places with a link to root's file."""
    host.set_spool(0o1777)
    box, other = host.mailbox("dave"), host.mailbox("other")
    file_of("dave")(host, box)
    if kind == "link":
        link_to_the_canary(host, other)
    elif kind == "hard link":
        hard_link_to_the_canary(host, other)
    else:
        device(host, other)
    if kind != "device":
        os.chown(other, UIDS["dave"], -1, follow_symlinks=False)
    before = state_of(host.canary)
    deliverer = impatient(host)
    qids = host.submit_each(*["dave"] * RACES)
    with attacking(host.user("dave"), exchanger(box, other)):
        for qid in qids:
            host.run([qid], deliverer)
            assert state_of(host.canary) == before
    host.run(host.submit_each("carol"))
    assert len(host.letters("carol")) == 1
    # The link first: with fs.protected_symlinks (proc(5)) not even root may follow it there.
    if box.is_symlink() or not box.is_file() or box.stat().st_nlink > 1:
        exchanger(box, other)()
    delivered = len(host.letters("dave"))
    assert delivered + len(host.queued()) == RACES, "each is in the mailbox or still queued"


def test_nothing_is_written_to_a_mailbox_that_was_replaced_meanwhile(host: SharedHost) -> None:
    host.set_spool(0o1777)
    box, new = host.mailbox("dave"), host.mailbox("new")
    file_of("dave")(host, box)
    deliverer = impatient(host)
    qids = host.submit_each(*["dave"] * 3 * RACES)
    with attacking(host.user("dave"), replacer(box, new)):
        for qid in qids:
            host.run([qid], deliverer)
    assert host.letters("dave")
    assert host.count("dave") == 3 * RACES, "each is in the mailbox or still queued"
