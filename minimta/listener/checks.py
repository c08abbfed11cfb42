"""Who is let in, from whom and to whom mail is taken, in Sendmail's order; one Checks a session.

    at connect   the access table: Connect:, then block lists (DNSBL)
    MAIL         TLS_Clt: rows, then From: rows, then whether the sender could get an answer
                 (refusals.check_mail)
    RCPT         To: rows, then whether it is a recipient here, or may be one (refusals.check_rcpt)

With DelayChecks all but TLS is answered at RCPT, so that a friend (Spam:) can be exempt from them,
and the log names the recipient. What is refused at connect is refused at each command: the client is
to hear it in a reply that it reads, and QUIT.

A table that cannot be read, or a row that makes no sense, is 451 for whoever meets it.
"""

from __future__ import annotations

from minimta.listener import refusals, relaying
from minimta.listener.access import AccessRows, Verdict
from minimta.listener.peer import Peer
from minimta.listener.shared_state import SharedState
from minimta.routing.refusal import Refusal
from minimta.smtp.command import Mail, Rcpt
from minimta.smtp.reply import Reply, quoted, reply
from minimta.system import log
from minimta.system.tls_requirement import Proved

_LATER = "Cannot look it up now; try again later"
_DISABLED = Refusal(550, "5.2.1", "Mailbox disabled for this recipient")


class Checks:
    """What one session's client may do. After each command ``discards`` tells what becomes of it."""

    def __init__(self, shared: SharedState, client: Peer) -> None:
        self._shared = shared
        self._client = client
        #: what the client is refused with as such, or what becomes of all its mail
        self._refusal: Refusal | None = None
        self._fate: Verdict | None = None
        #: why its rights are not known
        self._trouble: OSError | ValueError | None = None
        #: with DelayChecks: the MAIL that is still to be judged
        self._mail: Mail | None = None
        #: is the message at hand to be accepted and thrown away?
        self.discards = False
        #: why it is to be held, "" if it is not
        self.quarantine = ""
        #: was the last recipient to be thrown away?
        self.discards_recipient = False

    # --- client -----------------------------------------------------------------------------------

    def connect(self) -> Reply | None:
        """The client has connected: set its rights; why it is refused, or None."""
        if self._client.port is None:
            return None
        try:
            self._look_at_client()
            self._trouble = None
        except (OSError, ValueError) as error:
            # The name of a row, or of the file: who is at the other end does not matter.
            self._trouble = error
            refusals.log_failure(self._client.ip.encode(), error, "")
            return None
        if self._refusal is None or self._shared.options.delay_checks != "no":
            return None
        answer = reply(self._refusal.code, self._refusal.status, self._refusal.text)
        self._log_relay(f"reject={answer}")
        return answer

    def _look_at_client(self) -> None:
        shared, client = self._shared, self._client
        rows = shared.access_rows()
        relaying.grant(client, shared, rows)
        found = rows.client(client.ip, client.name, confirmed=client.is_confirmed)
        self._refusal, self._fate = None, None
        if found is None:
            # Who has to log in may well have an address of the kind that lists have.
            if not client.rights.may_relay and "a" not in self._modifiers:
                self._refusal = shared.block_lists.refusal(client.ip)
        elif found.refusal is not None:
            self._refusal = found.refusal
        elif not found.accepts:
            self._fate = found
            self._log_relay(_shown(found))

    @property
    def _modifiers(self) -> str:
        return self._client.port.modifiers if self._client.port else ""

    def _log_relay(self, what: str) -> None:
        client = self._client
        name = client.name or client.literal
        facts = f"arg1={name}, arg2={client.ip}, relay={client.shown}"
        log.line("", f"ruleset=check_relay, {facts}, {what}")

    # --- MAIL -------------------------------------------------------------------------------------

    def mail(self, mail: Mail, qid: str) -> Reply | None:
        """Why the sender of *mail* is refused, or None; *qid* is for the log."""
        self.discards, self.quarantine, self._mail = False, "", None
        if self._fate is not None:
            self._obey(self._fate)
        if self._client.port is None:
            return refusals.check_mail(mail, self._client, self._shared, qid)
        if self._trouble is not None:
            self.connect()
        if self._trouble is not None:
            return self._not_now(quoted(mail.given), mail.given, self._trouble, qid)
        try:
            # Again: a handshake or a login may have made the rights anew.
            rows = self._shared.access_rows()
            relaying.grant(self._client, self._shared, rows)
            refusal = self._judge_tls(mail, rows, qid)
            if refusal is not None:
                return refusal
            if self._shared.options.delay_checks != "no":
                self._mail = mail
                return None
            return self._judge_sender(mail, qid)
        except (OSError, ValueError) as error:
            return self._not_now(quoted(mail.given), mail.given, error, qid)

    def _judge_tls(self, mail: Mail, rows: AccessRows, qid: str) -> Reply | None:
        """TLS_Clt: rows. Nobody is exempt, so nothing waits for RCPT. Raise ValueError, OSError."""
        client = self._client
        name = client.name if client.is_confirmed else client.literal
        wanted = rows.wants_tls(client.ip, client.name, confirmed=client.is_confirmed)
        if wanted is None:
            return None
        secured = client.secured
        proved = secured.proved if secured else Proved()
        why = wanted.unmet(proved, name, lambda key: rows.word(key) == "OK")
        if not why:
            return None
        # Of the client, not of the sender: Sendmail names no address.
        answer = reply(wanted.code, wanted.status, log.clean(why))
        return refusals.logged("check_mail", mail.given, client, answer, qid)

    def _judge_sender(self, mail: Mail, qid: str) -> Reply | None:
        """Raise OSError, ValueError."""
        found = self._shared.access_rows().sender(mail.mailbox) if mail.mailbox else None
        if found is None:
            return refusals.check_mail(mail, self._client, self._shared, qid)
        if found.refusal is not None:
            return self._refused("check_mail", mail.given, found.refusal, qid)
        if not found.accepts:
            self._obey(found)
            self._log_outcome("check_mail", mail.given, _shown(found), qid)
        return None

    def _obey(self, found: Verdict) -> None:
        """DISCARD or QUARANTINE of the whole message."""
        self.discards = self.discards or found.word == "DISCARD"
        self.quarantine = self.quarantine or found.reason

    # --- RCPT -------------------------------------------------------------------------------------

    def rcpt(self, rcpt: Rcpt, qid: str) -> Reply | None:
        """Why the recipient of *rcpt* is refused, or None; *qid* is for the log."""
        self.discards_recipient = False
        if self._client.port is None:
            return refusals.check_rcpt(rcpt, self._client, self._shared, qid)
        try:
            return self._judge_recipient(rcpt, qid) or self._judge_late(rcpt, qid)
        except (OSError, ValueError) as error:
            return self._not_now(quoted(rcpt.given), rcpt.given, error, qid)

    def _judge_recipient(self, rcpt: Rcpt, qid: str) -> Reply | None:
        """Raise OSError, ValueError."""
        shared, client = self._shared, self._client
        rows = shared.access_rows()
        untagged = shared.options.blocklist_recipients
        is_ours = shared.here.is_local(rcpt.mailbox)
        found = rows.recipient(rcpt.mailbox, is_ours=is_ours, untagged=untagged)
        if found is not None and found.word == "QUARANTINE":
            self.quarantine = self.quarantine or found.reason
            self._log_outcome("check_rcpt", rcpt.given, _shown(found), qid)
        elif found is not None and not found.accepts:
            # DIFFERS: of Sendmail's message nobody gets a copy if one recipient's row says DISCARD;
            # here that recipient gets none.
            return self._as_told(found, rcpt, qid)
        may_go = not client.rights.may_relay and relaying.leads_to(rcpt.mailbox, shared, rows)
        return refusals.check_rcpt(rcpt, client, shared, qid, may_go=may_go)

    def _as_told(self, found: Verdict, rcpt: Rcpt, qid: str) -> Reply | None:
        if found.refusal is None:
            self.discards_recipient = True
            self._log_outcome("check_rcpt", rcpt.given, _shown(found), qid)
            return None
        refusal = _DISABLED if found.word == "REJECT" else found.refusal
        return self._refused("check_rcpt", rcpt.given, refusal, qid)

    def _judge_late(self, rcpt: Rcpt, qid: str) -> Reply | None:
        """DelayChecks: what MAIL and the connection would have heard. Raise OSError, ValueError."""
        mail = self._mail
        if mail is None or self._client.rights.identity:
            return None  # whoever has logged in is no stranger, whatever their address
        if self._is_exempt(rcpt, self._shared.access_rows()):
            return None
        found = self._judge_sender_for(rcpt, mail, qid)
        if found is None and self._refusal is not None:
            found = self._refused("check_rcpt", rcpt.given, self._refusal, qid)
        return found

    def _is_exempt(self, rcpt: Rcpt, rows: AccessRows) -> bool:
        mode = self._shared.options.delay_checks
        if mode not in ("friend", "hater"):
            return False
        word = rows.spam(rcpt.mailbox, is_ours=self._shared.here.is_local(rcpt.mailbox))
        return word == "FRIEND" if mode == "friend" else word != "HATER"

    def _judge_sender_for(self, rcpt: Rcpt, mail: Mail, qid: str) -> Reply | None:
        """The sender's refusal, told of the recipient."""
        rows = self._shared.access_rows()
        found = rows.sender(mail.mailbox) if mail.mailbox else None
        if found is None:
            return refusals.check_mail(mail, self._client, self._shared, qid)
        if found.refusal is not None:
            return self._refused("check_rcpt", rcpt.given, found.refusal, qid)
        if not found.accepts:
            # With DISCARD another recipient, a friend, may still get it.
            self.discards_recipient = self.discards_recipient or found.word == "DISCARD"
            self.quarantine = self.quarantine or found.reason
            self._log_outcome("check_rcpt", rcpt.given, _shown(found), qid)
        return None

    # --- replies ----------------------------------------------------------------------------------

    # DIFFERS: "Go away, pest" is told as it stands in the table; Sendmail puts it together from its
    # tokens, "Go away,pest".
    def _refused(self, ruleset: str, given: bytes, refusal: Refusal, qid: str) -> Reply:
        answer = reply(refusal.code, refusal.status, f"{quoted(given)}... {refusal.text}")
        return refusals.logged(ruleset, given, self._client, answer, qid)

    def _log_outcome(self, ruleset: str, given: bytes, what: str, qid: str) -> None:
        shown = refusals.one_word(quoted(given))
        log.line(qid, f"ruleset={ruleset}, arg1={shown}, relay={self._client.shown}, {what}")

    def _not_now(self, shown: str, given: bytes, error: Exception, qid: str) -> Reply:
        refusals.log_failure(given, error, qid)
        return reply(451, "4.3.0", f"{shown}... {_LATER}")


def _shown(found: Verdict) -> str:
    """As the log has DISCARD and QUARANTINE."""
    return "discard" if found.word == "DISCARD" else f"quarantine={found.reason}"
