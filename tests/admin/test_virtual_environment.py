"""var/venv: made when it is needed, and one clear sentence when it cannot be."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from minimta.admin import virtual_environment as environment
from minimta.admin.checkout import AdminError

WANTED = {"nosuch.module": "python3-nosuch"}


class Programs:
    """Stands for subprocess.run: notes the commands, makes what venv would make, may fail."""

    def __init__(self, venv: Path, failing: str = "", words: str = "") -> None:
        self.commands: list[Sequence[str]] = []
        self._venv = venv
        self._failing = failing
        self._words = words

    def __call__(self, command: Sequence[str], **_: object) -> CompletedProcess[str]:
        self.commands.append(command)
        if self._failing in command:
            return CompletedProcess(command, 1, "", self._words)
        if "venv" in command:
            (self._venv / "bin").mkdir(parents=True)
            (self._venv / "bin" / "python").touch()
        return CompletedProcess(command, 0, "", "")


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "var" / "venv"
    monkeypatch.setattr(environment, "VENV", place)
    monkeypatch.setattr(environment, "find_spec", lambda name: name)
    return place


def use(monkeypatch: pytest.MonkeyPatch, programs: Programs) -> Programs:
    monkeypatch.setattr("minimta.admin.virtual_environment.subprocess.run", programs)
    return programs


def test_it_is_made_once_and_told_in_one_line(
    venv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = use(monkeypatch, Programs(venv))
    environment.fill(["dnspython >= 2.6.1", "filelock"], WANTED)
    environment.fill(["dnspython >= 2.6.1"], WANTED)
    assert [command[3] for command in programs.commands] == ["venv", "pip"]
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert "gets dnspython, filelock" in told


def test_more_names_are_added_to_what_is_there(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = use(monkeypatch, Programs(venv))
    environment.fill(["dnspython"], WANTED)
    environment.fill(["dnspython", "pytest"], WANTED)
    assert [command[3] for command in programs.commands] == ["venv", "pip", "pip"]


def test_one_that_was_left_half_made_is_made_anew(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Programs(venv, "pip"))
    with pytest.raises(AdminError):
        environment.fill(["dnspython"], WANTED)
    (venv / "bin" / "python").unlink()
    (venv / "bin").rmdir()
    programs = use(monkeypatch, Programs(venv))
    environment.fill(["dnspython"], WANTED)
    assert "--clear" in programs.commands[0]


def test_no_package_index_is_told_with_the_remedy(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "WARNING: Retrying\nERROR: No matching distribution found for dnspython\n"
    use(monkeypatch, Programs(venv, "pip", words))
    with pytest.raises(
        AdminError, match=r"\(No matching distribution found for dnspython\)"
    ) as trouble:
        environment.fill(["dnspython"], WANTED)
    assert str(trouble.value).endswith("apt install python3-nosuch")
    assert trouble.value.exit_code == os.EX_TEMPFAIL


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_no_venv_module_is_told_with_the_remedy(
    venv: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: name != module)
    with pytest.raises(AdminError, match="apt install python3-venv"):
        environment.fill(["dnspython"], WANTED)


def test_a_read_only_checkout_is_told_with_the_remedy(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("minimta.admin.virtual_environment.Path.touch", refuse)
    with pytest.raises(
        AdminError, match=r"Read-only file system.*directory of your own"
    ) as trouble:
        environment.need_writable(venv.parent)
    assert trouble.value.exit_code == os.EX_CANTCREAT


def test_a_python_that_has_the_modules_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "fill", lambda *_: pytest.fail("a venv is not needed"))
    environment.enter("test")


def test_otherwise_the_same_command_starts_again_there(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Programs(venv))
    started: list[list[str]] = []
    monkeypatch.setattr(environment, "has_modules", lambda wanted: False)
    monkeypatch.setattr(
        "minimta.admin.virtual_environment.os.execv", lambda _, argv: started.append(argv)
    )
    monkeypatch.setattr("minimta.admin.virtual_environment.sys.argv", ["bin/minimta", "demo"])
    environment.enter()
    assert started == [[str(venv / "bin" / "python"), "-I", "bin/minimta", "demo"]]


def test_the_newest_libraries_are_only_there(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Programs(venv))
    started: list[list[str]] = []
    monkeypatch.setattr(
        "minimta.admin.virtual_environment.os.execv", lambda _, argv: started.append(argv)
    )
    environment.enter("test", newest=True)
    assert started
    monkeypatch.setattr("minimta.admin.virtual_environment.sys.prefix", str(venv))
    environment.enter("test", newest=True)
    assert len(started) == 1


def test_a_venv_without_the_modules_does_not_start_itself_for_ever(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "has_modules", lambda wanted: False)
    monkeypatch.setattr("minimta.admin.virtual_environment.sys.prefix", str(venv))
    with pytest.raises(AdminError, match="incomplete: delete it"):
        environment.enter()


def test_modules_are_looked_for_with_their_parents() -> None:
    assert environment.has_modules({"os.path": "", "json": ""})
    assert not environment.has_modules({"nosuch.module": ""})
    assert not environment.has_modules({"json.nosuch": ""})


def test_setup_cfg_says_what_is_needed() -> None:
    assert [line.split()[0] for line in environment.requirements()] == ["dnspython", "filelock"]
    more = environment.requirements("test")[2:]
    assert [line.split()[0] for line in more] == ["pytest", "freezegun"]


def test_nothing_is_left_of_the_look_whether_we_may_write(tmp_path: Path) -> None:
    environment.need_writable(tmp_path / "var")
    assert stat.S_ISDIR((tmp_path / "var").stat().st_mode)
    assert not list((tmp_path / "var").iterdir())
