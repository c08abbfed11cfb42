"""What sends and takes mail in a measurement: Postfix' smtp-source and smtp-sink, or our own, slower ones.

smtp-source is a C program of one process; ours is a thread for each connection in a process of its
own, and bounds what can be measured to about 2,000 messages a second and core.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.demo.privateroot import ADDRESS, answers, free_port, wait_for
from tests.bench import copies
from tests.bench.host import DOMAIN, SINK
from tests.bench.sender import Session

#: where systems keep them that are not in everybody's PATH
_PLACES = ("/usr/sbin", "/usr/libexec/postfix", "/usr/lib/postfix/sbin", "/usr/local/sbin")
#: octets of a message's body
SIZE = 4096
PATIENCE = 600


class GeneratorError(Exception):
    """A program is missing, or failed; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Generators:
    """The programs; "" stands for ours."""

    source: str
    sink: str

    def names(self) -> str:
        """What the report says of them."""
        return f"{self.source or 'tests/bench/sender.py'}, {self.sink or 'tests/bench/sink.py'}"

    def send(
        self, port: int, count: int, connections: int, *, kept: bool = False, to: str = "dave"
    ) -> float:
        """Send *count* messages on so many connections at once, one message each or many (*kept*).

        Return the seconds it took. Raise GeneratorError if not all were acknowledged.
        """
        words = [self.source, "-s", str(connections), "-m", str(count), "-l", str(SIZE)]
        words += ["-d"] if kept else []
        words += ["-f", f"frank@{DOMAIN}", "-t", to if "@" in to else f"{to}@{DOMAIN}"]
        ours = [sys.executable, "-m", __name__, str(port), str(count), str(connections), words[-1]]
        command = [*words, f"{ADDRESS}:{port}"] if self.source else [*ours, *["kept"][: int(kept)]]
        begin = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise GeneratorError(f"{command[0]}: {done.stderr.strip().rpartition(chr(10))[2]}")
        return time.monotonic() - begin

    @contextmanager
    def receiving(self, directory: Path) -> Iterator[int]:
        """Somebody takes mail meanwhile, at the port that is given."""
        port = free_port()
        ours = [sys.executable, str(SINK), str(directory), "--port", str(port), "--discard"]
        command = [self.sink, f"{ADDRESS}:{port}", "100"] if self.sink else ours
        # Without a terminal, and as whoever we are: smtp-sink wants -u of root.
        user = ["-u", "nobody"] if self.sink and os.geteuid() == 0 else []
        process = subprocess.Popen(
            [command[0], *user, *command[1:]], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            if not wait_for(lambda: answers(port), 10):
                raise GeneratorError(f"{command[0]} does not answer")
            yield port
        finally:
            process.kill()
            process.communicate()


def find(kind: str, directory: str) -> Generators:
    """Those of *kind* ("postfix", "python", or "" for the better that is there), in *directory* or PATH.

    Raise GeneratorError if Postfix' are wanted and missing.
    """
    path = directory or os.pathsep.join((os.environ.get("PATH", ""), *_PLACES))
    source, sink = (shutil.which(name, path=path) for name in ("smtp-source", "smtp-sink"))
    if kind == "python" or (not kind and not (source and sink)):
        return Generators("", "")
    if not source or not sink:
        raise GeneratorError(f"no smtp-source and smtp-sink in {path}; they come with Postfix")
    return Generators(source, sink)


def _client(port: int, numbers: range, to: str, kept: bool) -> None:
    """One connection, or one after the other."""
    text = copies.text("bench", SIZE)
    session = None
    for _ in numbers:
        session = session or Session(ADDRESS, port)
        session.send(f"frank@{DOMAIN}", [to], text)
        if not kept:
            session.says(b"QUIT")
            session.close()
            session = None
    if session:
        session.says(b"QUIT")
        session.close()


def main() -> None:
    """Our sender: PORT COUNT CONNECTIONS RECIPIENT [kept]."""
    port, count, connections = map(int, sys.argv[1:4])
    with ThreadPoolExecutor(connections) as pool:
        shares = [range(first, count, connections) for first in range(connections)]
        jobs = [
            pool.submit(_client, port, one, sys.argv[4], "kept" in sys.argv[5:]) for one in shares
        ]
        for job in jobs:
            job.result()


if __name__ == "__main__":
    main()
