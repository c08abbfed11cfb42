"""var/venv: made when it is needed, and one clear sentence when it cannot be."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from minimta.admin import virtual_environment as environment
from minimta.admin.checkout import AdminError

WANTED = {"nosuch.module": "python3-nosuch"}


class Programs:
    """Stands for subprocess.run: notes the commands, makes what venv would make, may fail.

    It finds what is there sound, as long as ``is_sound``.
    """

    def __init__(self, venv: Path, failing: str = "", words: str = "") -> None:
        self.commands: list[Sequence[str]] = []
        self.is_sound = True
        self._venv = venv
        self._failing = failing
        self._words = words

    def __call__(self, command: Sequence[str], **_: object) -> CompletedProcess[str]:
        if "-c" in command:
            return CompletedProcess(command, 0 if self.is_sound else 1, "", "")
        self.commands.append(command)
        if self._failing in command:
            return CompletedProcess(command, 1, "", self._words)
        if "venv" in command:
            (self._venv / "bin").mkdir(parents=True, exist_ok=True)
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
    assert [command[3] for command in programs.commands] == ["venv", "ensurepip", "pip"]
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert "gets dnspython, filelock" in told


def test_more_names_are_added_to_what_is_there(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = use(monkeypatch, Programs(venv))
    environment.fill(["dnspython"], WANTED)
    environment.fill(["dnspython", "pytest"], WANTED)
    assert [command[3] for command in programs.commands] == ["venv", "ensurepip", "pip", "pip"]


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


def test_one_that_is_damaged_is_made_anew_and_told(
    venv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = use(monkeypatch, Programs(venv))
    environment.fill(["dnspython"], WANTED)
    programs.is_sound = False
    environment.fill(["dnspython"], WANTED)
    assert [command[3] for command in programs.commands] == ["venv", "ensurepip", "pip"] * 2
    first, second = capsys.readouterr().out.split("\n")[:-1]
    assert "half made" not in first
    assert "which is damaged or half made, is made anew" in second


DAMAGE: dict[str, Callable[[Path], object]] = {
    "the link to Python leads nowhere": lambda venv: relink(venv / "bin" / "python"),
    "Python is gone": lambda venv: (venv / "bin" / "python").unlink(),
    "pip is gone": lambda venv: shutil.rmtree(packages(venv) / "pip"),
    "a library is gone": lambda venv: shutil.rmtree(packages(venv) / "library"),
    "a module of it is gone": lambda venv: (packages(venv) / "library" / "part.py").unlink(),
    "a module of it is cut off": lambda venv: (packages(venv) / "library/part.py").write_text(""),
    "it belongs to another Python": lambda venv: packages(venv).parent.rename(venv / "lib/python3"),
}


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/python3")


def packages(venv: Path) -> Path:
    return next((venv / "lib").glob("python3.*/site-packages"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with Python, and packages as pip leaves them: "pip" and "library"."""
    made = tmp_path_factory.mktemp("a place with blanks") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    for name in ("pip", "library"):
        place = packages(made)
        (place / name).mkdir()
        (place / name / "__init__.py").touch()
        (place / name / "part.py").write_text("x = 1\n")
        info = place / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        rows = [f"{name}/__init__.py,,0", f"{name}/part.py,,6", f"{info.name}/RECORD,,"]
        (info / "RECORD").write_text("\n".join(rows) + "\n")
    return made


@pytest.mark.parametrize("damage", [None, *DAMAGE])
def test_damage_is_seen(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str | None
) -> None:
    venv = tmp_path / "venv"
    shutil.copytree(real, venv, symlinks=True)
    monkeypatch.setattr(environment, "VENV", venv)
    if damage:
        DAMAGE[damage](venv)
    assert environment.is_sound(["library"]) is (damage is None)


@pytest.mark.parametrize("kind", ["a file", "a link that leads nowhere"])
def test_what_is_no_directory_gives_way(
    venv: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    venv.parent.mkdir()
    if kind == "a file":
        venv.touch()
    else:
        venv.symlink_to("/nowhere")
    use(monkeypatch, Programs(venv))
    environment.fill(["dnspython"], WANTED)
    assert (venv / "requirements").is_file()


INDEX = "connect this machine to a package index, or: apt install python3-nosuch"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("WARNING: Retrying\nERROR: No matching distribution found for dnspython\n", INDEX),
        ("WARNING: ... [Errno 111] Connection refused')': /dnspython/\nERROR: No match\n", INDEX),
        ("WARNING: ... Temporary failure in name resolution\nERROR: No match\n", INDEX),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n", "DO NOT MATCH THE HASHES.*apt install"),
        ("", "it did not say why.*apt install python3-nosuch"),
    ],
)
def test_a_failing_pip_is_told_with_the_matter_and_the_remedy(
    venv: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    use(monkeypatch, Programs(venv, "pip", said))
    with pytest.raises(AdminError, match=told) as trouble:
        environment.fill(["dnspython"], WANTED)
    assert ("index" in told) == ("index" in str(trouble.value))
    assert trouble.value.exit_code == os.EX_TEMPFAIL


@pytest.mark.parametrize("program", ["venv", "ensurepip", "pip"])
@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "make room"), (errno.EFBIG, "ulimit -f")]
)
def test_a_full_disk_is_told_as_such_and_what_was_half_made_goes(
    venv: Path, monkeypatch: pytest.MonkeyPatch, program: str, number: int, remedy: str
) -> None:
    said = f"ERROR: [Errno {number}] {os.strerror(number)}: 'x'\nERROR: No matching distribution\n"
    use(monkeypatch, Programs(venv, program, said))
    with pytest.raises(AdminError, match=rf"\({os.strerror(number)}\): .*{remedy}") as trouble:
        environment.fill(["dnspython"], WANTED)
    assert trouble.value.exit_code == os.EX_CANTCREAT
    assert "index" not in str(trouble.value)
    assert not venv.exists()


@pytest.mark.parametrize("program", ["venv", "ensurepip"])
def test_a_python_that_makes_none_is_told_with_its_words_and_another_way(
    venv: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    use(monkeypatch, Programs(venv, program, "Traceback ...\nValueError: odd\n"))
    with pytest.raises(AdminError, match=r"\(ValueError: odd\): .*apt install python3-nosuch"):
        environment.fill(["dnspython"], WANTED)


def test_a_full_disk_leaves_a_sound_one(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Programs(venv))
    environment.fill(["dnspython"], WANTED)
    use(monkeypatch, Programs(venv, "pip", os.strerror(errno.ENOSPC)))
    with pytest.raises(AdminError):
        environment.fill(["dnspython", "pytest"], WANTED)
    assert environment.is_sound([])
    assert (venv / "requirements").read_text() == "dnspython"


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_no_venv_module_is_told_with_the_remedy(
    venv: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: name != module)
    with pytest.raises(AdminError, match="apt install python3-venv"):
        environment.fill(["dnspython"], WANTED)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "directory of your own"),
        (errno.EACCES, "directory of your own, or remove what others made"),
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "share of that file system"),
    ],
)
def test_a_checkout_that_cannot_be_written_is_told_with_the_remedy(
    venv: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(path: Path, octets: bytes) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("minimta.admin.virtual_environment.Path.write_bytes", refuse)
    with pytest.raises(AdminError, match=rf"{os.strerror(number)}.*{remedy}") as trouble:
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
