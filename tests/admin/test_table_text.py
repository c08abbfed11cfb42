"""One thing of a text that people edit changes, and all else stays."""

from __future__ import annotations

import pytest

from minimta.admin import table_text

CF = "# a\nSmartHost=[old]:25\n\n smarthost = [later]\nLogLevel = 9"


def test_the_line_of_an_option_that_counts_is_the_last() -> None:
    changed = table_text.with_option(CF, "SmartHost", "[new]:587")
    assert changed == "# a\nSmartHost=[old]:25\n\nSmartHost = [new]:587\nLogLevel = 9"


def test_a_new_option_comes_at_the_end_of_a_text_without_a_last_line_end() -> None:
    assert table_text.with_option(CF, "HostName", "h") == f"{CF}\nHostName = h\n"
    assert table_text.with_option("", "HostName", "h") == "HostName = h\n"


def test_a_comment_that_looks_like_the_option_stays() -> None:
    assert (
        table_text.with_option("#SmartHost = x\n", "SmartHost", "y")
        == "#SmartHost = x\nSmartHost = y\n"
    )


@pytest.mark.parametrize(
    ("text", "value", "changed"),
    [
        ("# k v\nK  old\nk other\nx y\n", "new", "# k v\nK\tnew\nx y\n"),
        ("K  old\nx y\n", "", "x y\n"),
        ("x y", "new", "x y\nk\tnew\n"),
        ("x y\n", "", "x y\n"),
    ],
)
def test_a_row_is_replaced_added_or_taken_away(text: str, value: str, changed: str) -> None:
    assert table_text.with_row(text, "k", value) == changed


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        ('AuthInfo:[H.example]:587 "U:a" "P:b"', "AuthInfo:[H.example]:587 NEW"),
        ('AuthInfo:h.example "U:a" "P:b"', "AuthInfo:h.example NEW"),
        ('AuthInfo: "U:a" "P:b"', 'AuthInfo: "U:a" "P:b"\nAuthInfo:h.example NEW'),
        ('AuthInfo:h.example:465 "U:a" "P:b"', 'AuthInfo:h.example:465 "U:a" "P:b"\nAuthInfo:h.example NEW'),
        ('AuthInfo:e@x "H:h.example" "U:a" "P:b"', 'AuthInfo:e@x "H:h.example" "U:a" "P:b"\nAuthInfo:h.example NEW'),
    ],
)  # fmt: skip
def test_the_login_that_counts_for_host_and_port_is_replaced(row: str, changed: str) -> None:
    assert table_text.with_login(f"# c\n{row}\n", "h.example", 587, "NEW") == f"# c\n{changed}\n"


ALIASES = '# root: x\npostmaster: root\n"Root" : emma,\n  dave\n\nroot: late\nrooted: z\n'


def test_an_alias_goes_with_the_lines_that_go_on_and_its_second_entry() -> None:
    assert table_text.alias_of(ALIASES, "root") == "emma, dave"
    assert table_text.with_alias(ALIASES, "root", "a@b") == (
        "# root: x\npostmaster: root\nroot: a@b\n\nrooted: z\n"
    )
    assert table_text.with_alias("x: y\n", "root", "a@b") == "x: y\nroot: a@b\n"
    assert table_text.alias_of("x: y\n", "root") == ""
