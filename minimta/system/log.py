"""Log lines in Sendmail's form, and the one sanitiser for all that comes from outside.

``line("6AM9CfOn000096", "to=<dave@lab2.campus>, ...")`` gives
``sm-mta[96]: 6AM9CfOn000096: to=<dave@lab2.campus>, ...``. fail2ban, logwatch and others parse these;
a newline or a ", relay=[1.2.3.4]" inside a user's text must not become a fact of ours.
"""

from __future__ import annotations

import os
import sys
import syslog

from minimta.message.printable import shown

_sink = "none"
_tag = "sendmail"
_level = 9


def configure(tag: str, to: str, level: int) -> None:
    """Say where lines go: *to* is "syslog", "stderr" or "none"; lines above *level* are dropped."""
    global _sink, _tag, _level
    _sink, _tag, _level = to, tag, level
    if to == "syslog":
        syslog.openlog(tag, syslog.LOG_PID, syslog.LOG_MAIL)


def line(qid: str, text: str, *, level: int = 9, error: bool = False) -> None:
    """Log one fact; *qid* "" is a fact of no message. Values in *text* must have passed clean()."""
    if level > _level:
        return
    whole = f"{qid}: {text}" if qid else text
    if _sink == "syslog":
        # A constant format: the text is never interpreted (CVE-2011-1764).
        syslog.syslog(syslog.LOG_ERR if error else syslog.LOG_INFO, whole)
    elif _sink == "stderr":
        sys.stderr.write(f"{_tag}[{os.getpid()}]: {whole}\n")
        sys.stderr.flush()


def line_of(program: str, text: str) -> None:
    """Log a fact of another *program*'s (smrsh), in its name and without a number, as it does."""
    if _sink == "syslog":
        syslog.openlog(program, 0, syslog.LOG_MAIL)
        syslog.syslog(syslog.LOG_CRIT, text)
        syslog.openlog(_tag, syslog.LOG_PID, syslog.LOG_MAIL)
    elif _sink == "stderr":
        sys.stderr.write(f"{program}: {text}\n")
        sys.stderr.flush()


def bug(qid: str, what: str) -> None:
    """Log the exception at hand with its traceback, in one line."""
    import traceback  # 10 ms, and only for bugs

    lines = traceback.format_exc().split("\n")
    text = " | ".join(part.strip() for part in lines if part.strip())
    line(qid, f"SYSERR(root): {what}: {clean(text, 2000)}", level=1, error=True)


def clean(value: str | bytes, limit: int = 256) -> str:
    """Make *value* fit for a log line, a terminal or a header: printable ASCII, at most *limit* long.

    Control characters and all beyond ASCII become "?"; what is cut ends in "...".
    """
    return shown(value, limit)


def fact(value: str | bytes, limit: int = 256) -> str:
    """clean() for a value among "name=value, name=value": it begins no fact of its own.

    A Message-Id with ", relay=[192.0.2.1]" in it must not get others banned.
    """
    first, *rest = clean(value, limit).split(", ")
    return first + "".join((",?" if _begins_fact(part) else ", ") + part for part in rest)


def _begins_fact(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and name.isalnum()
