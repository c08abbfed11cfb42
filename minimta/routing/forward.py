"""``~/.forward``: which file counts, and when it is not followed.

Option ForwardPath names the files, by default for user+detail ``~/.forward.HOST+detail``,
``~/.forward+detail``, ``~/.forward.HOST``, ``~/.forward``. A file that others could have modified
is not followed: the log says so and the next one counts, or the mail goes to the mailbox, as with
Sendmail. Files are read in a child with the user's rights (a link to /etc/shadow is nothing that
root reads for anybody); if none exists no child is started.
"""

from __future__ import annotations

import errno
import os

from minimta.system.mounts import Mounts
from minimta.system.privileges import read_as
from minimta.system.safedirpath import Allowance
from minimta.system.safefile import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minimta.routing.local_host import LocalHost
    from minimta.system.safedirpath import TrustedFile
    from minimta.system.users import User

#: octets of a .forward that are read; a longer one is not followed
LIMIT = 65536
_mounts = Mounts()


def read(
    user: User, of_detail: bytes, here: LocalHost, *, refused: Callable[[str, str], None]
) -> TrustedFile | None:
    """The first of the user's files that exists and may be trusted; None if there is none.

    *refused* hears path and reason of each that exists and may not ("Group writable file").
    Raise OSError, with the path, if it cannot be known now: a dead server is not "no .forward".
    """
    # DIFFERS: Sendmail takes a file that its own user may not read (mode 000) for none; here every
    # "Permission denied" waits, because on NFS it means "not now".
    for path in candidates(user, of_detail, here):
        if not _may_exist(path):
            continue
        try:
            return read_as(user, path, LIMIT, Allowance("Forward", here.options.dont_blame))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except Untrusted as error:
            refused(path, str(error))
    return None


def candidates(user: User, of_detail: bytes, here: LocalHost) -> Iterator[str]:
    """Absolute paths of ForwardPath for *user*, in its order; those with $h only for a detail.

    A detail that could lead out of the home counts as none.
    """
    if b"/" in of_detail or b"\0" in of_detail or of_detail in (b".", b".."):
        of_detail = b""
    values = {
        "z": user.home,
        "u": user.name,
        "h": os.fsdecode(of_detail),
        "w": here.name.partition(".")[0],
    }
    for template in here.options.forward_path.split(":"):
        if "$h" in template and not of_detail:
            continue
        if "$z" in template and not user.home.startswith("/"):
            continue
        first, *others = template.split("$")
        path = first + "".join(values.get(part[:1], "") + part[1:] for part in others)
        if path.startswith("/"):
            yield path


def _may_exist(path: str) -> bool:
    """A cheap look as ourselves; only a clear "no such file" saves the child.

    On NFS root may be a stranger: "Permission denied" says nothing about what the user sees. And a
    dead server must not hold us: only the child can be ended after a while.
    """
    if _mounts.may_hang(path):
        return True
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True
