"""Other mail systems of this machine: their packages, the names they took, the queues they left.

What they have queued is theirs: their formats are not ours (Sendmail's is), and nothing of it is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.install.diversions import has_dpkg, package_of
from minimta.admin.install.services import run
from minimta.admin.install.steps import below

#: what every mail system's package provides (Debian Policy 11.6)
VIRTUAL = "mail-transport-agent"


@dataclass(frozen=True, slots=True)
class OldQueue:
    """Where a mail system keeps what waits: a message is one file that a pattern finds."""

    package: str
    directory: str
    #: patterns of pathlib, below the directory
    patterns: tuple[str, ...]
    #: how the mail system, once it is installed again, lists and sends it
    lists: str
    sends: str


OLD_QUEUES = (
    OldQueue(
        "postfix",
        "/var/spool/postfix",
        ("maildrop/*", "incoming/**/*", "active/**/*", "deferred/**/*", "hold/**/*"),
        "postqueue -p",
        "postqueue -f",
    ),
    OldQueue(
        "exim4-daemon-light", "/var/spool/exim4", ("input/**/*-H",), "exim4 -bp", "exim4 -qff"
    ),
    OldQueue(
        "nullmailer", "/var/spool/nullmailer", ("queue/*",), "mailq", "systemctl start nullmailer"
    ),
    OldQueue("dma", "/var/spool/dma", ("M*",), "dma -bp", "dma -q"),
    OldQueue(
        "opensmtpd",
        "/var/spool/smtpd",
        ("queue/*/*/message",),
        "smtpctl show queue",
        "smtpctl schedule all",
    ),
    OldQueue("courier-mta", "/var/lib/courier/msgs", ("*/C*",), "mailq", "courier flush"),
)


@dataclass(frozen=True, slots=True)
class LeftMail:
    """A queue of another mail system with messages in it."""

    queue: OldQueue
    messages: int
    is_installed: bool

    def __str__(self) -> str:
        """Where how much is, how to see it, and how it is sent yet."""
        files = f"find {self.queue.directory} -type f"
        amount = f"{self.messages} message{'s' if self.messages != 1 else ''}"
        where = f"{amount} of {self.queue.package} in {self.queue.directory}"
        if self.is_installed:
            return f"{where}, which only {self.queue.package} sends: {self.queue.lists}"
        back = f"apt install {self.queue.package}; {self.queue.lists}; {self.queue.sends}"
        return f"{where}, which nobody sends now (to see them: {files}; to send them: {back}, and then minimta again)"


def left_mail(root: Path) -> list[LeftMail]:
    """The queues of other mail systems that are not empty, as far as the caller may look: root sees all."""
    found = []
    for queue in OLD_QUEUES:
        amount = sum(1 for _ in _messages(below(root, queue.directory), queue.patterns))
        if amount:
            found.append(LeftMail(queue, amount, queue.package in installed(root)))
    return found


def _messages(directory: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        for path in directory.glob(pattern):
            if path.is_file() and not path.is_symlink():
                yield path


def installed(root: Path) -> list[str]:
    """The packages of other mail systems that are installed."""
    if not has_dpkg(root):
        return []
    form = "${db:Status-Status}\t${Package}\t${Provides}\n"
    lines = run(["dpkg-query", f"--root={root}", "--show", f"--showformat={form}"]).stdout
    rows = [line.split("\t") for line in lines.split("\n") if line.startswith("installed\t")]
    return [name for _, name, provides in rows if VIRTUAL in _names(provides) and name != "minimta"]


def _names(relation: str) -> list[str]:
    """ "exim4-daemon, mail-transport-agent (= 1)" as names."""
    return [part.split()[0] for part in relation.split(",") if part.strip()]


def sentences(root: Path) -> list[str]:
    """What an administrator should know of packages that are installed beside a checkout's links."""
    return [f"{beside(name)}: apt remove {name}" for name in installed(root)]


def beside(name: str) -> str:
    """What the package of that name still can do when its commands are diverted."""
    return (
        f"the package {name} stays installed: its commands are put aside"
        " (NAME.minimta-diverted), but its daemon may take port 25 (no diversion stops that)"
    )


def owner(root: Path, path: str) -> str:
    """The package of *path*, or of what it leads to (alternatives); "" if there is none."""
    leads_to = os.path.realpath(below(root, path))
    return package_of(root, path) or package_of(root, f"/{os.path.relpath(leads_to, root)}")
