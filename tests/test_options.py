"""The option table, and the readers of its values."""

from __future__ import annotations

import pytest

from minimta import options
from minimta.options import OptionError, Options


@pytest.mark.parametrize(
    ("text", "value"),
    [("5d", 432000), ("1h30m", 5400), ("30", 1800), ("1w", 604800), ("10s", 10), ("0", 0)],
)
def test_a_time_is_digits_and_units_and_a_bare_number_is_minutes(text: str, value: int) -> None:
    assert options.interval(text) == value


def test_timeouts_of_the_protocol_take_a_bare_number_as_seconds() -> None:
    assert options.seconds("30") == 30


@pytest.mark.parametrize("text", ["X", "5x", "", "-1", "1 h", "\uff11m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        options.interval(text)


@pytest.mark.parametrize("text", ["\uff11\uff12", "1_0", "+1", "", " ", "0x1", "1e3", "--1"])
def test_a_number_is_ascii_digits_only(text: str) -> None:
    with pytest.raises(ValueError):
        options.number(text)


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
    assert options.boolean(text) is value


def test_names_are_found_in_any_case_and_letters_exactly() -> None:
    assert options.by_name("queuedirectory") is options.by_letter("Q")
    assert options.by_letter("d").name == "DeliveryMode"


def test_an_unknown_name_is_told_with_its_neighbour() -> None:
    with pytest.raises(OptionError, match=r"QueDirectory \(did you mean QueueDirectory\?\)"):
        options.by_name("QueDirectory")


def test_an_unknown_letter_is_told_as_sendmail_does() -> None:
    with pytest.raises(OptionError, match="unknown option name 0x7e"):
        options.by_letter("~")


def test_no_name_attribute_or_letter_occurs_twice() -> None:
    for column in ("name", "attribute", "letter"):
        values = [
            getattr(option, column).lower() if column == "name" else getattr(option, column)
            for option in options.TABLE
        ]
        given = [value for value in values if value]
        assert len(given) == len(set(given)), column


def test_every_row_sets_its_annotated_attribute() -> None:
    chosen = Options()
    assert {option.attribute for option in options.TABLE} == set(Options.__annotations__)
    assert all(hasattr(chosen, option.attribute) for option in options.TABLE)


def test_a_bad_value_names_the_option() -> None:
    with pytest.raises(OptionError, match="option MaxHopCount: not a number: 'many'"):
        Options().set(options.by_name("MaxHopCount"), "many")


def test_daemon_ports_accumulate_and_replace_the_default() -> None:
    chosen, ports = Options(), options.by_name("DaemonPortOptions")
    assert len(chosen.daemon_ports) == 2
    chosen.set(ports, "Name=MTA, Addr=127.0.0.1, Port=2525")
    chosen.set(ports, "Family=inet6, Port=smtp")
    assert chosen.daemon_ports == (("MTA", "127.0.0.1", "2525"), ("MTA", "::", "25"))


@pytest.mark.parametrize("text", ["Port=70000", "Prot=25", "Port=x", "Addr"])
def test_a_bad_port_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        Options().set(options.by_name("DaemonPortOptions"), text)


def test_a_choice_may_be_its_first_letter() -> None:
    chosen = Options()
    chosen.set(options.by_letter("d"), "q")
    chosen.set(options.by_letter("e"), "m")
    assert (chosen.delivery_mode, chosen.error_mode) == ("queueonly", "mail")


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
    assert options.alias_files(text) == files


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
        options.alias_files(text)
