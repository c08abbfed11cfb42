"""Hosts with which there is no TLS as it should be: whether their mail goes in clear, or why it waits.

what failed                         then
a handshake, and nothing must be    once more in clear, if TLSFallbacktoClear says so
anything else                       nothing is sent, and the reason says what can be done
"""

from __future__ import annotations

from collections.abc import Callable

from minimta.mailers.remote import reply_outcomes
from minimta.mailers.remote.handshake import TlsPort, Unmet
from minimta.mailers.remote.host_policy import HostPolicies, NotTrusted
from minimta.mailers.remote.mx_targets import NextHop, Target
from minimta.mailers.remote.tls_policy import AFTER_FAILURE, Level, Policy
from minimta.mailers.remote.tls_results import TlsTally
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Outcome
from minimta.system.tls_values import CertificateError, TlsError


class TlsFailures:
    """What failed so far for one next hop."""

    def __init__(
        self,
        transport: Transport,
        policies: HostPolicies,
        tally: TlsTally,
        log: Callable[[str], None],
        say: Callable[[str], None] | None,
    ) -> None:
        """*transport* has options and rows; *log* and *say* (-v) are told of each failure, the *tally*
        of what comes out.
        """
        self._transport = transport
        self._policies = policies
        self.tally = tally
        self._log = log
        self._say = say
        self._in_clear: set[Target] = set()

    @property
    def count(self) -> int:
        """How many targets are talked to in clear since a handshake failed."""
        return len(self._in_clear)

    def policy(self, hop: NextHop | None, target: Target) -> Policy:
        """What TLS there must be with *target*, to which *hop* led. Raise NotTrusted."""
        if target in self._in_clear:
            return AFTER_FAILURE
        try:
            return self._policies.policy(hop, target)
        except NotTrusted as why:
            self.tally.failed(why.result, target, why.reported, hop)
            raise

    def failed(
        self, error: TlsError, target: Target, policy: Policy, hop: NextHop | None
    ) -> Outcome:
        """There is none; why mail waits, if it does."""
        self.tally.failed(error.result, target, policy.reported, hop)
        options = self._transport.options
        may_be_clear = not policy.is_binding and not isinstance(error, TlsPort)
        again = ""
        # RFC 7435 section 3: what need not be there must not stop mail.
        if may_be_clear and options.tls_fallback_to_clear:
            self._in_clear.add(target)
            again = "; once more in clear"
        self._log(f"STARTTLS=client, relay={target.name}, error: {error.reason}{again}")
        if self._say:
            self._say(f"TLS with {target.name} failed: {error.reason}{again}")
        if policy.required is not None:
            hop = None  # and none of TLSPolicy makes up for the access table
        if hop and hop.key in self._transport.logins and error.remedy == Level.MAY.value:
            hop = None  # no row makes a password go in clear: there is no remedy
        return _outcome(error, target, policy, options.tls_policy, hop)


def _outcome(
    error: TlsError, target: Target, policy: Policy, table: str, hop: NextHop | None
) -> Outcome:
    """*table* is the file of TLSPolicy, where the remedy would stand."""
    # DIFFERS: with PERM+ Sendmail returns mail for a handshake that broke, whoever broke it.
    if isinstance(error, Unmet):
        text = f"{error.reason}; nothing was sent ({error.requirement.origin})"
        return reply_outcomes.unmet(error.requirement, text, target.name, target.relay)
    # The first words are the reason: mailq cuts the rest off, unless -v is said.
    text = f"TLS: {error.reason}"
    if policy.is_binding:
        text += f"; nothing was sent ({policy.origin} wants {policy.level.value})"
    row, way = error.remedy, ""
    if isinstance(error, CertificateError) and not row:
        row, way = "fingerprint sha256:...", "its authority in CACertFile, or "
    if row and hop:
        text += f". To allow it: {way}a row of {table}: {hop.key} {row}"
    # RFC 3463 section 3.8: cryptographic failure; security features not supported
    status = "4.7.5" if isinstance(error, CertificateError) else "4.7.4"
    return reply_outcomes.delayed(status, text, target.name, target.relay)
