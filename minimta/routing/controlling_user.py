"""Who answers for what an expansion starts: the controlling user (C line of the qf).

    NAME:UID:GID:ADDRESS
    list:1:0:<list@lab2.campus>             an alias: DefaultUser acts; gid 0 as Sendmail writes it
    dave:1001:1001:<dave@lab2.campus>       the .forward of dave, who acts
    :include:/etc/lists/l:1001:50:...       a list that an alias names: the owner of the file acts

Nothing acts as root. A user whose shell is not in /etc/shells may start nothing, or a mail account
would be a shell account; nor may what was read only because DontBlameSendmail allowed it. What a
.forward includes acts as the user of the .forward, whoever owns the included file: else users
could start whatever stands in the files of others.

With flag O the address is the owner of the list ("owner-list"), who hears of what fails.
"""

from __future__ import annotations

import os

from minimta.system import log
from minimta.system.users import User, Users, has_valid_shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.message.envelope import Recipient
    from minimta.system.safedirpath import TrustedFile

#: flag of a recipient whose messages come from the owner of the list (ours; Sendmail ignores it)
#: DIFFERS: Sendmail makes a second message with the owner as sender, which a crash may send twice.
OWNED = "O"
_INCLUDE = b":include:"


class Authority:
    """The controlling user of the programs, files and lists that one text names."""

    __slots__ = ("gid", "is_system", "name", "refusal", "uid", "user")

    def __init__(
        self,
        name: bytes,
        uid: int,
        gid: int,
        user: User | None,
        *,
        refusal: str = "",
        is_system: bool = False,
    ) -> None:
        """*name*, *uid* and *gid* are the fields of the C line; *user* is who acts, which differs
        from them for root.
        """
        self.name = name
        self.uid = uid
        self.gid = gid
        #: runs the programs and writes the files, never root; None if there is no such user now
        self.user = user
        #: why it may name no programs and files (that word follows); "" if it may
        self.refusal = refusal
        #: from the alias file: what it includes acts as the owner of that file
        self.is_system = is_system

    def line(self, address: bytes) -> bytes:
        """The C line for *address*; a ":" in the name would shift the fields."""
        shown = self.name.replace(b"\n", b"?")
        if not shown.startswith(_INCLUDE):
            shown = shown.replace(b":", b"?")
        return b"%b:%d:%d:%b" % (shown, self.uid, self.gid, address)


def of_alias(name: bytes, default: User | None) -> Authority:
    """Of the alias *name*; *default* is DefaultUser."""
    # Uid 1 only fills the field: without a DefaultUser nobody acts.
    return Authority(name, default.uid if default else 1, 0, default, is_system=True)


def of_forward(user: User, file: TrustedFile, shown: str, default: User | None) -> Authority:
    """Of the .forward of *user*, whose address is *shown*; for root DefaultUser acts."""
    acting = user if user.uid else default
    name = os.fsencode(user.name)
    refusal = _refusal(user, file, shown)
    return Authority(name, user.uid, user.gid, acting, refusal=refusal, is_system=user.uid == 0)


def of_include(
    path: bytes, file: TrustedFile, parent: Authority, users: Users, default: User | None
) -> Authority:
    """Of the list *path*: the owner of the file if an alias named it, else *parent* who named it.

    Raise OSError if users cannot be asked now.
    """
    if not parent.is_system:
        refusal = parent.refusal or _unsafe_unless(file, log.clean(_INCLUDE + path))
        return Authority(parent.name, parent.uid, parent.gid, parent.user, refusal=refusal)
    shown = log.clean(_INCLUDE + path)
    owner = users.by_uid(file.uid) if file.uid else default
    refusal = _refusal(owner, file, shown) if file.uid else _unsafe_unless(file, shown)
    return Authority(
        _INCLUDE + path, file.uid, file.gid, owner, refusal=refusal, is_system=file.uid == 0
    )


def _refusal(user: User | None, file: TrustedFile, shown: str) -> str:
    if user is None or not has_valid_shell(user):
        return f"User {shown} doesn't have a valid shell for mailing to"
    return _unsafe_unless(file, shown)


def _unsafe_unless(file: TrustedFile, shown: str) -> str:
    return "" if file.safe else f"Address {shown} is unsafe for mailing to"


def parse(line: bytes, users: Users, default: User | None) -> Authority | None:
    """A C line as the queue keeps it; None without one. Raise OSError if users cannot be asked.

    While the message waited, dave may have been deleted and the number given to carol: then nobody
    acts, for carol never asked for this program.
    """
    name, uid_text, gid_text, _ = _fields(line)
    if not (name and uid_text.isdigit() and gid_text.isdigit()):
        return None
    uid, gid = int(uid_text), int(gid_text)
    if uid == 0 or (default is not None and (uid, gid) == (default.uid, 0)):
        return Authority(name, uid, gid, default, is_system=True)
    user = users.by_uid(uid)
    if user is not None and not name.startswith(_INCLUDE):
        named = users.find(name)
        user = named if named is not None and named.uid == uid else None
    return Authority(name, uid, gid, user)


def _fields(line: bytes) -> list[bytes]:
    """Name, uid, gid and address; the name of a list begins with a field of colons of its own."""
    prefix = _INCLUDE if line.startswith(_INCLUDE) else b""
    name, uid, gid, address = [*line[len(prefix) :].split(b":", 3), b"", b"", b""][:4]
    return [prefix + name, uid, gid, address]


def named(recipient: Recipient) -> bytes:
    """The address that led to *recipient*, b"" if it is one of the envelope."""
    name, _, _, path = _fields(recipient.controlling_user)
    return name if OWNED in recipient.flags else path


def shown(recipient: Recipient) -> str:
    """As the log has it: "<emma@lab1.campus> (1001/1001)", ":include:/l (1001/50)", ""."""
    name, uid, gid, path = _fields(recipient.controlling_user)
    if not (name and uid and gid):
        return ""
    whose = name if name.startswith(_INCLUDE) else path
    return f"{log.clean(whose)} ({log.clean(uid)}/{log.clean(gid)})"


def owner(recipient: Recipient) -> bytes | None:
    """Who the message to *recipient* comes from if not from its sender: the owner of the list."""
    return _fields(recipient.controlling_user)[3] if OWNED in recipient.flags else None
