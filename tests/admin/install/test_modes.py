"""Who can read the checkout, and who else can write in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.admin.checkout import AdminError
from minimta.admin.install import modes


@pytest.fixture
def home() -> Iterator[Path]:
    """A checkout below a directory that everybody may pass, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="minimta-test-") as name:
        Path(name).chmod(0o755)
        home = Path(name, "opt", "minimta")
        for file in ("bin/sendmail", "minimta/queue/collect.py", ".git/config"):
            (home / file).parent.mkdir(parents=True, exist_ok=True)
            (home / file).touch()
        for path in (home.parent, home, *home.rglob("*")):
            path.chmod(0o755)
        yield home


def test_a_checkout_that_everybody_can_read_will_do(home: Path) -> None:
    (home / "minimta/queue/collect.py").chmod(0o644)
    (home / ".git/config").chmod(0o600)
    (home / "minimta" / "__pycache__").mkdir(mode=0o700)
    modes.need_readable(str(home))


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (".", 0o700),
        ("bin", 0o750),
        ("bin/sendmail", 0o700),
        ("minimta/queue", 0o744),
        ("minimta/queue/collect.py", 0o600),
    ],
)
def test_what_users_cannot_read_is_named_with_the_remedy(home: Path, path: str, mode: int) -> None:
    (home / path).chmod(mode)
    with pytest.raises(
        AdminError, match=rf"cannot read {home / path}, .*chmod -R a\+rX"
    ) as trouble:
        modes.need_readable(str(home))
    assert trouble.value.exit_code == os.EX_NOPERM


def test_a_directory_above_it_that_users_cannot_pass_is_named(home: Path) -> None:
    home.parent.chmod(0o700)
    with pytest.raises(AdminError, match=rf"cannot pass {home.parent}, .*clone .* into /opt"):
        modes.need_readable(str(home))


@pytest.mark.parametrize(("mode", "weak"), [(0o755, False), (0o775, True), (0o1777, False)])
def test_a_checkout_that_others_can_write_is_seen(
    tmp_path: Path, mode: int, weak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(mode)
    found = os.lstat(tmp_path / "x")
    as_root = os.stat_result((found.st_mode, *found[1:4], 0, 0, *found[6:]))
    monkeypatch.setattr("minimta.admin.install.modes.Path.lstat", lambda path: as_root)
    assert modes.is_writable_by_others(tmp_path / "x") is weak


def test_what_helps_against_writers_depends_on_what_they_can_write(tmp_path: Path) -> None:
    """Nobody's home is given to root, and a checkout in it is not made safe by its own modes."""
    home = tmp_path / "emma/minimta"
    home.mkdir(parents=True)
    if not os.geteuid():
        os.chown(home.parent, 1000, 1000)
    for path in home, home / "bin":
        remedy = f"chown -R root:root {home} && chmod -R go-w {home}"
        assert modes.against_writers(path, str(home)) == remedy
    assert modes.against_writers(home.parent, str(home)).startswith("clone the project into /opt")
    assert modes.against_writers(Path("/"), str(home)) == "chmod go-w /"


def test_what_is_above_a_checkout_is_told_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "emma/minimta"
    for name in "bin", "minimta":
        (home / name).mkdir(parents=True)
    if not os.geteuid():
        os.chown(home.parent, 1000, 1000)
        os.chown(home, 1000, 1000)
    modes.warn_of_writers(str(home))
    told = capfd.readouterr().err
    assert f"write {home} " not in told
    assert "so become root here: clone the project into /opt" in told
