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
import os
import socket
from collections.abc import Callable, Collection, Sequence

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.protocol import Line, ParentGone
from minimta.system import privileges, processes


def run(
    connection: socket.socket,
    jobs: Sequence[Job],
    options: Options,
    ourselves: Ourselves,
    *,
    verbose: bool,
    delivery: Callable[..., Delivery] | None = None,
    kept: Collection[int] = (),
) -> int:
    """Be the worker, in the forked child. Returns its exit code.

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
    return status


def _confine(kept: Collection[int], options: Options) -> None:
    """Drop rights, signal handlers, and all descriptors but *kept*, that came with the fork."""
    processes.isolate(kept)
    os.chdir("/")
    if os.geteuid() == 0:
        privileges.become(options.run_as_user)
