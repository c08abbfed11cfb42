"""The text of main.cf and of Postfix's tables: parameters with their places, rows, next hops, networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network

from minimta.admin.migrate.migration import ForeignPlace, Migration, hop
from minimta.config.values import mail_port

Reader = Callable[[str], str | None]
_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))")
#: of one value: each may name others
_MOST_REFERENCES = 1000
#: a table, of which the lines may stand in the parameter itself
_TABLE = re.compile(r"\w+:\{[^}]*\}?|[^,\s]+")
#: types of tables that are text
TEXT_TABLES = ("hash", "btree", "lmdb", "texthash", "cdb", "dbm")


class MainCf:
    """The parameters of one main.cf, and what is gathered from them."""

    def __init__(self, path: str, migration: Migration, included: Reader) -> None:
        """*included* gives the text of a table, None if there is no such file."""
        self.path = path
        self.migration = migration
        self.included = included
        #: name -> raw value, place
        self.values: dict[str, tuple[str, ForeignPlace]] = {}
        #: myhostname, or what the machine is called
        self.host = ""

    def value(self, name: str) -> str:
        """What the file says, references resolved; "" if nothing."""
        return self.expanded(self.values[name][0]) if name in self.values else ""

    def expanded(self, text: str) -> str:
        """*text* with $name put in. What nobody sets is left as it is, and so are names of names without end."""
        left = _MOST_REFERENCES

        def put(match: re.Match[str], depth: int = 0) -> str:
            nonlocal left
            name = match[1] or match[2] or match[3]
            if name not in self.values or depth > 10 or not left:
                return match[0]
            left -= 1
            return _REFERENCE.sub(lambda inner: put(inner, depth + 1), self.values[name][0])

        return _REFERENCE.sub(put, text)

    def origin(self) -> str:
        """myorigin, or the first line of the file that it names."""
        origin = self.value("myorigin")
        if origin[:1] == "/":
            found = (self.included(origin) or "").strip().partition("\n")[0]
            return found if re.fullmatch(r"[\w.-]+", found) else ""
        return origin

    def place(self, name: str) -> ForeignPlace:
        """Where a parameter stands."""
        return self.values[name][1] if name in self.values else ForeignPlace(self.path)


def read(cf: MainCf, text: str) -> None:
    """Logical lines: one that begins with a blank goes on (postconf(5))."""
    name, begin = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            if name:
                value, place = cf.values[name]
                cf.values[name] = f"{value} {line.strip()}".strip(), place
            continue
        given, equals, value = line.partition("=")
        name, begin = given.strip(), number
        if not equals or not re.fullmatch(r"[\w.-]+", name):
            # Not shown whole: it may be a row of a table with passwords.
            word = line.split()[0]
            shown = f": {word}" if re.fullmatch(r"[\w.-]+", word) else ""
            cf.migration.wrong(ForeignPlace(cf.path, begin), f"no parameter of Postfix{shown}")
            name = ""
            continue
        cf.values[name] = value.strip(), ForeignPlace(cf.path, begin)


def next_hop(text: str) -> str:
    """ "[mx.example.org]:submission" in our words. Raise ValueError."""
    place = text.strip().removeprefix("smtp:").removeprefix("relay:")
    host, bracket, rest = place.partition("]") if place[:1] == "[" else ("", "", "")
    if bracket:
        return hop(host, mail_port(rest[1:])) if rest else f"{host}]"
    name, _, port = place.partition(":")
    return hop(name, mail_port(port), looks_up=True) if port else name


def hop_of(text: str) -> str:
    """next_hop(), or *text* itself if it is none."""
    try:
        return next_hop(text)
    except ValueError:
        return text


def relay_words(network: str) -> list[str]:
    """A network as relay-domains has it: [] for loopback, which may always. Raise ValueError."""
    found = ip_network(network.replace("[", "").replace("]", ""), strict=False)
    if found.is_loopback:
        return []
    if found.version == 6:
        if found.prefixlen % 16:
            raise ValueError(network)
        groups = found.network_address.exploded.split(":")[: found.prefixlen // 16]
        return ["IPv6:" + ":".join(f"{int(group, 16):x}" for group in groups)]
    if found.prefixlen % 8:
        if found.prefixlen < 20:
            raise ValueError(network)
        parts = list(found.subnets(new_prefix=24)) if found.prefixlen < 24 else [found]
        if found.prefixlen > 24:
            return [str(address) for address in found]
        return [".".join(str(part.network_address).split(".")[:3]) for part in parts]
    return [".".join(str(found.network_address).split(".")[: found.prefixlen // 8])]


def table_of(cf: MainCf, name: str) -> list[tuple[int, str, str, str]]:
    """(line, path, key, value) of the rows of the tables of a parameter."""
    rows = []
    for word in _TABLE.findall(cf.value(name)):
        kind, _, path = word.partition(":")
        text = cf.included(path) if kind in TEXT_TABLES else None
        if text is None:
            why = "there is no such file" if kind in TEXT_TABLES else "tables are text here"
            # What is no path is the table itself, and may be a password.
            shown = word if path[:1] == "/" else f"{kind}:" if kind.isalnum() else "a table"
            cf.migration.not_carried(cf.place(name), f"{name}: {shown}: {why}")
            continue
        for number, line in enumerate(text.split("\n"), 1):
            key, value = [*line.split(None, 1), "", ""][:2]
            if key and key[:1] != "#" and not line[:1].isspace():
                rows.append((number, path, key, value.strip()))
    return rows
