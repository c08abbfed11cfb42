"""The hint by which a user's mailq finds their letters in a directory that they cannot list."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.queue import own_letters
from minimta.queue.spool import Spool
from minimta.system import log

FIRST, SECOND = "6AM9CfOn000096", "6AM9CfOo000096"


class Client:
    """clientmqueue, open as it is to a user."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.chmod(0o1733)
        self.folder = os.open(path, os.O_PATH | os.O_DIRECTORY)
        self.own = path / f"own.{os.geteuid()}"

    def note(self, *ids: str) -> None:
        for qid in ids:
            own_letters.note(self.folder, qid)

    def read(self) -> list[str]:
        return own_letters.read(self.folder)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "clientmqueue").mkdir()
    client = Client(tmp_path / "clientmqueue")
    yield client
    os.close(client.folder)


def test_what_was_noted_is_read_once_and_in_order(client: Client) -> None:
    assert client.read() == []
    client.note(FIRST, SECOND, FIRST)
    assert client.read() == [FIRST, SECOND]
    assert client.own.stat().st_mode & 0o777 == 0o600


def test_lines_that_are_no_ids_are_nobodys(client: Client) -> None:
    client.own.write_bytes(b"../../etc/passwd\n\xff\n" + SECOND.encode() + b"\nqf\n" + b"x" * 100)
    assert client.read() == [SECOND]


def _fifo(own: Path, victim: Path) -> None:
    os.mkfifo(own)


PLANTED: list[Callable[[Path, Path], object]] = [
    lambda own, victim: own.symlink_to(victim),
    lambda own, victim: own.symlink_to(victim.with_name("nowhere")),
    lambda own, victim: own.hardlink_to(victim),
    _fifo,
    lambda own, victim: own.mkdir(),
]


@pytest.mark.parametrize(
    "plant", PLANTED, ids=["link", "dangling", "hard link", "fifo", "directory"]
)
def test_what_others_put_in_its_place_is_not_touched(
    client: Client, tmp_path: Path, plant: Callable[[Path, Path], object]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    plant(client.own, victim)
    client.note(FIRST)
    assert victim.read_text() == "mine" and not (tmp_path / "nowhere").exists()
    with pytest.raises(OSError):
        client.read()


@pytest.mark.root
def test_a_file_of_another_user_is_not_believed(client: Client) -> None:
    client.note(FIRST)
    os.chown(client.own, 54321, -1)
    with pytest.raises(PermissionError, match="somebody else"):
        client.read()
    client.note(SECOND)
    assert client.own.read_text() == f"{FIRST}\n"


def test_a_hint_that_cannot_be_written_is_left(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        client.note(FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        client.note(FIRST)
    assert client.read() == []


def test_of_thousands_of_letters_those_that_are_gone_are_forgotten(client: Client) -> None:
    (client.path / f"qf{FIRST}").touch()
    (client.path / f"Qf{SECOND}").touch()
    client.note(FIRST, SECOND)
    for number in range(3000):
        client.note(f"6AM9CfOo{number:06}")
    assert client.own.stat().st_size < 1 << 14
    assert client.read()[:2] == [FIRST, SECOND]


def test_what_a_user_makes_of_their_own_file_costs_no_memory(client: Client) -> None:
    with client.own.open("wb") as file:
        file.truncate(1 << 40)
    client.note(FIRST, SECOND)
    assert client.read() == [SECOND]


@pytest.mark.root
def test_the_runner_removes_only_what_stands_in_anothers_place(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    (client.path / f"qf{FIRST}").touch()
    for name, uid in (("own.4001", 4001), ("own.4002", 4001), ("own.x", 4001), ("own.", 4001)):
        (client.path / name).touch()
        os.chown(client.path / name, uid, -1)
    (client.path / "own.4003").symlink_to("/etc/passwd")
    os.mkfifo(client.path / "own.4004")
    (client.path / "own.4005" / "full").mkdir(parents=True)
    stray = f"stray.{(client.path / 'own.4005').stat().st_ino}"
    spool = Spool(str(client.path))
    own_letters.sweep(spool)
    spool.close()
    left = {path.name for path in client.path.iterdir()}
    assert left == {"own.", "own.4001", stray, "own.x", f"qf{FIRST}"}
    (line,) = lines
    assert line.startswith("removed 4 misplaced: ") and "own.4002 (made by uid 4001)" in line


def test_when_no_letter_waits_the_runner_removes_the_hints(client: Client) -> None:
    spool = Spool(str(client.path))
    client.note(FIRST)
    (client.path / f"qf{FIRST}").touch()
    own_letters.sweep(spool)
    assert client.read() == [FIRST]
    (client.path / f"qf{FIRST}").unlink()
    own_letters.sweep(spool)
    assert list(client.path.iterdir()) == []
    spool.close()


def test_what_cannot_be_removed_does_not_keep_the_rest(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: said.append(text))
    for uid in range(4001, 4004):
        (client.path / f"own.{uid}").mkdir()
    blocked = [(client.path / f"own.{uid}").stat().st_ino for uid in (4001, 4002)]
    for inode in blocked:
        (client.path / f"stray.{inode}").mkdir()
        (client.path / f"stray.{inode}" / "x").touch()
    (client.path / "own.4004").symlink_to("nowhere")
    own_letters.sweep(Spool(str(client.path)))
    left = {path.name for path in client.path.glob("own.*")}
    assert left == {"own.4001", "own.4002"}
    assert [text.split(":")[0] for text in said] == [
        "removed 2 misplaced",
        "cannot remove 2 misplaced",
    ]
