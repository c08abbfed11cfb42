"""The policies of MTA-STS (RFC 8461): their text, and the TXT record that announces them (pure).

    _mta-sts.lab2.campus. TXT "v=STSv1; id=20261130"

    version: STSv1                      https://mta-sts.lab2.campus/.well-known/mta-sts.txt
    mode: enforce                       or testing, none
    mx: mx.lab2.campus                  one line for each host, or
    mx: *.hoster.example                for all with one more label
    max_age: 604800                     seconds, a year at most

Of a key that stands twice the first counts, but for mx; unknown keys are left out (section 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MODES = ("enforce", "testing", "none")
#: seconds (section 3.2)
MAX_AGE = 31_557_600
#: patterns of one policy that are read
MAX_PATTERNS = 100

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PATTERN = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}", re.ASCII)
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """What a domain wants of who sends to it."""

    mode: str
    #: seconds for which it holds since it was fetched
    max_age: int
    #: in small letters: "mx.lab2.campus", "*.hoster.example"
    mx: tuple[str, ...]

    def names(self, host: str) -> bool:
        """Is *host* one of those that take mail for the domain (section 4.1)?"""
        host = host.lower().removesuffix(".")
        return host in self.mx or f"*.{host.partition('.')[2]}" in self.mx


def read(text: bytes) -> StsPolicy:
    """The policy that *text* states. Raise ValueError, with what is wrong."""
    found: dict[str, str] = {}
    mx: list[str] = []
    try:
        lines = re.split("\r?\n", text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("it is no text") from error
    for line in filter(None, lines):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError("a line is no key with a value")
        if match[1] == "mx":
            mx.append(match[2])
        else:
            found.setdefault(match[1], match[2])
    if found.get("version") != "STSv1":
        raise ValueError("it has no version STSv1")
    return checked(found.get("mode", ""), _seconds(found.get("max_age", "")), mx)


def checked(mode: str, max_age: int, mx: Sequence[str]) -> StsPolicy:
    """A policy of these, whoever says so. Raise ValueError."""
    if mode not in MODES:
        raise ValueError("its mode is none of enforce, testing, none")
    if not 0 <= max_age <= MAX_AGE:
        raise ValueError("its max_age is out of range")
    patterns = tuple(dict.fromkeys(pattern.lower().removesuffix(".") for pattern in mx))
    if len(patterns) > MAX_PATTERNS or not all(map(is_pattern, patterns)):
        raise ValueError("an mx line is no host")
    if mode != "none" and not patterns:
        raise ValueError("it has no mx line")
    return StsPolicy(mode, max_age, patterns)


def is_pattern(text: str) -> bool:
    """Is it a host in small letters, perhaps with an asterisk as its first label?"""
    return len(text) <= 255 and _PATTERN.fullmatch(text) is not None


def _seconds(digits: str) -> int:
    """At most a year, whatever it says; -1 for no number."""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        return -1
    return min(int(digits), MAX_AGE)


def written(policy: StsPolicy) -> bytes:
    """The text of *policy*, as read() reads it."""
    lines = ["version: STSv1", f"mode: {policy.mode}", *(f"mx: {host}" for host in policy.mx)]
    return "\n".join([*lines, f"max_age: {policy.max_age}", ""]).encode("ascii")


def id_of(texts: Sequence[bytes]) -> str:
    """The id in the TXT records of a domain, "" if they announce no policy (section 3.1)."""
    found = [text for text in texts if re.match(rb"v=STSv1[ \t]*(;|$)", text)]
    if len(found) != 1:
        return ""
    fields = (field.strip(b" \t") for field in found[0].split(b";")[1:])
    values = [
        value for name, _, value in (field.partition(b"=") for field in fields) if name == b"id"
    ]
    value = values[0].decode("ascii", "replace") if values else ""
    return value if _ID.fullmatch(value) else ""
