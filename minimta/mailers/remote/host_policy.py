"""What TLS one host of a next hop must have: the table's row, and without one what DNS says of it.

    TLSPolicy says     then
    nothing            DANE (option DANE); the domain's policy (option MTASTS); else may
    dane               DANE, whatever the option says; else may
    dane-only          only hosts with TLSA records that count
    sts                the domain's policy, whatever the option says; else may
    anything else      that, and nobody else is asked

    the domain's policy of MTA-STS    its hosts
    enforce                           only those that it names; a certificate for the host's name from a
                                      known authority, if DANE does not say which certificate
    testing, none                     as without it

A policy never lowers what DANE asks. Who logs in at the next hop wants its name in the certificate
("verify") instead of "may"; without a row neither is asked there.
What the access table wants of the host comes on top of that (``tls_rules``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from minimta.mailers.remote import dane, reply_outcomes, sts_policy
from minimta.mailers.remote.dane import DaneRecords
from minimta.mailers.remote.lines import Line
from minimta.mailers.remote.mx_targets import NextHop, Target
from minimta.mailers.remote.sts_lookup import StsLookup
from minimta.mailers.remote.sts_policy import StsPolicy
from minimta.mailers.remote.tls_policy import Level, Policy, Reported
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Outcome
from minimta.system.dns import Resolver
from minimta.system.dns_wire import LookupFailed


class NotTrusted(Exception):
    """The host is not used now; ``outcome`` says why."""

    def __init__(
        self, outcome: Outcome, reported: Reported | None = None, result: str = ""
    ) -> None:
        """*result* is the reason in the words of RFC 8460, for whom *reported* is about."""
        super().__init__(outcome.text)
        self.outcome = outcome
        self.reported = reported
        self.result = result


class HostPolicies:
    """For the hosts of one worker's next hops."""

    def __init__(
        self, transport: Transport, resolver: Resolver, tell: Callable[[Line], None]
    ) -> None:
        """*tell* gets what was fetched."""
        self._transport = transport
        self._resolver = resolver
        self._sts = StsLookup(transport.sts, transport.https, resolver, tell)

    def policy(self, hop: NextHop | None, target: Target) -> Policy:
        """What there must be with *target*, to which *hop* led. Raise NotTrusted."""
        found = self._before_access(hop, target)
        if hop is None or self._transport.tls is None:
            return found
        name = target.name.removesuffix(".")
        try:
            return self._transport.rules.applied(found, name, target.address)
        except ValueError as error:  # a row that makes no sense
            raise NotTrusted(reply_outcomes.bad_next_hop(str(error))) from error

    def _before_access(self, hop: NextHop | None, target: Target) -> Policy:
        row = self._transport.policy(hop, target.address)
        if hop is None or not (row.is_default or row.level in _ASKING):
            return row
        policy = _without_dns(row, hop)
        if row.level in (Level.DANE, Level.DANE_ONLY) or self._is_on(row, "dane"):
            policy = self._by_dane(row, hop, target)
        if row.level is Level.STS or self._is_on(row, "mta_sts"):
            return self._by_sts(policy, hop, target)
        return policy

    def _is_on(self, row: Policy, option: str) -> bool:
        return row.is_default and bool(getattr(self._transport.options, option))

    def _by_sts(self, policy: Policy, hop: NextHop, target: Target) -> Policy:
        """What the policy of the domain adds. Raise NotTrusted."""
        domain = hop.name.lower()
        # Who was named in brackets, or by a short name, is no domain that could have one.
        found = None if hop.bracketed or "." not in domain else self._sts.policy(domain)
        if found is None or found.mode == "none":
            return policy
        if policy.level is Level.MAY:
            tested = found if found.mode == "testing" else None
            lines = tuple(sts_policy.written(found).decode("ascii").splitlines())
            policy = replace(policy, reported=Reported("sts", lines, tested=tested))
        return policy if found.mode == "testing" else self._enforced(found, domain, policy, target)

    def _enforced(self, found: StsPolicy, domain: str, policy: Policy, target: Target) -> Policy:
        host = target.name.removesuffix(".").lower()
        if not found.names(host):
            text = f"MTA-STS: {host} is none of the hosts in the policy of {domain}"
            outcome = self._refused(f"{text}; nothing was sent", target)
            raise NotTrusted(outcome, policy.reported, "validation-failure")
        if policy.level in (Level.DANE, Level.VERIFY):
            return policy
        origin = f"the MTA-STS policy of {domain}"
        return replace(policy, level=Level.VERIFY, names=(host,), origin=origin)

    def _by_dane(self, row: Policy, hop: NextHop, target: Target) -> Policy:
        """What TLSA records say. Raise NotTrusted."""
        try:
            found = dane.records_of(target, hop.name, self._resolver)
        except LookupFailed as failure:
            outcome = self._refused(f"DANE: {failure}; nothing was sent", target)
            raise NotTrusted(outcome, Reported("tlsa"), "dnssec-invalid") from failure
        if row.level is Level.DANE_ONLY and not (found and found.records):
            outcome = self._refused(self._why_none(found, target, row), target)
            raise NotTrusted(outcome, Reported("tlsa"), "dane-required")
        return _with_records(_without_dns(row, hop), found)

    def _why_none(self, found: DaneRecords | None, target: Target, row: Policy) -> str:
        """Why there is no DANE, where nothing else will do."""
        if found:
            reason = f"no record of {found.place} can be used"
        elif not self._resolver.can_vouch:
            reason = "no name server of this host validates DNSSEC"
        elif not target.vouched:
            reason = f"DNSSEC does not vouch for the name of {target.name}"
        else:
            reason = f"{target.name} has no TLSA records that DNSSEC vouches for"
        return f"DANE: {reason}; nothing was sent ({row.origin} wants {row.level.value})"

    def _refused(self, text: str, target: Target) -> Outcome:
        # RFC 3463 section 3.8: cryptographic failure
        return reply_outcomes.delayed("4.7.5", text, target.name, target.relay)


#: levels that depend on what DNS says
_ASKING = (Level.DANE, Level.DANE_ONLY, Level.STS)


def _without_dns(row: Policy, hop: NextHop) -> Policy:
    """What there must be if DNS says nothing."""
    if row.logs_in:
        return replace(row, level=Level.VERIFY, names=(hop.name,), reported=Reported())
    return replace(row, level=Level.MAY, reported=Reported())


def _with_records(policy: Policy, found: DaneRecords | None) -> Policy:
    if found is None:
        return policy
    reported = Reported("tlsa", found.strings, is_useless=not found.records)
    if found.records:
        return replace(policy, level=Level.DANE, dane=found, origin=found.place, reported=reported)
    if policy.level is Level.VERIFY:
        return replace(policy, reported=reported)
    origin = f"{found.place}, none of whose records can be used,"
    return replace(policy, level=Level.ENCRYPT, origin=origin, reported=reported)
