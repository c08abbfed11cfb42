"""Where an address goes: local, to the next hop, or to an error (pure; Sendmail's rule set 0).

In this order: VirtUserTable for addresses of our domains; a domain of ours is local; VirtUserTable for
those of VirtUserDomain; the mailer table; the smart host; the domain itself. Nobody has an address of NAME.REDIRECT, by which an alias
says that somebody has moved to NAME (Sendmail's FEATURE(redirect)). A row of the mailer table is ``key mailer:host``, its key a domain, ".domain" for all below it, or "." for the rest:

    lab3.campus      esmtp:[10.0.3.136]:2525    no MX lookup for what stands in brackets
    .campus          relay:gateway.campus       smtp: and relay: mean the same here
    old.campus       local:dave
    bad.campus       error:5.7.1:550 We do not talk to them
"""

from __future__ import annotations

from minimta.message import address
from minimta.message.printable import is_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minimta.routing.refusal import Refusal

_REMOTE = ("esmtp", "smtp", "relay")
#: the option of a local route that no relay of users takes away
STICKY = "StickyHost"


class Route:
    """Sendmail's triple: mailer, host, user."""

    __slots__ = ("host", "mailer", "option", "user")

    def __init__(self, mailer: str, host: str, user: bytes, option: str = "") -> None:
        """What *host* and *user* are depends on *mailer*."""
        #: "local", "esmtp", "error"; from an expansion also "prog" and "*file*"
        self.mailer = mailer
        #: esmtp: next hop, "lab2.campus", "[10.0.3.136]", "[127.0.0.1]:2525", or several in order,
        #: with commas between them; error: the status,
        #: "5.7.1"; local: the detail of user+detail, if known
        self.host = host
        #: local: the local part; esmtp: the whole address; error: the text, "550 Go away"
        self.user = user
        #: local: STICKY or ""; esmtp: what named the next hop, "SmartHost" or "MailerTable", for the
        #: administrator to mend; "": the address itself. Where mail goes does not depend on it: no part of the triple
        self.option = option

    def refusal(self) -> Refusal | None:
        """What a row "error:" of a table says; None if the route leads somewhere."""
        if self.mailer != "error":
            return None
        from minimta.routing.refusal import of_error  # few routes are

        return of_error(self.host, self.user.decode("utf-8", "replace"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Route):
            return NotImplemented
        return (self.mailer, self.host, self.user) == (other.mailer, other.host, other.user)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Route({self.mailer!r}, {self.host!r}, {self.user!r})"


class Router:
    """The local names, the smart host and the mailer table, as one decision."""

    def __init__(
        self,
        local_names: frozenset[bytes] | Callable[[], frozenset[bytes]],
        smart_host: str = "",
        mailer_table: Mapping[bytes, bytes] | Callable[[bytes], bytes | None] | None = None,
        virtual: Callable[[], Callable[[bytes], bytes | None] | None] = lambda: None,
        signed: Callable[[bytes, bytes], bytes] = lambda local, domain: b"",
        is_virtual: Callable[[bytes], bool] = lambda domain: False,
        sticks_to: str | None = None,
    ) -> None:
        """*local_names* are in small letters, literals in their brackets; *smart_host* and the rows
        of *mailer_table* as in the configuration, *virtual* gives those of VirtUserTable, *signed*
        the sender for whom an address was made by SRS, b"" if for nobody; *is_virtual*: is a domain
        one of VirtUserDomain? *sticks_to*: addresses with a domain of ours go to that host, or
        if it is "" no LocalRelay has them (StickyHost). What is a callable is asked when it is needed, and may raise OSError, which goes on to who asked.
        """
        self._signed = signed
        self._is_virtual = is_virtual
        self._sticks_to = sticks_to
        self._virtual = virtual
        self._local_names = local_names
        self._smart_host = smart_host.strip()
        table: Mapping[bytes, bytes] | Callable[[bytes], bytes | None] = mailer_table or {}
        self._row = table if callable(table) else table.get

    def is_local(self, domain: bytes) -> bool:
        """Is *domain* a name of this host? No domain at all is."""
        key = address.domain_key(domain)
        if not key:
            return True
        if callable(self._local_names):
            self._local_names = self._local_names()
        return key in self._local_names

    def route(self, bare: bytes) -> Route:
        """Decide for a bare address, b"dave@lab2.campus". Raise OSError as the tables do.

        The local part is never taken apart: "henry%lab3.campus@lab2.campus" is a name here, or
        anybody could relay through us.
        """
        return self._route(bare, 0)

    def _route(self, bare: bytes, depth: int) -> Route:
        local_part, domain = address.split(bare)
        if self.is_local(domain):
            sender = self._signed(local_part, domain) if domain else b""
            if sender:
                return self._route(sender, depth + 1)
            found = self.virtual(local_part, domain)
            if found is None or found[1].lower() == bare.lower():
                return self._local_route(local_part, bare if domain else b"")
            return self._virtual_route(found[1], depth)
        gone = _moved(bare)
        if gone is not None:
            return Route("error", gone.status, f"{gone.code} {gone.text}".encode())
        if self._is_virtual(domain):
            found = self.virtual(local_part, domain)
            if found is not None and found[1].lower() != bare.lower():
                return self._virtual_route(found[1], depth)
        _, value = self.row(domain)
        if value is not None:
            return table_route(value.decode("utf-8", "backslashreplace").strip(), bare)
        if self._smart_host:
            return Route("esmtp", host_of(self._smart_host), bare, "SmartHost")
        return Route("esmtp", _next_hop(domain), bare)

    def _local_route(self, local_part: bytes, complete: bytes) -> Route:
        """Of a user here; *complete* is the address, if it was given with a domain."""
        if self._sticks_to is None or not complete:
            return Route("local", "", local_part)
        # DIFFERS: Sendmail's dave+x@ourselves is not sticky while there is no MailHub.
        if self._sticks_to:
            return Route("esmtp", host_of(self._sticks_to), complete, "MailHub")
        return Route("local", "", local_part, STICKY)

    def virtual(self, local_part: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
        """Key and value of the row of VirtUserTable for an address of ours; None if there is none.

        Raise OSError.
        """
        key = address.domain_key(domain)
        table = self._virtual() if key else None
        # A row for all would make a program or file of what begins like one; it is nobody here.
        if table is None or address.why_special(local_part):
            return None
        from minimta.routing import virtusertable  # few hosts have one

        # Quotation marks that need not be there mean nothing (RFC 5321 section 4.1.2); but see
        # address.local_name().
        if local_part[:1] == b'"' and local_part[:2] != b'"\\':
            local_part = address.quoted(address.unquote(local_part))
        return virtusertable.row(local_part, key, table)

    def _virtual_route(self, value: bytes, depth: int) -> Route:
        """Where a *value* of VirtUserTable leads, *depth* others before it. Raise OSError."""
        from minimta.routing.virtusertable import MOST

        text = value.decode("utf-8", "backslashreplace")
        is_error = text[:6].lower() == "error:"
        if is_error and text[6:].strip():
            from minimta.routing.refusal import error_of

            status, text = error_of(text[6:].strip())
            return Route("error", status, text.encode())
        # DIFFERS: Sendmail returns the mail; it is our own slip, and nobody's mail is returned for one.
        if depth >= MOST or is_error or not is_one_address(value):
            why = "rows lead to each other" if depth >= MOST else f"{text!r} is not one address"
            text = f"451 Local configuration error: VirtUserTable: {why}"
            return Route("error", "4.3.5", text.encode())
        return self._route(value, depth + 1)

    def row(self, domain: bytes) -> tuple[bytes, bytes | None]:
        """Key and value of the mailer table's row for *domain*, value None if there is none."""
        rest = key = address.domain_key(domain)
        value = self._row(key)
        while value is None and rest:
            _, _, rest = rest.partition(b".")
            key = b"." + rest
            value = self._row(key)
        return key, value


def is_one_address(value: bytes) -> bool:
    """Is it one address, and neither a list nor a program or file?"""
    local_part, domain = address.split(value)
    is_quoted = len(local_part) > 1 and local_part[:1] == local_part[-1:] == b'"' and domain
    open_text = domain if is_quoted else value
    plain = is_text(value) and open_text.translate(None, b" \t<>(),;|") == open_text
    return bool(value) and plain and not address.why_special(value)


def _next_hop(domain: bytes) -> str:
    literal = address.literal(domain)
    if literal:
        return f"[{literal}]"
    return address.domain_key(domain).decode("ascii", "backslashreplace")


def host_of(text: str) -> str:
    """Take a mailer name off a smart host: "relay:lab3.campus" -> "lab3.campus"."""
    mailer, colon, host = text.partition(":")
    is_port = host.isascii() and host.isdigit()
    named = colon and mailer.strip().lower() in _REMOTE and not is_port
    return _configured(host if named else text)


def _configured(hosts: str) -> str:
    """Next hops that somebody configured, to be tried in order: "[h1]:587,h2".

    Sendmail's "[h1]:[h2]" is the same as "[h1],[h2]".
    """
    separate = hosts.replace(":[", ",[").split(",")
    return ",".join(_bracketed(host.strip()) for host in separate)


def _bracketed(host: str) -> str:
    """One of them; a bare address gets its brackets: it has no MX."""
    if host[:1] != "[" and host.count(":") > 1:
        return f"[IPv6:{host}]"
    name, colon, port = host.partition(":")
    parts = name.split(".")
    is_address = len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts)
    return f"[{name}]{colon}{port}" if is_address else host


def _moved(bare: bytes) -> Refusal | None:
    """What a user who has moved is refused with; most have not."""
    if b".redirect" not in bare.lower():
        return None
    from minimta.routing.refusal import moved

    return moved(bare)


def table_route(value: str, bare: bytes) -> Route:
    """Where mail for *bare* goes by the *value* of a row of the mailer table."""
    mailer, colon, rest = value.partition(":")
    mailer, rest = mailer.strip().lower(), rest.strip()
    if mailer in _REMOTE and rest:
        return Route("esmtp", _configured(rest), bare, "MailerTable")
    if mailer == "local" and colon:
        return Route("local", "", rest.encode() or address.split(bare)[0])
    if mailer == "error" and rest:
        from minimta.routing.refusal import error_of

        status, text = error_of(rest)
        return Route("error", status, text.encode())
    # A slip of the administrator must not bounce anybody's mail: try again later.
    return Route("error", "4.3.5", f"451 Local configuration error: mailer table: {value}".encode())
