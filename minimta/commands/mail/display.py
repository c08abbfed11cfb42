"""What a reading session shows: lines of the list, and messages."""

from __future__ import annotations

import os
import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage

from minimta.commands.mail.folder import Folder, FolderMessage
from minimta.commands.mail.settings import Settings
from minimta.message import headers

#: a message longer than this is shown as it is, not decoded
_DECODED = 16 << 20
_DEFAULT_WIDTH = 80
#: the field of a header by which there is more to do than to print the body
_ENCODED = re.compile(
    rb"(?im)^content-(?:type:\s*multipart|transfer-encoding:(?:\s|\([^()]*\))*(?:base64|quoted))"
)


def row(
    number: int, letter: FolderMessage, *, is_current: bool, width: int = _DEFAULT_WIDTH
) -> str:
    """A line of the list: ">N  1 emma@lab1.campus   Sun Nov 22 09:37   24/1033  Subject"."""
    cursor = ">" if is_current else " "
    left = (
        f"{cursor}{_flag(letter)}{number:3d} {letter.sender:<17.17}  {letter.date:<16.16} "
        f"{letter.lines:4d}/{letter.size:<5d} "
    )
    return safe(left + letter.subject)[:width].rstrip()


def _flag(letter: FolderMessage) -> str:
    for is_so, flag in (
        (letter.is_deleted, "D"),
        (letter.is_saved, "*"),
        (letter.is_held, "P"),
        (letter.goes_to_mbox, "M"),
        (letter.is_read, " "),
        (letter.is_new, "N"),
    ):
        if is_so:
            return flag
    return "U"


def summary(folder: Folder) -> str:
    """The line above the list: how many there are, how many of them new, unread, deleted."""
    letters = folder.letters
    new = sum(letter.is_new and not letter.is_read for letter in letters)
    unread = sum(not letter.is_read for letter in letters) - new
    deleted = sum(letter.is_deleted for letter in letters)
    counts = ((new, "new"), (unread, "unread"), (deleted, "deleted"))
    told = "".join(f" {count} {name}" for count, name in counts if count)
    plural = "" if len(letters) == 1 else "s"
    return f'"{folder.path}": {len(letters)} message{plural}{told}'


def message(folder: Folder, letter: FolderMessage, settings: Settings, *, is_whole: bool) -> bytes:
    """A message as it is shown: its From_ line, header and text.

    *is_whole*: every field, and the text as it is stored; else the fields that the user wants, and
    text that was encoded for the way in plain. Raise OSError.
    """
    raw = folder.octets(letter.start + len(letter.separator), letter.end)
    if is_whole:
        return letter.separator + raw
    fields, body_start = headers.split_message(raw)
    shown = [field for field in fields if settings.shows(_name(field))]
    text = raw[body_start:] if len(raw) > _DECODED else _plain(raw, body_start)
    return letter.separator + b"".join(_decoded(field) + b"\n" for field in shown) + b"\n" + text


def _name(field: bytes) -> str:
    return headers.name(field).decode("ascii", "replace").lower()


def _decoded(field: bytes) -> bytes:
    """A field with its encoded words (RFC 2047) as people read them."""
    if b"=?" not in field:
        return field
    try:
        return str(make_header(decode_header(field.decode("ascii")))).encode("utf-8", "replace")
    except (ValueError, LookupError):  # no such encoding, or not encoded by it
        return field


def _plain(raw: bytes, body_start: int) -> bytes:
    """The text of a message that is in MIME parts or encoded; its body if there is none to be had."""
    body = raw[body_start:]
    # Not in the text: what it quotes does not tell how it is written itself.
    if not _ENCODED.search(raw, 0, body_start):
        return body
    try:
        parsed = message_from_bytes(raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        part = parsed.get_body(("plain", "html"))
        if part is None:
            return body
        encoding = part["Content-Transfer-Encoding"]
        if encoding is not None:  # get_content() knows no folded one, and no comments (RFC 2045)
            part.replace_header("Content-Transfer-Encoding", encoding.cte)
        text = part.get_content()
    except Exception:  # the library stumbles over what some programs write
        return body
    return str(text).encode("utf-8", "surrogateescape").rstrip(b"\n") + b"\n\n"


def safe(text: str) -> str:
    """*text* without what would command a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def safe_octets(text: bytes) -> bytes:
    """The same for octets, of UTF-8 or of another encoding that the terminal speaks."""
    try:
        return safe(text.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return bytes(c if c >= 0xA0 or 32 <= c < 127 or c in b"\n\t" else 0x3F for c in text)


def width_of_terminal() -> int:
    """Columns of the terminal; 80 without one."""
    try:
        return os.get_terminal_size(1).columns or _DEFAULT_WIDTH
    except OSError:
        return _DEFAULT_WIDTH
