"""Which file and line sends a recipient there: alias, .forward, list, table, option.

    list: alias, /etc/aliases line 3
      x@far.example: next host far.example (mailer esmtp)

It is told as it is now: the message may have gone by what stood there before. Name servers are not
asked; where they lead, ``minimta trace ADDRESS`` tells.
"""

from __future__ import annotations

import os
import re

from minimta.admin.trace_report import TraceReport
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.mailers.remote.mx_targets import Target
from minimta.mailers.remote.route_preview import RoutePreview, RoutePreviewer
from minimta.maps import text_table
from minimta.message import address
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate
from minimta.routing.destination import Node
from minimta.routing.expand import explain
from minimta.routing.local_host import LocalHost
from minimta.system import files, log

#: how a to= line names the controlling user: "<list> (1/0)", "emma@lab1.campus (1001/1001)"
_CONTROLLING = re.compile(r"(.*?)(?: \(\d+/\d+\))?")
_ROW = re.compile(r"row (\S+) of (/\S+?)(?=[ );,]|$)")
_MOST = 1 << 20
#: lines of one way; a list of thousands of members is no story
_LINES = 30


class _NextHopOnly(RoutePreviewer):
    """Asks nobody: the next hop is where it goes."""

    def preview(self, next_hop: str, *, option: str) -> RoutePreview:
        """See RoutePreviewer."""
        return RoutePreview([Target(next_hop, next_hop, 25)], [])


class Ways:
    """Looks up how addresses of this host lead to others."""

    def __init__(self, options: Options, path: str = config_file.DEFAULT_FILE) -> None:
        """*path* is the configuration file. Raise OSError for the tables."""
        self._here = LocalHost(options, asks_as_root=os.geteuid() != 0)
        self._here.read_tables()
        self._options = options
        self._path = path
        self._told: set[bytes] = set()

    def to(self, recipient: bytes, controlling: str = "") -> list[str]:
        """What leads to *recipient*, as the log or the queue names it; *controlling* is its ctladdr."""
        wanted = address.bare(recipient.strip(b'"'))
        for start in self._starts(wanted, controlling):
            if start in self._told:
                return []
            nodes = explain([Recipient(start)], self._here)
            if start != wanted and not any(_leads_to(node, wanted) for node in nodes):
                continue
            self._told.add(start)
            report = TraceReport(self._here, _NextHopOnly(self._options))
            for node in nodes:
                report.tell(node)
            if _is_worth_telling(report, nodes):
                return report.lines[:_LINES]
        return []

    def _starts(self, wanted: bytes, controlling: str) -> list[bytes]:
        match = _CONTROLLING.fullmatch(controlling)
        named = address.bare(os.fsencode(match[1])) if match and match[1] else b""
        starts = [named] if named and named != wanted else []
        special = address.why_special(wanted)
        return starts if special else [*starts, wanted]

    def of_host(self, recipient: bytes) -> str:
        """What chooses the next hop of another domain: a row of the mailer table, or SmartHost; "" if DNS."""
        domain = address.split(address.bare(recipient))[1]
        if not domain or self._here.router.is_local(domain):
            return ""
        key, value = self._here.router.row(domain)
        table = self._options.mailer_table
        if value is not None:
            return f"{log.clean(table)}: {log.clean(key)} {log.clean(value)}"
        if not self._options.smart_host:
            return ""
        line = self.line_of("SmartHost")
        where = f"{log.clean(self._path)} line {line}: " if line else ""
        return f"{where}SmartHost = {log.clean(self._options.smart_host)}"

    def line_of(self, option: str) -> int:
        """The line of the configuration file that sets *option*, 0 if none is seen."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return 0
        try:
            lines = files.read_to_limit(file, _MOST).decode("utf-8", "replace").split("\n")
        except OSError:
            return 0
        finally:
            os.close(file)
        pattern = re.compile(rf"\s*(?:O\s+)?{option}\s*=", re.IGNORECASE)
        found = [number for number, line in enumerate(lines, 1) if pattern.match(line)]
        return found[-1] if found else 0


def row_named(stat: str) -> str:
    """Where the row of a table stands that *stat* names ("row lab2.campus of /etc/mail/tls-policy")."""
    match = _ROW.search(stat)
    number = text_table.line_of(match[2], os.fsencode(match[1].lower())) if match else 0
    return f"{match[2]} line {number}" if match and number else ""


def _leads_to(node: Node, wanted: bytes) -> bool:
    names = {
        bytes(node.target).strip(b'"'),
        address.bare(node.recipient.address),
        node.target.value,
    }
    return wanted in names or any(_leads_to(child, wanted) for child in node.children)


def _is_worth_telling(report: TraceReport, nodes: list[Node]) -> bool:
    """Is there a file and a line in it, or a refusal? That somebody is a user explains nothing."""
    steps = any(node.children or node.alias is not None or node.refused for node in nodes)
    return steps or Fate.FAILED in report.fates or Fate.DEFERRED in report.fates
