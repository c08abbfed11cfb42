"""Where mail for a domain goes: MX, A and AAAA by the system's name servers (RFC 5321 section 5.1).

The only importer of dnspython, which costs 50 ms: it is loaded by the first question, or by
``load`` in a process that is going to fork. Which servers are asked is read from /etc/resolv.conf
(``resolv_conf``); /etc/hosts is asked before them for addresses, as "hosts: files dns" has it.

Answers may be hostile: a zone with ten thousand exchangers, an alias that leads to itself, a server
that answers an octet a second. So their number is capped, and one Resolver spends at most its budget
of seconds on all its questions, and on each only a part of what is left: a server that does not
answer for AAAA (RFC 4074 section 4.1) leaves time for the others.

Whatever does not prove that the name does not exist is a temporary failure: LookupFailed says which
of the two it is. What stands in our own files never is such a proof.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from typing import TYPE_CHECKING

from minimta.system import hosts_file, resolv_conf, sitepackages
from minimta.system.files import read_if_there
from minimta.system.resolv_conf import ResolvConf
from minimta.system.silent_servers import SHARED, Server, SilentServers

if TYPE_CHECKING:
    from typing import Any

    from dns.message import Message

sitepackages.provide()

#: seconds for all questions about one destination
BUDGET = 30.0
#: what of the seconds that are left one question may take, so that something is left for the next
_SHARE = 0.5
#: the same, and seconds at most, for addresses of the other family when there are some already
_SMALL_SHARE, _SMALL_MOST = 0.25, 5.0
#: with fewer seconds left nothing is asked any more
_LEAST = 0.01
MAX_EXCHANGERS = 50
MAX_ADDRESSES = 100
#: a CNAME leads to another, at most so often
MAX_ALIASES = 8

_FAILURE = "host name lookup failure"


class LookupFailed(Exception):
    """The name has no answer; the text is "NAME: REASON" with the reason in Sendmail's words."""

    def __init__(self, name: str, reason: str, *, temporary: bool) -> None:
        """*temporary*: another try may find an answer."""
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
        self.temporary = temporary


class _NoHelp(Exception):
    """What a server said is no answer to our question; it is not asked again."""


def load() -> None:
    """Import dnspython now, so that children that are forked later need not.

    Record types too, which it imports when they are met: a child that has given up root may not be
    able to read the place where we are installed.
    """
    import dns.message
    import dns.query
    import dns.rdtypes.ANY.CNAME
    import dns.rdtypes.ANY.MX
    import dns.rdtypes.ANY.OPT
    import dns.rdtypes.ANY.SOA
    import dns.rdtypes.IN.A
    import dns.rdtypes.IN.AAAA  # noqa: F401


def of_localhost(host: str) -> list[str]:
    """The addresses of "localhost", which has them whether a file says so or not; [] for others."""
    return ["::1", "127.0.0.1"] if host.lower() == "localhost" else []


def resolves(domain: str) -> bool | None:
    """Has *domain* an MX, an address or an alias with one? None if nobody can tell now."""
    resolver = Resolver()
    try:
        # A null MX takes no mail, but the name exists (RFC 7505 section 4.2 is another matter).
        return bool(resolver.mail_exchangers(domain) or resolver.addresses(domain))
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
    ) -> None:
        """*budget* is seconds for all questions; *hosts* and *conf* are paths.

        For tests: *config* instead of what *conf* says, or *nameserver* as the only server.
        """
        self._left = budget
        self._known_config = ResolvConf(servers=(nameserver,)) if nameserver else config
        self._hosts_path = hosts
        self._conf_path = conf
        self._silent = silent
        self._hosts_text: bytes | None = None
        self._answers: dict[tuple[str, str], _Answer | LookupFailed] = {}

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

    # --- our own files ----------------------------------------------------------------------------

    def _listed(self, host: str) -> list[str]:
        """Addresses of *host* in /etc/hosts. Raise LookupFailed if it cannot be read.

        localhost needs no line there: minimal systems have no such file (RFC 6761 section 6.3).
        """
        if self._hosts_text is None:
            self._hosts_text = _read(self._hosts_path, host)
        return hosts_file.addresses(self._hosts_text, host) or of_localhost(host)

    def _config(self, name: str) -> ResolvConf:
        """What /etc/resolv.conf says. Raise LookupFailed, of *name*, if it cannot be read."""
        if self._known_config is None:
            text = _read(self._conf_path, name)
            self._known_config = resolv_conf.parse(text, os.uname().nodename)
        return self._known_config

    # --- questions --------------------------------------------------------------------------------

    def _ask(self, name: str, kind: str, share: float) -> list[Any]:
        """The records, [] if the name exists without such a one. Raise LookupFailed."""
        for _ in range(MAX_ALIASES):
            found = self._answer(name, kind, share)
            if found.records or found.alias.lower() == name.lower():
                return found.records
            name = found.alias
        raise LookupFailed(name, _FAILURE, temporary=True)

    def _answer(self, name: str, kind: str, share: float) -> _Answer:
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

    def _put(self, name: str, kind: str, share: float) -> _Answer:
        """Ask the servers in turn until one answers. Raise LookupFailed."""
        config = self._config(name)
        seconds = self._left * share
        end = time.monotonic() + (min(seconds, _SMALL_MOST) if share == _SMALL_SHARE else seconds)
        question = _question(name, kind, config)
        servers = self._in_order(config)
        for turns in range(config.attempts, 0, -1):
            for server in list(servers):
                left = end - time.monotonic()
                if left < _LEAST:
                    break
                patience = min(config.timeout, left / (turns * len(servers)))
                try:
                    return self._hear(question, server, patience, config)
                except _NoHelp:
                    servers.remove(server)
                except OSError:  # TimeoutError is one
                    self._silent.note(server, time.monotonic())
        raise LookupFailed(name, _FAILURE, temporary=True)

    def _in_order(self, config: ResolvConf) -> list[Server]:
        servers = list(config.servers)
        if config.rotate:
            random.shuffle(servers)
        return self._silent.last(servers, time.monotonic())

    def _hear(
        self, question: Message, server: Server, patience: float, config: ResolvConf
    ) -> _Answer:
        """One server's answer. Raise LookupFailed if the name does not exist, TimeoutError, OSError
        (refused, no way there), _NoHelp.
        """
        response = _exchange(question, server, patience, tcp=config.use_vc)
        self._silent.forget(server)
        return _judged(response)


class _Answer:
    """The name exists."""

    __slots__ = ("alias", "records")

    def __init__(self, records: list[Any], alias: str) -> None:
        #: of the kind that was asked for
        self.records = records
        #: the name behind all aliases that the answer has
        self.alias = alias


def _read(path: str, name: str) -> bytes:
    """A file of ours, b"" if there is none. Raise LookupFailed, of *name*, if it cannot be read."""
    try:
        return read_if_there(path)
    except OSError as error:
        reason = f"{_FAILURE} ({path}: {error.strerror})"
        raise LookupFailed(name, reason, temporary=True) from error


# --- on the wire ----------------------------------------------------------------------------------


def _question(name: str, kind: str, config: ResolvConf) -> Message:
    """Raise LookupFailed if *name* cannot be one."""
    import dns.exception
    import dns.message
    import dns.name

    try:
        parsed = dns.name.from_text(name.removesuffix(".") + ".")
    except (dns.exception.DNSException, UnicodeError, struct.error) as error:
        raise LookupFailed(name, "host not found", temporary=False) from error
    return dns.message.make_query(parsed, kind, use_edns=0 if config.edns0 else None)


def _exchange(question: Message, server: Server, seconds: float, *, tcp: bool) -> Message:
    """The response to *question*. Raise TimeoutError, OSError, _NoHelp."""
    import dns.exception
    import dns.message
    import dns.query

    end = time.monotonic() + seconds
    try:
        if not tcp:
            return _by_udp(question, server, end)
    except dns.message.Truncated:
        pass
    try:
        address, port = server
        left = max(end - time.monotonic(), _LEAST)
        return dns.query.tcp(question, address, timeout=left, port=port)
    except dns.exception.Timeout as error:
        raise TimeoutError from error
    except (dns.exception.DNSException, EOFError, ValueError) as error:
        raise _NoHelp from error


def _by_udp(question: Message, server: Server, end: float) -> Message:
    """The response, *end* in monotonic seconds. Raise TimeoutError, OSError, dns.message.Truncated.

    A connected socket hears the server alone, and at once if nobody listens there. What is no
    response to the question is left unheard: it may be forged, and the true one come yet.
    """
    import dns.exception
    import dns.inet
    import dns.message

    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        connection.connect(dns.inet.low_level_address_tuple(server))
        connection.send(question.to_wire())
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            wire = connection.recv(65535)
            try:
                response = dns.message.from_wire(wire, raise_on_truncation=True)
            except dns.message.Truncated:
                if wire[:2] == question.id.to_bytes(2, "big"):
                    raise
            except (dns.exception.DNSException, ValueError):
                continue
            else:
                if question.is_response(response):
                    return response
    raise TimeoutError


def _judged(response: Message) -> _Answer:
    """What a response says. Raise LookupFailed if that the name does not exist, _NoHelp if nothing."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.rcode

    assert isinstance(response, dns.message.QueryMessage)
    rcode = response.rcode()
    if rcode == dns.rcode.NXDOMAIN:
        name = response.question[0].name.to_text(True)
        raise LookupFailed(name, "host not found", temporary=False)
    # Who neither owns the zone nor asks others has nothing to say about what there is not.
    knows = response.answer or response.flags & (dns.flags.AA | dns.flags.RA)
    if rcode != dns.rcode.NOERROR or not knows:
        raise _NoHelp
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException as error:
        raise _NoHelp from error
    return _Answer(list(chain.answer or ()), chain.canonical_name.to_text(True))
