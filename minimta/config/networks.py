"""Addresses and networks in a value: "10.0.3.5 10.0.4.0/24 2001:db8::/32"."""

from __future__ import annotations


def networks(text: str) -> tuple[str, ...]:
    """Networks as ipaddress(3) writes them, an address as one of its own. Raise ValueError.

    Where all hosts or none would count somebody has made a mistake.
    """
    from ipaddress import ip_network  # 5 ms, and few ports want it

    found = []
    for word in text.split():
        try:
            found.append(ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is no address and no network: {error}") from error
    if not found:
        raise ValueError("no address at all")
    if any(not one.prefixlen for one in found):
        raise ValueError("not everybody may be believed")
    return tuple(map(str, found))
