"""Where mail for a domain goes: MX, A and AAAA by the system's name servers (RFC 5321 section 5.1).

What is on the wire is in ``dns_wire``. Which servers are asked is read from /etc/resolv.conf
(``resolv_conf``); /etc/hosts is asked before them for addresses, as "hosts: files dns" has it.

Answers may be hostile: a zone with ten thousand exchangers, an alias that leads to itself, a server
that answers an octet a second. So their number is capped, and one Resolver spends at most its budget
of seconds on all its questions, and on each only a part of what is left: a server that does not
answer for AAAA (RFC 4074 section 4.1) leaves time for the others.

DNSSEC vouches for an answer if the servers of resolv.conf may be believed that they validated it
(``ResolvConf.vouches``), or if this process did (``validator``). What is bogus is no answer.

Whatever does not prove that the name does not exist is a temporary failure: LookupFailed says which
of the two it is. What stands in our own files never is such a proof.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minimta.system import dns_wire, hosts_file, resolv_conf
from minimta.system.dns_wire import Answer, LookupFailed, NoHelp
from minimta.system.files import read_if_there
from minimta.system.resolv_conf import ResolvConf
from minimta.system.silent_servers import SHARED, Server, SilentServers
from minimta.system.tlsa import DAMAGED, TlsaRecord

if TYPE_CHECKING:
    from typing import Any

    from minimta.system.validator import Validator

#: seconds for all questions about one destination
BUDGET = 30.0
#: what of the seconds that are left one question may take, so that something is left for the next
_SHARE = 0.5
#: the same, and seconds at most, for addresses of the other family when there are some already
_SMALL_SHARE, _SMALL_MOST = 0.25, 5.0
MAX_EXCHANGERS = 50
MAX_ADDRESSES = 100
#: TXT and TLSA records of one name
_MAX_RECORDS = 100
#: a CNAME leads to another, at most so often
MAX_ALIASES = 8

_FAILURE = "host name lookup failure"


def load() -> None:
    """Import dnspython now, so that children that are forked later need not."""
    dns_wire.load()


def of_localhost(host: str) -> list[str]:
    """The addresses of "localhost", which has them whether a file says so or not; [] for others."""
    return ["::1", "127.0.0.1"] if host.lower() == "localhost" else []


def resolves(domain: str) -> bool | None:
    """Has *domain* an MX, an address or an alias with one? None if nobody can tell now."""
    resolver = Resolver()
    try:
        # A null MX takes no mail, but the name exists; see has_null_mx().
        return bool(resolver.mail_exchangers(domain) or resolver.addresses(domain))
    except LookupFailed as failure:
        return None if failure.temporary else False


def has_null_mx(domain: str) -> bool | None:
    """Does *domain* say that it takes no mail (RFC 7505)? None if nobody can tell now."""
    try:
        return Resolver().mail_exchangers(domain) == [(0, "")]
    except LookupFailed as failure:
        return None if failure.temporary else False


def ipv4_addresses(name: str, budget: float) -> list[str]:
    """The A records of *name*, [] if it has none; in *budget* seconds. Raise LookupFailed."""
    try:
        records = Resolver(budget=budget)._ask(name, "A", 1.0)
    except LookupFailed as failure:
        if failure.temporary:
            raise
        return []
    return [record.address for record in records[:MAX_ADDRESSES]]


class Resolver:
    """Questions about one destination, with one budget of time; none is asked twice."""

    def __init__(
        self,
        *,
        budget: float = BUDGET,
        nameserver: Server | None = None,
        config: ResolvConf | None = None,
        hosts: str = "/etc/hosts",
        conf: str = "/etc/resolv.conf",
        silent: SilentServers = SHARED,
        make_validator: Callable[[Sequence[Server]], Validator | None] | None = None,
    ) -> None:
        """*budget* is seconds for all questions; *hosts* and *conf* are paths. *make_validator* gets
        the servers, when something is asked of them and their word on DNSSEC is worth nothing.

        For tests: *config* instead of what *conf* says, or *nameserver* as the only server.
        """
        self._left = budget
        self._known_config = ResolvConf(servers=(nameserver,)) if nameserver else config
        self._hosts_path = hosts
        self._conf_path = conf
        self._silent = silent
        self._make_validator = make_validator
        self._known_validator: Validator | None = None
        self._hosts_text: bytes | None = None
        self._answers: dict[tuple[str, str], Answer | LookupFailed] = {}

    def full_name(self, name: str) -> str:
        """What a short *name* means: itself, or completed by a domain that resolv.conf searches.

        The first that has an exchanger or an address, in libc's order. Raise LookupFailed.
        """
        trouble: LookupFailed | None = None
        for candidate in [name] if self._listed(name) else self._config(name).candidates(name):
            try:
                if self.mail_exchangers(candidate) or self.addresses(candidate):
                    return candidate
            except LookupFailed as failure:
                trouble = failure if trouble is None or failure.temporary else trouble
        raise trouble or LookupFailed(name, "host not found", temporary=False)

    def mail_exchangers(self, domain: str) -> list[tuple[int, str]]:
        """(preference, host) by preference; [] if there is no MX, but perhaps an address.

        Hosts are in small letters without a final dot. [(0, "")] alone is the null MX (RFC 7505).
        Raise LookupFailed.
        """
        if "." not in domain and self._listed(domain):
            return []
        try:
            records = self._ask(domain, "MX", _SHARE)
        except LookupFailed as failure:
            if failure.temporary:
                raise
            # Servers exist that deny a name because they know no MX of it.
            self._require_address(domain, failure)
            return []
        found = sorted((r.preference, r.exchange.to_text(True).lower()) for r in records)
        hosts = [(p, "" if host in (".", "@") else host) for p, host in found[:MAX_EXCHANGERS]]
        # RFC 7505 section 3: a null MX beside others means nothing.
        return [pair for pair in hosts if pair[1]] or hosts[:1]

    def _require_address(self, domain: str, failure: LookupFailed) -> None:
        """Raise *failure* if there is none, or what keeps us from knowing."""
        try:
            self.addresses(domain)
        except LookupFailed as other:
            raise (other if other.temporary else failure) from failure

    def addresses(self, host: str) -> list[str]:
        """IPv6, then IPv4 addresses. One family that fails does not hide the other (RFC 3974).

        Raise LookupFailed if there is none.
        """
        listed = self._listed(host)
        if listed:
            return listed
        found: list[str] = []
        failures: list[LookupFailed] = []
        for kind in ("A", "AAAA"):
            try:
                records = self._ask(host, kind, _SMALL_SHARE if found else _SHARE)
            except LookupFailed as failure:
                failures.append(failure)
            else:
                found = [record.address for record in records[:MAX_ADDRESSES]] + found
        if found:
            return found[:MAX_ADDRESSES]
        failures.sort(key=lambda failure: not failure.temporary)
        raise failures[0] if failures else LookupFailed(host, "no data known", temporary=False)

    def names_of(self, address: str) -> list[str]:
        """Names that the owner of an address gives to it (PTR); [] if there are none. Raise LookupFailed."""
        import ipaddress

        try:
            records = self._ask(ipaddress.ip_address(address).reverse_pointer, "PTR", _SHARE)
        except LookupFailed as failure:
            if failure.temporary:
                raise
            return []
        return [record.target.to_text(True).lower() for record in records[:_MAX_RECORDS]]

    # --- our own files ----------------------------------------------------------------------------

    def _listed(self, host: str) -> list[str]:
        """Addresses of *host* in /etc/hosts. Raise LookupFailed if it cannot be read.

        localhost needs no line there: minimal systems have no such file (RFC 6761 section 6.3).
        """
        return self._in_hosts(host) or of_localhost(host)

    def _in_hosts(self, host: str) -> list[str]:
        if self._hosts_text is None:
            self._hosts_text = _read(self._hosts_path, host)
        return hosts_file.addresses(self._hosts_text, host)

    def _config(self, name: str) -> ResolvConf:
        """What /etc/resolv.conf says. Raise LookupFailed, of *name*, if it cannot be read."""
        if self._known_config is None:
            text = _read(self._conf_path, name)
            self._known_config = resolv_conf.parse(text, os.uname().nodename)
        return self._known_config

    # --- what DNSSEC vouches for ------------------------------------------------------------------

    @property
    def can_vouch(self) -> bool:
        """Is there anybody who validates? Raise LookupFailed if our own files cannot be read."""
        return self._config("resolv.conf").vouches or self._validator() is not None

    def is_vouched(self, name: str, kind: str) -> bool:
        """Did DNSSEC vouch for the records of *kind*, and for all aliases that led there?"""
        try:
            return self._trail(name, kind, _SHARE).vouched
        except LookupFailed:
            return False

    def vouched_names(self, host: str) -> list[str]:
        """Names below which TLSA records of *host* may stand (RFC 7672 section 2.2.2), the best first.

        [] if DNSSEC does not vouch for its addresses. Raise LookupFailed.
        """
        if self._in_hosts(host):
            return []  # of an address from there DNS knows nothing; and mail to it needs no DNS
        alias, is_vouched = host, True
        found, unknown = False, None
        for kind in ("A", "AAAA"):
            try:
                answer = self._trail(host, kind, _SMALL_SHARE)
            except LookupFailed as failure:
                unknown = failure if failure.temporary else unknown
                continue
            if answer.records:
                alias, found = answer.alias, True
                is_vouched = is_vouched and answer.vouched
        if unknown and not (found or self._listed(host)):
            raise unknown  # we had addresses a moment ago: nobody can tell now, which is no "no"
        if found and is_vouched:
            return list(dict.fromkeys((alias.lower(), host.lower())))
        # A signed zone may hold an alias that leads to one that is not.
        if found and alias.lower() != host.lower() and self._answer(host, "CNAME", _SHARE).vouched:
            return [host.lower()]
        return []

    def tlsa(self, host: str, port: int) -> list[TlsaRecord]:
        """TLSA records of a TCP port that DNSSEC vouches for; [] if there are none.

        Raise LookupFailed if nobody can tell, also for what is bogus.
        """
        try:
            found = self._trail(f"_{port}._tcp.{host}", "TLSA", _SHARE)
        except LookupFailed as failure:
            if failure.temporary:
                raise
            return []
        if not found.vouched:
            return []
        records = [TlsaRecord(r.usage, r.selector, r.mtype, bytes(r.cert)) for r in found.records]
        return records[:_MAX_RECORDS] + [DAMAGED] * bool(found.damaged)

    def texts(self, name: str) -> list[bytes]:
        """TXT records, each with its strings joined; [] if there are none. Raise LookupFailed."""
        try:
            records = self._ask(name, "TXT", _SMALL_SHARE)
        except LookupFailed as failure:
            if failure.temporary:
                raise
            return []
        return [b"".join(record.strings) for record in records[:_MAX_RECORDS]]

    # --- questions --------------------------------------------------------------------------------

    def _ask(self, name: str, kind: str, share: float) -> list[Any]:
        """The records, [] if the name exists without such a one. Raise LookupFailed."""
        return self._trail(name, kind, share).records

    def _trail(self, name: str, kind: str, share: float) -> Answer:
        """The answer behind all aliases. Raise LookupFailed."""
        is_vouched = True
        for _ in range(MAX_ALIASES):
            found = self._answer(name, kind, share)
            is_vouched = is_vouched and found.vouched
            if found.records or found.alias.lower() == name.lower():
                damaged = found.damaged
                return Answer(found.records, found.alias, vouched=is_vouched, damaged=damaged)
            name = found.alias
        raise LookupFailed(name, _FAILURE, temporary=True)

    def _answer(self, name: str, kind: str, share: float) -> Answer:
        """What the servers say, or said before. Raise LookupFailed."""
        key = name.lower(), kind
        if key not in self._answers:
            start = time.monotonic()
            try:
                self._answers[key] = self._put(name, kind, share)
            except LookupFailed as failure:
                self._answers[key] = failure
            self._left -= time.monotonic() - start
        answer = self._answers[key]
        if isinstance(answer, LookupFailed):
            raise answer
        return answer

    def _put(self, name: str, kind: str, share: float) -> Answer:
        """Ask the servers in turn until one answers. Raise LookupFailed."""
        config = self._config(name)
        seconds = self._left * share
        end = time.monotonic() + (min(seconds, _SMALL_MOST) if share == _SMALL_SHARE else seconds)
        if not config.vouches and (validator := self._validator()) is not None:
            return _validated(validator, name, kind, seconds)
        question = dns_wire.question(name, kind, config)
        servers = self._in_order(config)
        for turns in range(config.attempts, 0, -1):
            for server in list(servers):
                left = end - time.monotonic()
                if left < dns_wire.LEAST:
                    break
                patience = min(config.timeout, left / (turns * len(servers)))
                try:
                    answer = dns_wire.ask(question, server, patience, config)
                    self._silent.forget(server)
                    return answer
                except LookupFailed:
                    self._silent.forget(server)
                    raise
                except NoHelp:
                    servers.remove(server)
                except OSError:  # TimeoutError is one
                    self._silent.note(server, time.monotonic())
        raise LookupFailed(name, _FAILURE, temporary=True)

    def _in_order(self, config: ResolvConf) -> list[Server]:
        servers = list(config.servers)
        if config.rotate:
            random.shuffle(servers)
        return self._silent.last(servers, time.monotonic())

    def _validator(self) -> Validator | None:
        if self._make_validator is not None:
            make, self._make_validator = self._make_validator, None
            self._known_validator = make(self._config("resolv.conf").servers)
        return self._known_validator


def _validated(validator: Validator, name: str, kind: str, seconds: float) -> Answer:
    """What this process found out itself. Raise LookupFailed."""
    try:
        wire, is_secure = validator.ask(name, dns_wire.number(kind), seconds)
        return dns_wire.judged(dns_wire.read(wire, kind), vouched=is_secure)
    except (NoHelp, OSError) as error:
        raise LookupFailed(name, _FAILURE, temporary=True) from error


def _read(path: str, name: str) -> bytes:
    """A file of ours, b"" if there is none. Raise LookupFailed, of *name*, if it cannot be read."""
    try:
        return read_if_there(path)
    except OSError as error:
        reason = f"{_FAILURE} ({path}: {error.strerror})"
        raise LookupFailed(name, reason, temporary=True) from error
