"""The users of this host, and doing things with no more than their rights (only importer of pwd).

Users come from the system, or from a file in passwd form (option PasswdFile). A name service that
does not answer is an OSError, never "no such user": mail would be returned that has a home.

Reading in a home directory happens in a child that has become the user. It walks from / by
descriptors; every directory must belong to root or the user and be closed to others' writing. Text
of a refusal is Sendmail's: "Group writable file".
"""

from __future__ import annotations

import errno
import os
import pwd
import stat

from minimta import log

#: seconds that a child may take to read one file (a dead NFS server)
READ_TIME = 60


class Untrusted(Exception):
    """The file is there, but others could have written it. The text says why."""


class PasswdError(OSError):
    """A line of the PasswdFile cannot be read; the text names file and line."""


class User:
    """One passwd entry."""

    __slots__ = ("gecos", "gid", "home", "name", "shell", "uid")

    def __init__(
        self, name: str, uid: int, gid: int, *, gecos: str = "", home: str = "", shell: str = ""
    ) -> None:
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

        A name with "/" or a leading "." is nobody's: mailboxes and homes are named after users.
        """
        if not name or b"/" in name or b"\0" in name or name[:1] == b".":
            return None
        user = self._named(name)
        if user is None and name != name.lower():
            user = self._named(name.lower())
        return user

    def by_uid(self, uid: int) -> User | None:
        """The (first) user with this number."""
        if self._file:
            self._refresh()
            return self._by_uid.get(uid)
        try:
            return _from_system(pwd.getpwuid(uid))
        except KeyError:
            return None

    def _named(self, name: bytes) -> User | None:
        text = os.fsdecode(name)
        if self._file:
            self._refresh()
            return self._by_name.get(text)
        try:
            return _from_system(pwd.getpwnam(text))
        except KeyError:
            _certainly_absent(name)
            return None

    def _refresh(self) -> None:
        now = os.stat(self._file)
        seen = (now.st_ino, now.st_mtime_ns, now.st_size)
        if seen == self._seen:
            return
        with open(self._file, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            users = parse_passwd(file.read(), self._file)
        self._by_name = {user.name: user for user in reversed(users)}
        self._by_uid = {user.uid: user for user in reversed(users)}
        self._seen = seen


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


# getpwnam_r(3): what the C library answers, beside 0, when there is no such name.
_ABSENT = (0, errno.ENOENT, errno.ESRCH, errno.EBADF, errno.EPERM)


def _certainly_absent(name: bytes) -> None:
    """Raise OSError if the name service failed: pwd.getpwnam says KeyError for that as well."""
    import ctypes  # 10 ms, and only on the way to "User unknown"

    size = 16384
    entry, buffer = ctypes.create_string_buffer(256), ctypes.create_string_buffer(size)
    result = ctypes.c_void_p()
    ask = ctypes.CDLL(None).getpwnam_r
    code = ask(name, entry, buffer, ctypes.c_size_t(size), ctypes.byref(result))
    if code not in _ABSENT:
        raise OSError(code, f"user data base: {os.strerror(code)}")


def trusted(path: str) -> set[bytes]:
    """Names of the TrustedUsers file (Sendmail's class t), one a line; "#" begins a comment.

    No file, no names; one that cannot be read is logged and gives none.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read(1 << 16).split(b"\n")
    except FileNotFoundError:
        return set()
    except OSError as error:
        log.line("", f"cannot read {log.clean(path)}: {error.strerror}")
        return set()
    return {line.partition(b"#")[0].strip() for line in lines} - {b""}


def groups_of(user: User) -> list[int]:
    """All groups of *user*, the primary one included."""
    return os.getgrouplist(user.name, user.gid)


def become(name: str) -> None:
    """Make this process the user *name* for good, without supplementary groups (threats T42).

    Before any thread starts. Without root there is nothing to give up; "" keeps root, which only a
    private root wants. Raise OSError if there is no such user, or if root could be had back.
    """
    if os.geteuid() != 0 or not name:
        return
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise OSError(errno.ENOENT, f"no such user: {name} (option RunAsUser)") from None
    _drop(entry.pw_uid, entry.pw_gid, [])


def _drop(uid: int, gid: int, groups: list[int]) -> None:
    """Order matters: groups while still root, the user last, then see that it holds."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    try:
        os.setuid(0)
    except PermissionError:
        if os.getresuid() == (uid,) * 3 and os.getresgid() == (gid,) * 3:
            return
    raise OSError(errno.EPERM, f"could not give up root for uid {uid}")


def read_as(user: User, name: str, limit: int) -> bytes:
    """The content of *name* below the home of *user*, read with his rights, at most *limit* octets.

    Raise FileNotFoundError if there is none, Untrusted if others could have written it or it is no
    plain file, and OSError for whatever may pass (EACCES, EIO, ESTALE, a server that hangs).
    """
    if not user.home.startswith("/"):
        raise FileNotFoundError(errno.ENOENT, "no home directory", user.home)
    path = os.path.join(user.home, name)
    if os.geteuid() != 0 or user.uid == 0:
        return read_trusted(path, user.uid, limit)
    return _read_in_child(user, path, limit)


def _read_in_child(user: User, path: str, limit: int) -> bytes:
    """Fork: only for single-threaded processes, which the runner and its children are."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receiving)
            _drop(user.uid, user.gid, groups_of(user))
            _write_all(sending, _answer(path, user.uid, limit))
        finally:
            os._exit(0)
    os.close(sending)
    try:
        answer = _read_answer(receiving, child)
    finally:
        os.close(receiving)
    return _decoded(answer, path)


def _answer(path: str, uid: int, limit: int) -> bytes:
    """What the child has to say: "=" content, "!" reason, or the number of an error."""
    try:
        return b"=" + read_trusted(path, uid, limit)
    except Untrusted as error:
        return b"!" + str(error).encode()
    except OSError as error:
        return b"%d" % (error.errno or errno.EIO)


def _decoded(answer: bytes, path: str) -> bytes:
    if answer[:1] == b"=":
        return answer[1:]
    if answer[:1] == b"!":
        raise Untrusted(answer[1:].decode())
    code = int(answer) if answer.isdigit() else errno.EIO  # silence: the child died
    raise OSError(code, os.strerror(code), path)


def _write_all(out: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(out, rest) :]


def _read_answer(receiving: int, child: int) -> bytes:
    import select  # the runner has it loaded anyway

    parts: list[bytes] = []
    poll = select.poll()
    poll.register(receiving, select.POLLIN)
    while poll.poll(READ_TIME * 1000):
        part = os.read(receiving, 65536)
        if not part:
            os.waitpid(child, 0)
            return b"".join(parts)
        parts.append(part)
    os.kill(child, 9)
    os.waitpid(child, os.WNOHANG)  # one that hangs in the kernel is not waited for
    return b"%d" % errno.ETIMEDOUT


def read_trusted(path: str, uid: int, limit: int) -> bytes:
    """read_as() in this process: *path* must be *uid*'s or root's and safe all the way from /."""
    owners = (0, uid) if os.geteuid() == 0 else (0, uid, os.geteuid())
    # DIFFERS from the plain rule "no links": people keep a .forward that points into a directory
    # of theirs, and Sendmail follows it. The way to where it points is walked as strictly.
    try:
        file = _open_walking(os.path.realpath(path, strict=True), owners)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # links in a circle; a socket
            raise Untrusted("Regular files only") from error
        raise
    try:
        _check_file(os.fstat(file), owners, limit)
        return _read_up_to(file, limit)
    finally:
        os.close(file)


def _open_walking(path: str, owners: tuple[int, ...]) -> int:
    directory = walk(os.path.dirname(path), owners)
    try:
        # Nonblocking: a fifo must not make us wait. No link: the path was resolved a moment ago.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(os.path.basename(path), flags, dir_fd=directory)
    finally:
        os.close(directory)


def _check_file(found: os.stat_result, owners: tuple[int, ...], limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Untrusted("Regular files only")
    reason = why_untrusted(found, owners)
    if reason:
        raise Untrusted(f"{reason} file" if reason.endswith("writable") else reason)
    if found.st_size > limit:
        raise Untrusted(f"Larger than {limit} octets")


def _read_up_to(file: int, limit: int) -> bytes:
    text = b""
    while len(text) <= limit:
        part = os.read(file, limit + 1 - len(text))
        if not part:
            return text
        text += part
    raise Untrusted(f"Larger than {limit} octets")


def walk(directory: str, owners: tuple[int, ...]) -> int:
    """Open an absolute *directory* step by step from /; the caller closes the descriptor.

    Raise Untrusted if one of the steps does not belong to *owners* or others may write there (a
    sticky directory is safe: nobody can replace what is not his); OSError as open(2).
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open("/", flags)
    try:
        for name in directory.split("/"):
            if not name:
                continue
            # O_PATH: a directory that we may pass but not list is enough.
            below = os.open(name, flags | os.O_PATH, dir_fd=here)
            os.close(here)
            here = below
            found = os.fstat(here)
            reason = why_untrusted(found, owners)
            if reason and not (found.st_mode & stat.S_ISVTX and reason.endswith("writable")):
                raise Untrusted(f"{reason} directory" if reason.endswith("writable") else reason)
    except BaseException:
        os.close(here)
        raise
    return here


def why_untrusted(found: os.stat_result, owners: tuple[int, ...]) -> str:
    """Sendmail's words for what is wrong with who owns it and who may write it;  if nothing.

    Without root our own primary group counts as ourselves: a checkout under umask 002.
    """
    if found.st_uid not in owners:
        return "Wrong owner"
    private = os.geteuid() != 0 and found.st_gid == os.getegid()
    if found.st_mode & stat.S_IWGRP and not private:
        return "Group writable"
    return "World writable" if found.st_mode & stat.S_IWOTH else ""
