"""msmtprc (msmtp(1)): the default account is the smart host, others are for their senders."""

from __future__ import annotations

import re

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

_MSMTP_IDLE = {
    "syslog": "facility mail it is",
    "logfile": "the log is syslog's (LogTo)",
    "logfile_time_format": "the log is syslog's",
    "set_date_header": "a letter has a Date",
    "set_msgid_header": "a letter has a Message-Id",
    "remove_bcc_headers": "Bcc is taken off",
    "add_missing_from_header": "a letter has a From",
    "add_missing_date_header": "a letter has a Date",
    "undisclosed_recipients": "NoRecipientAction may do",
    "protocol": "smtp it is",
    "timeout": "Timeout.connect and others",
    "tls_starttls": "port 465 has TLS from the first octet, others STARTTLS",
    "tls_min_dh_prime_bits": "keys are agreed upon with elliptic curves",
    "tls_priorities": "TLS 1.2 and later",
    "eval": "",
}


class _Account:
    def __init__(self, name: str, place: ForeignPlace) -> None:
        self.name = name
        self.place = place
        self.given: dict[str, tuple[str, ForeignPlace]] = {}

    def get(self, name: str, default: str = "") -> str:
        """The value, *default* if there is none."""
        return self.given.get(name, (default, self.place))[0]

    def identity(self) -> tuple[str, ...]:
        """Two accounts with the same are one for us."""
        return tuple(self.get(name) for name in ("host", "port", "user", "from"))


def carry(text: str, path: str, migration: Migration, included: Reader, own_name: str) -> None:
    """msmtprc: the default account is the smart host, others are for their senders."""
    accounts = _accounts(text, path, migration)
    chosen = accounts.get("default") or next(iter(accounts.values()), None)
    if chosen is None:
        migration.wrong(ForeignPlace(path), "no account at all")
        return
    _msmtp_account(migration, chosen, own_name, is_default=True)
    for account in accounts.values():
        if account.identity() != chosen.identity():
            _msmtp_account(migration, account, own_name, is_default=False)


def _accounts(text: str, path: str, migration: Migration) -> dict[str, _Account]:
    accounts: dict[str, _Account] = {}
    defaults = _Account("", ForeignPlace(path))
    here = defaults
    for number, line in enumerate(text.split("\n"), 1):
        place = ForeignPlace(path, number)
        words = line.strip().split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        value = words[1].strip() if len(words) > 1 else ""
        if words[0] == "defaults":
            here = defaults
        elif words[0] == "account":
            name, _, parents = (part.strip() for part in value.partition(":"))
            here = _Account(name, place)
            here.given.update(defaults.given)
            for parent in parents.replace(",", " ").split():
                if parent not in accounts:
                    migration.wrong(place, f"there is no account {parent} above")
                    continue
                here.given.update(accounts[parent].given)
            accounts[name] = here
        else:
            here.given[words[0]] = _unquoted(value), place
    return accounts


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _msmtp_account(
    migration: Migration, account: _Account, own_name: str, *, is_default: bool
) -> None:
    host, sender = account.get("host"), account.get("from")
    uses_tls = account.get("tls", "off") in ("on", "")
    is_implicit = uses_tls and account.get("tls_starttls", "on") == "off"
    port = account.get("port") or ("465" if is_implicit else "25")
    if is_implicit and port != "465":
        migration.not_carried(
            account.place, f"TLS from the first octet at port {port}: only port 465 has it here"
        )
    has_login = account.get("auth", "off") != "off"
    if is_default:
        place = account.given.get("host", ("", account.place))[1]
        found = relay.relay(migration, host, port, place)
        without_users(migration, found, own_name, "", place)
    elif "@" in sender and "%" not in sender:
        found = hop(host, port)
        migration.row("SenderRelay", sender, found)
    else:
        migration.not_carried(
            account.place,
            f"account {account.name}: only one with a `from' can be chosen, by its sender",
        )
        return
    if has_login:
        _msmtp_login(migration, account, host, port, sender, is_default=is_default)
    if uses_tls and not account.get("tls_fingerprint"):
        relay.encrypted(
            migration, found, account.given.get("tls", ("", account.place))[1], has_login=has_login
        )
    for name, (value, place) in account.given.items():
        if is_default or not _is_common(name):
            _msmtp_line(migration, name, value, place, found, own_name if is_default else "")


def _is_common(name: str) -> bool:
    return name in _MSMTP_IDLE or name in (
        "aliases",
        "tls_trust_file",
        "from",
        "maildomain",
        "domain",
        "auto_from",
    )


def _msmtp_login(
    migration: Migration, account: _Account, host: str, port: str, sender: str, *, is_default: bool
) -> None:
    user, secret, program = (account.get(name) for name in ("user", "password", "passwordeval"))
    key = (host if port == "25" else f"{host}:{port}") if is_default else sender
    where = "" if is_default else f"{host}:{port}"
    methods = {
        "plain": "PLAIN",
        "login": "LOGIN",
        "cram-md5": "CRAM-MD5",
        "scram-sha-256": "SCRAM-SHA-256",
    }
    mechanism = methods.get(account.get("auth").lower(), "")
    place = account.given.get("passwordeval", account.given.get("auth", ("", account.place)))[1]
    if account.get("auth").lower() in ("oauthbearer", "xoauth2"):
        migration.not_carried(place, "auth: an access token: minimta token get, or minimta setup")
    elif secret:
        migration.login(ForeignLogin(key, user, "P", secret, where, mechanism))
    elif words := _cat(program):
        migration.login(ForeignLogin(key, user, "F", words, where, mechanism))
    elif program.startswith("/") and not set(program) & set("|;&<>$`~*'\""):
        migration.login(ForeignLogin(key, user, "C", program, where, mechanism))
        migration.told(
            place,
            f"passwordeval: only root may be able to change {program.split()[0]}, and its environment is empty",
        )
    else:
        text = (
            "passwordeval: a program with its full path, without a shell, or a file"
            if program
            else "auth: no password is here"
        )
        migration.not_carried(place, f"{text}: minimta setup {host}:{port} --user {user}")


def _cat(program: str) -> str:
    """The file that `cat FILE` prints, "" if it is no such command."""
    found = re.fullmatch(r"(?:/bin/|/usr/bin/)?cat\s+(['\"]?)(/[\w./@+-]+)\1", program)
    return found[2] if found else ""


def _msmtp_line(
    migration: Migration, name: str, value: str, place: ForeignPlace, found: str, own_name: str
) -> None:
    if name in ("host", "port", "auth", "user", "password", "passwordeval", "tls"):
        return
    if name == "from" and own_name:
        domain = value.rpartition("@")[2]
        if value.startswith(("%U@", "%u@")):
            migration.option("MasqueradeAs", domain, place)
            migration.option("MasqueradeEnvelope", "True", place)
        elif "%" in value:
            migration.not_carried(place, f"from {value}: only %U@DOMAIN")
        else:
            one_sender(migration, value, own_name, place)
    elif name == "maildomain" and own_name and "%" not in value:
        migration.option("MasqueradeAs", value, place)
        migration.option("MasqueradeEnvelope", "True", place)
    elif name == "domain":
        migration.option("HostName", value, place)
    elif name == "aliases":
        migration.option("AliasFile", value, place)
    elif name == "tls_trust_file":
        relay.authorities(migration, value, place)
    elif name == "tls_cert_file":
        migration.option("ClientCertFile", value, place)
    elif name == "tls_key_file":
        migration.option("ClientKeyFile", value, place)
    elif name == "source_ip":
        family = "inet6" if ":" in value else "inet"
        migration.option("ClientPortOptions", f"Family={family}, Addr={value}", place)
    elif name == "tls_fingerprint":
        relay.fingerprint(migration, found, value, place)
    elif (name, value) in (("allow_from_override", "off"), ("set_from_header", "on")):
        migration.not_carried(
            place, f"{name} {value}: senders of this host are rewritten, those of others stay"
        )
    elif name == "tls_certcheck" and value == "off":
        migration.not_carried(
            place,
            "tls_certcheck off: a login wants a good certificate (CACertFile, or fingerprint in tls-policy)",
        )
    elif name in ("auto_from", "tls_certcheck", "allow_from_override", "set_from_header"):
        migration.no_effect(place, f"{name}: so it is always")
    elif name in _MSMTP_IDLE:
        migration.no_effect(place, f"{name}: {_MSMTP_IDLE[name] or 'so it is always'}")
    else:
        migration.not_carried(place, f"{name}: nothing here is told so")
