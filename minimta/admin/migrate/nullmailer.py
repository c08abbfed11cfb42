"""remotes, and the files beside it: me, defaultdomain, adminaddr ... (nullmailer-send(8))."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable

from minimta.admin.migrate import relay
from minimta.admin.migrate.migration import (
    ForeignLogin,
    ForeignPlace,
    Migration,
    hop,
    one_sender,
    without_users,
)
from minimta.admin.migrate.relay import Reader

#: words of `remotes' that have no value
_FLAGS = ("tls", "ssl", "starttls", "auth-login", "insecure")
#: files beside `remotes' -> why they do nothing here
_NULLMAILER_IDLE = {
    "pausetime": "the runner tries again by itself (-q15m, MinQueueAge)",
    "maxpause": "the runner tries again by itself (MaxQueueAge)",
    "sendtimeout": "Timeout.connect and others",
    "idhost": "Message-Ids have this host's name",
}


def carry(text: str, path: str, migration: Migration, included: Reader, own_name: str) -> None:
    """remotes, and what stands in files beside it."""
    directory = os.path.dirname(path)

    def beside(name: str) -> str:
        return (included(os.path.join(directory, name)) or "").strip().partition("\n")[0].strip()

    hops = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            found = _remote(line, ForeignPlace(path, number), migration)
            hops += [found] if found else []
    if hops:
        migration.option("SmartHost", ", ".join(hops), ForeignPlace(path))
        if not beside("adminaddr"):
            without_users(migration, ", ".join(hops), own_name, "", ForeignPlace(path))
    name = beside("me") or (included("/etc/mailname") or "").strip().partition("\n")[0]
    origin = beside("defaulthost") or name
    if origin and "." not in origin and beside("defaultdomain"):
        origin = f"{origin}.{beside('defaultdomain')}"
    if origin:
        where = os.path.join(directory, "defaulthost" if beside("defaulthost") else "me")
        migration.option("HostName", origin, ForeignPlace(where))
    _nullmailer_rest(migration, directory, beside, origin or own_name)


def _remote(line: str, place: ForeignPlace, migration: Migration) -> str:
    try:
        host, *words = shlex.split(line)
    except ValueError as error:
        migration.wrong(place, str(error))
        return ""
    if words[:1] == ["qmqp"]:
        migration.not_carried(place, f"{host}: QMQP is not spoken here")
        return ""
    words = words[1:] if words[:1] == ["smtp"] else words
    given = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not equals and not word.startswith("--") and name not in _FLAGS:
            # Not shown: "--pass SECRET" is no option of nullmailer's, either.
            migration.wrong(place, "a word that is no option: --NAME=VALUE is wanted")
            continue
        given[name] = value
    is_implicit = "tls" in given or "ssl" in given
    port = given.pop("port", "465" if is_implicit else "25")
    found = hop(host, port)
    if is_implicit and port != "465":
        migration.not_carried(
            place, f"TLS from the first octet at port {port}: only port 465 has it here"
        )
    user, secret = given.pop("user", ""), given.pop("pass", "")
    if user:
        mechanism = "LOGIN" if "auth-login" in given else ""
        key = host if port == "25" else f"{host}:{port}"
        migration.login(ForeignLogin(key, user, "P", secret, mechanisms=mechanism))
    if is_implicit or "starttls" in given:
        relay.encrypted(migration, found, place, has_login=bool(user))
    for name in ("tls", "ssl", "starttls", "auth-login"):
        given.pop(name, None)
    for name, value in given.items():
        _remote_option(migration, name, value, place)
    return found


def _remote_option(migration: Migration, name: str, value: str, place: ForeignPlace) -> None:
    options = {
        "x509cafile": "CACertFile",
        "x509certfile": "ClientCertFile",
        "x509keyfile": "ClientKeyFile",
    }
    if name == "x509cafile":
        relay.authorities(migration, value, place)
    elif name in options:
        migration.option(options[name], value, place)
    elif name == "source":
        family = "inet6" if ":" in value else "inet"
        migration.option("ClientPortOptions", f"Family={family}, Addr={value}", place)
    elif name == "insecure":
        migration.not_carried(
            place,
            "insecure: a login wants a good certificate (CACertFile, or fingerprint in tls-policy)",
        )
    else:
        migration.not_carried(place, f"{name}: nothing here is told so")


def _nullmailer_rest(
    migration: Migration, directory: str, beside: Callable[[str], str], name: str
) -> None:
    admin = beside("adminaddr").partition(",")[0].strip()
    if admin:
        place = ForeignPlace(os.path.join(directory, "adminaddr"))
        migration.row("VirtUserTable", f"@{name}", admin)
        migration.told(place, f"all mail for users of this host goes to {admin} (VirtUserTable)")
    if beside("allmailfrom"):
        one_sender(
            migration,
            beside("allmailfrom"),
            name,
            ForeignPlace(os.path.join(directory, "allmailfrom")),
        )
    if beside("doublebounceto"):
        migration.option(
            "DoubleBounceAddress",
            beside("doublebounceto"),
            ForeignPlace(os.path.join(directory, "doublebounceto")),
        )
    if beside("queuelifetime"):
        migration.option(
            "Timeout.queuereturn",
            f"{beside('queuelifetime')}s",
            ForeignPlace(os.path.join(directory, "queuelifetime")),
        )
    helo = beside("helohost")
    if helo and helo != name:
        migration.not_carried(
            ForeignPlace(os.path.join(directory, "helohost")),
            "helohost: HELO says this host's name (HostName)",
        )
    for idle, reason in _NULLMAILER_IDLE.items():
        if beside(idle):
            migration.no_effect(ForeignPlace(os.path.join(directory, idle)), reason)
