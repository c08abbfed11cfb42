"""Which programs are run: those that nobody could have put there but whom we trust."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.system import executables
from minimta.system.safefile import Untrusted
from tests.support.homes import STRANGER, mode

OWNERS = tuple({0, os.geteuid()})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    directory = tmp_path / "smrsh"
    directory.mkdir()
    directory.chmod(0o755)
    program(directory / "out.sh")
    return directory


def program(path: Path, bits: int = 0o755) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(bits)
    return path


def why_not(path: Path | str, *blamed: str) -> str:
    return executables.why_not(os.fsencode(path), OWNERS, frozenset(blamed))


def test_a_program_may_be_run(place: Path) -> None:
    assert why_not(place / "out.sh") == ""
    assert why_not("/bin/sh") == ""


@pytest.mark.parametrize("target", ["out.sh", "../smrsh/out.sh", "ABSOLUTE", "middle"])
def test_links_are_followed(place: Path, target: str) -> None:
    (place / "middle").symlink_to("out.sh")
    (place / "link").symlink_to(target.replace("ABSOLUTE", str(place / "out.sh")))
    assert why_not(place / "link") == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nosuch", "stat failed"), ("", "stat failed"), (".", "not a file"), ("..", "not a file"),
        ("dangling", "stat failed"), ("out.sh/x", "stat failed"), ("text", "not executable"),
        ("directory", "not a file"), ("fifo", "not a file"), ("a\0b", "stat failed"),
        ("x" * 300, "stat failed"),
    ],
)  # fmt: skip
def test_what_is_no_program_is_told_apart(place: Path, name: str, reason: str) -> None:
    (place / "dangling").symlink_to("nosuch")
    program(place / "text", 0o644)
    (place / "directory").mkdir()
    os.mkfifo(place / "fifo")
    assert why_not(f"{place}/{name}") == reason


def test_a_circle_of_links_ends(place: Path) -> None:
    (place / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="Too many levels"):
        why_not(place / "circle")


def writable_file(place: Path) -> None:
    mode(0o775)(place / "out.sh")


def file_for_all(place: Path) -> None:
    mode(0o757)(place / "out.sh")


def writable_directory(place: Path) -> None:
    mode(0o775)(place)


def writable_parent(place: Path) -> None:
    mode(0o777)(place.parent)


def link_in_an_open_directory(place: Path) -> None:
    program(place / "good")
    shared = place.parent / "shared"
    shared.mkdir()
    mode(0o777)(shared)
    (shared / "x").symlink_to("../smrsh/good")
    (place / "out.sh").unlink()
    (place / "out.sh").symlink_to("../shared/x")


FILES, PLACES = "runwritableprogram", "runprograminunsafedirpath"


@pytest.mark.parametrize(
    ("spoil", "blamed"),
    [
        (writable_file, FILES),
        (file_for_all, FILES),
        (writable_directory, PLACES),
        (writable_parent, PLACES),
        (link_in_an_open_directory, PLACES),
    ],
)
def test_what_others_could_have_written_is_not_run_unless_sendmail_is_not_blamed(
    place: Path, spoil: Callable[[Path], None], blamed: str
) -> None:
    spoil(place)
    other = FILES if blamed == PLACES else PLACES
    with pytest.raises(Untrusted):
        why_not(place / "out.sh", other)
    assert why_not(place / "out.sh", blamed) == ""


@pytest.mark.root
@pytest.mark.parametrize("name", ["smrsh", "smrsh/out.sh", "smrsh/link"])
def test_the_directory_its_programs_and_its_links_are_roots(place: Path, name: str) -> None:
    (place / "link").symlink_to("out.sh")
    assert why_not(place / "link") == ""
    os.chown(place.parent / name, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(Untrusted, match="Wrong owner"):
        why_not(place / "link")


def test_no_descriptor_is_left(place: Path) -> None:
    (place / "link").symlink_to("out.sh")
    before = os.listdir("/proc/self/fd")
    for name in ("link", "nosuch", "."):
        why_not(place / name)
    mode(0o777)(place)
    with pytest.raises(Untrusted):
        why_not(place / "link")
    assert os.listdir("/proc/self/fd") == before


def test_without_root_our_own_programs_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1001)
    assert executables.trusted_owners() == (0, 1001)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert executables.trusted_owners() == (0,)
