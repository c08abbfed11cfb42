"""The unit of systemd that the installation enables, and disables again."""

from __future__ import annotations

import subprocess

import pytest

from minimta.admin.install import services
from minimta.admin.install.services import Service


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is asked of systemctl by who wants it done."""
    commands: list[list[str]] = []
    monkeypatch.setattr(services, "has_systemd", lambda: True)
    monkeypatch.setattr(services, "call", commands.append)
    no = subprocess.CompletedProcess[str]([], 1, "", "")
    monkeypatch.setattr(services, "run", lambda command: no)
    return commands


def test_a_service_is_read_enabled_and_started_anew(called: list[list[str]]) -> None:
    Service("minimta.service").do()
    assert called == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "minimta.service"],
        ["systemctl", "restart", "minimta.service"],
    ]


def test_a_service_that_goes_is_disabled_or_the_next_boot_misses_its_program(
    called: list[list[str]],
) -> None:
    Service("minimta.service").undo()
    assert called == [
        ["systemctl", "disable", "--now", "minimta.service"],
        ["systemctl", "stop", "minimta.service"],
    ]
