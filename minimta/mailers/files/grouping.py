"""What the mailers of files share: jobs for one place are done together, with its owner's rights.

One opening, one lock, one fsync for the messages of a queue run that go to the same place, as many as a
slow disk takes in the time that there is. Where a child has to become the owner it answers with an error
number for each job, 0 for what is durable.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from minimta.mailers.job import Job
from minimta.message.outcome import Outcome, deferred, from_exit_code
from minimta.system import log
from minimta.system.privileges import as_user
from minimta.system.users import User

#: seconds that a child may take for messages that go to one place together, waiting for locks included
TIME = 300
#: octets of those, if it is not a single one, and how many a message counts at least: of what is killed
#: when its time is over nobody knows who has it, and all would come again, in every run
TOGETHER, _EACH = 64 << 20, 1 << 20
#: the disk or the quota is full: RFC 3463 has 4.2.2 for that
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SENT = from_exit_code(os.EX_OK)

Settled = tuple[Job, Mapping[bytes, Outcome]]


def by_place(
    jobs: Sequence[Job],
    place: Callable[[Job, bytes], Hashable],
    act: Callable[[bytes, list[Job]], Mapping[Job, Outcome]],
) -> Iterator[Settled]:
    """Let *act* do place by place what belongs together; yield a job once its last user is done.

    *place* tells where a job goes for one of its user names; *act* gets such a name and the jobs
    for its place, and gives each an Outcome. A name that a job has twice counts once.
    """
    # The next place is not begun before the caller has recorded what was yielded: what a crash
    # makes us deliver twice is one place's mail at most.
    places: dict[Hashable, tuple[bytes, list[Job]]] = {}
    open_users = {job: {user.name for user in job.users} for job in jobs}
    for job in jobs:
        for name in dict.fromkeys(user.name for user in job.users):
            places.setdefault(place(job, name), (name, []))[1].append(job)
    outcomes: dict[Job, dict[bytes, Outcome]] = {job: {} for job in jobs}
    for name, theirs in places.values():
        busy, end = None, time.monotonic() + TIME
        for some in _portions(theirs):
            # What is locked is waited for once; what is slow holds others up no longer than one portion may.
            settled = dict.fromkeys(some, busy) if busy else act(name, some)
            for job, outcome in settled.items():
                busy = outcome if outcome.is_busy else busy
                outcomes[job][name] = outcome
                if outcomes[job].keys() == open_users[job]:
                    yield job, outcomes[job]
            if busy is None and time.monotonic() >= end:
                busy = deferred("4.2.0", f"{log.clean(name)} is slow: others first", is_busy=True)


def _portions(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    some, octets = list[Job](), 0
    for job in jobs:
        size = max(job.size, _EACH)
        if some and octets + size > TOGETHER:
            yield some
            some, octets = [], 0
        some.append(job)
        octets += size
    if some:
        yield some


def as_owner(owner: User, jobs: Sequence[Job], act: Callable[[], bytes], where: str) -> bytes:
    """What *act* answers in a child that has become *owner* and can read the bodies of *jobs*.

    It works in the directory *where*, which is left alone for a while if it did not answer.

    Raise Untrusted or OSError, its own or that of a child which died or was too slow.
    """
    return as_user(owner, act, TIME, kept={job.body for job in jobs}, where=where)


def encode(errors: Sequence[OSError | None]) -> bytes:
    """The child's answer: an error number for each job, 0 if it is done."""
    return b" ".join(b"%d" % (error.errno or errno.EIO if error else 0) for error in errors)


def decode(answer: bytes, jobs: Sequence[Job], what: str) -> dict[Job, Outcome]:
    """Outcomes from encode()'s text; *what* names the place. Raise OSError if it is no such text."""
    numbers = answer.split(b" ")
    if len(numbers) != len(jobs) or not all(number.isdigit() for number in numbers):
        raise OSError(errno.EIO, "bad answer of the child")
    codes = [int(number) for number in numbers]
    return {
        job: not_now(OSError(code, os.strerror(code)), what) if code else SENT
        for job, code in zip(jobs, codes, strict=True)
    }


def not_now(error: OSError, what: str) -> Outcome:
    """Deferred because of *error*; *what* names the place."""
    status = "4.2.2" if error.errno in FULL else "4.3.0"
    return deferred(status, f"{what}: {error.strerror or error}")
