from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.smtphost import SmtpHost


@pytest.fixture
def host(tmp_path: Path) -> SmtpHost:
    (tmp_path / "host").mkdir()
    return SmtpHost(tmp_path / "host")
