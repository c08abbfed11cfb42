"""``minimta package``: writes minimta_VERSION_all.deb, from a checkout, with dpkg-deb(1) alone.

Root is not needed, and nothing outside of the output is touched. The same commit gives the same octets:
see ``version``. What is in it is in ``contents``, what dpkg is told of it in ``control``, and what it
does on the machine in ``scripts/``.
"""

from __future__ import annotations

import os
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from minimta.admin.arguments import parsed
from minimta.admin.checkout import HOME, AdminError, need_checkout
from minimta.admin.install.services import call
from minimta.admin.output import say
from minimta.admin.package import contents, control
from minimta.admin.package.contents import Entry
from minimta.admin.package.version import Version, of_checkout


def run(arguments: list[str]) -> int:
    """Build it and say where it is. Raise AdminError, OSError."""
    output = _parse(arguments)
    need_checkout("package")
    path = build(HOME, output)
    say(f"as root: apt install {path.resolve()}")
    return os.EX_OK


def _parse(arguments: list[str]) -> str:
    parser = ArgumentParser(prog="minimta package", exit_on_error=False)
    parser.add_argument(
        "--output",
        default=".",
        metavar="DIR",
        help="where to write it, a directory or FILE.deb (here)",
    )
    given = parsed(parser, arguments)
    return str(given.output)


def build(home: str, output: str) -> Path:
    """The package of the checkout *home*, in the directory *output*, or as that file.

    Raise AdminError if dpkg-deb(1) refuses, OSError.
    """
    version = of_checkout(home, contents.sources(home))
    path = Path(output, f"minimta_{version.number}_all.deb")
    if not os.path.isdir(output):
        if not output.endswith(".deb"):
            raise AdminError(f"{output} is no directory, and no FILE.deb", os.EX_CANTCREAT)
        path = Path(output)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise AdminError(f"cannot write {path}: --output names another place", os.EX_CANTCREAT)
    with tempfile.TemporaryDirectory(prefix="minimta-package-") as scratch:
        tree = Path(scratch, "tree")
        write_tree(tree, home, version)
        _call_dpkg_deb(tree, path, version)
    return path


def write_tree(tree: Path, home: str, version: Version) -> None:
    """What dpkg-deb(1) packs: the files, and DEBIAN/. Raise OSError, AdminError."""
    entries = contents.entries(home, version, control.changelog(version))
    control.need_plain(entries)
    told = {
        "control": control.control(version, entries),
        "conffiles": control.conffiles(entries),
        "md5sums": control.md5sums(entries),
    }
    scripts = control.scripts()
    for name, text in (told | scripts).items():
        mode = 0o755 if name in scripts else 0o644
        _write(tree, Entry(f"/DEBIAN/{name}", text.encode(), mode))
    for entry in entries:
        _write(tree, entry)
    for directory in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        directory.chmod(0o755)


def _write(tree: Path, entry: Entry) -> None:
    place = tree / entry.path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if entry.target:
        place.symlink_to(entry.target)
    else:
        place.write_bytes(entry.content)
        place.chmod(entry.mode)


def _call_dpkg_deb(tree: Path, path: Path, version: Version) -> None:
    """All files are root's and of the version's time, whoever builds, and when."""
    for place in (tree, *tree.rglob("*")):
        os.utime(place, (version.epoch, version.epoch), follow_symlinks=False)
    epoch = f"SOURCE_DATE_EPOCH={version.epoch}"
    call(["env", epoch, "dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(path)])
