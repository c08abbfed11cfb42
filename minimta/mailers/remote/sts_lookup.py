"""Which policy of MTA-STS holds for a domain now (RFC 8461 section 3.3), found by the worker.

    TXT record          what was fetched before            then
    none, no answer     holds                              that
    none, no answer     does not                           none
    with an id          holds, with this id                that; fetched again in its last half
    with an id          anything else                      fetched; if that fails, what holds

One that could not be fetched is not asked for again for five minutes. Neither is the TXT record of a
domain without a policy that holds, if nobody answered: each message would wait for it anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from minimta.mailers.remote import sts_policy
from minimta.mailers.remote.lines import StsLine
from minimta.mailers.remote.sts_cache import KnownPolicy, StsCache
from minimta.mailers.remote.sts_policy import StsPolicy
from minimta.system.dns import Resolver
from minimta.system.dns_wire import LookupFailed
from minimta.system.https import HttpsClient
from minimta.system.tls_values import CertificateError

#: seconds that fetching a policy may take, and between two trials
FETCH_TIME, PAUSE = 30.0, 300.0
#: seconds for which mail may wait for "no answer" each time
SHORT = 1.0


class StsLookup:
    """For the domains of one worker."""

    def __init__(
        self,
        cache: StsCache | None,
        https: HttpsClient | None,
        resolver: Resolver,
        tell: Callable[[StsLine], None],
    ) -> None:
        """*https* None: nothing can be fetched. *tell* gets what was fetched, and what was not."""
        self._cache = cache
        self._https = https
        self._resolver = resolver
        self._tell = tell
        self._found: dict[str, StsPolicy | None] = {}

    def policy(self, domain: str) -> StsPolicy | None:
        """The policy of *domain* (small letters), None if it has none that is known."""
        if domain not in self._found:
            self._found[domain] = self._look_up(domain)
        return self._found[domain]

    def _look_up(self, domain: str) -> StsPolicy | None:
        now = time.time()
        known = self._cache.known(domain) if self._cache is not None else None
        held = known if known is not None and known.holds(now) else None
        announced = self._announced(domain, now) if held is None else self._id(domain)
        if announced and self._is_due(domain, announced, held, now):
            fetched = self._fetch(domain, announced)
            if fetched is not None:
                return fetched
        return held.policy if held is not None else None

    def _announced(self, domain: str, now: float) -> str:
        """The id of the TXT record; "" without one, and while it is known that nobody answers."""
        if self._cache is not None:
            tried, when = self._cache.tried(domain)
            if not tried and when <= now < when + PAUSE:
                return ""
        start = time.monotonic()
        announced = self._id(domain)
        if announced is None and time.monotonic() - start > SHORT:
            self._tell(StsLine(domain, "", trouble=f"no answer for TXT of _mta-sts.{domain}"))
        return announced or ""

    def _id(self, domain: str) -> str | None:
        """The id of the TXT record, "" without one, None if that cannot be told."""
        try:
            return sts_policy.id_of(self._resolver.texts(f"_mta-sts.{domain}"))
        except LookupFailed:
            return None

    def _is_due(self, domain: str, announced: str, held: KnownPolicy | None, now: float) -> bool:
        if self._https is None:
            return False
        if held is not None and held.is_young(now) and held.id == announced:
            return False
        if self._cache is None:
            return True
        tried, when = self._cache.tried(domain)
        return tried != announced or not when <= now < when + PAUSE

    def _fetch(self, domain: str, announced: str) -> StsPolicy | None:
        assert self._https is not None
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        result = "sts-policy-fetch-error"  # RFC 8460 section 4.3
        try:
            text = self._https.get_text(url, FETCH_TIME)
            result = "sts-policy-invalid"
            policy = sts_policy.read(text)
        except (OSError, ValueError) as error:
            if isinstance(error, CertificateError):
                result = "sts-webpki-invalid"
            told = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self._tell(StsLine(domain, announced, trouble=told, result=result))
            return None
        self._tell(StsLine(domain, announced, policy.mode, policy.max_age, policy.mx))
        return policy
