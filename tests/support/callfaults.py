"""Any call of a path may fail: the n-th of its kind, with any errno, here or in a forked child.

    with Calls() as calls:                  # a run in which nothing fails: what is called, in order
        act()
    for fault in faults(calls.made):
        with Calls(fault) as calls:         # the same run, in which one call does
            act()
        calls.hit                           # did it come to that call?

Kinds are functions of ``os`` and ``fcntl``, methods of sockets, ``open`` with its reads, and fork.
Children that are forked inherit all this, and count together with us. fsync does nothing, which is
fast. EINTR is none of the errors: Python retries the call itself (PEP 475), none of this code ever
sees it.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import fcntl
import io
import itertools
import mmap
import multiprocessing
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minimta.queue import commit
from minimta.system import log

_FILES = (
    *("open", "read", "pread", "readv", "write", "writev", "pwrite", "lseek"),
    *("fsync", "fdatasync", "rename", "replace", "link", "symlink", "unlink", "remove", "rmdir"),
    *("mkdir", "ftruncate", "truncate", "posix_fallocate", "utime", "chmod", "fchmod", "fchown"),
    *("stat", "lstat", "fstat", "fstatvfs", "statvfs", "listdir", "scandir", "readlink", "access"),
    *("close", "dup", "dup2", "pipe", "pipe2", "memfd_create", "sendfile", "fork"),
)
_LOCKS = ("flock", "lockf", "fcntl")
_SOCKETS = (
    *("connect", "bind", "listen", "accept", "send", "sendall", "sendmsg", "recv", "recv_into"),
    *("recvmsg", "shutdown", "setsockopt", "getsockname", "getpeername"),
)
#: what asks for a new socket, or for a process
_MADE = ("socket", "socketpair", "fork_exec", "syncfs")
KINDS = (*_FILES, *_LOCKS, *_SOCKETS, *_MADE)
_SYNCS = ("fsync", "fdatasync", "syncfs")

_ERRORS = (
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE),
    *(errno.ENOMEM, errno.EACCES, errno.EROFS),
)
#: what some kinds may report besides
_MORE = {
    **dict.fromkeys(("fork", "fork_exec"), (errno.EAGAIN,)),
    **dict.fromkeys(_LOCKS, (errno.ENOLCK,)),
    **dict.fromkeys(("send", "sendall", "sendmsg", "recv"), (errno.ECONNRESET, errno.ETIMEDOUT)),
}
_LARGE = 1 << 20


@dataclass(frozen=True)
class Made:
    """One call of a run."""

    kind: str
    #: file name without queue id, "df"; what else a descriptor leads to
    subject: str

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".rstrip()


@dataclass(frozen=True)
class CallFault:
    """Call *nth* of *kind*, from 0, reports *code*; *lasting*: so do all later ones of that kind."""

    kind: str
    nth: int
    code: int
    lasting: bool
    made: Made

    def __str__(self) -> str:
        until = " and ever after" if self.lasting else ""
        return f"{self.made} (number {self.nth}) {errno.errorcode[self.code]}{until}"


def faults(made: Sequence[Made], *, is_full: bool) -> Iterator[CallFault]:
    """Every call of a run with every error, once and for ever.

    If it is not *is_full*: with one error of each, in turn, every fifth time for ever; of calls that
    are the same to look at, the first and every fourth.
    """
    counts = dict.fromkeys(KINDS, 0)
    alike: dict[Made, int] = {}
    for turn, call in enumerate(made):
        nth, seen = counts[call.kind], alike.get(call, 0)
        counts[call.kind], alike[call] = nth + 1, seen + 1
        codes = (*_ERRORS, *_MORE.get(call.kind, ()))
        if is_full:
            for lasting, code in itertools.product((False, True), codes):
                yield CallFault(call.kind, nth, code, lasting, call)
        elif seen % 4 == 0:
            yield CallFault(call.kind, nth, codes[turn % len(codes)], turn % 5 == 0, call)


class Calls:
    """Counts calls while the ``with`` block runs, in this process and its children, and fails one."""

    def __init__(self, fault: CallFault | None = None) -> None:
        self._fault = fault
        self._saved: list[tuple[Any, str, Any]] = []
        self._mutex = multiprocessing.get_context("fork").RLock()
        # In memory that children share: what they have of their own nobody here would see.
        self._memory = mmap.mmap(-1, 8 * (len(KINDS) + 2) + _LARGE)
        self._numbers = memoryview(self._memory)[: 8 * (len(KINDS) + 2)].cast("Q")
        self._text = memoryview(self._memory)[8 * (len(KINDS) + 2) :]

    # --- what was seen ----------------------------------------------------------------------------

    @property
    def hit(self) -> bool:
        """Was there the call that is to fail?"""
        return bool(self._numbers[-1])

    @property
    def made(self) -> list[Made]:
        """All calls, in order, of a run without a fault."""
        found = [line.partition("\t") for line in self._lines() if "\t" in line]
        return [Made(kind, subject) for kind, _, subject in found if kind in KINDS]

    @property
    def log(self) -> list[str]:
        """What was logged, by children too."""
        return [line for line in self._lines() if "\t" not in line]

    def _say(self, qid: str, text: str, **unused: object) -> None:
        self._note(f"{qid}: {text}".replace("\t", " ").replace("\n", " | "))

    def _lines(self) -> list[str]:
        whole = bytes(self._text[: self._numbers[-2]])
        return whole.decode("utf-8", "replace").split("\n")[:-1]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process comes between, unless one was killed while it was here."""
        is_mine = self._mutex.acquire(timeout=0.2)
        try:
            yield
        finally:
            if is_mine:
                self._mutex.release()

    def _note(self, line: str) -> None:
        octets = line.encode("utf-8", "replace") + b"\n"
        with self._alone():
            begin = self._numbers[-2]
            self._numbers[-2] = begin + len(octets)
        self._text[begin : begin + len(octets)] = octets

    # --- calls ------------------------------------------------------------------------------------

    def __enter__(self) -> Calls:
        for name in _FILES:
            self._wrap(os, name)
        for name in _LOCKS:
            self._wrap(fcntl, name)
        for name in _SOCKETS:
            self._wrap(socket.socket, name)
        self._wrap(socket, "socketpair")
        self._wrap(subprocess, "_fork_exec", "fork_exec")
        self._wrap(commit, "syncfs")
        self._replace(socket.socket, "__init__", self._socket())
        self._replace(builtins, "open", self._open())
        self._replace(log, "line", self._say)
        _active.append(self)
        return self

    def __exit__(self, *unused: object) -> None:
        _active.remove(self)
        while self._saved:
            owner, name, real = self._saved.pop()
            setattr(owner, name, real)

    def reach(self, kind: str, subject: object = "") -> None:
        """A call is about to be made. Raise OSError if it is the one that fails."""
        place = KINDS.index(kind)
        with self._alone():
            nth = self._numbers[place]
            self._numbers[place] = nth + 1
        fault = self._fault
        if fault is None:
            self._note(f"{kind}\t{_shown(subject)}")
        elif fault.kind == kind and (nth == fault.nth or (fault.lasting and nth > fault.nth)):
            self._numbers[-1] = 1
            raise OSError(fault.code, os.strerror(fault.code))

    def _replace(self, owner: Any, name: str, new: Any) -> None:
        self._saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def _wrap(self, owner: Any, name: str, kind: str = "") -> None:
        real, kind = getattr(owner, name), kind or name

        def call(*args: Any, **options: Any) -> Any:
            if kind == "close" and not _may_fail_to_close(args[0]):
                return real(*args)
            try:
                self.reach(kind, args[0] if args else "")
            except OSError:
                if kind == "close":  # which does close, and then reports
                    real(*args)
                raise
            return None if kind in _SYNCS else real(*args, **options)

        self._replace(owner, name, call)

    def _socket(self) -> Callable[..., None]:
        real: Any = socket.socket.__init__

        def made(sock: socket.socket, *args: Any, **options: Any) -> None:
            if options.get("fileno") is None and len(args) < 4:
                self.reach("socket")
            real(sock, *args, **options)

        return made

    def _open(self) -> Callable[..., Any]:
        reach = self.reach

        class File(io.FileIO):
            """Reads by which the built-in open() reads."""

            def readinto(self, buffer: Any) -> Any:
                reach("read", self.name)
                return super().readinto(buffer)

            def readall(self) -> bytes:
                reach("read", self.name)
                return super().readall()

        def opened(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            # os.open is counted already.
            way = opener or (lambda path, flags: os.open(path, flags, 0o666))
            raw = File(file, mode.strip("bt"), closefd, None if isinstance(file, int) else way)
            if buffering == 0:
                return raw
            buffered = io.BufferedReader(raw) if raw.readable() else io.BufferedWriter(raw)
            return (
                buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)
            )

        return opened


_active: list[Calls] = []


def reach(kind: str, subject: str) -> None:
    """A stand-in for a socket is asked for something. Raise OSError if that is what fails."""
    for calls in _active:
        calls.reach(kind, subject)


def _shown(subject: object) -> str:
    """What a call is about, the same in every run."""
    path = subject
    if isinstance(path, socket.socket):
        return "socket"
    if hasattr(path, "fileno"):
        path = path.fileno()
    if isinstance(path, int):
        path = _target(path)
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    name = os.path.basename(os.fsdecode(path).removesuffix(" (deleted)"))
    is_queued = len(name) == 16 and name[0] in "dqtxahQ" and name[1] == "f"
    return name[:2] if is_queued else name.partition(":")[0]


_real_readlink, _real_fstat, _real_fcntl = os.readlink, os.fstat, fcntl.fcntl


def _may_fail_to_close(descriptor: int) -> bool:
    """close(2) reports what could not be written, and nothing else."""
    try:
        found = _real_fstat(descriptor)
        has_content = stat.S_ISREG(found.st_mode) and found.st_size > 0
        return has_content and bool(_real_fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)
    except OSError:
        return False


def _target(descriptor: int) -> str:
    """What it leads to, as far as a process in a sandbox may know."""
    try:
        return _real_readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
