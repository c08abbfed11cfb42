"""``minimta queue show ID``: all that is known of one message, and what was said when it failed.

Envelope, header, each failed attempt with the SMTP dialogue, when it is tried next. The body is shown
only to who asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from minimta.admin.queue import overview, wording
from minimta.admin.queue.messages import QueuedMessage, may_see_all
from minimta.config.options import Options
from minimta.message import dates
from minimta.message.printable import as_text, shown
from minimta.queue import failed_attempts, view
from minimta.queue.control import REQUIRE_TLS, Control
from minimta.queue.directory import QueueDirectory
from minimta.queue.failed_attempts import FailedAttempt
from minimta.queue.view import QueueView
from minimta.system import log

#: characters of a field or an address, octets of a body that are read at once
_LONG, _BLOCK = 1000, 1 << 16
#: as Sendmail has the sender in "Return-Path: <g>"
_PLACEHOLDER = b"<\x81g>"
#: what each of Sendmail's flags means to people; "s" (split) stands with every message, and tells nothing
_FLAGS = {
    "8": "8-bit octets",
    "b": "Bcc is deleted",
    "n": "no body in bounces",
    "r": "a bounce",
    "w": "its sender was warned of the delay",
}


class QueuedMessageReport:
    """Looks at one message once; has nothing open."""

    def __init__(self, one: QueuedMessage, options: Options) -> None:
        """Raise OSError if it cannot be read."""
        self.one = one
        self._options = options
        self.path = one.directory
        directory = QueueDirectory(self.path)
        try:
            owner = None if may_see_all(options) else os.geteuid()
            #: None: it is gone by now
            self.view: QueueView | None = view.look(directory, one.qid, one.kind, owner)
            self.failed = failed_attempts.read(directory, one.qid)
        finally:
            directory.close()

    def lines(self, now: float) -> Iterator[str]:
        """All of it but the body, *now* (epoch seconds)."""
        one = self.one
        yield f"{one.qid}: {one.state}, in {log.clean(self.path)}"
        if self.view is None:
            yield "  gone meanwhile"
            return
        control = self.view.control
        if control is None:
            yield f"  {one.kind}{one.qid}: {log.clean(self.view.problem)}"
            yield from (f"    {shown(line, _LONG)}" for line in self.view.text.split(b"\n")[:200])
        else:
            yield from self._envelope(control, now)
            yield "  header"
            yield from (f"    {line}" for line in _header(control))
        yield from attempts(self.failed)

    def _envelope(self, control: Control, now: float) -> Iterator[str]:
        one = self.one
        yield f"  from      {log.clean(control.reverse_path, _LONG)}"
        for recipient in control.recipients:
            why = f": {log.clean(recipient.message, _LONG)}" if recipient.message else ""
            by = recipient.controlling_user
            acting = f" (by {log.clean(by, _LONG)})" if by else ""
            yield f"  to        {log.clean(recipient.address, _LONG)}{acting}{why}"
        client = control.macros.get(b"_", b"")
        origin = f" from {log.clean(client, _LONG)}" if client else ""
        passed = wording.age(now - control.created)
        yield f"  arrived   {dates.rfc5322(control.created)}, {passed} ago{origin}"
        body = f", {log.clean(control.body_type)}" if control.body_type else ""
        yield f"  body      {one.size if one.size >= 0 else 'no'} octets{body}"
        marks = [_FLAGS[flag] for flag in control.flags if flag in _FLAGS]
        if REQUIRE_TLS in control.macros:
            marks.append("leaves only with proved TLS (REQUIRETLS)")
        if marks:
            yield f"  flags     {', '.join(marks)}"
        if control.attempts:
            last = dates.rfc5322(control.last_attempt)
            yield f"  attempts  {control.attempts}, the last {last}"
        why = overview.why_here(one, self._options, now)
        if why:
            yield f"  status    {why}"

    def body(self) -> Iterator[bytes]:
        """The body, as it is in the queue. Raise OSError."""
        directory = QueueDirectory(self.path)
        try:
            owner = None if may_see_all(self._options) else os.geteuid()
            file = view.open_body(directory, self.one.qid, owner)
        finally:
            directory.close()
        if file < 0:
            return
        try:
            while block := os.read(file, _BLOCK):
                yield block
        finally:
            os.close(file)

    def facts(self) -> dict[str, object]:
        """The same for programs, without the body."""
        control = self.view.control if self.view else None
        return {
            **overview.facts(self.one, self._options),
            "problem": self.view.problem if self.view else "gone",
            "header": list(_header(control)) if control else [],
            "failed": [asdict(one) for one in self.failed],
        }


def _header(control: Control) -> Iterator[str]:
    for _, field in control.headers:
        if field.endswith(_PLACEHOLDER):
            continue  # the sender is put there on the way out
        for line in field.split(b"\n"):
            yield as_text(line.replace(b"\t", b"    ")).decode("utf-8")[:_LONG]


def attempts(failed: Sequence[FailedAttempt]) -> Iterator[str]:
    """Each failed attempt, with what was said."""
    for one in failed:
        where = f" at {one.relay}" if one.relay else ""
        took = f", took {wording.age(one.seconds)}" if one.seconds else ""
        when = dates.rfc5322(one.time)
        yield f"  attempt {one.number + 1}, {when}{took}: {', '.join(one.to)} by {one.mailer}{where}"
        yield f"    {one.status} {one.stat}"
        yield from (f"      {line}" for line in one.dialogue)


def for_terminal(block: bytes) -> str:
    """Text for a terminal, which a sequence in it would command otherwise."""
    lines = block.replace(b"\t", b"    ").split(b"\n")
    return "\n".join(as_text(line).decode("utf-8") for line in lines)
