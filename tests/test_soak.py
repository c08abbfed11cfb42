"""An hour of mixed load: nothing grows, nothing is lost, twice or left over, and the ledger adds up.

MINIMTA_SOAK_MINUTES (60) and MINIMTA_SOAK_RATE (6 messages a second) change it. What was measured is
printed: pytest -m long -s tests/test_soak.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimta.admin import ledger
from minimta.admin.ledger_accounts import Ending
from tests.bench.host import Host, descriptors
from tests.bench.mixture import SENDER, Letter, Mixture
from tests.bench.sender import Refused, Session
from tests.support.certificates import self_signed

#: root: what gives up debuggers shows its memory and descriptors to nobody else
pytestmark = [pytest.mark.long, pytest.mark.root, pytest.mark.debian("openssl")]

MINUTES = float(os.environ.get("MINIMTA_SOAK_MINUTES", "60"))
RATE = float(os.environ.get("MINIMTA_SOAK_RATE", "6"))
#: seconds between two looks at the processes
_EVERY = 10.0
#: what a process may have gained between the third and the last quarter
_MORE_KB, _MORE_PARTS, _MORE_DESCRIPTORS, _MORE_THREADS = 2048, 0.1, 3, 2


@dataclass(frozen=True, slots=True)
class Sample:
    """A resident process at one moment; memory in KB, its share of what is shared (PSS)."""

    pss: int
    rss: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Sample:
        """Raise OSError if it is gone."""
        kept = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in kept}
        threads = len(os.listdir(f"/proc/{pid}/task"))
        return cls(sizes["Pss"], sizes["Rss"], len(descriptors(pid)), threads)


class Soak:
    """The load, and what happens meanwhile, by a timetable of (seconds between, act)."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        self.host: Host = mixture.host
        #: process -> samples of it
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._sessions: list[Session | None] = [None, None, None]
        self._aliases = self.host.file("aliases").read_text()
        self._turns = 0
        #: when half of the time is over
        self._half = 0.0
        self._timetable: list[tuple[float, Callable[[], None]]] = [
            (_EVERY, self.look),
            (30.0, self.cron),
            (45.0, self.change_aliases),
            (60.0, self.reload),
            (60.0, self.remote_goes_or_comes),
        ]

    def run(self, seconds: float) -> None:
        """All of it, for so long."""
        begin = time.monotonic()
        self._half = begin + seconds / 2
        due = [begin + interval for interval, _ in self._timetable]
        sent = 0
        while (now := time.monotonic()) < begin + seconds:
            for number, (interval, act) in enumerate(self._timetable):
                if now >= due[number]:
                    due[number] += interval
                    act()
            self.send(sent)
            sent += 1
            time.sleep(max(0.0, begin + sent / RATE - time.monotonic()))

    # --- what happens -----------------------------------------------------------------------------

    def send(self, number: int) -> None:
        """One message: by command, over TLS, or on one of three connections that stay open."""
        letter = self.mixture.next()
        try:
            if number % 40 == 39:
                done = self.host.run(
                    "sendmail", "-f", SENDER, letter.recipient, text=letter.text.decode()
                )
                assert done.returncode == 0, done.stdout
            elif number % 10 == 9:
                with Session("127.0.0.1", self.host.port, tls=True) as session:
                    self._say(session, letter)
            else:
                self._say(self._session(number % len(self._sessions)), letter)
            self.mixture.was_acknowledged(letter)
        except (Refused, OSError):
            # The listener went while it was replaced: 421, before the message was.
            self._sessions[number % len(self._sessions)] = None

    def _session(self, number: int) -> Session:
        session = self._sessions[number]
        if session is None:
            session = self._sessions[number] = Session("127.0.0.1", self.host.port)
        return session

    def _say(self, session: Session, letter: Letter) -> None:
        session.send(f"{SENDER}@lab2.campus", [letter.address], letter.text)

    def look(self) -> None:
        """Measure the resident processes."""
        for name, pids in (("runner", [self.host.pid]), ("listener", self.host.listeners()[-1:])):
            for pid in pids:
                self.samples[name].append(Sample.of(pid))

    def reload(self) -> None:
        """SIGHUP, in the first half: in the second the listener shall grow old."""
        if time.monotonic() < self._half:
            self.host.reload()

    def cron(self) -> None:
        """A run beside the resident one's."""
        assert self.host.run("sendmail", "-q").returncode == 0

    def change_aliases(self) -> None:
        """Another alias file each time, and another database."""
        self._turns += 1
        self.host.file("aliases").write_text(f"{self._aliases}turn{self._turns}: dave\n")
        assert self.host.run("newaliases").returncode == 0

    def remote_goes_or_comes(self) -> None:
        """A minute up, a minute down."""
        other = self.mixture.others["updown"]
        other.down() if other.is_up() else other.up()

    # --- what is left -----------------------------------------------------------------------------

    def flatness(self) -> dict[str, tuple[float, float, float]]:
        """Of each figure its median in the third quarter, in the last, and what that may be.

        In the first half each listener is young: it has not grown to what it needs.
        """
        found = {}
        for name, samples in self.samples.items():
            quarter = max(1, len(samples) // 4)  # the first of the second half, and the other
            for figure in Sample.__slots__:
                values = [getattr(sample, figure) for sample in samples[len(samples) // 2 :]]
                first, last = (
                    statistics.median(values[:quarter]),
                    statistics.median(values[-quarter:]),
                )
                allowed = {
                    "descriptors": first + _MORE_DESCRIPTORS,
                    "threads": first + _MORE_THREADS,
                }
                most = allowed.get(figure, first + max(_MORE_KB, first * _MORE_PARTS))
                found[f"{name} {figure}"] = (first, last, most)
        return found


@pytest.fixture
def mixture() -> Iterator[Mixture]:
    # Not below tmp_path: users of the host run programs there, and pytest closes it to them.
    with tempfile.TemporaryDirectory(prefix="minimta-soak-") as name:
        pair = self_signed(Path(name), "lab2.campus")
        both = Path(name, "both.pem")
        both.touch(0o600)
        both.write_bytes(Path(pair.cert_file).read_bytes() + Path(pair.key_file).read_bytes())
        made = Mixture(Path(name), certificate=str(both))
        made.build(ServerCertFile=str(both), MaxQueueAge="20s", MinQueueAge="2s")
        made.host.up("-bD", "-q30s")
        yield made
        made.host.stop()
        made.close()


def test_an_hour_of_mixed_load_leaves_nothing_behind(mixture: Mixture) -> None:
    soak = Soak(mixture)
    soak.run(MINUTES * 60)
    host, other = mixture.host, mixture.others["updown"]
    if not other.is_up():
        other.up()
    is_empty = host.drain(180)
    flat, tallies, log = soak.flatness(), mixture.tallies(), host.log()
    options = ledger.load(str(host.cf))
    account = ledger.make(options, [str(host.file("log"))], now=time.time() + 1)
    print(f"\n{mixture.acknowledged} messages acknowledged; {dict(account.endings)}")
    for name, tally in tallies.items():
        print(
            f"{name}: {tally.expected} copies, {len(tally.lost)} lost, {tally.torn} torn, {tally.duplicates} twice"
        )
    for name, (first, last, most) in flat.items():
        print(
            f"{name}: {first:.0f} in the third quarter, {last:.0f} in the last, {most:.0f} at most"
        )
    assert is_empty, host.run("mailq").stdout
    assert host.queue_files() == []
    assert "Traceback" not in log
    assert not account.unknown
    assert account.endings[Ending.WAITING] == 0
    assert account.accepted >= mixture.acknowledged > MINUTES * 60 * RATE * 0.9
    for name, tally in tallies.items():
        assert (tally.lost, tally.torn) == ((), 0), name
        # A host that is killed after it took a message and before it said so gets it again.
        assert tally.duplicates == 0 or name == "updown", name
    # A listener that is young shares much with the runner, an old one does not: PSS grows in both.
    judged = {name: found for name, found in flat.items() if not name.endswith(" pss")}
    assert [name for name, (_, last, most) in judged.items() if last > most] == []
