"""What a service manager hears."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from minimta.system import log, notify


@pytest.mark.parametrize("name", ["{here}/notify", "@{here}/abstract"])
def test_it_hears_once_that_we_are_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = name.format(here=f"/proc/{os.getpid()}/cwd")  # a socket's name has 107 octets at most
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(place.replace("@", "\0", 1))
        manager.setblocking(False)
        notify.ready()
        notify.ready()
        assert manager.recv(100) == b"READY=1"
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    assert "NOTIFY_SOCKET" not in os.environ


@pytest.mark.parametrize("place", [None, "", "vsock:2:1234", "relative"])
def test_without_a_socket_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, place: str | None
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if place is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", place)
    notify.ready()
    assert lines == []


@pytest.mark.parametrize("place", ["/nonexistent/notify", "@" + "x" * 200])
def test_one_that_does_not_listen_is_logged(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    notify.ready()
    assert [line.startswith(f"cannot notify {place}: ") for line in lines] == [True]
