"""The access table (option AccessFile): who is let in, who may relay, whose mail is refused.

    Connect:10.0.3          RELAY               a network of clients
    Connect:IPv6:2001:db8   REJECT              another
    lab3.campus             OK                  untagged: clients, senders, and recipients as below
    From:spammer@lab1.campus  REJECT
    From:pest@              ERROR:5.7.1:550 Go away
    To:sink.campus          RELAY               anybody may send there
    Spam:carol@             FRIEND              with DelayChecks = friend
    CERTIssuer:/O=Example/CN=ca  SUBJECT        certificates: RELAY, or as their CERTSubject: row says
    TLS_Clt:laptop.campus   PERM+VERIFY:112     TLS that clients must have (``tls_requirement``)
    TLS_Srv:  TLS_Rcpt:  Try_TLS:               TLS with other hosts (``mailers/remote/tls_rules``)
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

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from minimta.config.values import nearest
from minimta.maps.access_keys import address_keys, domain_keys, full_keys, parts, user_keys
from minimta.maps.table import Get, no_rows
from minimta.message import address
from minimta.routing.refusal import Refusal, error_of, is_code, of_error
from minimta.system import log, tls_requirement
from minimta.system.certificates import PeerCertificate
from minimta.system.tls_requirement import Requirement

_WORDS = ("OK", "RELAY", "REJECT", "DISCARD", "SKIP")


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
        #: most hosts have no such table, and each message has twenty questions
        self._is_empty = get is no_rows
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

    def trusts_certificate(self, shown: PeerCertificate) -> bool:
        """May the client with this verified certificate relay?

        Sendmail's Local_Relay_Auth: CERTIssuer: RELAY; or SUBJECT, and CERTSubject: RELAY.
        """
        if not shown.issuer:
            return False
        said = self.word(f"certissuer:{shown.issuer}")
        return said == "RELAY" or (
            said == "SUBJECT" and self.word(f"certsubject:{shown.subject}") == "RELAY"
        )

    def wants_tls(self, ip: str, name: str, *, confirmed: bool) -> Requirement | None:
        """What TLS the client must have (TLS_Clt:), None: none. As ``client`` for the rest."""
        if self._is_empty:
            return None
        keys = chain(domain_keys(name) if confirmed else (), address_keys(ip), ("",))
        key, value = self._tagged("tls_clt", keys)
        return None if value is None else self._requirement(f"TLS_Clt:{key}", value)

    def _requirement(self, key: str, value: bytes) -> Requirement | None:
        try:
            return tls_requirement.read(value.decode("utf-8", "replace"), f"{key} of {self._path}")
        except ValueError as error:
            raise ValueError(f"{self._path}: {key}: {error}") from error

    def word(self, key: str) -> str:
        """The value of *key* in capitals, "" without a row."""
        return (self._get(key.lower().encode()) or b"").decode("ascii", "replace").strip().upper()

    def sender(self, bare: bytes) -> Verdict | None:
        """Of the sender *bare*: full address, then "user@", then domain."""
        if self._is_empty:
            return None
        local, domain = parts(bare)
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
        if self._is_empty:
            return None
        local, domain = parts(bare)
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
        local, domain = parts(bare)
        users = user_keys(local) if is_ours else ()
        keys = chain(full_keys(local, domain), domain_keys(domain), users)
        _, value = self._tagged("spam", keys)
        return (value or b"").decode("ascii", "replace").strip().upper()

    def number(self, tag: str, ip: str, name: str = "") -> int | None:
        """Of "greetpause", "clientrate" or "clientconn" for a client; None without a row.

        Raise OSError, and ValueError if the row has no number.
        """
        if self._is_empty:
            return None
        key, value = self._tagged(tag, chain(domain_keys(name), address_keys(ip), ("",)))
        if value is None:
            return None
        text = value.decode("ascii", "replace").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ValueError(f"{self._path}: {tag}:{key}: no number: {text[:60]!r}")
        return int(text)

    # --- rows -------------------------------------------------------------------------------------

    def _tagged(self, tag: str, keys: Iterable[str]) -> tuple[str, bytes | None]:
        """The first of *keys* that has a row with *tag*, and its value; None if none has."""
        if not self._is_empty:
            for key in keys:
                value = self._get(f"{tag}:{key}".encode())
                if value is not None:
                    return key, value
        return "", None

    def _domain(self, tag: str, name: str, untagged: bool = True) -> Verdict | None:
        return self._first(tag, domain_keys(name), untagged)

    def _address(self, tag: str, ip: str) -> Verdict | None:
        return self._first(tag, address_keys(ip))

    def _full(self, tag: str, local: str, domain: str, untagged: bool = True) -> Verdict | None:
        return self._first(tag, full_keys(local, domain), untagged)

    def _user(self, tag: str, local: str, untagged: bool = True) -> Verdict | None:
        return self._first(tag, user_keys(local), untagged)

    def _first(self, tag: str, keys: Iterable[str], untagged: bool = True) -> Verdict | None:
        """Of the first of *keys* that has a row; None as well if that says SKIP."""
        for key in () if self._is_empty else keys:
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
