"""Every system call of a delivery to a file or a Maildir may fail, once or from then on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minimta.mailers.files import grouping
from minimta.mailers.files.file_mailer import FileMailer
from minimta.mailers.files.maildir import MaildirMailer
from minimta.mailers.job import Job, Mailer
from minimta.message.outcome import Fate
from minimta.system.users import User, Users
from tests.support.faults import Faults
from tests.support.jobs import job, options

KEPT = b"From a then\n\nkept\n\n"


class Home(Users):
    """Knows one user."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self._user = user

    def find(self, name: bytes) -> User | None:
        return self._user


def file(dave: User) -> tuple[Mailer, Job]:
    inbox = Path(dave.home, "inbox")
    inbox.write_bytes(KEPT)
    os.chown(inbox, dave.uid, dave.gid)
    inbox.chmod(0o600)
    mailer = FileMailer(options(), pause=lambda _: None)
    return mailer, replace(job("", str(inbox), body=b"x" * 1_200_000), controlling=dave)


def new_file(dave: User) -> tuple[Mailer, Job]:
    mailer, one = file(dave)
    os.unlink(Path(dave.home, "inbox"))
    return mailer, one


def maildir(dave: User) -> tuple[Mailer, Job]:
    return MaildirMailer(options(), Home(dave)), job("", "dave", body=b"x" * 300_000)


def whole(home: Path) -> int:
    """How many whole messages are there; nothing else may be."""
    box, new = home / "inbox", home / "Maildir" / "new"
    bodies = [path.read_bytes().partition(b"\n\n")[2] for path in new.glob("*")]
    if box.exists():
        bodies += [part.partition(b"\n\n")[2] for part in split(box.read_bytes())]
    assert {body.strip(b"x\n") for body in bodies} <= {b""}
    assert {len(body.strip()) for body in bodies} <= {1_200_000, 300_000}
    return len(bodies)


def split(text: bytes) -> list[bytes]:
    return text.removeprefix(KEPT).split(b"From emma")[1:]


@pytest.mark.parametrize("make", [file, new_file, maildir], ids=lambda make: make.__name__)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_whatever_fails_it_is_deferred_or_there(
    ground: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[User], tuple[Mailer, Job]],
    code: int,
    *,
    lasting: bool,
) -> None:
    # In this process, where the faults are.
    monkeypatch.setattr(grouping, "as_owner", lambda owner, jobs, act, where: act())
    at, failed = 0, "?"
    while failed:
        home = ground / str(at)
        home.mkdir()
        mailer, one = make(User("dave", os.getuid() or 12345, os.getgid(), home=str(home)))
        os.chown(home, os.getuid() or 12345, os.getgid())
        with Faults(code, at, lasting=lasting) as faults:
            ((_, outcomes),) = list(mailer.deliver([one]))
        failed = faults.failed
        (outcome,) = outcomes.values()
        assert outcome.fate is not Fate.FAILED, failed
        if outcome.fate is Fate.SENT:
            assert whole(home) == 1, failed
        elif not lasting:
            # What is there is not deferred: it would come again.
            assert whole(home) == 0, failed
        at += 1
    assert at > 10
    assert outcome.fate is Fate.SENT
