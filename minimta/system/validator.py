"""DNSSEC validated in this process, by libunbound (only importer of unbound, which is optional).

For hosts whose name servers are elsewhere, so that their word is worth nothing: Debian's
python3-unbound, 33 ms and 13 MB, loaded in the worker alone. It asks the servers of resolv.conf, and
checks what they say from the root's key downwards.

    what is found           is
    secure                  an answer that DNSSEC vouches for
    insecure                an answer
    bogus, nothing in time  OSError
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minimta.system.silent_servers import Server

if TYPE_CHECKING:
    from typing import Any

#: the root's key: as unbound renews it, as it came with the system
ANCHORS = ("/var/lib/unbound/root.key", "/usr/share/dns/root.key")
_IN, _SOA = 1, 6
#: seconds to find out whether the name servers pass on what DNSSEC needs
_PROBE = 5.0


def make(servers: Sequence[Server], note: Callable[[str], None]) -> Validator | None:
    """One that asks *servers*; None where it is not installed, and where it is no use: *note* says why."""
    try:
        return Validator(servers)
    except ImportError:
        return None
    except OSError as error:
        note(f"no DNSSEC, and so no DANE: {error}")
        return None


def _can_read(path: str) -> bool:
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False


class Validator:
    """One context of libunbound, with what it has learnt."""

    def __init__(self, servers: Sequence[Server], anchors: Sequence[str] = ANCHORS) -> None:
        """*servers* are asked; *anchors* are files, the first that can be read counts.

        Raise ImportError if it is not installed, OSError if there is no key of the root, or if the
        servers do not pass on what DNSSEC needs.
        """
        import unbound

        self._context: Any = unbound.ub_ctx()
        self._context.set_async(True)  # a thread of its own, not a process
        for address, port in servers:
            self._require(self._context.set_fwd(f"{address.partition('%')[0]}@{port}"))
        known = [path for path in anchors if _can_read(path)]
        if not known:
            raise OSError(f"the root's key is missing ({anchors[-1]})")
        self._require(self._context.add_ta_file(known[0]))
        self._probe()

    def _probe(self) -> None:
        """Raise OSError if the servers cannot have the root verified: nothing else could be."""
        try:
            _, is_secure = self.ask(".", _SOA, _PROBE)
        except OSError as error:
            raise OSError("the name servers do not pass on what DNSSEC needs") from error
        if not is_secure:
            raise OSError("the name servers do not pass on what DNSSEC needs")

    def _require(self, status: int) -> None:
        if status:
            raise OSError(f"libunbound: error {status}")

    def ask(self, name: str, kind: int, seconds: float) -> tuple[bytes, bool]:
        """The response as it came, and whether it is secure.

        Raise OSError if it is bogus, TimeoutError if none came within *seconds*.
        """
        found: list[tuple[int, bytes, bool, bool]] = []
        end = time.monotonic() + seconds

        def take(_: object, status: int, result: Any) -> None:
            # What the result points to is gone when we return.
            if status:
                found.append((status, b"", False, False))
            else:
                secure, bogus = bool(result.secure), bool(result.bogus)
                found.append((status, bytes(result.packet), secure, bogus))

        status, number = self._context.resolve_async(name, None, take, kind, _IN)
        self._require(status)
        poll = select.poll()
        poll.register(self._context.get_fd(), select.POLLIN)
        while not found:
            left = end - time.monotonic()
            if left <= 0:
                self._context.cancel(number)
                raise TimeoutError
            poll.poll(left * 1000)
            self._require(self._context.process())
        status, packet, is_secure, is_bogus = found[0]
        self._require(status)
        if is_bogus:
            raise OSError("bogus")
        return packet, is_secure
