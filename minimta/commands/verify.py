"""``sendmail -bv``: where each address leads, through aliases and .forward; nothing is sent."""

from __future__ import annotations

import os

from minimta.message import address, addresslist
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate
from minimta.routing.expand import expand
from minimta.routing.local_host import LocalHost
from minimta.runner import redirect
from minimta.system import log
from minimta.system.terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.commandline import Command
    from minimta.config.options import Options
    from minimta.routing.destination import Destination
    from minimta.routing.route import Route

#: octets of a path that needs no quotes
_SIMPLE = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+"


def show(command: Command, options: Options) -> int:
    """Print one line for each destination, failures first. Returns the exit code."""
    here = LocalHost(options)
    recipients, failures = _recipients(command)
    flags = "PA" if not command.expand_aliases else "P"
    found = [] if not recipients else _expand(here, recipients, flags)
    deliverable: list[tuple[str, bytes, str]] = []
    for destination in found:
        outcome, route = destination.outcome, destination.route
        if route is not None and (outcome is None or outcome.fate is Fate.SENT):
            deliverable.append((route.host, route.user, _where(destination, route)))
        else:
            failures += _why_not(destination)
    for line in failures:
        say(line.text)
    for _, _, text in sorted(deliverable):
        say(text)
    if options.redirect_all:
        say(redirect.notice(options))
    return failures[0].exit_code if failures else os.EX_OK


class _Failure:
    """A line, and the exit code that it asks for."""

    def __init__(self, text: str, exit_code: int = os.EX_NOUSER) -> None:
        self.text = text
        self.exit_code = exit_code


def _recipients(command: Command) -> tuple[list[bytes], list[_Failure]]:
    good, failures = [], []
    for argument in command.arguments:
        special = address.why_special(argument)
        for mailbox in [] if special else addresslist.parse(argument):
            if mailbox.problem:
                failures.append(_Failure(f"{log.clean(argument)}... {mailbox.problem}"))
            else:
                good.append(mailbox.address)
        if special:
            failures.append(_Failure(f"{log.clean(argument)}... {special}"))
    return good, failures


def _expand(here: LocalHost, addresses: list[bytes], flags: str) -> list[Destination]:
    # Without aliases (-n) a name is written as an alias would write the user's own mailbox: "\dave".
    mark = b"\\" if "A" in flags else b""
    recipients = [
        Recipient((mark if here.is_local(bare) else b"") + bare, flags) for bare in addresses
    ]
    return expand(recipients, b"", here, qid="")


def _why_not(destination: Destination) -> list[_Failure]:
    """As many lines as the decision has, or one."""
    outcome = destination.outcome
    assert outcome is not None  # without a route, or decided
    told = outcome.told() or [f"{_shown(destination)}... {outcome.text}"]
    return [_Failure(log.clean(line), outcome.exit_code or os.EX_NOUSER) for line in told]


def _where(destination: Destination, route: Route) -> str:
    host = f"host {log.clean(route.host)}, " if route.host else ""
    user = log.clean(_command(route.user) if route.mailer == "prog" else route.user)
    return f"{_shown(destination)}... deliverable: mailer {route.mailer}, {host}user {user}"


def _shown(destination: Destination) -> str:
    return log.clean(address.bare(destination.recipient.address).removeprefix(b"\\"))


def _command(command: bytes) -> bytes:
    """As Sendmail shows it: in quotes if it is more than a path."""
    simple = not command.translate(None, _SIMPLE)
    return b"|" + command if simple else b'"|%b"' % command
