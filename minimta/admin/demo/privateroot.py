"""A whole mail system below one directory: its configuration, users, queue, mailboxes, processes.

    minimta.cf  aliases  passwd  mailertable  names  log  sendmail.pid
    bin/sendmail  bin/mailq  bin/newaliases  spool/mqueue/  spool/clientmqueue/  mail/USER  home/USER/

The commands of its bin/ are those of the checkout with its configuration. All belongs to whoever
runs it, and all its users share that one uid: no step needs root.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from minimta.admin.checkout import HOME, AdminError
from minimta.admin.output import unwritable

ADDRESS = "127.0.0.1"
PEOPLE = {"emma": "Emma Berg", "dave": "Dave Hill", "carol": "Carol Lake"}

_CF = """\
# {host}: a private root, made by `bin/minimta demo`
HostName = {host}
QueueDirectory = {directory}/spool/mqueue
ClientQueueDirectory = {directory}/spool/clientmqueue
MailboxDirectory = {directory}/mail
AliasFile = {directory}/aliases
PasswdFile = {directory}/passwd
MailerTable = {directory}/mailertable
LocalHostNames = {directory}/names
TrustedUsers = {directory}/trusted-users
VirtUserTable = {directory}/virtusertable
GenericsTable = {directory}/genericstable
RelayDomains = {directory}/relay-domains
SRSKeyFile = {directory}/srs-key
TokenDirectory = {directory}/tokens
# nothing of this machine's own mail system counts, where there is one
AuthInfoFile =
SenderRelay =
AccessFile =
TLSPolicy =
DKIMSign =
SmrshDirectory =
ServerCertFile =
AuthBackend =
PidFile = {directory}/sendmail.pid
DaemonPortOptions = Name=MTA, Addr={address}, Port={port}
RunAsUser =
LogTo = none
# the clone may lie below directories of others
DontBlameSendmail = ForwardFileInUnsafeDirPath, ForwardFileInGroupWritableDirPath
"""

COMMANDS = ("sendmail", "mailq", "newaliases")

_COMMAND = """\
#!/bin/sh
# {program} of {host}: a private root, made by `bin/minimta demo`
exec {python} -IS {script} -C {cf} "$@"
"""


class PrivateRoot:
    """One host. The commands of its bin/ are those of the checkout, with -C and its configuration."""

    def __init__(self, directory: Path, host: str, port: int) -> None:
        """*directory* is where it lives, *host* its full name, *port* where its listener answers."""
        self.directory = directory
        self.host = host
        self.port = port
        self.cf = directory / "minimta.cf"
        self._listener: subprocess.Popen[bytes] | None = None

    def make(self, aliases: str, mailer_table: Mapping[str, str]) -> None:
        """Write everything anew. Raise AdminError if it cannot be written, or somebody lives there."""
        os.umask(0o022)
        self.must_be_idle()
        try:
            self._clear()
            for name, mode in (("mqueue", 0o700), ("clientmqueue", 0o1733)):
                (self.directory / "spool" / name).mkdir(parents=True)
                (self.directory / "spool" / name).chmod(mode)
            (self.directory / "mail").mkdir()
            for person in PEOPLE:
                self.home(person).mkdir(parents=True)
            self._write_files(aliases, mailer_table)
            self._write_commands()
        except OSError as error:
            raise unwritable(error, self.directory) from error

    def _clear(self) -> None:
        if self.directory.exists():
            shutil.rmtree(self.directory)
        self.directory.mkdir(parents=True)

    def must_be_idle(self) -> None:
        """Raise AdminError if processes of an earlier run are there."""
        if running := processes_of(self.cf):
            numbers = " ".join(str(pid) for pid in running)
            raise AdminError(f"an earlier demo still runs in {self.directory}: kill {numbers}")

    def _write_files(self, aliases: str, mailer_table: Mapping[str, str]) -> None:
        values = {"directory": self.directory, "host": self.host, "port": self.port}
        self.cf.write_text(_CF.format(**values, address=ADDRESS), encoding="utf-8")
        rows = [f"{domain}\t{hop}\n" for domain, hop in mailer_table.items()]
        self.file("mailertable").write_text("".join(rows), encoding="utf-8")
        self.file("aliases").write_text(aliases, encoding="utf-8")
        ids = f"{os.geteuid()}:{os.getegid()}"
        entries = [f"{p}:x:{ids}:{name}:{self.home(p)}:/bin/sh\n" for p, name in PEOPLE.items()]
        self.file("passwd").write_text("".join(entries), encoding="utf-8")
        self.file("names").touch()

    def _write_commands(self) -> None:
        (self.directory / "bin").mkdir()
        for program in COMMANDS:
            words = {"python": sys.executable, "script": f"{HOME}/bin/{program}", "cf": self.cf}
            quoted = {key: shlex.quote(str(word)) for key, word in words.items()}
            path = self.directory / "bin" / program
            path.write_text(_COMMAND.format(program=program, host=self.host, **quoted))
            path.chmod(0o755)

    def file(self, name: str) -> Path:
        """Path of a file of the root: "aliases", "log"."""
        return self.directory / name

    def home(self, person: str) -> Path:
        """Home directory of a user."""
        return self.directory / "home" / person

    def mailbox(self, person: str) -> str:
        """What is in the mailbox, "" if there is none."""
        path = self.directory / "mail" / person
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def command(self, program: str, *words: str) -> list[str]:
        """The command line of bin/*program* in this root."""
        return [str(self.directory / "bin" / program), *words]

    def run(self, program: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end with *text* as its standard input; both outputs come together."""
        return subprocess.run(
            self.command(program, *words),
            input=text,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )

    def listener(self) -> list[str]:
        """The command line of listener and runner, in the foreground."""
        return self.command("sendmail", "-OLogTo=stderr", "-bD", "-q15m")

    def start(self) -> None:
        """Start listener and runner; return when the port answers. Raise AdminError if it does not."""
        self._listener = None
        need_port(self.port)
        with self.file("log").open("ab") as log:
            self._listener = subprocess.Popen(
                self.listener(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if not wait_for(lambda: self._is_dead() or answers(self.port), 10) or self._is_dead():
            raise AdminError(f"the listener does not start: {self._last_words()}")

    def _is_dead(self) -> bool:
        return self._listener is not None and self._listener.poll() is not None

    def _last_words(self) -> str:
        lines = self.file("log").read_text(encoding="utf-8", errors="replace").strip().split("\n")
        return lines[-1] or f"see {self.file('log')}"

    def stop(self) -> bool:
        """End all that runs here. Is it gone within its 10 seconds, without being killed?"""
        if self._listener is not None:
            self._listener.terminate()
            wait_for(self._is_dead, 11)
        is_gone = wait_for(lambda: not processes_of(self.cf), 3)
        for pid in processes_of(self.cf):
            os.kill(pid, signal.SIGKILL)
        return is_gone


def processes_of(cf: Path) -> list[int]:
    """Processes, alive, that have *cf* as a word of their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        if os.fsencode(cf) in words:
            found.append(int(entry.parent.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Ask every 20 ms; False if it does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    """A port of ADDRESS that nobody has now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def need_port(port: int) -> None:
    """Raise AdminError if somebody else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise AdminError(
                f"port {port} of {ADDRESS} cannot be had ({error.strerror}):"
                " name another one with --port"
            ) from error


def answers(port: int) -> bool:
    """Does anybody accept connections there?"""
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    return True
