"""TLS in main.cf: how much of it the next hop needs, certificates, and who vouches for others (postconf(5))."""

from __future__ import annotations

from collections.abc import Callable

from minimta.admin.migrate.postfix_file import MainCf, hop_of


def level(cf: MainCf, name: str) -> None:
    """How much TLS the next hop needs."""
    value, place = cf.value(name), cf.place(name)
    ours = {
        "encrypt": "encrypt",
        "verify": "verify",
        "secure": "verify",
        "dane-only": "dane-only",
        "none": "none",
    }
    if value in ("", "may", "dane"):
        cf.migration.no_effect(place, f"{name}: TLS is used wherever it is offered")
        return
    relay = hop_of(cf.value("relayhost"))
    if value not in ours or not relay:
        cf.migration.not_carried(place, f"{name} = {value}: a row for each next hop in tls-policy")
    elif value == "encrypt" and cf.value("smtp_sasl_password_maps"):
        cf.migration.no_effect(
            place, f"{name}: with a login TLS must be there, with a good certificate"
        )
    else:
        cf.migration.row("TLSPolicy", relay, ours[value])


def certificate(option: str) -> Callable[[MainCf, str], None]:
    """What carries a certificate, or its key, to *option*."""

    def carry(cf: MainCf, name: str) -> None:
        value = cf.value(name)
        if "snakeoil" in value:
            cf.migration.no_effect(
                cf.place(name), f"{name}: minimta install makes a certificate of its own"
            )
        elif value and value != "none":
            cf.migration.option(option, value, cf.place(name))

    return carry


def authorities(cf: MainCf, name: str) -> None:
    """Who is believed when they vouch for another host."""
    value = cf.value(name)
    if value in ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs", ""):
        cf.migration.no_effect(
            cf.place(name), f"{name}: the system's authorities are believed anyway"
        )
    else:
        option = "CACertPath" if name.endswith("CApath") else "CACertFile"
        cf.migration.option(option, value, cf.place(name))
