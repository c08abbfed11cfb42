"""Threads that take turns: one runs, up to its next system call, and chance says who goes on there.

    turns = Turns(random.Random(seed))
    disk.before = turns.step            # a thread that is none of these goes on at once
    with turns.instead_of_waiting():    # locks of the group commit, sleep(): others go on meanwhile
        turns.run([act, another])       # returns when all have ended; raises what one raised

The same seed gives the same order. Whoever waits for another lets it go on: nobody blocks for real.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

from minimta.queue import commit

#: how often somebody else goes on at a call
_SWITCHES = 0.3
#: steps after which a schedule has come to a standstill
_MOST = 200_000


class _Player:
    """One thread, which goes on when its gate opens."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.gate = threading.Lock()
        self.gate.acquire()
        #: may it go on?
        self.is_ready: Callable[[], bool] = _always
        self.error: BaseException | None = None


class Turns:
    """A schedule."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._players: list[_Player] = []
        self._current: _Player | None = None
        self._threads: dict[int, _Player] = {}
        self._is_over = threading.Event()
        self._steps = 0
        #: how many are in wait_or_end()
        self._waiting = 0

    def run(self, acts: Sequence[Callable[[], None]]) -> None:
        """Run all to their ends. Raise the first error of one."""
        players = self._players = [_Player(act) for act in acts]
        threads = [threading.Thread(target=self._play, args=(one,)) for one in players]
        for thread in threads:
            thread.start()
        self._next().gate.release()
        self._is_over.wait()
        for thread in threads:
            thread.join()
        for player in players:
            if player.error is not None:
                raise player.error

    def _play(self, player: _Player) -> None:
        player.gate.acquire()
        self._threads[threading.get_ident()] = player
        try:
            player.act()
        except BaseException as error:
            player.error = error
        del self._threads[threading.get_ident()]
        self._players = [one for one in self._players if one is not player]
        if self._players:
            self._next().gate.release()
        else:
            self._is_over.set()

    def _next(self) -> _Player:
        ready = [player for player in self._players if player.is_ready()]
        assert ready, "all wait for each other"
        return self._rng.choice(ready)

    def step(self) -> None:
        """Perhaps somebody else goes on here."""
        if threading.get_ident() in self._threads and self._rng.random() < _SWITCHES:
            self.wait(_always)

    def wait_or_end(self, is_ready: Callable[[], bool]) -> None:
        """As wait(), but not for ever: when nobody else could make it true."""
        self._waiting += 1
        self.wait(lambda: is_ready() or self._waiting == len(self._players))
        self._waiting -= 1

    def wait(self, is_ready: Callable[[], bool]) -> None:
        """Others go on, until at least *is_ready*."""
        me = self._threads[threading.get_ident()]
        self._steps += 1
        assert self._steps < _MOST, "nobody comes to an end"
        me.is_ready = is_ready
        chosen = self._next()
        if chosen is not me:
            chosen.gate.release()
            me.gate.acquire()
        me.is_ready = _always

    @contextlib.contextmanager
    def instead_of_waiting(self) -> Iterator[None]:
        """Who would wait for a lock or a time lets others go on."""
        with (
            mock.patch.object(commit, "allocate_lock", lambda: _Gate(self)),
            mock.patch.object(time, "sleep", lambda seconds: self.wait(_always)),
        ):
            yield


class _Gate:
    """A lock for players."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_locked = False

    def acquire(self) -> bool:
        if self._is_locked:
            self._turns.wait(lambda: not self._is_locked)
        self._is_locked = True
        return True

    def release(self) -> None:
        self._is_locked = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *unused: object) -> None:
        self.release()


def _always() -> bool:
    return True
