"""The lines of the log that follow a message into a queue, and from one into the next.

ID: from=<emma@lab1.campus>, size=284, class=0, nrcpts=1, msgid=<1@2>, proto=ESMTP, relay=emma@localhost
ID: to=<dave@lab2.campus>, delay=00:00:00, xdelay=00:00:00, mailer=relay, pri=30106, relay=[127.0.0.1]
    [127.0.0.1], dsn=2.0.0, stat=Sent (NEWID Message accepted for delivery)
"""

from __future__ import annotations

from minimta.message import dates, headers
from minimta.message.printable import printable
from minimta.queue.first_control import precedence
from minimta.system import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.control import Control
    from minimta.system.users import User

#: how Sendmail's client names the daemon that it hands its messages to
_DAEMON = "[127.0.0.1] [127.0.0.1]"


def adopted(old: str, new: str, control: Control, owner: User, *, size: int, now: float) -> None:
    """The message *old* of the client queue is *new* now: the end of the one, the begin of the other.

    *size* is octets of the body. As with Sendmail, where the client sends it to the daemon.
    """
    fields = [field for _, field in control.headers]
    whole = size + sum(len(field) + 1 for field in fields) + 1
    facts = [
        f"from={log.fact(control.reverse_path)}",
        f"size={whole}",
        f"class={precedence(fields, list(map(headers.name, fields)))}",
        f"nrcpts={len(control.recipients)}",
    ]
    if ids := headers.find(control.headers, b"message-id"):
        facts.append(f"msgid={log.fact(headers.value(ids[0]))}")
    if control.body_type:
        facts.append(f"bodytype={log.clean(control.body_type)}")
    facts += ["proto=ESMTP", f"relay={log.fact(control.macros[b'_'])}"]
    log.line(new, ", ".join(facts), level=5)
    delay = dates.duration(now - control.created)
    to = b",".join(printable(one.address) for one in control.recipients)
    log.line(
        old,
        f"to={log.fact(to, 1000)}, ctladdr={log.clean(owner.name)} ({owner.uid}/{owner.gid}),"
        f" delay={delay}, xdelay=00:00:00, mailer=relay, pri={control.priority}, relay={_DAEMON},"
        f" dsn=2.0.0, stat=Sent ({new} Message accepted for delivery)",
    )
