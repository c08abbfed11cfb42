"""What this host calls itself, and whether others can do with it."""

from __future__ import annotations

from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, warning
from minimta.config.options import Options
from minimta.system import files, hostnames, log

#: what stands behind the last dot of names that no name server outside knows (special-use domain names)
_PRIVATE = (
    "local", "localdomain", "localhost", "lan", "home", "internal", "intranet", "private", "corp",
    "invalid", "arpa",
)  # fmt: skip


def host_name(patient: Patient) -> Iterator[Diagnosis]:
    """$j: the name in EHLO, in Message-Id, and in senders that are not rewritten."""
    options = patient.options
    try:
        name = log.clean(hostnames.own_name(options))
    except OSError as error:
        where = error.filename or "the name of this host"
        yield fault(str(where), error.strerror or str(error), f"HostName in {patient.path}")
        return
    if name.lower() == "localhost" or name.lower().startswith("localhost."):
        text = "this host is called localhost, and so is every other one"
        yield fault(name, text, f"hostnamectl set-hostname, or HostName in {patient.path}")
    elif "." not in name:
        text = "this host's name has no domain: others refuse it, and nobody can answer"
        full = _mailname(patient) or f"{name}.example.org"
        yield warning(name, text, f"HostName = {full} in {patient.path}")
    elif name.rpartition(".")[2].lower() in _PRIVATE and not is_rewritten(options):
        text = f"no name server outside knows this host's name, so that nobody can answer to root@{name}"
        yield warning(name, text, "minimta setup, or MasqueradeAs = example.org")
    else:
        yield ok(name, "is this host's name, in EHLO, too")


def _mailname(patient: Patient) -> str:
    """A full name that Debian's other programs use already, "" if there is none."""
    try:
        words = patient.text("/etc/mailname").split()
    except OSError:
        words = []
    return log.clean(words[0]) if words and "." in words[0] else ""


def is_rewritten(options: Options) -> bool:
    """Do senders of this host get other addresses on their way out?"""
    return bool(options.masquerade_as) or files.may_exist(
        options.generics_table, f"{options.generics_table}.cdb"
    )


def mailname(patient: Patient) -> Iterator[Diagnosis]:
    """/etc/mailname, with which Debian's programs complete addresses themselves."""
    try:
        words = patient.text("/etc/mailname").split()
        name = hostnames.own_name(patient.options)
        known = {one.decode("utf-8", "replace") for one in hostnames.local_names(patient.options)}
    except OSError as error:
        yield fault(str(error.filename), error.strerror or str(error), "chmod a+r")
        return
    if not words:
        yield ok("/etc/mailname", "is not there, and need not be")
        return
    said = log.clean(words[0].lower().removesuffix("."))
    if "." not in name:
        yield ok("/etc/mailname", f"says {said}; this host's own name is what is wrong")
    elif "." not in said:
        remedy = f"echo {name} > /etc/mailname"
        yield warning(
            "/etc/mailname", f"{said} has no domain; programs send as root@{said}", remedy
        )
    elif (
        said in known
        or said == patient.options.masquerade_as.lower()
        or name.lower().endswith(f".{said}")
    ):
        yield ok("/etc/mailname", f"says {said}")
    else:
        text = f"{said} is no name of this host, {name}, and programs send as root@{said}"
        remedy = f"echo {name} > /etc/mailname, or {said} in {patient.options.local_host_names}"
        yield warning("/etc/mailname", text, remedy)
