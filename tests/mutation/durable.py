"""The changes of the durable path: what a message's safety rests on, statement by statement.

Of the modules below each statement that makes something durable, names, removes, locks, writes or records
it is left out, or taken for done where it stands in a condition; each two of them that follow each other
change places; each lock is left out or shared. Which test notices is in ``durable.tsv``.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path

from tests.mutation import table
from tests.mutation.changes import Change, changes

HOME = Path(__file__).resolve().parent.parent.parent

#: those first through which every message goes
MODULES = (
    *("minimta/queue/commit.py", "minimta/queue/directory.py", "minimta/queue/locked.py"),
    *("minimta/queue/spool.py", "minimta/runner/checkpoint.py", "minimta/mailers/files/append.py"),
    *("minimta/mailers/files/maildir.py", "minimta/mailers/files/locked_file.py"),
    *("minimta/queue/collect.py", "minimta/queue/split.py", "minimta/system/files.py"),
    *("minimta/runner/deliver.py", "minimta/runner/send_reports.py", "minimta/queue/adopt.py"),
    *("minimta/queue/put_aside.py", "minimta/queue/queue_group.py", "minimta/queue/leftovers.py"),
    *("minimta/mailers/files/mbox.py", "minimta/mailers/files/file_mailer.py"),
    *("minimta/mailers/files/dotlock.py", "minimta/aliases/rebuild.py"),
    *("minimta/maps/cdbwriter.py", "minimta/maps/berkeley.py", "minimta/system/locks.py"),
    *("minimta/listener/handler.py", "minimta/submission/submit.py", "minimta/milter/body.py"),
    *("minimta/submission/deadletter.py", "minimta/queue/own_letters.py"),
    *("minimta/queue/another_directory.py", "minimta/queue/letter_judge.py"),
    *("minimta/runner/filter_letters.py", "minimta/runner/give_up.py"),
    *("minimta/admin/queue/deeds.py", "minimta/mailers/remote/token_file.py"),
    *("minimta/commands/mail/rewrite.py", "minimta/commands/mail_local.py"),
    "minimta/commands/rmail.py",
)

#: calls that ask the kernel, and ours that stand for several of them, by their last name
_DURABLE = frozenset(
    (
        *("fsync", "fdatasync", "syncfs", "sync", "sync_names", "sync_all", "sync_directory"),
        *("flush", "rename", "unlink", "link", "ftruncate", "cut", "_link", "_lose_name"),
        *("flock", "lockf", "_try_lock", "acquire", "take", "pthread_sigmask", "is_still"),
        *("write", "writev", "pwrite", "write_all", "utime", "setxattr", "removexattr", "fchmod"),
        *("commit", "accept", "_finish", "_write", "_note", "_copy_body", "_copy_stored", "_store"),
        *("withdraw", "discard", "_discard", "lose", "abort", "put_aside", "_remove", "_publish"),
        *("retire", "rewrite", "begin_rewrite", "end_rewrite", "_move", "postpone", "forget"),
        *("checkpoint", "settle", "_keep", "_rewrite", "_note_left", "_begin_deferral"),
        *("_sweep_one", "_sweep_empty", "_remove_data", "_give_back", "_let_go", "write_cdb"),
        *("_is_taken", "_kernel_locks", "_dot_locked", "_is_current", "leave", "end_deferral"),
    )
)
#: those that may end an fd, a lock or a message: which, their first words say
_BY_RECEIVER = frozenset(
    (
        *("self.message.release", "progress.message.release", "message.release", "progress.close"),
        *("waiting.gate.release", "following.gate.release", "self._finish"),
        *("self._linked.append", "self._leaving.append", "self._directory.retired.append"),
    )
)
#: of the same names, and nothing durable
_OTHERS = ("self._log.write", "self.settle", "statistics.flush_to")


def durable_changes(source: str) -> list[Change]:
    """The changes of one module that its table must have."""
    return [change for change in changes(source) if _concerns_durability(change)]


@functools.cache
def all_changes() -> tuple[tuple[str, Change], ...]:
    """(module, change) of the whole durable path."""
    return tuple(
        (module, change)
        for module in MODULES
        for change in durable_changes((HOME / module).read_text(encoding="utf-8"))
    )


def in_order(found: Mapping[table.Key, table.Row]) -> list[table.Row]:
    """The rows whose statements there are, in the order of the code."""
    keys = (table.key(module, change) for module, change in all_changes())
    return [found[key] for key in keys if key in found]


def _concerns_durability(change: Change) -> bool:
    if change.kind == "pretend":
        return change.text == "True" and all(map(_is_durable, change.nodes))
    return change.kind in ("unlocked", "unwritten") or (
        change.kind in ("leave out", "swap", "share") and all(map(_is_durable, change.nodes))
    )


def _is_durable(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        node = node.value
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    if called in _OTHERS:
        return False
    return called in _BY_RECEIVER or called.rpartition(".")[2] in _DURABLE
