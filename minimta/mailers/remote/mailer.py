"""The esmtp mailer: one unprivileged process for each next hop, several at the same time.

The runner is root and parses nothing that comes from the network (threats, section 6.1): a forked
``worker`` does, as RunAsUser, and tells the fates. All it says is checked again here. A worker that
dies, babbles or falls silent costs a delay of the messages that it had not settled, no more.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote import mx_targets, worker
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.protocol import Answer, BadAnswer, Progress, decode
from minimta.message.address import domain_key
from minimta.message.outcome import Fate, Outcome, deferred
from minimta.system import dns, log, processes

#: longest line that a worker may write
MAX_LINE = 4 * 1024 * 1024
#: seconds a worker may be silent beyond the longest timeout it has to wait for
GRACE = 90
_READ = 256 * 1024

Settled = tuple[Job, Mapping[bytes, Outcome]]


class _Worker:
    """A child process, seen from the parent."""

    def __init__(self, pid: int, connection: socket.socket, jobs: Sequence[Job]) -> None:
        self.pid = pid
        self.connection = connection
        self.progress = [Progress(job) for job in jobs]
        self.unsettled = set(range(len(jobs)))
        self.heard = time.monotonic()
        self.buffer = b""
        #: why it ended, if it said so
        self.error = ""

    def read(self) -> list[bytes]:
        """Lines that have come. Raise BadAnswer for an endless one, EOFError at the end."""
        try:
            octets = self.connection.recv(_READ)
        except OSError:
            octets = b""
        if not octets:
            raise EOFError
        self.heard = time.monotonic()
        lines = (self.buffer + octets).split(b"\n")
        self.buffer = lines.pop()
        if len(self.buffer) > MAX_LINE:
            raise BadAnswer("endless line")
        return lines

    def recorded(self) -> None:
        """Let it send one more message."""
        with contextlib.suppress(OSError):  # it has ended; the next read says so
            self.connection.send(b".", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def end(self) -> str:
        """Make sure that it is gone, and say what of."""
        self.connection.close()
        try:
            os.kill(self.pid, signal.SIGKILL)  # if it has exited this changes nothing
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except (ProcessLookupError, ChildProcessError):
            code = 0  # reaped by somebody else
        return self.error or (f"died with signal {-code}" if code < 0 else f"exit status {code}")


class RemoteMailer:
    """Deliver to other hosts by SMTP."""

    name = "esmtp"
    is_slow = True

    def __init__(self, options: Options, *, say: Callable[[str], None] | None = None) -> None:
        """*say* gets the lines of the dialogue (-v)."""
        self._options = options
        self._say = say
        waits = (getattr(options, name) for name in dir(options) if name.startswith("timeout_"))
        queue = (options.timeout_queuereturn, options.timeout_queuewarn)
        self._patience = max(seconds for seconds in waits if seconds not in queue) + GRACE

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        """Yield every job once, as soon as its last user is settled; see ``Mailer``."""
        waiting = deque(self._groups(jobs))
        ourselves = mx_targets.ourselves(self._options)
        workers: dict[int, _Worker] = {}
        try:
            while waiting or workers:
                while waiting and len(workers) < max(1, self._options.max_queue_children):
                    yield from self._start(waiting.popleft(), ourselves, workers)
                if workers:
                    yield from self._listen(workers)
        finally:
            for left in workers.values():
                left.end()

    def _groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """What one worker each shall do."""
        groups = _by_host(jobs)
        if any(not group[0].host.startswith("[") for group in groups):
            dns.load()  # once here instead of in every child
        return groups

    def _work(self, connection: socket.socket, jobs: Sequence[Job], ourselves: Ourselves) -> int:
        """Be a worker, in the child. Returns its exit code."""
        verbose = self._say is not None
        return worker.run(connection, jobs, self._options, ourselves, verbose=verbose)

    def _start(
        self, jobs: list[Job], ourselves: Ourselves, workers: dict[int, _Worker]
    ) -> Iterator[Settled]:
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    pid = processes.fork(
                        "remote worker", lambda: self._work(theirs, jobs, ourselves)
                    )
                except OSError:
                    ours.close()
                    raise
        except OSError as error:
            yield from _given_up([Progress(job) for job in jobs], f"cannot fork: {error.strerror}")
        else:
            workers[ours.fileno()] = _Worker(pid, ours, jobs)

    def _listen(self, workers: dict[int, _Worker]) -> Iterator[Settled]:
        """Wait for something from any worker, and act on it."""
        for number in self._ready(workers):
            child = workers[number]
            try:
                for line in child.read():
                    yield from self._believe(child, decode(line, len(child.progress)))
            except EOFError:
                del workers[number]
                yield from _ended(child, child.end())
            except BadAnswer as error:
                del workers[number]
                child.end()
                yield from _ended(child, f"said nonsense: {error}")
        for number, child in list(workers.items()):
            if time.monotonic() - child.heard > self._patience:
                del workers[number]
                child.end()
                yield from _ended(child, "fell silent")

    def _ready(self, workers: dict[int, _Worker]) -> list[int]:
        with selectors.PollSelector() as selector:
            for number in workers:
                selector.register(number, selectors.EVENT_READ)
            return [key.fd for key, _ in selector.select(min(self._patience, GRACE))]

    def _believe(self, child: _Worker, answer: Answer) -> Iterator[Settled]:
        if answer.say and self._say:
            with contextlib.suppress(OSError):  # a terminal that is gone stops no mail
                self._say(answer.say)
        child.error = answer.error or child.error
        if answer.job not in child.unsettled:
            if answer.job >= 0:
                raise BadAnswer("that job was settled before")
            return
        progress = child.progress[answer.job]
        progress.add(answer.outcomes)
        if progress.is_complete:
            child.unsettled.discard(answer.job)
            yield progress.job, progress.outcomes
        if any(outcome.fate is Fate.SENT for outcome in answer.outcomes.values()):
            child.recorded()


def _by_host(jobs: Sequence[Job]) -> list[list[Job]]:
    groups: dict[bytes, list[Job]] = {}
    for job in jobs:
        groups.setdefault(domain_key(job.host.encode("ascii", "replace")), []).append(job)
    return list(groups.values())


def _ended(child: _Worker, why: str) -> Iterator[Settled]:
    if child.unsettled:
        log.line("", f"remote worker {child.pid}: {log.clean(why)}", level=1, error=True)
        yield from _given_up([child.progress[number] for number in sorted(child.unsettled)], why)


def _given_up(left: Sequence[Progress], why: str) -> Iterator[Settled]:
    """What the worker did not settle waits; a message that it had just sent comes twice, not never."""
    outcome = deferred("4.3.0", f"remote worker {log.clean(why)}")
    for progress in left:
        progress.give_up(outcome)
        yield progress.job, progress.outcomes
