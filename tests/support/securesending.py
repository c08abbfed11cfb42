"""A message sent to a peer with a certificate, and what came of it.

sent = Sent(at(server), row="verify", trust=campus.authority.certificate)
sent.outcome, sent.verify, in_clear(server)

Tests that use it are marked ``debian("openssl")``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.lines import Line, StsLine
from minimta.mailers.remote.mx_targets import NextHop, Ourselves
from minimta.mailers.remote.sts_cache import StsCache
from minimta.mailers.remote.tls_policy import Policy, TlsPolicies
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Outcome
from minimta.system.dns import Resolver
from minimta.system.https import HttpsClient
from minimta.system.tls import TlsClient
from minimta.system.tls_values import KeyPair, TlsFacts, Trust
from tests.support.certificates import Authority, self_signed
from tests.support.fakedns import FakeDns, Zone
from tests.support.fakesmtp import SECURED, FakeSmtp
from tests.support.jobs import job, options

NAME = "localhost"
TABLE = "/etc/mail/tls-policy"


class Campus:
    """An authority, and certificates of all sorts for localhost."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.good = self.authority.issue(NAME, "127.0.0.1")
        self.expired = self.authority.issue(NAME, days=-1)
        self.other = self.authority.issue("mx.other.campus")
        self.own = self_signed(directory, NAME)
        self.stranger = Authority(directory, "stranger").issue(NAME)


class _LoggingIn(TlsPolicies):
    """There are credentials for every next hop."""

    def policy(self, hop: NextHop, *, logs_in: bool = False) -> Policy:
        return super().policy(hop, logs_in=True)


class Sent:
    """One message to a next hop, and what came of it."""

    def __init__(
        self,
        *hosts: str,
        row: str = "",
        trust: str = "",
        own: KeyPair | None = None,
        configured: Options | None = None,
        zone: Zone | None = None,
        jobs: int = 1,
        logs_in: bool = False,
        requires_tls: bool = False,
        signed: Collection[str] = (),
        sts: StsCache | None = None,
        https: HttpsClient | None = None,
    ) -> None:
        """*row* is that of all next hops, *trust* a file of authorities, *signed* see FakeDns."""
        #: what else was told; policies are noted in *sts*, as the parent does it
        self.told: list[Line] = []
        self._sts = sts
        self.tls: list[tuple[str, TlsFacts]] = []
        self.logged: list[str] = []
        self.said: list[str] = []
        self.outcomes: list[Outcome] = []
        host = ",".join(hosts)
        table = {b".": row.encode()} if row else {}
        policies = TlsPolicies(table, TABLE)
        if logs_in:
            policies = _LoggingIn(table, TABLE)
        ourselves = Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset({"127.0.0.1"}))
        client = TlsClient(Trust(trust), own)
        self.transport = Transport(
            configured or options(),
            ourselves,
            tls=client,
            policies=policies,
            sts=sts,
            https=https,
        )
        with FakeDns(zone or {}, signed=signed) as server:
            Delivery(
                [replace(job(host), requires_tls=requires_tls) for _ in range(jobs)],
                self.transport,
                self._report,
                say=self.said.append,
                tell_tls=lambda relay, facts: self.tls.append((relay, facts)),
                log=self.logged.append,
                tell=self._tell,
                resolver=Resolver(nameserver=server.address, hosts="/nonexistent"),
            ).run()

    def _tell(self, line: Line) -> None:
        self.told.append(line)
        if isinstance(line, StsLine) and self._sts is not None:
            self._sts.note(line.domain, line.id, line.policy())

    def _report(self, one: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        self.outcomes += outcomes.values()

    @property
    def outcome(self) -> Outcome:
        assert len(self.outcomes) == 1
        return self.outcomes[0]

    @property
    def verify(self) -> str:
        ((_, facts),) = self.tls
        return facts.verify


def at(server: FakeSmtp, name: str = NAME) -> str:
    return f"[{name}]:{server.port}"


def in_clear(server: FakeSmtp) -> list[str]:
    """What of the messages was said outside of TLS."""
    lines = [line for told in server.commands if SECURED not in told for line in told]
    return [line for line in lines if line.split(" ")[0] in ("MAIL", "RCPT", "DATA", "AUTH")]
