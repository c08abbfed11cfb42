"""The users of this host (only importer of pwd).

Users come from the system's name service, or from a file in passwd form (option PasswdFile). A
name service that does not answer is an OSError, never "no such user": mail for an existing user
would be returned.
"""

from __future__ import annotations

import errno
import os
import pwd
import sys

from minimta.system import files


class PasswdError(OSError):
    """A line of the PasswdFile cannot be read; the text names file and line."""


class User:
    """One entry of passwd(5)."""

    __slots__ = ("gecos", "gid", "home", "name", "shell", "uid")

    def __init__(
        self, name: str, uid: int, gid: int, *, gecos: str = "", home: str = "", shell: str = ""
    ) -> None:
        """*gid* is the primary group; *gecos* holds the full name and more, separated by commas."""
        self.name = name
        self.uid = uid
        self.gid = gid
        self.gecos = gecos
        self.home = home
        self.shell = shell

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, User):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"User({self.name!r}, {self.uid}, {self.gid})"


class Users:
    """The users, by name and by number."""

    def __init__(self, passwd_file: str = "") -> None:
        """*passwd_file* "" asks the system; a file is read again when it was replaced or changed."""
        self._file = passwd_file
        self._seen: tuple[int, int, int] | None = None
        self._by_name: dict[str, User] = {}
        self._by_uid: dict[int, User] = {}

    def find(self, name: bytes) -> User | None:
        """The user of this name, exactly or in small letters. Raise OSError if it cannot be known.

        No user has a name with "/", NUL or a leading ".": mailboxes and homes are named after users,
        and such a name could lead out of their directory.
        """
        if not name or b"/" in name or b"\0" in name or name[:1] == b".":
            return None
        user = self._named(name)
        if user is None and name != name.lower():
            user = self._named(name.lower())
        return user

    def by_uid(self, uid: int) -> User | None:
        """The (first) user with this number; None if there is none. Raise OSError as find()."""
        if self._file:
            self._refresh()
            return self._by_uid.get(uid)
        return _in_system(uid)

    def _named(self, name: bytes) -> User | None:
        text = os.fsdecode(name)
        if self._file:
            self._refresh()
            return self._by_name.get(text)
        return _in_system(text)

    def _refresh(self) -> None:
        now = os.stat(self._file)
        seen = (now.st_ino, now.st_mtime_ns, now.st_size)
        if seen == self._seen:
            return
        with open(self._file, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            users = parse_passwd(file.read(), self._file)
        if not users:
            raise PasswdError(errno.EINVAL, f"{self._file}: no user stands in it")
        self._by_name = {user.name: user for user in reversed(users)}
        self._by_uid = {user.uid: user for user in reversed(users)}
        self._seen = seen


def _in_system(key: str | int) -> User | None:
    """Ask the name service for a name or a uid.

    Raise OSError unless absence is certain. pwd says KeyError for "no such user" and for every
    failure alike, and the C library itself does: with "passwd: files systemd" a file that cannot be
    opened is passed over, and what systemd does not know counts as absent.
    """
    for is_last in (False, True):
        try:
            return _from_system(pwd.getpwnam(key) if isinstance(key, str) else pwd.getpwuid(key))
        except KeyError:
            if not is_last:
                _require_service(key)
    # Absent before and after root was there: neither look met a bad moment.
    return None


# getpwnam_r(3): what the C library answers, beside 0, when there is no such user.
_ABSENT = (0, errno.ENOENT, errno.ESRCH, errno.EBADF, errno.EPERM)
_ROOT_FILE = "/etc/passwd"
_GROUP_FILE = "/etc/group"


def _require_service(key: str | int) -> None:
    """Raise OSError if a part of the name service fails: absence is believed while root is there.

    Root is looked for in the file too, for libnss-systemd makes one up where there is none.
    """
    import ctypes  # 10 ms, and only on the way to "User unknown"

    confined = sys.modules.get("minimta.system.sandbox")
    if confined is not None and confined.is_outdated():
        why = "has changed; it counts after a reload (SIGHUP) of this daemon"
        raise OSError(errno.EAGAIN, why, "/etc/nsswitch.conf")

    size = 16384
    entry, buffer = ctypes.create_string_buffer(256), ctypes.create_string_buffer(size)
    result = ctypes.c_void_p()
    asked = os.fsencode(key) if isinstance(key, str) else ctypes.c_uint(key)
    library = ctypes.CDLL(None)
    ask = library.getpwnam_r if isinstance(key, str) else library.getpwuid_r
    code = ask(asked, entry, buffer, ctypes.c_size_t(size), ctypes.byref(result))
    if code not in _ABSENT:
        raise OSError(code, f"user data base: {os.strerror(code)}")
    try:
        pwd.getpwuid(0)
        has_root = _lists_root(_ROOT_FILE)
    except KeyError:
        has_root = False
    if not has_root:
        raise OSError(errno.EAGAIN, "user data base: not even root is found")


def _lists_root(path: str) -> bool:
    """Is number 0 in a file of passwd(5) or group(5)? Raise OSError."""
    try:
        with open(path, "rb") as file:
            return any(line.split(b":")[2:3] == [b"0"] for line in file)
    except OSError as error:
        raise OSError(error.errno, f"user data base: {error.strerror}", path) from error


def _from_system(entry: pwd.struct_passwd) -> User:
    return User(
        entry.pw_name,
        entry.pw_uid,
        entry.pw_gid,
        gecos=entry.pw_gecos,
        home=entry.pw_dir,
        shell=entry.pw_shell,
    )


def parse_passwd(text: str, path: str) -> list[User]:
    """Users of a text in passwd form; "#" lines and empty ones are skipped. Raise PasswdError."""
    users = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(":")
        uid, gid = (fields[2], fields[3]) if len(fields) == 7 else ("", "")
        if not (fields[0] and _is_number(uid) and _is_number(gid)):
            reason = "not name:password:uid:gid:full name:home:shell"
            raise PasswdError(errno.EINVAL, f"{path}: line {number}: {reason}")
        gecos, home, shell = fields[4:]
        users.append(User(fields[0], int(uid), int(gid), gecos=gecos, home=home, shell=shell))
    return users


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def trusted(path: str) -> set[bytes]:
    """Names of the TrustedUsers file (Sendmail's class t).

    No file, no names. Raise OSError if it is there and cannot be read.
    """
    try:
        return set(files.words(path))
    except FileNotFoundError:
        return set()


def groups_of(user: User) -> list[int]:
    """All groups of *user*, the primary one included. Raise OSError if they cannot be known now.

    "The primary one alone" is what getgrouplist(3) says whenever it fails, too: then a program of
    the user would lack rights, and its failure would return their mail.
    """
    found = os.getgrouplist(user.name, user.gid)
    if found == [user.gid]:
        require_groups()
    return found


def require_groups() -> None:
    """Raise OSError if no absence of a group may be believed: its file is there without group 0."""
    try:
        if _lists_root(_GROUP_FILE):
            return
    except FileNotFoundError:
        return  # a system without groups
    raise OSError(errno.EAGAIN, "user data base: not even group 0 is found", _GROUP_FILE)


#: what getusershell(3) takes for the list if there is none
_DEFAULT_SHELLS = {"/bin/sh", "/bin/csh"}
#: this line in the list admits every shell (Sendmail)
_ANY_SHELL = "/SENDMAIL/ANY/SHELL/"


def has_valid_shell(user: User, shells: str = "/etc/shells") -> bool:
    """May *user* start programs: is their shell in the list *shells*? An empty one is /bin/sh.

    Raise OSError if the list is there and cannot be read, or has no shell at all: it is just being
    written.
    """
    try:
        with open(shells, encoding="utf-8", errors="surrogateescape") as file:
            listed = {line.partition("#")[0].strip() for line in file}
    except FileNotFoundError:
        listed = _DEFAULT_SHELLS
    listed = {shell for shell in listed if shell.startswith("/") and "\0" not in shell}
    if not listed:
        raise OSError(errno.EINVAL, "no shell stands in it", shells)
    return (user.shell or "/bin/sh") in listed or _ANY_SHELL in listed
