"""What an address expands to: the recipients that stand for its targets from then on.

Each gets the flags, reports and owner of the address that it comes from, and the C line of who named
it. Raises OSError if it cannot be told now whether a target is of this host.
"""

from __future__ import annotations

from minimta.message import address
from minimta.message.envelope import Recipient
from minimta.routing import controlling_user, targets
from minimta.routing.controlling_user import Authority
from minimta.routing.destination import Node
from minimta.routing.local_host import LocalHost
from minimta.routing.targets import AliasTarget

_OWNER = b"owner-"


def nodes(
    node: Node,
    found: list[AliasTarget],
    authority: Authority,
    here: LocalHost,
    *,
    path: str,
    owner: bytes,
) -> list[Node]:
    """A node for each target of *node*, all or none. Raise OSError: then there is none.

    *authority* named them, in the file *path* ("": an alias); *owner* hears of what fails.
    """
    # A list within a list without an owner of its own has the owner of the outer one.
    whose = owner or controlling_user.owner(node.recipient) or b""
    line = authority.line(whose or node.recipient.address)
    # All or none: if it cannot be told now whether a target is ours, *node* is tried again as a
    # whole, and who was pushed before would get the message twice.
    members = [
        _recipient(node, target, here, line, owned=bool(whose), forwarded=bool(path))
        for target in found
    ]
    made = []
    for target, recipient in zip(found, members, strict=True):
        origin = f"{path}: line {target.line}: " if path else ""
        made.append(Node(recipient, target, node, authority, origin))
    return made


def _recipient(
    node: Node, target: AliasTarget, here: LocalHost, line: bytes, *, owned: bool, forwarded: bool
) -> Recipient:
    """The recipient that stands for *target* from now on; *line* is its C line."""
    parent = node.recipient
    remote = target.kind == "user" and not here.is_local(target.value)
    # As Sendmail: what a .forward sends to another host keeps its place (flag P).
    keeps = forwarded and remote and node.target.kind == "user"
    flags = parent.flags if keeps else parent.flags.replace("P", "").replace("A", "") + "A"
    return Recipient(
        bytes(target),
        flags.replace(controlling_user.OWNED, "") + (controlling_user.OWNED if owned else ""),
        original=parent.original,
        final=parent.final or b"RFC822; " + here.qualified(address.bare(parent.address)),
        controlling_user=line,
    )


def owner_of(local_part: bytes, here: LocalHost) -> bytes:
    """Who hears of what fails for a list (RFC 5321 section 3.9.2): owner-NAME, if it is an alias.

    As Sendmail: the one address it stands for, or its own name if it is more than that; b"" if there
    is none. What fails for owner-list goes to owner-owner, never back to owner-list. Raise OSError.
    """
    name = local_part.partition(b"+")[0].lower()
    alias = _OWNER + (b"owner" if name.startswith(_OWNER) else name)
    value = here.aliases.find(alias)
    if value is None:
        return b""
    found = targets.parse(value)
    simple = len(found) == 1 and found[0].kind == "user" and not found[0].final
    return found[0].value if simple else alias
