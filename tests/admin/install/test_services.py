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


class Systemd:
    """What systemctl answers of units: by default all is written, read, enabled and active."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.enabled: set[str] = set()
        self.active: set[str] = set()
        self.unread = ""
        monkeypatch.setattr(services, "has_systemd", lambda: True)
        monkeypatch.setattr(services, "run", self._run)
        monkeypatch.setattr(services, "_is_written", lambda unit: True)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        verb, unit = command[-2], command[-1]
        known = {"is-enabled": self.enabled, "is-active": self.active}
        code = int(unit not in known.get(verb, {unit}))
        text = "yes\n" if unit == self.unread else "no\n"
        return subprocess.CompletedProcess(command, code, text, "")


@pytest.mark.parametrize(
    ("enabled", "active", "is_done"),
    [
        ({"minimta.service"}, {"minimta.service"}, True),
        ({"minimta.service"}, set(), False),
        (set(), {"minimta.service"}, False),
        # The administrator's choice: the listener starts when a client comes.
        ({"minimta.socket"}, {"minimta.socket"}, True),
        ({"minimta.socket"}, {"minimta-listener.service"}, False),
    ],
)
def test_a_service_is_done_if_what_is_enabled_is_active(
    monkeypatch: pytest.MonkeyPatch, enabled: set[str], active: set[str], is_done: bool
) -> None:
    systemd = Systemd(monkeypatch)
    systemd.enabled, systemd.active = enabled, active
    assert Service("minimta.service").is_done() is is_done


@pytest.mark.parametrize(
    ("enabled", "active"),
    [
        (set(), {"minimta.service"}),
        ({"minimta.service"}, set()),
        ({"minimta.socket"}, set()),
        (set(), set()),
    ],
)
def test_a_service_is_ours_if_it_runs_or_would(
    monkeypatch: pytest.MonkeyPatch, enabled: set[str], active: set[str]
) -> None:
    systemd = Systemd(monkeypatch)
    systemd.enabled, systemd.active = enabled, active
    assert Service("minimta.service").is_ours() is bool(enabled or active)


@pytest.mark.parametrize(
    ("enabled", "unread"),
    [("minimta.service", "minimta.service"), ("minimta.socket", "minimta-listener.service")],
)
def test_a_unit_that_has_changed_is_not_done(
    monkeypatch: pytest.MonkeyPatch, enabled: str, unread: str
) -> None:
    systemd = Systemd(monkeypatch)
    systemd.enabled, systemd.active, systemd.unread = {enabled}, {enabled}, unread
    service = Service("minimta.service")
    assert str(service) == f"service {enabled}, enabled and running"
    assert not service.is_done()


def test_without_systemd_there_is_no_service_to_care_for(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(monkeypatch)
    systemd.enabled = systemd.active = {"minimta.socket"}
    monkeypatch.setattr(services, "has_systemd", lambda: False)
    service = Service("minimta.service")
    assert str(service) == "service minimta.service, enabled and running"
    assert service.is_done() and not service.is_ours()
