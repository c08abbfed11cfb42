from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minimta
from minimta.config.options import Options
from minimta.system import hostnames, hosts_file

HOME = Path(minimta.__file__).parent.parent

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
    nodename(monkeypatch, "lab2.campus.")
    assert hostnames.own_name(options) == "lab2.campus"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("10.0.3.135 lab2.campus lab2\n", "lab2.campus"),
        ("127.0.0.1 localhost lab2\n10.0.3.135 lab2.campus lab2 # us\n", "lab2.campus"),
        ("127.0.1.1 lab2\n", "lab2"),
        ("", "lab2"),
        ("127.0.1.1 lab2 lab2.campus\n", "lab2.campus"),
        ("127.0.1.1 lab2 mail lab2.campus\n", "lab2.campus"),
        ("127.0.1.1 lab2.local.campus lab2 www.campus\n", "lab2.local.campus"),
        ("127.0.1.1 LAB2.Campus LAB2\n", "LAB2.Campus"),
        ("127.0.1.1 lab2.campus. lab2\n", "lab2.campus"),
        ("127.0.0.1 localhost.localdomain localhost lab2\n::1 lab2.campus lab2\n", "lab2.campus"),
        ("127.0.0.1 localhost.localdomain localhost lab2.campus lab2\n", "lab2.campus"),
        ("127.0.0.1 localhost.localdomain localhost lab2\n", "lab2"),
        ("127.0.1.256 bad.campus lab2\n127.0.1.1 lab2.campus lab2\n", "lab2.campus"),
        ("127.0.1.1 a@b.campus lab2 lab2.campus\n", "lab2.campus"),
        ("127.0.1.1 lab20.campus lab20\n", "lab2"),
    ],
)
def test_else_the_name_with_a_dot_of_etc_hosts(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    (tmp_path / "hosts").write_text(text)
    nodename(monkeypatch, "lab2")
    assert hostnames.own_name(options) == name


@pytest.mark.parametrize("node", ["", "(none)"])
def test_a_host_without_a_name_is_localhost(
    options: Options, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    nodename(monkeypatch, node)
    assert hostnames.own_name(options) == "localhost"
    assert b"(none)" not in hostnames.local_names(options)


BUECHER = "b\u00fccher.example"


def test_a_name_that_is_not_ascii_is_written_with_a_labels(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodename(monkeypatch, "B" + BUECHER[1:])
    assert hostnames.own_name(options) == "xn--bcher-kva.example"
    options.host_name = BUECHER
    assert hostnames.own_name(options) == "xn--bcher-kva.example"
    assert b"xn--bcher-kva.example" in hostnames.local_names(options)


@pytest.mark.parametrize(
    "node",
    # octets that are no text; IDNA 2003 and 2008 do not agree; what no host is called
    ["b\udcfc", "stra\u00dfe.example", "a b", "a@b", "a\nb", "\u3002", "x" * 64 + "\u00fc"],
)
def test_a_name_that_cannot_be_one_is_refused(
    options: Options, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    nodename(monkeypatch, node)
    with pytest.raises(OSError, match="is no name of a host; see the option HostName"):
        hostnames.own_name(options)


def test_a_name_with_an_underscore_is_one(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodename(monkeypatch, "my_app_mail_1")
    assert hostnames.own_name(options) == "my_app_mail_1"


def test_our_addresses_are_those_that_the_kernel_calls_local(options: Options) -> None:
    assert hostnames.own_addresses() == {"10.0.3.135", "127.0.0.1", "::1", "2001:db8::1"}


def test_without_proc_loopback_is_left(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostnames, "_IPV4_ROUTES", "/nonexistent")
    monkeypatch.setattr(hostnames, "_IPV6_ADDRESSES", "/nonexistent")
    assert hostnames.own_addresses() == {"127.0.0.1", "::1"}


def test_local_names_are_ours_and_those_of_the_file(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodename(monkeypatch, "Box1.Campus")
    options.host_name = "Lab2.Campus"
    Path(options.local_host_names).write_text(
        f"list.campus # lists\n# comment\nB.example.\nZ{BUECHER[1:]} stra\u00dfe.example\n"
    )
    assert hostnames.local_names(options) == {
        b"lab2.campus",
        b"lab2",
        b"box1.campus",
        b"box1",
        b"localhost",
        b"[10.0.3.135]",
        b"[127.0.0.1]",
        b"[ipv6:::1]",
        b"[ipv6:2001:db8::1]",
        b"list.campus",
        b"b.example",
        b"xn--zcher-kva.example",
        b"xn--strae-oqa.example",
    }


HOSTS = """\
127.0.0.1 localhost.localdomain localhost4
127.0.0.1 ads.example
::1 localhost6.localdomain6
0:0:0::1 ads.example
127.0.1.1 Mail.Campus box1 www.campus
10.0.3.135 lab2.campus
10.0.3.135 second.campus
10.0.3.136 other.campus
0.0.0.0 ads.example
10.0.3.256 broken.campus box1
"""


def test_names_that_the_hosts_file_gives_to_our_addresses_are_ours(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text(HOSTS)
    nodename(monkeypatch, "box1")
    plain = {name for name in hostnames.local_names(options) if name[:1] != b"["}
    assert plain == {
        *(b"localhost", b"localhost.localdomain", b"localhost4", b"localhost6.localdomain6"),
        *(b"mail.campus", b"mail", b"box1", b"www.campus", b"lab2.campus"),
    }


def test_a_list_that_blocks_advertisements_costs_little_and_makes_nothing_ours(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text(
        "127.0.0.1 localhost\n"
        + "".join(f"127.0.0.1 ads{n}.example\n0.0.0.0 a{n}.example\n" for n in range(50_000))
    )
    nodename(monkeypatch, "box1")
    parse = hosts_file.entry
    read: list[bytes] = []

    def entry(line: bytes) -> tuple[str, list[str]] | None:
        read.append(line)
        return parse(line)

    monkeypatch.setattr(hosts_file, "entry", entry)
    names = hostnames.local_names(options)
    assert read == [b"127.0.0.1 localhost", b"0.0.0.0 a0.example"]
    assert not [name for name in names if b"example" in name]


# --- files that cannot be read --------------------------------------------------------------------

REALLY_OPEN = os.open
TROUBLES = ["EIO", "EACCES", "EMFILE", "ENOMEM", "EISDIR", "ENOTDIR", "ELOOP"]


def fail(monkeypatch: pytest.MonkeyPatch, path: str, kind: str) -> None:
    """Opening *path* fails from now on; with kind "" no more."""

    def refuse(name: str, *given: Any, **more: Any) -> int:
        if kind and name == path:
            raise OSError(getattr(errno, kind), os.strerror(getattr(errno, kind)), name)
        return REALLY_OPEN(name, *given, **more)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.parametrize("kind", TROUBLES)
def test_a_hosts_file_that_cannot_be_read_is_not_empty(
    options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    nodename(monkeypatch, "lab2")
    fail(monkeypatch, str(tmp_path / "hosts"), kind)
    for ask in (hostnames.own_name, hostnames.local_names):
        with pytest.raises(OSError, match=rf"\[Errno {getattr(errno, kind)}\].*/hosts"):
            ask(options)
    options.host_name = "lab2.campus"
    assert hostnames.own_name(options) == "lab2.campus"


@pytest.mark.parametrize("kind", TROUBLES)
def test_local_host_names_that_cannot_be_read_are_not_none(
    options: Options, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    options.host_name = "lab2.campus"
    fail(monkeypatch, options.local_host_names, kind)
    with pytest.raises(OSError, match=rf"\[Errno {getattr(errno, kind)}\].*/local-host-names"):
        hostnames.local_names(options)
    fail(monkeypatch, options.local_host_names, "")
    assert b"lab2.campus" in hostnames.local_names(options)


def test_a_directory_is_no_empty_file(options: Options, tmp_path: Path) -> None:
    Path(options.local_host_names).mkdir()
    with pytest.raises(IsADirectoryError):
        hostnames.local_names(options)


@pytest.mark.parametrize("file", ["fib", "inet6"])
@pytest.mark.parametrize(("kind", "hidden"), [("EIO", False), ("EMFILE", False), ("EACCES", True)])
def test_a_file_of_the_kernel_may_be_hidden_but_not_fail(
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file: str,
    kind: str,
    hidden: bool,
) -> None:
    fail(monkeypatch, str(tmp_path / file), kind)
    if hidden:
        assert {"127.0.0.1", "::1"} < hostnames.own_addresses()
    else:
        with pytest.raises(OSError, match=file):
            hostnames.own_addresses()


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
    assert hostnames.client_name("10.0.3.134") == ("", True, False)


def test_a_name_that_cannot_be_asked_for_now_is_not_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(error: OSError) -> Callable[..., Any]:
        def call(*unused: object, **more: object) -> Any:
            raise error

        return call

    resolver(monkeypatch, "lab1.campus", "10.0.3.134")
    monkeypatch.setattr(socket, "getaddrinfo", fails(socket.gaierror(socket.EAI_AGAIN, "later")))
    assert hostnames.client_name("10.0.3.134") == ("lab1.campus", False, False)
    monkeypatch.setattr(socket, "gethostbyaddr", fails(socket.herror(2, "later")))
    assert hostnames.client_name("10.0.3.134") == ("", False, False)


#: what a listener finds that runs while both files change
CHANGING = """
import socket, threading
from minimta.system.hostnames import client_name
from tests.support.fakedns import FakeDns

zone = {"9.9.9.10.in-addr.arpa": {"PTR": ["lab9.campus."]}, "lab9.campus": {"A": ["10.9.9.9"]}}
fake = FakeDns(zone)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))

def serve():
    while True:
        question, client = server.recvfrom(65535)
        server.sendto(fake.answer(question).to_wire(), client)

threading.Thread(target=serve, daemon=True).start()
print(client_name("10.9.9.9")[0], client_name("10.9.9.8")[0])
with open("/etc/resolv.conf", "w") as file:
    file.write("nameserver 127.0.0.1\\n")
print(*client_name("10.9.9.9"))
with open("/etc/hosts", "w") as file:
    file.write("10.9.9.8 lab8.campus\\n")
print(*client_name("10.9.9.8"))
"""


@pytest.mark.root
@pytest.mark.namespace
def test_names_of_clients_are_those_of_resolv_conf_and_hosts_as_they_are_now(
    tmp_path: Path,
) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.9\noptions timeout:1 attempts:1\n")
    (tmp_path / "hosts").write_text("")
    mounts = (
        "ip link set lo up; for name in hosts resolv.conf; do mount --bind $name /etc/$name; done"
    )
    command = ["unshare", "--mount", "--net", "/bin/sh", "-ec", mounts + '; cd "$0"; exec "$@"']
    done = subprocess.run(
        [*command, str(HOME), sys.executable, "-c", CHANGING],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == " \nlab9.campus True True\nlab8.campus True True\n"


def test_gateways_are_those_of_the_default_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = int.from_bytes(bytes((172, 17, 0, 1)), sys.byteorder)
    (tmp_path / "4").write_text(
        "Iface\tDestination\tGateway \tFlags\n"
        f"eth0\t00000000\t{gateway:08X}\t0003\n"
        "eth0\t000011AC\t00000000\t0001\n"
        "eth1\t00000000\t00000000\t0001\n"
    )
    zeros = "0" * 32
    (tmp_path / "6").write_text(
        f"{zeros} 00 {zeros} 00 fe80000000000000000000000000000a 00000400 eth0\n"
        f"20010db8{'0' * 24} 40 {zeros} 00 fe80000000000000000000000000000b 00000100 eth0\n"
        f"{zeros} 00 {zeros} 00 {zeros} ffffffff lo\n"
    )
    monkeypatch.setattr(hostnames, "_IPV4_GATEWAYS", str(tmp_path / "4"))
    monkeypatch.setattr(hostnames, "_IPV6_GATEWAYS", str(tmp_path / "6"))
    assert hostnames.gateways() == {"172.17.0.1", "fe80::a"}
