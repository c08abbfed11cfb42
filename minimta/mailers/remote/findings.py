"""What workers find out beside the outcomes: checked, and kept for the next ones, by their parent.

    a worker tells of            kept
    a host, reached or not       host_status, so many of one worker
    a policy of MTA-STS          sts_cache, of its own next hops alone: a host that took a worker over
                                 could else write the policies of others
    how TLS came out             tls_results, of its own next hops

What breaks a rule is a BadLine, and the end of the worker.
"""

from __future__ import annotations

from collections.abc import Sequence

from minimta.config.options import Options
from minimta.mailers.remote.channel import WorkerProcess
from minimta.mailers.remote.host_status import HostMemory
from minimta.mailers.remote.lines import HostLine, ResultLine, StsLine
from minimta.mailers.remote.protocol import BadLine
from minimta.mailers.remote.sts_cache import StsCache
from minimta.mailers.remote.tls_policy import TlsPolicies
from minimta.mailers.remote.tls_results import TlsResults
from minimta.system import log
from minimta.system.https import HttpsClient
from minimta.system.tls_values import TlsError, Trust


class Findings:
    """The directories, as one attempt sees them; None: that is not kept."""

    def __init__(
        self,
        options: Options,
        hosts: HostMemory | None = None,
        sts: StsCache | None = None,
        results: TlsResults | None = None,
    ) -> None:
        """*hosts*, *sts* and *results* are where it is kept."""
        self._options = options
        self.hosts = hosts
        self.sts = sts
        self._results = results

    def open(self) -> None:
        """Open the directories, for this process and the workers that are forked now."""
        for directory in (self.hosts, self.sts, self._results):
            if directory is not None:
                directory.open()

    def close(self) -> None:
        """Let go of them until the next open(); a process that keeps connections has many attempts."""
        for directory in (self.hosts, self.sts, self._results):
            if directory is not None:
                directory.close()

    def https(self, hosts: Sequence[str], policies: TlsPolicies) -> HttpsClient | None:
        """How policies of MTA-STS are fetched, if one of the next hops *hosts* could have one."""
        options = self._options
        is_wanted = options.mta_sts or policies.mention("sts")
        if self.sts is None or not is_wanted or all(host[:1] == "[" for host in hosts):
            return None
        try:
            trust = Trust(options.ca_cert_file, options.ca_cert_path)
            return HttpsClient(trust, options.https_proxy)
        except TlsError as error:
            log.line("", f"MTA-STS: no policy can be fetched: {log.clean(error.reason)}")
            return None

    def take(self, child: WorkerProcess, line: HostLine | StsLine | ResultLine) -> None:
        """Keep what *child* has found. Raise BadLine if it cannot have found that."""
        if isinstance(line, HostLine):
            child.hosts_left -= 1
            if self.hosts is not None and child.hosts_left >= 0:
                self.hosts.note(line.found)
        elif line.domain not in child.domains:
            raise BadLine("of a domain that is no next hop of its own")
        elif isinstance(line, ResultLine):
            self._take_result(child, line)
        else:
            self._take_policy(child, line)

    def _take_result(self, child: WorkerProcess, line: ResultLine) -> None:
        child.results_left -= 1
        if self._results is not None and child.results_left >= 0:
            self._results.note(line)

    def _take_policy(self, child: WorkerProcess, line: StsLine) -> None:
        try:
            policy = line.policy()
        except ValueError as error:
            raise BadLine("no policy") from error
        child.policies_left -= 1
        if self.sts is None or child.policies_left < 0:
            return
        if line.result:
            host = f"mta-sts.{line.domain}"
            self._take_result(child, ResultLine(line.domain, "sts", host, line.result))
        told = (
            f"mode={policy.mode}, max_age={policy.max_age}" if policy else f"error: {line.trouble}"
        )
        log.line("", f"MTA-STS: domain={line.domain}, id={line.id}, {told}")
        self.sts.note(line.domain, line.id, policy)
