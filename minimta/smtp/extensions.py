"""The extensions of SMTP that the listener offers in its answer to EHLO (RFC 5321 section 4.1.1.1).

One row each. What another extension needs to know (is there a certificate, is the connection
encrypted, which mechanisms are there) comes in as an argument.
"""

from __future__ import annotations

from minimta.smtp import limits


def offered(
    privacy: frozenset[str],
    max_message_size: int,
    eol: bytes,
    *,
    starttls: bool = False,
    auth: str = "",
    etrn: bool = False,
    requiretls: bool = False,
    deliver_by_min: int = -1,
    max_recipients: int = 0,
) -> list[str]:
    """The lines of the answer behind the first one.

    *privacy* has the words of PrivacyOptions, *eol* is the line end of the session,
    *starttls*: there can be TLS, and is none yet; *auth* is the line of AUTH, "" if there is none.
    *etrn*: can queue runs be asked for? *requiretls*: there is TLS; *deliver_by_min* is the option
    DeliverByMin, *max_recipients* MaxRecipientsPerMessage.
    """
    deliver_by = f"DELIVERBY {deliver_by_min}" if deliver_by_min else "DELIVERBY"
    size = f"SIZE {max_message_size}" if max_message_size else "SIZE"
    rows = {
        "ENHANCEDSTATUSCODES": True,
        # Not advertised to humans using LF line ends; and then every line end is seen by itself.
        "PIPELINING": eol == b"\r\n",
        "EXPN": "noexpn" not in privacy,
        "8BITMIME": True,
        # A message with LF line ends has no octets to count (RFC 3030 section 2).
        "CHUNKING": eol == b"\r\n",
        "BINARYMIME": eol == b"\r\n",
        "SMTPUTF8": True,
        size: True,
        "DSN": has_dsn(privacy),
        "ETRN": etrn and "noetrn" not in privacy,
        auth: bool(auth),
        "STARTTLS": starttls,
        "REQUIRETLS": requiretls,
        deliver_by: deliver_by_min >= 0,
        limits.keyword(max_recipients): bool(max_recipients),
        "HELP": True,
    }
    return [keyword for keyword, is_offered in rows.items() if is_offered]


def has_dsn(privacy: frozenset[str]) -> bool:
    """May reports be asked for (PrivacyOptions=noreceipts)?"""
    return "noreceipts" not in privacy
