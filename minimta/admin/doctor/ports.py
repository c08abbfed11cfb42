"""Who listens where we are to listen, from /proc: us, or which process of which package.

/proc/net/tcp has a line for each socket, with its inode; /proc/PID/fd/N leads to "socket:[INODE]".
Whose descriptors are not ours only root can see.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from minimta.admin.checkout import HOME
from minimta.admin.doctor import service_commands
from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown
from minimta.admin.install import other_mta
from minimta.config.ports import Port
from minimta.system import log, pidfile

_LISTEN = "0A"
_ANY = ("0.0.0.0", "::")


class Listening(NamedTuple):
    """A socket that takes connections."""

    address: str
    port: int
    inode: str


class Holder(NamedTuple):
    """The process that has it."""

    pid: int
    #: of its executable, or "" if that cannot be seen
    program: str
    words: tuple[str, ...]


def ports(patient: Patient) -> Iterator[Diagnosis]:
    """Each port of DaemonPortOptions."""
    try:
        there = listening(patient)
    except OSError as error:
        yield unknown("ports", f"{error.filename}: {error.strerror}")
        return
    wanted = {port.port: port for port in patient.options.daemon_ports if port.port}
    for number, port in sorted(wanted.items()):
        yield from _of_port(patient, port, [one for one in there if one.port == number])


def _of_port(patient: Patient, port: Port, there: list[Listening]) -> Iterator[Diagnosis]:
    subject = f"port {port.port}"
    if not there:
        yield _closed(patient, subject, port)
        return
    holders = [holder(patient, one.inode) for one in there]
    known = [one for one in holders if one is not None]
    strangers = [one for one in known if not is_ours(patient, one)]
    if strangers:
        yield _held(patient, subject, strangers[0])
    elif not known:
        yield unknown(subject, "is open; only root can tell by whom")
    else:
        yield ok(subject, f"is held by minimta (pid {known[0].pid})")


def _held(patient: Patient, subject: str, one: Holder) -> Diagnosis:
    """Only a mail system is proposed to be removed: python3 may be what holds the port."""
    script = next((word for word in one.words[1:] if word[:1] == "/"), "")
    what = script if script and _is_interpreter(one.program) else one.program
    package = package_of(patient, what) if what == script or not _is_interpreter(what) else ""
    whose = f" of the package {package}" if package else ""
    name = os.path.basename(what) or log.clean(one.words[0] if one.words else "?")
    text = f"is held by {log.clean(name)} (pid {one.pid}){whose}, not by minimta"
    restart = service_commands.restart(patient)
    if package and is_mail_system(patient, package):
        return fault(subject, text, f"apt remove {package}, then {restart}")
    named = f" (systemctl status {one.pid} names its service)" if patient.has_systemd else ""
    return fault(subject, text, f"stop it{named}, or kill {one.pid}, then {restart}")


def _is_interpreter(program: str) -> bool:
    name = os.path.basename(program).rstrip("0123456789.")
    return name in (
        "python",
        "perl",
        "ruby",
        "node",
        "java",
        "sh",
        "bash",
        "dash",
        "php",
        "busybox",
    )


def _closed(patient: Patient, subject: str, port: Port) -> Diagnosis:
    """A host that only sends need not listen: it matters if there was a daemon."""
    try:
        pid = patient.text(patient.options.pid_file).partition("\n")[0].strip()
    except OSError:
        pid = ""
    if not pid.isdigit():
        return ok(subject, "nobody listens there, and no daemon was started")
    pid_file, proc = map(str, map(patient.below, (patient.options.pid_file, "/proc")))
    if pidfile.daemon(pid_file, proc):
        text = f"nobody listens there ({port.name}), though the daemon runs (pid {pid})"
        return fault(
            subject,
            text,
            f"the log says why: {service_commands.log_of_daemon(patient)}",
        )
    text = f"nobody listens there ({port.name}): the daemon (pid {pid}) has died; mail by SMTP is not taken"
    return fault(subject, text, service_commands.start(patient))


def listening(patient: Patient) -> list[Listening]:
    """All sockets that take connections by TCP. Raise OSError."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in patient.text(f"/proc/net/{name}").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                found.append(Listening(_address(address), int(port, 16), fields[9]))
    return found


def _address(digits: str) -> str:
    """ "0100007F" is 127.0.0.1: words of four octets, as this machine keeps them."""
    words = [bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8)]
    family = socket.AF_INET6 if len(words) == 4 else socket.AF_INET
    return socket.inet_ntop(family, b"".join(words))


def holder(patient: Patient, inode: str) -> Holder | None:
    """Who has the socket; None if that cannot be seen. Of several processes the oldest."""
    wanted = f"socket:[{inode}]"
    for process in sorted(_processes(patient), key=lambda one: int(one.name)):
        try:
            links = [os.readlink(file) for file in (process / "fd").iterdir()]
        except OSError:
            continue
        if wanted in links:
            return Holder(int(process.name), _program(process), _words(process))
    return None


def _processes(patient: Patient) -> list[Path]:
    try:
        return [one for one in patient.below("/proc").iterdir() if one.name.isdigit()]
    except OSError:
        return []


def _program(process: Path) -> str:
    try:
        return os.readlink(process / "exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def _words(process: Path) -> tuple[str, ...]:
    try:
        text = (process / "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(word.decode("utf-8", "replace") for word in text.split(b"\0") if word)


def is_ours(patient: Patient, one: Holder) -> bool:
    """Is it minimta, or systemd, which keeps the ports for it (minimta.socket)?"""
    if one.pid == 1 and os.path.basename(one.program) == "systemd":
        return True
    ours = {"/usr/sbin/sendmail", "/usr/lib/sendmail", os.path.join(HOME, "bin", "sendmail")}
    is_python = os.path.basename(one.program).startswith("python")
    # A script has the interpreter's options in front of its name.
    return is_python and any(
        word in ours or word.startswith("sendmail: ") for word in one.words[:6]
    )


def package_of(patient: Patient, program: str) -> str:
    """Debian's package of a program, "" if dpkg knows of none."""
    for path in (program, program.removeprefix("/usr")):
        if path:
            try:
                return patient.run(["dpkg", "--search", path]).partition(":")[0].strip()
            except OSError:
                continue
    return ""


def is_mail_system(patient: Patient, package: str) -> bool:
    """Does Debian's *package* provide mail-transport-agent?"""
    try:
        said = patient.run(["dpkg-query", "--show", "--showformat=${Provides}", package])
    except OSError:
        return False
    return other_mta.VIRTUAL in said


def is_public(address: str) -> bool:
    """Can other hosts connect there?"""
    return address in _ANY or not (address.startswith("127.") or address == "::1")
