"""Classes of domains, as the configuration names them: GenericsDomain, VirtUserDomain and others.

A class is a tuple of words: a name, or the absolute path of a file of names.
"""

from __future__ import annotations

from minimta.message import address
from minimta.system import files


def read(words: tuple[str, ...]) -> frozenset[bytes]:
    """The names of a class, in small letters: those of *words*, and those of its files. Raise OSError."""
    found: list[bytes] = []
    for word in words:
        found += files.words(word) if word[0] == "/" else [word.encode("utf-8", "surrogateescape")]
    return frozenset(address.domain_key(name) for name in found)


def covers(domains: frozenset[bytes], key: bytes, *, entire: bool) -> bool:
    """Is a domain among *domains*, or with *entire* below one of them?"""
    if key in domains:
        return True
    while entire and key:
        key = key.partition(b".")[2]
        if key in domains:
            return True
    return False
