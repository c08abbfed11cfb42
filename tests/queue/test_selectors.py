"""What -q and mailq choose by."""

from __future__ import annotations

import pytest

from minimta.queue.selectors import Selection, SelectionError, all_match, parse_selection

QID = "6AM9MYO5001905"


def matches(*arguments: str, quarantine: str = "") -> bool:
    return all_match(
        [parse_selection(argument) for argument in arguments],
        QID,
        reverse_path=b"<emma@lab1.campus>",
        recipients=[b"<henry@grey.campus>", b"<dave@refused.campus>"],
        quarantine=quarantine,
    )


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("I6AM9MYO5001905", True),
        ("I905", True),
        ("Ixxxx", False),
        ("Rgrey", True),
        ("RGREY", True),
        ("Rnosuch", False),
        ("Semma", True),
        ("Sdave", False),
        ("!Rgrey", False),
        ("!Rnosuch", True),
        ("!I905", False),
        ("Q", False),
    ],
)
def test_a_criterion_is_a_part_of_the_text(argument: str, expected: bool) -> None:
    assert matches(argument) is expected


def test_different_kinds_must_all_match() -> None:
    assert matches("Rgrey", "Semma")
    assert not matches("Rgrey", "Snosuch")


def test_of_one_kind_any_suffices() -> None:
    assert matches("Rnosuch", "Rgrey")


def test_a_quarantined_message_is_chosen_by_its_reason() -> None:
    assert matches("Q", quarantine="looks bad")
    assert matches("Qbad", quarantine="looks bad")
    assert not matches("Qgood", quarantine="looks bad")


@pytest.mark.parametrize(
    "argument, kind", [("Q", "hf"), ("Qspam", "hf"), ("L", "Qf"), ("Rx", "qf"), ("!Q", "qf")]
)
def test_the_kind_of_files_follows_from_it(argument: str, kind: str) -> None:
    assert parse_selection(argument).file_kind == kind


@pytest.mark.parametrize("argument", ["", "!", "X", "x5", "!15m"])
def test_what_is_no_criterion_is_an_error(argument: str) -> None:
    with pytest.raises(SelectionError):
        parse_selection(argument)


def test_a_negated_criterion_remembers_its_text() -> None:
    assert parse_selection("!Rgrey") == Selection("R", "grey", negated=True)
