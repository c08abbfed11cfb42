"""One message's expansion: a list of addresses that grows while it is walked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from minimta.message import address
from minimta.message.envelope import Recipient
from minimta.message.outcome import Outcome, deferred
from minimta.routing import controlling_user, destination, forward, include, recipients, targets
from minimta.routing.controlling_user import Authority
from minimta.routing.destination import Destination, Node
from minimta.routing.route import Route, is_status
from minimta.routing.targets import AliasTarget
from minimta.system import hostnames, log
from minimta.system.safefile import Untrusted
from minimta.system.users import User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.routing.expander import Expander

_OWNER = b"owner-"


class Worklist:
    """The addresses of one message, those to be expanded and those that have arrived."""

    def __init__(self, house: Expander, reverse_path: bytes, note: Callable[[str], None]) -> None:
        """*note* gets what belongs into the log."""
        self._house = house
        self._sender = house.key_of(address.bare(reverse_path))
        self._note = note
        self._work: list[Node] = []
        self._expanded: set[bytes] = set()
        self._found: dict[bytes, Node] = {}
        self._broken: list[Node] = []

    def run(self, recipients: Sequence[Recipient]) -> list[Node]:
        """Expand all; the nodes of *recipients*."""
        roots = [Node(recipient, _target_of(recipient)) for recipient in recipients]
        self._work += roots
        for node in self._work:  # grows while it is walked
            try:
                self._visit(node)
            except OSError as error:
                self._postpone(node, error)
        self._settle_broken()
        return roots

    def destinations(self) -> list[Destination]:
        return [node.end for node in self._found.values() if node.end is not None]

    def _visit(self, node: Node) -> None:
        visit = {
            "user": self._visit_address,
            "error": self._visit_error,
            "program": self._visit_program,
            "file": self._visit_file,
            "include": self._visit_include,
        }
        visit[node.target.kind](node)

    # --- programs, files, lists, errors: only expansions name them ----------------------------------

    def _visit_error(self, node: Node) -> None:
        value = node.target.value
        node.key = b"error:" + value
        status, _, text = value.decode("utf-8", "replace").partition(":")
        # As Sendmail: without a status it is only a name that nobody has.
        unknown = destination.unknown_user("error:" + log.clean(value))
        self._add(node, None, destination.refusal(status, text) if is_status(status) else unknown)

    def _visit_program(self, node: Node) -> None:
        self._start(node, Route("prog", "", node.target.value), "programs")

    def _visit_file(self, node: Node) -> None:
        path = node.target.value
        if path == b"/dev/null":
            node.key = path
            self._add(node, Route("*file*", "", path), destination.DISCARDED)
        else:
            self._start(node, Route("*file*", "", path), "files")

    def _start(self, node: Node, route: Route, what: str) -> None:
        """Once for each controlling user, and only if he may (threats T32, T43)."""
        authority = self._authority(node)
        node.key = b"%b %b %d" % (route.mailer.encode(), route.user, authority.uid)
        shown = node.origin + log.clean(bytes(node.target))
        if authority.refusal:
            self._add(node, route, destination.not_allowed(shown, f"{authority.refusal} {what}"))
        elif authority.user is None:
            self._add(node, route, deferred("4.3.0", f"no user {authority.uid} to act as"))
        else:
            self._add(node, route, acting=authority.user)

    def _visit_include(self, node: Node) -> None:
        authority, path = self._authority(node), node.target.value
        node.key = b":include:%b %d" % (path, authority.uid)
        if node.key in self._expanded:
            return
        self._expanded.add(node.key)
        shown = log.clean(bytes(node.target))
        if authority.user is None:
            self._add(node, None, deferred("4.3.0", f"no user {authority.uid} to act as"))
            return
        try:
            text = include.read(path, authority.user, self._house.options)
        except (Untrusted, FileNotFoundError, NotADirectoryError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            why = f"Cannot open {log.clean(path)}: {reason}"
            self._note(f"{shown}... {why}")
            self._add(node, None, destination.no_list(node.origin + shown, why))
            return
        node.followed = text.path
        house = self._house
        inner = controlling_user.of_include(path, text, authority, house.users, house.default_user)
        if not self._push(node, targets.parse(text.text), inner, text.path):
            # DIFFERS: for Sendmail mail to an empty list is delivered; it may be being rewritten.
            self._add(node, None, deferred("4.2.4", f"{shown} is empty"))

    def _authority(self, node: Node) -> Authority:
        """Who named *node*; after an earlier attempt the qf says it. Raise OSError."""
        if node.authority is None:
            house = self._house
            line = node.recipient.controlling_user
            known = controlling_user.parse(line, house.users, house.default_user)
            node.authority = known or Authority(b"", -1, -1, None)
        return node.authority

    # --- addresses ----------------------------------------------------------------------------------

    def _visit_address(self, node: Node) -> None:
        bare = node.target.value
        node.key = self._house.key_of(bare)
        route = self._house.here.router.route(bare)
        if "A" in node.recipient.flags and not node.parent:
            node.target.final = True  # came out of an earlier expansion
        if route.mailer == "error":
            text = route.user.decode("utf-8", "replace")
            self._add(node, route, destination.refusal(route.host, text))
        elif route.mailer != "local":
            self._add(node, route)
        else:
            node.local_part = address.unquote(route.user)
            self._visit_local(node)

    def _visit_local(self, node: Node) -> None:
        if node.target.final:
            self._deliver_locally(node)
            return
        circle = node.circle(node.key)
        if circle:
            self._break_circle(node, circle)
        elif node.key not in self._expanded:
            self._expanded.add(node.key)
            self._expand_local(node)
        else:
            self._drop(node, self._found.get(node.key))

    def _expand_local(self, node: Node) -> None:
        found = recipients.find(node.local_part, self._house.here)
        if found.alias is not None and self._follow_alias(node, found.alias, found.value):
            return
        # An alias that leads to nobody, "dave: (away)", hides no user of its name.
        user = found.user or recipients.find_user(node.local_part, self._house.users)
        if user is None or not self._follow_forward(node, user):
            self._deliver_locally(node)

    def _follow_alias(self, node: Node, name: bytes, value: bytes) -> bool:
        found = targets.parse(value)
        if not found:
            return False
        node.alias = name
        self._say(node, "aliased to", found)
        authority = controlling_user.of_alias(node.local_part, self._house.default_user)
        return self._push(node, found, authority, "", self._owner(node))

    def _follow_forward(self, node: Node, user: User) -> bool:
        house = self._house
        node.user = user
        text = forward.read(
            user,
            recipients.detail(node.local_part, user),
            house.options,
            refused=lambda path, reason: self._refuse(node, path, reason),
        )
        node.followed = text.path if text is not None else ""
        found = targets.parse(text.text) if text is not None else []
        if text is None or not found:
            return False
        self._say(node, "forwarding to", found)
        shown = self._qualified(address.bare(node.recipient.address))
        authority = controlling_user.of_forward(user, text, log.clean(shown), house.default_user)
        return self._push(node, found, authority, text.path)

    def _refuse(self, node: Node, path: str, reason: str) -> None:
        """A .forward that may not be believed: the log says so, the mail goes on without it."""
        self._note(f"forward {log.clean(path)}: {reason}")
        node.refused.append((path, reason))

    def _say(self, node: Node, verb: str, found: list[AliasTarget]) -> None:
        if self._house.say:
            shown = log.clean(b", ".join(map(bytes, found)), 400)
            self._house.say(f"{log.clean(node.recipient.address)}... {verb} {shown}")

    def _owner(self, node: Node) -> bytes:
        """Who hears of what fails for a list (RFC 5321 section 3.9.2): owner-NAME, if it is an alias.

        As Sendmail: the one address it stands for, or its own name if it is more than that. The
        null reverse-path stays null: there would be no end to reports.
        """
        name = node.local_part.partition(b"+")[0].lower()
        alias = _OWNER + (b"owner" if name.startswith(_OWNER) else name)
        value = self._house.aliases.find(alias) if self._sender else None
        if value is None:
            return b""
        found = targets.parse(value)
        simple = len(found) == 1 and found[0].kind == "user" and not found[0].final
        return found[0].value if simple else alias

    def _push(
        self,
        node: Node,
        found: list[AliasTarget],
        authority: Authority,
        path: str,
        owner: bytes = b"",
    ) -> bool:
        """Put what *node* expands to on the worklist; False if that is nothing."""
        limit = self._house.options.max_alias_recursion
        if found and node.depth >= limit:
            depth = f"{node.depth + 1} aliases deep; {limit} max"
            text = f"aliasing/forwarding loop broken ({depth})"
            self._add(node, None, destination.loop_broken(text))
            return True
        whose = owner or controlling_user.owner(node.recipient) or b""
        line = authority.line(whose or node.recipient.address)
        for target in found:
            recipient = self._child(node, target, line, owned=bool(whose), forwarded=bool(path))
            origin = f"{path}: line {target.line}: " if path else ""
            self._work.append(Node(recipient, target, node, authority, origin))
        return bool(found)

    def _child(
        self, node: Node, target: AliasTarget, line: bytes, *, owned: bool, forwarded: bool
    ) -> Recipient:
        parent = node.recipient
        remote = target.kind == "user" and not self._house.here.router.is_local(
            address.split(target.value)[1]
        )
        # As Sendmail: what a .forward sends to another host keeps its place (flag P).
        keeps = forwarded and remote and node.target.kind == "user"
        flags = parent.flags if keeps else parent.flags.replace("P", "").replace("A", "") + "A"
        return Recipient(
            bytes(target),
            flags.replace(controlling_user.OWNED, "") + (controlling_user.OWNED if owned else ""),
            original=parent.original,
            final=parent.final or self._final(parent.address),
            controlling_user=line,
        )

    def _final(self, path: bytes) -> bytes:
        return b"RFC822; " + self._qualified(address.bare(path))

    def _qualified(self, bare: bytes) -> bytes:
        if address.split(bare)[1]:
            return bare
        return bare + b"@" + hostnames.own_name(self._house.options).encode()

    # --- ends ---------------------------------------------------------------------------------------

    def _deliver_locally(self, node: Node) -> None:
        user = recipients.find_user(node.local_part, self._house.users)
        if user is None:
            shown = node.origin + log.clean(address.bare(node.recipient.address))
            route = Route("local", "", node.local_part)
            self._add(node, route, destination.unknown_user(shown))
            return
        detail = recipients.detail(node.local_part, user)
        node.key = os.fsencode(user.name) + (b"+" + detail if detail else b"")
        self._add(node, Route("local", os.fsdecode(detail), os.fsencode(user.name)))

    def _add(
        self,
        node: Node,
        route: Route | None,
        outcome: Outcome | None = None,
        acting: User | None = None,
    ) -> None:
        known = self._found.get(node.key)
        if known is not None:
            self._drop(node, known)
        elif node.parent and not self._house.options.me_too and self._is_sender(node):
            node.notes.append("is the sender, who gets no copy (option MeToo)")
        else:
            self._found[node.key] = node
            node.end = Destination(node.recipient, route, outcome, acting)

    def _drop(self, node: Node, known: Node | None) -> None:
        """Somebody led to it before; whoever is named twice hears what either wanted to hear."""
        node.notes.append("is a duplicate")
        if known is not None and known is not node and not node.parent:
            kept = known.recipient
            kept.flags += "".join(
                f for f in node.recipient.flags if f in "NSFD" and f not in kept.flags
            )

    def _is_sender(self, node: Node) -> bool:
        """Does an alias lead back to the sender, and to others as well? (MeToo)"""
        return bool(node.parent and node.key == self._sender and len(node.parent.children) > 1)

    def _break_circle(self, node: Node, circle: list[Node]) -> None:
        node.notes.append("leads back to itself")
        users = [
            member
            for member in circle
            if recipients.find_user(member.local_part, self._house.users) is not None
        ]
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
                self._add(node, None, destination.loop_broken("aliasing/forwarding loop broken"))

    def _postpone(self, node: Node, error: OSError) -> None:
        reason = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        unexpanded = node.target.kind == "user" and not node.target.final
        if "A" in node.recipient.flags and node.parent and unexpanded:
            # Not expanded yet: without A the next attempt does it.
            node.recipient.flags = node.recipient.flags.replace("A", "")
        outcome = deferred("4.3.0", log.clean(where + reason))
        if self._found.setdefault(node.key or bytes(node.target), node) is node:
            node.end = Destination(node.recipient, None, outcome)


def _target_of(recipient: Recipient) -> AliasTarget:
    """What a recipient of the qf names; only one from an expansion can be more than a mailbox."""
    bare = address.bare(recipient.address)
    if "A" in recipient.flags:
        found = targets.parse(bare)
        if len(found) == 1:
            return found[0]
    return targets.AliasTarget("user", bare)
