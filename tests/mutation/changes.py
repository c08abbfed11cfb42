"""One-place changes of a module: what a test suite must notice.

    comparison    < becomes <=, == becomes !=, in becomes not in ...
    condition     if, while: negated
    call          a call that stands alone is left out
    number        one larger
    operator      and becomes or, or becomes and
    return        left out
    order         two calls that stand one after the other, swapped

``changes`` gives them all, in the order of the lines, each with the whole text of the changed module.
Comments and layout are lost in it; nobody reads it.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
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


class Change(NamedTuple):
    """A mutant: *kind* of change, *line* of the module, *what* stood there, the changed *text*."""

    kind: str
    line: int
    what: str
    text: str


def changes(text: str) -> list[Change]:
    """All changes of a module's *text*. Raise SyntaxError."""
    tree = ast.parse(text)
    found = []
    for number, node in enumerate(ast.walk(tree)):
        for kind, change in _changes_of(node):
            changed = copy.deepcopy(tree)
            there = next(one for n, one in enumerate(ast.walk(changed)) if n == number)
            what = change(there)
            found.append(Change(kind, what.lineno, ast.unparse(what), _unparsed(changed)))
    return sorted(found, key=lambda one: (one.line, one.kind, one.what))


def _unparsed(tree: ast.Module) -> str:
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


_Apply = Callable[[ast.AST], ast.stmt | ast.expr]


def _changes_of(node: ast.AST) -> Iterator[tuple[str, _Apply]]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield "comparison", _turn
    if isinstance(node, ast.If | ast.While):
        yield "condition", _negate
    if isinstance(node, ast.BoolOp):
        yield "operator", _other_operator
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "number", _one_larger
    for field, block in _blocks(node):
        for at, statement in enumerate(block):
            if isinstance(statement, ast.Return):
                yield "return", _without(field, at)
            if _is_call(statement):
                yield "call", _without(field, at)
                if at + 1 < len(block) and _is_call(block[at + 1]):
                    yield "order", _swapped(field, at)


def _blocks(node: ast.AST) -> Iterator[tuple[str, list[ast.stmt]]]:
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            yield field, block


def _is_call(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)


def _turn(node: ast.AST) -> ast.expr:
    assert isinstance(node, ast.Compare)
    before = copy.deepcopy(node)
    node.ops = [_TURNED[type(node.ops[0])]()]
    return before


def _negate(node: ast.AST) -> ast.expr:
    assert isinstance(node, ast.If | ast.While)
    before = node.test
    node.test = ast.copy_location(ast.UnaryOp(ast.Not(), before), before)
    return before


def _other_operator(node: ast.AST) -> ast.expr:
    assert isinstance(node, ast.BoolOp)
    before = copy.deepcopy(node)
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return before


def _one_larger(node: ast.AST) -> ast.expr:
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int)
    before = copy.deepcopy(node)
    node.value += 1
    return before


def _without(field: str, at: int) -> _Apply:
    def change(node: ast.AST) -> ast.stmt:
        block: list[ast.stmt] = getattr(node, field)
        before = block[at]
        block[at] = ast.copy_location(ast.Pass(), before)
        return before

    return change


def _swapped(field: str, at: int) -> _Apply:
    def change(node: ast.AST) -> ast.stmt:
        block: list[ast.stmt] = getattr(node, field)
        block[at], block[at + 1] = block[at + 1], block[at]
        return block[at + 1]

    return change
