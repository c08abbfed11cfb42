"""Where mail for a domain goes: MX, A and AAAA by the system's name servers (RFC 5321 section 5.1).

The only importer of dnspython, which costs 50 ms: it is loaded by the first question, or by
``load`` in a process that is going to fork.

Answers may be hostile: a zone with ten thousand exchangers, an alias that leads to itself, a server
that answers an octet a second. So their number is capped, and one Resolver spends at most its budget
of seconds on all its questions. Whatever does not prove that the name does not exist is a temporary
failure: LookupFailed says which of the two it is.

/etc/hosts is asked before the name servers for addresses, as "hosts: files dns" has it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from minimta.system import sitepackages

if TYPE_CHECKING:
    from dns.resolver import Answer
    from dns.resolver import Resolver as SystemResolver

sitepackages.provide()

#: seconds for all questions about one destination
BUDGET = 30.0
MAX_EXCHANGERS = 50
MAX_ADDRESSES = 100
#: a CNAME leads to another, at most so often
MAX_ALIASES = 8


class LookupFailed(Exception):
    """The name has no answer; the text is "NAME: REASON" with the reason in Sendmail's words."""

    def __init__(self, name: str, reason: str, *, temporary: bool) -> None:
        """*temporary*: another try may find an answer."""
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
        self.temporary = temporary


def load() -> None:
    """Import dnspython now, so that children that are forked later need not.

    Record types too, which it imports when they are met: a child that has given up root may not be
    able to read the place where we are installed.
    """
    import dns.rdtypes.ANY.CNAME
    import dns.rdtypes.ANY.MX
    import dns.rdtypes.ANY.SOA
    import dns.rdtypes.IN.A
    import dns.rdtypes.IN.AAAA
    import dns.resolver  # noqa: F401


def resolves(domain: str) -> bool | None:
    """Has *domain* an MX, an address or an alias with one? None if nobody can tell now."""
    resolver = Resolver()
    try:
        # A null MX takes no mail, but the name exists (RFC 7505 section 4.2 is another matter).
        return bool(resolver.mail_exchangers(domain) or resolver.addresses(domain))
    except LookupFailed as failure:
        return None if failure.temporary else False


class Resolver:
    """Questions about one destination, with one budget of time."""

    def __init__(
        self,
        *,
        budget: float = BUDGET,
        nameserver: tuple[str, int] | None = None,
        hosts_file: str = "/etc/hosts",
    ) -> None:
        """*budget* is seconds for all questions; *nameserver* (address, port) of the only server to
        ask, for tests, instead of those of /etc/resolv.conf.
        """
        self._left = budget
        self._nameserver = nameserver
        self._hosts_file = hosts_file
        self._system: SystemResolver | None = None

    def mail_exchangers(self, domain: str) -> list[tuple[int, str]]:
        """(preference, host) by preference; [] if there is no MX; host "" is the null MX (RFC 7505).

        Hosts are in small letters without a final dot. Raise LookupFailed.
        """
        try:
            answer = self._ask(domain, "MX")
        except LookupFailed as failure:
            if failure.temporary or domain.lower() not in self._hosts():
                raise
            return []
        if answer is None:
            return []
        found = sorted((r.preference, r.exchange.to_text(True).lower()) for r in answer)
        return [(p, "" if host in (".", "@") else host) for p, host in found[:MAX_EXCHANGERS]]

    def addresses(self, host: str) -> list[str]:
        """IPv6, then IPv4 addresses. One family that fails does not hide the other (RFC 3974).

        Raise LookupFailed if there is none.
        """
        listed = self._hosts().get(host.lower())
        if listed:
            return listed
        found: list[str] = []
        failures: list[LookupFailed] = []
        for kind in ("AAAA", "A"):
            try:
                answer = self._ask(host, kind)
            except LookupFailed as failure:
                failures.append(failure)
            else:
                found += [r.address for r in answer or ()][: MAX_ADDRESSES - len(found)]
        if found:
            return found
        failures.sort(key=lambda failure: not failure.temporary)
        raise failures[0] if failures else LookupFailed(host, "no data known", temporary=False)

    def _ask(self, name: str, kind: str) -> Answer | None:
        """The answer, None if the name exists without such a record. Raise LookupFailed."""
        for _ in range(MAX_ALIASES):
            answer = self._query(name, kind)
            if answer.rrset is not None:
                return answer
            alias = answer.canonical_name.to_text(True)
            if alias.lower() == name.lower():
                return None
            name = alias
        raise LookupFailed(name, "host name lookup failure", temporary=True)

    def _query(self, name: str, kind: str) -> Answer:
        import dns.exception
        import dns.name
        import dns.resolver

        start = time.monotonic()
        try:
            if self._left <= 0:
                raise LookupFailed(name, "host name lookup failure", temporary=True)
            return self._resolver().resolve(
                dns.name.from_text(name.removesuffix(".") + "."),
                kind,
                lifetime=self._left,
                search=False,
                raise_on_no_answer=False,
            )
        except dns.resolver.NXDOMAIN as error:
            raise LookupFailed(name, "host not found", temporary=False) from error
        except (dns.exception.SyntaxError, dns.name.LabelTooLong, dns.name.NameTooLong) as error:
            raise LookupFailed(name, "host not found", temporary=False) from error  # no such name
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise LookupFailed(name, "host name lookup failure", temporary=True) from error
        finally:
            self._left -= time.monotonic() - start

    def _resolver(self) -> SystemResolver:
        import dns.resolver

        if self._system is None:
            self._system = dns.resolver.Resolver(configure=self._nameserver is None)
            if self._nameserver is not None:
                self._system.nameservers = [self._nameserver[0]]
                self._system.port = self._nameserver[1]
        return self._system

    def _hosts(self) -> dict[str, list[str]]:
        """Names of /etc/hosts in small letters -> addresses."""
        names: dict[str, list[str]] = {}
        try:
            with open(self._hosts_file, "rb") as lines:
                for line in lines:
                    words = line.partition(b"#")[0].decode("ascii", "replace").split()
                    for alias in words[1:]:
                        names.setdefault(alias.lower(), []).append(words[0])
        except OSError:
            return {}
        return names
