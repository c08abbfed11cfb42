"""The table of examinations: what ``minimta check`` looks at beside the configuration.

name        of --json and of what took too long
examine     Patient -> Diagnoses
root        can only root tell? Others are told so once, for all of them
outside     does it ask name servers or other hosts? Not with --offline
seconds     it may take; then it is unknown
"""

from __future__ import annotations

from typing import NamedTuple

from minimta.admin.doctor import (
    alerts,
    aliases,
    certificate,
    clock,
    gateways,
    log_place,
    modes,
    name_servers,
    names,
    other_systems,
    outwards,
    ports,
    refusals,
    runner,
    safety,
    smart_host,
    space,
)
from minimta.admin.doctor.patient import Examine


class Examination(NamedTuple):
    """A row."""

    name: str
    examine: Examine
    root: bool = False
    outside: bool = False
    seconds: float = 10.0


TABLE = (
    Examination("host name", names.host_name),
    Examination("mailname", names.mailname),
    Examination("aliases", aliases.aliases),
    Examination("queues", modes.queues),
    Examination("mailboxes", modes.mailboxes),
    Examination("tables", modes.tables),
    Examination("secrets", modes.secrets),
    Examination("program", modes.program),
    Examination("options", safety.safety),
    Examination("relaying", gateways.gateways),
    Examination("ports", ports.ports),
    Examination("runner", runner.runner),
    Examination("service", runner.service),
    Examination("waiting", runner.left_over),
    Examination("log", log_place.log_place),
    Examination("space", space.space),
    Examination("clock", clock.clock),
    Examination("certificate", certificate.own_certificate),
    Examination("other systems", other_systems.other_systems),
    Examination("alerts", alerts.alerts),
    Examination("logins", refusals.logins, root=True),
    Examination("refused", refusals.waiting, root=True),
    Examination("hosts", refusals.hosts, root=True),
    Examination("returned", refusals.returned),
    Examination("network", outwards.no_network, outside=True),
    Examination("name forward", name_servers.forward, outside=True),
    Examination("name backward", name_servers.backward, outside=True),
    Examination("exchangers", name_servers.exchangers, outside=True, seconds=12.0),
    Examination("port 25", outwards.port_25, outside=True, seconds=12.0),
    Examination("smart host", smart_host.smart_hosts, outside=True, seconds=13.0),
)
