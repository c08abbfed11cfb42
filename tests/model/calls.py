"""What each call of a program does to a World; the same for all programs.

A call gives the process as it is afterwards; None: the process gives up, and lets go of everything;
WAIT: it cannot be made now. What cannot happen by the rules is a Violation.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.model.disk import EMPTY, TORN, WHOLE, Control, Mailbox
from tests.model.programs import Step
from tests.model.world import EVERYBODY, SENDER, Process, Violation, World, path

#: half of a write: what a kill in the middle leaves
TEAR = "tear"
_LOCK_THEN_LOOK = ("take", "take from quarantine", "adopt", "take back", "remove")
Call = Callable[[World, Process, Step], Process | None]


class Wait(Exception):
    """Another process has the lock that this one waits for."""


def lock(world: World, process: Process, step: Step) -> Process | None:
    """flock, without waiting; a mailbox is waited for."""
    if step.files == ("mailbox",):
        if any(other.has_mailbox for other in world.others):
            raise Wait
        return process._replace(has_mailbox=True)
    number = _open_file(process, step.files[0])
    if any(number in other.locks for other in world.others):
        return None
    return process._replace(locks=(*process.locks, number))


def open_(world: World, process: Process, step: Step) -> Process | None:
    """open of what is there."""
    (file,) = step.files
    if file == "mailbox":
        return process
    number = world.names.get(path(process, file), 0)
    is_data = file.endswith("df") and not process.program.startswith("sweep")
    if not number:
        return _aside(process) if is_data else None
    if not is_data:
        return process._replace(control=number)
    # A size that is not as recorded is seen; other octets of the right number are not.
    return process._replace(data=number) if world.seen(number) != EMPTY else _aside(process)


def look(world: World, process: Process, step: Step) -> Process | None:
    """Is it still the file that was opened, are these names free?"""
    file = step.files[0]
    if file == "mailbox" and not process.has_mailbox:
        return process._replace(program=_way_to(world.mailbox))
    if file == "mailbox" or file.startswith("new/") or process.made:
        return process
    free = step.files if _is_sweep(process) else step.files[1:]
    if any(path(process, one) in world.names for one in free):
        return None
    if _is_sweep(process):
        return process
    if process.program in _LOCK_THEN_LOOK and not file.endswith("df"):
        return process if world.names.get(path(process, file)) == process.control else None
    return process


def _way_to(mailbox: Mailbox) -> str:
    if not mailbox.exists:
        return "to a new mailbox"
    has_text = mailbox.copies or mailbox.torn or mailbox.has_others
    return "to a mailbox" if has_text else "to an empty mailbox"


def read(world: World, process: Process, step: Step) -> Process | None:
    """Read the control file, strictly."""
    found = world.seen(process.control)
    if not isinstance(found, Control):
        return _aside(process)
    return process._replace(left=found)


def _aside(process: Process) -> Process:
    return process._replace(program="put aside", at=-1)


def create(world: World, process: Process, step: Step) -> Process | None:
    """open with O_CREAT | O_EXCL."""
    (file,) = step.files
    if file == "mailbox":
        if world.mailbox.exists:  # another runner was faster
            return process._replace(program="to a mailbox", at=-1)
        world.mailbox = world.mailbox._replace(exists=True, is_named=False)
        return process
    name = path(process, file)
    if name in world.names:
        if file != "tf":
            raise Violation(f"{name} is there")
        world.change((name, 0))  # of a writer that died: a living one would have the lock
    number = world.new_inode()
    world.change((name, number))
    is_data = file.endswith("df")
    return process._replace(new_data=number) if is_data else process._replace(new=number)


def tear(world: World, process: Process, step: Step) -> Process | None:
    """The first half of a write."""
    if step.files != ("mailbox",):
        world.write(_open_file(process, step.files[0]), TORN)
        return process
    _may_deliver(world, process)
    if not world.mailbox.exists:
        raise Violation("there is no mailbox to write to")
    if world.mailbox.torn:
        raise Violation("appended behind a torn piece")
    world.fly(process.taken, process.recipient, process.recipient)
    world.mailbox = world.mailbox._replace(torn=True)
    return process


def write(world: World, process: Process, step: Step) -> Process | None:
    """A write, as a whole."""
    (file,) = step.files
    if file == "mailbox":
        box = world.mailbox
        world.mailbox = box._replace(torn=False, copies=box.copies + 1)
        return process
    text = process.left if file == "tf" else process.text
    world.write(_open_file(process, file), WHOLE if file.endswith("df") else text)
    return process


def cut(world: World, process: Process, step: Step) -> Process | None:
    """ftruncate of a piece that is ours."""
    world.mailbox = world.mailbox._replace(torn=False)
    return process


def fsync(world: World, process: Process, step: Step) -> Process | None:
    """Of a file, or of the names in a directory."""
    (file,) = step.files
    box = world.mailbox
    if file == "mailbox":
        world.mailbox = box._replace(durable=box.copies, torn_durable=box.torn)
    elif file == "mail":
        world.mailbox = box._replace(is_named=True)
    elif file.endswith("directory"):
        is_client = file.startswith("client") or (_is_sweep(process) and process.taken[0] == "c")
        world.sync_names("c" if is_client else "m")
        return process._replace(is_unsynced=False)
    else:
        world.sync(_open_file(process, file))
        if file == "client/qf":  # the journal
            world.sync_names("c")
    return process


def syncfs(world: World, process: Process, step: Step) -> Process | None:
    """All files; of names it is not expected."""
    world.sync_all()
    return process


def rename(world: World, process: Process, step: Step) -> Process | None:
    """Give a file another name, at once."""
    old, new = (path(process, file) for file in step.files)
    number = world.inode(old)
    world.change((old, 0), (new, number))
    if step.files == ("hf", "qf"):
        world.held = False
    if step.files == ("tf", "qf"):
        world.record(process.taken, process.left.recipients)
        return process._replace(is_unsynced=process.program == "record")
    if process.then == "adopted":
        world.fly(process.taken, EVERYBODY, EVERYBODY)
    elif process.then == "reported":
        for recipient in process.failed:
            world.fly(process.taken, recipient, SENDER)
    return process


def unlink(world: World, process: Process, step: Step) -> Process | None:
    """Remove a name, if it is there."""
    (file,) = step.files
    name = path(process, file)
    if name in world.names:
        world.change((name, 0))
    if file.endswith("qf"):
        world.record(process.taken, ())
    if process.who == "person":
        world.removed = True
    return process


def close(world: World, process: Process, step: Step) -> Process | None:
    """Close a file, and with it its locks."""
    if step.files == ("mailbox",):
        return process._replace(has_mailbox=False)
    _is_recorded(process)
    old = process.control
    kept = tuple(number for number in process.locks if number != old)
    if process.program in ("record", "defer"):  # the lock moves to the new file
        return process._replace(control=process.new, new=0, locks=kept)
    if (
        process.program == "release"
        and step.call == "unlock"
        and process.who == "runner"
        and not process.left.held
    ):
        world.delays = max(0, world.delays - 1)
    return process._replace(control=0, data=0, locks=kept)


def act(world: World, process: Process, step: Step) -> Process | None:
    """Another host has said 250, a program has ended with 0."""
    _may_deliver(world, process)
    world.act(process.taken, process.recipient)
    return process


def reply(world: World, process: Process, step: Step) -> Process | None:
    """250, or exit code 0."""
    world.acknowledged = True
    return process


def nothing(world: World, process: Process, step: Step) -> Process | None:
    """Of no consequence for what the model knows."""
    return process


def _may_deliver(world: World, process: Process) -> None:
    if world.seen(process.data) != WHOLE:
        raise Violation("a torn message is delivered")
    if world.held:
        raise Violation("a message in quarantine is delivered")
    _is_recorded(process)


def _is_recorded(process: Process) -> None:
    """One act at most may be repeated: the next one, and the end, come after the record."""
    if process.is_unsynced and process.program != "record":
        raise Violation("the record is not durable")


def _open_file(process: Process, file: str) -> int:
    """The inode behind an open file of the process."""
    kind = file.rpartition("/")[2]
    if process.program.startswith(("accept", "submit")):
        number = process.new_data if kind == "df" else process.new
    else:
        number = process.new if kind == "tf" and not _is_sweep(process) else process.control
    if not number:
        raise Violation(f"{file} is not open")
    return number


def _is_sweep(process: Process) -> bool:
    return process.program.startswith("sweep")


CALLS: dict[str, Call] = {
    "open": open_,
    "create": create,
    "lock": lock,
    "unlock": close,
    "look": look,
    "read": read,
    TEAR: tear,
    "write": write,
    "cut": cut,
    "utime": nothing,
    "fsync": fsync,
    "syncfs": syncfs,
    "rename": rename,
    "unlink": unlink,
    "close": close,
    "act": act,
    "answer": nothing,
    "reply": reply,
}
