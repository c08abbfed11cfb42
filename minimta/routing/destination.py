"""An address on its way through an expansion, where it ends, and the ends that need no mailer.

``Destinations`` keeps the ends, each once. Two addresses are the same if their keys are:

    dave+lists                      a local mailbox, the user's name as passwd has it, and the detail
    x@lab3.campus                   another host's, the local part as written (RFC 5321 section 2.4)
    prog COMMAND UID                a program or *file*, once for each controlling user
    error:..., :include:PATH UID    what could not be expanded

The outcomes are in Sendmail's words.
"""

from __future__ import annotations

import os

from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome, deferred
from minimta.routing.controlling_user import Authority
from minimta.routing.local_host import LocalHost, LocalRecipient
from minimta.routing.refusal import Refusal
from minimta.routing.route import Route
from minimta.routing.targets import AliasTarget
from minimta.system import log
from minimta.system.users import User


class Destination:
    """Where one recipient's copy of the message goes."""

    __slots__ = ("controlling", "outcome", "recipient", "route")

    def __init__(
        self,
        recipient: Recipient,
        route: Route | None,
        outcome: Outcome | None = None,
        controlling: User | None = None,
    ) -> None:
        """Either a mailer follows *route*, or *outcome* says what became of it."""
        #: as the qf shall have it from now on
        self.recipient = recipient
        #: local: user is the login name, host the detail of user+detail; prog: the command
        self.route = route
        #: decided without a mailer, else None
        self.outcome = outcome
        #: prog and *file*: the user with whose rights; else None
        self.controlling = controlling

    def __repr__(self) -> str:
        return f"Destination({self.recipient!r}, {self.route!r}, {self.outcome!r})"


class Node:
    """One address on its way, with the way that led to it: a tree whose roots are recipients."""

    __slots__ = (
        "alias",
        "authority",
        "children",
        "depth",
        "end",
        "followed",
        "has_arrived",
        "is_sticky",
        "key",
        "local_part",
        "mailbox",
        "notes",
        "origin",
        "parent",
        "recipient",
        "refused",
        "target",
        "user",
    )

    def __init__(
        self,
        recipient: Recipient,
        target: AliasTarget,
        parent: Node | None = None,
        authority: Authority | None = None,
        origin: str = "",
    ) -> None:
        """*parent* expanded to it, named by *authority* at *origin*; a root has none of them."""
        #: as the qf shall have it
        self.recipient = recipient
        #: what it names
        self.target = target
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        #: who answers for the text that named it; None: the envelope did
        self.authority = authority
        #: file and line that named it, "/home/dave/.forward: line 2: "; "" for aliases
        self.origin = origin
        #: equal for what means the same; b"" until it is known
        self.key = b""
        #: the local part of a local address, unquoted
        self.local_part = b""
        #: a local address that was given with its domain (StickyHost)
        self.is_sticky = False
        self.children: list[Node] = []
        #: name of the alias that it is, b"list+*" for list+x; b"" for postmaster without an alias
        self.alias: bytes | None = None
        #: the user of the mailbox; None if that was not looked up
        self.mailbox: LocalRecipient | None = None
        #: the user whose .forward was looked for
        self.user: User | None = None
        #: path of the .forward or list that was read, "" if none was
        self.followed = ""
        #: path and reason of each .forward that others could have modified
        self.refused: list[tuple[str, str]] = []
        #: why it leads nowhere new, for people: "is a duplicate"
        self.notes: list[str] = []
        #: where it ends, None if it expands or was dropped
        self.end: Destination | None = None
        #: does it end, itself or in another of its key that came before?
        self.has_arrived = False
        if parent:
            parent.children.append(self)

    def circle(self, key: bytes) -> list[Node]:
        """The ancestors from the one with *key* down, [] if none has it."""
        members: list[Node] = []
        node = self.parent
        while node is not None:
            members.insert(0, node)
            if node.key == key:
                return members
            node = node.parent
        return []


#: before the key of what could not be expanded now
_LATER = b"later: "


class Destinations:
    """The ends of one message's expansion, in the order in which they were found, none twice."""

    def __init__(self, sender: bytes, here: LocalHost) -> None:
        """*sender* is the bare reverse-path; *here* knows when addresses are the same, and MeToo."""
        self._sender = sender
        self._here = here
        self._found: dict[bytes, Node] = {}
        #: the first members of circles that have no users
        self.broken: list[Node] = []

    def all(self) -> list[Destination]:
        """One for every recipient of the envelope at least, if add() was called for it."""
        return [node.end for node in self._found.values() if node.end is not None]

    def add(
        self,
        node: Node,
        route: Route | None,
        outcome: Outcome | None = None,
        acting: User | None = None,
    ) -> None:
        """*node* ends here, unless its key is known or it is the sender's own copy of a list."""
        node.has_arrived = True
        if node.key in self._found:
            self.drop(node)
        elif not self._here.options.me_too and self._is_sender(node):
            node.notes.append("is the sender, who gets no copy (option MeToo)")
        else:
            self._found[node.key] = node
            node.end = Destination(node.recipient, route, outcome, acting)

    def drop(self, node: Node) -> None:
        """Something led to it before. A recipient named twice gets every report that either asked for."""
        node.notes.append("is a duplicate")
        known = self._found.get(node.key) or self._found.get(_LATER + node.key)
        if known is not None and known is not node and not node.parent:
            # Both stand in the envelope, with a NOTIFY each (RFC 3461 section 4.1).
            kept = known.recipient
            kept.flags += "".join(
                f for f in node.recipient.flags if f in "NSFD" and f not in kept.flags
            )

    def _is_sender(self, node: Node) -> bool:
        """Does an alias lead back to the sender, and to others as well?

        If it leads to nobody else ("dave: emma", and emma writes to dave) the message would vanish.
        """
        is_one_of_many = node.parent is not None and len(node.parent.children) > 1
        return is_one_of_many and node.key == self._here.key(self._sender)

    def settle_broken(self) -> None:
        """A circle without users is an error only if its alias leads to nobody else.

        It is known at the very end: what stands beside the circle in an alias comes later.
        """
        for node in self.broken:
            if not self._found:
                self.add(node, None, loop_broken("aliasing/forwarding loop broken"))

    def postpone(self, node: Node, error: OSError) -> None:
        """*node* could not be looked up, read or routed now: it waits, and no other does."""
        node.has_arrived = True
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        unexpanded = node.target.kind == "user" and not node.target.final
        if "A" in node.recipient.flags and node.parent and unexpanded:
            # With A the next attempt would take it for expanded and look at no alias or .forward.
            node.recipient.flags = node.recipient.flags.replace("A", "")
        outcome = deferred("4.3.0", log.clean(where + reason))
        # The error may have come before the key was known. Without its expansion "dave" is not the
        # mailbox of that name, to which "\\dave" goes: neither stands for the other.
        key = (_LATER if unexpanded else b"") + (node.key or bytes(node.target))
        if self._found.setdefault(key, node) is node:
            node.end = Destination(node.recipient, None, outcome)


#: for /dev/null
DISCARDED = Outcome(Fate.SENT, "2.0.0", "Sent")


def refused(found: Refusal, shown: str) -> Outcome:
    """What a table or an alias says of the address *shown*: a bounce, or a delay."""
    if not found.is_final:
        return deferred(found.status, found.text)
    if found.name:
        return unknown_user(found.name)
    reply = f"{found.code} {found.status} "
    return Outcome(
        Fate.FAILED,
        found.status,
        found.text,
        diagnostic=reply + found.text,
        transcript=(f"{reply}{shown}... {found.text}",),
        exit_code=found.exit_code,
    )


def unknown_user(shown: str) -> Outcome:
    """Nobody has the address *shown*."""
    transcript = (f"550 5.1.1 {shown}... User unknown",)
    return Outcome(
        Fate.FAILED, "5.1.1", "User unknown", transcript=transcript, exit_code=os.EX_NOUSER
    )


def not_allowed(shown: str, text: str) -> Outcome:
    """A program or file that its controlling user may not name (5.7.1, delivery not authorized)."""
    return _usage("5.7.1", f"550 5.7.1 {shown}... {text}", text)


def no_list(shown: str, text: str) -> Outcome:
    """An :include: that is not there or not to be trusted (5.2.4, list expansion problem)."""
    return _usage("5.2.4", f"550 5.2.4 {shown}... {text}", text)


def loop_broken(text: str) -> Outcome:
    """A circle without end or without users (5.4.6, routing loop detected)."""
    return _usage("5.4.6", f"554 5.4.6 {text}", text)


def _usage(status: str, line: str, text: str) -> Outcome:
    return Outcome(Fate.FAILED, status, text, transcript=(line,), exit_code=os.EX_USAGE)


def too_many_hops(hops: int, limit: int) -> Outcome:
    """The message goes in a circle (RFC 5321 section 6.3)."""
    line = f"554 5.4.6 Too many hops {hops} ({limit} max)"
    return Outcome(
        Fate.FAILED, "5.4.6", "Too many hops", transcript=(line,), exit_code=os.EX_UNAVAILABLE
    )


def not_in_time(seconds: int) -> Outcome:
    """BY=...;R: the time is over that the sender gave (RFC 2852 section 4)."""
    text = f"delivery time expired {seconds}s"
    line = f"554 5.4.7 {text}"
    return Outcome(Fate.FAILED, "5.4.7", text, transcript=(line,), exit_code=os.EX_UNAVAILABLE)
