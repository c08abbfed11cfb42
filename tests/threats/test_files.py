"""What is planted where a .forward or an alias names a file to be appended to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.mailers.files.file_mailer import FileMailer
from tests.support.plants import Plant, directory, fifo, sock
from tests.support.sharedhost import UIDS, SharedHost, attacking, exchanger, replacer, state_of

pytestmark = pytest.mark.root

#: deliveries while an attacker swaps
RACES = 20


def link_to_the_canary(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.canary)


def link_to_own_file(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.put("dave", b"", "own"))


def link_to_nothing(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.root / "home" / "dave" / "new")


def hard_link_to_the_canary(host: SharedHost, path: Path) -> None:
    os.link(host.canary, path)


def hard_link_to_own_file(host: SharedHost, path: Path) -> None:
    os.link(host.put("dave", b"", "own"), path)


def device(host: SharedHost, path: Path) -> None:
    os.mknod(path, 0o20666, os.makedev(1, 3))  # /dev/null
    os.chown(path, UIDS["dave"], UIDS["dave"])


def file_of(owner: str, mode: int) -> Plant:
    def plant(host: SharedHost, path: Path) -> None:
        path.write_bytes(b"old\n")
        os.chown(path, UIDS.get(owner, 0), UIDS.get(owner, 0))
        path.chmod(mode)

    return plant


def in_an_open_directory(host: SharedHost, path: Path) -> None:
    path.parent.chmod(0o777)


def in_a_directory_of_another(host: SharedHost, path: Path) -> None:
    os.chown(path.parent, UIDS["mallory"], UIDS["mallory"])


def in_an_open_directory_of_another(host: SharedHost, path: Path) -> None:
    os.chown(path.parent, UIDS["mallory"], UIDS["mallory"])
    path.parent.chmod(0o777)


def through_a_link_in_a_shared_directory(host: SharedHost, path: Path) -> None:
    """mallory chooses which directory of dave's it is."""
    path.parent.rmdir()
    (host.evidence / "d").symlink_to(host.root / "home" / "dave")
    path.parent.symlink_to(host.evidence / "d")


def no_directory(host: SharedHost, path: Path) -> None:
    path.parent.rmdir()


#: name, what is planted, whether it comes back to the sender (else it waits), a part of the log line
PLANTED: list[tuple[str, Plant, bool, str]] = [
    ("link to the canary", link_to_the_canary, True, "not a regular file"),
    ("link to an own file", link_to_own_file, True, "not a regular file"),
    ("link to nothing", link_to_nothing, True, "not a regular file"),
    ("hard link to the canary", hard_link_to_the_canary, True, "2 names"),
    ("hard link to an own file", hard_link_to_own_file, True, "2 names"),
    ("fifo", fifo, True, "not a regular file"),
    ("directory", directory, True, "not a regular file"),
    ("device", device, True, "not a regular file"),
    ("socket", sock, True, "not a regular file"),
    ("executable", file_of("dave", 0o700), True, "executable"),
    ("closed", file_of("dave", 0o400), True, "Permission denied"),
    ("root's", file_of("root", 0o644), True, "Permission denied"),
    ("another's", file_of("mallory", 0o644), True, "belongs to uid"),
    ("another's, open", file_of("mallory", 0o666), False, "Wrong owner"),
    ("root's, open", file_of("root", 0o666), False, "World writable file"),
    ("own, open", file_of("dave", 0o666), False, "World writable file"),
    ("set-uid", file_of("dave", 0o4600), False, "Set-id file"),
    ("set-gid", file_of("dave", 0o2600), False, "Set-id file"),
    ("set-uid of another", file_of("mallory", 0o4666), False, "Set-id file"),
    ("open directory", in_an_open_directory, False, "World writable directory"),
    ("another's directory", in_a_directory_of_another, True, "Wrong owner directory"),
    ("another's open directory", in_an_open_directory_of_another, False, "directory"),
    ("chosen link", through_a_link_in_a_shared_directory, False, "Symbolic links not allowed"),
    ("no directory", no_directory, True, "No such file or directory"),
]


def place(host: SharedHost, where: str) -> Path:
    """Where mail for dave goes by his .forward, or by a list of his: a file in his directory."""
    directory_of_dave = host.root / "home" / "dave" / "d"
    directory_of_dave.mkdir()
    directory_of_dave.chmod(0o755)
    os.chown(directory_of_dave, UIDS["dave"], UIDS["dave"])
    path = directory_of_dave / "box"
    if where == "forward":
        host.put("dave", b"%b\n" % bytes(path), ".forward")
    else:
        host.aliases(f"dave: :include:{host.put('dave', b'%b' % bytes(path), 'list')}")
    return path


@pytest.mark.parametrize("where", ["forward", "include"])
@pytest.mark.parametrize(
    ("plant", "bounces", "reason"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED]
)
def test_what_is_planted_as_file_gets_nothing(
    host: SharedHost, where: str, plant: Plant, bounces: bool, reason: str
) -> None:
    path = place(host, where)
    plant(host, path)
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/carol"} | ({"mail/emma"} if bounces else set())
    assert len(host.letters("carol")) == 1
    assert host.queued() == ([] if bounces else [qids[0]])
    assert host.told(f"{qids[0]}: file {path}: ", reason)
    said = "stat=Can't create output" if bounces else f"stat=Deferred: {path}: "
    assert host.told(f"{qids[0]}: to={path}", said)


@pytest.mark.parametrize("path", ["/etc/cron.d/pwned", "/root/.ssh/authorized_keys", "{c}/inbox"])
@pytest.mark.parametrize("where", ["alias", "forward"])
def test_no_file_is_written_where_its_controlling_user_may_not(
    host: SharedHost, where: str, path: str
) -> None:
    """Neither dave nor DefaultUser is root."""
    path = path.format(c=host.root / "home" / "carol")
    if where == "alias":
        host.aliases(f"dave: {path}")
    else:
        host.put("dave", path.encode(), ".forward")
    there = os.path.lexists(path)
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/emma", "mail/carol"}
    assert os.path.lexists(path) == there
    assert host.told(f"{qids[0]}: file {path}: ")


def link_to_mallory(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.put("mallory", b"", "collection", 0o666))


@pytest.mark.parametrize(
    "plant", [link_to_the_canary, hard_link_to_the_canary, fifo, link_to_mallory]
)
def test_no_race_makes_us_append_to_what_was_not_checked(host: SharedHost, plant: Plant) -> None:
    path = place(host, "forward")
    file_of("dave", 0o600)(host, path)
    other = path.with_name("other")
    plant(host, other)
    guarded = [host.canary, *(host.root / "home" / "mallory").iterdir()]
    before = [state_of(one) for one in guarded]
    inode = path.stat().st_ino
    deliverer = host.deliverer()
    deliverer.mailers["*file*"] = FileMailer(host.options, pause=lambda seconds: None)
    qids = host.submit_each(*["dave"] * RACES)
    with attacking(host.user("dave"), exchanger(path, other)):
        for qid in qids:
            host.run([qid], deliverer)
    assert [state_of(one) for one in guarded] == before
    (box,) = [one for one in path.parent.iterdir() if one.lstat().st_ino == inode]
    delivered = box.read_bytes().count(b"\nFrom ")
    bounced = len(host.letters("emma"))
    assert delivered + bounced + len(host.queued()) == RACES
    host.run(host.submit_each("carol"))
    assert len(host.letters("carol")) == 1


def test_nothing_is_written_to_a_file_that_was_replaced_meanwhile(host: SharedHost) -> None:
    path = place(host, "forward")
    file_of("dave", 0o600)(host, path)
    deliverer = host.deliverer()
    deliverer.mailers["*file*"] = FileMailer(host.options, pause=lambda seconds: None)
    qids = host.submit_each(*["dave"] * 5 * RACES)
    with attacking(host.user("dave"), replacer(path, path.with_name("new"))):
        for qid in qids:
            host.run([qid], deliverer)
    assert path.read_bytes().count(b"\nFrom ") + len(host.queued()) == 5 * RACES
