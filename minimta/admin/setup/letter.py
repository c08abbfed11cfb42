"""The test letter of ``minimta setup``: sent by the new files before they are in place, and followed to its end.

It goes by ``sendmail -v`` through a queue of its own: rewriting, login, TLS and delivery are those of
every other letter, and nothing of it stays, neither a letter that waits nor a bounce nor the memory of
a refused login. What is told of it is the dialogue, in which ``-v`` shows no secret.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minimta.admin.checkout import SENDMAIL

#: seconds until somebody must have greeted us, and until all must be over
GREETING_TIME, WHOLE_TIME = 9.0, 60.0
#: waits of the client, each shorter than in daily use: somebody sits there
_TIMES = {
    "iconnect": "6s", "connect": "6s", "initial": "8s", "helo": "8s", "starttls": "8s",
    "auth": "10s", "mail": "10s", "rcpt": "15s", "datainit": "10s", "datafinal": "30s", "quit": "2s",
}  # fmt: skip
_REPLY = re.compile(r"[2-5][0-9][0-9][ -]")
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class LetterResult:
    """What became of it."""

    is_sent: bool
    #: the last word: "250 2.0.0 OK ..." of the other side, or our reason
    text: str
    #: the lines of the last reply of the other side that was no 2yz or 3yz, () if there was none
    replies: tuple[str, ...]
    #: seconds
    took: float


def send(config_file: str, overrides: Mapping[str, str], recipient: str, text: str) -> LetterResult:
    """Send a letter of *text* to *recipient* by the files that *config_file* and *overrides* name.

    Raise OSError if sendmail cannot be started. An interrupt ends all of it.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minimta-setup-") as directory:
        queue = os.path.join(directory, "mqueue")
        os.mkdir(queue, 0o700)
        own = {"QueueDirectory": queue, "LogTo": "none", "MinFreeBlocks": "0", "QueueLA": "100000"}
        own |= {f"Timeout.{name}": value for name, value in _TIMES.items()}
        # In a file: by -O only root may name a queue.
        path = os.path.join(directory, "minimta.cf")
        _write_config(path, config_file, own | dict(overrides))
        command = [
            sys.executable,
            "-I",
            SENDMAIL,
            "-C",
            path,
            "-v",
            "-odi",
            "-i",
            "-Nnever",
            "--",
            recipient,
        ]
        said = _run(command, text.encode("utf-8"), began)
    return _result(said, recipient, time.monotonic() - began)


def _write_config(path: str, base: str, settings: Mapping[str, str]) -> None:
    """*path* says what *base* says, but for *settings*: of an option that is set twice the last counts."""
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    with open(base, "rb") as file:
        octets = file.read()
    with open(path, "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(octets + b"\n" + lines.encode("utf-8", "surrogateescape"))


def _run(command: Sequence[str], letter: bytes, began: float) -> str:
    """What it prints, to its end or until the time is over."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(letter)
        stdin.seek(0)
        program = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    try:
        return _told(program, began)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def _told(program: subprocess.Popen[bytes], began: float) -> str:
    assert program.stdout is not None
    said = b""
    with program.stdout, selectors.DefaultSelector() as selector:
        selector.register(program.stdout, selectors.EVENT_READ)
        while True:
            was_greeted = re.search(rb"^220[ -]", said, re.MULTILINE)
            left = began + (WHOLE_TIME if was_greeted else GREETING_TIME) - time.monotonic()
            if left <= 0 or not selector.select(left):
                seconds = round(time.monotonic() - began)
                return said.decode("utf-8", "replace") + f"\nno answer in {seconds} seconds"
            octets = os.read(program.stdout.fileno(), 1 << 16)
            if not octets or len(said) > _MOST:
                return said.decode("utf-8", "replace")
            said += octets


def _result(said: str, recipient: str, took: float) -> LetterResult:
    lines = [line.rstrip() for line in said.split("\n") if line.strip()]
    # What the other side says is no verdict: "221 emma@example.org... Sent" neither.
    own = [line for line in lines if not _REPLY.match(line)]
    verdicts = [line for line in own if recipient in line.partition("... ")[0]]
    verdict = verdicts[-1].partition("... ")[2] if verdicts else ""
    if verdict.startswith("Connecting to "):
        verdict = ""
    if verdict.startswith("Sent"):
        finals = [line for line in lines if line.startswith("250 ")]
        return LetterResult(True, finals[-1] if finals else verdict, (), took)
    # What the command itself has to say comes last.
    reason = verdict.removeprefix("Deferred: ") or (lines[-1] if lines else "")
    if lines and lines[-1].startswith("no answer in "):
        reason = lines[-1]
    if "timed out" in reason and any(line.startswith("220") for line in lines):
        # Not a port that is blocked, nor a letter that certainly was not taken.
        asked = [line[4:] for line in lines if line.startswith(">>> ")] or ["the greeting"]
        reason = f"it greeted, and gave no answer to {asked[-1]}: try again later"
    return LetterResult(False, reason, _last_refusal(lines), took)


def _last_refusal(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines of the last reply that was 4yz or 5yz."""
    found: list[str] = []
    for line in lines:
        if not _REPLY.match(line):
            continue
        if line[0] in "23":
            continue
        if not found or found[-1][3] == " ":
            found = []
        found.append(line)
    return tuple(found)
