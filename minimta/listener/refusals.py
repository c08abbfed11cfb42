"""Which senders and recipients are refused, and why: Sendmail's rulesets check_mail and check_rcpt.

    MAIL   553 5.5.4  no domain, unless M=u completes it; with M=f one without a dot
           553 5.1.8  the domain does not exist
           451 4.1.8  it cannot be known now whether it exists, or is ours
           550 5.7.27 it takes no mail, so no answer either (RFC 7505; option RefuseNullMX)
    RCPT   550 5.1.1  a user of this host who does not exist
           550 5.7.1  a recipient of another host, and the client may not relay
           450 4.4.0  the same, and its name, which might change that, cannot be known now
           4yz, 5yz   what "error:" says in the mailer table, or as all that an alias is
           451 4.3.0  aliases, users or our own names cannot be asked now

Refusals that tell of misuse are logged as Sendmail logs them: fail2ban and its kind ban by these
lines. What the client may do is read from its Rights; ``checks`` asks the access table before.
"""

from __future__ import annotations

from minimta.listener import rights
from minimta.listener.peer import Peer
from minimta.listener.shared_state import SharedState
from minimta.message import address
from minimta.routing import recipients
from minimta.routing.refusal import Refusal
from minimta.smtp.command import Mail, Rcpt
from minimta.smtp.reply import Reply, quoted, reply
from minimta.system import log, sandbox, statistics

_AUTHENTICATE = ". Proper authentication required."


def check_mail(mail: Mail, client: Peer, shared: SharedState, qid: str) -> Reply | None:
    """Why the sender of *mail* is refused, or None; *qid* is for the log."""
    domain = address.split(mail.mailbox)[1]
    if not domain:
        return _no_domain(mail) if mail.mailbox and not client.rights.completes else None
    if client.rights.trusts_sender:
        return None
    given, shown = quoted(mail.given), quoted(mail.mailbox)
    if _lacks_dot(domain, client):
        text = f"{given}... Real domain name required for sender address"
        answer = reply(553, "5.5.4", text)
    else:
        found = _unanswerable(domain, given, shown, shared, qid)
        if found is None:
            return None
        answer = found
    return logged("check_mail", mail.given, client, answer, qid)


def _unanswerable(
    domain: bytes, given: str, shown: str, shared: SharedState, qid: str
) -> Reply | None:
    """Why a sender of *domain* could get no answer, None if it could."""
    exists: bool | None = True
    if not shared.options.accept_unresolvable:
        exists = _exists(domain, shared, qid)
    takes_none: bool | None = False
    if exists and shared.options.refuse_null_mx:
        takes_none = _takes_no_mail(domain, shared, qid)
    if exists is None or takes_none is None:
        return reply(451, "4.1.8", f"Domain of sender address {shown} does not resolve")
    if takes_none:
        text = f"{given}... Domain of sender address {shown} does not accept mail (null MX)"
        return reply(550, "5.7.27", text)
    text = f"{given}... Domain of sender address {shown} does not exist"
    return None if exists else reply(553, "5.1.8", text)


def _no_domain(mail: Mail) -> Reply:
    shown = quoted(mail.mailbox)
    text = f"{quoted(mail.given)}... Domain name required for sender address {shown}"
    return reply(553, "5.5.4", text)


def _lacks_dot(domain: bytes, client: Peer) -> bool:
    """Is it "user@host", by a port with the modifier f? A literal has no dot to have."""
    wants_dot = client.port is not None and "f" in client.port.modifiers
    return wants_dot and b"." not in domain and not address.literal(domain)


def _exists(domain: bytes, shared: SharedState, qid: str) -> bool | None:
    """Is it ours, or known to name servers? None if that cannot be known now."""
    ours = _is_ours(domain, shared, qid)
    if ours is not False:
        return ours
    literal = address.literal(domain)
    if literal:
        return rights.is_ip(literal)
    return shared.resolves(address.domain_key(domain).decode("ascii"))


def _is_ours(domain: bytes, shared: SharedState, qid: str) -> bool | None:
    try:
        return shared.here.router.is_local(domain)
    except OSError as error:
        log_failure(domain, error, qid)
        return None


def _takes_no_mail(domain: bytes, shared: SharedState, qid: str) -> bool | None:
    """Has it a null MX, and is not ours? None if that cannot be known now."""
    ours = _is_ours(domain, shared, qid)
    if ours or ours is None or address.literal(domain):
        return None if ours is None else False
    return shared.has_null_mx(address.domain_key(domain).decode("ascii"))


def check_rcpt(
    rcpt: Rcpt, client: Peer, shared: SharedState, qid: str, *, may_go: bool = False
) -> Reply | None:
    """Why the recipient of *rcpt* is refused, or None; *qid* is for the log.

    *may_go*: if it is one of another host, anybody may send there.
    """
    if client.rights.trusts_recipients:
        return None
    try:
        found = shared.recipient(rcpt.mailbox)
        if found is None and _is_sent_on(rcpt, client, shared):
            return _written(shared.here.router.route(rcpt.mailbox).refusal(), rcpt, qid)
    except OSError as error:
        return not_now(rcpt, error, qid)
    sent_on = found is not None and found.elsewhere is not None
    if found is not None and found.is_known and not (sent_on and _is_route(rcpt, client)):
        return _written(recipients.why_not(found), rcpt, qid)
    is_ours = found is not None
    return _refused_recipient(rcpt, client, shared, qid, is_ours=is_ours, may_go=may_go)


def _is_sent_on(rcpt: Rcpt, client: Peer, shared: SharedState) -> bool:
    """Does VirtUserTable say what becomes of an address of ours? Raise OSError.

    A catch-all, "@ours  %1@theirs", and LuserRelay take no routes to a third host along.
    """
    return not _is_route(rcpt, client) and shared.here.is_local(rcpt.mailbox)


def _is_route(rcpt: Rcpt, client: Peer) -> bool:
    """Does a stranger ask for a route that the next host might take? It would be an open relay."""
    return not client.rights.may_relay and rights.looks_like_route(rcpt.mailbox)


def not_now(rcpt: Rcpt, error: OSError, qid: str) -> Reply:
    """The refusal of a recipient that cannot be looked up for the time being; logs why."""
    log_failure(rcpt.given, error, qid)
    return reply(451, "4.3.0", f"{quoted(rcpt.given)}... Cannot look it up now; try again later")


def log_failure(what: bytes, error: Exception, qid: str) -> None:
    """Log why *what* cannot be looked up."""
    reason = str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        reason = f"{where}{error.strerror or error}{sandbox.remedy(error)}"
    text = f"cannot look up {quoted(what)}: {reason}"
    log.line(qid, log.clean(text, 500))


def _refused_recipient(
    rcpt: Rcpt, client: Peer, shared: SharedState, qid: str, *, is_ours: bool, may_go: bool
) -> Reply | None:
    """*is_ours*: this host would have to know the recipient, and does not."""
    shown, may_relay = quoted(rcpt.given), client.rights.may_relay
    if is_ours and (may_relay or not rights.looks_like_route(rcpt.mailbox)):
        answer = reply(550, "5.1.1", f"{shown}... User unknown")
        return logged("check_rcpt", rcpt.given, client, answer, qid)
    if may_relay or (may_go and not is_ours):
        return _written(shared.here.router.route(rcpt.mailbox).refusal(), rcpt, qid)
    if not client.is_certain and shared.names_count():
        text = f"Relaying temporarily denied. Cannot resolve PTR record for {client.ip}"
        answer = reply(450, "4.4.0", f"{shown}... {text}")
        return logged("check_rcpt", rcpt.given, client, answer, qid)
    reason = client.why_not_relay()
    answer = reply(550, "5.7.1", f"{shown}... Relaying denied{reason}")
    # With a reason it is what fail2ban looks for.
    return logged("check_rcpt", rcpt.given, client, answer, qid, reason or _AUTHENTICATE)


def _written(found: Refusal | None, rcpt: Rcpt, qid: str) -> Reply | None:
    """The reply for what somebody wrote behind "error:", logged as Sendmail does; None for None."""
    if found is None:
        return None
    log.line(qid, f"{one_word(quoted(rcpt.given))}... {found.text}")
    statistics.count("esmtp", "msgsrej")
    return reply(found.code, found.status, f"{quoted(rcpt.given)}... {found.text}")


def logged(
    ruleset: str, given: bytes, client: Peer, answer: Reply, qid: str, more: str = ""
) -> Reply:
    """Log *answer*, a refusal of the address *given*, with *more* after its text; returns it."""
    shown = quoted(given)
    text = str(answer).replace(shown, one_word(shown))
    if more and not text.endswith(more):
        text += more
    facts = f"arg1={one_word(shown)}, relay={client.shown}, reject={text}"
    log.line(qid, f"ruleset={ruleset}, {facts}")
    statistics.count("esmtp", "msgsrej")
    return answer


def one_word(text: str) -> str:
    """An address for the log: one with ", relay=[192.0.2.1]" in it must not get others banned."""
    return text.replace(" ", "?")
