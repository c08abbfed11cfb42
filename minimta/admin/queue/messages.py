"""What waits: the messages of both queues, as a listing shows them and the verbs choose them.

    state        file                       what it means
    waiting      qf of the MTA queue        tried when it is due
    delivering   the same, locked           a runner has it now
    held         hf                         quarantined: no run takes it
    aside        Qf                         cannot be acted on; a fault to be mended
    submitted    qf of the client queue     not yet taken over by the runner

Read without locks, as ``mailq`` does; to act on one lock it first. Who does not administer the queue
sees their own letters in the client queue, and nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from minimta.commands import mailq
from minimta.config.options import Options
from minimta.message import address
from minimta.message.printable import shown
from minimta.queue import directories, listing, own_letters, pattern, permission
from minimta.queue.control import Control
from minimta.queue.listing import Listed
from minimta.queue.rest import rest_after

#: kinds of control files of each queue, in the order of a listing
_KINDS = ("qf", "hf", "Qf")
_STATES = {"qf": "waiting", "hf": "held", "Qf": "aside"}
STATES = ("waiting", "delivering", "held", "aside", "submitted")
#: "Connection refused by mx.lab2.campus." names a host
_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """One message. Times are epoch seconds."""

    qid: str
    #: what a run calls it: see ``queue.pattern``
    name: str
    #: the path of the directory that it lies in
    directory: str
    #: is that the client queue?
    is_client: bool
    #: "qf", "hf", "Qf"
    kind: str
    state: str
    #: octets of the body, -1 if there is none
    size: int
    created: int
    last_attempt: int
    attempts: int
    #: as given: b"<emma@lab1.campus>", b"<>"
    sender: bytes
    #: with the status of each, "" if it has none of its own
    recipients: tuple[tuple[bytes, str], ...]
    #: why it is still here
    reason: str
    #: why it is held, "" if it is not
    quarantine: str

    def next_attempt(self, options: Options) -> int:
        """When it is due, 0 if no run takes it."""
        if self.state in ("held", "aside"):
            return 0
        if not self.attempts:
            return self.created
        return self.last_attempt + rest_after(options, self.created, self.last_attempt)

    @property
    def domains(self) -> list[str]:
        """Of its recipients, in small letters, each once; "" are those of this host."""
        found = (address.split(address.bare(one))[1] for one, _ in self.recipients)
        return list(dict.fromkeys(shown(domain).lower().rstrip(".") for domain in found))

    @property
    def hosts(self) -> list[str]:
        """The domains of its recipients, and the hosts that the reasons name."""
        reasons = " ".join([self.reason, *(status for _, status in self.recipients)]).lower()
        return list(dict.fromkeys([*self.domains, *_HOST.findall(reasons)]))

    def as_locked(self, control: Control) -> QueuedMessage:
        """The same with what its *control* file says now."""
        return replace(
            self,
            sender=control.reverse_path,
            recipients=tuple((one.address, one.message) for one in control.recipients),
            reason=control.message,
            quarantine=control.quarantine,
            created=control.created,
        )


def may_see_all(options: Options) -> bool:
    """Does the caller administer the MTA queue? Raise OSError if that cannot be known."""
    return permission.may_administer(options)


def found(options: Options, only: Collection[str] | None = None) -> list[QueuedMessage]:
    """All that the caller may see, the oldest first; *only* these ids, if not all.

    Raise OSError if the queue cannot be read.
    """
    if may_see_all(options):
        there = [
            _made(one, kind, pattern.path_of(options, one.name))
            for kind in _KINDS
            for one in directories.listed(options, kind, only=only)
        ]
    else:
        there = []
    return sorted(there + _of_clients(options, only), key=lambda one: (one.created, one.qid))


def _of_clients(options: Options, only: Collection[str] | None) -> list[QueuedMessage]:
    directory = options.client_queue_directory
    owner = None
    if not may_see_all(options):
        own = _own(directory)
        only, owner = own if only is None else [qid for qid in own if qid in only], os.geteuid()
    try:
        waiting = list(listing.scan(directory, "qf", only=only, owner=owner))
        aside = list(listing.scan(directory, "Qf", only=only, owner=owner))
    except FileNotFoundError:
        return []
    mailq.explain(options, waiting)
    return [_made(one, "qf", directory, is_client=True) for one in waiting] + [
        _made(one, "Qf", directory, is_client=True) for one in aside
    ]


def _own(directory: str) -> list[str]:
    try:
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return []
    try:
        return own_letters.read(folder)
    finally:
        os.close(folder)


def _made(one: Listed, kind: str, directory: str, *, is_client: bool = False) -> QueuedMessage:
    state = "submitted" if is_client and kind == "qf" else _STATES[kind]
    if one.locked and not is_client:
        state = "delivering"
    return QueuedMessage(
        one.qid,
        one.name,
        directory,
        is_client,
        kind,
        state,
        one.size,
        one.created,
        one.last_attempt,
        one.attempts,
        one.sender,
        tuple((recipient, shown(status)) for recipient, status, _ in one.recipients),
        shown(one.message),
        shown(one.quarantine),
    )
