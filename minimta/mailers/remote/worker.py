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
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote import credentials
from minimta.mailers.remote.channel import ParentGone, WorkerChannel
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.host_status import HostMemory, Hosts
from minimta.mailers.remote.transport import Transport
from minimta.system import memory as process_memory
from minimta.system import privileges, processes, sandbox, validator
from minimta.system.dns import Resolver
from minimta.system.slots import Place
from minimta.system.waiting import readable


def run(
    connection: socket.socket,
    jobs: Sequence[Job],
    transport: Transport,
    *,
    verbose: bool,
    slot: int = -1,
    place: Place | None = None,
    grant: Place | None = None,
    memory: HostMemory | None = None,
    logins: int = -1,
) -> int:
    """Be the worker, in the forked child. Returns its exit code.

    *connection* leads to the parent; *verbose*: it wants the lines of the dialogue. *slot* is a
    descriptor to be kept until the end, -1 if there is none; *place* is at the next hop of the jobs
    (``system.slots``), *grant* is of those that may keep connections, until the end. *memory* is of
    hosts that were not reached, None where nobody asks; *logins* is a pipe from which they are to be
    read, -1 if there are none.
    """
    status = os.EX_SOFTWARE
    try:
        gc.freeze()  # what the parent left is not ours to collect: it would copy every page
        channel = WorkerChannel(connection, jobs)
        try:
            opened = {transport.opened.socket.fileno()} if transport.opened else set()
            # With its slot a worker that a host took over could stop deliveries. So it can without:
            # all workers are one user, and may end each other.
            place, grant = place or Place(-1, 0), grant or Place(-1, 0)
            known = (memory.file if memory else -1, transport.known_file)
            key = transport.signing.file if transport.signing else -1
            files = (slot, place.file, grant.file, logins, key, *known)
            opened |= {file for file in files if file >= 0}
            kept = {connection.fileno(), *(job.body for job in jobs), *opened}
            directories = tuple(file for file in known if file >= 0)
            for problem in _confine(kept, transport.options, directories):
                channel.log(f"sandbox: {problem}")
            transport = _with_logins(transport, logins)
            _deliver(channel, jobs, transport, place, memory, slot=slot, verbose=verbose)
            status = os.EX_OK
        except Exception as error:
            channel.fail(f"{type(error).__name__}: {error}")
    except ParentGone:
        pass
    return status


def _resolver(transport: Transport, log: Callable[[str], None]) -> Resolver:
    """One that validates DNSSEC itself, if that is wanted and nobody else can be believed."""
    rows = transport.policies
    if not (transport.options.dane or (rows is not None and rows.mention("dane"))):
        return Resolver()
    return Resolver(make_validator=lambda servers: validator.make(servers, log))


def _deliver(
    channel: WorkerChannel,
    jobs: Sequence[Job],
    transport: Transport,
    place: Place,
    memory: HostMemory | None,
    *,
    slot: int,
    verbose: bool,
) -> None:
    """The *jobs*, and those that come while the connection is kept. Raise ParentGone."""
    kept: OutgoingConnection | None = None
    resolver = _resolver(transport, channel.log)
    while jobs:
        kept = Delivery(
            jobs,
            transport,
            channel.report,
            say=channel.say if verbose else None,
            alive=channel.alive,
            tell_tls=channel.tell_tls,
            log=channel.log,
            tell=channel.tell,
            resolver=resolver,
            place=place,
            hosts=Hosts(memory, channel.tell_host) if memory else None,
            kept=kept,
        ).run()
        if kept is None:
            return
        # Who is idle takes nobody's slot, and holds no message that may be gone meanwhile.
        for file in {*(job.body for job in jobs), slot}:
            if file >= 0:
                os.close(file)
        jobs, slot = _further_jobs(channel, kept, transport.idle)


def _further_jobs(
    channel: WorkerChannel, kept: OutgoingConnection, seconds: float
) -> tuple[Sequence[Job], int]:
    """What is to go over the *kept* connection, with its slot; nothing: it is closed, QUIT was said."""
    until = time.monotonic() + seconds
    try:
        channel.keep()
        while kept.is_quiet() and (left := until - time.monotonic()) > 0:
            if channel.fileno() in readable([channel.fileno(), kept.fileno()], left):
                jobs, slot = channel.receive()
                if jobs:
                    return jobs, slot
        if kept.is_quiet():
            kept.quit()
    except ParentGone:
        with suppress(ParentGone):
            kept.quit()
        kept.close()
        raise
    kept.close()
    return (), -1


def _with_logins(transport: Transport, pipe: int) -> Transport:
    """What is in *pipe*, and nobody else's: the listener and other workers are the same user."""
    if pipe < 0:
        return transport
    process_memory.hide()
    received = credentials.receive(pipe)
    os.close(pipe)
    return replace(transport, logins={**transport.logins, **received})


def _confine(kept: Collection[int], options: Options, opened: tuple[int, ...]) -> Collection[str]:
    """Drop what came with the fork: rights, signal handlers, and all descriptors but *kept*.

    Of directories it will read what is below those *opened*. Returns what is wrong with the sandbox.
    """
    processes.isolate(kept)
    os.chdir("/")
    if os.geteuid() == 0:
        privileges.become(options.run_as_user)
    return sandbox.enter(options, sandbox.of_client(options, opened)).problems
