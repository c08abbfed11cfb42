"""Which hosts would take the mail for a domain or next hop, told to people (-bt, minimta trace).

Nothing is connected to. As in the remote mailer, what name servers say is read by a process without
rights (RunAsUser); what that tells is checked and cleaned here. It answers in lines of words that
are separated by tabs:

    to 10 mx.campus. 10.0.3.136 25      an address, and the preference of its MX record, -1: none
    note delayed 4.4.3 TEXT             a host without an address
    end failed 5.1.2 TEXT               why there is nothing, or nothing more
    name mx.campus                      the answer to a question for names
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from minimta.config.options import Options
from minimta.mailers.remote import mx_targets, reply_outcomes
from minimta.mailers.remote.mx_targets import Finder, Unroutable
from minimta.message.outcome import Fate, Outcome
from minimta.system import dns, log, privileges
from minimta.system.dns import LookupFailed, Resolver
from minimta.system.users import User, Users

#: seconds for all questions about one name; the Resolver itself gives up earlier
_PATIENCE = 60
#: getaddrinfo(3): no such name, or one without an address
_ABSENT = (socket.EAI_NONAME, socket.EAI_NODATA)


class Stop:
    """An address that would be connected to."""

    __slots__ = ("address", "name", "port", "preference")

    def __init__(self, preference: int, name: str, address: str, port: int) -> None:
        #: of the MX record, -1 if it is none that leads here
        self.preference = preference
        #: "mx.campus.", or "[10.0.3.136]" as it was given
        self.name = name
        self.address = address
        self.port = port


class Way:
    """What is known of the way to a next hop."""

    __slots__ = ("stops", "troubles")

    def __init__(self, troubles: list[Outcome]) -> None:
        #: best first
        self.stops: list[Stop] = []
        #: hosts that are no good, and why the list ends
        self.troubles = troubles

    @property
    def fate(self) -> Fate:
        """SENT: there is somewhere to go. One "try later" outweighs every "never"."""
        if self.stops:
            return Fate.SENT
        fates = {trouble.fate for trouble in self.troubles}
        return Fate.FAILED if fates == {Fate.FAILED} else Fate.DEFERRED


class _Listening(Resolver):
    """A Resolver that remembers the preferences."""

    def __init__(self, nameserver: tuple[str, int] | None) -> None:
        super().__init__(nameserver=nameserver)
        self.preferences: dict[str, int] = {}

    def mail_exchangers(self, domain: str) -> list[tuple[int, str]]:
        found = super().mail_exchangers(domain)
        for preference, host in found:
            self.preferences.setdefault(f"{host}.", preference)
        return found


class Guide:
    """Asks the system's name servers; *nameserver* (address, port) is another one, for tests."""

    def __init__(self, options: Options, nameserver: tuple[str, int] | None = None) -> None:
        self._options = options
        self._nameserver = nameserver

    def way(self, next_hop: str, *, trusted: bool) -> Way:
        """The addresses behind *next_hop*, in the order in which they would be tried.

        *trusted*: a bracketed host that the administrator chose; any address will do.
        """
        try:
            return _way(self._ask(lambda: self._addresses(next_hop, trusted)))
        except OSError as error:
            text = f"Name server: {log.clean(next_hop)}: {error.strerror or error}"
            return Way([Outcome(Fate.DEFERRED, "4.4.3", text)])

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

    def _names(self, act: Callable[[], list[str]]) -> list[str]:
        lines = self._ask(act)
        names = [words[1] for words in lines if words[0] == "name" and len(words) > 1]
        if names:
            return names
        absent = lines[0][:2] == ["end", Fate.FAILED.value]
        raise OSError(errno.ENOENT if absent else errno.EAGAIN, lines[0][-1])

    def _ask(self, act: Callable[[], list[str]]) -> list[list[str]]:
        """What *act* says, as cleaned words. Raise OSError if the process without rights failed."""
        dns.load()
        told = privileges.as_user(self._stranger(), lambda: _encoded(act()), _PATIENCE)
        lines = told.decode("utf-8", "replace").split("\n")[: 4 * mx_targets.MAX_TARGETS]
        return [[log.clean(word, 300) for word in line.split("\t")] for line in lines]

    def _stranger(self) -> User:
        name = self._options.run_as_user
        user = Users().find(os.fsencode(name)) if name else User("", os.geteuid(), os.getegid())
        if user is None and os.geteuid() == 0:
            raise OSError(errno.EAGAIN, f"no such user: {name} (option RunAsUser)")
        return user or User(name, os.geteuid(), os.getegid())

    # --- in the process without rights ------------------------------------------------------------

    def _addresses(self, next_hop: str, trusted: bool) -> list[str]:
        resolver, lines = _Listening(self._nameserver), list[str]()
        try:
            hop = mx_targets.parse(next_hop)
            finder = Finder(
                hop,
                mx_targets.ourselves(self._options),
                resolver,
                trusted=trusted,
                note=lambda outcome: lines.append(_trouble("note", outcome)),
                shuffle=lambda hosts: hosts.sort(),
            )
            for target in finder.targets():
                preference = resolver.preferences.get(target.name, -1)
                lines.append(f"to\t{preference}\t{target.name}\t{target.address}\t{target.port}")
        except ValueError as error:
            lines.append(_trouble("end", reply_outcomes.bad_next_hop(str(error))))
        except Unroutable as error:
            lines.append(_trouble("end", error.outcome))
        return lines

    def _exchangers(self, domain: str) -> list[str]:
        resolver = Resolver(nameserver=self._nameserver)
        try:
            found = resolver.mail_exchangers(domain)
            if not found:
                resolver.addresses(domain)
            return [f"name\t{host}" for host in [name for _, name in found] or [domain]]
        except LookupFailed as failure:
            return [_trouble("end", reply_outcomes.no_answer(domain, failure))]


def _canonical(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host.encode("ascii", "replace"), None, flags=socket.AI_CANONNAME)
    except socket.gaierror as error:
        failure = LookupFailed(host, "host not found", temporary=error.errno not in _ABSENT)
        return [_trouble("end", reply_outcomes.no_answer(host, failure))]
    return [f"name\t{found[0][3] or host}"]


def _trouble(word: str, outcome: Outcome) -> str:
    text = outcome.told()[0] if outcome.told() else outcome.text
    return f"{word}\t{outcome.fate.value}\t{outcome.status}\t{text}"


def _encoded(lines: list[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "backslashreplace")


# --- in ours --------------------------------------------------------------------------------------


def _way(lines: list[list[str]]) -> Way:
    """Read what the other process said; a line that makes no sense is a "try later"."""
    way = Way([])
    for words in lines:
        try:
            if words[0] == "to":
                _, preference, name, address, port = words
                way.stops.append(Stop(int(preference), name, address, int(port)))
            else:
                _, fate, status, text = words
                way.troubles.append(Outcome(Fate(fate), status, text))
        except ValueError:
            way.troubles.append(Outcome(Fate.DEFERRED, "4.4.3", "Name server: no clear answer"))
    return way
