"""What a command says to its caller, on standard output and standard error.

Written at once and unbuffered: a caller may have closed its end, or never opened it, and that must not
stop the work. Nothing here raises. What standard output did not take is remembered: a command that is
there to print ends with ``printed``.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from getopt import GetoptError

#: octets that are written at a time
_BLOCK = 65536
#: why standard output has not taken everything; EPIPE: nobody reads it any more
_lost = 0


def say(text: str) -> None:
    """Write a line to standard output."""
    _write(1, text)


def print_octets(pieces: Iterable[bytes]) -> None:
    """Write many *pieces* to standard output; who reads no more stops it. Raise what *pieces* raise, when
    all that came before is written.
    """
    block = bytearray()
    try:
        for piece in pieces:
            block += piece
            if len(block) >= _BLOCK:
                full, block = block, bytearray()  # what is not taken is not written again
                if not _write_all(1, full):
                    return
    finally:
        _write_all(1, block)


def printed(program: str, code: int) -> int:
    """The exit code of a command whose work is to print: *code*, or 74 if the reader has not got it all.

    The reason is told then, as coreutils do. Who has closed a pipe (mailq | head) has what they wanted.
    """
    if _lost in (0, errno.EPIPE):
        return code
    complain(f"{program}: standard output: {os.strerror(_lost)}")
    return code or os.EX_IOERR


def wrong_option(program: str, error: GetoptError, usage: str) -> int:
    """Complain about an option as getopt(3) does. Returns the exit code."""
    is_unknown = error.msg.endswith("recognized")
    what = "invalid option" if is_unknown else "option requires an argument"
    complain(f"{program}: {what} -- '{error.opt}'\n{usage}")
    return os.EX_USAGE


def prompt(text: str) -> None:
    """Write *text* to standard output, without a line end."""
    _write(1, text, "")


def complain(text: str) -> None:
    """Write a line to standard error."""
    _write(2, text)


def _write(descriptor: int, text: str, end: str = "\n") -> None:
    _write_all(descriptor, (text + end).encode("utf-8", "backslashreplace"))


def _write_all(descriptor: int, octets: bytes | bytearray) -> bool:
    """False if it did not take them all: nobody listens, or there is no room."""
    global _lost
    left = memoryview(octets)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError as error:
        if descriptor == 1:
            _lost = _lost or error.errno or errno.EIO
        return False
    return True


def occupy_standard_descriptors(flags: int = os.O_RDWR) -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that the caller left closed. Raise OSError.

    Otherwise the next file that is opened, perhaps a df, would get that number, and with it all that
    is printed. With O_RDONLY as *flags* what is printed there fails, as on a closed one.
    """
    null = os.open(os.devnull, flags)
    while null <= 2:
        null = os.open(os.devnull, flags)
    os.close(null)


def _guard_standard_descriptors() -> None:
    """For small programs: closed standard input has nothing, what a closed standard error gets is lost.

    Raise OSError.
    """
    occupy_standard_descriptors(os.O_RDONLY)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    if sys.stderr is None:  # argparse writes its help there when standard output is closed
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def until_interrupted(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """The exit code of a command, when what it had begun is taken back if SIGINT interrupts it."""
    try:
        _guard_standard_descriptors()
        return main(argv)
    except KeyboardInterrupt:
        return interrupted()


def interrupted() -> int:
    """End as any program that is interrupted at a terminal, by SIGINT: Python would say where it stood."""
    import signal  # few are

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    return 128 + signal.SIGINT
