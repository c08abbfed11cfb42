"""The mailer prog: runs a command of an alias or a .forward, as the user in whose name it stands.

    From emma@lab1.campus Sun Nov 22 09:25:57 2026      one blank, no Return-Path; as recorded
    header fields, empty line, body

/bin/sh -c COMMAND, in a child that has become the controlling user and never is root: his home or /
as directory, an environment made from nothing, descriptors 0, 1 and 2 only, a process group of its
own that is ended after Timeout.program. Nothing of the message gets into the command (threats T33).
Programs that do not read, print for ever or never end harm nobody but themselves.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from minimta import dates, log, rights
from minimta.mailers import Job
from minimta.mailers.tail import CHUNK
from minimta.options import Options
from minimta.status import Fate, Outcome, from_exit_code
from minimta.users import User

#: octets of output that are kept for the bounce
_OUTPUT = 8192
#: seconds for which the output of what a program left behind is waited for
_GRACE = 0.5
_SHELL = "/bin/sh"


class ProgMailer:
    """Mailer ``prog``: user.name is a command, job.controlling as whom it runs."""

    name = "prog"
    is_slow = True

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        self._options = options
        self._clock = clock

    def deliver(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]]]:
        """See Mailer.deliver; one process for each command."""
        for job in jobs:
            commands = dict.fromkeys(user.name for user in job.users)
            yield job, {command: self._run(job, command) for command in commands}

    def _run(self, job: Job, command: bytes) -> Outcome:
        user = job.controlling
        if user is None or (user.uid == 0 and os.geteuid() == 0):
            log.line(job.qid, f"no user to run {log.clean(command)} as", error=True)
            return _deferred("no user to run it as")
        if os.path.isdir(self._options.smrsh_directory):
            # DIFFERS: until there is a restricted shell nothing runs where Sendmail restricts it.
            return _deferred(f"restricted to {self._options.smrsh_directory}, which is not served")
        limit = self._options.timeout_program
        program = _Program(job, command, user, self._options, dates.asctime(self._clock()))
        try:
            answer = rights.as_user(user, program.run, limit + 60, {job.body})
        except OSError as error:
            return _deferred(f"cannot run the program: {log.clean(error.strerror or str(error))}")
        code, _, output = answer.partition(b"\n")
        if code == b"late":
            return _deferred(f"prog mailer ({_SHELL}) did not end in {limit} seconds")
        outcome = from_exit_code(int(code))
        lines = tuple(log.clean(line) for line in output.split(b"\n") if line)
        text = outcome.text
        if int(code) == os.EX_TEMPFAIL:
            text = f"prog mailer ({_SHELL}) exited with EX_TEMPFAIL"
        return dataclasses.replace(outcome, text=text, transcript=lines)


class _Program:
    """One run; lives in the child that has become the user."""

    def __init__(self, job: Job, command: bytes, user: User, options: Options, date: str) -> None:
        self._job = job
        self._command = command
        self._user = user
        self._options = options
        self._date = date.encode("ascii")

    def run(self) -> bytes:
        """Exit code or "late", a line end, and the first of its output."""
        process = subprocess.Popen(
            [_SHELL, "-c", self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(self._user),
            cwd=self._user.home if os.access(self._user.home or "/", os.X_OK) else "/",
            umask=0o077,
            start_new_session=True,
            preexec_fn=self._limit,  # noqa: PLW1509  # runner and children have one thread
        )
        try:
            output, late = self._converse(process)
        finally:
            # Whatever it left behind in its group ends with it.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            code = process.wait()
        return b"%b\n%b" % (b"late" if late else b"%d" % code, output)

    def _limit(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        limits = [
            (resource.RLIMIT_AS, self._options.max_program_memory),
            (resource.RLIMIT_NPROC, self._options.max_program_processes),
        ]
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, value in limits:
            _, hard = resource.getrlimit(number)
            if value and (hard == resource.RLIM_INFINITY or value < hard):
                resource.setrlimit(number, (value, value))

    def _converse(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bool]:
        """Write the message, read what it says, until it is gone. True: it was too slow."""
        assert process.stdin and process.stdout
        writing, reading = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(writing, False)
        poll = select.poll()
        poll.register(writing, select.POLLOUT)
        poll.register(reading, select.POLLIN)
        end = time.monotonic() + self._options.timeout_program
        parts, pending, output, grace = self._parts(), b"", b"", 0.0
        while time.monotonic() < end:
            for number, _ in poll.poll(100):
                if number == reading:
                    said = os.read(reading, 65536)
                    output = (output + said)[:_OUTPUT]
                    if not said:
                        poll.unregister(reading)
                    continue
                rest = _sent(writing, pending or next(parts, b""))
                if rest is None:
                    poll.unregister(writing)
                    process.stdin.close()
                pending = rest or b""
            if process.poll() is not None:
                grace = grace or time.monotonic() + _GRACE
                if time.monotonic() > grace or not poll.poll(0):
                    return output, False
        return output, True

    def _parts(self) -> Iterator[bytes]:
        job, sender = self._job, self._job.reverse_path.translate(None, b"\r\n\0")
        yield b"From %b %b\n%b\n" % (sender or b"MAILER-DAEMON", self._date, job.header)
        for position in range(0, job.size, CHUNK):
            part = os.pread(job.body, CHUNK, position)[: job.size - position]
            if len(part) < min(CHUNK, job.size - position):
                raise OSError(errno.EIO, "the data file is too short")
            yield part


def _sent(writing: int, data: bytes) -> bytes | None:
    """What is still to be written of *data*; None if all is, or nobody reads it any more."""
    if not data:
        return None
    try:
        return data[os.write(writing, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return None


def _environment(user: User) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": user.home or "/",
        "USER": user.name,
        "LOGNAME": user.name,
        "SHELL": _SHELL,
    }


def _deferred(text: str) -> Outcome:
    return Outcome(Fate.DEFERRED, "4.3.0", text, exit_code=os.EX_TEMPFAIL)
