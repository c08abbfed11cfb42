"""Who may relay by an address that is not theirs: the open relay by mistake.

A proxy of this host (Docker's userland proxy, rootless networks, a load balancer) brings strangers'
connections from the address of a gateway or of loopback. If that address may relay, everybody may.
"""

from __future__ import annotations

from collections.abc import Iterator

from minimta.admin.doctor import ports
from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown, warning
from minimta.listener.access import AccessRows
from minimta.listener.relay_domains import RelayDomains
from minimta.maps.table import Table
from minimta.system import log

#: files of container engines, within containers
_IN_CONTAINER = ("/.dockerenv", "/run/.containerenv")
_PROXIES = ("docker-proxy", "rootlesskit", "slirp4netns", "pasta", "haproxy")


def gateways(patient: Patient) -> Iterator[Diagnosis]:
    """Gateways that RelayDomains or the access table let relay; loopback behind a proxy."""
    options = patient.options
    public = [
        port for port in options.daemon_ports if ports.is_public(port.address) and not port.proxies
    ]
    if not public:
        yield ok("relaying", "only this host can connect")
        return
    bad = 0
    try:
        for address in sorted(patient.gateways()):
            where = _relays(patient, address)
            if where:
                bad += 1
                text = f"a gateway of this host, may relay ({where}): so may everybody who is brought by a proxy behind it"
                yield fault(
                    address,
                    text,
                    f"take it out of {where}; a client that must relay logs in, or HAProxy=",
                )
    except (OSError, ValueError) as error:
        yield unknown("relaying", log.clean(str(error), 200))
    proxy = _proxy(patient)
    if proxy and options.trust_loopback:
        bad += 1
        text = f"{proxy}, and clients with the address 127.0.0.1 may relay: strangers may come from there"
        yield warning("TrustLoopback", text, f"TrustLoopback = False in {patient.path}")
    if not bad:
        yield ok("relaying", "no gateway may")


def _relays(patient: Patient, address: str) -> str:
    """The file by which *address* may relay, "" if by none. Raise OSError, ValueError."""
    options = patient.options
    if RelayDomains(options.relay_domains).covers_client(address, "", confirmed=False):
        return options.relay_domains
    table = Table(options.access_file, lambda *unused: None)
    rows = AccessRows(table.rows(), options.access_file)
    if options.access_file and rows.may_relay(address, "", confirmed=False):
        return options.access_file
    return ""


def _proxy(patient: Patient) -> str:
    """What brings strangers' connections here, for people; "" if nothing is known to."""
    for path in _IN_CONTAINER:
        if patient.below(path).exists():
            return "this is a container"
    try:
        processes = [one for one in patient.below("/proc").iterdir() if one.name.isdigit()]
    except OSError:
        return ""
    wanted = {str(port.port) for port in patient.options.daemon_ports}
    for process in processes:
        try:
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        name = words[0].rpartition("/")[2]
        if name in _PROXIES and (name != "docker-proxy" or wanted & set(words)):
            return f"{name} runs"
    return ""
