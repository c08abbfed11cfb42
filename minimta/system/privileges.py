"""Run code with a user's privileges: drop them for good, or fork a child that has.

A listener or a remote worker drops root for good and checks that root cannot be had back. What
touches a user's property runs in a child that has become the user: the kernel then answers what the
user may do, and no race can turn root's rights against anybody. Without root there is nothing to
drop, and it runs in this process; but a program always has a child, beside which others go on.

The child answers through a pipe:

    8 octets          length of what follows, big endian
    "=" OCTETS        what the act returned
    "!" TEXT          Untrusted: why a file is not trusted
    NUMBER NUL TEXT NUL FILE    OSError: errno, text and file name

A shorter answer, or none in time, is an OSError: whether the act was done is not known then.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager

from minimta.system import files, processes
from minimta.system.safedirpath import STRICT, Allowance, TrustedFile, read_trusted
from minimta.system.safefile import Untrusted
from minimta.system.users import User, Users, groups_of
from minimta.system.waiting import Wait, returned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options

#: seconds that a child may take to read one file (a dead NFS server)
READ_TIME = 20
#: seconds for which what did not answer in time is not asked again by this process
_SILENCE = 300.0
#: seconds that a child may take to exit when it has answered, and to die when it was killed
_PATIENCE = 2.0
#: killed children that hang in the kernel (a dead NFS server); a later call reaps them
_lingering: list[int] = []
#: (uid, where) -> monotonic seconds until which nobody is asked there
_silent: dict[tuple[int, str], float] = {}


def become(name: str, *, with_groups: bool = False) -> None:
    """Make this process the system's user *name* for good, without supplementary groups.

    *with_groups* keeps those that the administrator gave to it: sockets of others may be theirs.

    Call it before any thread starts. Does nothing without root, and for "", which keeps root: only
    a mount namespace with a root of its own wants that. Raise OSError if there is no such user, or
    if root could be had back.
    """
    if os.geteuid() != 0 or not name:
        return
    user = Users().find(os.fsencode(name))
    if user is None:
        raise OSError(errno.ENOENT, f"no such user: {name} (option RunAsUser)")
    groups = os.getgrouplist(user.name, user.gid) if with_groups else []
    drop(user.uid, user.gid, [group for group in groups if group != user.gid])


def why_not_become(name: str) -> str:
    """Why become() could not, or should not, be called with *name* (RunAsUser); "" if it could."""
    if os.geteuid() != 0 or not name:
        return ""
    user = Users().find(os.fsencode(name))
    if user is None:
        return "no such user"
    return "" if user.uid else "is root; leave the option empty to keep root"


def drop(uid: int, gid: int, groups: list[int]) -> None:
    """Give up root for *uid*, *gid* and the supplementary *groups*.

    Raise OSError if root could be had back.
    """
    # The order matters: only root may set groups, so the user comes last. All three ids, for the
    # saved one would let us, or whoever takes us over, return.
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    try:
        os.setuid(0)
    except PermissionError:
        if os.getresuid() == (uid,) * 3 and os.getresgid() == (gid,) * 3:
            return
    raise OSError(errno.EPERM, f"could not give up root for uid {uid}")


def why_not_as(user: User, options: Options) -> str:
    """Why nothing that *user* wants is done in their name here; "" if it may be.

    Without root it would be done with our rights: with OneUser what others want waits.
    """
    if options.one_user and user.uid != os.geteuid():
        name = user.name or str(user.uid)
        return f"nothing is done as {name} on a system with one user (option OneUser)"
    return ""


def read_as(user: User, path: str, limit: int, allowed: Allowance = STRICT) -> TrustedFile:
    """Read the file *path* with the rights of *user*, at most *limit* octets.

    Raise FileNotFoundError if there is none, Untrusted if others could have modified it or it is
    not a regular file, and OSError, with *path*, for what may pass (EACCES, EIO, ESTALE, a server
    that hangs).
    """

    def act() -> bytes:
        found = read_trusted(path, user.uid, limit, allowed)
        return b"%d %d %d\n%b" % (found.uid, found.gid, found.safe, found.text)

    try:
        where = os.path.dirname(path)
        head, _, text = as_user(user, act, READ_TIME, where=where).partition(b"\n")
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    uid, gid, safe = map(int, head.split())
    return TrustedFile(path, text, uid, gid, bool(safe))


def as_user(
    user: User,
    act: Callable[[], bytes],
    seconds: float,
    kept: Collection[int] = (),
    *,
    where: str = "",
) -> bytes:
    """What *act* returns in a child that has become *user* and has only *kept* descriptors.

    Its ids and groups are those of *user*, the umask 077, the directory /, the session its own.
    What it raises, Untrusted or OSError (errno, text and file), is raised here; any other end of
    the child is an OSError, ETIMEDOUT after *seconds*: then it and what it started are killed, and
    whether the act was done is not known. If *where* names a directory the user is not asked there
    again for a while: a dead server costs one message that time, not each. Without root, and for the
    user root, *act* runs in this process and without a time limit.
    Forks: only for single-threaded processes, which the runner and its children are.
    """
    if os.geteuid() != 0 or user.uid == 0:
        return act()
    if not where:
        return _ask(lambda: _as(user, act), seconds, kept)
    key = (user.uid, where)
    if time.monotonic() < _silent.get(key, 0.0):
        raise OSError(errno.ETIMEDOUT, "no answer a moment ago")
    try:
        return _ask(lambda: _as(user, act), seconds, kept)
    except OSError as error:
        if error.errno == errno.ETIMEDOUT:
            _silent[key] = time.monotonic() + _SILENCE
        raise


def in_child(act: Callable[[], bytes], seconds: float, kept: Collection[int] = ()) -> bytes:
    """What *act* returns in a child with our rights, whose memory nobody else can read or dump.

    What it learns beyond its answer is gone with it: a secret, or what a parser made of a file.
    Raises as as_user() does. Forks.
    """

    def hidden() -> bytes:
        from minimta.system import memory

        os.setsid()
        os.chdir("/")
        memory.hide()
        return act()

    return _ask(hidden, seconds, kept)


def as_user_beside(
    user: User, act: Callable[[], bytes], seconds: float, kept: Collection[int]
) -> Generator[Wait, None, bytes]:
    """As as_user(), in steps, so that others go on meanwhile: see ``waiting``.

    The caller holds signals back until the answer is recorded, by held_signals(). Without root, and
    for the user root, *act* has a child all the same, with our rights.
    """

    def as_we_are() -> bytes:
        os.setsid()
        return act()

    drops = os.geteuid() == 0 and user.uid != 0
    asked = (lambda: _as(user, act)) if drops else as_we_are
    return _decoded((yield from _ask_child(asked, seconds, kept)))


def _ask(act: Callable[[], bytes], seconds: float, kept: Collection[int]) -> bytes:
    # A signal that ends us is delivered when the answer is here: a delivery that was made and is
    # not recorded would be made again.
    with held_signals():
        return _decoded(returned(_ask_child(act, seconds, kept)))


@contextmanager
def held_signals() -> Iterator[Callable[[], bool]]:
    """Signals that end us wait meanwhile, for who records what users answer: has one come?"""
    import signal

    ending = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield lambda: not signal.sigpending().isdisjoint(ending)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


def _ask_child(
    act: Callable[[], bytes], seconds: float, kept: Collection[int]
) -> Generator[Wait, None, bytes]:
    _lingering[:] = [child for child in _lingering if not processes.has_ended(child, 0)]
    receiving, sending = os.pipe()
    try:
        child = processes.fork("child of a user", lambda: _be_child(act, sending, kept))
    except OSError:
        os.close(receiving)
        raise
    finally:
        os.close(sending)
    patience = 0.0
    try:
        answer = yield from _read_answer(receiving, seconds)
        patience = _PATIENCE
        return answer
    finally:
        os.close(receiving)
        _end(child, patience)


def _be_child(act: Callable[[], bytes], sending: int, kept: Collection[int]) -> int:
    processes.isolate({sending, *kept})
    try:
        files.write_all(sending, _answer(act))
    except BrokenPipeError:
        pass  # the parent has given us up
    return os.EX_OK


def _as(user: User, act: Callable[[], bytes]) -> bytes:
    """Become *user*, in this process, and act."""
    os.setsid()  # no terminal ends it half-way, and its group can be killed as one
    os.umask(0o077)
    os.chdir("/")
    drop(user.uid, user.gid, groups_of(user))
    return act()


def _answer(act: Callable[[], bytes]) -> bytes:
    try:
        answer = b"=" + act()
    except Untrusted as error:
        answer = b"!" + os.fsencode(str(error))
    except OSError as error:
        code, text = error.errno or errno.EIO, error.strerror or str(error)
        answer = os.fsencode(f"{code}\0{text}\0{_shown(error.filename)}")
    except Exception as error:  # a bug: "KeyError: 'x'" says more than that the child died
        answer = os.fsencode(f"{errno.EIO}\0{type(error).__name__}: {error}\0")
    return len(answer).to_bytes(8, "big") + answer


def _shown(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else ""


def _decoded(answer: bytes) -> bytes:
    if answer[:1] == b"=":
        return answer[1:]
    if answer[:1] == b"!":
        raise Untrusted(os.fsdecode(answer[1:]))
    code, text, name = os.fsdecode(answer).split("\0", 2)
    raise OSError(int(code), text, name or None)


def _read_answer(receiving: int, seconds: float) -> Generator[Wait, None, bytes]:
    """The whole answer. Raise OSError if there is none after *seconds*, or never will be.

    The time is for all of it: an act that drips octets must not hold us up either.
    """
    import select

    end = time.monotonic() + seconds
    poll = select.poll()
    poll.register(receiving, select.POLLIN)
    answer = bytearray()
    while len(answer) < 8 + int.from_bytes(answer[:8], "big"):
        yield Wait([receiving], end - time.monotonic())
        if not poll.poll(0):
            if time.monotonic() < end:
                continue
            raise OSError(errno.ETIMEDOUT, f"no answer within {seconds:g} seconds")
        part = os.read(receiving, 1 << 16)
        if not part:
            raise OSError(errno.EIO, "the process that acts for the user died")
        answer += part
    return bytes(answer[8:])


def _end(child: int, patience: float) -> None:
    """See *child* gone: by itself within *patience* seconds, or killed with its process group."""
    if patience and processes.has_ended(child, patience):
        return
    processes.kill_session(child)
    if not processes.has_ended(child, _PATIENCE):
        _lingering.append(child)
