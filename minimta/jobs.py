"""From the destinations of a message to the jobs of the mailers: Sendmail's triples, grouped.

    local    one job for each mailbox; its host is the login name too
    esmtp    one job for each next hop, with all its users: one transaction

Who is named twice for the same (mailer, host, user) gets the message once.
"""

from __future__ import annotations

from minimta import address, addresslist, headers, notify
from minimta.envelope import Recipient
from minimta.mailers import Job, User
from minimta.queue.control import Control
from minimta.record import Record
from minimta.route import Route

MAILERS = ("local", "esmtp")
_NOTIFY = {"S": "SUCCESS", "F": "FAILURE", "D": "DELAY"}


class Task:
    """A job and whom of the message it serves."""

    def __init__(
        self, record: Record, mailer: str, job: Job, users: dict[bytes, list[int]]
    ) -> None:
        self.record = record
        self.mailer = mailer
        self.job = job
        #: user.name -> positions among the record's destinations
        self.users = users


def tasks(record: Record, host: str) -> list[Task]:
    """The tasks for all that is not settled and has one of MAILERS; *host* is our name."""
    groups: dict[tuple[str, str], dict[bytes, list[int]]] = {}
    for number, destination in enumerate(record.destinations):
        route = destination.route
        if destination.outcome is None and route is not None and route.mailer in MAILERS:
            users = groups.setdefault((route.mailer, _key(route)), {})
            users.setdefault(route.user, []).append(number)
    rendered: dict[str, bytes] = {}
    made = []
    for (mailer, next_hop), users in groups.items():
        if mailer not in rendered:
            rendered[mailer] = header(record.control, mailer, host)
        sender = reverse_path(record.control, mailer, host)
        job = _job(record, next_hop, users, sender, rendered[mailer])
        made.append(Task(record, mailer, job, users))
    return made


def _key(route: Route) -> str:
    if route.mailer == "local":
        return route.user.decode("utf-8", "surrogateescape")
    return route.host.lower()


def _job(
    record: Record, next_hop: str, users: dict[bytes, list[int]], sender: bytes, block: bytes
) -> Job:
    control, held = record.control, record.held
    recipients = {name: record.destinations[at[0]].recipient for name, at in users.items()}
    return Job(
        record.qid,
        sender,
        next_hop,
        tuple(User(name, _notify(r), r.original) for name, r in recipients.items()),
        block,
        held.data,
        held.size,
        "8" in control.flags,
        control.body_type,
        _ret(control),
        control.envid,
        control.attempts == 0,
    )


def reverse_path(control: Control, mailer: str, host: str) -> bytes:
    """Bare; another host needs a domain behind it to answer to."""
    sender = notify.sender(control)
    if mailer == "local" or not sender or address.split(sender)[1]:
        return sender
    return b"%b@%b" % (sender, host.encode("ascii", "replace"))


def header(control: Control, mailer: str, host: str) -> bytes:
    """The header block for *mailer*. Only what was submitted here is completed on its way out."""
    own = host.encode("ascii", "replace")
    submitted = mailer == "esmtp" and not control.macros.get(b"r")
    return headers.render(
        control.headers,
        mailer=mailer,
        reverse_path=reverse_path(control, mailer, host),
        flags=control.flags,
        qualify=(lambda field: addresslist.qualify_field(field, own)) if submitted else None,
    )


def _notify(recipient: Recipient) -> str:
    """NOTIFY for the next hop, "" if none was given (RFC 3461 section 5.2.1)."""
    if "N" not in recipient.flags:
        return ""
    return ",".join(_NOTIFY[flag] for flag in "SFD" if flag in recipient.flags) or "NEVER"


def _ret(control: Control) -> bytes:
    if "d" not in control.flags:
        return b""
    return b"HDRS" if "n" in control.flags else b"FULL"
