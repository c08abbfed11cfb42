"""Who does what next: processes begin, step, are killed; the power fails.

``Machine.successors`` gives all states that may follow a state, each with what led there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.calls import CALLS, TEAR, Wait
from tests.model.disk import EMPTY_MAILBOX, Control, Mailbox, after_power_cut
from tests.model.programs import PROGRAMS, Programs, Step
from tests.model.world import SENDER, Process, State, World

SENT, DEFERRED, FAILED = "sent", "deferred", "failed"
#: what a person does -> of which files, and the program that it begins with
DEEDS = {
    "hold": ("qf", "take"),
    "let go": ("hf", "take from quarantine"),
    "remove": ("qf", "take"),
    "take back": ("Qf", "take back"),
    "remove what was put aside": ("Qf", "remove"),
}


@dataclass(frozen=True)
class Scenario:
    """What is explored."""

    name: str
    #: the program by which the message comes
    entry: str
    #: recipient -> what may become of an attempt
    outcomes: dict[str, tuple[str, ...]]
    #: kills and power cuts, in all
    crashes: int = 1
    runners: int = 1
    #: attempts that leave somebody for later
    delays: int = 1
    #: what a person does, each once and in this order: the keys of DEEDS
    deeds: tuple[str, ...] = ()
    mailbox: Mailbox = EMPTY_MAILBOX
    #: messages of which the removals may be made durable together
    batch: int = 1
    #: what becomes of reports
    report: tuple[str, ...] = (SENT,)


class Move(NamedTuple):
    """One transition."""

    label: str
    state: State
    #: neither a crash nor a delay that a peer caused: what happens on a quiet day
    is_quiet: bool = True
    #: the process found that another has it: nothing has changed but that it knows
    is_vain: bool = False


def is_invisible(step: Step) -> bool:
    """Does it neither change nor see what others can? Then it is made with the call before.

    The looks among these are at names of which only their process makes any: a new id, or one that
    it has locked.
    """
    is_close = step.call in ("utime", "close") and step.files != ("mailbox",)
    return is_close or step in _INVISIBLE


_INVISIBLE = (
    Step("look", ("new/qf", "new/tf", "new/xf", "new/af", "new/hf", "new/Qf")),
    Step("look", ("client/df",)),
    Step("look", ("df",)),
    Step("look", ("Qf",)),
    Step("open", ("mailbox",)),
)


def expand(programs: Programs) -> Programs:
    """Each write is two steps: a kill may come in between."""
    return {name: tuple(_expanded(steps)) for name, steps in programs.items()}


def _expanded(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        if step.call == "write":
            yield Step(TEAR, step.files)
        yield step


@dataclass
class Machine:
    """The rules, for one scenario."""

    scenario: Scenario
    programs: Programs = field(default_factory=lambda: PROGRAMS)

    def __post_init__(self) -> None:
        self._programs = expand(self.programs)
        self._everybody = (*self.scenario.outcomes, SENDER)

    def initial(self) -> State:
        """Nothing has come yet."""
        return State(
            names=(),
            disk=(),
            pending=(),
            inodes=(),
            mailbox=self.scenario.mailbox,
            processes=(),
            entered=False,
            acknowledged=False,
            removed=False,
            held=False,
            gone="",
            durable=(),
            copies=(),
            excused=(),
            flights=(),
            crashes=self.scenario.crashes,
            deeds=self.scenario.deeds,
            delays=self.scenario.delays,
        )

    def successors(self, state: State) -> Iterator[Move]:
        """Everything that may happen next. Raise Violation."""
        yield from self._beginnings(state)
        for number, process in enumerate(state.processes):
            others = [*state.processes[:number], *state.processes[number + 1 :]]
            yield from self._steps(state, process, others)
            if state.crashes:
                yield self._kill(state, process, others)
        if state.crashes and state.entered:
            yield from self._power_cuts(state)

    # --- a call -----------------------------------------------------------------------------------

    def _steps(self, state: State, process: Process, others: list[Process]) -> Iterator[Move]:
        world = World(state)
        world.others = others
        step = self._programs[process.program][process.at]
        label = f"{process.who}: {step}"
        try:
            after = CALLS[step.call](world, process, step)
        except Wait:
            return
        if after is None:
            rest = self._batch_over(process)
            yield Move(f"{label}: in vain", world.pack(rest), is_vain=rest is None)
            return
        if step.call == "answer" and state.crashes:
            yield self._answer_lost(world, after)
        after = self._mended(world, after._replace(at=after.at + 1))
        program = self._programs[after.program]
        while after.at < len(program) and is_invisible(program[after.at]):
            step = program[after.at]
            after = CALLS[step.call](world, after, step) or after
            after = after._replace(at=after.at + 1)
        if after.at < len(self._programs[after.program]):
            yield Move(label, world.pack(after))
            return
        for is_quiet, follower in self._followers(world, after):
            yield Move(label, world.pack(follower), is_quiet)

    def _mended(self, world: World, process: Process) -> Process:
        """A mailbox that has just been locked is seen to end in a piece."""
        just_locked = process.has_mailbox and process.program.endswith("mailbox")
        program = self._programs[process.program]
        if just_locked and program[process.at - 1].call == "lock" and world.mailbox.torn:
            torn = self._programs["to a torn mailbox"]
            behind = next(n for n, s in enumerate(torn) if s.call not in ("look", "open", "lock"))
            return process._replace(program="to a torn mailbox", at=behind)
        return process

    def _answer_lost(self, world: World, process: Process) -> Move:
        """The child that delivers is killed before it told us: RFC 1047."""
        world.crashes -= 1
        world.excuse(
            lambda f: f.message == process.taken and f.recipient == process.recipient,
            self._everybody,
        )
        deferred = process._replace(recipient="", untried=process.untried)
        followers = self._choose(world, deferred)
        move = Move("child: killed", world.pack(followers[0][1]), is_quiet=False)
        world.crashes += 1
        world.__init__(world.state)  # type: ignore[misc]
        return move

    # --- what follows a program -------------------------------------------------------------------

    def _followers(self, world: World, process: Process) -> list[tuple[bool, Process | None]]:
        """What the process does next, with each outcome; None: nothing."""
        name = process.program
        if name.startswith(("accept", "submit")):
            world.durable.add(process.made)
            return [(True, self._made(process))]
        if name == "acknowledge":
            return self._delivered_at_once(world, process)
        if name == "adopt":
            made = process._replace(made=world.free_number("m"), text=process.left, then="adopted")
            return [(True, _begin(made, "accept"))]
        if name.startswith("take") and name != "take back":
            return self._taken(world, process)
        if name.startswith("to "):
            return self._sent(world, process)
        if name in ("record", "defer", "hold", "let go"):
            return self._recorded(world, process)
        if name == "retire":
            return self._batch_goes_on(world, process)
        if process.who == "person" and name in ("finish", "remove"):
            world.gone = process.taken
        return [(True, self._batch_over(process))]

    def _batch_goes_on(self, world: World, process: Process) -> list[tuple[bool, Process | None]]:
        """Another message of the batch is taken: any that is there, and of which there is no more to do."""
        retired = (*process.retired, process.taken)
        batch = Process(process.who, "take", retired=retired)
        found = [
            (True, batch._replace(taken="m" + name[4:]))
            for name in sorted(world.names)
            if name.startswith("m/qf") and "m" + name[4:] not in retired
        ]
        return [*found, (True, self._batch_over(batch))]

    @staticmethod
    def _batch_over(process: Process) -> Process | None:
        """The last message is: the removals become durable, and then each df goes."""
        if not process.retired:
            return None
        is_durable = process.program in ("finish", "flush", "drop")
        first, *others = process.retired
        return Process(
            process.who, "drop" if is_durable else "flush", taken=first, retired=tuple(others)
        )

    def _made(self, process: Process) -> Process:
        """A message is durable: it was to be acknowledged, or it is a copy, or a report."""
        if process.who == "entry":
            if self.scenario.entry != "accept and keep":
                process = Process("entry", "acknowledge")
            return _begin(process, "acknowledge")
        done = process._replace(
            new=0, new_data=0, made="", locks=(process.control,), text=Control(())
        )
        if process.then == "adopted":
            return _begin(done._replace(then="", left=Control(())), "let the letter go")
        left = tuple(r for r in process.left.recipients if r not in process.failed)
        done = done._replace(left=process.left._replace(recipients=left), then="", failed=())
        return _begin(done, "record") if left else self._done(done)

    def _done(self, process: Process) -> Process:
        """Nobody is left: it is removed, with what was before it in its batch."""
        is_last = process.who != "runner" or len(process.retired) >= self.scenario.batch - 1
        return _begin(process, "finish" if is_last else "retire")

    def _delivered_at_once(
        self, world: World, process: Process
    ) -> list[tuple[bool, Process | None]]:
        if not process.new:
            return [(True, None)]
        kept = Process(
            "runner",
            "take",
            taken=process.made,
            control=process.new,
            data=process.new_data,
            locks=tuple(number for number in process.locks if number == process.new),
            left=process.text,
        )
        return self._taken(world, kept)

    def _taken(self, world: World, process: Process) -> list[tuple[bool, Process | None]]:
        if process.who == "person":
            return [(True, self._deed(process))]
        if process.left.held:
            return [(True, _begin(process, "release"))]
        return self._choose(world, process._replace(untried=process.left.recipients))

    def _deed(self, process: Process) -> Process:
        """What a person does with the message that is locked now."""
        if process.then == "hold":
            return _begin(process._replace(left=process.left._replace(held=True)), "record")
        return _begin(process, "finish" if process.then == "remove" else process.then)

    def _choose(self, world: World, process: Process) -> list[tuple[bool, Process | None]]:
        """Try the next recipient, with each outcome; or come to an end."""
        if not process.untried:
            return [(True, self._concluded(world, process))]
        recipient, rest = process.untried[0], process.untried[1:]
        following = process._replace(untried=rest)
        found: list[tuple[bool, Process | None]] = []
        for outcome in self._outcomes(recipient):
            if outcome == DEFERRED and not world.delays:
                continue
            if outcome == SENT:
                way = "to a program" if recipient == "program" else "to another host"
                if recipient == "mailbox":
                    way = "to a mailbox"  # which way says the first look
                found.append((True, _begin(following._replace(recipient=recipient), way)))
                continue
            failed = (recipient,) if outcome == FAILED else ()
            later = following._replace(failed=process.failed + failed)
            is_quiet = outcome == FAILED
            found += [(is_quiet and quiet, one) for quiet, one in self._choose(world, later)]
        return found

    def _outcomes(self, recipient: str) -> tuple[str, ...]:
        return self.scenario.report if recipient == SENDER else self.scenario.outcomes[recipient]

    def _sent(self, world: World, process: Process) -> list[tuple[bool, Process | None]]:
        left = tuple(r for r in process.left.recipients if r != process.recipient)
        sent = process._replace(
            left=process.left._replace(recipients=left), recipient="", unrecorded=True
        )
        if sent.untried:
            return [(True, _begin(sent._replace(then="choose"), "record"))]
        return self._choose(world, sent)

    def _recorded(self, world: World, process: Process) -> list[tuple[bool, Process | None]]:
        """After a record, or a move of the name."""
        recorded = process._replace(unrecorded=False, then="")
        if process.then == "choose":
            return self._choose(world, recorded)
        if process.then == "report":
            return [(True, self._reporting(world, recorded))]
        if process.then == "let go":
            freed = recorded._replace(left=process.left._replace(held=False))
            return [(True, _begin(freed, "record"))]
        if process.then == "hold":
            if process.program == "record":
                return [(True, _begin(recorded._replace(then="hold"), "hold"))]
            world.held = True
        return [(True, _begin(recorded, "release"))]

    def _concluded(self, world: World, process: Process) -> Process:
        """All have an answer: report, keep or drop."""
        if process.failed == (SENDER,):
            return _begin(process._replace(failed=()), "put aside")
        if process.failed and process.unrecorded:
            return _begin(process._replace(then="report"), "record")
        if process.failed:
            return self._reporting(world, process)
        if not process.left.recipients:
            return self._done(process)
        return _begin(process, "record" if process.unrecorded else "defer")

    def _reporting(self, world: World, process: Process) -> Process:
        made = process._replace(made=world.free_number("m"), text=Control((SENDER,)))
        return _begin(made._replace(then="reported"), "accept")

    # --- beginnings -------------------------------------------------------------------------------

    def _beginnings(self, state: State) -> Iterator[Move]:
        if not state.entered:
            yield self._entry(state)
        if sum(one.who == "runner" for one in state.processes) < self.scenario.runners:
            for process in self._idle(state):
                yield Move(f"runner: {process.program} {process.taken}", _with(state, process))
        if state.deeds and not any(one.who == "person" for one in state.processes):
            yield from self._deeds(state)

    def _entry(self, state: State) -> Move:
        is_letter = self.scenario.entry == "submit"
        text = Control(tuple(self.scenario.outcomes))
        entry = Process("entry", self.scenario.entry, made="c0" if is_letter else "m0", text=text)
        return Move("entry", _with(state._replace(entered=True), entry))

    def _idle(self, state: State) -> Iterator[Process]:
        """What a runner that waits may begin."""
        names = dict(state.names)
        held = {
            n for n, content, _ in state.inodes if isinstance(content, Control) and content.held
        }
        made = {file for one in state.processes for file in (one.new, one.new_data) if file}
        for name, inode in state.names:
            directory, kind, number = name[0], name[2:4], name[4:]
            message = directory + number
            if kind == "qf":
                if inode in held:
                    continue
                program = "take" if directory == "m" else "adopt"
                yield Process("runner", program, taken=message)
            elif kind in ("df", "tf") and inode not in made and not _has_owner(names, name):
                yield Process("runner", f"sweep {kind}", taken=message)

    def _deeds(self, state: State) -> Iterator[Move]:
        deed, later = state.deeds[0], state.deeds[1:]
        kind, program = DEEDS[deed]
        for name, _ in state.names:
            if name.startswith("m/" + kind):
                person = Process("person", program, taken="m" + name[4:], then=deed)
                yield Move(f"person: {deed}", _with(state._replace(deeds=later), person))

    # --- crashes ----------------------------------------------------------------------------------

    def _kill(self, state: State, process: Process, others: list[Process]) -> Move:
        world = World(state)
        world.others = others
        world.crashes -= 1
        world.excuse(lambda f: f.message == process.taken and not f.is_recorded, self._everybody)
        step = self._programs[process.program][process.at]
        return Move(f"{process.who}: killed before {step}", world.pack(None), is_quiet=False)

    def _power_cuts(self, state: State) -> Iterator[Move]:
        world = World(state)
        world.crashes -= 1
        world.excuse(lambda flight: True, self._everybody)
        world.pending = []
        for names, inodes in after_power_cut(state.disk, state.pending, state.inodes):
            world.names, world.disk = dict(names), dict(names)
            world.inodes = {number: (seen, durable) for number, seen, durable in inodes}
            for world.mailbox in state.mailbox.survivors():
                yield Move("power cut", world.pack(None), is_quiet=False)


def _begin(process: Process, program: str) -> Process:
    return process._replace(program=program, at=0)


def _with(state: State, process: Process) -> State:
    return state._replace(processes=tuple(sorted((*state.processes, process))))


def _has_owner(names: dict[str, int], data: str) -> bool:
    return any(f"{data[:2]}{kind}{data[4:]}" in names for kind in ("qf", "hf", "Qf"))
