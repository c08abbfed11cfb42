"""The text of /etc/mail/authinfo: which login belongs to which next hop (Sendmail's FEATURE(authinfo)).

    AuthInfo:smtp.example.org          "U:emma@example.org" "P:password"
    AuthInfo:smtp.example.org:587      "I:emma" "P=cGFzc3dvcmQ=" "M:PLAIN LOGIN"
    AuthInfo:emma@example.org          "H:smtp.example.org" "I:emma" "P:other"
    AuthInfo:                          for every next hop that the configuration names

    I, U    who logs in, and as whom to act there; one of them is enough
    P       the password, "P=" in base64; or
    F       a file whose first line it is; C a program, with arguments, that prints it; S the name of
            a credential of systemd; T the name of a token of `minimta token` (these four are ours)
    M       mechanisms that may be used; XOAUTH2 and OAUTHBEARER: the secret is an access token;
            without M both for T, else all that need a password
    H       a row for a sender, or for all of a domain ("@example.org"): the host that it is for
    N       further names that the certificate of the host may have (ours)
    R       realm: no mechanism that is known here has one

The nearest row counts: sender, sender's domain, host and port, host, the default. A row that cannot
be understood has a fault, and delays only mail that it is for. Nothing here knows a file.
"""

from __future__ import annotations

import binascii
import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass, field

from minimta.config.values import mail_port
from minimta.smtp.sasl import PASSWORD_MECHANISMS, TOKEN_MECHANISMS

_PREFIX = "authinfo:"
#: "X:value", quoted because it may have blanks, or without quotation marks
_FIELD = re.compile(rb'\s+(?:"([^"]*)"|([^"\s]+))(?=\s|$)')
_TAGS = "UIPRMFCSTHN"
#: where a secret is; one of these a row has
SOURCES = "PFCST"
_NAME_MARKS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+-"
#: users of this host that Sendmail's examples have as U; nobody is meant to be them elsewhere
_LOCAL_USERS = ("root", "smmsp")


@dataclass(frozen=True, slots=True)
class AuthRow:
    """One row. With a ``fault`` the rest says nothing."""

    line: int
    #: in small letters, without "AuthInfo:" and brackets: "smtp.example.org:587", "emma@example.org"
    key: str
    user: str = ""
    #: as whom to act there, "" for *user*
    identity: str = ""
    #: () for all that need a password
    mechanisms: tuple[str, ...] = ()
    #: of SOURCES, and what stands behind it: the password itself, a path, a command line, a name
    source: str = ""
    value: bytes = field(default=b"", repr=False)
    #: of a row for a sender: "smtp.example.org", "smtp.example.org:587"
    host: str = ""
    names: tuple[str, ...] = ()
    #: what is wrong with it, for the administrator
    fault: str = ""

    @property
    def is_for_sender(self) -> bool:
        """Does the key name a sender, not a host?"""
        return "@" in self.key

    def is_for(self, name: str, port: int) -> bool:
        """Is it for the host of this name and port? Of a row with a fault only the key says so."""
        wanted = self.host if self.is_for_sender else self.key
        return wanted in ("", name, f"{name}:{port}")


class _Fault(Exception):
    """What is wrong with a row."""


def parse(text: bytes) -> list[AuthRow]:
    """The rows, in their order. Raises nothing: what is wrong with a row is its fault."""
    rows, seen = [], dict[tuple[str, str], int]()
    for number, line in enumerate(text.removeprefix(BOM_UTF8).split(b"\n"), 1):
        key, *_ = line.split(None, 1) or [b""]
        # A line that begins with a blank is none of makemap(8)'s either.
        if not key or line[:1] in b"# \t\r":
            continue
        row = _row(number, key, line[len(key) :].rstrip())
        first = seen.setdefault((row.key, row.host), number)
        if first != number:
            row = AuthRow(number, row.key, host=row.host, fault=f"line {first} is for the same")
        rows.append(row)
    return rows


def find(rows: Sequence[AuthRow], name: str, port: int, sender: bytes) -> AuthRow | None:
    """The row for mail from *sender* to the next hop *name* and *port*; None: there is no login."""
    host = _host_key(name.lower())
    address = sender.decode("utf-8", "replace").lower()
    keys = [f"{host}:{port}", host, ""]
    if "@" in address:
        keys = [address, f"@{address.rpartition('@')[2]}", *keys]
    fitting = [row for row in rows if row.key in keys and row.is_for(host, port)]
    # Of two rows for one sender the one that names the port is nearer; the first one counts.
    return min(fitting, key=lambda row: (keys.index(row.key), -len(row.host)), default=None)


def _row(number: int, key: bytes, rest: bytes) -> AuthRow:
    shown = key.decode("utf-8", "backslashreplace").lower().removeprefix(_PREFIX)
    shown = shown if "@" in shown else _host_key(shown)
    host = ""
    try:
        fields = _fields(rest)
        host = _host_key(_text(fields, "H").lower())
        return _checked(number, shown, host, fields)
    except _Fault as fault:
        return AuthRow(number, shown, host=host, fault=str(fault))


def _checked(number: int, key: str, host: str, fields: dict[str, bytes]) -> AuthRow:
    if bool(host) != ("@" in key):
        raise _Fault("a row for a sender, and no other, needs H: and the host that it is for")
    sources = [tag for tag in SOURCES if tag in fields]
    if len(sources) != 1:
        raise _Fault("one of P: F: C: S: T: must say what the password is")
    if not fields[sources[0]]:
        raise _Fault(f"{sources[0]}: is empty")
    if sources[0] in "FC" and not fields[sources[0]].startswith(b"/"):
        raise _Fault(f"{sources[0]}: needs a path that begins with /")
    if sources[0] == "S" and b"/" in fields["S"]:
        raise _Fault("S: needs the name of a credential, without /")
    mechanisms = _mechanisms(_text(fields, "M"))
    if sources[0] == "T":
        mechanisms = mechanisms or TOKEN_MECHANISMS
        if not set(mechanisms) <= set(TOKEN_MECHANISMS):
            raise _Fault("T: needs one of the mechanisms OAUTHBEARER, XOAUTH2, or no M:")
        if not is_token_name(_text(fields, "T")):
            raise _Fault("T: needs a name that `minimta token list` tells")
    authentication, authorization = _text(fields, "I"), _text(fields, "U")
    user = authentication or authorization
    if not user:
        raise _Fault("I: or U: must say who logs in")
    # DIFFERS: Sendmail says that it acts for U, whatever it is; its examples have "U:root", whom no
    # provider knows, and some refuse the login for that.
    is_other = authorization not in ("", user, *_LOCAL_USERS)
    return AuthRow(
        number,
        key,
        user,
        authorization if is_other else "",
        mechanisms,
        sources[0],
        fields[sources[0]],
        host,
        tuple(_text(fields, "N").lower().replace(",", " ").split()),
    )


def is_token_name(name: str) -> bool:
    """May a token of `minimta token` have this name? It is a file's, too."""
    return 0 < len(name) <= 100 and name[0] not in ".-" and not name.strip(_NAME_MARKS)


def _fields(rest: bytes) -> dict[str, bytes]:
    """Tag -> value of each field; P= is decoded."""
    found: dict[str, bytes] = {}
    end = 0
    for match in _FIELD.finditer(rest):
        if match.start() != end:
            break
        end = match.end()
        tag, value = _field(match[1] if match[1] is not None else match[2])
        if tag in found:
            raise _Fault(f"{tag}: stands there twice")
        found[tag] = value
    if end != len(rest):
        raise _Fault('a quotation mark too many or too few: "U:user" "P:password" are wanted')
    return found


def _field(text: bytes) -> tuple[str, bytes]:
    tag, mark = text[:1].decode("latin-1").upper(), text[1:2]
    if tag not in _TAGS or mark not in (b":", b"="):
        # Not shown: it may be a piece of a password.
        raise _Fault(f"each field begins with one of {' '.join(f'{tag}:' for tag in _TAGS)}")
    if mark == b":":
        return tag, text[2:]
    try:
        return tag, binascii.a2b_base64(text[2:], strict_mode=True)
    except ValueError:
        raise _Fault(f"{tag}= is no base64") from None


def _text(fields: dict[str, bytes], tag: str) -> str:
    try:
        text = fields.get(tag, b"").decode("utf-8")
    except UnicodeDecodeError:
        raise _Fault(f"{tag}: is not UTF-8") from None
    if not text.isprintable():
        raise _Fault(f"{tag}: has a control character")
    return text.strip()


def _mechanisms(text: str) -> tuple[str, ...]:
    """Those that are known here: lists of Sendmail's have DIGEST-MD5 and others, too."""
    words = text.upper().replace(",", " ").split()
    known = tuple(w for w in words if w in PASSWORD_MECHANISMS or w in TOKEN_MECHANISMS)
    if words and not known:
        raise _Fault(f"M: has none of {' '.join((*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS))}")
    if len({word in TOKEN_MECHANISMS for word in known}) > 1:
        raise _Fault("M: has mechanisms for a password and for a token: one row has one of them")
    return known


def _host_key(text: str) -> str:
    """A host as rows name it: "[h]:587" and "h.:submission" are h:587."""
    name, port = text, ""
    if text[:1] == "[":
        name, _, port = text[1:].partition("]")
        port = port[1:]
    elif text.count(":") == 1:
        name, _, port = text.partition(":")
    name = name.removeprefix("ipv6:").removesuffix(".")
    return f"{name}:{_port(port)}" if port else name


def _port(word: str) -> str:
    try:
        return str(mail_port(word))
    except ValueError:
        return word
