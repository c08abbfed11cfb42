"""A whole minimta of its own in a temporary directory, for measuring and for killing: high port, loopback only.

Its domain is lab2.campus. As root its users have numbers of their own, so that mail is delivered as
a real host does it, in children that gave up root; else all of them share the number of the caller.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from minimta.admin.demo import privateroot
from minimta.admin.demo.privateroot import ADDRESS, PrivateRoot, free_port, processes_of, wait_for

DOMAIN = "lab2.campus"
SINK = Path(__file__).parent / "sink.py"
#: of the first user, where root measures
_FIRST_UID = 61000
#: what a measurement may not be refused for, and what else differs from the defaults
_OPTIONS = {
    "QueueLA": "10000",
    "RefuseLA": "10000",
    "MaxDaemonChildren": "500",
    "StatusFile": "/dev/null",
}
#: keeps each message as a file of its own, never a piece of one; slow enough to be caught at it
_PROGRAM = """\
#!/bin/sh
sleep 0.05
cat >{directory}/.$$ && mv {directory}/.$$ {directory}/$(date +%s%N)-$$
"""


class Host(PrivateRoot):
    """It has the users of *people*, a program, and mail for the domains of *routes* goes to their ports."""

    def __init__(self, directory: Path, people: Iterable[str]) -> None:
        """*directory* exists and is empty; *people* are the names of its users."""
        super().__init__(directory / "host", DOMAIN, free_port())
        directory.chmod(0o755)
        self.people = tuple(people)
        self.program_copies = directory / "program"
        self.program = directory / "program.sh"
        self._words: tuple[str, ...] = ("-bD", "-q15m")

    def build(
        self, *, aliases: str = "", routes: Mapping[str, int] | None = None, **options: str
    ) -> None:
        """Write all of it anew. An option replaces that of the private root."""
        routed = {name: f"esmtp:[{ADDRESS}]:{port}" for name, port in (routes or {}).items()}
        self.make(f"postmaster: {self.people[0]}\n{aliases}", routed)
        self.directory.chmod(0o755)
        # What commands do is in the daemon's log as well.
        self._set({**_OPTIONS, "LogTo": str(self.file("log")), **options})
        self.program_copies.mkdir()
        self.program_copies.chmod(0o1777)
        self.program.write_text(_PROGRAM.format(directory=shlex.quote(str(self.program_copies))))
        self.program.chmod(0o755)
        self._write_users()

    def _set(self, settings: Mapping[str, str]) -> None:
        """Options of its configuration, instead of those that it has."""
        lines = self.cf.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.partition(" =")[0] not in settings]
        kept += [f"{name} = {value}\n" for name, value in settings.items()]
        self.cf.write_text("".join(kept))

    def _write_users(self) -> None:
        entries = [
            f"root:x:0:0:root:{self.directory}/root:/bin/sh",
            f"daemon:x:{self._ids(0)}:d:/:",
        ]
        for number, name in enumerate(self.people, 1):
            home = self.home(name)
            home.mkdir(parents=True, exist_ok=True)
            home.chmod(0o755)
            if os.geteuid() == 0:
                os.chown(home, _FIRST_UID + number, _FIRST_UID + number)
            entries.append(f"{name}:x:{self._ids(number)}:{name}:{home}:/bin/sh")
        self.file("passwd").write_text("\n".join(entries) + "\n")

    def _ids(self, number: int) -> str:
        is_root = os.geteuid() == 0
        uid, gid = (_FIRST_UID + number,) * 2 if is_root else (os.geteuid(), os.getegid())
        return f"{uid}:{gid}"

    def forward(self, name: str, text: str) -> None:
        """Write the ~/.forward of a user, theirs."""
        path = self.home(name) / ".forward"
        path.write_text(text)
        path.chmod(0o644)
        owner = self.home(name).stat()
        os.chown(path, owner.st_uid, owner.st_gid)

    # --- processes --------------------------------------------------------------------------------

    def listener(self) -> list[str]:
        """The command line of the daemon."""
        return self.command("sendmail", "-OLogTo=stderr", *self._words)

    def up(self, *words: str) -> None:
        """Start the daemon, by default listener and runner; return when its port answers."""
        self._words = words or self._words
        self.start()

    @property
    def pid(self) -> int:
        """Of the daemon's first process."""
        assert self._listener is not None
        return self._listener.pid

    def is_up(self) -> bool:
        """Does its first process still live?"""
        return not self._is_dead()

    def processes(self) -> list[int]:
        """All that run here, the children of the daemon included, oldest first."""
        below = descendants(self._listener.pid) if self._listener is not None else []
        return sorted({*processes_of(self.cf), *below}, key=_started)

    def listeners(self) -> list[int]:
        """Children of the daemon that accept connections at its port."""
        return self._listening(children(self.pid))

    def listeners_left(self) -> list[int]:
        """The same when its first process is gone, for whoever's child they are."""
        return self._listening(processes_of(self.cf))

    def is_port_taken(self) -> bool:
        """Does anybody listen there?"""
        return bool(_listening_inode(self.port))

    def _listening(self, pids: Iterable[int]) -> list[int]:
        """Those that have the socket which accepts connections at its port; none if nobody does."""
        inode = _listening_inode(self.port)
        socket = f"socket:[{inode}]"
        return [
            pid for pid in pids if inode and (socket in descriptors(pid).values() or _hides(pid))
        ]

    def kill(self, pids: Iterable[int]) -> None:
        """SIGKILL, and return when they are gone; who has ended meanwhile is left out."""
        pids = list(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._listener is not None and self._listener.pid in pids:
            self._listener.wait()
        wait_for(lambda: all(_is_gone(pid) for pid in pids), 20)

    def reload(self) -> None:
        """SIGHUP, as systemctl reload does."""
        os.kill(self.pid, signal.SIGHUP)

    # --- the queue --------------------------------------------------------------------------------

    @property
    def queue(self) -> Path:
        """The queue directory."""
        return self.directory / "spool" / "mqueue"

    def spread(self, *names: str) -> None:
        """Let the queue have these directories; what is built is there, the daemon is not up."""
        for name in names:
            path = self.queue / name
            path.mkdir()
            path.chmod(0o1730)
        self._set({"QueueDirectory": f"{self.queue}/q*"})

    def queue_files(self) -> list[str]:
        """What is in both queues, whatever directories they have."""
        client = self.directory / "spool" / "clientmqueue"
        walks = (os.walk(place) for place in (self.queue, client))
        return sorted(name for walk in walks for _, _, names in walk for name in names)

    def queued(self) -> int:
        """Messages in both queues."""
        return sum(name.startswith("qf") for name in self.queue_files())

    def drain(self, seconds: float) -> bool:
        """Run the queue until it is empty; False if it is not within so many seconds."""
        end = time.monotonic() + seconds
        while self.queued() and time.monotonic() < end:
            self.run("sendmail", "-qf")
            wait_for(lambda: not self.queued(), 1)
        return not self.queued()

    def log(self) -> str:
        """All that the daemon logged."""
        return self.file("log").read_text(encoding="utf-8", errors="replace")


class OtherHost:
    """A ``sink`` with a directory of its own; it may go down and come up again at the same port."""

    def __init__(self, directory: Path, *words: str) -> None:
        """*words* are options of the sink."""
        directory.mkdir()
        self.copies = directory
        self.port = free_port()
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Return when it answers."""
        command = [
            sys.executable,
            str(SINK),
            str(self.copies),
            "--port",
            str(self.port),
            *self._words,
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        if not wait_for(lambda: privateroot.answers(self.port), 20):
            raise RuntimeError("the sink does not answer")

    def is_up(self) -> bool:
        """Is there a process of it?"""
        return self._process is not None

    def down(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def children(pid: int) -> list[int]:
    """Processes that *pid* started and that have not been waited for; none if it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """*pid*, its children and theirs."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def running(program: str) -> list[int]:
    """Processes with *program* in their command line; they need not be anybody's descendants."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(program) in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def descriptors(pid: int) -> dict[int, str]:
    """What the descriptors of a process lead to; empty if it is gone."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def _hides(pid: int) -> bool:
    """Is it a listener that shows its descriptors to nobody but root? No other of a daemon has threads."""
    try:
        is_closed = not os.access(f"/proc/{pid}/fd", os.R_OK)
        return is_closed and len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False  # it is gone


def _listening_inode(port: int) -> str:
    """The inode of the socket that listens at *port* of 127.0.0.1, "" if none does."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == f"0100007F:{port:04X}" and words[3] == "0A":
            return words[9]
    return ""


def _is_gone(pid: int) -> bool:
    """Ended, though perhaps nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0
