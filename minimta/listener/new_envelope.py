"""The envelope that a message by SMTP begins with: what MAIL said, and what is known of the client."""

from __future__ import annotations

from minimta.listener import login_senders
from minimta.listener.peer import Peer
from minimta.listener.shared_state import SharedState
from minimta.message.envelope import Envelope
from minimta.smtp.parameters import MailParameters

#: what Sendmail writes as ${daemon_flags} for mail that came by no port
_SUBMISSION_FLAGS = b"c u"


def new_envelope(
    reverse_path: bytes,
    found: MailParameters,
    client: Peer,
    shared: SharedState,
    *,
    protocol: bytes,
    helo: bytes,
) -> Envelope:
    """From *client*, who called itself *helo*; *reverse_path* is as the queue keeps it."""
    envelope = Envelope(reverse_path)
    _note_wishes(envelope, found)
    envelope.auth = login_senders.author(found.auth, client, shared.host)
    envelope.client = client.shown.encode("ascii", "replace")
    envelope.protocol, envelope.helo = protocol, helo
    envelope.login = b"authenticated bits=0" if client.mechanism else b""
    envelope.tls = client.secured.trace if client.secured else b""
    envelope.is_own = client.rights.may_relay
    envelope.if_address = client.if_address.encode("ascii")
    if client.port is None:
        envelope.daemon_flags = _SUBMISSION_FLAGS
    else:
        envelope.daemon, envelope.daemon_flags = client.port.name, client.port.flags
        envelope.delivery_mode = shared.delivery_mode(client.port)
    return envelope


def _note_wishes(envelope: Envelope, found: MailParameters) -> None:
    # What is binary is converted as it comes.
    is_binary = found.body_type == b"BINARYMIME"
    envelope.body_type = b"8BITMIME" if is_binary else found.body_type
    envelope.ret, envelope.envid = found.ret, found.envid
    envelope.requires_tls = found.requires_tls
    envelope.deliver_by = found.deliver_by.line() if found.deliver_by else b""
