"""Under which keys the access table knows a host, an address, a user: the nearest first.

    10.0.3.4            "10.0.3.4", "10.0.3", "10.0", "10"
    2001:db8::1         "ipv6:2001:db8::1", ... "ipv6:2001:db8", "ipv6:2001:db8::" ...
    mx.lab1.campus      "mx.lab1.campus", "lab1.campus", "campus"
    dave+x@lab2.campus  "dave+x@lab2.campus", "dave+*@lab2.campus", "dave@lab2.campus"

Sendmail's rulesets LookUpAddress, LookUpDomain, LookUpFull, LookUpUser. In small letters, without tag.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from minimta.message import address


def parts(bare: bytes) -> tuple[str, str]:
    """Local part and domain as keys have them: quotes and backslashes hide nothing, no final dot."""
    local, domain = address.split(bare)
    spelled, key = address.plainest(local.lower()), address.domain_key(domain)
    return spelled.decode("utf-8", "surrogateescape"), key.decode("utf-8", "surrogateescape")


def full_keys(local: str, domain: str) -> Iterator[str]:
    """ "dave+x@lab2.campus", "dave+*@lab2.campus", "dave@lab2.campus" """
    yield from (f"{user}{domain}" for user in user_keys(local))


def user_keys(local: str) -> Iterator[str]:
    """ "dave+x@", "dave+*@", "dave@" """
    yield f"{local}@"
    user, plus, _ = local.partition("+")
    if plus:
        yield from (f"{user}+*@", f"{user}@")


def domain_keys(name: str) -> Iterator[str]:
    """A name and those above it; of a literal the networks, "[10.0.3.4]", "[10.0.3]" ..."""
    name = name.lower().removesuffix(".")
    if name[:1] == "[":
        yield from (f"[{key}]" for key in address_keys(name.strip("[]").removeprefix("ipv6:")))
        return
    while name:
        yield name
        name = name.partition(".")[2]


def address_keys(ip: str) -> Iterator[str]:
    """An address and the networks that it is in, "10.0.3.4", "10.0.3" ..., "ipv6:2001:db8" ..."""
    if not ip:
        return
    if ":" not in ip:
        numbers = ip.split(".")
        yield from (".".join(numbers[:count]) for count in range(len(numbers), 0, -1))
        return
    try:
        groups = [
            group.lstrip("0") or "0" for group in ipaddress.ip_address(ip).exploded.split(":")
        ]
    except ValueError:
        return
    yield f"ipv6:{ipaddress.ip_address(ip).compressed}"
    for count in range(len(groups), 0, -1):
        yield "ipv6:" + ":".join(groups[:count])
        # As people write a network; it would be the address 2001:db8:: as well.
        if count < len(groups):
            yield "ipv6:" + ":".join(groups[:count]) + "::"
