"""Reload: SIGHUP puts a new listener in the old one's place, and nobody is refused."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pwd
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.listener import supervisor
from minimta.listener.listener_child import ListenerChild
from minimta.listener.orders import READY
from minimta.listener.supervisor import Supervisor
from minimta.queue.spool import Spool
from minimta.system import log
from tests.listener.test_daemon import (
    PATIENCE,
    Daemon,
    ask,
    children,
    is_gone,
    open_to_others,
    send,
    serve_as_nobody,
    status_of,
    wait_for,
    with_certificate,
)
from tests.support.certificates import fingerprint, self_signed
from tests.support.smtphost import SmtpHost

BOTH = pytest.mark.parametrize("words", [("-bD",), ("-bD", "-q15m")])


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(tmp_path)
    yield one
    one.stop()


def listens(daemon: Daemon) -> int:
    """Pid of the listener, the first child that has begun to listen: a delivery may be an older one."""
    assert daemon.process is not None
    pid = daemon.process.pid
    return wait_for(lambda: [child for child in children(pid) if child in begun(daemon)])[0]


def has_stopped(pid: int) -> bool:
    """Have all its threads, by SIGSTOP (proc(5), state)?"""
    threads = Path("/proc", str(pid), "task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def reload(daemon: Daemon, outcome: str = "reload: done") -> None:
    """Send SIGHUP, and return when the log tells of its *outcome*."""
    assert daemon.process is not None
    seen = daemon.log.read_text().count(outcome)
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.log.read_text().count(outcome) > seen)


def change(daemon: Daemon, old: str, new: str) -> None:
    text = daemon.cf.read_text()
    assert old in text
    daemon.cf.write_text(text.replace(old, new))


@BOTH
def test_sighup_brings_new_options_and_tables(daemon: Daemon, words: tuple[str, ...]) -> None:
    daemon.start(*words)
    old = listens(daemon)
    daemon.cf.write_text(daemon.cf.read_text() + "MaxRecipientsPerMessage = 1\n")
    Path(daemon.host.options.local_host_names).write_text("new.campus\n")
    reload(daemon)
    assert ask(daemon, "dave@new.campus").startswith("250")
    sock, answer = daemon.connect()
    with sock:
        sock.sendall(b"MAIL FROM:<>\r\nRCPT TO:<dave>\r\nRCPT TO:<carol>\r\n")
        assert [answer()[:3] for _ in range(3)] == ["250", "250", "452"]
    wait_for(lambda: is_gone(old))
    assert daemon.pid() == daemon.process.pid  # type: ignore[union-attr]


def wake_ups(pid: int) -> int:
    """How often a process has waited for something (proc(5))."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    (count,) = (line for line in lines if line.startswith("voluntary_ctxt_switches:"))
    return int(count.split(":")[1])


@BOTH
def test_the_parent_sleeps_until_something_happens(daemon: Daemon, words: tuple[str, ...]) -> None:
    daemon.start(*words)
    listener = listens(daemon)
    pid = daemon.process.pid  # type: ignore[union-attr]

    def sleeps() -> bool:
        before = wake_ups(pid)
        time.sleep(1.1)  # it was woken twice, or ten times, a second
        return wake_ups(pid) == before

    wait_for(sleeps)
    os.kill(listener, signal.SIGKILL)
    wait_for(lambda: listens(daemon) != listener)
    wait_for(sleeps)


@BOTH
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("NoSuchThing = 1\n", "unknown option name NoSuchThing"),
        (
            "QueueDirectory = /nonexistent\n",
            "option QueueDirectory has changed, which needs a rest",
        ),
        (
            "ServerCertFile = /nonexistent/cert.pem\n",
            "cannot listen: /nonexistent/cert.pem: No such",
        ),
        ("RunAsUser = nosuchuser\n", "cannot listen: RunAsUser nosuchuser: no such user"),
        ("DaemonPortOptions = Addr=192.0.2.1, Port=25\n", "Cannot assign requested address"),
    ],
)
def test_what_is_wrong_keeps_the_old_listener_and_is_logged(
    daemon: Daemon, words: tuple[str, ...], line: str, why: str
) -> None:
    if line.startswith(("RunAsUser", "QueueDirectory")) and os.geteuid():
        pytest.skip("only root becomes another user, or may name another queue")
    daemon.start(*words)
    old = listens(daemon)
    good = daemon.cf.read_text()
    daemon.cf.write_text(good + line)
    reload(daemon, "reload: nothing is changed")
    assert why in daemon.log.read_text()
    assert children(daemon.process.pid)[0] == old  # type: ignore[union-attr]
    send(daemon)
    daemon.cf.write_text(good)
    reload(daemon)
    send(daemon)


@pytest.mark.root  # only root becomes another user
@BOTH
def test_a_user_who_may_not_fill_the_queue_is_refused(words: tuple[str, ...]) -> None:
    with open_to_others() as daemon:
        daemon.start(*words)
        queue = Path(daemon.host.options.queue_directory)
        serve_as_nobody(daemon)
        reload(daemon, "reload: nothing is changed")
        uid = pwd.getpwnam("nobody").pw_uid
        why = f"cannot listen: {queue}: uid {uid} may make no files there: see RunAsUser"
        assert why in daemon.log.read_text()
        send(daemon)
        queue.chmod(0o1733)
        reload(daemon)
        send(daemon)


@pytest.mark.root
def test_who_comes_first_or_after_a_dead_one_listens_all_the_same() -> None:
    """The mode may be mended any time; until then clients are told to come again."""
    with open_to_others() as daemon:
        queue = Path(daemon.host.options.queue_directory)
        serve_as_nobody(daemon)
        daemon.start("-bD")
        wait_for(lambda: "see RunAsUser; mail is refused for now" in daemon.log.read_text())
        (first,) = wait_for(lambda: begun(daemon))
        os.kill(first, signal.SIGKILL)
        told = "see RunAsUser; mail is refused for now"
        wait_for(lambda: daemon.log.read_text().count(told) == 2)
        queue.chmod(0o1733)
        wait_for(daemon.answers)
        send(daemon)


def test_a_refused_configuration_has_no_say_in_the_log(daemon: Daemon) -> None:
    daemon.start("-bD")
    good = daemon.cf.read_text()
    daemon.cf.write_text(good.replace("LogTo = stderr", "LogTo = none") + "PidFile = /other\n")
    reload(daemon, "nothing is changed: option PidFile has changed")
    daemon.cf.write_text(good)
    reload(daemon)


@pytest.mark.root  # others may not name with -C what makes the defaults hold
@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_a_configuration_that_is_empty_all_at_once_keeps_the_old_listener(
    daemon: Daemon, text: str
) -> None:
    """An editor writes it anew, or the disk is full."""
    daemon.start("-bD")
    good = daemon.cf.read_text()
    daemon.cf.write_text(text)
    reload(daemon, f"nothing is changed: {daemon.cf}: is empty or not there any more")
    daemon.cf.write_text(good)
    reload(daemon)


def test_a_new_listener_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its certificate is on a server that does not answer, perhaps."""
    monkeypatch.setattr(supervisor, "_BEGINNING", 0.0)
    monkeypatch.setattr(log, "_sinks", ("stderr",))
    monkeypatch.setattr(log, "_level", 9)
    before = signal.getsignal(signal.SIGHUP)
    options = SmtpHost(tmp_path).options
    options.daemon_ports = ()
    listeners = Supervisor(options, [], Spool(options.queue_directory), lambda: options)

    def look() -> str:
        listeners.look()
        return capsys.readouterr().err

    hanging = subprocess.Popen(["/bin/sleep", "60"])
    ours, theirs = socket.socketpair()
    try:
        monkeypatch.setattr(listeners, "_fork", lambda *_: ListenerChild(hanging.pid, ours))
        os.kill(os.getpid(), signal.SIGHUP)
        wait_for(lambda: "has not begun in 0 seconds" in look())
        wait_for(lambda: look() == "" and not listeners._retired)
        os.kill(os.getpid(), signal.SIGHUP)  # and the next one is obeyed
        wait_for(lambda: "reading the configuration anew" in look())
    finally:
        signal.signal(signal.SIGHUP, before)
        hanging.kill()
        theirs.close()


def test_a_session_that_has_begun_goes_on_with_the_old_listener(daemon: Daemon) -> None:
    daemon.start("-bD")
    old = listens(daemon)
    sock, answer = daemon.connect()
    with sock:
        sock.sendall(b"MAIL FROM:<>\r\nRCPT TO:<dave>\r\nDATA\r\n")
        assert [answer()[:3] for _ in range(3)] == ["250", "250", "354"]
        reload(daemon)
        send(daemon)  # by the new one
        assert not is_gone(old)
        sock.sendall(b"Subject: x\r\n\r\nHi\r\n.\r\nQUIT\r\n")
        assert answer().startswith("250 2.0.0")
        assert answer().startswith("221")
    wait_for(lambda: is_gone(old))
    assert len(daemon.host.queued()) == 2


@pytest.mark.root
def test_a_new_listener_cannot_speak_with_the_old_one(daemon: Daemon) -> None:
    daemon.start("-bD")
    assert daemon.process is not None
    old = listens(daemon)
    sock, _ = daemon.connect()
    reload(daemon)
    (new,) = set(children(daemon.process.pid)) - {old}
    # Nor with the parent in its name: the port is all that they share.
    assert len(sockets_of(new) & sockets_of(daemon.process.pid)) == 1
    sock.close()


def begun(daemon: Daemon) -> list[int]:
    """The pids of all listeners so far."""
    text = daemon.log.read_text()
    return [int(pid) for pid in re.findall(r"\[(\d+)\]: starting daemon: sandbox: ", text)]


def files_of(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # just closed
            found.append(os.readlink(path))
    return found


@pytest.mark.root  # a listener shows /proc/PID/fd to nobody else
@BOTH
@pytest.mark.parametrize("how", ["first", "reload", "death"])
def test_a_listener_has_nothing_of_its_parents_but_the_ports_and_its_own_queue(
    daemon: Daemon, words: tuple[str, ...], how: str
) -> None:
    """The runner has places of its own by then: mqueue again, clientmqueue, locks, pipes of children."""
    options = daemon.host.options
    daemon.start(*words)
    assert daemon.process is not None
    send(daemon)
    wait_for(lambda: len(words) == 1 or (daemon.cf.parent / "mail" / "dave").exists())
    (first,) = wait_for(lambda: begun(daemon))
    if how == "reload":
        reload(daemon)
    elif how == "death":
        os.kill(first, signal.SIGKILL)
    wait_for(lambda: how == "first" or (begun(daemon)[1:] and is_gone(first)))
    pid = begun(daemon)[-1]
    send(daemon)  # it has opened all that it needs
    theirs, ours = files_of(daemon.process.pid), files_of(pid)
    assert ours.count(options.queue_directory) == 1
    assert options.client_queue_directory not in ours
    assert not [path for path in ours if path.endswith((".runner", ".daemon", ".slots"))]
    shared = {path for path in ours if path in theirs and path.startswith(("pipe:", "socket:"))}
    assert shared == {f"socket:[{inode}]" for inode in listening(daemon)}


def test_it_is_done_when_the_old_listener_accepts_no_more(daemon: Daemon) -> None:
    """Until then a client may still get the old certificate."""
    daemon.start("-bD", "-q15m")  # it looks ten times a second
    old = listens(daemon)
    assert daemon.process is not None
    os.kill(old, signal.SIGSTOP)
    try:
        wait_for(lambda: has_stopped(old))  # a thread that just runs does so a moment later
        daemon.process.send_signal(signal.SIGHUP)
        send(daemon)  # by the new one
        time.sleep(0.7)
        assert "reload: done" not in daemon.log.read_text()
    finally:
        os.kill(old, signal.SIGCONT)
    wait_for(lambda: "reload: done" in daemon.log.read_text())


def test_an_old_listener_that_hangs_does_not_hold_up_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log, "_sinks", ("stderr",))
    monkeypatch.setattr(log, "_level", 9)
    before = signal.getsignal(signal.SIGHUP)
    options = SmtpHost(tmp_path).options
    options.daemon_ports = ()
    listeners = Supervisor(options, [], Spool(options.queue_directory), lambda: options)
    seen: list[str] = []

    def logged(text: str) -> bool:
        listeners.look()
        seen.append(capsys.readouterr().err)
        return text in "".join(seen)

    hanging = subprocess.Popen(["/bin/sleep", "60"])
    following = subprocess.Popen(["/bin/sleep", "60"])
    pairs = [socket.socketpair() for _ in range(2)]
    children = [
        ListenerChild(one.pid, ours)
        for one, (ours, _) in zip((hanging, following), pairs, strict=True)
    ]
    try:
        listeners._current = children[0]
        monkeypatch.setattr(listeners, "_fork", lambda *_: children[1])
        os.kill(os.getpid(), signal.SIGHUP)
        wait_for(lambda: logged("reading the configuration anew"))
        pairs[1][1].send(READY)
        wait_for(lambda: logged("") and listeners._current is children[1])
        assert not listeners.awaited().is_over(())
        os.kill(os.getpid(), signal.SIGHUP)
        assert not logged("done") and not logged("still accepts")
        monkeypatch.setattr(supervisor, "_CLOSING", 0.0)
        assert listeners.awaited().is_over(())
        assert logged("reload: done, but the old listener still accepts after 0 seconds")
        seen.clear()
        wait_for(lambda: logged("reading the configuration anew"))
    finally:
        signal.signal(signal.SIGHUP, before)
        for child in (hanging, following):
            child.kill()
            child.wait()
        for one in itertools.chain(*pairs):
            one.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@BOTH
def test_ports_come_and_go(daemon: Daemon, words: tuple[str, ...]) -> None:
    daemon.start(*words)
    old, more = daemon.port, free_port()
    first = f"DaemonPortOptions = Name=MTA, Addr=127.0.0.1, Port={old}\n"
    second = f"DaemonPortOptions = Name=MSA, Addr=127.0.0.1, Port={more}\n"
    change(daemon, first, first + second)
    reload(daemon)
    for port in (old, more):
        socket.create_connection(("127.0.0.1", port), 1).close()
    change(daemon, first, "")
    reload(daemon)
    socket.create_connection(("127.0.0.1", more), 1).close()
    daemon.port = old
    wait_for(lambda: not daemon.answers())
    daemon.port = more


def test_the_queue_runner_obeys_the_new_options(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start("-bD", "-q15m")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    change(daemon, f"MailboxDirectory = {tmp_path / 'mail'}", f"MailboxDirectory = {elsewhere}")
    reload(daemon)
    send(daemon)
    wait_for((elsewhere / "dave").exists)


@BOTH
def test_a_queue_that_was_moved_away_gets_no_more_mail(
    daemon: Daemon, words: tuple[str, ...]
) -> None:
    daemon.start(*words)
    queue = Path(daemon.host.options.queue_directory)
    send(daemon, "dave")
    wait_for(lambda: (daemon.cf.parent / "mail" / "dave").exists() or len(words) == 1)
    queue.rename(queue.with_name("away"))
    queue.mkdir(mode=0o700)
    wait_for(lambda: daemon.answers() and "reload: done" in daemon.log.read_text())
    send(daemon, "carol")
    if len(words) == 1:
        assert list(queue.glob("qf*"))
    else:  # its runner looks there, too
        wait_for((daemon.cf.parent / "mail" / "carol").exists)


def test_a_message_that_was_begun_before_the_queue_was_moved_comes_again(daemon: Daemon) -> None:
    daemon.start("-bD")
    queue = Path(daemon.host.options.queue_directory)
    sock, answer = daemon.connect()
    with sock:
        sock.sendall(b"MAIL FROM:<>\r\nRCPT TO:<dave>\r\nDATA\r\n")
        assert [answer()[:3] for _ in range(3)] == ["250", "250", "354"]
        queue.rename(queue.with_name("away"))
        queue.mkdir(mode=0o700)
        sock.sendall(b"Subject: x\r\n\r\nHi\r\n.\r\n")
        assert answer().startswith("451 4.3.0")
    assert not [*queue.iterdir(), *queue.with_name("away").iterdir()]


@BOTH
def test_one_signal_ends_all_of_them(daemon: Daemon, words: tuple[str, ...]) -> None:
    daemon.start(*words)
    assert daemon.process is not None
    sock, answer = daemon.connect()
    with sock:
        first = listens(daemon)
        reload(daemon)
        assert not is_gone(first)
        both = [pid for pid in children(daemon.process.pid) if not is_gone(pid)]
        daemon.process.send_signal(signal.SIGTERM)
        assert answer().startswith("421 4.3.2")
        sock.close()
        assert daemon.process.wait(PATIENCE) == 0
    assert all(map(is_gone, both))
    assert not daemon.answers()


def test_a_delivery_that_outlives_the_daemon_does_not_keep_its_ports(daemon: Daemon) -> None:
    daemon.start("-bD", "-q15m")
    assert daemon.process is not None
    runner = daemon.process.pid
    with daemon.cf.parent.joinpath("aliases").open("a") as file:
        file.write('slow: "|exec sleep 5"\n')
    send(daemon, "slow")
    listener = listens(daemon)
    # The one that waits for the program.
    [slow] = wait_for(
        lambda: [pid for pid in children(runner) if pid != listener and children_of(pid)]
    )
    assert not listening(daemon) & sockets_of(slow)
    assert listening(daemon) <= sockets_of(runner)


def children_of(pid: int) -> list[int]:
    """[] also if it has ended."""
    try:
        return children(pid)
    except OSError:
        return []


def sockets_of(pid: int) -> set[str]:
    """Inodes of the sockets that a process has."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(path))
        except OSError:
            continue
    return {name[8:-1] for name in found if name.startswith("socket:")}


def listening(daemon: Daemon) -> set[str]:
    """Inode of the listening socket."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().split("\n")[1:] if line]
    return {row[9] for row in rows if row[1].endswith(f":{daemon.port:04X}") and row[3] == "0A"}


@pytest.mark.root
@pytest.mark.debian("openssl")
def test_the_new_listener_reads_the_key_as_root_and_then_gives_root_up(daemon: Daemon) -> None:
    change(daemon, "RunAsUser = ", "RunAsUser = nobody")
    os.chmod(daemon.host.mqueue, 0o1733)
    own = self_signed(daemon.cf.parent, "lab2.campus")
    with_certificate(daemon, own)
    daemon.start("-bD", "-q15m")
    old = listens(daemon)
    self_signed(daemon.cf.parent, "lab2.campus")
    reload(daemon)
    assert served(daemon) == fingerprint(own)
    wait_for(lambda: is_gone(old))
    new = listens(daemon)
    assert {status_of(new)["Uid"].split()[number] for number in range(4)} != {"0"}
    assert status_of(new)["Groups"].strip() == ""


# --- certificates and load ------------------------------------------------------------------------


def served(daemon: Daemon) -> str:
    """Fingerprint of the certificate that a client gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        found = client.sock.getpeercert(binary_form=True)
    assert found
    return hashlib.sha256(found).hexdigest()


class Load:
    """Clients that send one message after the other, each by a connection of its own."""

    def __init__(self, daemon: Daemon, clients: int) -> None:
        self._daemon = daemon
        self._stop = threading.Event()
        self.sent = 0
        self.failed: list[str] = []
        self._mutex = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                send(self._daemon)
                with self._mutex:
                    self.sent += 1
            except (OSError, AssertionError) as error:
                self.failed.append(repr(error))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def reloads_under_load(daemon: Daemon, times: int, pause: float) -> int:
    """How many messages were sent; none was refused, none is lost, and the new certificate served."""
    directory = daemon.cf.parent
    own = self_signed(directory, "lab2.campus")
    with_certificate(daemon, own)
    daemon.start("-bD")
    load = Load(daemon, 4)
    try:
        for _ in range(times):
            before = fingerprint(own)
            self_signed(directory, "lab2.campus")  # renewed, in the same place
            reload(daemon)
            assert served(daemon) == fingerprint(own) != before
            time.sleep(pause)
    finally:
        load.stop()
    assert load.failed == []
    assert len(daemon.host.queued()) == load.sent > 0
    return load.sent


@pytest.mark.debian("openssl")
def test_under_load_no_connection_is_refused_and_the_new_certificate_is_served(
    daemon: Daemon,
) -> None:
    reloads_under_load(daemon, 3, 0.0)


@pytest.mark.long
@pytest.mark.debian("openssl")
def test_fifty_reloads_under_load(daemon: Daemon) -> None:
    sent = reloads_under_load(daemon, 50, 0.2)
    print(f"{sent} messages, 50 reloads")
