"""The house rules as tests: imports point down, pure rooms stay pure, one door to each thing.

``python3 tests/test_layers.py`` prints the table of imports as it is.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
ROOT = HOME / "minimta"

#: Room -> the rooms that it may import. A room comes after all that it imports: no circles.
ROOMS: dict[str, str] = {
    "message": "",
    "config": "",
    "smtp": "message",
    "system": "message config",
    "milter": "message config smtp system",
    "maps": "message system",
    "aliases": "message system maps",
    "queue": "message config system",
    "mailers": "message config smtp system maps",
    "routing": "message config system maps aliases",
    "dsn": "message config system queue routing",
    "runner": "message config system milter maps aliases queue mailers routing dsn",
    "submission": "message config system queue routing runner",
    "listener": "message config smtp system milter maps queue routing runner submission",
    "commands": "message config system maps aliases queue mailers routing runner submission listener",
    "admin": "message config smtp system milter maps aliases queue mailers routing dsn runner submission "
    "listener commands",
}

#: These see no file, no socket and no clock: what they need comes in as arguments.
PURE: tuple[str, ...] = ("message", "smtp", "config/options", "config/values", "config/commandline")
PURE += (
    "milter/protocol",
    "milter/letter",
    "queue/control",
    "queue/selectors",
    "routing/route",
    "routing/targets",
    "dsn/compose",
)
PURE += ("dsn/explanation", "dsn/multipart", "dsn/delivery_status")
PURE += ("system/resolv_conf", "system/hosts_file")
IMPURE = {"socket", "ssl", "select", "time", "datetime", "subprocess", "pwd", "syslog"}
#: Turning seconds into dates needs time.gmtime and the zone, not the clock.
MAY = {"message/dates": {"time"}}

#: Outside thing -> the only file that imports it.
ONLY_IN = {
    "dns": "system/dns_wire",
    "unbound": "system/validator",
    "filelock": "system/locks",
    "pwd": "system/users",
    "syslog": "system/log",
    "ssl": "system/tls",
    "dkim": "mailers/remote/dkim",
    "socketserver": "listener/sockets",
    "http": "system/https",
    "urllib": "system/https",
}


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def name(path: Path) -> str:
    """ "queue/control" """
    return path.relative_to(ROOT).with_suffix("").as_posix()


def room_of(path: Path) -> str:
    return name(path).partition("/")[0]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Full names of all that *path* imports, at its top or inside a function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: line {node.lineno}: import absolutely"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    ours = (full.split(".") for full in imports(path))
    return {parts[1] for parts in ours if parts[0] == "minimta" and len(parts) > 1} - {
        "__version__",
        room_of(path),
    }


def upward(path: Path) -> set[str]:
    """The rooms that *path* imports and may not."""
    return rooms_imported(path) - set(ROOMS[room_of(path)].split())


def impurities(path: Path) -> set[str]:
    """What *path* knows of clock, network and files."""
    known = {full.split(".")[0] for full in imports(path)} & IMPURE
    calls = {ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    called = {node.func.id for node in ast.walk(tree(path)) if is_plain_call(node)}  # type: ignore[attr-defined]
    return (known - MAY.get(name(path), set())) | calls & {"os.open"} | called & {"open"}


def is_plain_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def code_of(path: Path) -> list[str]:
    """The statements of a module that are not its docstring, __version__ apart."""
    body = tree(path).body
    told = body[1:] if ast.get_docstring(tree(path)) is not None else body
    return [line for line in map(ast.unparse, told) if not line.startswith("__version__ = ")]


def public_classes(paths: list[Path]) -> Counter[str]:
    """How often each public name is that of a class at the top of a module."""
    nodes = [node for path in paths for node in tree(path).body]
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    return Counter(found for found in classes if not found.startswith("_"))


def circle(paths: list[Path]) -> list[str]:
    """Names of files that import one another in a ring, at run time or for types; [] if none do."""
    known = {name(path): path for path in paths}
    arrows = {
        (here, there) for here, path in known.items() for there in imported(path) & set(known)
    }
    while True:
        # What nothing leads to, or what leads nowhere, is in no ring.
        left = {(a, b) for a, b in arrows if any(d == a for _, d in arrows)}
        left = {(a, b) for a, b in left if any(c == b for c, _ in left)}
        if left == arrows:
            return sorted({a for a, _ in arrows})
        arrows = left


def imported(path: Path) -> set[str]:
    """Names of all that *path* imports that could be files of ours: "queue/control"."""
    ours = [full.split(".")[1:] for full in imports(path) if full.startswith("minimta.")]
    return {"/".join(parts[:length]) for parts in ours for length in range(2, len(parts) + 1)}


FILES = [path for path in files() if path.parent != ROOT]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_only_point_down(path: Path) -> None:
    assert not upward(path)


def test_the_table_has_no_circles() -> None:
    order = list(ROOMS)
    for room, below in ROOMS.items():
        assert set(below.split()) <= set(order[: order.index(room)]), room


def test_no_files_import_each_other_in_a_circle() -> None:
    """Inside a room, too, and with what is imported for types alone."""
    files_of = {f"minimta.{name(path).replace('/', '.')}": path for path in FILES}
    below = {
        module: {full for one in imports(path) for full in (one, one.rpartition(".")[0])}
        for module, path in files_of.items()
    }
    while files_of.keys() & below.keys():
        ends = {module for module in below if not below[module] & below.keys()}
        assert ends, f"a circle among {sorted(below)}"
        below = {module: names for module, names in below.items() if module not in ends}


def test_no_files_import_one_another_in_a_circle() -> None:
    assert not circle(files())


def test_the_house_has_these_rooms_and_no_others() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", [path for path in FILES if name(path).startswith(PURE)], ids=name)
def test_pure_rooms_know_no_clock_no_socket_and_no_file(path: Path) -> None:
    assert not impurities(path)


def test_every_pure_room_exists() -> None:
    assert all((ROOT / pure).is_dir() or (ROOT / f"{pure}.py").is_file() for pure in PURE)


@pytest.mark.parametrize("thing", ONLY_IN)
def test_every_outside_thing_has_one_door(thing: str) -> None:
    doors = {name(path) for path in files() if thing in {n.split(".")[0] for n in imports(path)}}
    assert doors <= {ONLY_IN[thing]}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("__init__.py")), ids=name)
def test_an_init_has_no_code(path: Path) -> None:
    assert not code_of(path)


def test_no_public_class_name_stands_twice() -> None:
    assert not [found for found, count in public_classes(files()).items() if count > 1]


# --- the rules themselves ---------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small house to break rules in."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for room in ("smtp", "listener"):
        (tmp_path / room).mkdir()
    return tmp_path


def plant(where: Path, text: str) -> Path:
    where.write_text(text)
    return where


def test_an_upward_import_is_seen(planted: Path) -> None:
    inside = "def f():\n    from minimta.listener.sockets.daemon import run\n"
    path = plant(planted / "smtp" / "x.py", inside)
    assert upward(path) == {"listener"}


def test_a_circle_of_files_is_seen(planted: Path) -> None:
    plant(planted / "smtp" / "x.py", "from minimta.smtp import y\n")
    plant(planted / "smtp" / "y.py", "def f():\n    from minimta.smtp.x import g\n")
    plant(planted / "smtp" / "z.py", "from minimta.smtp import other\n")
    assert circle(files()) == ["smtp/x", "smtp/y"]


def test_code_in_an_init_is_seen(planted: Path) -> None:
    path = plant(planted / "smtp" / "__init__.py", '"""Fine."""\n\nHOME = 1\n')
    assert code_of(path) == ["HOME = 1"]


def test_a_second_class_of_one_name_is_seen(planted: Path) -> None:
    plant(planted / "smtp" / "x.py", "class Client: ...\n")
    plant(planted / "listener" / "y.py", "class Client: ...\n")
    assert public_classes(files())["Client"] == 2


def test_a_clock_and_a_file_are_seen_in_a_pure_room(planted: Path) -> None:
    path = plant(planted / "smtp" / "x.py", "import time\n\nopen('/etc/passwd')\nos.open('x', 0)\n")
    assert impurities(path) == {"time", "open", "os.open"}


def table() -> str:
    """Each room with the rooms that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        found[room_of(path)] |= rooms_imported(path)
    rows = [f"{room:<11}{' '.join(r for r in ROOMS if r in found[room])}" for room in ROOMS]
    arrows = sum(map(len, found.values()))
    above = sum(bool(upward(path)) for path in FILES)
    return "\n".join([*rows, f"{len(ROOMS)} rooms, {arrows} arrows, {above} upward"])


if __name__ == "__main__":
    print(table())
