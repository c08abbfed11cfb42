"""Readers of numbers, sizes, times and truths: the text of an option's value in, the value out.

What is none raises ValueError with what is wrong with it. ASCII digits are digits, others ("１",
"1_0") are not, whatever int() thinks.
"""

from __future__ import annotations

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNIT_WORDS = ("sec", "second", "min", "minute", "hour", "day", "week")
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
#: seconds: poll(2) takes milliseconds in an int, 24.8 days, and some waits are a little longer than asked for
_LONGEST_WAIT = 24 * 86400
#: setrlimit(2) takes no more, nor does any file position
_MOST = 2**63 - 1
_DIGITS, _LETTERS = "0123456789", "abcdefghijklmnopqrstuvwxyz"


def interval(text: str, default_unit: str = "m") -> int:
    """Sendmail's time syntax to seconds: "5d", "1h30m", and a bare "30" in minutes; also "5 days".

    Raise ValueError.
    """
    total, rest = 0, text.strip().lower()
    while rest or not text.strip():
        after_digits = rest.lstrip(_DIGITS)
        digits = rest[: len(rest) - len(after_digits)]
        unit_and_rest = after_digits.lstrip()
        rest = unit_and_rest.lstrip(_LETTERS)
        word = unit_and_rest[: len(unit_and_rest) - len(rest)]
        unit = _unit_of(word) if word else default_unit if digits and not rest else ""
        if not digits or not unit:
            raise ValueError(f"Invalid time unit {word or rest[:1] or '?'!r}")
        total += number(digits) * _UNITS[unit]
        rest = rest.lstrip()
    if total > _MOST:
        raise ValueError(f"too long: {text.strip()[:60]!r}")
    return total


def _unit_of(word: str) -> str:
    """ "d" for "d", "day" and "days"; "" for what is no unit."""
    return word[0] if word in _UNITS or word.removesuffix("s") in _UNIT_WORDS else ""


def size(text: str) -> int:
    """Octets: "1048576", "1024k", "1M" and "1 MB" are the same. None is below 0. Raise ValueError."""
    word = text.strip().lower()
    for suffix in ("ib", "b", ""):
        factor = _FACTORS.get(word.removesuffix(suffix)[-1:])
        if factor and word.endswith(suffix):
            octets = natural(word.removesuffix(suffix)[:-1]) * factor
            if octets > _MOST:
                raise ValueError(f"too large a number: {text.strip()[:60]!r}")
            return octets
    return natural(text)


def wait(text: str, default_unit: str = "m") -> int:
    """Like interval(), for what is waited for. Raise ValueError, also for more than poll(2) can wait."""
    total = interval(text, default_unit)
    if total > _LONGEST_WAIT:
        raise ValueError(f"{text.strip()} is too long (24d at most)")
    return total


def seconds(text: str) -> int:
    """Like wait(), for the options whose bare number means seconds. Raise ValueError."""
    return wait(text, "s")


def maybe_interval(text: str) -> int | None:
    """interval(), or None for an empty text. Raise ValueError."""
    return interval(text) if text.strip() else None


def positive_seconds(text: str) -> int:
    """seconds(), from 1 on. Raise ValueError."""
    found = seconds(text)
    if not found:
        raise ValueError(f"below 1: {text.strip()!r}")
    return found


def seconds_or_never(text: str) -> int:
    """seconds(), or -1 for any number below 0. Raise ValueError."""
    if text.strip()[:1] == "-":
        number(text)
        return -1
    return seconds(text)


def number(text: str) -> int:
    """A decimal number of ASCII digits, perhaps negative. Raise ValueError."""
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"not a number: {text.strip()!r}")
    # Digits first: int() itself refuses thousands of them, in words about Python.
    if len(digits) > len(str(_MOST)) or int(digits) > _MOST:
        raise ValueError(f"too large a number: {text.strip()[:60]!r}")
    return int(text)


def natural(text: str) -> int:
    """A number that may be 0. Raise ValueError for one below."""
    if number(text) < 0:
        raise ValueError(f"below 0: {text.strip()!r}")
    return number(text)


def lengths(text: str) -> tuple[int, int]:
    """Two numbers of octets, "2048/1024"; without the second it is half of the first. Raise ValueError."""
    first, slash, second = text.partition("/")
    return natural(first), natural(second) if slash else natural(first) // 2


def positive(text: str) -> int:
    """A number from 1 on. Raise ValueError for others."""
    if number(text) < 1:
        raise ValueError(f'below 1: {text.strip()!r}; 0 is not "no limit" here, 1 is the least')
    return number(text)


def boolean(text: str) -> bool:
    """Sendmail's truth: an option without a value is true, as are "t", "y" and "1". Raise ValueError."""
    word = text.strip().lower()
    if word not in ("", "t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"):
        raise ValueError(f"not a boolean: {text.strip()!r}")
    return word in ("", "t", "true", "y", "yes", "1")
