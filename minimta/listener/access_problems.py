"""What is wrong in the access table: rows that no client will ever meet, or will meet as a delay.

told to the log    when the listener reads the table
by minimta check   with the line of each
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minimta.config.values import nearest
from minimta.listener.access import verdict
from minimta.system import log, tls_requirement

#: what may stand before a key, in small letters
TAGS = ("connect", "from", "to", "spam", "greetpause", "clientrate", "clientconn")
_NUMBERS = ("greetpause", "clientrate", "clientconn")
#: tag of a certificate's name -> what may stand behind it
_CERTIFICATES = {"certissuer": ("RELAY", "SUBJECT"), "certsubject": ("RELAY",)}
#: tags of TLS
_TLS = ("tls_srv", "tls_clt", "tls_rcpt", "try_tls")
_KNOWN = (*TAGS, *_CERTIFICATES, *_TLS)
#: Sendmail's other tags, and what has their effect here
ELSEWHERE = {
    "srv_features": "nothing is offered to some clients only",
    "clt_features": "nothing is offered to some clients only",
    "authinfo": "logins at other hosts stand in the file of AuthInfoFile",
}
#: rows that are told when a table is read; the rest is as wrong
_MOST_TOLD = 20
#: rows of a database that are looked through
_MOST_LOOKED_AT = 200_000


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row."""

    #: as the table has it, in small letters
    key: bytes
    text: str
    #: is it a slip? If not it is of Sendmail's, and has no effect here
    is_wrong: bool = True

    def __str__(self) -> str:
        return f"row {self.key.decode('utf-8', 'replace')}: {self.text}"


def tell_problems(path: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Log some of them. Raise OSError as *rows* does."""
    for number, problem in enumerate(problems(rows)):
        if number == _MOST_TOLD:
            return
        log.line("", f"{path}: {log.clean(str(problem))}", level=1, error=True)


def problems(rows: Iterable[tuple[bytes, bytes]]) -> Iterator[Problem]:
    """One for each row that nothing obeys, or that makes no sense. Raise OSError as *rows* does."""
    named, strangers = set[str](), list[Problem]()
    for number, (key, value) in enumerate(rows):
        if number == _MOST_LOOKED_AT:
            break
        tag = _tag(key)
        if tag.startswith("tls_"):
            named |= _named_tags(value)
        text = _problem(tag, key.decode("utf-8", "replace"), value)
        if not text:
            continue
        problem = Problem(key, text, tag not in ELSEWHERE)
        # A row of another one, CITag:TAG, may still say what the tag is for.
        if tag and tag not in ELSEWHERE and tag not in _KNOWN:
            strangers.append(problem)
        else:
            yield problem
    yield from (problem for problem in strangers if _tag(problem.key) not in named)


def _tag(key: bytes) -> str:
    """In small letters; "" for a row without one."""
    tag, colon, _ = key.decode("utf-8", "replace").partition(":")
    return tag if colon and tag != "ipv6" else ""


def _named_tags(value: bytes) -> set[str]:
    """Which the requirement *value* looks up by CITag:."""
    try:
        wanted = tls_requirement.read(value.decode("utf-8", "replace"))
    except ValueError:
        return set()
    return {of.lower() for wish, of in (wanted.wishes if wanted else ()) if wish == "CITag"}


def _problem(tag: str, key: str, value: bytes) -> str:
    rest = key[len(tag) + 1 :] if tag else key
    if tag in ELSEWHERE:
        return f"it does nothing: {ELSEWHERE[tag]}"
    if tag in _CERTIFICATES:
        words = _CERTIFICATES[tag]
        is_word = value.decode("ascii", "replace").strip().upper() in words
        return "" if is_word else f"its value is none of {', '.join(words)}"
    if tag and tag not in _KNOWN:
        return f"no such tag{nearest(tag, {name: name for name in _KNOWN})}; it does nothing"
    if "/" in rest and rest.partition("/")[0].count(".") + rest.count(":") and "@" not in rest:
        return "networks are written as Sendmail does, 10.0.3 for 10.0.3.0/24; it does nothing"
    if tag in _NUMBERS:
        return "" if value.strip().isdigit() else "its value is no number"
    if tag == "spam":
        known = value.strip().upper() in (b"FRIEND", b"HATER")
        return "" if known else "its value is neither FRIEND nor HATER"
    if tag == "try_tls":
        known = value.strip().upper() in (b"NO", b"OK")
        return "" if known else "its value is neither NO nor OK; mail that meets it is delayed"
    try:
        if tag in _TLS:
            tls_requirement.read(value.decode("utf-8", "replace"))
        else:
            verdict(value)
    except ValueError as error:
        return f"{error}; mail that meets it is delayed"
    return ""
