"""dpkg installs, upgrades, removes and purges the package, over this machine's files; mail stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.admin.install.diversions import SUFFIX
from minimta.admin.install.install import COMMANDS
from minimta.admin.package import package
from minimta.admin.package.version import Version
from tests.support.overlayroot import OverlayRoot

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespace,
    pytest.mark.debian("python3-dnspython", "python3-filelock", "dpkg"),
]
OLD, NEW = Version("0.1.0+git1", 1764500000), Version("0.1.0+git2", 1764500060)
INSTALL = ("dpkg", "--force-unsafe-io", "-i")
LETTER = "echo hello | sendmail -odq root"
MAIL = "/var/mail/root"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """old.deb and new.deb."""
    place = tmp_path_factory.mktemp("packages")
    for name, version in (("old", OLD), ("new", NEW)):
        package.write_tree(place / name, HOME, version)
        pack(place / name, "-Zxz")
    return place


def pack(tree: Path, *compression: str) -> None:
    command = ["dpkg-deb", "--root-owner-group", *compression, "--build", str(tree), f"{tree}.deb"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def machine(tmp_path: Path, packages: Path) -> OverlayRoot:
    """This machine without mail of its own; the packages are in /minimta."""
    machine = OverlayRoot(tmp_path)
    for path in packages.glob("*.deb"):
        os.link(path, machine.share / path.name)
    machine.must(
        "sh",
        "-c",
        "rm -rf /etc/mail /etc/aliases* /etc/mailname /var/mail/root /var/spool/*mqueue*",
    )
    return machine


def letters(machine: OverlayRoot) -> int:
    mailbox = machine.path(MAIL)
    return mailbox.read_text().count("\nhello\n") if mailbox.exists() else 0


def test_mail_outlives_upgrade_removal_and_purge(machine: OverlayRoot) -> None:
    said = machine.must(*INSTALL, "/minimta/old.deb")
    assert "\nuser and group minimta\n" in said
    assert "\nNext:\n" in said
    for path in ("/etc/aliases", "/etc/aliases.cdb", "/usr/share/minimta/minimta/__pycache__"):
        assert machine.path(path).exists(), path
    assert not machine.exists("/etc/cron.d/minimta")  # systemd is installed
    machine.must(
        "sh",
        "-c",
        f"echo 'emma: root' >>/etc/aliases; newaliases; {LETTER}; {LETTER}; sendmail -qf",
    )
    assert letters(machine) == 2
    machine.must("sh", "-c", LETTER)
    said = machine.must(*INSTALL, "/minimta/new.deb")
    assert f"({NEW.number}) over ({OLD.number})" in said
    assert "Next:" not in said
    assert "emma: root" in machine.path("/etc/aliases").read_text()
    machine.must("sendmail", "-qf")
    assert letters(machine) == 3
    machine.must("sh", "-c", f"{LETTER}; echo HostName = lab1.campus >/etc/mail/minimta.cf")
    said = machine.must("dpkg", "-r", "minimta")
    assert (
        "minimta: 1 message(s) stay in /var/spool/mqueue; minimta, installed again, sends" in said
    )
    assert not machine.exists("/usr/share/minimta")
    assert not machine.exists("/usr/sbin/sendmail")
    assert machine.exists("/etc/mail/minimta.cf") and not machine.exists("/etc/mail/sendmail.cf")
    said = machine.must("dpkg", "-P", "minimta")
    assert "1 message(s) stay in /var/spool/mqueue" in said
    assert "the user minimta stays as well: /var/spool/mqueue is not empty" in said
    assert not machine.exists("/etc/mail")
    assert letters(machine) == 3


@pytest.mark.long
def test_what_is_purged_without_mail_leaves_no_trace(machine: OverlayRoot) -> None:
    machine.must(*INSTALL, "/minimta/new.deb")
    machine.must(
        "sh",
        "-c",
        f"rm -rf /etc/mail/m4; {LETTER}; sendmail -qf; minimta passwd emma <<X\nsecret-of-emma\nX",
    )
    assert machine.exists("/etc/mail/smtp-users")
    assert "stay" not in machine.must("dpkg", "-P", "minimta")
    assert "minimta:" not in machine.path("/etc/passwd").read_text()
    for path in ("/etc/mail", "/etc/aliases.cdb", "/var/lib/minimta", "/usr/share/minimta"):
        assert not machine.exists(path), path
    left = [path.name for path in machine.path("/var/spool").iterdir() if "mqueue" in path.name]
    assert not [name for name in left if machine.exists(f"/var/spool/{name}")]
    assert letters(machine) == 1


@pytest.mark.long
def test_the_package_takes_the_place_of_a_checkout(machine: OverlayRoot, tmp_path: Path) -> None:
    """What the checkout diverted of another package comes back, and goes with that package."""
    other(machine)
    machine.must("sh", "-c", "dpkg -i /minimta/other.deb; mkdir /opt/minimta")
    subprocess.run(
        ["cp", "-a", f"{HOME}/bin", f"{HOME}/minimta", f"{HOME}/README.md", machine.share],
        check=True,
    )
    machine.must("sh", "-c", "mv /minimta/bin /minimta/minimta /minimta/README.md /opt/minimta")
    said = machine.must("/opt/minimta/bin/minimta", "install")
    assert "the package other-mta stays installed" in said
    machine.must("sh", "-c", LETTER)
    machine.must("dpkg", "-r", "other-mta")  # as apt does first
    assert os.readlink(machine.path("/usr/sbin/sendmail")) == "/opt/minimta/bin/sendmail"
    said = machine.must(*INSTALL, "/minimta/new.deb")
    assert "minimta: the installation from /opt/minimta/bin ends here" in said
    assert machine.must("dpkg-divert", "--list", f"*{SUFFIX}") == ""
    links = machine.must("readlink", *COMMANDS).split()
    assert not [link for link in links if "/opt/" in link]
    assert machine.run(
        "sh", "-c", f"ls /etc/systemd/system/minimta* /usr/sbin/*{SUFFIX}"
    ).returncode
    machine.must("sendmail", "-qf")
    assert letters(machine) == 1


def other(machine: OverlayRoot) -> None:
    """A package with a sendmail."""
    tree = machine.share / "other"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/sbin").mkdir(parents=True)
    (tree / "usr/sbin/sendmail").write_text("#!/bin/sh\n")
    (tree / "DEBIAN/control").write_text(
        "Package: other-mta\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@lab1.campus>\n"
        "Provides: mail-transport-agent\nConflicts: mail-transport-agent\nDescription: of a test\n"
    )
    pack(tree, "-Znone")


def broken(machine: OverlayRoot, packages: Path, script: str) -> None:
    """broken.deb: new.deb, but one of its scripts fails."""
    tree = machine.share / "broken"
    subprocess.run(["cp", "-a", str(packages / "new"), str(tree)], check=True)
    path = tree / "DEBIAN" / script
    path.write_text(path.read_text().replace("set -e\n", "set -e\nexit 1\n", 1))
    pack(tree, "-Znone")


@pytest.mark.long
@pytest.mark.parametrize("script", ["preinst", "postinst"])
def test_a_failed_upgrade_leaves_a_mail_system_that_works(
    machine: OverlayRoot, packages: Path, script: str
) -> None:
    machine.must(*INSTALL, "/minimta/old.deb")
    broken(machine, packages, script)
    assert machine.run(*INSTALL, "/minimta/broken.deb").returncode
    machine.must("sh", "-c", f"{LETTER}; sendmail -qf")
    assert letters(machine) == 1
    machine.must(*INSTALL, "/minimta/new.deb")
    assert "Status: install ok installed" in machine.must("dpkg", "-s", "minimta")
    machine.must("sh", "-c", f"{LETTER}; sendmail -qf")
    assert letters(machine) == 2


@pytest.mark.long
def test_what_was_never_configured_is_purged_whole(machine: OverlayRoot, packages: Path) -> None:
    broken(machine, packages, "postinst")
    assert machine.run(*INSTALL, "/minimta/broken.deb").returncode
    machine.must("dpkg", "-P", "minimta")
    assert not machine.exists("/usr/share/minimta")


SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>/minimta/calls
case "$*" in
    "--quiet is-active postfix.service" | "--quiet is-active exim4.service") ;;
    "show -P LoadState postfix.service") echo not-found ;;
    "show -P LoadState exim4.service") echo loaded ;;
    *is-active* | *is-enabled*) exit 3 ;;
esac
"""


@pytest.mark.long
def test_a_daemon_that_outlived_its_package_is_stopped(machine: OverlayRoot) -> None:
    """Postfix of Debian 13 runs on when it is removed; Exim here is still installed."""
    machine.must(*INSTALL, "/minimta/new.deb")
    (machine.share / "systemctl").write_text(SYSTEMCTL)
    (machine.share / "systemctl").chmod(0o755)
    again = "sh /var/lib/dpkg/info/minimta.postinst configure 1"
    environment = "mkdir -p /run/systemd/system; PATH=/minimta:$PATH"
    said = machine.must("sh", "-c", f"{environment} {again}")
    assert "minimta: postfix.service still runs without its package, and is stopped" in said
    calls = (machine.share / "calls").read_text().splitlines()
    assert [call for call in calls if call.startswith("stop ")] == ["stop postfix.service"]


@pytest.mark.long
def test_an_older_version_can_be_put_back(machine: OverlayRoot) -> None:
    machine.must(*INSTALL, "/minimta/new.deb")
    machine.must("sh", "-c", LETTER)
    assert "downgrading" in machine.must(*INSTALL, "/minimta/old.deb")
    machine.must("sendmail", "-qf")
    assert letters(machine) == 1


@pytest.mark.long
def test_what_stands_in_etc_stops_no_installation(machine: OverlayRoot) -> None:
    machine.must(
        "sh",
        "-c",
        "mkdir /etc/mail; echo Nonsense = 1 >/etc/mail/minimta.cf; echo ': :' >/etc/aliases",
    )
    said = machine.must(*INSTALL, "/minimta/new.deb")
    assert "warning: " in said
    assert "unknown option name Nonsense" in said
    assert machine.path("/etc/aliases").read_text() == ": :\n"


@pytest.mark.long
@pytest.mark.debian("lintian")
def test_lintian_finds_no_error(packages: Path) -> None:
    command = [
        "lintian",
        "--fail-on",
        "error",
        "--tag-display-limit",
        "0",
        str(packages / "new.deb"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
