"""Readers of the options of AUTH: AuthMechanisms, AuthOptions, AuthBackend.

Of AuthMechanisms only what can be had here is ever offered; other names that Sendmail knows are
taken, for it as well offers only what its SASL library has.
"""

from __future__ import annotations

from minimta.config.values import nearest

#: what the listener can do (``smtp.sasl_server``, without what a TLS library in Python cannot)
MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_OTHERS = (
    *("EXTERNAL", "GSSAPI", "GS2-KRB5", "KERBEROS_V4", "DIGEST-MD5", "CRAM-MD5", "NTLM", "OTP"),
    *("SCRAM-SHA-1", "SCRAM-SHA-512", "ANONYMOUS", "OAUTHBEARER", "XOAUTH2"),
)
#: letter of AuthOptions -> what it asks for; all but m are always so
LETTERS = {
    "A": "AUTH= of MAIL only after a login",
    "d": "no mechanism that is open to dictionary attacks by who listens",
    "m": "the server, too, must prove that it knows the password: only SCRAM",
    "p": "no password in clear",
    "y": "nobody is let in without a name",
}
_REFUSED = {
    "a": "mechanisms that hold against active attacks",
    "c": "mechanisms that pass on credentials",
    "f": "forward secrecy in the mechanism",
    "T": "the names of other mechanisms",
}


def mechanisms(text: str) -> tuple[str, ...]:
    """Names of mechanisms, in capitals, in their order. Raise ValueError."""
    given = tuple(dict.fromkeys(text.upper().replace(",", " ").split()))
    for name in given:
        if name.endswith("-PLUS"):
            raise ValueError(f"{name} cannot be had: Python's ssl has no tls-exporter (RFC 9266)")
        if name not in (*MECHANISMS, *_OTHERS):
            known = {one.lower(): one for one in MECHANISMS}
            raise ValueError(f"unknown mechanism {name}{nearest(name.lower(), known)}")
    found = tuple(name for name in given if name in MECHANISMS)
    if given and not found:
        raise ValueError(f"none of these can be had, only {' '.join(MECHANISMS)}")
    return found


def letters(text: str) -> str:
    """Letters of LETTERS. Raise ValueError for others."""
    found = "".join(text.replace(",", " ").split())
    for letter in found:
        if letter in _REFUSED:
            raise ValueError(f"{letter} ({_REFUSED[letter]}) cannot be had")
        if letter not in LETTERS:
            raise ValueError(f"unknown letter {letter}")
    return found


def backend(text: str) -> str:
    """An absolute path, "dovecot:PATH", "saslauthd:PATH", or nothing. Raise ValueError."""
    text = text.strip()
    kind, colon, path = text.partition(":")
    if colon and "/" not in kind:
        kind, path = kind.strip().lower(), path.strip()
        if kind not in ("file", "dovecot", "saslauthd"):
            raise ValueError(f"{kind!r} is none of file, dovecot, saslauthd")
    else:
        kind, path = "file", text
    if not path and kind == "file":
        return ""
    if path[:1] != "/":
        raise ValueError(f"no absolute path: {path!r}")
    return path if kind == "file" else f"{kind}:{path}"
