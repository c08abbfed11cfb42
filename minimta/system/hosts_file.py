"""/etc/hosts as text: names of addresses and addresses of names (pure; hosts(5)).

    10.0.3.135   lab2.campus lab2 www.campus    # address, canonical name, aliases

Read as libc reads it: a line whose first word is no address ("10.9.9.256", "010.0.0.1", "10.1",
"fe80::1%lo", "10.0.0.1,") is left out, whatever its names are, and other lines count. Octets are
octets. Files with a hundred thousand lines that block advertisements exist: only lines that matter
are taken apart.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAPPED = "::ffff:"


def entry(line: bytes) -> tuple[str, list[str]] | None:
    """Address in its shortest form, and names as they are written; None if the line is left out."""
    words = line.partition(b"#")[0].split()
    address = _address(_text(words[0])) if len(words) > 1 else ""
    return (address, [_text(word) for word in words[1:]]) if address else None


def naming(text: bytes, name: str) -> Iterator[tuple[str, list[str]]]:
    """The entries that have *name*, in capitals or not, among their names, in their order."""
    wanted = name.lower()
    octets = wanted.encode("utf-8", "surrogateescape")
    lowered = text.lower()
    position = lowered.find(octets) if octets else -1
    while position >= 0:
        start, end = lowered.rfind(b"\n", 0, position) + 1, lowered.find(b"\n", position)
        end = len(text) if end < 0 else end
        found = entry(text[start:end])
        if found is not None and wanted in (one.lower() for one in found[1]):
            yield found
        position = lowered.find(octets, end)


def addresses(text: bytes, name: str) -> list[str]:
    """All addresses of *name*, in the order of the lines."""
    return list(dict.fromkeys(address for address, _ in naming(text, name)))


def first_names(text: bytes) -> dict[str, list[str]]:
    """Address -> names of the first line that has it, which is what gethostbyaddr(3) gives."""
    found: dict[str, list[str]] = {}
    seen: set[bytes] = set()
    for line in text.split(b"\n"):
        word = line.split(None, 1)[:1]
        if not word or word[0] in seen:
            continue
        one = entry(line)
        if one is not None:
            seen.add(word[0])
            found.setdefault(*one)
    return found


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _address(word: str) -> str:
    """The shortest form, "" if it is no address. What is IPv4 in IPv6 is IPv4."""
    # The C half of socket, which loads nothing else.
    from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

    family = AF_INET6 if ":" in word else AF_INET
    try:
        address = inet_ntop(family, inet_pton(family, word))
    except (OSError, ValueError):  # ValueError: octets that C strings do not have
        return ""
    return address.removeprefix(_MAPPED) if "." in address else address
