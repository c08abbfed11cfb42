"""Programs that never end, never read, print for ever, multiply or hit back: the run goes on."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from minimta.system import privileges
from minimta.system.users import User
from minimta.system.waiting import Wait
from tests.support.sharedhost import UIDS, SharedHost

pytestmark = pytest.mark.root

#: seconds that a program gets
LIMIT = 0.3
#: processes that its user may have
MOST = 12
BIG = b"Subject: big\n\n" + b"x" * 70 + b"\n" + b"y" * 79 * 40000 + b"\n"


def processes_of(uid: int) -> list[int]:
    """Those that are alive; the dead that nobody has asked for do no harm."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(entry.name)] if state not in "ZX" else []
    return found


def are_gone(uid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while processes_of(uid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


_fresh = itertools.count(40000 + os.getpid() % 500 * 40)


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """dave has another number in each test: the dead of the last one would count."""
    monkeypatch.setitem(UIDS, "dave", next(_fresh))


@pytest.fixture(autouse=True)
def limits(numbers: None, host: SharedHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short ones; and whatever a test leaves behind is ended, process by process."""
    monkeypatch.setattr(host.options, "timeout_program", LIMIT)
    host.options.max_program_processes = MOST
    host.options.max_program_memory = 100_000_000
    yield
    for pid in processes_of(UIDS["dave"]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert are_gone(UIDS["dave"])


def run(host: SharedHost, command: str, text: bytes = b"Subject: t\n\nx\n") -> list[str]:
    """dave's program gets *text*, and carol one in the same run; the ids of both messages."""
    host.put("dave", b'"|%b"\n' % command.encode().replace(b'"', b'\\"'), ".forward")
    qids = [*host.submit_each("dave", text=text), *host.submit_each("carol")]
    begun = time.monotonic()
    host.run(qids)
    assert time.monotonic() - begun < LIMIT + 8
    assert len(host.letters("carol")) == 1
    return qids


LATE = f"stat=Deferred: prog mailer (/bin/sh) did not end in {LIMIT} seconds"

#: name, command, whether the message is big, what the log says of it
RUNAWAYS = [
    ("never ends", "sleep 1000", False, LATE),
    ("never ends and reads nothing", "sleep 1000", True, LATE),
    ("reads and never ends", "cat >/dev/null; sleep 1000", True, LATE),
    ("ignores signals", "trap '' TERM HUP INT QUIT; sleep 1000 & wait; sleep 1000", False, LATE),
    ("prints for ever", "yes", False, LATE),
    ("prints for ever and reads nothing", "exec cat /dev/zero", True, LATE),
    ("closes all", "exec <&- >&- 2>&-; sleep 1000", False, LATE),
    ("stops itself", "kill -STOP $$", False, LATE),
    ("is never ready to read", "exec 0<&-; yes >/dev/null", True, LATE),
    ("reads nothing and ends", "exit 0", True, "stat=Sent"),
    ("fails and reads nothing", "exit 75", True, "exited with EX_TEMPFAIL"),
    ("eats memory", "dd bs=1G count=1 if=/dev/zero of=/dev/null", False, "dsn=5."),
    ("prints much", "head -c 50000000 /dev/zero; exit 0", False, "stat=Sent"),
    ("ends who started it", "kill -9 $PPID; sleep 1000", False, "stat=Deferred: cannot run"),
    ("ends all it can", "kill -9 -1; sleep 1000", False, "stat=Deferred: cannot run"),
]


@pytest.mark.parametrize(
    ("command", "big", "told"), [row[1:] for row in RUNAWAYS], ids=[row[0] for row in RUNAWAYS]
)
def test_a_program_that_runs_away_costs_nobody_else_anything(
    host: SharedHost, command: str, big: bool, told: str
) -> None:
    qids = run(host, command, BIG if big else b"Subject: t\n\nx\n")
    assert host.told(f"{qids[0]}: ", "mailer=prog", told)
    is_deferred = "Deferred" in told or "TEMPFAIL" in told
    assert host.queued() == ([qids[0]] if is_deferred else [])
    assert len(host.letters("emma")) == ("dsn=5" in told)
    assert all(len(line) < 2000 for line in host.lines)
    if "kill" not in command or "STOP" in command:
        assert are_gone(UIDS["dave"]), "all of its group ends with it"


def test_the_bounce_of_one_that_prints_much_is_short(host: SharedHost) -> None:
    run(host, "yes | head -c 50000000; exit 69")
    (bounce,) = host.letters("emma")
    assert len(bounce.as_bytes()) < 40_000


def test_who_leaves_its_group_holds_nobody_up(host: SharedHost) -> None:
    """It has the descriptors of the program, and its user's rights; that is all it gains."""
    qids = run(host, "setsid sleep 1000 & exit 0")
    assert host.queued() == []
    assert host.told(f"{qids[0]}: ", "mailer=prog", "stat=Sent")


def test_who_stops_the_process_that_started_it_is_given_up(
    host: SharedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = privileges.as_user_beside

    def hurried(
        user: User, act: Callable[[], bytes], seconds: float, kept: Collection[int] = ()
    ) -> Generator[Wait, None, bytes]:
        return real(user, act, min(seconds, 0.5), kept)

    monkeypatch.setattr(privileges, "as_user_beside", hurried)
    qids = run(host, "kill -STOP $PPID; sleep 1000")
    assert host.queued() == [qids[0]]
    assert host.told(f"{qids[0]}: ", "stat=Deferred: cannot run the program: no answer within")


# --- what multiplies --------------------------------------------------------------------------------


def test_no_more_processes_than_allowed(host: SharedHost) -> None:
    born = host.evidence / "born"
    qids = run(
        host, f"i=0; while [ $i -lt 100 ]; do sleep 1000 & echo $! >> {born}; i=$((i+1)); done"
    )
    numbers = born.read_text().split()
    assert 0 < len(numbers) < MOST
    assert are_gone(UIDS["dave"])
    assert host.queued() == [qids[0]], "it may pass"
    assert host.letters("emma") == []


@pytest.mark.parametrize("bomb", ["f() { f | f & }; f; wait", "f() { f & f; }; f"])
def test_a_fork_bomb_stays_small_and_ends(host: SharedHost, bomb: str) -> None:
    seen: list[int] = []
    real = os.read

    def counting(file: int, size: int) -> bytes:
        seen.append(len(processes_of(UIDS["dave"])))
        return real(file, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", counting)
        qids = run(host, bomb)
    assert max(seen, default=0) <= MOST
    assert are_gone(UIDS["dave"])
    assert any(line.startswith(f"{qids[0]}: ") and "mailer=prog" in line for line in host.lines)


def test_when_no_process_can_be_had_the_mail_waits(
    host: SharedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who has all his processes elsewhere gets neither bounce nor loss."""
    host.put("dave", b"\\dave\n", ".forward")
    qids = host.submit_each("dave", "carol")

    def no_fork() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", no_fork)
        host.run(qids)
    assert len(host.letters("carol")) == 1
    assert host.queued() == [qids[0]]
    host.run()
    assert len(host.letters("dave")) == 1


# --- mail that makes mail -----------------------------------------------------------------------------


def test_aliases_without_end_do_not_run_without_end(host: SharedHost) -> None:
    depth = 30
    chain = [f"a{n}: a{n + 1}, a{n + 2}" for n in range(depth)]
    host.aliases(*chain, f"a{depth}: dave", f"a{depth + 1}: dave")
    host.run(host.submit_each("a0", "carol"))
    assert len(host.letters("carol")) == 1
    assert host.queued() == []
    (bounce,) = host.letters("emma")
    assert "loop broken" in bounce.as_string()


def test_users_who_forward_to_each_other_get_it_once(host: SharedHost) -> None:
    host.put("dave", b"mallory, carol\n", ".forward")
    host.put("mallory", b"dave, carol\n", ".forward")
    host.run(host.submit_each("dave"))
    assert len(host.letters("carol")) == 1
    assert host.queued() == []
