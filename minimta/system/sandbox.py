"""What a process that talks with strangers may still do, after it has become RunAsUser.

    always           no new privileges, no core file, no debugger of the same user
    with Landlock    files: reads what its Needs name, and the system; makes files only where they say
                     programs: starts none
    from ABI 4 on    TCP: connects to no port but those that they name, binds none
    from ABI 6 on    signals, abstract sockets: none of others

Rules are for directories: a table, a data base of users is replaced by rename, and a rule for a file
would be one for the file that is gone. What user and mode forbid stays forbidden.

A rule that cannot be made is told, and what it was to allow is forbidden; where the kernel has no
Landlock that is told, and the rest holds. The runner must never be confined: its children are users'
programs. Nobody can leave a sandbox: it is for children, and before their first thread.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minimta.config.options import Options
from minimta.system import landlock, memory

# fmt: off
#: what libc and Python read: libraries, tables, zones, kernel; and where name services keep theirs.
#: What a system does not have is left out.
_SYSTEM = (
    "/etc", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store", "/proc",
    "/run/systemd", "/run/nscd", "/var/lib/sss", "/var/lib/extrausers", "/var/lib/misc", "/var/db",
    "/var/lib/ca-certificates", "/var/lib/unbound",
)
#: often links to somewhere else
_LINKS = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/passwd", "/etc/nsswitch.conf", "/etc/localtime",
    "/etc/ssl/certs/ca-certificates.crt", "/etc/aliases",
)
#: name services (nsswitch.conf(5)) that read files of _SYSTEM, and ask by sockets of this host or DNS
_PLAIN_SERVICES = (
    "files", "compat", "db", "systemd", "sss", "winbind", "extrausers", "dns", "resolve",
    "myhostname", "mymachines", "wins", "mdns", "mdns4", "mdns6", "mdns_minimal", "mdns4_minimal",
    "mdns6_minimal", "libvirt", "libvirt_guest",
)
# fmt: on
_READ = landlock.READ_FILE | landlock.READ_DIRECTORY
_FILL = landlock.WRITE_FILE | landlock.REMOVE_FILE | landlock.MAKE_FILE
DNS_PORT = 53
_SERVICES = "/etc/nsswitch.conf"
#: inode and time of that file when this process was confined, None: it is not
_services: tuple[int, int] | None = None
#: path that is read -> the directory where it was then, and whether that was there
_places: dict[str, tuple[str, bool]] = {}


@dataclass(frozen=True, slots=True)
class Needs:
    """What a process must be able to do beside what all can."""

    #: files and directories that it reads, absolute: their directories, and those that links lead to
    reads: tuple[str, ...] = ()
    #: open directories, of which it reads what is below
    opened: tuple[int, ...] = ()
    #: directories in which it makes, writes, renames and removes files
    fills: tuple[str, ...] = ()
    #: does it read them, too, and cut them short?
    reads_back: bool = False
    #: TCP ports that it connects to, None: any
    connects: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Confined:
    """What is in force."""

    #: one line for people
    text: str
    #: what went wrong, a line each
    problems: tuple[str, ...] = ()


def of_client(options: Options, opened: tuple[int, ...] = ()) -> Needs:
    """The needs of a process that connects to other hosts, and writes nothing.

    It reads what is below the directories *opened*.
    """
    return Needs(reads=(options.ca_cert_path, options.ca_cert_file), opened=opened)


def available(options: Options) -> str:
    """What enter() would bring here, one line."""
    if not options.sandbox:
        return "off (option Sandbox)"
    try:
        return _told(landlock.abi())
    except OSError as error:
        return _without(error)


def enter(options: Options, needs: Needs) -> Confined:
    """Confine this process, which has one thread and has become who it will be. Raises nothing."""
    problems: list[str] = []
    # What a core file or a debugger shows are other people's letters and passwords.
    for act in (memory.hide, landlock.forbid_new_privileges):
        try:
            act()
        except OSError as error:
            problems.append(str(error.strerror))
    if not options.sandbox:
        return Confined("off (option Sandbox)", tuple(problems))
    try:
        version = landlock.abi()
        _note_services()
        _places.update({path: _place(path) for path in (*_LINKS, *needs.reads) if path})
        strange = _strange_services()
        _restrict(min(version, landlock.NEWEST), needs, problems, anything=bool(strange))
    except OSError as error:
        return Confined(_without(error), tuple(problems))
    loose = f"; for name service {strange} all files are read, all TCP ports connected to"
    return Confined(_told(version) + (loose if strange else ""), tuple(problems))


def _told(version: int) -> str:
    parts = ["files, programs"]
    if version >= landlock.NETWORK:
        parts.append("TCP")
    if version >= landlock.SCOPED:
        parts.append("signals")
    return f"Landlock ABI {version}: {', '.join(parts)}"


def _without(error: OSError) -> str:
    return f"no Landlock ({error.strerror}): only user and modes"


def _restrict(version: int, needs: Needs, problems: list[str], *, anything: bool) -> None:
    """Make the rules and enforce them; *problems* get what is wrong with single ones. Raise OSError.

    With *anything* all may be read, and all ports connected to.
    """
    ports = None if anything else needs.connects
    rules = landlock.Ruleset(version, landlock.BIND | (0 if ports is None else landlock.CONNECT))
    try:
        problems += _rules_for_files(rules, needs, everything=anything)
        for port in ports or ():
            rules.allow_port(port, landlock.CONNECT)
        if needs.connects is None:
            rules.allow_port(0, landlock.BIND)  # ClientPortOptions
        rules.enforce()
    finally:
        rules.close()


def _rules_for_files(rules: landlock.Ruleset, needs: Needs, *, everything: bool) -> list[str]:
    """Allow what is needed; returns what cannot be allowed."""
    system = ["/"] if everything else [*_SYSTEM, *_installation(), *_directories(_LINKS)]
    fill = _FILL | (landlock.READ_FILE | landlock.TRUNCATE if needs.reads_back else 0)
    wanted = [(path, _READ) for path in (*system, *_directories(needs.reads))]
    wanted += [(path, fill) for path in needs.fills]
    wanted.append((os.devnull, landlock.READ_FILE | landlock.WRITE_FILE))
    problems = []
    for directory in needs.opened:
        rules.allow_open(directory, _READ)
    for path, rights in dict.fromkeys(wanted):
        try:
            rules.allow(path, rights)
        except FileNotFoundError as error:
            if not _is_below(path, system):
                problems.append(f"{path}: {error.strerror}")
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    return problems


def _is_below(path: str, directories: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(f"{one.rstrip('/')}/") for one in directories)


def _installation() -> list[str]:
    """Where Python and our packages are: what is imported later, and the lines of a traceback."""
    names = ("minimta", "dns", "filelock", "dkim")
    packages = [sys.modules[name] for name in names if name in sys.modules]
    return [
        os.path.dirname(os.__file__),
        *(os.path.dirname(package.__file__) for package in packages if package.__file__),
    ]


def _directories(paths: Iterable[str]) -> Iterator[str]:
    """The directories in which to look for *paths*, as they stand and behind links."""
    for path in paths:
        if path.startswith("/"):
            for one in (path, os.path.realpath(path)):
                yield one if os.path.isdir(one) else os.path.dirname(one)


def _stamp_of_services() -> tuple[int, int]:
    try:
        found = os.stat(_SERVICES)
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)


def _note_services() -> None:
    global _services
    _services = _stamp_of_services()


def is_outdated() -> bool:
    """Has this process been confined for other name services than there are now?

    libc reads nsswitch.conf again when it changes, and new services may find nothing.
    """
    return _services is not None and _services != _stamp_of_services()


def _place(path: str) -> tuple[str, bool]:
    directory = os.path.dirname(os.path.realpath(path))
    return directory, os.path.isdir(directory)


def is_elsewhere() -> bool:
    """Does a link lead to another directory than when this process was confined, or is one new?

    The rules are for what was there, and what is read is forbidden now: /etc/resolv.conf, if that
    becomes a link into /run, or a table below a link that was changed.
    """
    return any(_place(path) != place for path, place in _places.items())


def remedy(error: OSError) -> str:
    """What helps if it is a rule that forbids *error*, to stand behind it in the log; else "".

    A rule is for the directory that was there, and for where its links led then.
    """
    is_confined = _services is not None and error.errno == errno.EACCES
    return " (if a link or directory there is new, it counts in a moment)" if is_confined else ""


def _strange_services() -> str:
    """Services of nsswitch.conf that read and ask we do not know what, "" if there are none.

    A user whom they cannot find would be "unknown", and their mail returned.
    """
    try:
        with open(_SERVICES, encoding="utf-8", errors="replace") as file:
            lines = [line.partition("#")[0] for line in file]
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or errno.errorcode.get(error.errno or 0, "")
    found: list[str] = []
    for line in lines:
        database, _, services = line.partition(":")
        if database.strip() in ("passwd", "group", "initgroups", "hosts"):
            found += re.sub(r"\[[^\]]*\]?", " ", services).split()
    return ", ".join(dict.fromkeys(word for word in found if word not in _PLAIN_SERVICES))
