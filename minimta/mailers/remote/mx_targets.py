"""From a next hop to the addresses to connect to, in order (RFC 5321 section 5.1).

    lab2.campus         MX records, else its addresses
    mailhub             the same of mailhub.campus, if resolv.conf searches there
    [mx.campus]         its addresses, no MX
    [10.0.3.135]        that address; [IPv6:2001:db8::1] too
    any of them:2525    another port; names too: submission, submissions, smtp
    several, by commas  tried in this order

An MX list is somebody else's text. Addresses that lead back to us or nowhere (loopback, our own,
link-local, multicast) are not connected to unless the administrator named the host in brackets: a
stranger's domain must not have us speak to services of this host and network. Our own name or
address in the list cuts it there: what is equal or worse would loop.

    no such name, null MX, or we are the best    Unroutable, for good, if no option names the hop
    name servers do not answer                   Unroutable, for now
    one host of several has no usable address    *note* is told; the others are targets
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from minimta.config.options import Options
from minimta.config.values import mail_port
from minimta.mailers.remote import reply_outcomes
from minimta.message.address import domain_key
from minimta.message.outcome import Outcome
from minimta.system.dns import Resolver, of_localhost
from minimta.system.dns_wire import LookupFailed
from minimta.system.hostnames import local_names, own_addresses, own_name

SMTP_PORT = 25
#: getaddrinfo(3) knows that the name does not exist, or has no address
NO_SUCH_HOST = (socket.EAI_NONAME, socket.EAI_NODATA)


class Unroutable(Exception):
    """There is nowhere to connect to; ``outcome`` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class NextHop:
    """A next hop, taken apart."""

    #: domain, host name or address
    name: str
    port: int
    #: was it in brackets: no MX lookup
    bracketed: bool

    @property
    def key(self) -> str:
        """As it would be configured: "lab2.campus", "[mx.campus]:587"."""
        name = f"[{self.name}]" if self.bracketed else self.name
        return name if self.port == SMTP_PORT else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """One address to connect to, and how we came to it."""

    #: the MX host, or what stands in brackets: "lab2.campus.", "[10.0.3.135]"
    name: str
    address: str
    port: int
    #: of the MX record, -1 if none led here
    preference: int = -1
    #: is the name one that the administrator has given, or that DNSSEC vouches for? TLSA records
    #: count only there (RFC 7672 section 2.2)
    vouched: bool = False

    @property
    def relay(self) -> str:
        """As the log has it: "lab2.campus. [10.0.3.135]"."""
        return f"{self.name} [{self.address}]"

    @property
    def host(self) -> str:
        """What is remembered of it: "lab2.campus", "lab2.campus:2525"; not of each address."""
        name = self.name.removeprefix("[").removesuffix("]").removesuffix(".")
        return name if self.port == SMTP_PORT else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What must be known of this host to recognise it in an MX list."""

    name: str
    #: all names in small letters
    names: frozenset[bytes] = frozenset()
    addresses: frozenset[str] = frozenset()

    def is_named(self, host: str) -> bool:
        """Is *host* a name of ours?"""
        return domain_key(host.encode("ascii", "replace")) in self.names


def ourselves(options: Options) -> Ourselves:
    """What interfaces and files say of this host now. Raise OSError."""
    addresses = own_addresses()
    return Ourselves(own_name(options), local_names(options, addresses), frozenset(addresses))


def parse(text: str) -> list[NextHop]:
    """Take a next hop apart, as it stands in the table above. Raise ValueError if it is none."""
    return [_one_hop(part.strip()) for part in text.split(",")]


def may_ask_dns(text: str) -> bool:
    """May who goes to this next hop have to ask name servers? Not if it is an address, or none."""
    try:
        return any(_ip(hop.name) is None for hop in parse(text))
    except ValueError:
        return False


def _one_hop(text: str) -> NextHop:
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or not inside or rest[:1] not in ("", ":"):
            raise ValueError(f"bad next hop {text}")
        name = inside[5:] if inside[:5].lower() == "ipv6:" else inside
        return NextHop(name, _port(rest[1:], text), bracketed=True)
    name, _, port = text.partition(":")
    if not name:
        raise ValueError(f"bad next hop {text}")
    return NextHop(name.removesuffix("."), _port(port, text), bracketed=False)


def _port(word: str, text: str) -> int:
    if not word:
        return SMTP_PORT
    try:
        return mail_port(word)
    except ValueError as error:
        raise ValueError(f"bad next hop {text}") from error


class TargetFinder:
    """Looks up the targets of one next hop, lazily: later MX hosts only if the first fail."""

    def __init__(
        self,
        hop: NextHop,
        ourselves: Ourselves,
        resolver: Resolver,
        *,
        option: str,
        note: Callable[[Outcome], None],
        shuffle: Callable[[list[str]], None] = random.shuffle,
        refuse_private: bool = False,
    ) -> None:
        """*option* names *hop*, so that any address will do for it in brackets, and nothing that is
        wrong with it is for good; "": it is somebody's domain.

        *note* gets an Outcome for each host that has no usable address; *shuffle* mixes hosts of
        one preference, so that they share the load (RFC 5321 section 5.1). *refuse_private* is
        RefusePrivateAddresses, and not for what an option names.
        """
        self._hop = hop
        self._ourselves = ourselves
        self._resolver = resolver
        self._option = option
        self._tell = note
        self._shuffle = shuffle
        self._refuse_private = refuse_private and not option
        self._seen: set[str] = set()
        #: does DNSSEC vouch for the list of exchangers?
        self._is_vouched = False

    def targets(self) -> Iterator[Target]:
        """Yield what to try, best first; tell *note* of hosts without an address.

        Raise Unroutable when there is nothing (more) to try for a reason of its own.
        """
        try:
            yield from self._bracketed() if self._hop.bracketed else self._exchangers()
        except Unroutable as nowhere:
            raise Unroutable(self._judged(nowhere.outcome)) from nowhere

    def _note(self, outcome: Outcome) -> None:
        self._tell(self._judged(outcome))

    def _judged(self, outcome: Outcome) -> Outcome:
        return reply_outcomes.of_option(self._option, self._hop.name, outcome)

    def _bracketed(self) -> Iterator[Target]:
        name = f"[{self._hop.name}]"
        try:
            addresses = [str(ipaddress.ip_address(self._hop.name))]
        except ValueError:
            addresses = self._by_system(name)
        usable = addresses if self._option else [a for a in addresses if self._leads_away(a)]
        if not usable:
            if not any(self._is_us(address) for address in addresses):
                raise Unroutable(reply_outcomes.leads_nowhere(name))
            raise Unroutable(reply_outcomes.loops_back(name, self._ourselves.name))
        is_name = _ip(self._hop.name) is None
        for address in usable:
            yield Target(name, address, self._hop.port, vouched=is_name)

    def _by_system(self, name: str) -> list[str]:
        host = self._hop.name.encode("ascii", "replace")
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if known := of_localhost(self._hop.name):
                return known
            # EAI_FAIL, EAI_SYSTEM, EAI_MEMORY: nobody has said that there is no such host.
            temporary = error.errno not in NO_SUCH_HOST
            reason = "host name lookup failure" if temporary else "host not found"
            failure = LookupFailed(self._hop.name, reason, temporary=temporary)
            raise Unroutable(reply_outcomes.no_answer(name, failure)) from error
        return list(dict.fromkeys(str(info[4][0]) for info in found))

    def _exchangers(self) -> Iterator[Target]:
        domain = self._full_name()
        found_any = False
        for preference, hosts in self._by_preference(domain):
            usable, is_us = self._resolve(preference, hosts)
            if is_us:
                # RFC 5321 section 5.1: what is not better than ourselves MUST be discarded.
                if not found_any:
                    raise Unroutable(reply_outcomes.loops_back(f"{domain}.", self._ourselves.name))
                return
            found_any = found_any or bool(usable)
            yield from usable

    def _full_name(self) -> str:
        """The domain, completed by resolv.conf's search list if it is short."""
        # DIFFERS: Sendmail completes every domain that does not exist as it is. Addresses have full
        # names (RFC 5321 section 2.3.5); else a typing error in one leads to a host of ours.
        name = self._hop.name
        if "." in name and not self._option:
            return name
        try:
            return self._resolver.full_name(name)
        except LookupFailed as failure:
            shown = f"{name}." if failure.temporary else name
            raise Unroutable(reply_outcomes.no_answer(shown, failure)) from failure

    def _by_preference(self, domain: str) -> Iterator[tuple[int, list[str]]]:
        try:
            exchangers = self._resolver.mail_exchangers(domain)
        except LookupFailed as failure:
            shown = f"{domain}." if failure.temporary else domain
            raise Unroutable(reply_outcomes.no_answer(shown, failure)) from failure
        # Without a list the host is the domain itself.
        self._is_vouched = not exchangers or self._resolver.is_vouched(domain, "MX")
        if any(not host for _, host in exchangers):
            raise Unroutable(reply_outcomes.null_mx(domain))
        # RFC 5321 section 5.1: without any MX record the domain itself is the host.
        for preference, group in groupby(exchangers or [(-1, domain)], key=lambda pair: pair[0]):
            hosts = list(dict.fromkeys(host for _, host in group))
            self._shuffle(hosts)
            yield preference, hosts

    def _resolve(self, preference: int, hosts: list[str]) -> tuple[list[Target], bool]:
        """Targets of the hosts of one preference; is one of them us?"""
        usable: list[Target] = []
        for host in hosts:
            if self._ourselves.is_named(host):
                return [], True
            addresses = self._addresses(host)
            if any(self._is_us(address) for address in addresses):
                return [], True
            usable += self._fresh(preference, host, addresses)
        return usable, False

    def _addresses(self, host: str) -> list[str]:
        try:
            return self._resolver.addresses(host)
        except LookupFailed as failure:
            # A domain without an MX is named as it was given, an MX host with a dot.
            implicit = host == self._hop.name and not failure.temporary
            self._note(reply_outcomes.no_answer(host if implicit else f"{host}.", failure))
            return []

    def _fresh(self, preference: int, host: str, addresses: list[str]) -> Iterator[Target]:
        away = [address for address in addresses if self._leads_away(address)]
        if addresses and not away:
            self._note(reply_outcomes.leads_nowhere(f"{host}."))
        for address in away:
            if address not in self._seen and len(self._seen) < MAX_TARGETS:
                self._seen.add(address)
                yield Target(
                    f"{host}.", address, self._hop.port, preference, vouched=self._is_vouched
                )

    def _is_us(self, address: str) -> bool:
        ip = _ip(address)
        if ip is None:
            return False
        return ip.is_loopback or ip.is_unspecified or str(ip) in self._ourselves.addresses

    def _leads_away(self, address: str) -> bool:
        ip = _ip(address)
        if ip is None or self._is_us(address):
            return False
        if self._refuse_private and not ip.is_global:
            return False
        this_network = ip.version == 4 and ip in _THIS_NETWORK
        return not (this_network or ip.is_link_local or ip.is_multicast)


#: addresses of one destination that are tried: a stranger's name server may give any number
MAX_TARGETS = 100
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    # ::ffff:127.0.0.1 is 127.0.0.1
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
