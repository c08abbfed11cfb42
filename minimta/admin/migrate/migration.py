"""What is gathered from foreign files: options, logins, rows of tables, and what cannot be carried.

A reader of one format says ``option``, ``login``, ``row`` for what it carries, and a note for every
line else:

    NO_EFFECT      accepted: it is always so here, or has no meaning here
    NOT_CARRIED    nothing here does that
    WRONG          the line is a mistake in its own format
    TOLD           carried, and there is something to know

Nothing here opens a file. Secrets are in ``logins`` alone, and their text never in a note.
"""

from __future__ import annotations

import enum
from base64 import b64encode
from dataclasses import dataclass, field

from minimta.config.option import OptionError
from minimta.config.options import TABLE, by_name
from minimta.mailers.remote import authinfo


class NoteKind(enum.Enum):
    """What became of a line."""

    NO_EFFECT = "no effect here"
    NOT_CARRIED = "not carried"
    WRONG = "wrong"
    TOLD = "note"


@dataclass(frozen=True, slots=True)
class ForeignNote:
    """A line of a foreign file about which there is something to say."""

    path: str
    #: from 1; 0: the whole file
    line: int
    kind: NoteKind
    text: str

    def __str__(self) -> str:
        where = f"{self.path}: line {self.line}" if self.line else self.path
        return f"{where}: {self.kind.value}: {self.text}"


@dataclass(frozen=True, slots=True)
class ForeignPlace:
    """Where something was read: a file, and a line of it."""

    path: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class ForeignLogin:
    """A row for AuthInfoFile."""

    #: "smtp.example.org", "smtp.example.org:587", "emma@example.org", "" for every host
    key: str
    user: str
    #: "P", "F" or "C", and what stands behind it
    source: str
    value: str = field(repr=False)
    #: of a row for a sender
    host: str = ""
    mechanisms: str = ""

    def row(self, *, shows_secret: bool) -> str:
        """As it stands in the file; without the secret for everybody's eyes."""
        shown = self.value if shows_secret or self.source != "P" else "***"
        fields = [_row_field("U", self.user), _row_field(self.source, shown)]
        fields += [f'"M:{self.mechanisms}"'] if self.mechanisms else []
        fields = [f'"H:{self.host}"', *fields] if self.host else fields
        return f"AuthInfo:{self.key} {' '.join(fields)}"


def _row_field(tag: str, value: str) -> str:
    """As it is, or where quotation marks would end it, in base64."""
    is_plain = value.isascii() and value.isprintable() and value == value.strip()
    if tag in "UP" and ('"' in value or not is_plain):
        return f'"{tag}={b64encode(value.encode("utf-8", "surrogateescape")).decode("ascii")}"'
    return f'"{tag}:{value}"'


class Migration:
    """Grows while files are read."""

    def __init__(self) -> None:
        self.notes: list[ForeignNote] = []
        self._noted: set[ForeignNote] = set()
        #: name -> values with their places; what does not accumulate has one, the last
        self.options: dict[str, list[tuple[str, ForeignPlace]]] = {}
        self.logins: list[ForeignLogin] = []
        #: name of the option of a table, or "AliasFile" -> key -> value
        self.rows: dict[str, dict[str, str]] = {}
        #: name of the option of a list of names -> its words
        self.words: dict[str, list[str]] = {}

    # --- what is carried --------------------------------------------------------------------------

    def option(self, name: str, value: str, place: ForeignPlace) -> bool:
        """Set an option of ours. A value that cannot be is a note, and False comes back."""
        try:
            row = by_name(name)
            row.value(value)
        except OptionError as error:
            self.not_carried(place, str(error))
            return False
        if not row.attribute:
            self.no_effect(place, f"{row.name}: {row.meaning}")
            return True
        if not row.accumulates:
            self.options.pop(row.name, None)
        self.options.setdefault(row.name, []).append((value, place))
        return True

    def default(self, name: str, value: str, place: ForeignPlace) -> None:
        """Set an option, unless one of the files says it."""
        if by_name(name).name not in self.options:
            self.option(name, value, place)

    def last(self, name: str) -> str:
        """The value of an option so far, its default if nobody has set it."""
        given = self.options.get(by_name(name).name)
        return given[-1][0] if given else by_name(name).default

    def login(self, login: ForeignLogin) -> None:
        """A later row for the same key takes the place of an earlier one.

        What can be no row, for its user or its key, is a note.
        """
        row = authinfo.parse(login.row(shows_secret=True).encode("utf-8", "surrogateescape"))[0]
        if row.fault:
            text = f"the login at {login.host or login.key or 'every host'}: {row.fault}"
            self.wrong(ForeignPlace(f"AuthInfo:{login.key}"), text)
            return
        self.logins = [one for one in self.logins if (one.key, one.host) != (login.key, login.host)]
        self.logins.append(login)

    def row(self, table: str, key: str, value: str) -> None:
        """A row of a table, or of the aliases; of two for a key the first counts."""
        self.rows.setdefault(table, {}).setdefault(key, value)

    def word(self, table: str, *words: str) -> None:
        """Words of a list of names."""
        for one in words:
            if one not in self.words.get(table, ()):
                self.words.setdefault(table, []).append(one)

    # --- what is said -----------------------------------------------------------------------------

    def no_effect(self, place: ForeignPlace, text: str) -> None:
        """Accepted: see the module."""
        self._note(ForeignNote(place.path, place.line, NoteKind.NO_EFFECT, text))

    def not_carried(self, place: ForeignPlace, text: str) -> None:
        """Nothing here does that."""
        self._note(ForeignNote(place.path, place.line, NoteKind.NOT_CARRIED, text))

    def wrong(self, place: ForeignPlace, text: str) -> None:
        """A mistake in the file."""
        self._note(ForeignNote(place.path, place.line, NoteKind.WRONG, text))

    def told(self, place: ForeignPlace, text: str) -> None:
        """Carried, and something to know."""
        self._note(ForeignNote(place.path, place.line, NoteKind.TOLD, text))

    def _note(self, note: ForeignNote) -> None:
        if note not in self._noted:
            self._noted.add(note)
            self.notes.append(note)

    def has(self, kind: NoteKind) -> bool:
        """Is there a note of that kind?"""
        return any(note.kind is kind for note in self.notes)

    def config_text(self) -> str:
        """minimta.cf: the options, each once, in the order of our own table, with where they come from."""
        order = {row.name: number for number, row in enumerate(TABLE)}
        lines = []
        for name in sorted(self.options, key=lambda name: order[name]):
            for value, place in self.options[name]:
                if by_name(name).accumulates or self._differs(name, value):
                    origin = f"{place.path}, line {place.line}" if place.line else place.path
                    lines += [f"# {origin}", f"{name} = {value}".rstrip()]
        return "".join(f"{line}\n" for line in lines)

    @staticmethod
    def _differs(name: str, value: str) -> bool:
        row = by_name(name)
        return row.value(value) != row.value(row.default)


def hop(host: str, port: int | str, *, looks_up: bool = False) -> str:
    """A next hop in our words: "[mx.example.org]:587"; with *looks_up* by its MX records."""
    bare = host.strip().removeprefix("[").removesuffix("]")
    name = bare if looks_up else f"[{bare}]"
    return name if str(port) in ("25", "", "0") else f"{name}:{port}"


def without_users(
    migration: Migration, found: str, name: str, domain: str, place: ForeignPlace
) -> None:
    """No mail is delivered here: users of this host, whose *name* it is, are known at *found*.

    There they are users of *domain*; without one they are called as they are here.
    """
    if domain and domain.lower() != name.lower():
        migration.row("VirtUserTable", f"@{name}", f"%1@{domain}")
        # That table is for addresses with a domain, and cron writes to root.
        migration.row("AliasFile", "root", f"root@{domain}")
        migration.told(
            place,
            f"users of this host are called NAME@{domain} at the relay, root too; another NAME alone"
            " is a mailbox here, unless a line of /etc/aliases sends it on",
        )
    else:
        migration.option("MailHub", found, place)
        migration.option("StickyHost", "True", place)


def one_sender(migration: Migration, address: str, name: str, place: ForeignPlace) -> None:
    """All senders of this host, whose *name* is known or "", become one address or domain."""
    user, at, domain = address.rpartition("@")
    if user and at:
        migration.row("GenericsTable", f"@{name}", address)
    else:
        migration.option("MasqueradeAs", domain, place)
    migration.option("MasqueradeEnvelope", "True", place)
