"""Does port 25 lead out? Many clouds and home networks drop what goes there.

Nobody is bothered for it who is not written to anyway: what deliveries found out counts (QueueDirectory.hosts),
and a host for which something waits is tried once. With a SmartHost nothing is asked.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, ok, outside, unknown
from minimta.mailers.remote import host_status
from minimta.message import address
from minimta.queue import directories
from minimta.routing.local_host import LocalHost
from minimta.system import log
from minimta.system.dns_wire import LookupFailed

#: hosts that are tried, messages that are looked at, seconds for one host and for its name
_HOSTS, _MESSAGES, _SECONDS = 2, 20, 4.0
_REMEDY = "SmartHost = [smtp.example.org]:587, with a login in authinfo (minimta setup)"
#: not "network is unreachable", which a host without IPv6 has for half of the world
_SILENT = (errno.ETIMEDOUT, errno.EHOSTUNREACH)


def port_25(patient: Patient) -> Iterator[Diagnosis]:
    """Are hosts reached there?"""
    if patient.options.smart_host:
        return
    silent, reached = set[str](), set[str]()
    for host in _known_hosts(patient, silent, reached):
        _try(patient, host, silent, reached)
    if reached:
        yield ok("port 25 outwards", f"{sorted(reached)[0]} is reached")
    elif silent:
        names = log.clean(", ".join(sorted(silent)[:3]))
        text = f"no host is reached ({names}): the network seems to block it, as many clouds do"
        yield outside("port 25 outwards", text, _REMEDY)


def _known_hosts(patient: Patient, silent: set[str], reached: set[str]) -> list[str]:
    """Hosts to try, of what waits; fills in what deliveries found out."""
    options = patient.options
    path = host_status.directory_of(options) or host_status.beside(options.queue_directory)
    for found, _ in host_status.listed(path):
        if ":" not in found.host:  # another port
            if not found.error:
                reached.add(found.host)
            elif found.error in _SILENT:
                silent.add(found.host)
    return [] if reached else _of_waiting(patient)


def _of_waiting(patient: Patient) -> list[str]:
    here = LocalHost(patient.options)
    options = patient.options
    try:
        names = directories.oldest(directories.names(options), _MESSAGES)
        waiting = [
            one
            for found in directories.listed(options, only=names)
            for one, _, _ in found.recipients
        ]
        domains = {
            address.split(address.bare(one))[1]
            for one in waiting
            if not here.is_local(address.bare(one))
        }
    except OSError:
        return []
    hosts: list[str] = []
    for domain in sorted(domains - {b""})[:_HOSTS]:
        name = domain.decode("ascii", "replace")
        try:
            found = patient.resolver(_SECONDS).mail_exchangers(name)
        except LookupFailed:
            continue
        hosts += [host for _, host in found[:1]] or [name]
    return hosts[:_HOSTS]


def _try(patient: Patient, host: str, silent: set[str], reached: set[str]) -> None:
    try:
        found = patient.resolver(_SECONDS).addresses(host)
    except LookupFailed:
        return
    ways = [one for one in found if patient.source("inet6" if ":" in one else "inet")]
    for one in ways[-1:]:  # IPv4 comes last, and is what is blocked
        try:
            patient.connect(one, 25, _SECONDS)
            reached.add(host)
        except ConnectionRefusedError:
            reached.add(host)  # the way there is open
        except OSError as error:
            if isinstance(error, TimeoutError) or error.errno in _SILENT:
                silent.add(host)


def no_network(patient: Patient) -> Iterator[Diagnosis]:
    """Told once, instead of by each that looks outside."""
    if not patient.source("inet") and not patient.source("inet6"):
        yield unknown("network", "this host has none: nothing outside was looked at")
