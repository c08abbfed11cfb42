"""The control file that a message begins with: all but its header fields.

Priority is what a queue run sorts by, low first: octets, plus RecipientFactor for each recipient,
less ClassFactor for each point of Precedence.
"""

from __future__ import annotations

from minimta.message import address, headers
from minimta.message.printable import printable
from minimta.queue.control import DELIVERY_MODE, QUEUE_ONLY, Control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.message.envelope import Envelope, Recipient

_CLASSES = {b"special-delivery": 100, b"first-class": 0, b"list": -30, b"bulk": -60, b"junk": -100}
_NAMING = {b"to", b"cc", b"resent-to", b"resent-cc", b"apparently-to"}


def make(envelope: Envelope, created: int, host: bytes, delivery_mode: str) -> Control:
    """A control file for *envelope*; *host* is our name. Completes its recipients' r lines."""
    control = Control(created, envelope.reverse_path, envelope.recipients)
    for recipient in envelope.recipients:
        recipient.final = recipient.final or _final(recipient, host)
    control.body_type = envelope.body_type
    control.macros = _macros(envelope, delivery_mode)
    control.envid = envelope.envid
    control.auth = envelope.auth
    return control


def precedence(fields: list[bytes]) -> int:
    """Sendmail's message class; the last Precedence field counts."""
    words = [headers.value(f).lower() for f in fields if headers.name(f) == b"precedence"]
    return _CLASSES.get(words[-1], 0) if words else 0


def priority(options: Options, size: int, recipients: int, fields: list[bytes]) -> int:
    """The P line of a message of *size* octets."""
    weight = options.recipient_factor * recipients
    return size + weight - options.class_factor * precedence(fields)


def flags(envelope: Envelope, fields: list[bytes], *, eight_bit: bool, response: bool) -> str:
    """The F line, in Sendmail's order; "s" (split) always stands there."""
    names = {headers.name(field) for field in fields}
    letters = {
        "r": response,
        "8": eight_bit,
        "b": bool(names & _NAMING) and not response,
        "d": bool(envelope.ret),
        "n": envelope.ret == b"HDRS" or precedence(fields) < 0,
        "s": True,
    }
    return "".join(letter for letter, is_set in letters.items() if is_set)


def _final(recipient: Recipient, host: bytes) -> bytes:
    """The r line: final recipient for the DSN, fully qualified (RFC 3464 section 2.3.2)."""
    bare = address.bare(recipient.address)
    domain = address.split(bare)[1]
    return b"RFC822; " + (bare if domain else b"%b@%b" % (bare, host))


def _macros(envelope: Envelope, delivery_mode: str) -> dict[bytes, bytes]:
    macros = {b"_": printable(envelope.client)}
    if envelope.protocol or envelope.helo:
        macros[b"r"] = printable(envelope.protocol)
        macros[b"s"] = printable(envelope.helo)
    macros[b"{daemon_flags}"] = envelope.daemon_flags
    if envelope.if_address:
        macros[b"{if_addr}"] = envelope.if_address
    if delivery_mode in QUEUE_ONLY:
        # Sendmail's macro: for the resident runner, which else would try it as soon as it sees it.
        macros[DELIVERY_MODE] = delivery_mode[:1].encode("ascii")
    return macros
