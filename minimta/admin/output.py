"""What a verb prints, and how it says that something cannot be written: one sentence, one remedy."""

from __future__ import annotations

import errno
import os
import signal

from minimta.admin.checkout import AdminError

#: errno -> what to do, wherever it is
_ROOM = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there: your share of that file system is used up",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
}
#: the same in the checkout
_REMEDIES = {
    **_ROOM,
    errno.EACCES: "clone the project into a directory of your own, or remove what others made there",
    errno.EPERM: "clone the project into a directory of your own, or remove what others made there",
}
_ELSEWHERE = "clone the project into a directory of your own"


def say(text: str = "") -> None:
    """Print a line at once.

    Raise AdminError if standard output cannot take it (74), without words if nobody reads it any
    more (141, as a shell tells of who was ended by SIGPIPE).
    """
    _print(text + "\n")


def end_of_help() -> None:
    """argparse has printed: is all of it out? Raise AdminError as say()."""
    _print("")


def _print(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError as error:
        _silence()
        raise AdminError("", 128 + signal.SIGPIPE) from error
    except OSError as error:
        _silence()
        raise AdminError(f"standard output: {error.strerror}", os.EX_IOERR) from error


def _silence() -> None:
    """What is still in the buffer goes nowhere: the interpreter would try it once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def unwritable(error: OSError, path: object) -> AdminError:
    """What to raise when *path* in the checkout, or something in it, cannot be written."""
    return _unwritable(error, path, _REMEDIES.get(error.errno or 0, _ELSEWHERE))


def unwritable_file(error: OSError, path: object) -> AdminError:
    """What to raise when *path*, which the caller has named, cannot be written."""
    return _unwritable(error, path, _ROOM.get(error.errno or 0, "name another place"))


def _unwritable(error: OSError, path: object, remedy: str) -> AdminError:
    return AdminError(f"cannot write {path} ({error.strerror}): {remedy}", os.EX_CANTCREAT)


def remedy_for(words: str) -> tuple[str, str]:
    """(reason, remedy) if another program's *words* tell that it could not write, else ("", "")."""
    for number, remedy in _REMEDIES.items():
        if os.strerror(number) in words:
            return os.strerror(number), remedy
    return ("", "")
