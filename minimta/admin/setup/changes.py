"""What the answers of ``minimta setup`` change in which file; what is so already is not touched.

    minimta.cf       SmartHost, MasqueradeEnvelope, MasqueradeAs (--domain), HostName (--hostname)
    authinfo         the row of the next hop; mode 600
    genericstable    @HOST ADDRESS: every sender of this host becomes one address (--from)
    mailertable      . error:...: mail for other hosts is returned (local); away for everything else
    aliases          root: ADDRESS

The paths are those that minimta.cf says, below --root.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from minimta.admin import table_text
from minimta.admin.install.steps import below
from minimta.admin.placing import Placing
from minimta.admin.setup.answers import SAME, Answers
from minimta.config import file as config_file
from minimta.config.options import Options

#: the row of the mailer table that keeps mail here
_REST = "."
LOCAL_ONLY = "error:5.7.1:550 This machine sends no mail to other hosts"
#: what a new minimta.cf begins with
_HEAD = "# minimta(8), minimta.cf(5). What is wrong in it: minimta check\n"


class SetupFiles:
    """The files of one configuration, as they are and as they shall be."""

    def __init__(self, options: Options, config: str, root: Path) -> None:
        """*config* is the path of minimta.cf, *options* are what it says, *root* stands before all."""
        self._options = options
        self._root = root
        self.config = self._below(config)
        self.auth_info = self._below(options.auth_info_file)
        self.generics = self._below(options.generics_table)
        self.mailer_table = self._below(options.mailer_table)
        aliases = [name.removeprefix("-o ") for name in options.alias_files]
        self.aliases = self._below(aliases[0]) if aliases else ""

    def _below(self, path: str) -> str:
        return str(below(self._root, path)) if path else ""

    def root_alias(self) -> str:
        """Where root's mail goes now, "" if nowhere."""
        return table_text.alias_of(_text_of(self.aliases), "root") if self.aliases else ""

    def add_changes(self, answers: Answers, own_name: str, placing: Placing) -> None:
        """Write beside what *answers* change. *own_name* is that of this host. Raise OSError, ValueError."""
        rows: tuple[tuple[str, int, Callable[[str], str]], ...] = (
            (self.auth_info, 0o600, lambda text: _with_login(text, answers)),
            (self.generics, 0o644, lambda text: _with_sender(text, answers, own_name)),
            (self.mailer_table, 0o644, lambda text: _with_rest(text, answers)),
            (self.aliases, 0o644, lambda text: _with_root(text, answers)),
            (self.config, 0o644, lambda text: self._with_options(text, answers)),
        )
        for path, mode, changed in rows:
            before = _text_of(path) if path else ""
            after = changed(before)
            if after == before and not self._is_open(path):
                continue
            if not path:
                raise ValueError(
                    "an option has no path for a file that is needed (AuthInfoFile, GenericsTable)"
                )
            octets = after.encode("utf-8", "surrogateescape")
            placing.add(path, octets, mode, is_secret=path == self.auth_info)

    def _is_open(self, path: str) -> bool:
        """Is it the file of logins, and may others read it?"""
        try:
            return path == self.auth_info and bool(os.stat(path).st_mode & 0o077)
        except OSError:
            return False

    def _with_options(self, text: str, answers: Answers) -> str:
        options = self._options
        text = text or _HEAD
        hop = f"[{answers.host}]:{answers.port}" if answers.host else ""
        wanted = [] if answers.place == SAME else [("SmartHost", options.smart_host, hop)]
        if answers.sender or answers.domain:
            wanted.append(("MasqueradeEnvelope", str(options.masquerade_envelope), "True"))
        if answers.domain:
            wanted.append(("MasqueradeAs", options.masquerade_as, answers.domain))
        if answers.name:
            wanted.append(("HostName", options.host_name, answers.name))
        for name, now, then in wanted:
            if now != then:
                text = table_text.with_option(text, name, then)
        return text


def overrides(files: SetupFiles, placing: Placing) -> dict[str, str]:
    """The options with which a command uses what is beside, before commit()."""
    return {
        "AuthInfoFile": placing.aside(files.auth_info),
        "GenericsTable": placing.aside(files.generics),
        "MailerTable": placing.aside(files.mailer_table),
    }


def default_config(given: str | None) -> str:
    """The path of minimta.cf."""
    return given or config_file.DEFAULT_FILE


def _text_of(path: str) -> str:
    """A file's text, "" if it is not there. Octets that are no UTF-8 stay as they are. Raise OSError."""
    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def _with_login(text: str, answers: Answers) -> str:
    if answers.token:
        fields = f'"U:{answers.user}" "T:{answers.token}"'
    elif answers.secret:
        fields = f'"U:{answers.user}" {_password(answers.secret)}'
    else:
        return text
    return table_text.with_login(text, answers.host, answers.port, fields)


def _password(secret: str) -> str:
    """The field of a row: as it is, or where quotes would end it, in base64."""
    if '"' in secret or not secret.isascii() or secret != secret.strip():
        return f'"P={b64encode(secret.encode("utf-8")).decode("ascii")}"'
    return f'"P:{secret}"'


def _with_sender(text: str, answers: Answers, own_name: str) -> str:
    if answers.sender:
        return table_text.with_row(text, f"@{own_name}", answers.sender)
    if answers.domain:
        return table_text.with_row(text, f"@{own_name}", "")
    return text


def _with_rest(text: str, answers: Answers) -> str:
    if answers.place == "local":
        return table_text.with_row(text, _REST, LOCAL_ONLY)
    ours = f"{_REST}\t{LOCAL_ONLY}"
    if answers.place == SAME:
        return text
    return table_text.with_row(text, _REST, "") if ours in text.split("\n") else text


def _with_root(text: str, answers: Answers) -> str:
    return (
        table_text.with_alias(text, "root", answers.root_address) if answers.root_address else text
    )
