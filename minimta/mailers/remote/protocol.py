"""What a worker may say, and the check that it said no more (threats T6, T36, section 6.1).

The worker talks to the network; a host that took it over writes these lines. So every field is
bounded, of its type and its range, and text is cleaned before anyone logs, prints or mails it.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field

from minimta.mailers.job import Job
from minimta.message.outcome import Fate, Outcome
from minimta.system import log

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
_CLASS = {Fate.SENT: "2", Fate.DEFERRED: "4", Fate.FAILED: "5"}
_MAX_TEXT = 600
_MAX_TRANSCRIPT = 40


class BadAnswer(Exception):
    """A line that no honest worker writes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of a worker, as far as it is to be believed."""

    say: str = ""
    error: str = ""
    #: number of the job, -1 if the line is about none
    job: int = -1
    #: number of the user -> fate
    outcomes: Mapping[int, Outcome] = field(default_factory=dict)


class Progress:
    """A Job and what is known of its users."""

    __slots__ = ("job", "outcomes")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.outcomes: dict[bytes, Outcome] = {}

    @property
    def is_complete(self) -> bool:
        """Has every user a fate?"""
        return all(user.name in self.outcomes for user in self.job.users)

    def add(self, outcomes: Mapping[int, Outcome]) -> None:
        """Note fates. Raise BadAnswer for a user that does not exist."""
        for number, outcome in outcomes.items():
            if number >= len(self.job.users):
                raise BadAnswer("no such user")
            self.outcomes.setdefault(self.job.users[number].name, outcome)

    def give_up(self, outcome: Outcome) -> None:
        """Whoever has no fate yet gets *outcome*."""
        for user in self.job.users:
            self.outcomes.setdefault(user.name, outcome)


def decode(line: bytes, jobs: int) -> Answer:
    """Read one line of a worker that has *jobs* jobs. Raise BadAnswer."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("no JSON") from error
    if not isinstance(said, dict):
        raise BadAnswer("no object")
    number = said.get("job", -1)
    if type(number) is not int or not -1 <= number < jobs:
        raise BadAnswer("no such job")
    outcomes = said.get("outcomes", {})
    if not isinstance(outcomes, dict):
        raise BadAnswer("no outcomes")
    return Answer(
        _text(said.get("say", "")),
        _text(said.get("error", "")),
        number,
        {_number(key): _outcome(value) for key, value in outcomes.items()},
    )


def _number(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < 8):
        raise BadAnswer("no user number")
    return int(key)


def _outcome(value: object) -> Outcome:
    if not isinstance(value, list) or len(value) != 9:
        raise BadAnswer("no outcome")
    fate_text, status, text, relay, mta, diagnostic, transcript, exit_code, passed_on = value
    try:
        fate = Fate(fate_text)
    except ValueError as error:
        raise BadAnswer("no fate") from error
    if not isinstance(status, str) or not _STATUS.fullmatch(status) or status[0] != _CLASS[fate]:
        raise BadAnswer("status does not fit the fate")
    if not isinstance(transcript, list) or len(transcript) > _MAX_TRANSCRIPT:
        raise BadAnswer("no transcript")
    if type(exit_code) is not int or not 0 <= exit_code <= 78 or type(passed_on) is not bool:
        raise BadAnswer("no exit code")
    return Outcome(
        fate,
        status,
        _text(text),
        _text(relay),
        _text(mta),
        _text(diagnostic),
        tuple(_text(line) for line in transcript),
        exit_code,
        passed_on,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadAnswer("no text")
    return log.clean(value, _MAX_TEXT)


#: messages sent and not yet recorded by the parent
WINDOW = 8


#: seconds between signs of life
HEARTBEAT = 30.0


class ParentGone(Exception):
    """Nobody is left to tell."""


class Line:
    """The worker's end of the socket pair."""

    def __init__(self, connection: socket.socket, jobs: Sequence[Job]) -> None:
        self._connection = connection
        self._numbers = {job: number for number, job in enumerate(jobs)}
        self._unrecorded = 0
        self._spoke = time.monotonic()

    def report(self, job: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        """Tell the fate of some users; wait while too much is unrecorded. Raise ParentGone."""
        fates = {
            str(number): (outcomes[user.name].fate.value, *astuple(outcomes[user.name])[1:])
            for number, user in enumerate(job.users)
            if user.name in outcomes
        }
        self._write({"job": self._numbers[job], "outcomes": fates})
        if any(outcome.fate is Fate.SENT for outcome in outcomes.values()):
            self._unrecorded += 1
        while self._unrecorded >= WINDOW:
            recorded = self._connection.recv(WINDOW)
            if not recorded:
                raise ParentGone
            self._unrecorded -= len(recorded)

    def say(self, text: str) -> None:
        """Pass on a line of the dialogue."""
        self._write({"say": text})

    def fail(self, text: str) -> None:
        """Say why the worker ends."""
        self._write({"error": text})

    def alive(self) -> None:
        """Give a sign of life if the last one is long ago."""
        if time.monotonic() - self._spoke > HEARTBEAT:
            self._write({})

    def _write(self, message: object) -> None:
        self._spoke = time.monotonic()
        try:
            self._connection.sendall(json.dumps(message).encode("ascii") + b"\n")
        except OSError as error:
            raise ParentGone from error
