"""Option RedirectAll: of all that would leave this host, nothing leaves but to one address.

For a copy of a real system, where no customer shall get a letter. Applied behind the aliases, so
that nothing leads around it, to bounces as to everything else:

    mailbox, file, program of this host    as always
    any other host                         RedirectAll gets the message, once, instead of all of them

The header stays as it is: a blind recipient stands in none. The address may be one of this host. If
it leads nowhere, or by an alias to another host, the message waits: that is our own configuration.
What a program of an alias or .forward sends out itself is not seen here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minimta.config.options import Options
from minimta.message import address
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, deferred
from minimta.routing.destination import Destination
from minimta.routing.expand import expand
from minimta.routing.local_host import LocalHost
from minimta.system import log


def announce(options: Options) -> None:
    """Log, at a start, that the option is set."""
    if options.redirect_all:
        log.line("", notice(options), level=1, error=True)


def notice(options: Options) -> str:
    """What log and mailq say of the option."""
    return f"RedirectAll: all mail for other hosts goes to {options.redirect_all}"


def redirected(
    found: Sequence[Destination],
    reverse_path: bytes,
    here: LocalHost,
    *,
    qid: str,
    say: Callable[[str], None] | None = None,
) -> list[Destination]:
    """*found* with RedirectAll in the place of all that are outside; see ``expand`` for the rest."""
    bare = here.options.redirect_all.encode("ascii")
    outside = [one for one in found if _is_outside(one) or _is_lost(one, bare)]
    if not bare or not outside:
        return list(found)
    kept = [one for one in found if one not in outside]
    carrier = _carrier(bare, [one.recipient for one in outside], here)
    ends = expand([carrier], reverse_path, here, qid=qid, say=say)
    reasons = [reason for reason in (_why_not(end, bare) for end in ends) if reason]
    if reasons or not ends:
        waits = deferred("4.3.5", f"RedirectAll: {(reasons or ['expanded to nobody'])[0]}")
        return kept + [Destination(one.recipient, None, waits) for one in outside]
    for end in ends:
        if end.route is not None and not end.route.option:
            end.route.option = (
                "RedirectAll"  # a host that is not found is the administrator's affair
            )
    turned = [one.recipient.address for one in outside if not _is_same(one.recipient, bare)]
    if turned:
        shown = ", ".join(map(log.clean, turned))
        log.line(qid, log.fact(f"RedirectAll: {shown} to {log.clean(bare)}", 1000))
    return kept + ends


def _is_outside(one: Destination) -> bool:
    return one.outcome is None and one.route is not None and one.route.mailer == "esmtp"


def _is_lost(one: Destination, bare: bytes) -> bool:
    """Is it what an earlier attempt made of others, and leads nowhere since?"""
    failed = one.outcome is not None and one.outcome.fate is Fate.FAILED
    return failed and _is_same(one.recipient, bare)


def _is_same(recipient: Recipient, bare: bytes) -> bool:
    return address.bare(recipient.address).lower() == bare.lower()


def _carrier(bare: bytes, turned: list[Recipient], here: LocalHost) -> Recipient:
    """The one recipient for all of *turned*: what any of them asked to be told is told."""
    flags = "P" + "".join(flag for flag in "NSFD" if any(flag in one.flags for one in turned))
    # Of several none is named: reports would show the blind ones.
    final = turned[0].final if len(turned) == 1 else b""
    return Recipient(bare, flags, final=final or b"RFC822; " + here.qualified(bare))


def _why_not(end: Destination, bare: bytes) -> str:
    """Why mail must not go to this end of RedirectAll; "" if it may."""
    if end.outcome is not None and end.outcome.fate is Fate.FAILED:
        return end.outcome.text
    if _is_outside(end) and not _is_same(end.recipient, bare):
        return f"an alias leads to another host, {log.clean(end.recipient.address)}"
    return ""
