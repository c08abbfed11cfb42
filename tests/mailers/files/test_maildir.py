from __future__ import annotations

import errno
import itertools
import mailbox
import os
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.files import maildir
from minimta.mailers.files.maildir import ABANDONED, Maildir, MaildirMailer
from minimta.mailers.job import Job
from minimta.message.outcome import Fate, Outcome
from minimta.system import log
from minimta.system.users import User, Users
from tests.support.children import assert_none_left
from tests.support.jobs import job, options

NOW = 1574107394.123456
SENT = Outcome(Fate.SENT, "2.0.0", "Sent")


class Known(Users):
    """Knows only these."""

    def __init__(self, *users: User) -> None:
        super().__init__()
        self._known = {os.fsencode(user.name): user for user in users}

    def find(self, name: bytes) -> User | None:
        return self._known.get(name)


def mailer(*users: User) -> MaildirMailer:
    return MaildirMailer(options(), Known(*users), clock=lambda: NOW)


def deliver(user: User, *jobs: Job) -> list[Outcome]:
    """To *user*, whatever name the jobs have; the outcomes in the order of the jobs."""
    named = [replace(one, users=job("", user.name).users) for one in jobs]
    found = dict(mailer(user).deliver(named))
    assert list(found) == named
    return [found[one][os.fsencode(user.name)] for one in named]


def stored(user: User, folder: str = "new") -> list[bytes]:
    return [path.read_bytes() for path in files(user, folder)]


def files(user: User, folder: str = "new") -> list[Path]:
    return sorted(Path(user.home, "Maildir", folder).iterdir())


# -- what is stored ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"hi", b"From me\n>From\n\n", b"\xe4\r\n\0", b"x" * 3000000],
    ids=["empty", "short", "From", "octets", "3 MB"],
)
def test_a_message_is_stored_octet_for_octet(dave: User, body: bytes) -> None:
    header = b"Return-Path: <emma@lab1.campus>\nSubject: x\n"
    assert deliver(dave, job("", body=body, header=header)) == [SENT]
    assert stored(dave) == [header + b"\n" + body]
    assert stored(dave, "tmp") == stored(dave, "cur") == []


def test_a_missing_maildir_is_made_for_the_user_alone(dave: User) -> None:
    deliver(dave, job(""))
    for path in [Path(dave.home, "Maildir"), *Path(dave.home, "Maildir").iterdir()]:
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert (found.st_uid, found.st_gid) == (dave.uid, dave.gid)
    assert sorted(os.listdir(Path(dave.home, "Maildir"))) == ["cur", "new", "tmp"]
    (message,) = files(dave)
    assert stat.S_IMODE(message.stat().st_mode) == 0o600
    assert message.stat().st_uid == dave.uid


def test_a_message_is_durable_before_it_can_be_seen_and_its_name_when_it_is_yielded(
    dave: User, synced: Any
) -> None:
    deliver(dave, job(""))
    order = synced.inodes()
    (message,) = files(dave)
    assert order[-2:] == [message.stat().st_ino, message.parent.stat().st_ino]
    assert Path(dave.home) in synced and Path(dave.home, "Maildir") in synced


def test_all_of_it_is_written_before_it_is_made_durable(
    dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    with Maildir(dave, lambda: NOW) as folder:
        sizes.clear()
        folder.add(job("", body=b"x" * 300_000))
    (message,) = Path(dave.home, "Maildir", "new").iterdir()
    assert sizes == [message.stat().st_size]


def test_messages_for_one_maildir_share_the_last_fsync(dave: User, synced: Any) -> None:
    deliver(dave, job(""))
    before = len(synced.inodes())
    deliver(dave, *(job("", body=b"%d\n" % number) for number in range(5)))
    assert len(synced.inodes()) - before == 6
    assert len(stored(dave)) == 6


def test_a_name_has_the_form_that_readers_know(dave: User, monkeypatch: pytest.MonkeyPatch) -> None:
    host = os.uname_result(("Linux", "a/b:c", "", "", ""))
    monkeypatch.setattr(os, "uname", lambda: host)
    monkeypatch.setattr(Maildir, "_deliveries", itertools.count(7))
    deliver(dave, job("", body=b"12345", header=b"A: b\n"))
    (message,) = files(dave)
    head, _, rest = message.name.partition("P")
    pid, _, rest = rest.partition("Q")
    assert head == "1574107394.M123456"
    assert pid.isdigit()
    assert rest == "7.a\\057b\\072c,S=11"
    assert message.stat().st_size == 11


def test_names_differ_within_one_moment(dave: User) -> None:
    deliver(dave, *(job("") for _ in range(20)))
    deliver(dave, *(job("") for _ in range(20)))
    assert len(files(dave)) == 40


def test_where_links_cannot_be_made_a_message_is_renamed(
    dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    assert deliver(dave, job("")) == [SENT]
    assert len(stored(dave)) == 1
    assert stored(dave, "tmp") == []


# -- who and where -----------------------------------------------------------------------------


def test_an_unknown_user_fails(dave: User) -> None:
    ((_, outcomes),) = list(mailer(dave).deliver([job("", "nosuch", "dave")]))
    unknown = Outcome(Fate.FAILED, "5.1.1", "User unknown", exit_code=os.EX_NOUSER)
    assert outcomes == {b"nosuch": unknown, b"dave": SENT}


def test_users_that_cannot_be_known_defer(tmp_path: Path) -> None:
    users = Users(str(tmp_path / "nosuch"))
    ((_, outcomes),) = list(MaildirMailer(options(), users).deliver([job("", "dave")]))
    assert outcomes[b"dave"].fate is Fate.DEFERRED


def test_a_missing_home_defers_and_is_not_made(dave: User) -> None:
    os.rmdir(dave.home)
    (found,) = deliver(dave, job(""))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.0")
    assert found.text == "Maildir of dave: No such file or directory"
    assert not os.path.exists(dave.home)


@pytest.mark.root
def test_nothing_is_made_in_the_home_of_another(ground: Path, dave: User, carol: User) -> None:
    os.chmod(carol.home, 0o777)
    dave.home = carol.home
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log, "line", lambda _, text, **more: lines.append(text))
        (found,) = deliver(dave, job(""))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.2.0")
    assert lines == [f"Maildir of dave: home belongs to uid {carol.uid}"]
    assert os.listdir(carol.home) == []


@pytest.mark.root
@pytest.mark.parametrize("name", ["Maildir", "Maildir/tmp", "Maildir/new"])
def test_directories_of_another_are_not_written_to(dave: User, carol: User, name: str) -> None:
    deliver(dave, job(""))
    path = Path(dave.home, name)
    os.chown(path, carol.uid, carol.gid)
    path.chmod(0o777)
    (found,) = deliver(dave, job(""))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.2.0")
    assert len(stored(dave)) == 1


@pytest.mark.parametrize("name", ["Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur"])
@pytest.mark.parametrize("what", ["link", "file"])
def test_what_is_no_directory_is_not_followed(dave: User, name: str, what: str) -> None:
    deliver(dave, job(""))
    path, elsewhere = Path(dave.home, name), Path(dave.home, "elsewhere")
    path.rename(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    if what == "link":
        path.symlink_to(elsewhere)
    else:
        path.touch()
    (found,) = deliver(dave, job(""))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.2.0")
    assert found.text == f"Maildir of dave: {path.name} is not a directory"
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.root
def test_the_maildir_of_root_is_filled_if_nobody_has_a_hand_in_the_way(
    ground: Path, carol: User
) -> None:
    home = ground / "root"
    home.mkdir(mode=0o700)
    root = User("root", 0, 0, home=str(home))
    assert deliver(root, job("")) == [SENT]
    ground.chmod(0o777)
    assert deliver(root, job(""))[0].text == "Maildir of root: World writable directory"
    ground.chmod(0o755)
    os.chown(ground, carol.uid, -1)
    assert deliver(root, job(""))[0].text == "Maildir of root: Wrong owner directory"
    os.chown(ground, 0, -1)
    os.chown(home, carol.uid, -1)
    assert deliver(root, job(""))[0].fate is Fate.DEFERRED
    assert len(stored(root)) == 1


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["write", "fsync", "link", "mkdir"])
@pytest.mark.parametrize(
    ("code", "status"), [(errno.ENOSPC, "4.2.2"), (errno.EDQUOT, "4.2.2"), (errno.EIO, "4.3.0")]
)
def test_whatever_fails_nothing_is_delivered_and_nothing_is_left(
    dave: User, monkeypatch: pytest.MonkeyPatch, name: str, code: int, status: str
) -> None:
    if name != "mkdir":
        deliver(dave)
        for part in ("", "tmp", "new", "cur"):
            Path(dave.home, "Maildir", part).mkdir(mode=0o700)
            os.chown(Path(dave.home, "Maildir", part), dave.uid, dave.gid)
    failing(monkeypatch, name, code)
    if name == "write":  # the child's answer goes through write(2) as well
        monkeypatch.setattr(maildir, "write_all", lambda *_: os.write(-1, b""))
    found = deliver(dave, job(""), job(""))
    assert {(each.fate, each.status) for each in found} == {(Fate.DEFERRED, status)}
    assert found[0].text == f"Maildir of dave: {os.strerror(code)}"
    if name != "mkdir":
        assert stored(dave) == stored(dave, "tmp") == []


def failing(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    real = getattr(os, name)

    def call(*arguments: Any, **more: Any) -> Any:
        if name == "write" and arguments[0] >= 0:
            return real(*arguments, **more)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, call)


def test_one_message_that_fails_harms_no_other(dave: User) -> None:
    fates = deliver(dave, job("", body=b"1\n"), job("", body=b"half", size=9), job("", body=b"3\n"))
    assert [each.fate for each in fates] == [Fate.SENT, Fate.DEFERRED, Fate.SENT]
    assert [text.split(b"\n\n")[1] for text in stored(dave)] == [b"1\n", b"3\n"]
    assert stored(dave, "tmp") == []


def test_if_the_names_are_not_durable_all_are_taken_back(
    dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(dave, job(""))
    new = Path(dave.home, "Maildir", "new").stat().st_ino
    real = os.fsync

    def fsync(file: int) -> None:
        if os.fstat(file).st_ino == new:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    assert [each.status for each in deliver(dave, job(""), job(""))] == ["4.3.0", "4.3.0"]
    assert len(stored(dave)) == 1


@pytest.mark.root
@pytest.mark.parametrize("call", ["fsync", "link", "unlink"])
def test_a_killed_child_leaves_no_half_message_to_readers(
    dave: User, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    deliver(dave, job("", body=b"kept\n"))
    it = job("", "dave", body=b"whole\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        ((_, outcomes),) = list(mailer(dave).deliver([it]))
    found = outcomes[b"dave"]
    assert found.fate is Fate.DEFERRED
    assert deliver(dave, job("", body=b"whole\n")) == [SENT]
    bodies = [text.partition(b"\n\n")[2] for text in stored(dave)]
    assert set(bodies) == {b"kept\n", b"whole\n"}
    assert len(bodies) == (3 if call == "unlink" else 2)


@pytest.mark.root
@pytest.mark.parametrize("patience", [2.0, 0.0])  # the kernel may take its time
def test_a_child_that_hangs_is_ended(
    dave: User, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr("minimta.system.privileges._PATIENCE", patience)
    monkeypatch.setattr("minimta.mailers.files.grouping.TIME", 0.1)
    monkeypatch.setattr(os, "link", lambda *_, **__: signal.pause())
    (found,) = deliver(dave, job(""))
    assert (found.fate, found.status) == (Fate.DEFERRED, "4.3.0")
    assert_none_left()


def test_what_was_abandoned_in_tmp_is_swept_after_36_hours(dave: User) -> None:
    deliver(dave, job(""))
    tmp = Path(dave.home, "Maildir", "tmp")
    ages = {"old": ABANDONED + 60, "fresh": ABANDONED - 60, "read": ABANDONED + 60, "future": -9999}
    for name, age in ages.items():
        (tmp / name).touch()
        os.utime(tmp / name, (NOW if name == "read" else NOW - age, NOW - age))
    (tmp / "directory").mkdir()
    os.utime(tmp / "directory", (0, 0))
    deliver(dave, job(""))
    assert sorted(os.listdir(tmp)) == ["directory", "fresh", "future", "read"]


# -- readers -----------------------------------------------------------------------------------

TEXTS = [b"first\n", b"From the start\n", b"third\n"]


@pytest.fixture
def filled(dave: User) -> User:
    for number, text in enumerate(TEXTS):
        header = b"From: emma@lab1.campus\nSubject: number %d\nMessage-Id: <%d@x>\n" % (
            number,
            number,
        )
        assert deliver(dave, job("", body=text, header=header)) == [SENT]
    return dave


def test_python_reads_what_was_stored(filled: User) -> None:
    box = mailbox.Maildir(os.path.join(filled.home, "Maildir"), create=False)
    texts = [box.get_bytes(key) for key, _ in box.items()]
    assert sorted(text.partition(b"\n\n")[2] for text in texts) == sorted(TEXTS)
    assert {message["subject"] for message in box} == {f"number {n}" for n in range(3)}


@pytest.mark.root
@pytest.mark.debian("mutt")
def test_mutt_reads_what_was_stored(filled: User, ground: Path) -> None:
    mailbox.Maildir(ground / "copy")
    copy = f"<copy-message>{ground}/copy/<enter>"
    keys = "".join(f"{number}<enter>{copy}" for number in (1, 2, 3)) + "<exit>"
    settings = "set mbox_type=Maildir confirmcreate=no confirmappend=no quit=yes"
    (ground / "muttrc").write_text(f'{settings}\npush "{keys}"\n')
    mutt = f"stty rows 24 cols 80; mutt -n -F {ground}/muttrc -f {filled.home}/Maildir"
    run = subprocess.run(
        ["script", "-qec", mutt, "/dev/null"],  # mutt wants a terminal
        env={"TERM": "xterm", "HOME": str(ground), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    copies = [path.read_bytes() for path in (ground / "copy").glob("*/*")]
    assert sorted(text.partition(b"\n\n")[2] for text in copies) == sorted(TEXTS), run


@pytest.mark.root
@pytest.mark.debian("dovecot-core")
def test_dovecot_reads_what_was_stored_and_finds_its_size_in_the_name(
    filled: User, ground: Path
) -> None:
    (ground / "run").mkdir()
    settings = {
        "base_dir": ground / "run",
        "log_path": ground / "run" / "log",
        "mail_location": f"maildir:{filled.home}/Maildir",
        "mail_uid": filled.uid,
        "mail_gid": filled.gid,
        "ssl": "no",
    }
    (ground / "conf").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    fetch = ["doveadm", "-c", str(ground / "conf"), "fetch", "size.physical text", "all"]
    run = subprocess.run(
        fetch, env={"USER": filled.name, "HOME": filled.home, "PATH": os.environ["PATH"]},
        capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    texts = run.stdout.replace(b"\r\n", b"\n")
    assert texts.count(b"size.physical: ") == len(TEXTS)
    assert run.stderr == b"", "a wrong size in a name is an error"
    for text, path in zip(TEXTS, files(filled, "new") + files(filled, "cur"), strict=True):
        assert b"\n\n" + text in texts
        assert b"size.physical: %d\n" % path.stat().st_size in texts
