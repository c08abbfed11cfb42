"""What all SMTP sessions of a process share.

Answers that many sessions ask for within a moment are kept for that moment: the greeting for its
second, a recipient who was found, the free space of the queue, the load average. Two threads that
ask at once may both look, and the answer of one of them stays; no lock is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import minimta
from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.listener.access import AccessRows
from minimta.listener.access_problems import tell_problems
from minimta.listener.activity import Activity
from minimta.listener.auth import ClientLogins
from minimta.listener.dnsbl import BlockLists
from minimta.listener.login_senders import LoginSenders
from minimta.listener.relay_domains import RelayDomains
from minimta.listener.starttls import ServerTls
from minimta.maps.table import Get, Table
from minimta.message import dates
from minimta.milter import input_filters
from minimta.routing import local_host, recipients
from minimta.routing.local_host import LocalHost
from minimta.smtp.reply import Reply, reply
from minimta.system import load, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue

#: seconds for which a recipient who was found is not looked for again
_REMEMBER, _MOST_REMEMBERED = 2.0, 10000
#: seconds for which the free space of the queue and the load average are believed
_FREE_AGE, _LOAD_AGE = 0.5, 5.0

DISK_FULL = reply(452, "4.3.1", "Insufficient disk space; try again later")
_MOVED = reply(451, "4.3.0", "The queue was moved; try again later")
_TOO_BIG_FOR_DISK = reply(452, "4.4.5", "Insufficient disk space; try again later")


class SharedState:
    """Built once a process; Aliases and Users see changes by themselves."""

    def __init__(
        self,
        options: Options,
        spool: Queue,
        *,
        ask: Callable[[str, float], list[str]] = lambda name, seconds: [],
        resolves: Callable[[str], bool | None] = lambda domain: True,
        has_null_mx: Callable[[str], bool | None] = lambda domain: False,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        tls: ServerTls | None = None,
    ) -> None:
        """*spool* is the queue that messages go to; *clock* gives seconds since the epoch,
        and *ticks* seconds that no setting of the clock changes: what is remembered goes by these.

        *ask* gives the IPv4 addresses of a name in a block list, in so many seconds. *resolves* tells if
        a sender's domain exists, *has_null_mx* if it takes no mail; None: nobody can tell now. *tls*
        makes our side of handshakes; None: there are none.
        """
        self.options = options
        self.spool = spool
        #: the words of PrivacyOptions
        self.privacy = frozenset(options.privacy_options)
        #: tells the parent of the listener what a client wants (``etrn``); was it heard?
        self.ask_parent: Callable[[bytes], bool] | None = None
        self.here = LocalHost(options)
        #: our full name, "lab2.campus"
        self.host = self.here.name
        #: the daemon is to end: no session begins another transaction
        self.is_stopping = False
        self.resolves = resolves
        self.has_null_mx = has_null_mx
        self.clock = clock
        self._ticks = ticks
        self.tls = tls
        #: noted by sessions
        self.activity = Activity()
        self._access = Table(options.access_file, tell_problems)
        self._access_rows: tuple[Get, AccessRows] | None = None
        self.block_lists = BlockLists(options.block_lists, ask)
        self.relay_domains = RelayDomains(options.relay_domains)
        #: gateways of which the log has told that they relay
        self.told_gateways: set[str] = set()
        self.logins = ClientLogins(options)
        self.login_senders = LoginSenders(options.login_senders)
        #: does any mail pass a filter (milter)?
        self.has_filters = any(
            input_filters.of_port(port, options) for port in options.daemon_ports
        )
        self._greeting = (0, "")
        self._known: dict[bytes, tuple[float, local_host.LocalRecipient | None]] = {}
        self._free = (-1.0, 0)
        self._load = (0.0, 0.0)

    def greeting(self, product_suffix: str = "") -> str:
        """Option SmtpGreetingMessage, filled in; "ESMTP" follows the first word, as in Sendmail.

        *product_suffix* stands behind the version in $Z: "/Submit".
        """
        now = int(self.clock())
        if self._greeting[0] != now or product_suffix:
            version = minimta.__version__
            text = self.options.greeting
            macros = (
                ("$j", self.host),
                ("$v", version),
                ("$Z", version + product_suffix),
                ("$b", dates.rfc5322(now)),
            )
            for macro, value in macros:
                text = text.replace(macro, value)
            first, _, rest = text.partition(" ")
            whole = log.clean(f"{first} ESMTP {rest}".rstrip(), 400)
            if product_suffix:
                return whole
            self._greeting = (now, whole)
        return self._greeting[1]

    def access_rows(self) -> AccessRows:
        """The access table as it is now. Raise OSError if it cannot be read."""
        get = self._access.rows()
        known = self._access_rows
        if known is None or known[0] is not get:
            self._access_rows = known = get, AccessRows(get, self._access.path)
        return known[1]

    def names_count(self) -> bool:
        """May a client relay because of its name? Raise OSError."""
        return bool(self.relay_domains.words()) or self._access.is_there()

    def read_tables(self) -> None:
        """Read now, while we are root, what sessions will ask for. Raise OSError, with the path."""
        self.here.read_tables(makes_key=True)
        self.access_rows()
        self.relay_domains.words()

    def recipient(self, bare: bytes) -> local_host.LocalRecipient | None:
        """recipients.look_up(), remembered for a moment if somebody was found.

        Raise OSError if aliases or users cannot be asked now.
        """
        now = self._ticks()
        until, known = self._known.get(bare, (0.0, None))
        if until > now:
            return known
        found = recipients.look_up(bare, self.here)
        if found is not None and found.is_known:
            if len(self._known) > _MOST_REMEMBERED:
                self._known.clear()
            self._known[bare] = (now + _REMEMBER, found)
        return found

    def delivery_mode(self, port: Port) -> str:
        """DaemonPortOptions DeliveryMode and queueLA; "": as the options say."""
        if port.queue_la and self.load_average() >= port.queue_la:
            return "queueonly"
        return port.delivery_mode

    def load_average(self) -> float:
        """Of the last minute, for each processor; it is not asked for with each connection."""
        now = time.monotonic()
        if now - self._load[0] > _LOAD_AGE or not self._load[0]:
            self._load = (now, load.average())
        return self._load[1]

    def lacks_space(self, size: int) -> Reply | None:
        """The refusal if a message of *size* octets (-1: not told) has no room in the queue, or nobody
        would look for it there.
        """
        now, free = self._ticks(), self._free[1]
        if now > self._free[0]:
            if not self.spool.is_in_place():
                return _MOVED  # a listener that was at rest hears of it by this client; see process
            free = self.spool.free_blocks()
            self._free = (now + _FREE_AGE, free)
            if free < self.options.min_free_blocks:
                where = self.spool.directory
                log.line("", f"low on space ({free} blocks free) in {where}")
        if free < self.options.min_free_blocks:
            return DISK_FULL
        # A block is 4096 octets at most on what mail is kept on; RFC 1870 section 6.1.
        return _TOO_BIG_FOR_DISK if size > free * 4096 else None
