"""What travels besides the message: sender, recipients, DSN parameters, where it came from.

Plain classes with slots, not dataclasses: every submission imports this, and dataclasses would cost
it more than its own work.
Addresses are octets as they were given, with "<>" if they came so: ``<dave@lab2.campus>``
from SMTP, ``dave`` from the command line. ``address.bare`` takes the brackets off.
"""

from __future__ import annotations


class Recipient:
    """One recipient, as one R line of the control file and the lines that belong to it."""

    __slots__ = ("address", "controlling_user", "final", "flags", "message", "original")

    def __init__(
        self,
        address: bytes,
        flags: str = "PFD",
        *,
        original: bytes = b"",
        final: bytes = b"",
        controlling_user: bytes = b"",
        message: str = "",
    ) -> None:
        """What is not given is not known yet; the control file leaves such lines out."""
        #: as given (R line): b"<dave@lab2.campus>"
        self.address = address
        #: P primary, N NOTIFY was given, S F D on success, failure, delay, A from an alias
        self.flags = flags
        #: ORCPT as received, xtext (Q line): b"rfc822;dave@lab2.campus", or b""
        self.original = original
        #: final recipient for the DSN (r line): b"RFC822; dave@lab2.campus", or b""
        self.final = final
        #: who may run programs and write files for it (C line): b"emma:1001:1001:<emma@h>", or b""
        self.controlling_user = controlling_user
        #: status of this recipient alone (M line before it), "" if none
        self.message = message

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recipient):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Recipient({self.address!r}, {self.flags!r})"


class Envelope:
    """The envelope of a message on its way in, before it has a control file."""

    __slots__ = (
        "auth",
        "body_type",
        "client",
        "daemon",
        "daemon_flags",
        "deliver_by",
        "delivery_mode",
        "envid",
        "full_name",
        "helo",
        "if_address",
        "is_own",
        "login",
        "protocol",
        "quarantine",
        "recipients",
        "requires_tls",
        "ret",
        "reverse_path",
        "tls",
        "warnings",
    )

    def __init__(self, reverse_path: bytes, recipients: list[Recipient] | None = None) -> None:
        #: as given (S line): b"<emma@lab1.campus>", b"emma", b"<>" when null
        self.reverse_path = reverse_path
        self.recipients: list[Recipient] = recipients or []
        #: BODY= or -B: b"7BIT", b"8BITMIME", b"" if not given
        self.body_type = b""
        #: RET= or -R: b"FULL", b"HDRS", b"" if not given
        self.ret = b""
        #: ENVID= or -V, xtext as received
        self.envid = b""
        #: BY= as a line of the control file (``deliver_by``), b"" if not given
        self.deliver_by = b""
        #: REQUIRETLS was said
        self.requires_tls = False
        #: AUTH= of a client that is trusted with it (A line): b"<>", an address, or b""
        self.auth = b""
        #: macro $_: b"lab1.campus [10.0.3.134]" or b"emma@localhost"
        self.client = b""
        #: macro $r: b"ESMTP", b"SMTP", or b"" for local submission
        self.protocol = b""
        #: macro $s: the name in HELO, b"" for local submission
        self.helo = b""
        #: what Received says of TLS: b"version=TLSv1.3 cipher=...", b"" if there was none
        self.tls = b""
        #: the same of a login (AUTH): b"authenticated bits=0"
        self.login = b""
        #: name of the port it came by, "MTA" (DaemonPortOptions); "" for local submission
        self.daemon = ""
        #: macro ${daemon_flags}, modifiers of the port: b"EE u"; b"c u" for local submission
        self.daemon_flags = b""
        #: when it is first tried, a word of option DeliveryMode; "" as that says
        self.delivery_mode = ""
        #: why it is held when it has come, "" if it is not
        self.quarantine = ""
        #: macro ${if_addr}: our address that the client connected to, b"" for loopback
        self.if_address = b""
        #: may the client relay? Then it is one of ours, and so is its mail
        self.is_own = False
        #: the submitter's full name for From: (-F, NAME, GECOS), b"" if unknown
        self.full_name = b""
        #: texts of X-Authentication-Warning headers to add
        self.warnings: list[bytes] = []
