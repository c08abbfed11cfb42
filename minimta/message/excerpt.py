"""Of a text that is too long, its beginning and its end."""

from __future__ import annotations

from collections.abc import Sequence

from minimta.message.printable import shown

#: characters of a line
LINE = 600


def excerpt(lines: Sequence[str], octets: int) -> tuple[str, ...]:
    """*lines*, printable and each at most LINE long; of more than so many *octets* head and tail."""
    short = [shown(line, LINE) for line in lines]
    if sum(len(line) + 1 for line in short) <= octets:
        return tuple(short)
    head = _within(short, octets // 4)
    tail = _within(short[len(head) :][::-1], octets // 2)[::-1]
    left = len(short) - len(head) - len(tail)
    return (*head, f"=== {left} lines are left out", *tail)


def _within(lines: Sequence[str], octets: int) -> list[str]:
    kept: list[str] = []
    for line in lines:
        octets -= len(line) + 1
        if octets < 0:
            break
        kept.append(line)
    return kept
