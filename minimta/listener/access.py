"""The access table (option AccessFile): who is let in, who may relay, whose mail is refused.

    Connect:10.0.3          RELAY               a network of clients
    Connect:IPv6:2001:db8   REJECT              another
    lab3.campus             OK                  untagged: clients, senders, and recipients as below
    From:spammer@lab1.campus  REJECT
    From:pest@              ERROR:5.7.1:550 Go away
    To:sink.campus          RELAY               anybody may send there
    Spam:carol@             FRIEND              with DelayChecks = friend
    CERTIssuer:/O=Example/CN=ca  SUBJECT        certificates: RELAY, or as their CERTSubject: row says
    ClientRate:             100                 numbers: for 10.0.3.4, 10.0.3, 10.0, 10, the rest

    right-hand side         what becomes of it
    OK                      accepted, whatever block lists and name servers say
    RELAY                   the same, and may relay
    REJECT                  550
    DISCARD                 accepted and thrown away
    QUARANTINE:REASON       accepted and held (mailq -qQ)
    SKIP                    as if there were no row, nor one for the domain or network above it
    ERROR:D.S.N:CODE TEXT   refused so; also "ERROR:CODE TEXT" and "CODE TEXT"

The rules are those of Sendmail's LookUpDomain, LookUpAddress, LookUpFull and LookUpUser: with the tag
and then without it, the nearer row first. Keys are in small letters. A right-hand side that makes no
sense delays mail: it may be a misspelt REJECT as well as a misspelt OK. Nothing here sees a socket.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minimta.config.values import nearest
from minimta.maps.table import Get
from minimta.message import address
from minimta.routing.refusal import Refusal, error_of, is_code, of_error
from minimta.system import log

#: what may stand before a key, in small letters
TAGS = ("connect", "from", "to", "spam", "greetpause", "clientrate", "clientconn")
_NUMBERS = ("greetpause", "clientrate", "clientconn")
#: tag of a certificate's name -> what may stand behind it
_CERTIFICATES = {"certissuer": ("RELAY", "SUBJECT"), "certsubject": ("RELAY",)}
#: Sendmail's other tags, and what has their effect here
ELSEWHERE = {
    "tls_srv": "the table of TLSPolicy says what TLS other hosts must have",
    "tls_rcpt": "the table of TLSPolicy says what TLS other hosts must have",
    "try_tls": "the table of TLSPolicy says where TLS is not tried",
    "tls_clt": "nothing asks clients for TLS by this table",
    "srv_features": "nothing is offered to some clients only",
    "clt_features": "nothing is offered to some clients only",
    "authinfo": "logins at other hosts stand in the file of AuthInfoFile",
}
_WORDS = ("OK", "RELAY", "REJECT", "DISCARD", "SKIP")
#: rows that are told when a table is read; the rest is as wrong
_MOST_TOLD = 20
#: rows of a database that are looked through
_MOST_LOOKED_AT = 200_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a row says."""

    #: "OK", "RELAY", "REJECT", "DISCARD", "SKIP", "QUARANTINE" or "ERROR"
    word: str
    #: of REJECT and ERROR
    refusal: Refusal | None = None
    #: of QUARANTINE
    reason: str = ""

    @property
    def accepts(self) -> bool:
        """OK or RELAY?"""
        return self.word in ("OK", "RELAY")


def verdict(value: bytes) -> Verdict:
    """What the right-hand side *value* means. Raise ValueError if nothing."""
    text = value.decode("utf-8", "replace").strip().strip('"')
    word, colon, rest = text.partition(":")
    upper = text.upper()
    if upper == "REJECT":
        return Verdict("REJECT", Refusal(550, "5.7.1", "Access denied"))
    if upper in _WORDS:
        return Verdict(upper)
    if word.upper() == "QUARANTINE" and colon and rest.strip():
        return Verdict("QUARANTINE", reason=log.clean(rest.strip(), 200))
    if word.upper() == "ERROR" and colon:
        return Verdict("ERROR", _error(rest))
    if is_code(text[:3]) and text[3:4] in ("", " "):
        return Verdict("ERROR", _error(text))
    known = {name.lower(): name for name in (*_WORDS, "QUARANTINE:", "ERROR:")}
    raise ValueError(f"{text[:60]!r} means nothing{nearest(text.lower()[:60], known)}")


def _error(text: str) -> Refusal:
    status, rest = error_of(text.strip())
    return of_error(status, rest.strip().strip('"'))


class AccessRows:
    """The table as it is at one moment. Its questions raise OSError and, for a bad row, ValueError."""

    def __init__(self, get: Get, path: str = "") -> None:
        """*get* is key -> value; *path* names the table in what people read."""
        self._get = get
        self._path = path

    def client(self, ip: str, name: str, *, confirmed: bool) -> Verdict | None:
        """Of a client that connects; *confirmed*: its *name* leads back to *ip*.

        A name that does not keeps nobody's mail out of a block list, though it may well refuse it:
        whoever owns the address writes its name.
        """
        found = self._domain("connect", name) if name else None
        if found is not None and (confirmed or not found.accepts):
            return found
        return self._address("connect", ip)

    def may_relay(self, ip: str, name: str, *, confirmed: bool) -> bool:
        """May the client send to other hosts, by its address or its proved name?"""
        found = self._address("connect", ip)
        if found is None or found.word != "RELAY":
            found = self._domain("connect", name) if name and confirmed else None
        return found is not None and found.word == "RELAY"

    def trusts_certificate(self, issuer: str, subject: str) -> bool:
        """May the client with this verified certificate relay? The names are as Sendmail's, "/CN=ca".

        Sendmail's Local_Relay_Auth: CERTIssuer: RELAY; or SUBJECT, and CERTSubject: RELAY.
        """
        if not issuer:
            return False
        said = self._word(f"certissuer:{issuer}")
        return said == "RELAY" or (
            said == "SUBJECT" and self._word(f"certsubject:{subject}") == "RELAY"
        )

    def _word(self, key: str) -> str:
        return (self._get(key.lower().encode()) or b"").decode("ascii", "replace").strip().upper()

    def sender(self, bare: bytes) -> Verdict | None:
        """Of the sender *bare*: full address, then "user@", then domain."""
        local, domain = _parts(bare)
        found = self._full("from", local, domain) if domain else None
        return (
            found or self._user("from", local) or (self._domain("from", domain) if domain else None)
        )

    def recipient(self, bare: bytes, *, is_ours: bool, untagged: bool) -> Verdict | None:
        """Of the recipient *bare*; "user@" is for users of this host.

        *untagged* (BlocklistRecipients): rows without "To:" count.
        """
        # DIFFERS: without FEATURE(blocklist_recipients) Sendmail obeys no row but "To:" RELAY. Who
        # writes "To:carol@ REJECT" wants it so.
        local, domain = _parts(bare)
        found = self._full("to", local, domain, untagged) if domain else None
        if found is None and is_ours:
            found = self._user("to", local, untagged)
        if found is None and domain:
            found = self._domain("to", domain, untagged)
        return found

    def relays_to(self, domain: bytes) -> bool:
        """May anybody send to *domain*? "To:" RELAY, or an untagged row."""
        found = self._domain("to", address.domain_key(domain).decode("ascii", "replace"))
        return found is not None and found.word == "RELAY"

    def spam(self, bare: bytes, *, is_ours: bool) -> str:
        """The value of the recipient's "Spam:" row, "FRIEND" or "HATER"; "" without one."""
        local, domain = _parts(bare)
        keys = [*_full_keys(local, domain), *domain_keys(domain)]
        keys += _user_keys(local) if is_ours else []
        for key in keys:
            value = self._get(f"spam:{key}".encode())
            if value is not None:
                return value.decode("ascii", "replace").strip().upper()
        return ""

    def number(self, tag: str, ip: str, name: str = "") -> int | None:
        """Of "greetpause", "clientrate" or "clientconn" for a client; None without a row.

        Raise OSError, and ValueError if the row has no number.
        """
        for key in (*domain_keys(name), *address_keys(ip), ""):
            value = self._get(f"{tag}:{key}".encode())
            if value is not None:
                text = value.decode("ascii", "replace").strip()
                if not (text.isascii() and text.isdigit() and len(text) < 10):
                    raise ValueError(f"{self._path}: {tag}:{key}: no number: {text[:60]!r}")
                return int(text)
        return None

    # --- rows -------------------------------------------------------------------------------------

    def _domain(self, tag: str, name: str, untagged: bool = True) -> Verdict | None:
        return self._first(tag, domain_keys(name), untagged)

    def _address(self, tag: str, ip: str) -> Verdict | None:
        return self._first(tag, address_keys(ip))

    def _full(self, tag: str, local: str, domain: str, untagged: bool = True) -> Verdict | None:
        return self._first(tag, _full_keys(local, domain), untagged)

    def _user(self, tag: str, local: str, untagged: bool = True) -> Verdict | None:
        return self._first(tag, _user_keys(local), untagged)

    def _first(self, tag: str, keys: Iterable[str], untagged: bool = True) -> Verdict | None:
        """Of the first of *keys* that has a row; None as well if that says SKIP."""
        for key in keys:
            for whole in (f"{tag}:{key}", key)[: 1 + untagged]:
                value = self._get(whole.encode("utf-8", "surrogateescape"))
                if value is None:
                    continue
                try:
                    found = verdict(value)
                except ValueError as error:
                    raise ValueError(f"{self._path}: {whole}: {error}") from error
                return None if found.word == "SKIP" else found
        return None


def _parts(bare: bytes) -> tuple[str, str]:
    """Local part and domain as keys have them: what quotes hide nothing, no final dot."""
    local, domain = address.split(bare)
    meaning = address.quoted(address.unquote(local.lower()))
    key = address.domain_key(domain)
    return meaning.decode("utf-8", "surrogateescape"), key.decode("utf-8", "surrogateescape")


def _full_keys(local: str, domain: str) -> Iterator[str]:
    yield from (f"{user}{domain}" for user in _user_keys(local))


def _user_keys(local: str) -> Iterator[str]:
    """ "dave+x@", "dave+*@", "dave@" """
    yield f"{local}@"
    user, plus, _ = local.partition("+")
    if plus:
        yield from (f"{user}+*@", f"{user}@")


def domain_keys(name: str) -> Iterator[str]:
    """A name and those above it; of a literal the networks, "[10.0.3.4]", "[10.0.3]" ..."""
    name = name.lower().removesuffix(".")
    if name[:1] == "[":
        yield from (f"[{key}]" for key in address_keys(name.strip("[]").removeprefix("ipv6:")))
        return
    while name:
        yield name
        name = name.partition(".")[2]


def address_keys(ip: str) -> Iterator[str]:
    """An address and the networks that it is in, "10.0.3.4", "10.0.3" ..., "ipv6:2001:db8" ..."""
    if not ip:
        return
    if ":" not in ip:
        parts = ip.split(".")
        yield from (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        return
    try:
        groups = [
            group.lstrip("0") or "0" for group in ipaddress.ip_address(ip).exploded.split(":")
        ]
    except ValueError:
        return
    yield f"ipv6:{ipaddress.ip_address(ip).compressed}"
    for count in range(len(groups), 0, -1):
        yield "ipv6:" + ":".join(groups[:count])
        # As people write a network; it would be the address 2001:db8:: as well.
        if count < len(groups):
            yield "ipv6:" + ":".join(groups[:count]) + "::"


# --- what is wrong in it --------------------------------------------------------------------------


def tell_problems(path: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Log what no client will ever meet, or will meet as a delay. Raise OSError as *rows* does."""
    for number, text in enumerate(problems(rows)):
        if number == _MOST_TOLD:
            return
        log.line("", f"{path}: {log.clean(text)}", level=1, error=True)


def problems(rows: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """A sentence for each row that nothing obeys, or that makes no sense."""
    for number, (key, value) in enumerate(rows):
        if number == _MOST_LOOKED_AT:
            return
        problem = _problem(key.decode("utf-8", "replace"), value)
        if problem:
            yield f"row {key.decode('utf-8', 'replace')}: {problem}"


def _problem(key: str, value: bytes) -> str:
    tag, colon, rest = key.partition(":")
    if not colon or tag == "ipv6":
        tag, rest = "", key
    if tag in ELSEWHERE:
        return f"it does nothing: {ELSEWHERE[tag]}"
    if tag in _CERTIFICATES:
        words = _CERTIFICATES[tag]
        is_word = value.decode("ascii", "replace").strip().upper() in words
        return "" if is_word else f"its value is none of {', '.join(words)}"
    if tag and tag not in TAGS:
        return f"no such tag{nearest(tag, {name: name for name in TAGS})}; it does nothing"
    if "/" in rest and rest.partition("/")[0].count(".") + rest.count(":") and "@" not in rest:
        return "networks are written as Sendmail does, 10.0.3 for 10.0.3.0/24; it does nothing"
    if tag in _NUMBERS:
        return "" if value.strip().isdigit() else "its value is no number"
    if tag == "spam":
        known = value.strip().upper() in (b"FRIEND", b"HATER")
        return "" if known else "its value is neither FRIEND nor HATER"
    try:
        verdict(value)
    except ValueError as error:
        return f"{error}; mail that meets it is delayed"
    return ""
