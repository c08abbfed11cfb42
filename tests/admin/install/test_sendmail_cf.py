"""A sendmail.cf for programs that check it: what it says is so, and a real one stays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minimta.admin.install import sendmail_cf
from minimta.admin.install.sendmail_cf import SendmailCf
from minimta.config.options import Options, by_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/mail").mkdir(parents=True)
    return tmp_path


def configure(root: Path, text: str) -> None:
    cf = root / "etc/mail/minimta.cf"
    cf.write_text(text)
    cf.chmod(0o644)


def test_checkers_find_what_they_look_for() -> None:
    """As scripts of the Korean guideline (KISA U-30 to U-34) and CIS look."""
    options = Options()
    options.set(by_name("PrivacyOptions"), "goaway")
    text = sendmail_cf.text(options)
    plain = [line for line in text.split("\n") if not line.startswith("#")]
    (privacy,) = [line for line in plain if line.startswith("O PrivacyOptions=")]
    assert {"noexpn", "novrfy", "restrictqrun"} <= set(privacy.partition("=")[2].split(","))
    assert [line for line in plain if re.match(r"R\$\*", line) and "Relaying denied" in line]
    assert "O DaemonPortOptions=Name=MTA, Addr=127.0.0.1, Port=25, Family=inet" in plain


def test_it_says_what_the_configuration_says_and_is_renewed_with_it(root: Path) -> None:
    step = SendmailCf(root)
    assert not step.is_done() and not step.is_ours()
    step.do()
    assert step.is_done() and step.is_ours()
    assert "PrivacyOptions=authwarnings,noetrn" in (root / "etc/mail/sendmail.cf").read_text()
    configure(root, "PrivacyOptions = novrfy\nSmartHost = [smtp.example.org]:587\n")
    assert not step.is_done()
    step.do()
    told = (root / "etc/mail/sendmail.cf").read_text()
    assert "PrivacyOptions=novrfy,noetrn" in told and "\nDS[smtp.example.org]:587\n" in told
    step.undo()
    assert not (root / "etc/mail/sendmail.cf").exists()


def test_a_real_one_stays(root: Path) -> None:
    place = root / "etc/mail/sendmail.cf"
    place.write_text("# Copyright (c) Proofpoint\nV10/Berkeley\n")
    step = SendmailCf(root)
    assert step.is_done() and not step.is_ours()


def test_while_the_configuration_is_wrong_it_stays_as_it_is(root: Path) -> None:
    step = SendmailCf(root)
    step.do()
    before = (root / "etc/mail/sendmail.cf").read_text()
    configure(root, "Nonsense = 1\n")
    assert step.is_done()
    step.do()
    assert (root / "etc/mail/sendmail.cf").read_text() == before


def test_a_link_that_leads_nowhere_now_is_somebody_elses(root: Path) -> None:
    place = root / "etc/mail/sendmail.cf"
    place.symlink_to("/nowhere/sendmail.cf")
    step = SendmailCf(root)
    assert step.is_done() and not step.is_ours() and place.is_symlink()
