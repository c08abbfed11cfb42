"""Giving up privileges for good, reading as somebody else, and children that are somebody else."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.system import privileges, processes
from minimta.system.privileges import as_user, read_as
from minimta.system.safedirpath import STRICT, Allowance
from minimta.system.safefile import Untrusted
from minimta.system.users import User, groups_of
from tests.support import homes
from tests.support.children import assert_none_left
from tests.support.homes import put

# -- reading as ourselves -------------------------------------------------------------------------


@pytest.fixture
def dave(tmp_path: Path) -> User:
    return homes.own_home(tmp_path)


def read(user: User, limit: int = 100) -> bytes:
    return read_as(user, os.path.join(user.home, ".forward"), limit).text


def test_a_plain_file_of_the_user_is_read(dave: User) -> None:
    put(dave)
    text = read_as(dave, f"{dave.home}/.forward", 100)
    assert (text.path, text.text, text.uid, text.safe) == (
        f"{dave.home}/.forward",
        b"carol\n",
        dave.uid,
        True,
    )


def test_no_file_and_no_home_are_file_not_found(dave: User, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(dave)
    with pytest.raises(FileNotFoundError):
        read(User("dave", os.getuid(), os.getgid(), home=str(tmp_path / "none")))


def test_without_root_the_act_runs_here(dave: User) -> None:
    assert as_user(dave, lambda: b"%d" % os.getpid(), 9) == b"%d" % os.getpid()


# -- with root: other users are other users -------------------------------------------------------


@pytest.fixture
def nobody(tmp_path: Path) -> User:
    return homes.foreign_home(tmp_path)


@pytest.mark.root
def test_root_reads_as_the_user(nobody: User) -> None:
    put(nobody, b"x" * 60000).chmod(0o600)
    text = read_as(nobody, f"{nobody.home}/.forward", 65536)
    assert text.text == b"x" * 60000
    assert (text.uid, text.gid, text.safe) == (nobody.uid, nobody.gid, True)


@pytest.mark.root
def test_what_dont_blame_allows_reaches_the_child(nobody: User) -> None:
    put(nobody).chmod(0o664)
    with pytest.raises(Untrusted, match=r"^Group writable file$"):
        read(nobody)
    allowed = Allowance("Forward", frozenset({"groupwritableforwardfile"}))
    assert not read_as(nobody, f"{nobody.home}/.forward", 9, allowed).safe


@pytest.mark.root
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [row[1:] for row in (*homes.SPOILED, *homes.SPOILED_BY_ROOT)],
    ids=[row[0] for row in (*homes.SPOILED, *homes.SPOILED_BY_ROOT)],
)
def test_what_others_could_have_written_is_not_read_for_a_user(
    nobody: User, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(put(nobody))
    with pytest.raises(Untrusted, match=f"^{reason}$"):
        read(nobody)


@pytest.mark.root
def test_a_file_of_root_in_the_home_is_trusted(nobody: User) -> None:
    os.chown(put(nobody), 0, 0)
    assert read(nobody) == b"carol\n"


@pytest.mark.root
def test_what_the_user_may_not_read_is_not_read_for_him(nobody: User) -> None:
    path = put(nobody)
    os.chown(path, 0, 0)
    path.chmod(0o600)
    with pytest.raises(PermissionError) as caught:
        read(nobody)
    assert (caught.value.filename, caught.value.strerror) == (str(path), "Permission denied")


SWAPPER = """
import os, sys
uid, *targets, name = sys.argv[1:]
os.setresgid(int(uid), int(uid), int(uid))
os.setresuid(int(uid), int(uid), int(uid))
for number in range(1000000):
    for target in targets:
        os.symlink(target, name + ".new")
        os.rename(name + ".new", name)
    if number == 1:
        print(flush=True)
"""


@pytest.mark.root
def test_a_user_who_swaps_links_all_the_time_reads_nothing_of_others(nobody: User) -> None:
    put(nobody, b"mine\n", "fw")
    secret = put(nobody, b"secret\n", "secrets/of-root")  # root alone may read it
    stranger = put(nobody, b"secret\n", "secrets/of-a-stranger")
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    os.chown(stranger, homes.STRANGER, homes.STRANGER)
    link = os.path.join(nobody.home, ".forward")
    targets = ["fw", "secrets/of-root", "fw", "secrets/of-a-stranger"]
    command = [sys.executable, "-c", SWAPPER, str(nobody.uid), *targets, link]
    seen: set[bytes] = set()
    wanted = {b"mine\n", b"Wrong owner"}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        for turn in range(4000):
            if turn >= 100 and wanted <= seen:
                break
            try:
                seen.add(read(nobody))
            except (Untrusted, OSError) as error:
                seen.add(str(error).encode())
        assert swapper.poll() is None, "it had to last longer than we"
        swapper.kill()
    assert b"secret\n" not in seen
    assert wanted <= seen


@pytest.mark.root
def test_the_users_own_primary_group_is_a_group_of_others(nobody: User) -> None:
    """All users may share it ("users")."""
    path = put(nobody)
    path.chmod(0o664)
    with pytest.raises(Untrusted, match=r"^Group writable file$"):
        read(nobody)
    path.chmod(0o644)
    path.parent.chmod(0o775)
    with pytest.raises(Untrusted, match=r"^Group writable directory$"):
        read(nobody)


# -- the child ------------------------------------------------------------------------------------


def status(*fields: bytes) -> bytes:
    with open("/proc/self/status", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file)
    return b"|".join(b" ".join(lines[field].split()) for field in fields)


@pytest.mark.root
def test_the_child_is_the_user_and_nobody_else(nobody: User) -> None:
    answer = as_user(nobody, lambda: status(b"Uid", b"Gid", b"Groups", b"CapEff", b"CapPrm"), 9)
    uid, gid, groups, effective, permitted = answer.split(b"|")
    assert uid.split() == [b"%d" % nobody.uid] * 4
    assert gid.split() == [b"%d" % nobody.gid] * 4
    assert {int(group) for group in groups.split()} == set(groups_of(nobody))
    assert (int(effective, 16), int(permitted, 16)) == (0, 0)


@pytest.mark.root
def test_the_child_has_all_groups_of_the_user_and_none_of_ours(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "groups_of", lambda _: [nobody.gid, 4243, 4244])
    before = os.getgroups()
    os.setgroups([4245])
    try:
        groups = as_user(nobody, lambda: status(b"Groups"), 9)
    finally:
        os.setgroups(before)
    assert {int(group) for group in groups.split()} == {nobody.gid, 4243, 4244}


@pytest.mark.root
def test_the_child_has_no_descriptors_but_its_pipe_and_what_is_kept(
    nobody: User, tmp_path: Path
) -> None:
    def act() -> bytes:
        found = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                continue  # of the listing itself
        return repr(found).encode()

    kept = os.open(tmp_path, os.O_RDONLY)
    other = os.open("/", os.O_RDONLY)
    high = os.dup2(other, 900)
    try:
        found = eval(as_user(nobody, act, 9, kept={kept}))
    finally:
        for fd in (kept, other, high):
            os.close(fd)
    assert {found.pop(fd) for fd in (0, 1, 2)} == {os.devnull}
    assert found.pop(kept) == str(tmp_path)
    assert [name.partition(":")[0] for name in found.values()] == ["pipe"]


@pytest.mark.root
def test_the_child_has_umask_077_the_root_as_directory_and_a_session_of_its_own(
    nobody: User,
) -> None:
    def act() -> bytes:
        return b"%o %b %d" % (os.umask(0), os.getcwdb(), os.getsid(0) == os.getpid())

    assert as_user(nobody, act, 9) == b"77 / 1"


@pytest.mark.root
def test_the_child_answers_to_signals_as_any_process(nobody: User) -> None:
    def act() -> bytes:
        return b"%d %d" % (
            len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        )

    assert as_user(nobody, act, 9) == b"0 1"


# -- its answer -----------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("octets", [0, 1, 7, 8, 65535, 65536, 65537, 5_000_000])
def test_an_answer_arrives_whole_whatever_its_length(nobody: User, octets: int) -> None:
    answer = bytes(range(256)) * (octets // 256 + 1)
    assert as_user(nobody, lambda: answer[:octets], 60) == answer[:octets]


@pytest.mark.root
def test_a_big_act_of_the_user_is_his(nobody: User) -> None:
    def act() -> bytes:
        with open(f"{nobody.home}/archive", "xb") as out:
            for _ in range(100):
                out.write(b"x" * 1_000_000)
        return b"done"

    assert as_user(nobody, act, 60) == b"done"
    found = os.stat(f"{nobody.home}/archive")
    assert (found.st_size, found.st_uid, found.st_mode & 0o777) == (100_000_000, nobody.uid, 0o600)


def fails(error: BaseException) -> Callable[[], bytes]:
    def act() -> bytes:
        raise error

    return act


@pytest.mark.root
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(errno.EACCES, "no", "/a/b"), (PermissionError, errno.EACCES, "no", "/a/b")),
        (OSError(errno.EDQUOT, "Quota é", b"/\xff"), (OSError, errno.EDQUOT, "Quota é", "/\udcff")),
        (OSError("words only"), (OSError, errno.EIO, "words only", None)),
        (OSError(errno.ENOENT, "none", 7), (FileNotFoundError, errno.ENOENT, "none", None)),
        (ValueError("a bug"), (OSError, errno.EIO, "ValueError: a bug", None)),
        (MemoryError(), (OSError, errno.EIO, "MemoryError: ", None)),
    ],
)
def test_what_the_child_raises_is_raised_here(
    nobody: User, raised: Exception, expected: tuple[type, int, str, str | None]
) -> None:
    with pytest.raises(OSError) as caught:
        as_user(nobody, fails(raised), 9)
    error = caught.value
    assert (type(error), error.errno, error.strerror, error.filename) == expected


@pytest.mark.root
def test_distrust_of_the_child_is_ours(nobody: User) -> None:
    with pytest.raises(Untrusted, match=r"^Some reason \udcff$"):
        as_user(nobody, fails(Untrusted("Some reason \udcff")), 9)


@pytest.mark.root
def test_a_child_that_cannot_become_the_user_does_nothing(nobody: User, tmp_path: Path) -> None:
    nobody.uid = -2

    def act() -> bytes:
        (tmp_path / "done").touch()
        return b""

    with pytest.raises(OSError):
        as_user(nobody, act, 9)
    assert not (tmp_path / "done").exists()


def die_half_way() -> bytes:
    """What the kernel does to a process that needs too much memory, in the middle of its answer."""
    real = os.write

    def write(fd: int, data: bytes) -> int:
        real(fd, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    os.write = write  # type: ignore[assignment]
    return b"x" * 1000


@pytest.mark.root
@pytest.mark.parametrize("end", [die_half_way, lambda: os._exit(0), lambda: os._exit(9)])
def test_a_child_that_dies_before_its_last_word_is_an_os_error(
    nobody: User, end: Callable[[], bytes]
) -> None:
    with pytest.raises(OSError, match="died") as caught:
        as_user(nobody, end, 9)
    assert caught.value.errno == errno.EIO
    assert_none_left()


# -- its end --------------------------------------------------------------------------------------


def sleep_deaf() -> bytes:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pause()
    return b""


def stop() -> bytes:
    os.kill(os.getpid(), signal.SIGSTOP)
    return b""


def drip() -> bytes:
    """An answer that never ends, in time for each wait but not for the whole."""
    pipe = int(max(os.listdir("/proc/self/fd"), key=lambda fd: is_pipe(int(fd))))
    os.write(pipe, (1 << 40).to_bytes(8, "big"))
    while True:
        os.write(pipe, b"x" * 1000)
        time.sleep(0.01)


def is_pipe(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    except OSError:
        return False


@pytest.mark.root
@pytest.mark.parametrize("act", [sleep_deaf, stop, drip])
def test_a_child_that_is_too_slow_is_killed_and_no_zombie_is_left(
    nobody: User, act: Callable[[], bytes]
) -> None:
    with pytest.raises(TimeoutError, match=r"^\[Errno 110\] no answer within 0\.3 seconds$"):
        as_user(nobody, act, 0.3)
    assert_none_left()
    assert privileges._lingering == []


@pytest.mark.root
def test_a_directory_that_did_not_answer_is_not_asked_again_by_the_same_user(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "_silent", {})
    with pytest.raises(TimeoutError):
        as_user(nobody, sleep_deaf, 0.1, where="/home/dead")
    with pytest.raises(TimeoutError, match="no answer a moment ago"):
        as_user(nobody, lambda: b"", 9, where="/home/dead")
    assert as_user(nobody, lambda: b"there", 9, where="/home/other") == b"there"
    monkeypatch.setattr(privileges, "_SILENCE", -1.0)
    privileges._silent.clear()
    with pytest.raises(TimeoutError):
        as_user(nobody, sleep_deaf, 0.1, where="/home/dead")
    assert as_user(nobody, lambda: b"back", 9, where="/home/dead") == b"back"


@pytest.mark.root
def test_a_forward_that_cannot_be_read_in_time_costs_one_message_that_time(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "_silent", {})
    monkeypatch.setattr(privileges, "READ_TIME", 0.1)
    monkeypatch.setattr(privileges, "read_trusted", lambda *_: sleep_deaf())
    for reason in ("no answer within 0.1 seconds", "no answer a moment ago"):
        with pytest.raises(TimeoutError, match=reason):
            read_as(nobody, f"{nobody.home}/.forward", 100)


@pytest.mark.root
def test_what_the_child_started_ends_with_it(nobody: User) -> None:
    receiving, sending = os.pipe()

    def act() -> bytes:
        if os.fork() == 0:
            os.write(sending, b"alive")
            return sleep_deaf()
        return sleep_deaf()

    with pytest.raises(TimeoutError):
        as_user(nobody, act, 0.3, kept={sending})
    os.close(sending)
    with open(receiving, "rb") as pipe:
        assert pipe.read() == b"alive", "comes to its end only when nobody has it open"


@pytest.mark.root
def test_a_child_that_has_answered_and_does_not_exit_is_killed(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "_PATIENCE", 0.1)

    def act() -> bytes:
        os.__dict__["_exit"] = lambda _: sleep_deaf()
        return b"done"

    assert as_user(nobody, act, 9) == b"done"
    assert_none_left()


@pytest.mark.root
def test_a_child_that_cannot_be_killed_now_is_waited_for_later(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "_PATIENCE", 0.1)
    monkeypatch.setattr(os, "kill", lambda *_: None)  # as if it hung in the kernel
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    with pytest.raises(TimeoutError):
        as_user(nobody, sleep_deaf, 0.1)
    (child,) = privileges._lingering
    assert as_user(nobody, lambda: b"next", 9) == b"next"
    assert privileges._lingering == [child]
    monkeypatch.undo()
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert as_user(nobody, lambda: b"next", 9) == b"next"
    assert privileges._lingering == []
    assert_none_left()


class Told(Exception):
    """What a signal handler may raise."""


@pytest.mark.root
@pytest.mark.parametrize("handler", ["raises", "notes"])
def test_a_signal_while_the_child_acts_loses_no_answer(nobody: User, handler: str) -> None:
    """It comes while the child acts, and is heard when the answer is here."""
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        heard.append(number)
        if handler == "raises":
            raise Told

    def act() -> bytes:
        os.write(ready, b"x")
        os.read(go, 1)
        return b"done"

    (told, ready), (go, come) = os.pipe(), os.pipe()
    parent = os.getpid()

    def signal_us() -> int:
        os.read(told, 1)
        os.kill(parent, signal.SIGTERM)
        os.write(come, b"x")
        return os.EX_OK

    old = signal.signal(signal.SIGTERM, hear)
    answers = []
    sender = processes.fork("sender of a signal", signal_us)
    decoded = privileges._decoded
    try:
        privileges._decoded = lambda answer: answers.append(decoded(answer)) or b""  # type: ignore[func-returns-value]
        as_user(nobody, act, 9, kept={ready, go})
    except Told:
        pass
    finally:
        privileges._decoded = decoded
        signal.signal(signal.SIGTERM, old)
        os.waitpid(sender, 0)
        for fd in (told, ready, go, come):
            os.close(fd)
    assert answers == [b"done"]
    assert heard == [signal.SIGTERM]
    assert_none_left()


@pytest.mark.root
def test_a_signal_without_a_meaning_for_us_does_not_cut_the_wait_short(nobody: User) -> None:
    """Handlers that return leave the wait to go on (PEP 475)."""
    (told, ready), (go, come) = os.pipe(), os.pipe()
    parent = os.getpid()

    def act() -> bytes:
        os.write(ready, b"x")
        return os.read(go, 1)

    def interrupt() -> int:
        os.read(told, 1)
        for _ in range(5):
            os.kill(parent, signal.SIGUSR1)
        os.write(come, b"y")
        return os.EX_OK

    heard: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    interrupter = processes.fork("sender of signals", interrupt)
    try:
        assert as_user(nobody, act, 9, kept={ready, go}) == b"y"
    finally:
        os.waitpid(interrupter, 0)
        signal.signal(signal.SIGUSR1, old)
        for fd in (told, ready, go, come):
            os.close(fd)
    assert heard


@pytest.mark.root
def test_no_descriptor_of_ours_is_left_open_by_an_answer_or_by_none(nobody: User) -> None:
    before = os.listdir("/proc/self/fd")
    as_user(nobody, lambda: b"", 9)
    with pytest.raises(TimeoutError):
        as_user(nobody, sleep_deaf, 0.1)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.root
def test_when_no_process_can_be_had_nothing_is_left_open(
    nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fork() -> int:
        raise OSError(errno.EAGAIN, "no processes")

    monkeypatch.setattr(os, "fork", no_fork)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(BlockingIOError):
        as_user(nobody, lambda: b"", 9)
    assert os.listdir("/proc/self/fd") == before


# -- giving up rights -----------------------------------------------------------------------------


def in_child(action: Callable[[], bytes]) -> bytes:
    """What *action* returns in a process of its own."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sending, action())
        finally:
            os._exit(0)
    os.close(sending)
    answer = os.read(receiving, 4096)
    os.close(receiving)
    os.waitpid(child, 0)
    return answer


@pytest.mark.root
def test_become_gives_up_root_and_all_groups_for_good() -> None:
    def action() -> bytes:
        os.setgroups([4242])
        privileges.become("nobody")
        return status(b"Uid", b"Gid", b"Groups")

    entry = pwd.getpwnam("nobody")
    uid, gid, groups = in_child(action).split(b"|")
    assert uid.split() == [b"%d" % entry.pw_uid] * 4
    assert gid.split() == [b"%d" % entry.pw_gid] * 4
    assert groups.split() == []


@pytest.mark.root
def test_become_with_groups_keeps_those_that_the_user_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 4243])

    def action() -> bytes:
        os.setgroups([4242])
        privileges.become("nobody", with_groups=True)
        return status(b"Uid", b"Gid", b"Groups")

    entry = pwd.getpwnam("nobody")
    uid, _, groups = in_child(action).split(b"|")
    assert uid.split() == [b"%d" % entry.pw_uid] * 4
    assert groups.split() == [b"4243"]


@pytest.mark.root
def test_become_refuses_when_root_could_be_had_back() -> None:
    def action() -> bytes:
        try:
            privileges.become("root")
        except OSError as error:
            return str(error).encode()
        return b"became root"

    assert b"could not give up root" in in_child(action)


@pytest.mark.root
def test_become_an_unknown_user_is_an_error() -> None:
    with pytest.raises(OSError, match="no such user"):
        privileges.become("nosuch-user-here")


def test_the_default_is_strict(dave: User) -> None:
    homes.mode(0o664)(put(dave))
    with pytest.raises(Untrusted):
        read_as(dave, f"{dave.home}/.forward", 100, STRICT)
