"""The unprivileged side of the esmtp and LMTP mailers: a forked process that talks to the peers.

It has no rights and no descriptors but its socket pair and its messages: the jobs are in its memory
and their data files are open, because it was forked. It tells what became of them by ``protocol``,
and the parent believes nothing unchecked.

    error                           the worker
    Exception: a bug, no RunAsUser  says which, and exits with EX_SOFTWARE; the messages wait
    ParentGone                      exits: nobody would record what it sends
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Collection, Sequence

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote.channel import ParentGone, WorkerChannel
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mx_targets import Ourselves
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
        channel = WorkerChannel(connection, jobs)
        try:
            _confine({connection.fileno(), *(job.body for job in jobs), *kept}, options)
            say = channel.say if verbose else None
            make = delivery or Delivery
            make(jobs, options, ourselves, channel.report, say=say, alive=channel.alive).run()
            status = os.EX_OK
        except Exception as error:
            channel.fail(f"{type(error).__name__}: {error}")
    except ParentGone:
        pass
    return status


def _confine(kept: Collection[int], options: Options) -> None:
    """Drop rights, signal handlers, and all descriptors but *kept*, that came with the fork."""
    processes.isolate(kept)
    os.chdir("/")
    if os.geteuid() == 0:
        privileges.become(options.run_as_user)
