"""Recipients to destinations: aliases, ``.forward`` files, lists, loops, duplicates.

Breadth first: all recipients of the envelope before anything that they expand to, so that users
who are named directly stay direct recipients. Every address is expanded once; meeting one again is

    a duplicate     something else led to it: dropped
    a loop          it is an ancestor of itself: the members of the circle that are users get the
                    mail in their mailboxes ("dave: dave, carol"; dave and carol forwarding to each
                    other); a circle without users is broken, 5.4.6, unless the alias has others

What the control file (qf) keeps of an expansion are recipients with flag A: they are routed and
never expanded again, so a retry repeats nothing that succeeded. What could not be expanded for now
stays without A, or is a list, and is tried again. Only expansions name programs, files and lists;
what a client names is a mailbox, whatever it looks like.

``Node`` is an address on its way, ``Destination`` where it arrives, ``Destinations`` all of them.
Trouble with one address is the Outcome of that address; nothing is raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property

from minimta.message import address
from minimta.message.envelope import Recipient
from minimta.message.outcome import deferred
from minimta.routing import (
    circles,
    controlling_user,
    destination,
    forward,
    include,
    members,
    recipients,
    refusal,
    targets,
)
from minimta.routing.controlling_user import Authority
from minimta.routing.destination import Destination, Destinations, Node
from minimta.routing.local_host import LocalHost, LocalRecipient
from minimta.routing.route import STICKY, Route
from minimta.routing.targets import AliasTarget
from minimta.system import log
from minimta.system.safefile import Untrusted
from minimta.system.users import User


def expand(
    envelope: Sequence[Recipient],
    reverse_path: bytes,
    here: LocalHost,
    *,
    qid: str,
    say: Callable[[str], None] | None = None,
) -> list[Destination]:
    """Destinations in place of the recipients of an *envelope* or a control file.

    A recipient of the result that is not one of *envelope* replaces the one it came from. *qid* is
    for the log, *say* gets what -v shows: "list... aliased to dave".
    """
    expansion = _Expansion(here, reverse_path, lambda text: log.line(qid, log.fact(text, 1000)))
    expansion.say = say
    expansion.run(envelope)
    return expansion.ends.all()


def explain(envelope: Sequence[Recipient], here: LocalHost) -> list[Node]:
    """The same as a tree: the nodes of *envelope*, with their notes, children and ends."""
    return _Expansion(here, b"", lambda text: None).run(envelope)


class _Expansion:
    """One message's: a list of addresses that grows while it is walked."""

    def __init__(self, here: LocalHost, reverse_path: bytes, note: Callable[[str], None]) -> None:
        """*note* gets what belongs into the log."""
        self.say: Callable[[str], None] | None = None
        self._here = here
        self._sender = address.bare(reverse_path)
        self._note = note
        self._work: list[Node] = []
        #: key -> node, of the local addresses and lists that were expanded, or are being expanded
        self._expanded: dict[bytes, Node] = {}
        #: local addresses that were left to a node of _expanded
        self._left: list[Node] = []
        self.ends = Destinations(self._sender, here)

    def run(self, envelope: Sequence[Recipient]) -> list[Node]:
        """Expand all; the nodes of *envelope*."""
        roots = [Node(recipient, _target_of(recipient)) for recipient in envelope]
        self._work += roots
        for node in self._work:  # grows while it is walked
            try:
                self._visit(node)
            except OSError as error:
                self.ends.postpone(node, error)
        self._break_hidden_circles()
        self.ends.settle_broken()
        return roots

    @cached_property
    def _default_user(self) -> User | None:
        """Asked once a message, though every alias and .forward acts as it or is compared to it."""
        return self._here.default_user()

    def _visit(self, node: Node) -> None:
        visit = {
            "user": self._visit_address,
            "error": self._visit_error,
            "program": self._visit_program,
            "file": self._visit_file,
            "include": self._visit_include,
        }
        visit[node.target.kind](node)

    # --- programs, files, lists, errors: only expansions name them --------------------------------

    def _visit_error(self, node: Node) -> None:
        node.key = b"error:" + node.target.value
        found = refusal.of_target(node.target.value)
        parent = node.parent
        if parent and len(parent.children) == 1 and not found.name:
            # It is the alias that is refused; if it has to wait it may have another meaning by then.
            node.recipient = parent.recipient
        shown = node.origin + log.clean(address.bare(node.recipient.address))
        self.ends.add(node, None, destination.refused(found, shown))

    def _visit_program(self, node: Node) -> None:
        self._start(node, Route("prog", "", node.target.value), "programs")

    def _visit_file(self, node: Node) -> None:
        path = node.target.value
        if path == b"/dev/null":
            node.key = path
            self.ends.add(node, Route("*file*", "", path), destination.DISCARDED)
        else:
            self._start(node, Route("*file*", "", path), "files")

    def _start(self, node: Node, route: Route, what: str) -> None:
        """Once for each controlling user, and only if that user may.

        Two users who name one program are two deliveries: each acts with the rights of its own, and
        neither can take the place of the other's by being met first.
        """
        authority = self._authority(node)
        node.key = b"%b %b %d" % (route.mailer.encode(), route.user, authority.uid)
        shown = node.origin + log.clean(bytes(node.target))
        if authority.refusal:
            outcome = destination.not_allowed(shown, f"{authority.refusal} {what}")
            self.ends.add(node, route, outcome)
        elif authority.user is None:
            self.ends.add(node, route, deferred("4.3.0", f"no user {authority.uid} to act as"))
        else:
            self.ends.add(node, route, acting=authority.user)

    def _visit_include(self, node: Node) -> None:
        authority, path = self._authority(node), node.target.value
        node.key = b":include:%b %d" % (path, authority.uid)
        # A list that includes itself ends here as well: nobody is missed, its members are known.
        if node.key in self._expanded:
            return
        self._expanded[node.key] = node
        shown = log.clean(bytes(node.target))
        if authority.user is None:
            self.ends.add(node, None, deferred("4.3.0", f"no user {authority.uid} to act as"))
            return
        try:
            file = include.read(path, authority.user, self._here.options)
        except (Untrusted, FileNotFoundError, NotADirectoryError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            why = f"Cannot open {log.clean(path)}: {reason}"
            self._note(f"{shown}... {why}")
            self.ends.add(node, None, destination.no_list(node.origin + shown, why))
            return
        node.followed = file.path
        inner = controlling_user.of_include(
            path, file, authority, self._here.users, self._default_user
        )
        if not self._push(node, targets.parse(file.text), inner, file.path):
            # DIFFERS: for Sendmail mail to an empty list is delivered; it may be being rewritten.
            self.ends.add(node, None, deferred("4.2.4", f"{shown} is empty"))

    def _authority(self, node: Node) -> Authority:
        """Who named *node*; after an earlier attempt the qf says it. Raise OSError."""
        if node.authority is None:
            line = node.recipient.controlling_user
            known = controlling_user.parse(line, self._here.users, self._default_user)
            # Without a readable C line nobody answers for it: then it waits, and nothing is started.
            node.authority = known or Authority(b"", -1, -1, None)
        return node.authority

    # --- addresses --------------------------------------------------------------------------------

    def _visit_address(self, node: Node) -> None:
        route = self._here.router.route(node.target.value)
        if "A" in node.recipient.flags and not node.parent:
            # An earlier attempt expanded it. Aliases may have changed since; who was once chosen
            # gets the message, and only they, or a retry would reach others a second time.
            node.target.final = True
        if route.mailer == "local":
            node.local_part, is_final = address.local_name(route.user)
            node.target.final |= is_final
            node.is_sticky = route.option == STICKY
            # LocalRelay may have dave, and dave@ourselves is a mailbox here.
            node.key = address.folded(node.local_part) + b"@" * node.is_sticky
            self._visit_local(node)
            return
        # VirtUserTable may send an address of ours to another host, and refuse one.
        self._leave(node, route)

    def _leave(self, node: Node, route: Route) -> None:
        """To another host, or refused by a table."""
        node.key = address.key(route.user if route.mailer == "esmtp" else node.target.value)
        found = route.refusal()
        shown = node.origin + log.clean(node.target.value)
        self.ends.add(node, route, destination.refused(found, shown) if found else None)

    def _visit_local(self, node: Node) -> None:
        if node.target.final:
            self._deliver_locally(node)
            return
        # Ancestors first: a circle's member was expanded too, and must not pass for a duplicate.
        circle = node.circle(node.key)
        if circle:
            self._break_circle(circle, {node.key: node})
        elif node.key not in self._expanded:
            self._expanded[node.key] = node
            self._expand_local(node)
        else:
            self.ends.drop(node)
            self._left.append(node)

    def _expand_local(self, node: Node) -> None:
        found = recipients.find(node.local_part, self._here, is_sticky=node.is_sticky)
        if found.stands_in or found.elsewhere is not None:
            # By its name alone a later attempt would not find the way again.
            node.recipient.flags = node.recipient.flags.replace("A", "")
        if found.elsewhere is not None:
            self._leave(node, found.elsewhere)
            return
        if found.alias is None:
            node.mailbox = found
        elif self._follow_alias(node, found.alias, targets.parse(found.value)):
            return
        # An alias that leads to nobody, "dave: (away)", hides no user of its name.
        mailbox = self._mailbox(node)
        if mailbox.user is None or not self._follow_forward(node, mailbox.user, mailbox.detail):
            self._deliver_locally(node)

    def _follow_alias(self, node: Node, name: bytes, found: list[AliasTarget]) -> bool:
        if not found:
            return False
        node.alias = name
        self._tell(node, "aliased to", found)
        authority = controlling_user.of_alias(node.local_part, self._default_user)
        # The null reverse-path stays null: reports about reports would have no end.
        owner = members.owner_of(node.local_part, self._here) if self._sender else b""
        return self._push(node, found, authority, "", owner)

    def _follow_forward(self, node: Node, user: User, detail: bytes) -> bool:
        node.user = user
        file = forward.read(
            user,
            detail,
            self._here,
            refused=lambda path, reason: self._refuse(node, path, reason),
        )
        node.followed = file.path if file is not None else ""
        found = targets.parse(file.text) if file is not None else []
        if file is None or not found:
            return False
        self._tell(node, "forwarding to", found)
        shown = self._here.qualified(address.bare(node.recipient.address))
        authority = controlling_user.of_forward(user, file, log.clean(shown), self._default_user)
        return self._push(node, found, authority, file.path)

    def _refuse(self, node: Node, path: str, reason: str) -> None:
        """A .forward that others could have modified: the log says so, the mail goes on without it."""
        self._note(f"forward {log.clean(path)}: {reason}")
        node.refused.append((path, reason))

    def _tell(self, node: Node, verb: str, found: list[AliasTarget]) -> None:
        if self.say:
            shown = log.clean(b", ".join(map(bytes, found)), 400)
            self.say(f"{log.clean(node.recipient.address)}... {verb} {shown}")

    def _mailbox(self, node: Node) -> LocalRecipient:
        if node.mailbox is None:
            node.mailbox = recipients.find_mailbox(node.local_part, self._here)
        return node.mailbox

    def _deliver_locally(self, node: Node) -> None:
        """To the mailbox, or unknown; no alias and no .forward applies any more."""
        user, detail = self._mailbox(node).user, self._mailbox(node).detail
        if user is None:
            shown = node.origin + log.clean(address.bare(node.recipient.address))
            route = Route("local", "", node.local_part)
            self.ends.add(node, route, destination.unknown_user(shown))
            return
        # The mailbox is the key now: "Dave@lab2.campus" and "\dave" are one copy.
        node.key = os.fsencode(user.name) + (b"+" + detail if detail else b"")
        self.ends.add(node, Route("local", os.fsdecode(detail), os.fsencode(user.name)))

    def _break_hidden_circles(self) -> None:
        """Two recipients that stand for each other are no ancestors of themselves: none may vanish."""
        met = {node.key: node for node in reversed(self._left)}
        for circle in circles.hidden(self._left, self._expanded):
            self._break_circle(circle, met)

    def _break_circle(self, circle: list[Node], met: dict[bytes, Node]) -> None:
        """Deliver to those of a circle who are users; *met* has the members that were met again.

        "dave: dave, carol" means dave's own mailbox, and so does carol's .forward that names dave
        while dave's names carol: both meant "keep a copy" or both made a mistake; either way the
        mail has somewhere to go. A circle of aliases alone, "henry: root" and "root: henry", names one
        person: the first of its users gets the one copy, as with Sendmail.
        """
        node = met.get(circle[0].key, circle[0])
        node.notes.append("leads back to itself")
        users = [member for member in circle if self._mailbox(member).user is not None]
        if all(member.user is None for member in circle):
            users = users[:1]
        for member in users:
            # The first is met again in *node*, which is from an expansion; so are all others. Only
            # those may be rewritten: a recipient of the envelope stays as it was given.
            last = met.get(member.key, member)
            last.recipient.address = b"\\" + last.local_part
            self._deliver_locally(last)
        if not users and len(circle) == 1:
            self._deliver_locally(node)  # "aa: aa" of nobody: unknown
        elif not users:
            self.ends.broken.append(circle[0])

    # --- what an address expands to ---------------------------------------------------------------

    def _push(
        self,
        node: Node,
        found: list[AliasTarget],
        authority: Authority,
        path: str,
        owner: bytes = b"",
    ) -> bool:
        """Put what *node* expands to on the worklist; False if that is nothing.

        *authority* named it, in the file *path* ("": an alias); *owner* hears of what fails.
        """
        limit = self._here.options.max_alias_recursion
        if found and node.depth >= limit:
            # Circles are found by themselves; this ends what grows: "a+x" forwarding to "a+x+x".
            depth = f"{node.depth + 1} aliases deep; {limit} max"
            text = f"aliasing/forwarding loop broken ({depth})"
            self.ends.add(node, None, destination.loop_broken(text))
            return True
        self._work += members.nodes(node, found, authority, self._here, path=path, owner=owner)
        return bool(found)


def _target_of(recipient: Recipient) -> AliasTarget:
    """What a recipient of the qf names; only one from an expansion can be more than a mailbox."""
    bare = address.bare(recipient.address)
    if "A" in recipient.flags:
        found = targets.parse(bare)
        if len(found) == 1:
            return found[0]
    return AliasTarget("user", bare)
