"""``~/.forward``: which file counts, and when it is not followed.

For user+detail ``~/.forward+detail`` comes before ``~/.forward``. Without either no child is started.
A file that others could have written is not followed: the log says so and the mail goes to the
mailbox, as with Sendmail.
"""

from __future__ import annotations

import errno
import os

from minimta import log
from minimta.rights import read_as
from minimta.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.users import User

#: octets of a .forward that are read; a longer one is not followed
LIMIT = 65536


def detail(local_part: bytes, user: User) -> bytes:
    """b"info" of dave+info, b"" for dave alone."""
    whole = os.fsencode(user.name).lower() == local_part.lower()
    return b"" if whole else local_part.partition(b"+")[2]


def read(user: User, of_detail: bytes, *, qid: str) -> bytes:
    """The text of the .forward of *user*, b"" if there is none to be followed.

    Raise OSError if that cannot be known now.
    """
    # DIFFERS: Sendmail takes a file that the user may not read himself (mode 000) for none; here
    # every "Permission denied" waits, because on NFS it means "not now".
    if not user.home.startswith("/"):
        return b""
    names = [".forward"]
    if of_detail and b"/" not in of_detail and b"\0" not in of_detail:
        names.insert(0, ".forward+" + os.fsdecode(of_detail))
    for name in names:
        path = os.path.join(user.home, name)
        if not _may_exist(path):
            continue
        try:
            return read_as(user, path, LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except Untrusted as error:
            log.line(qid, f"forward {log.clean(path)}: {error}")
    return b""


def _may_exist(path: str) -> bool:
    """A cheap look as ourselves; only a clear "no such file" saves the child."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True
