"""Doing things with no more than a user's rights: whom this process becomes, and children that are he.

Rights are given up for good and seen to be gone (threats T42). What touches a user's property runs
in a child that has become the user; without root there is nothing to give up, and it runs here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from itertools import pairwise

from minimta.trust import Untrusted, read_trusted
from minimta.users import User, Users, groups_of

#: seconds that a child may take to read one file (a dead NFS server)
READ_TIME = 60


def become(name: str) -> None:
    """Make this process the system's user *name* for good, without supplementary groups.

    Before any thread starts. Without root there is nothing to give up; "" keeps root, which only a
    private root wants. Raise OSError if there is no such user, or if root could be had back.
    """
    if os.geteuid() != 0 or not name:
        return
    user = Users().find(os.fsencode(name))
    if user is None:
        raise OSError(errno.ENOENT, f"no such user: {name} (option RunAsUser)")
    drop(user.uid, user.gid, [])


def drop(uid: int, gid: int, groups: list[int]) -> None:
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


def isolate(kept: Collection[int]) -> None:
    """Take from a forked child what came with the fork: signal handlers and masks, descriptors.

    Of the descriptors only *kept* stay open; 0, 1 and 2 become /dev/null (threats T39).
    """
    import signal

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _close_all_but(set(kept))


def _close_all_but(kept: set[int]) -> None:
    """Close what is not *kept*: locks of the queue, the user's terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard not in kept:
            os.dup2(null, standard)
    limits = [2, *sorted(fd for fd in kept if fd > 2), os.sysconf("SC_OPEN_MAX")]
    for low, high in pairwise(limits):
        os.closerange(low + 1, high)


def read_as(user: User, path: str, limit: int) -> bytes:
    """The content of *path*, read with the rights of *user*, at most *limit* octets.

    Raise FileNotFoundError if there is none, Untrusted if others could have written it or it is no
    plain file, and OSError for whatever may pass (EACCES, EIO, ESTALE, a server that hangs).
    """
    return as_user(user, lambda: read_trusted(path, user.uid, limit), READ_TIME)


def as_user(
    user: User, act: Callable[[], bytes], seconds: float, kept: Collection[int] = ()
) -> bytes:
    """What *act* returns in a child that has become *user* and has only *kept* descriptors.

    What it raises, Untrusted or OSError, is raised here; any other end of the child is an OSError,
    ETIMEDOUT after *seconds*. Without root, and for root himself, *act* runs in this process.
    Forks: only for single-threaded processes, which the runner and its children are.
    """
    if os.geteuid() != 0 or user.uid == 0:
        return act()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            isolate({sending, *kept})
            os.umask(0o077)
            drop(user.uid, user.gid, groups_of(user))
            _write_all(sending, _answer(act))
        finally:
            os._exit(0)
    os.close(sending)
    try:
        answer = _read_answer(receiving, child, seconds)
    finally:
        os.close(receiving)
    return _decoded(answer)


def _answer(act: Callable[[], bytes]) -> bytes:
    """What the child has to say: "=" content, "!" reason, or number and file of an error."""
    try:
        return b"=" + act()
    except Untrusted as error:
        return b"!" + str(error).encode()
    except OSError as error:
        return b"%d %b" % (error.errno or errno.EIO, os.fsencode(str(error.filename or "")))


def _decoded(answer: bytes) -> bytes:
    if answer[:1] == b"=":
        return answer[1:]
    if answer[:1] == b"!":
        raise Untrusted(answer[1:].decode())
    number, _, name = answer.partition(b" ")
    code = int(number) if number.isdigit() else errno.EIO  # silence: the child died
    raise OSError(code, os.strerror(code), os.fsdecode(name) or None)


def _write_all(out: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(out, rest) :]


def _read_answer(receiving: int, child: int, seconds: float) -> bytes:
    import select

    parts: list[bytes] = []
    poll = select.poll()
    poll.register(receiving, select.POLLIN)
    while poll.poll(seconds * 1000):
        part = os.read(receiving, 65536)
        if not part:
            os.waitpid(child, 0)
            return b"".join(parts)
        parts.append(part)
    os.kill(child, 9)
    os.waitpid(child, os.WNOHANG)  # one that hangs in the kernel is not waited for
    return b"%d" % errno.ETIMEDOUT
