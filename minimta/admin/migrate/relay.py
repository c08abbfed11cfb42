"""What programs that only hand mail on have in common: the relay, its login, TLS with it, our name.

All but dma give even local recipients to their hub, which has the mailboxes: MailHub.
"""

from __future__ import annotations

from collections.abc import Callable

from minimta.admin.migrate.migration import ForeignLogin, ForeignPlace, Migration, hop

#: gives the text of a file that another one names, None if there is none
Reader = Callable[[str], str | None]
_SYSTEM_CA = ("/etc/ssl/certs/ca-certificates.crt", "system")


def relay(migration: Migration, host: str, port: str, place: ForeignPlace) -> str:
    """The next hop."""
    found = hop(host, port)
    migration.option("SmartHost", found, place)
    return found


def login(migration: Migration, host: str, port: str, user: str, secret: str) -> None:
    """A password for the relay, for its port if that is not 25."""
    key = host if port in ("", "25") else f"{host}:{port}"
    migration.login(ForeignLogin(key, user, "P", secret))


def encrypted(migration: Migration, found: str, place: ForeignPlace, *, has_login: bool) -> None:
    """TLS that must be there; a login wants it anyway, with a good certificate."""
    if has_login:
        migration.no_effect(place, "TLS: with a login it must be there, with a good certificate")
    else:
        migration.row("TLSPolicy", found, "encrypt")


def authorities(migration: Migration, path: str, place: ForeignPlace) -> None:
    """A file of certificates that are believed, if it is not that of the system."""
    if path in _SYSTEM_CA:
        migration.no_effect(place, f"{path}: the system's authorities are believed anyway")
    else:
        migration.option("CACertFile", path, place)


def named(migration: Migration, text: str, place: ForeignPlace, included: Reader) -> str:
    """HostName, by itself or as the first line of a file."""
    name = (included(text) or "").strip().partition("\n")[0] if text.startswith("/") else text
    if name:
        migration.option("HostName", name, place)
    return name


def fingerprint(migration: Migration, found: str, value: str, place: ForeignPlace) -> None:
    """The certificate of a next hop by its SHA-256."""
    digits = value.replace(":", "").lower()
    if len(digits) == 64:
        migration.row("TLSPolicy", found, f"fingerprint match={digits}")
    else:
        migration.not_carried(place, "a fingerprint is that of SHA-256, 64 digits")
