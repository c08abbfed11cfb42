"""Macros that filters get with more than one kind of submission, as Sendmail fills them in."""

from __future__ import annotations


def triple(prefix: bytes, mailer: str, host: str, user: bytes) -> dict[bytes, bytes]:
    """${mail_mailer}, ${mail_host}, ${mail_addr} for *prefix* b"mail"; a recipient's for b"rcpt".

    *mailer*, *host* and *user* are those of a route.
    """
    shown = octets(_with_dot(host) if mailer == "esmtp" else host)
    keys = (b"{%b_%b}" % (prefix, word) for word in (b"mailer", b"host", b"addr"))
    return dict(zip(keys, (octets(mailer), shown, user), strict=True))


def octets(text: str) -> bytes:
    """ASCII, with "?" for what is not."""
    return text.encode("ascii", "replace")


def _with_dot(host: str) -> str:
    """As Sendmail has the name of a host in a triple."""
    return host if not host or host.endswith(("]", ".")) or ":" in host else f"{host}."
