"""mail(1) by that name, but never over another mailx."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minimta.admin.install.alternatives import MailAlternative
from tests.support import dpkgtree

pytestmark = pytest.mark.debian("dpkg")
OURS, OTHERS = "/opt/minimta/bin/mail", "/usr/bin/bsd-mailx"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    dpkgtree.make(tmp_path)
    for path in (OURS, OTHERS, "/etc/alternatives/x", "/var/lib/dpkg/alternatives/x", "/var/log/x"):
        place = tmp_path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith("/x"):
            place.touch()
    return tmp_path


def add_others(root: Path) -> None:
    """As the postinst of bsd-mailx does."""
    command = ["update-alternatives", "--root", str(root), "--quiet"]
    command += ["--install", "/usr/bin/mailx", "mailx", OTHERS, "50"]
    command += ["--slave", "/usr/bin/mail", "mail", OTHERS]
    subprocess.run(command, check=True)


def leads_to(root: Path) -> str:
    return os.readlink(root / "etc/alternatives/mail")


def test_without_another_it_is_ours_and_goes_with_us(root: Path) -> None:
    row = MailAlternative(root, OURS)
    assert (row.is_done(), row.is_ours()) == (False, False)
    row.do()
    assert (row.is_done(), row.is_ours()) == (True, True)
    assert leads_to(root) == OURS
    assert os.readlink(root / "usr/bin/mail") == "/etc/alternatives/mail"
    row.undo()
    assert not os.path.lexists(root / "usr/bin/mail")


@pytest.mark.parametrize("is_first", [True, False])
def test_a_real_mailx_has_the_name_whichever_came_first(root: Path, is_first: bool) -> None:
    row = MailAlternative(root, OURS)
    for add in (row.do, lambda: add_others(root))[:: 1 if is_first else -1]:
        add()
    assert leads_to(root) == OTHERS
    row.undo()
    assert leads_to(root) == OTHERS


def test_without_dpkg_there_is_nothing_to_do(tmp_path: Path) -> None:
    row = MailAlternative(tmp_path, OURS)
    assert (row.is_done(), row.is_ours()) == (True, False)
