"""The daemon as processes: started by bin/sendmail, ended by signals."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

import minimta
from minimta.config.options import Options
from minimta.listener import daemon as listener
from minimta.listener.sockets import Server
from minimta.system import locks, pidfile
from minimta.system.tls_values import KeyPair
from minimta.system.waiting import Wait
from tests.support.certificates import self_signed
from tests.support.fakefilter import FakeFilter, reply
from tests.support.smtp_users import write_users
from tests.support.smtphost import PASSWD, SmtpHost

SENDMAIL = Path(minimta.__file__).parent.parent / "bin" / "sendmail"
PATIENCE = 20.0
Found = TypeVar("Found")


class Daemon:
    """One run of ``sendmail`` with a configuration of its own."""

    def __init__(self, directory: Path) -> None:
        self.host = SmtpHost(directory)
        self.log = directory / "log"
        self.pid_file = directory / "pid"
        (directory / "mail").mkdir()
        # All belongs to whoever runs the test.
        ids = f"{os.geteuid()}:{os.getegid()}"
        own = PASSWD.replace("1001:1001", ids).replace("1002:1002", ids)
        Path(self.host.options.passwd_file).write_text(own)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        options = self.host.options
        settings = {
            "HostName": "lab2.campus",
            "QueueDirectory": options.queue_directory,
            "ClientQueueDirectory": options.client_queue_directory,
            "MailboxDirectory": directory / "mail",
            "AliasFile": options.alias_files[0],
            "PasswdFile": options.passwd_file,
            "LocalHostNames": options.local_host_names,
            "MailerTable": options.mailer_table,
            "AccessFile": options.access_file,
            "RelayDomains": options.relay_domains,
            "TrustedUsers": directory / "trusted",
            "PidFile": self.pid_file,
            "DaemonPortOptions": f"Name=MTA, Addr=127.0.0.1, Port={self.port}",
            "RunAsUser": "",
            "ServerCertFile": "",
            "LogTo": "stderr",
            "QueueLA": "1000",
            "RefuseLA": "1000",
        }
        self.cf = directory / "cf"
        self.cf.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-I", str(SENDMAIL), "-C", str(self.cf), *words]

    def start(self, *words: str) -> None:
        """Start it in the foreground, and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self.answers)

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def connect(self) -> tuple[socket.socket, Callable[[], str]]:
        """A connection that has been greeted, and what reads its replies, one line each."""
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        file = sock.makefile("r", newline="\r\n")
        assert file.readline().startswith("220")
        return sock, file.readline

    def listener(self) -> int:
        """Pid of the runner's first child."""
        return wait_for(lambda: children(self.pid()))[0]

    def pid(self) -> int:
        """The first line of the PidFile; ports answer before it is there."""
        wait_for(self.pid_file.exists)
        return int(self.pid_file.read_text().split("\n")[0])

    def stop(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    yield one
    one.stop()


def wait_for(condition: Callable[[], Found], seconds: float = PATIENCE) -> Found:
    """What *condition* answers, as soon as that counts as true: asked again, it may have changed."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def is_gone(pid: int) -> bool:
    """Ended, though perhaps nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def send(daemon: Daemon, recipient: str = "dave") -> None:
    sock, answer = daemon.connect()
    for line in ("MAIL FROM:<emma@lab1.campus>", f"RCPT TO:<{recipient}>", "DATA"):
        sock.sendall(line.encode() + b"\r\n")
        assert answer()[:1] in "23"
    sock.sendall(b"Subject: x\r\n\r\nHi\r\n.\r\nQUIT\r\n")
    assert answer().startswith("250 2.0.0")
    sock.close()


@contextmanager
def open_to_others() -> Iterator[Daemon]:
    """One of root's to whose files others have a way: tmp_path each pytest that begins closes again."""
    directory = Path(tempfile.mkdtemp(prefix="minimta-"))
    one = Daemon(directory)
    directory.chmod(0o711)
    try:
        yield one
    finally:
        one.stop()
        shutil.rmtree(directory)


def serve_as_nobody(daemon: Daemon) -> None:
    """Let the listener be that user, who may not fill the queue yet."""
    daemon.cf.write_text(daemon.cf.read_text().replace("RunAsUser = ", "RunAsUser = nobody"))
    for name in ("aliases", "passwd", "names"):
        (daemon.cf.parent / name).chmod(0o644)


def test_in_the_foreground_it_is_the_process_that_was_started(daemon: Daemon) -> None:
    daemon.start("-bD")
    assert daemon.process is not None
    assert daemon.pid() == daemon.process.pid
    assert "-bD" in daemon.pid_file.read_text().split("\n")[1]
    send(daemon)
    assert len(daemon.host.queued()) == 1
    assert f"starting daemon ({minimta.__version__}): SMTP\n" in daemon.log.read_text()


@pytest.mark.parametrize("words", [("-bD",), ("-bD", "-q15m")])
def test_every_start_tells_that_mail_is_redirected(daemon: Daemon, words: tuple[str, ...]) -> None:
    with daemon.cf.open("a") as file:
        file.write("RedirectAll = tester@staging.example\n")
    daemon.start(*words)
    told = "RedirectAll: all mail for other hosts goes to tester@staging.example\n"
    wait_for(lambda: told in daemon.log.read_text())


@pytest.mark.parametrize("words", [("-bD",), ("-bD", "-q15m")])
@pytest.mark.parametrize("place", ["{directory}/notify", "@{directory}/abstract"])
def test_a_service_manager_hears_of_the_process_that_it_started_when_the_ports_are_open(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], place: str
) -> None:
    monkeypatch.chdir(daemon.cf.parent)
    # A socket's name has 107 octets at most.
    name = place.format(directory=f"/proc/{os.getpid()}/cwd")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(PATIENCE)
        daemon.process = subprocess.Popen(daemon.command(*words), stderr=subprocess.DEVNULL)
        text, [(_, _, credentials)], _, _ = manager.recvmsg(100, socket.CMSG_SPACE(12))
        assert daemon.answers()
        assert text == b"READY=1"
        assert struct.unpack("3i", credentials)[0] == daemon.process.pid
        manager.settimeout(0)
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_a_file_with_wrong_lines_is_told_as_a_whole_and_begins_nothing(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    with daemon.cf.open("a") as file:
        file.write("NoSuchThing = 1\nmore\n")
    monkeypatch.chdir(daemon.cf.parent)
    monkeypatch.setenv("NOTIFY_SOCKET", f"/proc/{os.getpid()}/cwd/notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.environ["NOTIFY_SOCKET"])
        manager.settimeout(0)
        done = subprocess.run(daemon.command("-bD", "-q15m"), capture_output=True, check=False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    assert (done.returncode, done.stdout.count(b"\n")) == (78, 2)
    assert (daemon.answers(), daemon.pid_file.exists()) == (False, False)


@pytest.mark.parametrize("words", [("-bD", "-q15m"), ("-q15m",)])
def test_a_lock_that_cannot_be_made_now_does_not_keep_a_unit_from_starting_again(
    daemon: Daemon, words: tuple[str, ...]
) -> None:
    queue = daemon.host.options.queue_directory
    for path in (locks.beside(queue), locks.of_daemon(queue)):
        Path(path).mkdir()
    done = subprocess.run(daemon.command(*words), capture_output=True, check=False)
    assert b"cannot lock " in done.stderr
    assert done.returncode not in (0, 64, 78)


def test_a_lock_that_the_kernel_does_not_give_is_told_with_its_file(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock(path: str) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "resident", lock)
    with pytest.raises(OSError, match="No locks available") as told:
        listener._free_places(daemon.host.options)
    assert told.value.filename == locks.of_daemon(daemon.host.options.queue_directory)


def test_sigterm_ends_it_at_once_when_nobody_is_there(daemon: Daemon) -> None:
    daemon.start("-bD")
    assert daemon.process is not None
    begin = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE) == 0
    assert time.monotonic() - begin < 2
    assert not daemon.pid_file.exists()
    assert "stopping daemon, reason=signal" in daemon.log.read_text()
    assert not daemon.answers()


def test_sigterm_lets_the_message_at_hand_come_to_its_end(daemon: Daemon) -> None:
    daemon.start("-bD")
    assert daemon.process is not None
    idle, idle_answer = daemon.connect()
    busy, answer = daemon.connect()
    for line in ("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA"):
        busy.sendall(line.encode() + b"\r\n")
        answer()
    daemon.process.send_signal(signal.SIGTERM)
    assert idle_answer().startswith("421 4.3.2")
    busy.sendall(b"Subject: x\r\n\r\nHi\r\n.\r\n")
    assert answer().startswith("250 2.0.0")
    assert answer().startswith("421 4.3.2")
    idle.close()
    busy.close()
    assert daemon.process.wait(PATIENCE) == 0
    assert len(daemon.host.queued()) == 1


def test_its_name_goes_while_it_still_has_the_ports(daemon: Daemon) -> None:
    """Else it would remove the PidFile of the one that gets them next."""
    daemon.start("-bD")
    assert daemon.process is not None
    busy, answer = daemon.connect()
    for line in ("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA"):
        busy.sendall(line.encode() + b"\r\n")
        answer()
    daemon.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not daemon.pid_file.exists())
    assert daemon.process.poll() is None
    busy.shutdown(socket.SHUT_RDWR)
    assert daemon.process.wait(PATIENCE) == 0


def test_sighup_does_not_end_it(daemon: Daemon) -> None:
    daemon.start("-bD")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    send(daemon)
    assert daemon.process.poll() is None


def test_to_be_stopped_and_continued_does_not_end_it(daemon: Daemon) -> None:
    daemon.start("-bD", "-q15m")
    listener = daemon.listener()
    assert daemon.process is not None
    for _ in range(4):  # each ended it with some likelihood
        for pid in (listener, daemon.process.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(0.6)
        for pid in (listener, daemon.process.pid):
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
    assert not is_gone(listener)
    assert daemon.process.poll() is None
    send(daemon)


STRAYS = ["ALRM", "IO", "PROF", "PWR", "USR1", "USR2", "VTALRM"]


def test_no_signal_ends_it_by_accident(daemon: Daemon) -> None:
    daemon.start("-bD", "-q15m")
    listener = daemon.listener()
    assert daemon.process is not None
    wait_for(lambda: int(status_of(listener)["SigCgt"], 16) & 1 << signal.SIGTERM - 1)
    for name in STRAYS:
        for pid in (listener, daemon.process.pid):
            os.kill(pid, signal.Signals[f"SIG{name}"])
    os.kill(listener, signal.SIGHUP)  # to its parent it means something: see test_supervisor
    time.sleep(0.3)
    assert daemon.process.poll() is None
    assert not is_gone(listener)
    send(daemon)


def test_a_listener_that_has_nothing_to_do_does_not_wake_up(daemon: Daemon) -> None:
    daemon.start("-bD")
    listener = daemon.listener()
    send(daemon)

    def is_at_rest() -> bool:
        before = sleeps(listener)
        time.sleep(1.2)  # what was counted is added a second later
        return sleeps(listener) == before

    wait_for(is_at_rest)
    assert is_at_rest()
    send(daemon)
    assert not is_at_rest()


def sleeps(pid: int) -> list[str]:
    """How often each thread of a process has gone to sleep."""
    found = []
    for status in sorted(Path(f"/proc/{pid}/task").glob("*/status")):
        lines = status.read_text().split("\n")
        found += [line for line in lines if line.startswith("voluntary_ctxt_switches")]
    return found


def test_in_the_background_the_command_returns_and_the_port_answers(daemon: Daemon) -> None:
    done = subprocess.run(daemon.command("-bd"), timeout=PATIENCE, check=True, capture_output=True)
    pid = daemon.pid()
    try:
        assert done.stdout == b""
        assert daemon.answers()
        assert os.getpgid(pid) != os.getpgid(0)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: is_gone(pid))


def test_with_q_a_message_is_delivered_and_one_signal_ends_both_processes(daemon: Daemon) -> None:
    daemon.start("-bD", "-q15m")
    assert daemon.process is not None
    listener = daemon.listener()
    send(daemon)
    wait_for((daemon.cf.parent / "mail" / "dave").exists)
    wait_for(lambda: not daemon.host.files() or daemon.host.files() == [".runner"])
    begin = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE) == 0
    assert time.monotonic() - begin < 2
    assert is_gone(listener)
    assert "SMTP+queueing@00:15:00" in daemon.log.read_text()


def test_a_client_is_not_kept_waiting_for_a_slow_program(daemon: Daemon) -> None:
    """RFC 5321 section 6.1: who waits for a reply for long sends the message again."""
    Path(daemon.host.options.alias_files[0]).write_text('postmaster: root\nslow: "|sleep 4"\n')
    daemon.start("-bD", "-q15m", "-odi")
    begin = time.monotonic()
    send(daemon, "slow")
    assert time.monotonic() - begin < 2


def test_when_the_runner_dies_the_listener_ends(daemon: Daemon) -> None:
    daemon.start("-bD", "-q15m")
    assert daemon.process is not None
    listener = daemon.listener()
    daemon.process.kill()
    wait_for(lambda: is_gone(listener))
    wait_for(lambda: not daemon.answers())  # a queue child that has just been forked lets go, too


def test_who_answers_a_client_has_the_place_of_the_runner_already(daemon: Daemon) -> None:
    daemon.start("-bD", "-q15m")
    connection, _ = daemon.connect()
    queue = daemon.host.options.queue_directory
    assert [locks.is_resident(path) for path in (locks.of_daemon(queue), locks.beside(queue))] == [
        True,
        True,
    ]
    connection.close()


def test_a_second_runner_is_refused_and_takes_its_listener_along(daemon: Daemon) -> None:
    daemon.start("-bD", "-q15m")
    daemon.listener()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    text = daemon.cf.read_text().replace(f"Port={daemon.port}", f"Port={port}")
    cf = daemon.cf.with_name("cf2")
    cf.write_text(text.replace(str(daemon.pid_file), f"{daemon.pid_file}2"))
    again = [word.replace(str(daemon.cf), str(cf)) for word in daemon.command("-bD", "-q15m")]
    done = subprocess.run(again, timeout=PATIENCE, check=False, capture_output=True)
    assert done.returncode == os.EX_TEMPFAIL
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


@pytest.mark.parametrize("words", [["-bD"], ["-bd"], ["-bd", "-q15m"]])
def test_a_port_in_use_is_told(daemon: Daemon, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", daemon.port)):
        done = subprocess.run(
            daemon.command(*words), timeout=PATIENCE, check=False, capture_output=True
        )
    assert done.returncode == os.EX_OSERR
    told = done.stderr.decode()
    assert "opendaemonsocket: daemon MTA: cannot bind: Address already in use" in told
    assert "sendmail: daemon MTA: cannot bind: Address already in use" in told
    assert not daemon.pid_file.exists()


def test_a_queue_that_is_not_there_is_told(daemon: Daemon) -> None:
    options = ("-O", "QueueDirectory=/nonexistent/mqueue")
    done = subprocess.run(
        daemon.command("-bD", *options), timeout=PATIENCE, check=False, capture_output=True
    )
    assert done.returncode != 0
    assert b"/nonexistent/mqueue" in done.stderr


def test_a_host_without_a_name_that_can_be_one_is_told(daemon: Daemon) -> None:
    daemon.cf.write_text(daemon.cf.read_text().replace("lab2.campus", "stra\u00dfe.example"))
    done = subprocess.run(daemon.command("-bD"), timeout=PATIENCE, check=False, capture_output=True)
    assert done.returncode == os.EX_OSERR
    assert b"is no name of a host; see the option HostName" in done.stderr


def test_a_filter_that_nobody_has_defined_is_told(daemon: Daemon) -> None:
    with daemon.cf.open("a") as file:
        file.write("InputMailFilters = spam\n")
    done = subprocess.run(daemon.command("-bD"), timeout=PATIENCE, check=False, capture_output=True)
    assert done.returncode == os.EX_CONFIG
    assert b"InputMailFilters: no MailFilter is named spam, there is none at all" in done.stderr


def test_a_filter_changes_what_comes_by_the_port_and_by_a_command(
    daemon: Daemon, tmp_path: Path
) -> None:
    """In the listener's sandbox, which opens the queue's files for writing only if no filter reads."""

    def judge(data: bytes) -> list[bytes]:
        return [reply(b"h", b"X-Seen", b"yes"), b"bnew\r\n", b"c"]

    with FakeFilter(tmp_path / "filter", {"E": judge}) as one, daemon.cf.open("a") as file:
        file.write(f"MailFilter = {one.row()}\nInputMailFilters = one\n")
        file.flush()
        daemon.start("-bD", "-q1h")
        send(daemon)
        submit = daemon.command("dave")
        subprocess.run(submit, input=b"Subject: y\n\nold\n", timeout=PATIENCE, check=True)
        box = Path(tmp_path, "mail", "dave")
        wait_for(lambda: box.exists() and box.read_bytes().count(b"\nX-Seen: yes\n") == 2)
        assert box.read_bytes().count(b"\n\nnew\n") == 2
        daemon.stop()


def test_a_session_whose_filter_hangs_holds_up_no_other(daemon: Daemon, tmp_path: Path) -> None:
    hanging = iter([None])

    def judge(data: bytes) -> bytes | Iterator[bytes]:
        return late() if next(hanging, b"") is None else b"c"

    def late() -> Iterator[bytes]:
        time.sleep(2)
        yield b"c"

    with FakeFilter(tmp_path / "filter", {"M": judge}) as one, daemon.cf.open("a") as file:
        file.write(f"MailFilter = {one.row()}\nInputMailFilters = one\n")
        file.flush()
        daemon.start("-bD")
        slow, answer = daemon.connect()
        begun = time.monotonic()
        slow.sendall(b"MAIL FROM:<emma@lab1.campus>\r\n")
        wait_for(lambda: "M" in one.said)
        send(daemon)
        assert time.monotonic() - begun < 1.9
        assert answer().startswith("250 2.1.0")
        slow.close()
        daemon.stop()


def ask(daemon: Daemon, recipient: str) -> str:
    """The answer to RCPT."""
    sock, answer = daemon.connect()
    with sock:
        for line in ("HELO x", "MAIL FROM:<>", f"RCPT TO:<{recipient}>"):
            sock.sendall(line.encode() + b"\r\n")
            told = answer()
        return told


@pytest.mark.parametrize("words", [("-bD",), ("-bD", "-q15m")])
def test_it_starts_without_its_names_and_refuses_nothing_for_good(
    daemon: Daemon, words: tuple[str, ...]
) -> None:
    names = Path(daemon.host.options.local_host_names)
    names.unlink()
    names.mkdir()
    daemon.start(*words)
    assert ask(daemon, "dave@list.campus").startswith("451 4.3.0")
    assert f"{names}: Is a directory" in daemon.log.read_text()
    names.rmdir()
    names.write_text("list.campus\n")
    assert ask(daemon, "dave@list.campus").startswith("250 2.1.5")
    names.write_text("")
    assert ask(daemon, "dave@list.campus").startswith("250 2.1.5")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().split("\n")
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.root
def test_run_as_root_is_refused_with_a_sentence(daemon: Daemon) -> None:
    command = daemon.command("-bD", "-O", "RunAsUser=root")
    done = subprocess.run(command, timeout=PATIENCE, check=False, capture_output=True)
    assert done.returncode == os.EX_OSERR
    assert done.stderr == (
        b"sendmail: RunAsUser root: is root; leave the option empty to keep root\n"
    )


@pytest.mark.root
def test_started_as_root_the_listener_has_no_way_back() -> None:
    with open_to_others() as daemon:
        serve_as_nobody(daemon)
        os.chmod(daemon.host.mqueue, 0o1733)
        # What only root may read the listener has read before it became somebody else.
        (daemon.cf.parent / "names").write_text("list.campus\n")
        (daemon.cf.parent / "names").chmod(0o600)
        (daemon.cf.parent / "mailertable").write_text("bad.campus error:5.7.1:550 No\n")
        (daemon.cf.parent / "mailertable").chmod(0o600)
        access = daemon.cf.parent / "access"
        access.write_text("To:held@lab2.campus ERROR:5.2.1:550 As root\n")
        access.chmod(0o600)
        daemon.start("-bD", "-q15m")
        listener = daemon.listener()
        wait_for(lambda: status_of(listener)["Uid"].split()[0] != "0")
        fields = status_of(listener)
        assert len(set(fields["Uid"].split())) == 1
        assert fields["Uid"].split()[0] != "0"
        assert fields["Groups"].strip() == ""
        assert ask(daemon, "dave@list.campus").startswith("250 2.1.5")
        assert ask(daemon, "x@bad.campus").startswith("550 5.7.1")
        assert ask(daemon, "held@lab2.campus").endswith("As root\r\n")
        # A change is seen, if it may be read; else nobody knows what it says.
        access.write_text("To:held@lab2.campus ERROR:5.2.1:550 Changed\n")
        wait_for(lambda: ask(daemon, "held@lab2.campus").startswith("503"))  # MAIL got 451
        access.chmod(0o644)
        wait_for(lambda: ask(daemon, "held@lab2.campus").endswith("Changed\r\n"))
        send(daemon, "carol")
        wait_for((daemon.cf.parent / "mail" / "carol").exists)


@pytest.mark.root
def test_started_as_root_the_listener_reads_users_that_only_its_group_may_read() -> None:
    with open_to_others() as daemon:
        users = write_users(daemon.cf.parent / "smtp-users", {"emma": "secret"})
        os.chown(users, 0, 65534)
        text = daemon.cf.read_text().replace("RunAsUser = ", "RunAsUser = nobody")
        daemon.cf.write_text(f"{text}AuthBackend = {users}\nClearAuth = loopback\n")
        daemon.start("-bD", "-q15m")
        listener = daemon.listener()
        wait_for(lambda: status_of(listener)["Uid"].split()[0] != "0")
        sock, answer = daemon.connect()
        with sock:
            for line, code in (
                ("AUTH PLAIN AGVtbWEAd3Jvbmc=", "535"),
                ("AUTH PLAIN AGVtbWEAc2VjcmV0", "235"),
            ):
                sock.sendall(line.encode() + b"\r\n")
                assert answer()[:3] == code
            for line in ("AUTH SCRAM-SHA-256", "MAIL FROM:<>"):
                sock.sendall(line.encode() + b"\r\n")
                assert answer()[:3] in ("503", "250")


# --- one runner, and who else is there -------------------------------------------------------------


@pytest.fixture
def runner(daemon: Daemon) -> Iterator[int]:
    """sendmail -q15m with the same PidFile, and in the background."""
    assert subprocess.run(daemon.command("-q15m"), timeout=PATIENCE, check=False).returncode == 0
    pid = daemon.pid()
    yield pid
    if not is_gone(pid):
        os.kill(pid, signal.SIGKILL)


def test_beside_a_runner_it_listens_and_takes_its_place_when_it_ends(
    daemon: Daemon, runner: int
) -> None:
    daemon.start("-bD", "-q15m")
    assert daemon.process is not None
    wait_for(lambda: "its end is waited for" in daemon.log.read_text())
    assert daemon.pid() == runner
    os.kill(runner, signal.SIGTERM)
    ours = daemon.process.pid
    wait_for(lambda: daemon.pid_file.exists() and daemon.pid() == ours)
    send(daemon)
    wait_for((daemon.cf.parent / "mail" / "dave").exists)


def test_beside_a_runner_it_ends_when_told(daemon: Daemon, runner: int) -> None:
    daemon.start("-bD", "-q15m")
    assert daemon.process is not None
    daemon.process.terminate()
    assert daemon.process.wait(PATIENCE) == 0
    assert daemon.pid() == runner


def test_its_name_goes_before_another_daemon_can_be_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SmtpHost(tmp_path).options
    options.pid_file = str(tmp_path / "pid")
    path = locks.of_daemon(options.queue_directory)
    looks, held, remove = iter([False, False, True]), list[tuple[bool, bool]](), pidfile.remove

    def removed(place: str) -> None:
        held.append((locks.is_resident(path), os.path.exists(place)))
        remove(place)

    monkeypatch.setattr(pidfile, "remove", removed)
    listeners: Any = SimpleNamespace(renewed=lambda: None, awaited=lambda: Wait((), math.inf))
    begun = listener._Begun(options, ["sendmail"], lambda: None)
    stop = partial(next, looks, True)
    assert listener._run_queue(options, None, stop, begun, listeners, []) == os.EX_OK
    assert held == [(True, True)]
    assert not locks.is_resident(path) and not os.path.exists(options.pid_file)


@pytest.mark.parametrize("mode", ["-bd", "-bD"])
def test_one_who_only_listens_leaves_the_pid_file_to_the_runner(
    daemon: Daemon, runner: int, mode: str
) -> None:
    daemon.start(mode)
    assert daemon.pid() == runner
    if mode == "-bd":
        assert daemon.process is not None and daemon.process.wait(PATIENCE) == 0
        # The port answers before there is a listener.
        [pid] = wait_for(lambda: [one for one in in_the_background(daemon) if children(one)])
        found = in_the_background(daemon)  # the other is the listener
        os.kill(pid, signal.SIGTERM)
        for one in found:
            wait_for(lambda one=one: is_gone(one))  # type: ignore[misc]
    else:
        daemon.stop()
    assert daemon.pid() == runner


def in_the_background(daemon: Daemon) -> list[int]:
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"-bd" in read_quietly(path) and str(daemon.cf).encode() in read_quietly(path)
    ]


def read_quietly(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("words", [["-q30m"], ["-bD", "-q30m"], ["-bd", "-q30m"]])
def test_a_second_runner_or_daemon_says_so_and_leaves_the_pid_file(
    daemon: Daemon, words: list[str]
) -> None:
    daemon.start("-bD", "-q15m")
    wait_for(daemon.pid_file.exists)
    pid = daemon.pid()
    daemon.cf.write_text(daemon.cf.read_text().replace(f"Port={daemon.port}", "Port=0"))
    command = daemon.command(*words)
    done = subprocess.run(command, timeout=PATIENCE, check=False, capture_output=True)
    assert done.returncode == os.EX_TEMPFAIL
    assert b"sendmail: another " in done.stderr
    assert daemon.pid() == pid


@pytest.mark.parametrize("words", [["-bd", "-q15m"], ["-q15m"], ["-bd"]])
def test_a_quick_restart_waits_for_what_is_ending(daemon: Daemon, words: list[str]) -> None:
    pids = []
    for _ in range(3):
        done = subprocess.run(
            daemon.command(*words), timeout=PATIENCE, check=False, capture_output=True
        )
        assert (done.returncode, done.stdout) == (0, b"")
        pids.append(daemon.pid())
        os.kill(pids[-1], signal.SIGTERM)
    wait_for(lambda: all(is_gone(pid) for pid in pids))
    assert len(set(pids)) == 3
    assert not daemon.pid_file.exists()


def test_a_port_that_another_daemon_is_leaving_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = OSError(errno.EADDRINUSE, "Address already in use")
    answers: list[OSError | list[Server]] = [taken, taken, []]

    def bind(options: Options) -> list[Server]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(listener, "bind", bind)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert listener._bind_in_time(Options()) == []
    assert not answers


# --- TLS ------------------------------------------------------------------------------------------


def with_certificate(daemon: Daemon, own: KeyPair) -> None:
    with daemon.cf.open("a") as file:
        file.write(f"ServerCertFile = {own.cert_file}\nServerKeyFile = {own.key_file}\n")


def s_client(daemon: Daemon, *words: str) -> str:
    """What openssl(1) says of a session."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.port}", *words]
    done = subprocess.run(
        command, input=b"QUIT\n", timeout=PATIENCE, check=False, capture_output=True
    )
    return done.stdout.decode() + done.stderr.decode()


@pytest.mark.debian("openssl")
def test_openssl_gets_our_certificate(daemon: Daemon, tmp_path: Path) -> None:
    with_certificate(daemon, self_signed(tmp_path, "lab2.campus"))
    daemon.start("-bD")
    told = s_client(daemon, "-starttls", "smtp", "-crlf", "-quiet")
    assert "221 2.0.0 lab2.campus closing connection" in told
    assert "TLSv1.2" in s_client(daemon, "-starttls", "smtp", "-tls1_2")
    assert "no peer certificate" in s_client(
        daemon, "-starttls", "smtp", "-tls1_1", "-cipher", "ALL@SECLEVEL=0"
    )


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("fault", ["missing", "of another", "readable"])
def test_a_certificate_that_cannot_be_used_is_logged_and_mail_goes_on_in_clear(
    daemon: Daemon, tmp_path: Path, fault: str
) -> None:
    own, other = self_signed(tmp_path, "lab2.campus"), self_signed(tmp_path, "b.campus")
    key = {"missing": str(tmp_path / "no"), "of another": other.key_file}.get(fault, own.key_file)
    if fault == "readable":
        Path(key).chmod(0o644)
    with_certificate(daemon, KeyPair(own.cert_file, key))
    daemon.start("-bD")
    sock, answer = daemon.connect()
    with sock:
        sock.sendall(b"STARTTLS\r\n")
        assert answer() == "454 4.3.3 TLS not available after start\r\n"
    send(daemon)
    assert "STARTTLS is not offered" in daemon.log.read_text()


@pytest.mark.root
@pytest.mark.debian("openssl")
def test_the_key_is_read_before_root_is_given_up(daemon: Daemon, tmp_path: Path) -> None:
    own = self_signed(tmp_path, "lab2.campus")
    assert Path(own.key_file).stat().st_mode & 0o077 == 0
    with_certificate(daemon, own)
    daemon.cf.write_text(daemon.cf.read_text().replace("RunAsUser = ", "RunAsUser = nobody"))
    os.chmod(daemon.host.mqueue, 0o1733)
    daemon.start("-bD", "-q15m")
    assert "221 2.0.0 lab2.campus" in s_client(daemon, "-starttls", "smtp", "-crlf", "-quiet")
    listener = daemon.listener()
    assert status_of(listener)["Uid"].split()[0] != "0"
    # The kernel hides the memory of a process that has given up root from others of its user.
    assert os.stat(f"/proc/{listener}/mem").st_uid == 0
