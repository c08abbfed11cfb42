"""What filters change in a message, and what that costs."""

from __future__ import annotations

import time

from minimta.message.envelope import Recipient
from minimta.milter.body import MessageBody
from minimta.milter.letter import Letter
from minimta.milter.protocol import Change, EnvelopeChange, FieldChange

_MANY = 6000


def made(fields: list[bytes], *recipients: bytes) -> Letter:
    body = MessageBody(-1, 0, 0)
    people = [Recipient(one, "PFD") for one in recipients]
    return Letter(body, fields, b"<emma@lab1.campus>", people, host="lab2.campus")


def seconds(letter: Letter, changes: list[Change]) -> float:
    begun = time.process_time()
    letter.apply(changes)
    return time.process_time() - begun


def test_a_client_cannot_make_a_filter_busy_with_fields_to_be_taken_away() -> None:
    """OpenDKIM takes away each Authentication-Results in our name, which a stranger may repeat."""
    letter = made([b"Authentication-Results: lab2.campus; x=%d" % n for n in range(_MANY)])
    name = b"Authentication-Results"
    away: list[Change] = [FieldChange("change", name, b"", n) for n in range(_MANY, 1, -1)]
    assert seconds(letter, away) < 1
    assert letter.fields == [b"Authentication-Results: lab2.campus; x=0"]


def test_thousands_of_recipients_are_added_and_deleted_in_a_moment() -> None:
    letter = made([b"Subject: x"], b"<dave@lab2.campus>")
    people = [b"<u%d@example.org>" % n for n in range(_MANY)]
    assert seconds(letter, [EnvelopeChange("add", one, b"") for one in people]) < 2
    assert [one.address for one in letter.recipients] == [b"<dave@lab2.campus>", *people]
    assert seconds(letter, [EnvelopeChange("delete", one, b"") for one in people[:-1]]) < 2
    assert [one.address for one in letter.recipients] == [b"<dave@lab2.campus>", people[-1]]


def test_changes_count_what_those_before_them_have_made() -> None:
    letter = made([b"A: 1", b"B: 2", b"a: 3"])
    letter.apply(
        [
            FieldChange("change", b"A", b"", 1),
            FieldChange("change", b"A", b" x", 1),
            FieldChange("insert", b"A", b" top", 0),
            FieldChange("change", b"A", b" y", 2),
            FieldChange("add", b"B", b" before", 0),
            FieldChange("insert", b"C", b" last", 99),
            FieldChange("change", b"D", b"", 1),
        ]
    )
    assert letter.above == [b"A: top"]
    assert letter.fields == [b"B: before", b"B: 2", b"A: y", b"C: last"]


def test_no_filter_makes_a_stored_message_binary() -> None:
    letter = made([b"Subject: x"], b"<dave@lab2.campus>")
    letter.apply([EnvelopeChange("sender", b"<carol@lab2.campus>", b"BODY=BINARYMIME ENVID=a")])
    assert (letter.reverse_path, letter.body_type, letter.envid) == (
        b"<carol@lab2.campus>",
        b"8BITMIME",
        b"a",
    )
