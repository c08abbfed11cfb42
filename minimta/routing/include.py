"""``:include:`` files: lists of addresses that others than the administrator may keep.

A list may belong to any user, who then answers for what it names; but nobody else may be able to
modify it, or to put another file in its place, for that would be mail and programs in the name of
its owner. A list that is refused, or too long, fails as a whole and is never cut short.
"""

from __future__ import annotations

import os

from minimta.system.privileges import read_as
from minimta.system.safedirpath import Allowance
from minimta.system.safefile import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options
    from minimta.system.safedirpath import TrustedFile
    from minimta.system.users import User

#: octets of a list that are read: some 100,000 addresses
LIMIT = 4 * 1024 * 1024


def read(path: bytes, user: User, options: Options) -> TrustedFile:
    """The list *path*, read with the rights of *user*: DefaultUser for what aliases name.

    Raise Untrusted if others could have written it, it is no plain file, longer than LIMIT or not
    an absolute path; FileNotFoundError and any other OSError, with the path, as open(2).
    """
    if not path.startswith(b"/") or b"\0" in path:
        raise Untrusted("Absolute paths only")
    return read_as(user, os.fsdecode(path), LIMIT, Allowance("Include", options.dont_blame))
