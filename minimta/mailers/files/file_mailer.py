"""The mailer *file*: appends to a file, as the user in whose name the address was written.

    From emma@lab1.campus Sun Nov 22 09:25:49 2026      one blank, unlike a mailbox; as recorded
    header fields, empty line, body with "From " quoted, empty line

Never as root: without a controlling user, or with root as one, the mail waits. ``archive`` decides
what may be written to. What Sendmail would refuse too is "Can't create output" and comes back to the
sender; whatever else is wrong waits, with a line in the log. Of a message that was cut short by a crash
nothing stays if its piece is provably ours (tail).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial

from minimta.config.options import Options
from minimta.mailers.files import grouping
from minimta.mailers.files.append import Tail
from minimta.mailers.files.locked_file import Archive
from minimta.mailers.files.mailbox import Busy, UnusableMailbox
from minimta.mailers.files.mbox import MboxText
from minimta.mailers.job import Job
from minimta.message import dates
from minimta.message.outcome import Outcome, deferred, from_exit_code
from minimta.system import log
from minimta.system.safefile import Untrusted
from minimta.system.users import User, Users

#: what is written here is gone; it is not even opened
_NOWHERE = b"/dev/null"
_BUSY, _REFUSED = b"busy", b"refused "


class FileMailer:
    """Mailer ``*file*``: user.name is a path, job.controlling as whom it is written."""

    name = "*file*"
    is_slow = False

    def __init__(
        self,
        options: Options,
        users: Users,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """*users* as every local mailer has it; whom to become is in the job."""
        self._blames = options.dont_blame
        self._clock = clock
        self._pause = pause

    def deliver(self, jobs: Sequence[Job]) -> Iterator[grouping.Settled]:
        """See Mailer.deliver; jobs come file by file."""
        return grouping.by_place(jobs, _place, self._to_file)

    def _to_file(self, name: bytes, jobs: list[Job]) -> dict[Job, Outcome]:
        if name == _NOWHERE:
            return dict.fromkeys(jobs, grouping.SENT)
        path, user = os.fsdecode(name), jobs[0].controlling
        shown = log.clean(path)
        if user is None or user.uid == 0:
            return _wait(jobs, f"{shown}: no user to write it as")
        try:
            append = partial(self._append_all, path, user, jobs)
            answer = grouping.as_owner(user, jobs, append)
            if answer == _BUSY:
                return dict.fromkeys(jobs, deferred("4.2.0", f"{shown} is locked"))
            if answer.startswith(_REFUSED):
                return _refuse(jobs, f"{shown}: {log.clean(answer.removeprefix(_REFUSED))}")
            torn, _, codes = answer.partition(b" ")
            outcomes = grouping.decode(codes, jobs, shown)
            if torn != b"0":
                log.line("", f"file {shown}: cut off {log.clean(torn)} octets of a killed delivery")
            return outcomes
        except Untrusted as error:
            return _wait(jobs, f"{shown}: {error}")
        except OSError as error:
            return dict.fromkeys(jobs, grouping.trouble(error, shown))

    def _append_all(self, path: str, user: User, jobs: Sequence[Job]) -> bytes:
        """In the child: what became of each job, or of all."""
        try:
            with Archive(path, user, blames=self._blames, pause=self._pause) as archive:
                return grouping.encode(self._fill(archive, jobs))
        except Busy:
            return _BUSY
        except UnusableMailbox as error:
            return _REFUSED + os.fsencode(str(error))

    def _fill(self, archive: Archive, jobs: Sequence[Job]) -> list[int]:
        """Octets of a killed delivery that were cut off, and an error number for each job."""
        tail = archive.tail
        texts = [MboxText(job, b" ") for job in jobs]
        torn = tail.mend(texts)
        start = tail.size()
        try:
            codes = [_append(tail, text, dates.asctime(self._clock())) for text in texts]
            archive.sync()
        except BaseException:
            # What is on the disk now nobody knows; all of it will be sent again.
            tail.cut(start)
            raise
        return [torn, *codes]


def _place(job: Job, name: bytes) -> Hashable:
    user = job.controlling
    return name, user and (user.name, user.uid, user.gid)


def _append(tail: Tail, text: MboxText, date: str) -> int:
    """Write one message whole; else cut it off again and return the error's number."""
    end = tail.size()
    try:
        tail.append(text.parts(date.encode("ascii")))
    except OSError as error:
        tail.cut(end)
        return error.errno or errno.EIO
    return 0


def _wait(jobs: Sequence[Job], reason: str) -> dict[Job, Outcome]:
    log.line(jobs[0].qid, f"file {reason}", error=True)
    return dict.fromkeys(jobs, deferred("4.3.0", reason))


def _refuse(jobs: Sequence[Job], reason: str) -> dict[Job, Outcome]:
    # The sender learns no more than Sendmail told; why is for the log.
    log.line(jobs[0].qid, f"file {reason}", error=True)
    return dict.fromkeys(jobs, from_exit_code(os.EX_CANTCREAT))
