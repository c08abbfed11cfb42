"""The trace field that every host adds (RFC 5321 section 4.4), and how it names this program.

It is the proof of a mail loop as well: a queue run counts these fields (option MaxHopCount).
"""

from __future__ import annotations

import minimta
from minimta.message.printable import printable

#: what stands in parentheses in our Received fields, as Sendmail's "version/configuration version"
PRODUCT = f"minimta {minimta.__version__}/{minimta.__version__}".encode()


def protocol(*, extended: bool, secured: bool, logged_in: bool, utf8: bool) -> bytes:
    """What stands behind "with": b"SMTP", or of a client that said EHLO b"ESMTPSA", b"UTF8SMTPS".

    RFC 3848: the S and the A are only for EHLO; RFC 6531 section 3.7.3: UTF8SMTP for SMTPUTF8.
    """
    if not extended:
        return b"SMTP"
    return (b"UTF8SMTP" if utf8 else b"ESMTP") + b"S" * secured + b"A" * logged_in


def received(
    *,
    client: bytes,
    helo: bytes,
    protocol: bytes,
    host: bytes,
    product: bytes,
    qid: bytes,
    recipient: bytes,
    date: bytes,
    tls: bytes = b"",
    login: bytes = b"",
) -> bytes:
    """The trace field, in Sendmail's form; LF line ends.

    Without *helo* the submission form "(from emma@localhost)"; *recipient* b"" leaves the "for"
    away, as it must be when there are several: it would show one of them to the others (section 7.2).
    *tls* is what is to be said of it, b"version=TLSv1.3 cipher=...", *login* the same,
    b"authenticated bits=0"; b"" if there was none.
    """
    # What a client says of itself could end the line and begin a field of its own.
    client, helo, protocol = printable(client), printable(helo), printable(protocol)
    origin = b"from %b (%b)" % (helo, client) if helo else b"(from %b)" % client
    with_protocol = b" with " + protocol if protocol else b""
    # An address beyond ASCII would make the header one that not every reader of it knows.
    is_named = recipient and recipient.isascii()
    for_whom = b"\n\tfor %b; " % printable(recipient) if is_named else b";\n\t"
    by = b"by %b (%b)%b id %b" % (host, product, with_protocol, qid)
    with_login = b"\n\t(%b)" % login if login else b""
    with_tls = b"\n\t(%b)" % printable(tls) if tls else b""
    return b"Received: " + origin + with_login + b"\n\t" + by + with_tls + for_whom + date
