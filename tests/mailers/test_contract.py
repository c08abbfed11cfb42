"""Rules that every mailer keeps. A new mailer is added to MAILERS and must pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.mailers import Job, Mailer, User
from minimta.mailers.mbox import MboxMailer
from minimta.options import Options
from minimta.status import Fate, Outcome
from minimta.users import Users


def mbox(directory: Path) -> Mailer:
    """Knows dave and carol; whoever else is asked for is unknown."""
    passwd = directory / "passwd"
    lines = [f"{name}:x:{os.getuid()}:{os.getgid()}::/nowhere:\n" for name in ("dave", "carol")]
    passwd.write_text("".join(lines))
    (directory / "mail").mkdir()
    options = Options()
    options.mailbox_directory = str(directory / "mail")
    return MboxMailer(options, Users(str(passwd)), pause=lambda _: None)


MAILERS = {"local": mbox}


@pytest.fixture(params=MAILERS)
def mailer(request: pytest.FixtureRequest, tmp_path: Path) -> Mailer:
    make: Callable[[Path], Mailer] = MAILERS[request.param]
    made = make(tmp_path)
    assert made.name == request.param
    return made


@pytest.fixture
def body(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "df").write_bytes(b"hello\n")
    file = os.open(tmp_path / "df", os.O_RDONLY)
    yield file
    os.close(file)


def job(body: int, *names: bytes, size: int = 6) -> Job:
    users = tuple(User(name) for name in names)
    return Job("xAIK3D9S000453", b"emma@lab1.campus", "", users, b"Subject: x\n", body, size)


def test_every_job_is_yielded_once_with_an_outcome_for_every_user(
    mailer: Mailer, body: int
) -> None:
    jobs = [job(body, b"dave"), job(body, b"carol", b"dave"), job(body, b"nosuch")]
    done = list(mailer.deliver(jobs))
    assert sorted(map(id, jobs)) == sorted(id(each) for each, _ in done)
    for each, outcomes in done:
        assert set(outcomes) == {user.name for user in each.users}
        assert all(isinstance(outcome, Outcome) for outcome in outcomes.values())


def test_no_jobs_are_no_work(mailer: Mailer) -> None:
    assert list(mailer.deliver([])) == []


def test_one_user_twice_in_a_job_has_one_outcome(mailer: Mailer, body: int) -> None:
    ((_, outcomes),) = list(mailer.deliver([job(body, b"dave", b"dave")]))
    assert set(outcomes) == {b"dave"}


def test_the_data_file_stays_open_and_where_it_was(mailer: Mailer, body: int) -> None:
    list(mailer.deliver([job(body, b"dave"), job(body, b"carol")]))
    assert os.lseek(body, 0, os.SEEK_CUR) == 0
    assert os.pread(body, 9, 0) == b"hello\n"


def test_a_status_agrees_with_its_fate(mailer: Mailer, body: int) -> None:
    jobs = [job(body, b"dave"), job(body, b"nosuch"), job(body, b"carol", size=60)]
    first = {Fate.SENT: "2", Fate.DEFERRED: "4", Fate.FAILED: "5"}
    seen = set()
    for _, outcomes in mailer.deliver(jobs):
        for outcome in outcomes.values():
            seen.add(outcome.fate)
            assert outcome.status[0] == first[outcome.fate]
            assert (outcome.exit_code == 0) == (outcome.fate is Fate.SENT)
            assert outcome.text.isprintable() and outcome.text
    assert seen == set(Fate)
