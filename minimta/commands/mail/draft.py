"""A message that is being written: whom it goes to, its header, its text."""

from __future__ import annotations

import locale
import os
from dataclasses import dataclass, field

from minimta.message import addresslist
from minimta.message.fullname import phrase


@dataclass(slots=True)
class Draft:
    """Lists of addresses are text as the user gave it; the text is octets with LF line ends."""

    to: list[str] = field(default_factory=list)
    cc: list[str] = field(default_factory=list)
    bcc: list[str] = field(default_factory=list)
    subject: str = ""
    reply_to: str = ""
    #: "" leaves From to sendmail
    sender: str = ""
    #: header fields, "Name: value" each
    headers: list[str] = field(default_factory=list)
    text: bytes = b""

    def recipients(self) -> list[bytes]:
        """The bare addresses of all lists, each once. Raise ValueError for one that is none."""
        found: dict[bytes, None] = {}
        for text in (*self.to, *self.cc, *self.bcc):
            for listed in addresslist.parse(os.fsencode(text)):
                if listed.problem or listed.address.startswith(b"-"):
                    raise ValueError(f"{text}: {listed.problem or 'an address begins with no -'}")
                found[listed.address] = None
        return list(found)

    def header(self) -> bytes:
        """The header block, without its empty line. Nothing in it says who gets a blind copy.

        Raise ValueError for a line end in a field: it would forge another one.
        """
        given = {text.partition(":")[0].lower() for text in self.headers}
        fields = [
            *([f"From: {self.sender}"] if self.sender else []),
            f"To: {', '.join(self.to)}",
            *([f"Cc: {', '.join(self.cc)}"] if self.cc else []),
            *([f"Reply-To: {self.reply_to}"] if self.reply_to else []),
        ]
        lines = [os.fsencode(text) for text in fields]
        if self.subject:
            lines.append(b"Subject: " + encoded(os.fsencode(self.subject)))
        lines += [os.fsencode(text) for text in self.headers]
        for name, value in self._mime_fields():
            if name.lower() not in given:
                lines.append(f"{name}: {value}".encode("ascii"))
        if any(b"\n" in line or b"\r" in line for line in lines):
            raise ValueError("a line end in a header field")
        return b"".join(line + b"\n" for line in lines)

    def _mime_fields(self) -> list[tuple[str, str]]:
        """RFC 2045 asks for them where the text is not plain ASCII."""
        if self.text.isascii():
            return []
        try:
            self.text.decode("utf-8")
            charset = "utf-8"
        except UnicodeDecodeError:
            charset = locale.getpreferredencoding(False).lower()
            charset = "unknown-8bit" if charset in ("utf-8", "ansi_x3.4-1968") else charset
        return [
            ("MIME-Version", "1.0"),
            ("Content-Type", f"text/plain; charset={charset}"),
            ("Content-Transfer-Encoding", "8bit"),
        ]


def encoded(text: bytes) -> bytes:
    """Unstructured text for a header: as it is, or in encoded words if it is not ASCII (RFC 2047)."""
    return text if text.isascii() else phrase(text)
