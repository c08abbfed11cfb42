"""Which senders a user may name who has logged in (option LoginSenders), and AUTH= of MAIL.

    # the table, one sender a line
    emma@example.org        emma
    info@example.org        emma, dave
    @lists.example.org      dave

Without a row a user may send as themselves: "emma@example.org" by exactly that, "emma" as emma at a
domain of this host. The null sender is nobody's: reports are sent with it. A table that cannot be
read, or is not there, delays mail (451), and says so.
"""

from __future__ import annotations

import errno
import os

from minimta.maps.table import SUFFIX, all_rows
from minimta.message import address
from minimta.message.xtext import decode_xtext
from minimta.routing.local_host import LocalHost
from minimta.smtp.command import Mail
from minimta.smtp.reply import Reply, quoted, reply
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.listener.peer import Peer


class LoginSenders:
    """The table, read again when it has changed."""

    def __init__(self, path: str) -> None:
        """*path* "": whoever has logged in may send as anybody."""
        self.path = path
        self._read: tuple[tuple[int, ...], dict[bytes, bytes]] | None = None

    def users(self, bare: bytes) -> list[str]:
        """The users who may send as *bare*, by a row of the table. Raise OSError."""
        table, key = self._table(), bare.lower()
        domain = b"@" + address.split(key)[1]
        names = table.get(key, b"") + b"," + table.get(domain, b"")
        return [
            name.strip() for name in names.decode("utf-8", "replace").split(",") if name.strip()
        ]

    def _table(self) -> dict[bytes, bytes]:
        try:
            found = os.stat(self.path + SUFFIX)
        except FileNotFoundError:
            found = os.stat(self.path)
        stamp = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, all_rows(self.path))
        return self._read[1]


def check(
    mail: Mail, client: Peer, senders: LoginSenders, here: LocalHost, qid: str
) -> Reply | None:
    """Why a client that has logged in may not send as the sender of *mail*; None if it may."""
    user = client.rights.identity
    if not senders.path or not client.mechanism or not mail.mailbox:
        return None
    try:
        if _is_own(mail.mailbox, user, here) or user in senders.users(mail.mailbox):
            return None
    except OSError as error:
        where = error.filename or senders.path
        reason = log.clean(f"{where}: {error.strerror or os.strerror(error.errno or errno.EIO)}")
        log.line(qid, f"SYSERR(root): LoginSenders: {reason}", level=1, error=True)
        return reply(
            451, "4.3.0", f"{quoted(mail.given)}... Cannot look it up now; try again later"
        )
    text = f"{quoted(mail.given)}... Sender address not owned by user {log.clean(user, 100)}"
    who = f"arg1={quoted(mail.given).replace(' ', '?')}, relay={client.shown}"
    log.line(qid, f"ruleset=check_mail, {who}, reject=553 5.7.1 {text}")
    return reply(553, "5.7.1", text)


def _is_own(bare: bytes, user: str, here: LocalHost) -> bool:
    """Is it the address of *user*? Raise OSError."""
    if "@" in user:
        return bare.lower() == user.lower().encode()
    local, domain = address.split(bare)
    is_ours = not domain or here.router.is_local(domain)
    return is_ours and address.unquote(local).lower() == user.lower().encode()


def author(given: bytes, client: Peer, host: str) -> bytes:
    """What the queue keeps of AUTH= of MAIL: *given*, xtext, or b"<>", b"" if there was none.

    RFC 4954 section 5: who has not logged in as somebody is not believed to be sent by them.
    """
    user = client.rights.identity
    claimed = decode_xtext(given).decode("utf-8", "replace")
    is_own = bool(client.mechanism) and claimed in (user, f"{user}@{host}")
    return given if is_own or not given else b"<>"
