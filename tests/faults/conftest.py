"""The mail system of a scene may be any user's to pass; and nobody waits for a lock."""

from __future__ import annotations

import pytest

from minimta.mailers.files.file_mailer import FileMailer
from minimta.mailers.files.mbox import MboxMailer
from minimta.runner import rounds
from tests.mailers.conftest import ground

__all__ = ["ground"]


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """EACCES of a lock means that another has it: it is asked for as often as ever, without pauses."""
    monkeypatch.setattr(rounds, "_BUSY_TIME", 0.0)
    monkeypatch.setattr(rounds, "_BUSY_PAUSE", 0.0)
    for mailer in (MboxMailer, FileMailer):
        make = mailer.__init__
        without = dict(make.__kwdefaults__ or {}, pause=lambda seconds: None)
        monkeypatch.setattr(make, "__kwdefaults__", without)
