"""What /etc/mail.rc and ~/.mailrc set: variables, aliases, header fields that are not shown.

Commands of these files are those of the reading session that concern no message: set, unset, alias,
unalias, ignore, retain, and comments. A variable that nothing here heeds is kept and shown; programs
that share the file set many.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field

from minimta.message import addresslist

#: as Debian's /etc/mail.rc has them
_VARIABLES = ("ask", "askcc", "dot", "save")
_IGNORED = "received message-id resent-message-id status mail-from return-path via delivered-to"


def _ignored() -> set[str]:
    return set(_IGNORED.split())


def _variables() -> dict[str, str]:
    return dict.fromkeys(_VARIABLES, "")


@dataclass(slots=True)
class Settings:
    """Variables are "" when set without a value; one that is not set is not there."""

    variables: dict[str, str] = field(default_factory=_variables)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    #: names of fields, in small letters
    ignored: set[str] = field(default_factory=_ignored)
    retained: set[str] = field(default_factory=set)

    def read_file(self, path: str) -> list[str]:
        """Obey a file of commands. Returns a sentence for each line that cannot be. Raise OSError."""
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.read().replace("\\\n", " ").split("\n")
        said = []
        for number, line in enumerate(lines, 1):
            try:
                self.obey(line)
            except ValueError as error:
                said.append(f"{path}: line {number}: {error}")
        return said

    def obey(self, line: str) -> list[str] | None:
        """Carry out one of our commands; what it prints. None: it is none of ours. Raise ValueError."""
        words = words_of(line)
        if not words or words[0].startswith("#"):
            return []
        for name, shortest, command in _COMMANDS:
            if name.startswith(words[0]) and len(words[0]) >= shortest:
                return command(self, words[1:])
        return None

    def shows(self, name: str) -> bool:
        """Is a header field of this name (in small letters) shown?"""
        return name in self.retained if self.retained else name not in self.ignored

    def number(self, name: str, default: int) -> int:
        """A variable that is a number."""
        text = self.variables.get(name, "")
        return int(text) if text.isdigit() and len(text) < 9 else default

    def expanded(self, lists: list[str]) -> list[str]:
        """Lists of addresses with the user's aliases put in, each address once."""
        found: dict[str, None] = {}
        for text in lists:
            for listed in addresslist.parse(os.fsencode(text)):
                for address in self._members(os.fsdecode(listed.given), (), set()):
                    found[address] = None
        return list(found)

    def _members(self, name: str, above: tuple[str, ...], seen: set[str]) -> list[str]:
        """Whom *name* means; in an alias of its own, which is *above*, it is an address."""
        if name not in self.aliases or name in above:
            return [name]
        if name in seen:
            return []  # its members are named already
        seen.add(name)
        way = (*above, name)
        return [one for member in self.aliases[name] for one in self._members(member, way, seen)]

    # --- commands ---------------------------------------------------------------------------------

    def set(self, words: list[str]) -> list[str]:
        """set NAME, set NAME=VALUE, set noNAME; alone it tells all. Raise ValueError."""
        if not words:
            return [
                f'{name}="{value}"' if value else name
                for name, value in sorted(self.variables.items())
            ]
        for word in words:
            name, equals, value = word.partition("=")
            if not name:
                raise ValueError(f"{word}: a variable has a name")
            if name.startswith("no") and not equals and name[2:]:
                self.variables.pop(name[2:], None)
            else:
                self.variables[name] = value
        return []

    def unset(self, words: list[str]) -> list[str]:
        """Forget variables."""
        for word in words:
            self.variables.pop(word, None)
        return []

    def alias(self, words: list[str]) -> list[str]:
        """alias NAME ADDRESS...; without addresses it tells."""
        if len(words) > 1:
            self.aliases[words[0]] = [*self.aliases.get(words[0], []), *words[1:]]
            return []
        names = words or sorted(self.aliases)
        return [f"{name}\t{' '.join(self.aliases[name])}" for name in names if name in self.aliases]

    def unalias(self, words: list[str]) -> list[str]:
        """Forget aliases."""
        for word in words:
            self.aliases.pop(word, None)
        return []

    def ignore(self, words: list[str]) -> list[str]:
        """Fields that are not shown."""
        if not words:
            return sorted(self.ignored)
        self.ignored |= {word.lower() for word in words}
        return []

    def retain(self, words: list[str]) -> list[str]:
        """The only fields that are shown."""
        if not words:
            return sorted(self.retained)
        self.retained |= {word.lower() for word in words}
        return []


#: name, its shortest abbreviation, what it does
_COMMANDS = (
    ("alias", 1, Settings.alias),
    ("group", 1, Settings.alias),
    ("ignore", 2, Settings.ignore),
    ("discard", 2, Settings.ignore),
    ("retain", 3, Settings.retain),
    ("set", 2, Settings.set),
    ("unalias", 3, Settings.unalias),
    ("unset", 4, Settings.unset),
)


def words_of(line: str) -> list[str]:
    """The words of a line as a shell has them. Raise ValueError for a quote without its end."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=False)
    reader.whitespace_split = True
    reader.commenters = ""
    try:
        return list(reader)
    except ValueError as error:
        raise ValueError(f"{line.strip()}: {error}") from error


def load(home: str, *, skips_system_file: bool) -> tuple[Settings, list[str]]:
    """The settings of this user, and what is wrong with the files. Files that are not there say nothing."""
    settings, said = Settings(), []
    own = os.environ.get("MAILRC") or os.path.join(home, ".mailrc")
    for path in ([] if skips_system_file else ["/etc/mail.rc"]) + [own]:
        try:
            said += settings.read_file(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            said.append(f"{path}: {error.strerror}")
    return settings, said
