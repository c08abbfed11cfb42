"""Texts that people edit, changed in one place: minimta.cf, authinfo, tables, aliases.

Every other line stays as it is, with its order, blanks and comments. What is new comes at the end.
Nothing here opens a file.
"""

from __future__ import annotations

from minimta.mailers.remote import authinfo


def with_option(text: str, name: str, value: str) -> str:
    """minimta.cf with one option set: the last line that sets it, which counts, or a new one."""
    lines = text.split("\n")
    row = f"{name} = {value}".rstrip()
    for number in reversed(range(len(lines))):
        given, equals, _ = lines[number].partition("=")
        if equals and given.strip().lower() == name.lower():
            lines[number] = row
            return "\n".join(lines)
    return _appended(text, row)


def with_row(text: str, key: str, value: str, separator: str = "\t") -> str:
    """A table with the first row of *key*, which counts, set to *value*; "" takes its rows away."""
    lines, found = [], False
    for line in text.split("\n"):
        given = line.split(None, 1)[:1]
        if not given or given[0].lower() != key.lower():
            lines.append(line)
        elif value and not found:
            lines.append(f"{given[0]}{separator}{value}")
        found = found or bool(given and given[0].lower() == key.lower())
    changed = "\n".join(lines)
    return changed if found or not value else _appended(changed, f"{key}{separator}{value}")


def with_login(text: str, host: str, port: int, fields: str) -> str:
    """authinfo with the login at *host* and *port*: the row that is for it, or a new one.

    A row for a sender, or for every host, is another one and stays. *fields* are as in the file.
    """
    octets = text.encode("utf-8", "surrogateescape")
    row = authinfo.find(authinfo.parse(octets), host, port, b"")
    lines = text.split("\n")
    if row is None or not row.key:
        return _appended(text, f"AuthInfo:{host} {fields}")
    key = lines[row.line - 1].split(None, 1)[0]
    lines[row.line - 1] = f"{key} {fields}"
    return "\n".join(lines)


def with_alias(text: str, name: str, value: str) -> str:
    """An alias file with *name* set to *value*: its first entry, with the lines that go on, or a new one."""
    lines: list[str] = []
    found = going_on = False
    for line in text.split("\n"):
        if line[:1] in (" ", "\t") and going_on:
            continue
        going_on = False
        if line[:1] not in ("#", "") and _left_side(line) == name.lower():
            going_on = True
            if not found:
                lines.append(f"{name}: {value}")
            found = True
            continue
        lines.append(line)
    changed = "\n".join(lines)
    return changed if found else _appended(changed, f"{name}: {value}")


def alias_of(text: str, name: str) -> str:
    """The right side of the first entry of *name*, with the lines that go on; "" if there is none."""
    found: list[str] = []
    for line in text.split("\n"):
        if found and line[:1] in (" ", "\t"):
            found.append(line.strip())
        elif found:
            break
        elif line[:1] not in ("#", "") and _left_side(line) == name.lower():
            found.append(line.partition(":")[2].strip())
    return " ".join(found)


def _left_side(line: str) -> str:
    return line.partition(":")[0].strip(' \t"').lower() if ":" in line else ""


def _appended(text: str, line: str) -> str:
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{line}\n"
