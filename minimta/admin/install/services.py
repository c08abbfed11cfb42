"""What the installation does by running programs: byte code, alias database, services."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.checkout import AdminError
from minimta.admin.install import machine_files
from minimta.admin.install.modes import is_readable_by_others
from minimta.admin.install.steps import below

QUEUE = "/var/spool/mqueue"


CLIENT_QUEUE = "/var/spool/clientmqueue"


_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def has_program(name: str) -> bool:
    """Is there such a program of the system?"""
    return shutil.which(name, path=_PATH) is not None


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the system, in a clean environment. Raise AdminError if there is none."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        raise AdminError(f"there is no {command[0]} on this machine", os.EX_OSFILE)
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
    words = [program, *command[1:]]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def call(command: list[str]) -> None:
    """Like run(). Raise AdminError with the program's own words if it fails."""
    done = run(command)
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise AdminError(f"{' '.join(command)}: {said}", os.EX_OSERR)


@dataclass(frozen=True, slots=True)
class ByteCode:
    """The package compiled: a caller without root could not keep the byte code of its own run."""

    package: Path

    def __str__(self) -> str:
        return f"byte code of {self.package}"

    def is_done(self) -> bool:
        """Has every source byte code of this interpreter, which everybody can read?"""
        sources = self.package.rglob("*.py")
        return all(is_compiled(source) for source in sources) and not any(self._closed())

    def _closed(self) -> Iterator[Path]:
        """Byte code of a run of root's, with umask 077."""
        for directory in self.package.rglob("__pycache__"):
            paths = (directory, *directory.iterdir())
            yield from (path for path in paths if not is_readable_by_others(path))

    def is_ours(self) -> bool:
        """It lies in the checkout, not in the machine: there is nothing to take back."""
        return False

    def do(self) -> None:
        """Compile all of it. Raise AdminError if that fails."""
        for path in list(self._closed()):
            path.chmod(path.stat().st_mode | 0o044 | (0o011 if path.is_dir() else 0))
        if not compileall.compile_dir(self.package, quiet=1, force=True):
            raise AdminError(f"cannot compile {self.package}", os.EX_CANTCREAT)

    def undo(self) -> None:
        """Nothing: see is_ours()."""


def is_compiled(source: Path) -> bool:
    """Does the .pyc carry this interpreter's number and the time and size of *source*?"""
    try:
        header = Path(importlib.util.cache_from_source(str(source))).read_bytes()[:16]
    except FileNotFoundError:
        return False
    found = source.stat()
    stamp = (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    expected = b"".join(number.to_bytes(4, "little") for number in (0, *stamp))
    return header == importlib.util.MAGIC_NUMBER + expected


@dataclass(frozen=True, slots=True)
class AliasDatabase:
    """What newaliases makes of the alias file."""

    root: Path
    path: str
    sendmail: str

    def __str__(self) -> str:
        return f"compile {self.path}"

    @property
    def _text(self) -> Path:
        return below(self.root, self.path)

    @property
    def _database(self) -> Path:
        return below(self.root, f"{self.path}.cdb")

    def is_done(self) -> bool:
        """Is the database there, and no older than the text?"""
        if not (self._text.exists() and self._database.exists()):
            return False
        return self._database.stat().st_mtime >= self._text.stat().st_mtime

    def is_ours(self) -> bool:
        """Is there a database to remove?"""
        return self._database.exists()

    def do(self) -> None:
        """Run ``newaliases`` on it. Raise AdminError with what it said."""
        call([self.sendmail, f"-OAliasFile={self._text}", "-bi"])

    def undo(self) -> None:
        """Remove the database; the text stays. Raise OSError."""
        self._database.unlink()


@dataclass(frozen=True, slots=True)
class Service:
    """A unit of systemd, enabled and running. Nothing to do where systemd does not run.

    Where the administrator has chosen another form (``machine_files.INSTEAD``) that one is meant.
    """

    unit: str

    def __str__(self) -> str:
        enabled, _ = self._chosen() if has_systemd() else (self.unit, self.unit)
        return f"service {enabled}, enabled and running"

    def _chosen(self) -> tuple[str, str]:
        """(what is enabled, what then runs)"""
        enabled, running = machine_files.INSTEAD.get(self.unit, (self.unit, self.unit))
        if enabled != self.unit and _answers("is-enabled", enabled):
            return enabled, running
        return self.unit, self.unit

    def is_done(self) -> bool:
        """Is it enabled and active, as systemd has read it and as it is to be? True without systemd."""
        if not has_systemd():
            return True
        chosen = self._chosen()
        is_new = all(_is_read(unit) and _is_written(unit) for unit in chosen)
        return is_new and _answers("is-enabled", chosen[0]) and _answers("is-active", chosen[0])

    def is_ours(self) -> bool:
        """Is there anything to disable or stop?"""
        if not has_systemd():
            return False
        return any(_answers(verb, self._chosen()[0]) for verb in ("is-enabled", "is-active"))

    def do(self) -> None:
        """Enable it and start it anew. Raise AdminError with systemctl's words."""
        enabled, running = self._chosen()
        call(["systemctl", "daemon-reload"])
        call(["systemctl", "enable", enabled])
        call(["systemctl", "restart", running])

    def undo(self) -> None:
        """Stop and disable it. Raise AdminError with systemctl's words."""
        enabled, running = self._chosen()
        call(["systemctl", "disable", "--now", enabled])
        call(["systemctl", "stop", running])


def _answers(verb: str, unit: str) -> bool:
    return run(["systemctl", "--quiet", verb, unit]).returncode == 0


def _is_read(unit: str) -> bool:
    """Has systemd the unit as it stands on the disk?"""
    return "yes" not in run(["systemctl", "show", "-P", "NeedDaemonReload", unit]).stdout


def _is_written(unit: str) -> bool:
    """Does it stand there as it is to be? If not, what is written now must be started, too."""
    file = machine_files.by_name(unit)
    places = (Path(path) for path in (file.installed, file.packaged))
    return any(path.is_file() and path.read_text("utf-8") == file.text() for path in places)


def has_systemd() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")
