"""The host that is attacked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.system import log
from tests.support.sharedhost import SharedHost


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedHost]:
    """Below a directory that every user may pass, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="minimta-threats-") as name:
        Path(name).chmod(0o755)
        made = SharedHost(Path(name))

        def line(qid: str, text: str, *, level: int = 9, error: bool = False) -> None:
            made.lines.append(f"{qid}: {text}")

        monkeypatch.setattr(log, "line", line)
        yield made
