"""What TLS a next hop must have: the table of the option TLSPolicy, and what holds without a row.

    # next hop                 what must be
    [smtp.example.org]:587     verify
    example.org                verify match=mx.example.net,.example.net
    [10.0.3.9]                 fingerprint sha256:2f3e...  sha256:...
    [printer.campus]:2465      encrypt implicit
    .campus                    none
    example.net                dane-only

    level          nothing is sent unless
    none           (no TLS)
    may            (TLS if it can be had)
    encrypt        there is TLS, with anybody
    verify         and a certificate for the next hop as it is configured, or for a name of match=,
                   signed by an authority that we trust (CACertFile, CACertPath); for a next hop
                   where we log in that is so without a row
    fingerprint    and exactly this certificate, whoever signed it, and whether it has expired or not
    dane           and one of the certificates that TLSA records name; (may, if there are none)
    dane-only      and there are such records, and DNSSEC vouches for them
    sts            and a certificate for the host, if the domain has a policy (MTA-STS); (may, if not)

"implicit" is TLS from the first octet, as port 465 has it (RFC 8314 section 3.3). A key is the next
hop as it is configured, "[h]:587", or less of it: "[h]", "h:587", "h", ".parent", "." for the rest.
What MX records say is not trusted, unless DNSSEC vouches for them: whoever can forge them has a
certificate for their own host. A row that cannot be understood delays mail for its next hop. Without
a row it depends on the host: see ``host_policy``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from minimta.config.options import Options
from minimta.config.values import nearest
from minimta.mailers.remote.dane import DaneRecords
from minimta.mailers.remote.mx_targets import NextHop
from minimta.mailers.remote.sts_policy import StsPolicy
from minimta.maps import table
from minimta.system import log
from minimta.system.tls import TlsClient
from minimta.system.tls_requirement import Requirement
from minimta.system.tls_values import Choices, KeyPair, Trust

SUBMISSIONS_PORT = 465
_HEX = frozenset("0123456789abcdef")


class Level(enum.Enum):
    """How much there must be, from nothing on."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    VERIFY = "verify"
    FINGERPRINT = "fingerprint"
    DANE = "dane"
    DANE_ONLY = "dane-only"
    STS = "sts"


@dataclass(frozen=True, slots=True)
class Reported:
    """Which policy of the domain's owner applies: it is counted how it comes out (RFC 8460)."""

    #: policy-type: tlsa, sts, no-policy-found
    policy_type: str = "no-policy-found"
    #: policy-string: the records, or the lines of the policy
    strings: tuple[str, ...] = ()
    #: can none of the records be used?
    is_useless: bool = False
    #: the policy that is tested: mail goes out, whether it is met or not
    tested: StsPolicy | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What must be, for one next hop."""

    level: Level = Level.MAY
    #: names for one of which the certificate must be (verify); ".campus": any below campus
    names: tuple[str, ...] = ()
    #: SHA-256 of the certificate (fingerprint), hexadecimal digits
    fingerprints: tuple[str, ...] = ()
    #: TLS from the first octet, without STARTTLS
    implicit: bool = False
    #: who says so, for people: "row [h]:587 of /etc/mail/tls-policy"
    origin: str = ""
    #: do we log in there? Never in clear, whatever a row allows
    logs_in: bool = False
    #: has no row said so, and no login?
    is_default: bool = False
    #: records for one of which the certificate must be (dane, once they are known)
    dane: DaneRecords | None = None
    #: what the domain's owner is told of, None: nothing
    reported: Reported | None = None
    #: what the access table wants beside that (``tls_rules``)
    required: Requirement | None = None

    @property
    def is_binding(self) -> bool:
        """Does nothing leave in clear?"""
        return self.level not in (Level.NONE, Level.MAY) or self.implicit

    def told(self) -> str:
        """For people: "verify, as mx.campus, from the first octet (row [h]:465 of /t)"."""
        words = [self.level.value]
        words += [f"as {' or '.join(self.names)}"] if self.names else []
        words += ["from the first octet"] if self.implicit else []
        return f"{', '.join(words)} ({self.origin})"


#: for a peer that is on this host, or a socket of it
NO_TLS = Policy(Level.NONE)
#: for a peer with whom a handshake broke that need not be made
AFTER_FAILURE = Policy(Level.NONE, origin="a handshake that broke")


class TlsPolicies:
    """The rows of the table, and the default."""

    def __init__(self, rows: Mapping[bytes, bytes], path: str = "") -> None:
        """*rows* is key -> row, keys in small letters; *path* names it in what people read."""
        self._table = rows
        self.path = path

    @property
    def rows(self) -> Mapping[bytes, bytes]:
        """All of them, key -> row."""
        return self._table

    @classmethod
    def read(cls, options: Options) -> TlsPolicies:
        """As the option TLSPolicy says; no file is no rows. Raise OSError, with the path.

        All rows at once: the worker, which asks for them, keeps no file open.
        """
        path = options.tls_policy
        return cls(table.all_rows(path) if path else {}, path)

    def mention(self, level: str) -> bool:
        """Does a row want "dane" (or dane-only), or "sts"?"""
        return any(level.encode("ascii") in row.lower() for row in self._table.values())

    def policy(self, hop: NextHop, *, logs_in: bool = False) -> Policy:
        """For *hop*, where we shall perhaps log in. Raise ValueError for a row that makes no sense."""
        found = self._row(hop)
        if found is None:
            why = f"the login at {hop.key}" if logs_in else f"port {hop.port}"
            level = Level.VERIFY if logs_in else Level.MAY
            policy = Policy(level, origin=why, is_default=not logs_in)
        else:
            key, value = found
            try:
                policy = replace(read_row(value), origin=f"row {key} of {self.path}")
            except ValueError as error:
                raise ValueError(f"row {key} of {self.path}: {error}") from error
        implicit = policy.implicit or hop.port == SUBMISSIONS_PORT
        names = policy.names or (hop.name,) if policy.level is Level.VERIFY else ()
        implicit = implicit and policy.level is not Level.NONE
        return replace(policy, names=names, implicit=implicit, logs_in=logs_in)

    def _row(self, hop: NextHop) -> tuple[str, str] | None:
        for key in _keys(hop):
            value = self._table.get(key.encode("ascii", "backslashreplace"))
            if value is not None:
                try:
                    return key, value.decode("ascii")
                except UnicodeDecodeError as error:
                    raise ValueError(f"row {key} of {self.path}: not ASCII") from error
        return None


def _keys(hop: NextHop) -> Iterator[str]:
    """Under which rows *hop* is looked for, the nearest first."""
    name = hop.name.lower()
    if hop.bracketed:
        yield from (f"[{name}]:{hop.port}", f"[{name}]")
    yield from (f"{name}:{hop.port}", name)
    while "." in name and not name.replace(".", "").isdigit():
        name = name.partition(".")[2]
        yield f".{name}"
    yield "."


def read_row(value: str) -> Policy:
    """The policy that a row states. Raise ValueError."""
    word, *rest = value.split() or [""]
    levels = {level.value: level for level in Level}
    if word.lower() not in levels:
        raise ValueError(
            f"{word!r} is no level of TLS{nearest(word.lower(), {n: n for n in levels})}"
        )
    level, names, fingerprints, implicit = levels[word.lower()], "", [], False
    for part in rest:
        if part.lower() == "implicit" and level is not Level.NONE:
            implicit = True
        elif part.lower().startswith("match=") and level is Level.VERIFY:
            names += f",{part[6:]}"
        elif part.lower().startswith("sha256:") and level is Level.FINGERPRINT:
            fingerprints.append(_fingerprint(part[7:]))
        else:
            raise ValueError(f"{part!r} has no sense behind {level.value}")
    if level is Level.FINGERPRINT and not fingerprints:
        raise ValueError("fingerprint needs sha256:... of the certificate")
    wanted = tuple(name.lower() for name in names.split(",") if name)
    return Policy(level, wanted, tuple(fingerprints), implicit)


def _fingerprint(text: str) -> str:
    """As openssl(1) prints it, "2F:3E:...", or without colons. Raise ValueError."""
    digits = text.replace(":", "").lower()
    if len(digits) != 64 or not _HEX.issuperset(digits):
        raise ValueError(f"{text[:80]!r} is no SHA-256: 64 hexadecimal digits")
    return digits


# --- keys and authorities -------------------------------------------------------------------------


def tls_client(options: Options) -> TlsClient:
    """With the files that the options name, read now: later, without root, nobody may read our key.

    A certificate of ours that is no good is told to the log, and stops no mail.
    """
    own = None
    if options.client_cert_file:
        key_file = options.client_key_file or options.client_cert_file
        own = KeyPair(options.client_cert_file, key_file)
    choices = Choices(options.cipher_list, options.client_ssl_options)
    client = TlsClient(Trust(options.ca_cert_file, options.ca_cert_path), own, choices)
    if client.nameless:
        why = f"STARTTLS=client, error: no certificate to show: {log.clean(client.nameless)}"
        log.line("", f"{why} (ClientCertFile, ClientKeyFile)", level=1, error=True)
    if client.unheeded:
        log.line("", f"STARTTLS=client, error: {log.clean(client.unheeded)}", level=1, error=True)
    return client
