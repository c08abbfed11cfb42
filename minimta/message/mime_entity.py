"""An entity of MIME: its header in fields, and what they say of the body (RFC 2045).

Only what a conversion of transfer encodings asks is read: type, boundary and encoding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: messages within messages, and parts of one multipart: beyond is an attack, not mail
MAX_DEPTH = 10
MAX_PARTS = 1000

# One field: its name, then everything up to a line that does not begin with white space.
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")
_TYPE = re.compile(rb"\s*([!#$&^_.+\w-]+/[!#$&^_.+\w-]+)\s*(?:;|\Z)")
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"([^"\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_ENCODING = re.compile(rb"\s*([\w-]+)\s*")


class NotConvertible(Exception):
    """The message cannot be put into another encoding without harm."""


@dataclass(slots=True)
class Entity:
    """A header with what MIME says in it (RFC 2045), and the body."""

    fields: list[bytes]
    body: bytes
    kind: bytes = b"text/plain"
    boundary: bytes = b""
    encoding: bytes = b""
    is_mime: bool = False


def is_named(field: bytes, name: bytes) -> bool:
    """Has the *field* this name, given in small letters?"""
    return field.partition(b":")[0].strip().lower() == name


def parse(header: bytes, body: bytes) -> Entity:
    """The entity of a *header* with LF line ends. Raise NotConvertible for what is no header."""
    entity = Entity([], body)
    position = 0
    while position < len(header):
        match = _FIELD.match(header, position)
        if match is None:
            raise NotConvertible("a line of the header is no field")
        position = match.end()
        entity.fields.append(match[0] if match[0].endswith(b"\n") else match[0] + b"\n")
        _interpret(entity, match[1].lower(), match[2])
    return entity


def _interpret(entity: Entity, name: bytes, value: bytes) -> None:
    if name == b"mime-version":
        entity.is_mime = True
    elif name == b"content-type":
        kind, boundary = _TYPE.match(value), _BOUNDARY.search(value)
        if kind is None:
            raise NotConvertible("no media type")
        entity.kind = kind[1].lower()
        entity.boundary = (boundary[1] or boundary[2]) if boundary else b""
    elif name == b"content-transfer-encoding":
        encoding = _ENCODING.fullmatch(value)
        if encoding is None:
            raise NotConvertible("no transfer encoding")
        entity.encoding = encoding[1].lower()
