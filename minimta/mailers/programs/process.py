"""One run of a program for one message: as which user, with what, for how long, and how it ended.

It runs in a child that has become the user and is never root: in the user's home or /, with an
environment made from nothing, umask 077, descriptors 0, 1 and 2 only, limits on memory and
processes, a session and process group of its own.

    on standard input    a "From " line, header, empty line, body; it need not read them
    its output           the first 8 KiB, for the bounce
    Timeout.program      then its group gets SIGTERM, and two seconds later SIGKILL

What it leaves behind in its group is killed at once if it failed, and when its time is over if it
succeeded: the mail may need what works in the background. What leaves the group (setsid) is not
followed: it has its user's rights, counts among that user's processes, and a login could start it too.

If the queue runner is killed the child goes on: the program gets all of the message, in the time that
it has, but its result is lost. A later run of the queue starts it again, not before it has ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from minimta.config.options import Options
from minimta.mailers.files.mbox_format import separator
from minimta.mailers.job import Job
from minimta.message import dates
from minimta.message.outcome import Outcome, deferred, from_exit_code
from minimta.system import log, privileges, processes
from minimta.system.users import User
from minimta.system.waiting import Wait

#: octets of output that are kept
_OUTPUT = 8192
#: octets of a body that are in memory at a time
_CHUNK = 1 << 16
#: seconds in which the rest of the output is read, although what was left behind still writes
_REST = 0.5
#: seconds between SIGTERM and SIGKILL
_GRACE = 2.0
#: seconds that who takes a message may take to let go of its data file, and between two looks
_ACCEPTANCE, _LOOK = 5.0, 0.02


@dataclass(frozen=True, slots=True)
class Invocation:
    """What is run: the words of its command line, its environment, the line before the header."""

    words: Sequence[bytes | str]
    environment: Mapping[str, str]
    first_line: bytes


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How it ended."""

    #: exit code, or minus the signal that killed it
    code: int
    #: what it printed, cut off
    output: bytes = b""
    #: did it run out of time? Then the code says nothing.
    timed_out: bool = False


class ProgramRunner:
    """Runs programs. One that ran out of time once delays no further message of this queue run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._timed_out: set[tuple[int, bytes]] = set()

    def run(
        self, job: Job, user: User, name: bytes, prepare: Callable[[], Invocation | ProgramResult]
    ) -> Generator[Wait, None, ProgramResult]:
        """See run(); *name* tells the programs of *user* apart. Raise as it does."""
        if (user.uid, name) in self._timed_out:
            return ProgramResult(os.EX_TEMPFAIL, timed_out=True)
        result = yield from run(job, user, prepare, self._options)
        if result.timed_out:
            self._timed_out.add((user.uid, name))
        return result


def run(
    job: Job, user: User, prepare: Callable[[], Invocation | ProgramResult], options: Options
) -> Generator[Wait, None, ProgramResult]:
    """Run for *job* what *prepare* gives; it is asked in the child, as the user. In steps.

    A result instead of an Invocation is that of the whole, and nothing is run. Raise OSError if it
    cannot be run or nobody knows how it ended, Untrusted if *prepare* does.
    """
    if os.fstat(job.body).st_size < job.size:
        raise OSError(errno.EIO, "data file is shorter than recorded")
    yield from _lock_data_file(job)

    def act() -> bytes:
        made = prepare()
        done = made if isinstance(made, ProgramResult) else _run(job, user, made, options)
        return b"%d %d\n%b" % (done.code, done.timed_out, done.output)

    # A minute more than the program has: that it ran out of time is the child's to tell, with the
    # output. A child that is killed tells nothing.
    seconds = options.timeout_program + 60
    told = yield from privileges.as_user_beside(user, act, seconds, {job.body})
    head, _, output = told.partition(b"\n")
    code, timed_out = map(int, head.split())
    return ProgramResult(code, output, bool(timed_out))


def _lock_data_file(job: Job) -> Generator[Wait, None, None]:
    """See that no child of an earlier, killed run of the queue still delivers this message.

    The lock belongs to the open file, which our child shares: it ends when both have closed it. Who
    has just taken the message (``Spool.create``) has it too, until the name of the qf, by which we have
    come, is durable: that is waited for.
    """
    end = time.monotonic() + _ACCEPTANCE
    while True:
        try:
            fcntl.flock(job.body, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                text = "one that an earlier run left behind has not ended"
                raise OSError(errno.EBUSY, text) from error
        except OSError:
            return  # no locks there; then it may run beside itself
        else:
            return
        yield Wait((), _LOOK)


def outcome(result: ProgramResult, who: str, options: Options) -> Outcome:
    """What *result* means for the message; *who* is "prog mailer (/bin/sh)"."""
    if result.timed_out:
        return deferred("4.3.0", f"{who} did not end in {options.timeout_program} seconds")
    made = from_exit_code(result.code)
    if result.code == os.EX_TEMPFAIL:
        made = replace(made, text=f"{who} exited with EX_TEMPFAIL")
    lines = tuple(log.clean(line) for line in result.output.split(b"\n") if line)
    return replace(made, transcript=lines)


def from_line(reverse_path: bytes, blanks: bytes, now: float) -> bytes:
    """ "From emma@lab1.campus Sun Nov 22 09:25:57 2026" in local time, *blanks* before the date."""
    return separator(reverse_path, blanks) + dates.asctime(now).encode("ascii") + b"\n"


def environment(user: User) -> dict[str, str]:
    """All that a program finds in its environment: nothing of the runner's (LD_PRELOAD, PYTHONPATH)."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": user.home or "/",
        "USER": user.name,
        "LOGNAME": user.name,
        "SHELL": "/bin/sh",
    }


def _run(job: Job, user: User, invocation: Invocation, options: Options) -> ProgramResult:
    end = time.monotonic() + options.timeout_program
    process = subprocess.Popen(
        invocation.words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=invocation.environment,
        cwd=user.home if os.path.isdir(user.home) and os.access(user.home, os.X_OK) else "/",
        # DIFFERS: Sendmail leaves 022; what a program writes is mail, and nobody else's.
        umask=0o077,
        # A process group that can be killed as a whole, and no terminal that could stop it.
        start_new_session=True,
        preexec_fn=lambda: _limit(options),  # noqa: PLW1509  # runner and children have one thread
    )
    is_over, output = False, b""
    try:
        output, is_over = _converse(process, _text(job, invocation.first_line), end)
    finally:
        code = _end(process, is_over, end)
    return ProgramResult(code, output, timed_out=not is_over)


def _limit(options: Options) -> None:
    """Between fork and exec: default signals, no core file, MaxProgramMemory, MaxProgramProcesses."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A core file would have the message in it, in a home that others may read.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits = [
        (resource.RLIMIT_NPROC, options.max_program_processes),
        (resource.RLIMIT_AS, options.max_program_memory),
    ]
    for number, value in limits:
        # Hard limits too: a program cannot raise them again. 0 is no limit, and a limit that we have
        # ourselves is never raised.
        _, hard = resource.getrlimit(number)
        if value and (hard == resource.RLIM_INFINITY or value < hard):
            resource.setrlimit(number, (value, value))


def _text(job: Job, first_line: bytes) -> Iterator[bytes]:
    """What the program reads, in parts; the body with the line ends that it has."""
    yield b"%b%b\n" % (first_line, job.header)
    yield from job.blocks(_CHUNK)


def _converse(
    process: subprocess.Popen[bytes], parts: Iterator[bytes], end: float
) -> tuple[bytes, bool]:
    """Write the message and read the output until the program has ended. False: *end* came first.

    Both at once: a program that prints before it has read all would else wait for us as we for it.
    """
    assert process.stdin and process.stdout
    writing, reading = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(writing, False)
    # The program's end counts, not that of its output: what it leaves behind keeps the pipe open.
    gone = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(writing, select.POLLOUT)
    poll.register(reading, select.POLLIN)
    poll.register(gone, select.POLLIN)
    output, pending = b"", b""
    try:
        while (left := end - time.monotonic()) > 0:
            ready = [descriptor for descriptor, _ in poll.poll(left * 1000)]
            if reading in ready:
                printed = os.read(reading, 1 << 16)
                output = (output + printed)[:_OUTPUT]  # more is read, so that it does not block
                if not printed:
                    poll.unregister(reading)
            if gone in ready:
                return _rest(reading, output), True
            if writing in ready:
                rest = _unsent(writing, pending or next(parts, b""))
                if rest is None:
                    poll.unregister(writing)
                    process.stdin.close()
                pending = rest or b""
        return output, False
    finally:
        os.close(gone)


def _unsent(writing: int, data: bytes) -> bytes | None:
    """What is still to be written of *data*; None if there was none, or nobody reads any more."""
    if not data:
        return None
    try:
        return data[os.write(writing, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return None


def _rest(reading: int, output: bytes) -> bytes:
    """*output* and what is in the pipe; what was left behind and still writes is not waited for."""
    end = time.monotonic() + _REST
    while len(output) < _OUTPUT and time.monotonic() < end and _is_ready(reading, 0):
        printed = os.read(reading, 1 << 16)
        if not printed:
            break
        output += printed
    return output[:_OUTPUT]


def _is_ready(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _end(process: subprocess.Popen[bytes], is_over: bool, end: float) -> int:
    """Its exit code, with its group killed, or watched until *end*."""
    group = process.pid
    # Looked at, not reaped: as long as the zombie is there its number cannot be another group's.
    ended = os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if not is_over:
        _signal(group, signal.SIGTERM)
        gone = os.pidfd_open(group)
        _is_ready(gone, _GRACE)
        os.close(gone)
    if not (ended and ended.si_code == os.CLD_EXITED and ended.si_status == 0):
        _signal(group, signal.SIGKILL)
    code = process.wait()
    if _signal(group, 0):
        _watch(group, end)
    return code


def _signal(group: int, number: int) -> bool:
    """Send a signal to all that is left of *group*, 0 to ask only; False if nothing is."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _watch(group: int, end: float) -> None:
    """Let a process of its own, which nobody waits for, kill *group* at *end*."""

    def leave() -> int:
        os.setsid()
        processes.fork("watch over a program", watch)
        return os.EX_OK

    def watch() -> int:
        processes.isolate(())
        while time.monotonic() < end and _signal(group, 0):
            time.sleep(1)
        _signal(group, signal.SIGKILL)
        return os.EX_OK

    os.waitpid(processes.fork("watch over a program", leave), 0)
