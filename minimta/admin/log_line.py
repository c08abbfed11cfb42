"""One line of the mail log, taken apart. Pure: the octets in, a value out; what is no line is None.

    Nov 22 09:12:41 lab2 sm-mta[96]: 6AM9CfOn000096: to=<dave@lab2.campus>, stat=Sent     RFC 3164
    2026-11-22T09:12:41.003127+01:00 lab2 sm-mta[96]: 6AM9CfOn000096: to=...              RFC 3339
    <22>Nov 22 ...                                                                        with priority
    sm-mta[96]: 6AM9CfOn000096: to=...                                                    LogTo=stderr

Anybody may write to syslog, and a power cut leaves holes: NULs, half lines, lines of other programs.
Whatever is here is a claim, and nobody may be banned or mail be lost because of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: octets of a line that are looked at; syslog's are shorter
LONGEST = 1 << 16

_TAG, _PID = r"(?P<tag>[^\s\[\]:]{1,64})", r"\[(?P<pid>\d{1,10})\]"
_BSD = r"(?P<bsd>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)"
_ISO = r"(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)"
_WHOLE = re.compile(
    rf"(?:<\d{{1,3}}>)?(?:{_BSD}|{_ISO}) (?:(?P<host>[^\s:\[\]]+) )?{_TAG}(?:{_PID})?: ?(?P<text>.*)"
)
_MESSAGE = re.compile(rf"{_TAG}{_PID}: ?(?P<text>.*)")
# YMDhmsSS and the pid: see queue.qid. Those of Postfix and Exim have another form.
_ID = re.compile(r"([0-9A-Za-x]{8}[0-9]{6,12}|NOQUEUE): ?")
# What log.fact() leaves between two facts: no value of ours contains it.
_BETWEEN = re.compile(r", (?=[A-Za-z_][A-Za-z0-9_]*=)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
#: what syslog daemons write instead of equal lines
_REPEATED = re.compile(r"message repeated (\d{1,6}) times: \[ ?(.*)\]\s*")


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """One line. Whoever needs facts of the form "name=value" asks for ``fields()``."""

    #: seconds since the epoch; 0.0 if the line has no date
    time: float
    #: the machine that logged it, "" if the line does not say
    host: str
    #: the program: "sendmail", "sm-mta"; with sendmail -L anything
    tag: str
    #: 0 if the line does not say
    pid: int
    #: queue id, "NOQUEUE", or "" if it is about no message
    qid: str
    #: what stands behind the id
    text: str
    #: uid of the writer, if the kernel vouches for it (journal), else -1
    uid: int = -1

    def fields(self) -> Mapping[str, str]:
        """The facts: {"to": "<dave@lab2.campus>", "stat": "Sent"}; empty if the text has none.

        Of two with one name the first counts: what a stranger adds comes later.
        """
        if not _NAME.match(self.text):
            return {}
        found: dict[str, str] = {}
        for fact in _BETWEEN.split(self.text):
            name, _, value = fact.partition("=")
            found.setdefault(name, value)
        return found


@dataclass(frozen=True, slots=True)
class DatedText:
    """A line whose date still has to be understood: either *bsd* or *iso* is set, or neither."""

    bsd: str
    iso: str
    host: str
    tag: str
    pid: int
    text: str
    #: how many such lines there were
    times: int = 1


def split(octets: bytes) -> DatedText | None:
    """The parts of a line from a file. None if it is no line of any log."""
    text = octets.strip(b"\0\r\n").decode("utf-8", "replace")
    match = _WHOLE.fullmatch(text) or _MESSAGE.fullmatch(text)
    if match is None or "\0" in text:
        return None
    parts = {"bsd": "", "iso": "", "host": ""} | {
        name: value or "" for name, value in match.groupdict().items()
    }
    said, times = parts["text"], 1
    if repeated := _REPEATED.fullmatch(said):
        times, said = min(int(repeated[1]), 1000), repeated[2]
    pid = int(parts["pid"] or 0)
    return DatedText(parts["bsd"], parts["iso"], parts["host"], parts["tag"], pid, said, times)


def message(text: str) -> tuple[str, int, str]:
    """(tag, pid, text) of a line that LogTo=stderr wrote into the journal; ("", 0, text) if it is none."""
    match = _MESSAGE.fullmatch(text)
    return (match["tag"], int(match["pid"]), match["text"]) if match else ("", 0, text)


def identified(text: str) -> tuple[str, str]:
    """(queue id, rest) of what a program logged; the id is "" if it begins with none."""
    match = _ID.match(text)
    return (match[1], text[match.end() :]) if match else ("", text)
