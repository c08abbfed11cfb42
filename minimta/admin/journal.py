"""The mail log in systemd's journal, by journalctl -o json: a program that may hang or be missing.

    {"__REALTIME_TIMESTAMP":"1795339961000000","SYSLOG_IDENTIFIER":"sm-mta","SYSLOG_PID":"96",
     "_UID":"0","_HOSTNAME":"lab2","MESSAGE":"6AM9CfOn000096: to=<dave@lab2.campus>, stat=Sent"}

Asked for are facility mail and what our units write to standard error (LogTo=stderr). _UID and
_HOSTNAME are the kernel's and journald's word, all else is the writer's.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import IO

from minimta.admin import log_line
from minimta.admin.log_line import LONGEST, LoggedLine
from minimta.system import log, waiting

_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_UID,_HOSTNAME,_TRANSPORT"
_UNITS = ("minimta.service", "minimta-runner.service", "minimta-listener.service")
_MATCHES = ("SYSLOG_FACILITY=2", "+", *(f"_SYSTEMD_UNIT={unit}" for unit in _UNITS))
#: seconds without a line after which journalctl is ended
PATIENCE = 30.0


def lines(
    since: float, complain: Callable[[str], None], *, patience: float = PATIENCE
) -> Iterator[LoggedLine]:
    """The lines since then (epoch seconds), oldest first; *complain* gets what went wrong.

    Without a journal there are none, and it is complained.
    """
    arguments = [
        "-o",
        "json",
        f"--output-fields={_FIELDS}",
        f"--since=@{max(0, math.floor(since))}",
    ]
    yield from _run(arguments, complain, patience)


def newest(*, patience: float = PATIENCE) -> float:
    """When the last line was written, epoch seconds; 0.0 if there is none or that cannot be known."""
    arguments = ["-o", "json", f"--output-fields={_FIELDS}", "-n", "1"]
    return max((line.time for line in _run(arguments, lambda text: None, patience)), default=0.0)


def _run(
    arguments: list[str], complain: Callable[[str], None], patience: float
) -> Iterator[LoggedLine]:
    command = ["journalctl", "--no-pager", "-q", *arguments, *_MATCHES]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        complain(f"journalctl: {error.strerror}")
        return
    assert process.stdout is not None
    try:
        for octets in _octets(process.stdout, patience):
            if line := parse(octets):
                yield line
        if code := process.wait(patience):
            complain(f"journalctl: exit code {code}: what it gave may not be all")
    except (TimeoutError, subprocess.TimeoutExpired):
        complain(f"journalctl: silent for {patience:.0f} s, ended: what it gave may not be all")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _octets(pipe: IO[bytes], patience: float) -> Iterator[bytes]:
    """Lines; one longer than LONGEST is left out. Raise TimeoutError."""
    rest, until = b"", time.monotonic() + patience
    while True:
        if not waiting.readable([pipe.fileno()], max(0.0, until - time.monotonic())):
            raise TimeoutError
        piece = pipe.read1(LONGEST)  # type: ignore[attr-defined]
        if not piece:
            return
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > 2 * LONGEST:
            rest = rest[:LONGEST]  # no JSON any more
        until = time.monotonic() + patience


def parse(octets: bytes) -> LoggedLine | None:
    """A line of journalctl -o json; None if it is none, or too long for journalctl to show."""
    try:
        entry = json.loads(octets)
        said = entry["MESSAGE"]
        when = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if isinstance(said, list):  # not UTF-8: the octets as numbers
        said = bytes(n & 255 for n in said if isinstance(n, int)).decode("utf-8", "replace")
    if not isinstance(said, str) or len(said) > LONGEST:
        return None
    tag, pid = str(entry.get("SYSLOG_IDENTIFIER", "")), _number(entry, "SYSLOG_PID", "_PID")
    if entry.get("_TRANSPORT") == "stdout":
        named, its, said = log_line.message(said)
        tag, pid = named or tag, its or pid
    qid, text = log_line.identified(said.rstrip("\n"))
    host = log.clean(str(entry.get("_HOSTNAME", "")))
    return LoggedLine(when, host, tag, pid, qid, text, _number(entry, "_UID", otherwise=-1))


def _number(entry: dict[str, object], *names: str, otherwise: int = 0) -> int:
    for name in names:
        text = str(entry.get(name, ""))
        if text.isascii() and text.isdigit() and len(text) < 12:
            return int(text)
    return otherwise
