"""Which hosts would take the mail for a domain or next hop, told to people (-bt, minimta trace).

Nothing is connected to. As in the remote mailer, what name servers say is read by a process without
rights (RunAsUser), which answers in the lines of ``protocol``:

    question    lines of the answer
    preview     target: best first; problem: of a host that is no good, and last, why there is
                nothing (more)
    exchangers  name, or one problem
    canonical   name, or one problem

A process that dies or sends what is no such line is no proof of anything: that is "try later".
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

from minimta.config.options import Options
from minimta.mailers.remote import mx_targets, protocol, reply_outcomes
from minimta.mailers.remote.lines import Line, LogLine, NameLine, ProblemLine, TargetLine
from minimta.mailers.remote.mx_targets import (
    NO_SUCH_HOST,
    NextHop,
    Target,
    TargetFinder,
    Unroutable,
)
from minimta.mailers.remote.protocol import BadLine
from minimta.message.outcome import Fate, Outcome
from minimta.system import dns, log, privileges
from minimta.system.dns import Resolver, of_localhost
from minimta.system.dns_wire import LookupFailed
from minimta.system.users import User, Users

#: seconds for all questions about one name; the Resolver itself gives up earlier
_PATIENCE = 60
#: lines that are read; a problem may come with each target
_MAX_LINES = 4 * mx_targets.MAX_TARGETS


class RoutePreview:
    """What is known of the way to a next hop."""

    __slots__ = ("problems", "targets")

    def __init__(self, targets: list[Target], problems: list[Outcome]) -> None:
        #: addresses that would be tried, best first
        self.targets = targets
        #: hosts that are no good, and why the list ends
        self.problems = problems

    @property
    def fate(self) -> Fate:
        """SENT: there is somewhere to go. One "try later" outweighs every "never"."""
        if self.targets:
            return Fate.SENT
        fates = {problem.fate for problem in self.problems}
        return Fate.FAILED if fates == {Fate.FAILED} else Fate.DEFERRED


class RoutePreviewer:
    """Asks the system's name servers; *nameserver* (address, port) is another one, for tests."""

    def __init__(self, options: Options, nameserver: tuple[str, int] | None = None) -> None:
        self._options = options
        self._nameserver = nameserver

    def preview(self, next_hop: str, *, option: str) -> RoutePreview:
        """The addresses behind *next_hop*, in the order in which they would be tried.

        *option* named it, as in Route; "": it is somebody's domain.
        """
        try:
            lines = self._ask(lambda: self._targets(next_hop, option))
        except OSError as error:
            text = f"Name server: {log.clean(next_hop)}: {error.strerror or error}"
            return RoutePreview([], [Outcome(Fate.DEFERRED, "4.4.3", text)])
        targets = [line.target for line in lines if isinstance(line, TargetLine)]
        return RoutePreview(targets, [_problem(line) for line in lines if _is_problem(line)])

    def exchangers(self, domain: str) -> list[str]:
        """Hosts of the MX records by preference, or *domain* itself if it has an address only.

        Raise FileNotFoundError, with the reason, if there is none, OSError if nobody can tell now.
        """
        return self._names(lambda: self._exchangers(domain))

    def canonical(self, host: str) -> str:
        """The full name of *host*, its aliases followed, as the system resolves it.

        Raise FileNotFoundError if there is no such host, OSError if nobody can tell now.
        """
        return self._names(lambda: _canonical(host))[0]

    def _names(self, act: Callable[[], Iterator[Line]]) -> list[str]:
        lines = self._ask(act)
        names = [line.text for line in lines if isinstance(line, NameLine)]
        if names:
            return names
        problem = _problem(lines[0])
        number = errno.ENOENT if problem.fate is Fate.FAILED else errno.EAGAIN
        raise OSError(number, problem.text)

    def _ask(self, act: Callable[[], Iterator[Line]]) -> list[Line | None]:
        """What *act* says, None for each line that no honest process writes; at least one.

        Raise OSError if the process without rights failed.
        """
        dns.load()
        told = privileges.as_user(
            self._stranger(), lambda: b"".join(map(protocol.encode, act())), _PATIENCE
        )
        lines = told.removesuffix(b"\n").split(b"\n")[:_MAX_LINES]
        return [line for line in map(_decoded, lines) if not _is_logged(line)] or [None]

    def _stranger(self) -> User:
        name = self._options.run_as_user
        user = Users().find(os.fsencode(name)) if name else User("", os.geteuid(), os.getegid())
        if user is None and os.geteuid() == 0:
            raise OSError(errno.EAGAIN, f"no such user: {name} (option RunAsUser)")
        return user or User(name, os.geteuid(), os.getegid())

    # --- in the process without rights ------------------------------------------------------------

    def _targets(self, next_hop: str, option: str) -> Iterator[Line]:
        noted: list[Outcome] = []
        try:
            for hop in mx_targets.parse(next_hop):
                yield from self._targets_of(hop, option, noted)
        except ValueError as error:
            noted.append(reply_outcomes.bad_next_hop(str(error)))
        yield from map(_line, noted)

    def _targets_of(self, hop: NextHop, option: str, noted: list[Outcome]) -> Iterator[Line]:
        finder = TargetFinder(
            hop,
            mx_targets.ourselves(self._options),
            Resolver(nameserver=self._nameserver),
            option=option,
            note=noted.append,
            shuffle=lambda hosts: hosts.sort(),
            refuse_private=self._options.refuse_private,
        )
        try:
            for target in finder.targets():
                yield TargetLine(target)
        except Unroutable as error:
            noted.append(error.outcome)

    def _exchangers(self, domain: str) -> Iterator[Line]:
        resolver = Resolver(nameserver=self._nameserver)
        try:
            found = resolver.mail_exchangers(domain)
            if not found:
                resolver.addresses(domain)
        except LookupFailed as failure:
            yield _line(reply_outcomes.no_answer(domain, failure))
        else:
            yield from (NameLine(host) for host in [name for _, name in found] or [domain])


def _canonical(host: str) -> Iterator[Line]:
    try:
        found = socket.getaddrinfo(host.encode("ascii", "replace"), None, flags=socket.AI_CANONNAME)
    except socket.gaierror as error:
        failure = LookupFailed(host, "host not found", temporary=error.errno not in NO_SUCH_HOST)
        missing = _line(reply_outcomes.no_answer(host, failure))
        yield NameLine(host) if of_localhost(host) else missing
    else:
        yield NameLine(found[0][3] or host)


def _line(outcome: Outcome) -> ProblemLine:
    """A problem in the words of the transcript, if it has one: they say more."""
    return ProblemLine(replace(outcome, text=outcome.told()[0]) if outcome.told() else outcome)


# --- in ours --------------------------------------------------------------------------------------


def _decoded(line: bytes) -> Line | None:
    try:
        return protocol.decode(line)
    except BadLine:
        return None


def _is_logged(line: Line | None) -> bool:
    """Was it for the log? There it stands behind our words: it must forge no other fact."""
    if not isinstance(line, LogLine):
        return False
    log.line("", f"route preview: {line.text}")
    return True


def _is_problem(line: Line | None) -> bool:
    return not isinstance(line, TargetLine)


def _problem(line: Line | None) -> Outcome:
    if isinstance(line, ProblemLine):
        return line.outcome
    return Outcome(Fate.DEFERRED, "4.4.3", "Name server: no clear answer")
