"""The local mailer: appends to mailboxes in the mbox format (RFC 4155, variant mboxo).

    From emma@lab1.campus  Sun Nov 22 09:37:07 2026     two blanks, local time; MAILER-DAEMON for <>
    header fields, LF line ends
                                                        an empty line
    body, "From " at the start of a line written ">From "
                                                        an empty line

All messages of one run that go to the same mailbox share one opening, one set of locks and one
fsync. A message that fails is cut off again, those before it stay.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from minimta import dates, log
from minimta.mailers import Job
from minimta.mailers.mailbox import Busy, Mailbox, Refused
from minimta.options import Options
from minimta.status import Fate, Outcome
from minimta.users import User, Users

#: octets of a body that are in memory at a time
CHUNK = 1 << 20
_SENT = Outcome(Fate.SENT, "2.0.0", "Sent")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MboxMailer:
    """Mailer ``local``: user.name is a login name."""

    name = "local"

    def __init__(
        self,
        options: Options,
        users: Users,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory = options.mailbox_directory
        self._users = users
        self._clock = clock
        self._pause = pause

    def deliver(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Mapping[bytes, Outcome]]]:
        """See Mailer.deliver; jobs come mailbox by mailbox, each once its last one is done."""
        waiting: dict[bytes, list[Job]] = {}
        for job in jobs:
            for user in job.users:
                waiting.setdefault(user.name, []).append(job)
        outcomes: dict[Job, dict[bytes, Outcome]] = {job: {} for job in jobs}
        for name, theirs in waiting.items():
            for job, outcome in self._to_mailbox(name, theirs).items():
                outcomes[job][name] = outcome
                if len(outcomes[job]) == len({user.name for user in job.users}):
                    yield job, outcomes[job]

    def _to_mailbox(self, name: bytes, jobs: list[Job]) -> dict[Job, Outcome]:
        jobs = list(dict.fromkeys(jobs))
        try:
            user = self._users.find(name)
            if user is None:
                unknown = Outcome(Fate.FAILED, "5.1.1", "User unknown", exit_code=os.EX_NOUSER)
                return dict.fromkeys(jobs, unknown)
            return self._append_all(user, jobs)
        except Busy as error:
            return dict.fromkeys(jobs, _deferred("4.2.0", str(error)))
        except Refused as error:
            log.line(jobs[0].qid, f"mailbox {error}", error=True)
            return dict.fromkeys(jobs, _deferred("4.2.0", f"mailbox {error}"))
        except OSError as error:
            return dict.fromkeys(jobs, self._trouble(name, error))

    def _append_all(self, user: User, jobs: list[Job]) -> dict[Job, Outcome]:
        outcomes: dict[Job, Outcome] = {}
        with Mailbox(self.directory, user, pause=self._pause) as mailbox:
            start = end = mailbox.size()
            for job in jobs:
                try:
                    _append(mailbox, job, end, dates.asctime(self._clock()))
                except OSError as error:
                    mailbox.cut(end)
                    outcomes[job] = self._trouble(os.fsencode(user.name), error)
                except BaseException:
                    mailbox.cut(end)
                    raise
                else:
                    end = mailbox.size()
                    outcomes[job] = _SENT
            self._make_durable(mailbox, start)
        return outcomes

    def _make_durable(self, mailbox: Mailbox, start: int) -> None:
        try:
            mailbox.sync()
        except OSError:
            # What is on the disk now nobody knows; all of it will be sent again.
            mailbox.cut(start)
            raise

    def _trouble(self, name: bytes, error: OSError) -> Outcome:
        status = "4.2.2" if error.errno in _FULL else "4.3.0"
        path = os.path.join(self.directory, os.fsdecode(name))
        return _deferred(status, f"mailbox {log.clean(path)}: {error.strerror or error}")


def _deferred(status: str, text: str) -> Outcome:
    return Outcome(Fate.DEFERRED, status, text, exit_code=os.EX_TEMPFAIL)


def _append(mailbox: Mailbox, job: Job, end: int, date: str) -> None:
    """Write one message at the *end*; a small one in a single write, so that it is whole or not."""
    head = _missing_end(mailbox.tail(end)) + from_line(job.reverse_path, date) + quote(job.header)
    pending, octets = [head], 0
    for part in quoted_body(job.body, job.size):
        if octets >= CHUNK:
            mailbox.write(pending)
            pending, octets = [], 0
        pending.append(part)
        octets += len(part)
    mailbox.write([*pending, b"\n"])


def _missing_end(tail: bytes) -> bytes:
    """What a mailbox that ends in *tail* lacks for the next message to be one of its own."""
    if not tail or tail == b"\n\n":
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"


def from_line(reverse_path: bytes, date: str) -> bytes:
    """The separator before a message; *date* is asctime."""
    sender = reverse_path.translate(None, b"\r\n\0") or b"MAILER-DAEMON"
    return b"From %b  %b\n" % (sender, date.encode("ascii"))


def quote(header: bytes) -> bytes:
    """A header block in which no line begins with "From " (none should: it is no field)."""
    return (b"\n" + header).replace(b"\nFrom ", b"\n>From ")[1:]


def quoted_body(body: int, size: int) -> Iterator[bytes]:
    """The empty line after the header, then the body, quoted, its last line ended.

    In parts of about CHUNK octets. Raise OSError if *body* has fewer than *size* octets.
    """
    # "carry" begins with the line end before what was not yet written, so that a "\nFrom " is
    # never cut in two. The first one is the empty line itself.
    carry, position = b"\n", 0
    while position < size:
        chunk = os.pread(body, min(CHUNK, size - position), position)
        if not chunk:
            raise OSError(errno.EIO, "data file is shorter than recorded")
        position += len(chunk)
        text = carry + chunk
        cut = text.rfind(b"\n")
        if cut <= 0:  # a line longer than a chunk; its line end, if any, is the first octet
            cut = len(text) if len(text) >= len(b"\nFrom ") else 0
        carry = text[cut:]
        yield text[:cut].replace(b"\nFrom ", b"\n>From ")
    last = carry.replace(b"\nFrom ", b"\n>From ")
    yield last if last.endswith(b"\n") else last + b"\n"
