"""main.cf of Postfix, of a null client or small host: what each parameter is here (postconf(5)).

Names that say here what they say there come from ``config.postfix_names``; those whose values are
written otherwise have a function. ``$name`` is what the file says of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from minimta.admin.migrate import postfix_tables, postfix_tls
from minimta.admin.migrate.migration import ForeignPlace, Migration, without_users
from minimta.admin.migrate.postfix_file import (
    TEXT_TABLES,
    MainCf,
    next_hop,
    read,
    relay_words,
)

Reader = Callable[[str], str | None]
#: parameter -> why it does nothing here
_IDLE = {
    "biff": "nobody is told of new mail on a terminal",
    "append_dot_mydomain": "domains are never completed",
    "append_at_myorigin": "addresses without a domain are completed",
    "readme_directory": "paths of Postfix",
    "html_directory": "paths of Postfix",
    "manpage_directory": "paths of Postfix",
    "sample_directory": "paths of Postfix",
    "command_directory": "paths of Postfix",
    "daemon_directory": "paths of Postfix",
    "data_directory": "paths of Postfix",
    "queue_directory": "the queue is minimta's own",
    "meta_directory": "paths of Postfix",
    "shlib_directory": "paths of Postfix",
    "sendmail_path": "paths of Postfix",
    "newaliases_path": "paths of Postfix",
    "mailq_path": "paths of Postfix",
    "mail_owner": "users of Postfix",
    "setgid_group": "users of Postfix",
    "compatibility_level": "Postfix's own defaults",
    "alias_database": "newaliases compiles what AliasFile names",
    "mailbox_size_limit": "mailboxes have no limit",
    "recipient_delimiter": "user+detail is always understood",
    "smtp_sasl_auth_enable": "a row in authinfo does that",
    "smtp_sasl_security_options": "a login is never without a name",
    "smtp_sasl_tls_security_options": "a login is never without a name",
    "smtp_sasl_mechanism_filter": "M: in a row of authinfo",
    "smtp_use_tls": "TLS is used wherever it is offered",
    "smtp_enforce_tls": "with a login TLS must be there",
    "smtpd_use_tls": "STARTTLS is offered where there is a certificate",
    "smtp_tls_note_starttls_offer": "for the log alone",
    "smtp_tls_loglevel": "for the log alone",
    "smtpd_tls_loglevel": "for the log alone",
    "smtp_tls_session_cache_database": "sessions are kept in memory",
    "smtpd_tls_session_cache_database": "sessions are kept in memory",
    "smtp_tls_session_cache_timeout": "sessions are kept in memory",
    "smtpd_tls_security_level": "STARTTLS is offered where there is a certificate",
    "smtp_tls_mandatory_protocols": "TLS 1.2 and later",
    "smtp_tls_protocols": "TLS 1.2 and later",
    "smtpd_tls_protocols": "TLS 1.2 and later",
    "smtpd_tls_mandatory_protocols": "TLS 1.2 and later",
    "smtp_tls_wrappermode": "port 465 has TLS from the first octet",
    "smtpd_banner": "SmtpGreetingMessage has its own",
    "smtpd_relay_restrictions": "strangers may not relay",
    "mail_name": "words for people",
    "debug_peer_level": "for the log alone",
    "debugger_command": "for the log alone",
    "maillog_file": "the log is syslog's (LogTo)",
    "notify_classes": "bounces that cannot be delivered go to DoubleBounceAddress",
    "unknown_local_recipient_reject_code": "550 it is",
    "smtputf8_enable": "SMTPUTF8 is offered",
    "strict_rfc821_envelopes": "addresses need no angle brackets",
    "local_recipient_maps": "users and aliases",
    "relay_transport": "by MX, or the mailer table",
    "best_mx_transport": "a domain whose best MX is this host is a loop",
}  # fmt: skip
_OWN = ("$myhostname", "localhost")


def carry(text: str, path: str, migration: Migration, included: Reader, own_name: str) -> None:
    """Carry *text*, the file *path*. *included* gives the text of tables; *own_name* is this host's."""
    cf = MainCf(path, migration, included)
    read(cf, text)
    host = cf.host = cf.value("myhostname") or own_name
    cf.values.setdefault("mydomain", (host.partition(".")[2] or "localdomain", ForeignPlace(path)))
    for name in cf.values:
        if name in _CARRY:
            _CARRY[name](cf, name)
        elif not _is_idle(cf, name) and name not in _TOGETHER:
            _unknown(cf, name)
    _names(cf)
    _without_local(cf)


def _is_idle(cf: MainCf, name: str) -> bool:
    reason = _IDLE.get(name, "")
    if reason:
        cf.migration.no_effect(cf.place(name), f"{name}: {reason}")
    return bool(reason)


def _unknown(cf: MainCf, name: str) -> None:
    if not cf.value(name):
        cf.migration.no_effect(cf.place(name), f"{name}: it is empty")
        return
    cf.migration.not_carried(cf.place(name), f"{name}: nothing here is told so")


# --- what is carried ------------------------------------------------------------------------------


def _simple(option: str) -> Callable[[MainCf, str], None]:
    def carry(cf: MainCf, name: str) -> None:
        value = cf.value(name)
        if value:
            cf.migration.option(option, value, cf.place(name))

    return carry


def _relayhost(cf: MainCf, name: str) -> None:
    value = cf.value(name)
    if not value:
        cf.migration.no_effect(cf.place(name), f"{name}: it is empty: mail goes by MX")
        return
    try:
        cf.migration.option("SmartHost", next_hop(value), cf.place(name))
    except ValueError as error:
        cf.migration.wrong(cf.place(name), f"{name}: {error}")


def _host_name(cf: MainCf, name: str) -> None:
    cf.migration.option("HostName", cf.value(name), cf.place(name))


def _names(cf: MainCf) -> None:
    """myorigin and mydomain: what senders without a domain are called."""
    host = cf.host
    cf.values.setdefault("myhostname", (host, ForeignPlace(cf.path)))
    origin, place = cf.origin(), cf.place("myorigin")
    if cf.value("myorigin") and not origin:
        cf.migration.not_carried(
            place, f"myorigin: {cf.value('myorigin')}: no name of a host is there"
        )
    if origin and origin.lower() != host.lower():
        cf.migration.option("MasqueradeAs", origin, place)
        cf.migration.option("MasqueradeEnvelope", "True", place)
    words = [
        word for word in re.split(r"[,\s]+", cf.values.get("mydestination", ("", place))[0]) if word
    ]
    for word in words:
        full = cf.expanded(word)
        if word in _OWN or full.lower() in (
            host.lower(),
            "localhost",
            host.lower().partition(".")[0],
        ):
            continue
        if ":" in full or full.startswith("/"):
            cf.migration.not_carried(
                cf.place("mydestination"), f"mydestination: {full}: a table of names"
            )
        else:
            cf.migration.word("LocalHostNames", full)


def _without_local(cf: MainCf) -> None:
    """A null client: mydestination is empty, or local delivery an error; the relay has the users."""
    is_null = "mydestination" in cf.values and not cf.value("mydestination")
    transport = cf.value("local_transport")
    is_null = is_null or transport.startswith("error")
    relay = cf.migration.last("SmartHost")
    if is_null and relay:
        place = cf.place("mydestination" if "mydestination" in cf.values else "local_transport")
        origin = cf.origin()
        without_users(cf.migration, relay, cf.host, origin, place)
    elif transport and not transport.startswith(("local", "error")):
        cf.migration.not_carried(cf.place("local_transport"), f"local_transport: {transport}")


def _interfaces(cf: MainCf, name: str) -> None:
    value, place = cf.value(name), cf.place(name)
    words = [word for word in re.split(r"[,\s]+", value) if word]
    if value in ("loopback-only", "localhost") or all(
        word in ("127.0.0.1", "::1", "[::1]", "localhost") for word in words
    ):
        cf.migration.no_effect(place, f"{name}: so it is by default")
        return
    if "all" in words:
        cf.migration.option("DaemonPortOptions", "Name=MTA, Addr=0.0.0.0, Port=25", place)
        if cf.value("inet_protocols") not in ("ipv4",):
            cf.migration.option("DaemonPortOptions", "Name=MTA-v6, Addr=::, Port=25, M=O", place)
        return
    for number, word in enumerate(words):
        given = "127.0.0.1" if word == "localhost" else word.strip("[]")
        cf.migration.option(
            "DaemonPortOptions", f"Name=MTA{number or ''}, Addr={given}, Port=25", place
        )


def _protocols(cf: MainCf, name: str) -> None:
    family = {"ipv4": "inet", "ipv6": "inet6"}.get(cf.value(name))
    if family:
        cf.migration.option("ClientPortOptions", f"Family={family}", cf.place(name))
    else:
        cf.migration.no_effect(cf.place(name), f"{name}: both are used")


def _networks(cf: MainCf, name: str) -> None:
    for word in re.split(r"[,\s]+", cf.value(name)):
        if not word:
            continue
        try:
            words = relay_words(word)
        except ValueError:
            cf.migration.not_carried(
                cf.place(name), f"{name}: {word}: relay-domains has networks of whole octets"
            )
            continue
        cf.migration.word("RelayDomains", *words)


def _relay_domains(cf: MainCf, name: str) -> None:
    for word in re.split(r"[,\s]+", cf.values[name][0]):
        if word and word != "$mydestination":
            if ":" in word or word.startswith("/"):
                cf.migration.not_carried(cf.place(name), f"{name}: {word}: a table of names")
            else:
                cf.migration.word("RelayDomains", cf.expanded(word))


def _aliases(cf: MainCf, name: str) -> None:
    paths = []
    for word in re.split(r"[,\s]+", cf.value(name)):
        kind, colon, path = word.partition(":")
        if not word:
            continue
        if colon and kind not in TEXT_TABLES:
            cf.migration.not_carried(cf.place(name), f"{name}: {word}: aliases are files here")
            continue
        paths.append(path if colon else word)
    if paths:
        cf.migration.option("AliasFile", ", ".join(paths), cf.place(name))


def _home_mailbox(cf: MainCf, name: str) -> None:
    if cf.value(name).endswith("/"):
        cf.migration.option("LocalMailer", "maildir", cf.place(name))
    elif cf.value(name):
        cf.migration.not_carried(cf.place(name), f"{name}: mailboxes are in MailboxDirectory")


def _mailbox_command(cf: MainCf, name: str) -> None:
    value = cf.values[name][0].strip('"').strip()
    if not value:
        return
    if "procmail" in value.split()[0]:
        cf.migration.option("LocalMailer", f"|{value.split()[0]} -t -a $h", cf.place(name))
    else:
        cf.migration.not_carried(
            cf.place(name), f"{name}: {value[:40]}: LocalMailer = |/PROGRAM, with $u, $h and $f"
        )


def _mailbox_transport(cf: MainCf, name: str) -> None:
    value = cf.value(name)
    kind, _, place = value.partition(":")
    if kind == "lmtp" and place:
        path = place.removeprefix("unix:").removeprefix("inet:")
        path = path if path.startswith("/") or ":" in path else f"/var/spool/postfix/{path}"
        cf.migration.option("LocalMailer", f"lmtp:{path}", cf.place(name))
    elif value:
        cf.migration.not_carried(cf.place(name), f"{name}: {value}")


def _privacy(word: str) -> Callable[[MainCf, str], None]:
    def carry(cf: MainCf, name: str) -> None:
        if cf.value(name) == "yes":
            kept = cf.migration.last("PrivacyOptions")
            cf.migration.option("PrivacyOptions", f"{kept}, {word}", cf.place(name))
        else:
            cf.migration.no_effect(cf.place(name), f"{name}: no")

    return carry


def _time(option: str) -> Callable[[MainCf, str], None]:
    def carry(cf: MainCf, name: str) -> None:
        value = cf.value(name)
        cf.migration.option(option, "0" if value in ("0h", "0") else value, cf.place(name))

    return carry


def _milters(cf: MainCf, name: str) -> None:
    names = []
    action = {"accept": "", "tempfail": "F=T", "reject": "F=R"}.get(
        cf.value("milter_default_action"), "F=T"
    )
    for number, word in enumerate(re.split(r"[,\s]+", cf.value(name))):
        if not word:
            continue
        filter_name, socket = f"filter{number + 1}", word
        inet = re.fullmatch(r"inet:(.*):(\d+)", word)
        if inet:
            socket = f"inet:{inet[2]}@{inet[1]}"
        elif word.startswith("unix:") and not word.startswith("unix:/"):
            socket = f"unix:/var/spool/postfix/{word[5:]}"
        row = ", ".join(part for part in (filter_name, f"S={socket}", action) if part)
        if cf.migration.option("MailFilter", row, cf.place(name)):
            names.append(filter_name)
    if names:
        cf.migration.option("InputMailFilters", ", ".join(names), cf.place(name))


def _default_transport(cf: MainCf, name: str) -> None:
    value = cf.value(name)
    if value.startswith("error"):
        words = value.partition(":")[2].strip() or "this machine sends no mail to other hosts"
        cf.migration.row("MailerTable", ".", f"error:5.7.1:550 {words}")
    elif value not in ("smtp", "relay"):
        cf.migration.not_carried(cf.place(name), f"{name}: {value}")


#: read where something else is
_TOGETHER = ("mydestination", "myorigin", "mydomain", "milter_default_action", "local_transport")
_CARRY: dict[str, Callable[[MainCf, str], None]] = {
    "relayhost": _relayhost,
    "myhostname": _host_name,
    "inet_interfaces": _interfaces,
    "inet_protocols": _protocols,
    "mynetworks": _networks,
    "relay_domains": _relay_domains,
    "alias_maps": _aliases,
    "smtp_sasl_password_maps": postfix_tables.logins,
    "smtp_tls_security_level": postfix_tls.level,
    "smtp_tls_CAfile": postfix_tls.authorities,
    "smtp_tls_CApath": postfix_tls.authorities,
    "smtp_tls_cert_file": postfix_tls.certificate("ClientCertFile"),
    "smtp_tls_key_file": postfix_tls.certificate("ClientKeyFile"),
    "smtpd_tls_cert_file": postfix_tls.certificate("ServerCertFile"),
    "smtpd_tls_key_file": postfix_tls.certificate("ServerKeyFile"),
    "smtp_generic_maps": postfix_tables.generic,
    "sender_canonical_maps": postfix_tables.generic,
    "canonical_maps": postfix_tables.generic,
    "virtual_alias_maps": postfix_tables.virtual,
    "transport_maps": postfix_tables.transport,
    "sender_dependent_relayhost_maps": postfix_tables.sender_relay,
    "message_size_limit": _simple("MaxMessageSize"),
    "always_bcc": _simple("AlwaysBcc"),
    "home_mailbox": _home_mailbox,
    "mailbox_command": _mailbox_command,
    "mailbox_transport": _mailbox_transport,
    "masquerade_domains": _simple("MasqueradeAs"),
    "masquerade_exceptions": _simple("ExposedUser"),
    "delay_warning_time": _time("Timeout.queuewarn"),
    "maximal_queue_lifetime": _time("Timeout.queuereturn"),
    "disable_vrfy_command": _privacy("novrfy"),
    "smtpd_helo_required": _privacy("needmailhelo"),
    "smtpd_milters": _milters,
    "non_smtpd_milters": lambda cf, name: cf.migration.no_effect(cf.place(name), f"{name}: InputMailFilters counts for them"),
    "default_transport": _default_transport,
    "smtpd_client_connection_count_limit": _simple("MaxConnectionsPerClient"),
    "smtpd_recipient_limit": _simple("MaxRecipientsPerMessage"),
    "hopcount_limit": _simple("MaxHopCount"),
    "smtp_dns_support_level": lambda cf, name: cf.migration.no_effect(
        cf.place(name), f"{name}: hosts are looked up in /etc/hosts, then by DNS"
    ),
    "smtp_host_lookup": lambda cf, name: cf.migration.no_effect(cf.place(name), f"{name}: /etc/hosts, then DNS"),
    "sender_bcc_maps": lambda cf, name: cf.migration.not_carried(cf.place(name), f"{name}: AlwaysBcc may do"),
    "disable_dns_lookups": lambda cf, name: cf.migration.no_effect(cf.place(name), f"{name}: a host in brackets has no MX lookup"),
}  # fmt: skip
