"""The works that are measured. Each takes an empty host and gives rows: what, messages a second, CPU.

What is counted of each stands in its docstring and in README.md. CPU is that of all processes of minimta.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.demo.privateroot import wait_for
from tests.bench import copies
from tests.bench.generators import GeneratorError, Generators
from tests.bench.host import Host, descendants

_TICK = os.sysconf("SC_CLK_TCK")
#: seconds until the last message must have arrived
PATIENCE = 300.0
PEOPLE = ("dave", "frank")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: messages a second, and milliseconds of CPU for one message."""

    work: str
    rate: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What a work needs: where to make a host, who sends and takes, and how many messages."""

    directory: Path
    generators: Generators
    messages: int
    connections: Sequence[int]

    def host(self, **options: str) -> Host:
        """A new one, with a directory of its own; mail for sink.campus goes to the port that is named so."""
        directory = self.directory / f"host{len(list(self.directory.iterdir()))}"
        directory.mkdir()
        routes = {"sink.campus": int(options.pop("sink", 0))}
        made = Host(directory, PEOPLE)
        made.build(routes=routes if routes["sink.campus"] else {}, **options)
        return made


def accept(bench: Bench) -> Iterator[Row]:
    """SMTP to the queue, nothing is delivered: from the start of the sender until its last 250.

    cN: N connections at once, one message each; cN kept: the same N connections for all messages.
    """
    for number in bench.connections:
        for kept in (False, True):
            host = bench.host(DeliveryMode="queueonly")
            host.up("-bD")
            try:
                name = f"accept c{number}{' kept' if kept else ''}"
                yield _measured(host, name, bench, number, kept=kept)
                if host.queued() != bench.messages:
                    raise GeneratorError(f"{host.queued()} of {bench.messages} are in the queue")
            finally:
                host.stop()


def local(bench: Bench) -> Iterator[Row]:
    """SMTP to a mailbox, 10 connections at once: until the last message stands in it, and the queue is empty."""
    host = bench.host()
    host.up("-bD", "-q15m")
    try:
        yield _measured(host, "local, end to end", bench, 10, until=lambda: not host.queued())
        came = sum(1 for _ in copies.of_mailbox(host.directory / "mail" / "dave"))
        if came != bench.messages:
            raise GeneratorError(f"{came} of {bench.messages} are in the mailbox")
    finally:
        host.stop()


def relay(bench: Bench) -> Iterator[Row]:
    """SMTP to another host, 10 connections at once: until it has taken the last one, and the queue is empty."""
    with bench.generators.receiving(bench.directory) as port:
        host = bench.host(sink=str(port))
        host.up("-bD", "-q15m")
        try:
            yield _measured(
                host, "relay", bench, 10, to="x@sink.campus", until=lambda: not host.queued()
            )
            sent = host.log().count("stat=Sent")
            if sent != bench.messages:
                raise GeneratorError(f"{sent} of {bench.messages} were sent")
        finally:
            host.stop()


def submit(bench: Bench) -> Iterator[Row]:
    """``sendmail dave`` with 1 KB on its input, only queued: one after the other, and 10 at once.

    CPU is that of the command.
    """
    host = bench.host(DeliveryMode="queueonly")
    count = max(5, bench.messages // 10)
    text = copies.text("bench", 1000)

    def call(_: int) -> None:
        subprocess.run(host.command("sendmail", "-i", "dave"), input=text, check=True)

    for at_once in (1, 10):
        before, begin = _cpu_of_children(), time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(call, range(count)))
        seconds = time.monotonic() - begin
        cpu = (_cpu_of_children() - before) / count * 1e3
        yield Row(f"submit, {at_once} at once", count / seconds, cpu)
    if host.queued() != 2 * count:
        raise GeneratorError(f"{host.queued()} of {2 * count} are in the queue")


WORKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "accept": accept,
    "local": local,
    "relay": relay,
    "submit": submit,
}


def _measured(
    host: Host,
    name: str,
    bench: Bench,
    connections: int,
    *,
    kept: bool = False,
    to: str = "dave",
    until: Callable[[], object] = lambda: True,
) -> Row:
    before, begin = _cpu(host), time.monotonic()
    bench.generators.send(host.port, bench.messages, connections, kept=kept, to=to)
    if not wait_for(until, PATIENCE):
        raise GeneratorError(f"{name}: {host.queued()} messages still wait after {PATIENCE:.0f} s")
    seconds = time.monotonic() - begin
    return Row(name, bench.messages / seconds, (_cpu(host) - before) / bench.messages * 1e3)


def _cpu(host: Host) -> float:
    """Seconds of CPU of the daemon, of its children, and of those that have ended."""
    return sum(map(_cpu_of, descendants(host.pid)))


def _cpu_of(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has just ended, and is among those of its parent next time
    return sum(map(int, words[11:15])) / _TICK


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
