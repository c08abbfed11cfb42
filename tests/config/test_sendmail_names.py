"""Each of Sendmail's options has a word here: it does something, is so anyway, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.config import options, sendmail_names
from minimta.config.option import OptionError
from minimta.config.options import Options

_LINES = (Path(__file__).parent / "sendmail-options.txt").read_text(encoding="ascii").split("\n")
NAMES = [line for line in _LINES if line and not line.startswith("#")]
TABLE = {row.name for row in options.TABLE}
ALWAYS = {row.name for row in sendmail_names.ALWAYS}


def test_all_of_them_are_here() -> None:
    assert len(set(NAMES)) == 174


@pytest.mark.parametrize("name", NAMES)
def test_each_has_one_word_and_no_second(name: str) -> None:
    found = [name in TABLE, name in ALWAYS, name in sendmail_names.REFUSED]
    assert found.count(True) == 1


@pytest.mark.parametrize("name", sorted(ALWAYS | set(sendmail_names.REFUSED)))
def test_what_has_no_row_of_its_own_is_one_of_sendmails(name: str) -> None:
    assert name in NAMES


@pytest.mark.parametrize("name", sendmail_names.REFUSED)
def test_who_sets_what_is_refused_is_told_what_to_use(name: str) -> None:
    with pytest.raises(OptionError) as error:
        options.by_name(name.lower())
    assert str(error.value) == (f"option {name} is not supported: {sendmail_names.REFUSED[name]}")


def test_letters_of_what_is_always_so_are_known_and_nobody_elses() -> None:
    letters = [row.letter for row in (*options.TABLE, *sendmail_names.ALWAYS) if row.letter]
    assert len(letters) == len(set(letters))
    assert options.by_letter("7").name == "SevenBitInput"


def test_what_name_servers_are_asked_stands_in_another_file() -> None:
    row = options.by_name("ResolverOptions")
    Options().set(row, "WorkAroundBrokenAAAA")
    with pytest.raises(OptionError, match="has options for name servers"):
        Options().set(row, "+AAONLY")
