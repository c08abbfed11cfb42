"""Which program a file belongs to, by its name and by what is in it, and who reads it.

sendmail.mc submit.mc ...mc    Sendmail            ssmtp.conf revaliases      ssmtp
authinfo access                Sendmail            msmtprc .msmtprc           msmtp
main.cf sasl_passwd            Postfix             dma.conf auth.conf         dma
remotes me defaultdomain defaulthost adminaddr ... nullmailer
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minimta.admin.migrate import (
    dma,
    msmtp,
    nullmailer,
    postfix_cf,
    postfix_tables,
    sendmail_mc,
    sendmail_tables,
    ssmtp,
)
from minimta.admin.migrate.migration import ForeignPlace, Migration

#: gives the text of a file that another one names, None if there is none
Reader = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class OldSurroundings:
    """What a reader of a file may ask about the machine that the files are from."""

    included: Reader
    own_name: str
    #: is there such a file?
    is_there: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class ForeignKind:
    """One kind of file."""

    name: str
    #: of a whole name, and of a line that only such a file has
    names: str
    content: str
    carry: Callable[[str, str, Migration, OldSurroundings], None]


def kind_of(path: str, text: str) -> ForeignKind | None:
    """The kind of the file *path* with *text*: what its name says, else its lines; None: unknown."""
    name = os.path.basename(path)
    for kind in KINDS:
        if re.fullmatch(kind.names, name):
            return kind
    for kind in KINDS:
        if kind.content and re.search(kind.content, text, re.MULTILINE):
            return kind
    return None


def why_unknown(path: str, text: str) -> str:
    """What to say of a file that is of no kind."""
    if os.path.basename(path).endswith(".cf") and re.search(r"^V\d+/|^DZ|^R\$", text, re.MULTILINE):
        return "it was made by m4: give the sendmail.mc that it was made of"
    known = ", ".join(kind.name for kind in KINDS)
    return f"neither by name nor by its lines one of {known}"


def _mc(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    sendmail_mc.carry(text, path, migration, around.included, around.is_there)


def _authinfo(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    sendmail_tables.carry_authinfo(text, path, migration)


def _access(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    sendmail_tables.carry_access(text, path, migration)


def _main_cf(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    postfix_cf.carry(text, path, migration, around.included, around.own_name)


def _sasl_passwd(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    postfix_tables.carry_logins(text, path, migration)


def _ssmtp(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    ssmtp.carry(text, path, migration, around.included, around.own_name)


def _revaliases(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    ssmtp.carry_revaliases(text, path, migration)


def _msmtp(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    msmtp.carry(text, path, migration, around.included, around.own_name)


def _dma(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    dma.carry(text, path, migration, around.included, around.own_name)


def _dma_logins(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    dma.carry_logins(text, path, migration)


def _nullmailer(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    nullmailer.carry(text, path, migration, around.included, around.own_name)


def _beside_remotes(text: str, path: str, migration: Migration, around: OldSurroundings) -> None:
    remotes = os.path.join(os.path.dirname(path), "remotes")
    found = around.included(remotes)
    if found is None:
        migration.wrong(ForeignPlace(path), f"there is no {remotes} beside it")
        return
    nullmailer.carry(found, remotes, migration, around.included, around.own_name)


KINDS: Sequence[ForeignKind] = (
    ForeignKind("sendmail.mc", r".*\.mc", r"^(FEATURE|MAILER|OSTYPE|DAEMON_OPTIONS)\(|^define\(`conf", _mc),
    ForeignKind("authinfo", r"(authinfo|auth-info|client-info|smtp-auth|gmail-auth).*(?<!\.db)", r"^AuthInfo:.*[UI][:=]", _authinfo),
    ForeignKind("access", r"access", r"^(Connect|GreetPause|ClientRate|ClientConn):", _access),
    ForeignKind("main.cf", r"main\.cf.*", r"^(relayhost|mydestination|compatibility_level)\s*=", _main_cf),
    ForeignKind("sasl_passwd", r"sasl_?passwd.*(?<!\.db)", r"^\[[\w.-]+\](:\w+)?\s+\S+:\S+$", _sasl_passwd),
    ForeignKind("ssmtp.conf", r"ssmtp\.conf.*", r"^[Mm]ailhub=", _ssmtp),
    ForeignKind("revaliases", r"revaliases.*", "", _revaliases),
    ForeignKind("msmtprc", r"\.?msmtprc.*", r"^(account|defaults)\b", _msmtp),
    ForeignKind("dma.conf", r"dma\.conf.*", r"^(SMARTHOST|AUTHPATH|SPOOLDIR|MAILNAME|NULLCLIENT)\b", _dma),
    ForeignKind("auth.conf", r"auth\.conf", r"^[^|\s]+\|[\w.-]+:\S+$", _dma_logins),
    ForeignKind("remotes", r"remotes", "", _nullmailer),
    ForeignKind("nullmailer", r"me|defaultdomain|defaulthost|adminaddr|allmailfrom|idhost|helohost", "", _beside_remotes),
)  # fmt: skip
