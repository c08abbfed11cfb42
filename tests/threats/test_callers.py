"""What an ordinary user may say to sendmail: a process of their own, with nobody's rights but theirs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import minimta
from minimta.config import file as config_file
from tests.support.sharedhost import UIDS, SharedHost

pytestmark = [pytest.mark.root, pytest.mark.debian("python3")]

CHECKOUT = Path(minimta.__file__).parent.parent
PYTHON = "/usr/bin/python3"  # the one of the tests may be out of the user's reach


class Command:
    """An installed sendmail that every user may call, with a configuration of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.chmod(0o755)
        self.cf = home / "cf"
        for name in ("bin", "minimta"):
            shutil.copytree(
                CHECKOUT / name, home / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        file = home / "minimta" / "config" / "file.py"
        text = file.read_text()
        assert config_file.DEFAULT_FILE in text
        file.write_text(text.replace(config_file.DEFAULT_FILE, str(self.cf)))
        compiling = [PYTHON, "-I", "-m", "compileall", "-q", str(home / "minimta")]
        subprocess.run(compiling, check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(home)], check=True)

    def configure(self, host: SharedHost) -> None:
        options = host.options
        settings = {
            "HostName": options.host_name,
            "QueueDirectory": options.queue_directory,
            "ClientQueueDirectory": options.client_queue_directory,
            "MailboxDirectory": options.mailbox_directory,
            "AliasFile": str(host.root / "aliases"),
            "PasswdFile": options.passwd_file,
            "LocalHostNames": options.local_host_names,
            "MailerTable": options.mailer_table,
            "TrustedUsers": options.trusted_users,
            "PidFile": str(host.root / "pid"),
            "SmrshDirectory": options.smrsh_directory,
            "LogTo": "none",
            "QueueLA": "10000",
            "RefuseLA": "10000",
            "MinFreeBlocks": "0",
        }
        self.cf.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        self.cf.chmod(0o644)

    def run(self, user: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        with self.start(user, *words) as process:
            out, err = process.communicate(stdin, timeout=30)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def start(self, user: str, *words: str) -> subprocess.Popen[bytes]:
        uid = UIDS[user]
        return subprocess.Popen(
            [PYTHON, "-IS", str(self.home / "bin" / "sendmail"), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            user=uid,
            group=uid,
            extra_groups=[],
            cwd=f"{self.home}",
            env={"PATH": "/usr/bin:/bin", "LOGNAME": "root", "USER": "root", "HOME": "/root"},
        )


@pytest.fixture(scope="module")
def installed() -> Iterator[Command]:
    with tempfile.TemporaryDirectory(prefix="minimta-threats-") as name:
        yield Command(Path(name))


@pytest.fixture
def command(installed: Command, host: SharedHost) -> Command:
    (host.root / "clientmqueue").chmod(0o1733)
    for name in ("aliases", "passwd"):
        (host.root / name).chmod(0o644)
    installed.configure(host)
    return installed


#: words of the command line ({e} is a directory where all may write), exit code, a part of what is said
REFUSED = [
    (["-C", "{e}/cf", "carol"], 77, "Permission denied"),
    (["-C{secret}", "carol"], 72, "cannot open: Permission denied"),
    (["-C", "/etc/shadow", "carol"], 72, "cannot open: Permission denied"),
    (["-X{canary}", "carol"], 73, "Permission denied"),
    (["-oQ{e}/queue", "carol"], 77, "Permission denied"),
    (["-OQueueDirectory={e}", "carol"], 77, "Permission denied"),
    (["-O", "ClientQueueDirectory={e}", "carol"], 77, "Permission denied"),
    (["-O", "MailboxDirectory={e}", "carol"], 77, "Permission denied"),
    (["-O", "AliasFile={e}/aliases", "-bi"], 77, "Permission denied"),
    (["-oA{e}/aliases", "-bi"], 77, "Permission denied"),
    (["-O", "PidFile={canary}", "-bd"], 77, "Permission denied"),
    (["-O", "RunAsUser=root", "carol"], 77, "Permission denied"),
    (["-O", "DefaultUser=root", "carol"], 77, "Permission denied"),
    (["-O", "DontBlameSendmail=GroupWritableForwardFile", "carol"], 77, "Permission denied"),
    (["-O", "SmrshDirectory={e}", "carol"], 77, "Permission denied"),
    (["-O", "PasswdFile={e}/passwd", "carol"], 77, "Permission denied"),
    (["-O", "ForwardPath={secret}", "carol"], 77, "Permission denied"),
    (["-d0.1", "-D", "{e}/debug", "carol"], 77, "Permission denied"),
    (["-D{canary}", "-d0.1", "carol"], 77, "Permission denied"),
    (["-oMrSMTP", "carol"], 77, "Permission denied"),
    (["-bd"], 64, "Permission denied"),
    (["-bD"], 64, "Permission denied"),
    (["-bd", "-q1m"], 64, "Permission denied"),
    (["-bi"], 64, "Permission denied"),
    (["-I"], 64, "Permission denied"),
    (["-q"], 78, "Permission denied"),
    (["-qf"], 78, "Permission denied"),
    (["-q1m"], 78, "Permission denied"),
    (["-qI{qid}"], 78, "Permission denied"),
    (["-qRcarol"], 78, "Permission denied"),
    (["-M{qid}"], None, ""),
    (["-bp"], 0, "no letter of yours"),
    (["-Am", "carol"], 78, "Permission denied"),
    (["-bv", "carol"], 78, "Permission denied"),
    (["-C/dev/zero", "carol"], None, "is not a regular file"),
    (["|touch {e}/pwned"], None, ""),
    (["{e}/file"], None, ""),
    ([":include:{secret}"], None, ""),
    (["\\|touch {e}/pwned"], None, ""),
    (["../../evidence/x"], None, ""),
    (['"|touch {e}/pwned"@example.org'], 67, "Cannot mail directly to"),
    (['"/{e}/file"@lab1.campus'], 67, "Cannot mail directly to"),
]


@pytest.mark.parametrize(
    ("words", "code", "said"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED]
)
def test_what_an_untrusted_caller_asks_for_makes_no_file_and_sends_nothing(
    host: SharedHost, command: Command, words: list[str], code: int | None, said: str
) -> None:
    (qid,) = host.submit_each("carol")
    (host.evidence / "cf").write_text(f"QueueDirectory = {host.evidence}\n")
    values = {"e": host.evidence, "secret": host.secret, "canary": host.canary, "qid": qid}
    before, files = host.snapshot(), host.files()
    given = [word.format(**values) for word in words]
    done = command.run("mallory", *given, stdin=b"Subject: t\n\nx\n")
    output = (done.stdout + done.stderr).decode()
    assert said in output
    assert done.returncode == code if code is not None else done.returncode != 0
    changed = {name for name in host.changes(before) if not name.startswith("home/mallory/dead")}
    assert {name for name in changed if not name.startswith("clientmqueue/")} == set()
    assert host.files() == files, "the queue is as it was"
    host.lines.append(output)
    assert host.leaks() == []
    assert "root:" not in output


def test_a_traffic_log_is_the_callers_own_file(host: SharedHost, command: Command) -> None:
    log = host.evidence / "traffic"
    done = command.run("mallory", "-X", str(log), "carol", stdin=b"Subject: t\n\nx\n")
    assert (done.returncode, done.stderr) == (0, b"")
    found = log.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (UIDS["mallory"], 0o600)


@pytest.mark.parametrize("option", ["DeliveryMode=background", "ErrorMode=print"])
def test_what_concerns_only_his_own_message_is_everybodys(
    host: SharedHost, command: Command, option: str
) -> None:
    done = command.run("mallory", "-O", option, "carol", stdin=b"Subject: t\n\nx\n")
    assert done.returncode == 0, done.stderr


def adopted(host: SharedHost) -> None:
    from minimta.runner import queue_run

    assert queue_run.run(host.options) == 0


def test_a_users_message_is_his_whatever_he_says(host: SharedHost, command: Command) -> None:
    """All the way: submitted with his rights, taken over and delivered by root."""
    done = command.run(
        "mallory",
        "-froot",
        "-FThe\nX-Evil: yes\nBoss",
        "-oi",
        "-t",
        stdin=b"To: carol\nFrom: root\nReceived: from heaven\nX-Authentication-Warning: none\n\nx\n",
    )
    assert done.returncode == 0, done.stderr
    owners = {path.stat().st_uid for path in (host.root / "clientmqueue").iterdir()}
    assert owners == {UIDS["mallory"]}
    adopted(host)
    (letter,) = host.letters("carol")
    warnings = letter.get_all("X-Authentication-Warning") or []
    assert any("mallory set sender to root@lab1.campus using -f" in text for text in warnings)
    assert "X-Evil" not in letter
    assert any("(from mallory@localhost)" in text for text in letter.get_all("Received") or [])
    assert os.listdir(host.root / "clientmqueue") == []


SESSION = (
    b"MAIL FROM:<root@lab1.campus>\r\n"
    b"RCPT TO:<|touch\\ %(e)b/pwned>\r\nRCPT TO:<%(e)b/file>\r\nRCPT TO:<:include:/etc/shadow>\r\n"
    b'RCPT TO:<"|touch %(e)b/pwned"@lab1.campus>\r\nRCPT TO:<"/etc/passwd"@lab1.campus>\r\n'
    b"RCPT TO:<carol@lab1.campus>\r\nDATA\r\nSubject: t\r\n\r\nx\r\n.\r\nQUIT\r\n"
)


def test_a_session_of_a_user_gives_him_no_more_than_his_rights(
    host: SharedHost, command: Command
) -> None:
    before = host.snapshot()
    said = SESSION % {b"e": bytes(host.evidence)}
    with command.start("mallory", "-bs") as session:
        assert session.stdin and session.stdout
        assert session.stdout.readline().startswith(b"220 ")
        session.stdin.write(b"EHLO x\r\n")
        session.stdin.flush()
        while session.stdout.readline()[3:4] == b"-":
            pass
        replies, _ = session.communicate(said, timeout=30)
    codes = [line[:1] for line in replies.split(b"\r\n") if line[3:4] == b" "]
    assert b"".join(codes) == b"2" + b"55555" + b"2322"
    assert all(name.startswith("clientmqueue/") for name in host.changes(before))
    adopted(host)
    assert len(host.letters("carol")) == 1
    assert os.listdir(host.evidence) == []


def test_a_link_in_the_place_of_dead_letter_is_not_followed(
    host: SharedHost, command: Command
) -> None:
    link = host.root / "home" / "mallory" / "dead.letter"
    link.symlink_to(host.evidence / "pwned")
    os.chown(link, UIDS["mallory"], UIDS["mallory"], follow_symlinks=False)
    command.run("mallory", "nosuch-user", stdin=b"Subject: t\n\nx\n")
    assert os.listdir(host.evidence) == []


@pytest.mark.parametrize("planted", ["link", "hard link", "fifo"])
@pytest.mark.parametrize("which", ["pid", "temporary"])
def test_a_pid_file_follows_nothing_that_was_planted(
    host: SharedHost, planted: str, which: str
) -> None:
    """CVE-2020-28014: in a directory where others may write."""
    from minimta.system import pidfile

    path = host.evidence / "pid"
    place = path if which == "pid" else host.evidence / f"pid.{os.getpid()}"
    if planted == "link":
        place.symlink_to(host.canary)
    elif planted == "hard link":
        os.link(host.canary, place)
    else:
        os.mkfifo(place)
    content = host.canary.read_bytes()
    pidfile.write(str(path), ["sendmail", "-bd"])
    assert host.canary.read_bytes() == content
    assert path.read_text().startswith(f"{os.getpid()}\n")
    assert not path.is_symlink()
    pidfile.remove(str(path))
    assert host.canary.read_bytes() == content
