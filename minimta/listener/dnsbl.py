"""Block lists (option DNSBL): is a client on one of them? All are asked at once, for five seconds.

    answer              means (RFC 5782 section 2.1)
    127.0.0.2 ...       listed
    127.255.255.x       that the list does not answer us (Spamhaus: too many questions, an open resolver)
    others              nothing: a zone that somebody has bought up answers to everything
    none, in time       not listed

So mail comes in when a list is out of order. What is amiss with a list is in the log, not for every
client.
"""

from __future__ import annotations

import ipaddress
import queue
import time
from _thread import start_new_thread
from collections.abc import Callable, Sequence

from minimta.config.block_lists import BlockList
from minimta.routing.refusal import Refusal
from minimta.system import log

#: seconds for all lists together
PATIENCE = 5.0
#: seconds until it is told again that something is wrong with a list
_SILENCE = 600.0
_LISTED, _ERRORS = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("127.255.255.0/24")


class BlockLists:
    """The lists of a process. For all threads."""

    def __init__(self, lists: Sequence[BlockList], ask: Callable[[str, float], list[str]]) -> None:
        """ask(name, seconds) gives the IPv4 addresses of a name, [] if it has none.

        It may raise any Exception if it does not know.
        """
        self._lists = lists
        self._ask = ask
        #: zone -> until when nothing is told of it (time.monotonic())
        self._silent: dict[str, float] = {}

    def refusal(self, ip: str) -> Refusal | None:
        """What a client at *ip* is refused with, None if no list has it. Takes up to PATIENCE."""
        # DIFFERS: Sendmail asks one list after the other, for as long as its resolver takes.
        if not self._lists:
            return None
        answers = queue.SimpleQueue[BlockList | None]()
        for one in self._lists:
            self._start(one, ip, answers)
        end = time.monotonic() + PATIENCE
        for _ in self._lists:
            try:
                found = answers.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                return None
            if found is not None:
                return Refusal(550, "5.7.1", found.text.replace("$a", ip))
        return None

    def _start(self, one: BlockList, ip: str, answers: queue.SimpleQueue[BlockList | None]) -> None:
        def look() -> None:
            answers.put(one if self._has(one, ip) else None)

        try:
            start_new_thread(look, ())
        except RuntimeError:  # no more threads
            answers.put(None)

    def _has(self, one: BlockList, ip: str) -> bool:
        try:
            found = [ipaddress.ip_address(text) for text in self._ask(name(ip, one.zone), PATIENCE)]
        except Exception as error:
            self._tell(one.zone, f"cannot be asked: {error}")
            return False
        for address in found:
            if address in _ERRORS or address not in _LISTED:
                self._tell(one.zone, f"answers {address}, which lists nobody")
        return any(address in _LISTED and address not in _ERRORS for address in found)

    def _tell(self, zone: str, text: str) -> None:
        now = time.monotonic()
        if now >= self._silent.get(zone, 0.0):
            self._silent[zone] = now + _SILENCE
            log.line("", f"Warning: block list {zone} {log.clean(text, 200)}", level=5)


def name(ip: str, zone: str) -> str:
    """The name that a list has for an address: "134.3.0.10.zone" (RFC 5782 sections 2.1 and 2.4)."""
    return (
        ipaddress.ip_address(ip).reverse_pointer.rpartition(".")[0].rpartition(".")[0] + f".{zone}"
    )
