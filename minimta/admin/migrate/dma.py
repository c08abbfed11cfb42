"""dma.conf and auth.conf (dma(8))."""

from __future__ import annotations

import os

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

_DMA_IDLE = {
    "SPOOLDIR": "the queue is minimta's own",
    "SECURE": "a login is sent only inside of TLS",
    "FULLBOUNCE": "-R and the sender's wish say how much a bounce has",
    "OPPORTUNISTIC_TLS": "TLS is used wherever it is offered",
    "STARTTLS": "port 465 has TLS from the first octet, others STARTTLS",
    "AUTHPATH": "",
    "PORT": "",
    "NULLCLIENT": "",
    "SMARTHOST": "",
}


def carry(text: str, path: str, migration: Migration, included: Reader, own_name: str) -> None:
    """dma.conf, and the file of its logins."""
    given: dict[str, tuple[str, ForeignPlace]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split(None, 1)
        if words:
            given[words[0].upper()] = (
                (words[1].strip() if len(words) > 1 else ""),
                ForeignPlace(path, number),
            )
    logins = _dma_logins(given, path, migration, included)
    host, place = given.get("SMARTHOST", ("", ForeignPlace(path)))
    port = given.get("PORT", ("25", place))[0]
    if host:
        found = relay.relay(migration, host, port, place)
        if "NULLCLIENT" in given:
            without_users(migration, found, own_name, "", given["NULLCLIENT"][1])
        if "SECURETRANSFER" in given and "OPPORTUNISTIC_TLS" not in given:
            relay.encrypted(migration, found, given["SECURETRANSFER"][1], has_login=host in logins)
        if "SECURETRANSFER" in given and "STARTTLS" not in given and port != "465":
            migration.not_carried(
                given["SECURETRANSFER"][1],
                f"TLS from the first octet at port {port}: only port 465 has it here",
            )
    name = own_name
    if "MAILNAME" in given:
        name = (
            relay.named(migration, given["MAILNAME"][0], given["MAILNAME"][1], included) or own_name
        )
    for key, (value, where) in given.items():
        _dma_line(migration, key, value, where, name, hop(host, port) if host else "")


def _dma_logins(
    given: dict[str, tuple[str, ForeignPlace]], path: str, migration: Migration, included: Reader
) -> set[str]:
    where = given.get(
        "AUTHPATH", (os.path.join(os.path.dirname(path), "auth.conf"), ForeignPlace(path))
    )[0]
    text = included(where)
    return carry_logins(text, where, migration) if text else set()


def carry_logins(text: str, path: str, migration: Migration) -> set[str]:
    """user|host:password; gives the hosts."""
    hosts = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, bar, rest = line.strip().partition("|")
        host, colon, secret = rest.partition(":")
        if not (bar and colon and user):
            migration.wrong(ForeignPlace(path, number), "user|host:password is wanted")
            continue
        hosts.add(host)
        migration.login(ForeignLogin(host, user, "P", secret))
    return hosts


def _dma_line(
    migration: Migration, key: str, value: str, place: ForeignPlace, name: str, found: str
) -> None:
    if key == "ALIASES":
        migration.option("AliasFile", value, place)
    elif key == "MASQUERADE":
        user, at, domain = value.rpartition("@")
        one_sender(migration, f"{user}@{domain or name}" if at else f"@{value}", name, place)
        migration.told(
            place, "MASQUERADE: senders of this host become it in the header, too; others stay"
        )
    elif key == "CERTFILE" and value:
        migration.option("ClientCertFile", value, place)
    elif key == "FINGERPRINT":
        relay.fingerprint(migration, found, value, place)
    elif key == "DEFER":
        migration.option("DeliveryMode", "queueonly", place)
    elif key == "INSECURE":
        migration.not_carried(place, "INSECURE: a login is sent only inside of TLS")
    elif key in _DMA_IDLE:
        if _DMA_IDLE[key]:
            migration.no_effect(place, f"{key}: {_DMA_IDLE[key]}")
    elif key not in ("MAILNAME", "SECURETRANSFER"):
        migration.not_carried(place, f"{key}: nothing here is told so")
