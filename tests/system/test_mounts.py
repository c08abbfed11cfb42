"""Which paths may lead to a server that does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.system.mounts import Mounts


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    table = tmp_path / "mountinfo"
    kinds = {"/": "ext4", "": "tmpfs", "/srv": "nfs4", "/a b": "fuse.sshfs", "/own": "xfs"}
    kinds["/dev"] = "devtmpfs"
    table.write_text(
        "".join(
            f"36 35 98:0 / {tmp_path if point else ''}{point} rw shared:1 - {kind} x rw\n".replace(
                "/a b ", "/a\\040b "
            )
            for point, kind in kinds.items()
        )
    )
    return Mounts(str(table))


@pytest.mark.parametrize(
    ("path", "may_hang"),
    [
        ("/srv/dave/.forward", True),
        ("/srv", True),
        ("/a b/x", True),
        ("/own/dave/.forward", False),
        ("/srvx/dave", False),
        ("/dev/shm/x", False),
        ("/home/dave/.forward", True),
        ("/home/eve/.forward", True),
        ("/home/../own/x", False),
        ("/home/carol/.forward", False),
        ("/circle/x", False),
        ("/nothing/at/all", False),
    ],
)
def test_what_leads_to_no_disk_of_ours_may_hang(
    mounts: Mounts, tmp_path: Path, path: str, may_hang: bool
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dave").symlink_to("../srv/dave")
    (tmp_path / "home" / "carol").symlink_to(tmp_path / "own" / "carol")
    (tmp_path / "home" / "eve").symlink_to(tmp_path / "srv" / "eve")
    (tmp_path / "circle").symlink_to("circle")
    assert mounts.may_hang(f"{tmp_path}{path}") == may_hang


def test_without_proc_nothing_is_known_to_hang(tmp_path: Path) -> None:
    assert not Mounts(str(tmp_path / "none")).may_hang("/home/dave/.forward")
    assert not Mounts().may_hang("/etc/passwd")
