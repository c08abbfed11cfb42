"""A second judge, by others: queue and mailboxes on LazyFS, load, kill -9 of all, and what was not fsynced is lost.

Whatever was acknowledged before comes out whole, twenty times over. The same without any fsync shows
that the judge sees it. MINIMTA_LAZYFS is the path of its program (``lazyfs`` tells how it is built).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.message.envelope import Recipient
from minimta.queue.commit import PlainCommitter, committer
from minimta.queue.control import Control
from minimta.queue.spool import Spool
from tests.admin.test_ledger import kill_all
from tests.listener.test_daemon import SENDMAIL, Daemon, wait_for
from tests.queue.test_crash import Crowd
from tests.support.lazyfs import LazyFs

pytestmark = pytest.mark.long
CUTS = 20
WITHOUT_FSYNC = f"""
import os, runpy, sys
os.fsync = lambda file: None
sys.argv[0] = {str(SENDMAIL)!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_WHOLE = re.compile(
    rb"^Subject: n(\d+)\n(?:[^\n]+\n)*\n((?:line of n\d+\n)*)end of n(\d+)\n\n", re.M
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LazyFs]:
    program = os.environ.get("MINIMTA_LAZYFS", "")
    if not program:
        pytest.skip("MINIMTA_LAZYFS does not say where lazyfs is (tests/support/lazyfs.py)")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/fuse")
    (tmp_path / "lazyfs").mkdir()
    with LazyFs(program, tmp_path / "lazyfs") as made:
        yield made


class Load:
    """Clients and commands that send until they are stopped, and what they were promised."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.promised: list[int] = []
        #: begun and not answered: may come or not, or twice
        self.open: set[int] = set()
        self._number = 0
        self._mutex = threading.Lock()
        self._commands: list[subprocess.Popen[bytes]] = []
        self._is_off = False

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        stop, self._is_off = threading.Event(), False
        ways = (self._by_smtp, self._by_smtp, self._by_smtp, self._by_command)
        threads = [threading.Thread(target=self._go_on, args=(way, stop)) for way in ways]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _go_on(self, way: Callable[[int, bytes], None], stop: threading.Event) -> None:
        while not stop.is_set():
            with self._mutex:
                self._number += 1
                number = self._number
                self.open.add(number)
            try:
                way(number, text(number))
            except (AssertionError, OSError):
                time.sleep(0.01)
                continue
            with self._mutex:
                self.open.remove(number)
                self.promised.append(number)

    def _by_smtp(self, number: int, text: bytes) -> None:
        sock, answer = self._daemon.connect()
        try:
            sock.settimeout(5)
            to = ("dave", "carol")[number % 2]
            for line in ("MAIL FROM:<emma@lab1.campus>", f"RCPT TO:<{to}>", "DATA"):
                sock.sendall(line.encode() + b"\r\n")
                assert answer()[:1] in ("2", "3")
            sock.sendall(text.replace(b"\n", b"\r\n") + b".\r\n")
            assert answer().startswith("250 2.0.0")
        finally:
            sock.close()

    def _by_command(self, number: int, text: bytes) -> None:
        words = self._daemon.command("-odq", ("dave", "carol")[number % 2])
        with self._mutex:
            assert not self._is_off
            command = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self._commands.append(command)
        command.communicate(text)
        assert command.returncode == 0

    def kill_commands(self) -> None:
        """The power is off for them, too, and no other is started."""
        with self._mutex:
            self._is_off = True
            for command in self._commands:
                command.kill()
                command.wait()
            self._commands.clear()


def text(number: int) -> bytes:
    """Short ones and such as take many writes."""
    lines = b"line of n%d\n" % number * random.Random(number).choice([0, 3, 300, 9000])
    return b"Subject: n%d\n\n%bend of n%d\n" % (number, lines, number)


def whole(mail: Path) -> Counter[int]:
    """Which messages are in the mailboxes, and how often."""
    found: Counter[int] = Counter()
    for path in mail.iterdir():
        for number, lines, end in _WHOLE.findall(path.read_bytes()):
            same = set(lines.split(b"\n")[:-1]) <= {b"line of n" + number}
            if number == end and same and b"%b%bend" % (b"", lines) in text(int(number)):
                found[int(number)] += 1
    return found


def placed(daemon: Daemon, disk: LazyFs) -> Path:
    """Move queue and mailboxes of *daemon* onto *disk*; the directory of the mailboxes."""
    mail = disk.mounted / "mail"
    for name in ("mail", "mqueue", "clientmqueue"):
        (disk.mounted / name).mkdir(mode=0o700)
    with daemon.cf.open("a") as cf:
        cf.write(f"MailboxDirectory = {mail}\nQueueDirectory = {disk.mounted}/mqueue\n")
        cf.write(
            f"ClientQueueDirectory = {disk.mounted}/clientmqueue\nMinQueueAge = 0\nMinFreeBlocks = 0\n"
        )
        cf.write("ForwardPath =\nDeliveryMode = queueonly\n")
    return mail


def cut(daemon: Daemon, load: Load, disk: LazyFs) -> None:
    load.kill_commands()
    kill_all(daemon)
    disk.forget()
    hour_ago = time.time() - 3600
    for lock in (disk.mounted / "mail").glob("*.lock"):
        os.utime(lock, (hour_ago, hour_ago))  # machines take their time to boot


def test_what_was_acknowledged_is_there_whole_after_every_cut(
    disk: LazyFs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("MINIMTA_SEED", "1"))
    luck, daemon = random.Random(seed), Daemon(tmp_path)
    mail, load, queue = placed(daemon, disk), Load(daemon), disk.mounted / "mqueue"
    try:
        for _ in range(CUTS):
            daemon.start("-bD", "-q1s")
            goal = len(load.promised) + luck.randrange(5, 40)
            with load.sending():
                wait_for(lambda goal=goal: len(load.promised) >= goal, 60.0)  # type: ignore[misc]
                cut(daemon, load, disk)
        daemon.start("-bD", "-q1s")
        wait_for(lambda: not list(queue.glob("qf*")), 120.0)
    finally:
        daemon.stop()
    found = whole(mail)
    lost = [number for number in load.promised if not found[number]]
    twice = [number for number, count in found.items() if count > 1]
    with capsys.disabled():
        print(
            f"\n{CUTS} cuts, seed {seed}: {len(load.promised)} acknowledged, {len(lost)} lost, ",
            end="",
        )
        print(f"{len(twice)} twice, {sum(found.values()) - len(load.promised)} more than promised")
    assert not lost, f"seed {seed}"
    # In flight at a cut is the mail of one run for one mailbox at most.
    assert all(count <= 3 for count in found.values())
    assert not list(queue.glob("Qf*"))


def test_the_judge_sees_what_no_fsync_costs(disk: LazyFs, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    mail, load = placed(daemon, disk), Load(daemon)
    real = daemon.command
    daemon.command = lambda *words: [sys.executable, "-I", "-c", WITHOUT_FSYNC, *real(*words)[3:]]  # type: ignore[method-assign]
    try:
        daemon.start("-bD", "-q1s")
        with load.sending():
            wait_for(lambda: len(load.promised) >= 10, 60.0)
            cut(daemon, load, disk)
        daemon.start("-bD", "-q1s")
        # An empty qf, whose text is lost, stays for an hour.
        queue = disk.mounted / "mqueue"
        wait_for(lambda: not [one for one in queue.glob("qf*") if one.stat().st_size], 60.0)
    finally:
        daemon.stop()
    assert [number for number in load.promised if not whole(mail)[number]]


def test_syncfs_does_not_reach_it_and_is_not_relied_upon(disk: LazyFs) -> None:
    """Linux passes syncfs(2) to no FUSE file system: mail of a group would be lost."""
    queue = disk.mounted / "mqueue"
    queue.mkdir(mode=0o700)
    assert isinstance(committer(True, str(queue)), PlainCommitter)
    group = Crowd()
    with contextlib.closing(Spool(str(queue), commit=group)) as spool:

        def session(number: int) -> None:
            qid = f"6AM9CfO{chr(ord('n') + number)}000096"
            data = spool.create(qid)
            os.write(data, b"body\n")
            spool.accept(qid, data, Control(1, b"<emma@lab1.campus>", [Recipient(b"<dave>")]))
            group.acknowledged.set()

        threads = [threading.Thread(target=session, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    disk.forget()
    sizes = [path.stat().st_size for path in queue.glob("df*")]
    assert sorted(sizes) == [0, 0, 0, 5]
