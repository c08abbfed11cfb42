"""All examinations at once, each in a child of its own, so that what hangs costs only itself.

A child writes its diagnoses, a JSON list, into a pipe and ends; the parent listens until the time of the
row is over. Then the child is killed with all that it began, and its row is unknown.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from minimta.admin.doctor.examinations import Examination
from minimta.admin.doctor.patient import Diagnosis, Patient, from_json, ok, to_json, unknown
from minimta.system import files, log, processes
from minimta.system.waiting import readable


@dataclass(slots=True)
class _Child:
    row: Examination
    pid: int
    pipe: int
    until: float
    said: bytearray = field(default_factory=bytearray)


def examine(patient: Patient, rows: Sequence[Examination]) -> list[tuple[str, list[Diagnosis]]]:
    """(name, diagnoses) of each row, in their order; none is empty. Takes no longer than the longest row.

    Forks: call it while there is one thread. Raises nothing of the examinations.
    """
    found: dict[str, list[Diagnosis]] = {}
    children: dict[int, _Child] = {}
    try:
        for row in rows:
            try:
                child = _start(patient, row, children.values())
            except OSError as error:
                found[row.name] = [unknown(row.name, f"cannot fork: {error.strerror}")]
                continue
            children[child.pipe] = child
        while children:
            _listen(children, found)
    finally:
        for child in children.values():
            _end(child)
    return [(row.name, found[row.name]) for row in rows]


def _start(patient: Patient, row: Examination, others: Iterable[_Child]) -> _Child:
    ours, theirs = os.pipe2(os.O_CLOEXEC)

    def act() -> int:
        os.close(ours)
        for other in others:
            os.close(other.pipe)
        os.setsid()
        files.write_all(theirs, json.dumps([to_json(one) for one in _all(patient, row)]).encode())
        return os.EX_OK

    try:
        pid = processes.fork(row.name, act)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return _Child(row, pid, ours, time.monotonic() + row.seconds)


def _all(patient: Patient, row: Examination) -> Iterator[Diagnosis]:
    try:
        yield from row.examine(patient)
    except OSError as error:
        where = f"{log.clean(str(error.filename))}: " if error.filename else ""
        yield unknown(row.name, f"{where}{error.strerror or error}")
    except Exception as error:  # a bug of one hides no other
        yield unknown(
            row.name, log.clean(f"{type(error).__name__}: {error}", 200), "please report it"
        )


def _listen(children: dict[int, _Child], found: dict[str, list[Diagnosis]]) -> None:
    now = time.monotonic()
    soon = min(child.until for child in children.values())
    for pipe in readable(children, max(0.0, soon - now)):
        piece = os.read(pipe, 1 << 16)
        children[pipe].said += piece
        if not piece:
            child = children.pop(pipe)
            found[child.row.name] = _decoded(child)
            _end(child)
    for pipe, child in list(children.items()):
        if time.monotonic() >= child.until:
            del children[pipe]
            text = f"no answer within {child.row.seconds:g} seconds"
            found[child.row.name] = [unknown(child.row.name, text)]
            _end(child)


def _decoded(child: _Child) -> list[Diagnosis]:
    try:
        said = [from_json(one) for one in json.loads(child.said)]
    except (ValueError, TypeError, KeyError):
        return [unknown(child.row.name, "the examination ended without an answer")]
    return said or [ok(child.row.name, "there is nothing to say")]


def _end(child: _Child) -> None:
    os.close(child.pipe)
    if not processes.has_ended(child.pid, 0.2):
        processes.kill_session(child.pid)
        with contextlib.suppress(ChildProcessError):
            processes.has_ended(child.pid, 2.0)
