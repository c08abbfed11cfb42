"""The text of a mailbox; and what a killed delivery left: cut off if provably ours, else not touched."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.files import append, mbox_format
from minimta.mailers.files.append import NOTE, PAGE, Tail, tears
from minimta.mailers.files.file_mailer import PlainFile
from minimta.mailers.files.locked_file import LockedFile
from minimta.mailers.files.mbox import Mailbox
from minimta.mailers.files.mbox_format import MboxText, quote, quoted_body
from minimta.system.users import User
from tests.support.jobs import job

DATE = b"Sun Nov 22 09:37:07 2026"
LATER = b"Mon Nov 23 10:00:00 2026"
KEPT = b"From a  then\n\nkept\n\n"
FOREIGN = b"From bob  then\n\nsomebody else's\n\n"
WORDS = b"".join(b"line %d of the letter\n" % number for number in range(2000))


class Attributes:
    """Extended attributes where the file system of /tmp may have none."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of: dict[int, bytes] = {}
        patch.setattr(os, "setxattr", self._set)
        patch.setattr(os, "getxattr", self._named)
        patch.setattr(os, "removexattr", lambda file, name: self.of.pop(_inode(file)))

    def _set(self, file: int, name: str, value: bytes) -> None:
        assert name == NOTE
        self.of[_inode(file)] = value

    def _named(self, file: int, name: str) -> bytes:
        assert name == NOTE
        if _inode(file) not in self.of:
            raise OSError(61, "No data available")
        return self.of[_inode(file)]


def _inode(file: int) -> int:
    return os.fstat(file).st_ino


@pytest.fixture
def attributes(monkeypatch: pytest.MonkeyPatch) -> Attributes:
    return Attributes(monkeypatch)


@pytest.fixture
def no_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    for name in ("setxattr", "getxattr", "removexattr"):
        monkeypatch.setattr(os, name, fail)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[int]:
    """A mailbox with a message in it, open."""
    (tmp_path / "box").write_bytes(KEPT)
    file = os.open(tmp_path / "box", os.O_RDWR | os.O_APPEND)
    yield file
    os.close(file)


def content(box: int) -> bytes:
    return os.pread(box, 1 << 24, 0)


def text(body: bytes = WORDS, **more: Any) -> MboxText:
    return MboxText(job("", "dave", body=body, **more))


OTHER = b"Subject: another one\n"


class Killed(BaseException):
    pass


def killed(box: int, patch: pytest.MonkeyPatch, at: int, *texts: MboxText) -> None:
    """Append *texts*, but die when the file has *at* octets: nothing after that is done."""

    def writev(file: int, parts: list[bytes]) -> int:
        room = at - os.fstat(file).st_size
        written = os.write(file, b"".join(parts)[:room])
        if written == room:
            raise Killed
        return written

    with patch.context() as now:
        now.setattr(os, "writev", writev)
        with pytest.raises(Killed):
            end = Tail(box)
            for one in texts:
                end.append(one.parts(DATE))


def whole(*texts: MboxText) -> bytes:
    return b"".join(part for one in texts for part in one.parts(DATE))


# --- the text -------------------------------------------------------------------------------------


def test_the_null_sender_is_mailer_daemon() -> None:
    assert text(reverse_path=b"").sender == b"From MAILER-DAEMON  "


def test_no_line_end_in_a_sender_forges_a_line() -> None:
    assert text(reverse_path=b"a\nFrom b\r").sender == b"From aFrom b  "


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"", b""),
        (b"\n", b"\n"),
        (b"hi", b"hi\n"),
        (b"From me to you\n>From quoted\nfrom lower\n From indented\nFrom:colon\n\nFrom after\n",
         b">From me to you\n>From quoted\nfrom lower\n From indented\nFrom:colon\n\n>From after\n"),
        (b"From \nFrom \n", b">From \n>From \n"),
        (b"From ", b">From \n"),
        (b"x From y\n", b"x From y\n"),
        (b"body   \n\n\n\n", b"body   \n\n\n\n"),
        (b"\r\nFrom x\r\n", b"\r\n>From x\r\n"),
    ],
)  # fmt: skip
def test_every_line_that_begins_with_from_is_quoted(body: bytes, stored: bytes) -> None:
    it = job("", "dave", body=body)
    assert b"".join(quoted_body(it.body, it.size)) == b"\n" + stored


@pytest.mark.parametrize("size", range(1, 30))
def test_any_chunk_size_gives_the_same_text(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    body = b"From a\nFrom b\n\n\nFrom c long line without an end From d\nFrom\nFro\n From e\nFrom f"
    monkeypatch.setattr(mbox_format, "CHUNK", size)
    it = job("", "dave", body=body)
    expected = (b"\n" + body).replace(b"\nFrom ", b"\n>From ") + b"\n"
    assert b"".join(quoted_body(it.body, it.size)) == expected


def test_a_header_line_cannot_be_a_separator() -> None:
    assert quote(b"From x  y\nA: b\nFrom z\n") == b">From x  y\nA: b\n>From z\n"
    assert quote(b"From: x\n") == b"From: x\n"


# --- noted: whatever comes next -------------------------------------------------------------------


def test_a_piece_that_ends_at_a_page_is_cut_off_before_any_other_message(
    box: int, attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = range(PAGE, len(KEPT) + len(whole(text())), PAGE)
    assert len(pages) > 5
    for at in pages:
        killed(box, monkeypatch, at, text())
        assert len(content(box)) == at
        end = Tail(box)
        assert end.mend([text(b"x\n", header=OTHER)]) == at - len(KEPT)
        end.forget()
        assert content(box) == KEPT
        assert not attributes.of


def test_between_the_writes_of_a_long_message_too(
    box: int, attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mbox_format, "CHUNK", 1000)
    sizes: list[int] = []
    real = os.writev

    def writev(file: int, parts: list[bytes]) -> int:
        sizes.append(os.fstat(file).st_size)
        return real(file, parts)

    with monkeypatch.context() as now:
        now.setattr(os, "writev", writev)
        Tail(box).append(text().parts(DATE))
    os.ftruncate(box, len(KEPT))
    assert len(sizes) > 20
    for at in sizes[1:]:
        killed(box, monkeypatch, at, text())
        assert Tail(box).mend([text(b"x\n", header=OTHER)]) == at - len(KEPT)


def test_those_before_it_in_the_same_delivery_go_with_it(
    box: int, attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of them was recorded: that comes after the fsync that never was.
    texts = [text(b"one\n"), text(b"two\n"), text()]
    killed(box, monkeypatch, 2 * PAGE, *texts)
    assert content(box).count(b"\nFrom emma") == 3
    Tail(box).mend(texts)
    assert content(box) == KEPT


def test_after_one_that_failed_the_note_begins_again(
    box: int, attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Tail(box)
    end.append(text(b"one\n").parts(DATE))
    size = end.size()
    end.append(text().parts(DATE))
    end.cut(size)

    def writev(file: int, parts: list[bytes]) -> int:
        os.write(file, b"".join(parts)[: 3 * PAGE - size])
        raise Killed

    with monkeypatch.context() as now:
        now.setattr(os, "writev", writev)
        with pytest.raises(Killed):
            end.append(text().parts(DATE))
    assert Tail(box).mend([]) == 3 * PAGE - size
    assert content(box) == KEPT + whole(text(b"one\n"))


def test_the_note_is_gone_when_the_delivery_is_over(box: int, attributes: Attributes) -> None:
    end = Tail(box)
    end.append(text().parts(DATE))
    assert attributes.of
    end.forget()
    assert not attributes.of
    assert content(box) == KEPT + whole(text())


@pytest.mark.parametrize("kind", [Mailbox, PlainFile])
def test_no_mailbox_and_no_file_keeps_one(
    ground: Path, attributes: Attributes, kind: type[Mailbox | PlainFile]
) -> None:
    us = User("dave", os.getuid(), os.getgid())
    place = str(ground if kind is Mailbox else ground / "dave")
    with LockedFile(kind(place, us)) as end:
        end.append(text().parts(DATE))
        assert attributes.of
    assert not attributes.of


def test_whole_messages_stay_however_old_the_note_beside_them(
    box: int, attributes: Attributes
) -> None:
    for body in (WORDS, b"x" * (PAGE - 100), *(b"x" * (PAGE - n) for n in range(60, 180))):
        end = Tail(box)
        end.append(text(body).parts(DATE))
        before = content(box)
        for cut in (before, before[:-1], before[:-2]):  # readers touch the last line ends
            os.ftruncate(box, len(cut))
            assert Tail(box).mend([text(body), text(b"x\n", header=OTHER)]) == 0
            assert content(box) == cut


def other_octets(box: int) -> None:
    os.lseek(box, 0, 0)
    octets = content(box)
    os.ftruncate(box, 0)
    os.write(box, octets[:-1] + b"?")


def shifted(box: int) -> None:
    octets = content(box)
    os.ftruncate(box, 0)
    os.write(box, octets.replace(KEPT, KEPT[:-3] + b"\n\n", 1))


def longer(box: int) -> None:
    os.write(box, FOREIGN)


def longer_by_a_page(box: int) -> None:
    os.write(box, FOREIGN.ljust(PAGE, b"\n"))


def shorter(box: int) -> None:
    os.ftruncate(box, os.fstat(box).st_size - 10)


def expunged(box: int) -> None:
    os.ftruncate(box, len(KEPT))


@pytest.mark.parametrize(
    "change", [other_octets, shifted, longer, longer_by_a_page, shorter, expunged]
)
def test_what_anybody_has_changed_since_stays(
    box: int, attributes: Attributes, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    killed(box, monkeypatch, 3 * PAGE, text())
    change(box)
    before = content(box)
    end = Tail(box)
    assert end.mend([text(b"x\n", header=OTHER)]) == 0
    assert content(box) == before
    end.append(text(b"x\n").parts(DATE))
    end.forget()
    assert content(box).startswith(before.rstrip(b"\n"))
    assert b"\n\nFrom emma@lab1.campus  " in content(box)[len(before) - 2 :]


FORGED = {
    "empty": b"",
    "short": b"x" * 20,
    "head alone": struct.pack("!QQQ??", 0, 0, 1 << 62, True, True),
    "everything": struct.pack("!QQQ??", 0, 1, 1 << 62, False, False) + bytes(400),
    "nothing": struct.pack("!QQQ??", 1 << 63, 1 << 63, 1 << 63, False, False) + bytes(8),
    "backwards": struct.pack("!QQQ??", 0, 1 << 62, 1, False, False) + bytes(8),
    "odd": struct.pack("!QQQ??", 0, 0, 10, True, False) + bytes(5),
}


@pytest.mark.parametrize("note", FORGED.values(), ids=FORGED)
def test_a_forged_note_costs_nothing(box: int, attributes: Attributes, note: bytes) -> None:
    attributes.of[_inode(box)] = note
    os.ftruncate(box, 1 << 40)  # a user's, with a hole
    end = Tail(box)
    assert end.mend([]) == 0
    end.forget()
    assert os.fstat(box).st_size == 1 << 40
    assert not attributes.of


def test_the_note_stays_while_the_piece_cannot_be_cut_off(
    box: int, attributes: Attributes, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(box, monkeypatch, 2 * PAGE, text())

    def ftruncate(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as now:
        now.setattr(os, "ftruncate", ftruncate)
        end = Tail(box)
        with pytest.raises(OSError, match="Input"):
            end.mend([])
        end.forget()
    assert Tail(box).mend([]) == 2 * PAGE - len(KEPT)


def test_the_attribute_is_a_real_one() -> None:
    with tempfile.NamedTemporaryFile(dir=Path(__file__).parent) as file:
        try:
            os.setxattr(file.fileno(), "user.other", b"x")
        except OSError:
            pytest.skip("the file system of the tests has no extended attributes")
        end = Tail(file.fileno())
        end.append(text().parts(DATE))
        assert NOTE in os.listxattr(file.fileno())
        os.ftruncate(file.fileno(), PAGE)
        again = Tail(file.fileno())
        assert again.mend([]) == PAGE
        again.forget()
        assert os.listxattr(file.fileno()) == ["user.other"]


# --- resumed: the message itself comes again --------------------------------------------------------


def test_any_piece_of_a_message_that_comes_again_is_cut_off(box: int, no_attributes: None) -> None:
    again = text(b"From the start\n" + WORDS[:3000])
    all_of_it = whole(again)
    for size in range(5, len(all_of_it)):
        os.ftruncate(box, len(KEPT))
        os.write(box, all_of_it[:size])
        torn = all_of_it[size:].strip(b"\n") != b""
        end = Tail(box)
        assert end.mend([text(b"x\n", header=OTHER), again]) == (size if torn else 0), size


def test_in_a_new_mailbox_too(box: int, no_attributes: None) -> None:
    os.ftruncate(box, 0)
    os.write(box, whole(text())[:9000])
    assert Tail(box).mend([text()]) == 9000
    assert content(box) == b""


def test_a_long_piece_is_found(box: int, no_attributes: None) -> None:
    long = text(WORDS * 100)
    piece = whole(long)[:-20]
    assert len(piece) > 3 << 20
    os.write(box, piece)
    assert Tail(box).mend([long]) == len(piece)
    assert content(box) == KEPT


@pytest.mark.parametrize("block", [*range(1, 40), 100, 1000])
def test_wherever_the_blocks_are_cut_that_it_is_looked_for_in(
    box: int, no_attributes: None, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(append, "_BLOCK", block)
    os.write(box, whole(text())[:300])
    assert Tail(box).mend([text()]) == 300
    assert content(box) == KEPT


def test_a_piece_of_another_message_stays_and_is_ended(box: int, no_attributes: None) -> None:
    piece = whole(text())[:9000]
    os.write(box, piece)
    end = Tail(box)
    others = [
        text(header=OTHER),
        text(reverse_path=b"carol@lab1.campus"),
        text(WORDS[:100] + b"?" + WORDS[101:]),
    ]
    assert end.mend(others) == 0
    end.append(text(b"x\n").parts(DATE))
    assert content(box).startswith(KEPT + piece + b"\n\nFrom emma@lab1.campus  ")


def test_what_came_after_the_piece_stays(box: int, no_attributes: None) -> None:
    os.write(box, whole(text())[:9000] + b"\n\n" + FOREIGN)
    assert Tail(box).mend([text()]) == 0


def test_a_message_that_is_not_what_it_was_proves_nothing(box: int, no_attributes: None) -> None:
    os.write(box, whole(text())[:9000])
    assert Tail(box).mend([text(WORDS[:8000], size=len(WORDS))]) == 0


def test_no_more_is_read_than_the_messages_are_long(
    box: int, no_attributes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.write(box, b"x" * (4 << 20))
    read = 0
    real = os.pread

    def pread(file: int, size: int, position: int) -> bytes:
        nonlocal read
        found = real(file, size, position)
        read += len(found)
        return found

    monkeypatch.setattr(os, "pread", pread)
    assert Tail(box).mend([text(b"x\n")]) == 0
    assert read < 1000


def test_a_body_of_nothing_but_separators_is_not_longer_than_its_limit() -> None:
    for body in (b"", b"From ", b"From \n" * 1000, b"\nFrom " * 1000):
        one = text(body, reverse_path=b"")
        assert len(whole(one)) <= one.limit


def test_a_date_of_another_attempt_is_no_difference(box: int, no_attributes: None) -> None:
    os.write(box, b"".join(text().parts(LATER))[:9000])
    assert Tail(box).mend([text()]) == 9000


def test_who_rewrites_a_mailbox_moves_its_text_and_its_end(box: int) -> None:
    tail = Tail(box)
    tail.resize(len(KEPT) + 3)
    assert content(box) == KEPT + b"\0\0\0"
    tail.overwrite(5, b"bob  now")
    tail.resize(13)
    assert content(box) == b"From bob  now"


def test_a_file_that_may_only_be_written_is_appended_to(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(whole(text())[:9000])
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_APPEND)
    end = Tail(file)
    assert end.mend([text()]) == 0
    end.append(text(b"x\n").parts(DATE))
    end.forget()
    os.close(file)
    assert b"\n\nFrom emma@lab1.campus  " in (tmp_path / "log").read_bytes()[8990:]


# --- where a kill may cut --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "end", "first", "last", "places"),
    [
        (0, 100, True, True, []),
        (10, PAGE + 10, True, True, [PAGE]),
        (10, PAGE + 2, True, True, []),
        (0, 3 * PAGE, True, True, [PAGE, 2 * PAGE]),
        (10, 2 * PAGE, True, False, [PAGE, 2 * PAGE]),
        (10, 2 * PAGE, False, True, [10, PAGE]),
        (PAGE, PAGE + 1, False, False, [PAGE, PAGE + 1]),
    ],
)
def test_a_kill_cuts_at_pages_and_between_writes_of_one_message(
    at: int, end: int, places: list[int], *, first: bool, last: bool
) -> None:
    assert tears(at, end, first=first, last=last) == places


def test_quoting_and_header_are_part_of_what_is_compared(box: int, no_attributes: None) -> None:
    one = MboxText(replace(job("", "dave", body=b"From a\n" * 900), header=b"From x\nSubject: y\n"))
    os.write(box, whole(one)[:2000])
    assert Tail(box).mend([one]) == 2000
