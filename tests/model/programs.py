"""The ways of a message through the queue, call by call: what the model steps through.

This is the table that both proofs stand on. ``explore`` interprets each line, one at a time, with
other processes, kills and power cuts in between; ``test_same_calls`` runs the real code and compares
the calls that it makes with these lines. A line is a call and the files that it concerns:

    df qf hf Qf tf              of the message that was taken from the MTA queue
    client/df ...               of a letter in clientmqueue, which its adopter or submitter has
    new/df ...                  of a message that is being made: accepted, copied by adoption, a report
    directory                   the MTA queue's; client/directory: clientmqueue's
    mailbox, mail               a user's mbox file, and the directory that it is in
    remote, program             what other hosts and programs are given; nobody can take it back

``look`` is one or several stat(2) of names, a guard: the process goes on if they are as it needs them.
``act`` and ``answer`` are the moment when another host (or program) has the message, and that when we
know it; ``reply`` is 250 or exit code 0. ``read`` reads a control file, of which the program follows.
"""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """One call: *call* is its name, *files* those that it concerns."""

    call: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.call, *self.files))


Programs = dict[str, tuple[Step, ...]]


def steps(text: str) -> tuple[Step, ...]:
    """The lines of a table."""
    words = (line.split() for line in text.splitlines() if line.strip())
    return tuple(Step(call, tuple(files)) for call, *files in words)


_CREATE = """
    create new/df
    lock new/df
    look new/qf new/tf new/xf new/af new/hf new/Qf
    write new/df
"""
_COMMIT = """
    create new/tf
    write new/tf
    fsync new/df
    fsync new/tf
    rename new/tf new/qf
    fsync directory
"""
_TEXT = {
    # --- in: listener, sendmail(8), a report, the copy that adoption makes
    "accept": _CREATE + _COMMIT,
    # several sessions at once: one syncfs, one fsync of the directory (GroupCommit)
    "accept together": _CREATE
    + """
    create new/tf
    write new/tf
    syncfs directory
    rename new/tf new/qf
    fsync directory
    """,
    # sendmail(8) of the queue's owner, which delivers it at once: no runner comes between
    "accept and keep": _CREATE
    + """
    create new/tf
    lock new/tf
    write new/tf
    fsync new/df
    fsync new/tf
    rename new/tf new/qf
    fsync directory
    """,
    # a user may not fsync clientmqueue (1733): the journal takes the name along with the inode
    "submit": (_CREATE + _COMMIT.replace("fsync directory", "fsync new/qf")).replace(
        "new/", "client/"
    ),
    "acknowledge": "reply",
    # --- adoption: the copy is durable before the letter goes, its qf is gone before its df
    "adopt": """
    open client/qf
    lock client/qf
    look client/qf
    open client/df
    read client/qf
    """,
    "let the letter go": """
    look client/qf
    unlink client/qf
    close client/qf
    fsync client/directory
    look client/df
    unlink client/df
    """,
    # --- out: lock, then look
    "take": """
    open qf
    lock qf
    look qf
    read qf
    open df
    """,
    "take from quarantine": """
    open hf
    lock hf
    look hf
    read hf
    open df
    """,
    "to a mailbox": """
    look mailbox
    open mailbox
    lock mailbox
    look mailbox
    write mailbox
    fsync mailbox
    close mailbox
    """,
    "to a new mailbox": """
    look mailbox
    create mailbox
    fsync mail
    lock mailbox
    look mailbox
    write mailbox
    fsync mailbox
    close mailbox
    """,
    "to a torn mailbox": """
    look mailbox
    open mailbox
    lock mailbox
    look mailbox
    cut mailbox
    fsync mailbox
    write mailbox
    fsync mailbox
    close mailbox
    """,
    # one that its maker was perhaps killed with before its name was durable
    "to an empty mailbox": """
    look mailbox
    fsync mail
    open mailbox
    lock mailbox
    look mailbox
    write mailbox
    fsync mailbox
    close mailbox
    """,
    "to another host": "act remote\nanswer remote",
    "to a program": "act program\nanswer program",
    # --- what was done is written down: before the next act, and at the end
    "record": """
    create tf
    lock tf
    write tf
    utime tf
    fsync tf
    rename tf qf
    close qf
    fsync directory
    """,
    # nobody has it and nobody was dropped: the qf before says the same
    "defer": """
    create tf
    lock tf
    write tf
    utime tf
    fsync tf
    rename tf qf
    close qf
    """,
    "finish": """
    unlink qf
    unlock qf
    close qf
    fsync directory
    unlink df
    """,
    # of a batch: all but the last one go so, and then one fsync is for all of them
    "retire": """
    unlink qf
    unlock qf
    close qf
    """,
    "flush": "fsync directory\nunlink df",
    "drop": "unlink df",
    "release": "unlock qf\nclose qf",
    # --- quarantine: the letter in the qf keeps runs away before it has, and after it had, the name hf
    "hold": "rename qf hf\nfsync directory",
    "let go": "rename hf qf\nfsync directory",
    # --- what cannot be acted on, or be told to anybody, is kept
    "put aside": "look Qf\nrename qf Qf\nclose Qf",
    "take back": """
    open Qf
    lock Qf
    look Qf qf hf
    utime Qf
    rename Qf qf
    fsync directory
    close qf
    """,
    "remove": """
    open Qf
    lock Qf
    look Qf
    unlink Qf
    fsync directory
    look df
    unlink df
    close Qf
    """,
    # --- what a dead process left
    "sweep df": "open df\nlock df\nlook qf hf Qf\nfsync directory\nunlink df\nclose df",
    "sweep tf": "open tf\nlock tf\nlook qf hf Qf\nfsync directory\nunlink tf\nclose tf",
}
PROGRAMS: Programs = {name: steps(text) for name, text in _TEXT.items()}
