"""What a sendmail.mc says: its macro calls with their arguments, and its raw lines (pure).

Not all of m4, but what such files really use, by m4's rules:

    `text'        quoted: nothing in it is expanded; one level is taken off, they nest
    dnl           the rest of the line is nothing
    # text        a comment up to the line end, in which nothing is expanded
    NAME(a, b)    a call: blanks and line ends before an argument do not count, those behind it do
    define, undefine, defn, ifdef, ifelse, divert, include

Each call has the line on which it stands. A quotation mark that is none (an apostrophe, a double
quote, one typed by a word processor), and one that never ends, are faults with their lines; what is
behind them is read all the same. So are definitions that grow by each other without end, conditions
too deep in each other, and the last of too many faults, behind which nothing is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

_NAME_MARKS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_QUOTES = {
    "'": "an apostrophe",
    '"': "a double quotation mark",
    "\u2018": "a typographic quotation mark",
    "\u2019": "a typographic quotation mark",
    "\u201c": "a typographic quotation mark",
    "\u201d": "a typographic quotation mark",
}
#: macros whose argument is words for people
_FREE = ("VERSIONID",)
_DEEPEST = 20
#: characters that words of others' definitions may come to, all together
_MOST_GROWTH = 1 << 20
#: each may cost a look through the whole rest of the text
_MOST_UNFINISHED = 20
#: macros that stand alone; what follows up to the next one goes into sendmail.cf as it is
BARE = (
    "MAILER_DEFINITIONS",
    "LOCAL_CONFIG",
    "LOCAL_NET_CONFIG",
    "LOCAL_RULESETS",
    *(f"LOCAL_RULE_{number}" for number in range(4)),
)


@dataclass(frozen=True, slots=True)
class M4Call:
    """One call; a macro without parentheses has no arguments."""

    line: int
    name: str
    arguments: tuple[str, ...] = ()

    def argument(self, number: int) -> str:
        """The argument of that number, from 0, without blanks around it; "" if there is none."""
        return self.arguments[number].strip() if number < len(self.arguments) else ""


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line that goes into sendmail.cf as it is."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class M4Fault:
    """What is wrong in a line."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class M4Text:
    """A whole file."""

    calls: tuple[M4Call, ...]
    raw: tuple[RawLine, ...]
    faults: tuple[M4Fault, ...]


class _Unfinished(Exception):
    """The text ends inside of a call or of quotes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)


def read(text: str) -> M4Text:
    """All that *text* says. Raises nothing."""
    reader = _Reader(text.replace("\r\n", "\n"))
    reader.read()
    return M4Text(tuple(reader.calls), tuple(reader.raw), tuple(reader.faults))


class _Definitions(dict[str, str]):
    """What is defined, and how much of it has been put in."""

    growth = 0

    def put_in(self, name: str, otherwise: str) -> str:
        """What *name* comes to. Raise _Unfinished if that is too much by now."""
        found = self.get(name)
        if found is None:
            return otherwise
        self.growth += len(found)
        if self.growth > _MOST_GROWTH:
            raise _Unfinished("the definitions grow by each other without end")
        return found


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [at for at, mark in enumerate(text) if mark == "\n"]
        self._unfinished = 0
        self._defined = _Definitions()
        self._depth = 0
        self._rest: list[str] = []
        self.calls: list[M4Call] = []
        self.raw: list[RawLine] = []
        self.faults: list[M4Fault] = []

    def read(self) -> None:
        while self._at < len(self._text):
            begin = self._at
            try:
                self._step()
            except _Unfinished as error:
                line = self._line(begin)
                self.faults.append(M4Fault(line, str(error)))
                self._unfinished += 1
                if self._unfinished == _MOST_UNFINISHED:
                    self.faults.append(M4Fault(line, "that is too much: the rest is not read"))
                    return
                # What stands behind the broken line is no part of it for whoever wrote it.
                end = self._text.find("\n", begin)
                self._at = len(self._text) if end < 0 else end + 1
                self._rest.clear()
        self._end_line(self._line(len(self._text)))

    def _line(self, at: int) -> int:
        return bisect_left(self._ends, at) + 1

    def _step(self) -> None:
        """One character, word, comment or call at the outermost level."""
        mark = self._text[self._at]
        if mark == "\n":
            self._end_line(self._line(self._at))
            self._at += 1
        elif mark == "#":
            self._skip_line(keeps_end=True)
        elif mark == "`":
            self._rest.append(self._quoted())
        elif mark in _NAME_MARKS and not mark.isdigit():
            self._word()
        else:
            self._rest.append(mark)
            self._at += 1

    def _end_line(self, line: int) -> None:
        text = "".join(self._rest).strip()
        if text:
            self.raw.append(RawLine(line, text))
        self._rest.clear()

    def _skip_line(self, *, keeps_end: bool) -> None:
        end = self._text.find("\n", self._at)
        end = len(self._text) if end < 0 else end
        self._at = end if keeps_end else end + 1

    def _word(self) -> None:
        begin = self._at
        while self._at < len(self._text) and self._text[self._at] in _NAME_MARKS:
            self._at += 1
        word = self._text[begin : self._at]
        if word == "dnl":
            self._end_line(self._line(begin))
            self._skip_line(keeps_end=False)
        elif self._text[self._at : self._at + 1] == "(":
            line = self._line(begin)
            self._call(M4Call(line, word, tuple(self._arguments(word, line))))
        elif word in BARE:
            self._end_line(self._line(begin))
            self._call(M4Call(self._line(begin), word))
        else:
            self._rest.append(word)

    # --- calls ------------------------------------------------------------------------------------

    def _call(self, call: M4Call) -> None:
        name, given = call.name, call.arguments
        if name == "define":
            self._defined[call.argument(0)] = given[1] if len(given) > 1 else ""
        elif name == "undefine":
            self._defined.pop(call.argument(0), None)
        if name in ("ifdef", "ifelse"):
            self._inner(_chosen(call, self._defined), call.line)
        elif not _is_macro(name):
            # Text with a parenthesis behind it, or a macro of somebody's own.
            self._rest.append(f"{name}({','.join(given)})")
        else:
            self.calls.append(call)

    def _inner(self, text: str, line: int) -> None:
        """What a condition comes to is read as if it stood there."""
        if self._depth >= _DEEPEST:
            self.faults.append(M4Fault(line, f"more than {_DEEPEST} conditions in each other"))
        if self._depth >= _DEEPEST or not text:
            return
        inner = _Reader(text)
        inner._defined, inner._depth = self._defined, self._depth + 1
        inner.read()
        self.calls += [M4Call(line + one.line - 1, one.name, one.arguments) for one in inner.calls]
        self.raw += [RawLine(line + one.line - 1, one.text) for one in inner.raw]
        self.faults += [M4Fault(line + one.line - 1, one.text) for one in inner.faults]

    def _arguments(self, name: str, line: int) -> Iterator[str]:
        """Those behind the parenthesis where we stand. Raise _Unfinished."""
        self._at += 1
        while True:
            argument, end = self._argument(name, line)
            yield argument
            if end == ")":
                return

    def _argument(self, name: str, line: int) -> tuple[str, str]:
        """One of them, and the mark that ends it."""
        self._skip_blanks()
        self._check_quote(name)
        found: list[str] = []
        depth = 0
        while self._at < len(self._text):
            mark = self._text[self._at]
            if mark == "`":
                found.append(self._quoted())
            elif mark == "#":
                self._skip_line(keeps_end=True)
            elif mark in ",)" and not depth:
                self._at += 1
                return "".join(found), mark
            elif mark in _NAME_MARKS:
                found.append(self._argument_word())
            else:
                if mark == "'" and name not in _FREE and found:
                    self._fault_here(f"{name}(: a closing quote that nothing opened")
                depth += {"(": 1, ")": -1}.get(mark, 0)
                found.append(mark)
                self._at += 1
        raise _Unfinished(f"{name}( has no end: a closing ) or ' is missing")

    def _skip_blanks(self) -> None:
        """Before an argument blanks, line ends and dnl do not count."""
        while True:
            while self._text[self._at : self._at + 1].isspace():
                self._at += 1
            if self._text[self._at : self._at + 3] != "dnl":
                return
            if self._text[self._at + 3 : self._at + 4] in _NAME_MARKS:
                return
            self._skip_line(keeps_end=False)

    def _argument_word(self) -> str:
        begin = self._at
        while self._at < len(self._text) and self._text[self._at] in _NAME_MARKS:
            self._at += 1
        word = self._text[begin : self._at]
        if word == "dnl":
            self._skip_line(keeps_end=False)
            return ""
        if word == "defn" and self._text[self._at : self._at + 1] == "(":
            names = list(self._arguments(word, self._line(begin)))
            return self._defined.put_in(names[0].strip(), "")
        return self._defined.put_in(word, word)

    def _quoted(self) -> str:
        """What stands in the quotes that begin here. Raise _Unfinished."""
        depth, begin = 0, self._at
        while self._at < len(self._text):
            mark = self._text[self._at]
            depth += {"`": 1, "'": -1}.get(mark, 0)
            self._at += 1
            if not depth:
                return self._text[begin + 1 : self._at - 1]
        shown = self._text[begin : begin + 30].partition("\n")[0]
        raise _Unfinished(f"the quote that begins with {shown} is never closed: `text' is wanted")

    def _check_quote(self, name: str) -> None:
        """A quotation mark that is none for m4: it would become a part of the text."""
        mark = self._text[self._at : self._at + 1]
        line_end = self._text.find("\n", self._at)
        shown = self._text[self._at : line_end if line_end >= 0 else None][:30]
        if mark and mark in _QUOTES and name not in _FREE:
            what = _QUOTES[mark]
            self._fault_here(f"{name}({shown}: {what} is no quote of m4")

    def _fault_here(self, text: str) -> None:
        """One for each line is enough."""
        line = self._line(self._at)
        if not (self.faults and self.faults[-1].line == line):
            self.faults.append(M4Fault(line, f"{text}: `text' is wanted"))


def _is_macro(name: str) -> bool:
    """May it be called with arguments: is it one of Sendmail's, or m4's that act on a whole file?"""
    is_sendmails = name.isupper() and len(name) > 3
    return is_sendmails or name in (
        "define",
        "undefine",
        "divert",
        "include",
        "sinclude",
        "ifdef",
        "ifelse",
    )


def _chosen(call: M4Call, defined: dict[str, str]) -> str:
    """What ifdef or ifelse comes to."""
    given = list(call.arguments)
    if call.name == "ifdef":
        place = 1 if call.argument(0) in defined else 2
        return given[place] if place < len(given) else ""
    while len(given) >= 3:
        if given[0].strip() == given[1].strip():
            return given[2]
        given = given[3:]
    return given[0] if given else ""
