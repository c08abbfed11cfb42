"""The readers of option values."""

from __future__ import annotations

import pytest

from minimta.config import values


@pytest.mark.parametrize(
    ("text", "value"),
    [("5d", 432000), ("1h30m", 5400), ("30", 1800), ("1w", 604800), ("10s", 10), ("0", 0)],
)
def test_a_time_is_digits_and_units_and_a_bare_number_is_minutes(text: str, value: int) -> None:
    assert values.interval(text) == value


def test_timeouts_of_the_protocol_take_a_bare_number_as_seconds() -> None:
    assert values.seconds("30") == 30


@pytest.mark.parametrize("text", ["X", "5x", "", "-1", "1 h", "\uff11m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        values.interval(text)


@pytest.mark.parametrize("text", ["\uff11\uff12", "1_0", "+1", "", " ", "0x1", "1e3", "--1"])
def test_a_number_is_ascii_digits_only(text: str) -> None:
    with pytest.raises(ValueError):
        values.number(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", True),
        ("t", True),
        ("True", True),
        ("1", True),
        ("f", False),
        ("No", False),
        ("0", False),
    ],
)
def test_a_boolean_is_sendmails(text: str, value: bool) -> None:
    assert values.boolean(text) is value


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("/etc/aliases", ("/etc/aliases",)),
        ("hash:/etc/aliases, /etc/mail/aliases2", ("/etc/aliases", "/etc/mail/aliases2")),
        ("-o /a,btree:-o /b,CDB: /c", ("-o /a", "-o /b", "/c")),
        ("aliases,implicit:/a:b", ("aliases", "/a:b")),
        ("/a:b", ("/a:b",)),
    ],
)
def test_alias_files_are_paths_with_or_without_a_class(text: str, files: tuple[str, ...]) -> None:
    assert values.alias_files(text) == files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo:/a", "unknown alias class foo"),
        ("ldap:-o x", "unknown alias class ldap"),
        ("", "no path"),
        ("/a,", "no path"),
        ("hash:", "no path"),
        ("-o", "no path"),
        ("-N /a", "no path"),
        ("/a /b", "no path"),
    ],
)
def test_what_is_no_alias_file_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        values.alias_files(text)
