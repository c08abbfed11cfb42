"""A host that takes mail, and what it logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.system import log
from tests.support.smtphost import SmtpHost


@pytest.fixture
def host(tmp_path: Path) -> SmtpHost:
    return SmtpHost(tmp_path)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, without the queue id."""
    found: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: found.append(text))
    return found
