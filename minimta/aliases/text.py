"""The text of an alias file: logical lines, names and right-hand sides (aliases(5)).

Pure but for RebuildReport, which takes the problems; a bad line is left out and hides no other.
"""

from __future__ import annotations

import io
import os

from minimta.message import address
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from minimta.aliases.rebuild_report import RebuildReport

#: a name of these alone needs no second look
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._+*"
#: octets of a text that is worth more than to go through its lines
_LARGE = 1 << 17


def logical_lines(text: bytes, before: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """(first number, last number, line) with continuation lines joined; *before* lines stand above.

    A comment or an empty line ends what came before; the line end before a continuation goes,
    its white space stays. One that continues nothing is a line of its own.
    """
    held, first, number = b"", 0, before
    # Not split(): a million lines at once are 90 MB.
    for number, line in enumerate(io.BytesIO(text), before + 1):
        if line[0] in b" \t":
            if held:
                held = held.removesuffix(b"\n") + line
            elif line.strip():
                held, first = line, number
            continue
        if held:
            yield first, number - 1, held.removesuffix(b"\n")
        held, first = (b"" if line[0] in b"#\r\n" else line), number
    if held:
        yield first, number, held.removesuffix(b"\n")


def compile_text(
    text: bytes, report: RebuildReport, is_local: Callable[[bytes], bool] | None
) -> dict[bytes, bytes]:
    """Name -> right-hand side; the later of two equal names wins. Fills in *report*."""
    found: dict[bytes, bytes] = {}
    if len(text) <= _LARGE:
        _take_lines(logical_lines(text), found, report, is_local)
    else:
        from minimta.aliases import large_text

        for before, piece in large_text.pieces(text):
            if not large_text.take_plain(piece, found, report):
                _take_lines(logical_lines(piece, before), found, report, is_local)
    report.exit_code = os.EX_SOFTWARE if report.errors else os.EX_OK
    return found


def _take_lines(
    lines: Iterable[tuple[int, int, bytes]],
    found: dict[bytes, bytes],
    report: RebuildReport,
    is_local: Callable[[bytes], bool] | None,
) -> None:
    names, values = list[bytes](), list[bytes]()
    for _, number, line in lines:
        name, _, value = line.partition(b":")
        value = value.lstrip()
        if not value or not name or name.translate(None, _PLAIN):
            name, value, problem = _split_entry(line, is_local)
            if problem:
                report.errors.append(f"{report.path}: line {number}: {problem}")
                continue
        key = address.folded(name)
        if key in found:
            report.warnings.append(_duplicate(report.path, number, name))
        found[key] = value
        names.append(key)
        values.append(value)
    report.add(names, values)


def _duplicate(path: str, number: int, name: bytes) -> str:
    shown, key = log.clean(name), log.clean(name.lower())
    return f"{path}: line {number}: {shown}... Warning: duplicate alias name {key}"


def line_of(text: bytes, key: bytes, value: bytes) -> int:
    """The first line of the entry that gives *key* this *value*; 0 if the text says otherwise."""
    number = 0
    for first, _, line in logical_lines(text):
        # Most are another's by the first letter.
        if line[:1].lower() in (key[:1], b'"') or not key.isascii():
            name, found, problem = _split_entry(line, lambda domain: True)
            if not problem and address.folded(name) == key:
                number = first if found == value else 0
    return number


def _split_entry(line: bytes, is_local: Callable[[bytes], bool] | None) -> tuple[bytes, bytes, str]:
    """(name, right-hand side, "") or (b"", b"", what is wrong)."""
    if line[:1] in (b" ", b"\t"):
        return b"", b"", "Non-continuation line starts with space"
    colon = _colon(line)
    if colon < 0:
        return b"", b"", "missing colon"
    name, value = line[:colon].strip(), line[colon + 1 :].lstrip()
    if not name:
        return b"", b"", f"{log.clean(line, 40)}... illegal alias name"
    if name[:1] != b'"' and (b" " in name or b"\t" in name):
        name = b".".join(name.split())  # Sendmail's BlankSub
    if not value.strip():
        return b"", b"", f"{log.clean(line[: colon + 1], 40)}... missing value for alias"
    local_part, domain = address.split(name)
    remote = bool(domain) and not (is_local is not None and is_local(domain))
    if remote or name[:1] in (b"|", b"/"):
        return b"", b"", f"{log.clean(name, 40)}... cannot alias non-local names"
    if local_part[:1] == b'"':
        local_part = address.quoted(address.unquote(local_part))
    return local_part, value, ""


def _colon(line: bytes) -> int:
    """Where the name ends: the first colon outside quotes, -1 if there is none."""
    colon = line.find(b":")
    quote = line.find(b'"')
    if quote < 0 or colon < quote:
        return colon
    closing = line.find(b'"', quote + 1)
    return line.find(b":", closing) if closing > 0 else colon
