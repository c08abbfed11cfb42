"""ssmtp.conf and revaliases (ssmtp.conf(5)): all mail goes to one hub, under its names."""

from __future__ import annotations

import os

from minimta.admin.migrate import relay
from minimta.admin.migrate.migration import (
    ForeignLogin,
    ForeignPlace,
    Migration,
    hop,
    without_users,
)
from minimta.admin.migrate.relay import Reader

#: an address with one of these would be a program, a file or several addresses in our aliases
_NO_ADDRESS = set('|/:"\\, ')
_YES = ("yes", "on", "true", "1")
_SSMTP_IDLE = {"debug": "for the log alone", "authmethod": "M: in a row of authinfo"}


def carry(text: str, path: str, migration: Migration, included: Reader, own_name: str) -> None:
    """ssmtp.conf, and revaliases beside it."""
    given = _pairs(text, path, "=", migration)
    host, _, port = given.get("mailhub", ("", ForeignPlace(path)))[0].partition(":")
    place = given.get("mailhub", ("", ForeignPlace(path)))[1]
    user, secret = given.get("authuser", ("", place))[0], given.get("authpass", ("", place))[0]
    uses_tls = given.get("usetls", ("no", place))[0].lower() in _YES
    uses_starttls = given.get("usestarttls", ("no", place))[0].lower() in _YES
    if uses_tls and not uses_starttls and port not in ("465",):
        migration.told(
            place,
            "UseTLS without UseSTARTTLS is TLS from the first octet, which only port 465 has here",
        )
        port = port or "465"
    if host:
        found = relay.relay(migration, host, port, place)
        domain = given.get("rewritedomain", ("", place))[0]
        name = given.get("hostname", ("", place))[0] or own_name
        root, line = given.get("root", ("", place))
        if "@" in root and not set(root) & _NO_ADDRESS:
            migration.row("AliasFile", "root", root)
        without_users(migration, found, name, domain, place)
        if uses_tls or uses_starttls:
            line = given["usetls" if uses_tls else "usestarttls"][1]
            relay.encrypted(migration, found, line, has_login=bool(user))
        if user:
            relay.login(migration, host, port, user, secret)
            method = given.get("authmethod", ("", place))[0]
            if method.lower() == "cram-md5":
                migration.logins[-1:] = [
                    ForeignLogin(migration.logins[-1].key, user, "P", secret, mechanisms="CRAM-MD5")
                ]
    name = given.get("hostname", ("", place))[0]
    if name:
        migration.option("HostName", name, given["hostname"][1])
    for key, (value, line) in given.items():
        _ssmtp_line(migration, key, value, line)
    revaliases = included(os.path.join(os.path.dirname(path), "revaliases"))
    if revaliases:
        carry_revaliases(revaliases, os.path.join(os.path.dirname(path), "revaliases"), migration)


def _ssmtp_line(migration: Migration, key: str, value: str, place: ForeignPlace) -> None:
    if key in ("mailhub", "authuser", "authpass", "hostname", "usetls", "usestarttls"):
        return
    if key == "root":
        if set(value) & _NO_ADDRESS:
            # What ssmtp sends as an address would be a program or a file in our aliases.
            migration.wrong(place, "root: an address, or a user, is wanted")
        elif "@" in value:
            migration.row("AliasFile", "root", value)
            migration.told(
                place,
                "root: ssmtp gives it the mail of all users with a number below 1000; here root's",
            )
        else:
            migration.no_effect(
                place, f"root={value}: mail of users goes to the hub under their names"
            )
    elif key == "rewritedomain" and value:
        migration.option("MasqueradeAs", value, place)
        migration.option("MasqueradeEnvelope", "True", place)
    elif key == "fromlineoverride":
        if value.lower() in _YES:
            migration.no_effect(place, "FromLineOverride: users' own From stays")
        else:
            migration.not_carried(
                place, "FromLineOverride=NO: users' own From stays, unless it is of this host"
            )
    elif key in ("tlscert", "tlskey"):
        option = "ClientCertFile" if key == "tlscert" else "ClientKeyFile"
        migration.option(option, value, place)
    elif key == "tls_ca_file":
        relay.authorities(migration, value, place)
    elif not value or key in _SSMTP_IDLE:
        migration.no_effect(place, f"{key}: {_SSMTP_IDLE.get(key, 'it is empty')}")
    else:
        migration.not_carried(place, f"{key}: nothing here is told so")


def carry_revaliases(text: str, path: str, migration: Migration) -> None:
    """local_account:outgoing_address:mailhub[:port]."""
    for number, line in enumerate(text.split("\n"), 1):
        parts = line.strip().split(":")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if len(parts) < 2 or "@" not in parts[1]:
            migration.wrong(
                ForeignPlace(path, number), "local_account:outgoing_address:mailhub is wanted"
            )
            continue
        migration.row("GenericsTable", parts[0], parts[1])
        migration.option("MasqueradeEnvelope", "True", ForeignPlace(path, number))
        if len(parts) > 2 and parts[2]:
            found = hop(parts[2], parts[3] if len(parts) > 3 else "25")
            if found != migration.last("SmartHost"):
                migration.row("SenderRelay", parts[1], found)


def _pairs(
    text: str, path: str, mark: str, migration: Migration
) -> dict[str, tuple[str, ForeignPlace]]:
    """name in small letters -> value, place; the last of a name counts."""
    found: dict[str, tuple[str, ForeignPlace]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.strip().partition(mark)
        if not equals:
            migration.wrong(ForeignPlace(path, number), f"name{mark}value is wanted")
            continue
        found[name.strip().lower()] = value.strip(), ForeignPlace(path, number)
    return found
