"""The other process of ``remote``: no rights, no descriptors but its messages, one line an answer.

It is forked, so the jobs are in its memory and their data files are open. What it says goes over a
socket pair as JSON lines, and the parent believes none of it unchecked:

    {"job": 3, "outcomes": {"0": ["delivered", "2.0.0", "Sent (...)", ...]}}
                                    fates of users of the job, each once; fields of Outcome in order
    {"say": ">>> EHLO lab1.campus"} a line for -v
    {"error": "..."}                a bug or a dead machine; the worker ends
    {}                              still here

For each answer with a message sent the parent sends back one octet when it has been recorded, and
only so many may be unrecorded: that bounds what a crash can make us send twice. The end of file
means that the parent is gone.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.message.outcome import Fate, Outcome
from minimta.system import privileges

#: messages sent and not yet recorded by the parent
WINDOW = 8
#: seconds between signs of life
HEARTBEAT = 30.0


class ParentGone(Exception):
    """Nobody is left to tell."""


class Line:
    """The worker's end of the socket pair."""

    def __init__(self, connection: socket.socket, jobs: Sequence[Job]) -> None:
        self._connection = connection
        self._numbers = {job: number for number, job in enumerate(jobs)}
        self._unrecorded = 0
        self._spoke = time.monotonic()

    def report(self, job: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        """Tell the fate of some users; wait while too much is unrecorded. Raise ParentGone."""
        fates = {
            str(number): (outcomes[user.name].fate.value, *astuple(outcomes[user.name])[1:])
            for number, user in enumerate(job.users)
            if user.name in outcomes
        }
        self._write({"job": self._numbers[job], "outcomes": fates})
        if any(outcome.fate is Fate.SENT for outcome in outcomes.values()):
            self._unrecorded += 1
        while self._unrecorded >= WINDOW:
            recorded = self._connection.recv(WINDOW)
            if not recorded:
                raise ParentGone
            self._unrecorded -= len(recorded)

    def say(self, text: str) -> None:
        """Pass on a line of the dialogue."""
        self._write({"say": text})

    def fail(self, text: str) -> None:
        """Say why the worker ends."""
        self._write({"error": text})

    def alive(self) -> None:
        """Give a sign of life if the last one is long ago."""
        if time.monotonic() - self._spoke > HEARTBEAT:
            self._write({})

    def _write(self, message: object) -> None:
        self._spoke = time.monotonic()
        try:
            self._connection.sendall(json.dumps(message).encode("ascii") + b"\n")
        except OSError as error:
            raise ParentGone from error


def run(
    connection: socket.socket,
    jobs: Sequence[Job],
    options: Options,
    ourselves: Ourselves,
    *,
    verbose: bool,
    delivery: Callable[..., Delivery] | None = None,
    kept: Collection[int] = (),
) -> None:
    """Be the worker. Called in the forked child; never returns.

    *delivery* takes what ``Delivery`` takes; *kept* are descriptors that it needs.
    """
    status = os.EX_SOFTWARE
    try:
        gc.freeze()  # what the parent left is not ours to collect: it would copy every page
        line = Line(connection, jobs)
        try:
            _confine({connection.fileno(), *(job.body for job in jobs), *kept}, options)
            say = line.say if verbose else None
            make = delivery or Delivery
            make(jobs, options, ourselves, line.report, say=say, alive=line.alive).run()
            status = os.EX_OK
        except Exception as error:
            line.fail(f"{type(error).__name__}: {error}")
    except ParentGone:
        pass
    finally:
        os._exit(status)


def _confine(kept: Collection[int], options: Options) -> None:
    """Drop rights, signal handlers, and all descriptors but *kept*, that came with the fork."""
    privileges.isolate(kept)
    os.chdir("/")
    if os.geteuid() == 0:
        privileges.become(options.run_as_user)
