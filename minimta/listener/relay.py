"""Who may send what to whom: recipients of this host, and who may relay through it.

Light, because submission asks too: a local user who does not exist is told at once.
"""

from __future__ import annotations

from minimta.message import address

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def may_relay(ip: str) -> bool:
    """May a client at *ip* send to other hosts? Never by name, HELO or sender (threats T13)."""
    return ip in _LOOPBACK


def looks_like_route(bare: bytes) -> bool:
    """Does a local part ask to be sent on: "user%dom", "dom!user", '"user@dom"'?

    It never is (threats T13). But it is answered and logged as an attempt at relaying.
    """
    local_part = address.split(bare)[0]
    return b"%" in local_part or b"!" in local_part or b"@" in local_part


def is_ip(text: str) -> bool:
    """Is it an IPv4 or IPv6 address?"""
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True
