"""The local mailer: appends to mailboxes in the mbox format (RFC 4155, variant mboxo).

    From emma@lab1.campus  Sun Nov 22 09:37:07 2026     two blanks, local time; MAILER-DAEMON for <>
    header fields, LF line ends
                                                        an empty line
    body, "From " at the start of a line written ">From "
                                                        an empty line

All messages of one run that go to the same mailbox share one opening, one set of locks and one
fsync. A message that fails is cut off again, those before it stay; so is what a killed delivery left.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from minimta.config.options import Options
from minimta.mailers.files.append import CHUNK, Tail
from minimta.mailers.files.mailbox import Busy, Mailbox, UnusableMailbox
from minimta.mailers.job import Job
from minimta.message import dates
from minimta.message.outcome import Fate, Outcome, deferred
from minimta.system import log
from minimta.system.users import User, Users

_SENT = Outcome(Fate.SENT, "2.0.0", "Sent")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MboxMailer:
    """Mailer ``local``: user.name is a login name."""

    name = "local"
    is_slow = False

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
            return dict.fromkeys(jobs, deferred("4.2.0", str(error)))
        except UnusableMailbox as error:
            log.line(jobs[0].qid, f"mailbox {error}", error=True)
            return dict.fromkeys(jobs, deferred("4.2.0", f"mailbox {error}"))
        except OSError as error:
            return dict.fromkeys(jobs, self._trouble(name, error))

    def _append_all(self, user: User, jobs: list[Job]) -> dict[Job, Outcome]:
        outcomes: dict[Job, Outcome] = {}
        with Mailbox(self.directory, user, pause=self._pause) as mailbox:
            tail = mailbox.tail
            texts = [MboxText(job) for job in jobs]
            if torn := tail.mend(texts):
                log.line("", f"mailbox {mailbox.path}: cut off {torn} octets of a killed delivery")
            start = end = tail.size()
            for job, text in zip(jobs, texts, strict=True):
                try:
                    tail.append(text.parts(dates.asctime(self._clock()).encode("ascii")))
                except OSError as error:
                    _cut(tail, end, mailbox.path)
                    outcomes[job] = self._trouble(os.fsencode(user.name), error)
                except BaseException:
                    _cut(tail, end, mailbox.path)
                    raise
                else:
                    end = tail.size()
                    outcomes[job] = _SENT
            try:
                tail.sync()
            except OSError:
                # What is on the disk now nobody knows; all of it will be sent again.
                _cut(tail, start, mailbox.path)
                raise
        return outcomes

    def _trouble(self, name: bytes, error: OSError) -> Outcome:
        status = "4.2.2" if error.errno in _FULL else "4.3.0"
        path = os.path.join(self.directory, os.fsdecode(name))
        return deferred(status, f"mailbox {log.clean(path)}: {error.strerror or error}")


def _cut(tail: Tail, size: int, path: str) -> None:
    try:
        tail.cut(size)
    except OSError as error:
        log.line("", f"mailbox {path}: cannot cut it back to {size}: {error}", error=True)
        raise


class MboxText:
    """A message as a mailbox has it."""

    def __init__(self, job: Job, blanks: bytes = b"  ") -> None:
        """*blanks* are between sender and date."""
        self._job = job
        sender = job.reverse_path.translate(None, b"\r\n\0") or b"MAILER-DAEMON"
        self.sender = b"From " + sender + blanks
        self._header = quote(job.header)
        # A line of a body has an octet more if it is no more than "From ".
        self.limit = len(self.sender) + 25 + len(self._header) + job.size * 7 // 6 + 4

    def parts(self, date: bytes) -> Iterator[bytes]:
        """See tail.Text; *date* is asctime."""
        yield self.sender + date + b"\n" + self._header
        yield from quoted_body(self._job.body, self._job.size)
        yield b"\n"


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
