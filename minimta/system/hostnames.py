"""Names of hosts: our own, the domains we take mail for, and a client's, by the system's own means.

Only ``client_name`` asks the system's resolver. The rest reads files, for submission needs our name
and importing a DNS library would cost it more than all its other work. A file that cannot be read
gives no names.
"""

from __future__ import annotations

import os

from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options

_HOSTS = "/etc/hosts"
_IPV4_ROUTES = "/proc/net/fib_trie"
_IPV6_ADDRESSES = "/proc/net/if_inet6"


def own_name(options: Options) -> str:
    """This host's full name ($j): HostName, the kernel's if it has a dot, else that of /etc/hosts."""
    if options.host_name:
        return options.host_name
    node = os.uname().nodename
    if "." in node:
        return node
    for names in _hosts_lines():
        if node in names[1:] and "." in names[1]:
            return names[1]
    return node or "localhost"


def _hosts_lines() -> list[list[str]]:
    """Lines of /etc/hosts as words: address, canonical name, aliases."""
    found = (line.partition("#")[0].split() for line in _lines(_HOSTS))
    return [words for words in found if len(words) > 1]


def own_addresses() -> set[str]:
    """Addresses of our interfaces and of loopback, IPv6 in its shortest form."""
    return {"127.0.0.1", "::1"} | _own_ipv4() | _own_ipv6()


def _own_ipv4() -> set[str]:
    """From the kernel's routing table: an address line followed by "/32 host LOCAL".

    Interfaces themselves list their addresses only to netlink(7) and ioctl(2), not in a file.
    """
    found, candidate = set(), ""
    for line in _lines(_IPV4_ROUTES):
        words = line.split()
        if words[:1] == ["|--"]:
            candidate = words[1]
        elif words == ["/32", "host", "LOCAL"] and candidate:
            found.add(candidate)
    return found


def _own_ipv6() -> set[str]:
    digits = [line.split()[0] for line in _lines(_IPV6_ADDRESSES) if line.strip()]
    if not digits:
        return set()
    # The C half of socket, which loads nothing else.
    from _socket import AF_INET6, inet_ntop

    return {inet_ntop(AF_INET6, bytes.fromhex(text)) for text in digits}


def _lines(path: str) -> list[str]:
    try:
        # Not as text: that would load a codec, which costs as much as the rest.
        with open(path, "rb") as file:
            return file.read().decode("ascii", "replace").split("\n")
    except OSError:
        return []


def local_names(options: Options) -> frozenset[bytes]:
    """Domains that are this host (Sendmail's class w), in small letters, literals in brackets.

    Our name, its first label, localhost, our addresses as literals, and the LocalHostNames file.
    """
    own = own_name(options).lower()
    names = {own, own.partition(".")[0], "localhost"}
    for ip in own_addresses():
        names.add(f"[ipv6:{ip}]" if ":" in ip else f"[{ip}]")
    found = {name.encode("ascii", "replace") for name in names}
    try:
        found |= {name.lower() for name in files.words(options.local_host_names)}
    except OSError:
        pass  # most hosts have none
    return frozenset(name.removesuffix(b".") for name in found)


def client_name(ip: str) -> tuple[str, bool, bool]:
    """(name, it has one, the name leads back to *ip*) of a client, by the system's resolver.

    The name is "" without a reverse entry. Blocks for as long as name servers are slow: call it in
    the client's own thread.
    """
    if ip in ("127.0.0.1", "::1"):
        return "localhost", True, True
    import socket

    try:
        name = socket.gethostbyaddr(ip)[0]
    except (OSError, UnicodeError):
        return "", False, False
    if not _is_host_name(name):
        # Whoever owns the address owns its reverse zone, and writes what they like into it; this
        # goes into the log and into Received.
        return "", False, False
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return name, True, False
    return name, True, any(answer[4][0] == ip for answer in answers)


def _is_host_name(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
