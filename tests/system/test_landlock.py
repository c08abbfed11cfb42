"""Landlock itself: each version of the kernel's interface forbids what it knows, and nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from minimta.system import landlock, privileges
from tests.support.hostile import connect, listen, make, outcomes, read, tried


def newest() -> int:
    """The version of this kernel, 0: none."""
    try:
        return landlock.abi()
    except OSError:
        return 0


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def link_elsewhere(path: Path) -> None:
    os.link(path, path.parent.parent / "linked")


@pytest.mark.parametrize("version", range(1, landlock.NEWEST + 1))
def test_each_version_forbids_what_it_knows(tmp_path: Path, version: int) -> None:
    if version > newest():
        with pytest.raises(OSError):
            landlock.Ruleset(version, landlock.BIND)
        return
    inside = tmp_path / "inside"
    inside.mkdir()
    for place in (inside, tmp_path):
        (place / "there").write_text("x")
    parent = os.getpid()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as allowed,
    ):
        bad, good = (one.getsockname()[1] for one in (server, allowed))
        attempts = {
            "read inside": read(inside / "there"),
            "read outside": read(tmp_path / "there"),
            "make inside": make(inside / "new"),
            "make outside": make(tmp_path / "new"),
            "truncate": lambda: truncate(tmp_path / "there"),
            "link elsewhere": lambda: link_elsewhere(inside / "there"),
            "connect": connect(bad),
            "connect where allowed": connect(good),
            "listen": listen,
            "signal": lambda: os.kill(parent, 0),
        }

        def act() -> bytes:
            rules = landlock.Ruleset(version, landlock.BIND | landlock.CONNECT)
            rules.allow(str(inside), landlock.READ_FILE | landlock.WRITE_FILE | landlock.MAKE_FILE)
            rules.allow_port(good, landlock.CONNECT)
            rules.enforce()
            rules.close()
            return tried(attempts)

        found = outcomes(privileges.in_child(act, 10))
    assert found == {
        "read inside": "done",
        "read outside": "EACCES",
        "make inside": "done",
        "make outside": "EACCES",
        "truncate": "EACCES" if version >= 3 else "done",
        "link elsewhere": "EACCES",
        "connect": "EACCES" if version >= landlock.NETWORK else "done",
        "connect where allowed": "done",
        "listen": "EACCES" if version >= landlock.NETWORK else "done",
        "signal": "EPERM" if version >= landlock.SCOPED else "done",
    }


def test_a_port_may_be_any_that_the_system_gives() -> None:
    def act() -> bytes:
        if newest():
            rules = landlock.Ruleset(min(newest(), landlock.NEWEST), landlock.BIND)
            rules.allow_port(0, landlock.BIND)
            rules.enforce()
            rules.close()
        return tried({"listen": listen})

    assert outcomes(privileges.in_child(act, 10)) == {"listen": "done"}


def test_no_descriptor_is_left() -> None:
    before = os.listdir("/proc/self/fd")
    if newest():
        rules = landlock.Ruleset(1, 0)
        with pytest.raises(FileNotFoundError):
            rules.allow("/nonexistent", landlock.READ_FILE)
        rules.allow("/usr", landlock.READ_FILE)
        rules.close()
    with pytest.raises(OSError):
        landlock.Ruleset(landlock.NEWEST, 1 << 40)  # no such right
    assert os.listdir("/proc/self/fd") == before


def test_new_privileges_are_gone_for_good() -> None:
    def act() -> bytes:
        landlock.forbid_new_privileges()
        return Path("/proc/self/status").read_bytes()

    assert b"\nNoNewPrivs:\t1\n" in privileges.in_child(act, 10)
