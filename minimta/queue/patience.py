"""How long a message is tried, and when its sender is told: Timeout.queuereturn and Timeout.queuewarn.

    bounces, receipts, warnings    .dsn
    Priority: urgent               .urgent
    Priority: non-urgent           .non-urgent
    all others                     .normal

What is not set is as the option without a class has it.
"""

from __future__ import annotations

from minimta.config.options import Options
from minimta.message import headers
from minimta.queue.control import Control

_CLASSES = {b"urgent": "urgent", b"non-urgent": "non_urgent"}


def returns_after(options: Options, control: Control) -> int:
    """Seconds after which a message that still waits is returned."""
    found: int | None = getattr(options, f"timeout_queuereturn_{_class(control)}")
    return options.timeout_queuereturn if found is None else found


def warns_after(options: Options, control: Control) -> int:
    """Seconds after which its sender is told that it waits; 0: never."""
    found: int | None = getattr(options, f"timeout_queuewarn_{_class(control)}")
    return options.timeout_queuewarn if found is None else found


def _class(control: Control) -> str:
    """As the names of attributes of Options end."""
    if "r" in control.flags:
        return "dsn"
    fields = headers.find(control.headers, b"priority")
    return _CLASSES.get(headers.value(fields[0]).strip().lower(), "normal") if fields else "normal"
