"""One-place changes of a Python module: what a slip of the pen would be, as text.

    compare     a comparison turned: < becomes <=, == becomes !=, "in" becomes "not in"
    negate      the condition of an if, a while or a conditional expression, negated
    leave out   a call that stands as a statement
    swap        two neighbouring calls that stand as statements
    number      a number one larger
    logic       "and" for "or", "or" for "and"
    return      True for False, None for a value
    unlocked    the body of a ``with`` lock, without it
    share       an exclusive lock that is a shared one
    pretend     a call in a condition not made, and taken for done, or for refused
    unwritten   a write(2) not made, and taken for whole

The last four are for modules that make things durable (``durable``). A change keeps the number of lines
before its own place. What stands in f-strings is left alone: before Python 3.12 it has no position.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_WRITES = {"os.write", "os.writev", "os.pwrite"}
#: characters of a piece of code that stand in the description of a change
_SHOWN = 70


class Change(NamedTuple):
    """One change of a module."""

    #: the qualified name of the function or class, "" in the module itself
    function: str
    #: what is changed, and its place if there are several of the kind in the function; no line numbers
    what: str
    line: int
    kind: str
    #: the octets from .. to of the module that ``text`` takes the place of
    start: int
    stop: int
    text: str
    #: the nodes concerned, in the tree that was searched
    nodes: tuple[ast.AST, ...]

    def apply(self, source: str) -> str:
        """The module with the change."""
        octets = source.encode()
        return (octets[: self.start] + self.text.encode() + octets[self.stop :]).decode()


class Place(NamedTuple):
    """A node on the way through a tree."""

    node: ast.AST
    #: those around it, the module first
    around: tuple[ast.AST, ...]


class Module:
    """A parsed module, and where its nodes stand in it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = ast.parse(source)
        self._lines = [0]
        for line in source.encode().split(b"\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)

    def span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        """The octets of a node: from, to."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = self._lines[node.lineno - 1] + node.col_offset
        return start, self._lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.stmt | ast.expr) -> str:
        start, stop = self.span(node)
        return self.source.encode()[start:stop].decode()


def changes(source: str) -> list[Change]:
    """All changes of a module, in the order of its text; each is told apart by function and what."""
    module = Module(source)
    found = [change for place in _walk(module.tree, ()) for change in _at(module, place)]
    found.sort(key=lambda change: (change.start, change.stop, change.kind))
    return _numbered(found)


def _numbered(found: list[Change]) -> list[Change]:
    seen: dict[tuple[str, str], int] = {}
    numbered = []
    for change in found:
        key = change.function, change.what
        seen[key] = number = seen.get(key, 0) + 1
        what = change.what if number == 1 else f"{change.what} ({number})"
        numbered.append(change._replace(what=what))
    return numbered


def _walk(node: ast.AST, around: tuple[ast.AST, ...]) -> Iterator[Place]:
    """All nodes that are run: not what only a type checker reads, and no f-strings."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and _is_for_types(node)):
        return
    yield Place(node, around)
    for field, child in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for one in child if isinstance(child, list) else [child]:
            if isinstance(one, ast.AST):
                yield from _walk(one, (*around, node))


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _at(module: Module, place: Place) -> Iterator[Change]:
    node = place.node
    for kind, rule in _RULES.items():
        for at, what, text, nodes in rule(module, node):
            start, stop = at
            line = module.source.encode()[:start].count(b"\n") + 1
            yield Change(_name(place), what, line, kind, start, stop, text, nodes)


def _name(place: Place) -> str:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return ".".join(one.name for one in (*place.around, place.node) if isinstance(one, kinds))


#: where, what, the text there, nodes concerned
Found = tuple[tuple[int, int], str, str, tuple[ast.AST, ...]]
Rule = Callable[[Module, ast.AST], Iterator[Found]]


def _compare(module: Module, node: ast.AST) -> Iterator[Found]:
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            other = copy.deepcopy(node)
            other.ops[number] = _TURNED[type(operator)]()
            text = ast.unparse(other)
            yield module.span(node), f"{_short(node)} turned: {_cut(text)}", f"({text})", (node,)


def _negate(module: Module, node: ast.AST) -> Iterator[Found]:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        what = f"negated: {_keyword(node)} {_short(node.test)}"
        yield module.span(node.test), what, f"(not ({ast.unparse(node.test)}))", (node,)


def _keyword(node: ast.AST) -> str:
    return "while" if isinstance(node, ast.While) else "if"


def _leave_out(module: Module, node: ast.AST) -> Iterator[Found]:
    if _is_call(node):
        assert isinstance(node, ast.Expr)
        yield module.span(node), f"left out: {_short(node)}", "pass", (node,)


def _swap(module: Module, node: ast.AST) -> Iterator[Found]:
    for body in _bodies(node):
        for one, other in pairwise(body):
            if _is_call(one) and _is_call(other):
                (start, end), (begin, stop) = module.span(one), module.span(other)
                between = module.source.encode()[end:begin].decode()
                text = module.text(other) + between + module.text(one)
                what = f"swapped: {_short(one)} and {_short(other)}"
                yield (start, stop), what, text, (one, other)


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if isinstance(body, list):
            yield body


def _number(module: Module, node: ast.AST) -> Iterator[Found]:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        assert isinstance(node.value, int | float)
        what = f"{module.text(node)} is one larger"
        yield module.span(node), what, repr(node.value + 1), (node,)


def _logic(module: Module, node: ast.AST) -> Iterator[Found]:
    if isinstance(node, ast.BoolOp):
        other = copy.deepcopy(node)
        other.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        word = "or" if isinstance(node.op, ast.And) else "and"
        what = f"{word} instead in: {_short(node)}"
        yield module.span(node), what, f"({ast.unparse(other)})", (node,)


def _return(module: Module, node: ast.AST) -> Iterator[Found]:
    if not isinstance(node, ast.Return) or node.value is None:
        return
    value = node.value
    if isinstance(value, ast.Constant):
        if isinstance(value.value, bool):
            yield module.span(value), f"returns {not value.value}", str(not value.value), (node,)
    else:
        yield module.span(value), f"returns None, not {_short(value)}", "None", (node,)


def _unlocked(module: Module, node: ast.AST) -> Iterator[Found]:
    if isinstance(node, ast.With) and len(node.items) == 1 and not node.items[0].optional_vars:
        lock = node.items[0].context_expr
        if "lock" in ast.unparse(lock) or "mutex" in ast.unparse(lock):
            place = module.span(node)[0], module.span(lock)[1]
            yield place, f"unlocked: {_short(lock)}", "if True", (node,)


def _share(module: Module, node: ast.AST) -> Iterator[Found]:
    if isinstance(node, ast.Call):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and inner.attr == "LOCK_EX":
                yield module.span(inner), f"shared: {_short(node)}", "fcntl.LOCK_SH", (node,)


def _pretend(module: Module, node: ast.AST) -> Iterator[Found]:
    for test in _conditions(node):
        if isinstance(test, ast.Call):
            for answer in ("True", "False"):
                what = f"not made, taken for {answer}: {_short(test)}"
                yield module.span(test), what, answer, (test,)


def _conditions(node: ast.AST) -> Iterator[ast.expr]:
    """What decides: the condition itself is that of its innermost operator."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield node.test
    elif isinstance(node, ast.BoolOp):
        yield from node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand


def _unwritten(module: Module, node: ast.AST) -> Iterator[Found]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) in _WRITES:
        yield module.span(node), f"not made: {_short(node)}", "(1 << 30)", (node,)


_RULES: dict[str, Rule] = {
    "compare": _compare,
    "negate": _negate,
    "leave out": _leave_out,
    "swap": _swap,
    "number": _number,
    "logic": _logic,
    "return": _return,
    "unlocked": _unlocked,
    "share": _share,
    "pretend": _pretend,
    "unwritten": _unwritten,
}
#: what a slip of the pen may be anywhere
COMMON = frozenset(("compare", "negate", "leave out", "swap", "number", "logic", "return"))


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def _short(node: ast.AST) -> str:
    return _cut(ast.unparse(node))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
