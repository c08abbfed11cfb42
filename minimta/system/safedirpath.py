"""Read what others could not have modified, all the way from / (Sendmail's safedirpath()).

Every directory on the way from / must belong to root or to the user whose file it is, and must not
be writable by others; the same holds for the file. Names of DontBlameSendmail loosen this
(Allowance).

The way is walked by descriptors, one a directory, and all questions are asked of what is open: what
is read is what was checked, whatever is renamed or linked meanwhile.

What may fail: Untrusted, in Sendmail's words ("Group writable file"), for the administrator or the
user to mend; OSError for what may be different at the next try.
"""

from __future__ import annotations

import errno
import os
import stat

from minimta.system import files, safefile
from minimta.system.safefile import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

#: links on one way, as in Linux
_MAX_LINKS = 40
# O_PATH: a directory that we may pass but not list is enough.
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Nonblocking: a fifo must not make us wait.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TrustedFile:
    """A file as it was read, and who answers for what it says."""

    __slots__ = ("gid", "path", "safe", "text", "uid")

    def __init__(self, path: str, text: bytes, uid: int, gid: int, safe: bool) -> None:
        """*uid* and *gid* own the file. Not *safe*: others could have modified it, and it was read
        only because of a name of DontBlameSendmail without "Safe"; so it may name mailboxes and
        addresses, but neither programs nor files.
        """
        self.path = path
        self.text = text
        self.uid = uid
        self.gid = gid
        self.safe = safe

    def __repr__(self) -> str:
        return (
            f"TrustedFile({self.path!r}, {self.text!r}, {self.uid}, {self.gid}, safe={self.safe})"
        )


class Allowance:
    """What DontBlameSendmail loosens for one kind of file; all of it False is STRICT.

    As in Sendmail a name with "Safe" allows nothing by itself: it only adds programs and files.
    """

    __slots__ = (
        "any_owner",
        "binary",
        "group_writable",
        "group_writable_directory",
        "group_writable_safe",
        "private",
        "unsafe_directory",
        "unsafe_directory_safe",
        "world_writable",
    )

    def __init__(self, kind: str = "", blamed: frozenset[str] = frozenset()) -> None:
        """*kind* is "Forward" or "Include"; *blamed* are the option's names in small letters."""
        kind = kind.lower()
        #: anybody may own a list; its owner then answers for what it names
        self.any_owner = kind == "include"
        self.group_writable = f"groupwritable{kind}file" in blamed
        self.group_writable_safe = f"groupwritable{kind}filesafe" in blamed
        self.world_writable = f"worldwritable{kind}file" in blamed
        self.group_writable_directory = f"{kind}fileingroupwritabledirpath" in blamed
        self.unsafe_directory = f"{kind}fileinunsafedirpath" in blamed
        self.unsafe_directory_safe = f"{kind}fileinunsafedirpathsafe" in blamed
        #: does it hold a secret? Then others may not even read it
        self.private = False
        #: may it have any octets?
        self.binary = False


STRICT = Allowance()
SECRET = Allowance()
SECRET.private = True
#: the same, and what it holds is no text
SECRET_DATABASE = Allowance()
SECRET_DATABASE.private = SECRET_DATABASE.binary = True


def read_trusted(path: str, uid: int, limit: int, allowed: Allowance = STRICT) -> TrustedFile:
    """Read the file *path*, absolute, which belongs to *uid* or root and is safe all the way from /.

    Raise Untrusted, also for more than *limit* octets and for what is not a regular file; OSError,
    with *path*, as open(2) and read(2), and for what is no text.
    """
    # Without root all users' mail is ours, and we cannot become *uid*: our own files count too.
    owners = (0, uid) if os.geteuid() == 0 else (0, uid, os.geteuid())
    try:
        with _Walk(owners, allowed) as walk:
            return walk.read(path, limit)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def walk(directory: str, owners: tuple[int, ...], allowed: Allowance = STRICT) -> int:
    """Open an absolute *directory* step by step from /; the caller closes the descriptor (O_PATH).

    Raise Untrusted if one of the steps does not belong to *owners* (user ids) or others may write
    there (a sticky directory is safe: users can replace only what is theirs); OSError as open(2).
    """
    with _Walk(owners, allowed) as way:
        return way.directory(directory)


class _Walk:
    """One way from /, a descriptor for each step; links are followed as the kernel does.

    Descriptors, not paths: of a path that is checked and then opened, any directory on the way could
    have been exchanged in between. ".." goes back to the descriptor that we came from, for what
    ".." means in a directory that somebody just moved is the mover's choice.

    DIFFERS: Sendmail looks only at the modes of directories; the owner of one can replace what is
    in it as well.
    """

    def __init__(self, owners: tuple[int, ...], allowed: Allowance) -> None:
        self._owners = owners
        self._allowed = allowed
        self._trail: list[int] = []
        self._links = 0
        #: owners of directories; each must turn out to own the file as well (any_owner)
        self._strangers: set[int] = set()
        self._safe = True

    def __enter__(self) -> _Walk:
        self._trail.append(os.open("/", _DIRECTORY))
        try:
            self._check_here()
        except BaseException:
            self._back_to(0)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._back_to(0)

    def directory(self, path: str) -> int:
        """Go to *path*; the descriptor is the caller's."""
        names = _names(path)
        while names:
            self._step(names)
        return os.dup(self._trail[-1])

    def read(self, path: str, limit: int) -> TrustedFile:
        """See read_trusted()."""
        file = self._open(path)
        try:
            found = os.fstat(file)
            self._check_file(found)
            text = files.read_to_limit(file, limit)
            if len(text) > limit:
                raise Untrusted(f"Larger than {limit} octets")
            if b"\0" in text and not self._allowed.binary:  # what a power cut left
                raise OSError(errno.EINVAL, "is no text")
        finally:
            os.close(file)
        return TrustedFile(path, text, found.st_uid, found.st_gid, self._safe)

    def _open(self, path: str) -> int:
        names = _names(path)
        while True:
            while len(names) > 1:
                self._step(names)
            name = names.pop() if names else "."
            mode = os.stat(name, dir_fd=self._trail[-1], follow_symlinks=False).st_mode
            if not stat.S_ISLNK(mode):
                break
            names += self._target(name)
        # Looked at before it is opened, for opening a device may do something (rewind a tape), and
        # again afterwards: it may be another file by now.
        if not stat.S_ISREG(mode):
            raise Untrusted("Regular files only")
        # If it has become a link this fails with ELOOP, and the caller tries later.
        return os.open(name, _FILE, dir_fd=self._trail[-1])

    def _step(self, names: list[str]) -> None:
        """Go to the last of *names*, or put in its place what a link says."""
        name = names.pop()
        if name == "..":
            self._back_to(max(len(self._trail) - 1, 1))
            return
        try:
            self._trail.append(os.open(name, _DIRECTORY, dir_fd=self._trail[-1]))
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            names += self._target(name)
            return
        self._check_here()

    def _target(self, name: str) -> list[str]:
        """Where the link *name* leads. Raise NotADirectoryError if it is none."""
        self._links += 1
        if self._links > _MAX_LINKS:
            raise Untrusted("Too many levels of symbolic links")
        try:
            target = os.readlink(name, dir_fd=self._trail[-1])
        except OSError as error:
            code = errno.ENOTDIR if error.errno == errno.EINVAL else error.errno
            raise OSError(code, os.strerror(code or errno.EIO), name) from error
        # In a sticky directory nobody can replace the file, but anybody can put a link in place of
        # a file that is not there: it would lead us to a file that its maker may not read.
        if self._is_open_to_others():
            raise Untrusted("Symbolic links not allowed")
        if target.startswith("/"):
            self._back_to(1)
        return _names(target)

    def _back_to(self, length: int) -> None:
        while len(self._trail) > length:
            os.close(self._trail.pop())

    def _check_here(self) -> None:
        found = os.fstat(self._trail[-1])
        faults = safefile.faults(found, self._owners)
        if found.st_mode & stat.S_ISVTX:
            # DIFFERS: Sendmail trusts these only with TrustStickyBit: not every system of its
            # time kept others from replacing what is not theirs. Links: see _target.
            faults = [fault for fault in faults if fault == "Wrong owner"]
        if not faults:
            return
        if self._allowed.unsafe_directory:
            self._safe = self._safe and self._allowed.unsafe_directory_safe
            return
        if self._allowed.any_owner and "Wrong owner" in faults:
            self._strangers.add(found.st_uid)
            faults.remove("Wrong owner")
        if faults and not (faults == ["Group writable"] and self._allowed.group_writable_directory):
            # Of a directory that all may write Sendmail says just that, of a file the first fault.
            raise Untrusted(f"{faults[-1]} directory")

    def _is_open_to_others(self) -> bool:
        """May others create a link here, even if they cannot replace what is there (sticky)?"""
        faults = safefile.faults(os.fstat(self._trail[-1]), self._owners)
        return bool(set(faults) - ({"Wrong owner"} if self._allowed.any_owner else set()))

    def _check_file(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise Untrusted("Regular files only")
        faults = safefile.faults(found, self._owners)
        allowed = self._allowed
        if "Wrong owner" in faults and not allowed.any_owner:
            raise Untrusted("Wrong owner")
        if self._strangers - {found.st_uid}:
            raise Untrusted("Wrong owner directory")
        if "Group writable" in faults:
            if not allowed.group_writable:
                raise Untrusted("Group writable file")
            self._safe = self._safe and allowed.group_writable_safe
        if "World writable" in faults:
            if not allowed.world_writable:
                raise Untrusted("World writable file")
            self._safe = False
        if allowed.private and safefile.readers(found):
            whose = "World" if found.st_mode & stat.S_IROTH else "Group"
            raise Untrusted(f"{whose} readable file")
        # In a directory that others may write, a second name may be the work of anybody. Elsewhere
        # only the owner or root could link it, it is read with the reader's own rights, and
        # Sendmail reads it too.
        if found.st_nlink > 1 and self._is_open_to_others():
            raise Untrusted("Hard links not allowed")


def _names(path: str) -> list[str]:
    """The steps of *path*, the next one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
