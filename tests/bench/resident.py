#!/usr/bin/env python3
"""What a daemon does with nothing else to do: from the 250 to the mailbox, and while no mail comes.

    python3 tests/bench/resident.py [--count 200] [--pause 0.2] [--idle 60] [--sendmail bin/sendmail]

A daemon of its own (-bD -q15m) below a temporary directory, run as whoever calls, ends with the measurement.

    idle       it has been there for 2 seconds: how often each of its processes wakes up in --idle seconds
               (voluntary_ctxt_switches of all threads, proc(5)), and their CPU time
    latency    milliseconds from the 250 that answers a message to the message in its mbox: median, fastest and
               slowest of --count messages to a port of 127.0.0.1, each sent when the one before has arrived and
               --pause to twice as many seconds are over: whoever looks at intervals is met at any moment

--sendmail measures another checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).parents[2]
#: seconds between two looks at the mailbox, and until a message or the daemon counts as lost
_LOOK, _PATIENCE = 0.0003, 30.0
_SETTINGS = """\
HostName = lab1.campus
QueueDirectory = {root}/mqueue
ClientQueueDirectory = {root}/clientmqueue
MailboxDirectory = {root}/mail
AliasFile = {root}/aliases
PasswdFile = {root}/passwd
PidFile = {root}/pid
StatusFile = {root}/statistics
DaemonPortOptions = Name=MTA, Addr=127.0.0.1, Port={port}
RunAsUser =
ServerCertFile =
LogTo = none
QueueLA = 1000
RefuseLA = 1000
"""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.2)
    parser.add_argument("--idle", type=float, default=60.0)
    parser.add_argument("--sendmail", type=Path, default=HOME / "bin" / "sendmail")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        daemon(Path(name), chosen.sendmail) as (pid, port),
    ):
        if chosen.idle:
            watch_idle(pid, chosen.idle)
        if chosen.count:
            took = sorted(latencies(port, Path(name, "mail", "dave"), chosen.count, chosen.pause))
            median = f"{statistics.median(took):.1f} ms from the 250 to the mailbox"
            print(f"latency: median {median}, fastest {took[0]:.1f}, slowest {took[-1]:.1f}")
    return os.EX_OK


@contextlib.contextmanager
def daemon(root: Path, sendmail: Path) -> Iterator[tuple[int, int]]:
    """Runs below *root*; its pid and port, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    for name in ("mqueue", "clientmqueue", "mail"):
        (root / name).mkdir(mode=0o700)
    (root / "aliases").write_text("postmaster: dave\n")
    (root / "passwd").write_text(f"dave:x:{os.geteuid()}:{os.getegid()}::/nonexistent:/bin/sh\n")
    (root / "cf").write_text(_SETTINGS.format(root=root, port=port))
    command = [sys.executable, "-I", str(sendmail), "-C", str(root / "cf"), "-bD", "-q15m"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the daemon does not answer")
            time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def answers(port: int) -> bool:
    """Does somebody listen there?"""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def watch_idle(pid: int, seconds: float) -> None:
    """Print what the daemon and its children do in *seconds*."""
    time.sleep(2)
    processes = {"runner": pid, "listener": children(pid)[0]}
    before = {name: (wake_ups(one), cpu_time(one)) for name, one in processes.items()}
    time.sleep(seconds)
    for name, (woken, used) in before.items():
        wakes, busy = wake_ups(processes[name]) - woken, cpu_time(processes[name]) - used
        print(f"idle: {name}: {wakes} wake-ups and {1000 * busy:.0f} ms of CPU in {seconds:g} s")


def children(pid: int) -> list[int]:
    """Pids of the children of a process with one thread."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wake_ups(pid: int) -> int:
    """How often its threads have waited for something."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        found += int(fields["voluntary_ctxt_switches"])
    return found


def cpu_time(pid: int) -> float:
    """Seconds that a process itself has used, in steps of the clock's tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def latencies(port: int, mailbox: Path, count: int, pause: float) -> Iterator[float]:
    """Milliseconds that each of *count* messages took from its 250."""
    spread = random.Random(1)
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert client.recv(1000).startswith(b"220")
        say(client, b"HELO localhost")
        for number in range(count):
            time.sleep(pause * spread.uniform(1, 2))
            for line in (b"MAIL FROM:<>", b"RCPT TO:<dave>", b"DATA"):
                say(client, line)
            before = size(mailbox)
            say(client, b"Subject: %d\r\n\r\nHi\r\n." % number)
            begun = time.monotonic()
            while size(mailbox) <= before:
                if time.monotonic() > begun + _PATIENCE:
                    raise SystemExit(f"message {number} did not arrive")
                time.sleep(_LOOK)
            yield 1000 * (time.monotonic() - begun)
        say(client, b"QUIT")


def say(client: socket.socket, line: bytes) -> None:
    """Send *line*, and read the reply, which must be a good one of one line."""
    client.sendall(line + b"\r\n")
    reply = client.recv(1000)
    assert reply[:1] in (b"2", b"3"), reply


def size(mailbox: Path) -> int:
    """Octets in it, 0 if it is not there."""
    try:
        return mailbox.stat().st_size
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
