"""What a client may do, above all whether it may send to other hosts: one value, made at connect.

    client                      identity  may_relay  trusts_sender  trusts_recipients  completes
    user on standard input      login     yes        yes            yes                yes
    loopback address, TrustLoopback       yes        yes
    the address it connected to, same     yes        yes
    RelayDomains, Connect: RELAY          yes
    an address of this host, by a proxy
    anybody else
    any of them by a port M=u                                                          yes
    ... with a certificate of RelayCertFile       yes        yes
    ... with a login (AUTH)     the user  yes        yes                              yes

A handshake (STARTTLS), a login (AUTH) and the access table each put another value in its place; nothing
ever changes it, so what one command was told holds to its end.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace

from minimta.config.ports import Port
from minimta.message import address
from minimta.system import hostnames

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@dataclass(frozen=True, slots=True)
class Rights:
    """What a client may do."""

    #: who it is: the login name of a local user, or the name that AUTH has proved; "" a stranger
    identity: str = ""
    #: may it send to recipients of other hosts?
    may_relay: bool = False
    #: is it believed that the sender it names can get an answer?
    trusts_sender: bool = False
    #: are recipients taken unseen? Who does not exist comes back as a bounce
    trusts_recipients: bool = False
    #: are addresses without a domain taken for ours and completed, in envelope and header?
    completes: bool = False


def at_connect(
    ip: str, port: Port, our_address: str = "", *, trusts_loopback: bool = True
) -> Rights:
    """The rights of a client at *ip* that has connected to *our_address* and said nothing yet.

    *trusts_loopback* is TrustLoopback: are clients of this host trusted for that alone?
    """
    # Who comes from the address it connects to is this host: the kernel drops others that say so.
    is_here = may_relay(ip) or (bool(ip) and ip == our_address)
    trusted = trusts_loopback and is_here
    return Rights(may_relay=trusted, trusts_sender=trusted, completes="u" in port.modifiers)


def with_certificate(known: Rights, *, may_relay: bool) -> Rights:
    """The rights of a client with the rights *known*, whose certificate lets it relay, or not."""
    return replace(known, may_relay=True, trusts_sender=True) if may_relay else known


def after_login(known: Rights, user: str) -> Rights:
    """The rights of a client with the rights *known* that has proved by AUTH that it is *user*.

    What it sends is a submission (RFC 6409 section 4.2): addresses are completed.
    """
    # DIFFERS: Sendmail completes only by a port M=u, and refuses "MAIL FROM:<emma>" of others.
    return replace(known, identity=user, may_relay=True, trusts_sender=True, completes=True)


def of_user(login: str) -> Rights:
    """The rights of the local user who runs ``sendmail -bs``."""
    return Rights(login, may_relay=True, trusts_sender=True, trusts_recipients=True, completes=True)


def may_relay(ip: str) -> bool:
    """May a client at *ip* send to other hosts? Its name, HELO and sender can all be forged."""
    return ip in _LOOPBACK


def is_ours(ip: str) -> bool:
    """Is it a loopback address, or another of this host? Raise OSError."""
    import ipaddress

    return ipaddress.ip_address(ip).is_loopback or ip in hostnames.own_addresses()


def is_inside(ip: str) -> bool:
    """Has the client an address that is not routed in the Internet?"""
    import ipaddress

    try:
        return ipaddress.ip_address(ip).is_private
    except ValueError:
        return False


def looks_like_route(bare: bytes) -> bool:
    """Does a local part ask to be sent on: "user%dom", "dom!user", '"user@dom"'?

    It never is, for that would be an open relay. But it is answered and logged as an attempt at one.
    """
    local_part = address.split(bare)[0]
    return b"%" in local_part or b"!" in local_part or b"@" in local_part


def is_ip(text: str) -> bool:
    """Is it an IPv4 or IPv6 address?"""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True
