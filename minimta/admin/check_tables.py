"""What is wrong in the tables and lists that the configuration names, for ``minimta check``.

    AccessFile        rows that nothing obeys, or that make no sense
    TLSPolicy         the level and what belongs to it; keys that are no next hop
    AuthInfoFile      rows with a fault; files of secrets and tokens that are not there, or that others
                      may read. No secret is told
    MailerTable       values that are no mailer:host; keys that look like a pattern
    LoginSenders      keys that are no sender, values that are no users; a file that is not there
    SenderRelay       keys that are no sender, values that are no next hop
    VirtUserTable, GenericsTable
                      values that are not one address
    DKIMSign          rows without selector and key; keys that are not there, or that others may read
    RelayDomains, LocalHostNames, TrustedUsers, and files of classes (GenericsDomain ...)
                      words that are no name

A text is told with its lines, a database (PATH.cdb) by the keys of its rows. Nothing here raises: a file
that cannot be read is a finding, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from minimta.config.options import Options
from minimta.config.values import nearest, smart_host
from minimta.listener import access_problems
from minimta.mailers.remote import dkim_keys, mx_targets, tls_policy, token_file
from minimta.mailers.remote.authinfo import AuthRow
from minimta.mailers.remote.credentials import CredentialStore, source
from minimta.maps.cdb import Cdb
from minimta.maps.table import SUFFIX
from minimta.maps.text_table import numbered_rows
from minimta.message import addresslist
from minimta.routing.route import host_of, is_one_address, table_route
from minimta.system import files, log
from minimta.system.safefile import Untrusted

#: (line or 0, key in small letters, value)
_Row = tuple[int, bytes, bytes]
_NAME_MARKS = "abcdefghijklmnopqrstuvwxyz0123456789-_."
#: the words that a row of AuthInfoFile begins with
_AUTH_TAGS = {"authinfo": "AuthInfo:"}


class Finding(NamedTuple):
    """Something that is not as it should be."""

    path: str
    text: str
    #: from 1; 0: of a database, or of the whole file
    line: int = 0
    #: is it a mistake, and no mere remark?
    is_wrong: bool = True

    def __str__(self) -> str:
        where = f"{self.path}: line {self.line}" if self.line else self.path
        return log.clean(f"{where}: {'' if self.is_wrong else 'Warning: '}{self.text}", 1000)


def findings(options: Options) -> Iterator[Finding]:
    """All that is wrong, file by file."""
    for path, look in (
        (options.access_file, _access),
        (options.tls_policy, _by_rows(_of_tls_policy)),
        (options.sender_relay, _by_rows(_of_sender_relay)),
        (options.mailer_table, _by_rows(_of_mailer_table)),
        (options.virtuser_table, _by_rows(_of_virtual_address)),
        (options.generics_table, _by_rows(_of_generic_address)),
        (options.dkim_sign, _by_rows(_of_signature)),
        (options.login_senders, _login_senders),
        (options.auth_info_file, lambda path: _logins(path, options)),
        (options.relay_domains, _list(_of_relay_word)),
        (options.local_host_names, _list(_of_name)),
        (options.trusted_users, _list(_of_user)),
        *((path, _list(_of_name)) for path in _class_files(options)),
        *((word, _list(_of_user)) for word in options.exposed_users if word[0] == "/"),
    ):
        if path:
            yield from _reading(path, look)


def _class_files(options: Options) -> Iterator[str]:
    domains = (options.masquerade_domain, options.masquerade_exception, options.generics_domain)
    yield from dict.fromkeys(word for words in domains for word in words if word[0] == "/")


def _reading(path: str, look: Callable[[str], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from look(path)
    except PermissionError as error:
        is_wrong = _is_root()
        then = "what needs it waits" if is_wrong else "only root can tell what is in it"
        yield Finding(error.filename or path, f"{error.strerror}; {then}", is_wrong=is_wrong)
    except OSError as error:
        yield Finding(error.filename or path, f"{error.strerror}; what needs it waits")


def _is_root() -> bool:
    return os.geteuid() == 0


# --- tables ---------------------------------------------------------------------------------------


def _rows(path: str) -> tuple[str, Iterator[_Row]]:
    """The file that counts, and its rows; no file is none. Raise OSError, also as they are read."""
    if files.may_exist(path + SUFFIX):
        return path + SUFFIX, ((0, *row) for row in Cdb(path + SUFFIX).records())
    return path, numbered_rows(path) if files.may_exist(path) else iter(())


def _by_rows(problem: Callable[[str, str], str]) -> Callable[[str], Iterator[Finding]]:
    """*problem* says of key and value what is wrong with a row, or ""."""

    def look(path: str) -> Iterator[Finding]:
        where, rows = _rows(path)
        seen = dict[bytes, int]()
        for line, key, value in rows:
            shown = key.decode("utf-8", "replace")
            try:
                text = problem(shown, value.decode("ascii"))
            except UnicodeDecodeError:
                text = "not ASCII"
            except ValueError as error:
                text = str(error)
            if text:
                yield Finding(where, f"row {shown}: {text}", line)
            yield from _again(where, seen, line, key)

    return look


def _again(where: str, seen: dict[bytes, int], line: int, key: bytes) -> Iterator[Finding]:
    first = seen.setdefault(key, line)
    if line and first != line:
        text = f"row {key.decode('utf-8', 'replace')}: line {first} is for the same, and counts"
        yield Finding(where, text, line, is_wrong=False)


def _access(path: str) -> Iterator[Finding]:
    where, rows = _rows(path)
    lines = dict[bytes, int]()
    again: list[Finding] = []

    def keys_and_values() -> Iterator[tuple[bytes, bytes]]:
        for line, key, value in rows:
            again.extend(_again(where, lines, line, key))
            if lines[key] == line:
                yield key, value

    found = [
        Finding(where, str(problem), lines[problem.key], problem.is_wrong)
        for problem in access_problems.problems(keys_and_values())
    ]
    yield from sorted([*found, *again], key=lambda one: one.line)


def _of_tls_policy(key: str, value: str) -> str:
    tls_policy.read_row(value)
    if key[:2] == "*.":
        return f"it does nothing: did you mean {key[1:]}?"
    if key[:1] != ".":
        mx_targets.parse(key)
        if key.isascii():
            smart_host(key)  # a next hop is written alike in both
    return ""


def _of_sender_relay(key: str, value: str) -> str:
    if "@" not in key[:-1]:
        return f"a sender is user@domain or @domain: did you mean @{key}?"
    if not value:
        return "no next hop"
    mx_targets.parse(host_of(smart_host(value)))
    return ""


def _of_mailer_table(key: str, value: str) -> str:
    if key[:2] == "*.":
        return f"it does nothing: did you mean {key[1:]}?"
    found = table_route(value, b"x")
    if found.mailer == "esmtp":
        mx_targets.parse(found.host)
    elif found.mailer == "error" and b"Local configuration error" in found.user:
        mailer = value.partition(":")[0]
        known = {name: f"{name}:" for name in ("esmtp", "smtp", "relay", "local", "error")}
        return f"{value} is no mailer:host{nearest(mailer.lower(), known)}; mail for it waits"
    return ""


def _of_virtual_address(key: str, value: str) -> str:
    if "@" not in key[:-1]:
        return f"an address, or @domain, is wanted: did you mean @{key}?"
    is_error = value[:6].lower() == "error:"
    if not (value[6:].strip() if is_error else is_one_address(value.encode("utf-8"))):
        return f"{value!r} is not one address (several are an alias); mail for it waits"
    return ""


def _of_signature(key: str, value: str) -> str:
    found = dkim_keys.fault_of(key.encode("utf-8"), value.encode("utf-8"))
    if found.endswith("Permission denied") and not _is_root():
        return ""  # only root can tell
    return f"{found}; mail that it signs waits" if found else ""


def _of_generic_address(key: str, value: str) -> str:
    octets = value.encode("utf-8")
    found = addresslist.parse(octets, blanks_separate=False)
    is_one = len(found) == 1 and not found[0].problem and found[0].address == octets
    return "" if is_one else f"{value!r} is no address; mail that it is for waits"


def _login_senders(path: str) -> Iterator[Finding]:
    if not (files.may_exist(path + SUFFIX) or files.may_exist(path)):
        yield Finding(path, "No such file or directory; mail of who has logged in waits")
    yield from _by_rows(_of_login_sender)(path)


def _of_login_sender(key: str, value: str) -> str:
    if "@" not in key[:-1]:
        return f"a sender is user@domain or @domain: did you mean @{key}?"
    is_list = all(len(name.split()) == 1 for name in value.split(","))
    return "" if is_list else f"{value!r} is no list of users with commas between them"


def _logins(path: str, options: Options) -> Iterator[Finding]:
    where = source(path)
    try:
        store = CredentialStore.read(options)
    except Untrusted as error:
        yield Finding(where, f"{error}; it must be root's, mode 600")
        return
    for row in store.rows:
        of_database = where.endswith(SUFFIX)
        if fault := row.fault or _secret_trouble(store, row, options):
            text = f"row {row.key}: {fault}; mail that it is for waits"
            yield Finding(where, text, 0 if of_database else row.line)
        name, _, port = row.key.partition(":")
        if port and ":" not in port and not port.isdigit():
            text = f"row {row.key}: {port} is no port{nearest(name, _AUTH_TAGS)}"
            yield Finding(where, text, 0 if of_database else row.line)


def _secret_trouble(store: CredentialStore, row: AuthRow, options: Options) -> str:
    """What is wrong with the file that the secret of *row* is in; of a token, with its name."""
    trouble = store.trouble(row)
    if not trouble or row.source != "T":
        return trouble
    known = {name: name for name in token_file.names(options.token_directory)}
    return f"{trouble}{nearest(os.fsdecode(row.value), known)}"


# --- lists ----------------------------------------------------------------------------------------


def _list(problem: Callable[[str], str]) -> Callable[[str], Iterator[Finding]]:
    """*problem* says what is wrong with a word, or ""."""

    def look(path: str) -> Iterator[Finding]:
        if not files.may_exist(path):
            return
        for line, word in files.numbered_words(path):
            shown = word.decode("utf-8", "replace")
            text = problem(shown.lower())
            if text:
                yield Finding(path, f"{shown}: {text}; it does nothing", line)

    return look


def _of_name(word: str) -> str:
    """Of a host or domain; "[10.0.3.4]" is one."""
    name = word.removesuffix(".")
    if "@" in word:
        return f"a domain is wanted: did you mean {word.rpartition('@')[2]}?"
    if word[:2] == "*." or word[:1] == ".":
        return f"a name is wanted, without what stands before {word.lstrip('*.')}"
    if name[:1] == "[" and name[-1:] == "]":
        return ""
    is_name = name and not name.strip(_NAME_MARKS) and ".." not in name
    return "" if is_name or not word.isascii() else "no name of a host or domain"


def _of_relay_word(word: str) -> str:
    if "/" in word:
        return "networks are written as Sendmail does, 10.0.3 for 10.0.3.0/24"
    if word.startswith("ipv6:"):
        rest = word.removeprefix("ipv6:")
        return "" if rest and not rest.strip("0123456789abcdef:") else "no network of IPv6"
    if word.count(":") > 1:
        return f"did you mean IPv6:{word}?"
    return _of_name(word)


def _of_user(word: str) -> str:
    return f"a user is wanted: did you mean {word.partition('@')[0]}?" if "@" in word else ""
