"""The process that listens, as code of a stranger would find it: what it may still do, and why not.

by rule    also in a process that is root's, or that owns the file: Landlock
by mode    RunAsUser has no right to it, with or without Landlock
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.config import filters, ports
from minimta.config.options import Options
from minimta.listener import process, refusals
from minimta.listener.incoming_queue import open_spool
from minimta.listener.orders import ENDING
from minimta.listener.process import Listener
from minimta.message.envelope import Envelope, Recipient
from minimta.queue import collect
from minimta.queue import qid as queue_id
from minimta.queue.spool import Spool
from minimta.system import landlock, log, privileges
from tests.listener.test_daemon import SENDMAIL, Daemon, send, wait_for
from tests.listener.test_supervisor import free_port, reload
from tests.support import without_landlock
from tests.support.hostile import connect, dump, gain, listen, make, outcomes, read, run, tried
from tests.system.test_sandbox import kernel

QID = "6AM9CfOn000096"


class Place:
    """A host whose tables and queue lie apart, where the user nobody can come."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o711)
        for name, mode in (("mqueue", 0o700), ("tables", 0o711), ("elsewhere", 0o777)):
            (directory / name).mkdir()
            (directory / name).chmod(mode)
        self.directory = directory
        self.queue = directory / "mqueue"
        self.tables = directory / "tables"
        options = self.options = Options()
        options.host_name = "lab2.campus"
        options.queue_directory = str(self.queue)
        options.alias_files = (str(self.tables / "aliases"),)
        for name in process._TABLES:
            setattr(options, name, str(self.tables / name))
        for name in ("ca_cert_file", "ca_cert_path", "server_cert_file", "login_senders"):
            setattr(options, name, "")
        options.run_as_user = ""
        options.group_commit = False
        options.queue_la = options.refuse_la = 10_000
        ids = f"{os.geteuid()}:{os.getegid()}"
        self.table("passwd_file", f"dave:x:{ids}:Dave:/home/dave:/bin/sh\n")
        self.table("aliases", "postmaster: dave\n")

    def table(self, name: str, text: str, mode: int = 0o644) -> Path:
        """It is replaced, as editors and tools do it."""
        path = self.tables / name
        (self.tables / "new").write_text(text)
        (self.tables / "new").chmod(mode)
        os.rename(self.tables / "new", path)
        return path

    def listens(self, act: Callable[[Spool], bytes]) -> bytes:
        """What *act* returns inside a listener that is ready for its first client."""

        def listen() -> bytes:
            spool = open_spool(self.options)
            assert isinstance(spool, Spool)
            Listener(self.options, [], spool, has_to_listen=False)
            return act(spool)

        return privileges.in_child(listen, 20)

    def tries(self, **attempts: Callable[[], object]) -> dict[str, str]:
        return outcomes(self.listens(lambda spool: tried(attempts)))


@pytest.fixture
def place() -> Iterator[Place]:
    # tmp_path is nobody else's.
    directory = tempfile.mkdtemp(prefix="minimta-")
    yield Place(Path(directory))
    shutil.rmtree(directory)


def by_rule(abi: int = 1) -> str:
    """What a rule refuses where the kernel has it."""
    return "EACCES" if kernel() >= abi else "done"


def accept(spool: Spool, options: Options, body: bytes = b"Hi\n") -> str:
    envelope = Envelope(reverse_path=b"emma@lab1.campus", recipients=[Recipient(b"dave")])
    incoming = collect.Incoming(
        spool, options, envelope, qid=queue_id.new(0.0), now=0.0, host="lab2.campus"
    )
    incoming.write(b"Subject: x\n\n" + body)
    return incoming.commit()


def test_hostile_code_in_the_listener_is_refused_by_rule(place: Place) -> None:
    letter = place.queue / f"df{QID}"
    letter.write_text("a letter of somebody else")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        elsewhere = place.directory / "elsewhere"
        (elsewhere / "home").write_text("x")
        found = place.tries(
            letter=read(letter),
            names=lambda: os.listdir(place.queue),
            home=read(elsewhere / "home"),
            write=make(elsewhere / "new"),
            table=make(place.tables / "new"),
            connect=connect(port),
            listen=listen,
        )
    assert found == {
        "letter": by_rule(),
        "names": by_rule(),
        "home": by_rule(),
        "write": by_rule(),
        "table": by_rule(),
        "connect": by_rule(landlock.NETWORK),
        "listen": by_rule(landlock.NETWORK),
    }


def test_it_starts_no_program(place: Place) -> None:
    if kernel():
        assert place.tries(run=run) == {"run": "EACCES"}
    else:
        with pytest.raises(OSError, match="died"):
            place.tries(run=run)


@pytest.mark.parametrize("is_confined", [True, False])
def test_it_shows_its_memory_to_nobody_and_gains_no_rights(place: Place, is_confined: bool) -> None:
    """A core file has letters and passwords in it; so it is without Landlock, too."""
    place.options.sandbox = is_confined
    assert place.tries(dump=dump, gain=gain) == {"dump": "EPERM", "gain": "EPERM"}


@pytest.mark.root
@pytest.mark.parametrize("is_confined", [True, False])
def test_secrets_are_refused_by_mode(place: Place, is_confined: bool) -> None:
    place.options.run_as_user = "nobody"
    place.options.sandbox = is_confined
    place.queue.chmod(0o730)
    os.chown(place.queue, 0, pwd.getpwnam("nobody").pw_gid)
    (place.queue / f"df{QID}").write_text("a letter that the runner has taken over")
    (place.queue / f"df{QID}").chmod(0o600)
    found = place.tries(
        shadow=read("/etc/shadow"),
        authinfo=read(place.table("authinfo", "AuthInfo: P:secret\n", 0o600)),
        letter=read(place.queue / f"df{QID}"),
        names=lambda: os.listdir(place.queue),
        root=lambda: os.setuid(0),
        table=make(place.tables / "new"),
    )
    assert set(found.values()) <= {"EACCES", "EPERM"}


@pytest.mark.root
def test_a_listener_without_root_is_refused_by_rule_what_its_user_may(place: Place) -> None:
    """Its own letters, once they are written; and all that anybody may write."""
    place.options.run_as_user = "nobody"
    os.chown(place.queue, 0, pwd.getpwnam("nobody").pw_gid)
    place.queue.chmod(0o1730)

    def act(spool: Spool) -> bytes:
        qid = accept(spool, place.options)
        return tried(
            {
                "letter": read(place.queue / f"df{qid}"),
                "control": read(place.queue / f"qf{qid}"),
                "write": make(place.directory / "elsewhere/new"),
                "tmp": make(f"/tmp/minimta-{os.getpid()}"),
            }
        )

    found = outcomes(place.listens(act))
    Path(f"/tmp/minimta-{os.getpid()}").unlink(missing_ok=True)
    assert set(found.values()) == {by_rule()}


def test_mail_is_taken_in_the_sandbox(place: Place) -> None:
    for grouped in (False, True):
        place.options.group_commit = grouped
        qid = place.listens(lambda spool: accept(spool, place.options, b"x" * 200_000).encode())
        assert (place.queue / f"df{qid.decode()}").stat().st_size == 200_001
        assert (place.queue / f"qf{qid.decode()}").exists()


def test_a_message_that_fails_leaves_nothing_behind(place: Place) -> None:
    place.options.max_message_size = 10

    def act(spool: Spool) -> bytes:
        try:
            accept(spool, place.options, b"x" * 200_000)
        except collect.MessageRefused as error:
            return str(error).encode()
        return b""

    assert b"Message exceeds" in place.listens(act)
    assert os.listdir(place.queue) == []


def test_no_letter_is_opened_for_reading(place: Place) -> None:
    def act(spool: Spool) -> bytes:
        data = spool.create(QID)
        found = tried({"read": lambda: os.read(data, 1)})
        spool.discard(QID, data)
        return found

    assert outcomes(place.listens(act)) == {"read": "EBADF"}


def test_filters_need_the_letter_at_hand_and_their_ports(place: Place) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        good, bad = (one.getsockname()[1] for one in (server, other))
        rows = f"one, S=inet:{good}@127.0.0.1", "two, S=unix:/run/two"
        place.options.mail_filters = tuple(row for text in rows for row in filters.read(text))
        place.options.input_mail_filters = ("one", "two")

        def act(spool: Spool) -> bytes:
            data = spool.create(QID)
            os.write(data, b"text")
            found = tried(
                {
                    "read": lambda: os.pread(data, 1, 0),
                    "cut": lambda: os.ftruncate(data, 1),
                    "write": lambda: os.pwrite(data, b"x", 0),
                    "connect": connect(good),
                    "elsewhere": connect(bad),
                }
            )
            spool.discard(QID, data)
            return found

        found = outcomes(place.listens(act))
    assert found == dict.fromkeys(found, "done") | {"elsewhere": by_rule(landlock.NETWORK)}


@pytest.mark.parametrize("problem", ["", "table"])
def test_the_log_tells_what_is_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    if problem:
        place.options.access_file = str(place.directory / "late/access")
    told: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: told.append(text))
    lines = place.listens(lambda spool: "\n".join(told).encode()).decode().split("\n")
    if kernel():
        assert lines[0].startswith(
            f"starting daemon: sandbox: Landlock ABI {kernel()}: files, programs"
        )
    else:
        assert lines[0].startswith("starting daemon: sandbox: no Landlock")
    where = f"sandbox: {place.directory}/late: No such file or directory"
    assert (where in lines) is bool(problem and kernel())


@pytest.mark.parametrize(("path", "is_told"), [("/dev/null", False), ("nowhere/st", True)])
def test_what_cannot_be_counted_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, path: str, is_told: bool
) -> None:
    place.options.status_file = os.path.join(place.directory, path)
    told: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: told.append(text))
    lines = place.listens(lambda spool: "\n".join(told).encode()).decode().split("\n")
    text = f"statistics: {place.directory}/nowhere/st cannot be written; "
    assert any(line.startswith(text) for line in lines) is is_told
    assert not [line for line in lines if "/dev/null" in line]


def logged_at_the_end(place: Place, parent: int, *, in_time: bool = True) -> list[str]:
    """What a listener says that is told to end as soon as it has begun, and how it ended.

    It is to be the child of *parent*, 0: it is; all sessions end *in time*.
    """

    def serve() -> bytes:
        listener = Listener(place.options, [], open_spool(place.options), has_to_listen=True)
        listener._limits.close = lambda seconds: in_time  # type: ignore[method-assign]
        told: list[str] = []
        log.line = lambda qid, text, **how: told.append(f"{text} {how}")
        control, far = socket.socketpair()
        with control, far:
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            os.kill(os.getpid(), signal.SIGTERM)
            ended = listener.serve(control, parent or os.getppid())
        return "\n".join([*told, str(ended)]).encode()

    return privileges.in_child(serve, 20).decode().split("\n")


def test_who_is_told_to_end_says_so_if_it_has_to_cut_sessions_off(place: Place) -> None:
    assert logged_at_the_end(place, 0) == ["True"]
    told = "some connections did not end in time {'level': 1}"
    assert logged_at_the_end(place, 0, in_time=False) == [told, "True"]


def test_who_has_lost_its_parent_says_so_once_and_ends(place: Place) -> None:
    """What it has accepted it still brings to its end."""
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    told = "the process that owns the ports is gone {'level': 1, 'error': True}"
    assert logged_at_the_end(place, dead.pid) == [told, "False"]


@pytest.mark.parametrize(
    "row, trusts, wants",
    [
        ("Addr=127.0.0.1, Port=25", True, False),
        ("Addr=127.0.0.1, Port=25, HAProxy=127.0.0.1", True, True),
        ("Addr=127.0.0.1, Port=25", False, True),
    ],
)
def test_what_asks_dns_is_there_before_nothing_more_can_be_read(
    place: Place, row: str, trusts: bool, wants: bool
) -> None:
    """Where Python keeps its packages RunAsUser, or the sandbox, may have nothing to read."""
    place.options.daemon_ports = ports.read(row)
    place.options.trust_loopback = trusts
    package = {name for name in sys.modules if name.partition(".")[0] == "dns"}

    def act(spool: Spool) -> bytes:
        return b"there" if "dns.message" in sys.modules else b""

    with pytest.MonkeyPatch.context() as patch:
        for name in package:
            patch.delitem(sys.modules, name)
        assert place.listens(act) == (b"there" if wants else b"")


def test_a_table_that_a_new_link_leads_to_is_told_with_the_remedy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = place.directory / "linked"
    linked.mkdir()
    (linked / "access").write_text("lab1.campus REJECT\n")
    table = place.tables / "access"
    place.options.access_file = str(table)
    told: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: told.append(text))
    ready = place.queue / "ready"
    waits = 'until [ -e "$1" ]; do sleep 0.02; done; ln -s "$2" "$3"'

    def act(spool: Spool) -> bytes:
        os.close(os.open(ready, os.O_WRONLY | os.O_CREAT))  # only who is outside can make a link
        wait_for(table.is_symlink)
        try:
            table.read_bytes()
        except OSError as error:
            refusals.log_failure(b"lab1.campus", error, "")
            return told[-1].encode()
        return b"read"

    words = ["sh", "-c", waits, "sh", str(ready), str(linked / "access"), str(table)]
    with subprocess.Popen(words):
        found = place.listens(act).decode()
    new = "(if a link or directory there is new, it counts in a moment)"
    why = f"cannot look up lab1.campus: {table}: Permission denied {new}"
    assert found == (why if kernel() else "read")


# --- as a daemon ----------------------------------------------------------------------------------


def test_on_a_kernel_without_landlock_mail_is_taken_and_the_log_says_so(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    command = daemon.command
    wrapper = [sys.executable, without_landlock.__file__]
    daemon.command = lambda *words: [*wrapper, *command(*words)]  # type: ignore[method-assign]
    try:
        daemon.start("-bD")
        send(daemon)
        text = "starting daemon: sandbox: no Landlock (Function not implemented): only user and modes\n"
        assert text in daemon.log.read_text()
    finally:
        daemon.stop()


def test_a_listener_after_a_reload_has_a_sandbox_of_its_own(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    try:
        daemon.start("-bD")
        for _ in range(3):  # each within the last one would come to an end, too
            reload(daemon)
        send(daemon)
        assert daemon.log.read_text().count("sandbox: ") == 4
    finally:
        daemon.stop()


def test_a_link_that_leads_to_another_directory_brings_another_listener(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As tools do it that write a whole configuration anew beside the old one."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    for name, directory in made.items():
        (directory / "access").write_text(f"From:{name}@example.org 550 no {name}\n")
    (tmp_path / "now").symlink_to(made["one"])
    daemon = Daemon(tmp_path)
    with daemon.cf.open("a") as cf:
        cf.write(f"AccessFile = {tmp_path}/now/access\nAcceptUnresolvableDomains = True\n")

    def answer(sender: str) -> str:
        sock, answered = daemon.connect()
        with sock:
            sock.sendall(b"MAIL FROM:<%b@example.org>\r\n" % sender.encode())
            return answered()

    try:
        daemon.start("-bD")
        assert "no one" in answer("one")
        (tmp_path / "next").symlink_to(made["two"])
        os.rename(tmp_path / "next", tmp_path / "now")
        wait_for(lambda: "no two" in answer("two"))
        is_new = "reload: a link or directory that the listener reads is new"
        assert daemon.log.read_text().count(is_new) == bool(kernel())
        wait_for(lambda: answer("one").startswith("250"))  # the last one accepts no more
    finally:
        daemon.stop()


class OtherEtc:
    """A daemon of root whose /etc is a copy, in a mount namespace; its listener is nobody."""

    def __init__(self, directory: Path, *mounts: str) -> None:
        for name in ("mqueue", "clientmqueue"):
            (directory / name).mkdir()
        etc = directory / "etc"
        subprocess.run(["cp", "-a", "/etc", str(etc)], check=True)
        (etc / "aliases").write_text("postmaster: root\n")
        shutil.rmtree(etc / "mail", ignore_errors=True)
        self.port = free_port()
        self.log = directory / "log"
        self.cf = directory / "cf"
        settings = {
            "HostName": "lab2.campus",
            "QueueDirectory": directory / "mqueue",
            "ClientQueueDirectory": directory / "clientmqueue",
            "PidFile": directory / "pid",
            "DaemonPortOptions": f"Name=MTA, Addr=127.0.0.1, Port={self.port}",
            "RunAsUser": "nobody",
            "LogTo": "stderr",
            "RefuseLA": "1000",
        }
        self.cf.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        self.etc = etc
        self.program = [sys.executable, "-I", str(SENDMAIL), "-C", str(self.cf)]
        mount = " && ".join([f"mount --bind {etc} /etc", *(f"mount --bind {m}" for m in mounts)])
        script = f'{mount} && exec "$@"'
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", *self.program, "-bD"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> OtherEtc:
        wait_for(lambda: b"sandbox: " in self.log.read_bytes())
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def run(self, *command: str) -> None:
        """Another program that sees the same /etc."""
        subprocess.run(
            ["nsenter", "--mount", "--target", str(self.process.pid), *command],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def answer(self, name: str) -> str:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.ehlo("x")
            client.mail("")
            code, text = client.rcpt(name)
        return f"{code} {text.decode()}"


@pytest.mark.root
@pytest.mark.namespace
def test_new_users_and_aliases_are_seen_in_the_sandbox(tmp_path: Path) -> None:
    """useradd, newaliases and editors put a new file in the place of the old one."""
    with OtherEtc(tmp_path) as host:
        assert host.answer("eve").startswith("550 5.1.1")
        host.run("useradd", "--no-create-home", "eve")
        assert host.answer("eve").startswith("250")
        assert host.answer("crew").startswith("550 5.1.1")
        (host.etc / "aliases.new").write_text("postmaster: root\ncrew: eve, root\n")
        os.rename(host.etc / "aliases.new", host.etc / "aliases")
        host.run(*host.program, "-bi")
        assert host.answer("crew").startswith("250")
        (host.etc / "mail").mkdir()
        (host.etc / "mail/access").write_text("To:eve@  ERROR:5.2.1:550 On leave\n")
        wait_for(lambda: host.answer("eve") == "550 5.2.1 <eve>... On leave")
    if kernel():
        assert b"sandbox: Landlock" in host.log.read_bytes()


@pytest.mark.root
@pytest.mark.namespace
@pytest.mark.debian("libnss-extrausers")
def test_users_of_another_name_service_are_seen_in_the_sandbox(tmp_path: Path) -> None:
    """Its library is loaded when the first user is asked for who is in no file."""
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra").chmod(0o755)
    tmp_path.chmod(0o755)
    (tmp_path / "extra/passwd").write_text("")
    services = tmp_path / "nsswitch.conf"
    services.write_text("passwd: files extrausers\ngroup: files\nhosts: files dns\n")
    mounts = (f"{tmp_path}/extra /var/lib/extrausers", f"{services} /etc/nsswitch.conf")
    with OtherEtc(tmp_path, *mounts) as host:
        assert host.answer("eve").startswith("550 5.1.1")
        (tmp_path / "extra/new").write_text("eve:x:4711:4711:Eve:/home/eve:/bin/sh\n")
        os.rename(tmp_path / "extra/new", tmp_path / "extra/passwd")
        assert host.answer("eve").startswith("250")
        services.write_text("passwd: files\nhosts: files dns\n")
        # What libc may ask from now on a confined process could not see.
        assert host.answer("carol").startswith("451" if kernel() else "550")
    if kernel():
        assert b"sandbox: Landlock" in host.log.read_bytes()
        assert b"name service" not in host.log.read_bytes()
