"""apt on fresh Debian 12 and 13: the package over a running mail system, and what comes with others later.

The systems lie in var/ and are made once (debootstrap, 300 MB each); tests write over them, not in them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.admin.install.other_mta import OLD_QUEUES
from minimta.admin.package import package
from tests.support.overlayroot import OverlayRoot

pytestmark = [
    pytest.mark.long,
    pytest.mark.root,
    pytest.mark.namespace,
    pytest.mark.debian("debootstrap"),
]
APT = "apt-get -y -q --no-install-recommends -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root"
#: what a waiting message is in each queue
WAITING = {
    "postfix": "deferred/A/ABC",
    "exim4-daemon-light": "input/1tAbCd-000000-AB-H",
    "nullmailer": "queue/1764500000.1",
}


def system(suite: str) -> Path:
    """Debian as debootstrap leaves it, where no daemon is started."""
    place = Path(HOME, "var", f"debian-{suite}")
    if not (place / "complete").exists():
        command = ["debootstrap", "--variant=minbase", suite, str(place)]
        subprocess.run(command, check=True, capture_output=True)
        policy = place / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        (place / "complete").touch()
    return place


@pytest.fixture(params=["bookworm", "trixie"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> OverlayRoot:
    """The package is /minimta/minimta.deb."""
    machine = OverlayRoot(tmp_path, str(system(request.param)), has_network=True)
    package.build(HOME, str(machine.share / "minimta.deb"))
    machine.must("apt-get", "-q", "update")
    return machine


@pytest.mark.parametrize("name", WAITING)
def test_another_mail_system_is_replaced_and_its_queue_is_named(
    machine: OverlayRoot, name: str
) -> None:
    queue = next(queue for queue in OLD_QUEUES if queue.package == name)
    waiting = f"{queue.directory}/{WAITING[name]}"
    machine.must("sh", "-c", f"{APT} install {name}")
    machine.must("sh", "-c", f"mkdir -p $(dirname {waiting}); touch {waiting}")
    said = machine.must("sh", "-c", f"{APT} install /minimta/minimta.deb")
    assert f"note: 1 message of {name} in {queue.directory}, which nobody sends now" in said
    assert f"\nRemoving {name} " in said
    assert machine.exists(waiting)
    machine.must("sh", "-c", "echo hello | sendmail -odq root; sendmail -qf")
    assert "\nhello\n" in machine.path("/var/mail/root").read_text()
    said = machine.must("sh", "-c", f"{APT} install bsd-mailx at logwatch")
    # Base and configuration of Exim may still be there, and apt tells of them.
    unpacked = [line for line in said.splitlines() if line.startswith(("Unpacking", "Setting up"))]
    assert any("bsd-mailx" in line for line in unpacked)
    assert not [line for line in unpacked if "exim" in line]
    machine.must("sh", "-c", "echo more | mail -s 'by mail' root; sendmail -qf")
    assert "\nSubject: by mail\n" in machine.path("/var/mail/root").read_text()
    # And the other way round.
    machine.must("sh", "-c", "echo stays | sendmail -odq root")
    said = machine.must("sh", "-c", f"{APT} install {name}")
    assert "minimta: 1 message(s) stay in /var/spool/mqueue" in said


def test_programs_that_want_a_mail_system_bring_no_other_one(machine: OverlayRoot) -> None:
    packages = "/minimta/minimta.deb bsd-mailx at logwatch"
    said = machine.must("sh", "-c", f"{APT} install --install-recommends {packages}")
    assert "Setting up minimta " in said
    assert not [line for line in said.splitlines() if "exim4" in line]


def test_a_checkout_keeps_its_names_when_apt_brings_another_mail_system(
    machine: OverlayRoot,
) -> None:
    names = ("bin", "minimta", "README.md")
    command = ["cp", "-a", *(f"{HOME}/{name}" for name in names), str(machine.share)]
    subprocess.run(command, check=True)
    machine.must(
        "sh", "-c", "mkdir /opt/minimta; cd /minimta; mv bin minimta README.md /opt/minimta"
    )
    machine.must("sh", "-c", f"{APT} install python3-dnspython python3-filelock")
    machine.must("/opt/minimta/bin/minimta", "install")
    said = machine.must("sh", "-c", f"{APT} install bsd-mailx")
    assert "Setting up exim4-daemon-light" in said
    links = machine.must("readlink", "/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/mailq")
    assert set(links.split()) == {f"/opt/minimta/bin/{name}" for name in ("sendmail", "mailq")}
    told = machine.run("minimta", "check").stdout
    assert "the package exim4-daemon-light stays installed" in told
    assert "may take port 25 (no diversion stops that)" in told
    machine.must("sh", "-c", "echo more | mail -s 'by mail' root; sendmail -qf")
    assert "\nSubject: by mail\n" in machine.path("/var/mail/root").read_text()
    said = machine.must("sh", "-c", f"{APT} install /minimta/minimta.deb")
    assert "the installation from /opt/minimta/bin ends here" in said
    assert machine.must("readlink", "/usr/sbin/sendmail") == "../share/minimta/bin/sendmail\n"
    assert "minimta-diverted" not in machine.must("dpkg-divert", "--list")
