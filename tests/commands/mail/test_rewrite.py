"""A mailbox that is rewritten loses nothing: kill -9, power cut, mail that comes at any moment."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.commands.mail import folder, rewrite
from minimta.commands.mail.folder import Folder
from minimta.commands.mail.own_file import OwnFile
from minimta.mailers.files.locked_file import LockedFile
from tests.support.powercut import Disk


def text(name: str, lines: int = 3) -> bytes:
    line = b"From emma@lab1.campus  Sun Nov 22 09:37:57 2026\n"
    return line + b"Subject: %b\n\n" % name.encode() + b"%b\n" % name.encode() * lines + b"\n"


def subjects(path: Path) -> list[str]:
    read = folder.read(str(path))
    try:
        for letter in read.letters:  # each is whole: empty lines behind it do not count
            name = letter.subject.encode()
            lines = read.octets(letter.start, letter.end).split(b"\n")
            body = lines[lines.index(b"") :]
            assert set(body) == {b"", name}
            assert body.count(name) == (400 if name == b"L" else 3)
        return [letter.subject for letter in read.letters]
    finally:
        read.close()


def rewritten(read: Folder, home: Path, stays: list[int]) -> None:
    with LockedFile(OwnFile(read.path)) as tail:
        rewrite.replace(read, tail, [read.letters[index] for index in stays], str(home))


def deliver(box: Path, name: str) -> None:
    with LockedFile(OwnFile(str(box))) as tail:
        tail.append([text(name)])


def finish(box: Path, home: Path) -> bool:
    with LockedFile(OwnFile(str(box))) as tail:
        return rewrite.finish(str(box), tail, str(home))


def test_what_stays_stays_with_a_status_and_what_came_since(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(text("a") + text("b") + text("c"))
    read = folder.read(str(box))
    read.letters[2].is_read = True
    deliver(box, "d")
    rewritten(read, tmp_path, [0, 2])
    assert subjects(box) == ["a", "c", "d"]
    assert [letter.status for letter in folder.read(str(box)).letters] == ["O", "RO", ""]
    assert os.listdir(tmp_path) == ["box"]


def test_a_mailbox_that_another_program_changed_is_left_alone(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(text("a") + text("b"))
    read = folder.read(str(box))
    box.write_bytes(text("b"))
    with pytest.raises(rewrite.Changed):
        rewritten(read, tmp_path, [0])
    assert subjects(box) == ["b"]


#: (what was there, what stays, Status before): shorter, longer, the same length, empty
PLANS = {
    "first deleted": ("abc", [1, 2]),
    "last deleted": ("abc", [0, 1]),
    "all deleted": ("abc", []),
    "none deleted": ("abc", [0, 1, 2]),
    "long one deleted": ("LbcL", [1, 2]),
    "one of two": ("ab", [1]),
}


def contents(names: str) -> bytes:
    return b"".join(text(name, 400 if name == "L" else 3) for name in names)


def interrupted_rewrites(
    home: Path, names: str, stays: list[int]
) -> Iterator[tuple[int, Path, bool]]:
    """(cut, directory beside *home*, was it done): all that a power cut may leave of the rewriting.

    The mailbox *home*/box has the letters *names*, of which those of the numbers *stays* stay.
    """
    home.mkdir()
    (home / "box").write_bytes(contents(names))
    read = folder.read(str(home / "box"))
    with Disk(home) as disk:
        rewritten(read, home, stays)
        disk.mark("rewritten")
    read.close()
    for cut, left in laid_out(disk, home):
        yield cut, left, bool(disk.marks(cut))


def laid_out(disk: Disk, home: Path) -> Iterator[tuple[int, Path]]:
    """(cut, directory in *home*'s own directory): each state that may be left of *disk*, which was *home*."""
    for cut in disk.cuts():
        for number, state in enumerate(disk.survivors(after=cut)):
            left = home.parent / f"{home.name}.{cut}.{number}"
            left.mkdir()
            state.write(left)
            for copy in left.glob(".mail-rewrite.????????"):
                renamed(copy, home, left)
            yield cut, left


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("arrivals", [0, 1, 2])
def test_whenever_the_plug_is_pulled_no_message_is_lost_or_torn(
    plan: str, arrivals: int, tmp_path: Path
) -> None:
    names, stays = PLANS[plan]
    kept, states = {names[index] for index in stays}, 0
    for cut, left, is_done in interrupted_rewrites(tmp_path / "home", names, stays):
        for arrival in range(arrivals):
            deliver(left / "box", f"new{arrival}")
        finish(left / "box", left)
        found = Counter(subjects(left / "box"))
        assert found.pop("new0", 0) == min(arrivals, 1), (cut, left)
        assert found.pop("new1", 0) == max(arrivals - 1, 0), (cut, left)
        assert kept <= found.keys() <= set(names), (cut, left)
        assert max(found.values(), default=1) == (
            2 if names.count("L") == 2 and "L" in found else 1
        )
        if is_done:
            assert found.keys() == kept
        assert not list(left.glob(".mail-rewrite.*"))
        states += 1
    assert states > 3


def test_who_finishes_it_may_meet_a_power_cut_too(tmp_path: Path) -> None:
    states = 0
    for _, left, _ in interrupted_rewrites(tmp_path / "home", "abc", [1, 2]):
        deliver(left / "box", "new")
        with Disk(left) as second:
            finish(left / "box", left)
        for _, last in laid_out(second, left):
            finish(last / "box", last)
            found = Counter(subjects(last / "box"))
            assert found.keys() >= {"b", "c", "new"}, last
            assert set(found.values()) == {1}, last
            states += 1
    assert states > 3


def renamed(copy: Path, home: Path, fresh: Path) -> None:
    """The copy names its mailbox by its path, which is another one in the directory of a survivor."""
    head, newline, rest = copy.read_bytes().partition(b"\n")
    copy.unlink()
    path = rewrite.copy_of(str(fresh / "box"), str(fresh))
    Path(path).write_bytes(
        head.replace(str(home / "box").encode(), str(fresh / "box").encode()) + newline + rest
    )


def test_a_copy_of_a_mailbox_that_is_another_one_by_now_is_kept_for_the_user(
    tmp_path: Path,
) -> None:
    keeps_a_copy(tmp_path, rewrite.SAVED)


def keeps_a_copy(tmp_path: Path, name: str) -> None:
    box = tmp_path / "box"
    box.write_bytes(text("a") + text("b") + text("c"))
    read = folder.read(str(box))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewrite, "_carry_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rewritten(read, tmp_path, [0, 2])
    read.close()
    box.write_bytes(text("z"))
    with pytest.raises(rewrite.Changed):
        finish(box, tmp_path)
    assert subjects(box) == ["z"]
    assert b"Subject: c" in (tmp_path / name).read_bytes()
    assert not finish(box, tmp_path)


def test_a_second_kept_copy_leaves_the_first(tmp_path: Path) -> None:
    (tmp_path / rewrite.SAVED).write_bytes(b"kept before")
    keeps_a_copy(tmp_path, f"{rewrite.SAVED}.1")
    assert (tmp_path / rewrite.SAVED).read_bytes() == b"kept before"


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(text("a") + text("b"))
    read = folder.read(str(box))
    with pytest.raises(OSError):
        rewritten(read, tmp_path / "nowhere", [1])
    assert subjects(box) == ["a", "b"]


def test_a_copy_that_could_not_be_made_is_removed_and_one_of_a_dead_session_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, home = tmp_path / "box", tmp_path / "home"
    home.mkdir()
    box.write_bytes(text("a") + text("b"))
    Path(rewrite.copy_of(str(box), str(home))).write_bytes(b"half of one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rewritten(folder.read(str(box)), home, [1])
    assert os.listdir(home) == []
    assert subjects(box) == ["a", "b"]
    rewritten(folder.read(str(box)), home, [1])
    assert subjects(box) == ["b"]
    assert os.listdir(home) == []
