"""All targets of a job in order: of one next hop after the other, if an option names several.

What is wrong with one of them is noted, and the next one is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from minimta.mailers.job import Job
from minimta.mailers.remote import reply_outcomes
from minimta.mailers.remote.auth_dialogue import Logins
from minimta.mailers.remote.mx_targets import NextHop, Target, TargetFinder, Unroutable, parse
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Outcome
from minimta.system.dns import Resolver


def targets(
    job: Job,
    transport: Transport,
    resolver: Resolver,
    logins: Logins,
    *,
    note: Callable[[Outcome], None],
    shuffle: Callable[[list[str]], None],
) -> Iterator[tuple[NextHop | None, Target]]:
    """What to try for *job*, with the next hop that led to it: None for what the *transport* opened.

    *logins* know where we cannot log in. *note* gets the reasons of those that lead nowhere;
    *shuffle* mixes hosts of one preference.
    """
    if transport.opened is not None:
        yield None, transport.opened.target
        return
    option = "LocalMailer" if transport.next_hop else job.option
    try:
        hops = [transport.next_hop] if transport.next_hop else parse(job.host)
    except ValueError as error:
        note(reply_outcomes.bad_next_hop(str(error)))
        return
    for hop in hops:
        try:
            transport.policy(hop)
            finder = TargetFinder(
                hop,
                transport.ourselves,
                resolver,
                option=option,
                note=note,
                shuffle=shuffle,
                refuse_private=transport.options.refuse_private,
            )
            for target in _while_welcome(hop, finder, logins, note):
                if transport.source(target.address) is None:
                    note(reply_outcomes.not_by_this_family(target.name, target.relay))
                else:
                    yield hop, target
        except ValueError as error:
            note(reply_outcomes.bad_next_hop(str(error)))
        except Unroutable as nowhere:
            note(nowhere.outcome)


def _while_welcome(
    hop: NextHop, finder: TargetFinder, logins: Logins, note: Callable[[Outcome], None]
) -> Iterator[Target]:
    """Targets of one hop, until it is known that we cannot log in there. Raise Unroutable."""
    why = logins.why_not(hop)
    for target in finder.targets() if why is None else ():
        yield target
        why = logins.why_not(hop)
        if why is not None:
            break
    if why is not None:
        note(why)
