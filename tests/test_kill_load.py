"""kill -9 under load: of the listener, the runner, a worker, a program, a child, or all of them at once.

Mail goes to mailboxes, programs, lists and other hosts meanwhile. What was acknowledged came: nothing
lost, nothing torn, hardly anything twice, the ledger adds up, and no lock of the dead holds a mailbox.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minimta.admin import ledger
from minimta.admin.ledger_accounts import Ending
from tests.bench.killing import VICTIMS, Killer
from tests.bench.load import Load
from tests.bench.mixture import Mixture

#: part of all copies that may come twice
_TWICE = 0.01
#: seconds that a lock of the dead may hold a mailbox
_HELD = 5.0


@pytest.fixture
def mixture() -> Iterator[Mixture]:
    # Not below tmp_path: users of the host run programs there, and pytest closes it to them.
    with tempfile.TemporaryDirectory(prefix="minimta-kill-") as name:
        made = Mixture(Path(name))
        made.build()
        yield made
        made.host.kill(made.host.processes())
        made.close()


# The long one takes about two minutes, the short one five seconds.
@pytest.mark.parametrize(
    ("messages", "kills"), [(100, 4), pytest.param(5000, 30, marks=pytest.mark.long)]
)
def test_what_was_acknowledged_comes_though_processes_are_killed(
    mixture: Mixture, messages: int, kills: int
) -> None:
    mixture.host.up()
    killer = _come_through(mixture, messages, kills)
    assert killer.longest_lock < _HELD


@pytest.mark.long  # about a minute
def test_the_same_while_queue_directories_come_and_go(mixture: Mixture) -> None:
    mixture.host.spread("q1", "q2", "q3")
    mixture.host.up()
    with _coming_and_going(mixture.host.queue):
        _come_through(mixture, 600, 15)


@contextmanager
def _coming_and_going(queue: Path) -> Iterator[None]:
    """All the time one directory is moved away and back, and now and then there is a new one."""
    over = threading.Event()

    def shuffle() -> None:
        for number in itertools.count(4):
            if over.wait(1.5):
                return
            (queue / "q2").rename(queue / "away")
            time.sleep(0.7)
            (queue / "away").rename(queue / "q2")
            (queue / f"q{number}").mkdir(mode=0o700)

    thread = threading.Thread(target=shuffle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _come_through(mixture: Mixture, messages: int, kills: int) -> Killer:
    """Load the host with so many messages, kill so often, and compare what came."""
    luck = random.Random(messages)
    killer = Killer(mixture.host, luck)
    with Load(mixture, messages, rest=0.1) as load:
        for number in range(kills):
            goal = messages * (number + luck.random()) / (kills + 1)
            while mixture.acknowledged < goal and load.is_going():
                time.sleep(0.002)
            killer.strike(VICTIMS[number % len(VICTIMS)])
        load.wait()
    assert mixture.host.drain(120), mixture.host.run("mailq").stdout
    tallies = mixture.tallies()
    copies = sum(tally.expected for tally in tallies.values())
    twice = sum(tally.duplicates for tally in tallies.values())
    account = ledger.make(
        ledger.load(str(mixture.host.cf)), [str(mixture.host.file("log"))], now=time.time() + 1
    )
    print(f"\n{messages} messages, {copies} copies, {twice} twice; killed: {dict(killer.struck)}")
    print(f"{killer.locks_left} mailboxes left locked, for {killer.longest_lock:.1f} s at most")
    assert {place: tally.lost for place, tally in tallies.items() if tally.lost} == {}
    assert {place: tally.torn for place, tally in tallies.items() if tally.torn} == {}
    # A message in flight at each kill; of few messages they are more than one in a hundred.
    assert twice <= max(copies * _TWICE, 4 * kills)
    assert not account.unknown, ledger.told(account)
    assert account.endings[Ending.WAITING] == 0
    assert "Traceback" not in mixture.host.log()
    return killer
