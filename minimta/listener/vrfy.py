"""What VRFY and EXPN may tell of a recipient: never a program, a file, or who reads a .forward."""

from __future__ import annotations

from collections.abc import Callable

from minimta.message import address, fullname
from minimta.message.printable import is_text
from minimta.routing import recipients, targets
from minimta.routing.local_host import LocalHost
from minimta.smtp import path
from minimta.smtp.reply import CommandError, Reply, quoted, reply

#: members of a list that are shown
_MOST = 100
#: characters of an address or a name that are shown
_LONGEST = 300
# RFC 6531 section 3.7.4.2
_UTF8_NEEDED = reply(252, "2.6.8", "The answer is UTF-8: ask with SMTPUTF8")


def answer_now(
    argument: bytes, here: LocalHost, note: Callable[[str], None], *, expand: bool, utf8: bool
) -> Reply:
    """answer(), or that nobody knows now, which *note* tells the log."""
    # DIFFERS: many hosts let VRFY tell nothing. What it tells here RCPT tells as well, and as with
    # RCPT a client that asks for many names is made to wait.
    try:
        return answer(argument, here, expand=expand, utf8=utf8)
    except OSError as error:
        note(f"cannot look up {quoted(argument)}: {error.strerror or error}")
        return reply(451, "4.3.0", f"{quoted(argument)}... Cannot look it up now")


def answer(argument: bytes, here: LocalHost, *, expand: bool, utf8: bool = False) -> Reply:
    """The reply to VRFY, or with *expand* to EXPN. Raise OSError if it cannot be known now.

    *utf8*: the client has said SMTPUTF8; only then an answer may be more than ASCII.
    """
    given, _ = path.scan(argument)
    try:
        bare = path.parse(given, utf8=utf8)
    except CommandError as error:
        return error.reply
    if not bare:
        return reply(553, "5.0.0", f"{quoted(given)}... User address required")
    found = recipients.look_up(bare, here)
    if found is None:
        code, status = (250, "2.1.5") if expand else (252, "2.5.2")
        return Reply(code, status, (f"<{_words(bare, utf8)}>",), utf8)
    why_not = recipients.why_not(found)
    if why_not is not None:
        return reply(why_not.code, why_not.status, f"{quoted(given)}... {why_not.text}")
    members = _members(bare, here) if expand or found.user is None else [bare]
    if not (utf8 or all(member.isascii() for member in members[:_MOST])):
        return _UTF8_NEEDED
    lines = tuple(_shown(member, here, utf8) for member in members[:_MOST])
    return Reply(250, "2.1.5", lines, utf8)


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


def _words(octets: bytes, utf8: bool) -> str:
    return octets.decode("utf-8")[:_LONGEST] if utf8 and is_text(octets) else quoted(octets)


def _shown(bare: bytes, here: LocalHost, utf8: bool) -> str:
    """ "Dave Example <dave@lab2.campus>" """
    local_part, _ = address.local_name(address.split(bare)[0])
    user = recipients.find_mailbox(local_part, here).user if here.is_local(bare) else None
    name = _words(fullname.from_gecos(user.gecos, user.name), utf8) if user else ""
    return f"{name} <{_words(here.qualified(bare), utf8)}>".strip()
