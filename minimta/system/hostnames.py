"""Names of hosts: our own, the domains we take mail for, and a client's, by the system's own means.

Only ``client_name`` asks the system's resolver. The rest reads files, for submission needs our name
and importing a DNS library would cost it more than all its other work. A file that does not exist
gives no names. One that cannot be read is an OSError: who took it for empty would send our own
users' mail away, or refuse it.
"""

from __future__ import annotations

import errno
import os
import sys

from minimta.system import files, hosts_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options

_HOSTS = "/etc/hosts"
_IPV4_ROUTES = "/proc/net/fib_trie"
_IPV6_ADDRESSES = "/proc/net/if_inet6"
_IPV4_GATEWAYS, _IPV6_GATEWAYS = "/proc/net/route", "/proc/net/ipv6_route"
#: what the kernel says while nobody has given the host a name
_NAMELESS = ("", "(none)")
#: letters for which IDNA 2003, which Python has, and 2008 give different names
_AMBIGUOUS = "\u00df\u03c2\u200c\u200d"


def own_name(options: Options) -> str:
    """This host's full name ($j): HostName, the kernel's if it has a dot, else that of /etc/hosts.

    It is ASCII, what is not is written as A-labels (RFC 5890). Raise OSError if /etc/hosts cannot be
    read, or if the name is none that mail could come from.
    """
    name = options.host_name or _full_name(os.uname().nodename)
    return (
        name if name.isascii() and (options.host_name or _is_host_name(name)) else _a_labels(name)
    )


def _full_name(node: str) -> str:
    """The kernel's name of this host, or the name with a dot that /etc/hosts has beside it.

    The canonical name counts first, else the first alias with a dot, as in Sendmail.
    """
    if node in _NAMELESS:
        return "localhost"
    node = node.removesuffix(".")
    if "." in node:
        return node
    for _, names in hosts_file.naming(_hosts(), node):
        for name in names:
            # DIFFERS: for Sendmail "127.0.0.1 localhost.localdomain localhost box1" makes box1
            # localhost.localdomain, an address to which nobody can answer.
            if "." in name and _is_host_name(name) and not name.lower().startswith("localhost."):
                return name.removesuffix(".")
    return node


def _a_labels(name: str) -> str:
    """*name* as name servers know it. Raise OSError if it cannot be one."""
    try:
        if set(name) & set(_AMBIGUOUS):
            raise UnicodeError(name)
        found = name.encode("idna").decode("ascii")
    except UnicodeError:
        found = ""
    if not _is_host_name(found):
        raise OSError(errno.EINVAL, "is no name of a host; see the option HostName", name)
    return found


def _hosts() -> bytes:
    """/etc/hosts. Raise OSError."""
    return files.read_if_there(_HOSTS)


def own_addresses() -> set[str]:
    """Addresses of our interfaces and of loopback, IPv6 in its shortest form. Raise OSError."""
    return {"127.0.0.1", "::1"} | _own_ipv4() | _own_ipv6()


def _own_ipv4() -> set[str]:
    """From the kernel's routing table: an address line followed by "/32 host LOCAL".

    Interfaces themselves list their addresses only to netlink(7) and ioctl(2), not in a file.
    """
    found, candidate = set(), ""
    for line in _kernel_lines(_IPV4_ROUTES):
        words = line.split()
        if words[:1] == ["|--"]:
            candidate = words[1]
        elif words == ["/32", "host", "LOCAL"] and candidate:
            found.add(candidate)
    return found


def _own_ipv6() -> set[str]:
    digits = [line.split()[0] for line in _kernel_lines(_IPV6_ADDRESSES) if line.strip()]
    if not digits:
        return set()
    # The C half of socket, which loads nothing else.
    from _socket import AF_INET6, inet_ntop

    return {inet_ntop(AF_INET6, bytes.fromhex(text)) for text in digits}


def _kernel_lines(path: str) -> list[str]:
    """Lines of a file of /proc, none if the system does not show it. Raise OSError."""
    try:
        # Not as text: that would load a codec, which costs as much as the rest.
        return files.read_if_there(path).decode("ascii", "replace").split("\n")
    except PermissionError:  # a container or security module that hides it, and will go on to
        return []


def gateways() -> set[str]:
    """Addresses of the hosts that our default routes lead to. Raise OSError."""
    from _socket import AF_INET6, inet_ntop

    found = set()
    for fields in map(str.split, _kernel_lines(_IPV4_GATEWAYS)):
        if fields[1:2] == ["00000000"]:
            # In the order of this machine's octets, as the kernel keeps it.
            octets = int(fields[2], 16).to_bytes(4, sys.byteorder)
            found.add(".".join(map(str, octets)))
    for fields in map(str.split, _kernel_lines(_IPV6_GATEWAYS)):
        if fields[:2] == ["0" * 32, "00"]:
            found.add(inet_ntop(AF_INET6, bytes.fromhex(fields[4])))
    return found - {"0.0.0.0", "::"}


def local_names(
    options: Options, addresses: set[str] | None = None, name: str = ""
) -> frozenset[bytes]:
    """Domains that are this host (Sendmail's class w), in small letters, literals in brackets.

    Our name and the kernel's, their first labels, localhost, our addresses as literals, the names
    that /etc/hosts has for them, and the LocalHostNames file. *addresses* are own_addresses() and
    *name* is own_name(), if they are known. Raise OSError.
    """
    node = os.uname().nodename
    name = name or own_name(options)
    names = {"localhost", *_with_first_label(name), *_with_first_label(node)}
    if addresses is None:
        addresses = own_addresses()
    names |= {f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]" for ip in addresses}
    names |= _names_in_hosts(node, addresses)
    found = {name.lower().encode("utf-8", "surrogateescape") for name in names}
    found |= set(map(_as_domain, _listed(options.local_host_names)))
    return frozenset(domain.removesuffix(b".") for domain in found)


def _with_first_label(name: str) -> tuple[str, ...]:
    return () if name in _NAMELESS else (name, name.partition(".")[0])


def _names_in_hosts(node: str, addresses: set[str]) -> set[str]:
    """What stands in /etc/hosts beside *node*, or in the first line of one of our addresses.

    The first as for gethostbyaddr(3), which Sendmail asks: a list that blocks advertisements has
    thousands of lines with 127.0.0.1.
    """
    text = _hosts()
    found = {name for _, names in hosts_file.naming(text, node) for name in names}
    for address, names in hosts_file.first_names(text).items():
        if address in addresses:
            found.update(names)
    return found


def _listed(path: str) -> list[bytes]:
    """The words of the LocalHostNames file. Raise OSError."""
    try:
        return files.words(path)
    except FileNotFoundError:
        return []


def _as_domain(word: bytes) -> bytes:
    """A name of the file as addresses have it; one that has no A-labels is left as it is."""
    if word.isascii():
        return word.lower()
    from minimta.message import internationalized  # few hosts have such a name

    return internationalized.a_labels(word) or word


def client_name(ip: str) -> tuple[str, bool, bool]:
    """(name, that is certain, the name leads back to *ip*) of a client, by the system's resolver.

    The name is "" without a reverse entry, and it is not certain if name servers did not answer. Blocks for as long as name servers are slow: call it in
    the client's own thread.
    """
    if ip in ("127.0.0.1", "::1"):
        return "localhost", True, True
    import socket

    try:
        name = socket.gethostbyaddr(ip)[0]
    except (OSError, UnicodeError) as error:
        return "", not _is_temporary(error), False
    if not _is_host_name(name):
        # Whoever owns the address owns its reverse zone, and writes what they like into it; this
        # goes into the log and into Received.
        return "", True, False
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return name, not _is_temporary(error), False
    return name, True, any(answer[4][0] == ip for answer in answers)


def _is_temporary(error: Exception) -> bool:
    """Did no name server answer? TRY_AGAIN of gethostbyaddr(3), EAI_AGAIN of getaddrinfo(3)."""
    import socket

    code = error.args[0] if error.args else 0
    return code == socket.EAI_AGAIN or (isinstance(error, socket.herror) and code == 2)


def _is_host_name(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
