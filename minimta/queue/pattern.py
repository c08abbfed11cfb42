"""Which directories a QueueDirectory means, and the names of messages in several of them.

    /var/spool/mqueue       that directory: nothing is looked for
    /var/spool/mqueue/q*    every directory, or link to one, in /var/spool/mqueue whose name begins with "q"

A message is called by its *name*: its queue id, and if there may be several directories "q1/ID"; two that
have the same id are two messages.
"""

from __future__ import annotations

import errno
import os
import stat

from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options


class NoQueueDirectory(FileNotFoundError):
    """A pattern means no directory."""

    def __init__(self, pattern: str) -> None:
        """*pattern* is QueueDirectory."""
        # DIFFERS: Sendmail then uses the directory that they would be in.
        text = f"there is no such directory; mkdir -m 1730 {pattern[:-1]}1, and see minimta check"
        super().__init__(errno.ENOENT, text, pattern)


def paths(options: Options) -> list[str]:
    """The queue directories, in order. Raise OSError, NoQueueDirectory."""
    if not options.has_queue_group:
        return [options.queue_directory]
    base = os.open(options.queue_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = names_in(base, options.queue_pattern)
    finally:
        os.close(base)
    return [os.path.join(options.queue_directory, name) for name in found]


def names_in(base: int, pattern: str) -> list[str]:
    """The names of the directories in the open directory *base* that *pattern* means, in order.

    Raise OSError, NoQueueDirectory.
    """
    prefix = os.path.basename(pattern.removesuffix("*"))
    names = [name for name in os.listdir(base) if name.startswith(prefix) and _can_be_named(name)]
    # DIFFERS: Sendmail takes a link to one of them for another directory, whose messages it lists, and tries, twice.
    found: dict[object, str] = {}
    for name in sorted(names):
        if (directory := _directory(base, name)) is not None:
            found.setdefault(directory, name)
    if not found:
        raise NoQueueDirectory(pattern)
    return list(found.values())


def _can_be_named(name: str) -> bool:
    """Names of messages go through a pipe and into the log, and end where a blank is."""
    # DIFFERS: Sendmail takes a name with blanks or control characters.
    return name.isascii() and name.isprintable() and " " not in name


def _directory(base: int, name: str) -> object:
    """Which directory has that *name*: its device and inode; None if it is the name of none."""
    try:
        found = os.stat(name, dir_fd=base)
    except OSError as error:
        # A link that leads nowhere is none. What we may not look at, or a broken disk, may be one: who opens
        # it is told what is wrong.
        return None if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) else name
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def broken(path: str, error: OSError) -> str:
    """What the log says of the queue directory *path*, which is passed over."""
    return (
        f"SYSERR(root): {log.clean(path)}: {error.strerror or error}; the other directories go on"
    )


def of_message(name: str) -> tuple[str, str]:
    """(directory, queue id) in the *name* of a message; the directory is "" if there is but one."""
    directory, _, qid = name.rpartition("/")
    return directory, qid


def path_of(options: Options, name: str) -> str:
    """The path of the directory with the message of this *name*."""
    return os.path.join(options.queue_directory, of_message(name)[0]).rstrip("/")
