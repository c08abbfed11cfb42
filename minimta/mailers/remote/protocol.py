"""What a process without rights tells the one that has them: one JSON object a line, both ends.

A remote worker and a route preview read what strangers on the network say. A stranger that took one
over writes these lines, so the reader believes none of them: each has a kind and exactly the fields
of that kind, every field is bounded, of its type and its range, and text is cleaned before anyone
logs, prints or mails it. What breaks a rule is a BadLine.

    {"kind": "outcomes", "job": 3, "outcomes": {"0": {"fate": "delivered", "status": "2.0.0", ...}}}
                                        of users of a job, by number, each once
    {"kind": "dialogue", "job": 3, "lines": [">>> EHLO lab1.campus", ...]}
                                        what was said about a job, before its outcomes that are no success
    {"kind": "say", "text": "..."}      a line of the dialogue, for -v
    {"kind": "log", "job": 3, "text": "..."}    for the log; job -1: about no message
    {"kind": "login", "hop": "[smtp.example.org]:587", "relay": "...", "accepted": true, "text": "PLAIN",
     "bits": 256}                       a login was accepted, or refused for its password
    {"kind": "tls", "relay": "mx.campus.", "facts": {"version": "TLSv1.3", ...}}  for the log
    {"kind": "error", "text": "..."}    a bug or a dead machine; the worker ends
    {"kind": "alive"}                   nothing new, still here
    {"kind": "kept"}                    all is settled, and the connection stays open for more
    {"kind": "taken"}                   more jobs have come, numbered from 0 again
    {"kind": "target", "target": {"name": "mx.campus.", "address": "10.0.3.136", ...}}
    {"kind": "problem", "outcome": {...}}       why a host, or the whole next hop, is no good
    {"kind": "host", "found": {"host": "mx.campus", "error": 111, ...}}     was a host reached?
    {"kind": "sts", "domain": "lab2.campus", "id": "2026", "mode": "enforce", ...}
                                        a policy of MTA-STS was fetched, or (mode "") could not be
    {"kind": "result", "domain": "lab2.campus", "policy": [...], ...}    how TLS with a host came out
    {"kind": "name", "text": "..."}     the answer to a question for names

A field more or less is refused, not ignored: both ends are one program that forked, so neither of
them writes another version. A new field of Outcome or Target is a row of _FIELDS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from minimta.mailers.remote import sts_policy
from minimta.mailers.remote.host_status import HostStatus
from minimta.mailers.remote.lines import (
    AliveLine,
    DialogueLine,
    ErrorLine,
    HostLine,
    KeptLine,
    Line,
    LoginLine,
    LogLine,
    NameLine,
    OutcomesLine,
    ProblemLine,
    ResultLine,
    SayLine,
    StsLine,
    TakenLine,
    TargetLine,
    TlsLine,
)
from minimta.mailers.remote.mx_targets import Target
from minimta.message.excerpt import excerpt
from minimta.message.outcome import DIALOGUE, Fate, Outcome
from minimta.system import log
from minimta.system.tls_values import TlsFacts

#: octets of the longest line that is read
MAX_LINE = 4 * 1024 * 1024

_MAX_TEXT = 600
_MAX_TRANSCRIPT = 40
#: of a policy: its hosts, and three more
_MAX_STRINGS = sts_policy.MAX_PATTERNS + 3


class BadLine(Exception):
    """A line that no honest process writes; the text says why, in words of ours."""


def encode(line: Line) -> bytes:
    """The line with its end."""
    said = {"kind": _KIND_OF[type(line)], **_plain_fields(line)}
    return json.dumps(said).encode("ascii") + b"\n"


def decode(octets: bytes, jobs: int = 0) -> Line:
    """Read one line, without its end, of a process that has *jobs* jobs. Raise BadLine."""
    try:
        said = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise BadLine("no JSON") from error
    if not isinstance(said, dict):
        raise BadLine("no object")
    kind = said.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadLine("no such kind of line")
    fields = _KINDS[kind][1]
    line: Line = _KINDS[kind][0](**_checked(said, fields, f"line of kind {kind}"))
    if isinstance(line, OutcomesLine | DialogueLine | LogLine) and line.job >= jobs:
        raise BadLine("no such job")
    return line


# --- fields, as they are written ------------------------------------------------------------------


def _plain_fields(value: object) -> dict[str, object]:
    fields = _FIELDS.get(type(value)) or _KINDS[_KIND_OF[type(value)]][1]
    return {name: _plain(getattr(value, name)) for name in fields}


def _plain(value: object) -> object:
    if isinstance(value, int | float):  # most are numbers and texts, and Mapping is slow to ask
        return value
    if isinstance(value, str):
        # The reader cuts here too; a peer's endless lines must not become an endless line of ours.
        return value[: _MAX_TEXT + 1]
    if type(value) in _FIELDS:
        return _plain_fields(value)
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return value.value if isinstance(value, Fate) else value


# --- fields, as they are read ---------------------------------------------------------------------

#: gives the value of a field, or raises BadLine
_Check = Callable[[object], object]


def _checked(value: object, fields: Mapping[str, _Check], what: str) -> dict[str, object]:
    """The *fields* of an object, which has all of them and no others."""
    if not isinstance(value, dict) or value.keys() != fields.keys():
        raise BadLine(f"not the fields of a {what}")
    return {name: check(value[name]) for name, check in fields.items()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadLine("no text")
    return log.clean(value, _MAX_TEXT)


_WORD = re.compile(r"[\w.:\[\]-]{0,255}", re.ASCII)


def _word(value: object) -> str:
    """Text without blank or comma, which would begin another fact in a log line."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise BadLine("no word")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_TRANSCRIPT:
        raise BadLine("no transcript")
    return tuple(_text(line) for line in value)


def _dialogue(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > DIALOGUE:
        raise BadLine("no dialogue")
    if not all(isinstance(line, str) for line in value):
        raise BadLine("no text")
    return excerpt(value, DIALOGUE)


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > sts_policy.MAX_PATTERNS:
        raise BadLine("no patterns")
    if not all(isinstance(one, str) and sts_policy.is_pattern(one) for one in value):
        raise BadLine("no pattern")
    return tuple(value)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_STRINGS:
        raise BadLine("no strings")
    return tuple(map(_text, value))


def _one_of(*words: str) -> _Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise BadLine("no such word")
        return value

    return check


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadLine("neither true nor false")
    return value


def _number(low: int, high: int) -> _Check:
    def check(value: object) -> int:
        # type(), not isinstance(): True is an int too
        if type(value) is not int or not low <= value <= high:
            raise BadLine("number out of range")
        return value

    return check


def _fate(value: object) -> Fate:
    try:
        return Fate(value)
    except ValueError as error:
        raise BadLine("no fate") from error


# RFC 3463 section 2
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
_CLASS = {Fate.SENT: "2", Fate.DEFERRED: "4", Fate.FAILED: "5"}


def _status(value: object) -> str:
    if not isinstance(value, str) or not _STATUS.fullmatch(value):
        raise BadLine("no status")
    return value


def _outcome(value: object) -> Outcome:
    outcome = Outcome(**_checked(value, _FIELDS[Outcome], "outcome"))  # type: ignore[arg-type]
    if outcome.status[0] != _CLASS[outcome.fate]:
        raise BadLine("status does not fit the fate")
    return outcome


def _no_turn(value: object) -> float:
    if value != 0.0 or type(value) is not float:
        raise BadLine("a turn, which no worker waits for")
    return 0.0


def _outcomes(value: object) -> dict[int, Outcome]:
    if not isinstance(value, dict):
        raise BadLine("no outcomes")
    return {_user(key): _outcome(inner) for key, inner in value.items()}


def _user(key: str) -> int:
    # int() alone takes "+1", "1_0" and digits of other scripts.
    if not (key.isascii() and key.isdigit() and len(key) < 8):
        raise BadLine("no user number")
    return int(key)


def _tls_facts(value: object) -> TlsFacts:
    return TlsFacts(**_checked(value, _FIELDS[TlsFacts], "TLS facts"))  # type: ignore[arg-type]


def _target(value: object) -> Target:
    return Target(**_checked(value, _FIELDS[Target], "target"))  # type: ignore[arg-type]


def _host_status(value: object) -> HostStatus:
    return HostStatus(**_checked(value, _FIELDS[HostStatus], "host status"))  # type: ignore[arg-type]


#: values within a line: their fields, all of them
_FIELDS: dict[type, dict[str, _Check]] = {
    Outcome: {
        "fate": _fate,
        "status": _status,
        "text": _text,
        "relay": _text,
        "remote_mta": _text,
        "diagnostic": _text,
        "transcript": _texts,
        "exit_code": _number(0, 78),
        "dsn_passed_on": _flag,
        "is_busy": _flag,
        "turn": _no_turn,
        "is_remembered": _flag,
    },
    Target: {
        "name": _text,
        "address": _text,
        "port": _number(0, 65535),
        "preference": _number(-1, 65535),
        "vouched": _flag,
    },
    HostStatus: {
        "host": _text,
        "error": _number(0, 255),
        "status": _status,
        "exit_code": _number(0, 78),
        "reply": _text,
    },
    TlsFacts: {"version": _word, "cipher": _word, "bits": _number(0, 1024), "verify": _word},
}

_JOB = _number(-1, 10**7)
#: lines: their class and fields by kind
_KINDS: dict[str, tuple[Callable[..., Line], dict[str, _Check]]] = {
    "outcomes": (OutcomesLine, {"job": _number(0, 10**7), "outcomes": _outcomes}),
    "dialogue": (DialogueLine, {"job": _number(0, 10**7), "lines": _dialogue}),
    "say": (SayLine, {"text": _text}),
    "log": (LogLine, {"job": _JOB, "text": _text}),
    "login": (
        LoginLine,
        {"hop": _text, "relay": _word, "accepted": _flag, "text": _text, "bits": _number(0, 4096)},
    ),
    "tls": (TlsLine, {"relay": _word, "facts": _tls_facts}),
    "error": (ErrorLine, {"text": _text}),
    "alive": (AliveLine, {}),
    "kept": (KeptLine, {}),
    "taken": (TakenLine, {}),
    "target": (TargetLine, {"target": _target}),
    "problem": (ProblemLine, {"outcome": _outcome}),
    "host": (HostLine, {"found": _host_status}),
    "sts": (
        StsLine,
        {
            "domain": _word,
            "id": _word,
            "mode": _one_of("", *sts_policy.MODES),
            "max_age": _number(0, sts_policy.MAX_AGE),
            "mx": _patterns,
            "trouble": _text,
            "result": _word,
        },
    ),
    "result": (
        ResultLine,
        {
            "domain": _word,
            "policy_type": _one_of("tlsa", "sts", "no-policy-found"),
            "host": _word,
            "result": _word,
            "policy": _strings,
        },
    ),
    "name": (NameLine, {"text": _text}),
}
_KIND_OF: dict[object, str] = {made: kind for kind, (made, _) in _KINDS.items()}
