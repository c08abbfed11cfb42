"""Somebody runs the queue, and what it has left."""

from __future__ import annotations

import os
import shutil
import time

from minimta.admin.doctor import runner
from minimta.system import locks
from tests.support.patient import Machine


def test_without_runner_and_cron_mail_waits_for_ever(machine: Machine) -> None:
    os.unlink(machine.root / "etc/cron.d/minimta")
    [line] = machine.told(runner.runner)
    assert line.startswith(
        "queue runner: there is none, and no cron entry: what waits is never tried"
    )


def test_a_cron_entry_that_no_daemon_runs(machine: Machine) -> None:
    machine.write("/proc/17/comm", "bash\n")
    machine.write("/proc/42/comm", "python3\n")
    [line] = machine.told(runner.runner)
    assert "/etc/cron.d/minimta is there, and no cron daemon runs it: apt install cron" in line


def test_in_a_chroot_nothing_is_started(machine: Machine) -> None:
    machine.write("/proc/17/comm", "bash\n")
    (machine.root / "proc/1").mkdir()
    (machine.root / "proc/1/root").symlink_to("/")
    assert not machine.told(runner.runner)
    (machine.root / "proc/1/root").unlink()
    (machine.root / "proc/1/root").symlink_to(machine.root)
    assert machine.told(runner.runner)


def test_a_resident_runner_needs_no_cron(machine: Machine) -> None:
    os.unlink(machine.root / "etc/cron.d/minimta")
    lock = locks.resident(locks.beside(machine.options.queue_directory))
    assert lock is not None
    with lock:
        assert not machine.told(runner.runner)


def test_a_unit_that_has_failed(machine: Machine) -> None:
    assert not machine.told(runner.service)
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.programs["systemctl", "show", "-P", "ActiveState"] = "active\n"
    assert not machine.told(runner.service)
    machine.programs = {("systemctl",): "failed\n"}
    assert machine.told(runner.service)[0] == (
        "minimta.service: has failed: systemctl status minimta.service, then systemctl restart"
        " minimta.service"
    )


def test_a_unit_that_is_enabled_and_does_not_run(machine: Machine) -> None:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.programs = {
        ("systemctl", "show"): "inactive\n",
        ("systemctl", "is-enabled"): "enabled\n",
    }
    assert machine.told(runner.service)[0] == (
        "minimta.service: is enabled, and does not run: systemctl start minimta.service"
    )
    machine.programs["systemctl", "is-enabled"] = "disabled\n"
    assert not machine.told(runner.service)


def test_messages_that_were_put_aside(machine: Machine) -> None:
    qid = machine.host.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>")
    queue = machine.options.queue_directory
    os.rename(f"{queue}/qf{qid}", f"{queue}/Qf{qid}")
    [line] = machine.told(runner.left_over)
    assert f"1 messages could not be read, and were put aside (Qf{qid}): mailq -qL" in line


def test_mail_that_waits_for_hours(machine: Machine) -> None:
    machine.host.now = time.time() - 7 * 3600
    machine.host.submit(b"<emma@lab1.campus>", b"<x@far.example>")
    [line] = machine.told(runner.left_over)
    assert "waits since" in line
    assert "(7 h 0 min): mailq -v says why" in line


def test_a_queue_that_is_not_there_is_told_elsewhere(machine: Machine) -> None:
    shutil.rmtree(machine.options.queue_directory)
    assert not machine.told(runner.left_over)
