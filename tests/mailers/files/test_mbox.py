from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from minimta.config.options import Options
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.files.mbox_format import CHUNK
from minimta.mailers.job import Job
from minimta.mailers.job import JobUser as To
from minimta.message import dates
from minimta.message.outcome import Fate, Outcome
from minimta.system import log
from minimta.system.users import Users

NOW = 1574107394.0
HEADER = b"Return-Path: <emma@lab1.campus>\nSubject: x\n"
KEPT = b"From a  then\n\nkept\n\n"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool and a passwd file with dave, carol and emma, who all are ourselves."""
    lines = [f"{n}:x:{os.getuid()}:{os.getgid()}::/nowhere:\n" for n in ("dave", "carol", "emma")]
    (tmp_path / "passwd").write_text("".join(lines))
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


@pytest.fixture
def mailer(spool: Path) -> MboxMailer:
    options = Options()
    options.mailbox_directory = str(spool)
    users = Users(str(spool.parent / "passwd"))
    return MboxMailer(options, users, clock=lambda: NOW, pause=lambda _: None)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes a Job with *body* for *users*."""
    files: list[int] = []

    def make(body: bytes, *users: bytes, header: bytes = HEADER, size: int = -1) -> Job:
        path = tmp_path / f"df{len(files)}"
        path.write_bytes(body)
        files.append(os.open(path, os.O_RDONLY))
        to = tuple(To(user) for user in users or (b"dave",))
        whole = len(body) if size < 0 else size
        return Job(f"id{len(files)}", b"emma@lab1.campus", "", to, header, files[-1], whole)

    yield make
    for file in files:
        os.close(file)


def deliver(mailer: MboxMailer, *jobs: Job) -> dict[Job, Mapping[bytes, Outcome]]:
    return dict(mailer.deliver(jobs))


def counted(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Which of these functions of os are called from now on, in order."""
    calls: list[str] = []
    for name in names:
        real = getattr(os, name)

        def call(*a: Any, name: str = name, real: Callable[..., Any] = real, **k: Any) -> Any:
            calls.append(name)
            return real(*a, **k)

        monkeypatch.setattr(os, name, call)
    return calls


def test_a_message_is_written_as_mail_readers_want_it(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dates, "asctime", lambda now: f"at {now:.0f}")
    it = job(b"From here\nhi\n")
    assert deliver(mailer, it) == {it: {b"dave": Outcome(Fate.SENT, "2.0.0", "Sent")}}
    assert (spool / "dave").read_bytes() == (
        b"From emma@lab1.campus  at 1574107394\n" + HEADER + b"\n>From here\nhi\n\n"
    )
    assert os.listdir(spool) == ["dave"]


@pytest.mark.parametrize(
    ("before", "between"),
    [(b"", b""), (KEPT, b""), (b"junk", b"\n\n"), (b"torn\n", b"\n"), (b"\n", b"\n")],
)
def test_the_next_message_begins_after_an_empty_line(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], before: bytes, between: bytes
) -> None:
    (spool / "dave").write_bytes(before)
    (spool / "dave").chmod(0o600)
    deliver(mailer, job(b"x\n"))
    assert (spool / "dave").read_bytes().startswith(before + between + b"From emma@lab1.campus  ")


def test_the_name_of_an_empty_mailbox_is_made_durable_once_more(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made it may have been killed in between; its name would be gone with the next power cut."""
    (spool / "dave").touch(0o600)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    deliver(mailer, job(b"x\n"))
    assert synced == [spool.stat().st_ino, (spool / "dave").stat().st_ino]


def test_all_messages_for_a_mailbox_share_one_lock_and_one_fsync(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch, "fsync", "link")
    (spool / "dave").touch(0o600)
    (spool / "dave").write_bytes(KEPT)
    jobs = [job(b"%d\n" % number) for number in range(20)]
    assert list(deliver(mailer, *jobs)) == jobs
    assert sorted(calls) == ["fsync", "link"]
    assert (spool / "dave").read_bytes().count(b"\nReturn-Path: ") == 20


def test_a_job_is_yielded_when_it_is_durable_and_before_the_next_mailbox(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job]
) -> None:
    first, second = job(b"x\n", b"dave"), job(b"y\n", b"carol")
    for done, _ in mailer.deliver([first, second]):
        assert sorted(os.listdir(spool)) == (["dave"] if done is first else ["carol", "dave"])


def test_a_job_for_two_users_is_yielded_once_with_both(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job]
) -> None:
    it = job(b"x\n", b"dave", b"nosuch", b"carol")
    ((done, outcomes),) = list(mailer.deliver([it]))
    assert done is it
    assert [outcomes[n].fate for n in (b"dave", b"carol")] == [Fate.SENT, Fate.SENT]
    assert (outcomes[b"nosuch"].fate, outcomes[b"nosuch"].status) == (Fate.FAILED, "5.1.1")
    assert outcomes[b"nosuch"].exit_code == os.EX_NOUSER


def test_users_that_cannot_be_known_defer(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job]
) -> None:
    os.unlink(spool.parent / "passwd")
    it = job(b"x\n")
    outcome = deliver(mailer, it)[it][b"dave"]
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.3.0")


def failing_writev(code: int, at: int, part: int) -> Callable[[int, list[bytes]], int]:
    """writev that takes *part* octets of the call number *at*, and fails from then on."""
    real, calls = os.writev, 0

    def writev(file: int, parts: list[bytes]) -> int:
        nonlocal calls
        calls += 1
        if calls < at:
            return real(file, parts)
        if calls == at and part:
            return real(file, [b"".join(parts)[:part]])
        raise OSError(code, os.strerror(code))

    return writev


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(
    ("size", "part"), [(size, part) for size in (0, 100, 3 << 20) for part in (0, 1, 50)]
)
def test_a_failed_write_leaves_the_mailbox_as_it_was(
    mailer: MboxMailer,
    job: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    *,
    size: int,
    part: int,
) -> None:
    box = Path(mailer.directory) / "dave"
    box.write_bytes(KEPT)
    box.chmod(0o600)
    monkeypatch.setattr(os, "writev", failing_writev(code, 2 if size > CHUNK else 1, part))
    it = job(b"x" * size + b"\n")
    outcome = deliver(mailer, it)[it][b"dave"]
    assert outcome.fate is Fate.DEFERRED
    assert outcome.status == ("4.3.0" if code == errno.EIO else "4.2.2")
    assert box.read_bytes() == KEPT


def test_what_was_whole_before_a_failure_stays(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "writev", failing_writev(errno.ENOSPC, 3, 9))
    jobs = [job(b"message %d\n" % number) for number in range(4)]
    outcomes = deliver(mailer, *jobs)
    fates = [outcomes[it][b"dave"].fate for it in jobs]
    assert fates == [Fate.SENT, Fate.SENT, Fate.DEFERRED, Fate.DEFERRED]
    text = (spool / "dave").read_bytes()
    assert text.count(b"From ") == 2
    assert text.endswith(b"\nmessage 1\n\n")


def test_a_failed_fsync_takes_everything_back(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool / "dave").write_bytes(KEPT)
    (spool / "dave").chmod(0o600)
    real, calls = os.fsync, 0

    def fsync(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    jobs = [job(b"x\n"), job(b"y\n")]
    outcomes = deliver(mailer, *jobs)
    assert [outcomes[it][b"dave"].status for it in jobs] == ["4.3.0", "4.3.0"]
    assert (spool / "dave").read_bytes() == KEPT
    assert calls == 2


def test_what_was_appended_before_a_bug_is_taken_back(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of it was recorded: all of it will be sent again."""
    (spool / "dave").write_bytes(KEPT)
    (spool / "dave").chmod(0o600)
    real = dates.asctime
    times = iter([NOW])
    monkeypatch.setattr(dates, "asctime", lambda now: real(next(times)))
    with pytest.raises(StopIteration):
        mailer._to_mailbox(b"dave", [job(b"x\n"), job(b"y\n")])
    assert (spool / "dave").read_bytes() == KEPT


def test_what_cannot_be_taken_back_is_told(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda _, text, **more: lines.append(text))
    (spool / "dave").write_bytes(KEPT)
    (spool / "dave").chmod(0o600)
    monkeypatch.setattr(os, "writev", failing_writev(errno.ENOSPC, 1, 9))

    def ftruncate(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    it = job(b"x\n")
    outcome = deliver(mailer, it)[it][b"dave"]
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.3.0")
    told = f"mailbox {spool}/dave: cannot cut it back to {len(KEPT)}: [Errno 5] Input/output error"
    assert lines == [told]


def test_a_body_shorter_than_recorded_is_never_delivered(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job]
) -> None:
    it = job(b"half\n", size=100)
    assert deliver(mailer, it)[it][b"dave"].status == "4.3.0"
    assert (spool / "dave").read_bytes() == b""


def test_a_small_message_is_one_write(
    mailer: MboxMailer, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch, "writev")
    deliver(mailer, job(b"From x\n" * 1000))
    assert calls == ["writev"]


def test_a_big_message_costs_little_memory(
    mailer: MboxMailer, spool: Path, job: Callable[..., Job]
) -> None:
    import tracemalloc

    it = job(b"From the beginning of a line\n" * 700_000)
    tracemalloc.start()
    try:
        assert deliver(mailer, it)[it][b"dave"].fate is Fate.SENT
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert (spool / "dave").read_bytes().count(b"\n>From the") == 700_000
