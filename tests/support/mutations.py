"""Damage to the octets of a file, by seed: what disks, editors, broken programs and enemies leave.

damaged(Random("qf 17"), text)    always the same; never *text* itself
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

_HUGE = (
    b"99999999999999999999",
    b"-1",
    b"4294967296",
    b"9" * 400,
    b"1e9",
    b"\xd9\xa1",
    b"+1",
    b"1_0",
)
_ODD = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b'"',
    b"\\",
    b"<",
    b":",
    b".",
)


def damaged(random: Random, text: bytes) -> bytes:
    """*text* with one to three kinds of damage."""
    found = text
    while found == text:
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            found = random.choice(_KINDS)(random, found) if found else b"\0"
    return found


def _flipped(random: Random, text: bytes) -> bytes:
    octets = bytearray(text)
    for _ in range(random.choice((1, 1, 2, 8))):
        octets[random.randrange(len(octets))] ^= 1 << random.randrange(8)
    return bytes(octets)


def _cut(random: Random, text: bytes) -> bytes:
    return text[: random.randrange(len(text))]


def _beheaded(random: Random, text: bytes) -> bytes:
    return text[random.randrange(len(text)) :]


def _inserted(random: Random, text: bytes) -> bytes:
    at = random.randrange(len(text) + 1)
    piece = random.choice((random.randbytes(random.randint(1, 30)), *_ODD, b"A" * 70_000))
    return text[:at] + piece + text[at:]


def _zeroed(random: Random, text: bytes) -> bytes:
    """A block that a power cut has left empty."""
    at, length = random.randrange(len(text)), random.randint(1, 60)
    return text[:at] + b"\0" * len(text[at : at + length]) + text[at + length :]


def _lines(random: Random, text: bytes) -> bytes:
    """A line that stands twice, is gone, or stands elsewhere."""
    lines = text.split(b"\n")
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    how = random.randrange(3)
    line = lines[at] if how == 0 else lines.pop(at)
    if how != 1:
        lines.insert(to, line)
    return b"\n".join(lines)


def _spliced(random: Random, text: bytes) -> bytes:
    """The end of the file behind another part of it: blocks in the wrong order."""
    return text[: random.randrange(len(text))] + text[random.randrange(len(text)) :]


def _huge(random: Random, text: bytes) -> bytes:
    """A number that is none, or too large."""
    places = [number for number, octet in enumerate(text) if 48 <= octet <= 57]
    if not places:
        return _flipped(random, text)
    at = random.choice(places)
    return text[:at] + random.choice(_HUGE) + text[at + 1 :]


_KINDS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(_flipped, _flipped, _cut, _beheaded, _inserted, _zeroed, _lines, _spliced, _huge),
)
