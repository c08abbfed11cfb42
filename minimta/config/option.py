"""One option: its name, letter, reader and default, and how an object of Options has its value.

The rows themselves stand in ``options``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class OptionError(ValueError):
    """A name or value that cannot be read; the text names the option."""


class Option:
    """One row. As an attribute of Options it is what its default says, until it is set."""

    __slots__ = (
        "accumulates",
        "anybody",
        "attribute",
        "default",
        "file_only",
        "late",
        "letter",
        "meaning",
        "name",
        "read",
    )

    def __init__(
        self,
        name: str,
        default: str,
        read: Callable[[str], object],
        meaning: str,
        letter: str = "",
        *,
        anybody: bool = False,
        accumulates: bool = False,
        file_only: bool = False,
        late: bool = False,
    ) -> None:
        """*name*, *letter* (for -oX, "" if none) and *default*, as it would stand in the file.

        *read* turns text into the value, or raises ValueError. *anybody* may set it for their own
        message; what *accumulates* gives a tuple, and each line of the file adds to it.
        What is *file_only* nobody may set on a command line. What is *late* only the daemon asks
        for, and other commands need not read it: see ``Options.keep``.
        """
        self.name = name
        #: of Options; "" in ALWAYS
        self.attribute = ""
        self.default = default
        self.read = read
        self.meaning = meaning
        self.letter = letter
        self.anybody = anybody
        self.accumulates = accumulates
        self.file_only = file_only
        self.late = late

    def __set_name__(self, owner: type, attribute: str) -> None:
        """Called for each row when the class Options is made."""
        self.attribute = attribute

    def __get__(self, options: object, owner: type) -> object:
        """Read the default when it is first asked for, then it is an attribute like any other.

        A command asks for few of them, and the start of ``sendmail`` does not wait for the rest.
        Threads that ask at the same time both read it, and find the same. Raise OptionError if a
        text that was kept is no value.
        """
        if options is None:
            return self
        values = vars(options)
        texts: list[str] | None = values["kept"].get(self.attribute)
        value = values[self.attribute] = self._sum(texts) if texts else self.read(self.default)
        return value

    def _sum(self, texts: list[str]) -> tuple[object, ...]:
        """The value of several lines. Raise OptionError."""
        return tuple(item for text in texts for item in self.value(text))  # type: ignore[attr-defined]

    def value(self, text: str) -> object:
        """What *text* means. Raise OptionError if it is no value, or not what is always so."""
        try:
            value = self.read(text)
        except ValueError as error:
            raise OptionError(f"option {self.name}: {error}") from error
        if not self.attribute and self.default and value != self.read(self.default):
            raise OptionError(f"option {self.name}: only {self.default} can be had: {self.meaning}")
        return value


if TYPE_CHECKING:

    def row(
        name: str,
        default: str,
        read: Callable[[str], T],
        meaning: str,
        letter: str = "",
        **more: bool,
    ) -> T:
        """A row. To a type checker it is what it becomes in an object of Options: a value."""
        ...

else:
    row = Option
