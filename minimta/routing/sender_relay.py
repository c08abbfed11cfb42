"""Option SenderRelay: the next hop by the sender of a message, not by its recipients.

    # sender                  next hops as SmartHost has them
    emma@example.org          [smtp.example.org]:587
    @club.example             [smtp.club.example]:465, [smtp2.club.example]:465

For a host whose users have different providers. It counts where SmartHost would, or the recipient's
domain: the mailer table is about single domains and comes first. A sender that is masqueraded is
asked for as it is here, then as others see it. Bounces have no sender and no row.
A table that cannot be read, or a row that makes no sense, delays the mail that it is about.
"""

from __future__ import annotations

from minimta.config.values import smart_host
from minimta.message import address
from minimta.message.outcome import Outcome, deferred
from minimta.routing import controlling_user
from minimta.routing.destination import Destination
from minimta.routing.route import Route, host_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OPTION = "SenderRelay"


class SenderRelays:
    """The rows of the table."""

    def __init__(
        self,
        path: str,
        read: Callable[[str], Mapping[bytes, bytes]],
        shown: Callable[[bytes], bytes] = lambda sender: sender,
    ) -> None:
        """*read* gives the rows of the file *path*; it is called once. *shown* is what other hosts see
        of a sender. Both may raise OSError.
        """
        self._shown = shown
        self._path = path
        self._read = read
        self._table: Mapping[bytes, bytes] | None = None

    def applied(
        self, found: Sequence[Destination], reverse_path: bytes, own_name: str
    ) -> list[Destination]:
        """*found* with the next hops of its senders.

        *reverse_path* is the bare sender of those that have no owner of a list; *own_name* completes
        a sender without a domain. Raises nothing.
        """
        return [self._applied(one, reverse_path, own_name) for one in found]

    def _applied(self, one: Destination, reverse_path: bytes, own_name: str) -> Destination:
        route, recipient = one.route, one.recipient
        if one.outcome is not None or route is None or route.mailer != "esmtp":
            return one
        if route.option not in ("", "SmartHost") or not self._path:
            return one
        owner = controlling_user.owner(recipient) if recipient.controlling_user else None
        sender = address.without_final_dot(reverse_path if owner is None else owner)
        hop = self._hop(address.qualified(sender, own_name)) if sender else ""
        if isinstance(hop, Outcome):
            return Destination(recipient, None, hop)
        if not hop:
            return one
        return Destination(recipient, Route("esmtp", hop, route.user, OPTION))

    def _hop(self, sender: bytes) -> str | Outcome:
        """The next hop for *sender*, "" for that of all others, or why the mail waits."""
        try:
            if self._table is None:
                self._table = self._read(self._path)
            found = self._row(sender, self._table)
            if found is None and self._table:
                # By masquerading the sender may be the one that the provider knows.
                found = self._row(self._shown(sender), self._table)
        except OSError as error:
            return deferred(
                "4.3.5", f"{OPTION}: {error.filename or self._path}: {error.strerror or error}"
            )
        return self._host(*found) if found else ""

    def _row(self, sender: bytes, table: Mapping[bytes, bytes]) -> tuple[bytes, bytes] | None:
        local_part, domain = address.split(sender)
        of_domain = b"@" + address.domain_key(domain)
        for key in (address.plainest(local_part.lower()) + of_domain, of_domain):
            value = table.get(key)
            if value is not None:
                return key, value
        return None

    def _host(self, key: bytes, value: bytes) -> str | Outcome:
        text = value.decode("ascii", "replace")
        try:
            if not text:
                raise ValueError("no next hop")
            return host_of(smart_host(text))
        except ValueError as error:
            row = key.decode("ascii", "replace")
            return deferred("4.3.5", f"{OPTION}: {self._path}, row {row}: {error}")
