"""Who holds port 25, as /proc tells it."""

from __future__ import annotations

import shutil

import pytest

from minimta.admin.doctor import ports
from tests.support.patient import Machine


@pytest.fixture(params=[True, False], ids=["systemd", "by-hand"])
def has_systemd(machine: Machine, request: pytest.FixtureRequest) -> bool:
    if request.param:
        (machine.root / "run/systemd/system").mkdir(parents=True)
    return bool(request.param)


def test_a_port_that_another_mail_system_holds(machine: Machine, has_systemd: bool) -> None:
    shutil.rmtree(machine.root / "proc")
    machine.listen(
        "0.0.0.0", 25, 812, "/usr/lib/postfix/sbin/master", "/usr/lib/postfix/sbin/master", "-w"
    )
    machine.programs["dpkg", "--search", "/usr/lib/postfix/sbin/master"] = (
        "postfix: /usr/lib/postfix/sbin/master\n"
    )
    machine.programs["dpkg-query",] = "default-mta, mail-transport-agent"
    [line] = machine.told(ports.ports)
    assert line == (
        "port 25: is held by master (pid 812) of the package postfix, not by minimta:"
        " apt remove postfix, then "
        + (
            "systemctl restart minimta"
            if has_systemd
            else "start the daemon anew (sendmail -bd -q15m)"
        )
    )


def test_a_port_of_a_program_that_no_package_has(machine: Machine, has_systemd: bool) -> None:
    shutil.rmtree(machine.root / "proc")
    machine.listen("0.0.0.0", 25, 99, "/opt/bin/smtpd", "smtpd")
    [line] = machine.told(ports.ports)
    assert line.startswith(
        "port 25: is held by smtpd (pid 99), not by minimta: stop it"
        + (
            " (systemctl status 99 names its service), "
            if has_systemd
            else ", or kill 99, then start"
        )
    )


@pytest.mark.parametrize("script", ["", "/usr/bin/debugging-server"])
def test_nobody_is_told_to_remove_python(machine: Machine, script: str) -> None:
    shutil.rmtree(machine.root / "proc")
    machine.listen("0.0.0.0", 25, 99, "/usr/bin/python3.11", "python3", script or "-c")
    machine.programs["dpkg", "--search", "/usr/bin/python3.11"] = (
        "python3.11-minimal: /usr/bin/...\n"
    )
    machine.programs["dpkg", "--search", script] = "python3-debugging: /usr/bin/...\n"
    machine.programs["dpkg-query",] = ""
    [line] = machine.told(ports.ports)
    assert "apt remove" not in line
    name = (
        "debugging-server (pid 99) of the package python3-debugging"
        if script
        else "python3.11 (pid 99)"
    )
    assert f"is held by {name}, not by minimta: stop it" in line


def test_a_port_where_nobody_listens_any_more(machine: Machine, has_systemd: bool) -> None:
    shutil.rmtree(machine.root / "proc")
    machine.write("/proc/net/tcp", "  sl  local_address ...\n")
    machine.options.pid_file = "/run/sendmail.pid"
    assert not machine.told(ports.ports), "a host that only sends need not listen"
    machine.write("/run/sendmail.pid", "42\n/usr/sbin/sendmail -bd -q15m\n")
    [line] = machine.told(ports.ports)
    start = "systemctl enable --now minimta" if has_systemd else "sendmail -bd -q15m"
    assert line.endswith(f"the daemon (pid 42) has died; mail by SMTP is not taken: {start}")
    machine.write("/proc/42/cmdline", "/usr/sbin/cron\0-f\0")
    [line] = machine.told(ports.ports)
    assert "has died" in line, "the number is another's by now"
    machine.write("/proc/42/cmdline", "/usr/bin/python3\0-I\0/usr/sbin/sendmail\0-bd\0-q15m\0")
    [line] = machine.told(ports.ports)
    assert "though the daemon runs (pid 42): the log says why" in line
    assert ("journalctl" in line) is has_systemd


def test_ours_is_known_and_so_is_systemd_that_keeps_the_port_for_us(machine: Machine) -> None:
    assert not machine.told(ports.ports)
    shutil.rmtree(machine.root / "proc")
    machine.listen("127.0.0.1", 25, 1, "/usr/lib/systemd/systemd", "/sbin/init")
    assert not machine.told(ports.ports)


def test_whose_it_is_only_root_can_tell(machine: Machine) -> None:
    shutil.rmtree(machine.root / "proc/42")
    [line] = machine.told(ports.ports)
    assert line == "port 25: unknown: is open; only root can tell by whom"


def test_addresses_as_the_kernel_writes_them(machine: Machine) -> None:
    assert {one.address for one in ports.listening(machine.patient)} == {"127.0.0.1", "::1"}
