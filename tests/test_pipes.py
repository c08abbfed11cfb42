"""Debian's own vacation, procmail and a wrapper like Mailman's, unchanged, the whole real way.

A machine of its own: a mount namespace in which /etc, /var/mail and /usr/sbin are this test's, so that
programs which know only /usr/sbin/sendmail find ours, and it finds its configuration.
"""

from __future__ import annotations

import grp
import mailbox
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespace,
    pytest.mark.debian("python3-dnspython", "python3-filelock"),
]

UIDS = {"emma": 61100, "dave": 61101}
DAEMON = "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
MOUNTS = {"etc": "/etc", "mail": "/var/mail", "sbin": "/usr/sbin"}


class Machine:
    """lab1.campus with emma and dave, below a directory that everybody may pass."""

    def __init__(self, ground: Path, **settings: str) -> None:
        self.ground = ground
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("bin", "minimta"):
            shutil.copytree(Path(HOME, name), ground / name, symlinks=True, ignore=ignored)
        mail = grp.getgrnam("mail").gr_gid
        places = {"mqueue": 0o700, "clientmqueue": 0o1733, "mail": 0o2775, "sbin": 0o755}
        places |= {"etc": 0o755, "etc/mail": 0o755}
        for name, bits in places.items():
            (ground / name).mkdir()
            os.chown(ground / name, 0, mail if name == "mail" else 0)
            (ground / name).chmod(bits)
        self._make_users()
        options = {
            "HostName": "lab1.campus", "LogTo": "stderr", "RunAsUser": "", "MinFreeBlocks": "0",
            "QueueDirectory": f"{ground}/mqueue", "ClientQueueDirectory": f"{ground}/clientmqueue",
            "DeliveryMode": "queueonly", "QueueLA": "9999", **settings,
        }  # fmt: skip
        self.write(
            "etc/mail/minimta.cf", "".join(f"{name} = {value}\n" for name, value in options.items())
        )
        self.write("etc/aliases", "postmaster: emma\n")
        (ground / "sbin" / "sendmail").symlink_to(ground / "bin" / "sendmail")

    def _make_users(self) -> None:
        users = [f"{n}:x:{uid}:{uid}:{n}:{self.ground}/{n}:/bin/sh" for n, uid in UIDS.items()]
        self.write(
            "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n" + DAEMON + "\n".join(users) + "\n"
        )
        groups = [f"{name}:x:{uid}:" for name, uid in UIDS.items()]
        entries = [f"{name}:x:{grp.getgrnam(name).gr_gid}:" for name in ("mail", "list")]
        self.write("etc/group", "\n".join(["root:x:0:", "daemon:x:1:", *entries, *groups]) + "\n")
        for name, uid in UIDS.items():
            (self.ground / name).mkdir(mode=0o755)
            os.chown(self.ground / name, uid, uid)

    def write(self, name: str, text: str, bits: int = 0o644) -> Path:
        """A file; in a home it is its user's."""
        path = self.ground / name
        path.write_text(text)
        path.chmod(bits)
        uid = UIDS.get(name.partition("/")[0], 0)
        os.chown(path, uid, uid)
        return path

    def run(self, *words: str, text: str = "") -> str:
        """Both outputs of a command there; it must succeed."""
        mounts = "".join(f"mount --bind {self.ground}/{n} {p}; " for n, p in MOUNTS.items())
        done = subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-ec", mounts + 'exec "$@"', "sh", *words],
            input=text, text=True, check=False, timeout=60, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run_as(self, name: str, *words: str) -> str:
        ids = [f"--reuid={UIDS[name]}", f"--regid={UIDS[name]}", "--clear-groups"]
        return self.run("setpriv", *ids, "env", f"HOME={self.ground}/{name}", *words)

    def bring(self, to: str, subject: str = "hello", field: str = "X-Test: 1") -> str:
        """A message of emma's through the queue and its runner; what was logged."""
        text = f"From: emma@lab1.campus\nTo: {to}@lab1.campus\nSubject: {subject}\n{field}\n\nhi\n"
        self.run("/usr/sbin/sendmail", "-f", "emma@lab1.campus", to, text=text)
        return self.run("/usr/sbin/sendmail", "-qf")

    def letters(self, path: str) -> list[Message]:
        found = self.ground / path
        return list(mailbox.mbox(found, create=False)) if found.exists() else []

    def subjects(self, path: str) -> list[str]:
        return [str(letter["Subject"]) for letter in self.letters(path)]

    def queued(self) -> list[str]:
        names = [*os.listdir(self.ground / "mqueue"), *os.listdir(self.ground / "clientmqueue")]
        return [name for name in names if name.startswith("qf")]


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory that every user may pass, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="minimta-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


# --- vacation -----------------------------------------------------------------------------------------


@pytest.mark.debian("vacation")
def test_vacation_answers_once_and_the_letter_arrives(ground: Path) -> None:
    machine = Machine(ground)
    machine.write("dave/.forward", '\\dave, "|/usr/bin/vacation dave"\n')
    machine.write("dave/.vacation.msg", "Subject: away\n\nYour $SUBJECT waits.\n")
    machine.run_as("dave", "vacation", "-i")
    machine.bring("dave", "one")
    assert machine.subjects("mail/dave") == ["one"]
    machine.bring("dave", "two")
    assert machine.subjects("mail/dave") == ["one", "two"]
    for _ in range(100):  # it answers in the background
        machine.run("/usr/sbin/sendmail", "-qf")
        if machine.letters("mail/emma"):
            break
    (answer,) = machine.letters("mail/emma")
    assert "(dave@localhost)" in str(answer["Received"]), "submitted by himself"
    assert answer["Subject"] == "away"
    assert "dave" in str(answer["From"])
    assert "Your one waits." in str(answer.get_payload())
    assert machine.queued() == []


@pytest.mark.debian("vacation")
def test_vacation_is_silent_to_lists(ground: Path) -> None:
    machine = Machine(ground)
    machine.write("dave/.forward", '\\dave, "|/usr/bin/vacation dave"\n')
    machine.write("dave/.vacation.msg", "Subject: away\n\nx\n")
    machine.run_as("dave", "vacation", "-i")
    machine.bring("dave", "bulk", "Precedence: bulk")
    assert machine.subjects("mail/dave") == ["bulk"]
    assert machine.queued() == []


# --- procmail -----------------------------------------------------------------------------------------

RECIPES = """\
MAILDIR=$HOME
:0:
* ^Subject:.*lists
lists
:0
* ^Subject:.*refuse
{
  EXITCODE=77
  HOST
}
"""


@pytest.mark.debian("procmail")
def test_the_forward_of_procmails_manual_filters(ground: Path) -> None:
    machine = Machine(ground)
    command = "IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #dave"
    machine.write("dave/.forward", f'"|{command}"\n')
    machine.write("dave/.procmailrc", RECIPES)
    machine.bring("dave", "about lists")
    machine.bring("dave", "else")
    assert machine.subjects("dave/lists") == ["about lists"]
    assert machine.subjects("mail/dave") == ["else"]
    for path in ("dave/lists", "mail/dave"):
        assert (ground / path).stat().st_uid == UIDS["dave"]
        assert (ground / path).read_text().startswith("From emma@lab1.campus ")
    log = machine.bring("dave", "refuse me")
    assert "dsn=5.0.0, stat=Insufficient permission" in log
    assert machine.queued() == []
    assert "Returned mail" in machine.subjects("mail/emma")[0]


@pytest.mark.debian("procmail")
@pytest.mark.parametrize("words", ["-t -a $h", "-a $h -d $u"])
def test_procmail_as_the_local_mailer_is_the_recipient_and_knows_the_detail(
    ground: Path, words: str
) -> None:
    machine = Machine(ground, LocalMailer=f"|/usr/bin/procmail {words}")
    machine.write("dave/.procmailrc", "MAILDIR=$HOME\nDETAIL=$1\n:0 c:\nmail-$DETAIL\n")
    machine.bring("dave+lists", "one")
    machine.bring("emma", "two")
    machine.bring("dave+$(touch${IFS}evil)", "three")
    for path, user, subjects in (
        ("dave/mail-lists", "dave", ["one"]),
        ("dave/mail-", "dave", ["three"]),
        ("mail/dave", "dave", ["one", "three"]),
        ("mail/emma", "emma", ["two"]),
    ):
        text = (ground / path).read_text()
        assert [line[9:] for line in text.split("\n") if line.startswith("Subject: ")] == subjects
        assert text.startswith("From emma@lab1.campus  ")
        assert (ground / path).stat().st_uid == UIDS[user]
        # With -d it notes that somebody whom it does not trust gave the sender.
        assert (f"\n>From {user}  " in text) == ("-d" in words)
    assert not list(ground.rglob("evil"))
    assert machine.queued() == []


# --- Mailman --------------------------------------------------------------------------------------------

WRAPPER = """\
#!/bin/sh
# Mailman's is set-gid and asks who calls it: only with the mailer's group it goes on.
if [ "$(id -g)" != 1 ]; then
    echo "Group mismatch error. Mailman expected the mail wrapper script to be executed as group 1"
    exit 2
fi
exec {ground}/mailman-{group} "$(dirname "$0")/$1-$2" >/dev/null
"""


@pytest.fixture
def mailman(ground: Path) -> Machine:
    """What writes for it is a real set-gid program, in a directory that only its group may write."""
    machine = Machine(ground)
    group = grp.getgrnam("list").gr_gid
    place = ground / "mailman"
    place.mkdir()
    machine.write("mailman/mailman", WRAPPER.format(ground=ground, group="list"), 0o755)
    program = ground / "mailman-list"
    shutil.copy("/usr/bin/tee", program)
    for path, bits in ((place, 0o2775), (program, 0o2755)):
        os.chown(path, 0, group)
        path.chmod(bits)
    return machine


def test_a_wrapper_that_asks_for_the_group_of_its_caller_is_content(mailman: Machine) -> None:
    wrapper = f"{mailman.ground}/mailman/mailman"
    mailman.write("etc/aliases", f'list: "|{wrapper} post list"\nowner-list: emma\n')
    mailman.run("/usr/sbin/sendmail", "-bi")
    log = mailman.bring("list")
    assert "mailer=prog" in log and "stat=Sent" in log
    posted = mailman.ground / "mailman" / "post-list"
    assert posted.read_text().endswith("\n\nhi\n")
    found = posted.stat()
    assert (found.st_uid, found.st_gid) == (1, grp.getgrnam("list").gr_gid)
    assert mailman.queued() == []


def test_it_refuses_another_callers_group_and_its_words_come_back(mailman: Machine) -> None:
    mailman.write("dave/.forward", f'"|{mailman.ground}/mailman/mailman post list"\n')
    log = mailman.bring("dave")
    assert "stat=unknown mailer error 2" in log
    (bounce,) = mailman.letters("mail/emma")
    assert "Group mismatch error. Mailman expected" in bounce.as_string()
    assert not (mailman.ground / "mailman" / "post-list").exists()
