"""Which of the times for the classes of messages is whose."""

from __future__ import annotations

import pytest

from minimta.config.options import Options
from minimta.queue import patience
from minimta.queue.control import Control

CLASSES = ("normal", "urgent", "non_urgent", "dsn")


def message(*fields: bytes, flags: str = "") -> Control:
    made = Control(1000, b"<emma@lab1.campus>", [])
    made.headers = [(b"", field) for field in fields]
    made.flags = flags
    return made


@pytest.mark.parametrize(
    ("waits", "whose"),
    [
        (message(), "normal"),
        (message(b"Subject: urgent"), "normal"),
        (message(b"Priority: normal"), "normal"),
        (message(b"Priority: whenever"), "normal"),
        (message(b"Priority: urgent"), "urgent"),
        (message(b"PRIORITY:  Urgent "), "urgent"),
        (message(b"Priority: non-urgent"), "non_urgent"),
        (message(b"Priority: urgent", b"Priority: non-urgent"), "urgent"),
        (message(b"Priority: urgent", flags="r"), "dsn"),
    ],
)
def test_a_class_has_times_of_its_own(waits: Control, whose: str) -> None:
    options = Options()
    for number, name in enumerate(CLASSES, 1):
        setattr(options, f"timeout_queuereturn_{name}", number)
        setattr(options, f"timeout_queuewarn_{name}", 10 * number)
    number = CLASSES.index(whose) + 1
    assert patience.returns_after(options, waits) == number
    assert patience.warns_after(options, waits) == 10 * number


def test_what_is_not_set_is_as_for_all_and_0_is_set() -> None:
    options = Options()
    options.timeout_queuereturn, options.timeout_queuewarn = 500, 40
    options.timeout_queuewarn_urgent = 0
    for waits, warning in ((message(), 40), (message(b"Priority: urgent"), 0)):
        assert patience.returns_after(options, waits) == 500
        assert patience.warns_after(options, waits) == warning
