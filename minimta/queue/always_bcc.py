"""Option AlwaysBcc: one more recipient of every message that is taken, in no header field.

Added where a message is taken (``first_control``) and nowhere else, so that adoption and retries add
nothing. It has NOTIFY=NEVER: no sender hears what becomes of it; that it failed is told to the
postmaster (``dsn.notify``). What we write ourselves, bounces and notes, is not copied: a copy that
fails would make the next one.
"""

from __future__ import annotations

from minimta.message import address
from minimta.message.envelope import Recipient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options


def recipient(options: Options, host: str) -> Recipient:
    """The recipient to add, never told about; *host* is our full name. There must be such an option."""
    bare = options.always_bcc.encode("ascii")
    return Recipient(bare, "PN", final=b"RFC822; " + address.qualified(bare, host))


def is_copy(one: Recipient, options: Options, host: str) -> bool:
    """Is *one* that recipient, or what its alias led to?"""
    if not options.always_bcc or "N" not in one.flags or set(one.flags) & set("SFD"):
        return False
    return one.final.lower() == recipient(options, host).final.lower()
