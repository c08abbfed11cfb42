"""ESMTP parameters of MAIL and RCPT: SIZE, BODY, AUTH, BY and those of DSN (RFC 3461 section 4).

    MAIL FROM:<emma@lab1.campus> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=QQ314 AUTH=<> SMTPUTF8
    RCPT TO:<dave@lab2.campus> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;dave@lab2.campus

Each comes once (but NOTIFY), numbers are ASCII digits, and xtext is seen to be xtext, for it goes
into a line of the control file and into reports as it came. All that is wrong is a CommandError.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from minimta.message.deliver_by import BadDeliverBy, DeliverBy
from minimta.message.deliver_by import parse as parse_deliver_by
from minimta.message.printable import is_text
from minimta.message.xtext import MAX_ENVID, is_xtext, utf8_address
from minimta.smtp.reply import CommandError, quoted, refusal

#: octets of ORCPT (RFC 3461 section 4.2), and of AUTH, which names one address too
MAX_ORCPT = 500
# RFC 5321 section 4.1.2: esmtp-keyword ["=" esmtp-value]; a value holds no "=" and no control.
_PARAMETER = re.compile(rb"([A-Za-z0-9-]*)(?:=([^=\s]*))?")
# RFC 3461 section 4.2: the address type is an atom.
_ATOM = re.compile(rb"[A-Za-z0-9!#$%&'*+/?^_`{|}~.-]+")
_DIGITS = re.compile(rb"[0-9]{1,20}")
_NOTIFY = {b"SUCCESS": "S", b"FAILURE": "F", b"DELAY": "D"}


def split(text: bytes) -> list[tuple[bytes, bytes | None]]:
    """(keyword as given, value) pairs; the value is None without "=". Raise CommandError."""
    found = []
    for word in text.split():
        match = _PARAMETER.match(word)
        assert match is not None  # it matches the empty string
        keyword, value = match.groups()
        rest = word[match.end() :].lstrip(b"=")
        found.append((keyword, value))
        if rest or not keyword:
            raise _unrecognized(keyword and rest)
    return found


def _unrecognized(keyword: bytes) -> CommandError:
    known = _PARAMETER.match(keyword)
    return refusal(555, "5.5.4", f"{quoted(known[1]) if known else ''} parameter unrecognized")


class MailParameters:
    """What may follow MAIL FROM:<path>."""

    __slots__ = ("auth", "body_type", "deliver_by", "envid", "requires_tls", "ret", "size", "utf8")

    def __init__(self) -> None:
        #: octets announced, -1 if not
        self.size = -1
        #: b"7BIT", b"8BITMIME", b"BINARYMIME", b"" if not given
        self.body_type = b""
        #: b"FULL", b"HDRS"
        self.ret = b""
        #: xtext
        self.envid = b""
        #: b"<>" or xtext
        self.auth = b""
        #: SMTPUTF8 was said, REQUIRETLS was
        self.utf8 = self.requires_tls = False
        #: BY=, None if not given
        self.deliver_by: DeliverBy | None = None


class RcptParameters:
    """What may follow RCPT TO:<path>."""

    __slots__ = ("notify", "original")

    def __init__(self) -> None:
        #: letters of the control file, in its order: "N" never, "NSFD"; "" if not given
        self.notify = ""
        #: ORCPT: type ";" xtext
        self.original = b""


def of_mail(text: bytes, *, dsn: bool = True) -> MailParameters:
    """Read the parameters of MAIL; *dsn* False refuses those of DSN. Raise CommandError."""
    found, seen = MailParameters(), set[bytes]()
    for given, value in split(text):
        keyword = given.upper()
        if keyword in _WORDS:
            setattr(found, _WORDS[keyword], _alone(keyword, value, keyword in seen))
            seen.add(keyword)
            continue
        if keyword not in _MAIL:
            raise _unrecognized(given)
        if keyword in (b"RET", b"ENVID") and not dsn:
            raise refusal(504, "5.7.0", _no_dsn(keyword))
        name, read = _MAIL[keyword]
        setattr(found, name, read(_once(keyword, value, keyword in seen)))
        seen.add(keyword)
    return found


def of_rcpt(text: bytes, *, dsn: bool = True, utf8: bool = False) -> RcptParameters:
    """Read the parameters of RCPT; *dsn* False refuses them all. Raise CommandError.

    *utf8*: SMTPUTF8 was said to MAIL.
    """
    found, notify = RcptParameters(), set[bytes]()
    for given, value in split(text):
        keyword = given.upper()
        if keyword not in (b"NOTIFY", b"ORCPT"):
            raise _unrecognized(given)
        if not dsn:
            raise refusal(504, "5.7.0", _no_dsn(keyword))
        if keyword == b"NOTIFY":
            # A second NOTIFY adds to the first, as in Sendmail.
            notify |= set(_once(keyword, value, False).upper().split(b","))
            found.notify = _notify(notify)
        else:
            found.original = _orcpt(_once(keyword, value, bool(found.original)), utf8)
    return found


def _no_dsn(keyword: bytes) -> str:
    return f"Sorry, {quoted(keyword)} not supported, we do not allow DSN"


def _once(keyword: bytes, value: bytes | None, is_second: bool) -> bytes:
    if value is None:
        raise refusal(501, "5.5.2", f"{quoted(keyword)} requires a value")
    if is_second:
        raise refusal(501, "5.5.0", f"Duplicate {quoted(keyword)} parameter")
    return value


def _alone(keyword: bytes, value: bytes | None, is_second: bool) -> bool:
    """RFC 6531 section 3.4: the word says it, and has no value."""
    if value is not None:
        raise refusal(501, "5.5.4", f"{quoted(keyword)} has no value")
    return bool(_once(keyword, b"1", is_second))


def _size(value: bytes) -> int:
    # DIFFERS: Sendmail reads what is no number as 0. RFC 1870 section 3: 1 to 20 digits.
    if not _DIGITS.fullmatch(value):
        raise refusal(501, "5.5.4", f'Bad argument "{quoted(value)}" to SIZE')
    return int(value)


def _body(value: bytes) -> bytes:
    if value.upper() not in (b"7BIT", b"8BITMIME", b"BINARYMIME"):
        raise refusal(501, "5.5.4", f"Unknown BODY type {quoted(value)}")
    return value.upper()


def _ret(value: bytes) -> bytes:
    if value.upper() not in (b"FULL", b"HDRS"):
        raise refusal(501, "5.5.2", f'Bad argument "{quoted(value)}" to RET')
    return value.upper()


def _envid(value: bytes) -> bytes:
    if len(value) > MAX_ENVID or not is_xtext(value):
        raise refusal(501, "5.5.4", "Syntax error in ENVID parameter value")
    return value


def _auth(value: bytes) -> bytes:
    if value != b"<>" and not (len(value) <= MAX_ORCPT and is_xtext(value)):
        raise refusal(501, "5.5.4", "Syntax error in AUTH parameter value")
    return value


def _by(value: bytes) -> DeliverBy:
    try:
        return parse_deliver_by(value)
    except BadDeliverBy as error:
        raise refusal(501, error.status, str(error)) from error


def _orcpt(value: bytes, utf8: bool) -> bytes:
    kind, _, text = value.partition(b";")
    if utf8 and kind.lower() == b"utf-8" and is_text(text):
        # Who gets it next may know ASCII only (RFC 6533 section 3).
        text = text if text.isascii() else utf8_address(text)
        value = kind + b";" + text
    if len(value) > MAX_ORCPT or not _ATOM.fullmatch(kind) or not is_xtext(text):
        raise refusal(501, "5.5.4", "Syntax error in ORCPT parameter value")
    return value


def _notify(words: set[bytes]) -> str:
    if words == {b"NEVER"}:
        return "N"
    for word in sorted(words):
        if word not in _NOTIFY:
            raise refusal(501, "5.5.4", f'Bad argument "{quoted(word)}"  to NOTIFY')
    return "N" + "".join(letter for word, letter in _NOTIFY.items() if word in words)


#: keyword of MAIL that says all by itself -> attribute of MailParameters
_WORDS = {b"SMTPUTF8": "utf8", b"REQUIRETLS": "requires_tls"}
#: keyword of MAIL -> attribute of MailParameters, and what reads the value
_MAIL: dict[bytes, tuple[str, Callable[[bytes], object]]] = {
    b"SIZE": ("size", _size),
    b"BODY": ("body_type", _body),
    b"RET": ("ret", _ret),
    b"ENVID": ("envid", _envid),
    b"AUTH": ("auth", _auth),
    b"BY": ("deliver_by", _by),
}
