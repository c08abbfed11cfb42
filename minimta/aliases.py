"""The alias file and its database: compile, report as newaliases does, look up.

    # comment
    postmaster: root
    list: dave, carol,
        henry@lab3.campus           continued: the line begins with a blank
    "first last": dave              quoted names; a blank outside quotes becomes "."

The text is the source of truth, PATH.cdb what is asked. Keys are in small letters. Newer text than
database is logged once and the database used, as Sendmail does (AutoRebuildAliases is off); no
database at all is replaced by the text.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time

from minimta import address, log, maps
from minimta.trust import Untrusted, why_untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minimta.locks import Lock
    from minimta.users import Users

_SUFFIX = ".cdb"
#: how often, and after how many seconds, another process's rebuild is waited for
_LOCK_ATTEMPTS, _LOCK_PAUSE = 300, 0.1


class Report:
    """What a rebuild has to tell."""

    __slots__ = ("count", "errors", "exit_code", "longest", "path", "refusal", "total", "warnings")

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        #: octets of the longest right-hand side
        self.longest = 0
        #: octets of all names and right-hand sides
        self.total = 0
        self.warnings: list[str] = []
        self.errors: list[str] = []
        #: why nothing was rebuilt, "" if it was
        self.refusal = ""
        #: for newaliases; a file that cannot be opened is 0 (recorded in Sendmail 8.17)
        self.exit_code = os.EX_OK

    def lines(self) -> list[str]:
        """What newaliases prints, in its order."""
        if self.refusal:
            return [f"newaliases: cannot open {self.path}: {self.refusal}"]
        # Warnings and errors both begin "PATH: line N: ": the text's order is the order of N.
        noted = sorted(self.warnings + self.errors, key=self._line_number)
        return [*noted, self.summary()]

    def summary(self) -> str:
        return (
            f"{self.path}: {self.count} aliases, longest {self.longest} bytes,"
            f" {self.total} bytes total"
        )

    def _line_number(self, text: str) -> int:
        return int(text.removeprefix(f"{self.path}: line ").partition(":")[0])


class Aliases:
    """The aliases, for looking up. Opens nothing before the first question."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._database: maps.Cdb | None = None
        self._text: dict[bytes, bytes] = {}
        self._text_seen: tuple[int, int, int] | None = None
        self._warned = False

    def find(self, local_part: bytes) -> bytes | None:
        """The right-hand side of *local_part*, in any case; None if it is no alias.

        Raise OSError if this cannot be known now, or if others could have written the file.
        """
        key = local_part.lower()
        database = self._current_database()
        return database.get(key) if database else self._current_text().get(key)

    def _current_database(self) -> maps.Cdb | None:
        try:
            now = os.stat(self._path + _SUFFIX)
        except FileNotFoundError:
            return None
        old = self._database
        if old is None or (old.stat.st_ino, old.stat.st_mtime_ns) != (now.st_ino, now.st_mtime_ns):
            self._database = None
            fresh = maps.Cdb(self._path + _SUFFIX)
            reason = _why_refused(fresh.path, fresh.stat)
            if reason:
                raise _refused(fresh.path, reason)
            self._database = fresh
            self._warn_if_stale(fresh)
        return self._database

    def _warn_if_stale(self, database: maps.Cdb) -> None:
        if self._warned:
            return
        try:
            text = os.stat(self._path)
        except OSError:
            return  # the database alone is enough
        if text.st_mtime_ns > database.stat.st_mtime_ns:
            self._warned = True
            log.line("", f"Warning: alias database {self._path} out of date")

    def _current_text(self) -> dict[bytes, bytes]:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return {}
        seen = (now.st_ino, now.st_mtime_ns, now.st_size)
        if seen != self._text_seen:
            try:
                text = _read_text(self._path)
            except Untrusted as error:
                raise _refused(self._path, str(error)) from error
            # What is wrong in it, newaliases tells.
            self._text = _compile(text, Report(self._path), None)
            self._text_seen = seen
        return self._text


def rebuild(
    path: str,
    users: Users,
    is_local: Callable[[bytes], bool] | None = None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Report:
    """Compile *path* into its database, atomically, one process at a time; log and report it.

    *is_local* says which domains may stand on a left side (``Router.is_local``); none without it.
    Bad lines are reported and left out, as Sendmail does. Raise OSError if the database cannot be
    written, or if another process is at it for too long; then the old one stands.
    """
    report = Report(path)
    try:
        os.stat(path)
        with _rebuild_lock(path + _SUFFIX + ".lock", pause):
            _rebuild(report, users, is_local)
    except FileNotFoundError as error:
        report.refusal = os.strerror(error.errno or errno.ENOENT)
    return report


def _rebuild(report: Report, users: Users, is_local: Callable[[bytes], bool] | None) -> None:
    try:
        text = _read_text(report.path)
    except Untrusted as error:
        report.refusal = str(error)
        return
    except PermissionError as error:
        report.refusal = os.strerror(error.errno or errno.EACCES)
        return
    maps.write_cdb(report.path + _SUFFIX, _compile(text, report, is_local).items())
    _log(report, users)


def _rebuild_lock(path: str, pause: Callable[[float], None]) -> Lock:
    """Wait for another rebuild: it may have read the text before our change."""
    from minimta import locks  # filelock: not for those who only look up

    for _ in range(_LOCK_ATTEMPTS):
        lock = locks.rebuild(path)
        if lock is not None:
            return lock
        pause(_LOCK_PAUSE)
    raise OSError(errno.EAGAIN, "another process rebuilds the aliases", path)


def _log(report: Report, users: Users) -> None:
    user = users.by_uid(os.getuid())
    name = user.name if user else str(os.getuid())
    log.line("", f"alias database {report.path} rebuilt by {log.clean(name)}")
    for text in report.errors:
        log.line("NOQUEUE", f"SYSERR({log.clean(name)}): {text}", error=True)
    log.line("", report.summary())


def _refused(path: str, reason: str) -> OSError:
    log.line("", f"cannot open {path}: {reason}", error=True)
    return OSError(errno.EPERM, reason, path)


def _why_refused(path: str, found: os.stat_result) -> str:
    """Sendmail's words if others can write the file, or put another in its place; else ""."""
    if not stat.S_ISREG(found.st_mode):
        return "Regular files only"
    # Whose it is was the administrator's choice.
    reason = why_untrusted(found, (found.st_uid,))
    if reason:
        return f"{reason} file"
    directory = os.stat(os.path.dirname(path) or ".")
    reason = why_untrusted(directory, (directory.st_uid,))
    return f"{reason} directory" if reason and not directory.st_mode & stat.S_ISVTX else ""


def _read_text(path: str) -> bytes:
    with open(path, "rb") as file:
        reason = _why_refused(path, os.fstat(file.fileno()))
        if reason:
            raise Untrusted(reason)
        return file.read()


def logical_lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, line) with continuation lines joined; the number is that of the last one.

    A comment or an empty line ends what came before; the line end before a continuation goes,
    its white space stays.
    """
    held, number = b"", 0
    # Not split(): a million lines at once are 90 MB.
    for number, whole in enumerate(io.BytesIO(text), 1):
        line = whole.removesuffix(b"\n")
        if line[:1] in (b" ", b"\t"):
            held += line
            continue
        if held:
            yield number - 1, held
        held = b"" if line[:1] in (b"#", b"", b"\r") else line
    if held:
        yield number, held


def _compile(
    text: bytes, report: Report, is_local: Callable[[bytes], bool] | None
) -> dict[bytes, bytes]:
    """Name -> right-hand side; the later of two equal names wins. Fills in *report*."""
    found: dict[bytes, bytes] = {}
    for number, line in logical_lines(text):
        name, value, problem = _split_entry(line, is_local)
        where = f"{report.path}: line {number}: "
        if problem:
            report.errors.append(where + problem)
            report.exit_code = os.EX_SOFTWARE
            continue
        key = name.lower()
        if key in found:
            shown = f"{log.clean(name)}... Warning: duplicate alias name {log.clean(key)}"
            report.warnings.append(where + shown)
        found[key] = value
        report.count += 1
        report.longest = max(report.longest, len(value))
        report.total += len(key) + len(value)
    return found


def _split_entry(line: bytes, is_local: Callable[[bytes], bool] | None) -> tuple[bytes, bytes, str]:
    """(name, right-hand side, "") or (b"", b"", what is wrong)."""
    colon = _colon(line)
    if colon < 0:
        return b"", b"", "missing colon"
    name, value = line[:colon].strip(), line[colon + 1 :].lstrip()
    if not name:
        return b"", b"", f"{log.clean(line, 40)}... illegal alias name"
    if name[:1] != b'"' and (b" " in name or b"\t" in name):
        name = b".".join(name.split())  # Sendmail's BlankSub
    if not value.strip():
        return b"", b"", f"{log.clean(line[: colon + 1], 40)}... missing value for alias"
    local_part, domain = address.split(name)
    remote = bool(domain) and not (is_local is not None and is_local(domain))
    if remote or name[:1] in (b"|", b"/"):
        return b"", b"", f"{log.clean(name, 40)}... cannot alias non-local names"
    return local_part, value, ""


def _colon(line: bytes) -> int:
    """Where the name ends: the first colon outside quotes, -1 if there is none."""
    colon = line.find(b":")
    quote = line.find(b'"')
    if quote < 0 or colon < quote:
        return colon
    closing = line.find(b'"', quote + 1)
    return line.find(b":", closing) if closing > 0 else colon
