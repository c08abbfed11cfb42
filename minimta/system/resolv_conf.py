"""/etc/resolv.conf: which name servers are asked, how long, and how short names are completed (pure).

Read as libc reads it, for what libc leaves out must not stop mail that all other programs could
send: resolv.conf(5), and what glibc does beyond it.

    nameserver 10.0.3.1         an address, the first MAX_SERVERS count; a line whose address is none
                                is left out, and what follows the address
    search corp.test lan        or "domain corp.test": the last of them counts
    options timeout:5 attempts:2 ndots:1 rotate edns0 use-vc trust-ad    others are left out

A keyword stands at the start of its line, with a blank or a tab behind it; all other lines are left
out. Octets are octets: no line is too odd to go on with the next. Environment variables
(LOCALDOMAIN, RES_OPTIONS) do not count: who calls us does not choose our name servers.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_aton, inet_ntoa, inet_ntop, inet_pton
from dataclasses import dataclass

MAX_SERVERS = 3
PORT = 53
#: what libc takes when no line names a server: one on this host
_DEFAULT_SERVER = "127.0.0.1"
#: seconds, times and dots that libc allows at most
_MAX_TIMEOUT, _MAX_ATTEMPTS, _MAX_NDOTS = 30, 5, 15
#: options without a number; libc looks at the beginning of a word only
_FLAGS = (b"rotate", b"edns0", b"use-vc", b"trust-ad")


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What the file says."""

    #: address (perhaps "fe80::1%eth0") and port of each name server, at least one
    servers: tuple[tuple[str, int], ...] = ((_DEFAULT_SERVER, PORT),)
    #: domains that complete a short name, as they are written
    search: tuple[str, ...] = ()
    #: a name with so many dots is asked for as it is before it is completed
    ndots: int = 1
    #: seconds for one server's answer, and how often all servers are asked
    timeout: int = 5
    attempts: int = 2
    rotate: bool = False
    edns0: bool = False
    #: ask by TCP
    use_vc: bool = False
    #: the servers, and the way to them, are trusted when they say that DNSSEC vouches (the AD bit)
    trust_ad: bool = False

    @property
    def vouches(self) -> bool:
        """Is the word of the servers on DNSSEC worth something: are all of them on this host?"""
        # One that is elsewhere would be asked for what the others found to be bogus.
        return self.trust_ad or all(
            address.startswith("127.") or address == "::1" for address, _ in self.servers
        )

    def candidates(self, name: str) -> list[str]:
        """The names that *name* may mean, without final dots, in the order in which libc asks."""
        if name.endswith("."):
            return [name.removesuffix(".")]
        completed = [
            f"{name}.{domain.removesuffix('.')}".removesuffix(".") for domain in self.search
        ]
        has_dots = name.count(".") >= self.ndots
        ordered = [name, *completed] if has_dots else [*completed, name]
        return list(dict.fromkeys(ordered))


def parse(text: bytes, host: str) -> ResolvConf:
    """What *text*, the file's content, says; *host* is the kernel's name of this host.

    Its domain is searched if no line says which are.
    """
    servers: list[tuple[str, int]] = []
    search: tuple[str, ...] = tuple(host.partition(".")[2:])
    numbers = {b"ndots": 1, b"timeout": 5, b"attempts": 2}
    flags: set[bytes] = set()
    for line in text.split(b"\n"):
        keyword, value = _keyword(line)
        words = _words(value)
        if not words:
            continue
        if keyword == b"nameserver":
            servers += _server(words[0])
        elif keyword == b"domain":
            search = (_name(words[0]),)
        elif keyword == b"search":
            search = tuple(map(_name, words))
        elif keyword == b"options":
            _take_options(words, numbers, flags)
    return ResolvConf(
        servers=tuple(servers[:MAX_SERVERS]) or ((_DEFAULT_SERVER, PORT),),
        search=tuple(filter(None, search)),
        ndots=max(0, min(numbers[b"ndots"], _MAX_NDOTS)),
        timeout=max(1, min(numbers[b"timeout"], _MAX_TIMEOUT)),
        attempts=max(1, min(numbers[b"attempts"], _MAX_ATTEMPTS)),
        rotate=b"rotate" in flags,
        edns0=b"edns0" in flags,
        use_vc=b"use-vc" in flags,
        trust_ad=b"trust-ad" in flags,
    )


def _keyword(line: bytes) -> tuple[bytes, bytes]:
    """The word that the line begins with, and the rest; a tab is as good as a blank."""
    keyword, _, value = line.replace(b"\t", b" ").partition(b" ")
    return keyword, value


def _words(value: bytes) -> list[bytes]:
    """Only blanks part words: of "127.0.0.1\\r" the last octet makes it no address, as in libc."""
    return [word for word in value.partition(b"\0")[0].split(b" ") if word]


def _name(word: bytes) -> str:
    return word.decode("ascii", "replace")


def _server(word: bytes) -> list[tuple[str, int]]:
    """The server at an address, [] if it is none. 010.1 is 8.0.0.1, as for inet_aton(3)."""
    text = _name(word)
    address, percent, zone = text.partition("%")
    try:
        if ":" in address:
            address = inet_ntop(AF_INET6, inet_pton(AF_INET6, address))
            return [(address + percent + zone, PORT)]
        if text.isprintable():  # inet_aton() looks at nothing behind white space
            return [(inet_ntoa(inet_aton(text)), PORT)]
    except OSError:
        pass
    return []


def _take_options(words: list[bytes], numbers: dict[bytes, int], flags: set[bytes]) -> None:
    for word in words:
        name, colon, digits = word.partition(b":")
        flags.update(flag for flag in _FLAGS if word.startswith(flag))
        if colon and name in numbers:
            numbers[name] = _leading_number(digits, numbers[name])


def _leading_number(digits: bytes, default: int) -> int:
    """As atoi(3), "5s" is 5; but what has no digit at all changes nothing."""
    leading = digits[: len(digits) - len(digits.lstrip(b"0123456789"))]
    return int(leading[:9]) if leading else default
