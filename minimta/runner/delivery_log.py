"""The ``to=`` lines of the log, in the order of Sendmail's fields, and the same in the words of -v.

to=<dave@lab2.campus>, ctladdr=<emma@lab1.campus> (1001/1001), delay=00:00:31, xdelay=00:00:00,
mailer=esmtp, pri=30049, relay=lab2.campus. [10.0.3.135], dsn=2.0.0, stat=Sent (ID Message ...)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from minimta.message import address, dates
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, Outcome
from minimta.message.printable import printable
from minimta.routing import controlling_user
from minimta.routing.route import Router
from minimta.runner.checkpoint import MessageProgress
from minimta.system import log
from minimta.system.users import Users

#: characters of all addresses in a line: syslog daemons cut lines at 1 to 8 KiB
_LONGEST = 1000


class DeliveryLog:
    """Writes what became of recipients; remembers which senders are users of this host."""

    def __init__(self, users: Users, router: Router, say: Callable[[str], None] | None) -> None:
        """*users* and *router* tell who is a user of this host; *say* gets the lines of -v."""
        self._users = users
        self._router = router
        self._say = say
        self._senders: dict[bytes, str] = {}

    def connecting(self, recipients: Sequence[Recipient], mailer: str) -> None:
        """Say (-v) that *mailer* begins with these recipients."""
        if self._say:
            self._say(f"{addresses(recipients)}... Connecting to {mailer}...")

    def write(
        self,
        progress: MessageProgress,
        recipients: Sequence[Recipient],
        outcome: Outcome,
        *,
        mailer: str,
        now: float,
        took: float,
    ) -> None:
        """Lines for *recipients* of the message, who share *outcome*: nobody's name is cut off.

        *mailer* is "" if none had them; *now* is epoch seconds, *took* seconds.
        """
        for some in in_lines(recipients):
            self._write(progress, some, outcome, mailer, now, took)
        if self._say:
            self._say(f"{addresses(recipients)}... {outcome.stat}")

    def _write(
        self,
        progress: MessageProgress,
        recipients: Sequence[Recipient],
        outcome: Outcome,
        mailer: str,
        now: float,
        took: float,
    ) -> None:
        control = progress.control
        whose = self._controlling(recipients[0]) or self._sender(progress)
        facts = [f"to={log.fact(addresses(recipients), _LONGEST)}"]
        if whose:
            facts.append(f"ctladdr={log.fact(whose)}")
        if control.body_type:
            facts.append(f"bodytype={log.clean(control.body_type)}")
        facts.append(f"delay={dates.duration(now - control.created)}")
        facts.append(f"xdelay={dates.duration(took)}")
        if mailer:
            facts.append(f"mailer={mailer}")
        facts.append(f"pri={control.priority}")
        if control.quarantine:
            facts.append(f"quarantine={log.fact(control.quarantine, 200)}")
        if outcome.relay:
            facts.append(f"relay={log.fact(outcome.relay)}")
        facts.append(f"dsn={log.clean(outcome.status)}")
        reply = outcome.diagnostic
        if not reply and outcome.fate is Fate.FAILED and mailer == "local":
            reply = f"550 {outcome.status} {outcome.text}"  # what RCPT would have been told
        if reply:
            facts.append(f"reply={log.fact(reply)}")
        facts.append(f"stat={log.fact(outcome.stat, 300)}")
        log.line(progress.qid, ", ".join(facts))

    def _controlling(self, recipient: Recipient) -> str:
        """The owner of the list, or who names programs and files: ":include:/l (1001/50)"."""
        if not recipient.controlling_user:
            return ""
        owner = controlling_user.owner(recipient)
        if owner:
            return self._look_up(owner, owner)
        return controlling_user.shown(recipient)

    def _sender(self, progress: MessageProgress) -> str:
        """The sender as controlling user, if they are one of ours."""
        path = progress.control.reverse_path
        if path not in self._senders:
            self._senders[path] = self._look_up(path, progress.sender)
        return self._senders[path]

    def _look_up(self, path: bytes, sender: bytes) -> str:
        local_part, domain = address.split(sender)
        if not sender:
            return ""
        try:
            if not self._router.is_local(domain):
                return ""
            user = self._users.find(address.unquote(local_part))
        except OSError:
            return ""
        return f"{log.clean(path)} ({user.uid}/{user.gid})" if user else ""


def in_lines(recipients: Sequence[Recipient]) -> Iterator[Sequence[Recipient]]:
    """Them all, as many at a time as a line has room for."""
    begin, length = 0, 0
    for number, recipient in enumerate(recipients):
        length += len(recipient.address) + 1
        if length > _LONGEST and number > begin:
            yield recipients[begin:number]
            begin, length = number, len(recipient.address) + 1
    if recipients:
        yield recipients[begin:]


def addresses(recipients: Sequence[Recipient]) -> str:
    """Several recipients as one word of the log or of -v."""
    return ",".join(printable(r.address).decode("ascii") for r in recipients)
