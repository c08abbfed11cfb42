"""The example of a container: built as its Containerfile says, run without root on a read-only root.

Without an engine: the layers are overlayfs, the container is unshare(1), chroot(1) and setpriv(1).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from minimta.admin.checkout import HOME
from minimta.listener import smtp_users
from tests.support.certificates import self_signed
from tests.support.homes import let_others_in

EXAMPLE = Path(HOME, "minimta/admin/install/container")
pytestmark = [
    pytest.mark.root,
    pytest.mark.namespace,
    pytest.mark.debian("python3-dnspython", "python3-filelock", "openssl"),
]
PATIENCE = 60.0

_BUILD = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
for name in null zero urandom; do
    [ -e "$1/root/dev/$name" ] || touch "$1/root/dev/$name"
    mount --bind /dev/$name "$1/root/dev/$name"
done
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$1/root" sh -ec "$2"
"""
#: no /tmp of its own, no /dev/log, nothing to write but the volume
_RUN = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -o remount,ro "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mount -o remount,ro dev
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/secrets
mount --bind "$1/secrets" run/secrets
mount -o remount,bind,ro run/secrets
mount -o remount,ro run
mount -t tmpfs -o mode=755,ro tmpfs tmp
mount --bind "$1/volume" ".$2"
/usr/bin/python3 -I -c 'from fcntl import ioctl; from socket import socket; from struct import pack
ioctl(socket(), 0x8914, pack("16sh22x", b"lo", 1))' # netdevice(7): SIOCSIFFLAGS, IFF_UP
hostname mail.example.org
user=$3
shift 3
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . setpriv --reuid "$user" --regid "$user" \\
    --clear-groups --bounding-set=-all --no-new-privs "$@"
"""
#: a smart host that wants a login; what it takes is a line of its file
_SMART_HOST = """
import base64, socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 smart.campus ESMTP\\r\\n")
        in_data, text, known = False, b"", False
        for line in self.rfile:
            verb = line[:4].upper()
            if in_data:
                text += line
                if line == b".\\r\\n":
                    with open(sys.argv[1], "ab") as file:
                        file.write(text)
                    in_data, answer = False, b"250 taken"
                else:
                    continue
            elif verb == b"EHLO":
                answer = b"250-smart.campus\\r\\n250 AUTH PLAIN"
            elif verb == b"AUTH":
                known = base64.b64decode(line.split()[2]) == b"\\0emma\\0secret"
                answer = b"235 yes" if known else b"535 5.7.8 no"
            elif not known and verb != b"QUIT":
                answer = b"530 5.7.0 log in"
            elif verb == b"DATA":
                in_data, text, answer = True, b"", b"354 go on"
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\\r\\n")
                return
            else:
                answer = b"250 yes"
            self.wfile.write(answer + b"\\r\\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 2587), Handler).serve_forever()
"""
#: logs in and sends; with a pause before the final dot while the file is there
_SEND = """
import os, smtplib, ssl, sys, time
with smtplib.SMTP("127.0.0.1", 2525, timeout=60) as peer:
    peer.starttls(context=ssl._create_unverified_context())
    peer.login("dave", "own")
    peer.mail("dave@example.org")
    peer.rcpt("henry@lab3.campus")
    assert peer.docmd("DATA")[0] == 354
    peer.send(f"Subject: {sys.argv[1]}\\r\\n\\r\\nhi\\r\\n".encode())
    print("in the middle", flush=True)
    sys.stdin.readline()
    peer.send(b".\\r\\n")
    print(peer.getreply()[0], flush=True)
"""


def instructions() -> list[tuple[str, str]]:
    """(instruction, what follows it) of the Containerfile."""
    lines = (EXAMPLE / "Containerfile").read_text(encoding="utf-8").split("\n")
    return [tuple(line.split(" ", 1)) for line in lines if line and line[0] != "#"]  # type: ignore[misc]


class Container:
    """Built once; run, stopped, and run again with the same volume."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("upper", "work", "root", "volume", "secrets"):
            (directory / name).mkdir()
        let_others_in(directory)  # the user in there is another one
        self.user, self.volume, self.command = "", "", list[str]()
        self.log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._smart_host: subprocess.Popen[bytes] | None = None
        self._build()
        os.chown(directory / "volume", int(self.user), int(self.user))
        self._make_secrets()

    def _build(self) -> None:
        upper = self.directory / "upper"
        shell = ["rm -rf /etc/mail; mkdir /etc/mail"]
        for instruction, rest in instructions():
            if instruction == "COPY":
                *sources, target = rest.split()
                place = f"/copied/{len(shell)}"
                for source in sources:
                    _copy(Path(HOME, source), upper / place[1:] / Path(source).name)
                into = target if target.endswith("/") else os.path.dirname(target) + "/"
                shell.append(f"rm -rf {target}/*; mkdir -p {into}; mv {place}/* {into}")
            elif instruction == "RUN" and not rest.startswith("apt-get "):
                shell.append(rest)
            elif instruction == "USER":
                self.user = rest.partition(":")[0]
            elif instruction == "VOLUME":
                self.volume = rest
            elif instruction == "ENTRYPOINT":
                self.command = json.loads(rest)
        command = ["unshare", "-m", "sh", "-c", _BUILD, "sh", str(self.directory)]
        done = subprocess.run([*command, "\n".join(shell)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        cf = upper / "etc/mail/minimta.cf"
        text = cf.read_text()
        assert "[smtp.example.org]:587" in text
        cf.write_text(text.replace("[smtp.example.org]:587", "[127.0.0.1]:2587"))

    def _make_secrets(self) -> None:
        """As an engine mounts them: root's, and everybody may read them."""
        secrets = self.directory / "secrets"
        (secrets / "authinfo").write_text('AuthInfo:127.0.0.1 "U:emma" "P:secret"\n')
        users = smtp_users.new_file()
        users.users["dave"] = smtp_users.new_keys("own")
        (secrets / "smtp-users").write_bytes(smtp_users.encode(users))
        pair = self_signed(self.directory, "mail.example.org")
        texts = (Path(path).read_text() for path in (pair.key_file, pair.cert_file))
        (secrets / "server.pem").write_text("".join(texts))
        for path in secrets.iterdir():
            path.chmod(0o444)

    # --- its life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Run it, and return when its port is open."""
        outside = ["unshare", "-m", "-p", "-n", "-u", "-i", "--fork", "--kill-child"]
        inside = ["sh", "-c", _RUN, "sh", str(self.directory), self.volume, self.user]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*outside, *inside, *self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_for(lambda: self._is_open("00000000", 2525))

    def _is_open(self, address: str, port: int) -> bool:
        """Does somebody listen there (proc(5), net/tcp: hexadecimal, 0A)?"""
        init = self.init()
        lines = Path(f"/proc/{init}/net/tcp").read_text().split("\n") if init else []
        words = [line.split() for line in lines]
        return [f"{address}:{port:04X}", "0A"] in [[*row[1:2], *row[3:4]] for row in words]

    def init(self) -> int:
        """The first process of the container, as we see it; 0: there is none yet."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def stop(self) -> int:
        """As an engine does it: SIGTERM to the first process. Its exit code."""
        os.kill(self.init(), signal.SIGTERM)
        return self.code()

    def code(self) -> int:
        """Its exit code, when it has ended."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def end(self) -> None:
        for process in (self._process, self._smart_host):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(PATIENCE)

    def execute(
        self, *words: str, user: str = "", text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command in there, as its user or another (podman exec)."""
        who = user or self.user
        inside = ["setpriv", "--reuid", who, "--regid", who, "--clear-groups", *words]
        return subprocess.run(
            ["nsenter", "-t", str(self.init()), "-m", "-p", "-n", "-u", "-i", "-r", "-w", *inside],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def beside(self, script: str, *words: str) -> subprocess.Popen[bytes]:
        """A Python script in its network."""
        command = ["nsenter", "-t", str(self.init()), "-n", sys.executable, "-I", "-c", script]
        return subprocess.Popen(
            [*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None
        )

    def start_smart_host(self) -> None:
        self._smart_host = self.beside(_SMART_HOST, str(self.directory / "taken"))
        self.wait_for(lambda: self._is_open("0100007F", 2587))

    def has_sent(self, text: str) -> bool:
        taken = self.directory / "taken"
        return taken.exists() and text in taken.read_text()

    def wait_for(self, condition: object) -> None:
        assert callable(condition)
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def takes_layers(directory: Path) -> bool:
    """Can it be written through overlayfs? Not where it lies on overlayfs itself (an engine's)."""
    for name in ("u", "w", "r"):
        (directory / name).mkdir()
    layers = "lowerdir=/,upperdir=u,workdir=w"
    command = ["unshare", "-m", "mount", "-t", "overlay", "overlay", "-o", layers, "r"]
    return not subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with ExitStack() as stack:
        if not takes_layers(tmp_path):
            tmp_path = Path(stack.enter_context(TemporaryDirectory(dir="/dev/shm")))
        one = Container(tmp_path)
        stack.callback(one.end)
        yield one


def begin_to_send(container: Container, subject: str) -> subprocess.Popen[bytes]:
    """A client that stands before its final dot."""
    client = container.beside(_SEND, subject)
    assert client.stdout is not None
    assert client.stdout.readline() == b"in the middle\n", container.log.read_text()
    return client


def finish(client: subprocess.Popen[bytes]) -> bytes:
    return client.communicate(b"\n", PATIENCE)[0].strip()


def test_the_example_works_without_root_on_a_read_only_root(container: Container) -> None:
    container.start()
    status = Path(f"/proc/{container.init()}/status").read_text()
    assert f"Uid:\t{container.user}\t{container.user}" in status
    assert "CapBnd:\t0000000000000000" in status
    # The proxy of an engine makes every client look local: it may not relay for that.
    stranger = container.beside(
        'import smtplib; s = smtplib.SMTP("127.0.0.1", 2525); s.ehlo(); s.mail("");'
        'print(s.rcpt("henry@lab3.campus")[0])'
    )
    assert finish(stranger) == b"550"
    told = container.execute("minimta", "check", "--offline").stdout
    assert "does not lead to minimta" not in told and "is read-only" not in told
    # SIGTERM lets the transaction at hand end.
    client = begin_to_send(container, "before-the-end")
    os.kill(container.init(), signal.SIGTERM)
    assert finish(client) == b"250"
    assert container.code() == 0
    assert any((container.directory / "volume/mqueue").glob("qf*"))
    # Another container with the same volume goes on.
    container.start()
    assert "before-the-end" not in container.execute("mailq").stdout
    assert "henry@lab3.campus" in container.execute("mailq").stdout
    container.start_smart_host()
    assert container.execute("sendmail", "-qf").returncode == 0
    container.wait_for(lambda: container.has_sent("before-the-end"))
    assert "is empty" in container.execute("mailq").stdout
    client = begin_to_send(container, "at-once")
    assert finish(client) == b"250"
    container.wait_for(lambda: container.has_sent("at-once"))
    # Programs in there send, too; root does not.
    letter = "Subject: by-a-command\n\nhi\n"
    assert container.execute("sendmail", "henry@lab3.campus", text=letter).returncode == 0
    container.wait_for(lambda: container.has_sent("by-a-command"))
    root = container.execute("sendmail", "henry@lab3.campus", user="0", text=letter)
    assert root.returncode == os.EX_CONFIG
    assert "with OneUser = True nothing runs as root" in root.stderr
    log = container.log.read_text()
    assert "starting daemon" in log
    assert "stat=Sent" in log
    assert "SYSERR" not in log
    assert "Read-only" not in log
    assert container.stop() == 0


def test_the_words_of_the_example_are_those_of_the_manual() -> None:
    comments = (EXAMPLE / "Containerfile").read_text().split("\nFROM")[0]
    words = shlex.split(comments.replace("\\\n#", "").replace("#", ""))
    given = {word for word in words if word.startswith("--")}
    assert {"--read-only", "--cap-drop", "--volume", "--stop-timeout", "--secret"} <= given
    manual = Path(HOME, "minimta/man/minimta.8").read_text()
    assert all(f"Fl Fl {word[2:]}" in manual or word in manual for word in given)
