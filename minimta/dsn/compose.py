"""Reports as octets: delivery status notifications (RFC 3464 in RFC 6522's multipart/report), pure.

    text part                 for people: reasons, transcript           explanation
    message/delivery-status   for programs: one block for the message,  delivery_status
                              one for each recipient
    message/rfc822            the message, or text/rfc822-headers: its header alone

With an address beyond ASCII these are message/global-delivery-status, message/global and
message/global-headers (RFC 6533), and the first part is UTF-8.

Date, From, Message-Id and Received are ``collect``'s work, as for any other message. Everything
that came from outside passes ``clean``: a newline in a reply or an ORCPT would forge a field. The
message itself goes back octet by octet, at most RETURN_LIMIT of it. Nothing here fails.
"""

from __future__ import annotations

from minimta.dsn.delivery_status import fields
from minimta.dsn.explanation import text
from minimta.dsn.multipart import RETURN_LIMIT, Report, ReportKind, clean, shown, subject

_EIGHT_BIT = "Content-Transfer-Encoding: 8bit\n"
_TEXT_UTF8 = f"Content-Type: text/plain; charset=utf-8\n{_EIGHT_BIT}"
_STATUS = "Content-Type: message/delivery-status\n"
_STATUS_UTF8 = f"Content-Type: message/global-delivery-status\n{_EIGHT_BIT}"
#: the type of what goes back: the header alone, or all of it
_RETURNED = (b"text/rfc822-headers", b"message/rfc822")
_RETURNED_UTF8 = (b"message/global-headers", b"message/global")


def compose(report: Report, qid: str, header: bytes, body: bytes | None) -> bytes:
    """The report as text for ``collect``, LF line ends.

    *qid* is that of the report, *header* the original header block, *body* the original body or
    None for the header alone.
    """
    header, truncated = _presentable(header)
    if truncated or (body is not None and (b"\r" in body or b"\0" in body)):
        body = None
    utf8 = report.is_utf8
    part, eight_bit = _returned(header, body, utf8)
    boundary = f"{qid}.{int(report.now)}/{report.host}"
    while boundary.encode() in part:
        boundary += "_"
    whole = [
        _header(report, boundary, eight_bit or utf8),
        "\nThis is a MIME-encapsulated message\n",
        f"\n--{boundary}\n{_TEXT_UTF8 if utf8 else ''}\n{text(report)}",
        f"\n--{boundary}\n{_STATUS_UTF8 if utf8 else _STATUS}\n{fields(report)}",
        f"\n--{boundary}\n",
    ]
    charset = "utf-8" if utf8 else "ascii"
    end = f"\n--{boundary}--\n"
    return "".join(whole).encode(charset, "replace") + part + end.encode("ascii", "replace")


def losses(names: list[tuple[str, str]], directory: str, host: str) -> bytes:
    """A note to the postmaster: these (qid, reason) were put aside in *directory*."""
    lines = "".join(f"    Qf{clean(qid)}: {clean(reason)}\n" for qid, reason in names)
    return (
        "To: postmaster\nSubject: Queue files put aside\n"
        f"Auto-Submitted: auto-generated ({ReportKind.POSTMASTER.value})\n\n"
        f"These control files in {clean(directory)} on {clean(host)} cannot be used.\n"
        f"They were renamed to Qf and will not be tried again:\n\n{lines}"
    ).encode("ascii", "replace")


def refused(qid: str, reason: str, to: bytes, directory: str) -> bytes:
    """To the owner of a message that no queue run could take: why, and where it is kept."""
    return (
        f"To: {clean(to)}\nSubject: Returned mail: see transcript for details\n"
        f"Auto-Submitted: auto-generated ({ReportKind.FAILURE.value})\n\n"
        f"Your message {clean(qid)} waited for days and was sent to nobody:\n\n    {clean(reason)}\n\n"
        f"It is kept: its header is in {clean(directory)}/Qf{clean(qid)}, its text in df{clean(qid)}.\n"
    ).encode("ascii", "replace")


def _header(report: Report, boundary: str, eight_bit: bool) -> str:
    encoding = "Content-Transfer-Encoding: 8bit\n" if eight_bit else ""
    # DIFFERS: Sendmail writes a To field for each; RFC 5322 section 3.6 has room for one.
    to = shown(b", ".join(filter(None, (report.to, report.copy))))
    return (
        f"To: {to}\n"
        "MIME-Version: 1.0\n"
        "Content-Type: multipart/report; report-type=delivery-status;\n"
        f'\tboundary="{boundary}"\n'
        f"{encoding}"
        f"Subject: {subject(report)}\n"
        f"Auto-Submitted: auto-generated ({report.kind.value})\n"
    )


def _presentable(header: bytes) -> tuple[bytes, bool]:
    """The header block without octets that no queue takes, cut at RETURN_LIMIT; was it cut?"""
    header = header.replace(b"\r", b"?").replace(b"\0", b"?")
    if len(header) <= RETURN_LIMIT:
        return header, False
    return header[: header.rfind(b"\n", 0, RETURN_LIMIT) + 1], True


def _is_utf8(header: bytes) -> bool:
    """RFC 6532 section 3.7: a header that is not stays message/rfc822, whatever its octets mean."""
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _returned(header: bytes, body: bytes | None, utf8: bool) -> tuple[bytes, bool]:
    """The third part, and whether it has 8-bit octets (RFC 2045 section 6.4, RFC 6522 section 3)."""
    content = header if body is None else header + b"\n" + body
    eight_bit = not content.isascii()
    encoding = b"Content-Transfer-Encoding: 8bit\n" if eight_bit else b""
    kinds = _RETURNED_UTF8 if utf8 and _is_utf8(header) else _RETURNED
    kind = kinds[body is not None]
    return b"Content-Type: %b\n%b\n%b" % (kind, encoding, content), eight_bit
