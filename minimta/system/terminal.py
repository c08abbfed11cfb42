"""What a command says to its caller, on standard output and standard error.

Written at once and unbuffered: a caller may have closed its end, or never opened it, and that
must neither stop the work nor change the exit code. Nothing here raises.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from getopt import GetoptError


def say(text: str) -> None:
    """Write a line to standard output."""
    _write(1, text)


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
    try:
        os.write(descriptor, (text + end).encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody listens


def occupy_standard_descriptors() -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that the caller left closed. Raise OSError.

    Otherwise the next file that is opened, perhaps a df, would get that number, and with it all that
    is printed.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:
        null = os.open(os.devnull, os.O_RDWR)
    os.close(null)
