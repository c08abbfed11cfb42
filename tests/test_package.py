"""The project as a package: what setup.cfg promises, and how the scripts start."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minimta

HOME = Path(__file__).parent.parent
SCRIPTS = (
    *("sendmail", "mailq", "newaliases", "hoststat", "purgestat"),
    *("smrsh", "praliases", "mailstats", "makemap", "mail", "minimta"),
    *("editmap", "mail.local", "rmail", "runq"),
)
#: harmless command lines
HARMLESS = {
    "sendmail": ["-bC"],
    "smrsh": ["-c", "exit 0"],
    "praliases": ["-f", "/dev/null"],
    "mailstats": ["-f", "/dev/null"],
    "makemap": ["-l"],
    "mail": ["-nE", "root"],
    # These say how they are called, and end with 64.
    "editmap": [],
    "mail.local": [],
    "rmail": [],
    "minimta": ["--version"],
}


@pytest.fixture
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(HOME / "setup.cfg", encoding="utf-8")
    return parser


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def start(script: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as its first line says, but with the Python that runs the tests."""
    first = script.read_text(encoding="utf-8").split("\n")[0]
    command = [sys.executable, *first.split()[1:], str(script), *words]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        cwd="/",
    )


def test_the_version_is_written_once(setup: configparser.ConfigParser) -> None:
    assert setup["metadata"]["version"] == "attr: minimta.__version__"
    assert minimta.__version__ not in (HOME / "setup.cfg").read_text(encoding="utf-8").split()


def test_the_top_of_the_changes_is_this_version() -> None:
    page = (HOME / "minimta" / "man" / "minimta-changes.7").read_text(encoding="utf-8")
    first = next(line for line in page.split("\n") if line.startswith(".Ss "))
    assert first.split()[1] == minimta.__version__


def test_pyproject_holds_nothing_but_the_build_system() -> None:
    text = (HOME / "pyproject.toml").read_text(encoding="utf-8")
    assert len(lines(text)) == 3
    assert text.startswith("[build-system]")


def test_two_libraries_are_needed_to_run_and_two_to_test(setup: configparser.ConfigParser) -> None:
    def names(text: str) -> list[str]:
        return [line.split()[0] for line in lines(text) if not line.startswith("#")]

    assert names(setup["options"]["install_requires"]) == ["dnspython", "filelock"]
    assert names(setup["options.extras_require"]["test"]) == ["pytest", "freezegun"]


def test_every_script_is_packaged(setup: configparser.ConfigParser) -> None:
    packaged = {f"bin/{name}" for name in SCRIPTS}
    assert packaged == set(lines(setup["options"]["scripts"]))
    assert {path.name for path in (HOME / "bin").iterdir()} == set(SCRIPTS)


@pytest.mark.parametrize("name", ["mailq", "newaliases", "hoststat", "purgestat"])
def test_one_program_has_several_names(name: str) -> None:
    assert os.readlink(HOME / "bin" / name) == "sendmail"


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_isolated_and_executable(name: str) -> None:
    script = HOME / "bin" / name
    assert script.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/python3 " + (
        "-I" if name == "minimta" else "-IS"
    )
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_hostile_pythonpath_does_not_win(name: str, tmp_path: Path) -> None:
    (tmp_path / "minimta").mkdir()
    (tmp_path / "minimta" / "__init__.py").write_text("print('hostile')\n__version__ = '6'\n")
    done = start(HOME / "bin" / name, *HARMLESS[name], PYTHONPATH=str(tmp_path))
    assert done.returncode == (0 if HARMLESS[name] else os.EX_USAGE)
    assert "hostile" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", HARMLESS)
def test_a_link_leads_to_the_checkout(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(HOME / "bin" / name)
    done = start(tmp_path / name, *HARMLESS[name])
    assert done.returncode == (0 if HARMLESS[name] else os.EX_USAGE)


def test_the_administrators_command_explains_itself() -> None:
    assert start(HOME / "bin" / "minimta", "--version").stdout == f"minimta {minimta.__version__}\n"
    text = start(HOME / "bin" / "minimta", "--help").stdout
    assert all(f"\n  {verb} " in text for verb in ("demo", "test", "install", "uninstall"))


@pytest.mark.parametrize("words", [(), ("nonsense",)])
def test_an_unknown_verb_is_a_usage_error(words: tuple[str, ...]) -> None:
    assert start(HOME / "bin" / "minimta", *words).returncode == os.EX_USAGE


def test_type_checkers_may_read_our_types(setup: configparser.ConfigParser) -> None:
    assert "py.typed" in lines(setup["options.package_data"]["minimta"])
    assert (HOME / "minimta" / "py.typed").is_file()


def test_the_manual_pages_are_packaged(setup: configparser.ConfigParser) -> None:
    assert "man/*" in lines(setup["options.package_data"]["minimta"])
    assert all(path.name[-2:-1] == "." for path in (HOME / "minimta" / "man").iterdir())
