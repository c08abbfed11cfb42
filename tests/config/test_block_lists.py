from __future__ import annotations

import pytest

from minimta.config.block_lists import read
from minimta.config.options import Options, by_name


def test_a_list_has_a_zone_and_a_text() -> None:
    assert read("Zen.Spamhaus.org.") == (
        ("zen.spamhaus.org", "Rejected: $a listed at zen.spamhaus.org"),
    )
    assert read('bl.example.org "No: $a"; two.example.org') == (
        ("bl.example.org", "No: $a"),
        ("two.example.org", "Rejected: $a listed at two.example.org"),
    )
    assert read("") == ()


@pytest.mark.parametrize("text", ["zen", "x y.z", "zen.spam/haus.org", "a.example.org discard"])
def test_what_is_no_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_each_line_adds_a_list() -> None:
    options = Options()
    for text in ("a.example.org", "b.example.org"):
        options.set(by_name("DNSBL"), text)
    assert [one.zone for one in options.block_lists] == ["a.example.org", "b.example.org"]
