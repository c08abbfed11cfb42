"""What single macros of sendmail.mc mean here: next hops with their ports, FEATURE()s, lists, listeners."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from minimta.admin.migrate import sendmail_tables
from minimta.admin.migrate.m4_reader import M4Call
from minimta.admin.migrate.migration import ForeignPlace, Migration, NoteKind
from minimta.config.options import by_name
from minimta.config.ports import MODIFIERS
from minimta.config.values import mail_port

_MAILER_ARGS = {
    "relay": "RELAY_MAILER_ARGS",
    "esmtp": "ESMTP_MAILER_ARGS",
    "smtp": "SMTP_MAILER_ARGS",
}
#: FEATURE -> the option that it sets
_SWITCHES = {
    "blacklist_recipients": ("BlocklistRecipients", "True"),
    "blocklist_recipients": ("BlocklistRecipients", "True"),
    "accept_unresolvable_domains": ("AcceptUnresolvableDomains", "True"),
    "masquerade_envelope": ("MasqueradeEnvelope", "True"),
    "masquerade_entire_domain": ("MasqueradeEntireDomain", "True"),
    "allmasquerade": ("AllMasquerade", "True"),
    "limited_masquerade": ("LimitedMasquerade", "True"),
    "local_no_masquerade": ("LocalNoMasquerade", "True"),
    "generics_entire_domain": ("GenericsEntireDomain", "True"),
    "virtuser_entire_domain": ("VirtUserEntireDomain", "True"),
    "stickyhost": ("StickyHost", "True"),
    "sts": ("MTASTS", "True"),
}
#: FEATURE -> the option with its table
_TABLES = {
    "access_db": "AccessFile",
    "mailertable": "MailerTable",
    "virtusertable": "VirtUserTable",
    "genericstable": "GenericsTable",
    "authinfo": "AuthInfoFile",
}
_FILES = {"use_cw_file": "LocalHostNames", "use_ct_file": "TrustedUsers"}
_IDLE = {
    "redirect": "NAME.REDIRECT is always refused with 551",
    "nouucp": "there is no UUCP: ! is a letter like others",
    "nocanonify": "names of hosts are never made canonical",
    "nopercenthack": "% is a letter like others",
    "notsticky": "it is Sendmail's default",
    "no_default_msa": "only ports that are named are opened",
    "ratecontrol": "rows ClientRate: of the access table always count",
    "conncontrol": "rows ClientConn: of the access table always count",
    "accept_unqualified_senders": "senders without a domain are taken",
    "preserve_local_plus_detail": "a detail is always kept",
    "preserve_luser_host": "LuserRelay keeps it",
    "check_cert_altnames": "alternative names always count",
}
_INSTEAD = {
    "relay_entire_domain": "write the domain into /etc/mail/relay-domains",
    "relay_based_on_MX": "write the domains into /etc/mail/relay-domains",
    "relay_hosts_only": "names in relay-domains count with all below them",
    "promiscuous_relay": "nobody is an open relay here",
    "relay_local_from": "a sender can be forged: log in, or write networks into relay-domains",
    "relay_mail_from": "a sender can be forged: log in, or write networks into relay-domains",
    "loose_relay_check": "% is a letter like others",
    "bestmx_is_local": "write the domains into /etc/mail/local-host-names",
    "lookupdotdomain": "rows of the access table are for a domain and all below it",
    "domaintable": "AliasFile, VirtUserTable or GenericsTable may do",
    "ldap_routing": "there are no tables in LDAP",
    "queuegroup": "there is one queue",
    "bcc": "AlwaysBcc may do",
}
#: macro -> option whose words it adds
_LISTS = {
    "MASQUERADE_DOMAIN": "MasqueradeDomain",
    "MASQUERADE_DOMAIN_FILE": "MasqueradeDomain",
    "MASQUERADE_EXCEPTION": "MasqueradeException",
    "MASQUERADE_EXCEPTION_FILE": "MasqueradeException",
    "GENERICS_DOMAIN": "GenericsDomain",
    "GENERICS_DOMAIN_FILE": "GenericsDomain",
    "VIRTUSER_DOMAIN": "VirtUserDomain",
    "VIRTUSER_DOMAIN_FILE": "VirtUserDomain",
    "EXPOSED_USER": "ExposedUser",
    "EXPOSED_USER_FILE": "ExposedUser",
}
_HERE = ("localhost", "localhost.localdomain", "localhost6", "localhost.localdomain6")
#: programs that put mail into /var/mail, as LocalMailer = mbox does
_MBOX = ("sensible-mda", "mail.local", "mail", "binmail")


class Values:
    """define()s that are to be seen together."""

    def __init__(self, values: dict[str, tuple[str, ForeignPlace]], migration: Migration) -> None:
        self._values = values
        self._migration = migration
        self.done: set[str] = set()

    def carry_hosts(self) -> None:
        """SMART_HOST, MAIL_HUB, LOCAL_RELAY and LUSER_RELAY, with the ports of their mailers."""
        used = set()
        for name, option in (
            ("SMART_HOST", "SmartHost"),
            ("MAIL_HUB", "MailHub"),
            ("LOCAL_RELAY", "LocalRelay"),
        ):
            if name in self._values:
                value, place = self._values[name]
                mailer = value.partition(":")[0].strip().lower() if ":" in value else "relay"
                mailer = mailer if mailer in _MAILER_ARGS else "relay"
                used.add(_MAILER_ARGS[mailer])
                self._migration.option(option, self._with_port(value, mailer), place)
                self.done.add(name)
        for name in _MAILER_ARGS.values():
            if name in self._values:
                self.done.add(name)
                self._told_port(name, is_used=name in used)

    def _with_port(self, value: str, mailer: str) -> str:
        hosts = value.strip()
        for known in _MAILER_ARGS:
            if hosts.lower().startswith(f"{known}:"):
                hosts = hosts[len(known) + 1 :]
        port = self._port(_MAILER_ARGS[mailer])
        parts = [part.strip().removesuffix(".") for part in hosts.replace(":[", ",[").split(",")]
        if port in ("", "25"):
            return ", ".join(parts)
        return ", ".join(part if _has_port(part) else f"{part}:{port}" for part in parts)

    def _port(self, name: str) -> str:
        """The port of "TCP $h 587", "" if it has none."""
        words = self._values[name][0].split() if name in self._values else []
        if len(words) < 3 or words[0] not in ("TCP", "IPC") or words[1] not in ("$h", "[$h]"):
            return ""
        try:
            return str(mail_port(words[2]))
        except ValueError:
            return ""

    def _told_port(self, name: str, *, is_used: bool) -> None:
        value, place = self._values[name]
        port = self._port(name)
        if value.split()[:2] not in (["TCP", "$h"], ["IPC", "$h"]) or (
            len(value.split()) > 2 and not port
        ):
            self._migration.not_carried(place, f"{name}: {value}: only a port can be carried")
        elif not is_used and port not in ("", "25"):
            why = "mail straight to other hosts goes to port 25"
            if name == "ESMTP_MAILER_ARGS" and "SMART_HOST" in self._values:
                self._migration.no_effect(place, f"{name}: the smart host has its own port; {why}")
            else:
                self._migration.not_carried(
                    place, f"{name}: port {port}: {why}; name hosts in MailerTable"
                )


def _has_port(place: str) -> bool:
    return "]:" in place or (place[-1:] != "]" and place.count(":") == 1)


class Features:
    """FEATURE()s and macros that are no define()."""

    def __init__(
        self,
        values: dict[str, tuple[str, ForeignPlace]],
        migration: Migration,
        is_there: Callable[[str], bool],
        included: Callable[[str], str | None],
    ) -> None:
        """*values* are the define()s, *is_there* and *included* ask for other files of the machine."""
        self._included = included
        self._values = values
        self._migration = migration
        self._is_there = is_there
        self._listens = False
        self._filters: list[str] = []

    # --- FEATURE ----------------------------------------------------------------------------------

    def carry(self, name: str, call: M4Call, place: ForeignPlace) -> None:
        """Carry FEATURE(*name*, ...)."""
        migration = self._migration
        if name in _SWITCHES:
            migration.option(*_SWITCHES[name], place)
        elif name in _TABLES:
            self._table(name, call.argument(1), place)
        elif name in _FILES:
            migration.default(_FILES[name], by_name(_FILES[name]).default, place)
        elif name in _IDLE:
            migration.no_effect(place, f"FEATURE({name}): {_IDLE[name]}")
        elif name in _HOW:
            _HOW[name](self, call, place)
        else:
            instead = f": {_INSTEAD[name]}" if name in _INSTEAD else ""
            migration.not_carried(place, f"FEATURE({name}){instead}")

    def _table(self, name: str, spec: str, place: ForeignPlace) -> None:
        option = _TABLES[name]
        if spec.lower().startswith(("ldap", "ldap:", "ph:", "nis")):
            self._migration.not_carried(
                place, f"FEATURE({name}): {spec[:40]}: tables are files here"
            )
            return
        path = map_path(spec) or by_name(option).default
        self._migration.option(option, path, place)
        if not self._is_there(path) and self._is_there(f"{path}.db"):
            text = f"{path}.db is there and its text is not: makemap -u hash {path} > {path}"
            self._migration.not_carried(place, text)

    def _delay_checks(self, call: M4Call, place: ForeignPlace) -> None:
        word = call.argument(1).lower()
        self._migration.option("DelayChecks", word if word in ("friend", "hater") else "yes", place)

    def _greet_pause(self, call: M4Call, place: ForeignPlace) -> None:
        self._migration.option("GreetPause", call.argument(1) or "0", place)

    def _always_add_domain(self, call: M4Call, place: ForeignPlace) -> None:
        if call.argument(1):
            self._migration.not_carried(
                place, "FEATURE(always_add_domain): the domain is this host's name"
            )
        self._migration.option("AlwaysAddDomain", "True", place)

    def _smrsh(self, call: M4Call, place: ForeignPlace) -> None:
        self._migration.default("SmrshDirectory", "/etc/mail/smrsh", place)

    def _local_procmail(self, call: M4Call, place: ForeignPlace) -> None:
        path = call.argument(1) or self._values.get("PROCMAIL_MAILER_PATH", ("", place))[0]
        path = path if path.startswith("/") else "/usr/bin/procmail"
        arguments = call.argument(2).split()[1:] or ["-t", "-a", "$h"]
        # procmail runs as the recipient; told so by -d it does not believe that, and marks the letter.
        self._local(path, [word for word in arguments if word not in ("-Y", "-d", "$u")], place)

    def _local(self, path: str, arguments: Iterable[str], place: ForeignPlace) -> None:
        words = [word.replace("$g", "$f") for word in arguments]
        self._migration.option("LocalMailer", " ".join([f"|{path}", *words]), place)

    def _local_lmtp(self, call: M4Call, place: ForeignPlace) -> None:
        path, words = call.argument(1), call.argument(2).split()
        if path == "[IPC]" and words[:1] == ["FILE"] and len(words) > 1:
            self._migration.option("LocalMailer", f"lmtp:{words[1]}", place)
        elif path in ("[IPC]",) and words[:1] == ["TCP"] and len(words) > 2:
            self._migration.option("LocalMailer", f"lmtp:{words[1]}:{words[2]}", place)
        else:
            self._migration.no_effect(
                place, "FEATURE(local_lmtp): mailboxes are written by minimta itself"
            )

    def _nullclient(self, call: M4Call, place: ForeignPlace) -> None:
        hub = call.argument(1).strip()
        for option in ("SmartHost", "MailHub"):
            self._migration.option(option, hub, place)
        self._migration.option("MasqueradeAs", hub.strip("[]"), place)
        self._migration.option("MasqueradeEnvelope", "True", place)
        self._migration.option("AllMasquerade", "True", place)

    # --- macros -----------------------------------------------------------------------------------

    def carry_macro(self, call: M4Call, place: ForeignPlace) -> bool:
        """Carry another macro; False for one that is not known."""
        if call.name == "FEATURE":
            self._block_list(call, place)
        elif call.name in _LISTS:
            for word in call.argument(0).replace("%[^\\#]", "").split():
                self._migration.option(_LISTS[call.name], word, place)
        elif call.name in _MACROS:
            _MACROS[call.name](self, call, place)
        else:
            return False
        return True

    def _block_list(self, call: M4Call, place: ForeignPlace) -> None:
        zone, text = call.argument(1), call.argument(2).strip('"').strip()
        text = text.replace("$&{client_addr}", "$a").replace("${client_addr}", "$a")
        if text in ("quarantine", "discard") or "$" in text.replace("$a", ""):
            self._migration.not_carried(
                place, f"FEATURE({call.argument(0)}, {zone}): its text: {text[:40]}"
            )
            text = ""
        text = " ".join(text.replace('"', " ").replace(";", ",").split())
        text = text.removeprefix("550 ").removeprefix("5.7.1 ")
        self._migration.option("DNSBL", f"{zone or 'zen.spamhaus.org'} {text}".strip(), place)

    def _masquerade(self, call: M4Call, place: ForeignPlace) -> None:
        self._migration.option("MasqueradeAs", call.argument(0).strip('"'), place)

    def _local_domain(self, call: M4Call, place: ForeignPlace) -> None:
        words = call.argument(0).replace("%[^\\#]", "").split()
        others = [word for word in words if word.lower() not in _HERE]
        if others:
            self._migration.word("LocalHostNames", *others)
        else:
            self._migration.no_effect(
                place, f"LOCAL_DOMAIN({call.argument(0)}): always a name of this host"
            )

    def _relay_domain(self, call: M4Call, place: ForeignPlace) -> None:
        self._migration.word("RelayDomains", *call.argument(0).split())

    def _relay_file(self, call: M4Call, place: ForeignPlace) -> None:
        self._migration.option("RelayDomains", map_path(call.argument(0)), place)

    def _daemon(self, call: M4Call, place: ForeignPlace) -> None:
        self._listens = True
        text = _without_unknown_modifiers(call.argument(0), self._migration, place)
        self._migration.option("DaemonPortOptions", text, place)

    def _client(self, call: M4Call, place: ForeignPlace) -> None:
        self._migration.option("ClientPortOptions", call.argument(0), place)

    def _input_filter(self, call: M4Call, place: ForeignPlace) -> None:
        if self._filter(call, place):
            self._filters.append(call.argument(0))

    def _other_filter(self, call: M4Call, place: ForeignPlace) -> None:
        self._filter(call, place)

    def _filter(self, call: M4Call, place: ForeignPlace) -> bool:
        text = f"{call.argument(0)}, {call.argument(1)}"
        return self._migration.option("MailFilter", text.replace("local:/", "unix:/"), place)

    # --- what Sendmail does without being told ----------------------------------------------------

    def finish(self, features: set[str], place: ForeignPlace) -> None:
        """Ports that are open by default there, tables that are not read by default there."""
        migration = self._migration
        if self._filters:
            migration.default("InputMailFilters", ", ".join(self._filters), place)
        # A line that is wrong may have been the one that says where to listen.
        if not self._listens and not migration.has(NoteKind.WRONG):
            migration.told(
                place,
                "without DAEMON_OPTIONS Sendmail listens on every address: so will the listener here",
            )
            migration.option("DaemonPortOptions", "Name=MTA, Port=25", place)
        if "no_default_msa" not in features:
            migration.option("DaemonPortOptions", "Name=MSA, Port=587, M=E", place)
        if "authinfo" not in features and "access_db" in features:
            self._logins_of_access()
        for feature, option in {**_TABLES, **_FILES, "smrsh": "SmrshDirectory"}.items():
            default = by_name(option).default
            if feature not in features and option != "AuthInfoFile" and self._is_there(default):
                migration.default(option, "", place)
                migration.told(
                    place,
                    f"without FEATURE({feature}) nothing reads {default}: {option} is empty, so that nothing does here",
                )

    def _logins_of_access(self) -> None:
        """Without FEATURE(authinfo) Sendmail looks for logins in the access table."""
        path = self._migration.last("AccessFile")
        text = self._included(path) or ""
        if "authinfo:" in text.lower():
            sendmail_tables.carry_logins_of_access(text, path, self._migration)


_HOW: dict[str, Callable[[Features, M4Call, ForeignPlace], None]] = {
    "delay_checks": Features._delay_checks,
    "greet_pause": Features._greet_pause,
    "always_add_domain": Features._always_add_domain,
    "smrsh": Features._smrsh,
    "local_procmail": Features._local_procmail,
    "local_lmtp": Features._local_lmtp,
    "nullclient": Features._nullclient,
}
_MACROS: dict[str, Callable[[Features, M4Call, ForeignPlace], None]] = {
    "MASQUERADE_AS": Features._masquerade,
    "LOCAL_DOMAIN": Features._local_domain,
    "RELAY_DOMAIN": Features._relay_domain,
    "RELAY_DOMAIN_FILE": Features._relay_file,
    "DAEMON_OPTIONS": Features._daemon,
    "CLIENT_OPTIONS": Features._client,
    "INPUT_MAIL_FILTER": Features._input_filter,
    "MAIL_FILTER": Features._other_filter,
}


def map_path(spec: str) -> str:
    """The text of a table: "hash -T<TMPF> -o /etc/mail/access.db" is /etc/mail/access; "" if there is none."""
    words = spec.replace("%[^\\#]", "").split()
    path = next((word for word in reversed(words) if "/" in word and word[:1] != "-"), "")
    path = path[path.index("/") :] if path else ""
    return path.removesuffix(".db")


def _without_unknown_modifiers(text: str, migration: Migration, place: ForeignPlace) -> str:
    """A row of DaemonPortOptions without what nothing obeys, which is told."""
    parts = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals and key.strip()[:1] in ("M", "m"):
            letters = "".join(value.split())
            for letter in sorted(set(letters) - set(MODIFIERS)):
                migration.not_carried(place, f"DAEMON_OPTIONS: M={letter} is not obeyed here")
            kept = "".join(letter for letter in letters if letter in MODIFIERS)
            if not kept:
                continue
            parts.append(f"{key.strip()}={kept}")
        else:
            parts.append(" ".join(part.split()))
    return ", ".join(part for part in parts if part)
