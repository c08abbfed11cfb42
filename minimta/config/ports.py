"""DaemonPortOptions: where the daemon listens, and what a port has of its own; ClientPortOptions.

A row is "key=value" pairs with commas between them (Sendmail Operations Guide, DaemonPortOptions):

    Name=MSA, Port=submission, Addr=10.0.3.135, M=Eu, children=20

The first letter of a key suffices. As in Sendmail its case decides where two keys begin with the
same letter: DeliveryMode and delayLA, ReceiveSize and refuseLA. In what follows it the case does not
matter, and the spellings of all Sendmail versions are known (SndBufSize, Modify).

A key, modifier or value that nothing here would obey is refused with its name: mail must not come in
by a port without AUTH because "M=a" was read and forgotten.
"""

from __future__ import annotations

from minimta.config.networks import networks
from minimta.config.quantities import number
from minimta.config.values import MAIL_PORTS, choice, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: what a modifier asks for, when that is so here
MODIFIERS = {
    "a": "AUTH is required, of everybody",
    "A": "AUTH is not offered",
    "C": "names of hosts are not made canonical",
    "E": "ETRN is refused",
    "f": "a sender's domain must have a dot, unless the client may relay",
    "O": "if the port cannot be opened, the daemon does without it",
    "S": "STARTTLS is not offered",
    "s": "TLS from the first octet",
    "u": "a sender without a domain is one of this host",
}
#: modifiers of Sendmail that nothing here obeys yet
_NOT_YET = {
    "b": "mail is sent on from the address it was received at",
    "c": "names of hosts are made canonical",
    "h": "HELO says the name of the interface",
    "r": "a recipient must have a domain",
}
#: listen(2) and setsockopt(2) take an int
_MOST = 2**31 - 1


class Port:
    """One row. A value: it does not change, and the connections that come by it carry it."""

    name: str
    #: IPv4 or IPv6 address without brackets, or a host's name; never empty
    address: str
    #: 0: whichever the system gives
    port: int
    #: "inet" or "inet6"
    family: str
    #: letters of MODIFIERS, as given: "Eu"
    modifiers: str
    #: the same as the macro ${daemon_flags} has them: b"EE u", capitals twice
    flags: bytes
    #: connections that wait to be accepted, listen(2)
    backlog: int
    #: octets of SO_RCVBUF and SO_SNDBUF, 0: as the system has it
    receive_size: int
    send_size: int
    #: connections by this port at the same time, 0: only MaxDaemonChildren counts
    children: int
    #: load averages for each processor from which on connections and commands wait a second, 0: never; connections are
    #: refused (None: RefuseLA, 0: never); messages wait for a queue run (0: only QueueLA counts)
    delay_la: int
    refuse_la: int | None
    queue_la: int
    #: "background", "queueonly", "deferred", or "": DeliveryMode
    delivery_mode: str
    #: networks of balancers, which say by the PROXY protocol who their client is; (): clients come themselves
    proxies: tuple[str, ...]
    #: "1.2", or what printers inside still speak: "1.0", "1.1"
    oldest_tls: str
    #: names of MailFilter rows for what comes by this port; None: as the option InputMailFilters
    filters: tuple[str, ...] | None

    __slots__ = (
        "address",
        "backlog",
        "children",
        "delay_la",
        "delivery_mode",
        "family",
        "filters",
        "flags",
        "modifiers",
        "name",
        "oldest_tls",
        "port",
        "proxies",
        "queue_la",
        "receive_size",
        "refuse_la",
        "send_size",
    )

    def __init__(
        self,
        *,
        name: str = "MTA",
        address: str = "",
        port: int = 25,
        family: str = "",
        modifiers: str = "",
        backlog: int = 1024,
        receive_size: int = 0,
        send_size: int = 0,
        children: int = 0,
        delay_la: int = 0,
        refuse_la: int | None = None,
        queue_la: int = 0,
        delivery_mode: str = "",
        oldest_tls: str = "1.2",
        filters: tuple[str, ...] | None = None,
        proxies: tuple[str, ...] = (),
    ) -> None:
        """See the attributes. *address* and *family* complete each other: see _place()."""
        given = dict(locals())
        given["address"], given["family"] = _place(address, family)
        letters = (letter * 2 if letter.isupper() else letter for letter in modifiers)
        given["flags"] = " ".join(letters).encode("ascii")
        for field in self.__slots__:
            object.__setattr__(self, field, given[field])

    def at(self, here: Port) -> Port:
        """The same row where *here* is: by its address, port and family."""
        given = {field: getattr(self, field) for field in self.__slots__ if field != "flags"}
        place = {"address": here.address, "port": here.port, "family": here.family}
        return Port(**{**given, **place})

    @property
    def is_tls(self) -> bool:
        """Is there TLS from the first octet (M=s; RFC 8314 section 3.3)?"""
        return "s" in self.modifiers

    @property
    def has_starttls(self) -> bool:
        """May STARTTLS be offered (not with M=S)?"""
        return "S" not in self.modifiers

    @property
    def has_weak_tls(self) -> bool:
        """May TLS be older than 1.2 (TLS=1.0)? No secret may come in by such a port from outside."""
        return self.oldest_tls != "1.2"

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"a Port does not change: {field}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Port):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, field) for field in self.__slots__))

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}={getattr(self, field)!r}" for field in self.__slots__)
        return f"Port({fields})"


class ClientPort:
    """A row of ClientPortOptions: by which family, and from which address, other hosts are reached."""

    __slots__ = ("address", "family")

    def __init__(self, family: str = "", address: str = "") -> None:
        """*family* "inet" or "inet6", completed by *address*; without that the system chooses one.

        Raise ValueError if they contradict each other.
        """
        self.family = _place(address, family)[1]
        self.address = _place(address, family)[0] if address else ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClientPort):
            return NotImplemented
        return (self.family, self.address) == (other.family, other.address)

    def __hash__(self) -> int:
        return hash((self.family, self.address))

    def __repr__(self) -> str:
        return f"ClientPort({self.family!r}, {self.address!r})"


def read_client(text: str) -> tuple[ClientPort, ...]:
    """The rows of ClientPortOptions in *text*, with semicolons between them. Raise ValueError."""
    return tuple(_client_row(part) for part in text.split(";") if part.strip())


def _client_row(text: str) -> ClientPort:
    given: dict[str, str] = {}
    for word, value in _pairs(text):
        key = _key(word)
        if key.field not in ("family", "address"):
            raise ValueError(f"{key.name} is not supported here, only Family and Addr")
        try:
            given[key.field] = str(key.read(value))
        except ValueError as error:
            raise ValueError(f"{key.name}: {error}") from error
    port = ClientPort(**given)
    if port.address and not (":" in port.address or port.address.replace(".", "").isdigit()):
        raise ValueError(f"Addr: {port.address!r} is no address")
    return port


def read(text: str) -> tuple[Port, ...]:
    """The rows in *text*, with semicolons between them. Raise ValueError."""
    # Behind a last semicolon is no row: it would be port 25 of every address, which nobody asked for.
    rows: list[str] = []
    for part in text.split(";"):
        # "InputMailFilters=a;b, M=E" is one row: a semicolon separates names there.
        is_name = "=" not in part.partition(",")[0] and part.strip()
        if is_name and rows and rows[-1].rpartition(",")[2].lower().lstrip().startswith("i"):
            rows[-1] += f" {part}"
        elif part.strip():
            rows.append(part)
    return tuple(_row(part) for part in rows or [""])


def _row(text: str) -> Port:
    given: dict[str, object] = {}
    for word, value in _pairs(text):
        key = _key(word)
        try:
            given[key.field] = key.read(value)
        except ValueError as error:
            raise ValueError(f"{key.name}: {error}") from error
    return Port(**given)  # type: ignore[arg-type]


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """ "a=1, b = 2 3 c=4" -> ("a", "1"), ("b", "2 3"), ("c", "4"). Raise ValueError."""
    text = "=".join(part.strip() for part in text.split("="))
    for item in text.split(","):
        pairs: list[list[str]] = []
        for word in item.split():
            key, equals, value = word.partition("=")
            if equals:
                pairs.append([key, value])
            elif pairs:
                pairs[-1][1] += f" {word}"
            else:
                raise ValueError(f"{word!r} is none of {_NAMES}")
        yield from ((key, value) for key, value in pairs)


# --- values ---------------------------------------------------------------------------------------


def _place(address: str, family: str) -> tuple[str, str]:
    """(address, family), of which one may be missing. Raise ValueError if they contradict.

    "[::1]" and "IPv6:::1" are "::1"; no address at all: every address of the host.
    """
    address = address.strip("[]")
    if address[:5].lower() == "ipv6:":
        address = address[5:].strip("[]")
    is_v6, is_v4 = ":" in address, address.replace(".", "").isdigit()
    if (is_v6 and family == "inet") or (is_v4 and family == "inet6"):
        raise ValueError(f"Addr: {address} is no address of Family={family}")
    family = family or ("inet6" if is_v6 else "inet")
    return address or {"inet": "0.0.0.0", "inet6": "::"}[family], family


def _name(text: str) -> str:
    # It stands in log lines, between commas.
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is not a word")
    return text


def _address(text: str) -> str:
    if " " in text:
        raise ValueError(f"{text!r} is not an address")
    return text


def _port(text: str) -> int:
    if not text[:1].isdigit():
        return _service(text.lower())
    if number(text) > 65535:
        raise ValueError(f"there is no port {text}")
    return number(text)


def _service(name: str) -> int:
    if name in MAIL_PORTS:
        return MAIL_PORTS[name]
    from _socket import getservbyname  # socket itself takes 5 ms

    try:
        return getservbyname(name, "tcp")
    except OSError as error:
        raise ValueError(f'service "{name}" unknown') from error


def _family(text: str) -> str:
    if text.lower() not in ("inet", "inet6"):
        raise ValueError(f"{text!r} is not supported, only inet and inet6")
    return text.lower()


def _modifiers(text: str) -> str:
    letters = "".join(text.split())
    if "a" in letters and "A" in letters:
        raise ValueError("a and A: AUTH cannot be required and not offered")
    for letter in letters:
        if letter in _NOT_YET:
            raise ValueError(f"{letter} ({_NOT_YET[letter]}) is not supported yet")
        if letter not in MODIFIERS:
            raise ValueError(f"unknown modifier {letter}")
    return letters


def _size(text: str) -> int:
    if number(text) < 1:
        raise ValueError(f"{text} is too small")
    if number(text) > _MOST:
        raise ValueError(f"{text} is too large")
    return number(text)


def _limit(text: str) -> int:
    if number(text) < 0:
        raise ValueError(f"{text} is too small")
    return number(text)


def _delivery_mode(text: str) -> str:
    mode = choice("background", "interactive", "queueonly", "deferred")(text)
    if mode == "interactive":
        # The reply to the final dot would have to wait for the delivery, which is the runner's.
        raise ValueError("interactive is not supported for mail by SMTP")
    return mode


def _oldest_tls(text: str) -> str:
    if text not in ("1.0", "1.1", "1.2"):
        raise ValueError(f"{text!r} is none of 1.0, 1.1, 1.2")
    return text


def _filters(text: str) -> tuple[str, ...]:
    from minimta.config import filters  # few ports have filters of their own

    return filters.names(text)


# --- keys -----------------------------------------------------------------------------------------


class _Key:
    """A key of a row."""

    __slots__ = ("field", "name", "read", "spellings")

    def __init__(
        self, name: str, spellings: str, field: str, read: Callable[[str], object]
    ) -> None:
        """*name* in this text; *spellings* in small letters; *field* of Port that *read* gives."""
        self.name = name
        self.spellings = spellings.split()
        self.field = field
        self.read = read


#: first letter -> key; a capital stands for both cases where the small one has no key of its own
_KEYS = {
    "N": _Key("Name", "name", "name", _name),
    "P": _Key("Port", "port", "port", _port),
    "A": _Key("Addr", "address", "address", _address),
    "F": _Key("Family", "family", "family", _family),
    "M": _Key("Modifiers", "modifiers modify", "modifiers", _modifiers),
    "L": _Key("Listen", "listen", "backlog", _size),
    "R": _Key(
        "ReceiveSize",
        "receivesize rcvbufsize receivebuffersize receivebufsize",
        "receive_size",
        _size,
    ),
    "S": _Key("SendSize", "sendsize sndbufsize sendbuffersize sendbufsize", "send_size", _size),
    "c": _Key("children", "children", "children", _limit),
    "d": _Key("delayLA", "delayla", "delay_la", _limit),
    "r": _Key("refuseLA", "refusela", "refuse_la", _limit),
    "q": _Key("queueLA", "queuela", "queue_la", _limit),
    "D": _Key("DeliveryMode", "deliverymode", "delivery_mode", _delivery_mode),
    "T": _Key("TLS", "tls", "oldest_tls", _oldest_tls),
    "I": _Key("InputMailFilters", "inputmailfilters", "filters", _filters),
    "H": _Key("HAProxy", "haproxy", "proxies", networks),
}
_NAMES = ", ".join(f"{key.name}=" for key in _KEYS.values())


def _key(word: str) -> _Key:
    """The key that *word* is, or begins. Raise ValueError."""
    letter = word[:1]
    key = _KEYS.get(letter) or _KEYS.get(letter.upper())
    if key is None or not any(name.startswith(word.lower()) for name in key.spellings):
        known = {key.name.lower(): key.name for key in _KEYS.values()}
        raise ValueError(f"unknown key {word}{nearest(word.lower(), known)}")
    return key
