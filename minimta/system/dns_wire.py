"""One question to one name server, and what its answer says (only importer of dnspython).

dnspython costs 50 ms: it is loaded by the first question, or by ``load`` in a process that is going to
fork. What is no response to the question is left unheard.

    the answer                                      is
    has records, or says that there are none        an Answer
    says that the name does not exist               LookupFailed, for good
    SERVFAIL, REFUSED, from who knows nothing       NoHelp
"""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

from minimta.system import sitepackages
from minimta.system.resolv_conf import ResolvConf
from minimta.system.silent_servers import Server

if TYPE_CHECKING:
    from typing import Any

    from dns.message import Message

sitepackages.provide()

#: seconds that are waited at least
LEAST = 0.01


class LookupFailed(Exception):
    """The name has no answer; the text is "NAME: REASON" with the reason in Sendmail's words."""

    def __init__(self, name: str, reason: str, *, temporary: bool) -> None:
        """*temporary*: another try may find an answer."""
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
        self.temporary = temporary


class NoHelp(Exception):
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
    import dns.rdtypes.ANY.TLSA
    import dns.rdtypes.ANY.TXT
    import dns.rdtypes.IN.A
    import dns.rdtypes.IN.AAAA  # noqa: F401


class Answer:
    """The name exists."""

    __slots__ = ("alias", "damaged", "records", "vouched")

    def __init__(
        self, records: list[Any], alias: str, *, vouched: bool = False, damaged: int = 0
    ) -> None:
        """See the attributes."""
        #: of the kind that was asked for
        self.records = records
        #: the name behind all aliases that the answer has
        self.alias = alias
        #: did DNSSEC vouch for all of it, as far as the server is believed?
        self.vouched = vouched
        #: records that make no sense; only TLSA is read with such beside it
        self.damaged = damaged


def question(name: str, kind: str, config: ResolvConf) -> Message:
    """What is asked about *name*. Raise LookupFailed if it cannot be one."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name

    try:
        parsed = dns.name.from_text(name.removesuffix(".") + ".")
    except (dns.exception.DNSException, UnicodeError, struct.error) as error:
        raise LookupFailed(name, "host not found", temporary=False) from error
    made = dns.message.make_query(parsed, kind, use_edns=0 if config.edns0 else None)
    if config.vouches:
        made.flags |= dns.flags.AD  # tell us whether you validated (RFC 6840 section 5.7)
    return made


def ask(asked: Message, server: Server, seconds: float, config: ResolvConf) -> Answer:
    """One server's answer. Raise LookupFailed if the name does not exist, TimeoutError, OSError
    (refused, no way there), NoHelp.
    """
    import dns.flags

    response = _exchange(asked, server, seconds, tcp=config.use_vc)
    return judged(response, vouched=config.vouches and bool(response.flags & dns.flags.AD))


def read(wire: bytes, kind: str) -> Message:
    """A response about records of *kind* as it came. Raise NoHelp if it is none."""
    import dns.exception
    import dns.message

    try:
        return dns.message.from_wire(wire, continue_on_error=kind == "TLSA")
    except (dns.exception.DNSException, ValueError) as error:
        raise NoHelp from error


def number(kind: str) -> int:
    """Of a type of records, "MX"."""
    import dns.rdatatype

    return int(dns.rdatatype.from_text(kind))


def _exchange(question: Message, server: Server, seconds: float, *, tcp: bool) -> Message:
    """The response to *question*. Raise TimeoutError, OSError, NoHelp."""
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
        left = max(end - time.monotonic(), LEAST)
        return dns.query.tcp(question, address, timeout=left, port=port)
    except dns.exception.Timeout as error:
        raise TimeoutError from error
    except (dns.exception.DNSException, EOFError, ValueError) as error:
        raise NoHelp from error


def _by_udp(question: Message, server: Server, end: float) -> Message:
    """The response, *end* in monotonic seconds. Raise TimeoutError, OSError, dns.message.Truncated.

    A connected socket hears the server alone, and at once if nobody listens there. What is no
    response to the question is left unheard: it may be forged, and the true one come yet.
    """
    import dns.exception
    import dns.inet
    import dns.message
    import dns.rdatatype

    # A digest of a wrong length is a record that does not count, beside others that may.
    is_lenient = question.question[0].rdtype == dns.rdatatype.TLSA
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        connection.connect(dns.inet.low_level_address_tuple(server))
        connection.send(question.to_wire())
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            wire = connection.recv(65535)
            try:
                response = dns.message.from_wire(
                    wire, raise_on_truncation=True, continue_on_error=is_lenient
                )
            except dns.message.Truncated:
                if wire[:2] == question.id.to_bytes(2, "big"):
                    raise
            except (dns.exception.DNSException, ValueError):
                continue
            else:
                if question.is_response(response):
                    return response
    raise TimeoutError


def judged(response: Message, *, vouched: bool) -> Answer:
    """What a response says; *vouched*: DNSSEC has been seen to.

    Raise LookupFailed if the name does not exist, NoHelp if it says nothing.
    """
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
        raise NoHelp
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException as error:
        raise NoHelp from error
    alias = chain.canonical_name.to_text(True)
    damaged = len(response.errors)
    return Answer(list(chain.answer or ()), alias, vouched=vouched, damaged=damaged)
