"""The PROXY protocol, versions 1 and 2: a balancer says first which client it speaks for.

Only at a port that asks for it (DaemonPortOptions, HAProxy=ADDRESSES), only from these addresses, and
before anything else, TLS too. haproxy.org, proxy-protocol.txt; the form is kept to the letter:

    1    PROXY TCP4 192.0.2.1 10.0.3.135 56324 25 CRLF      at most 107 octets; TCP6; UNKNOWN ...
    2    signature (12), version and command (1), family (1), length (2), addresses, TLVs

    it says                      the client
    TCP over IPv4 or IPv6        has this address, and connected to that of ours
    UNKNOWN, LOCAL, a socket     is the balancer itself, that sees whether we are there
    something else, or nothing   is refused: BadHeader

What it claims gives rights by tables alone: a loopback address, or one of this host, gives none, nor
does a client without an address.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: seconds for the whole header
PATIENCE = 5.0
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_LINE = 107
#: octets behind the fixed part of version 2: addresses, and TLVs of which none is of use here
_LONGEST_REST = 4096
_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]{2,39}) ([0-9a-fA-F.:]{2,39}) %b %b\r\n" % (_PORT, _PORT)
)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN( [^\r\n]*)?\r\n")
_LOCAL, _PROXY = 0x20, 0x21
#: family and transport -> octets of its addresses; others have none that we could use
_TCP4, _TCP6, _UNSPECIFIED, _UNIX = 0x11, 0x21, 0x00, 0x31
_LENGTHS = {_TCP4: 12, _TCP6: 36, _UNSPECIFIED: 0, _UNIX: 216}
_CRC32C = 0x03


class BadHeader(Exception):
    """Not what a balancer says; the text says why."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a header says of the client."""

    #: its address, and the one that it connected to; both "" if there are none
    ip: str = ""
    our_ip: str = ""
    #: the port that it connected from
    ip_port: int = 0


def is_named(ip: str, networks: tuple[str, ...]) -> bool:
    """Is the address *ip* in one of *networks*?"""
    address = ipaddress.ip_address(ip)
    return any(address in ipaddress.ip_network(one) for one in networks)


def read(take: Callable[[int], bytes]) -> Claimed:
    """The header, of which take(count) gives so many octets; none behind it is taken.

    Raise BadHeader, and what take() raises.
    """
    head = take(len(_SIGNATURE))
    if head == _SIGNATURE:
        return _read_binary(take)
    if head[:6] != b"PROXY ":
        raise BadHeader("there is none")
    while head[-1:] != b"\n":
        if len(head) >= _LONGEST_LINE:
            raise BadHeader("the line is too long")
        head += take(1)
    return read_line(head)


def read_line(line: bytes) -> Claimed:
    """Version 1, with its CRLF. Raise BadHeader."""
    if _UNKNOWN.fullmatch(line):
        return Claimed()
    found = _LINE.fullmatch(line)
    if found is None:
        raise BadHeader("the line makes no sense")
    family = socket.AF_INET if found[1] == b"TCP4" else socket.AF_INET6
    try:
        packed = [socket.inet_pton(family, found[part].decode("ascii")) for part in (2, 3)]
    except OSError as error:
        raise BadHeader("that is no address") from error
    if any(int(found[part]) > 65535 for part in (4, 5)):
        raise BadHeader("there is no such port")
    return _claimed(packed[0], packed[1], int(found[4]))


def _read_binary(take: Callable[[int], bytes]) -> Claimed:
    fixed = take(4)
    command, family, length = struct.unpack(">BBH", fixed)
    if command not in (_LOCAL, _PROXY):
        raise BadHeader(f"version and command 0x{command:02x} are unknown")
    if length > _LONGEST_REST:
        raise BadHeader("it is too long")
    rest = take(length)
    if command == _LOCAL:
        return Claimed()
    if family not in _LENGTHS:
        raise BadHeader(f"family 0x{family:02x} is not one by which mail comes")
    size = _LENGTHS[family]
    if len(rest) < size:
        raise BadHeader("the addresses are cut short")
    if family != _UNSPECIFIED:
        _check_more(_SIGNATURE + fixed + rest, len(_SIGNATURE) + len(fixed) + size)
    if family not in (_TCP4, _TCP6):
        return Claimed()
    width = 4 if family == _TCP4 else 16
    (ip_port,) = struct.unpack_from(">H", rest, 2 * width)
    return _claimed(rest[:width], rest[width : 2 * width], ip_port)


def _claimed(client: bytes, ours: bytes, ip_port: int) -> Claimed:
    """Raise BadHeader for an address that no client can have."""
    address = _address(client)
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise BadHeader(f"no client has the address {address}")
    return Claimed(str(address), str(_address(ours)), ip_port)


def _address(packed: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _check_more(header: bytes, start: int) -> None:
    """Do TLVs fill *header* from *start* on, and does its checksum fit? Raise BadHeader."""
    for kind, position, length in _more(header, start):
        if kind == _CRC32C:
            blank = header[:position] + bytes(length) + header[position + length :]
            if length != 4 or header[position : position + 4] != struct.pack(">I", crc32c(blank)):
                raise BadHeader("the checksum is wrong")


def _more(header: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Kind of each TLV, where its value begins, and how long it is. Raise BadHeader."""
    while start < len(header):
        if len(header) - start < 3:
            raise BadHeader("what follows the addresses is cut short")
        kind, length = struct.unpack_from(">BH", header, start)
        start += 3
        if start + length > len(header):
            raise BadHeader("what follows the addresses is cut short")
        yield kind, start, length
        start += length


def crc32c(octets: bytes) -> int:
    """The checksum of SCTP (RFC 9260 appendix A), which the PROXY protocol uses, too."""
    value = 0xFFFFFFFF
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
