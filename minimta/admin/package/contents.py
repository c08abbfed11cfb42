"""What is in the package, as values: path, mode, and text or the target of a link.

Everything is root's. Programs and modules lie below /usr/share/minimta as in a checkout, so that what
bin/ finds beside itself is the same there; all other names are links to it. What stands below /etc is
the administrator's to change (a conffile). Users, queues, aliases and certificate are no contents:
``minimta install``, which postinst runs, makes them if they are not there.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.checkout import PACKAGED
from minimta.admin.install import install
from minimta.admin.install.install import COMMANDS
from minimta.admin.install.machine_files import FILES, MachineFile, Where
from minimta.admin.package.version import Version

#: what an editor or a Python leaves in a work tree
_LITTER = ("~", ".pyc", ".orig", ".rej", ".swp")
#: of the tree, what has its place elsewhere in the package
_ELSEWHERE = ("minimta/man/", "minimta/admin/package/scripts/")
#: mail(1), which update-alternatives(1) gives its shorter name
MAIL = "/usr/bin/mail.minimta"
_DOC = "/usr/share/doc/minimta"

#: run by the upgrade of Debian's Python to its next version
_RTUPDATE = f"""\
#!/bin/sh
# Byte code for the new default Python: rtupdate OLD NEW.
set -e

if [ "$1" = rtupdate ]; then
    py3clean -p minimta {PACKAGED}
    py3compile -p minimta {PACKAGED}
    rm -f {PACKAGED}/minimta/__pycache__/startup.*
    python3 -I -c 'import sys; sys.path.insert(0, "{PACKAGED}")
from minimta.admin.install.startup_code import StartupFile as File
from pathlib import Path; File(Path("{PACKAGED}/minimta")).do()' || true
fi
"""


#: for lintian(1)
_OVERRIDES = """\
# preinst takes away diversions that "minimta install" made for a checkout.
minimta: package-uses-local-diversion *
# The project has no mail address.
minimta: bogus-mail-host *
minimta: bogus-mail-host-in-debian-changelog *
# For machines without systemd; minimta install writes it to its place.
minimta: script-not-executable *openrc*
minimta: unusual-interpreter *openrc*
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, or link, of the package. The target of a link is relative (Debian Policy 10.5)."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    target: str = ""


def sources(home: str) -> list[Path]:
    """The files of the checkout that the package is made of. Raise OSError."""
    found = [Path(home, "README.md"), Path(home, "LICENSE")]
    for name in ("bin", "minimta"):
        found += [path for path in Path(home, name).rglob("*") if path.is_file()]
    return sorted(path for path in found if not _is_litter(path.relative_to(home)))


def _is_litter(path: Path) -> bool:
    is_hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return is_hidden or path.name.endswith(_LITTER)


def entries(home: str, version: Version, changelog: str) -> list[Entry]:
    """All of it, by path. Raise OSError."""
    found = [*_tree(home), *_commands(), *_manuals(home), *_machine(), *_papers(home, changelog)]
    found.append(Entry("/usr/share/python3/runtime.d/minimta.rtupdate", _RTUPDATE.encode(), 0o755))
    return sorted(found, key=lambda entry: entry.path)


def _tree(home: str) -> Iterator[Entry]:
    """bin/ and minimta/; the manual pages have their own place."""
    for path in sources(home):
        name = path.relative_to(home)
        place = f"{PACKAGED}/{name}"
        if name.parts[0] not in ("bin", "minimta") or str(name).startswith(_ELSEWHERE):
            continue
        if path.is_symlink():
            yield Entry(place, target=os.readlink(path))
        else:
            yield Entry(place, path.read_bytes(), 0o755 if name.parts[0] == "bin" else 0o644)


def _commands() -> Iterator[Entry]:
    """Policy 11.6: /usr/lib/sendmail is a link to /usr/sbin/sendmail."""
    for path, name in COMMANDS.items():
        place = f"{PACKAGED}/bin/{name}"
        if path == "/usr/lib/sendmail":
            place = "/usr/sbin/sendmail"
        yield Entry(path, target=os.path.relpath(place, os.path.dirname(path)))
    yield Entry(MAIL, target="../share/minimta/bin/mail")


def _manuals(home: str) -> Iterator[Entry]:
    for page in Path(home, "minimta", "man").glob("*.[1-8]"):
        place = f"/usr/share/man/man{page.suffix[1:]}/{install.manual_name(page)}.gz"
        if page.is_symlink():
            yield Entry(place, target=f"{os.readlink(page)}.gz")
        else:
            yield Entry(place, _compressed(page.read_bytes()))


def _machine() -> Iterator[Entry]:
    """Units, completion and so on; of one text in several places all but the first are links."""
    places: dict[str, str] = {}
    for file in FILES:
        if is_shipped(file):
            first = places.setdefault(file.name, file.packaged)
            if first == file.packaged:
                yield Entry(first, file.text().encode(), file.mode)
            else:
                target = os.path.relpath(first, os.path.dirname(file.packaged))
                yield Entry(file.packaged, target=target)


def is_shipped(file: MachineFile) -> bool:
    """Is it on every machine? What is for machines without systemd ``minimta install`` writes there."""
    return file.where in (Where.EVERYWHERE, Where.WITH_SYSTEMD)


def _papers(home: str, changelog: str) -> Iterator[Entry]:
    licence = Path(home, "LICENSE").read_text(encoding="utf-8")
    yield Entry("/usr/share/lintian/overrides/minimta", _OVERRIDES.encode())
    yield Entry(f"{_DOC}/copyright", f"minimta\n\n{licence}".encode())
    yield Entry(f"{_DOC}/changelog.gz", _compressed(changelog.encode()))
    yield Entry(f"{_DOC}/README.md.gz", _compressed(Path(home, "README.md").read_bytes()))


def _compressed(content: bytes) -> bytes:
    """As gzip -9n does it: no name, no time."""
    return gzip.compress(content, 9, mtime=0)
