"""Log lines in Sendmail's form (only importer of syslog).

    line("6AM9CfOn000096", "to=<dave@lab2.campus>, stat=Sent")
    sm-mta[96]: 6AM9CfOn000096: to=<dave@lab2.campus>, stat=Sent

fail2ban, logwatch and others parse these, so a newline or a ", relay=[192.0.2.1]" inside a
stranger's text must not become a fact of ours: every value passes clean() or fact() first.
"""

from __future__ import annotations

import os
import sys
import syslog

from minimta.message.printable import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from minimta.system.log_file import LogFile

_sinks: tuple[str, ...] = ("none",)
#: of the paths among them, once one was written to
_files: dict[str, LogFile] = {}
_tag = "sendmail"
_level = 9


def configure(tag: str, to: str, level: int) -> None:
    """Say where lines go: *to* is "syslog", "stderr", paths with commas between them, or "none" (LogTo).

    *tag* names the program. Lines of a level above *level* are dropped (option LogLevel).
    """
    global _sinks, _tag, _level
    _sinks, _tag, _level = tuple(to.split(",")), tag, level
    if _sinks != ("none",):
        syslog.openlog(tag, syslog.LOG_PID, syslog.LOG_MAIL)
    for path in _sinks:
        if path.startswith("/"):
            _file(path).open()  # now, while we may: a listener is no root for long


def settings() -> tuple[str, str, int]:
    """What configure() was told."""
    return _tag, ",".join(_sinks), _level


def missing() -> str:
    """Where the log should go and cannot, if it goes nowhere: a syslog is not there in containers; else ""."""
    paths = [sink for sink in _sinks if sink.startswith("/")]
    goes = {"stderr", "none"} & set(_sinks) or any(_file(path).is_open for path in paths)
    return "" if goes or os.path.exists("/dev/log") else " or ".join([*paths, "/dev/log"])


def descriptors() -> list[int]:
    """Those of the files that lines go to."""
    return [file.descriptor for file in _files.values() if file.is_open]


def forget_connection(kept: Collection[int] = ()) -> None:
    """In a child whose descriptors were closed, but *kept*: the numbers that we had may soon be other files'."""
    for path in [path for path, file in _files.items() if file.descriptor not in kept]:
        del _files[path]
    if _sinks != ("none",):
        syslog.closelog()
        syslog.openlog(_tag, syslog.LOG_PID, syslog.LOG_MAIL)


def line(qid: str, text: str, *, level: int = 9, error: bool = False) -> None:
    """Log one fact; *qid* is "" if it is not about a message.

    Values in *text* must have passed clean() or fact().
    """
    if level > _level:
        return
    whole = f"{qid}: {text}" if qid else text
    if _sinks == ("syslog",) or _write(f"{_tag}[{os.getpid()}]: {whole}\n"):
        # A constant format: the text is never interpreted (CVE-2011-1764).
        syslog.syslog(syslog.LOG_ERR if error else syslog.LOG_INFO, whole)


def _write(text: str) -> bool:
    """Write a line where syslog is not asked; is that wanted as well, or could nothing be written?

    A user's own sendmail may not write to the file that root's daemon has.
    """
    is_written = False
    for sink in _sinks:
        if sink == "stderr":
            sys.stderr.write(text)
            sys.stderr.flush()
            is_written = True
        elif sink.startswith("/"):
            is_written = _file(sink).write(text) or is_written
    return "syslog" in _sinks or not (is_written or "none" in _sinks)


def _file(path: str) -> LogFile:
    if path not in _files:
        from minimta.system.log_file import LogFile  # few want one

        _files[path] = LogFile(path)
    return _files[path]


def line_of(program: str, text: str) -> None:
    """Log a line in the name of another *program* (smrsh) and, as that does, without a pid."""
    if _write(f"{program}: {text}\n"):
        syslog.openlog(program, 0, syslog.LOG_MAIL)
        syslog.syslog(syslog.LOG_CRIT, text)
        syslog.openlog(_tag, syslog.LOG_PID, syslog.LOG_MAIL)


def bug(qid: str, what: str) -> None:
    """Log the exception being handled, with its traceback in one line; *what* was being done."""
    import traceback  # 10 ms, and only for bugs

    lines = traceback.format_exc().split("\n")
    text = " | ".join(part.strip() for part in lines if part.strip())
    line(qid, f"SYSERR(root): {what}: {clean(text, 2000)}", level=1, error=True)


def clean(value: str | bytes, limit: int = 256) -> str:
    """Make *value* fit for a log line or a terminal: see ``printable.shown``."""
    return shown(value, limit)


def fact(value: str | bytes, limit: int = 256) -> str:
    """clean() for a value among "name=value, name=value": nothing in it looks like another fact.

    With a Message-Id that holds ", relay=[192.0.2.1]" a client could have others banned.
    """
    text = clean(value, limit)
    if ", " not in text:
        return text
    first, *rest = text.split(", ")
    return first + "".join((",?" if _begins_fact(part) else ", ") + part for part in rest)


def _begins_fact(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and name.replace("_", "").isalnum()
