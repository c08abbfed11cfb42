"""What is believed of a control file that a user has written: a new one is made, field by field.

    taken     recipients (plain addresses), sender (with a warning if it is not the file's owner), DSN
              parameters, header fields, body type, DeliveryMode; each checked
    made      $_, the priority's lower bound, a Received field: from who owns the file, and from us
    dropped   controlling users, macros, flags and lines that only an MTA may set

A copy with holes cut into it would pass on whatever letter a later version learns to write.
"""

from __future__ import annotations

import os

from minimta.message import dates, received
from minimta.message.address import bare, qualified, split, unquote
from minimta.message.envelope import Recipient
from minimta.message.printable import is_text, printable
from minimta.queue import client_limits
from minimta.queue.control import DELIVERY_MODE, Control
from minimta.system import hostnames, log, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.system.users import User

#: stands for our full name in what was submitted while HostName could not be read (submission.held);
#: no host can have it, so no letter speaks of it otherwise
UNKNOWN_HOST = b"our-full-name.invalid"
#: the same for the recipient that AlwaysBcc adds
UNKNOWN_BCC = b"always-bcc@" + UNKNOWN_HOST
_WARNING = b"X-Authentication-Warning: "


def sanitized(written: Control, owner: User, options: Options, now: float) -> Control:
    """A new control file for what the *owner* of the file asks in it; *now* is epoch seconds.

    Raise client_limits.Unacceptable if it asks for what no user may have, or breaks a limit.
    """
    client_limits.check(written, options)
    _insert_always_bcc(written, options)
    _insert_our_name(written, options)
    login = os.fsencode(owner.name)
    recipients = [_recipient(recipient) for recipient in written.recipients]
    sender = written.reverse_path
    if login.isdigit() and split(bare(sender))[0] == login == b"%d" % owner.uid:
        # A number without a name has no mailbox to which anything could be returned.
        sender = b"<%b>" % qualified(b"postmaster", hostnames.own_name(options))
    control = Control(min(written.created, int(now)), sender, recipients)
    control.flags = "".join(letter for letter in written.flags if letter in "8bdns")
    control.body_type = written.body_type if written.body_type in (b"7BIT", b"8BITMIME") else b""
    control.envid = _text(written.envid)
    control.headers = _headers(written, login, owner.uid, options)
    if control.headers == written.headers:
        control.auth = _text(written.auth)  # the sender is the file's owner
    control.macros = {b"_": printable(login) + b"@localhost", b"{daemon_flags}": b"c u"}
    if written.macros.get(b"r") in (b"SMTP", b"ESMTP"):  # sendmail -bs
        control.macros[b"r"] = written.macros[b"r"]
    if written.macros.get(DELIVERY_MODE) in (b"q", b"d"):
        control.macros[DELIVERY_MODE] = written.macros[DELIVERY_MODE]
    if helo := _text(written.macros.get(b"s", b"")):
        control.macros[b"s"] = helo
    # The class of a message (Precedence) may make it wait, not come before others.
    lowest = len(recipients) * options.recipient_factor + max(written.size, 0)
    control.priority = max(lowest, min(written.priority, lowest + 1000 * options.class_factor))
    return control


def _insert_always_bcc(written: Control, options: Options) -> None:
    """Put AlwaysBcc, if there is one, where submission did not know it. Raise OSError as _insert_our_name()."""
    named = [one for one in written.recipients if bare(one.address) != UNKNOWN_BCC]
    if len(named) == len(written.recipients):
        return
    if options.always_bcc:
        from minimta.queue import always_bcc  # few letters come while it is in doubt

        added = always_bcc.recipient(options, hostnames.own_name(options))
        if added.final.lower() not in {one.final.lower() for one in named}:
            named.append(added)
    written.recipients = named


def _insert_our_name(written: Control, options: Options) -> None:
    """Put our full name where submission did not know it. Raise OSError if we do not, either."""
    texts = [written.reverse_path, *(field for _, field in written.headers)]
    if not any(UNKNOWN_HOST in text for text in texts):
        return
    name = hostnames.own_name(options).encode("ascii", "replace")
    written.reverse_path = written.reverse_path.replace(UNKNOWN_HOST, name)
    written.auth = written.auth.replace(UNKNOWN_HOST, name)
    written.headers = [
        (flags, field.replace(UNKNOWN_HOST, name)) for flags, field in written.headers
    ]
    for recipient in written.recipients:
        recipient.address = recipient.address.replace(UNKNOWN_HOST, name)
        recipient.final = recipient.final.replace(UNKNOWN_HOST, name)


def add_trace(control: Control, owner: User, options: Options, *, qid: str, now: float) -> None:
    """Add the Received field of this step to *control*, for the message gets another id here.

    It has the form of Sendmail's second hop, by SMTP from the client queue to the daemon: programs
    and people count three of them from a user of one host to a mailbox of another.
    """
    host = hostnames.own_name(options).encode("ascii", "replace")
    only = len(control.recipients) == 1
    field = received.received(
        client=printable(os.fsencode(owner.name)) + b"@localhost",
        helo=host,
        protocol=b"ESMTP",
        host=host,
        product=received.PRODUCT,
        qid=qid.encode("ascii"),
        recipient=control.recipients[0].address if only else b"",
        date=dates.rfc5322(now).encode("ascii"),
    )
    place = 1 if control.headers and control.headers[0][0] == b"P" else 0
    control.headers = [*control.headers[:place], (b"", field), *control.headers[place:]]


def _recipient(written: Recipient) -> Recipient:
    flags = "".join(letter for letter in written.flags if letter in "PNSFD")
    original, final = _text(written.original), _text(written.final)
    return Recipient(written.address, flags, original=original, final=final)


def _text(value: bytes) -> bytes:
    """*value* if it is short printable text, else nothing."""
    return value if len(value) <= client_limits.LONGEST and is_text(value) else b""


def _headers(
    written: Control, login: bytes, uid: int, options: Options
) -> list[tuple[bytes, bytes]]:
    """The header fields, with the warning that must be there when the sender is not the owner.

    The owner may have left it out: ``sendmail`` runs as the user, so its check proves nothing here.
    """
    sender = bare(written.reverse_path)
    local, domain = split(sender)
    if unquote(local) == login and domain.lower() in (
        b"",
        hostnames.own_name(options).lower().encode(),
    ):
        return written.headers
    if uid == 0 or login in users.trusted(options.trusted_users):
        return written.headers
    shown = log.clean(sender or b"<>").encode()
    host = hostnames.own_name(options).encode()
    warning = _WARNING + b"%b: %b set sender to %b using -f" % (
        host,
        log.clean(login).encode(),
        shown,
    )
    if (b"", warning) in written.headers or "authwarnings" not in options.privacy_options:
        return written.headers
    # Where collect puts it: behind the fields that we add, before those of the message.
    place = max((n for n, (flags, _) in enumerate(written.headers, 1) if flags), default=0)
    return [*written.headers[:place], (b"", warning), *written.headers[place:]]
