"""Messages of an mbox file are found where they are."""

from __future__ import annotations

import mailbox
import random
from pathlib import Path

import pytest

from minimta.commands.mail import folder

ONE = b"From emma@lab1.campus  Sun Nov 22 09:37:57 2026\nFrom: Emma <emma@lab1.campus>\nSubject: one\n\nhello\n>From me\n\n"
TWO = (
    b"From MAILER-DAEMON Sun Nov 22 09:38:01 2026\nSubject: =?utf-8?q?gr=C3=BCn?=\nStatus: RO\n\n\n"
)


def found(path: Path) -> list[bytes]:
    read = folder.read(str(path))
    try:
        return [read.octets(letter.start, letter.end) for letter in read.letters]
    finally:
        read.close()


def test_each_message_is_a_piece_of_the_file(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(ONE + TWO)
    assert found(box) == [ONE, TWO]
    one, two = folder.read(str(box)).letters
    assert (one.sender, one.subject, one.date) == ("emma@lab1.campus", "one", "Sun Nov 22 09:37")
    assert (two.sender, two.subject, two.is_read, two.is_new) == (
        "MAILER-DAEMON",
        "grün",
        True,
        False,
    )
    assert (one.lines, one.size) == (7, len(ONE))


@pytest.mark.parametrize(
    "text",
    [
        b"From the beginning\n",  # no date
        b"From emma@lab1.campus  Sun Nov 22 09:37:57 2026\n",  # no empty line before it
    ],
)
def test_a_line_of_the_text_begins_no_message(text: bytes, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(ONE.removesuffix(b"\n") + text + b"\n" + TWO)
    assert len(found(box)) == 2


def test_what_stands_before_the_first_message_belongs_to_none(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(b"garbage\n\n" + ONE)
    assert found(box) == [ONE]


@pytest.mark.parametrize("block", [1300, 1301, 4096, 1 << 20])
def test_messages_are_found_across_blocks(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_BLOCK", block)
    chance = random.Random(block)
    texts = [
        ONE,
        TWO,
        ONE + b"x" * 1000 + b"\n\n",
        TWO.replace(b"\n\n\n", b"\n\n" + b"y\n" * 700 + b"\n"),
    ]
    pieces = [chance.choice(texts) for _ in range(60)]
    box = tmp_path / "box"
    box.write_bytes(b"".join(pieces))
    assert found(box) == pieces
    assert len(mailbox.mbox(str(box), create=False)) == len(pieces)


def test_mail_that_comes_later_is_read_on(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(ONE)
    read = folder.read(str(box))
    assert folder.extend(read) == 0
    with box.open("ab") as stream:
        stream.write(TWO + ONE)
    assert folder.extend(read) == 2
    assert [read.octets(one.start, one.end) for one in read.letters] == [ONE, TWO, ONE]
    read.close()


def test_a_folder_that_is_not_there_has_no_messages(tmp_path: Path) -> None:
    assert folder.read(str(tmp_path / "box")).letters == []


@pytest.mark.parametrize(
    "line",
    [
        b"From: @,<<>>\0\xff ;\n",
        b"Subject: =?utf-8?b?===?=\n",
        b"Subject: =?x-none?q?a?=\n",
        b"From: \xff\xfe <\n",
    ],
)
def test_a_field_that_is_wrong_is_shown_all_the_same(line: bytes, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(b"From x  Sun Nov 22 09:37:57 2026\n" + line + b"\ntext\n\n")
    (letter,) = folder.read(str(box)).letters
    assert isinstance(letter.sender + letter.subject, str)
