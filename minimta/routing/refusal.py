"""Refusals that an administrator wrote down: what stands behind "error:" in a table or an alias.

    error:5.1.6:550 He has moved    status, reply code, text
    error:550 He has moved          the status is of the code, 5.0.0
    error:550 5.1.6 He has moved    the status may stand in the text
    error:nouser No such user       tables only: Sendmail's words for a status; the code is 553

Whoever refuses says code, status and text, each once. 4yz waits; so does what contradicts itself
("error:4.2.0:550 ..."), which is a slip. In an alias, as with Sendmail, what begins with neither a
status nor a code is a name that nobody has. Nothing here raises.
"""

from __future__ import annotations

import os

from minimta.message import address
from minimta.system import log

# Sendmail's words for $#error (and for "error:word text" in the tables) -> RFC 3463 status
# DIFFERS: for "nouser" and its kind Sendmail's RCPT says 5.3.0; RFC 3463 has the status they mean.
_WORDS = {
    "usage": "5.5.4",
    "nouser": "5.1.1",
    "nohost": "5.1.2",
    "unavailable": "5.0.0",
    "software": "5.3.0",
    "tempfail": "4.0.0",
    "protocol": "5.5.0",
    "config": "5.3.5",
}
#: statuses that only repeat what a code says
_GENERAL = ("5.0.0", "4.0.0")
#: status -> exit code of a submission, and the text if there is none
_MEANINGS = {
    "5.1.1": (os.EX_NOUSER, "User unknown"),
    "5.1.2": (os.EX_NOHOST, "Host unknown"),
    "5.1.6": (os.EX_NOUSER, "User has moved"),
}


class Refusal:
    """What a recipient is refused with."""

    __slots__ = ("code", "name", "status", "text")

    def __init__(self, code: int, status: str, text: str, name: str = "") -> None:
        """*name* is the one that nobody has, if it is another than the recipient's."""
        #: reply code, 400 to 599
        self.code = code
        #: RFC 3463
        self.status = status
        self.text = log.clean(text) or _MEANINGS.get(status, (0, "Service unavailable"))[1]
        self.name = log.clean(name)

    @property
    def is_final(self) -> bool:
        """Is it a bounce, and not a delay?"""
        return self.code >= 500

    @property
    def exit_code(self) -> int:
        """What a submission ends with (sysexits)."""
        if not self.is_final:
            return os.EX_TEMPFAIL
        return _MEANINGS.get(self.status, (os.EX_UNAVAILABLE, ""))[0]


#: a recipient of this host who does not exist
UNKNOWN = Refusal(550, "5.1.1", "User unknown")


def of_alias(value: bytes) -> Refusal | None:
    """The refusal if an alias is one target and that is "error:"; None if it leads somewhere."""
    lower = value.lower()
    if b"error:" not in lower and b".redirect" not in lower:
        return None
    from minimta.routing import targets  # few aliases are

    found = targets.parse(value)
    if len(found) != 1:
        return None
    if found[0].kind == "error":
        return of_target(found[0].value)
    return moved(found[0].value) if found[0].kind == "user" else None


def moved(bare: bytes) -> Refusal | None:
    """The refusal for b"dave@lab3.campus.REDIRECT": dave has moved (Sendmail's FEATURE(redirect)).

    None if the address is none of these.
    """
    whole, ending = address.without_final_dot(bare), b".redirect"
    local, domain = address.split(whole)
    if not local or not domain.lower().endswith(ending):
        return None
    # DIFFERS: Sendmail's status is 5.1.1; RFC 3463 has 5.1.6 for a mailbox that has moved.
    new = log.clean(whole[: -len(ending)])
    return Refusal(551, "5.1.6", f"User has moved; please try <{new}>")


def of_target(value: bytes) -> Refusal:
    """What "error:*value*" among the targets of an alias says."""
    text = value.decode("utf-8", "replace")
    word, before_colon = text.partition(" ")[0], text.partition(":")[0].strip()
    if not (is_code(word) or is_status(word) or is_status(before_colon)):
        return Refusal(UNKNOWN.code, UNKNOWN.status, UNKNOWN.text, name=f"error:{text}")
    return of_error(*error_of(text))


def error_of(text: str) -> tuple[str, str]:
    """(status, text) of what follows "error:": "5.7.1:550 No" or "nouser No such user"."""
    first, colon, rest = text.partition(":")
    if colon and is_status(first.strip()):
        return first.strip(), rest.strip()
    word, _, rest = text.partition(" ")
    if word.lower() in _WORDS:
        return _WORDS[word.lower()], rest.strip()
    return ("4.0.0" if is_code(word) and word[0] == "4" else "5.0.0"), text


def of_error(status: str, text: str) -> Refusal:
    """What error_of() found, with code and status taken off the text.

    What is temporary in one of them is temporary.
    """
    code = 0
    while text:
        word, _, rest = text.partition(" ")
        if not code and is_code(word):
            code = int(word)
        elif is_status(word):
            status = word if status in _GENERAL else status
        else:
            break
        text = rest.strip()
    if status[0] == "4" or 400 <= code < 500:
        return Refusal(code if 400 <= code < 500 else 451, "4" + status[1:], text)
    return Refusal(code or 553, status, text)


def is_code(text: str) -> bool:
    """Is it a reply code of a refusal, "550"?"""
    return len(text) == 3 and text.isascii() and text.isdigit() and text[0] in "45"


def is_status(text: str) -> bool:
    """Is it an RFC 3463 status of a failure, "5.7.1"?"""
    parts = text.split(".")
    digits = all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts)
    return len(parts) == 3 and digits and parts[0] in ("4", "5")
