"""A mailbox is filled while mutt and Dovecot rewrite it: nothing is lost, and all count the same."""

from __future__ import annotations

import mailbox
import os
import re
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from minimta.mailers.files.mbox import MboxMailer
from minimta.message.outcome import Fate
from minimta.system import waiting
from minimta.system.users import User, Users
from tests.support import jobs
from tests.support.jobs import job, options

pytestmark = [pytest.mark.root, pytest.mark.debian("mutt", "dovecot-core")]

#: seconds between deliveries, so that they last as long as the readers need
PACE = 0.005
#: letters that are there before; long ones, so that to rewrite them takes its time
BEFORE = 5

#: octets of the other process's answer, which one write(2) to a pipe keeps together
ANSWER = 4000


def body(number: int) -> bytes:
    """Some are long, some have lines to be quoted."""
    return b"From letter %d\n" % number * ((1, 3, 300)[number % 3] if number > BEFORE else 50_000)


class Spool:
    """dave's mailbox, who reads it and what they take out of it."""

    def __init__(self, ground: Path, dave: User) -> None:
        self.ground = ground
        self.directory = ground / "mail"
        self.directory.mkdir()
        os.chown(self.directory, dave.uid, dave.gid)
        self.box = self.directory / "dave"
        self.saved_by_mutt = ground / "saved"
        self.saved_by_dovecot = Path(dave.home, "mail", "saved")
        self.dave = dave
        (ground / "run").mkdir()
        (ground / "passwd").write_text(f"dave:x:{dave.uid}:{dave.gid}::{dave.home}:/bin/sh\n")
        settings = {
            "base_dir": ground / "run",
            "log_path": ground / "run" / "log",
            "mail_location": f"mbox:{dave.home}/mail:INBOX={self.box}",
            "mail_uid": dave.uid,
            "mail_gid": dave.gid,
            "first_valid_uid": 1,
            "mbox_write_locks": "fcntl dotlock",  # as Debian has it
            "ssl": "no",
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        (ground / "conf").write_text("".join(lines))

    def deliver(self, first: int, is_over: Callable[[], bool]) -> int:
        """One message after the other, each with locks of its own; returns the next number."""
        users = Users(str(self.ground / "passwd"))
        mailer = MboxMailer(options(mailbox_directory=str(self.directory)), users)
        for number in count(first):
            one = job("", "dave", header=b"Subject: n%03dx\n" % number, body=body(number))
            ((_, outcomes),) = mailer.deliver([one])
            outcome = outcomes[b"dave"]
            assert outcome.fate is Fate.SENT, f"letter {number}: {outcome}"
            jobs.close_all()
            if is_over():
                return number + 1
        raise AssertionError

    def doveadm(self, *words: str) -> str:
        home = {"HOME": self.dave.home, "USER": "dave", "PATH": os.environ["PATH"]}
        command = ["doveadm", "-c", str(self.ground / "conf"), *words]
        run = subprocess.run(
            command, env=home, capture_output=True, text=True, timeout=60, check=False
        )
        return run.stdout

    def mutt(self, keys: str) -> None:
        """Save and delete are its keys; new mail makes it ask, so it is told to quit until it does."""
        setting = "set mbox_type=mbox confirmcreate=no confirmappend=no quit=yes delete=yes"
        rc = self.ground / "muttrc"
        rc.write_text(f'{setting} move=no sleep_time=0\npush "{keys}{"<quit>" * 20}"\n')
        mutt = f"stty rows 24 cols 80; mutt -n -F {rc} -f {self.box}"
        (self.ground / "Mail").mkdir(exist_ok=True)
        subprocess.run(
            ["script", "-qec", mutt, "/dev/null"],  # it wants a terminal
            env={"TERM": "xterm", "HOME": str(self.ground), "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def mutt_saves(self, subject: str, to: Path) -> None:
        self.mutt(
            f"<tag-pattern>~s {subject}<enter><tag-prefix-cond><save-message>{to}<enter>"
            "<end-cond><sync-mailbox>"
        )


def filled_during(act: Callable[[], object], spool: Spool, first: int) -> int:
    """Deliver in another process until *act* is done; returns the next number.

    The other process says that number, or how a delivery failed.
    """
    (ours, ending), (telling, theirs) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ending)
            number = spool.deliver(first, lambda: bool(waiting.readable([ours], PACE)))
            os.write(theirs, b"%d" % number)
        except BaseException as error:
            os.write(theirs, repr(error).encode()[:ANSWER])
        finally:
            os._exit(0)
    for mine in (ours, theirs):
        os.close(mine)
    try:
        act()
    finally:
        os.close(ending)
        answer = os.read(telling, ANSWER)
        os.close(telling)
        os.waitpid(child, 0)
    assert answer.isdigit(), answer
    return int(answer)


def numbers_in(path: Path) -> list[int]:
    """Of whole messages; others are an error."""
    found = []
    box = mailbox.mbox(path, create=False)
    for key in box.keys():  # noqa: SIM118  # a mailbox iterates over messages
        number = int(re.findall(r"n(\d+)x", box[key]["Subject"])[0])
        text = box.get_bytes(key).partition(b"\n\n")[2].replace(b">From ", b"From ")
        assert text.strip(b"\n") == body(number).strip(b"\n"), number
        found.append(number)
    box.close()
    return found


def test_nothing_is_lost_while_mutt_and_dovecot_rewrite_the_mailbox(
    ground: Path, dave: User
) -> None:
    spool = Spool(ground, dave)
    rounds: list[Callable[[], object]] = [
        lambda: spool.doveadm("flags", "add", r"\Seen \Flagged", "mailbox", "INBOX", "all"),
        lambda: spool.mutt_saves("1x", spool.saved_by_mutt),
        lambda: spool.doveadm("move", "saved", "mailbox", "INBOX", "subject", "2x"),
        lambda: spool.mutt_saves("3x", spool.saved_by_mutt),
        lambda: spool.doveadm("move", "saved", "mailbox", "INBOX", "subject", "4x"),
        lambda: spool.doveadm("flags", "remove", r"\Seen", "mailbox", "INBOX", "all"),
    ]
    begun = count(1)
    number = spool.deliver(0, lambda: next(begun) == BEFORE)
    spool.doveadm("mailbox", "create", "saved")
    for act in rounds:
        number = filled_during(act, spool, number)
    here = numbers_in(spool.box)
    by_mutt, by_dovecot = numbers_in(spool.saved_by_mutt), numbers_in(spool.saved_by_dovecot)
    assert sorted(here + by_mutt + by_dovecot) == list(range(number))
    assert by_mutt and by_dovecot, "they did take some away"
    status = spool.doveadm("mailbox", "status", "messages", "INBOX")
    assert status.split() == ["INBOX", f"messages={len(here)}"]
    spool.mutt(f"<tag-pattern>~A<enter><tag-prefix><copy-message>{ground}/all<enter>")
    assert sorted(numbers_in(ground / "all")) == sorted(here)
    assert os.listdir(spool.directory) == ["dave"]
