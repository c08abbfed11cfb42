"""A header block as raw fields: find, split, Received, Return-Path, and the block that is delivered.

A field is octets without its final line end: b"To: dave,\\n\\tcarol". Beside it stand the flags that
the control file keeps: (b"", b"Subject: x") came with the message, (b"D", b"Date: ...") was added
here. What came in is passed on octet for octet (RFC 5321 section 6.4); only blind copies, a
Content-Length, which would be wrong in a mailbox, and foreign Return-Path fields are left out.
"""

from __future__ import annotations

from minimta.message.printable import as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Field = tuple[bytes, bytes]

#: Sendmail's marker for the sender, replaced on delivery (0x81 introduces a macro in its queue files)
RETURN_PATH = (b"P", b"Return-Path: <\x81g>")

#: whose names nobody may see (RFC 5322 section 3.6.3), whoever named the recipients in them
_BLIND = frozenset((b"bcc", b"resent-bcc"))
#: RFC 5322 section 2.2: 33 to 126 but the colon
_NAME_OCTETS = bytes(octet for octet in range(33, 127) if octet != 0x3A)


def field_name(line: bytes) -> bytes:
    """The name in a line that begins a header field, b"" if the line begins none."""
    name, colon, _ = line.partition(b":")
    name = name.rstrip(b" \t")
    return name if colon and name and not name.translate(None, _NAME_OCTETS) else b""


def name(field: bytes) -> bytes:
    """Name of a field, small letters: b"subject"."""
    return field.partition(b":")[0].rstrip(b" \t").lower()


def value(field: bytes) -> bytes:
    """What follows the colon, unfolded, without blanks around it (RFC 5322 section 2.2.3)."""
    return field.partition(b":")[2].replace(b"\n", b"").strip(b" \t")


def find(headers: Iterable[Field], wanted: bytes) -> list[bytes]:
    """The fields of that name (small letters), in order."""
    size = len(wanted)
    # Most fields are others, and are told by how they begin.
    alike = [field for _, field in headers if field[:size].lower() == wanted]
    return [field for field in alike if name(field) == wanted]


def split_message(text: bytes) -> tuple[list[bytes], int]:
    """The header fields of a message, and where its body begins.

    The header ends at an empty line, which belongs to neither, or before a line that can be no
    field, which is body (Sendmail does the same).
    """
    fields: list[bytes] = []
    begin = position = 0
    while position < len(text):
        stop = text.find(b"\n", position)
        stop = len(text) if stop < 0 else stop
        folded = position > begin and text[position : position + 1] in (b" ", b"\t")
        if not folded:
            if position > begin:
                fields.append(text[begin : position - 1])
            begin = position
            if stop == position or not field_name(text[position:stop]):
                return fields, stop + 1 if stop == position else position
        position = stop + 1
    if position > begin:
        fields.append(text[begin:position].removesuffix(b"\n"))
    return fields, len(text)


def render(
    headers: Sequence[Field],
    *,
    mailer: str,
    reverse_path: bytes,
    flags: str = "",
    change: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """The header block for one delivery: LF line ends, ends with the LF of its last field.

    *mailer* is "local" or "esmtp", *reverse_path* bare (b"" is null), *flags* the control file's.
    Only a final delivery gets a Return-Path, and exactly one (RFC 5321 section 4.4).
    *change* may complete and rewrite the addresses of a field.
    """
    # DIFFERS: for the null reverse-path Sendmail writes <MAILER-DAEMON>; section 4.4 says <>.
    lines = [b"Return-Path: <%b>" % as_text(reverse_path)] if mailer == "local" else []
    dropped = {b"return-path", b"full-name"}
    if mailer == "local":
        dropped.add(b"content-length")
    if "b" in flags:
        dropped |= _BLIND
    for _, field in headers:
        key = name(field)
        if key in dropped:
            continue
        # Nobody is named in To or Cc, else "b" were set: the field stays, its content does not.
        shown = field.partition(b":")[0].rstrip(b" \t") + b":" if key in _BLIND else field
        lines.append(change(shown) if change else shown)
    return b"\n".join(lines) + b"\n" if lines else b""
