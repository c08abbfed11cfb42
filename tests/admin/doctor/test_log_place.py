"""LogTo: is the place there?"""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from minimta.admin.doctor import log_place
from tests.support.patient import Machine


def test_a_machine_without_syslog_has_no_log(machine: Machine) -> None:
    assert not machine.told(log_place.log_place)
    (machine.root / "dev/log").unlink()
    [line] = machine.told(log_place.log_place)
    assert line.startswith("LogTo: Warning: there is no /dev/log, so nothing tells what became of")


def test_who_wants_no_syslog_needs_none(machine: Machine) -> None:
    (machine.root / "dev/log").unlink()
    for place in "none", "stderr", str(machine.root / "mail.log"):
        machine.options.log_to = place
        assert not machine.told(log_place.log_place)


def test_the_directory_of_a_file_must_be_there(machine: Machine) -> None:
    directory = machine.root / "var/log/minimta"
    machine.options.log_to = f"syslog,{directory}/mail.log"
    [line] = machine.told(log_place.log_place)
    assert line == f"LogTo: Warning: {directory} is not there: mkdir {directory}"
    directory.mkdir(parents=True)
    assert not machine.told(log_place.log_place)


def test_a_directory_that_cannot_be_looked_at_may_be_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.stat

    def is_closed(path: Any, **how: Any) -> os.stat_result:
        if str(path).startswith("/closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return look(path, **how)

    machine.options.log_to = "/closed/minimta/mail.log"
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", is_closed)
        told = machine.told(log_place.log_place)
    assert told == ["LogTo: unknown: /closed/minimta: Permission denied"]


def test_in_a_chroot_nobody_has_started_one(machine: Machine) -> None:
    (machine.root / "dev/log").unlink()
    outside = machine.root.parent
    (machine.root / "proc/1").mkdir()
    (machine.root / "proc/1/root").symlink_to(outside)
    assert not machine.told(log_place.log_place)
