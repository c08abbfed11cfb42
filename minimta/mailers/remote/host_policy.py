"""What TLS one host of a next hop must have: the table's row, and without one what DNS says of it.

    TLSPolicy says     then
    nothing            DANE (option DANE); else may
    dane               the same, whatever the option says
    dane-only          only hosts with TLSA records that count
    anything else      that, and nobody else is asked

What the access table wants of the host comes on top of that (``tls_rules``).

Who logs in at the next hop wants its name in the certificate ("verify"): DANE is not asked there.
"""

from __future__ import annotations

from dataclasses import replace

from minimta.mailers.remote import dane, reply_outcomes
from minimta.mailers.remote.dane import DaneRecords
from minimta.mailers.remote.mx_targets import NextHop, Target
from minimta.mailers.remote.tls_policy import Level, Policy
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Outcome
from minimta.system.dns import Resolver
from minimta.system.dns_wire import LookupFailed


class NotTrusted(Exception):
    """The host is not used now; ``outcome`` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


class HostPolicies:
    """For the hosts of one worker's next hops."""

    def __init__(self, transport: Transport, resolver: Resolver) -> None:
        self._transport = transport
        self._resolver = resolver

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
        wants_dane = row.is_default and self._transport.options.dane
        if hop is None or not (wants_dane or row.level in (Level.DANE, Level.DANE_ONLY)):
            return row
        try:
            found = dane.records_of(target, hop.name, self._resolver)
        except LookupFailed as failure:
            raise self._not_trusted(f"DANE: {failure}; nothing was sent", target) from failure
        if row.level is Level.DANE_ONLY and not (found and found.records):
            raise self._not_trusted(self._why_none(found, target, row), target)
        return _by_dane(row, found)

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

    def _not_trusted(self, text: str, target: Target) -> NotTrusted:
        # RFC 3463 section 3.8: cryptographic failure
        return NotTrusted(reply_outcomes.delayed("4.7.5", text, target.name, target.relay))


def _by_dane(row: Policy, found: DaneRecords | None) -> Policy:
    if found is None:
        return replace(row, level=Level.MAY)
    if not found.records:
        origin = f"{found.place}, none of whose records can be used,"
        return replace(row, level=Level.ENCRYPT, origin=origin)
    return replace(row, level=Level.DANE, dane=found, origin=found.place)
