"""``sendmail ADDRESS < message``: from standard input and command line to a queued message.

What is wrong with the message, or with one of its recipients, is told at once: exit code, a line of
text, dead.letter, or a bounce, as ErrorMode says. The other recipients still get their mail. Whatever
fails before commit() leaves nothing in the queue.
"""

from __future__ import annotations

import os

from minimta.message import address, addresslist, dates, headers
from minimta.message.envelope import Envelope, Recipient
from minimta.queue import collect
from minimta.queue import qid as queue_id
from minimta.routing import recipients
from minimta.routing.local_host import LocalHost
from minimta.submission import delivery_mode, stdin
from minimta.submission.caller import Caller, choose_spool
from minimta.submission.sender import Sender, SubmissionError
from minimta.system import log
from minimta.system.terminal import complain, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minimta.config.commandline import Command
    from minimta.config.options import Options
    from minimta.message.addresslist import ListedAddress
    from minimta.queue.directories import Queue
    from minimta.routing.refusal import Refusal

_RECIPIENT_FIELDS = (b"to", b"cc", b"bcc", b"apparently-to")


class Submission:
    """One message from standard input, on its way into a queue."""

    def __init__(self, command: Command, options: Options, now: float) -> None:
        """*now* is when it came, seconds since the epoch. Opens the queue; nothing is in it yet.

        Raise SubmissionError for a flag's value, OSError if the users cannot be asked.
        """
        self._command = command
        self._options = options
        self._now = now
        self._exit_code = os.EX_OK
        self._here = LocalHost(options, remembers=True)
        self._caller = Caller(options, self._here.users)
        self._spool, self._is_mta = self._open_queue()
        if not self._is_mta and command.sender is None:
            self._require_address()
        self._sender = Sender(command, options, self._caller, self._here)
        self._envelope = self._make_envelope()
        self._incoming = collect.Incoming(
            self._spool,
            options,
            self._envelope,
            qid=queue_id.new(now),
            now=now,
            host=self._here.name,
            submit=not self._is_as_given,
            qualify=not self._is_as_given and not command.gateway,
            hops=command.hops,
        )
        self._seen: set[bytes] = set()
        self._is_whole = False
        #: what the caller has read by now
        self._told: set[str] = set()

    @property
    def _is_as_given(self) -> bool:
        """-Am: what a mail system writes into the MTA queue. Nothing in it is completed."""
        return self._command.queue == "m"

    def _require_address(self) -> None:
        """Raise SubmissionError if no mail could be returned to the caller."""
        if not self._caller.has_address():
            who = log.clean(self._caller.name)
            raise SubmissionError(f"{who} is no address: state one with -f", os.EX_USAGE)

    def _open_queue(self) -> tuple[Queue, bool]:
        """The queue, and whether it is the MTA's."""
        return choose_spool(self._options, self._command.queue)

    def run(self) -> int:
        """Collect, queue, perhaps deliver. Returns the exit code."""
        try:
            self._take_arguments()
            self._read()
            if self._command.take_header_recipients:
                self._take_header_recipients()
            self._require_recipients()
            self._find_unknown()
            self._warn()
            self._complete_recipients()
            if self._envelope.recipients:
                return self._queue()
        except SubmissionError as error:
            self._tell(str(error), error.exit_code)
            if error.save:
                self._save()
        except collect.MessageRefused as refusal:
            self._tell(refusal.text, _exit_code(refusal))
            self._save()
        except OSError as error:
            reason = f"cannot queue the message: {self._trouble(error)}"
            complain(f"sendmail: {reason}")
            log.line("", f"SYSERR({log.clean(self._caller.name)}): {reason}", error=True)
            self._exit_code = os.EX_TEMPFAIL
            self._save()
        self._incoming.abort()
        return self._exit_code

    def _queue(self) -> int:
        """Commit the message; try it if that is for us to do. Returns the exit code."""
        code, verbose = os.EX_OK, self._command.verbose
        is_wanted = self._is_mta and delivery_mode.is_wanted(self._options)
        hear = self._hear()
        waits = verbose or hear is not None
        is_ours = is_wanted and delivery_mode.is_ours(self._options, verbose=waits)
        self._incoming.finish()
        qid = self._incoming.commit(keep_lock=is_ours)
        try:
            if is_ours:
                told = say if verbose else None
                code = delivery_mode.first(
                    self._here, self._spool, qid, hear=hear or told, told=self._told
                )
            elif not is_wanted:
                delivery_mode.postpone(self._incoming, self._mailer, verbose=verbose)
        except OSError as error:  # it is queued: who said 75 now would be sent the letter again
            log.line(qid, f"SYSERR: not tried now: {_reason(error)}", error=True)
        return os.EX_OK if self._options.error_mode == "exit" else self._exit_code or code

    def _hear(self) -> Callable[[str], None] | None:
        """Who gets the lines of an attempt: the traffic log of -X, and the caller with -v."""
        if not self._command.traffic_log:
            return None
        from minimta.system import traffic

        def hear(line: str) -> None:
            traffic.heard(line)
            if self._command.verbose:
                say(line)

        return hear

    def _mailer(self, bare: bytes) -> str:
        return self._here.router.route(bare).mailer if self._is_mta else "relay"

    # --- envelope ---------------------------------------------------------------------------------

    def _make_envelope(self) -> Envelope:
        command, sender = self._command, self._sender.address
        envelope = Envelope(self._as_queued(sender) if sender else b"<>")
        envelope.client = os.fsencode(self._caller.name) + b"@localhost"
        envelope.daemon_flags = b"c u"
        envelope.protocol, envelope.helo = command.protocol, command.helo
        envelope.ret, envelope.envid = command.ret, self._envid()
        envelope.body_type = command.body_type
        envelope.auth = self._here.qualified(sender)
        envelope.full_name = self._sender.full_name()
        return envelope

    def _envid(self) -> bytes:
        """What -V says. Raise SubmissionError if it is no ENVID."""
        envid = self._command.envid
        if envid is None:
            return b""
        from minimta.message.xtext import MAX_ENVID, is_xtext  # few messages have one

        if len(envid) > MAX_ENVID or not is_xtext(envid):
            raise SubmissionError("Invalid syntax in -V flag", os.EX_USAGE)
        return envid

    def _as_queued(self, bare: bytes) -> bytes:
        """How an address stands in the queue: complete, or with -Am as it was given."""
        return bare if self._is_as_given else b"<%b>" % self._here.qualified(bare)

    def _warn(self) -> None:
        text = self._sender.warning(address.bare(self._envelope.reverse_path))
        if text:
            self._envelope.warnings.append(text.encode("ascii"))
            log.line(self._incoming.qid, f"Authentication-Warning: {text}")

    # --- recipients -------------------------------------------------------------------------------

    def _take_arguments(self) -> None:
        named: list[ListedAddress] = []
        for argument in self._command.arguments:
            named += self._add(addresslist.parse(argument), argument)
        only = (
            named[0].given if len(named) == 1 and not self._command.take_header_recipients else b""
        )
        # The one recipient may be named in Received ("for <...>"): there is nobody it is hidden from.
        # DIFFERS: with -t Sendmail names the one in the arguments, though the others see it.
        self._incoming.first.trace_recipient = only

    def _take_header_recipients(self) -> None:
        fields = self._incoming.fields()
        resent = any(headers.name(field).startswith(b"resent-") for field in fields)
        wanted = {(b"resent-" if resent else b"") + name for name in _RECIPIENT_FIELDS}
        for field in fields:
            if headers.name(field) in wanted:
                text = headers.value(field)
                self._add(addresslist.parse(text), text)

    def _add(self, found: list[ListedAddress], text: bytes) -> list[ListedAddress]:
        """Take what is an address, once, and tell what is none. Returns the addresses."""
        good = []
        for mailbox in found:
            # Read as an address, ":include:/x" is a group without members.
            is_list = text.lower().startswith(b":include:")
            why = address.why_special(text if is_list else mailbox.address)
            if why:
                from minimta.routing.refusal import Refusal

                nobody = Refusal(550, "5.1.1", why)
                self._refuse(text if len(found) == 1 else mailbox.address, nobody)
                continue
            if mailbox.problem:
                self._tell(f"{log.clean(text.strip())}... {mailbox.problem}", os.EX_USAGE)
                if not mailbox.problem.startswith("Unbalanced '<"):
                    continue
            key = self._key(mailbox.address)
            if key not in self._seen:
                self._seen.add(key)
                self._envelope.recipients.append(self._recipient(mailbox))
            good.append(mailbox)
        return good

    def _key(self, bare: bytes) -> bytes:
        """Equal for one recipient; while our names cannot be read only what is written alike is."""
        try:
            return self._here.key(bare)
        except OSError:
            return bare

    def _recipient(self, mailbox: ListedAddress) -> Recipient:
        given = mailbox.given
        flags = "P" + (self._command.notify or "FD")
        if self._is_mta and not self._command.expand_aliases and self._here.is_local(given):
            # -n: to the user, whatever the aliases say, as "\\dave" in an alias does it
            given, flags = b"\\" + address.split(mailbox.address)[0], flags + "A"
        return Recipient(given, flags)

    def _complete_recipients(self) -> None:
        """How the good ones stand in the queue: see _as_queued()."""
        for recipient in self._envelope.recipients:
            if "A" not in recipient.flags and not self._is_as_given:
                recipient.address = self._as_queued(address.bare(recipient.address))

    def _require_recipients(self) -> None:
        if self._envelope.recipients or self._exit_code:
            return
        if self._command.take_header_recipients:
            # DIFFERS: Sendmail exits with 0, and nobody learns that nothing was sent.
            raise SubmissionError("No recipient addresses found in header", os.EX_USAGE)
        raise SubmissionError("Recipient names must be specified", os.EX_USAGE)

    def _find_unknown(self) -> None:
        """Tell of local users who do not exist (67), and of what "error:" refuses for good; they stay,
        to be bounced, if -f or ErrorMode ask for mail.
        """
        bounce = self._options.error_mode in ("mail", "write", "exit") or self._sender.is_other()
        kept = []
        for recipient in self._envelope.recipients:
            bare = address.bare(recipient.address)
            why_not = recipients.why_refused(bare, self._here)
            if why_not is None or not why_not.is_final:
                kept.append(recipient)
                continue
            self._refuse(recipient.address, why_not)
            if bounce:
                kept.append(recipient)
        lost = len(kept) < len(self._envelope.recipients)
        self._envelope.recipients[:] = kept
        # Once, whatever was wrong with however many of them.
        if lost or (self._exit_code and not bounce):
            self._save()

    def _refuse(self, recipient: bytes, found: Refusal) -> None:
        shown = found.name or log.clean(recipient)
        log.line(self._incoming.qid, f"{shown}... {found.text}")
        facts = f"to={log.fact(recipient)}, delay=00:00:00, mailer=local, pri=0, dsn={found.status}"
        reply = f"{found.code} {found.status} {found.text}"
        log.line(self._incoming.qid, f"{facts}, reply={reply}, stat={found.text}")
        # Sendmail's client mode only says on the terminal where the letter was saved.
        self._tell(f"{shown}... {found.text}", found.exit_code, on_stderr=not self._is_as_given)

    # --- text -------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read all, whatever becomes of the queue meanwhile: what cannot be queued is to be saved."""
        trouble = self._why_no_queue()
        canonical = stdin.CanonicalText(ignore_dots=self._options.ignore_dots)
        beginning = True
        for piece in self._pieces(canonical):
            text = self._without_from_line(piece) if beginning else piece
            beginning = False
            try:
                self._incoming.write(text)
            except OSError as error:
                trouble = trouble or error
                self._incoming.keep_apart()
        self._is_whole = True
        if trouble is not None:
            raise trouble
        if canonical.has_nul:
            # DIFFERS: Sendmail mails the text back and exits with 0.
            raise SubmissionError("NUL byte not allowed", os.EX_DATAERR, save=True)

    def _pieces(self, canonical: stdin.CanonicalText) -> Iterator[bytes]:
        """The message on standard input, also for the traffic log."""
        if not self._command.traffic_log:
            yield from stdin.pieces(canonical)
            return
        from minimta.system import traffic

        unfinished = b""
        for piece in stdin.pieces(canonical):
            lines, end, unfinished = (unfinished + piece).rpartition(b"\n")
            traffic.received(lines + end)
            yield piece
        traffic.received(unfinished)
        traffic.received(b"[EOF]")

    def _why_no_queue(self) -> Exception | None:
        """What is known to be wrong with the queue before anything is read."""
        try:
            blocks = self._spool.free_blocks()
        except OSError as error:
            self._incoming.keep_apart()
            return error
        if blocks >= self._options.min_free_blocks:
            return None
        self._incoming.keep_apart()
        log.line("", f"low on space ({blocks} blocks free) in {self._queue_path}", error=True)
        text = f"Insufficient disk space in {self._queue_path}; try again later"
        return SubmissionError(text, os.EX_TEMPFAIL, save=True)

    @property
    def _queue_path(self) -> str:
        options = self._options
        return options.queue_pattern if self._is_mta else options.client_queue_directory

    def _trouble(self, error: OSError) -> str:
        """What the queue could not do, with the queue's path: that names the file system."""
        named = _reason(error)
        return named if self._queue_path in named else f"{self._queue_path}: {named}"

    def _without_from_line(self, text: bytes) -> bytes:
        """Drop a Unix From_ line at the very beginning; its date serves if there is no Date field."""
        if not text.startswith(b"From "):
            return text
        line, _, rest = text.partition(b"\n")
        date = dates.from_asctime(line[-24:].decode("ascii", "replace"))
        if date is not None:
            self._incoming.first.date = date
        if self._options.save_from_line:
            # DIFFERS: Sendmail takes the line for text, and with it the whole header.
            return b"X-Mailbox-Line: %b\n%b" % (line, rest)
        # It is part of what was sent: the size in log and queue counts it, as Sendmail's does.
        self._incoming.size += len(line) + 1
        return rest

    def _tell(self, text: str, exit_code: int, *, on_stderr: bool = False) -> None:
        self._exit_code = self._exit_code or exit_code
        if self._options.error_mode == "print":
            (complain if on_stderr else say)(text)
            self._told.add(text)

    def _save(self) -> None:
        """Save to dead.letter, unless the caller wants silence or a bounce, or only a part came."""
        if self._options.error_mode != "print" or not self._is_whole:
            return
        from minimta.submission import deadletter  # few messages end there

        try:
            home, drop = self._caller.home(), self._options.dead_letter_drop
            path = deadletter.save(self._incoming, home, drop, self._now)
        except OSError as error:
            complain(f"sendmail: cannot save the message: {error.strerror or error}")
            return
        say(f"{path}... Saved message in {path}")


def _reason(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return log.clean(f"{where}{error.strerror or error}")


def _exit_code(refusal: collect.MessageRefused) -> int:
    return os.EX_TEMPFAIL if refusal.code < 500 else os.EX_UNAVAILABLE
