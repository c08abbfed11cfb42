"""What VRFY and EXPN may tell of a recipient: never a program, a file, or who reads a .forward."""

from __future__ import annotations

from minimta.message import address, fullname
from minimta.routing import recipients, targets
from minimta.routing.local_host import LocalHost
from minimta.smtp import path
from minimta.smtp.reply import Reply, quoted, reply

#: members of a list that are shown
_MOST = 100


def answer(argument: bytes, here: LocalHost, *, expand: bool) -> Reply:
    """The reply to VRFY, or with *expand* to EXPN. Raise OSError if it cannot be known now."""
    given, _ = path.scan(argument)
    bare = path.mailbox(given)
    wrong = path.problem(given) if bare else None
    if wrong or not bare:
        return wrong or reply(553, "5.0.0", f"{quoted(given)}... User address required")
    if not here.is_local(bare):
        if expand:
            return reply(250, "2.1.5", f"<{quoted(bare)}>")
        return reply(252, "2.5.2", f"<{quoted(bare)}>")
    verdict = recipients.recipient_verdict(bare, here.router, here.aliases, here.users)
    if not verdict.known:
        return reply(550, "5.1.1", f"{quoted(given)}... User unknown")
    found = _members(bare, here) if expand or verdict.user is None else [bare]
    return Reply(250, "2.1.5", tuple(_shown(member, here) for member in found[:_MOST]))


def _members(bare: bytes, here: LocalHost) -> list[bytes]:
    """The addresses behind an alias; the alias itself if there is nothing that may be shown."""
    waiting, seen, members = [(bare, 0)], {here.key(bare)}, list[bytes]()
    while waiting:
        name, depth = waiting.pop(0)
        right_hand_side = _alias(name, here) if depth < here.options.max_alias_recursion else None
        if right_hand_side is None:
            members.append(name)
            continue
        for target in targets.parse(right_hand_side):
            key = here.key(target.value)
            if target.kind == "user" and (key not in seen or target.final):
                seen.add(key)
                # "\dave" is dave himself, whatever the aliases say of him.
                waiting.append((target.value, here.options.max_alias_recursion * target.final + 1))
    return members or [bare]


def _alias(name: bytes, here: LocalHost) -> bytes | None:
    return (
        here.aliases.find(address.unquote(address.split(name)[0])) if here.is_local(name) else None
    )


def _shown(bare: bytes, here: LocalHost) -> str:
    """ "Dave Example <dave@lab2.campus>" """
    user = here.users.find(address.split(bare)[0]) if here.is_local(bare) else None
    name = quoted(fullname.from_gecos(user.gecos, user.name)) if user else ""
    return f"{name} <{quoted(here.qualified(bare))}>".strip()
