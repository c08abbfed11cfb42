"""The durable path: each statement that a message's safety rests on has a test that misses it."""

from __future__ import annotations

import ast
import functools

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation import durable, table
from tests.mutation.run import HOME

RUN = "run: python3 -m tests.mutation --durable --write"


@functools.cache
def functions(path: str) -> set[str]:
    tree = ast.parse((HOME / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_change_of_the_durable_path_has_a_test_that_notices_or_a_reason() -> None:
    known = {row.key for row in table.rows(table.DURABLE)}
    found = {table.key(*case) for case in durable.all_changes()}
    assert not found - known, f"no test is known to notice; {RUN}"
    assert not known - found, f"these statements are gone; {RUN}"


def test_the_tests_that_the_tables_name_are_there() -> None:
    assert table.rows(table.DURABLE)
    for row in (*table.rows(table.DURABLE), *table.rows(table.SURVIVORS)):
        path, _, name = row.killed_by.partition("::")
        assert len(row.reason.split()) > 3 or name.rpartition("::")[2] in functions(path), row


def test_a_statement_that_is_added_is_missed_in_the_table() -> None:
    source = (HOME / "minimta/queue/commit.py").read_text(encoding="utf-8")
    more = source.replace("    os.fsync(data)\n", "    os.fsync(data)\n    os.fsync(data)\n")
    kinds = [change.what for change in durable.durable_changes(more)]
    assert "left out: os.fsync(data) (2)" in kinds
    assert len(kinds) > len(durable.durable_changes(source))


@pytest.mark.long
def test_each_test_of_the_table_notices_its_change() -> None:
    assert mutation.main(["--table", "--root"]) == 0
