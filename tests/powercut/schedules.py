"""Random schedules: listener sessions, commands and two queue runners, call by call in any order, and the power fails.

    python3 -m tests.powercut.schedules --schedules 100000 --seed 1

Each seed is one schedule: which messages come, which way, to whom, what other hosts say, who goes on at each call,
where the power fails and what of names and octets is left. Then the host starts again. Whatever was
acknowledged before is delivered, returned or still queued, whole; twice at most, and only if it was in
flight. What is wrong is printed with its seed, which does the same again on the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from minimta.mailers.files import dotlock
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.job import Job, Settled
from minimta.message.envelope import Envelope, Recipient
from minimta.message.outcome import Outcome
from minimta.queue import adopt, collect, message_log
from minimta.queue import qid as queue_id
from minimta.queue.commit import GroupCommitter
from minimta.queue.spool import Spool
from minimta.runner.deliver import Deliverer
from minimta.system import log
from minimta.system.users import Users
from tests.powercut.turns import Turns
from tests.support.powercut import Disk, without_waiting
from tests.support.privatehost import BUSY, REFUSED, SENT, PrivateHost
from tests.support.survivors import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue

NOW = 1795339967.0
#: cuts of each schedule, and what is left is drawn for each
CUTS = 2
#: which part of the messages comes by sendmail(8)
_BY_COMMAND = 0.4
#: how often each runner looks for mail
ROUNDS = 3
LOCAL = ("dave", "carol")
REMOTE = ("x@lab2.campus", "y@lab2.campus", "z@lab3.campus")
NOBODY = "nosuch@lab1.campus"
#: kinds of files that stay of a message that is put aside
_KEPT = ("Qf", "df", "tf", "af")
_TAG = re.compile(rb"^Subject: (m\d+)$", re.M)
_FAILED = re.compile(rb"\nFinal-Recipient: RFC822; (\S+)\n(?:[^\n]+\n)*?Action: failed\n", re.I)


#: waits until it is true, or all others are
Wait = Callable[[Callable[[], bool]], None]


@dataclass(frozen=True)
class Letter:
    """One message of a schedule."""

    tag: str
    recipients: tuple[str, ...]
    lines: int
    #: does it come by sendmail(8), into clientmqueue?
    is_by_command: bool = False

    @property
    def body(self) -> bytes:
        return f"line of {self.tag}\n".encode() * self.lines + f"end of {self.tag}\n".encode()


@dataclass
class Schedule:
    """What a seed does, and what it came to."""

    seed: int
    letters: dict[str, Letter] = field(default_factory=dict)
    #: tag -> queue id in mqueue
    ids: dict[str, str] = field(default_factory=dict)
    #: recipient -> what another host says of it
    answers: dict[bytes, Outcome] = field(default_factory=dict)

    def adopted(self, old: str, new: str, *unused: object, **named: object) -> None:
        """A letter has another id in mqueue than it had in clientmqueue."""
        self.ids.update({tag: new for tag, qid in self.ids.items() if qid == old})

    def is_over(self, tag: str, marks: Collection[str]) -> bool:
        """Is it removed for good, wherever it was?"""
        qid = self.ids[tag]
        is_taken = not self.letters[tag].is_by_command or f"taken {qid}" in marks
        return is_taken and f"done {qid}" in marks

    def is_sent(self, name: str) -> bool:
        """Does *name* get the letter itself, and no report comes of it?"""
        return name in LOCAL or self.answers.get(name.encode()) is SENT


class Elsewhere:
    """Other hosts: what they were given is marked, with the message."""

    name = "esmtp"

    def __init__(self, disk: Disk | None, answers: Mapping[bytes, Outcome]) -> None:
        self._disk, self._answers = disk, answers
        #: (tag, recipient) that have it now
        self.taken: Counter[tuple[str, str]] = Counter()
        self.torn = False

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        for job in jobs:
            tag = tag_of(job.header)
            text = os.pread(job.body, job.size, 0)
            self.torn |= not text.endswith(f"end of {tag}\n".encode())
            outcomes = {user.name: self._answers.get(user.name, SENT) for user in job.users}
            for name, outcome in outcomes.items():
                if outcome is SENT:
                    self.taken[tag, name.decode()] += 1
                    if self._disk:
                        self._disk.mark(f"sent {tag} {name.decode()}")
            yield job, outcomes


def tag_of(text: bytes) -> str:
    found = _TAG.search(text)
    return found[1].decode() if found else "report"


def planned(seed: int) -> Schedule:
    rng = random.Random(seed)
    made = Schedule(seed)
    for number in range(rng.randint(2, 4)):
        everybody = [*LOCAL, *REMOTE, NOBODY]
        some = tuple(rng.sample(everybody, rng.choice((1, 1, 2, 3))))
        lines, is_by_command = rng.choice((0, 3, 30)), rng.random() < _BY_COMMAND
        made.letters[f"m{number}"] = Letter(f"m{number}", some, lines, is_by_command)
    made.answers = {name.encode(): rng.choice((SENT, SENT, BUSY, REFUSED)) for name in REMOTE}
    return made


def accept(host: PrivateHost, spool: Spool, disk: Disk, letter: Letter, plan: Schedule) -> None:
    """As a session of the listener does, or a command that may list its queue; *spool* is where."""
    to = [
        Recipient(f"<{name}{'' if '@' in name else '@lab1.campus'}>".encode())
        for name in letter.recipients
    ]
    incoming = collect.Incoming(
        spool,
        host.options,
        Envelope(b"<emma@lab1.campus>", to),
        qid=queue_id.new(NOW),
        now=NOW,
        host="lab1.campus",
    )
    incoming.write(f"Subject: {letter.tag}\n\n".encode() + letter.body)
    plan.ids[letter.tag] = incoming.qid
    incoming.commit()
    disk.mark(f"accepted {letter.tag}")


def take_in(host: PrivateHost, spool: Queue) -> list[str]:
    """As a queue runner does; nothing is swept, by whatever clock. Returns the new ids."""
    waiting = in_clientmqueue(host)
    directory, users = host.options.client_queue_directory, Users(host.options.passwd_file)
    if not waiting:
        return []
    return adopt.adopt(directory, spool, host.options, users, now=host.clock(), only=waiting)


def in_clientmqueue(host: PrivateHost) -> list[str]:
    names = os.listdir(host.options.client_queue_directory)
    return sorted(name[2:] for name in names if name[:2] == "qf")


def run(host: PrivateHost, deliverer: Deliverer, disk: Disk, wait: Wait) -> None:
    """As a queue runner does, when there is something.

    What it has taken in and what it has removed, each for good, is marked.
    """
    flush = deliverer.spool.flush

    def flushed() -> None:
        removed = list(deliverer.spool.retired)
        flush()
        for qid in removed:
            disk.mark(f"done {qid}")

    deliverer.spool.flush = flushed  # type: ignore[method-assign]
    for _ in range(ROUNDS):
        wait(lambda: bool(host.queued() or in_clientmqueue(host)))
        for qid in take_in(host, deliverer.spool):
            disk.mark(f"taken {qid}")
        deliverer.attempt(host.queued())


def local(host: PrivateHost) -> MboxMailer:
    return MboxMailer(
        host.options, Users(host.options.passwd_file), clock=host.clock, pause=time.sleep
    )


def played(plan: Schedule, root: Path) -> Disk:
    """The journal of a schedule."""
    turns = Turns(random.Random(plan.seed))
    host = made_host(root)
    with (
        mock.patch.object(queue_id, "_sequence", itertools.count()),
        mock.patch.object(dotlock, "_boot", lambda: "the boot before"),  # else read once
        mock.patch.object(message_log, "adopted", plan.adopted),
        turns.instead_of_waiting(),
    ):
        queue_id._used.clear()
        with Disk(root, ignored=".slots") as disk:
            spool = Spool(host.options.queue_directory, commit=GroupCommitter())
            client = Spool(host.options.client_queue_directory)
            runners = [host.deliverer(), host.deliverer()]
            for runner in runners:
                runner.mailers["esmtp"] = Elsewhere(disk, plan.answers)
                runner.mailers["local"] = local(host)
            disk.before = turns.step
            acts = [
                lambda letter=letter: accept(
                    host, client if letter.is_by_command else spool, disk, letter, plan
                )
                for letter in plan.letters.values()
            ]
            acts += [
                lambda runner=runner: run(host, runner, disk, turns.wait_or_end)
                for runner in runners
            ]
            turns.run(acts)
        for runner in runners:
            host.end(runner)
        spool.close()
        client.close()
    return disk


def made_host(root: Path, now: float = NOW) -> PrivateHost:
    host = PrivateHost(root, now=now)
    host.options.status_file = "/dev/null"
    host.options.timeout_queuewarn = 0
    return host


def recovered(root: Path) -> tuple[dict[str, Counter[str]], str]:
    """Start again, an hour later: tag -> recipient -> how often it came of it; and what is torn."""
    for path in (root / "mail").glob("*.lock"):
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    host, elsewhere = made_host(root, NOW + 3600), Elsewhere(None, {})
    client = host.options.client_queue_directory
    deliverer = host.deliverer()
    deliverer.mailers["esmtp"] = elsewhere
    deliverer.mailers["local"] = local(host)
    with contextlib.ExitStack() as stack:
        stack.callback(host.end, deliverer)
        for _ in range(3):
            take_in(host, deliverer.spool)
            if queued := host.queued():
                deliverer.attempt(queued)
        deliverer.spool.sweep(NOW + 10**9)
        users = Users(host.options.passwd_file)
        later = adopt.adopt(client, deliverer.spool, host.options, users, now=NOW + 10**9)
    found: dict[str, Counter[str]] = {}
    for (tag, name), count in elsewhere.taken.items():
        found.setdefault(tag, Counter())[name] += count
    torn = "remote" if elsewhere.torn else ""
    for name in LOCAL:
        torn = count_letters(root / "mail" / name, name, found) or torn
    count_reports(root / "mail" / "emma", found)
    left = [name for names in (host.files(), os.listdir(client)) for name in remains(names)]
    return found, torn or (f"left: {' '.join([*left, *later])}" if left or later else "")


def remains(names: Collection[str]) -> list[str]:
    """Those that should not be there. What is put aside (nobody was promised it) keeps its body, and
    what was to replace its qf."""
    kept = {kind + name[2:] for name in names if name[:2] == "Qf" for kind in _KEPT}
    return [name for name in names if name not in kept]


def count_letters(path: Path, name: str, found: dict[str, Counter[str]]) -> str:
    """Count the letters of a mailbox; returns its name if one is torn."""
    torn = ""
    for text in texts_of(path):
        tag = tag_of(text)
        if not text.endswith(f"end of {tag}\n\n".encode()) or text.count(b"Subject: m") != 1:
            torn = f"{name}: {tag}"
        found.setdefault(tag, Counter())[name] += 1
    return torn


def count_reports(path: Path, found: dict[str, Counter[str]]) -> None:
    for text in texts_of(path):
        for name in _FAILED.findall(text):
            found.setdefault(tag_of(text), Counter())[name.decode()] += 1


def texts_of(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    return re.split(rb"(?m)^(?=From [^\n]+ \d\d\d\d\n)", path.read_bytes())[1:]


def judged(plan: Schedule, disk: Disk, cut: int, state: State, parent: Path) -> str:
    """What is wrong in that state, "" if nothing is."""
    marks = disk.marks(cut)
    fresh = Path(tempfile.mkdtemp(dir=parent))
    state.write(fresh)
    with without_waiting(), mock.patch.object(dotlock, "_boot", lambda: "the boot after"):
        found, torn = recovered(fresh)
    shutil.rmtree(fresh)
    if torn:
        return f"torn or left: {torn}"
    sent = Counter(tuple(mark.split()[1:]) for mark in marks if mark.startswith("sent "))
    for tag, letter in plan.letters.items():
        for name in letter.recipients:
            copies = found.get(tag, Counter())[name] + sent[tag, name]
            if f"accepted {tag}" in marks and not copies:
                return f"lost: {tag} to {name}"
            if copies > (1 if plan.is_over(tag, marks) and plan.is_sent(name) else 3):
                return f"{copies} times: {tag} to {name}"
    return ""


def tried(seed: int, parent: Path, *, without: Collection[str] = ()) -> str:
    """Play the schedule *seed*, and cut it; what is wrong, with the seed, "" if nothing is.

    Of the calls *without* none is made: "fsync", "syncfs".
    """
    plan, root = planned(seed), Path(tempfile.mkdtemp(dir=parent))
    rng = random.Random(seed + 1)
    disk = played(plan, root)
    left_out = {k for k in disk.syncs() if disk.calls[k].name in without}
    shutil.rmtree(root)
    for _ in range(CUTS):
        cut = rng.randrange(len(disk.calls) + 1)
        state = disk.survivor(rng, after=cut, without=left_out)
        if wrong := judged(plan, disk, cut, state, parent):
            return f"seed {seed}: {wrong} ({state.label} of {len(disk.calls)})"
    return ""


def several(seeds: Collection[int], *, without: Collection[str] = ()) -> Iterator[str]:
    """What is wrong, schedule by schedule; nothing is logged."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="minimta-schedules-", dir=where) as parent,
        mock.patch.object(log, "line", lambda *unused, **named: None),
    ):
        for seed in seeds:
            yield tried(seed, Path(parent), without=without)


def main() -> int:
    """Exit code: 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Random schedules with power cuts.")
    parser.add_argument("--schedules", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the first; each has the next one")
    given = parser.parse_args()
    began, wrong = time.monotonic(), 0
    for text in several(range(given.seed, given.seed + given.schedules)):
        if text:
            wrong += 1
            print(text, flush=True)
    seconds = time.monotonic() - began
    print(
        f"{given.schedules} schedules, {given.schedules * CUTS} cuts, {wrong} wrong, {seconds:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
