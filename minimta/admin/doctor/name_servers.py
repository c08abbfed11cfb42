"""DNS in both directions: our name, the address that we are seen with, who takes mail for our names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, ok, outside, unknown, warning
from minimta.system import files, hostnames, log
from minimta.system.dns_wire import LookupFailed

#: seconds for all questions about one name
_SECONDS = 4.0
#: names that are asked about
_MOST = 5


def forward(patient: Patient) -> Iterator[Diagnosis]:
    """Does our name lead to an address?"""
    name = _own_name(patient)
    if "." not in name or not (patient.source("inet") or patient.source("inet6")):
        return  # "host name" and "network" tell
    try:
        found = patient.resolver(_SECONDS).addresses(name)
    except LookupFailed as failure:
        if failure.temporary:
            remedy = "look at /etc/resolv.conf, and whether port 53 is open outwards"
            text = f"no name server tells of {name} ({failure.reason})"
            yield outside("name servers", text, remedy)
        else:
            yield _needed(patient, name, "has no address in DNS; many hosts refuse mail from it",
                          f"an A record for it, or HostName in {patient.path}")  # fmt: skip
        return
    yield ok(name, f"leads to {', '.join(found[:4])}")


def _needed(patient: Patient, subject: str, text: str, remedy: str) -> Diagnosis:
    """What only hosts care for that get mail directly."""
    if patient.options.smart_host:
        return ok(subject, f"{text}; by SmartHost that does not matter")
    return warning(subject, text, remedy)


def backward(patient: Patient) -> Iterator[Diagnosis]:
    """Has the address that others see us with a name that leads back to it?"""
    for family in ("inet", "inet6"):
        address = patient.source(family)
        if not address:
            continue
        if not ipaddress.ip_address(address).is_global:
            text = "is a private address; with which one others see this host is not known"
            yield ok(address, text) if patient.options.smart_host else unknown(address, text)
            continue
        yield from _backward(patient, address)


def _backward(patient: Patient, address: str) -> Iterator[Diagnosis]:
    try:
        names = patient.names_of(address, _SECONDS)
        if not names:
            text = "has no name (PTR): Google, Microsoft and others refuse mail from it"
            remedy = "have it set to this host's name where you rent it, or use a SmartHost"
            yield _needed(patient, address, text, remedy)
            return
        name = log.clean(names[0])
        if address not in patient.resolver(_SECONDS).addresses(names[0]):
            text = f"has the name {name}, which does not lead back to it"
            yield _needed(patient, address, text, f"an address record of {name}")
            return
    except LookupFailed as failure:
        yield unknown(address, f"no name server tells its name ({failure.reason})")
        return
    yield ok(address, f"is {name}, both ways")


def exchangers(patient: Patient) -> Iterator[Diagnosis]:
    """Who takes the mail of the domains in LocalHostNames: this host thinks that it does."""
    try:
        words = files.words(patient.options.local_host_names)
        ours = {patient.source("inet"), patient.source("inet6"), *patient.own_addresses()} - {""}
        names = hostnames.local_names(patient.options)
    except FileNotFoundError:
        return
    except OSError as error:
        yield unknown(str(error.filename), error.strerror or str(error))
        return
    domains = [word.decode("ascii", "replace").lower() for word in words]
    for domain in list(filter(_has_exchangers, domains))[:_MOST]:
        yield from _exchanger(patient, domain, ours, names)


def _has_exchangers(domain: str) -> bool:
    """No literal, and no name that every host has for itself, as Postfix and Red Hat list it."""
    return "." in domain and not domain.startswith(("[", "localhost."))


def _exchanger(
    patient: Patient, domain: str, ours: set[str], names: frozenset[bytes]
) -> Iterator[Diagnosis]:
    shown = log.clean(domain)
    resolver = patient.resolver(_SECONDS)
    try:
        hosts = [host for _, host in resolver.mail_exchangers(domain)] or [domain]
    except LookupFailed as failure:
        if failure.temporary:
            yield unknown(shown, f"no name server tells who takes its mail ({failure.reason})")
        else:
            yield warning(
                shown,
                "no host takes its mail, as far as DNS says",
                "an MX record with this host's name",
            )
        return
    is_ours = any(host.encode("ascii", "replace") in names for host in hosts)
    try:
        is_ours = is_ours or any(ours & set(resolver.addresses(host)) for host in hosts[:_MOST])
    except LookupFailed:
        is_ours = False
    if is_ours:
        yield ok(shown, "its mail comes here")
        return
    text = f"others send its mail to {log.clean(hosts[0])}, and mail of this host for it stays here"
    file = patient.options.local_host_names
    yield warning(shown, text, f"take it out of {file}, or correct the MX record")


def _own_name(patient: Patient) -> str:
    try:
        return hostnames.own_name(patient.options)
    except OSError:
        return ""
