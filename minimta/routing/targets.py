"""Right-hand sides of aliases, ``.forward`` and ``:include:`` files: text in, targets out.

    dave                    user: an address; aliased and forwarded further
    \\dave                   the same, final: straight to the mailbox
    Dave <dave@lab2.campus> user; RFC 5322 comments and display names are dropped
    |prog, "|prog -x, y"    program; |"prog -x, y" is the same
    /var/tmp/archive        file
    :include:/etc/list      include
    error:5.7.1:550 No      error: refuse with this text

Items are separated by commas outside quotes, brackets and comments, and by line ends. A line that
begins with "#" is a comment; a "#" further on is not (recorded in Sendmail 8.17).
"""

from __future__ import annotations

from codecs import BOM_UTF8

from minimta.message import address

_OPEN, _CLOSE = b"(<", b")>"
#: how a target begins, in small letters -> its kind; whatever is none of them is a user
_KINDS = {**address.MARKS, b"error:": "error"}


class AliasTarget:
    """One destination as the text names it."""

    __slots__ = ("final", "kind", "line", "value", "written")

    def __init__(
        self, kind: str, value: bytes, *, final: bool = False, line: int = 1, written: bytes = b""
    ) -> None:
        """*value* without what says its *kind*; *line* and *written* tell where it comes from."""
        #: "user", "program", "file", "include", "error"
        self.kind = kind
        #: address; command without its "|"; path; path without ":include:"; text after "error:"
        self.value = value
        #: written with a backslash: neither alias nor .forward applies
        self.final = final
        #: line of the text it stands in, from 1
        self.line = line
        #: a program as the text has it, with or without its quotes; b"" if it comes from no text
        self.written = written

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AliasTarget):
            return NotImplemented
        mine, theirs = (self.kind, self.value, self.final), (other.kind, other.value, other.final)
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"AliasTarget({self.kind!r}, {self.value!r}, final={self.final})"

    def __bytes__(self) -> bytes:
        """The text that parse() reads back as this target; what an R line holds."""
        if self.written:
            return self.written
        if self.kind == "program":
            escaped = self.value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            return b'"|%b"' % escaped
        if self.kind == "file" and any(mark in self.value for mark in (b" ", b",", b"\t")):
            return b'"%b"' % self.value
        prefix = {"include": b":include:", "error": b"error:"}.get(self.kind, b"")
        return (b"\\" if self.final else b"") + prefix + self.value


def parse(text: bytes) -> list[AliasTarget]:
    """Read a right-hand side or a whole file; whatever is no other kind is a user, perhaps unknown."""
    found: list[AliasTarget] = []
    for number, line in enumerate(text.removeprefix(BOM_UTF8).split(b"\n"), 1):
        if line[:1] == b"#":
            continue
        for item in split_items(line):
            found += _targets(item, number)
    return found


def split_items(line: bytes) -> list[bytes]:
    """Cut at commas outside of quotes, comments and angle brackets; blanks around go, empty ones too.

    What is unbalanced runs to the end of the line.
    """
    if b"," not in line:
        return [line.strip()] if line.strip() else []
    items: list[bytes] = []
    start = depth = position = 0
    quoted = False
    while position < len(line):
        octet = line[position]
        if octet == 0x5C:  # a backslash takes the meaning from the next octet
            position += 1
        elif octet == 0x22:
            quoted = not quoted
        elif not quoted and octet in _OPEN:
            depth += 1
        elif not quoted and octet in _CLOSE:
            depth = max(0, depth - 1)
        elif octet == 0x2C and not quoted and not depth:
            items.append(line[start:position])
            start = position + 1
        position += 1
    items.append(line[start:])
    return [item.strip() for item in items if item.strip()]


def _targets(item: bytes, line: int) -> list[AliasTarget]:
    """One, or none if there is nothing; several if a comma was forgotten behind a bracket."""
    whole = _unquoted(item)
    for mark, kind in _KINDS.items():
        if whole[: len(mark)].lower() == mark:
            value = whole if kind == "file" else whole[len(mark) :].strip()
            if kind == "program" and whole is item:
                value = _unquoted(value)  # the quotes are the list's, not the shell's
            written = item if kind == "program" else b""
            return [AliasTarget(kind, value, line=line, written=written)]
    bares = [bare for part in _parts(item) if (bare := strip_address(part))]
    return [
        AliasTarget("user", bare.removeprefix(b"\\"), final=bare[:1] == b"\\", line=line)
        for bare in bares
    ]


def _parts(item: bytes) -> list[bytes]:
    """The addresses of b"<dave> <carol>", which lacks a comma; else *item*."""
    if b"<" not in item:
        return [item]
    from minimta.message import addresslist  # few aliases have brackets

    # DIFFERS: Sendmail sends to the last one in brackets alone, and tells nobody of the others.
    found = addresslist.parse(item)
    is_list = len(found) > 1 and not any(mailbox.problem for mailbox in found)
    return [mailbox.given for mailbox in found] if is_list else [item]


def _unquoted(item: bytes) -> bytes:
    """*item* without the quotes around all of it and its backslashes; else *item* itself."""
    if len(item) < 2 or item[:1] != b'"' or item[-1:] != b'"':
        return item
    inner, out, position = item[1:-1], bytearray(), 0
    while position < len(inner):
        if inner[position] == 0x22:  # the first quote ends before the end: '"a" "b"'
            return item
        if inner[position] == 0x5C and position + 1 < len(inner):
            position += 1
        out.append(inner[position])
        position += 1
    return bytes(out)


def strip_address(item: bytes) -> bytes:
    """The address alone: comments in parentheses go, of the innermost brackets the inside stays."""
    text = _without_comments(item) if b"(" in item else item
    closing = text.rfind(b">")
    innermost, first = text.rfind(b"<", 0, max(0, closing)), text.find(b"<")
    if innermost >= 0 and not _inside_quotes(text, innermost):
        text = text[innermost + 1 : text.find(b">", innermost)]
    elif 0 <= first < closing and not _inside_quotes(text, first):
        text = text[first + 1 : closing]
    return text.strip()


def _inside_quotes(text: bytes, position: int) -> bool:
    return text[:position].replace(b'\\"', b"").count(b'"') % 2 == 1


def _without_comments(item: bytes) -> bytes:
    """RFC 5322 section 3.2.2, nested ones too; a parenthesis inside quotes stays."""
    out, depth, quoted, position = bytearray(), 0, False, 0
    while position < len(item):
        octet = item[position]
        if octet == 0x5C and position + 1 < len(item):
            if not depth:
                out += item[position : position + 2]
            position += 2
            continue
        if octet == 0x22 and not depth:
            quoted = not quoted
        if octet == 0x28 and not quoted:
            depth += 1
        elif octet == 0x29 and not quoted and depth:
            depth -= 1
        elif not depth:
            out.append(octet)
        position += 1
    return bytes(out)
