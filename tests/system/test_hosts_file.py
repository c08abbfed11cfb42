"""What counts of each line is what glibc was seen to take (getaddrinfo)."""

from __future__ import annotations

import pytest

from minimta.system import hosts_file


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"10.0.3.1 mx", "10.0.3.1"),
        (b"  10.0.3.1\tmx # x", "10.0.3.1"),
        (b"10.0.3.1\x0bmx\r", "10.0.3.1"),
        (b"10.0.3.1 \xff\xfe mx", "10.0.3.1"),
        (b"2001:DB8::0:1 mx", "2001:db8::1"),
        (b"::ffff:10.0.3.1 mx", "10.0.3.1"),
        (b"::1.2.3.4 mx", "::1.2.3.4"),
        (b"10.0.3.256 mx", ""),
        (b"010.0.3.1 mx", ""),
        (b"10.3.1 mx", ""),
        (b"10.0.3.1, mx", ""),
        (b"10.0.3.1/24 mx", ""),
        (b"fe80::1%lo mx", ""),
        (b"mail mx", ""),
        (b"\xef\xbb\xbf10.0.3.1 mx", ""),
        (b"\xff mx", ""),
        (b"\0\0\x0010.0.3.1 mx", ""),
        (b"10.0.3.1\x1cmx", ""),
        (b"#10.0.3.1 mx", ""),
        (b"10.0.3.1 # mx", ""),
        (b"10.0.3.1", ""),
        (b"", ""),
    ],
)
def test_a_line_counts_if_libc_takes_its_address(line: bytes, address: str) -> None:
    assert hosts_file.addresses(line, "mx") == ([address] if address else [])


JUNK = b"10.9.9.256 mx.test\n"


def test_a_line_that_is_left_out_does_not_hide_the_others() -> None:
    text = JUNK + b"10.0.3.1 mx.test\n" + JUNK + b"::9 other MX.Test\n10.0.3.1 mx.test"
    assert hosts_file.addresses(text, "Mx.test") == ["10.0.3.1", "::9"]


@pytest.mark.parametrize("name", ["x.test", "m", "mx.tes", "10.0.3.1", "", "\udcff"])
def test_only_whole_names_count(name: str) -> None:
    assert hosts_file.addresses(b"10.0.3.1 mx.test\n", name) == []


def test_names_stand_as_they_are_written() -> None:
    text = b"127.0.0.1 localhost\n127.0.1.1 Box1 BOX1.example.org # box1\n10.0.0.1 box1x\n"
    assert list(hosts_file.naming(text, "bOX1")) == [("127.0.1.1", ["Box1", "BOX1.example.org"])]


def test_the_first_line_of_an_address_names_it() -> None:
    text = (
        b"127.0.0.256 no\n127.0.0.1\n127.0.0.1 localhost.localdomain localhost\n"
        b"127.0.0.1 ads.example\n::1 six\n0:0::1 ads.example\n"
    )
    assert hosts_file.first_names(text) == {
        "127.0.0.1": ["localhost.localdomain", "localhost"],
        "::1": ["six"],
    }
