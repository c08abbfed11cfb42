from __future__ import annotations

from unittest.mock import ANY

import pytest

from minimta.config import filters
from minimta.config.option import OptionError
from minimta.config.options import Options, by_name


def test_a_row_is_read_as_sendmail_writes_it() -> None:
    [one] = filters.read(
        "clam av".replace(" ", "") + ", S=local:/run/clam.ctl, F=T, T=S:4m;R:4m;E:1h"
    )
    assert (one.name, one.family, one.address, one.on_failure) == (
        *("clamav", "unix", "/run/clam.ctl", "T"),
    )
    assert (one.connect, one.send, one.read, one.end) == (300, 240, 240, 3600)
    [other] = filters.read("x,S=inet6:8891@[::1]")
    assert (other.family, other.address, other.port, other.on_failure) == ("inet6", "::1", 8891, "")
    assert (other.connect, other.send, other.read, other.end) == (300, 10, 10, 300)
    assert filters.read("y, S=/run/y")[0].address == "/run/y"
    assert filters.read("") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (", S=unix:/x", "'' is no name of a filter"),
        ("a b, S=unix:/x", "'a b' is no name of a filter"),
        ("x", "x: S= is missing"),
        ("x, S=tcp:1@h", "S=tcp:1@h: neither unix:PATH"),
        ("x, S=unix:run/x", "S=unix:run/x: the path of a socket begins with /"),
        ("x, S=unix:/" + "x" * 107, "S=unix:/xxx"),
        ("x, S=inet:8891", "S=inet:8891: inet:PORT@HOST is wanted"),
        ("x, S=inet:0@h", "S=inet:0@h: there is no port 0"),
        ("x, S=inet:65536@h", "S=inet:65536@h: there is no port 65536"),
        ("x, S=inet:smtp@h", "not a number: 'smtp'"),
        ("x, S=/x, F=Q", "F=Q: T (451), R (554), 4 (421) or nothing"),
        ("x, S=/x, T=Q:1m", "T=Q:1m: none of C:, S:, R:, E:"),
        ("x, S=/x, T=R", "T=R: none of C:, S:, R:, E:"),
        ("x, S=/x, T=R:0", "T=R:0: a time of 0 is none"),
        ("x, S=/x, T=R:25d", "25d is too long"),
        ("x, S=/x, X=1", "x: 'X=1' is none of S=, F=, T="),
        ("x, S=/x, y", "x: 'y' is none of S=, F=, T="),
    ],
)  # fmt: skip
def test_what_is_no_row_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        filters.read(text)
    assert str(caught.value).startswith(reason)


def test_a_row_is_a_value() -> None:
    [one], [same] = filters.read("x, S=/x"), filters.read("x, S=unix:/x")
    assert one == same
    assert hash(one) == hash(same)
    assert one != filters.read("x, S=/x, F=T")[0]
    assert one == ANY, "of another kind: that is asked"
    with pytest.raises(AttributeError):
        one.name = "y"


def test_rows_accumulate_and_names_have_an_order() -> None:
    options = Options()
    options.set(by_name("MailFilter"), "a, S=/a")
    options.set(by_name("MailFilter"), "b, S=/b, T=R:1m")
    options.set(by_name("InputMailFilters"), "b, a")
    chosen = filters.chosen(options.input_mail_filters, options.mail_filters)
    assert [one.name for one in chosen] == ["b", "a"]
    with pytest.raises(OptionError, match="option InputMailFilters: a filter stands there twice"):
        options.set(by_name("InputMailFilters"), "a;a")


@pytest.mark.parametrize(("rows", "reason"), [("", "there is none at all"), ("a, S=/a", "only a")])
def test_a_name_without_a_row_is_told(rows: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"no MailFilter is named b, {reason}$"):
        filters.chosen(("b",), filters.read(rows))


def test_macros_are_names_in_braces_or_letters() -> None:
    assert filters.macros("j, _,{if_name} {x1}") == (b"j", b"_", b"{if_name}", b"{x1}")
    for wrong in ("if_name", "{}", "{x", "x}", "{a-b}", "{\u00e9}"):
        with pytest.raises(ValueError, match="is no name of a macro"):
            filters.macros(wrong)


@pytest.mark.parametrize("text", ["65536", "0", "1m"])
def test_only_three_sizes_of_packets_can_be_agreed_upon(text: str) -> None:
    with pytest.raises(OptionError):
        Options().set(by_name("Milter.maxdatasize"), text)
