"""mail.local: a message into mailboxes of this host, for other mail systems, filters and scripts.

    mail.local [-f FROM] USER ...    the message on standard input, as it is to be kept
    mail.local -l                    LMTP (RFC 2033) on standard input and output, a reply each

What is written, and under which locks, is the mailers' business: a mailbox in MailboxDirectory, or a
Maildir as LocalMailer has it; with -h FILE a file of the user's home. Aliases and .forward files are
not looked at. Exit code: 0, 67 for a user who does not exist, 75 for what may be tried again.
"""

from __future__ import annotations

import os
import sys
from getopt import GetoptError, gnu_getopt

from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.mailers.files.file_mailer import FileMailer
from minimta.mailers.files.maildir import MaildirMailer
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.job import Job, JobUser
from minimta.message import address, headers
from minimta.message.outcome import Fate, Outcome
from minimta.system import files, log, safefile
from minimta.system.hostnames import own_name
from minimta.system.terminal import complain, print_octets, printed, wrong_option
from minimta.system.users import User, Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

USAGE = "usage: mail.local [-7] [-b] [-d] [-l] [-s] [-f from|-r from] [-h filename] user ..."
#: flags of other mail.locals, and why nothing follows from them here
_POINTLESS = {
    "-7": "all octets are kept",
    "-s": "what is delivered is on disk",
    "-D": "users are those of passwd(5), or of PasswdFile",
}
#: octets of a line of the header and of LMTP
_LONGEST = 65536
_UNKNOWN = Outcome(Fate.FAILED, "5.1.1", "User unknown", exit_code=os.EX_NOUSER)


class MailboxDelivery:
    """Puts messages into mailboxes."""

    def __init__(self, options: Options, home_file: str = "") -> None:
        """*home_file* is a name in each user's home, "" for the mailbox."""
        self._options = options
        self._users = Users(options.passwd_file)
        self._home_file = home_file

    def find(self, name: bytes) -> User | None:
        """The user *name*, of user, user+detail, user@host. Raise OSError if nobody can tell."""
        local = address.bare(name).rpartition(b"@")[0] or address.bare(name)
        user = self._users.find(local.strip(b'"'))
        return user or self._users.find(local.partition(b"+")[0])

    def deliver(self, text: IO[bytes], sender: bytes, users: list[User]) -> list[Outcome]:
        """What became of the message in *text* for each of them. Raise OSError."""
        import tempfile

        text.seek(0)
        header = _header(text, sender)
        with tempfile.TemporaryFile() as body:
            while piece := text.read(_LONGEST):
                body.write(piece)
            body.flush()
            size = body.tell()
            jobs = [self._job(user, header, body.fileno(), size, sender) for user in users]
            found: dict[Job, Outcome] = {}
            for job, outcomes in self._mailer().deliver(jobs):
                found[job] = outcomes[job.users[0].name]
            return [found[job] for job in jobs]

    def _mailer(self) -> FileMailer | MaildirMailer | MboxMailer:
        if self._home_file:
            return FileMailer(self._options)
        if self._options.local_mailer == "maildir":
            return MaildirMailer(self._options, self._users)
        return MboxMailer(self._options, self._users)

    def _job(self, user: User, header: bytes, body: int, size: int, sender: bytes) -> Job:
        name = os.fsencode(user.name)
        if self._home_file:
            name = os.fsencode(os.path.join(user.home, self._home_file))
        controlling = user if self._home_file else None
        return Job(
            "mail.local", sender, "", (JobUser(name),), header, body, size, controlling=controlling
        )


def _header(text: IO[bytes], sender: bytes) -> bytes:
    """The fields that *text* begins with, and a Return-Path; *text* is then at its body."""
    fields: list[bytes] = []
    first = text.readline(_LONGEST)
    if first.startswith(b"From "):
        first = text.readline(_LONGEST)
    line = first
    while line not in (b"\n", b""):
        if not (line[:1] in b" \t" and fields) and b":" not in line.partition(b" ")[0]:
            text.seek(-len(line), os.SEEK_CUR)  # no field: the body begins without an empty line
            break
        fields.append(line if line.endswith(b"\n") else line + b"\n")
        line = text.readline(_LONGEST)
    whole = b"".join(fields)
    if any(headers.name(field) == b"return-path" for field in fields):
        return whole
    # A line end in a sender would forge a header field.
    return b"Return-Path: <%b>\n%b" % (sender.translate(None, b"\r\n\0"), whole)


def main(argv: list[str]) -> int:
    """Run the command; its exit code (sysexits)."""
    try:
        given, names = gnu_getopt(argv[1:], "7bdD:f:h:lr:s")
        flags = dict(given)
        options = config_file.load(None, [], safefile.why_untrusted)
    except GetoptError as error:
        return wrong_option("mail.local", error, USAGE)
    except config_file.ConfigError as error:
        complain(f"mail.local: {error}")
        return os.EX_TEMPFAIL
    log.configure("mail.local", options.log_to, options.log_level)
    for flag in sorted(flags.keys() & _POINTLESS.keys()):
        complain(f"mail.local: {flag} has no effect: {_POINTLESS[flag]}")
    home_file = flags.get("-h", "")
    if bool(names) == ("-l" in flags) or "/" in home_file or home_file in (".", ".."):
        complain(USAGE)
        return os.EX_USAGE
    delivery = MailboxDelivery(options, home_file)
    if "-l" in flags:
        session = LmtpSession(delivery, own_name(options), is_for_good="-b" in flags)
        return printed("mail.local", session.run())
    sender = os.fsencode(flags.get("-f", flags.get("-r", "")))
    return _deliver_input(delivery, address.bare(sender), [os.fsencode(name) for name in names])


def _deliver_input(delivery: MailboxDelivery, sender: bytes, names: list[bytes]) -> int:
    """Standard input to all of them; the worst exit code."""
    import tempfile

    codes = [os.EX_OK]
    try:
        found = {name: delivery.find(name) for name in names}
        with tempfile.TemporaryFile() as text:
            while piece := os.read(0, _LONGEST):
                files.write_all(text.fileno(), piece)
            known = {name: user for name, user in found.items() if user is not None}
            outcomes = dict(
                zip(known, delivery.deliver(text, sender, list(known.values())), strict=True)
            )
    except OSError as error:
        complain(f"mail.local: {error.strerror or error}")
        return os.EX_TEMPFAIL
    for name in names:
        outcome = outcomes.get(name, _UNKNOWN)
        if outcome.fate is not Fate.SENT:
            code = "550" if outcome.fate is Fate.FAILED else "451"
            complain(f"{code} {outcome.status} {log.clean(name)}: {log.clean(outcome.text)}")
            codes.append(_exit_code(outcome))
    return max(codes)


def _exit_code(outcome: Outcome) -> int:
    return os.EX_TEMPFAIL if outcome.fate is Fate.DEFERRED else outcome.exit_code or os.EX_NOUSER


class LmtpSession:
    """One session of LMTP on standard input and output. RFC 2033."""

    def __init__(self, delivery: MailboxDelivery, host: str, *, is_for_good: bool = False) -> None:
        """*is_for_good* (-b): a mailbox that is full now is told as a failure."""
        self._delivery = delivery
        self._host = host
        self._is_for_good = is_for_good
        self._input = sys.stdin.buffer
        self._sender: bytes | None = None
        self._users: list[User] = []
        #: how the client ends its lines: of one that says CR LF a single LF ends none (RFC 2033)
        self._line_end = b"\n"

    def run(self) -> int:
        """Until QUIT, or the end of input; its exit code."""
        self._say(f"220 {self._host} LMTP ready")
        while line := self._input.readline(_LONGEST):
            self._line_end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
            verb, _, rest = line.strip().partition(b" ")
            name = verb.upper()
            if name == b"QUIT":
                self._say(f"221 2.0.0 {self._host} closing connection")
                return os.EX_OK
            action = _VERBS.get(name)
            try:
                if action is None:
                    self._say("500 5.5.1 Command unrecognized")
                else:
                    action(self, rest)
            except OSError as error:
                self._say(f"451 4.3.0 {log.clean(error.strerror or str(error))}")
        return os.EX_OK

    def _say(self, *lines: str) -> None:
        print_octets(f"{line}\r\n".encode() for line in lines)

    def _hello(self, rest: bytes) -> None:
        self._reset()
        offered = ("PIPELINING", "8BITMIME")
        self._say(
            f"250-{self._host}", *(f"250-{word}" for word in offered), "250 ENHANCEDSTATUSCODES"
        )

    def _reset(self) -> None:
        self._sender, self._users = None, []

    def _mail(self, rest: bytes) -> None:
        path = _path(rest, b"FROM:")
        if path is None:
            return self._say("501 5.5.4 MAIL FROM:<address>")
        self._sender, self._users = path, []
        return self._say("250 2.1.0 Sender ok")

    def _rcpt(self, rest: bytes) -> None:
        path = _path(rest, b"TO:")
        if self._sender is None:
            return self._say("503 5.5.1 Need MAIL")
        if not path:
            return self._say("501 5.5.4 RCPT TO:<address>")
        user = self._delivery.find(path)
        if user is None:
            return self._say(f"550 5.1.1 {log.clean(path)}: User unknown")
        self._users.append(user)
        return self._say("250 2.1.5 Recipient ok")

    def _data(self, rest: bytes) -> None:
        import tempfile

        if self._sender is None or not self._users:
            return self._say(
                "503 5.5.1 Need RCPT" if self._sender is not None else "503 5.5.1 Need MAIL"
            )
        self._say("354 Go ahead")
        sender, users = self._sender, self._users
        self._reset()
        with tempfile.TemporaryFile() as text:
            for line in self._lines():
                text.write(line)
            try:
                outcomes = self._delivery.deliver(text, sender, users)
            except OSError as error:
                reason = log.clean(error.strerror or str(error))
                return self._say(*[f"451 4.3.0 {reason}"] * len(users))
        return self._say(*map(self._reply, users, outcomes))

    def _lines(self) -> Iterator[bytes]:
        """The text up to the lone dot, with LF line ends, in pieces. Raise OSError if it does not end."""
        begins, held = True, b""
        while piece := self._input.readline(_LONGEST):
            if begins and piece in (b"." + self._line_end, b".\r\n"):
                return
            whole = held + (piece.removeprefix(b".") if begins else piece)
            begins, held = (held + piece).endswith(self._line_end), b""
            if whole.endswith(b"\n"):
                whole = whole[:-1].removesuffix(b"\r") + b"\n"
            elif whole.endswith(b"\r"):  # its LF may come
                whole, held = whole[:-1], b"\r"
            yield whole
        raise OSError(0, "input ended within a message")

    def _reply(self, user: User, outcome: Outcome) -> str:
        text, status = log.clean(outcome.text), outcome.status
        if outcome.fate is Fate.SENT:
            return f"250 2.1.5 {user.name} Ok"
        if outcome.fate is Fate.FAILED or self._is_for_good:
            return f"550 5{status[1:]} {user.name}: {text}"
        return f"451 {status} {user.name}: {text}"

    def _rset(self, rest: bytes) -> None:
        self._reset()
        self._say("250 2.0.0 Reset")

    def _noop(self, rest: bytes) -> None:
        self._say("250 2.0.0 OK")

    def _vrfy(self, rest: bytes) -> None:
        self._say("252 2.5.2 Try RCPT")


_VERBS = {
    b"LHLO": LmtpSession._hello,
    b"MAIL": LmtpSession._mail,
    b"RCPT": LmtpSession._rcpt,
    b"DATA": LmtpSession._data,
    b"RSET": LmtpSession._rset,
    b"NOOP": LmtpSession._noop,
    b"VRFY": LmtpSession._vrfy,
}


def _path(rest: bytes, keyword: bytes) -> bytes | None:
    """What MAIL or RCPT names, bare; None if it is no such argument. Parameters are not asked for."""
    if rest[: len(keyword)].upper() != keyword:
        return None
    text = rest[len(keyword) :].strip()
    if not text.startswith(b"<") or b">" not in text:
        return None
    return address.bare(text[: text.index(b">") + 1])
