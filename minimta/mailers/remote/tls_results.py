"""How TLS with other hosts came out, counted for the owners of their domains (RFC 8460, TLSRPT).

    2026-11-30      a file for each day (UTC), a JSON object a line, one for each connection:

    {"domain": "lab2.campus", "policy_type": "sts", "host": "mx.lab2.campus", "result": "", "policy": [...]}

policy_type is that of section 4.4, result the result-type of section 4.3, "" for success, policy the
policy-string. Only what DNS decides is counted, not what a row of TLSPolicy wants: that is nobody's
business. A line that is cut short, as a full disk leaves it, counts for nothing.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from minimta.config.options import Options
from minimta.mailers.remote.own_directory import OwnDirectory
from minimta.system import files

# A run over an empty queue calls forget_old(), and needs nothing that talks to hosts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.mailers.remote.connection import OutgoingConnection
    from minimta.mailers.remote.lines import ResultLine
    from minimta.mailers.remote.mx_targets import NextHop, Target
    from minimta.mailers.remote.tls_policy import Policy, Reported

#: octets of one day, and days that are kept
_MOST, _DAYS = 16 << 20, 10
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


# --- the worker's end -----------------------------------------------------------------------------


class TlsTally:
    """Tells how the connections of one worker came out."""

    def __init__(self, tell: Callable[[ResultLine], None]) -> None:
        self._tell = tell

    def reached(self, connection: OutgoingConnection, policy: Policy, hop: NextHop | None) -> None:
        """Mail can be sent: with TLS, or without if that may be."""
        reported = policy.reported
        result = "starttls-not-supported" if connection.tls is None else ""
        if connection.tls is not None and reported is not None and reported.tested is not None:
            host = connection.target.name.removesuffix(".")
            is_named = reported.tested.names(host)
            result = connection.why_untrusted(host) if is_named else "validation-failure"
        elif reported is not None and reported.is_useless:
            result = "tlsa-invalid"
        self.failed(result, connection.target, reported, hop)

    def failed(
        self, result: str, target: Target, reported: Reported | None, hop: NextHop | None
    ) -> None:
        """*result* is what was the matter, in the words of RFC 8460 section 4.3."""
        from minimta.mailers.remote.lines import ResultLine  # who tells has it anyway

        if hop is not None and not hop.bracketed and "." in hop.name and reported is not None:
            host = target.name.removesuffix(".").lower()
            policy_type, strings = reported.policy_type, reported.strings
            self._tell(ResultLine(hop.name.lower(), policy_type, host, result, strings))


# --- what is kept ---------------------------------------------------------------------------------


class TlsResults(OwnDirectory):
    """The directory, as the process sees it that records."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "results of TLS")

    def note(self, line: ResultLine) -> None:
        """Write it down. What cannot be written is forgotten."""
        if self.file < 0:
            return
        fields = {
            name: getattr(line, name)
            for name in ("domain", "policy_type", "host", "result", "policy")
        }
        text = json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
        with suppress(OSError):
            day = time.strftime("%Y-%m-%d", time.gmtime())
            file = os.open(day, _APPEND, 0o600, dir_fd=self.file)
            try:
                if os.fstat(file).st_size < _MOST:
                    files.write_all(file, text)
            finally:
                os.close(file)


@dataclass(slots=True)
class PolicyCounts:
    """The connections of a day to which one policy of one domain applied."""

    domain: str
    policy_type: str
    policy: tuple[str, ...]
    successes: int = 0
    #: (result, host) -> connections
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)


def counts(path: str, day: str) -> list[PolicyCounts]:
    """What was counted on *day* ("2026-11-30") in the directory *path*. Raise OSError."""
    found: dict[tuple[str, str, tuple[str, ...]], PolicyCounts] = {}
    with open(os.path.join(path, day), "rb") as file:
        for domain, kind, host, result, policy in _results(file):
            key = domain, kind, policy
            entry = found.setdefault(key, PolicyCounts(*key))
            if result:
                entry.failures[result, host] += 1
            else:
                entry.successes += 1
    return sorted(found.values(), key=lambda entry: (entry.domain, entry.policy_type, entry.policy))


def _results(lines: Iterable[bytes]) -> Iterable[tuple[str, str, str, str, tuple[str, ...]]]:
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            words = [str(told[name]) for name in ("domain", "policy_type", "host", "result")]
            yield words[0], words[1], words[2], words[3], tuple(map(str, told["policy"]))


def forget_old(path: str) -> None:
    """Remove from the directory *path* the days that nobody asks for any more. Raises nothing."""
    oldest = time.strftime("%Y-%m-%d", time.gmtime(time.time() - _DAYS * 86400))
    with suppress(OSError):
        for name in os.listdir(path):
            if _DAY.fullmatch(name) and name < oldest:
                os.unlink(os.path.join(path, name))


def of_queue(options: Options) -> TlsResults:
    """Those of the deliveries of a queue."""
    return TlsResults(beside(options.queue_directory))


def beside(queue_directory: str) -> str:
    """The directory of a queue: not within, where the listener could make it first."""
    return queue_directory.rstrip("/") + ".tlsrpt"
