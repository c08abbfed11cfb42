"""Addresses of sockets, as the rest of the program writes them."""

from __future__ import annotations


def plain_address(address: object) -> str:
    """An address of a socket without what IPv6 puts around it: "::ffff:10.0.3.1", "fe80::1%eth0"."""
    return str(address).removeprefix("::ffff:").partition("%")[0]
