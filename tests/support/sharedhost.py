"""A host that several users share, one of whom means no good: here the attacks of tests/threats are tried.

host = SharedHost(ground)               as root only: users are real numbers, files are really theirs
before = host.snapshot()
qids = host.submit_each("dave", "carol")
host.run(qids)                          the real Deliverer, everything but the network
assert host.changes(before) == {"mail/carol"}
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from minimta.runner.deliver import AttemptResult, Deliverer
from minimta.system.privileges import drop
from minimta.system.users import User, Users
from tests.support.privatehost import PrivateHost

#: numbers that nobody has, and no other test at the same time: their processes are counted
_FIRST = 60000 + os.getpid() % 500 * 10
UIDS = {
    name: _FIRST + n for n, name in enumerate(("emma", "dave", "carol", "mallory", "daemon"), 1)
}
SECRET = b"no-more-secrets-73a1"
#: files that may be any size
_READ_UP_TO = 1 << 20


class SharedHost(PrivateHost):
    """lab1.campus. emma sends; dave is attacked, or attacks; carol looks on; mallory is evil."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lines: list[str] = []
        self.options.smrsh_directory = str(root / "no-smrsh")
        self.options.trusted_users = str(root / "trusted-users")
        self.options.timeout_program = 20
        self.shells = {"daemon": "/usr/sbin/nologin"}
        self._make_homes()
        self.set_spool(0o755)
        #: a directory where everybody may leave evidence
        self.evidence = root / "evidence"
        self.evidence.mkdir()
        self.evidence.chmod(0o1777)
        #: what only carol may read
        self.secret = self.put("carol", SECRET + b"\n", "secret", 0o600)
        #: what must never change
        self.canary = root / "canary"
        self.canary.write_bytes(b"alive\n")
        self.canary.chmod(0o644)

    def _make_homes(self) -> None:
        (self.root / "home").chmod(0o755)
        for name, uid in UIDS.items():
            home = self.root / "home" / name
            home.mkdir()
            home.chmod(0o755)
            os.chown(home, uid, uid)
        self.write_passwd()

    def write_passwd(self) -> None:
        """Again, after ``shells`` changed."""
        entries = [f"root:x:0:0:root:{self.root}/home/root:/bin/sh"]
        for name, uid in UIDS.items():
            shell = self.shells.get(name, "/bin/sh")
            entries.append(f"{name}:x:{uid}:{uid}:{name}:{self.root}/home/{name}:{shell}")
        Path(self.options.passwd_file).write_text("\n".join(entries) + "\n")

    def set_spool(self, mode: int, gid: int = 0) -> None:
        """Mode of the directory of mailboxes."""
        os.chown(self.root / "mail", 0, gid)
        (self.root / "mail").chmod(mode)

    def user(self, name: str) -> User:
        found = Users(self.options.passwd_file).find(name.encode())
        assert found is not None
        return found

    def mailbox(self, name: str) -> Path:
        return self.root / "mail" / name

    def put(self, owner: str, text: bytes, name: str, mode: int = 0o644) -> Path:
        """A file in the home of *owner*."""
        path = self.root / "home" / owner / name
        path.write_bytes(text)
        path.chmod(mode)
        os.chown(path, UIDS.get(owner, 0), UIDS.get(owner, 0))
        return path

    # --- mail -------------------------------------------------------------------------------------

    def submit_each(self, *names: str, text: bytes = b"Subject: hello\n\nbody\n") -> list[str]:
        """One message from emma for each of *names*."""
        sender = b"<emma@lab1.campus>"
        return [self.submit(sender, b"<%b@lab1.campus>" % n.encode(), text=text) for n in names]

    def run(
        self, qids: Sequence[str] = (), deliverer: Deliverer | None = None
    ) -> list[AttemptResult]:
        """Attempt *qids*, or all that is queued."""
        return (deliverer or self.deliverer()).attempt(qids or self.queued())

    def told(self, *parts: str) -> str:
        """The one log line with all of *parts*."""
        found = [line for line in self.lines if all(part in line for part in parts)]
        assert len(set(found)) == 1, (parts, self.lines)
        return found[0]

    # --- what happened ----------------------------------------------------------------------------

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        """All files but those of the queue: mode, owner, names, time, content."""
        found = {}
        for directory, subdirectories, names in os.walk(self.root):
            for name in (*subdirectories, *names):
                path = Path(directory, name)
                found[str(path.relative_to(self.root))] = state_of(path)
        return {name: state for name, state in found.items() if not name.startswith("mqueue")}

    def changes(self, before: dict[str, tuple[object, ...]]) -> set[str]:
        """Files that are new, gone or other than *before*."""
        now = self.snapshot()
        return {name for name in before.keys() | now if before.get(name) != now.get(name)}

    def leaks(self) -> list[str]:
        """Where else the secret is to be read: files by name, and lines of the log."""
        own = self.secret.stat().st_ino
        found = [line for line in self.lines if SECRET.decode() in line]
        for directory, _, names in os.walk(self.root):
            for path in (Path(directory, name) for name in names):
                state = path.lstat()
                if stat.S_ISREG(state.st_mode) and state.st_ino != own:
                    with path.open("rb") as file:
                        found += [str(path)] if SECRET in file.read(_READ_UP_TO) else []
        return found

    def count(self, *names: str) -> int:
        """Letters in the mailboxes of *names*, and messages that wait."""
        return sum(len(self.letters(name)) for name in names) + len(self.queued())


def state_of(path: Path) -> tuple[object, ...]:
    """All that can be told of a file; of a directory not its time."""
    state = path.lstat()
    fixed: tuple[object, ...] = (state.st_mode, state.st_uid, state.st_gid, state.st_ino)
    if stat.S_ISDIR(state.st_mode):
        return fixed
    content = b""
    if stat.S_ISLNK(state.st_mode):
        content = os.fsencode(os.readlink(path))
    elif stat.S_ISREG(state.st_mode) and state.st_size <= _READ_UP_TO:
        content = path.read_bytes()
    return *fixed, state.st_nlink, state.st_size, state.st_mtime_ns, content


@contextmanager
def attacking(user: User, act: Callable[[], object], *, once: bool = False) -> Iterator[None]:
    """Meanwhile a process of *user* repeats *act* as fast as it can, or has done it *once*."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(30)  # should nobody end it
            if user.uid:
                drop(user.uid, user.gid, [])
            act()
            os.write(told, b".")
            while True:
                with suppress(FileNotFoundError):  # what was attacked has come to its end
                    signal.pause() if once else act()
        finally:
            os._exit(1)
    os.close(told)
    try:
        assert os.read(ready, 1) == b".", "the attacker cannot do it"
        yield
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the attacker gave up"
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def exchanger(one: Path, other: Path) -> Callable[[], None]:
    """An act that lets two names change places, so that neither is ever missing: renameat2(2)."""
    import ctypes

    rename = ctypes.CDLL(None, use_errno=True).renameat2
    here, exchange = -100, 2
    first, second = os.fsencode(one), os.fsencode(other)

    def act() -> None:
        if rename(here, first, here, second, exchange):
            raise OSError(ctypes.get_errno(), "renameat2")

    return act


def replacer(box: Path, new: Path) -> Callable[[], None]:
    """An act of a reader who locks the mailbox and puts a copy in its place."""

    def act() -> None:
        with box.open("r+b") as old:
            fcntl.lockf(old, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(old.fileno()), box.stat()):
                new.write_bytes(old.read())
                new.chmod(0o600)
                new.rename(box)

    return act
