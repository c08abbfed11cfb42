"""An 8-bit message for a 7-bit host: bodies to quoted-printable or base64 (RFC 6152 section 3).

``convert`` takes header and body with LF line ends and gives them back without an 8-bit octet.
Multipart bodies are converted leaf by leaf and message/rfc822 inside (RFC 2045 section 6.4
forbids encoding the composite). Signed or encrypted parts must stay as they are, and the structure
of what cannot be parsed is not guessed: NotConvertible, and the message goes back to its sender.
"""

from __future__ import annotations

import binascii
import re

from minimta.message.mime_entity import (
    MAX_DEPTH,
    MAX_PARTS,
    Entity,
    NotConvertible,
    is_named,
    parse,
)

# A structured field as quoted strings, words, and what stands between them.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s"()<>@,;:]+|[\s()<>@,;:]+|"', re.DOTALL)
_UNSTRUCTURED_TOKENS = re.compile(rb"\s+|\S+")
_UNSTRUCTURED = (b"subject", b"comments", b"content-description")
#: messages that may be encoded, as no other may
_GLOBAL = (b"message/global", b"message/global-headers", b"message/global-delivery-status")
#: RFC 1428 section 3
UNKNOWN = b"unknown-8bit"
#: longest field whose words are encoded
_MAX_FIELD = 8192


def convert(
    header: bytes, body: bytes, note: bytes, charset: bytes = UNKNOWN
) -> tuple[bytes, bytes]:
    """Return (header, body) in 7 bits. Raise NotConvertible.

    *note* is the text of the X-MIME-Autoconverted field, with "%s" for "from 8bit to base64".
    *charset* is what text is called that does not say (DefaultCharSet).
    """
    entity = parse(header, body)
    if not entity.is_mime:
        entity.fields.append(b"MIME-Version: 1.0\n")
        if not entity.boundary and not any(is_named(f, b"content-type") for f in entity.fields):
            # RFC 1428 section 3: what the octets mean is not known here.
            entity.fields.append(b"Content-Type: text/plain; charset=%b\n" % charset)
    _convert(entity, note, 0)
    entity.fields = [_ascii_field(field) for field in entity.fields]
    return b"".join(entity.fields), entity.body


def _convert(entity: Entity, note: bytes, depth: int) -> None:
    if entity.body.isascii():
        return
    main = entity.kind.partition(b"/")[0]
    if depth > MAX_DEPTH or entity.kind in (b"multipart/signed", b"multipart/encrypted"):
        raise NotConvertible("may not be touched")
    if main == b"multipart":
        entity.body = _multipart(entity, note, depth)
        _relabel(entity)
    elif entity.kind in (b"message/rfc822", b"message/news"):
        inner = _split(entity.body)
        _convert(inner, note, depth + 1)
        entity.body = _join(inner)
        _relabel(entity)
    elif entity.kind in _GLOBAL and entity.encoding in (b"", b"7bit", b"8bit", b"binary"):
        _encode(entity, note)  # RFC 6532 section 3.7, RFC 6533 section 4
    elif main == b"message" or entity.encoding not in (b"", b"7bit", b"8bit", b"binary"):
        raise NotConvertible("8-bit octets where none may be")
    else:
        _encode(entity, note)


def _relabel(entity: Entity) -> None:
    """A composite that says 8bit has none any more."""
    if entity.encoding in (b"8bit", b"binary"):
        fields = (f for f in entity.fields if not is_named(f, b"content-transfer-encoding"))
        entity.fields = [*fields, b"Content-Transfer-Encoding: 7bit\n"]


def _encode(entity: Entity, note: bytes) -> None:
    body = entity.body
    # As Sendmail does: text with few 8-bit octets stays legible.
    high = len(body) - len(body.translate(None, bytes(range(128, 256))))
    if entity.kind.startswith(b"text/") and high <= len(body) // 8:
        name = b"quoted-printable"
        entity.body = binascii.b2a_qp(body, quotetabs=False, istext=True)
    else:
        name = b"base64"
        entity.body = _base64(body.replace(b"\n", b"\r\n"))
    fields = [f for f in entity.fields if not is_named(f, b"content-transfer-encoding")]
    fields.append(b"Content-Transfer-Encoding: %b\n" % name)
    if note:
        change = b"from 8bit to %b" % name
        fields.append(b"X-MIME-Autoconverted: %b\n" % note.replace(b"%s", change))
    entity.fields = fields


def _base64(octets: bytes) -> bytes:
    """Lines of 76 characters (RFC 2045 section 6.8)."""
    text = binascii.b2a_base64(octets, newline=False)
    return b"".join(text[i : i + 76] + b"\n" for i in range(0, len(text), 76))


def _split(text: bytes) -> Entity:
    """An entity as it stands inside a body: fields, an empty line, the body."""
    if text[:1] == b"\n":
        return parse(b"", text[1:])
    header, empty, body = text.partition(b"\n\n")
    return parse(header + b"\n" if empty else header, body)


def _join(entity: Entity) -> bytes:
    fields = [_ascii_field(field) for field in entity.fields]
    return b"".join(fields) + b"\n" + entity.body


def _multipart(entity: Entity, note: bytes, depth: int) -> bytes:
    """Convert each part between the delimiter lines (RFC 2046 section 5.1.1)."""
    if not entity.boundary:
        raise NotConvertible("multipart without a boundary")
    delimiter = re.compile(
        rb"(?:^|(?<=\n))--" + re.escape(entity.boundary) + rb"(--)?[ \t]*(?:\n|\Z)"
    )
    marks = list(delimiter.finditer(entity.body))
    if not marks or len(marks) > MAX_PARTS:
        raise NotConvertible("parts cannot be told apart")
    out = [_ignored(entity.body[: marks[0].start()])]
    for i, mark in enumerate(marks):
        out.append(mark[0])
        end = marks[i + 1].start() if i + 1 < len(marks) else len(entity.body)
        text = entity.body[mark.end() : end]
        if mark[1]:
            out.append(_ignored(entity.body[mark.end() :]))
            break
        out.append(text if text.isascii() else _part(text, note, depth))
    return b"".join(out)


def _part(text: bytes, note: bytes, depth: int) -> bytes:
    # The line end before a delimiter belongs to it.
    inner = _split(text.removesuffix(b"\n"))
    _convert(inner, note, depth + 1)
    whole = _join(inner)
    return whole if whole.endswith(b"\n") else whole + b"\n"


def _ignored(text: bytes) -> bytes:
    """Preamble and epilogue mean nothing (RFC 2046 section 5.1.1); 8-bit octets become "?"."""
    return text.translate(bytes(range(128)) + b"?" * 128)


def _ascii_field(field: bytes) -> bytes:
    """8-bit words of a field as encoded words, which may stand where words may (RFC 2047 section 5).

    Raise NotConvertible where one stands in an address or a parameter of a MIME field.
    """
    if field.isascii():
        return field
    name, _, value = field.partition(b":")
    key = name.strip().lower()
    unstructured = key in _UNSTRUCTURED or key.startswith(b"x-")
    if len(field) > _MAX_FIELD or (key.startswith((b"content-", b"mime-")) and not unstructured):
        raise NotConvertible("8-bit octets in a field that cannot hold encoded words")
    if unstructured:
        return name + b":" + b"".join(_merge(_UNSTRUCTURED_TOKENS.findall(value)))
    tokens = _TOKENS.findall(value)
    _refuse_address(tokens)
    return name + b":" + b"".join(_merge([_unquoted(token) for token in tokens]))


def _refuse_address(tokens: list[bytes]) -> None:
    for i, token in enumerate(tokens):
        if not token.isascii():
            before, after = b"".join(tokens[max(i - 1, 0) : i]), b"".join(tokens[i + 1 : i + 2])
            if before.endswith(b"@") or after.startswith(b"@"):
                raise NotConvertible("8-bit octets in an address")


def _unquoted(token: bytes) -> bytes:
    """An encoded word may not stand inside quotes, so it stands for them (RFC 2047 section 5)."""
    if token.isascii() or token[:1] != b'"':
        return token
    return re.sub(rb"\\(.)", rb"\1", token[1:-1], flags=re.DOTALL)


def _merge(tokens: list[bytes]) -> list[bytes]:
    """Encode; blanks between two encoded words would be lost, so they go inside."""
    out: list[bytes] = []
    run: list[bytes] = []
    for token in [*tokens, b""]:
        if not token.isascii() or (run and token and not token.strip()):
            run.append(token)
            continue
        if run:
            blanks = run.pop() if not run[-1].strip() else b""
            out += [
                _encoded_words(b"".join(word if word.strip() else b" " for word in run)),
                blanks,
            ]
            run = []
        out.append(token)
    return out


def _encoded_words(raw: bytes) -> bytes:
    """Encoded words of at most 75 characters (RFC 2047 section 2); no character is cut in two."""
    try:
        charset, characters, room = b"utf-8", [c.encode() for c in raw.decode("utf-8")], 45
    except UnicodeDecodeError:
        charset, characters, room = UNKNOWN, [b"%c" % c for c in raw], 42
    pieces = [b""]
    for character in characters:
        if len(pieces[-1]) + len(character) > room:
            pieces.append(b"")
        pieces[-1] += character
    words = (binascii.b2a_base64(piece, newline=False) for piece in pieces)
    return b"\n ".join(b"=?%b?B?%b?=" % (charset, word) for word in words)
