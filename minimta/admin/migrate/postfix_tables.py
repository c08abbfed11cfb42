"""Tables of Postfix that main.cf names, row by row in ours: logins, addresses, next hops."""

from __future__ import annotations

import re

from minimta.admin.migrate.migration import ForeignLogin, ForeignPlace, Migration
from minimta.admin.migrate.postfix_file import MainCf, hop_of, table_of


def carry_logins(text: str, path: str, migration: Migration) -> None:
    """sasl_passwd by itself: "[host]:port user:password"."""
    for number, line in enumerate(text.split("\n"), 1):
        key, value = [*line.split(None, 1), "", ""][:2]
        if not key or key.startswith("#"):
            continue
        user, colon, secret = value.strip().partition(":")
        if not colon or not user or "@" in key:
            migration.wrong(
                ForeignPlace(path, number),
                "[host]:port user:password is wanted; a sender needs main.cf",
            )
            continue
        migration.login(
            ForeignLogin(hop_of(key).replace("[", "").replace("]", ""), user, "P", secret)
        )


def logins(cf: MainCf, name: str) -> None:
    """sasl_passwd: a row for each host, or for a sender at the relay; or static:user:password for it."""
    static = re.fullmatch(r"static:\{?\s*([^:\s]+):(.+?)\s*\}?", cf.value(name))
    relay = hop_of(cf.value("relayhost")).replace("[", "").replace("]", "")
    if static and relay:
        cf.migration.login(ForeignLogin(relay, static[1], "P", static[2]))
        return
    for number, path, key, value in table_of(cf, name):
        user, colon, secret = value.partition(":")
        if not colon or not user:
            cf.migration.wrong(ForeignPlace(path, number), "no user:password")
            continue
        if "@" in key:
            host = cf.migration.last("SmartHost") or hop_of(cf.value("relayhost"))
            bare = host.replace("[", "").replace("]", "")
            cf.migration.login(ForeignLogin(key, user, "P", secret, host=bare))
        else:
            cf.migration.login(
                ForeignLogin(hop_of(key).replace("[", "").replace("]", ""), user, "P", secret)
            )


def generic(cf: MainCf, name: str) -> None:
    """smtp_generic_maps and its kin: addresses of senders as others see them."""
    domains: dict[str, None] = {}
    for _, _, key, value in table_of(cf, name):
        cf.migration.row("GenericsTable", key, value)
        user, _, domain = key.lower().rpartition("@")
        if user and domain == cf.origin().lower():
            # Postfix looks them up as myorigin has made them, minimta as they are here.
            cf.migration.row("GenericsTable", f"{user}@{cf.host}", value)
        domains[domain] = None
    for domain in domains:
        if "." in domain:
            cf.migration.option("GenericsDomain", domain, cf.place(name))
    if domains:
        cf.migration.option("MasqueradeEnvelope", "True", cf.place(name))
    if domains and name == "canonical_maps":
        cf.migration.told(cf.place(name), f"{name}: senders are rewritten, recipients are not")


def virtual(cf: MainCf, name: str) -> None:
    """virtual_alias_maps: rows of one address, aliases, and domains of ours."""
    for number, path, key, value in table_of(cf, name):
        if "," in value or len(value.split()) > 1:
            cf.migration.not_carried(
                ForeignPlace(path, number), f"{key}: several recipients are an alias"
            )
        elif "@" in key:
            cf.migration.row("VirtUserTable", key, value)
        elif "." in key:
            cf.migration.word("LocalHostNames", key)
        elif set(value) & set('|/:"\\'):
            # What is an address there would be a program or a file in our aliases.
            cf.migration.wrong(ForeignPlace(path, number), f"{key}: an address is wanted")
        else:
            cf.migration.row("AliasFile", key, value)


def transport(cf: MainCf, name: str) -> None:
    """transport_maps: the next hop of a domain."""
    for number, path, key, value in table_of(cf, name):
        kind, _, place = value.partition(":")
        domain = "." if key == "*" else key
        if kind in ("smtp", "relay", "") and place and "@" not in key:
            cf.migration.row("MailerTable", domain, f"esmtp:{hop_of(place)}")
        elif kind == "error" and "@" not in key:
            cf.migration.row("MailerTable", domain, f"error:5.7.1:550 {place or 'not accepted'}")
        else:
            cf.migration.not_carried(
                ForeignPlace(path, number),
                f"{key} {value}: only smtp:, relay: and error: of domains",
            )


def sender_relay(cf: MainCf, name: str) -> None:
    """sender_dependent_relayhost_maps: the next hop of a sender."""
    for _, _, key, value in table_of(cf, name):
        cf.migration.row("SenderRelay", key, hop_of(value))
