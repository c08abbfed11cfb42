"""The listener's own certificate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minimta.admin.doctor import certificate
from tests.support.certificates import self_signed
from tests.support.patient import Machine

pytestmark = pytest.mark.debian("openssl")
DAY = 86400


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good for nine days."""
    return Path(self_signed(tmp_path_factory.mktemp("c"), "vm1.example.org").cert_file)


def have(machine: Machine, pem: Path, days: float) -> list[str]:
    """What is said so many days from now."""
    shutil.copy(pem, machine.options.server_cert_file)
    machine.changes["now"] = machine.patient.now + days * DAY
    return machine.told(certificate.own_certificate)


def test_one_that_has_expired(machine: Machine, pem: Path) -> None:
    [line] = have(machine, pem, 12)
    assert line.startswith(
        f"{machine.options.server_cert_file}: the certificate has expired 3 days ago: renew it"
    )


def test_one_that_expires_soon(machine: Machine, pem: Path) -> None:
    [line] = have(machine, pem, 1)
    assert "Warning: the certificate expires in 7 days" in line


def test_one_that_is_not_yet_good(machine: Machine, pem: Path) -> None:
    [line] = have(machine, pem, -20)
    assert line.endswith("the certificate is not yet good: look at the clock (date)")


def test_one_that_is_good_for_long(machine: Machine, pem: Path) -> None:
    assert not have(machine, pem, -6)[1:]


def test_one_for_another_name(machine: Machine, pem: Path) -> None:
    machine.options.host_name = "mail.example.org"
    path, told = machine.options.server_cert_file, have(machine, pem, 1)
    assert told[1] == (
        f"{path}: Warning: the certificate is for vm1.example.org, not for mail.example.org:"
        " one for mail.example.org, or HostName"
    )


def test_one_of_install_for_another_name(
    machine: Machine, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(machine.options), "server_cert_file", machine.options.server_cert_file)
    machine.options.host_name = "mail.example.org"
    told = have(machine, pem, 1)
    remedy = f"rm {machine.options.server_cert_file}, then minimta install"
    assert told[1].endswith(
        f": one for mail.example.org (a self-signed one: {remedy}), or HostName"
    )


def test_what_is_none(machine: Machine) -> None:
    Path(machine.options.server_cert_file).write_text("nothing\n")
    [line] = machine.told(certificate.own_certificate)
    assert "is no certificate (there is none in it): STARTTLS is not offered" in line


def test_no_certificate_is_told_with_the_configuration(machine: Machine) -> None:
    assert not machine.found(certificate.own_certificate)
