"""Names of ours that packages have, too: theirs get other names, before and after, and come back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME, AdminError
from minimta.admin.doctor.other_systems import other_systems
from minimta.admin.doctor.patient import Health, Patient
from minimta.admin.install import diversions, install, services, uninstall
from minimta.admin.install.diversions import SUFFIX, Diversion
from minimta.admin.install.files import Link
from minimta.config.options import Options
from tests.support import dpkgtree

pytestmark = pytest.mark.debian("dpkg")
NAME = "/usr/sbin/sendmail"
EXIM = {NAME: "Exim's", "/usr/bin/mailq": "Exim's", "/usr/sbin/exim4": "Exim"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return dpkgtree.make(tmp_path)


@pytest.fixture
def programs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """install and uninstall as root runs them, of the rows that concern names."""

    def rows(root: Path) -> list[object]:
        return [row for row in install.program_steps(root) if isinstance(row, Diversion | Link)]

    monkeypatch.setattr(install, "PYTHON", sys.executable)
    monkeypatch.setattr(install, "need_readable", lambda: None)
    monkeypatch.setattr(install, "need_modules", lambda: None)
    for module in (install, uninstall):
        monkeypatch.setattr(module, "steps", rows)
        monkeypatch.setattr(module, "need_root", lambda *, is_dry: None)


def content(root: Path, path: str) -> str:
    return (root / path.lstrip("/")).read_text()


def test_what_a_package_brings_later_does_not_take_the_name(root: Path) -> None:
    row = Diversion(root, NAME)
    assert (row.is_done(), row.is_ours()) == (False, False)
    row.do()
    assert (row.is_done(), row.is_ours()) == (True, True)
    dpkgtree.install(root, "exim4-daemon-light", EXIM)
    assert not os.path.lexists(root / "usr/sbin/sendmail")
    assert content(root, NAME + SUFFIX) == "Exim's"
    row.undo()
    assert content(root, NAME) == "Exim's"
    assert dpkgtree.diversions(root) == []


def test_a_packages_file_has_its_other_name_before_ours_takes_the_old_one(root: Path) -> None:
    dpkgtree.install(root, "exim4-daemon-light", EXIM)
    Diversion(root, NAME).do()
    assert content(root, NAME) == content(root, NAME + SUFFIX) == "Exim's"


def test_a_link_of_ours_is_no_packages_file(root: Path) -> None:
    """As an installation of before had it, which diverted nothing."""
    Link(root, NAME, f"{HOME}/bin/sendmail").do()
    Diversion(root, NAME).do()
    assert not os.path.lexists(root / (NAME + SUFFIX).lstrip("/"))
    assert Link(root, NAME, f"{HOME}/bin/sendmail").is_done()


def test_a_diversion_of_the_administrator_serves_and_stays(root: Path) -> None:
    command = ["dpkg-divert", f"--root={root}", "--local", "--no-rename", "--add"]
    services.call([*command, "--divert", "/usr/sbin/old-sendmail", NAME])
    row = Diversion(root, NAME)
    assert (row.is_done(), row.is_ours()) == (True, False)


def test_a_failure_leaves_nothing_aside(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dpkgtree.install(root, "exim4-daemon-light", EXIM)

    def refuse(command: list[str]) -> None:
        raise AdminError("dpkg-divert: no")

    monkeypatch.setattr(diversions, "call", refuse)
    with pytest.raises(AdminError):
        Diversion(root, NAME).do()
    assert sorted(path.name for path in (root / "usr/sbin").iterdir()) == ["exim4", "sendmail"]


def test_without_dpkg_there_is_nothing_to_divert(tmp_path: Path) -> None:
    row = Diversion(tmp_path, NAME)
    assert (row.is_done(), row.is_ours()) == (True, False)


def test_install_puts_a_packages_commands_aside_and_uninstall_brings_them_back(
    root: Path, programs_alone: None, capfd: pytest.CaptureFixture[str]
) -> None:
    dpkgtree.install(root, "exim4-daemon-light", EXIM, "default-mta, mail-transport-agent (= 1)")
    install.run(["--root", str(root)])
    told = capfd.readouterr()
    assert f"divert {NAME} of packages to {NAME}{SUFFIX}\n" in told.out
    assert "warning: the package exim4-daemon-light stays installed: " in told.err
    assert "its daemon may take port 25 (no diversion stops that)" in told.err
    assert os.readlink(root / NAME.lstrip("/")) == f"{HOME}/bin/sendmail"
    assert content(root, "/usr/bin/mailq" + SUFFIX) == "Exim's"
    assert content(root, "/usr/sbin/exim4") == "Exim"
    # /usr/sbin/minimta is nobody else's
    assert set(dpkgtree.diversions(root)) == set(install.COMMANDS) - set(install.OURS_ALONE)
    install.run(["--root", str(root)])
    assert capfd.readouterr().out == "nothing to do\n"
    uninstall.run(["--root", str(root)])
    assert {path: content(root, path) for path in EXIM} == EXIM
    assert not os.path.lexists(root / "usr/lib/sendmail")
    assert dpkgtree.diversions(root) == []


def test_what_the_administrator_put_there_is_not_diverted(root: Path, programs_alone: None) -> None:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/mailq").write_text("by hand")
    with pytest.raises(AdminError, match=r"of nobody that dpkg knows: move it away"):
        install.run(["--root", str(root)])
    assert dpkgtree.diversions(root) == []


def test_an_mta_beside_ours_is_told_by_check_once_and_is_no_fault(root: Path) -> None:
    Link(root, "/usr/sbin/minimta", f"{HOME}/bin/minimta").do()
    for path in (NAME, "/usr/lib/sendmail", "/usr/bin/mailq", "/usr/bin/newaliases"):
        Diversion(root, path).do()
        Link(root, path, f"{HOME}/bin/{Path(path).name}").do()
    patient = Patient(Options(), "/etc/mail/minimta.cf", root, is_root=True)
    assert [one.state for one in other_systems(patient)] == [Health.OK]
    dpkgtree.install(root, "postfix", EXIM, "mail-transport-agent")
    (told,) = other_systems(patient)
    assert (told.state, told.exit_code) == (Health.WARNING, 0)
    assert told.text.startswith("the package postfix stays installed: its commands are put aside ")
    assert told.remedy == "apt remove postfix"


def test_mail_in_the_queue_of_the_other_one_is_told_when_we_are_installed(
    root: Path, programs_alone: None, capfd: pytest.CaptureFixture[str]
) -> None:
    dpkgtree.install(root, "postfix", EXIM, "mail-transport-agent")
    letter = root / "var/spool/postfix/deferred/A/A1"
    letter.parent.mkdir(parents=True)
    letter.write_text("mail")
    install.run(["--root", str(root)])
    told = capfd.readouterr().err
    assert "note: 1 message of postfix in /var/spool/postfix, which only postfix sends: " in told
