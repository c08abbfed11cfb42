"""A machine that is well, for the doctor: tests make it ill in one place and look at what is said.

machine = Machine(tmp_path)
machine.write("/etc/mailname", "vm2\\n")
machine.told(names.mailname)        # ["/etc/mailname: Warning: ..."], without what is ok
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minimta.admin.doctor.patient import Diagnosis, Health, Patient
from minimta.aliases.rebuild import rebuild
from minimta.aliases.source import Source
from minimta.system.dns import Resolver
from minimta.system.dns_wire import LookupFailed
from minimta.system.users import Users
from tests.support.privatehost import PrivateHost

#: those for documentation count as private (is_global)
OURS = "9.9.8.7"


class FakeResolver(Resolver):
    """Knows what it is told: addresses by name, exchangers by domain; None: nobody answers."""

    def __init__(
        self,
        addresses: dict[str, list[str] | None],
        exchangers: dict[str, list[str] | None],
    ) -> None:
        self._addresses, self._exchangers = addresses, exchangers

    def addresses(self, host: str) -> list[str]:
        return self._known(self._addresses, host)

    def mail_exchangers(self, domain: str) -> list[tuple[int, str]]:
        if domain in self._exchangers:
            return [(10, host) for host in self._known(self._exchangers, domain)]
        self.addresses(domain)
        return []

    @staticmethod
    def _known(table: dict[str, list[str] | None], name: str) -> list[str]:
        found = table.get(name, [])
        if not found:
            raise LookupFailed(name, "host not found", temporary=found is None)
        return found


class Machine:
    """vm1.example.org, with users of PrivateHost, and a listener and a runner that are there."""

    def __init__(self, root: Path) -> None:
        root.chmod(0o755)
        self.host = PrivateHost(root)
        self.options = self.host.options
        self.options.host_name = "vm1.example.org"
        self.options.tls_policy = self.options.dkim_sign = self.options.login_senders = ""
        self.options.trusted_users = str(root / "trusted-users")
        self.options.srs_key_file = str(root / "srs-key")
        self.options.token_directory = str(root / "tokens")
        self.options.server_cert_file = str(root / "server.pem")
        self.options.auth_backend = str(root / "smtp-users")
        self.options.smrsh_directory = ""
        self.options.run_as_user = "minimta"
        self.root = root / "system"
        self.root.mkdir()
        self.addresses: dict[str, list[str] | None] = {"vm1.example.org": [OURS]}
        self.exchangers: dict[str, list[str] | None] = {}
        self.names: dict[str, list[str] | None] = {OURS: ["vm1.example.org"]}
        self.sources = {"inet": OURS}
        #: (address, port) -> errno; others are reached
        self.silent: dict[tuple[str, int], int] = {}
        #: words of a program, or their beginning -> what it prints
        self.programs: dict[tuple[str, ...], str] = {("timedatectl",): "yes\n"}
        self.changes: dict[str, Any] = {}
        self.make_well()

    def make_well(self) -> None:
        self.options.pid_file = "/run/sendmail.pid"
        options = self.options
        os.chmod(options.queue_directory, 0o1730)
        os.chmod(options.client_queue_directory, 0o1733)
        os.chmod(options.mailbox_directory, 0o1777)
        self.aliases("postmaster: root", "root: emma")
        self.write("/etc/mailname", "vm1.example.org\n")
        self.write("/etc/cron.d/minimta", "*/5 * * * * root /usr/sbin/sendmail -q\n")
        self.write("/proc/17/comm", "cron\n")
        self.write("/etc/group", "")
        self.write("/dev/log", "")
        (self.root / "tmp").mkdir()
        self.listen(
            "127.0.0.1", 25, 42, "/usr/bin/python3.11", "python3", "/usr/sbin/sendmail", "-bD"
        )
        self.listen("::1", 25, 42, "/usr/bin/python3.11", "python3", "/usr/sbin/sendmail", "-bD")

    def write(self, path: str, text: str) -> Path:
        """A file of the system."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def aliases(self, *lines: str) -> None:
        self.host.aliases(*lines)
        rebuild(Source(self.options.alias_files[0]), Users(self.options.passwd_file))

    def listen(self, address: str, port: int, pid: int, program: str, *words: str) -> None:
        """A process that listens, as /proc has it."""
        is_six = ":" in address
        name = "/proc/net/tcp6" if is_six else "/proc/net/tcp"
        octets = {"127.0.0.1": "0100007F", "0.0.0.0": "00000000"}
        digits = "0" * 24 + "01000000" if is_six else octets[address]
        path = self.root / name.lstrip("/")
        text = path.read_text() if path.exists() else "  sl  local_address ...\n"
        inode = str(1000 + text.count("\n") + 100 * is_six)
        row = f"   0: {digits}:{port:04X} {'0' * len(digits)}:0000 0A 0:0 00:0 0 0 0 {inode} 1\n"
        self.write(name, text + row)
        self.write(f"/proc/{pid}/comm", words[0] + "\n")
        self.write(f"/proc/{pid}/cmdline", "\0".join(words) + "\0")
        descriptors = self.root / f"proc/{pid}/fd"
        descriptors.mkdir(exist_ok=True)
        (descriptors / str(len(os.listdir(descriptors)))).symlink_to(f"socket:[{inode}]")
        executable = self.root / f"proc/{pid}/exe"
        if not executable.is_symlink():
            executable.symlink_to(program)

    @property
    def patient(self) -> Patient:
        return Patient(
            self.options,
            "/etc/mail/minimta.cf",
            **{
                "root": self.root,
                "is_root": True,
                "run": self._run,
                "resolver": lambda seconds: FakeResolver(self.addresses, self.exchangers),
                "names_of": self._names_of,
                "source": lambda family: self.sources.get(family, ""),
                "connect": self._connect,
                "own_addresses": lambda: {"127.0.0.1", "::1", OURS},
                "gateways": lambda: {"198.51.100.1"},
                **self.changes,
            },
        )

    def told(self, examine: Callable[[Patient], Iterator[Diagnosis]]) -> list[str]:
        """What is not ok, a line each."""
        return [str(one) for one in self.found(examine) if one.state is not Health.OK]

    def found(self, examine: Callable[[Patient], Iterator[Diagnosis]]) -> list[Diagnosis]:
        return list(examine(self.patient))

    # --- lookups ---

    def _run(self, words: Sequence[str]) -> str:
        for known, text in self.programs.items():
            if tuple(words[: len(known)]) == known:
                return text
        raise OSError(2, f"there is no {words[0]}")

    def _names_of(self, address: str, seconds: float) -> list[str]:
        found = self.names.get(address, [])
        if found is None:
            raise LookupFailed(address, "host name lookup failure", temporary=True)
        return found

    def _connect(self, address: str, port: int, seconds: float) -> None:
        if number := self.silent.get((address, port)):
            raise OSError(number, os.strerror(number))
