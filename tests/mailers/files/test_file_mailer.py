from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.files import file_mailer
from minimta.mailers.files.file_mailer import FileMailer, PlainFile
from minimta.mailers.files.locked_file import LockedFile
from minimta.mailers.files.mbox_format import CHUNK
from minimta.mailers.job import Job
from minimta.message import dates
from minimta.message.outcome import Fate, Outcome
from minimta.system import log, processes
from minimta.system.users import User
from tests.support.children import assert_none_left
from tests.support.jobs import job, options

SENT = Outcome(Fate.SENT, "2.0.0", "Sent")
CANNOT = Outcome(Fate.FAILED, "5.0.0", "Can't create output", exit_code=os.EX_CANTCREAT)


def mailer(*blames: str) -> FileMailer:
    configured = options(dont_blame=frozenset(blames))  # type: ignore[arg-type]
    return FileMailer(configured, pause=lambda _: None)


def to(path: Path | str, user: User | None, body: bytes = b"body\n", **more: Any) -> Job:
    return replace(job("", str(path), body=body, **more), controlling=user)


def outcome(one: Job, *blames: str) -> Outcome:
    ((done, outcomes),) = list(mailer(*blames).deliver([one]))
    assert done is one
    return outcomes[one.users[0].name]


@pytest.fixture
def inbox(dave: User) -> Path:
    return Path(dave.home, "inbox")


@pytest.fixture
def full(inbox: Path, dave: User) -> Path:
    """The inbox with a message in it."""
    return put(inbox, dave, b"From a then\n\nkept\n\n")


def put(path: Path, user: User, text: bytes = b"", mode: int = 0o600) -> Path:
    path.write_bytes(text)
    os.chown(path, user.uid, user.gid)
    path.chmod(mode)
    return path


# -- what is written ---------------------------------------------------------------------------


def test_a_message_is_appended_as_sendmail_does(
    inbox: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dates, "asctime", lambda now: "Sun Nov 22 09:25:49 2026")
    header = b"Return-Path: <emma@lab1.campus>\nSubject: t\n"
    assert outcome(to(inbox, dave, b"hello\nFrom me\n", header=header)) == SENT
    assert inbox.read_bytes() == (
        b"From emma@lab1.campus Sun Nov 22 09:25:49 2026\n" + header + b"\nhello\n>From me\n\n"
    )


def test_the_null_sender_is_mailer_daemon(inbox: Path, dave: User) -> None:
    outcome(to(inbox, dave, reverse_path=b""))
    assert inbox.read_bytes().startswith(b"From MAILER-DAEMON ")


def test_a_new_file_is_the_users_alone_and_durable_with_its_name(
    inbox: Path, dave: User, synced: Any
) -> None:
    assert outcome(to(inbox, dave)) == SENT
    found = inbox.stat()
    assert (found.st_uid, found.st_gid) == (dave.uid, dave.gid)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert inbox in synced and inbox.parent in synced


def test_where_the_directory_cannot_be_read_all_is_made_durable(
    inbox: Path, dave: User, monkeypatch: pytest.MonkeyPatch, synced: Any
) -> None:
    """Its name alone cannot be: fsync(2) asks for a descriptor that may read."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(file_mailer, "sync_directory", refuse)
    monkeypatch.setattr(os, "sync", lambda: synced.add(0))
    assert outcome(to(inbox, dave)) == SENT
    assert synced.inodes() == [0, inbox.stat().st_ino]


def test_an_existing_file_keeps_its_text_and_mode(full: Path, dave: User) -> None:
    full.chmod(0o640)
    assert outcome(to(full, dave)) == SENT
    assert full.read_bytes().startswith(b"From a then\n\nkept\n\nFrom emma@lab1.campus ")
    assert stat.S_IMODE(full.stat().st_mode) == 0o640


@pytest.mark.parametrize("torn", [b"From a then\n\nhal", b"From a then\n\nhalf\n"])
def test_after_a_torn_message_the_next_one_is_one_of_its_own(
    inbox: Path, dave: User, torn: bytes
) -> None:
    put(inbox, dave, torn)
    outcome(to(inbox, dave))
    assert b"\n\nFrom emma@lab1.campus " in inbox.read_bytes()


def test_messages_for_one_file_share_an_opening_and_stay_in_order(
    inbox: Path, dave: User, synced: Any
) -> None:
    jobs = [to(inbox, dave, b"%d\n" % number) for number in range(5)]
    assert [done for done, _ in mailer().deliver(jobs)] == jobs
    assert len(synced.inodes()) == 2
    parts = inbox.read_bytes().split(b"\n\n")
    assert parts[1::2] == [b"%d" % number for number in range(5)]


def test_dev_null_takes_everything_unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minimta.mailers.files.grouping.as_owner", None)
    assert outcome(to("/dev/null", None)) == SENT


# -- as whom -----------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [None, 0])
def test_nothing_is_written_as_root_or_as_nobody_in_particular(
    ground: Path, uid: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda _, text, **more: lines.append(text))
    found = outcome(to(ground / "inbox", None if uid is None else User("root", 0, 0)))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.0")
    assert not (ground / "inbox").exists()
    assert lines == [f"file {ground}/inbox: no user to write it as"]


@pytest.mark.root
def test_the_file_is_opened_with_the_users_ids_groups_and_umask(
    inbox: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proc(self: LockedFile) -> int:
        lines = Path("/proc/self/status").read_text().split("\n")
        kept = [line.split(":")[1].split() for line in lines if line[:3] in ("Uid", "Gid", "Gro")]
        inbox.write_text(f"{kept} {os.umask(0)}")
        raise OSError(errno.EIO, "seen")

    monkeypatch.setattr(LockedFile, "__enter__", proc)
    assert outcome(to(inbox, dave)).fate is Fate.DEFERRED
    ids = [str(dave.uid)] * 4
    assert inbox.read_text() == f"{[ids, ids, [str(dave.gid)]]} {0o077}"
    assert inbox.stat().st_uid == dave.uid


@pytest.mark.root
def test_two_users_of_one_path_each_write_as_themselves(
    ground: Path, dave: User, carol: User
) -> None:
    path = ground / "shared"
    path.mkdir()
    path.chmod(0o1777)
    jobs = [to(path / "x", dave), to(path / "x", carol)]
    fates = [outcomes[os.fsencode(path / "x")] for _, outcomes in mailer().deliver(jobs)]
    assert fates == [SENT, CANNOT]
    assert (path / "x").stat().st_uid == dave.uid


# -- what Sendmail refuses too -----------------------------------------------------------------


def directory(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o666)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def soft_link(path: Path) -> None:
    (path.parent / "target").touch(0o666)
    path.symlink_to("target")


def dangling_link(path: Path) -> None:
    path.symlink_to("target")


def link_to_null(path: Path) -> None:
    path.symlink_to("/dev/null")


def hard_link(path: Path) -> None:
    (path.parent / "target").touch(0o600)
    os.link(path.parent / "target", path)


def executable(path: Path) -> None:
    path.touch()
    path.chmod(0o700)


def unwritable(path: Path) -> None:
    path.touch()
    path.chmod(0o400)


PLANTED = [
    directory, fifo, listening, soft_link, dangling_link, link_to_null, hard_link, executable,
    unwritable,
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_no_plain_file_is_not_written_to(
    inbox: Path, dave: User, plant: Callable[[Path], None]
) -> None:
    plant(inbox)
    for path in inbox.parent.iterdir():
        os.chown(path, dave.uid, dave.gid, follow_symlinks=False)
    assert outcome(to(inbox, dave)) == CANNOT
    for path in inbox.parent.iterdir():
        assert not path.is_file() or path.stat().st_size == 0


@pytest.mark.root
def test_a_device_is_not_even_opened(inbox: Path, dave: User) -> None:
    os.mknod(inbox, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    inbox.chmod(0o666)
    assert outcome(to(inbox, dave)) == CANNOT


def test_a_missing_directory_is_final(inbox: Path, dave: User) -> None:
    assert outcome(to(inbox.parent / "nosuch" / "inbox", dave)) == CANNOT


def test_a_file_is_no_directory(full: Path, dave: User) -> None:
    assert outcome(to(full / "x", dave)) == CANNOT


@pytest.mark.parametrize("end", ["/", "/.", "/..", "/" + "x" * 256])
def test_what_can_be_no_file_name_is_final(inbox: Path, dave: User, end: str) -> None:
    assert outcome(to(f"{inbox.parent}{end}", dave)) == CANNOT


@pytest.mark.root
def test_the_file_of_somebody_else_is_final(full: Path, dave: User, carol: User) -> None:
    assert outcome(to(full, carol)) == CANNOT


@pytest.mark.root
def test_where_nothing_can_be_written_in_any_case_is_final(
    full: Path, dave: User, carol: User
) -> None:
    """An alias that names a file in somebody's home, written as DefaultUser."""
    assert outcome(to(full.parent / "new", carol)) == CANNOT
    full.parent.chmod(0o700)
    assert outcome(to(full, carol)) == CANNOT
    full.parent.chmod(0o777)
    assert outcome(to(full.parent / "new", carol)).fate is Fate.DEFERRED


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o711])
def test_a_directory_that_is_closed_to_the_user_is_final(ground: Path, mode: int) -> None:
    (ground / "closed").mkdir()
    (ground / "closed").chmod(mode)
    nobody = User("nobody", 65534, 65534)
    assert outcome(to(ground / "closed" / "inbox", nobody)) == CANNOT
    assert outcome(to(ground / "closed" / "below" / "inbox", nobody)) == CANNOT


def test_the_log_says_why_and_the_sender_is_not_told(
    inbox: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda _, text, **more: lines.append(text))
    inbox.mkdir()
    assert outcome(to(inbox, dave)).text == "Can't create output"
    assert lines == [f"file {inbox}: not a regular file"]


def test_links_are_written_to_if_the_administrator_says_so(inbox: Path, dave: User) -> None:
    target = put(inbox.parent / "target", dave)
    inbox.symlink_to("target")
    assert outcome(to(inbox, dave), "filedeliverytosymlink") == SENT
    os.link(target, inbox.parent / "other")
    assert outcome(to(inbox.parent / "other", dave)) == CANNOT
    assert outcome(to(inbox.parent / "other", dave), "filedeliverytohardlink") == SENT
    assert target.read_bytes().count(b"\nSubject: ") == 2


# -- what waits for the administrator ----------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (0o4600, "Set-id file"),
        (0o2600, "Set-id file"),
        (0o6600, "Set-id file"),
        (0o602, "World writable file"),
        (0o666, "World writable file"),
    ],
)
def test_a_file_with_a_dangerous_mode_waits(full: Path, dave: User, mode: int, reason: str) -> None:
    before = full.read_bytes()
    full.chmod(mode)
    found = outcome(to(full, dave))
    assert (found.fate, found.status, found.text) == (Fate.DEFERRED, "4.3.0", f"{full}: {reason}")
    assert full.read_bytes() == before


def test_a_directory_that_all_may_write_waits(full: Path, dave: User) -> None:
    full.parent.chmod(0o777)
    assert outcome(to(full, dave)).text == f"{full}: World writable directory"


def test_a_sticky_directory_is_safe(full: Path, dave: User) -> None:
    full.parent.chmod(0o1777)
    assert outcome(to(full, dave)) == SENT


@pytest.mark.root
def test_a_file_of_a_stranger_waits_even_if_its_mode_allows_it(
    ground: Path, dave: User, carol: User
) -> None:
    """He may have put it where mail was to go, to read it (CVE-2008-2937)."""
    (ground / "open").mkdir()
    (ground / "open").chmod(0o1777)
    path = put(ground / "open" / "inbox", carol, mode=0o666)
    assert outcome(to(path, dave)).text == f"{path}: Wrong owner"
    assert path.read_bytes() == b""


@pytest.mark.root
def test_a_file_of_root_that_the_users_group_may_write_is_written_to(
    ground: Path, dave: User
) -> None:
    path = put(ground / "archive", User("root", 0, dave.gid), mode=0o660)
    assert outcome(to(path, dave)) == SENT
    path.chmod(0o620)  # a slot: what is in it cannot be read
    assert outcome(to(path, dave)) == SENT
    assert path.read_bytes().count(b"\n\nFrom emma@lab1.campus ") == 1


# -- what may pass -----------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, name: str, code: int, at: int = 1) -> None:
    """From its call number *at* on the function of os fails."""
    real, calls = getattr(os, name), 0

    def call(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= at:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **more)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize(
    ("code", "status"),
    [(errno.ENOSPC, "4.2.2"), (errno.EDQUOT, "4.2.2"), (errno.EFBIG, "4.2.2"),
     (errno.EIO, "4.3.0"), (errno.ESTALE, "4.3.0")],
)  # fmt: skip
@pytest.mark.parametrize("size", [5, 3 << 20])
def test_a_failed_write_leaves_the_file_as_it_was(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch, code: int, status: str, size: int
) -> None:
    before = full.read_bytes()
    failing(monkeypatch, "writev", code, 2 if size > CHUNK else 1)
    found = outcome(to(full, dave, b"x" * size))
    assert (found.fate, found.status) == (Fate.DEFERRED, status)
    assert found.text == f"{full}: {os.strerror(code)}"
    assert full.read_bytes() == before


def test_short_writes_are_continued(
    inbox: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda file, parts: real(file, [b"".join(parts)[:7]]))
    assert outcome(to(inbox, dave, b"0123456789\n" * 9)) == SENT
    assert inbox.read_bytes().endswith(b"\nSubject: c\n\n" + b"0123456789\n" * 9 + b"\n")


def test_what_was_whole_before_a_failure_stays(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "writev", errno.ENOSPC, 3)
    jobs = [to(full, dave, b"%d\n" % number) for number in range(4)]
    fates = [outcomes[os.fsencode(full)].fate for _, outcomes in mailer().deliver(jobs)]
    assert fates == [Fate.SENT, Fate.SENT, Fate.DEFERRED, Fate.DEFERRED]
    assert full.read_bytes().endswith(b"\n1\n\n")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_fsync_takes_everything_back(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    before = full.read_bytes()
    real, calls = os.fsync, 0

    def fsync(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(code, os.strerror(code))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    jobs = [to(full, dave), to(full, dave)]
    fates = [outcomes[os.fsencode(full)].fate for _, outcomes in mailer().deliver(jobs)]
    assert fates == [Fate.DEFERRED] * 2
    assert full.read_bytes() == before


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_server_that_refuses_what_the_mode_allows_means_not_now(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.open

    def opening(path: Any, *arguments: Any, **more: Any) -> int:
        if path in ("inbox", "new"):
            raise OSError(code, os.strerror(code))
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", opening)
    assert outcome(to(full, dave)).fate is Fate.DEFERRED
    assert outcome(to(full.parent / "new", dave)).fate is Fate.DEFERRED


def test_a_body_shorter_than_recorded_is_never_delivered(full: Path, dave: User) -> None:
    before = full.read_bytes()
    found = outcome(to(full, dave, b"half\n", size=100))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.0")
    assert full.read_bytes() == before


@pytest.fixture(params=[fcntl.lockf, fcntl.flock], ids=["fcntl", "flock"])
def locked(request: pytest.FixtureRequest, full: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has locked the inbox until its input ends."""
    lock = f"import fcntl, sys; f = open({str(full)!r}, 'r+b'); fcntl.{request.param.__name__}"
    script = f"{lock}(f, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == b"locked\n"
        yield holder


def test_a_file_that_stays_locked_waits(
    full: Path, dave: User, locked: subprocess.Popen[bytes]
) -> None:
    before = full.read_bytes()
    found = outcome(to(full, dave))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.2.0")
    assert found.text == f"{full} is locked"
    assert found.is_busy, "tried again after the others"
    assert full.read_bytes() == before


def test_a_lock_that_ends_is_waited_for(
    full: Path, dave: User, locked: subprocess.Popen[bytes]
) -> None:
    def end_it() -> int:
        time.sleep(0.05)
        os.kill(locked.pid, signal.SIGKILL)  # Popen.kill() knows only children
        return os.EX_OK

    ender = processes.fork("ender", end_it)
    made = FileMailer(options(), pause=lambda _: time.sleep(0.02))
    ((_, outcomes),) = list(made.deliver([to(full, dave)]))
    os.waitpid(ender, 0)
    assert outcomes == {os.fsencode(full): SENT}


@pytest.mark.root
def test_a_child_that_is_killed_defers_and_the_next_one_delivers_whole(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev

    def writev(file: int, parts: list[bytes]) -> int:
        if len(b"".join(parts)) < CHUNK:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, parts)

    big = b"x" * (CHUNK + 5)
    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", writev)
        assert outcome(to(full, dave, big)).fate is Fate.DEFERRED
    assert full.stat().st_size > CHUNK, "this fault leaves a torn message"
    assert outcome(to(full, dave, b"whole\n")) == SENT
    text = full.read_bytes()
    assert text.startswith(b"From a then\n\nkept\n\nFrom emma")
    assert text.count(b"From emma@lab1.campus ") == 1, "the piece is cut off"
    assert text.endswith(b"\nwhole\n\n")


@pytest.mark.root
@pytest.mark.parametrize("patience", [2.0, 0.0])  # the kernel may take its time
def test_a_child_that_hangs_is_ended(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr("minimta.system.privileges._PATIENCE", patience)
    monkeypatch.setattr("minimta.mailers.files.grouping.TIME", 0.1)
    monkeypatch.setattr(os, "writev", lambda *_: signal.pause())
    found = outcome(to(full, dave))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.0")
    assert_none_left()


@pytest.mark.root
@pytest.mark.parametrize("answer", [b"", b"0", b"0 0 0", b"0 x", b"0 -1", b"refused", b"\xff"])
def test_a_child_is_not_believed_blindly(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(FileMailer, "_append_all", lambda *_: answer)
    assert outcome(to(full, dave)).fate is Fate.DEFERRED


# -- races -------------------------------------------------------------------------------------


def test_a_file_that_is_swapped_for_a_link_after_it_was_looked_at_is_not_followed(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = put(full.parent / "victim", dave, b"untouched")
    real = PlainFile._open

    def swapped(self: PlainFile, directory: int, found: os.stat_result) -> int:
        full.unlink()
        full.symlink_to(victim)
        return real(self, directory, found)

    monkeypatch.setattr(PlainFile, "_open", swapped)
    assert outcome(to(full, dave)) == CANNOT
    assert victim.read_bytes() == b"untouched"


def test_a_slot_that_is_swapped_for_a_fifo_after_it_was_looked_at_keeps_nobody_waiting(
    inbox: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads from it: to open it for writing would wait for ever."""
    put(inbox, dave, mode=0o200)
    real = PlainFile._open

    def swapped(self: PlainFile, directory: int, found: os.stat_result) -> int:
        inbox.unlink()
        os.mkfifo(inbox)
        inbox.chmod(0o200)
        return real(self, directory, found)

    monkeypatch.setattr(PlainFile, "_open", swapped)
    monkeypatch.setattr("minimta.mailers.files.grouping.TIME", 5)
    if os.geteuid() == 0:
        assert outcome(to(inbox, dave)) == CANNOT
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(in_child(to(inbox, dave)), 0)[1]) == 0


def in_child(one: Job) -> int:
    """A process that exits with 0 if *one* cannot be created, and is killed if it waits."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(5)
            code = 0 if outcome(one) == CANNOT else 1
        finally:
            os._exit(code)
    return child


def test_a_file_that_is_replaced_after_it_was_opened_is_opened_anew(
    full: Path, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LockedFile._kernel_locks
    swaps: list[int] = []

    def replaced(self: LockedFile) -> bool:
        if not swaps:
            swaps.append(1)
            os.rename(full, full.parent / "old")
            put(full, dave)
        return real(self)

    monkeypatch.setattr(LockedFile, "_kernel_locks", replaced)
    assert outcome(to(full, dave)) == SENT
    assert (full.parent / "old").read_bytes() == b"From a then\n\nkept\n\n"
    assert full.read_bytes().startswith(b"From emma")


@pytest.mark.root
def test_swapping_in_a_loop_never_leads_to_another_file(ground: Path, dave: User) -> None:
    """The victim is a file that dave himself could write to."""
    victim = put(Path(dave.home, "victim"), dave, b"untouched")
    shared = ground / "shared"
    shared.mkdir()
    os.chown(shared, dave.uid, dave.gid)
    path = shared / "inbox"
    swapper = subprocess.Popen(
        [sys.executable, "-c", SWAP, str(victim), str(shared), str(dave.uid)]
    )
    try:
        fates = {outcome(to(path, dave)).fate for _ in range(40)}
        while not {Fate.SENT, Fate.FAILED} <= fates and swapper.poll() is None:
            fates.add(outcome(to(path, dave)).fate)
    finally:
        swapper.kill()
        swapper.wait()
    assert victim.read_bytes() == b"untouched"


SWAP = """
import os, sys
victim, shared, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
made = os.path.join(shared, "next")
while True:
    for kind in range(3):
        if kind == 0:
            os.symlink(victim, made)
        elif kind == 1:
            os.link(victim, made)
        else:
            os.close(os.open(made, os.O_CREAT | os.O_WRONLY, 0o600))
            os.chown(made, uid, uid)
        os.rename(made, os.path.join(shared, "inbox"))
"""


def test_on_a_system_with_one_user_the_files_of_others_wait(tmp_path: Path) -> None:
    carol = User("carol", os.geteuid() + 1, os.getegid(), home=str(tmp_path))
    one = to(tmp_path / "inbox", carol)
    alone = FileMailer(options(one_user=True), pause=lambda _: None)
    ((_, outcomes),) = list(alone.deliver([one]))
    (found,) = outcomes.values()
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.5")
    assert "option OneUser" in found.text
    assert not (tmp_path / "inbox").exists()
