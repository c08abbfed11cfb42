"""DNSBL: lists of addresses that are asked by DNS, and what a client on one of them hears.

    DNSBL = zen.spamhaus.org
    DNSBL = bl.example.org Rejected: $a, see https://bl.example.org/

$a is the client's address. Several lists are several lines, or stand behind semicolons.
"""

from __future__ import annotations

from collections import namedtuple

from minimta.config.values import host_name

#: zone: of the list; text: behind the 550, with $a
BlockList = namedtuple("BlockList", "zone text")


def read(text: str) -> tuple[BlockList, ...]:
    """The lists that *text* names. Raise ValueError for what is no zone."""
    return tuple(_read_one(part) for part in text.split(";") if part.strip())


def _read_one(text: str) -> BlockList:
    zone, _, words = text.strip().partition(" ")
    zone, words = host_name(zone), words.strip().strip('"').strip()
    if "." not in zone or not zone.isascii():
        raise ValueError(f"{zone!r} is no zone; wanted: zen.spamhaus.org")
    if words.lower() in ("quarantine", "discard"):
        raise ValueError(f"{zone}: what is listed is refused, nothing else ({words})")
    return BlockList(zone.lower(), words or f"Rejected: $a listed at {zone.lower()}")
