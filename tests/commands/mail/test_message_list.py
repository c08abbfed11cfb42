"""Which messages a list means (POSIX.1-2017, mailx)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from minimta.commands.mail.message_list import WrongList, chosen


@dataclass
class Row:
    sender: str
    subject: str
    is_deleted: bool = False
    is_new: bool = True
    is_read: bool = False


ROWS = [
    Row("emma@lab1.campus", "Maintenance fail", is_read=True, is_new=False),
    Row("henry@lab3.campus", "lunch"),
    Row("dave@lab2.campus", "old news", is_deleted=True),
    Row("Emma@lab1.campus", "again: maintenance", is_new=False),
]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("", [2]),
        (".", [2]),
        ("1", [1]),
        ("*", [1, 2, 4]),
        ("1-4", [1, 2, 4]),
        ("^", [1]),
        ("$", [4]),
        ("+", [4]),
        ("-", [1]),
        ("4 1", [1, 4]),
        ("emma", [1, 4]),
        ("/MAINT", [1, 4]),
        (":n", [2]),
        (":o", [1, 4]),
        (":r", [1]),
        (":u", [2, 4]),
        (":d", [3]),
        ("emma :u", [4]),
    ],
)
def test_what_a_list_means(words: str, numbers: list[int]) -> None:
    assert chosen(words.split(), list(ROWS), 2, deleted=False) == numbers


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("3", "3: Inappropriate message"),
        ("5", "5: Invalid message number"),
        ("0", "0: Invalid message number"),
        ("9" * 30, "9" * 30 + ": Invalid message number"),
        ("4-1", "4-1: the first is behind the last"),
        ("nobody", "No applicable messages from {nobody}"),
        (":x", ":x: no such state (d n o r u)"),
        (":d :n :r", "No applicable messages"),
    ],
)
def test_what_a_list_cannot_mean(words: str, says: str) -> None:
    with pytest.raises(WrongList) as error:
        chosen(words.split(), list(ROWS), 2, deleted=False)
    assert str(error.value) == says


def test_undelete_means_deleted_messages_alone() -> None:
    assert chosen(["*"], list(ROWS), 2, deleted=True) == [3]


def test_without_a_current_message_the_first_is_meant() -> None:
    assert chosen([], list(ROWS), 0, deleted=False) == [1]


def test_of_no_messages_none_is_meant() -> None:
    with pytest.raises(WrongList):
        chosen([], [], 0, deleted=False)
