"""A host of its own below a directory: users, aliases, queues, mailboxes, no network.

host = PrivateHost(tmp_path)
qid = host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
deliverer = host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": REFUSED}))
deliverer.attempt([qid])
host.letters("dave")
"""

from __future__ import annotations

import mailbox
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import Message
from pathlib import Path

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.message.envelope import Envelope, Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.queue import collect
from minimta.queue import qid as queue_id
from minimta.queue.control import Control, decode
from minimta.queue.queue_group import QueueGroup
from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.runner.deliver import Deliverer

SENT = Outcome(Fate.SENT, "2.0.0", "Sent (ok)", remote_mta="lab2.campus")
REFUSED = Outcome(
    Fate.FAILED,
    "5.1.1",
    "User unknown",
    remote_mta="lab2.campus",
    diagnostic="550 5.1.1 No such mailbox here",
    exit_code=os.EX_NOUSER,
)
DOWN = Outcome(
    Fate.DEFERRED, "4.4.1", "Connection refused by lab2.campus.", remote_mta="lab2.campus"
)
BUSY = Outcome(
    Fate.DEFERRED, "4.2.2", "452 4.2.2 Mailbox full", diagnostic="452 4.2.2 Mailbox full"
)


class PrivateHost:
    """lab1.campus with emma, dave, carol and root."""

    def __init__(self, root: Path, *, now: float | None = None) -> None:
        """What is below *root* already stays: a host that starts again."""
        self.root = root
        #: what the clock of attempts says; None is the real one
        self.now = now
        self._group: QueueGroup | None = None
        for name in ("mqueue", "clientmqueue", "mail", "home"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
        options = self.options = Options()
        options.host_name = "lab1.campus"
        options.queue_directory = str(root / "mqueue")
        options.client_queue_directory = str(root / "clientmqueue")
        options.mailbox_directory = str(root / "mail")
        options.alias_files = (str(root / "aliases"),)
        options.access_file = str(root / "access")
        options.relay_domains = str(root / "relay-domains")
        options.mailer_table = str(root / "mailertable")
        options.sender_relay = str(root / "sender-relay")
        options.auth_info_file = str(root / "authinfo")
        options.generics_table = str(root / "genericstable")
        options.virtuser_table = str(root / "virtusertable")
        options.local_host_names = str(root / "local-host-names")
        options.passwd_file = str(root / "passwd")
        options.run_as_user = ""
        options.queue_la = 10000
        options.group_commit = False
        ids = f"{os.getuid()}:{os.getgid()}"
        lines = [f"{name}:x:{ids}:{name}:{root}/home/{name}:/bin/sh" for name in _USERS]
        (root / "passwd").write_text("\n".join(lines) + "\n")
        self.aliases("postmaster: root")

    def aliases(self, *lines: str) -> None:
        Path(self.options.alias_files[0]).write_text("\n".join(lines) + "\n")

    def spread(self, *names: str) -> list[Path]:
        """From now on the queue has these directories: QueueDirectory is mqueue/q*."""
        base = Path(self.options.queue_directory)
        self.options.queue_pattern = f"{base}/q*"
        for name in names:
            (base / name).mkdir(mode=0o700, exist_ok=True)
        self._group = self._group or QueueGroup(self.options)
        self._group.look()
        return [base / name for name in names]

    def clock(self) -> float:
        return time.time() if self.now is None else self.now

    def submit(
        self,
        reverse_path: bytes,
        *recipients: bytes | Recipient,
        text: bytes = b"Subject: hello\nTo: somebody\n\nbody\n",
        envelope: Callable[[Envelope], None] = lambda envelope: None,
    ) -> str:
        """Queue a message as the listener does."""
        made = Envelope(
            reverse_path,
            [r if isinstance(r, Recipient) else Recipient(r, "PFD") for r in recipients],
        )
        made.client, made.helo, made.protocol = (
            b"lab3.campus [10.0.3.136]",
            b"lab3.campus",
            b"ESMTP",
        )
        envelope(made)
        now = self.clock()
        group = self._group if self.options.has_queue_group else None
        if group:
            group.look()
        spool = group or Spool(self.options.queue_directory)
        try:
            incoming = collect.Incoming(
                spool, self.options, made, qid=queue_id.new(now), now=now, host="lab1.campus"
            )
            incoming.write(text)
            return incoming.commit()
        finally:
            if not group:
                spool.close()

    def deliverer(
        self,
        *,
        esmtp: Elsewhere | None = None,
        say: Callable[[str], None] | None = None,
        tell: Callable[[str], None] = lambda text: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Deliverer:
        made = Deliverer(LocalHost(self.options), say=say, tell=tell, clock=self.clock, stop=stop)
        made.mailers["esmtp"] = esmtp or Elsewhere({})
        return made

    @staticmethod
    def end(deliverer: Deliverer) -> None:
        """What the end of its process would close."""
        deliverer.spool.close()
        deliverer.mailers.slots.leave()

    def queued(self) -> list[str]:
        return sorted(n[2:] for n in os.listdir(self.options.queue_directory) if n[:2] == "qf")

    def files(self) -> list[str]:
        return sorted(os.listdir(self.options.queue_directory))

    def control(self, qid: str) -> Control:
        return decode(Path(self.options.queue_directory, "qf" + qid).read_bytes())

    def rewrite(self, qid: str, change: Callable[[Control], None], due: float = 0.0) -> None:
        """Edit a queued message."""
        spool = Spool(self.options.queue_directory)
        held = spool.lock(qid)
        assert held is not None
        with held:
            change(held.control)
            held.rewrite(due)
        spool.close()

    def letters(self, user: str) -> list[Message]:
        path = Path(self.options.mailbox_directory, user)
        return list(mailbox.mbox(path)) if path.exists() else []


_USERS = ("emma", "dave", "carol", "root")


class Elsewhere:
    """The esmtp mailer of a test: user -> Outcome, SENT if not named; notes what it was given."""

    name = "esmtp"

    def __init__(self, outcomes: Mapping[bytes, Outcome]) -> None:
        self._outcomes = outcomes
        self.jobs: list[Job] = []
        #: text of each job: header, empty line, body
        self.texts: list[bytes] = []
        #: called before a job is yielded
        self.before: Callable[[Job], None] = lambda job: None

    def deliver(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]]]:
        for job in jobs:
            self.jobs.append(job)
            self.texts.append(job.header + b"\n" + os.pread(job.body, job.size, 0))
            self.before(job)
            yield job, {user.name: self._outcomes.get(user.name, SENT) for user in job.users}
