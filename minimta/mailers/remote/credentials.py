"""Logins for next hops, from the option AuthInfoFile to the one worker that needs them.

    runner (root)     knows which row is for which next hop, and what is wrong with a row; no secret
    a child of it     reads the file, asks for the password where it is, writes it into a pipe, ends
    worker            reads its own login from the pipe, and never sees another one

Only next hops that the configuration names (SmartHost, MailerTable, SenderRelay) have a login.
DIFFERS: Sendmail logs in wherever a row fits, "AuthInfo:" at every host that says AUTH; there a
stranger's MX record could name who gets our password.

What makemap has made of the file, PATH.cdb, counts before it, and has to be as private.

A password may be in a file, private as the first one; printed by a program that only root could have
put there, with an empty environment, within COMMAND_TIME, once for each CredentialStore; or a credential of
systemd; an access token is one of `minimta token`, renewed before its end (``renewal``). What cannot be read, or is not private, is an OSError or Untrusted: mail that needs it waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import signal
import subprocess
import time
from base64 import b64decode, b64encode
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from minimta.config.options import Options
from minimta.mailers.remote import authinfo, renewal, token_file
from minimta.mailers.remote.authinfo import AuthRow
from minimta.mailers.remote.mx_targets import NextHop
from minimta.mailers.remote.oauth import TokenTrouble
from minimta.maps import cdb
from minimta.maps.table import SUFFIX
from minimta.smtp.sasl import Login
from minimta.system import executables, files, log, memory, privileges, safedirpath
from minimta.system.safefile import Untrusted

#: seconds that a program may take to print a password, and that all of reading may
COMMAND_TIME, _READ_TIME = 10.0, 60.0
#: octets of the file of logins, and of a secret
_MAX_FILE, _MAX_SECRET = 1 << 20, 12000


@dataclass(frozen=True, slots=True)
class HopLogin:
    """What a worker knows of the login at one next hop: the login, or why there is none now."""

    login: Login | None = None
    #: names that the certificate may have beside that of the next hop
    names: tuple[str, ...] = ()
    #: "/etc/mail/authinfo line 3", for people
    origin: str = ""
    #: why it cannot be used, "" if it can
    fault: str = ""


class CredentialStore:
    """The file of logins, as a process without secrets sees it: rows without their passwords."""

    def __init__(
        self,
        path: str,
        rows: Sequence[AuthRow] = (),
        stamp: str = "",
        *,
        options: Options | None = None,
        authorizations: Mapping[str, str] | None = None,
    ) -> None:
        """*rows* are those of the file *path*; *stamp* is another one when the file has changed.

        *options* say where tokens are; *authorizations* tells of each name which one it is of.
        """
        self.path = path
        self._options = options or Options()
        self._authorizations = authorizations or {}
        self.rows = rows
        self.stamp = stamp
        #: line of a row -> epoch seconds of the last refusal: a token must be newer
        self.refused_at: dict[int, float] = {}
        #: in a child: lines for the log
        self._notes: list[dict[str, Any]] = []
        #: what programs printed, kept where this process need not look at it: an open file without
        #: a name, -1 before the first program
        self._printed = -1

    @classmethod
    def read(cls, options: Options) -> CredentialStore:
        """As the option AuthInfoFile says; no file is no rows.

        Raise Untrusted if it is not private or others could have modified it, else OSError.
        """
        path = source(options.auth_info_file)
        if not path or not _is_there(path):
            return cls(path)
        memory.load()
        told = json.loads(privileges.in_child(lambda: _index(path, options), _READ_TIME))
        rows = [_row_from(row) for row in told["rows"]]
        known = told["authorizations"]
        return cls(path, rows, told["stamp"], options=options, authorizations=known)

    def row(self, hop: NextHop, sender: bytes) -> AuthRow | None:
        """The row for mail from *sender* to *hop*, None if there is no login."""
        return authinfo.find(self.rows, hop.name, hop.port, sender)

    def state_of(self, row: AuthRow) -> str:
        """Another text when the login of *row* may have changed: the file of logins, or its own."""
        if row.source == "T":  # its file changes with each renewal
            return f"{self.stamp} {self._authorizations.get(os.fsdecode(row.value), '')}"
        if row.source not in ("F", "S"):
            return self.stamp
        try:
            return f"{self.stamp} {_stamp(os.stat(_path_of(row)))}"
        except (OSError, ValueError):
            return self.stamp

    def origin(self, row: AuthRow) -> str:
        """Where *row* stands, for people."""
        if self.path.endswith(SUFFIX):
            return f"{self.path} row {row.key}"
        return f"{self.path} line {row.line}"

    def trouble(self, row: AuthRow) -> str:
        """Why the secret of *row* cannot be read now, "" if it can, or if a program or systemd has it.

        Nobody is asked for a token. Raise OSError.
        """

        def look() -> bytes:
            try:
                if row.source == "F":
                    self._secret(row)
                elif row.source == "T":
                    directory, name = self._options.token_directory, os.fsdecode(row.value)
                    token_file.read(token_file.path_of(directory, name))
            except (OSError, Untrusted, ValueError) as error:
                return os.fsencode(_reason(error))
            return b""

        return os.fsdecode(privileges.in_child(look, _READ_TIME))

    def hand_over(self, wanted: Mapping[str, AuthRow], pipe: int) -> None:
        """Write the logins *wanted*, by next hop, into *pipe* for receive(), in a child.

        Raises nothing: what goes wrong is written there instead of a login.
        """
        if any(row.source == "C" for row in wanted.values()) and self._printed < 0:
            self._printed = os.memfd_create("minimta-logins", os.MFD_CLOEXEC)
        kept = {pipe, self._printed} if self._printed >= 0 else {pipe}
        tokens = sum(row.source == "T" for row in wanted.values())
        seconds = _READ_TIME + tokens * renewal.RENEWAL_TIME
        try:
            for line in json.loads(
                privileges.in_child(lambda: self._write(wanted, pipe), seconds, kept)
            ):
                log.line("", line["text"], level=line["level"], error=line["error"])
        except (OSError, Untrusted) as error:
            faults = {hop: {"fault": f"{self.path}: {_reason(error)}"} for hop in wanted}
            files.write_all(pipe, json.dumps(faults).encode("ascii"))

    def _write(self, wanted: Mapping[str, AuthRow], pipe: int) -> bytes:
        """In the child: what each of the rows *wanted* says now. Returns lines for the log."""
        text, stamp = _read(self.path)
        if stamp != self.stamp or source(self._options.auth_info_file) != self.path:
            raise OSError(0, "has just been changed; the next queue run reads it again")
        now = {row.line: row for row in authinfo.parse(text)}
        told = {hop: self._told(now[row.line]) for hop, row in wanted.items()}
        files.write_all(pipe, json.dumps(told).encode("ascii"))
        return json.dumps(self._notes).encode("ascii")

    def _told(self, row: AuthRow) -> dict[str, object]:
        try:
            secret = row.fault or self._secret(row)
        except TokenTrouble as trouble:  # of the row there is nothing to be said
            return {"fault": trouble.text}
        except (OSError, Untrusted, ValueError) as error:
            secret = _reason(error)
        if isinstance(secret, str):
            return {"fault": f"{self.origin(row)}: {secret}"}
        return {
            "user": row.user,
            "secret": b64encode(secret).decode("ascii"),
            "identity": row.identity,
            "mechanisms": row.mechanisms,
            "names": row.names,
            "origin": self.origin(row),
        }

    def _secret(self, row: AuthRow) -> bytes:
        """The password of *row*. Raise OSError, Untrusted, ValueError, TokenTrouble with a reason."""
        if row.source == "P":
            return row.value
        if row.source == "C":
            return self._once(row)
        if row.source == "T":
            name = os.fsdecode(row.value)
            newer_than = self.refused_at.get(row.line, 0.0)
            return renewal.access_token(
                self._options, name, self._note, newer_than=newer_than
            ).encode("ascii")
        path = _path_of(row)
        try:
            found = safedirpath.read_trusted(path, os.geteuid(), _MAX_SECRET, safedirpath.SECRET)
        except Untrusted as error:
            raise Untrusted(f"{log.clean(path)}: {error}; it must be root's, mode 600") from error
        return _first_line(found.text, path)

    def _note(self, text: str, *, is_error: bool = False) -> None:
        """In the child, which may have no standard error: the parent writes it to the log."""
        self._notes.append({"text": text, "level": 1 if is_error else 9, "error": is_error})

    def _once(self, row: AuthRow) -> bytes:
        """What the program of *row* prints; it runs once for this store, whatever comes of it."""
        known = {}
        for line in files.read_to_limit(self._printed, _MAX_FILE).splitlines():
            said = json.loads(line)
            known[said["line"]] = said
        if row.line not in known:
            said = known[row.line] = {"line": row.line, **_outcome_of(row.value)}
            os.lseek(self._printed, 0, os.SEEK_END)
            files.write_all(self._printed, json.dumps(said).encode("ascii") + b"\n")
        if known[row.line]["fault"]:
            raise ValueError(known[row.line]["fault"])
        return b64decode(known[row.line]["secret"])


def receive(pipe: int) -> dict[str, HopLogin]:
    """What hand_over() wrote, by next hop; reads to the end of *pipe*. Raise OSError."""
    text = bytearray()
    piece = bytearray(1 << 16)
    try:
        while count := os.readv(pipe, [piece]):
            text += memoryview(piece)[:count]
        told = json.loads(text)
        return {hop: _login_from(said) for hop, said in told.items()}
    except ValueError:
        raise OSError("no login came") from None  # its text would show what came
    finally:
        # What Python copied is beyond our reach; this is not.
        for secret in (text, piece):
            secret[:] = bytes(len(secret))


def _login_from(said: Mapping[str, object]) -> HopLogin:
    if "fault" in said:
        return HopLogin(fault=str(said["fault"]))
    mechanisms, names = said["mechanisms"], said["names"]
    assert isinstance(mechanisms, list) and isinstance(names, list)
    login = Login(
        str(said["user"]), b64decode(str(said["secret"])), str(said["identity"]), tuple(mechanisms)
    )
    return HopLogin(login, tuple(names), str(said["origin"]))


# --- the file -------------------------------------------------------------------------------------


def _is_there(path: str) -> bool:
    """Is there a file, or anything? Raise OSError if that is not known."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def source(path: str) -> str:
    """The file that counts: PATH.cdb if makemap has made one. Raise OSError if nobody can tell."""
    return path + SUFFIX if path and _is_there(path + SUFFIX) else path


def _read(path: str) -> tuple[bytes, str]:
    """The text, of a database as it would be, and its stamp. Raise OSError, Untrusted."""
    if not path.endswith(SUFFIX):
        found = safedirpath.read_trusted(path, os.geteuid(), _MAX_FILE, safedirpath.SECRET)
        return found.text, _stamp(os.stat(path))
    found = safedirpath.read_trusted(path, os.geteuid(), _MAX_FILE, safedirpath.SECRET_DATABASE)
    rows = cdb.read_records(BytesIO(found.text), len(found.text), path)
    text = b"".join(b"%b %b\n" % row for row in rows)
    return text, _stamp(os.stat(path))


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_dev} {status.st_ino} {status.st_mtime_ns} {status.st_size}"


def _path_of(row: AuthRow) -> str:
    """The file that the secret is in. Raise ValueError if there is none of systemd's."""
    path = os.fsdecode(row.value)
    if row.source == "F":
        return path
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        raise ValueError("S: is for a service of systemd with LoadCredential=")
    return os.path.join(directory, path)


def _index(path: str, options: Options) -> bytes:
    """In a child: the rows without their passwords, and of tokens which authorization each is of."""
    text, stamp = _read(path)
    rows = authinfo.parse(text)
    names = {os.fsdecode(row.value) for row in rows if row.source == "T"}
    told = {
        "stamp": stamp,
        "rows": [_shown(row) for row in rows],
        "authorizations": {name: _authorization(options, name) for name in names},
    }
    return json.dumps(told).encode("ascii")


def _authorization(options: Options, name: str) -> str:
    """ "" if it cannot be told: who asks for the token hears why."""
    try:
        return token_file.read(token_file.path_of(options.token_directory, name)).authorization
    except (OSError, Untrusted, ValueError):
        return ""


def _shown(row: AuthRow) -> dict[str, object]:
    """The fields of *row*, less what is secret: of a path it is known anyway."""
    shown = {name: getattr(row, name) for name in AuthRow.__slots__ if name != "value"}
    return {**shown, "value": os.fsdecode(row.value) if row.source in ("F", "S", "T") else ""}


def _row_from(said: dict[str, object]) -> AuthRow:
    """The inverse of _shown()."""
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
    return AuthRow(**{**fields, "value": os.fsencode(str(said["value"]))})  # type: ignore[arg-type]


def _first_line(text: bytes, path: str) -> bytes:
    """*path* is where it comes from, for people. Raise ValueError if there is none."""
    line = text.removeprefix(BOM_UTF8).partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise ValueError(f"{path}: the first line is empty")
    return line


def _reason(error: Exception) -> str:
    """For people. No library's text goes in that could show what it was given."""
    if isinstance(error, OSError):
        where = f"{log.clean(str(error.filename))}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return str(error)


# --- programs -------------------------------------------------------------------------------------


def _outcome_of(command: bytes) -> dict[str, str]:
    try:
        secret = _first_line(_run(command), "what it prints")
    except (OSError, Untrusted, ValueError) as error:
        return {"fault": f"C: {_reason(error)}"}
    return {"fault": "", "secret": b64encode(secret).decode("ascii")}


def _run(command: bytes) -> bytes:
    """What a program prints. Raise OSError, Untrusted, ValueError if it is not run or fails."""
    words = shlex.split(os.fsdecode(command))
    why = executables.why_not(os.fsencode(words[0]), executables.trusted_owners(), frozenset())
    if why:
        raise ValueError(f"{words[0]}: {why}")
    # In the child of hand_over(): directory /, standard input and error are /dev/null.
    program = subprocess.Popen(words, env={}, stdout=subprocess.PIPE, start_new_session=True)
    assert program.stdout is not None
    deadline = time.monotonic() + COMMAND_TIME
    try:
        printed = _read_all(program.stdout.fileno(), deadline)
        code = program.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise ValueError(f"{words[0]} did not end in {COMMAND_TIME:g} seconds") from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        program.stdout.close()
    if code != 0:
        raise ValueError(f"{words[0]} ended with exit code {code}")
    return printed


def _read_all(pipe: int, deadline: float) -> bytes:
    """To the end, until *deadline* (time.monotonic()). Raise TimeoutError, ValueError."""
    printed = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            octets = os.read(pipe, 1 << 16)
            if not octets:
                return printed
            printed += octets
            if len(printed) > _MAX_SECRET:
                raise ValueError("it prints too much")
