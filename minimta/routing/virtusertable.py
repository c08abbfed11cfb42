"""VirtUserTable: addresses of this host's domains that are not simply users of it (pure).

    info@list.campus     dave                  a user, an alias
    sales@list.campus    henry@lab3.campus     any address
    @nomx.campus         %1@lab2.campus        all others of the domain; %1 is the local part
    join+*@list.campus   dave+%2               details; %2 is the detail, %3 the same with "+"
    old@list.campus      error:5.1.6:550 Gone  see ``refusal``

For dave+x@list.campus the first of these counts: dave+x@, dave++@, dave+*@, dave@, ++@, +*@, @; with
"++" and "+*" before the "@" for any user, and "++" only if the detail is not empty. What a row gives
is looked up again. Only addresses with a domain are looked up.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: rows that lead to each other; more are a circle
MOST = 10


def row(
    local: bytes, domain: bytes, table: Callable[[bytes], bytes | None]
) -> tuple[bytes, bytes] | None:
    """Key and value, filled in, of the row for an address whose *domain* is in small letters; or None.

    Raise OSError as *table* does.
    """
    for key, arguments in _keys(local, domain):
        found = table(key.lower())
        if found is not None:
            for number, argument in enumerate(arguments, 1):
                found = found.replace(b"%%%d" % number, argument)
            return key.lower(), found.strip()
    return None


def _keys(local: bytes, domain: bytes) -> list[tuple[bytes, tuple[bytes, bytes, bytes]]]:
    """Which rows may be meant, in their order, and what %1, %2 and %3 are in each."""
    whole = (local, b"", b"")
    name, plus, detail = local.partition(b"+")
    if not plus or not name:
        return [(local + b"@" + domain, whole), (b"@" + domain, whole)]
    any_detail = [b"++", b"+*"] if detail else [b"+*"]
    users = [*(name + mark for mark in any_detail), name, *any_detail, b""]
    parts = (name, detail, b"+" + detail)
    return [(local + b"@" + domain, whole), *((user + b"@" + domain, parts) for user in users)]
