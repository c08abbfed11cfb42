"""Address lists of RFC 5322 section 3.4, with the obsolete forms of section 4.4.

Groups, comments, quoted strings, folding. Blanks separate recipients where nothing else could
(Sendmail's OldStyleHeaders): b"dave carol" are two. Of nested brackets the innermost count, and
where a comma was forgotten behind a bracket the next recipient begins there: b"<dave> <carol>". One
pass over the octets and no recursion, so that 50,000 open parentheses cost what 50,000 letters cost. Used for ``-t``, for arguments (each is a
list: cron passes ``a,b`` as one) and to complete unqualified addresses in the header; never to
decide a route, which only looks at ``ListedAddress.address``. What is wrong with an address stands
beside it; nothing is raised.
"""

from __future__ import annotations

from minimta.message import address
from minimta.message.printable import is_printable, is_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_QUOTE, _OPEN, _CLOSE, _LESS, _BRACKET, _BACKSLASH, _COLON = b'"()<[\\:'
_AT = 0x40
_END = (0x2C, 0x3B)  # comma and semicolon
_BLANKS = b" \t\n\r"
_JOINTS = b"@.:"
_LONGEST = 998

#: fields whose addresses are completed when a message is submitted
FIELDS = frozenset(
    b"from sender reply-to to cc bcc apparently-to errors-to resent-from resent-sender"
    b" resent-reply-to resent-to resent-cc resent-bcc".split()
)
#: fields that name senders; they are rewritten when a message goes out
SENDER_FIELDS = frozenset(
    b"from sender reply-to errors-to disposition-notification-to resent-from resent-sender"
    b" resent-reply-to".split()
)
#: those of FIELDS that name recipients
RECIPIENT_FIELDS = frozenset(b"to cc bcc apparently-to resent-to resent-cc resent-bcc".split())


class ListedAddress:
    """One address of a list."""

    __slots__ = ("address", "end", "given", "problem")

    def __init__(self, bare: bytes, given: bytes, end: int, problem: str) -> None:
        """*end* is a position in the text of the list, -1 if the address was put together."""
        #: bare, without comments and blanks: b"henry@lab3.campus"
        self.address = bare
        #: as it may stand in an R line: b"Henry E <henry@lab3.campus>"
        self.given = given
        #: where the address ends in the text, for a missing domain to be put there; -1: nowhere
        self.end = end
        #: what is wrong with it, in Sendmail's words; "" if nothing
        self.problem = problem

    def __repr__(self) -> str:
        return f"ListedAddress({self.address!r}, {self.given!r}, {self.problem!r})"


class _Item:
    """What lies between two commas: spans of the text."""

    __slots__ = ("angle", "begin", "comments", "end", "lacks_comma", "outer", "problem")

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.end = begin
        #: inside the innermost brackets, and where the outermost are over
        self.angle: tuple[int, int] | None = None
        self.outer = begin
        #: does another item begin behind it without a comma between them?
        self.lacks_comma = False
        self.comments: list[tuple[int, int]] = []
        self.problem = ""


def parse(text: bytes, *, blanks_separate: bool = True) -> list[ListedAddress]:
    """The addresses of a list, good and bad; group names and empty items are left out.

    *blanks_separate* is for recipients: where there is one address at most, b"Dave Hill" is one.
    """
    found = []
    for item in _items(text, blanks_separate):
        mailbox = _mailbox(text, item)
        if mailbox.address or mailbox.problem:
            found.append(mailbox)
    return found


def qualify(text: bytes, domain: bytes, *, blanks_separate: bool = True) -> bytes:
    """*text*, with "@domain" put behind every address that has no domain.

    Where a comma is missing it is put. Nothing else changes.
    """
    out, position = [], 0
    for item in _items(text, blanks_separate):
        mailbox = _mailbox(text, item)
        is_bare = mailbox.address and not address.split(mailbox.address)[1]
        if mailbox.end >= 0 and is_bare and not mailbox.problem:
            out += [text[position : mailbox.end], b"@", domain]
            position = mailbox.end
        if item.lacks_comma:
            out += [text[position : item.end], b","]
            position = item.end
    return b"".join([*out, text[position:]])


def qualify_field(field: bytes, domain: bytes) -> bytes:
    """A header field with its addresses completed; folded anew only if a line is too long.

    RFC 5322 section 2.1.1: no line may have more than 998 octets.
    """
    name, colon, text = field.partition(b":")
    key = name.rstrip(b" \t").lower()
    if key not in FIELDS:
        return field
    return _in_lines(name + colon + qualify(text, domain, blanks_separate=key in RECIPIENT_FIELDS))


def rewrite_field(field: bytes, new: Callable[[bytes], bytes]) -> bytes:
    """A header field with ``new(address)`` in the place of each address that this changes.

    Names, comments and folding stay; what cannot be understood stays as it is. Raise what *new* does.
    """
    name, colon, text = field.partition(b":")
    out, position = [], 0
    for item in _items(text):
        mailbox = _mailbox(text, item)
        if not mailbox.address or mailbox.problem:
            continue
        other = new(mailbox.address)
        place = _place(text, item, mailbox) if other != mailbox.address else None
        if place:
            begin, end, comments = place
            out += [text[position:begin], other, comments]
            position = end
    return _in_lines(b"".join([name, colon, *out, text[position:]])) if out else field


def _place(text: bytes, item: _Item, mailbox: ListedAddress) -> tuple[int, int, bytes] | None:
    """Where the address stands, and the comments that stand inside of it; None for a source route."""
    # A comment inside of what has quotation marks leaves a blank in the address.
    if mailbox.end >= 0 and text[: mailbox.end].endswith(mailbox.address):
        return mailbox.end - len(mailbox.address), mailbox.end, b""
    begin, end = item.angle or (item.begin, item.end)
    inside = [span for span in item.comments if begin <= span[0] < end]
    raw = _without(text, begin, end, inside)
    if b"".join(raw.split()) != mailbox.address:
        return None
    begin += len(text[begin:end]) - len(text[begin:end].lstrip(_BLANKS))
    end = begin + len(text[begin:end].rstrip(_BLANKS))
    return begin, end, b"".join(b" " + text[first:last] for first, last in inside)


def _in_lines(whole: bytes) -> bytes:
    """*whole*, folded anew only if one of its lines is too long (RFC 5322 section 2.1.1)."""
    if len(whole) <= _LONGEST or max(map(len, whole.split(b"\n"))) <= _LONGEST:
        return whole
    return _fold(whole)


def _fold(field: bytes) -> bytes:
    """*field* with a line end after each comma that separates addresses."""
    out, position = [], 0
    for item in _items(field)[:-1]:
        out.append(field[position : item.end + 1].lstrip(_BLANKS))
        position = item.end + 1
    return b"\n\t".join([*out, field[position:].lstrip(_BLANKS)])


def _is_old_style(text: bytes) -> bool:
    """Can only blanks separate addresses in *text*? Not what stands behind a program or a list."""
    return not (text.translate(None, b",;<(") != text or address.why_special(text))


def _next_word(text: bytes, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _after_blanks(text: bytes, position: int, item: _Item, items: list[_Item]) -> tuple[_Item, int]:
    """The item and the position behind blanks that separate, if no "@" or dot stands beside them."""
    following = _next_word(text, position)
    is_between = item.begin < position and following < len(text)
    if is_between and not (text[position - 1] in _JOINTS or text[following] in _JOINTS):
        item.end = position
        item.lacks_comma = True
        items.append(item)
        item = _Item(following)
    return item, following


def _behind_brackets(item: _Item, items: list[_Item]) -> _Item:
    """The next item, which begins where the brackets of *item* are over."""
    # DIFFERS: Sendmail sends to the last one in brackets alone, and tells nobody of the others.
    following = _Item(item.outer)
    following.comments = [span for span in item.comments if span[0] >= item.outer]
    item.comments = [span for span in item.comments if span[0] < item.outer]
    item.end = item.outer
    item.lacks_comma = True
    items.append(item)
    return following


def _items(text: bytes, forgives: bool = False) -> list[_Item]:
    """*forgives*: blanks separate where nothing else can, and so do brackets."""
    items: list[_Item] = []
    item, position = _Item(0), 0
    blanks_separate = forgives and _is_old_style(text)
    last_bracket = text.rfind(b"]")
    while position < len(text):
        octet = text[position]
        if octet == _QUOTE:
            position = _quoted_end(text, position, item)
            continue
        if octet == _OPEN:
            position = _comment_end(text, position, item)
            continue
        if forgives and item.angle and octet in (_LESS, _AT):
            item = _behind_brackets(item, items)
        if octet == _LESS:
            position = _angle_end(text, position, item)
            continue
        if blanks_separate and octet in _BLANKS:
            item, position = _after_blanks(text, position, item, items)
            continue
        if octet == _BRACKET and position < last_bracket:
            position = text.find(b"]", position)
        elif octet in _END:
            item.end = position
            items.append(item)
            item = _Item(position + 1)
        elif octet == _COLON and item.angle is None and text[item.begin : position].strip(_BLANKS):
            item = _Item(position + 1)  # the name of a group
        position += 1
    item.end = len(text)
    return [*items, item]


def _quoted_end(text: bytes, position: int, item: _Item) -> int:
    """Where the quoted string that begins at *position* is over."""
    position += 1
    while position < len(text):
        if text[position] == _QUOTE:
            return position + 1
        position += 2 if text[position] == _BACKSLASH else 1
    item.problem = "Unbalanced '\"'"
    return len(text)


def _comment_end(text: bytes, position: int, item: _Item) -> int:
    begin, depth = position, 0
    while position < len(text):
        octet = text[position]
        depth += (octet == _OPEN) - (octet == _CLOSE)
        position += 2 if octet == _BACKSLASH else 1
        if not depth:
            break
    if depth:
        item.problem = "Unbalanced '('"
    position = min(position, len(text))
    item.comments.append((begin, position))
    return position


def _angle_end(text: bytes, position: int, item: _Item) -> int:
    begin, depth = position + 1, 0
    position = begin
    while position < len(text):
        octet = text[position]
        if octet == _QUOTE:
            position = _quoted_end(text, position, item)
        elif octet == _OPEN:
            position = _comment_end(text, position, item)
        elif octet == _LESS:
            begin, depth, position = position + 1, depth + 1, position + 1
        elif octet == 0x3E:
            item.angle = (begin, position)
            item.outer = _outer_end(text, position + 1, depth, item)
            return item.outer
        else:
            position += 1
    item.angle, item.outer = (begin, len(text)), len(text)
    item.problem = item.problem or "Unbalanced '<'"
    return len(text)


def _outer_end(text: bytes, position: int, depth: int, item: _Item) -> int:
    """Where the *depth* brackets around the innermost are over; what else they hold is not looked at."""
    for _ in range(depth):
        closing = _next_word(text, position)
        if text[closing : closing + 1] != b">":
            item.problem = item.problem or "Unbalanced '<'"
            break
        position = closing + 1
    return position


def _mailbox(text: bytes, item: _Item) -> ListedAddress:
    begin, end = item.angle or (item.begin, item.end)
    comments = [span for span in item.comments if begin <= span[0] < end]
    raw = _without(text, begin, end, comments)
    bare = _close_up(raw)
    if item.angle and bare[:1] == b"@" and b":" in bare:
        # A source route (RFC 5321 appendix C): only its end counts.
        bare = bare[bare.find(b":") + 1 :]
    problem = item.problem or _problem(bare, bool(item.angle))
    last = _last_octet(text, begin, end, comments) if raw.strip(_BLANKS) == bare else -1
    return ListedAddress(bare, _given(text, item, bare), last, problem)


def _without(text: bytes, begin: int, end: int, comments: list[tuple[int, int]]) -> bytes:
    out = []
    for first, last in comments:
        out.append(text[begin:first])
        begin = last
    return b" ".join([*out, text[begin:end]])


def _last_octet(text: bytes, begin: int, end: int, comments: list[tuple[int, int]]) -> int:
    """Where text[begin:end] ends when blanks and comments at its end are taken off."""
    for first, last in reversed([(begin, begin), *comments]):
        piece = text[last:end].rstrip(_BLANKS)
        if piece:
            return last + len(piece)
        end = first
    return begin


def _close_up(raw: bytes) -> bytes:
    """An address without blanks: around "." and "@" they mean nothing, others become "." (BlankSub)."""
    if b'"' in raw:
        return raw.strip(_BLANKS)
    words = b" ".join(raw.split())
    for mark in (b"@", b".", b":", b","):
        words = mark.join(part.strip() for part in words.split(mark))
    return words.replace(b" ", b".")


def _problem(bare: bytes, bracketed: bool) -> str:
    local, domain = address.split(bare)
    if not bare:
        return "User address required" if bracketed else ""
    if not bare.isascii() and not (is_text(bare) and _has_labels(domain)):
        return "Neither ASCII nor a domain name and text in UTF-8"
    if not is_text(bare) or len(bare) > _LONGEST or b"<" in bare or b">" in bare:
        return "Illegal address"
    if not local:
        return "User address required"
    if b"@" in bare and not domain and bare[:1] != b'"':
        return "Hostname required"
    return ""


def _has_labels(domain: bytes) -> bool:
    from minimta.message import internationalized  # few addresses are beyond ASCII

    return not domain or bool(internationalized.a_labels(domain))


def _given(text: bytes, item: _Item, bare: bytes) -> bytes:
    """The address as it was written, if ``address.bare`` finds it there again."""
    if not item.angle:
        return bare
    words = b" ".join(text[item.begin : item.angle[0] - 1].split())
    if item.comments or b"<" in words or not is_printable(words):
        words = b""
    return b"%b <%b>" % (words, bare) if words else b"<%b>" % bare
