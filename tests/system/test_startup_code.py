"""The file of the modules that a submission starts with: when it is obeyed, and when it is not."""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from minimta.system import startup_code
from minimta.system.startup_code import StartupCode

UID = os.getuid()
#: what stands in the source; the file says something else, to tell the two apart
SOURCE = "def origin():\n    return 'source'\n"
IN_FILE = "def origin():\n    return 'file'  \n\ndef fail():\n    raise RuntimeError\n"
ROOM, FIRST = "minimta.room", "minimta.first"
MODULES = (
    ("minimta", "__init__", IN_FILE),
    (ROOM, "room", IN_FILE),
    (FIRST, "first", "from minimta import room\nimport minimta.room\n"),
)


def write(package: Path) -> Path:
    """A package of three modules, with its file, of which only the owner may write."""
    (package / "__pycache__").mkdir(parents=True)
    index: startup_code.Index = {}
    code = b""
    for name, stem, text in MODULES:
        path = package / f"{stem}.py"
        path.write_text(SOURCE)
        found = path.stat()
        begin, code = len(code), code + marshal.dumps(compile(text, path, "exec"))
        row = (str(path), path.name == "__init__.py", found.st_mtime_ns, found.st_size)
        index[name] = (*row, begin, len(code))
    file = Path(startup_code.path_of(str(package)))
    file.write_bytes(startup_code.encode(index, {FIRST: ["minimta", ROOM]}, code))
    file.chmod(0o644)
    return file


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "minimta"
    write(path)
    return path


def read(package: Path) -> StartupCode:
    found = startup_code.read(str(package), UID)
    assert found is not None
    return found


def load(found: StartupCode, name: str) -> ModuleType:
    spec = found.find_spec(name)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    found.exec_module(module)
    return module


def test_a_module_is_made_of_the_code_in_the_file(package: Path) -> None:
    module = load(read(package), ROOM)
    assert module.origin() == "file"
    assert (module.__name__, module.__package__) == (ROOM, "minimta")
    assert module.__file__ == str(package / "room.py")


def test_a_package_is_one(package: Path) -> None:
    module = load(read(package), "minimta")
    assert list(module.__path__) == [str(package)]


@pytest.fixture
def no_modules() -> Iterator[None]:
    """As at the start of a program: nothing of minimta is there."""
    before = dict(sys.modules)

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "minimta"]:
            del sys.modules[name]

    forget()
    yield
    forget()
    sys.modules.update(before)


@pytest.mark.usefixtures("no_modules")
def test_what_a_module_imports_is_in_place_before_it_runs(package: Path) -> None:
    found = read(package)
    first = load(found, FIRST)
    room = sys.modules[ROOM]
    assert first.room is room and first.minimta.room is room
    assert (room.origin(), room.__name__, room.__package__) == ("file", ROOM, "minimta")
    assert room.__file__ == str(package / "room.py") and room.__loader__ is found
    assert room.__spec__ is not None and room.__spec__.origin == room.__file__
    assert list(sys.modules["minimta"].__path__) == [str(package)]


@pytest.mark.usefixtures("no_modules")
def test_of_what_it_imports_another_source_counts(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "room.py").write_text(SOURCE + "\n")
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    assert load(read(package), FIRST).room.origin() == "source"


@pytest.mark.usefixtures("no_modules")
def test_of_its_package_another_source_counts(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "__init__.py").write_text(SOURCE + "\n")
    found = read(package)
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    monkeypatch.setattr(sys, "meta_path", [found, *sys.meta_path])
    first = load(found, FIRST)
    assert (first.minimta.origin(), first.room.origin()) == ("source", "file")


@pytest.mark.usefixtures("no_modules")
def test_what_is_there_already_stays(package: Path) -> None:
    mine = sys.modules[ROOM] = ModuleType(ROOM)
    found = read(package)
    found.find_spec(FIRST)
    assert sys.modules[ROOM] is mine


@pytest.mark.usefixtures("no_modules")
def test_a_module_that_fails_is_not_left_behind(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StartupCode, "code", lambda self, name: compile("1 / 0", name, "exec"))
    with pytest.raises(ZeroDivisionError):
        read(package).find_spec(FIRST)
    assert "minimta" not in sys.modules


def test_other_modules_are_left_to_others(package: Path) -> None:
    assert read(package).find_spec("minimta.other") is None


def test_an_error_names_file_and_line(package: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        load(read(package), ROOM).fail()
    frame = traceback.extract_tb(error.tb)[-1]
    assert (frame.filename, frame.lineno) == (str(package / "room.py"), 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source.write_text(SOURCE + "\n"),  # the time as well
        lambda source: os.utime(source, ns=(0, source.stat().st_mtime_ns + 1)),
        lambda source: source.write_text("x = 1\n"),
        lambda source: source.unlink(),
    ],
    ids=["edited", "newer", "smaller", "gone"],
)
def test_a_module_whose_source_is_another_by_now_is_left_out(
    package: Path, change: Callable[[Path], object]
) -> None:
    found = read(package)
    change(package / "room.py")
    assert found.find_spec(ROOM) is None
    assert found.find_spec("minimta") is not None


def test_size_counts_where_the_time_was_put_back(package: Path) -> None:
    source = package / "room.py"
    before = source.stat()
    source.write_text(SOURCE + "\n")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(package).find_spec(ROOM) is None


def _replace_by_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def _replace_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b"x" + file.read_bytes()[1:]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(bytes(file.stat().st_size)),
        lambda file: file.chmod(0o664),
        lambda file: file.chmod(0o646),
        _replace_by_link,
        _replace_by_fifo,
        lambda file: file.unlink(),
    ],
    ids=["magic", "empty", "zeros", "group", "others", "link", "fifo", "absent"],
)
def test_a_file_that_cannot_be_trusted_is_not_read(
    package: Path, change: Callable[[Path], object]
) -> None:
    assert startup_code.read(str(package), UID) is not None
    change(Path(startup_code.path_of(str(package))))
    assert startup_code.read(str(package), UID) is None


def test_only_roots_file_counts(package: Path) -> None:
    assert startup_code.read(str(package), UID + 1) is None
    assert (startup_code.read(str(package)) is None) is (UID != 0)


def test_a_copy_of_the_tree_has_no_use_for_it(package: Path) -> None:
    copy = package.rename(package.with_name("copy"))
    write(package)
    assert startup_code.read(str(copy), UID) is None


def test_what_was_cut_off_is_not_there_and_no_cut_is_an_error(package: Path) -> None:
    file = Path(startup_code.path_of(str(package)))
    whole = file.read_bytes()
    seen = set()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        found = startup_code.read(str(package), UID)
        assert found is None or found.code(FIRST) is None
        seen.add(found is None)
    assert seen == {True, False}


def test_it_is_used_until_it_is_forgotten(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", list(before))
    startup_code.use(str(package), UID)
    first, *rest = sys.meta_path
    assert isinstance(first, StartupCode)
    assert rest == before
    startup_code.forget()
    assert sys.meta_path == before
    startup_code.use(str(package), UID + 1)
    assert sys.meta_path == before
