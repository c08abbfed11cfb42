"""ETRN (RFC 1985): a host that was away asks for the mail that waits for it here.

    ETRN lab3.campus     what waits for recipients of that domain is tried now
    ETRN @lab3.campus    and of all domains below it
    ETRN #mqueue         the queue group; there is one

Who may relay may ask; a stranger could have the machine run its queue all day. The listener has no
right to run it: it asks its parent (``supervisor``), which looks at what it is told once more and
starts a queue run, for one domain at most once in a while.
"""

from __future__ import annotations

from minimta.message import address
from minimta.runner.asked_runs import MAX_ORDER, ORDER
from minimta.smtp.reply import Reply, quoted, reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.listener.peer import Peer
    from minimta.listener.shared_state import SharedState

#: the only queue group there is
GROUP = b"mqueue"

_SYNTAX = reply(500, "5.5.2", "Parameter required")


def answer(argument: bytes, client: Peer, shared: SharedState) -> Reply:
    """The reply to ETRN, after which a queue run may begin."""
    if not argument:
        return _SYNTAX
    shown = quoted(argument)
    # DIFFERS: Sendmail lets everybody ask.
    if not client.rights.may_relay:
        return reply(459, "4.7.1", f"Node {shown} not allowed: relay access is needed")
    order = _order(argument)
    if not order and argument[:1] == b"#":
        return reply(459, "4.5.4", f"Queue {quoted(argument[1:])} unknown")
    if not order:
        return reply(458, "4.5.4", f"Unable to queue messages for node {shown}")
    if shared.ask_parent is None or not shared.ask_parent(order):
        return reply(458, "4.3.0", f"Unable to queue messages for node {shown} now")
    return reply(250, "2.0.0", f"Queuing for node {shown} started")


def _order(argument: bytes) -> bytes:
    """What the parent is told; b"" if *argument* is no node."""
    mark, node = argument[:1], argument
    if mark in (b"@", b"#"):
        node = argument[1:]
    if mark == b"#":
        return b"e#\n" if node.lower() == GROUP else b""
    order = b"e%b%b\n" % (b"." if mark == b"@" else b"@", address.domain_key(node))
    return order if len(order) <= MAX_ORDER and ORDER.fullmatch(order) else b""
