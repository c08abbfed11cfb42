"""The story of one message, told: what happened, where it is, why, and what can be done.

    6AM9bJoP003680
    Nov 22 09:37:19  came from emma@localhost: <emma@lab1.campus>, 106 octets, 1 recipient
    Nov 22 09:37:20  <dave@lab2.campus> by esmtp at lab2.campus. [10.0.3.135]: Deferred: Connection refused ...
    now      waits in /var/spool/mqueue: 3 attempts; due at 10:43:07, in 12m
    why      <dave@lab2.campus>: Deferred: Connection refused by lab2.campus.
             it means: nothing listens at that port of the host ...
             to do: see whether ...
    way      list: alias, /etc/aliases line 3

What is not known is told as such: a message that is in no queue, and whose end no log tells, is not
called delivered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minimta.admin.log_line import LoggedLine
from minimta.admin.queue import show, wording
from minimta.admin.queue.messages import QueuedMessage
from minimta.admin.queue.show import QueuedMessageReport
from minimta.admin.story import failures
from minimta.admin.story.log_events import MessageLog
from minimta.admin.story.ways import Ways, row_named
from minimta.config.options import Options
from minimta.message import dates
from minimta.message.printable import shown
from minimta.system import locks, log

#: characters of a line
_LONG = 500
_INDENT = " " * 9


@dataclass(frozen=True, slots=True)
class RecipientFate:
    """What became of a recipient at last."""

    recipient: str
    #: as in the log: "Sent", "User unknown", "Deferred: ..."
    stat: str
    reply: str = ""
    status: str = ""
    mailer: str = ""
    relay: str = ""
    controlling: str = ""

    @property
    def end(self) -> str:
        """ "delivered", "deleted", "waits", "returned"."""
        if self.mailer == "*discard*":
            return "deleted"
        if self.stat.startswith("Sent"):
            return "delivered"
        if self.stat == "queued" or self.status.startswith("4") or self.stat.startswith("Deferred"):
            return "waits"
        return "returned"


class MessageStory:
    """All that is known of the message *qid*."""

    def __init__(
        self,
        qid: str,
        queued: QueuedMessage | None,
        logged: MessageLog,
        options: Options,
        ways: Ways,
    ) -> None:
        """*queued* is it in the queue, *logged* in the log. Raise OSError if it cannot be read."""
        self._qid = qid
        self._queued = queued
        self._logged = logged
        self._options = options
        self._ways = ways
        self._report = QueuedMessageReport(queued, options) if queued else None
        #: recipient -> its last line of the log
        self.fates = _fates(logged.lines)

    @property
    def exit_code(self) -> int:
        """0: it is delivered; 75: it waits; 67: somebody did not get it; 66: nobody knows it."""
        if self._queued is not None:
            return os.EX_TEMPFAIL
        ends = {fate.end for fate in self.fates.values()}
        if not self._logged.lines or not ends:
            return os.EX_NOINPUT
        if "waits" in ends or ends == {"unknown"}:
            return os.EX_TEMPFAIL
        return os.EX_NOUSER if "returned" in ends else os.EX_OK

    def lines(self, now: float) -> Iterator[str]:
        """The story as it stands *now* (epoch seconds)."""
        yield self._qid + self._other_ids()
        for line in self._logged.lines:
            when = dates.asctime(line.time)[4:19] if line.time else " " * 15
            yield f"{when}  {_told(line, self._qid)}"
        for gap in self._logged.gaps:
            yield f"unknown  {log.clean(gap, _LONG)}"
        yield f"now      {self._now(now)}"
        for fate in self._failed():
            yield from self._why(fate)
        if self._report is not None and self._report.failed:
            last = max(one.number for one in self._report.failed)
            recent = [one for one in self._report.failed if one.number == last]
            yield "said     in the last attempt"
            yield from (_INDENT + line.removeprefix("  ") for line in show.attempts(recent))

    def _other_ids(self) -> str:
        if self._logged.after:
            return f", taken over from the client queue as {self._logged.after}"
        return f", {self._logged.before} in the client queue" if self._logged.before else ""

    # --- where it is ----------------------------------------------------------------------------------

    def _now(self, now: float) -> str:
        one = self._queued
        if one is None:
            return self._gone()
        told = f"{_STATES[one.state]} in {log.clean(one.directory)}"
        if one.attempts:
            told += f": {wording.count(one.attempts, 'attempt')}"
            told += f", the last {wording.moment(one.last_attempt, now)}"
        if one.state in ("waiting", "submitted"):
            told += f"; {wording.next_attempt(one.next_attempt(self._options), now)}"
            if not locks.is_resident(locks.beside(self._options.queue_directory)):
                told += " (no runner stays here: cron, or sendmail -q)"
            if limit := self._options.timeout_queuereturn:
                left = one.created + limit - now
                told += f"; returned if it still waits in {wording.age(left)}"
        return told

    def _gone(self) -> str:
        ends: dict[str, list[str]] = {}
        for fate in self.fates.values():
            ends.setdefault(fate.end, []).append(fate.recipient)
        told = [f"{end}: {', '.join(names[:5])}" for end, names in ends.items() if end != "waits"]
        if "waits" in ends:
            told.append(f"unknown: {', '.join(ends['waits'][:5])} waited, and is in no queue now")
        for qid, what, about in self._logged.reports():
            told.append(f"{what} {qid} tells of it ({log.clean(about, 80)})")
        if not told:
            return "unknown: in no queue that you may see, and the log says nothing of its end"
        return "in no queue; " + "; ".join(told)

    # --- why ------------------------------------------------------------------------------------------

    def _failed(self) -> list[RecipientFate]:
        """The failures that matter now: of who waits in the queue, or did not get it."""
        one = self._queued
        if one is None:
            return [fate for fate in self.fates.values() if fate.end in ("returned", "waits")]
        if one.quarantine:
            return [RecipientFate("", f"held: {one.quarantine}")]
        if self._report and self._report.view and self._report.view.control is None:
            return [RecipientFate("", f"readqf: {one.kind}{one.qid}: {self._report.view.problem}")]
        if one.state == "aside":
            return [self._why_aside(one)]
        found = [self._of_queue(one, shown(to), status) for to, status in one.recipients]
        return [fate for fate in found if fate.stat] or [RecipientFate("", one.reason)]

    def _why_aside(self, one: QueuedMessage) -> RecipientFate:
        lost = [line.text for line in self._logged.lines if "Losing " in line.text]
        others = [line.text for line in self._logged.lines if line.text.startswith("bogus ")]
        there = self._report.view if self._report else None
        mode = f"mode {there.mode:o}, uid {there.owner}" if there else "gone by now"
        why = "; ".join([*lost[-1:], *others[-1:]]) or "put aside, and the log does not say why"
        return RecipientFate("", f"{why} ({one.kind}{one.qid}: {mode})")

    def _of_queue(self, one: QueuedMessage, recipient: str, status: str) -> RecipientFate:
        logged = self.fates.get(recipient)
        noted = self._report.failed if self._report else []
        last = next((made for made in reversed(noted) if recipient in made.to), None)
        if last is not None:
            return RecipientFate(
                recipient,
                last.stat,
                last.reply,
                last.status,
                last.mailer,
                last.relay,
                logged.controlling if logged else "",
            )
        return logged or RecipientFate(recipient, status or one.reason)

    def _why(self, fate: RecipientFate) -> Iterator[str]:
        if not fate.stat:
            return
        name = f"{fate.recipient}: " if fate.recipient else ""
        where = f" (at {fate.relay})" if fate.relay else ""
        yield f"why      {log.clean(f'{name}{fate.stat}{where}', _LONG)}"
        if fate.reply and fate.reply not in fate.stat:
            yield f"{_INDENT}reply: {log.clean(fate.reply, _LONG)}"
        if fate.mailer == "prog" and (code := failures.exit_code_of(fate.stat)):
            yield f"{_INDENT}exit code: {code}"
        meaning = failures.explain(fate.stat, fate.reply, fate.mailer)
        if meaning is not None:
            yield f"{_INDENT}it means: {meaning.meaning}"
            yield f"{_INDENT}to do: {meaning.remedy}"
        if row := row_named(fate.stat):
            yield f"{_INDENT}the row is {log.clean(row, _LONG)}"
        chosen = self._ways.of_host(os.fsencode(fate.recipient))
        if chosen and fate.end != "delivered":
            yield f"{_INDENT}goes there by {chosen}"
        for number, line in enumerate(self._way(fate)):
            yield f"{'way     ' if not number else '        '} {line}"

    def _way(self, fate: RecipientFate) -> list[str]:
        if not fate.recipient:
            return []
        try:
            return self._ways.to(os.fsencode(fate.recipient), fate.controlling)
        except OSError as error:
            return [f"cannot be told now: {error.strerror or error}"]


_STATES = {
    "waiting": "waits",
    "delivering": "is being delivered",
    "held": "is held",
    "aside": "is put aside (Qf)",
    "submitted": "waits to be taken over",
}


def _fates(lines: Sequence[LoggedLine]) -> dict[str, RecipientFate]:
    found: dict[str, RecipientFate] = {}
    for line in lines:
        facts = line.fields()
        if "to" not in facts or "stat" not in facts or facts.get("mailer") == "relay":
            continue
        for recipient in facts["to"].split(","):
            name = log.clean(recipient, _LONG)  # anybody may write to the log
            found[name] = RecipientFate(
                name,
                log.clean(facts["stat"], _LONG),
                log.clean(facts.get("reply", ""), _LONG),
                facts.get("dsn", ""),
                facts.get("mailer", ""),
                facts.get("relay", ""),
                facts.get("ctladdr", ""),
            )
    return found


def _told(line: LoggedLine, qid: str) -> str:
    """A line of the log in words; one that has none as it is."""
    facts = line.fields()
    whose = f"{line.qid} " if line.qid != qid else ""
    if "from" in facts and "nrcpts" in facts:
        number = facts["nrcpts"]
        count = f"{number} recipient" + ("" if number == "1" else "s")
        login = f", logged in as {facts['auth_id']}" if "auth_id" in facts else ""
        size = f"{facts.get('size', '?')} octets, {count}"
        text = f"came from {facts.get('relay', '?')}: {facts['from']}, {size}{login}"
    elif "to" in facts and "stat" in facts:
        mailer = f" by {facts['mailer']}" if facts.get("mailer") else ""
        relay = f" at {facts['relay']}" if facts.get("relay") else ""
        text = f"{facts['to']}{mailer}{relay}: {facts['stat']}"
    elif "quarantine" in facts:
        text = f"held: {facts['quarantine']}"
    elif line.text == "unquarantine":
        text = "released"
    else:
        text = line.text
    return log.clean(whose + text, _LONG)
