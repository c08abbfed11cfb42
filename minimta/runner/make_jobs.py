"""From the destinations of a message to the jobs of the mailers: Sendmail's triples, grouped.

    local           one job for each mailbox; its host is the detail of user+detail
    *file*, prog    one job for each file or program and controlling user
    esmtp           one job for each next hop, with all its users: one transaction

Who is named twice for the same (mailer, host, user) gets the message once. What comes from the owner
of a list is apart from what comes from the sender.
"""

from __future__ import annotations

from minimta.mailers.job import Job, JobUser
from minimta.message import address, addresslist, deliver_by, headers
from minimta.message.envelope import Recipient
from minimta.queue.control import OWN_MAIL, Control
from minimta.routing import controlling_user
from minimta.routing.destination import Destination
from minimta.routing.route import Route
from minimta.runner.checkpoint import MessageProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.routing.rewrite import Rewriter

MAILERS = ("local", "*file*", "prog", "esmtp")
_NOTIFY = {"S": "SUCCESS", "F": "FAILURE", "D": "DELAY"}


class Task:
    """A job, and the recipients of the message that it serves."""

    def __init__(
        self, progress: MessageProgress, mailer: str, job: Job, users: dict[bytes, list[int]]
    ) -> None:
        """The *job* of the message *progress* for *mailer*; *users* says whom it serves, see below."""
        self.progress = progress
        self.mailer = mailer
        self.job = job
        #: user.name -> positions among the destinations of *progress*
        self.users = users

    @property
    def positions(self) -> list[int]:
        """The recipients that it serves, as positions among the destinations."""
        return [position for positions in self.users.values() for position in positions]


def tasks(progress: MessageProgress, host: str, rewriter: Rewriter | None = None) -> list[Task]:
    """The tasks for all that is not settled and has one of MAILERS; *host* is our name.

    *rewriter* makes addresses what others shall see. Raise OSError as it does.
    """
    groups: dict[_Key, dict[bytes, list[int]]] = {}
    for number, destination in enumerate(progress.destinations):
        route = destination.route
        if destination.outcome is None and route is not None and route.mailer in MAILERS:
            users = groups.setdefault(_key(destination, route, rewriter), {})
            users.setdefault(route.user, []).append(number)
    rendered: dict[tuple[str, bytes], bytes] = {}
    made = []
    for (mailer, next_hop, _, owner, is_forwarded), users in groups.items():
        sender = reverse_path(progress.sender if owner is None else owner, mailer, host)
        if rewriter is not None:
            sender = rewriter.sender(sender, mailer, is_forwarded=is_forwarded)
        if (mailer, sender) not in rendered:
            rendered[mailer, sender] = header(progress.control, mailer, host, sender, rewriter)
        job = _job(progress, next_hop, users, sender, rendered[mailer, sender])
        made.append(Task(progress, mailer, job, users))
    return made


#: mailer, host, what else keeps jobs apart, owner of the list, is it sent on from an address of ours
_Key = tuple[str, str, bytes, bytes | None, bool]


def _key(destination: Destination, route: Route, rewriter: Rewriter | None) -> _Key:
    recipient = destination.recipient
    owner = controlling_user.owner(recipient) if recipient.controlling_user else None
    if route.mailer == "esmtp":
        is_forwarded = rewriter is not None and rewriter.is_forwarded(recipient)
        return route.mailer, route.host.lower(), route.option.encode(), owner, is_forwarded
    acting = destination.controlling
    apart = b"%b %d" % (route.user, acting.uid if acting else -1)
    return route.mailer, route.host, apart, owner, False


def _job(
    progress: MessageProgress,
    next_hop: str,
    users: dict[bytes, list[int]],
    sender: bytes,
    block: bytes,
) -> Job:
    control, message = progress.control, progress.message
    first = {name: progress.destinations[at[0]] for name, at in users.items()}
    recipients = {name: destination.recipient for name, destination in first.items()}
    return Job(
        progress.qid,
        sender,
        next_hop,
        tuple(JobUser(name, _notify(r), r.original) for name, r in recipients.items()),
        block,
        message.data,
        message.size,
        "8" in control.flags,
        control.body_type,
        _ret(control),
        control.envid,
        control.attempts == 0,
        next(iter(first.values())).controlling,
        _option(next(iter(first.values())).route),
        control.macros.get(b"_", b""),
        requires_tls=control.requires_tls,
        deliver_by=deliver_by.of_lines(control.carried),
        created=control.created,
        is_own=is_own(control),
    )


def is_own(control: Control) -> bool:
    """Was it written here, submitted by a user of this host, or taken from a client that may relay?"""
    macros = control.macros
    by_user = macros.get(b"_", b"").endswith(b"@localhost")
    return not macros.get(b"r") or by_user or OWN_MAIL in macros


def _option(route: Route | None) -> str:
    return route.option if route is not None else ""


def reverse_path(sender: bytes, mailer: str, host: str) -> bytes:
    """Bare, for *mailer*, without a final dot; another host needs a domain behind it to answer to. *host* is our name."""
    bare = address.without_final_dot(sender)
    return address.qualified(bare, host) if mailer == "esmtp" else bare


def header(
    control: Control, mailer: str, host: str, sender: bytes, rewriter: Rewriter | None = None
) -> bytes:
    """The header block for *mailer*, from *sender*. Raise OSError as *rewriter* does.

    Only what was submitted here is completed, with *host*, on its way out.
    """
    own = host.encode("ascii", "replace")
    submitted = mailer == "esmtp" and not control.macros.get(b"r")

    def change(field: bytes) -> bytes:
        whole = addresslist.qualify_field(field, own) if submitted else field
        return whole if rewriter is None else rewriter.field(whole, mailer)

    return headers.render(
        control.headers,
        # Sendmail's prog has no Return-Path (no P among its flags), *file* has one.
        mailer="local" if mailer == "*file*" else mailer,
        reverse_path=sender,
        flags=control.flags,
        change=change if submitted or rewriter is not None else None,
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
