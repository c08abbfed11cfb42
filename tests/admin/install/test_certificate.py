"""The certificate that the installation makes."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from minimta.admin.install import certificate, install, services
from minimta.admin.install.certificate import Certificate
from minimta.config.options import Options
from minimta.listener import starttls


@pytest.mark.debian("openssl")
def test_a_certificate_for_this_host_is_made_and_taken_back(tmp_path: Path) -> None:
    step = Certificate(tmp_path, "lab2.campus")
    assert not step.is_done()
    step.do()
    assert step.is_done() and step.is_ours()
    [place] = (tmp_path / "etc/mail").iterdir()
    assert str(place) == f"{tmp_path}{certificate.PLACE}"
    assert place.stat().st_mode & 0o777 == 0o600
    options = Options()
    options.server_cert_file = str(place)
    assert starttls.from_options(options) is not None
    context = ssl.create_default_context(cafile=str(place))
    [found] = context.get_ca_certs()
    assert found["subjectAltName"] == (("DNS", "lab2.campus"),)
    step.undo()
    assert not place.exists()


def test_a_certificate_that_is_there_stays(tmp_path: Path) -> None:
    place = tmp_path / certificate.PLACE.lstrip("/")
    place.parent.mkdir(parents=True)
    place.write_text("the administrator's\n")
    step = Certificate(tmp_path, "lab2.campus")
    assert step.is_done()
    assert not step.is_ours()


def test_without_openssl_there_is_none_to_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_PATH", str(tmp_path))
    assert Certificate(tmp_path, "lab2.campus").is_done()


def test_a_tree_for_other_machines_gets_none(tmp_path: Path) -> None:
    """They would all have the same key."""
    assert not [row for row in install.steps(tmp_path) if isinstance(row, Certificate)]


def test_the_default_file_may_be_missing_and_no_other(tmp_path: Path) -> None:
    options = Options()
    if not Path(options.server_cert_file).exists():
        assert starttls.from_options(options) is None
    options.server_cert_file = str(tmp_path / "no.pem")
    with pytest.raises(OSError, match="No such file"):
        starttls.from_options(options)
