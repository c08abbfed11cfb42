"""Readers: the text of an option's value in, the value out.

What is no value raises ValueError with what is wrong with it; which option it was for, the caller
adds. A reader of one option only is here too if its value has a grammar of its own. Numbers are in
``quantities``.
"""

from __future__ import annotations

from minimta.config.quantities import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.config.filters import MailFilter


def words(text: str) -> tuple[str, ...]:
    """Words separated by commas or blanks, in small letters."""
    return tuple(text.lower().replace(",", " ").split())


def class_words(text: str) -> tuple[str, ...]:
    """Names, and absolute paths of files of names (a class). Raise ValueError for what is neither."""
    given = tuple(text.replace(",", " ").split())
    for word in given:
        if word[0] != "/" and set(word) & set("@<>()\"';:\\|"):
            raise ValueError(f"{word!r} is no name; files are absolute paths")
    return given


#: what goaway stands for, as in Sendmail: DSNs and who may see the queue are not part of it
_GOAWAY = (
    "authwarnings", "needmailhelo", "needexpnhelo", "needvrfyhelo", "noexpn", "noverb", "novrfy",
)  # fmt: skip
#: words of PrivacyOptions that are obeyed; some say what is always so here
PRIVACY = (
    *("public", "goaway", *_GOAWAY, "noreceipts", "nobodyreturn"),
    "noetrn",  # ETRN is always refused
    "restrictexpand",  # -bv needs the rights to enter the queue, which no command has beyond its user's
    "noactualrecipient",
    "restrictmailq",
    "restrictqrun",
)


def privacy(text: str) -> tuple[str, ...]:
    """Words of PRIVACY, separated by commas or blanks, in small letters; goaway as its parts.

    Raise ValueError for others.
    """
    given: list[str] = []
    for word in words(text):
        _need_known(word, PRIVACY)
        given += _GOAWAY if word == "goaway" else [word]
    return tuple(given)


def _need_known(word: str, names: tuple[str, ...]) -> None:
    """Raise ValueError if *word*, in small letters, is none of *names*."""
    known = {name.lower(): name for name in names}
    if word not in known:
        raise ValueError(f"unknown name {word}{nearest(word, known)}")


#: names of DontBlameSendmail that leave out a check which is made here
BLAMES = (
    "Safe",
    "ForwardFileInGroupWritableDirPath",
    "ForwardFileInUnsafeDirPath",
    "ForwardFileInUnsafeDirPathSafe",
    "GroupWritableForwardFile",
    "GroupWritableForwardFileSafe",
    "WorldWritableForwardFile",
    "IncludeFileInGroupWritableDirPath",
    "IncludeFileInUnsafeDirPath",
    "IncludeFileInUnsafeDirPathSafe",
    "GroupWritableIncludeFile",
    "GroupWritableIncludeFileSafe",
    "WorldWritableIncludeFile",
    "GroupWritableAliasFile",
    "WorldWritableAliasFile",
    "FileDeliveryToHardLink",
    "FileDeliveryToSymLink",
    "RunProgramInUnsafeDirPath",
    "RunWritableProgram",
)


def blame(text: str) -> frozenset[str]:
    """Names of BLAMES in any case, separated by commas or blanks, to small letters.

    Raise ValueError for others.
    """
    given = words(text)
    for word in given:
        _need_known(word, BLAMES)
    return frozenset(given)


def forward_path(text: str) -> str:
    """Names of files with $z, $u, $h and $w, separated by colons (ForwardPath). Raise ValueError."""
    for part in text.split("$")[1:]:
        if part[:1] not in ("z", "u", "h", "w"):
            raise ValueError(f"${part[:1]} is none of $z, $u, $h, $w")
    return text.strip()


def directory(text: str) -> str:
    """An absolute path, or nothing. Raise ValueError."""
    if text.strip()[:1] not in ("", "/"):
        raise ValueError(f"no absolute path: {text.strip()!r}")
    return text.strip()


#: Sendmail's classes of maps in which aliases may be; here all of them are the one database
_ALIAS_CLASSES = ("", "implicit", "hash", "btree", "dbm", "cdb")


def alias_files(text: str) -> tuple[str, ...]:
    """Files separated by commas, each "PATH", or "-o PATH" if it need not be there (AliasFile).

    Sendmail's "CLASS:" before it is left out: there is one kind of database. Raise ValueError.
    """
    files = []
    for spec in text.split(","):
        kind, colon, rest = spec.partition(":")
        if not colon or "/" in kind:
            kind, rest = "", spec
        if kind.strip().lower() not in _ALIAS_CLASSES:
            raise ValueError(f"unknown alias class {kind.strip()}")
        path = rest.strip()
        optional = "-o " if path.startswith(("-o ", "-o\t")) else ""
        path = path.removeprefix(optional.strip()).lstrip()
        if path[:1] in ("", "-") or " /" in path:  # blanks separate nothing
            raise ValueError(f"{spec.strip()!r} is no path of a file")
        files.append(optional + path)
    return tuple(files)


def log_places(text: str) -> str:
    """LogTo: "syslog", "stderr" and absolute paths, with commas between them, or "none".

    Returns them with a comma between each two. Raise ValueError.
    """
    places = []
    for word in text.replace(",", " ").split():
        places.append(word if word.startswith("/") else choice("syslog", "stderr", "none")(word))
    if not places or ("none" in places and len(places) > 1):
        raise ValueError(f"{text.strip()!r} says no place, or more than none")
    return ",".join(dict.fromkeys(places))


def choice(*allowed: str) -> Callable[[str], str]:
    """A reader for one of *allowed* words, of which the first letter suffices.

    It gives the whole word, or raises ValueError.
    """

    def read(text: str) -> str:
        word = text.strip().lower()
        for candidate in allowed:
            if word and (word == candidate or word == candidate[0]):
                return candidate
        raise ValueError(f"{text.strip()!r} is none of {', '.join(allowed)}")

    return read


def file_mode(text: str) -> int:
    """Permissions in octal digits: "0600". Raise ValueError."""
    digits = text.strip()
    if not digits or digits.strip("01234567"):
        raise ValueError(f"no mode of a file: {digits!r}")
    return int(digits, 8)


#: where an LMTP server listens if nothing else is said (IANA: "any private mail system")
LMTP_PORT = 24


def local_delivery(text: str) -> str:
    """LocalMailer: "mbox", "maildir", "lmtp:PLACE" or "|/PROGRAM ARGUMENTS". Raise ValueError.

    PLACE is the absolute path of a socket, or what host_and_port() takes.
    """
    text = text.strip()
    if text.lower() in ("mbox", "maildir"):
        return text.lower()
    if text[:1] == "|" and agent_words(text)[0][:1] == "/":
        return text
    try:
        place = text[5:].strip() if text[:5].lower() == "lmtp:" else ""
        if place[:1] != "/":
            host_and_port(place)
    except ValueError as error:
        allowed = "mbox, maildir, lmtp:/SOCKET, lmtp:HOST:PORT, |/PROGRAM ARGUMENTS"
        raise ValueError(f"{text!r} is none of {allowed}") from error
    return "lmtp:" + place


def agent_words(text: str) -> list[str]:
    """The words of "|/usr/bin/procmail -a $h -d $u", quotes as in a shell; [""] if there is none.

    Raise ValueError for other macros, and for quotes that do not end.
    """
    words = text[1:].split()
    if any(mark in text for mark in "'\"\\"):
        import shlex  # 5 ms

        words = shlex.split(text[1:])
    for part in [part for word in words[1:] for part in word.split("$")[1:]]:
        if part[:1] not in ("u", "h", "f"):
            raise ValueError(f"${part[:1]} is none of $u, $h, $f")
    return words or [""]


def host_and_port(place: str) -> tuple[str, int]:
    """The parts of "HOST:PORT", "HOST", "[::1]:PORT", "[::1]"; the port of LMTP if none is given.

    Raise ValueError.
    """
    if place[:1] == "[":
        host, bracket, rest = place[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError(f"no host and port: {place!r}")
        port = rest[1:]
    else:
        host, _, port = place.partition(":")
    value = number(port) if port else LMTP_PORT
    if not host or "/" in host or " " in host or not 0 < value < 65536:
        raise ValueError(f"no host and port: {place!r}")
    return host, value


def host_name(text: str) -> str:
    """A name for this host, or nothing (HostName). Raise ValueError for what is in no name.

    Without the final dot of the full form, which no address has (RFC 5321 section 4.1.2).
    """
    name = text.strip().removesuffix(".")
    if not name.isprintable() or any(mark in " \"'@<>(),;\\/#" for mark in name):
        raise ValueError(f"{name!r} is no name of a host; wanted: mail.example.org")
    return name


def host_address(text: str) -> str:
    """An address of a host, or nothing (ConnectOnlyTo). Raise ValueError for a name."""
    from ipaddress import ip_address  # few ask

    text = text.strip().removeprefix("[").removesuffix("]")
    return str(ip_address(text)) if text else ""


def charset(text: str) -> str:
    """The name of a character set (RFC 2045 section 5.1). Raise ValueError for what is no token."""
    text = text.strip()
    if not text or not (text.isascii() and text.replace("-", "").replace("_", "").isalnum()):
        raise ValueError(f"{text!r} is no name of a character set; wanted: iso-8859-1")
    return text


def mail_address(text: str) -> str:
    """One bare address, or nothing (AlwaysBcc, RedirectAll). Raise ValueError for a list, a program, a file."""
    text = text.strip()
    local, at, domain = text.rpartition("@") if "@" in text else (text, "", "")
    is_one = text.isascii() and text.isprintable() and not set(text) & set(' <>(),;"\\|')
    if text and not (is_one and local and local[0] not in "/:-" and bool(domain) == bool(at)):
        raise ValueError(f"{text!r} is no address; wanted: archive@example.org")
    return text


_HOST_FORMS = "HOST, HOST:PORT, [HOST], [HOST]:PORT, several with commas between them"
_HOST_MARKS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#: mailers whose name may stand before the host, as in Sendmail's DS line
REMOTE_MAILERS = ("esmtp", "smtp", "relay")


#: services by which mail is sent, for hosts without /etc/services
MAIL_PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}


def mail_port(word: str) -> int:
    """A port by number, or by one of the names of MAIL_PORTS. Raise ValueError."""
    port = MAIL_PORTS.get(word.lower())
    if port is None and word.isascii() and word.isdigit() and len(word) < 6:
        port = int(word)
    if port is None or not 0 < port < 65536:
        raise ValueError(f"{word!r} is no port")
    return port


def smart_host(text: str) -> str:
    """Other hosts in one of the _HOST_FORMS, perhaps behind "esmtp:", or nothing (SmartHost).

    Raise ValueError. What only looks like a host would bring every letter back, or hold it.
    """
    text = text.strip()
    mailer, colon, rest = text.partition(":")
    named = colon and mailer.strip().lower() in REMOTE_MAILERS and not rest.isdigit()
    places = rest if named else text
    separate = places.replace(":[", ",[").split(",")  # "[h1]:[h2]" is Sendmail's list
    is_scheme = places is text and text.partition(":[")[0].isalnum() and ":[" in text  # smtps:[h]
    if text and (is_scheme or not all(_is_place(place.strip()) for place in separate)):
        raise ValueError(f"{text!r} is no host; wanted: {_HOST_FORMS}")
    return text


def fallback_hosts(text: str) -> str:
    """Other hosts as smart_host() takes them, as one next hop: "[h1],h2:587". Raise ValueError."""
    mailer, colon, rest = smart_host(text).partition(":")
    is_named = colon and mailer.strip().lower() in REMOTE_MAILERS and not rest.isdigit()
    places = (rest if is_named else text.strip()).replace(":[", ",[").split(",")
    return ",".join(map(_in_brackets, map(str.strip, places)))


def _in_brackets(place: str) -> str:
    """An address needs none in the file, and is looked up nowhere."""
    host, colon, port = place.partition(":")
    is_address = host.replace(".", "").isdigit() and host.isascii()
    return f"[{host}]{colon}{port}" if is_address else place


def proxy(text: str) -> str:
    """HOST:PORT of a proxy, or nothing (HTTPSProxy). Raise ValueError."""
    text = text.strip()
    port = text.rpartition("]")[2].partition(":")[2]
    if text and not (_is_place(text) and port.isdigit()):
        raise ValueError(f"{text!r} is no HOST:PORT")
    return text


def _is_port(word: str) -> bool:
    try:
        return bool(mail_port(word))
    except ValueError:
        return False


def _is_place(place: str) -> bool:
    if place[:1] == "[":
        host, bracket, rest = place[1:].partition("]")
        colon, port, marks = rest[:1], rest[1:], _HOST_MARKS
        if ":" in host:  # an address: of "[mx.campus:25]" the port is outside
            host, marks = host.lower().removeprefix("ipv6:"), "0123456789abcdef:."
    elif place.count(":") > 1:
        return not place.strip("0123456789abcdefABCDEF:.")  # an IPv6 address without brackets
    else:
        host, colon, port = place.partition(":")
        bracket, marks = "]", _HOST_MARKS
    return (
        bool(host.strip(".") and bracket)
        and not host.strip(marks)
        and (_is_port(port) if colon == ":" else not colon)
    )


def nearest(word: str, known: dict[str, str]) -> str:
    """ " (did you mean X?)" for a word that is near one of *known*, small letters -> X."""
    from difflib import get_close_matches  # only on the way to an error: it costs 10 ms

    near = get_close_matches(word, list(known), 1)
    return f" (did you mean {known[near[0]]}?)" if near else ""


def mail_filters(text: str) -> tuple[MailFilter, ...]:
    """A row of MailFilter: see ``filters``. Raise ValueError."""
    if not text.strip():
        return ()
    from minimta.config import filters  # wanted only by who asks filters

    return filters.read(text)


def filter_names(text: str) -> tuple[str, ...]:
    """The names of InputMailFilters. Raise ValueError."""
    if not text.strip():
        return ()  # asked by every submission, which can import nothing
    from minimta.config import filters

    return filters.names(text)


def filter_macros(text: str) -> tuple[bytes, ...]:
    """A list of macros (Milter.macros.connect). Raise ValueError."""
    from minimta.config import filters

    return filters.macros(text)


def data_size(text: str) -> int:
    """Milter.maxdatasize. Raise ValueError."""
    octets = number(text)
    if octets not in (65535, 262143, 1048575):
        raise ValueError(f"{text.strip()} is none of 65535, 262143, 1048575")
    return octets


def luser_relay(text: str) -> str:
    """LuserRelay: what smart_host() takes, user@host, local:USER, error:TEXT. Raise ValueError."""
    kind, _, rest = text.strip().partition(":")
    if kind.lower() in ("local", "error"):
        if not rest.strip():
            raise ValueError(f"{text.strip()!r} names nothing")
        return text.strip()
    name, at, host = text.strip().rpartition("@")
    if at and not (smart_host(host) and mail_address(name.rpartition(":")[2])):
        raise ValueError(f"{text.strip()!r} is no address")
    if not at:
        smart_host(host)
    return text.strip()
