"""Names that are no option's: what was meant, probably. Loaded only on the way to an error."""

from __future__ import annotations

from difflib import get_close_matches

from minimta.config.postfix_names import NAMES
from minimta.config.sendmail_names import ALWAYS
from minimta.config.values import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minimta.config.option import Option


def hint(name: str, rows: Iterable[Option]) -> str:
    """What the error says after an unknown *name*: which of *rows* may be meant; "" if none."""
    if name.lower() in NAMES:
        return f" (here it is {NAMES[name.lower()]})"
    return nearest(name.lower(), _names(rows))


def meant(line: str, rows: Iterable[Option]) -> str:
    """The name of the option, one of *rows*, that a wrong *line* of the file is most likely about; "" if of none.

    A misspelt name counts as the one that the error proposes; whatever speaks of a queue or spool,
    and is near no name, as QueueDirectory.
    """
    name, equals, _ = line.lower().partition("=")
    word = "".join(name.split()) if equals else name.split()[0]
    names = _names(rows)
    if word in names:
        return names[word]
    if word in NAMES:
        return NAMES[word]
    near = get_close_matches(word, list(names), 1)
    if near:
        return names[near[0]]
    return "QueueDirectory" if "queue" in word or "spool" in word else ""


def _names(rows: Iterable[Option]) -> dict[str, str]:
    """Name in small letters -> name, of *rows* and of all that says what is always so."""
    return {row.name.lower(): row.name for row in (*rows, *ALWAYS)}
