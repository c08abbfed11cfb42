"""Recipients to destinations: aliases, ``.forward``, lists, loops, duplicates (worklist and set).

Breadth first: all recipients of the envelope before anything that they expand to, so that who is
named directly stays a direct recipient. Every address is expanded once; meeting one again is

    a duplicate     somebody else led to it: dropped
    a loop          it is an ancestor of itself: the members of the circle that are users get the
                    mail in their mailboxes ("dave: dave, carol"; dave and carol forwarding to each
                    other); a circle without users is broken, 5.4.6, unless the alias has others

What the qf keeps of an expansion are recipients with flag A: they are routed and never expanded
again, so a retry repeats nothing that succeeded. What could not be expanded for now stays without
A, or is a list, and is tried again. Only expansions name programs, files and lists; what a client
names is a mailbox, whatever it looks like (threats T14).

    worklist        the work itself         destination     Node, on its way; Destination, arrived
    answers         what needs no mailer
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minimta.message import address
from minimta.message.envelope import Recipient
from minimta.routing import controlling_user
from minimta.routing.destination import Destination, Node
from minimta.routing.expand import Worklist
from minimta.routing.local_host import LocalHost
from minimta.system import log
from minimta.system.users import User

__all__ = ["Destination", "Expander", "Node"]


class Expander:
    """Expands recipients by the aliases, users and routes of this host."""

    def __init__(self, here: LocalHost, *, say: Callable[[str], None] | None = None) -> None:
        """*say* gets what -v shows: "list... aliased to dave"."""
        self.options = here.options
        self.aliases = here.aliases
        self.users = here.users
        self.here = here
        self.say = say

    @property
    def default_user(self) -> User | None:
        """Option DefaultUser. Raise OSError if users cannot be asked now."""
        return controlling_user.default_user(self.options, self.users)

    def expand(
        self, recipients: Sequence[Recipient], reverse_path: bytes, *, qid: str
    ) -> list[Destination]:
        """Destinations in place of *recipients*; each stands for what its recipient says.

        A recipient of the result that is not one of *recipients* replaces the one it came from.
        Trouble with one address is an Outcome of it alone.
        """
        work = Worklist(self, reverse_path, lambda text: log.line(qid, log.fact(text, 1000)))
        work.run(recipients)
        return work.destinations()

    def explain(self, recipients: Sequence[Recipient]) -> list[Node]:
        """The same as a tree: the nodes of *recipients*, with their notes, children and ends."""
        work = Worklist(self, b"", lambda text: None)
        return work.run(recipients)

    def key_of(self, bare: bytes) -> bytes:
        """Equal for addresses that mean the same: local names without host, in small letters."""
        local_part, domain = address.split(bare)
        if self.here.router.is_local(domain):
            return address.unquote(local_part).lower()
        return local_part + b"@" + address.domain_key(domain)
