"""What a message in clientmqueue may be: one set of limits, for who writes it and who adopts it.

Submission asks before it says 0; the runner asks again, for the file may be anybody's. What is too
large is no user's fault if it can be cut: more recipients than one message may have become several
messages.
"""

from __future__ import annotations

from minimta.message.envelope import Recipient
from minimta.message.printable import is_text
from minimta.queue.control import Control, encode, is_plain
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options

#: octets of a qf
MAX_CONTROL = 8 << 20
#: octets of an address, of a DSN parameter
LONGEST = 2048
#: octets by which submission may make a header longer than MaxHeadersLength: its Received, Date,
#: From and Message-Id, a line end, a domain behind each name without one
_ADDED = 65536
#: octets of the recipients of one message: what is left are header and envelope
_MAX_RECIPIENTS = 6 << 20


class Unacceptable(Exception):
    """This message cannot be taken as it is; the text says why."""


def check(control: Control, options: Options) -> None:
    """Raise Unacceptable if no user may have this, or it breaks a limit."""
    most = options.max_recipients
    if not control.recipients:
        raise Unacceptable("no recipients")
    if most and len(control.recipients) > most:
        raise Unacceptable(f"{len(control.recipients)} recipients, {most} max")
    _check_path(control.reverse_path, "sender")
    for recipient in control.recipients:
        _check_path(recipient.address, "recipient")
        if not is_plain(Recipient(recipient.address)):
            shown = log.clean(recipient.address)
            raise Unacceptable(f"Cannot mail directly to programs or files: {shown}")
    longest = options.max_headers_length
    if sum(len(field) for _, field in control.headers) > longest + _ADDED:
        raise Unacceptable(f"Headers too large ({longest} max)")
    limits = options.max_mime_header_length
    if any(limits):
        from minimta.message import mime_fields  # few hosts have the option

        if what := mime_fields.too_long((field for _, field in control.headers), *limits):
            raise Unacceptable(f"Too long: {what}")


def _check_path(path: bytes, what: str) -> None:
    if len(path) > LONGEST or not is_text(path):
        raise Unacceptable(f"{what} is no address: {log.clean(path)}")


def parts(control: Control, options: Options) -> list[Control]:
    """*control*, or as many as its recipients need: each will be adopted. Raise Unacceptable.

    Only the recipients differ; all have one Message-Id, as when Sendmail splits.
    """
    made = []
    for recipients in _groups(control.recipients, options.max_recipients):
        part = Control(control.created, control.reverse_path, recipients)
        for name in ("auth", "body_type", "envid", "flags", "headers", "macros", "priority"):
            setattr(part, name, getattr(control, name))
        check(part, options)
        if len(encode(part)) > MAX_CONTROL:
            raise Unacceptable(f"queue file too large ({MAX_CONTROL} max)")
        made.append(part)
    return made


def _groups(recipients: list[Recipient], most: int) -> list[list[Recipient]]:
    """*recipients* in their order, not too many together; *most* 0 is no limit."""
    groups: list[list[Recipient]] = []
    octets = 0
    for recipient in recipients:
        # Twice for the address itself: its own line, and that of the final recipient.
        length = len(recipient.address) + len(recipient.final) + len(recipient.original) + 32
        octets += length
        if not groups or len(groups[-1]) == most or octets > _MAX_RECIPIENTS:
            groups.append([])
            octets = length
        groups[-1].append(recipient)
    return groups
