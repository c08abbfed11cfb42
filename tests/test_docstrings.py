"""What is public says what it is, and what it raises.

``python3 tests/test_docstrings.py [ROOM]`` prints what is missing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "minimta"

Function = ast.FunctionDef | ast.AsyncFunctionDef
#: documents that the reader of the project does not have
_ELSEWHERE = re.compile(r"\bT[0-9]{1,2}\b|threats|durability|style:|design:")


def modules(room: str = "") -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / room).rglob("*.py")):
        yield path.relative_to(ROOT.parent).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def public(body: list[ast.stmt]) -> Iterator[tuple[ast.ClassDef | Function, str]]:
    """Public classes, functions and methods with their names, what stands in functions left out."""
    for node in body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node, node.name
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node, node.name
            yield from ((inner, f"{node.name}.{name}") for inner, name in public(node.body))


def raised(node: ast.AST) -> Iterator[str]:
    """What a function raises by name, in itself: not in functions in it, not what it catches there."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Try) and child.handlers:
            inside = [name for statement in child.body for name in raised_by(statement)]
            caught = " ".join(ast.unparse(handler.type or child) for handler in child.handlers)
            yield from (name for name in inside if name not in caught)
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield from raised_by(part)
        else:
            yield from raised_by(child)


def raised_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Raise) and node.exc is not None:
        what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        yield ast.unparse(what).rpartition(".")[2]
    yield from raised(node)


def undocumented(room: str = "") -> list[str]:
    """Public modules, classes, functions and methods without a docstring."""
    return [
        f"{path}:{getattr(node, 'lineno', 1)} {name}"
        for path, module in modules(room)
        for node, name in [(module, "the module"), *public(module.body)]
        if ast.get_docstring(node) is None
    ]


def silent(room: str = "") -> list[str]:
    """Public functions that raise and do not say so."""
    return [
        f"{path}:{node.lineno} {name}: {', '.join(sorted(set(raised(node))))}"
        for path, module in modules(room)
        for node, name in public(module.body)
        if isinstance(node, Function) and any(raised(node))
        if not re.search(r"\b[Rr]ais(e|es|ing)\b", ast.get_docstring(node) or "")
    ]


def bare_constructors(room: str = "") -> list[str]:
    """Constructors of public classes with three arguments or more that do not say what they are."""
    return [
        f"{path}:{init.lineno} {name}"
        for path, module in modules(room)
        for node, name in public(module.body)
        if isinstance(node, ast.ClassDef)
        for init in node.body
        if isinstance(init, ast.FunctionDef) and init.name == "__init__"
        if len(init.args.args) + len(init.args.kwonlyargs) > 3
        if ast.get_docstring(init) is None
    ]


def citations(room: str = "") -> list[str]:
    """Lines that cite a document that is not in the project."""
    return [
        f"{path.relative_to(ROOT.parent)}:{number} {line.strip()}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
        if _ELSEWHERE.search(line)
    ]


def test_all_that_is_public_has_a_docstring() -> None:
    assert undocumented() == []


def test_what_raises_says_so() -> None:
    assert silent() == []


def test_a_constructor_of_three_arguments_says_what_they_are() -> None:
    assert bare_constructors() == []


def test_nothing_cites_a_document_that_is_not_here() -> None:
    assert citations() == []


@pytest.mark.parametrize("room", ["listener", "mailers/remote"])
def test_each_step_of_a_page_has_its_files(room: str) -> None:
    """The last column of the tables in the docstring of a room names files of it, or room/file."""
    text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    rows = [re.split(r" {2,}", line.strip()) for line in (text or "").split("\n")]
    named = [name for row in rows if len(row) == 3 for name in row[2].split(", ")]
    assert len(named) > 20
    files = [name for name in named if name != "where"]
    lacking = [
        name
        for name in files
        if not any((place / f"{name}.py").is_file() for place in (ROOT / room, ROOT))
    ]
    assert lacking == []


def test_a_raise_in_an_inner_function_or_one_that_is_caught_does_not_count() -> None:
    text = """
def f():
    try:
        raise KeyError
    except KeyError:
        raise ValueError('x') from None
    def g():
        raise OSError
"""
    [function] = ast.parse(text).body
    assert list(raised(function)) == ["ValueError"]


if __name__ == "__main__":
    place = sys.argv[1].removeprefix("minimta/") if len(sys.argv) > 1 else ""
    for rule in (undocumented, silent, bare_constructors, citations):
        print(f"{rule.__doc__}", *rule(place), sep="\n    ")
