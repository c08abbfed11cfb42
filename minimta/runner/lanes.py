"""What is slow, beside each other in one process: programs of each user, an LMTP server, other hosts.

    a lane      steps of a mailer (``system.waiting``), and the messages of which it has tasks
    its slot    one program rides in the slot of the attempt, as one worker of a mailer does; the
                programs of a further user need a slot of their own, and leave some to others

While a program is under way what ends us waits, for the program's end is to be recorded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack

from minimta.runner.checkpoint import MessageProgress
from minimta.system import privileges
from minimta.system.slots import Slots
from minimta.system.waiting import Wait, together

#: seconds after which it is tried again whether there is a slot, and between two looks at all else
_SLOT_POLL, _POLL = 1.0, 60.0
#: for ``Slots.place_at``: many users whose programs hang shall not take all slots
_FURTHER = "programs beside others"

Steps = Generator[Wait, None, None]


def _never() -> bool:
    return False


class _Lane:
    def __init__(
        self, name: str, steps: Steps, messages: Collection[MessageProgress], held: ExitStack
    ) -> None:
        """The lane *name*: *steps* have tasks of *messages*; *held* is given back at their end."""
        self.name = name
        self.steps = steps
        self.messages = messages
        self.held = held
        #: what it waits for, None before it began
        self.wait: Wait | None = None


class Lanes:
    """Those that are under way."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._lanes: list[_Lane] = []
        self._rides = False
        self._lacks_slot = False
        self._programs = 0
        self._signals = ExitStack()
        #: has something come that ends us? It waits while there are programs
        self.is_told: Callable[[], bool] = _never

    def has(self, name: str) -> bool:
        """Is the lane *name* under way?"""
        return any(lane.name == name for lane in self._lanes)

    def has_message(self, message: MessageProgress) -> bool:
        """Is a task of *message* under way?"""
        return any(message in lane.messages for lane in self._lanes)

    def begin(self, name: str, steps: Steps, messages: Collection[MessageProgress]) -> None:
        """Let *steps*, with tasks of *messages*, be a lane *name*; its mailer sees to slots."""
        self._lanes.append(_Lane(name, steps, messages, ExitStack()))

    def begin_program(self, name: str, steps: Steps, message: MessageProgress) -> bool:
        """The same for programs; False if they must wait until there is a slot."""
        held = None if self._lacks_slot else self._slot()
        self._lacks_slot = held is None
        if held is None:
            return False
        self._hold_signals(held)
        self._lanes.append(_Lane(name, steps, [message], held))
        return True

    def turn(self) -> bool:
        """Wait, and let those go on that need wait no more. False if none is under way."""
        if not self._lanes:
            return False
        waits = [lane.wait for lane in self._lanes if lane.wait is not None]
        must_begin = len(waits) < len(self._lanes)
        ready = together(waits, 0 if must_begin else _SLOT_POLL if self._lacks_slot else _POLL)
        self._lacks_slot = False
        for lane in list(self._lanes):
            if lane.wait is None or lane.wait.is_over(ready):
                lane.wait = next(lane.steps, None)
                if lane.wait is None:
                    self._lanes.remove(lane)
                    lane.held.close()
        return True

    def close(self) -> None:
        """End what is under way; after a turn() that was False nothing is."""
        while self._lanes:
            lane = self._lanes.pop()
            lane.steps.close()
            lane.held.close()

    def _slot(self) -> ExitStack | None:
        """What gives the slot of one more program back; None if there is none."""
        with ExitStack() as held:
            if not self._rides:
                self._rides = True
                held.callback(self._ride_is_over)
                return held.pop_all()
            place = self._slots.place_at(_FURTHER)
            if place is None:
                return None
            held.enter_context(place)
            slot = self._slots.second()
            if slot < 0:
                return None
            held.callback(os.close, slot)
            return held.pop_all()

    def _ride_is_over(self) -> None:
        self._rides = False

    def _hold_signals(self, held: ExitStack) -> None:
        if not self._programs:
            self.is_told = self._signals.enter_context(privileges.held_signals())
        self._programs += 1
        held.callback(self._program_is_over)

    def _program_is_over(self) -> None:
        self._programs -= 1
        if not self._programs:
            self.is_told = _never
            self._signals.close()
