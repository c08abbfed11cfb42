"""What became of each message, added up from the lines of the log and the files of the queue.

    waiting        its file is in a queue: whatever the log says, it is not over
    delivered      "done", and all of its recipients have a line: Sent
    returned       "done"; at least one was returned to the sender, or told to the postmaster
    dead-lettered  a report that reached nobody: saved in a mailbox of last resort (savemail)
    discarded      by a rule of the access table or of a filter, by an administrator, or all that
                   could not be delivered had NOTIFY=NEVER
    unknown        it was accepted, is not in the queue, and its lines do not say all of that

"done" is logged with the number of recipients just before the file of the message goes. A line that
was lost (power cut, rotation, rate limit) so leaves a message unknown, and never delivered.

    from=..., msgid=...                accepted (without msgid= it is a transaction that came to nothing)
    to=..., xdelay=..., stat=...       an attempt; the last one counts for each recipient
    NEWID: DSN: ...                    a report, itself a message (return to sender, postmaster notify)
    to=..., stat=Sent (NEWID ...)      from clientmqueue into the queue: NEWID goes on with it
    split: rcpts=200, ids=ID, ID       one letter with many recipients: all of these go on with it
    done; delay=..., ntries=, rcpts=3  the end

A recipient is one after aliases and .forward files: of a list each member.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from minimta.admin.log_line import LoggedLine
from minimta.message.outcome import Fate

_DONE = re.compile(r"done; delay=[0-9:+]+, ntries=\d+, rcpts=(\d{1,9})(?!\d)")
_REPORT = re.compile(
    r"([0-9A-Za-x]{8}\d{6,12}): (DSN|return to sender|postmaster notify|sender notify): (.*)"
)
_HANDED = re.compile(r"Sent \(([0-9A-Za-x]{8}\d{6,12}) Message accepted for delivery\)")
_SPLIT = re.compile(r"split: rcpts=\d+, ids=([0-9A-Za-x, ]+)")
_ID = re.compile(r"[0-9A-Za-x]{8}\d{6,12}")
_OURSELVES = "[127.0.0.1] [127.0.0.1]"
_RECEIPT = "Return receipt"


class Ending(Enum):
    """Where a message ended; exactly one of these."""

    DELIVERED = "delivered"
    RETURNED = "returned"
    DEAD_LETTER = "dead-lettered"
    DISCARDED = "discarded"
    WAITING = "waiting"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class LedgerEntry:
    """All that is known of one message."""

    qid: str
    #: epoch seconds: when it was accepted, or what its id says
    time: float = 0.0
    #: there is a from= line of a message that was accepted
    has_begin: bool = False
    #: its from= line was read
    has_from: bool = False
    sender: str = ""
    relay: str = ""
    size: int = 0
    #: uid that submitted it, if the journal knows
    uid: int = -1
    #: of the last attempt at each who has no Sent: (address, controlling user, which of them)
    failed: dict[tuple[str, str, int], Fate] = field(default_factory=dict)
    #: Sent lines, recipients counted
    sent: int = 0
    #: who got it, to see who gets it again
    got: set[tuple[str, str, int]] | None = field(default_factory=set)
    #: recipients who got it once more, as after a crash
    again: int = 0
    #: what "done" says, -1 if there is none
    done: int = -1
    reports: list[str] = field(default_factory=list)
    #: numbers of lines: of the last failure, the last delay, and the last report of a failure
    last_failure: int = 0
    last_delay: int = 0
    last_report: int = 0
    is_returned: bool = False
    is_saved: bool = False
    is_discarded: bool = False
    #: recipients whose failure nobody wanted to hear of
    untold: int = 0
    #: recipients that a rule threw away
    thrown: int = 0
    #: the ids that go on with it
    parts: list[str] = field(default_factory=list)
    #: its file: "", "qf", "hf" (held), "Qf" (put aside), "client"
    queued: str = ""
    #: recipients who still wait, from that file
    left: int = 0

    @property
    def is_message(self) -> bool:
        """Did anything say that it was accepted?"""
        return self.has_begin or bool(self.queued or self.sent or self.failed) or self.done >= 0

    @property
    def is_told(self) -> bool:
        """Was a report made after the last of those failures that count?"""
        return all(
            self.last_report > (self.last_failure if fate is Fate.FAILED else self.last_delay)
            for fate in set(self.failed.values())
        )

    def settled(self) -> int:
        """Recipients whose end has a line."""
        return self.sent + len(self.failed)


def ending(account: LedgerEntry) -> tuple[Ending, str]:
    """Where the message is, and for an unknown one why."""
    if account.queued:
        return Ending.WAITING, ""
    if account.is_discarded:
        return Ending.DISCARDED, ""
    if account.done < 0:
        return Ending.UNKNOWN, "no line says that it is done, and it is in no queue"
    if account.settled() < account.done:
        missing = account.done - account.settled()
        return Ending.UNKNOWN, f"{missing} of {account.done} recipients have no line"
    if account.is_saved:
        return Ending.DEAD_LETTER, ""
    if not account.failed:
        return Ending.DELIVERED, ""
    if not account.is_told:
        return Ending.UNKNOWN, f"{len(account.failed)} recipients failed, and no report is named"
    if account.is_returned:
        return Ending.RETURNED, ""
    return (Ending.DELIVERED if account.sent else Ending.DISCARDED), ""


class LedgerEntries:
    """Takes lines in their order; gives the messages."""

    def __init__(self, trusted: Collection[int] = ()) -> None:
        """*trusted* are uids that may say what became of mail; empty: all, as in a file nobody knows."""
        self._trusted = frozenset(trusted)
        self._accounts: dict[str, LedgerEntry] = {}
        #: lines about messages
        self.lines = 0

    def __iter__(self) -> Iterator[LedgerEntry]:
        return iter(self._accounts.values())

    def get(self, qid: str) -> LedgerEntry:
        """The account of a message; made if there is none."""
        account = self._accounts.get(qid)
        if account is None:
            account = self._accounts[qid] = LedgerEntry(qid)
        return account

    def find(self, qid: str) -> LedgerEntry | None:
        """The account, if anything is known of that message."""
        return self._accounts.get(qid)

    def take(self, line: LoggedLine) -> None:
        """Note what *line* says of a message."""
        if line.qid in ("", "NOQUEUE"):
            return
        self.lines += 1
        text = line.text
        if text.startswith("from="):
            self._begin(line)
        elif text.startswith("split: "):
            self._split(line)
        elif not self._may_say(line):
            return
        elif text.startswith("to="):
            self._attempt(line)
        elif text.startswith("done; "):
            self._done(line)
        elif _ID.match(text):
            self._report(line)
        else:
            self._other(line)

    def _may_say(self, line: LoggedLine) -> bool:
        """Anybody can write to syslog; only who runs the queue knows what became of a message."""
        if self._is_trusted(line):
            return True
        known = self._accounts.get(line.qid)
        return known is not None and known.uid == line.uid

    def _is_trusted(self, line: LoggedLine) -> bool:
        return line.uid < 0 or not self._trusted or line.uid in self._trusted

    def _begin(self, line: LoggedLine) -> None:
        facts = line.fields()
        if "msgid" not in facts:
            return  # a transaction that came to nothing; "discarded" says the rest
        account = self._claimed(line)
        if account is None:
            return
        account.has_begin = account.has_from = True
        account.time = line.time or account.time
        account.sender, account.relay = facts["from"], facts.get("relay", "")
        size = facts.get("size", "")
        account.size = int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0

    def _claimed(self, line: LoggedLine) -> LedgerEntry | None:
        """The account of a message whose beginning *line* tells; None if it is another's.

        What a user has said of a message counts no more when who runs the queue says that it is theirs.
        """
        known = self._accounts.get(line.qid)
        if self._is_trusted(line):
            if known is not None and known.uid >= 0 and known.uid not in self._trusted:
                del self._accounts[line.qid]
        elif known is not None and known.uid != line.uid:
            return None
        account = self.get(line.qid)
        account.uid = line.uid
        return account

    def _split(self, line: LoggedLine) -> None:
        match = _SPLIT.match(line.text)
        account = self._claimed(line) if match else None
        if match is None or account is None:
            return
        account.parts = []
        for qid in match[1].split(", "):
            # A part's first line is this one: what is known already is no part of a user's letter.
            if _ID.fullmatch(qid) and (self._is_trusted(line) or qid not in self._accounts):
                account.parts.append(qid)
                self._follow(account, qid).uid = line.uid

    def _attempt(self, line: LoggedLine) -> None:
        facts = line.fields()
        stat = facts.get("stat", "")
        if facts.get("mailer") == "*discard*":
            self.get(line.qid).is_discarded = True
            return
        # Without xdelay nothing was tried: queued, or refused before it was a message.
        if "xdelay" not in facts or not stat:
            return
        account = self.get(line.qid)
        if new := handed_on(facts):
            account.parts = [new]
            self._follow(account, new)
            return
        fate = fate_of(stat, facts.get("dsn", ""))
        for key in keys(facts):
            self._note(account, key, fate)

    def _follow(self, account: LedgerEntry, qid: str) -> LedgerEntry:
        """*qid* goes on with the message: it was accepted, whether it has lines or not."""
        part = self.get(qid)
        part.has_begin = True
        part.sender, part.relay = part.sender or account.sender, part.relay or account.relay
        return part

    def _note(self, account: LedgerEntry, key: tuple[str, str, int], fate: Fate) -> None:
        account.failed.pop(key, None)
        if fate is Fate.FAILED:
            account.failed[key], account.last_failure = fate, self.lines
        elif fate is Fate.DEFERRED:
            account.failed[key], account.last_delay = fate, self.lines
        elif account.got is None or key in account.got:
            account.again += 1
        else:
            account.sent += 1
            account.got.add(key)

    def _done(self, line: LoggedLine) -> None:
        if match := _DONE.match(line.text):
            account = self.get(line.qid)
            account.done = int(match[1])
            if not account.failed and account.sent >= account.done:
                account.got = None  # it is over: most of the memory goes

    def _report(self, line: LoggedLine) -> None:
        match = _REPORT.match(line.text)
        if match is None:
            return
        account = self.get(line.qid)
        account.reports.append(match[1])
        self.get(match[1]).has_begin = True
        if match[2] != "sender notify" and not match[3].startswith(_RECEIPT):
            account.is_returned, account.last_report = True, self.lines

    def _other(self, line: LoggedLine) -> None:
        text = line.text
        if text == "discarded":
            account = self.get(line.qid)
            account.is_discarded = account.has_begin = account.has_from = True
            account.time = account.time or line.time
        elif text.startswith("savemail: ") and text.endswith(": Sent"):
            self.get(line.qid).is_saved = True
        elif text.startswith("not returned: "):
            account = self.get(line.qid)
            account.untold += len(recipients(text.removeprefix("not returned: ")))
            account.last_report = self.lines
        elif text.startswith("redirected by "):
            self.get(line.qid).failed.clear()
        elif text.startswith("ruleset=check_rcpt, ") and text.endswith(", discard"):
            self.get(line.qid).thrown += 1


def handed_on(facts: Mapping[str, str]) -> str:
    """The id under which a letter of the client queue goes on, "" if this is not about that."""
    match = _HANDED.fullmatch(facts.get("stat", ""))
    return match[1] if match and facts.get("relay") == _OURSELVES else ""


def keys(facts: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """The recipients of a to= line, told apart: (address, controlling user, which of such)."""
    seen: dict[str, int] = {}
    found = []
    for address in recipients(facts["to"]):
        seen[address] = seen.get(address, 0) + 1
        found.append((address, facts.get("ctladdr", ""), seen[address]))
    return found


def fate_of(stat: str, dsn: str) -> Fate:
    """What the fields stat= and dsn= of an attempt say."""
    if stat == "Sent" or stat.startswith("Sent ("):
        return Fate.SENT
    return Fate.FAILED if dsn.startswith("5") else Fate.DEFERRED


def recipients(text: str) -> list[str]:
    """The addresses of a to= field: "<a@x>,<b@y>", '"|prog a,b"'."""
    if "," not in text:
        return [text]
    found, begin, quoted, bracketed = list[str](), 0, False, False
    for position, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "<>":
            bracketed = character == "<"
        elif character == "," and not quoted and not bracketed:
            found.append(text[begin:position])
            begin = position + 1
    return [one for one in [*found, text[begin:]] if one]
