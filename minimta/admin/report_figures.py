"""What the report counts, beside the ledger: when mail came, how long it took, where it went, what failed.

Everything about messages and recipients is of the messages that the ledger counts, so that the sums are
equal: hours and senders add up to "accepted", destinations and delays to the recipients delivered.
Failed attempts and refusals are events, of which a message may have many or none.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field

from minimta.admin import ledger_accounts
from minimta.admin.ledger_accounts import Ending, LedgerEntry
from minimta.admin.log_line import LoggedLine
from minimta.message import dates
from minimta.message.outcome import Fate
from minimta.message.printable import shown

#: upper ends of the classes of delays, seconds, and their names
DELAYS = (
    (1, "up to 1 s"),
    (10, "up to 10 s"),
    (60, "up to 1 min"),
    (600, "up to 10 min"),
    (3600, "up to 1 h"),
    (86400, "up to 1 d"),
    (1 << 62, "longer"),
)
_DELAY = re.compile(r"(?:(\d{1,5})\+)?(\d{1,2}):(\d\d):(\d\d)")
#: characters of a text from the log
_SHOWN = 120
#: different texts that are kept of one kind: a flood of made-up names fills no memory
_MOST = 20_000
OTHERS = "others"


@dataclass(slots=True)
class Figures:
    """Counts by name."""

    #: "2026-11-30 10" (local time) -> messages accepted
    hours: Counter[str] = field(default_factory=Counter)
    senders: Counter[str] = field(default_factory=Counter)
    #: octets, by sender
    octets: Counter[str] = field(default_factory=Counter)
    #: domain -> recipients who got it
    destinations: Counter[str] = field(default_factory=Counter)
    #: a name of DELAYS -> recipients who got it
    delays: Counter[str] = field(default_factory=Counter)
    #: "domain  reason" -> attempts
    deferred: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    #: reply to a client that was refused -> times
    refused: Counter[str] = field(default_factory=Counter)
    #: queue id -> who got it: domain and class of delay
    _got: dict[str, dict[tuple[str, str, int], tuple[str, str]]] = field(default_factory=dict)

    def watch(self, line: LoggedLine) -> None:
        """Note a line, in the order of the log."""
        if line.text.startswith("to=") and ", xdelay=" in line.text:
            self._attempt(line)
        elif line.text.startswith("ruleset=") and ", reject=" in line.text:
            _add(self.refused, refusal(line.fields().get("reject", "")))

    def _attempt(self, line: LoggedLine) -> None:
        facts = line.fields()
        stat = facts.get("stat", "")
        if not stat or ledger_accounts.handed_on(facts):
            return
        fate = ledger_accounts.fate_of(stat, facts.get("dsn", ""))
        for key in ledger_accounts.keys(facts):
            domain = destination(key[0])
            if fate is Fate.SENT:
                # As in the ledger: who gets it again counts once.
                took = delay_class(facts.get("delay", ""))
                self._got.setdefault(line.qid, {}).setdefault(key, (domain, took))
                continue
            reason = shown(facts.get("reply") or stat.removeprefix("Deferred: "), _SHOWN)
            _add(self.failed if fate is Fate.FAILED else self.deferred, f"{domain}  {reason}")

    def counted(self, account: LedgerEntry, where: Ending) -> None:
        """Add a message that the ledger has counted."""
        del where
        self.hours[time.strftime("%Y-%m-%d %H", dates.local(account.time))] += 1
        sender = shown(account.sender.strip("<>"), _SHOWN) or "<>"
        _add(self.senders, sender)
        _add(self.octets, sender, account.size)
        for domain, took in self._got.pop(account.qid, {}).values():
            _add(self.destinations, domain)
            self.delays[took] += 1


def _add(counts: Counter[str], name: str, count: int = 1) -> None:
    if name not in counts and len(counts) >= _MOST:
        name = OTHERS
    counts[name] += count


def destination(address: str) -> str:
    """What the report calls the place: a domain, "local", "programs" or "files"."""
    bare = address.strip('<>"')
    if bare[:1] in ("|", "/"):
        return "programs" if bare[0] == "|" else "files"
    return shown(bare.rpartition("@")[2].lower(), _SHOWN) if "@" in bare else "local"


def delay_class(text: str) -> str:
    """The name of the class of "00:00:31" or "1+02:03:04"; a delay that is none is "longer"."""
    match = _DELAY.fullmatch(text)
    if match is None:
        return DELAYS[-1][1]
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return next(name for end, name in DELAYS if total <= end)


def refusal(text: str) -> str:
    """A reply without what differs from client to client: "550 5.1.1 ... User unknown"."""
    code, _, rest = shown(text, 400).partition(" ")
    status, _, words = rest.partition(" ")
    return f"{code} {status} {words.rpartition('... ')[2][:_SHOWN]}".strip()


def top(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """The *most* frequent, and all others together: the sum is that of all."""
    rows = counts.most_common()
    rows.sort(key=lambda row: (row[0] == OTHERS, -row[1], row[0]))
    first, rest = rows[:most], rows[most:]
    return [*first, (OTHERS, sum(count for _, count in rest))] if rest else first
