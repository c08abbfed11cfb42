"""A host that takes mail, and what it logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.config.ports import Port
from minimta.listener import threads
from minimta.listener.limits import ConnectionLimits
from minimta.system import log
from tests.support.listening import Listening
from tests.support.smtphost import SmtpHost


@pytest.fixture(autouse=True, scope="session")
def threads_end_soon() -> Iterator[None]:
    """Those of the pool wait for a minute whether another connection comes."""
    saved, threads._IDLE = threads._IDLE, 0.1
    yield
    threads._IDLE = saved


@pytest.fixture
def host(tmp_path: Path) -> SmtpHost:
    return SmtpHost(tmp_path)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, without the queue id."""
    found: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: found.append(text))
    return found


@pytest.fixture
def start(host: SmtpHost) -> Iterator[Callable[..., Listening]]:
    """Start a listener when the options are as the test wants them."""
    started: list[Listening] = []

    def begin(port: Port | None = None, limits: ConnectionLimits | None = None) -> Listening:
        started.append(Listening(host, port=port, limits=limits))
        return started[-1]

    yield begin
    for one in started:
        one.stop()
