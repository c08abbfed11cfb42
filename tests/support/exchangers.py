"""Two MX hosts in front of one Dovecot, as minimta-recipes(7) has it, and what becomes of mail when one is killed.

    unshare --mount --net --uts --pid --fork --kill-child sh -c '"$@"; exit $?' sh \\
        python -m tests.support.exchangers DIRECTORY

This network has the sender, the name server and Dovecot (10.0.3.1); mx1 and mx2 (10.0.3.11, 10.0.3.12) are
namespaces of their own, with a queue each and nothing shared. Prints what came of each letter as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support import manualhost
from tests.support.fakedns import FakeDns

HUB = "10.0.3.1"
ADDRESSES = {"mx1": "10.0.3.11", "mx2": "10.0.3.12"}
PATIENCE = 60.0
_ZONE = {
    "example.org": {"MX": ["10 mx1.example.org.", "10 mx2.example.org."]},
    **{f"{name}.example.org": {"A": [address]} for name, address in ADDRESSES.items()},
    "client.lan": {"A": [HUB]},
}
_CF = """\
HostName = {name}.example.org
DaemonPortOptions = Name=MTA, Port=25
LocalMailer = lmtp:{hub}:24
PasswdFile = {place}/passwd
LocalHostNames = {place}/local-host-names
QueueDirectory = {place}/mqueue
ClientQueueDirectory = {place}/clientmqueue
PidFile = {place}/pid
LogTo = stderr
"""
_DOVECOT = """\
base_dir = {run}
log_path = {run}/log
protocols = lmtp
ssl = no
mail_location = maildir:~/Maildir
passdb {{
  driver = passwd-file
  args = {passwd}
}}
userdb {{
  driver = passwd-file
  args = {passwd}
}}
service lmtp {{
  inet_listener lmtp {{
    address = {hub}
    port = 24
  }}
}}
"""
_USERS = "emma:x:60101:60101::/srv/emma:/bin/sh\n"


class Exchanger:
    """An MX host; it can be killed and come back with the disk that it had."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.place = directory / name
        self._process: subprocess.Popen[bytes] | None = None
        for queue, mode in (("mqueue", 0o1730), ("clientmqueue", 0o1733)):
            (self.place / queue).mkdir(parents=True)
            os.chown(self.place / queue, 0, manualhost.USERS["minimta"])
            (self.place / queue).chmod(mode)
        (self.place / "minimta.cf").write_text(_CF.format(name=name, hub=HUB, place=self.place))
        (self.place / "local-host-names").write_text("example.org\n")
        (self.place / "passwd").write_text(_USERS)

    def start(self) -> None:
        inside = (
            f"read go; ip link set lo up; ip link set {self.name}e up;"
            f" ip addr add {ADDRESSES[self.name]} peer {HUB} dev {self.name}e;"
            " exec sendmail -C $0/minimta.cf -bD -q2s"
        )
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "unshare",
                    "--net",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "sh",
                    "-c",
                    inside,
                    self.place,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        pid, here = self._process.pid, os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{pid}/ns/net") != here)
        run("ip", "link", "add", self.name, "type", "veth", "peer", "name", f"{self.name}e")
        run("ip", "link", "set", f"{self.name}e", "netns", str(pid))
        run("ip", "addr", "add", HUB, "peer", ADDRESSES[self.name], "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.close()
        wait_for((self.place / "pid").exists)

    def kill(self) -> None:
        """As when the power fails: all processes at once, and the network with them."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        (self.place / "pid").unlink()
        wait_for(lambda: not Path("/sys/class/net", self.name).exists())

    def waiting(self) -> int:
        return sum(1 for name in os.listdir(self.place / "mqueue") if name.startswith("qf"))


class Dovecot:
    """Has the mailbox of emma."""

    def __init__(self, directory: Path) -> None:
        self._run = directory / "dovecot"
        self._run.mkdir()
        (self._run / "passwd").write_text(_USERS)
        text = _DOVECOT.format(run=self._run, passwd=self._run / "passwd", hub=HUB)
        (self._run / "conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(["dovecot", "-F", "-c", str(self._run / "conf")])

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def letters(self) -> list[str]:
        folder = Path("/srv/emma/Maildir/new")
        return [path.read_text() for path in folder.iterdir()] if folder.exists() else []


def run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=sys.stderr)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def numbers(letters: list[str]) -> Counter[int]:
    """How often each letter is there."""
    return Counter(int(text.partition("Subject: ")[2].split("\n")[0]) for text in letters)


class Story:
    """What happens, in order; each letter has a number."""

    def __init__(self, directory: Path) -> None:
        self.hosts = [Exchanger(name, directory) for name in ADDRESSES]
        self.dovecot = Dovecot(directory)
        self.sent = 0

    def send(self, count: int) -> None:
        """From the sender, each over a connection of its own; what no host takes waits there."""
        for _ in range(count):
            self.sent += 1
            text = f"Subject: {self.sent}\n\nhello\n".encode()
            words = ["sendmail", "-odi", "-f", "dave@client.lan", "emma@example.org"]
            subprocess.run(words, input=text, check=True, stdout=sys.stderr)

    def wait_for_all(self) -> None:
        wait_for(lambda: len(numbers(self.dovecot.letters())) == self.sent)

    def play(self) -> dict[str, object]:
        first, second = self.hosts
        self.dovecot.start()
        first.start()
        second.start()
        self.send(16)
        self.wait_for_all()
        found: dict[str, object] = {
            host.name: sum(f"by {host.name}.example.org" in t for t in self.dovecot.letters())
            for host in self.hosts
        }
        self.dovecot.stop()
        self.send(16)
        found["waits on mx1"] = first.waiting()
        first.kill()
        self.send(8)
        found["waits at the sender"] = len(list(Path("/var/spool/mqueue").glob("qf*")))
        found["waits on mx2"] = second.waiting()
        self.dovecot.start()
        wait_for(lambda: not second.waiting())
        found["missing while mx1 is dead"] = self.sent - len(numbers(self.dovecot.letters()))
        first.start()
        self.wait_for_all()
        found["twice"] = len(self.dovecot.letters()) - self.sent
        self.flow()
        return (
            found
            | {"sent": self.sent, "arrived": len(numbers(self.dovecot.letters()))}
            | {"twice, of those under way": len(self.dovecot.letters()) - self.sent}
        )

    def flow(self) -> None:
        """mx1 is killed while letters come and go."""
        child = os.fork()
        if child == 0:
            try:
                self.send(20)
            finally:
                os._exit(0)
        before = len(self.dovecot.letters())
        wait_for(lambda: len(self.dovecot.letters()) > before + 4)
        self.hosts[0].kill()
        assert os.waitpid(child, 0)[1] == 0
        self.sent += 20
        self.hosts[0].start()
        run("sendmail", "-qf")
        self.wait_for_all()


def main() -> None:
    os.umask(0o022)
    manualhost.prepare(Path(sys.argv[1]))
    os.environ["PATH"] = f"/usr/local/sbin:{os.environ['PATH']}"
    Path("/etc/resolv.conf").write_text(f"nameserver {HUB}\n")
    Path("/etc/mail/minimta.cf").write_text("HostName = client.lan\nLogTo = none\n")
    run("ip", "addr", "add", HUB, "dev", "lo")
    with FakeDns(_ZONE, address=(HUB, 53)):
        # The listeners are no root: where pytest has its directories they do not get.
        json.dump(Story(Path("/srv")).play(), sys.stdout)


if __name__ == "__main__":
    main()
