"""The house rules as tests: imports point down, pure rooms stay pure, one door to each thing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import minimta

ROOT = Path(minimta.__file__).parent

#: Room -> floor. A room imports from lower floors and, inside a package, from its siblings.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "status",
        "envelope",
        "thirdparty",
        "address",
        "dates",
        "options",
        "headers",
        "fullname",
        "commandline",
    ),
    (
        "smtp",
        "targets",
        "route",
        "bounce",
        "addresslist",
        "completion",
        "flags",
        "selection",
        "smrsh",
    ),
    ("log", "trust"),
    ("users", "hosts", "dns", "locks", "maps", "terminal", "stdin", "workers", "programs"),
    ("rights",),
    ("config", "aliases", "queue", "forward", "include", "residence", "pidfile"),
    ("controlling", "restriction"),
    ("mailers", "expand", "policy", "notify", "newcontrol"),
    ("collect", "locality", "record", "exchangers"),
    (
        "jobs",
        "reporter",
        "outcomelog",
        "caller",
        "deadletter",
        "verify",
        "testmode",
        "expansion",
        "premises",
    ),
    ("deliver", "reception", "author", "mailq"),
    ("runqueue", "attempt", "connection"),
    ("listener", "stdio", "queuerun", "submit"),
    ("daemon",),
    ("cli", "admin", "praliases", "makemap"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: These see no file, no socket and no clock: what they need comes in as arguments.
PURE = (*FLOORS[0], *FLOORS[1], "queue/control")
IMPURE = {"socket", "ssl", "select", "time", "datetime", "subprocess", "pwd", "syslog"}
#: Turning seconds into dates needs time.gmtime and the zone, not the clock.
MAY = {"dates": {"time"}}

#: Outside thing -> the only file that imports it.
ONLY_IN = {
    "dns": "dns.py",
    "filelock": "locks.py",
    "pwd": "users.py",
    "syslog": "log.py",
    "ssl": "tls.py",
    "socketserver": "listener.py",
}


def imports(path: Path) -> set[str]:
    """Full names of all that *path* imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: line {node.lineno}: import absolutely"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def is_pure(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix().removesuffix(".py")
    return name in PURE or room_of(path) in PURE


FILES = sorted(path for path in ROOT.rglob("*.py") if room_of(path) != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_point_down(path: Path) -> None:
    here = room_of(path)
    assert here in FLOOR, f"{path}: give the new room a floor in this table"
    for name in imports(path):
        if not name.startswith("minimta.") or name == "minimta.__version__":
            continue
        there = name.split(".")[1]
        assert there == here or FLOOR[there] < FLOOR[here], f"{path} may not import {name}"


@pytest.mark.parametrize("path", [p for p in FILES if is_pure(p)], ids=lambda path: path.stem)
def test_pure_rooms_know_no_clock_and_no_socket(path: Path) -> None:
    known = {name.split(".")[0] for name in imports(path)} & IMPURE
    assert known <= MAY.get(room_of(path), set())
    calls = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}
    assert not calls & {"os.open", "open", "time.time"}


@pytest.mark.parametrize("thing", ONLY_IN)
def test_every_outside_thing_has_one_door(thing: str) -> None:
    doors = {path.name for path in FILES if thing in {n.split(".")[0] for n in imports(path)}}
    assert doors <= {ONLY_IN[thing]}


def test_the_table_names_only_rooms_that_exist() -> None:
    assert FLOOR.keys() == {room_of(path) for path in FILES}
