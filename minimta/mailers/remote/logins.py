"""The parent's side of logging in: who gets which login, and which are not tried for now.

For each worker it chooses the rows for its next hops (``credentials``), leaves out what was refused
of late (``login_memory``), and has the rest handed over through a pipe. A login of which nothing is
known is tried by one delivery at a time: ten at once would be ten wrong passwords.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote import login_memory
from minimta.mailers.remote.authinfo import AuthRow
from minimta.mailers.remote.credentials import CredentialStore, HopLogin, source
from minimta.mailers.remote.lines import LoginLine
from minimta.mailers.remote.login_memory import LoginMemory, LoginRecord
from minimta.mailers.remote.mx_targets import NextHop, parse
from minimta.mailers.remote.next_hops import fallback_hops
from minimta.message import dates
from minimta.system import log
from minimta.system.safefile import Untrusted
from minimta.system.slots import Place, Slots


@dataclass(slots=True)
class WorkersLogins:
    """What one worker gets."""

    #: hop.key -> the row that it shall log in by
    wanted: dict[str, AuthRow] = field(default_factory=dict)
    #: hop.key -> why there is no login now
    faults: dict[str, HopLogin] = field(default_factory=dict)
    #: hop.key -> name and state in the memory
    known_as: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: hop.key -> held while nobody else may try the same login
    places: dict[str, Place] = field(default_factory=dict)

    def release(self, hop: str) -> None:
        """Let others try the login at *hop*."""
        place = self.places.pop(hop, None)
        if place is not None:
            place.close()

    def close(self) -> None:
        """The worker has ended, or is not started."""
        for hop in list(self.places):
            self.release(hop)


class LoginDesk:
    """The logins of all workers of one run."""

    def __init__(
        self, options: Options, slots: Slots, clock: Callable[[], float] = time.time
    ) -> None:
        """*slots* are those of the queue; *clock* gives epoch seconds."""
        self._options = options
        self._slots = slots
        self._clock = clock
        self._memory = LoginMemory(login_memory.beside(options.queue_directory))
        self._store: CredentialStore | None = None
        #: why the file of logins cannot be believed, "" if it can
        self._fault = ""

    def rows(self, job: Job) -> tuple[int, ...]:
        """The lines of the rows for *job*: what has others needs another worker."""
        return tuple(row.line for _, row in self._rows(job))

    def standing(self, job: Job) -> tuple[object, ...]:
        """Equal for two jobs if what one has logged in by is what the other would log in by now."""
        made = WorkersLogins()
        for hop, row in self._rows(job):
            self._add(made, hop, row)
        return (self._fault, made.known_as, sorted(made.faults))

    def prepare(self, job: Job) -> WorkersLogins | None:
        """The logins of the worker for *job*; None: another one is just trying one of them."""
        made = WorkersLogins()
        for hop, row in self._rows(job):
            self._add(made, hop, row)
        if self._fault and job.option:
            made.faults = {hop.key: HopLogin(fault=self._fault) for hop in self._hops(job)}
        for key, (name, state) in made.known_as.items():
            last = self._memory.last(name, state)
            if last is None or not last.accepted:
                place = self._slots.place_at(f"login {name}", 1)
                if place is None:
                    made.close()
                    return None
                made.places[key] = place
        return made

    def hand_over(self, logins: WorkersLogins) -> int:
        """A descriptor to read them from (``credentials.receive``), -1 if there are none. Raise OSError."""
        if not logins.wanted:
            return -1
        assert self._store is not None
        receiving, sending = os.pipe()
        try:
            self._store.hand_over(logins.wanted, sending)
        finally:
            os.close(sending)
        return receiving

    def note(self, logins: WorkersLogins, line: LoginLine) -> None:
        """Remember what a worker said of its own logins, and write it to the log."""
        if line.hop not in logins.known_as:
            return
        name, state = logins.known_as[line.hop]
        if line.accepted:
            self._memory.accepted(name, state, self._clock())
        else:
            record = self._memory.refused(name, state, self._clock(), line.text)
            told = f"hop={line.hop}, {log.fact(self._rest(record), 1000)}"
            log.line("", f"AUTH=client, {told}", level=1, error=True)
        logins.release(line.hop)

    def _rows(self, job: Job) -> list[tuple[NextHop, AuthRow]]:
        if not job.option:
            return []
        store = self._read()
        found = ((hop, store.row(hop, job.reverse_path)) for hop in self._hops(job))
        return [(hop, row) for hop, row in found if row is not None]

    def _read(self) -> CredentialStore:
        """Once a run: what is changed meanwhile counts in the next one."""
        if self._store is not None:
            return self._store
        path = self._options.auth_info_file
        self._store = CredentialStore(path)
        try:
            path = source(path)
            self._store = CredentialStore.read(self._options)
        except Untrusted as error:
            self._fault = f"{path}: {error}; it must be root's, mode 600"
        except OSError as error:
            self._fault = f"{path}: {error.strerror or error}"
        if self._fault:
            log.line("", f"SYSERR(root): {log.clean(self._fault)}", level=1, error=True)
        return self._store

    def _add(self, made: WorkersLogins, hop: NextHop, row: AuthRow) -> None:
        assert self._store is not None
        if row.fault:
            made.faults[hop.key] = HopLogin(fault=f"{self._store.origin(row)}: {row.fault}")
            return
        name, state = f"{hop.name.lower()}:{hop.port} {row.user}", self._store.state_of(row)
        last = self._memory.last(name, state)
        if last is not None and last.rests(self._clock()):
            made.faults[hop.key] = HopLogin(fault=self._rest(last))
            return
        if last is not None and not last.accepted:
            self._store.refused_at[row.line] = last.when
        made.wanted[hop.key] = row
        made.known_as[hop.key] = (name, state)

    def _rest(self, record: LoginRecord) -> str:
        # The first words are the reason: mailq cuts the rest off, unless -v is said.
        what, _, said = record.text.partition(": ")
        until = dates.queue_time(record.rests_until)
        rest = f"not tried before {until}, or a change of {self._options.auth_info_file}"
        return f"{what}; {rest}: {said}"

    def _hops(self, job: Job) -> Mapping[NextHop, None]:
        """To which next hops it may go."""
        try:
            return dict.fromkeys(parse(job.host) + fallback_hops(self._options))
        except ValueError:
            return {}
