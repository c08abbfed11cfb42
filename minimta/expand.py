"""Recipients to destinations: aliases, ``~/.forward``, loops, duplicates (worklist and set).

Breadth first: all recipients of the envelope before anything that they expand to, so that who is
named directly stays a direct recipient. Every address is expanded once; meeting one again is

    a duplicate     somebody else led to it: dropped
    a loop          it is an ancestor of itself: the members of the circle that are users get the
                    mail in their mailboxes ("dave: dave, carol"; dave and carol forwarding to each
                    other); a circle without users is broken, 5.4.6, unless the alias has others

What the qf keeps of an expansion are recipients with flag A: they are routed and never expanded
again, so a retry repeats nothing that succeeded. What could not be expanded for now stays without
A and is tried again. Only expansions name programs, files and lists; what a client names is a
mailbox, whatever it looks like (threats T14).
"""

from __future__ import annotations

import os

from minimta import address, forward, hosts, log, targets
from minimta.envelope import Recipient
from minimta.route import Route, is_status
from minimta.status import Fate, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minimta.aliases import Aliases
    from minimta.options import Options
    from minimta.route import Router
    from minimta.targets import Target
    from minimta.users import User, Users

#: who answers for what an alias of the system starts, as Sendmail writes it (DefaultUser)
_DEFAULT_IDS = (1, 0)
_UNSUPPORTED = {
    "program": ("prog", "this version does not run programs"),
    "file": ("*file*", "this version does not write to files"),
    "include": ("include", "this version does not read lists"),
}


class Destination:
    """Where one recipient's copy goes."""

    __slots__ = ("outcome", "recipient", "route")

    def __init__(
        self, recipient: Recipient, route: Route | None, outcome: Outcome | None = None
    ) -> None:
        #: as the qf shall have it from now on
        self.recipient = recipient
        #: local: user is the login name, host the detail of user+detail
        self.route = route
        #: decided without a mailer, else None
        self.outcome = outcome

    def __repr__(self) -> str:
        return f"Destination({self.recipient!r}, {self.route!r}, {self.outcome!r})"


class _Node:
    """One address on its way, with the way."""

    __slots__ = ("depth", "key", "local_part", "origin", "parent", "recipient", "target")

    def __init__(self, recipient: Recipient, target: Target, parent: _Node | None = None) -> None:
        self.recipient = recipient
        self.target = target
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.key = b""
        self.local_part = b""
        #: file and line that named it, for messages
        self.origin = ""

    def circle(self, key: bytes) -> list[_Node]:
        """The ancestors from the one with *key* down, [] if none has it."""
        members: list[_Node] = []
        node = self.parent
        while node is not None:
            members.insert(0, node)
            if node.key == key:
                return members
            node = node.parent
        return []


class Expander:
    """Expands recipients by the aliases, users and routes of this host."""

    def __init__(self, options: Options, aliases: Aliases, users: Users, router: Router) -> None:
        self.options = options
        self.aliases = aliases
        self.users = users
        self.router = router

    def expand(
        self, recipients: Sequence[Recipient], reverse_path: bytes, *, qid: str
    ) -> list[Destination]:
        """Destinations in place of *recipients*; each stands for what its recipient says.

        A recipient of the result that is not one of *recipients* replaces the one it came from.
        Trouble with one address is an Outcome of it alone.
        """
        return _Expansion(self, reverse_path, qid).run(recipients)

    def sender_key(self, reverse_path: bytes) -> bytes:
        return self.key_of(address.bare(reverse_path))

    def key_of(self, bare: bytes) -> bytes:
        """Equal for addresses that mean the same: local names without host, in small letters."""
        local_part, domain = address.split(bare)
        if self.router.is_local(domain):
            return address.unquote(local_part).lower()
        return local_part + b"@" + address.domain_key(domain)


class _Expansion:
    """One message's expansion."""

    def __init__(self, house: Expander, reverse_path: bytes, qid: str) -> None:
        self._house = house
        self._sender = house.sender_key(reverse_path)
        self._qid = qid
        self._work: list[_Node] = []
        self._expanded: set[bytes] = set()
        self._found: dict[bytes, Destination] = {}
        self._broken: list[_Node] = []

    def run(self, recipients: Sequence[Recipient]) -> list[Destination]:
        for recipient in recipients:
            self._work.append(_Node(recipient, _target_of(recipient)))
        for node in self._work:  # grows while it is walked
            try:
                self._visit(node)
            except OSError as error:
                self._postpone(node, error)
        self._settle_broken()
        return list(self._found.values())

    def _visit(self, node: _Node) -> None:
        if node.target.kind != "user":
            self._visit_special(node)
            return
        bare = node.target.value
        node.key = self._house.key_of(bare)
        route = self._house.router.route(bare)
        if "A" in node.recipient.flags and not node.parent:
            node.target.final = True  # came out of an earlier expansion
        if route.mailer == "error":
            self._add(node, route, _refusal(route.host, route.user.decode("utf-8", "replace")))
        elif route.mailer != "local":
            self._add(node, route)
        else:
            node.local_part = address.unquote(route.user)
            self._visit_local(node)

    def _visit_special(self, node: _Node) -> None:
        kind, value = node.target.kind, node.target.value
        node.key = kind.encode() + b":" + value
        if kind == "error":
            status, _, text = value.decode("utf-8", "replace").partition(":")
            # As Sendmail: without a status it is only a name that nobody has.
            self._add(node, None, _refusal(status, text) if is_status(status) else _unknown(value))
        elif kind == "file" and value == b"/dev/null":
            self._add(node, Route("*file*", "", value), Outcome(Fate.SENT, "2.0.0", "Sent"))
        else:
            mailer, reason = _UNSUPPORTED[kind]
            text = f"{log.clean(bytes(node.target))}: {reason}"
            self._add(node, Route(mailer, "", value), _deferred("4.3.3", text))

    def _visit_local(self, node: _Node) -> None:
        if node.target.final:
            self._deliver_locally(node)
            return
        circle = node.circle(node.key)
        if circle:
            self._break_circle(node, circle)
        elif node.key not in self._expanded:
            self._expanded.add(node.key)
            self._expand_local(node)
        elif node.key in self._found and not node.parent:
            _merge_flags(self._found[node.key].recipient, node.recipient)

    def _expand_local(self, node: _Node) -> None:
        limit = self._house.options.max_alias_recursion
        value = self._alias(node.local_part)
        if value is not None and self._push(node, targets.parse(value), limit, owner=None):
            return
        user = self._user(node.local_part)
        if user is not None:
            text = forward.read(user, forward.detail(node.local_part, user), qid=self._qid)
            if self._push(node, targets.parse(text), limit, owner=user):
                return
        self._deliver_locally(node)

    def _alias(self, local_part: bytes) -> bytes | None:
        """user+detail, then user+*, then user."""
        value = self._house.aliases.find(local_part)
        name, plus, _ = local_part.partition(b"+")
        if value is None and plus and name:
            value = self._house.aliases.find(name + b"+*") or self._house.aliases.find(name)
        if value is None and local_part.lower() == b"postmaster" and not self._user(local_part):
            # DIFFERS: RFC 5321 section 4.5.1 wants mail for postmaster accepted, alias or not.
            return b"root"
        return value

    def _user(self, local_part: bytes) -> User | None:
        user = self._house.users.find(local_part)
        name, plus, _ = local_part.partition(b"+")
        return self._house.users.find(name) if user is None and plus else user

    def _push(self, node: _Node, found: list[Target], limit: int, *, owner: User | None) -> bool:
        """Put what *node* expands to on the worklist; False if that is nothing."""
        if not found:
            return False
        if node.depth >= limit:
            depth = f"{node.depth + 1} aliases deep; {limit} max"
            self._add(node, None, _loop_broken(f"aliasing/forwarding loop broken ({depth})"))
            return True
        controlling = _controlling_user(node, owner)
        for target in found:
            remote = target.kind == "user" and not self._house.router.is_local(
                address.split(target.value)[1]
            )
            # As Sendmail: what a .forward sends to another host keeps its place (flag P).
            flags = node.recipient.flags if owner and remote else _flags(node.recipient.flags)
            recipient = self._child(node, target, flags, controlling)
            child = _Node(recipient, target, node)
            child.origin = f"{owner.home}/.forward: line {target.line}: " if owner else ""
            self._work.append(child)
        return True

    def _child(self, node: _Node, target: Target, flags: str, controlling_user: bytes) -> Recipient:
        parent = node.recipient
        return Recipient(
            bytes(target),
            flags,
            original=parent.original,
            final=parent.final or self._final(parent.address),
            controlling_user=controlling_user,
        )

    def _final(self, path: bytes) -> bytes:
        bare = address.bare(path)
        if not address.split(bare)[1]:
            bare += b"@" + hosts.own_name(self._house.options).encode()
        return b"RFC822; " + bare

    def _deliver_locally(self, node: _Node) -> None:
        user = self._user(node.local_part)
        if user is None:
            shown = node.origin + log.clean(address.bare(node.recipient.address))
            self._add(node, Route("local", "", node.local_part), _unknown_user(shown))
            return
        detail = forward.detail(node.local_part, user)
        node.key = os.fsencode(user.name) + (b"+" + detail if detail else b"")
        self._add(node, Route("local", os.fsdecode(detail), os.fsencode(user.name)))

    def _add(self, node: _Node, route: Route | None, outcome: Outcome | None = None) -> None:
        known = self._found.get(node.key)
        if known is not None:
            if not node.parent:
                _merge_flags(known.recipient, node.recipient)
            return
        if node.parent and not self._house.options.me_too and self._is_sender(node):
            return
        self._found[node.key] = Destination(node.recipient, route, outcome)

    def _is_sender(self, node: _Node) -> bool:
        """Does an alias lead back to the sender, and to others as well? (MeToo)"""
        if node.key != self._sender:
            return False
        return sum(other.parent is node.parent for other in self._work) > 1

    def _break_circle(self, node: _Node, circle: list[_Node]) -> None:
        users = [member for member in circle if self._user(member.local_part) is not None]
        for member in users:
            # The first is met again in *node*, which is from an expansion; so are all others.
            last = node if member is circle[0] else member
            last.recipient.address = b"\\" + last.local_part
            self._deliver_locally(last)
        if not users and len(circle) == 1:
            self._deliver_locally(node)  # "aa: aa" of nobody: unknown
        elif not users:
            self._broken.append(circle[0])

    def _settle_broken(self) -> None:
        """A circle without users is an error only if its alias leads to nobody else."""
        for node in self._broken:
            if not self._found:
                self._add(node, None, _loop_broken("aliasing/forwarding loop broken"))

    def _postpone(self, node: _Node, error: OSError) -> None:
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        if "A" in node.recipient.flags and node.parent and not node.target.final:
            # Not expanded yet: without A the next attempt does it.
            node.recipient.flags = node.recipient.flags.replace("A", "")
        text = f"{log.clean(where + reason)}"
        self._found.setdefault(
            node.key or bytes(node.target),
            Destination(node.recipient, None, _deferred("4.3.0", text)),
        )


def _target_of(recipient: Recipient) -> Target:
    """What a recipient of the qf names; only one from an expansion can be more than a mailbox."""
    bare = address.bare(recipient.address)
    if "A" in recipient.flags:
        found = targets.parse(bare)
        if len(found) == 1:
            return found[0]
    return targets.Target("user", bare)


def _flags(flags: str) -> str:
    return flags.replace("P", "").replace("A", "") + "A"


def _merge_flags(kept: Recipient, dropped: Recipient) -> None:
    """Whoever is named twice hears what either wanted to hear."""
    kept.flags += "".join(f for f in dropped.flags if f in "NSFD" and f not in kept.flags)


def _controlling_user(node: _Node, owner: User | None) -> bytes:
    """b"emma:1001:1001:<emma@lab1.campus>"; a ":" in the name would shift the fields."""
    name = os.fsencode(owner.name) if owner else node.local_part
    uid, gid = (owner.uid, owner.gid) if owner else _DEFAULT_IDS
    shown = name.replace(b":", b"?").replace(b"\n", b"?")
    return b"%b:%d:%d:%b" % (shown, uid, gid, node.recipient.address)


def _deferred(status: str, text: str) -> Outcome:
    return Outcome(Fate.DEFERRED, status, text, exit_code=os.EX_TEMPFAIL)


def _refusal(status: str, text: str) -> Outcome:
    if status.startswith("4"):
        return _deferred(status, log.clean(text))
    return Outcome(Fate.FAILED, status, log.clean(text), exit_code=os.EX_UNAVAILABLE)


def _unknown(name: bytes) -> Outcome:
    return _unknown_user("error:" + log.clean(name))


def _unknown_user(shown: str) -> Outcome:
    transcript = (f"550 5.1.1 {shown}... User unknown",)
    return Outcome(
        Fate.FAILED, "5.1.1", "User unknown", transcript=transcript, exit_code=os.EX_NOUSER
    )


def _loop_broken(text: str) -> Outcome:
    return Outcome(
        Fate.FAILED, "5.4.6", text, transcript=(f"554 5.4.6 {text}",), exit_code=os.EX_USAGE
    )
