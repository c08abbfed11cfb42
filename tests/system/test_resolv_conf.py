"""Servers and search domains of each text are those of glibc, which was asked (res_init)."""

from __future__ import annotations

import pytest

from minimta.system.resolv_conf import ResolvConf, parse

GOOD = b"nameserver 10.0.3.1\n"


def servers(text: bytes) -> list[str]:
    return [address for address, _ in parse(text, "lab1").servers]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", ["127.0.0.1"]),
        (GOOD, ["10.0.3.1"]),
        (b"nameserver 10.0.3.1", ["10.0.3.1"]),
        (b"nameserver\t10.0.3.1 # ours\n", ["10.0.3.1"]),
        (b"nameserver 2001:DB8::0001\n", ["2001:db8::1"]),
        (b"nameserver fe80::1%eth0\n", ["fe80::1%eth0"]),
        (b"nameserver fe80::1%nosuch0\n", ["fe80::1%nosuch0"]),
        (b"nameserver 010.001.000.007\n", ["8.1.0.7"]),
        (b"nameserver 10.1\n", ["10.0.0.1"]),
        (b"nameserver localhost\n" + GOOD, ["10.0.3.1"]),
        (b"nameserver 10.0.3.2,\n" + GOOD, ["10.0.3.1"]),
        (b"nameserver 10.0.3.2;\n" + GOOD, ["10.0.3.1"]),
        (b"nameserver 10.0.3.2:53\n" + GOOD, ["10.0.3.1"]),
        (b"nameserver 10.0.3.256\n" + GOOD, ["10.0.3.1"]),
        (b"nameserver 10.0.3.1%eth0\n", ["127.0.0.1"]),
        (b"nameserver 10.0.3.1\r\n", ["127.0.0.1"]),
        (b"nameserver \0\n" + GOOD, ["10.0.3.1"]),
        (b"nameserver\n" + GOOD, ["10.0.3.1"]),
        (b"nameserver=10.0.3.2\n" + GOOD, ["10.0.3.1"]),
        (b"Nameserver 10.0.3.2\n" + GOOD, ["10.0.3.1"]),
        (b"  nameserver 10.0.3.2\n" + GOOD, ["10.0.3.1"]),
        (b"\xef\xbb\xbfnameserver 10.0.3.2\n" + GOOD, ["10.0.3.1"]),
        (b"# f\xfcr alle\n; \xff\xfe\n" + GOOD, ["10.0.3.1"]),
        (b"#nameserver 10.0.3.2\n;nameserver 10.0.3.2\n" + GOOD, ["10.0.3.1"]),
        (b"sortlist 10.0.0.0/255.0.0.0\nlookup file bind\n" + GOOD, ["10.0.3.1"]),
        (b"\0" * 4096, ["127.0.0.1"]),
        (b"".join(b"nameserver 10.0.3.%d\n" % n for n in range(1, 6)),
         ["10.0.3.1", "10.0.3.2", "10.0.3.3"]),
    ],
)  # fmt: skip
def test_servers_are_those_that_libc_asks(text: bytes, found: list[str]) -> None:
    assert servers(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"search corp.test lan\n", ("corp.test", "lan")),
        (b"search\tcorp.test\t lan \n", ("corp.test", "lan")),
        (b"domain corp.test lan\n", ("corp.test",)),
        (b"search a.test\ndomain b.test\n", ("b.test",)),
        (b"domain b.test\nsearch a.test\n", ("a.test",)),
        (b"search a.test\nsearch \n", ("a.test",)),
        (b"search .\n", (".",)),
        (b"search .corp.test a..b\n", (".corp.test", "a..b")),
    ],
)
def test_the_last_line_says_what_is_searched(text: bytes, found: tuple[str, ...]) -> None:
    assert parse(text, "lab1.campus").search == found


@pytest.mark.parametrize(
    ("host", "search"), [("lab1.campus", ("campus",)), ("lab1", ()), ("lab1.", ()), ("", ())]
)
def test_without_a_line_it_is_the_domain_of_the_host(host: str, search: tuple[str, ...]) -> None:
    assert parse(GOOD, host).search == search


def options(text: bytes) -> tuple[int, int, int, bool, bool, bool]:
    """timeout, attempts, ndots, rotate, edns0, use-vc"""
    found = parse(b"options " + text, "lab1")
    return (
        *(found.timeout, found.attempts, found.ndots),
        *(found.rotate, found.edns0, found.use_vc),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", (5, 2, 1, False, False, False)),
        (b"timeout:10 attempts:3 ndots:5", (10, 3, 5, False, False, False)),
        (b"rotate\tedns0 use-vc\n", (5, 2, 1, True, True, True)),
        (b"rotate\r\n", (5, 2, 1, True, False, False)),
        (b"timeout:0 attempts:0 ndots:0", (1, 1, 0, False, False, False)),
        (b"timeout:99 attempts:99 ndots:99", (30, 5, 15, False, False, False)),
        (b"timeout:5s attempts:1x", (5, 1, 1, False, False, False)),
        (b"timeout:%s" % (b"9" * 5000), (30, 2, 1, False, False, False)),
        (b"timeout:x attempts ndots: trust-ad \xff single-request-reopen",
         (5, 2, 1, False, False, False)),
        (b"timeout:\xb2 attempts:-1", (5, 2, 1, False, False, False)),
        (b"rotate\noptions timeout:1\n", (1, 2, 1, True, False, False)),
    ],
)  # fmt: skip
def test_options_are_those_of_libc(
    text: bytes, found: tuple[int, int, int, bool, bool, bool]
) -> None:
    assert options(text) == found


@pytest.mark.parametrize(
    ("name", "ndots", "found"),
    [
        ("mailhub", 1, ["mailhub.corp.test", "mailhub.lan", "mailhub"]),
        ("mailhub.dept", 1, ["mailhub.dept", "mailhub.dept.corp.test", "mailhub.dept.lan"]),
        ("mailhub.dept", 2, ["mailhub.dept.corp.test", "mailhub.dept.lan", "mailhub.dept"]),
        ("mailhub.", 1, ["mailhub"]),
        ("mailhub.dept.", 5, ["mailhub.dept"]),
    ],
)
def test_a_short_name_is_completed_in_the_order_of_libc(
    name: str, ndots: int, found: list[str]
) -> None:
    assert ResolvConf(search=("corp.test.", "lan"), ndots=ndots).candidates(name) == found


def test_the_root_as_search_completes_nothing() -> None:
    assert ResolvConf(search=(".", "lan")).candidates("mailhub") == ["mailhub", "mailhub.lan"]


@pytest.mark.parametrize(
    ("text", "vouches"),
    [
        (b"", True),
        (b"nameserver 127.0.0.53", True),
        (b"nameserver ::1\nnameserver 127.0.0.1", True),
        (b"nameserver 10.0.3.1", False),
        (b"nameserver 127.0.0.1\nnameserver 10.0.3.1", False),
        (b"nameserver 10.0.3.1\noptions edns0 trust-ad", True),
        (b"nameserver 10.0.3.1\noptions trustad", False),
    ],
)
def test_whose_word_on_dnssec_counts(text: bytes, vouches: bool) -> None:
    assert parse(text, "lab1.campus").vouches is vouches
