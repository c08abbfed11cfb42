"""AlertCommand: can it be called?"""

from __future__ import annotations

from minimta.admin.doctor import alerts
from tests.support.patient import Machine


def test_without_the_option_nothing_is_said(machine: Machine) -> None:
    assert not machine.found(alerts.alerts)


def test_a_program_that_is_not_there(machine: Machine) -> None:
    machine.options.alert_command = "/usr/local/sbin/no-such-alert"
    [line] = machine.told(alerts.alerts)
    assert line.startswith("AlertCommand: /usr/local/sbin/no-such-alert: there is no such program")


def test_a_url_that_others_may_read_is_told_and_not_shown(machine: Machine) -> None:
    machine.host.root.chmod(0o700)
    path = machine.host.root / "alert-url"
    path.write_text("https://hooks.example/a-secret\n")
    path.chmod(0o644)
    machine.options.alert_command = f"file:{path}"
    [line] = machine.told(alerts.alerts)
    assert line.startswith(
        f"AlertCommand: {path}: World readable file; it must be root's, mode 600"
    )
    assert "a-secret" not in line
    path.chmod(0o600)
    assert not machine.told(alerts.alerts)
    machine.changes["is_root"] = False
    assert "only root can tell" in machine.told(alerts.alerts)[0]
