"""Jobs for a worker that was forked before they came: what it is told of them, in a file of its memory.

descriptors    that file, the data files of the jobs in their order, their slot if they have one
the file       what marshal makes: both ends are one program that forked, and the one that reads
               has no rights that the one that writes has not
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Sequence
from dataclasses import astuple

from minimta.mailers.job import Job, JobUser
from minimta.message.deliver_by import DeliverBy
from minimta.system import files

#: what a worker is told of a job, beside what has a form of its own; it has no use for the rest
_OTHERS = ("users", "body", "controlling", "deliver_by")
_FIELDS = tuple(name for name in Job.__slots__ if name not in _OTHERS)
_USER = tuple(JobUser.__slots__)


def written(jobs: Sequence[Job], has_slot: bool) -> int:
    """A file that says what the *jobs* are, at its start. Raise OSError."""
    told = [
        (
            [getattr(job, name) for name in _FIELDS],
            [[getattr(user, name) for name in _USER] for user in job.users],
            job.deliver_by and astuple(job.deliver_by),  # marshal knows no class
        )
        for job in jobs
    ]
    file = os.memfd_create("minimta-jobs", os.MFD_CLOEXEC)
    try:
        files.write_all(file, marshal.dumps((told, has_slot)))
    except BaseException:
        os.close(file)
        raise
    return file


def received(handed: Sequence[int]) -> tuple[list[Job], int]:
    """Jobs and slot from the descriptors that came with them. Raise ValueError if some are missing."""
    with open(handed[0], "rb") as file:
        file.seek(0)
        told, has_slot = marshal.loads(file.read())
    bodies = handed[1:]
    if len(bodies) != len(told) + has_slot:
        raise ValueError("descriptors of jobs are missing")
    jobs = [
        Job(
            **dict(zip(_FIELDS, fields, strict=True)),
            users=tuple(JobUser(*user) for user in users),
            body=body,
            deliver_by=DeliverBy(*wish) if wish else None,
        )
        for (fields, users, wish), body in zip(told, bodies, strict=False)
    ]
    return jobs, bodies[-1] if has_slot else -1
