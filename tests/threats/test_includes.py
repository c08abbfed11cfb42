"""Who may keep a :include: list, as whom it acts, and what it may not show."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import homes
from tests.support.sharedhost import UIDS, SharedHost, attacking, exchanger

pytestmark = pytest.mark.root

#: deliveries while an attacker swaps
RACES = 15


def put_list(host: SharedHost, owner: str = "dave", text: bytes = b"") -> Path:
    """A list of *owner* in a directory of root's; by default it names all that can be started."""
    directory = host.root / "lists" / "local"
    directory.mkdir(parents=True, exist_ok=True)
    for path in (directory, directory.parent):
        path.chmod(0o755)
    path = directory / "l"
    made = bytes(host.evidence)
    path.write_bytes(text or b'dave\n%b/file\n"|id -u > %b/id; id -G >> %b/id"\n' % ((made,) * 3))
    path.chmod(0o644)
    os.chown(path, UIDS.get(owner, 0), UIDS.get(owner, 0))
    return path


def started(host: SharedHost) -> dict[str, list[int]]:
    """As whom things were done: owner of a file, ids that a program had."""
    found = {path.name: [path.stat().st_uid] for path in host.evidence.iterdir()}
    if "id" in found:
        found["id"] += map(int, (host.evidence / "id").read_text().split())
    return found


# --- who may have written it --------------------------------------------------------------------------

SPOILED = (*homes.SPOILED, *homes.SPOILED_BY_ROOT[1:])


@pytest.mark.parametrize(
    ("spoil", "reason"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED]
)
def test_a_list_that_others_could_have_written_is_returned_as_unusable(
    host: SharedHost, spoil: Callable[[Path], None], reason: str
) -> None:
    path = put_list(host)
    host.aliases(f"list: :include:{path}")
    spoil(path)
    qids = host.submit_each("list", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/emma", "mail/carol"}
    assert host.queued() == []
    shown = f":include:{path}... Cannot open {path}: {reason.replace('[0-9]+', '4194304')}"
    assert host.told(f"{qids[0]}: {shown}")
    assert len(host.letters("carol")) == 1
    (bounce,) = host.letters("emma")
    assert shown in bounce.as_string()


@pytest.mark.parametrize("kind", ["secret", "shadow", "hard link"])
def test_a_list_that_its_reader_may_not_read_is_not_read_by_root(
    host: SharedHost, kind: str
) -> None:
    """In an alias it is DefaultUser who reads, in a .forward its owner."""
    where: Path = Path("/etc/shadow") if kind == "shadow" else host.secret
    if kind == "hard link":
        where = host.root / "home" / "dave" / "link"
        os.link(host.secret, where)
    host.aliases(f"list: :include:{where}")
    host.put("dave", b":include:%b\n" % bytes(where), ".forward")
    qids = host.submit_each("list", "dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/carol"}
    assert host.queued() == qids[:2]
    assert host.leaks() == []
    assert len([line for line in host.lines if f"{where}: Permission denied" in line]) == 2


def test_a_list_below_a_link_to_anothers_secret_does_not_show_it(host: SharedHost) -> None:
    link = host.put("dave", b"", "fw").with_name("link")
    link.symlink_to(host.secret)
    host.put("dave", b":include:%b\n" % bytes(link), ".forward")
    host.run(host.submit_each("dave", "carol"))
    assert host.leaks() == []
    assert len(host.letters("carol")) == 1
    assert host.told("to=:include:", "Permission denied")


# --- as whom it acts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "actor"), [("dave", "dave"), ("mallory", "mallory"), ("root", "daemon")]
)
def test_what_a_list_of_an_alias_starts_runs_as_its_owner_and_never_as_root(
    host: SharedHost, owner: str, actor: str
) -> None:
    host.aliases(f"list: :include:{put_list(host, owner)}")
    host.run(host.submit_each("list"))
    uid = UIDS[actor]
    assert started(host) == {"file": [uid], "id": [uid, uid, uid]}
    assert len(host.letters("dave")) == 1
    assert host.queued() == []


def test_what_a_list_of_a_forward_starts_runs_as_the_owner_of_the_forward(host: SharedHost) -> None:
    """Else he could start what stands in anybody's files."""
    path = put_list(host, "carol")
    host.put("dave", b"\\dave, :include:%b\n" % bytes(path), ".forward")
    host.run(host.submit_each("dave"))
    uid = UIDS["dave"]
    assert started(host) == {"file": [uid], "id": [uid, uid, uid]}


def test_a_list_within_a_list_belongs_to_its_first_owner(host: SharedHost) -> None:
    inner = put_list(host, "root").rename(host.root / "lists" / "local" / "inner")
    outer = put_list(host, "mallory", b":include:%b\n" % bytes(inner))
    host.aliases(f"list: :include:{outer}")
    host.run(host.submit_each("list"))
    uid = UIDS["mallory"]
    assert started(host) == {"file": [uid], "id": [uid, uid, uid]}


@pytest.mark.parametrize("owner", ["number without a user", "no shell"])
def test_a_list_of_who_may_start_nothing_starts_nothing(host: SharedHost, owner: str) -> None:
    path = put_list(host)
    if owner == "no shell":
        host.shells["dave"] = "/usr/sbin/nologin"
        host.write_passwd()
    else:
        os.chown(path, homes.STRANGER, homes.STRANGER)
    host.aliases(f"list: :include:{path}")
    qids = host.submit_each("list", "carol")
    host.run(qids)
    assert started(host) == {}
    assert host.queued() == []
    (bounce,) = host.letters("emma")
    assert "doesn't have a valid shell for mailing to programs" in bounce.as_string()
    assert "doesn't have a valid shell for mailing to files" in bounce.as_string()
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)
    assert [
        line for line in host.lines if line.startswith(f"{qids[0]}: ") and "valid shell" in line
    ]


def test_a_list_cannot_include_itself_for_ever(host: SharedHost) -> None:
    path = put_list(host)
    path.write_bytes(b"dave, :include:%b\n" % bytes(path))
    host.aliases(f"list: :include:{path}")
    host.run(host.submit_each("list", "carol"))
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)
    assert host.queued() == []


# --- races ----------------------------------------------------------------------------------------------


def secret(host: SharedHost, other: Path) -> None:
    other.symlink_to(host.secret)


def world_writable(host: SharedHost, other: Path) -> None:
    other.write_bytes(b'"|touch %b/program"\n' % bytes(host.evidence))
    other.chmod(0o666)


def fifo(host: SharedHost, other: Path) -> None:
    os.mkfifo(other)


def roots_list(host: SharedHost, other: Path) -> None:
    """What acts as DefaultUser if root owns it, as dave if he does."""
    other.write_bytes(b'"|id -u >> %b/ids-of-root"\n' % bytes(host.evidence))


@pytest.mark.parametrize("plant", [secret, world_writable, fifo, roots_list])
def test_no_race_makes_us_believe_what_was_not_checked(
    host: SharedHost, plant: Callable[[SharedHost, Path], None]
) -> None:
    made = bytes(host.evidence)
    path = put_list(host, "dave", b'dave, "|id -u >> %b/ids-of-dave"\n' % made)
    other = path.with_name("other")
    plant(host, other)
    host.aliases(f"list: :include:{path}")
    qids = host.submit_each(*["list"] * RACES)
    with attacking(host.user("root"), exchanger(path, other)):
        for qid in qids:
            host.run([qid])
    assert host.leaks() == []
    assert not (host.evidence / "program").exists()
    ids = {path.name: set(path.read_text().split()) for path in host.evidence.iterdir()}
    assert ids.pop("ids-of-dave", {str(UIDS["dave"])}) == {str(UIDS["dave"])}
    assert ids in ({}, {"ids-of-root": {str(UIDS["daemon"])}})
    host.run(host.submit_each("carol"))
    assert len(host.letters("carol")) == 1
