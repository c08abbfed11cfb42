"""Slots for tests that deliver without a queue."""

from __future__ import annotations

import tempfile

from minimta.system.slots import Slots

#: removed when the tests end
_FILE = tempfile.NamedTemporaryFile(suffix=".slots")  # noqa: SIM115


def slots(number: int = 10) -> Slots:
    """Slots of this process and its children alone."""
    return Slots(_FILE.name, number)
