"""Children: forked, detached, cut off from what they inherited, seen to be gone; and signals noted.

A forked child never returns into its parent's code: whatever happens it ends by _exit(2), with
neither the parent's ``finally`` clauses nor what stands in the parent's buffers. Only processes
with one thread fork: a lock that another thread holds at that moment stays locked in the child.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import FrameType


def fork(name: str, act: Callable[[], int]) -> int:
    """Do *act* in a child, which exits with what it returns; the child's pid. Raise OSError.

    An exception in the child is logged with its *name*, and ends it with EX_SOFTWARE; an OSError,
    which is the machine's and no bug, with EX_OSERR.
    """
    child = os.fork()
    if child:
        return child
    code = os.EX_SOFTWARE
    try:
        code = act()
    except OSError as error:
        from minimta.system import log

        code = os.EX_OSERR
        log.line("", f"SYSERR(root): {name}: {log.clean(str(error))}", level=1, error=True)
    except BaseException:
        from minimta.system import log

        log.bug("", name)
    finally:
        os._exit(code)


def in_background(name: str, act: Callable[[], int]) -> None:
    """Do *act* in a child that the caller's terminal and descriptors cannot hold up. Raise OSError.

    Nobody waits for it: it outlives the caller, whose exit gives it to init.
    """

    def detached() -> int:
        _detach()
        return act()

    fork(name, detached)


def start_daemon(name: str, act: Callable[[Callable[[], None]], int]) -> int:
    """Do act(ready) in such a child; returns 0 as soon as it calls ready(), or else its exit code.

    Until then it has the caller's standard error, to say there why it cannot be. Raise OSError.
    """
    begun, telling = os.pipe()

    def detached() -> int:
        os.close(begun)
        _detach((0, 1))

        def ready() -> None:
            silence()
            os.write(telling, b"+")
            os.close(telling)

        return act(ready)

    child = fork(name, detached)
    os.close(telling)
    has_begun = os.read(begun, 1)
    os.close(begun)
    if has_begun:
        return os.EX_OK
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code > 0 else os.EX_SOFTWARE


def tended(name: str, act: Callable[[], int]) -> int:
    """What *act* returns; the first process of a container does it in a child, and is its init(8).

    That has the kernel's own rules: it gets no signal that it does not handle, orphans become its
    children, and when it ends so do all others, at once: a delivery, too, between the answer and its
    record. So it passes signals on, waits for everybody, and ends as the last one. Raise OSError.
    """
    if os.getpid() != 1:
        return act()
    import signal

    passed_on = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*passed_on, signal.SIGCHLD})

    def unblocked() -> int:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return act()

    child, code = fork(name, unblocked), 0
    while True:
        number = signal.sigwait({*passed_on, signal.SIGCHLD})
        if number in passed_on and child:
            os.kill(child, number)
        ended, is_last = _reaped()
        if child in ended:
            code, child = os.waitstatus_to_exitcode(ended[child]), 0
        if is_last:
            return code if code >= 0 else 128 - code


def _reaped() -> tuple[dict[int, int], bool]:
    """(pid -> status of the children that have ended, is there none any more?)"""
    ended = dict[int, int]()
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, True
        if not pid:
            return ended, False
        ended[pid] = status


def _detach(streams: Collection[int] = (0, 1, 2)) -> None:
    """Leave the caller's session, directory and standard *streams*."""
    os.setsid()
    os.chdir("/")
    _stand_in(streams)


def isolate(kept: Collection[int]) -> None:
    """Take from a forked child what came with the fork: signal handlers and masks, descriptors.

    Of the descriptors only *kept* stay open: a lock of the queue or a listening socket that a
    user's program inherits would outlive us in it. 0, 1 and 2 become /dev/null.
    """
    import signal

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, *_strays()):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _stand_in([standard for standard in (0, 1, 2) if standard not in kept])
    keep_only(kept)


def keep_only(kept: Collection[int]) -> None:
    """In a forked child: close all descriptors but 0, 1, 2 and *kept*. The log opens anew what it lacks then."""
    import gc

    # What the parent has dropped, and not collected yet, would be collected here at some time, and close
    # descriptors by their numbers: those of files and pipes by now that are opened later. It would also copy
    # every page.
    gc.freeze()
    low = 3
    for descriptor in sorted(fd for fd in kept if fd > 2):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
    if "minimta.system.log" in sys.modules:
        from minimta.system import log

        log.forget_connection(kept)


def silence() -> None:
    """Leave the caller's standard error."""
    _stand_in((2,))


def _stand_in(descriptors: Collection[int]) -> None:
    """Put /dev/null in the place of *descriptors*."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def _strays() -> Collection[int]:
    """Signals that nobody means to end a daemon with, though that is what they do unless ignored."""
    from signal import SIGALRM, SIGIO, SIGPROF, SIGPWR, SIGUSR1, SIGUSR2, SIGVTALRM

    return (SIGALRM, SIGIO, SIGPROF, SIGPWR, SIGUSR1, SIGUSR2, SIGVTALRM)


def ignore_strays() -> None:
    """Let no signal end this daemon by accident; isolate() gives children the defaults again."""
    import signal

    for number in _strays():
        signal.signal(number, signal.SIG_IGN)


def signal_flag(*numbers: int) -> Callable[[], bool]:
    """Let these signals only set a flag, from now on; returns what reads it.

    A handler runs between any two instructions: all else it might do would find things half done.
    """
    import signal

    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    for number in numbers:
        signal.signal(number, note)
    return lambda: came


def has_ended(child: int, seconds: float) -> bool:
    """Does *child* end within *seconds*? Then it was waited for: no zombie is left."""
    import time

    end, pause = time.monotonic() + seconds, 0.0001
    while True:
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            return True  # reaped by somebody else
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def kill_session(leader: int) -> None:
    """Send SIGKILL to *leader*, a child that is not yet reaped, and to its process group."""
    import signal

    for kill in (os.killpg, os.kill):
        try:
            kill(leader, signal.SIGKILL)
        except OSError:  # has not come to setsid(), or is dead already
            continue
