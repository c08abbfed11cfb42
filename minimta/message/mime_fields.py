"""MIME fields of a header that are longer than a reader may bear (MaxMimeHeaderLength; pure).

    all fields of MIME (RFC 2045)         the value as a whole
    Content-Type, Content-Disposition     each parameter too: filename="...", boundary=...

The fields are those of Sendmail's classes {checkMIMEHeaders} and {checkMIMETextHeaders}, and for
parameters {checkMIMEFieldHeaders}.
"""

from __future__ import annotations

import re

from minimta.message import headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WITH_PARAMETERS = frozenset((b"content-type", b"content-disposition"))
_CHECKED = _WITH_PARAMETERS | frozenset(
    (b"content-description", b"content-id", b"content-transfer-encoding", b"mime-version")
)
#: what separates parameters, and what hides a semicolon (RFC 2045 section 5.1)
_MARKS = re.compile(rb'\\.|"|;', re.DOTALL)


def too_long(fields: Iterable[bytes], most: int, most_of_parameter: int) -> str:
    """What is too long, for people: "Content-Type field (3000 octets, 2048 max)"; "" if nothing is.

    A value has *most* octets, a parameter *most_of_parameter*; 0: as many as it likes.
    """
    for field in fields:
        key = headers.name(field)
        if key not in _CHECKED:
            continue
        shown = field.partition(b":")[0].rstrip(b" \t").decode("ascii", "replace")
        value = headers.value(field)
        if most and len(value) > most:
            return f"{shown} field ({len(value)} octets, {most} max)"
        if most_of_parameter and key in _WITH_PARAMETERS:
            longest = _longest_parameter(value)
            if longest > most_of_parameter:
                return f"parameter of the {shown} field ({longest} octets, {most_of_parameter} max)"
    return ""


def _longest_parameter(value: bytes) -> int:
    """Octets of the longest piece between two semicolons."""
    longest, begin, is_quoted = 0, 0, False
    for mark in _MARKS.finditer(value):
        if mark[0] == b'"':
            is_quoted = not is_quoted
        elif mark[0] == b";" and not is_quoted:
            longest = max(longest, len(value[begin : mark.start()].strip()))
            begin = mark.end()
    return max(longest, len(value[begin:].strip()))
