"""minimta uninstall beside a daemon: nothing is taken back before it has ended."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME, AdminError
from minimta.admin.install import running, services, uninstall
from minimta.admin.install.accounts import Account
from minimta.admin.install.files import Link
from minimta.system import locks
from minimta.system.users import User


def command_of(pid: int) -> str:
    return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").rstrip())


def _link(root: Path) -> Link:
    return Link(root, "/usr/bin/mailq", f"{HOME}/bin/mailq")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The link that is all there is to take back."""
    link = _link(tmp_path)
    link.do()
    monkeypatch.setattr(uninstall, "need_root", lambda *, is_dry: None)
    monkeypatch.setattr(uninstall, "steps", lambda root: [link])
    return tmp_path / "usr/bin/mailq"


@pytest.mark.parametrize("kind", ["runner", "daemon"])
def test_nothing_is_taken_from_a_daemon_that_runs_the_queue(
    installed: Path, tmp_path: Path, kind: str
) -> None:
    lock = tmp_path / f"var/spool/mqueue.{kind}"
    pid_file = tmp_path / "run/sendmail.pid"
    for path in (lock, pid_file):
        path.parent.mkdir(parents=True, exist_ok=True)
    pid_file.write_text(f"{os.getppid()}\n{command_of(os.getppid())}\n")
    with locks.resident(str(lock)) or pytest.fail(), pytest.raises(AdminError) as trouble:
        uninstall.run(["--root", str(tmp_path)])
    said = (
        f"a daemon (process {os.getppid()}) runs the queue /var/spool/mqueue: end it, and try again"
    )
    assert (str(trouble.value), trouble.value.exit_code) == (said, os.EX_TEMPFAIL)
    assert os.path.lexists(installed)
    pid_file.write_text(f"{os.getppid()}\n/usr/sbin/sendmail -bd -q15m\n")  # it was once
    with locks.resident(str(lock)) or pytest.fail(), pytest.raises(AdminError) as trouble:
        uninstall.run(["--root", str(tmp_path)])
    assert str(trouble.value).startswith("a daemon runs the queue")
    assert uninstall.run(["--root", str(tmp_path)]) == 0
    assert not os.path.lexists(installed)


def test_nothing_is_taken_from_a_listener_that_runs_no_queue(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """userdel(8) would find out, with the commands gone."""
    other = subprocess.Popen(["sleep", "60"])
    account = Account(Path("/"), "minimta", str(tmp_path))
    monkeypatch.setattr(Account, "is_ours", lambda row: True)
    monkeypatch.setattr(Account, "undo", lambda row: None)
    rows = [_link(tmp_path), account]
    monkeypatch.setattr(uninstall, "steps", lambda root: rows)
    us = User("minimta", os.getuid(), os.getgid())
    monkeypatch.setattr(running, "find_user", lambda root, name: us)
    try:
        with pytest.raises(AdminError, match=r"^process \d+ runs as the user minimta: ") as trouble:
            uninstall.run([])
    finally:
        other.kill()
        other.wait()
    assert trouble.value.exit_code == os.EX_TEMPFAIL
    assert os.path.lexists(installed)


def test_a_daemon_that_systemd_ends_is_no_hindrance(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [_link(tmp_path), services.Service("minimta.service")]
    monkeypatch.setattr(uninstall, "steps", lambda root: rows)
    ours = [True]
    monkeypatch.setattr(services.Service, "is_ours", lambda row: any(ours))
    monkeypatch.setattr(services.Service, "undo", lambda row: ours.clear())
    lock = tmp_path / "var/spool/mqueue.runner"
    lock.parent.mkdir(parents=True)
    with locks.resident(str(lock)) or pytest.fail():
        assert uninstall.run(["--root", str(tmp_path)]) == 0
    assert (ours, os.path.lexists(installed)) == ([], False)
