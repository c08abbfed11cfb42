"""A private mail system for the command ``sendmail``: what it prints, its exit code, what it queues.

host = Host(tmp_path, capfd)
host.run("-t", stdin=MESSAGE).code
host.only()[0].recipients
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.commands import sendmail
from minimta.queue.control import Control, decode
from minimta.system import log

MESSAGE = b"Subject: t\n\nhello\n"


class Ran:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


class Host:
    """A private mail system of which whoever runs the tests is the owner, and emma."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capfd = capfd
        for name, mode in (("mqueue", 0o700), ("clientmqueue", 0o1733), ("home", 0o700)):
            (root / name).mkdir()
            (root / name).chmod(mode)
        (root / "aliases").write_text("postmaster: emma\nlist: emma, dave\n")
        (root / "passwd").write_text(
            f"emma:x:{os.getuid()}:{os.getgid()}:Emma Example,Room 5:{root}/home:/bin/sh\n"
            f"dave:x:4001:4001:& Example:{root}/home:/bin/sh\n"
            f"henry:x:4242:4242:Henry Example:{root}/home:/bin/sh\n"
        )
        self.configure()

    def configure(self, **options: str) -> None:
        settings = {
            "HostName": "lab1.campus",
            "QueueDirectory": self.root / "mqueue",
            "ClientQueueDirectory": self.root / "clientmqueue",
            "MailboxDirectory": self.root / "home",
            "AliasFile": self.root / "aliases",
            "PasswdFile": self.root / "passwd",
            "LocalHostNames": "/nonexistent",
            "TrustedUsers": self.root / "trusted-users",
            "MailerTable": "/nonexistent",
            "PidFile": self.root / "pid",
            "LogTo": "none",
            "MinFreeBlocks": "0",
            "QueueLA": "10000",
            "RefuseLA": "10000",
            "DeliveryMode": "queueonly",
            **options,
        }
        text = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.root / "cf").write_text(text)
        (self.root / "cf").chmod(0o644)

    def run(self, *arguments: str, stdin: bytes = MESSAGE, name: str = "sendmail") -> Ran:
        (self.root / "stdin").write_bytes(stdin)
        saved, mask = os.dup(0), os.umask(0o022)
        file = os.open(self.root / "stdin", os.O_RDONLY)
        os.dup2(file, 0)
        self._capfd.readouterr()
        try:
            code = sendmail.main([name, *arguments])
        finally:
            os.dup2(saved, 0)
            os.close(saved)
            os.close(file)
            os.umask(mask)
            log.configure("sendmail", "none", 0)
        out, err = self._capfd.readouterr()
        return Ran(code, out, err)

    def queued(self, queue: str = "mqueue") -> list[tuple[Control, bytes]]:
        found = []
        for qf in sorted((self.root / queue).glob("qf*")):
            found.append((decode(qf.read_bytes()), qf.with_name("d" + qf.name[1:]).read_bytes()))
        return found

    def only(self, queue: str = "mqueue") -> tuple[Control, bytes]:
        [message] = self.queued(queue)
        return message

    def dead_letter(self) -> bytes:
        path = self.root / "home" / "dead.letter"
        return path.read_bytes() if path.exists() else b""
