"""The Debian package: what is in it, what dpkg is told, and that the same commit gives the same octets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minimta import __version__
from minimta.admin.checkout import HOME, PACKAGED, AdminError, is_packaged, need_checkout
from minimta.admin.install import install, machine_files
from minimta.admin.package import contents, control, package
from minimta.admin.package.contents import Entry
from minimta.admin.package.version import Version

VERSION = Version("0.1.0+git20251130105320.0123456789", 1764500000)
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return contents.entries(HOME, VERSION, control.changelog(VERSION))


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("deb")
    return package.build(HOME, str(place))


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- contents -------------------------------------------------------------------------------------


def test_every_command_is_a_link_to_a_program_of_the_package(entries: list[Entry]) -> None:
    found = {entry.path: entry for entry in entries}
    for path, name in install.COMMANDS.items():
        leads_to = path
        while found[leads_to].target:
            target = found[leads_to].target
            assert not os.path.isabs(target)
            leads_to = os.path.normpath(os.path.join(os.path.dirname(leads_to), target))
        assert leads_to == f"{PACKAGED}/bin/" + (
            os.path.basename(os.path.realpath(f"{HOME}/bin/{name}"))
        )
        assert found[leads_to].mode == 0o755
    assert found["/usr/lib/sendmail"].target == "../sbin/sendmail"  # Debian Policy 11.6


def test_every_program_has_its_name_on_the_machine() -> None:
    """mail(1) has it from update-alternatives(1)."""
    assert set(os.listdir(Path(HOME, "bin"))) == {*install.COMMANDS.values(), "mail"}


def test_the_tree_is_the_checkouts(entries: list[Entry]) -> None:
    below = {
        entry.path.removeprefix(f"{PACKAGED}/")
        for entry in entries
        if entry.path.startswith(f"{PACKAGED}/")
    }
    modules = {str(path.relative_to(HOME)) for path in Path(HOME, "minimta").rglob("*.py")}
    programs = {f"bin/{name}" for name in os.listdir(Path(HOME, "bin"))}
    assert modules | programs <= below
    assert not [name for name in below if "__pycache__" in name or name.endswith((".pyc", "~"))]
    assert not [name for name in below if name.startswith("minimta/man/")]


def test_litter_of_a_work_tree_is_left_out(tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE"):
        (tmp_path / name).touch()
    kept = ["bin/sendmail", "minimta/x.py", "minimta/man/x.8"]
    litter = [
        "minimta/x.py~",
        "minimta/.x.py.swp",
        "minimta/__pycache__/x.pyc",
        "minimta/__pycache__/tmp",
        "minimta/x.py.orig",
    ]
    for name in (*kept, *litter):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {str(path.relative_to(tmp_path)) for path in contents.sources(str(tmp_path))}
    assert found == {"README.md", "LICENSE", *kept}


def test_every_manual_page_is_in_its_section_compressed(entries: list[Entry]) -> None:
    pages = {
        f"/usr/share/man/man{p.suffix[1:]}/{install.manual_name(p)}.gz"
        for p in Path(HOME, "minimta/man").glob("*.[1-8]")
    }
    assert pages
    assert {entry.path for entry in entries if entry.path.startswith("/usr/share/man/")} == pages


def test_what_is_for_machines_without_systemd_is_not_shipped(entries: list[Entry]) -> None:
    paths = {entry.path for entry in entries}
    for file in machine_files.FILES:
        is_for_all = file.where in (
            machine_files.Where.EVERYWHERE,
            machine_files.Where.WITH_SYSTEMD,
        )
        assert (file.packaged in paths) is is_for_all, file.packaged


def test_nothing_is_where_mail_and_configuration_are(entries: list[Entry]) -> None:
    """They would go with the package."""
    theirs = (
        "/var/",
        "/etc/mail",
        "/etc/aliases",
        "/etc/mailname",
        "/run/",
        "/home/",
        "/usr/local/",
    )
    assert not [entry.path for entry in entries if entry.path.startswith(theirs)]


# --- control --------------------------------------------------------------------------------------


def test_dpkg_is_told_that_one_mail_system_replaces_another(entries: list[Entry]) -> None:
    fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", control.control(VERSION, entries), re.M))
    for name in ("Provides", "Conflicts", "Replaces"):
        assert "mail-transport-agent" in fields[name].split(", ")
    needed = [name.split()[0] for name in fields["Depends"].split(", ")]
    assert needed[:3] == ["python3", "python3-dnspython", "python3-filelock"]
    assert "Recommends" not in fields
    assert (fields["Section"], fields["Architecture"]) == ("mail", "all")
    assert fields["Version"] == VERSION.number


def test_the_pythons_of_package_and_setup_are_the_same(entries: list[Entry]) -> None:
    setup = Path(HOME, "setup.cfg").read_text(encoding="utf-8")
    assert "python_requires = >= 3.11" in setup
    assert "python3 (>= 3.11)" in control.control(VERSION, entries)


def test_what_is_in_etc_is_the_administrators_to_change(entries: list[Entry]) -> None:
    told = control.conffiles(entries).splitlines()
    assert told == [entry.path for entry in entries if entry.path.startswith("/etc/")]
    assert "/etc/logrotate.d/minimta" in told


def test_another_package_that_is_no_mail_system_but_has_a_name_of_ours_goes() -> None:
    entries = [Entry("/usr/sbin/rmail", target="../share/minimta/bin/rmail")]
    assert "Conflicts: mail-transport-agent, rmail\n" in control.control(VERSION, entries)
    assert "Conflicts: mail-transport-agent\n" in control.control(VERSION, [])


def test_a_name_with_a_blank_is_refused() -> None:
    with pytest.raises(AdminError, match="/usr/share/minimta/a b"):
        control.need_plain([Entry("/usr/share/minimta/a b")])


def test_all_maintainer_scripts_are_there_and_filled_in() -> None:
    scripts = control.scripts()
    assert sorted(scripts) == sorted(SCRIPTS)
    for text in scripts.values():
        assert text.startswith("#!/bin/sh\n")
        assert "\nset -e\n" in text
        assert not re.findall(r"@[A-Z_]+@", text)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_shells_understand_the_maintainer_scripts(name: str, shell: str) -> None:
    done = subprocess.run(
        [shell, "-n"], input=control.scripts()[name].encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_purge_knows_every_file_that_running_programs_leave() -> None:
    purge = control.scripts()["postrm"]
    for path in (
        "/var/spool/mqueue.runner",
        "/var/spool/mqueue.daemon",
        "/var/spool/mqueue.hosts",
        "/etc/aliases.cdb",
    ):
        assert f" {path} " in purge.replace('"', " "), path


def test_purge_removes_no_queue_but_an_empty_one() -> None:
    lines = control.scripts()["postrm"].splitlines()
    assert not [
        line
        for line in lines
        if "rm -" in line and "queue" in line.split("#")[0] and "rmdir" not in line
    ]


# --- built ----------------------------------------------------------------------------------------


@pytest.mark.debian("dpkg")
def test_the_package_says_what_it_is(deb: Path) -> None:
    assert (
        said("dpkg-deb", "--field", str(deb), "Package", "Section")
        == "Package: minimta\nSection: mail\n"
    )
    assert deb.name == f"minimta_{said('dpkg-deb', '--field', str(deb), 'Version').strip()}_all.deb"
    info = said("dpkg-deb", "--info", str(deb))
    for name in SCRIPTS:
        assert re.search(rf"\* +{name} +#!/bin/sh", info), info


@pytest.mark.debian("dpkg")
def test_everything_in_it_is_roots_and_writable_by_nobody_else(deb: Path) -> None:
    lines = said("dpkg-deb", "--contents", str(deb)).splitlines()
    assert len(lines) > 300
    script = 'dpkg-deb --ctrl-tarfile "$1" | tar --list --verbose'
    told = said("sh", "-c", script, "sh", str(deb)).splitlines()
    modes = {os.path.basename(line.split()[-1]): line.split()[0] for line in told}
    assert {name for name, mode in modes.items() if mode == "-rwxr-xr-x"} == set(SCRIPTS)
    plain = {name for name, mode in modes.items() if mode == "-rw-r--r--"}
    assert plain == {"control", "conffiles", "md5sums"}
    for line in [*lines, *told]:
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode in ("drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"), line


@pytest.mark.debian("dpkg")
def test_the_same_commit_gives_the_same_octets(
    deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another directory, another name, another umask."""
    os.umask(0o077)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    again = package.build(HOME, str(tmp_path / "minimta.deb"))
    assert again.read_bytes() == deb.read_bytes()


@pytest.mark.debian("dpkg")
def test_what_is_unpacked_runs(deb: Path, tmp_path: Path) -> None:
    said("dpkg-deb", "--extract", str(deb), str(tmp_path))
    command = [sys.executable, "-I", str(tmp_path / "usr/sbin/minimta"), "--version"]
    assert said(*command) == f"minimta {__version__}\n"
    assert os.path.realpath(tmp_path / "usr/lib/sendmail") == f"{tmp_path}{PACKAGED}/bin/sendmail"


@pytest.mark.debian("dpkg")
def test_the_sums_are_those_of_the_files(deb: Path, tmp_path: Path) -> None:
    said("dpkg-deb", "--raw-extract", str(deb), str(tmp_path))
    command = ["md5sum", "--check", "--strict", "--quiet", "DEBIAN/md5sums"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.debian("dpkg")
def test_the_verb_writes_it_and_says_how_it_is_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert package.run(["--output", str(tmp_path)]) == 0
    [path] = tmp_path.iterdir()
    assert capsys.readouterr().out == f"as root: apt install {path}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--nonsense"], os.EX_USAGE),
        (["--output"], os.EX_USAGE),
        (["--output", "/nowhere/x"], os.EX_CANTCREAT),
        (["--output", "/nowhere/x.deb"], os.EX_CANTCREAT),
    ],
)
def test_words_that_mean_nothing_are_told(words: list[str], code: int) -> None:
    with pytest.raises(AdminError) as trouble:
        package.run(words)
    assert trouble.value.exit_code == code


# --- a copy that is no checkout ---------------------------------------------------------------------


def test_an_installed_copy_tells_what_it_cannot_do() -> None:
    assert is_packaged(PACKAGED)
    for home in (PACKAGED, "/usr/lib/python3/dist-packages"):
        with pytest.raises(AdminError, match=r"^package needs a checkout of the project, and /"):
            need_checkout("package", home)
    need_checkout("package")
