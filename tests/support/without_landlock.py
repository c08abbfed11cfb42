"""Run a command on a kernel that knows no Landlock: seccomp(2) answers its calls with ENOSYS.

python3 tests/support/without_landlock.py COMMAND ARGUMENT ...
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _AT_LEAST, _RETURN = 0x20, 0x35, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JGE, BPF_RET
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
#: landlock_create_ruleset and its two sisters
_FIRST, _LAST = 444, 446


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def forget_landlock() -> None:
    """For this process and what it starts."""
    lines = [
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, 0, 2, _FIRST),
        (_AT_LEAST, 1, 0, _LAST + 1),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = _Program(len(lines), ctypes.cast(code, ctypes.c_void_p))
    library = ctypes.CDLL(None, use_errno=True)
    if os.geteuid():
        library.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    assert library.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0


if __name__ == "__main__":
    forget_landlock()
    os.execvp(sys.argv[1], sys.argv[1:])
