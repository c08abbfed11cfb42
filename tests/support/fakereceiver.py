"""A Receiver without policy: accepts all, remembers what it was told."""

from __future__ import annotations

from minimta.smtp.auth import AuthCommand
from minimta.smtp.command import Mail, Rcpt
from minimta.smtp.reply import Reply, quoted, reply
from minimta.smtp.server import Session


class FakeReceiver:
    """Answers from ``answers`` (a hook's name -> reply) or accepts."""

    def __init__(self, **answers: Reply) -> None:
        self.answers = answers
        self.greeted: list[tuple[bytes, bool]] = []
        self.mails: list[Mail] = []
        self.rcpts: list[Rcpt] = []
        #: texts of the messages that were accepted
        self.messages: list[bytes] = []
        self.violations: list[str] = []
        self.notes: list[str] = []
        self.resets = 0
        self._text = b""

    def hello(self, name: bytes, *, extended: bool) -> Reply | None:
        self.greeted.append((name, extended))
        return self.answers.get("hello")

    def unknown(self, line: bytes) -> Reply | None:
        return self.answers.get("unknown")

    def mail(self, mail: Mail) -> Reply:
        self.mails.append(mail)
        accepted = reply(250, "2.1.0", f"{quoted(mail.given)}... Sender ok")
        return self.answers.get("mail", accepted)

    def rcpt(self, rcpt: Rcpt) -> Reply:
        self.rcpts.append(rcpt)
        accepted = reply(250, "2.1.5", f"{quoted(rcpt.given)}... Recipient ok")
        return self.answers.get("rcpt", accepted)

    def data(self) -> Reply:
        self._text = b""
        return self.answers.get("data", reply(354, "", "End data with <CR><LF>.<CR><LF>"))

    def text(self, text: bytes) -> Reply | None:
        self._text += text
        return self.answers.get("text")

    def refuse(self, answer: Reply) -> None:
        self.answers["end_of_data"] = self.answers["refused"] = answer

    def refused(self) -> Reply | None:
        return self.answers.get("refused")

    def end_of_data(self) -> Reply:
        self.messages.append(self._text)
        return self.answers.get("end_of_data", reply(250, "2.0.0", "Message accepted"))

    def reset(self) -> None:
        self.resets += 1

    def violation(self, text: str) -> None:
        self.violations.append(text)

    def etrn(self, argument: bytes) -> Reply:
        return reply(250, "2.0.0", "started")

    def verify(self, argument: bytes, utf8: bool) -> Reply:
        return reply(252, "2.5.2", "perhaps")

    def expand(self, argument: bytes, utf8: bool) -> Reply:
        return reply(250, "2.1.5", "<dave@lab2.campus>")

    def note(self, text: str) -> None:
        self.notes.append(text)


def session(
    receiver: FakeReceiver,
    *privacy: str,
    max_message_size: int = 0,
    bad_rcpt_throttle: int = 0,
    has_tls: bool = False,
    auth: AuthCommand | None = None,
    max_recipients: int = 0,
    deliver_by_min: int = -1,
    has_etrn: bool = False,
    max_noop_commands: int = 20,
    soft_bounce: bool = False,
) -> Session:
    return Session(
        receiver,
        host="lab2.campus",
        client="lab1.campus [10.0.3.134]",
        privacy=frozenset(privacy),
        max_message_size=max_message_size,
        bad_rcpt_throttle=bad_rcpt_throttle,
        max_recipients=max_recipients,
        deliver_by_min=deliver_by_min,
        has_etrn=has_etrn,
        max_noop_commands=max_noop_commands,
        soft_bounce=soft_bounce,
        has_tls=has_tls,
        auth=auth,
    )


def codes(octets: bytes) -> list[str]:
    """Code and status of each reply: "250 2.1.0"; without status only the code."""
    found = []
    for line in octets.decode("ascii").split("\r\n")[:-1]:
        if line[3] == " ":
            status = line[4:].split(" ", 1)[0]
            has_status = status.count(".") == 2 and status[:1] == line[0]
            found.append(f"{line[:3]} {status}" if has_status else line[:3])
    return found
