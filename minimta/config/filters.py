"""MailFilter: a filter that judges mail before it is accepted (milter), and how long it may take.

A row is a name and "key=value" pairs, with commas between them, as Sendmail's X lines and
INPUT_MAIL_FILTER() have them (Sendmail Operations Guide, "X -- Mail Filter definitions"):

    opendkim, S=unix:/run/opendkim/opendkim.sock, F=T, T=C:1m;S:10s;R:10s;E:5m

    S=   unix:PATH or local:PATH, a path alone, inet:PORT@HOST, inet6:PORT@HOST
    F=   when it cannot be asked or answers nonsense: T 451, R 554, 4 421 and the end of the session;
         without it mail goes on as if there were no such filter
    T=   C to connect, S to send, R to read an answer, E from the end of the message to the verdict
"""

from __future__ import annotations

from minimta.config.quantities import number, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FAMILIES = {"unix": "unix", "local": "unix", "inet": "inet", "inet6": "inet6"}
#: a path that fits into a sockaddr_un
_LONGEST_PATH = 107
#: letter of T= -> field
_TIMES = {"C": "connect", "S": "send", "R": "read", "E": "end"}
_DEFAULT_TIMES = {"connect": 300, "send": 10, "read": 10, "end": 300}
#: messages of one filter at a time are as many as connections; the list of a port is short
_MOST_FILTERS = 64


class MailFilter:
    """One row. A value: it does not change."""

    name: str
    #: "unix", "inet", "inet6"
    family: str
    #: path of the socket, or a host's name or address
    address: str
    #: of "inet" and "inet6"
    port: int
    #: "T", "R", "4", or "": without it mail goes on
    on_failure: str
    #: seconds: to connect, to send, to read one answer, from the end of a message to its verdict
    connect: int
    send: int
    read: int
    end: int

    __slots__ = (
        "address",
        "connect",
        "end",
        "family",
        "name",
        "on_failure",
        "port",
        "read",
        "send",
    )

    def __init__(
        self,
        name: str,
        socket: tuple[str, str, int],
        on_failure: str = "",
        times: dict[str, int] | None = None,
    ) -> None:
        """*socket* is family, address and port; *times* has what is not as by default."""
        family, address, port = socket
        fields = {"name": name, "family": family, "address": address, "port": port}
        for field, value in {
            **fields,
            "on_failure": on_failure,
            **_DEFAULT_TIMES,
            **(times or {}),
        }.items():
            object.__setattr__(self, field, value)

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"a MailFilter does not change: {field}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MailFilter):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self.__slots__)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}={getattr(self, field)!r}" for field in self.__slots__)
        return f"MailFilter({fields})"


def read(text: str) -> tuple[MailFilter, ...]:
    """The row in *text*, if there is one. Raise ValueError."""
    if not text.strip():
        return ()
    name, *pairs = [part.strip() for part in text.split(",")]
    if not name or not name.isascii() or not name.isprintable() or set(name) & set(" =;"):
        raise ValueError(f"{name!r} is no name of a filter")
    socket: tuple[str, str, int] | None = None
    on_failure, times = "", None
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in ("S", "F", "T"):
            raise ValueError(f"{name}: {pair!r} is none of S=, F=, T=")
        if key == "S":
            socket = _socket(value)
        elif key == "F":
            on_failure = _failure(value)
        else:
            times = _times(value)
    if socket is None:
        raise ValueError(f"{name}: S= is missing, which says where the filter listens")
    return (MailFilter(name, socket, on_failure, times),)


def names(text: str) -> tuple[str, ...]:
    """The names of an InputMailFilters, with commas or semicolons between them. Raise ValueError."""
    found = tuple(name for name in text.replace(";", " ").replace(",", " ").split())
    if len(set(found)) < len(found):
        raise ValueError(f"a filter stands there twice: {text.strip()!r}")
    if len(found) > _MOST_FILTERS:
        raise ValueError(f"{len(found)} filters, {_MOST_FILTERS} are the most")
    return found


def chosen(wanted: Iterable[str], defined: Sequence[MailFilter]) -> tuple[MailFilter, ...]:
    """The rows with the names *wanted*, in that order. Raise ValueError if there is none."""
    rows = {row.name: row for row in defined}
    found = []
    for name in wanted:
        if name not in rows:
            known = f"only {', '.join(rows)}" if rows else "there is none at all"
            raise ValueError(f"InputMailFilters: no MailFilter is named {name}, {known}")
        found.append(rows[name])
    return tuple(found)


def macros(text: str) -> tuple[bytes, ...]:
    """The names of a list of macros, "j, {if_name}" or "j {if_name}", as they go to a filter.

    Raise ValueError for what is none.
    """
    found = text.replace(",", " ").split()
    for name in found:
        bare = name[1:-1] if name[:1] == "{" and name[-1:] == "}" else name
        if not bare.isascii() or not bare.replace("_", "x").isalnum():
            raise ValueError(f"{name!r} is no name of a macro")
        if bare == name and len(name) > 1:
            raise ValueError(f"{name!r} is no name of a macro: {{{name}}} would be one")
    return tuple(name.encode("ascii") for name in found)


def _socket(text: str) -> tuple[str, str, int]:
    """ "unix:/run/x" -> ("unix", "/run/x", 0), "inet:8891@localhost" -> ("inet", "localhost", 8891)."""
    if text.startswith("/"):
        text = f"unix:{text}"
    kind, colon, rest = text.partition(":")
    family = _FAMILIES.get(kind.strip().lower(), "")
    if not colon or not family:
        raise ValueError(f"S={text}: neither unix:PATH nor inet:PORT@HOST nor inet6:PORT@HOST")
    if family == "unix":
        if not rest.startswith("/") or "\0" in rest:
            raise ValueError(f"S={text}: the path of a socket begins with /")
        if len(rest.encode("utf-8", "surrogateescape")) > _LONGEST_PATH:
            raise ValueError(f"S={text}: the path of a socket has {_LONGEST_PATH} octets at most")
        return family, rest, 0
    port, at, host = rest.partition("@")
    if not at or not host.strip("[]"):
        raise ValueError(f"S={text}: {kind}:PORT@HOST is wanted")
    if not 0 < number(port) < 65536:
        raise ValueError(f"S={text}: there is no port {port}")
    return family, host.strip().strip("[]"), number(port)


def _failure(text: str) -> str:
    if text not in ("", "T", "R", "4"):
        raise ValueError(f"F={text}: T (451), R (554), 4 (421) or nothing")
    return text


def _times(text: str) -> dict[str, int]:
    """ "C:1m;R:10s" -> {"connect": 60, "read": 10}. Raise ValueError."""
    found: dict[str, int] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        letter, colon, value = (piece.strip() for piece in part.partition(":"))
        if not colon or letter not in _TIMES:
            raise ValueError(f"T={part.strip()}: none of C:, S:, R:, E:")
        found[_TIMES[letter]] = seconds(value)
        if not found[_TIMES[letter]]:
            raise ValueError(f"T={part.strip()}: a time of 0 is none")
    return found
