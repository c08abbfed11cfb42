"""Landlock: a process forbids itself for good what it will not need (landlock(7), Linux 5.13 and later).

What a rule set handles is forbidden, but for what its rules allow; children inherit it, and nobody can
take it back. A descriptor that is open stays as it is. Paths of sockets are not asked about, nor UDP.

    ABI      Linux    brings
    1        5.13     files and directories
    2        5.19     links and renames between directories (always forbidden before, and here)
    3        6.2      truncation
    4        6.7      TCP: bind and connect, by port
    5        6.10     ioctl on devices
    6        6.12     signals and abstract sockets of processes outside
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct

#: system calls; the same on every architecture that Debian has
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1  # flag of _CREATE
_BENEATH, _PORT = 1, 2  # kinds of rules
_SET_NO_NEW_PRIVILEGES = 38

# LANDLOCK_ACCESS_FS_*; EXECUTE and those for making directories, devices and sockets are given to nobody
WRITE_FILE, READ_FILE, READ_DIRECTORY = 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_FILE, TRUNCATE = 1 << 5, 1 << 8, 1 << 14
#: ABI -> all rights that it knows
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
BIND, CONNECT = 1, 2  # LANDLOCK_ACCESS_NET_*
#: LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, LANDLOCK_SCOPE_SIGNAL
_SCOPES = 3
#: what is known here of the versions of the kernel's interface
NEWEST, NETWORK, SCOPED = 6, 4, 6


def abi() -> int:
    """The version that the kernel has. Raise OSError: ENOSYS, EOPNOTSUPP (switched off), EPERM."""
    return _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))


class Ruleset:
    """What a process will be allowed; it is in force when enforce() returns."""

    def __init__(self, version: int, network: int) -> None:
        """*version* of the interface that is used; of TCP *network*, BIND and CONNECT, is handled.

        Raise OSError.
        """
        self._files = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= version)]
        self._network = network if version >= NETWORK else 0
        words = [self._files]
        if version >= NETWORK:
            words.append(self._network)
        if version >= SCOPED:
            words.append(_SCOPES)
        attributes = struct.pack(f"={len(words)}Q", *words)
        self._file = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))

    def allow(self, path: str, rights: int) -> None:
        """Allow *rights* on *path* and on all below it, whatever will be there. Raise OSError."""
        there = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            self.allow_open(there, rights)
        finally:
            os.close(there)

    def allow_open(self, directory: int, rights: int) -> None:
        """The same for a directory that is open. Raise OSError."""
        self._add(_BENEATH, struct.pack("=Qi", rights & self._files, directory))

    def allow_port(self, port: int, right: int) -> None:
        """Allow BIND or CONNECT with a TCP *port*; 0 is whichever the system gives. Raise OSError."""
        if right & self._network:
            self._add(_PORT, struct.pack("=QQ", right, port))

    def enforce(self) -> None:
        """From now on, for this thread and those that it will start. Raise OSError."""
        forbid_new_privileges()
        _call(_RESTRICT, ctypes.c_int(self._file), ctypes.c_uint(0))

    def close(self) -> None:
        """May be called once, whether it is in force or not."""
        os.close(self._file)

    def _add(self, kind: int, rule: bytes) -> None:
        _call(_ADD, ctypes.c_int(self._file), ctypes.c_int(kind), rule, ctypes.c_uint(0))


def forbid_new_privileges() -> None:
    """No set-user-id program gives us anything any more (prctl(2)). Raise OSError."""
    _checked(_library().prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    return _checked(_library().syscall(ctypes.c_long(number), *arguments))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
