"""Telling somebody, not by mail: a program, or an https URL.

    program    runs as DefaultUser in /, with the sentence and a line end on standard input, and
                   PATH=/usr/bin:/bin
                   MINIMTA_EVENT    trouble, over, test
                   MINIMTA_HOST     the name of this host
                   MINIMTA_TEXT     the sentence
               exit code 0: told
    file:PATH  its first line is the URL, what follows are fields ("Authorization: Bearer ..."); root's,
               mode 600. A child reads it that has become RunAsUser, and POSTs
                   AlertFormat=text    the sentence, text/plain
                   AlertFormat=json    {"text": S, "content": S, "message": S, "title": ..., "event": ..., "host": ...}
               2yz: told; a redirect is not followed. The certificate is verified (CACertFile, CACertPath),
               HTTPSProxy counts. Private addresses are allowed: the administrator has named it

Both have _TIME seconds. What goes wrong is an OSError, Untrusted or ValueError whose text has nothing of
the URL or of the fields.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import NamedTuple

from minimta.config import alerts
from minimta.config.options import Options
from minimta.mailers.remote.oauth import ENDING
from minimta.routing.local_host import LocalHost
from minimta.system import executables, log, privileges, safedirpath, sandbox
from minimta.system.https import Endpoint, HttpsClient
from minimta.system.safefile import Untrusted
from minimta.system.tls_values import TlsError, Trust

#: seconds that a program or a server may take, and its child in all
_TIME, _CHILD_TIME = 30.0, 40.0
#: octets of the file with the URL
_MAX_FILE = 16384
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e]*)")
#: what we say ourselves
_OURS = ("content-type", "content-length", "host", "connection", "transfer-encoding")


class Alert(NamedTuple):
    """What is told."""

    #: "trouble", "over" or "test"
    event: str
    host: str
    #: one sentence
    text: str


class Webhook(NamedTuple):
    """What the file of a URL says. It is secret; nobody prints it."""

    url: str
    fields: Mapping[str, str]


def send(options: Options, alert: Alert) -> None:
    """Tell it as AlertCommand says. Raise OSError, Untrusted or ValueError: it was not told."""
    command = options.alert_command
    if command.startswith("file:"):
        _post(options, command.removeprefix("file:"), alert)
    else:
        _run(options, alerts.words(command), alert)


# --- a program ------------------------------------------------------------------------------------


def _run(options: Options, words: list[str], alert: Alert) -> None:
    why = executables.why_not(
        os.fsencode(words[0]), executables.trusted_owners(), options.dont_blame
    )
    if why:
        raise ValueError(f"{words[0]}: {why}")
    user = LocalHost(options).default_user()
    if user is None:
        raise ValueError(f"DefaultUser {options.default_user} is nobody who may run it")
    told = privileges.as_user(user, lambda: _run_here(words, alert), _CHILD_TIME)
    if code := int(told):
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise OSError(errno.EIO, f"{words[0]} ended with {how}")


def _run_here(words: list[str], alert: Alert) -> bytes:
    """In the child: its exit code. Raise OSError, also if it takes too long."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "MINIMTA_EVENT": alert.event,
        "MINIMTA_HOST": alert.host,
        "MINIMTA_TEXT": alert.text,
    }
    program = subprocess.Popen(
        words,
        env=environment,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        program.communicate(f"{alert.text}\n".encode(), _TIME)
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, f"{words[0]} did not end in {_TIME:g} seconds") from None
    finally:
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        program.wait()
    return str(program.returncode).encode("ascii")


# --- a URL ----------------------------------------------------------------------------------------


def _post(options: Options, path: str, alert: Alert) -> None:
    try:
        https = HttpsClient(Trust(options.ca_cert_file, options.ca_cert_path), options.https_proxy)
    except TlsError as error:
        raise OSError(errno.EIO, error.reason) from error
    status = privileges.in_child(lambda: _post_here(options, https, path, alert), _CHILD_TIME)
    if why := why_not_told(int(status)):
        raise OSError(errno.EPROTO, why)


def why_not_told(status: int) -> str:
    """What a *status* of HTTP other than 2yz means, "" for those."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"the server answers with a redirect ({status}), which is not followed"
    hint = {401: "it wants a login", 403: "it refuses us", 404: "there is no such hook", 410: "the hook is gone"}  # fmt: skip
    return f"the server answers {status}" + (f": {hint[status]}" if status in hint else "")


def _post_here(options: Options, https: HttpsClient, path: str, alert: Alert) -> bytes:
    """In a child that nobody can look into: the status. No text of an exception is a secret's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        hook = read_hook(path)
    except ValueError as error:
        raise Untrusted(str(error)) from None
    privileges.become(options.run_as_user)
    sandbox.enter(options, sandbox.of_client(options))
    kind, body = body_of(alert, options.alert_format)
    host = Endpoint.read(hook.url).host
    deadline = time.monotonic() + _TIME
    try:
        status = https.send(
            hook.url, body, {**hook.fields, "Content-Type": kind}, deadline - time.monotonic()
        )
    except OSError as error:
        told = (error.strerror or str(error)).replace(host, "the server")
        raise OSError(error.errno or errno.EIO, told) from None
    except Exception as error:  # its text could be anything
        raise OSError(errno.EIO, f"{type(error).__name__} in the exchange") from None
    return str(status).encode("ascii")


def body_of(alert: Alert, form: str) -> tuple[str, bytes]:
    """Content-Type and body, as AlertFormat has it."""
    if form != "json":
        return "text/plain; charset=utf-8", f"{alert.text}\n".encode()
    same = dict.fromkeys(("text", "content", "message"), alert.text)
    title = f"{alert.host}: mail"
    told = {**same, "title": title, "event": alert.event, "host": alert.host}
    return "application/json", json.dumps(told).encode("ascii")


def read_hook(path: str) -> Webhook:
    """What the file says. Raise OSError, Untrusted if it is not private, ValueError for nonsense."""
    shown = log.clean(path)
    try:
        found = safedirpath.read_trusted(path, os.geteuid(), _MAX_FILE, safedirpath.SECRET)
    except Untrusted as error:
        raise Untrusted(f"{shown}: {error}; it must be root's, mode 600") from error
    lines = [line.strip() for line in found.text.decode("utf-8", "replace").split("\n")]
    url, *others = [line for line in lines if line and line[0] != "#"] or [""]
    try:
        Endpoint.read(url)
    except ValueError:
        raise ValueError(f"{shown}: the first line is no URL like https://host/path") from None
    fields = {}
    for number, line in enumerate(others, 2):
        parts = _FIELD.fullmatch(line)
        if parts is None or parts[1].lower() in _OURS:
            raise ValueError(f"{shown}: entry {number} is no field like Authorization: Bearer ...")
        fields[parts[1]] = parts[2]
    return Webhook(url, fields)
