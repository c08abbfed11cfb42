"""The Python that demo and test run with: this one if it has what they need, else var/venv.

The virtual environment gets the dependencies that setup.cfg names, not the project itself: that
runs from the checkout. ``var/venv/requirements`` is written last and says that it is complete; one
that is not, or that has lost something since, is made anew.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from minimta.admin.checkout import HOME, AdminError
from minimta.admin.output import remedy_for, say, unwritable

VENV = Path(HOME, "var", "venv")
#: what is imported -> Debian's package with it
RUN_TIME = {"dns.resolver": "python3-dnspython", "filelock": "python3-filelock"}
TESTS = {"pytest": "python3-pytest", "freezegun": "python3-freezegun"}

#: run by the Python of var/venv, with the names of modules: has it them, and every file as pip wrote it?
_PROBE = """
import csv, sys
from importlib import import_module, metadata
for name in sys.argv[1:]:
    import_module(name)
for package in metadata.distributions():
    for path, _, size in csv.reader(package.read_text("RECORD").splitlines()):
        if size and package.locate_file(path).stat().st_size != int(size):
            sys.exit(1)
"""
#: what pip says when it is not connected to an index, or that has nothing for us
_NO_INDEX = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "Connection refused",
    "Network is unreachable",
    "No route to host",
    "timed out",
    "CERTIFICATE_VERIFY_FAILED",
    "Cannot connect to proxy",
    "No matching distribution found",
)


def enter(*extras: str, newest: bool = False) -> None:
    """Return if this Python has all modules, else start the same command again in var/venv.

    *extras* are names of setup.cfg's extras. With *newest* only var/venv will do, with what the
    package index has today. Raise AdminError if there is no way to get the modules.
    """
    wanted = RUN_TIME | (TESTS if extras else {})
    if has_modules(wanted) and (is_inside() or not newest):
        return
    if is_inside():
        raise AdminError(f"{VENV} is incomplete: delete it and try again")
    fill(requirements(*extras), wanted)
    python = str(VENV / "bin" / "python")
    os.execv(python, [python, "-I", *sys.argv])


def is_inside() -> bool:
    """Is this process the Python of var/venv?"""
    return Path(sys.prefix).resolve() == VENV.resolve()


def has_modules(wanted: dict[str, str]) -> bool:
    """Can they be imported? Parents first: find_spec("a.b") raises when there is no "a"."""
    return all(find_spec(name.partition(".")[0]) and find_spec(name) for name in wanted)


def requirements(*extras: str) -> list[str]:
    """What setup.cfg asks for, for running and for each of the *extras*."""
    cfg = configparser.ConfigParser()
    cfg.read(Path(HOME, "setup.cfg"), encoding="utf-8")
    texts = [cfg["options"]["install_requires"]]
    texts += [cfg["options.extras_require"][extra] for extra in extras]
    return [line for line in "\n".join(texts).split("\n") if line.strip()]


def fill(names: list[str], wanted: dict[str, str]) -> None:
    """Make var/venv, and put *names* into it, unless it has them.

    *wanted* are the modules that they bring. Raise AdminError.
    """
    stamp = VENV / "requirements"
    made = stamp.read_text(encoding="utf-8").split("\n") if stamp.is_file() else []
    has_all = set(names) <= set(made)
    sound = bool(made) and is_sound(list(wanted) if has_all else [])
    if has_all and sound:
        return
    need_venv_module(wanted)
    need_writable(VENV.parent)
    short = ", ".join(name.split()[0] for name in names)
    is_there = os.path.lexists(VENV)
    anew = ", which is damaged or half made, is made anew and" if is_there and not sound else ""
    say(f"minimta: one moment, {VENV}{anew} gets {short}")
    if not sound:
        make_venv(wanted)
    call_pip(names, wanted)
    stamp.write_text("\n".join(names), encoding="utf-8")


def is_sound(modules: list[str]) -> bool:
    """Does the Python of var/venv start, with pip and these modules, and is no file of theirs lost?"""
    command = [str(VENV / "bin" / "python"), "-I", "-c", _PROBE, "pip", *modules]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:  # no such program, or a link that leads nowhere
        return False


def need_venv_module(wanted: dict[str, str]) -> None:
    """Raise AdminError, with what to install, if environments cannot be made."""
    if not (find_spec("venv") and find_spec("ensurepip")):
        raise AdminError(
            "this Python cannot make virtual environments: apt install python3-venv"
            f" (or: apt install {' '.join(wanted.values())})"
        )


def need_writable(directory: Path) -> None:
    """Raise AdminError if nothing can be written in *directory*."""
    try:
        directory.mkdir(exist_ok=True)
        probe = directory / f".probe{os.getpid()}"
        try:
            probe.write_bytes(bytes(65536))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(error, directory) from error


def make_venv(wanted: dict[str, str]) -> None:
    """Make an empty environment in the place of what is there. Raise AdminError, as call_pip()."""
    if not VENV.is_dir():  # a file, or a link that leads nowhere
        VENV.unlink(missing_ok=True)
    (VENV / "requirements").unlink(missing_ok=True)
    python = str(VENV / "bin" / "python")
    # Not in one: venv would not show what ensurepip says.
    for command in (
        [sys.executable, "-I", "-m", "venv", "--clear", "--without-pip", str(VENV)],
        [python, "-I", "-m", "ensurepip", "--upgrade", "--default-pip"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _gave_up(done.stdout + done.stderr, wanted)


def call_pip(names: list[str], wanted: dict[str, str]) -> None:
    """Install *names*. Raise AdminError, which names Debian's packages (*wanted*) as another way."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    command = [str(VENV / "bin" / "python"), "-I", "-m", "pip", "install", *options, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _gave_up(done.stderr, wanted)


def _gave_up(said: str, wanted: dict[str, str]) -> AdminError:
    """What is the matter, out of the words of venv or pip, and the remedy."""
    reason, remedy = remedy_for(said)
    if reason:
        if not (VENV / "requirements").exists():  # half made, it only takes room
            shutil.rmtree(VENV, ignore_errors=True)
        places = f"{VENV.parent} or {tempfile.gettempdir()}"
        return AdminError(f"cannot write in {places} ({reason}): {remedy}", os.EX_CANTCREAT)
    cut_off = [words for words in _NO_INDEX if words in said]
    reason = cut_off[0] if cut_off else last_line(said)
    remedy = "connect this machine to a package index" if cut_off else "see what it says, try again"
    packages = " ".join(wanted.values())
    return AdminError(
        f"{VENV} cannot be filled ({reason}): {remedy}, or: apt install {packages}", os.EX_TEMPFAIL
    )


def last_line(text: str) -> str:
    """The line that tells most of a failed program's words: its last."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else "it did not say why"
