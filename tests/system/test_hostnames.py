from __future__ import annotations

import socket
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.system import hostnames

FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Local:
     |-- 10.0.3.135
        /32 host LOCAL
     |-- 10.0.3.255
        /32 link BROADCAST
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
"""
IF_INET6 = "20010db8000000000000000000000001 02 40 00 80     eth0\n"


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    for name, text in (("fib", FIB), ("inet6", IF_INET6), ("hosts", "")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(hostnames, "_IPV4_ROUTES", str(tmp_path / "fib"))
    monkeypatch.setattr(hostnames, "_IPV6_ADDRESSES", str(tmp_path / "inet6"))
    monkeypatch.setattr(hostnames, "_HOSTS", str(tmp_path / "hosts"))
    options = Options()
    options.local_host_names = str(tmp_path / "local-host-names")
    return options


def nodename(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("os.uname", lambda: type("uname", (), {"nodename": name}))


def test_the_option_names_this_host(options: Options) -> None:
    options.host_name = "mail.campus"
    assert hostnames.own_name(options) == "mail.campus"


def test_a_kernel_name_with_a_dot_is_the_full_name(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodename(monkeypatch, "lab2.campus")
    assert hostnames.own_name(options) == "lab2.campus"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("10.0.3.135 lab2.campus lab2\n", "lab2.campus"),
        ("127.0.0.1 localhost lab2\n10.0.3.135 lab2.campus lab2 # us\n", "lab2.campus"),
        ("127.0.1.1 lab2\n", "lab2"),
        ("", "lab2"),
    ],
)
def test_else_the_canonical_name_of_etc_hosts(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    (tmp_path / "hosts").write_text(text)
    nodename(monkeypatch, "lab2")
    assert hostnames.own_name(options) == name


def test_our_addresses_are_those_that_the_kernel_calls_local(options: Options) -> None:
    assert hostnames.own_addresses() == {"10.0.3.135", "127.0.0.1", "::1", "2001:db8::1"}


def test_without_proc_loopback_is_left(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostnames, "_IPV4_ROUTES", "/nonexistent")
    monkeypatch.setattr(hostnames, "_IPV6_ADDRESSES", "/nonexistent")
    assert hostnames.own_addresses() == {"127.0.0.1", "::1"}


def test_local_names_are_ours_and_those_of_the_file(options: Options) -> None:
    options.host_name = "Lab2.Campus"
    Path(options.local_host_names).write_text("list.campus # lists\n# comment\nB.example.\n")
    assert hostnames.local_names(options) == {
        b"lab2.campus",
        b"lab2",
        b"localhost",
        b"[10.0.3.135]",
        b"[127.0.0.1]",
        b"[ipv6:::1]",
        b"[ipv6:2001:db8::1]",
        b"list.campus",
        b"b.example",
    }


# --- clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_loopback_is_localhost_without_asking(ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyaddr", None)
    assert hostnames.client_name(ip) == ("localhost", True, True)


def resolver(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str) -> None:
    def by_address(ip: str) -> tuple[str, list[str], list[str]]:
        if not name:
            raise socket.herror(1, "Unknown host")
        return name, [], [ip]

    def by_name(host: str, port: object, **unused: object) -> list[tuple[object, ...]]:
        if not addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, 1, 6, "", (ip, 0)) for ip in addresses]

    monkeypatch.setattr(socket, "gethostbyaddr", by_address)
    monkeypatch.setattr(socket, "getaddrinfo", by_name)


def test_a_name_that_leads_back_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch, "lab1.campus", "10.0.3.1", "10.0.3.134")
    assert hostnames.client_name("10.0.3.134") == ("lab1.campus", True, True)


@pytest.mark.parametrize("addresses", [("10.0.3.1",), ()])
def test_one_that_does_not_may_be_forged(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    resolver(monkeypatch, "lab1.campus", *addresses)
    assert hostnames.client_name("10.0.3.134") == ("lab1.campus", True, False)


@pytest.mark.parametrize("name", ["", "a [192.0.2.1], relay=x", "a\nb", "caf\u00e9.example"])
def test_what_is_no_host_name_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    resolver(monkeypatch, name, "10.0.3.134")
    assert hostnames.client_name("10.0.3.134") == ("", False, False)
