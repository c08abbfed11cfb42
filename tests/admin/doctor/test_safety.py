"""Options that are allowed, and dangerous."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.admin.doctor import safety
from minimta.config import ports
from tests.support.patient import Machine


@pytest.fixture(autouse=True)
def _user_who_is_there(machine: Machine) -> None:
    machine.options.run_as_user = "daemon"


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("run_as_user", "", "RunAsUser: is root"),
        ("run_as_user", "root", "RunAsUser: is root"),
        ("run_as_user", "nosuchuser", "RunAsUser: there is no user nosuchuser: no daemon starts"),
        ("sandbox", False, "Sandbox: Warning: is off"),
        ("dont_blame", frozenset({"worldwritableforwardfile"}), "allows worldwritableforwardfile"),
        ("dont_blame", frozenset({"forwardfileinunsafedirpath"}), "allows forwardfileinunsafe"),
        ("redirect_all", "emma@example.org", "all mail for other hosts goes to emma@example.org"),
        ("always_bcc", "emma@example.org", "emma@example.org gets a copy of every message"),
        ("daemon_ports", ports.read("Name=OLD, Port=26, TLS=1.0"), "speaks TLS 1.0 or 1.1"),
    ],
)
def test_each_is_told(machine: Machine, option: str, value: object, text: str) -> None:
    assert not machine.told(safety.safety)
    setattr(machine.options, option, value)
    [line] = machine.told(safety.safety)
    assert text in line


def test_who_is_not_root_needs_no_other_user(machine: Machine) -> None:
    machine.options.run_as_user = "nosuchuser"
    machine.changes["is_root"] = False
    assert not machine.told(safety.safety)


def test_one_user_is_nobody_for_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.options.one_user, machine.options.run_as_user = True, ""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not machine.told(safety.safety)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert machine.told(safety.safety)[0].startswith("OneUser: nothing runs as root with it")


@pytest.mark.parametrize("word", ["8", "193.99", "0.0.0.0", "::"])
def test_networks_of_strangers_that_may_relay(machine: Machine, word: str) -> None:
    Path(machine.options.relay_domains).write_text(f"{word}\n")
    [found] = [one for one in machine.found(safety.safety) if one.remedy]
    assert found.exit_code == 78
    assert found.text.startswith(word)


@pytest.mark.parametrize("word", ["10", "192.168", "192.0.2", "example.org", "127"])
def test_networks_of_ones_own(machine: Machine, word: str) -> None:
    Path(machine.options.relay_domains).write_text(f"{word}\n")
    assert not machine.told(safety.safety)
