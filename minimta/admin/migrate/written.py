"""What a Migration becomes: the text that is printed, and the files that ``--write`` changes.

Tables of the other program that are where minimta looks for them stay as they are; rows that come
from elsewhere are put into ours, and all other rows of them stay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from itertools import chain, count
from pathlib import Path

from minimta.admin import table_text
from minimta.admin.install.steps import below
from minimta.admin.migrate.migration import ForeignLogin, Migration
from minimta.admin.placing import Placing
from minimta.config.options import by_name
from minimta.mailers.remote import authinfo

_HEAD = "# made by `minimta import` of\n"


def printed(migration: Migration, sources: list[str]) -> str:
    """minimta.cf, and what goes elsewhere as comments; no secret."""
    lines = [config_text(migration, sources)]
    for path, rows in _shown_rows(migration):
        lines.append(f"\n# {path} gets (minimta import --write)\n")
        lines += [f"#   {row}\n" for row in rows]
    if any(login.source == "P" for login in migration.logins):
        lines.append("# *** is a password, which only --write takes there\n")
    return "".join(lines)


def config_text(migration: Migration, sources: list[str]) -> str:
    """minimta.cf alone."""
    return _HEAD + "".join(f"#   {source}\n" for source in sources) + "\n" + migration.config_text()


def _shown_rows(migration: Migration) -> list[tuple[str, list[str]]]:
    found = []
    if migration.logins:
        rows = [login.row(shows_secret=False) for login in migration.logins]
        found.append((f"{migration.last('AuthInfoFile')} (mode 600)", rows))
    for table, pairs in migration.rows.items():
        mark = ": " if table == "AliasFile" else "\t"
        found.append(
            (path_of(migration, table), [f"{key}{mark}{value}" for key, value in pairs.items()])
        )
    found += [(path_of(migration, table), words) for table, words in migration.words.items()]
    return found


def path_of(migration: Migration, option: str) -> str:
    """The file that an option names: of several the first; its default if the option is empty."""
    value = migration.last(option) or by_name(option).default
    return value.partition(",")[0].strip().removeprefix("-o ")


class WrittenFiles:
    """The files of the machine below *root*, to which a Migration is added."""

    def __init__(self, migration: Migration, root: Path, sources: list[str]) -> None:
        """*sources* are the files that were read, as paths below *root*."""
        self._migration = migration
        self._root = root
        self._sources = sources

    def add(self, config: str, placing: Placing) -> None:
        """Write all of it beside its place; a *config* that is there is kept as .bak, and one that was
        kept so as well. Raise OSError."""
        path = str(below(self._root, config))
        before = _octets_of(path)
        if before is not None:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            placing.add(_free_name(f"{path}.bak"), before, mode)
        for table, rows in self._migration.rows.items():
            self._table(table, rows, placing)
        for table, words in self._migration.words.items():
            place = path_of(self._migration, table)
            self._change(place, partial(_with_words, words), placing)
        self._logins(placing)
        text = config_text(self._migration, self._sources)
        placing.add(path, text.encode("utf-8", "surrogateescape"), 0o644)

    def _table(self, table: str, rows: dict[str, str], placing: Placing) -> None:
        path = path_of(self._migration, table)
        if table == "AccessFile" and path in self._sources:
            return  # it is there already

        def changed(text: str) -> str:
            for key, value in rows.items():
                if table == "AliasFile":
                    text = table_text.with_alias(text, key, value)
                else:
                    text = table_text.with_row(text, key, value)
            return text

        self._change(path, changed, placing)

    def _logins(self, placing: Placing) -> None:
        path = path_of(self._migration, "AuthInfoFile")

        def changed(text: str) -> str:
            for login in self._migration.logins:
                text = _with_login(text, login)
            return text

        self._change(path, changed, placing, is_secret=True)

    def _change(
        self, path: str, changed: Callable[[str], str], placing: Placing, *, is_secret: bool = False
    ) -> None:
        place = str(below(self._root, path))
        before = (_octets_of(place) or b"").decode("utf-8", "surrogateescape")
        after = changed(before)
        is_open = is_secret and os.path.exists(place) and bool(os.stat(place).st_mode & 0o077)
        if after != before or is_open:
            octets = after.encode("utf-8", "surrogateescape")
            placing.add(place, octets, 0o600 if is_secret else 0o644, is_secret=is_secret)


def _octets_of(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None


def _with_words(words: list[str], text: str) -> str:
    known = {word for line in text.split("\n") for word in line.partition("#")[0].split()}
    gap = "" if not text or text.endswith("\n") else "\n"
    new = [word for word in words if word not in known]
    return text + (gap if new else "") + "".join(f"{word}\n" for word in new)


def _with_login(text: str, login: ForeignLogin) -> str:
    """A row that says the same stays as it is written; another one for the same key is replaced."""
    wanted = authinfo.parse(login.row(shows_secret=True).encode("utf-8", "surrogateescape"))[0]
    for row in authinfo.parse(text.encode("utf-8", "surrogateescape")):
        if (row.key, row.host) != (wanted.key, wanted.host):
            continue
        if (row.user, row.source, row.value) == (wanted.user, wanted.source, wanted.value):
            return text
        lines = text.split("\n")
        lines[row.line - 1] = login.row(shows_secret=True)
        return "\n".join(lines)
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{login.row(shows_secret=True)}\n"


def _free_name(path: str) -> str:
    """*path*, or else *path*.1, *path*.2 ...: the first that is not there."""
    numbered = (f"{path}.{number}" for number in count(1))
    return next(name for name in chain([path], numbered) if not os.path.lexists(name))
