"""What VRFY and EXPN may tell of a recipient: never a program, a file, or who reads a .forward."""

from __future__ import annotations

from collections.abc import Callable

from minimta.message import address, fullname
from minimta.routing import recipients, targets
from minimta.routing.local_host import LocalHost
from minimta.smtp import path
from minimta.smtp.reply import CommandError, Reply, quoted, reply

#: members of a list that are shown
_MOST = 100


def answer_now(
    argument: bytes, here: LocalHost, note: Callable[[str], None], *, expand: bool
) -> Reply:
    """answer(), or that nobody knows now, which *note* tells the log."""
    # DIFFERS: many hosts let VRFY tell nothing. What it tells here RCPT tells as well, and as with
    # RCPT a client that asks for many names is made to wait.
    try:
        return answer(argument, here, expand=expand)
    except OSError as error:
        note(f"cannot look up {quoted(argument)}: {error.strerror or error}")
        return reply(451, "4.3.0", f"{quoted(argument)}... Cannot look it up now")


def answer(argument: bytes, here: LocalHost, *, expand: bool) -> Reply:
    """The reply to VRFY, or with *expand* to EXPN. Raise OSError if it cannot be known now."""
    given, _ = path.scan(argument)
    try:
        bare = path.parse(given)
    except CommandError as error:
        return error.reply
    if not bare:
        return reply(553, "5.0.0", f"{quoted(given)}... User address required")
    found = recipients.look_up(bare, here)
    if found is None:
        if expand:
            return reply(250, "2.1.5", f"<{quoted(bare)}>")
        return reply(252, "2.5.2", f"<{quoted(bare)}>")
    why_not = recipients.why_not(found)
    if why_not is not None:
        return reply(why_not.code, why_not.status, f"{quoted(given)}... {why_not.text}")
    members = _members(bare, here) if expand or found.user is None else [bare]
    return Reply(250, "2.1.5", tuple(_shown(member, here) for member in members[:_MOST]))


def _members(bare: bytes, here: LocalHost) -> list[bytes]:
    """The addresses behind an alias; the alias itself if there is nothing that may be shown."""
    waiting, seen, members = [(bare, False)], {here.key(bare)}, list[bytes]()
    while waiting:
        name, is_final = waiting.pop(0)
        found = None if is_final else recipients.look_up(name, here)
        if found is None or found.alias is None:
            members.append(name)
            continue
        for target in targets.parse(found.value):
            key = here.key(target.value)
            if target.kind == "user" and (key not in seen or target.final):
                seen.add(key)
                # "\dave" is dave's own mailbox, whatever the aliases say of dave.
                waiting.append((target.value, target.final))
    return members or [bare]


def _shown(bare: bytes, here: LocalHost) -> str:
    """ "Dave Example <dave@lab2.campus>" """
    local_part, _ = address.local_name(address.split(bare)[0])
    user = recipients.find_mailbox(local_part, here).user if here.is_local(bare) else None
    name = quoted(fullname.from_gecos(user.gecos, user.name)) if user else ""
    return f"{name} <{quoted(here.qualified(bare))}>".strip()
