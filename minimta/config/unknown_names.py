"""Lines and names that are no option's: what was meant, probably. Loaded only on the way to an error."""

from __future__ import annotations

import re
from difflib import get_close_matches

from minimta.config.postfix_names import NAMES
from minimta.config.sendmail_names import ALWAYS
from minimta.config.values import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minimta.config.option import Option


#: of lines that are about no option so many are told
_STRAYS = 10
#: the version of a sendmail.cf and who made it, which nothing else begins with
_SENDMAIL_CF = re.compile(r"^V[0-9]+/[A-Za-z]+[ \t]*$", re.MULTILINE)


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


def is_setting(line: str) -> bool:
    """Has a wrong *line* of the file the form of one that sets an option?"""
    return re.match(r"[\w.]+\s*=", line) is not None


def told(text: str, faults: list[tuple[int, str]], strays: set[int]) -> list[tuple[int, str]]:
    """What is said of a file, *text*, with *faults*: number of a line, 0 for the whole, and the reason.

    Of *strays*, the lines that are about no option, the first few; of a sendmail.cf all are such.
    """
    found = [(0, "is no text")] if "\0" in text else []
    if _SENDMAIL_CF.search(text):
        what = "is a sendmail.cf, which minimta does not read"
        found.append((0, f"{what}; minimta import reads the sendmail.mc that it was made from"))
        strays = {number for number, _ in faults}
    left = set(sorted(strays)[_STRAYS:])
    found += [fault for fault in faults if fault[0] not in left]
    return [*found, (0, f"{len(left)} more lines are no options")] if left else found


def _names(rows: Iterable[Option]) -> dict[str, str]:
    """Name in small letters -> name, of *rows* and of all that says what is always so."""
    return {row.name.lower(): row.name for row in (*rows, *ALWAYS)}
