"""The option table."""

from __future__ import annotations

import pytest

from minimta.config import options
from minimta.config.options import OptionError, Options


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
