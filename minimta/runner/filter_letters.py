"""A letter of the client queue before the filters (milter), as Sendmail's client hands it to the daemon.

    the runner, root           the child, RunAsUser
    forks, with the data file  ->  connects to the filters, tells them of a client at 127.0.0.1,
                                   sends the letter, may put another body into the file
    checks what it says        <-  verdict, header, envelope (JSON)

Nobody with root's rights reads what a filter says, and what the child says is checked like what a
user has written. tempfail leaves the letter where it is, until Timeout.queuereturn returns it; who is refused comes back to the sender in a
bounce. For as long as that is not sent the letter is in quarantine, with the words for each recipient
(M lines), and no crash delivers it: the next full run sends the bounce.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from functools import partial

from minimta.config.options import Options
from minimta.mailers.by_name import Mailers
from minimta.message import address, headers
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.milter import input_filters
from minimta.milter.submitted import Submitted
from minimta.queue import client_limits, patience
from minimta.queue.control import Control
from minimta.queue.letter_judge import JudgedLetter, NotNow
from minimta.queue.locked import LockedMessage
from minimta.routing.destination import Destination
from minimta.routing.local_host import LocalHost
from minimta.runner.checkpoint import MessageProgress, Unrecorded
from minimta.runner.send_reports import ReportSender
from minimta.system import log, privileges, sandbox
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue

#: what holds a letter until its bounce is durable
_HELD = "refused by a filter, a bounce is on its way;"
_BLOCK = 1 << 18
#: of the log line about a recipient who is refused
_FACTS = "delay=00:00:00, xdelay=00:00:00, mailer=relay"
#: seconds since the machine was started, in which no letter is given up that nobody could judge
_STARTING = 3600.0


class LetterFilters:
    """The Judge of letters: see queue.letter_judge."""

    def __init__(self, options: Options, spool: Queue, users: Users, now: float) -> None:
        """Letters go to *spool*; *now* is epoch seconds."""
        self._options = options
        self._spool = spool
        self._users = users
        self._now = now
        self._here = LocalHost(options)

    def judge(self, qid: str, data: int, control: Control) -> JudgedLetter:
        """See Judge. Raise NotNow, OSError, client_limits.Unacceptable."""
        rows = input_filters.of_port(None, self._options)
        seconds = 60.0 + sum(row.connect + row.end + 10 * row.read for row in rows)
        letter = Submitted(self._options, self._here.name, qid, data, control)
        routes = [self._route(address.bare(path)) for path in _paths(control)]
        act = partial(_ask, self._options, letter, routes)
        try:
            answer = json.loads(privileges.in_child(act, seconds, [data]))
        except (OSError, ValueError) as error:
            raise NotNow(f"the filters did not answer: {error}") from error
        try:
            for text in answer["notes"]:
                log.line(qid, log.clean(text, 500))
            return self._obey(answer, data, control)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Whoever has taken that child over stops this letter, and no other.
            raise NotNow(f"who asks the filters says nonsense: {error}") from error

    def _is_expired(self, control: Control) -> bool:
        """Has it waited for Timeout.queuereturn? Just after a start filters may not be there yet."""
        is_old = self._now - control.created > patience.returns_after(self._options, control)
        return is_old and time.clock_gettime(time.CLOCK_BOOTTIME) > _STARTING

    def _route(self, bare: bytes) -> tuple[str, str, bytes]:
        try:
            found = self._here.router.route(bare)
        except OSError as error:
            raise NotNow(f"cannot look up {log.clean(bare)}: {error.strerror or error}") from error
        return found.mailer, found.host, found.user

    def _obey(self, answer: dict[str, object], data: int, control: Control) -> JudgedLetter:
        """Raise NotNow, OSError or Unacceptable."""
        judged = JudgedLetter()
        said = answer["said"]
        assert isinstance(said, list)
        by_path = {one.address: one for one in control.recipients}
        if answer["word"] == "tempfail" and not self._is_expired(control):
            raise NotNow(str(answer["failed"]) or f"a filter says {answer['reply']}")
        if answer["word"] == "discard":
            judged.is_discarded = True
            return judged
        if answer["word"] in ("refused", "tempfail"):
            judged.refused = [(one, str(answer["reply"])) for one in control.recipients]
        else:
            judged.refused = [(by_path[_octets(path)], str(reply)) for path, reply in said]
            _change(control, judged, answer)
            if judged.is_discarded:
                return judged
            client_limits.check(control, self._options)
            _check_body(data)
        for one, text in judged.refused:
            one.message = log.clean(str(text), 400)
        if judged.refused:
            control.quarantine = f"{_HELD} {control.quarantine}".rstrip()
        return judged

    def give_all_back(self) -> None:
        """The bounces that a crash, or a full disk, has kept from being sent. Raise OSError."""
        for name in self._spool.names("hf"):
            self.give_back(name)

    def give_back(self, qid: str) -> None:
        """See Judge."""
        message = self._spool.lock(qid, kind="hf")
        if message is None:
            return
        if not message.control.quarantine.startswith(_HELD):
            return message.release()
        return self._return(message)

    def _return(self, message: LockedMessage) -> None:
        qid, reason = message.qid, message.control.quarantine.removeprefix(_HELD).strip()
        destinations = [Destination(one, None) for one in message.control.recipients]
        progress = MessageProgress(message, destinations, self._now)
        for position, one in enumerate(message.control.recipients):
            if text := one.message:
                progress.settle([position], _outcome(text))
                log.line(qid, f"to={log.fact(one.address)}, {_FACTS}, {_stat(text)}")
        reports = ReportSender(self._here, self._spool, Mailers(self._options, self._users))
        with contextlib.suppress(Unrecorded):  # logged, and the letter stays held
            reports.finish(progress, self._now)
            self._spool.flush()
            self._let_go(message.name, reason)

    def _let_go(self, name: str, reason: str) -> None:
        """Those who were not refused get it, unless a filter holds it for another *reason*."""
        message = self._spool.lock(name, kind="hf")
        if message is None:
            return
        with message:
            if reason:
                message.hold(reason)
            else:
                message.let_go(time.time())


def _ask(options: Options, letter: Submitted, routes: list[tuple[str, str, bytes]]) -> bytes:
    """In the child."""
    privileges.become(options.run_as_user, with_groups=True)
    rows = input_filters.of_port(None, options)
    ports = (row.port for row in rows if row.family != "unix")
    sandbox.enter(options, sandbox.Needs(connects=(sandbox.DNS_PORT, *ports)))
    return json.dumps(letter.answer(routes)).encode("ascii")


def _paths(control: Control) -> list[bytes]:
    return [control.reverse_path, *(one.address for one in control.recipients)]


def _octets(text: object) -> bytes:
    return str(text).encode("latin-1")


def _change(control: Control, judged: JudgedLetter, answer: dict[str, object]) -> None:
    """What filters have made of header and envelope. Raise Unacceptable."""
    above, fields, recipients = answer["above"], answer["fields"], answer["recipients"]
    assert isinstance(above, list) and isinstance(fields, list) and isinstance(recipients, list)
    judged.above = [_field(text) for text in above]
    flags = {field: flag for flag, field in control.headers}
    ours = [one for one in control.headers if one[0] in (b"P", b"x")]
    new = [_field(text) for text in fields]
    control.headers = [*ours, *((flags.get(field, b""), field) for field in new)]
    control.reverse_path = _octets(answer["sender"])
    known = {one.address: one for one in control.recipients}
    refused = [one for one, _ in judged.refused]
    added = [
        known.get(_octets(path)) or Recipient(_octets(path), str(letters), original=_octets(orcpt))
        for path, letters, orcpt in recipients
    ]
    control.recipients = [*added, *(one for one in refused if one not in added)]
    judged.is_discarded = not control.recipients
    control.quarantine = log.clean(str(answer["quarantine"]), 200)
    if answer["envid"] is not None:
        control.envid, control.body_type = _octets(answer["envid"]), _octets(answer["body_type"])
    if answer["eight_bit"] and "8" not in control.flags:
        control.flags += "8"


def _field(text: object) -> bytes:
    """One field of a header. Raise Unacceptable if it is none."""
    field = _octets(text)
    first, *rest = field.split(b"\n")
    is_folded = all(line[:1] in (b" ", b"\t") for line in rest)
    if not headers.field_name(first) or not is_folded or b"\r" in field or b"\0" in field:
        raise client_limits.Unacceptable(f"a filter made a field that is none: {log.clean(first)}")
    return field


def _check_body(data: int) -> None:
    """Whoever could write there has written text? Raise Unacceptable."""
    position = 0
    while piece := os.pread(data, _BLOCK, position):
        if b"\r" in piece or b"\0" in piece:
            raise client_limits.Unacceptable("a filter made a body with a carriage return or NUL")
        position += len(piece)


def _outcome(text: str) -> Outcome:
    """*text* is a reply, "550 5.7.1 Command rejected"."""
    words = text.split(" ", 2)
    has_status = len(words) > 1 and words[1][:2] == "5." and words[1].count(".") == 2
    is_late = text[:1] == "4"
    status = "4.4.7" if is_late else words[1] if has_status else "5.7.1"
    transcript = ("... while talking to the filters of this host:", f"<<< {text}")
    return Outcome(
        Fate.FAILED,
        status,
        "Delivery time expired" if is_late else "Service unavailable",
        diagnostic=text,
        transcript=transcript,
        exit_code=os.EX_UNAVAILABLE,
    )


def _stat(text: str) -> str:
    outcome = _outcome(text)
    return f"dsn={outcome.status}, reply={log.clean(text)}, stat={outcome.stat}"
