"""What is known of other hosts: a small file for each, in the form of Sendmail's HostStatusDirectory.

    campus./lab2./mx    V0            of mx.lab2.campus; version
                        E111          errno, 0 if it was reached
                        H0            error of the name server, none
                        S75           exit code
                        D4.4.1        status (RFC 3463)
                        R421 4.3.2 no last reply, if there was one
                        U1795341293   when, epoch seconds
                        .

RFC 5321 section 4.5.4.1: who cannot reach a host remembers that, and does not try it for each message.
So a dead host costs one connection a run, whatever number of processes the run has. The process that
records outcomes writes the files, each whole and under a new name; the workers, which have no rights,
look into them. Nobody waits for anybody: a file that is missing or unreadable means that nothing is
known, and the host is asked.

    HostStatusDirectory           for how long it is believed that a host was not reached
    is not set                    a run of the queue: since it began; new messages: a moment (_MEMORY)
    is set                        Timeout.hoststatus; and how all other hosts were is kept, too
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from minimta.config.options import Options
from minimta.mailers.remote.own_directory import OwnDirectory
from minimta.message.printable import shown
from minimta.system import files

#: errno -> seconds for which new messages believe it: what cost a minute to find out longer than what
#: costs nothing
_MEMORY = {errno.ETIMEDOUT: 300.0}
_SHORT_MEMORY = 30.0
#: seconds after which what was found is of no use to anybody
_OLD = 3600.0
#: octets of a file that are read
_MOST = 1000
#: characters of a reply that are kept, as in Sendmail
_MOST_OF_REPLY = 80
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: a host name comes from a stranger's name server, and becomes a path
_LABEL = re.compile(r"[a-z0-9_][a-z0-9_:-]{0,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How a host was found: reached or not."""

    #: "mx.lab2.campus", with ":PORT" behind it if that is not 25
    host: str
    #: errno, 0 if it was reached
    error: int
    #: RFC 3463
    status: str
    #: sysexits
    exit_code: int
    #: what it said last, "" if nothing: "421 4.3.2 mx.campus busy"
    reply: str = ""


class HostMemory(OwnDirectory):
    """A directory with the status of hosts, as one attempt sees it."""

    def __init__(
        self, path: str, since: float, *, is_run: bool = True, lasting: float = 0.0
    ) -> None:
        """*path* is made when it is needed; *since* is when the run began (epoch seconds).

        If it *is_run*, nothing is believed that is older. *lasting* is Timeout.hoststatus (seconds),
        with which all else does not matter; 0.0 without HostStatusDirectory.
        """
        super().__init__(path, "host status")
        self._since = since
        self._is_run = is_run
        self._lasting = lasting

    def trouble(self, host: str) -> HostStatus | None:
        """Why *host* was not reached of late; None if it was, or if nobody knows."""
        found = self.known(host)
        return found if found is not None and found.exit_code else None

    def wants(self, found: HostStatus) -> bool:
        """Is it worth to be noted? Not that a host was reached, if nobody thought otherwise."""
        last = self.known(found.host, ever=True)
        return bool(self._lasting or found.error or (last and last.error))

    def known(self, host: str, *, ever: bool = False) -> HostStatus | None:
        """What this attempt believes of *host*, or anybody *ever* found; None if nothing."""
        path = _path_of(host)
        if not path or self.file < 0:
            return None
        try:
            file = os.open(path, _READ, dir_fd=self.file)
            try:
                text, found = os.read(file, _MOST), os.fstat(file).st_mtime
            finally:
                os.close(file)
        except OSError:
            return None
        status = decoded(host, text)
        if status is None or not (ever or self._counts(status.error, found)):
            return None
        return status

    def _counts(self, error: int, found: float) -> bool:
        now = time.time()
        if found > now:
            return False  # the clock was set back
        if self._lasting:
            return found > now - self._lasting
        memory = 0.0 if self._is_run else _MEMORY.get(error, _SHORT_MEMORY)
        return found >= min(self._since, now - memory)

    def note(self, found: HostStatus) -> None:
        """Write down what was *found* now. What cannot be written is forgotten."""
        path = _path_of(found.host)
        if path and self.file >= 0:
            with suppress(OSError):
                self._write(path, found, time.time())

    def _write(self, path: str, found: HostStatus, now: float) -> None:
        directories = path.split("/")[:-1]
        for depth in range(len(directories)):
            with suppress(FileExistsError):
                directory = "/".join(directories[: depth + 1])
                os.mkdir(directory, dir_fd=self.file)
                os.chmod(directory, 0o755, dir_fd=self.file)
        new = "/".join([*directories, f".new{os.getpid()}"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(new, flags, 0o644, dir_fd=self.file)
        try:
            os.fchmod(file, 0o644)
            files.write_all(file, _encoded(found, now))
            os.utime(file, (now, now))
        finally:
            os.close(file)
        os.rename(new, path, src_dir_fd=self.file, dst_dir_fd=self.file)


class Hosts(NamedTuple):
    """What is known of hosts, and who is told what is found."""

    memory: HostMemory
    tell: Callable[[HostStatus], None]


def listed(path: str) -> list[tuple[HostStatus, float]]:
    """All hosts below the directory *path*, by name, with the time of each (epoch seconds)."""
    found: list[tuple[HostStatus, float]] = []
    for directory, _, names in os.walk(path):
        labels = os.path.relpath(directory, path).split("/")
        behind = "".join(
            f".{label.removesuffix('.')}" for label in reversed(labels) if label != "."
        )
        for name in names:
            with suppress(OSError):
                file = os.open(os.path.join(directory, name), _READ)
                try:
                    text, when = os.read(file, _MOST), os.fstat(file).st_mtime
                finally:
                    os.close(file)
                status = decoded(name + behind, text)
                found += [(status, when)] if status is not None else []
    return sorted(found, key=lambda pair: pair[0].host)


def forget_old(path: str, seconds: float = _OLD) -> None:
    """Remove from the directory *path* what is older than *seconds*. Raises nothing."""
    if not os.path.isdir(path):
        return
    before = time.time() - seconds
    for directory, _, names, here in os.fwalk(path, topdown=False):
        for name in names:
            with suppress(OSError):
                if os.stat(name, dir_fd=here, follow_symlinks=False).st_mtime < before:
                    os.unlink(name, dir_fd=here)
        if directory != path:
            with suppress(OSError):  # it is not empty
                os.rmdir(directory)


def of_queue(options: Options, since: float, *, is_run: bool) -> HostMemory:
    """The memory of the deliveries of a queue; see HostMemory."""
    path = directory_of(options)
    if path:
        return HostMemory(path, since, is_run=is_run, lasting=options.timeout_hoststatus)
    return HostMemory(beside(options.queue_directory), since, is_run=is_run)


def directory_of(options: Options) -> str:
    """The path of HostStatusDirectory, "" if it is not set."""
    chosen = options.host_status_directory
    return os.path.join(options.queue_directory, chosen) if chosen else ""


def beside(queue_directory: str) -> str:
    """The directory of a queue: not within, where the listener could make it first."""
    return queue_directory.rstrip("/") + ".hosts"


def _path_of(host: str) -> str:
    """Where the file of *host* is, "" if it has none: "campus./lab2./mx"."""
    # An address of IPv6 is one label with colons.
    labels = host.lower().removesuffix(".").split(".")
    if not 0 < len(labels) <= 50 or not all(map(_LABEL.fullmatch, labels)):
        return ""
    return "/".join([*(f"{label}." for label in labels[:0:-1]), labels[0]])


def _encoded(found: HostStatus, now: float) -> bytes:
    lines = ["V0", f"E{found.error}", "H0", f"S{found.exit_code}", f"D{found.status}"]
    if found.reply:
        lines.append(f"R{shown(found.reply, _MOST_OF_REPLY)}")
    return "\n".join([*lines, f"U{int(now)}", ".", ""]).encode("ascii")


def decoded(host: str, text: bytes) -> HostStatus | None:
    """The text of a file, None if it is no status, or one of another version."""
    lines = {line[:1]: line[1:] for line in text.decode("latin-1").split("\n")}
    try:
        if lines["V"] != "0" or "." not in lines:
            return None
        error, exit_code = int(lines["E"]), int(lines["S"])
        return HostStatus(host, error, lines.get("D", ""), exit_code, lines.get("R", ""))
    except (KeyError, ValueError):
        return None
