"""Other mail systems, on a dpkg data base and file system of their own."""

from __future__ import annotations

import pytest

from minimta.admin.doctor import other_systems
from minimta.admin.install import install, other_mta
from tests.support.patient import Machine


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(other_mta, "installed", lambda root: names)
    monkeypatch.setattr(install, "taken_away", lambda root: [])
    return names


def test_a_package_of_another_one(machine: Machine, installed: list[str]) -> None:
    assert not machine.told(other_systems.other_systems)
    installed.append("exim4-daemon-light")
    [line] = machine.told(other_systems.other_systems)
    assert line.startswith("exim4-daemon-light: Warning: the package exim4-daemon-light is another")
    assert line.endswith("apt remove exim4-daemon-light")


def test_an_old_queue_with_mail_in_it(machine: Machine, installed: list[str]) -> None:
    for name in ("A1", "B2", "C3"):
        machine.write(f"/var/spool/postfix/deferred/{name[0]}/{name}", "mail")
    [line] = machine.told(other_systems.other_systems)
    assert "3 messages of postfix in /var/spool/postfix, which nobody sends now" in line


def test_commands_that_another_package_has_taken(
    machine: Machine, installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = (
        "/usr/sbin/sendmail does not lead to minimta: apt remove exim4-base, then minimta install"
    )
    monkeypatch.setattr(install, "taken_away", lambda root: [said])
    [line] = machine.told(other_systems.other_systems)
    assert line == f"commands: {said}"
