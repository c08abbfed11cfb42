"""``sendmail -bv``: where each address leads, through aliases and .forward; nothing is sent."""

from __future__ import annotations

import os

from minimta import address, addresslist, log
from minimta.envelope import Recipient
from minimta.expand import Expander
from minimta.locality import Locality
from minimta.terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.commandline import Command
    from minimta.expand import Destination
    from minimta.options import Options

_SPECIAL = (
    (b"|", "Cannot mail directly to programs"),
    (b"/", "Cannot mail directly to files"),
    (b":include:", "Cannot mail directly to :include:s"),
)


def show(command: Command, options: Options) -> int:
    """Print one line for each destination, failures first. Returns the exit code."""
    here = Locality(options)
    recipients, failures = _recipients(command)
    flags = "PA" if not command.expand_aliases else "P"
    found = [] if not recipients else _expand(here, recipients, flags)
    deliverable: list[str] = []
    for destination in found:
        text, is_good = _describe(destination)
        (deliverable if is_good else failures).append(text)
    for line in [*failures, *deliverable]:
        say(line)
    return os.EX_NOUSER if failures else os.EX_OK


def _recipients(command: Command) -> tuple[list[bytes], list[str]]:
    good, failures = [], []
    for argument in command.arguments:
        special = next((why for mark, why in _SPECIAL if argument.lower().startswith(mark)), "")
        for mailbox in [] if special else addresslist.parse(argument):
            if mailbox.problem:
                failures.append(f"{log.clean(argument)}... {mailbox.problem}")
            else:
                good.append(mailbox.address)
        if special:
            failures.append(f"{log.clean(argument)}... {special}")
    return good, failures


def _expand(here: Locality, addresses: list[bytes], flags: str) -> list[Destination]:
    # Without aliases (-n) a name is written as an alias would write the user himself: "\dave".
    mark = b"\\" if "A" in flags else b""
    recipients = [
        Recipient((mark if here.is_local(bare) else b"") + bare, flags) for bare in addresses
    ]
    expander = Expander(here.options, here.aliases, here.users, here.router)
    return list(expander.expand(recipients, b"", qid=""))


def _describe(destination: Destination) -> tuple[str, bool]:
    """The line for one destination, and whether mail could get there."""
    shown = log.clean(address.bare(destination.recipient.address).removeprefix(b"\\"))
    if destination.outcome is not None:
        return f"{shown}... {log.clean(destination.outcome.text)}", False
    route = destination.route
    assert route is not None
    if route.mailer == "error":
        return f"{shown}... {log.clean(route.user)}", False
    host = f"host {log.clean(route.host)}, " if route.host else ""
    return (
        f"{shown}... deliverable: mailer {route.mailer}, {host}user {log.clean(route.user)}",
        True,
    )
