"""What examinations look at, and what they say.

    state      means                                                 exit code
    ok         as it should be; shown with -v                        0
    warning    suspicious, or will be wrong one day                  0
    unknown    cannot be looked at (now, or by this user)            0
    fault      wrong, here                                           78
    fault, is_outside
               wrong where others are: a host, name servers          69

An examination gets a Patient and yields Diagnoses. It asks for everything outside of files by the
Patient's lookups, so that tests plant faults without root; and it changes nothing.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from minimta.admin.doctor import lookups
from minimta.config.options import Options
from minimta.system import hostnames, log
from minimta.system.dns import Resolver


class Health(enum.Enum):
    """See above; the value is what JSON has."""

    OK = "ok"
    WARNING = "warning"
    UNKNOWN = "unknown"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line."""

    state: Health
    #: what it is about: "/etc/aliases", "port 25", "smtp.example.org"
    subject: str
    text: str
    #: what to do, "" if there is nothing
    remedy: str = ""
    #: is it the affair of others?
    is_outside: bool = False

    def __str__(self) -> str:
        mark = {Health.WARNING: "Warning: ", Health.UNKNOWN: "unknown: "}.get(self.state, "")
        end = f": {self.remedy}" if self.remedy else ""
        return log.clean(f"{self.subject}: {mark}{self.text}{end}", 1000)

    @property
    def exit_code(self) -> int:
        """What it makes of the run."""
        if self.state is not Health.FAULT:
            return os.EX_OK
        return os.EX_UNAVAILABLE if self.is_outside else os.EX_CONFIG


def fault(subject: str, text: str, remedy: str = "") -> Diagnosis:
    """Something is wrong here."""
    return Diagnosis(Health.FAULT, subject, text, remedy)


def outside(subject: str, text: str, remedy: str = "") -> Diagnosis:
    """Something is wrong elsewhere."""
    return Diagnosis(Health.FAULT, subject, text, remedy, is_outside=True)


def warning(subject: str, text: str, remedy: str = "") -> Diagnosis:
    """Something is suspicious."""
    return Diagnosis(Health.WARNING, subject, text, remedy)


def unknown(subject: str, text: str, remedy: str = "") -> Diagnosis:
    """Something cannot be looked at."""
    return Diagnosis(Health.UNKNOWN, subject, text, remedy)


def ok(subject: str, text: str) -> Diagnosis:
    """Something is as it should be."""
    return Diagnosis(Health.OK, subject, text)


@dataclass(frozen=True, slots=True)
class Patient:
    """A machine and its configuration."""

    options: Options
    #: the configuration file
    path: str = "/etc/mail/minimta.cf"
    #: below it are the system's own files; the paths of options are as they stand
    root: Path = Path("/")
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    #: epoch seconds
    now: float = field(default_factory=time.time)
    #: standard output of a program of the system. Raise OSError if there is none, or if it fails
    run: Callable[[Sequence[str]], str] = lookups.output
    #: name servers: a Resolver that may take so many seconds
    resolver: Callable[[float], Resolver] = lookups.resolver
    #: names that an address has (PTR). Raise LookupFailed
    names_of: Callable[[str, float], list[str]] = lookups.names_of
    #: the address that a connection to "inet" or "inet6" would come from, "" if there is no way
    source: Callable[[str], str] = lookups.source
    #: connect to address and port within seconds, and close. Raise OSError
    connect: Callable[[str, int, float], None] = lookups.connect
    own_addresses: Callable[[], set[str]] = hostnames.own_addresses
    gateways: Callable[[], set[str]] = hostnames.gateways
    statvfs: Callable[[str], os.statvfs_result] = os.statvfs

    def below(self, path: str) -> Path:
        """A file of the system."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """What a file of the system says, "" if there is none. Raise OSError."""
        try:
            return self.below(path).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    @property
    def has_systemd(self) -> bool:
        """sd_booted(3)."""
        return self.below("/run/systemd/system").is_dir()

    @property
    def is_chroot(self) -> bool:
        """Is this a root of its own, in which nothing was started? False if nobody can tell."""
        try:
            return not self.below("/proc/1/root").samefile(self.root)
        except OSError:
            return False


Examine = Callable[[Patient], Iterator[Diagnosis]]


def to_json(diagnosis: Diagnosis) -> dict[str, object]:
    """A dict of JSON's types; from_json() is the inverse."""
    return {**asdict(diagnosis), "state": diagnosis.state.value}


def from_json(said: dict[str, object]) -> Diagnosis:
    """Raise TypeError, ValueError or KeyError for what is none."""
    return Diagnosis(**{**said, "state": Health(said["state"])})  # type: ignore[arg-type]
