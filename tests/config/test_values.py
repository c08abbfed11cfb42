"""The readers of option values."""

from __future__ import annotations

import pytest

from minimta.config import quantities, values
from minimta.config.option import OptionError
from minimta.config.options import by_name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 days", 432000),
        ("1 day 2 hours", 93600),
        ("2weeks", 1209600),
        ("1 h", 3600),
        ("5d", 432000),
        ("1h30m", 5400),
        ("30", 1800),
        ("1w", 604800),
        ("10s", 10),
        ("0", 0),
    ],
)
def test_a_time_is_digits_and_units_and_a_bare_number_is_minutes(text: str, value: int) -> None:
    assert quantities.interval(text) == value


def test_timeouts_of_the_protocol_take_a_bare_number_as_seconds() -> None:
    assert quantities.seconds("30") == 30


@pytest.mark.parametrize("text", ["X", "5x", "", "-1", "5 dayz", "days", "d5", "\uff11m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        quantities.interval(text)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("10M", 10485760),
        ("10 MB", 10485760),
        ("1MiB", 1048576),
        ("3k", 3072),
        ("2G", 2 << 30),
        ("5", 5),
    ],
)
def test_a_size_may_have_a_unit(text: str, octets: int) -> None:
    assert quantities.size(text) == octets


@pytest.mark.parametrize(
    ("text", "pair"),
    [("2048/1024", (2048, 1024)), ("10 / 0", (10, 0)), ("7", (7, 3)), ("0", (0, 0))],
)
def test_of_two_lengths_the_second_is_half_of_the_first(text: str, pair: tuple[int, int]) -> None:
    assert quantities.lengths(text) == pair


@pytest.mark.parametrize("text", ["", "/", "1/", "/1", "-1", "1/x", "1/2/3"])
def test_what_are_no_two_lengths_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        quantities.lengths(text)


@pytest.mark.parametrize("text", ["M", "", "1.5M", "1_0M", "10X", "5b", "k5"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        quantities.size(text)


@pytest.mark.parametrize("text", ["\uff11\uff12", "1_0", "+1", "", " ", "0x1", "1e3", "--1"])
def test_a_number_is_ascii_digits_only(text: str) -> None:
    with pytest.raises(ValueError):
        quantities.number(text)


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
    assert quantities.boolean(text) is value


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("/etc/aliases", ("/etc/aliases",)),
        ("hash:/etc/aliases, /etc/mail/aliases2", ("/etc/aliases", "/etc/mail/aliases2")),
        ("-o /a,btree:-o /b,CDB: /c", ("-o /a", "-o /b", "/c")),
        ("aliases,implicit:/a:b", ("aliases", "/a:b")),
        ("/a:b", ("/a:b",)),
        (" /a dir - old/b c , -o  /d e", ("/a dir - old/b c", "-o /d e")),
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


@pytest.mark.parametrize(
    "text",
    [
        "", "10.9.9.1", "10.9.9.1:587", "esmtp:10.9.9.1", "relay:[mx.campus]:25", "mailhub", "mx.campus.",
        "mailhub:2525", "[10.9.9.1]", "[::1]:2525", "[IPv6:::1]", "::1", "SMTP: mx.campus", "relay:25",
        "[mx.campus]:submission", "mx.campus:SMTPS", "[a]:587, [b]:465,c", "esmtp:[a]:587,b", "::1,10.9.9.1", "[a]:[b]", "relay:[a]:587:[b]",
    ],
)  # fmt: skip
def test_a_smart_host_as_people_write_it(text: str) -> None:
    assert values.smart_host(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    [
        "https://mx.campus", "user:secret@mx.campus", "[mx.campus]:99999", "[mx.campus]:", "mx.campus:0",
        "[mx.campus:25", "mx.campus]", "[]", ":25", "mx.campus # the hub", '"mx.campus"', "'mx'", "mx:nosuch", "a,", ",a", "a,,b", "a,[b",
        "[mx.campus:25]", "[mx:]", "smtps:[mx.campus]", "smtps:[mx.campus]:465", "a b", "a;b", "a/b", "mx\0", "[mx]25", "local:dave", "esmtp:", "mx:\u0661", "m\xfcller.example", ".",
    ],
)  # fmt: skip
def test_what_is_no_host_is_no_smart_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"wanted: HOST, HOST:PORT, \[HOST\], \[HOST\]:PORT"):
        values.smart_host(text)


@pytest.mark.parametrize(
    "text", ["mail host", "a\tb", '"mail"', "'mail'", "me@mail", "ma\0il", "mail#", "<mail>", "a,b"]
)
def test_what_is_in_no_name_is_no_host_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no name of a host"):
        values.host_name(text)


@pytest.mark.parametrize("text", ["", "mail.example.org", "m\xfcller.example", "[10.0.0.1]"])
def test_a_host_name_is_taken_as_it_is(text: str) -> None:
    assert values.host_name(f" {text} ") == text


def test_the_final_dot_is_no_part_of_a_host_name() -> None:
    assert values.host_name("mail.example.org.") == "mail.example.org"
    assert values.host_name(".") == ""


@pytest.mark.parametrize("text", ["-1", " -5 "])
def test_a_limit_is_not_below_0(text: str) -> None:
    with pytest.raises(ValueError, match="below 0"):
        quantities.natural(text)
    with pytest.raises(ValueError, match="below 1"):
        quantities.positive("0")


@pytest.mark.parametrize("text", ["25d", "4w", "99999999d", "2073601"])
def test_a_wait_is_not_longer_than_poll_can_wait(text: str) -> None:
    with pytest.raises(ValueError, match=r"is too long \(24d at most\)$"):
        quantities.seconds(text)
    assert quantities.seconds("24d") == 24 * 86400


def test_a_program_that_may_run_for_weeks_is_refused_before_its_mail_waits_for_ever() -> None:
    with pytest.raises(OptionError, match=r"4w is too long"):
        by_name("Timeout.program").value("4w")


@pytest.mark.parametrize("text", [str(1 << 63), f"-{1 << 63}", "9" * 5000])
def test_a_number_fits_in_what_the_system_takes(text: str) -> None:
    with pytest.raises(ValueError, match=r"^too large a number: '"):
        quantities.number(text)
    assert quantities.number(str((1 << 63) - 1)) == (1 << 63) - 1


@pytest.mark.parametrize("text", ["8388608T", "9007199254740992 kB", "9223372036854775807M"])
def test_a_size_with_its_unit_fits_as_well(text: str) -> None:
    with pytest.raises(ValueError, match=r"^too large a number: '"):
        quantities.size(text)
    assert quantities.size("8388607T") == 8388607 << 40


@pytest.mark.parametrize("text", ["9223372036854775807s 1s", "15250284452472w", "9" * 5000 + "s"])
def test_a_time_fits_as_well(text: str) -> None:
    with pytest.raises(ValueError, match=r"^too l(ong|arge a number): '"):
        quantities.interval(text)
    assert quantities.interval("15250284452471w") == 15250284452471 * 604800


def test_a_queue_run_that_would_leave_its_last_messages_out_is_refused() -> None:
    with pytest.raises(OptionError, match="MaxQueueRunSize"):
        by_name("MaxQueueRunSize").value("-5")


@pytest.mark.parametrize("text", ["", " archive ", "archive+x@example.org", "a@[10.0.0.1]"])
def test_one_address_may_be_named(text: str) -> None:
    assert values.mail_address(text) == text.strip()


@pytest.mark.parametrize(
    "text", ["a b", "a, b", "<a@b>", "|prog", "/file", ":include:/x", "\\dave", "-x", "@b", "a@"]
)
def test_lists_programs_and_files_are_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        values.mail_address(text)


@pytest.mark.parametrize(
    "text", ["", "proxy:3128", "proxy.example.org:8080", "10.9.9.1:80", "[::1]:3128"]
)
def test_a_proxy_is_a_host_and_a_port(text: str) -> None:
    assert values.proxy(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    ["proxy", "proxy:", "proxy:x", "proxy:0", "proxy:smtp", "::1", "http://proxy:80", "a b:1"],
)
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(ValueError, match="is no HOST:PORT"):
        values.proxy(text)
