"""Write the file from which ``sendmail`` has its modules; what is in it stands in system/startup_code."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.checkout import AdminError
from minimta.system import files, startup_code

#: What is begun with; what nearly every submission imports on its way; and what only some do. What
#: else those import is found by importing it, and so never out of date: with the code of each module
#: it is seen to end.
_BEGIN, _SUBMIT = "minimta.commands.sendmail", "minimta.submission.submit"
_ON_THE_WAY = ("minimta.maps.cdb", "minimta.queue.client_limits", "minimta.queue.own_letters")
_PERHAPS = ("minimta.config.ports", "minimta.maps.text_table")
_SCRIPT = f"""
import os, sys
sys.path.insert(0, sys.argv[1])
names = []
def note(frame, event, value):
    if event == "return" and frame.f_code.co_name == "<module>":
        names.append(frame.f_globals["__name__"])
sys.setprofile(note)
import {", ".join((_BEGIN, *_ON_THE_WAY, _SUBMIT, *_PERHAPS))}
sys.setprofile(None)
from minimta.admin.install import startup_code
sys.stdout.buffer.write(startup_code.compiled(names))
"""


def compiled(names: list[str]) -> bytes:
    """The file for the loaded modules *names*, each behind those that it imports. Raise OSError."""
    index: startup_code.Index = {}
    code = b""
    for name in names:
        source = getattr(sys.modules.get(name), "__file__", None) or ""
        if not source.endswith(".py"):
            continue
        with open(source, "rb") as file:
            found = os.fstat(file.fileno())
            # -OO, as far as it goes: neither docstrings nor assertions.
            module = compile(file.read(), source, "exec", dont_inherit=True, optimize=2)
        begin, code = len(code), code + marshal.dumps(module)
        is_package = os.path.basename(source) == "__init__.py"
        index[name] = (source, is_package, found.st_mtime_ns, found.st_size, begin, len(code))
    there = list(index)
    order = {name: there[: there.index(name)] for name in (_BEGIN, _SUBMIT)}
    return startup_code.encode(index, order, code)


@dataclass(frozen=True, slots=True)
class StartupFile:
    """The file for one *package*, the directory of minimta."""

    package: Path

    def __str__(self) -> str:
        return f"code that sendmail starts with, {self._path}"

    @property
    def _path(self) -> Path:
        return Path(startup_code.path_of(str(self.package)))

    def is_done(self) -> bool:
        """Is it there, obeyed, and of the sources as they are?"""
        package = str(self.package)
        found = startup_code.read(package) or startup_code.read(package, os.geteuid())
        return found is not None and all(found.code(name) is not None for name in found.index)

    def is_ours(self) -> bool:
        """Is there any, also of another Python?"""
        return any(self._all())

    def _all(self) -> list[Path]:
        return list(self._path.parent.glob("startup.*"))

    def do(self) -> None:
        """Write it, durable, in place of what is there. Raise OSError, AdminError."""
        # Without the ranges of columns the code is a tenth smaller; the lines are there.
        words = [
            sys.executable,
            "-IS",
            "-X",
            "no_debug_ranges",
            "-c",
            _SCRIPT,
            str(self.package.parent),
        ]
        done = subprocess.run(words, capture_output=True, check=False)
        if done.returncode:
            raise AdminError(
                f"{self}: {done.stderr.decode(errors='replace').strip()}", os.EX_SOFTWARE
            )
        new = self._path.with_name(f"{self._path.name}.new")
        new.unlink(missing_ok=True)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(file, 0o644)
            files.write_all(file, done.stdout)
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(self._path)

    def undo(self) -> None:
        """Remove it; sendmail starts without. Raise OSError."""
        for path in self._all():
            path.unlink()
