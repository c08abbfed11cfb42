"""What a reply, a socket error or a failed lookup means for a recipient, in Sendmail's words.

Statuses are the peer's own where it gave one (RFC 3464 section 2.3.4), else the nearest of RFC
3463; exit codes are those that ``sendmail -odi`` ends with. Everywhere *name* is what we call the host
("lab2.campus.", "[10.0.3.135]") and *relay* what the log calls it ("lab2.campus. [10.0.3.135]").
Nothing here raises.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from minimta.mailers.remote.host_status import HostStatus
from minimta.message.outcome import Fate, Outcome
from minimta.smtp.reply import Reply, verbatim
from minimta.system.dns_wire import LookupFailed
from minimta.system.tls_requirement import Requirement

# SMTP code -> RFC 3463 status when the peer gave none
_STATUS = {
    450: "4.2.0",
    451: "4.3.0",
    452: "4.3.1",
    500: "5.5.2",
    501: "5.5.2",
    502: "5.5.1",
    503: "5.5.1",
    504: "5.5.4",
    550: "5.2.0",
    551: "5.1.6",
    552: "5.2.2",
    553: "5.1.3",
}
#: of a host that took the connection and said nothing
_SILENT = "4.4.2"
#: a refused RCPT with one of these is "User unknown", with another 5yz "Service unavailable"
_NO_USER = (550, 551, 553)


def _mta(name: str) -> str:
    """A host as a DSN names it: "[lab3.campus]" and "lab3.campus." are lab3.campus."""
    inside = name.removesuffix("]").removeprefix("[")
    is_address = ":" in inside or inside.replace(".", "").isdigit()
    return name if is_address else inside.removesuffix(".")


def sent(reply: Reply, name: str, relay: str, *, dsn_passed_on: bool) -> Outcome:
    """The peer answered the final dot with 2yz."""
    return Outcome(
        Fate.SENT,
        reply.enhanced or "2.0.0",
        f"Sent ({reply.lines[-1]})" if reply.lines[-1] else "Sent",
        relay=relay,
        remote_mta=_mta(name),
        dsn_passed_on=dsn_passed_on,
    )


def refused(reply: Reply, command: str, said: str, name: str, relay: str) -> Outcome:
    """The peer answered *command* ("greeting", "MAIL", "RCPT" ...) with 4yz, 5yz or nonsense.

    *said* is the line that we sent last, "" if none yet.
    """
    line = verbatim(reply)[-1]
    transcript = [f"... while talking to {name}:"]
    if said:
        transcript.append(f">>> {said}")
    transcript += [f"<<< {shown}" for shown in verbatim(reply)[-20:]]
    outcome = Outcome(
        Fate.DEFERRED,
        _status(reply, command),
        line,
        relay=relay,
        remote_mta=_mta(name),
        diagnostic=line,
        transcript=tuple(transcript),
        exit_code=os.EX_TEMPFAIL,
    )
    return _permanent(outcome, reply, command) if reply.code >= 500 else outcome


def _permanent(outcome: Outcome, reply: Reply, command: str) -> Outcome:
    no_user = command == "RCPT" and reply.code in _NO_USER
    return replace(
        outcome,
        fate=Fate.FAILED,
        text="User unknown" if no_user else "Service unavailable",
        exit_code=os.EX_NOUSER if no_user else os.EX_UNAVAILABLE,
    )


def _status(reply: Reply, command: str) -> str:
    if command in ("greeting", "EHLO", "HELO"):
        return "5.5.0" if reply.code >= 500 else "4.5.0"  # no enhanced status there (RFC 2034)
    if reply.code < 400:
        return "4.5.0"  # 2yz where only 3yz makes sense, or the reverse
    if reply.code == 550 and command == "RCPT" and not reply.enhanced:
        return "5.1.1"
    return reply.enhanced or _STATUS.get(reply.code, f"{reply.code // 100}.0.0")


def wants_login(reply: Reply, name: str, relay: str, remedy: str) -> Outcome:
    """The peer takes no mail without a login, or not with ours: that is no fault of the mail's.

    *remedy* says what is to be done.
    """
    line = verbatim(reply)[-1]
    return replace(
        delayed("4.7.0", f"{name} wants a login, {remedy}: {line}", name, relay), diagnostic=line
    )


def broken(error: Exception, name: str, relay: str) -> Outcome:
    """The conversation ended, or never was one: timeout, reset, end of file, no SMTP."""
    if isinstance(error, TimeoutError):
        text = f"Connection timed out with {name}"
    elif isinstance(error, ConnectionError):
        text = f"reply: read error from {name}"
    else:
        text = f"Remote protocol error: {error}"
    return delayed("4.4.2", text, name, relay)


def unconnected(error: OSError, name: str, relay: str) -> Outcome:
    """connect() failed."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return delayed("4.4.1", f"Connection timed out with {name}", name, relay)
    if isinstance(error, ConnectionRefusedError):
        return delayed("4.4.1", f"Connection refused by {name}", name, relay)
    if isinstance(error, ConnectionResetError):
        return delayed("4.4.1", f"Connection reset by {name}", name, relay)
    reason = os.strerror(error.errno) if error.errno else str(error)
    return delayed("4.4.1", f"{name}: {reason}", name, name)


def remembered(found: HostStatus, name: str) -> Outcome:
    """The host was not reached a while ago, and is not asked again in this run."""
    if found.reply:
        return replace(delayed(found.status, found.reply, name, name), diagnostic=found.reply)
    error = OSError(found.error, os.strerror(found.error))
    if found.status == _SILENT:
        return broken(error, name, name)
    return unconnected(error, name, name)


def host_status(error: Exception, host: str, *, connected: bool) -> HostStatus:
    """What is remembered of a *host* that was not reached because of *error*."""
    number = error.errno if isinstance(error, OSError) else None
    if not number:
        number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else errno.ECONNRESET
    return HostStatus(host, number, _SILENT if connected else "4.4.1", os.EX_TEMPFAIL)


def unwelcome(reply: Reply, host: str) -> HostStatus:
    """What is remembered of a *host* whose greeting was no welcome: for now, whatever it said."""
    status = "4" + _status(reply, "greeting")[1:]
    return HostStatus(host, 0, status, os.EX_TEMPFAIL, verbatim(reply)[-1])


def took_mail(reply: Reply, host: str) -> HostStatus:
    """What is remembered of a *host* that took a message."""
    return HostStatus(host, 0, "2.0.0", os.EX_OK, verbatim(reply)[-1])


def no_answer(name: str, failure: LookupFailed) -> Outcome:
    """DNS does not know *name*, or does not answer."""
    shown = name if name.startswith("[") or not failure.temporary else f"{_mta(name)}."
    text = f"Name server: {shown}: {failure.reason}"
    if failure.temporary:
        return delayed("4.4.3", text, name, shown)
    return Outcome(
        Fate.FAILED,
        "5.1.2",
        f"Host unknown ({text})",
        relay=name,
        remote_mta=_mta(name),
        exit_code=os.EX_NOHOST,
    )


def null_mx(domain: str) -> Outcome:
    """The domain says that it takes no mail (RFC 7505 section 4.1)."""
    text = "Domain does not accept mail (null MX)"
    return Outcome(
        Fate.FAILED,
        "5.1.10",
        text,
        relay=domain,
        remote_mta=domain,
        diagnostic=f"556 5.1.10 {text}",
        transcript=(f"556 5.1.10 {domain}... {text}",),
        exit_code=os.EX_UNAVAILABLE,
    )


def loops_back(name: str, own_name: str) -> Outcome:
    """The best we can reach for *name* is ourselves.

    DIFFERS: Sendmail gives 5.3.5 here; 5.4.6 is what RFC 3463 has for it.
    """
    return Outcome(
        Fate.FAILED,
        "5.4.6",
        "Local configuration error",
        relay=name,
        remote_mta=_mta(name),
        transcript=(f"554 5.0.0 MX list for {name} points back to {own_name}",),
        exit_code=os.EX_SOFTWARE,
    )


def talks_to_itself(name: str, relay: str) -> Outcome:
    """The host greets with our own name, although nobody configured it as the next hop."""
    return Outcome(
        Fate.FAILED,
        "5.4.6",
        "Local configuration error",
        relay=relay,
        remote_mta=_mta(name),
        transcript=(f"553 5.3.5 {name} config error: mail loops back to me (MX problem?)",),
        exit_code=os.EX_CONFIG,
    )


def leads_nowhere(name: str) -> Outcome:
    """The host has only addresses that no mail can be sent to."""
    text = f"Host unknown (Name server: {name}: no usable address)"
    mta = _mta(name)
    return Outcome(Fate.FAILED, "5.4.4", text, name, mta, exit_code=os.EX_NOHOST)


def not_by_this_family(name: str, relay: str) -> Outcome:
    """The host was not asked: its address is of a family that is not used here."""
    text = f"{relay}: ClientPortOptions leaves out addresses of this family"
    return delayed("4.3.5", text, name, relay)


def unsendable(status: str, text: str, name: str, relay: str, code: int) -> Outcome:
    """The message as it is cannot go to this peer: too large, 8-bit, bad characters."""
    return Outcome(Fate.FAILED, status, text, relay, _mta(name), exit_code=code)


def of_option(option: str, host: str, outcome: Outcome) -> Outcome:
    """What is wrong with the next hop *host*: a delay if an *option* named it, "" if none did.

    Our own configuration is no verdict on anybody's mail.
    """
    if not option or outcome.fate is Fate.DEFERRED:
        return outcome
    told = outcome.transcript[-1].split(" ", 2)[-1] if outcome.transcript else outcome.text
    text = f"Local configuration error: {option} {host}: {told}"
    return replace(for_now(outcome), status="4.3.5", text=text, transcript=())


def for_now(outcome: Outcome) -> Outcome:
    """*outcome*, or if it is a failure the same as a delay: this peer may not return mail."""
    if outcome.fate is Fate.DEFERRED:
        return outcome
    return replace(
        outcome,
        fate=Fate.DEFERRED,
        status="4" + outcome.status[1:],
        text=outcome.diagnostic or outcome.text,
        exit_code=os.EX_TEMPFAIL,
    )


def bad_next_hop(text: str) -> Outcome:
    """SmartHost or mailertable holds something that is no host."""
    return delayed("4.3.5", f"Local configuration error: {text}", "", "")


def unmet(requirement: Requirement, text: str, name: str, relay: str) -> Outcome:
    """The access table wants more of TLS than the host *name* has; with PERM+ the mail is returned."""
    outcome = replace(
        delayed(requirement.status, text, name, relay), transcript=(text.partition(";")[0],)
    )
    if requirement.code < 500:
        return outcome
    return replace(outcome, fate=Fate.FAILED, exit_code=os.EX_UNAVAILABLE)


def delayed(status: str, text: str, name: str, relay: str) -> Outcome:
    """It waits, for a reason that is no reply of the host *name*."""
    mta = _mta(name)
    return Outcome(Fate.DEFERRED, status, text, relay, mta, exit_code=os.EX_TEMPFAIL)
