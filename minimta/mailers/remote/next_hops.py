"""All targets of a job in order: of one next hop after the other, if an option names several.

What is wrong with one of them is noted, and the next one is asked. Behind them all:

    FallbackMXhost       if no host of a next hop without brackets was any good, or nobody knows one
    FallbackSmartHost    in place of a next hop that does not exist
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from minimta.config.options import Options
from minimta.mailers.job import Job
from minimta.mailers.remote import reply_outcomes
from minimta.mailers.remote.auth_dialogue import Logins
from minimta.mailers.remote.mx_targets import NextHop, Target, TargetFinder, Unroutable, parse
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, Outcome
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
    search = _Search(transport, resolver, logins, note, shuffle)
    fallback = ""
    for hop in hops:
        fallback = "" if hop.bracketed or transport.next_hop else "FallbackMXhost"
        try:
            yield from search.targets_of(hop, option)
        except Unroutable as nowhere:
            if fallback and nowhere.outcome.fate is Fate.FAILED:
                fallback = "FallbackSmartHost" if _is_unknown(nowhere.outcome) else ""
            if fallback != "FallbackSmartHost" or not transport.options.fallback_smart_host:
                note(nowhere.outcome)
    for hop in _fallbacks(transport.options, fallback):
        try:
            yield from search.targets_of(hop, fallback)
        except Unroutable as nowhere:
            note(nowhere.outcome)


def fallback_hops(options: Options) -> list[NextHop]:
    """Those that mail for any host may go to: FallbackMXhost, FallbackSmartHost."""
    return _fallbacks(options, "FallbackMXhost") + _fallbacks(options, "FallbackSmartHost")


def _fallbacks(options: Options, name: str) -> list[NextHop]:
    """What the option *name* has; "" is none."""
    hosts = {
        "FallbackMXhost": options.fallback_mx_host,
        "FallbackSmartHost": options.fallback_smart_host,
    }.get(name)
    return parse(hosts) if hosts else []


def _is_unknown(outcome: Outcome) -> bool:
    """Does the domain not exist? Not: it takes no mail, it leads back to us."""
    return outcome.status == "5.1.2"


class _Search:
    """The targets of next hops, one after the other, with what all of them need."""

    def __init__(
        self,
        transport: Transport,
        resolver: Resolver,
        logins: Logins,
        note: Callable[[Outcome], None],
        shuffle: Callable[[list[str]], None],
    ) -> None:
        self._transport = transport
        self._resolver = resolver
        self._logins = logins
        self._note = note
        self._shuffle = shuffle

    def targets_of(self, hop: NextHop, option: str) -> Iterator[tuple[NextHop, Target]]:
        """What leads to *hop*, which *option* names. Raise Unroutable."""
        transport = self._transport
        try:
            transport.policy(hop)
            finder = TargetFinder(
                hop,
                transport.ourselves,
                self._resolver,
                option=option,
                note=self._note,
                shuffle=self._shuffle,
                refuse_private=transport.options.refuse_private,
            )
            for found in _while_welcome(hop, finder, self._logins, self._note):
                only = transport.options.connect_only_to
                target = replace(found, address=only) if only else found
                if transport.source(target.address) is None:
                    self._note(reply_outcomes.not_by_this_family(target.name, target.relay))
                else:
                    yield hop, target
        except ValueError as error:
            self._note(reply_outcomes.bad_next_hop(str(error)))


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
