"""The aliases of this host: several files, asked in order, the first that has the name counts.

    # comment
    postmaster: root
    list: dave, carol,
        henry@lab3.campus           continued: the line begins with a blank
    "first last": dave              quoted names; a blank outside quotes becomes "."

The text is the source of truth, PATH.cdb what is asked. Keys are in small letters, and in quotes only
if they need them ("root" is root). If the text is
newer than its database that is logged once and the database is used, as Sendmail does without
AutoRebuildAliases; if there is no database the text is used. If there is neither, every name that
no file before it has is an OSError and not unknown, unless the file is optional (AliasFile = -o PATH).
"""

from __future__ import annotations

from minimta.aliases.source import Source
from minimta.message import address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set


class Aliases:
    """The aliases, for looking up. Opens nothing before the first question."""

    __slots__ = ("sources",)

    def __init__(self, files: tuple[str, ...], dont_blame: Set[str] = frozenset()) -> None:
        """*files* as in option AliasFile, *dont_blame* as in DontBlameSendmail."""
        self.sources = tuple(Source(file, dont_blame) for file in files)

    def find(self, local_part: bytes) -> bytes | None:
        """The right-hand side of *local_part*, in any case; None if it is no alias.

        Raise OSError if this cannot be known now, or if others could have written a file.
        """
        key = _key(local_part)
        for source in self.sources:
            value = source.find(key)
            if value is not None:
                return value
        return None

    def require_whole(self) -> None:
        """Raise OSError if a name that find() does not find may stand in a line that is damaged."""
        for source in self.sources:
            source.require_whole()

    def origin(self, local_part: bytes) -> tuple[str, int] | None:
        """(path of the text, first line of the entry) of an alias; None if it is none.

        The line is 0 if the text does not say what the database says. Raise OSError as find().
        """
        key = _key(local_part)
        for source in self.sources:
            value = source.find(key)
            if value is not None:
                return source.path, source.line_of(key, value)
        return None


def _key(local_part: bytes) -> bytes:
    return address.quoted(address.unquote(address.folded(local_part)))
