"""sendmail.mc and submit.mc: what each macro and FEATURE() is here (cf/README of Sendmail 8.17).

All calls are read before any is understood: people append lines behind MAILER(), which m4 allows for
most of them, and mean them alike. Of several define() of a name the last counts, as in m4.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from minimta.admin.migrate import m4_reader
from minimta.admin.migrate.m4_names import OPTION_OF
from minimta.admin.migrate.m4_reader import M4Call, RawLine
from minimta.admin.migrate.migration import ForeignPlace, Migration
from minimta.admin.migrate.sendmail_values import Features, Values, map_path
from minimta.config.option import OptionError
from minimta.config.options import by_name

Reader = Callable[[str], str | None]
#: an included file of the distribution, which says nothing of this machine
_DISTRIBUTED = ("cf.m4", "dialup.m4", "sendmail.m4", "compat.m4")
#: one of Debian's that is empty, unless the administrator has something to say
_EMPTY = ("provider.m4",)
_DEEPEST = 5
#: included files, all together
_MOST_INCLUDED = 100
_LETTERS = {"w": "LocalHostNames", "R": "RelayDomains", "t": "TrustedUsers"}
_CLASSES = {
    "M": "MasqueradeDomain",
    "G": "GenericsDomain",
    "E": "ExposedUser",
    "N": "MasqueradeException",
}
_MACROS = {
    "S": "SmartHost",
    "M": "MasqueradeAs",
    "j": "HostName",
    "H": "MailHub",
    "R": "LocalRelay",
}
#: accepted, and of no meaning here
_IDLE = {
    "OSTYPE": "paths and users of the operating system are minimta's own",
    "DOMAIN": "the distribution's defaults are not read",
    "VERSIONID": "words for people",
    "MAILER_DEFINITIONS": "mailers are built in",
    "DATABASE_MAP_TYPE": "tables are text, or cdb",
    "HELP_FILE": "HELP is built in",
    "STATUS_FILE": "the log has the statistics",
    "UUCP_MAILER_MAX": "there is no UUCP",
    "UUCP_MAILER_ARGS": "there is no UUCP",
    "UUCP_MAILER_PATH": "there is no UUCP",
    "USENET_MAILER_PATH": "there is no news",
    "PROCMAIL_MAILER_PATH": "only FEATURE(local_procmail) runs procmail",
    "PROCMAIL_MAILER_ARGS": "only FEATURE(local_procmail) runs procmail",
    "SMTP_MAILER_MAX": "MaxMessageSize counts",
    "LOCAL_MAILER_MAX": "MaxMessageSize counts",
    "MSP_QUEUE_DIR": "ClientQueueDirectory is minimta's own",
    "MAIL_SETTINGS_DIR": "paths are written out",
    "TRUST_AUTH_MECH": "who has logged in may relay, by every mechanism that is offered",
    "confDONT_PROBE_INTERFACES": "names of interfaces are never taken for ours",
    "confUSERDB_SPEC": "there is no user database",
    "confTO_IDENT": "clients are never asked for a user name",
    "confCF_VERSION": "words for people",
    "confEBINDIR": "programs are minimta's own",
    "confTRUSTED_USER": "files are root's",
    "confCONTROL_SOCKET_NAME": "there is no control socket",
    "confPROCESS_TITLE_PREFIX": "for ps(1) alone",
    "confMAX_RUNNERS_PER_QUEUE": "MaxQueueChildren counts",
    "confSAFE_FILE_ENV": "no chroot: files are written with their users' rights",
    "confSERVICE_SWITCH_FILE": "hosts are looked up in /etc/hosts, then by DNS",
    "confBIND_OPTS": "there are no options of the resolver",
    "confMUST_QUOTE_CHARS": "what has to be quoted is built in",
    "confOPERATORS": "what separates parts of addresses is built in",
    "confHOSTS_FILE": "hosts are looked up in /etc/hosts, then by DNS",
    "confRAND_FILE": "randomness is the system's",
    "confAUTH_MAX_BITS": "TLS encrypts, not the login",
    "confLOCAL_MAILER": "LocalMailer says how",
    "_USE_ETC_MAIL_": "paths are written out",
    "_FFR_MILTER": "filters are built in",
    "DEBIAN_MTA": "words of the distribution",
    "confCOLON_OK_IN_ADDR": "a colon is taken in addresses",
    "confDONT_INIT_GROUPS": "groups are always those of the user",
    "confREJECT_LOG_INTERVAL": "each refusal is logged",
    "confDF_BUFFER_SIZE": "what is taken is on the disk",
    "confXF_BUFFER_SIZE": "what is taken is on the disk",
    "confNICE_QUEUE_RUN": "queue runs have the service's priority (Nice= of the unit)",
    "confQUEUE_FACTOR": "QueueLA counts",
    "confFAST_SPLIT": "recipients are split by their next hops",
    "confCHECKPOINT_INTERVAL": "each outcome is recorded",
    "confSEPARATE_PROC": "each delivery has its own process",
    "confMAX_NOOP_COMMANDS": "25 useless commands are the most",
}
_MAILERS = ("local", "smtp", "esmtp", "relay", "prog", "procmail", "uucp", "usenet")


def carry(
    text: str, path: str, migration: Migration, included: Reader, is_there: Callable[[str], bool]
) -> None:
    """Carry what *text*, the file *path*, says.

    *included* gives the text of another file, None if there is none; *is_there* says whether a table
    that minimta would read by default exists.
    """
    reading = _Mc(path, migration, included, is_there)
    reading.read(text, path, 0)
    reading.finish()


class _Mc:
    def __init__(
        self, path: str, migration: Migration, included: Reader, is_there: Callable[[str], bool]
    ) -> None:
        self._path = path
        self._migration = migration
        self._included = included
        self._is_there = is_there
        #: define()d names -> value, place
        self._values: dict[str, tuple[str, ForeignPlace]] = {}
        #: FEATURE()s -> call, place
        self._features: dict[str, tuple[M4Call, ForeignPlace]] = {}
        self._others: list[tuple[M4Call, ForeignPlace]] = []
        #: included files so far
        self._count = 0

    # --- reading ----------------------------------------------------------------------------------

    def read(self, text: str, path: str, depth: int) -> None:
        """Gather the calls of *text* and of what it includes; raw lines are carried at once."""
        found = m4_reader.read(text)
        for fault in found.faults:
            self._migration.wrong(ForeignPlace(path, fault.line), fault.text)
        # What a wrong line comes to is not what was meant.
        wrong = {fault.line for fault in found.faults}
        for call in found.calls:
            if call.line not in wrong:
                self._gather(call, ForeignPlace(path, call.line), depth)
        for raw in found.raw:
            self._raw(raw, ForeignPlace(path, raw.line))

    def _gather(self, call: M4Call, place: ForeignPlace, depth: int) -> None:
        first = call.argument(0)
        if call.name == "define":
            value = call.arguments[1] if len(call.arguments) > 1 else ""
            self._values[first] = _bare(value), place
        elif call.name == "undefine":
            self._values.pop(first, None)
        elif call.name == "FEATURE":
            if first in ("dnsbl", "enhdnsbl"):  # there may be several
                self._others.append((call, place))
            else:
                self._features[first] = call, place
        elif call.name in ("include", "sinclude"):
            self._include(first, place, depth)
        elif call.name != "divert":
            self._others.append((call, place))

    def _include(self, path: str, place: ForeignPlace, depth: int) -> None:
        if os.path.basename(path) in _DISTRIBUTED:
            self._migration.no_effect(place, f"include({path})")
            return
        self._count += 1
        if depth >= _DEEPEST or self._count > _MOST_INCLUDED:
            self._migration.wrong(place, f"include({path}): too many, one in another")
            return
        is_own = os.path.normpath(path).startswith("/etc/")
        text = self._included(path) if is_own else None
        if (
            text is None
            and is_own
            and os.path.basename(path) in _EMPTY
            and not self._is_there(path)
        ):
            self._migration.no_effect(place, f"include({path}): there is none")
            return
        if text is None:
            self._migration.not_carried(
                place, f"include({path}): cannot be read, or is not below /etc"
            )
            return
        self.read(text, path, depth + 1)

    def _raw(self, raw: RawLine, place: ForeignPlace) -> None:
        """A line for sendmail.cf: options, classes and macros are carried, rules are not."""
        text, migration = raw.text, self._migration
        kind, rest = text[:1], text[1:].strip()
        name, _, value = rest.partition("=")
        if kind == "O" and text[1:2].isspace() and "=" in rest:
            self._set(name.strip(), value.strip(), place)
        elif kind == "C" and rest[:1] in _LETTERS:
            migration.word(_LETTERS[rest[0]], *rest[1:].split())
        elif kind == "C" and rest[:1] in _CLASSES:
            migration.option(_CLASSES[rest[0]], rest[1:].strip(), place)
        elif kind == "D" and rest[:1] in _MACROS and "$" not in rest:
            migration.option(_MACROS[rest[0]], rest[1:].strip(), place)
        elif kind == "F" and rest[:1] in _LETTERS and rest[1:2] in ("/", "-"):
            migration.option(_LETTERS[rest[0]], map_path(rest[1:]), place)
        else:
            # Of another file than the one that was given nothing is shown: it may be anything.
            shown = f": {' '.join(text.split())[:60]}" if place.path == self._path else ""
            migration.not_carried(place, f"a line of sendmail.cf itself{shown}")

    # --- understanding ----------------------------------------------------------------------------

    def finish(self) -> None:
        """Carry what was gathered."""
        is_submit = "msp" in self._features
        values = Values(self._values, self._migration)
        if is_submit:
            self._migration.no_effect(
                self._features.pop("msp")[1], "FEATURE(msp): submission is built in"
            )
        values.carry_hosts()
        for name, (value, place) in list(self._values.items()):
            if name not in values.done:
                self._define(name, value, place)
        features = Features(self._values, self._migration, self._is_there, self._included)
        for name, (call, place) in self._features.items():
            features.carry(name, call, place)
        for call, place in self._others:
            if not features.carry_macro(call, place):
                self._macro(call, place)
        if not is_submit:
            features.finish(set(self._features), ForeignPlace(self._path))

    def _define(self, name: str, value: str, place: ForeignPlace) -> None:
        if name in _IDLE and name not in OPTION_OF:
            self._migration.no_effect(place, f"{name}: {_IDLE[name]}")
        elif name in OPTION_OF:
            try:
                by_name(OPTION_OF[name])
            except OptionError:
                if name in _IDLE:
                    self._migration.no_effect(place, f"{name}: {_IDLE[name]}")
                else:
                    self._migration.not_carried(
                        place, f"{name}: there is no {OPTION_OF[name]} here"
                    )
                return
            self._set(OPTION_OF[name], value, place, name)
        elif name.endswith(("_MAILER_ARGS", "_MAILER_PATH", "_MAILER_FLAGS", "_MAILER_MAX")):
            self._migration.not_carried(place, f"{name}: mailers are built in")
        elif name.startswith(("conf", "_")) or (name.isupper() and "_" in name):
            self._migration.not_carried(place, f"{name}: nothing here is called so")
        else:
            self._migration.no_effect(place, f"{name}: a macro of the file itself")

    def _set(self, option: str, value: str, place: ForeignPlace, name: str = "") -> None:
        """An option of Sendmail's; of lists of words those that are known here."""
        migration = self._migration
        if option in ("PrivacyOptions", "DontBlameSendmail"):
            self._words(option, value, place)
            return
        if option in ("SmtpGreetingMessage",) and ("${" in value or "$?" in value):
            migration.not_carried(place, f"{option}: of macros only $j, $v, $Z and $b can be had")
            return
        if option == "HostName" and "$" in value:
            migration.not_carried(
                place, f"{name or option}: {value}: write the name out (HostName)"
            )
            return
        if name in _IDLE:
            try:
                by_name(option).value(value)
            except OptionError:
                migration.no_effect(place, f"{name}: {_IDLE[name]}")
                return
        if option in ("TrustedUsers", "LocalHostNames", "RelayDomains", "AliasFile"):
            value = map_path(value) if option != "AliasFile" else value
        migration.option(option, value, place)

    def _words(self, option: str, value: str, place: ForeignPlace) -> None:
        kept = []
        for word in value.replace(",", " ").split():
            try:
                by_name(option).value(word)
                kept.append(word)
            except OptionError as error:
                reason = str(error).partition(": ")[2] or str(error)
                if option == "DontBlameSendmail":
                    self._migration.no_effect(
                        place, f"{option}: {word}: no such check is made here"
                    )
                else:
                    self._migration.not_carried(place, f"{option}: {reason}")
        if kept:
            self._migration.option(option, ", ".join(kept), place)

    def _macro(self, call: M4Call, place: ForeignPlace) -> None:
        name = call.name
        if name in _IDLE:
            self._migration.no_effect(place, f"{name}: {_IDLE[name]}")
        elif name == "MAILER":
            for mailer in call.argument(0).split():
                if mailer in _MAILERS:
                    self._migration.no_effect(place, f"MAILER({mailer}): built in")
                else:
                    self._migration.not_carried(
                        place, f"MAILER({mailer}): there is no such mailer here"
                    )
        elif name in m4_reader.BARE:
            return  # what follows is told line by line
        elif name.startswith("MODIFY_MAILER_FLAGS"):
            self._migration.no_effect(place, f"{name}: flags of mailers are built in")
        else:
            self._migration.not_carried(
                place, f"{name}({call.argument(0)[:40]}): nothing here does that"
            )


def _bare(value: str) -> str:
    """Without quotes of quotes: ``8:12'' of Red Hat's file."""
    value = value.strip()
    while value[:1] == "`" and value[-1:] == "'":
        value = value[1:-1].strip()
    return value
