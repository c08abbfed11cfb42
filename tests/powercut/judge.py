"""A host whose power fails at any call, and what comes out when it has started again.

    trial = Trial(tmp_path, configure)          configure(host) sets options, before and after the cut
    trial.host.submit(...)                      what is on disk before
    trial.record(act)                           act(disk) is what the power fails in; disk.mark() promises
    trial.check(ok)                             ok(found, marks), for every cut and all that survives
    trial.unnoticed(ok) == [...]                fsyncs that no cut needs, by the name of their file

After the cut the host starts an hour later, runs its queue until nothing changes, and sweeps. What goes
to other hosts, programs and LMTP servers is counted then; before the cut it was the real mailer, between
whose marks ("begin USER", "done USER", "recorded USER") the outside world has it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.files import dotlock
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.job import Job, Mailer, Settled
from minimta.message.outcome import Fate
from minimta.system.users import Users
from tests.support.powercut import Disk, playground, without_waiting
from tests.support.privatehost import Elsewhere, PrivateHost
from tests.support.survivors import State
from tests.test_crash import content

EMMA, DAVE, CAROL = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>"
X, Y, Z = b"<x@lab2.campus>", b"<y@lab2.campus>", b"<z@lab2.campus>"
NOBODY, NOTHING = b"<nosuch@lab1.campus>", b"<nothing@lab1.campus>"
NOW = 1795339967.0
BODY = b"".join(b"line %d of the letter\n" % number for number in range(30))
TEXT = b"Subject: hello\nTo: somebody\n\n" + BODY
_WHOLE = b"\n\n" + BODY

Configure = Callable[[PrivateHost], None]
Check = Callable[["Found", list[str]], None]


@dataclass(frozen=True)
class Found:
    """What the host came to after it had started again."""

    root: Path
    #: files left in the queue, in the end
    left: tuple[str, ...]
    #: who got it now from another host, a program, an LMTP server
    outside: Counter[bytes]
    #: texts of files below the root, by their path there
    texts: Mapping[str, bytes] = field(default_factory=dict)

    def whole(self, place: str) -> int:
        """How many whole letters are in a mailbox, a file, or the files of a directory."""
        return sum(text.count(_WHOLE) for text in self._at(place) if b"MAILER-DAEMON" not in text)

    def pieces(self, place: str) -> int:
        """How many begin there, and do not end."""
        begun = sum(text.count(b"Subject: hello\n") for text in self._at(place))
        return begun - sum(text.count(_WHOLE) for text in self._at(place))

    def returned(self, to: str = "emma") -> Counter[bytes]:
        """Of which recipients whole reports say that it failed."""
        counted: Counter[bytes] = Counter()
        for report in self.texts.get(f"mail/{to}", b"").split(b"\nFrom MAILER-DAEMON"):
            if BODY not in report or not report.endswith((b"--\n", b"--\n\n")):
                continue
            for part in report.split(b"\nFinal-Recipient: ")[1:]:
                if b"\nAction: failed\n" in part:
                    counted[part.split(b"\n")[0].rpartition(b" ")[2]] += 1
        return counted

    def is_clean(self, accepted: bool) -> bool:
        """Nothing is left; of what nobody was promised the name of the qf may have come to the disk
        without that of the df, and is put aside."""
        return not self.left or (not accepted and all(name[:2] == "Qf" for name in self.left))

    def _at(self, place: str) -> list[bytes]:
        return [t for p, t in self.texts.items() if p == place or p.startswith(f"{place}/")]


class Trial:
    """A host, what it does while the power fails, and what the states come to; each is looked at once."""

    def __init__(
        self, tmp_path: Path, configure: Configure = lambda host: None, *, later: float = 3600
    ) -> None:
        """*later* are seconds until it starts again."""
        self.root, self._after = tmp_path / "host", tmp_path / "after"
        for directory in (self.root, self._after):
            directory.mkdir()
        self._configure, self._later = configure, later
        self.host = PrivateHost(self.root, now=NOW)
        configure(self.host)
        self._known: dict[Any, Found | AssertionError] = {}
        self.disk: Disk

    def record(self, act: Callable[[Disk], None], *, children: bool = False) -> None:
        """Do what the power fails in. What dot locks it may leave: tests/test_crash.py."""
        with Disk(self.root, children=children, ignored=".lock") as self.disk:
            act(self.disk)

    def check(self, ok: Check, without: Collection[int] = ()) -> None:
        """Raise AssertionError for the first state that is not *ok*.

        Before the first fsync of *without* all is as with it, and was looked at.
        """
        for cut in self.disk.cuts()[max(without, default=0) :]:
            for state in self.disk.survivors(after=cut, without=without):
                try:
                    ok(self._found(state), self.disk.marks(cut))
                except AssertionError as error:
                    raise AssertionError(f"{state.label}: {error}") from error

    def unnoticed(self, ok: Check) -> list[str]:
        """What is fsynced without any cut showing that it has to be, ids and numbers cut off."""
        found = []
        for k in self.disk.syncs():
            try:
                self.check(ok, (k,))
            except AssertionError:
                continue
            found.append(self.disk.synced(k))
        return sorted(found)

    def check_all(self, ok: Check, *, redundant: Sequence[str] = ()) -> None:
        """No cut loses or tears; each fsync but the *redundant* ones is needed for that."""
        assert self.disk.syncs()
        self.check(ok)
        unnoticed = self.unnoticed(ok)
        assert unnoticed == sorted(redundant), f"for nothing: {unnoticed}"

    def _found(self, state: State) -> Found:
        key = content(state, state.root)
        if key not in self._known:
            with (
                playground(self._after) as fresh,
                without_waiting(),
                pytest.MonkeyPatch.context() as patch,
            ):
                state.write(fresh)
                patch.setattr(dotlock, "_boot", lambda: "the boot after")
                try:
                    self._known[key] = self._recover(fresh)
                except AssertionError as error:
                    self._known[key] = error
        found = self._known[key]
        if isinstance(found, AssertionError):
            raise found
        return found

    def _recover(self, root: Path) -> Found:
        for path in (root / "mail").glob("*.lock"):
            os.utime(path, (time.time() - 3600, time.time() - 3600))
        host, outside = PrivateHost(root, now=NOW + self._later), Elsewhere({})
        self._configure(host)
        deliverer = host.deliverer(esmtp=outside)
        users = Users(host.options.passwd_file)
        if host.options.local_mailer == "mbox":
            deliverer.mailers["local"] = MboxMailer(
                host.options, users, clock=host.clock, pause=lambda seconds: None
            )
        elif host.options.local_mailer.startswith("lmtp:"):
            deliverer.mailers["local"] = outside
        deliverer.mailers["prog"] = outside
        for _ in range(3):
            if queued := host.queued():
                deliverer.attempt(queued)
        deliverer.spool.sweep(NOW + 10**9)
        host.end(deliverer)
        for text in outside.texts:
            assert b"MAILER-DAEMON" in text or text.endswith(_WHOLE), "torn on its way out"
        texts = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        names = Counter(user.name for job in outside.jobs for user in job.users)
        return Found(root, tuple(host.files()), names, texts)


class Marked:
    """A real mailer, with marks on the disk: when its acts begin, are done, and are recorded."""

    def __init__(self, mailer: Mailer, disk: Disk) -> None:
        self.name = mailer.name
        self._mailer, self._disk = mailer, disk

    def deliver(self, jobs: Sequence[Job]) -> Iterator[Settled]:
        for user in (user.name.decode() for job in jobs for user in job.users):
            self._disk.mark(f"begin {user}")
        for job, outcomes in self._mailer.deliver(jobs):
            sent = [name.decode() for name, one in outcomes.items() if one.fate is Fate.SENT]
            for name in sent:
                self._disk.mark(f"done {name}")
            yield job, outcomes
            for name in sent:  # nobody asks for the next before it has written this down
                self._disk.mark(f"recorded {name}")


def check_outside(
    found: Found, marks: Collection[str], user: str, *, is_last: bool = False
) -> None:
    """Of a *user* whom a Marked mailer served: once, or a second time if the record was under way.

    For the last recipient of a message the record is that it is removed, durable when its batch is over.
    """
    copies = found.outside[user.encode()]
    if ("over" if is_last else f"recorded {user}") in marks:
        assert copies == 0, f"{user} gets it again"
    elif f"done {user}" in marks:
        assert copies <= 1, f"{user} gets it {copies} times"
    else:
        assert copies == 1, f"{user} gets it {copies} times"
