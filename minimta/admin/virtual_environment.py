"""The Python that demo and test run with: this one if it has what they need, else var/venv.

The virtual environment gets the dependencies that setup.cfg names, not the project itself: that
runs from the checkout. ``var/venv/requirements`` is written last and says that it is complete.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from minimta.admin.checkout import HOME, AdminError

VENV = Path(HOME, "var", "venv")
#: what is imported -> Debian's package with it
RUN_TIME = {"dns.resolver": "python3-dnspython", "filelock": "python3-filelock"}
TESTS = {"pytest": "python3-pytest", "freezegun": "python3-freezegun"}


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
    sys.stdout.flush()
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
    """Make var/venv, and put *names* into it, unless it has them."""
    stamp = VENV / "requirements"
    present = stamp.read_text(encoding="utf-8").split("\n") if is_complete(stamp) else []
    if set(names) <= set(present):
        return
    need_venv_module(wanted)
    need_writable(VENV.parent)
    short = ", ".join(name.split()[0] for name in names)
    print(f"minimta: one moment, {VENV} gets {short}", flush=True)
    if not present:
        make_venv()
    call_pip(names, wanted)
    stamp.write_text("\n".join(names), encoding="utf-8")


def is_complete(stamp: Path) -> bool:
    """Was the environment filled to the end? *stamp* is written last."""
    return stamp.is_file() and (VENV / "bin" / "python").exists()


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
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise AdminError(
            f"cannot write in {directory} ({error.strerror}):"
            " clone the project into a directory of your own",
            os.EX_CANTCREAT,
        ) from error


def make_venv() -> None:
    """Make an empty environment. Raise AdminError with the last line of what went wrong."""
    command = [sys.executable, "-I", "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AdminError(f"cannot make {VENV}: {last_line(done.stdout + done.stderr)}")


def call_pip(names: list[str], wanted: dict[str, str]) -> None:
    """Install *names*. Raise AdminError, which names Debian's packages (*wanted*) as another way."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    command = [str(VENV / "bin" / "python"), "-I", "-m", "pip", "install", *options, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AdminError(
            f"pip cannot get {', '.join(names)} ({last_line(done.stderr)}): connect this machine"
            f" to a package index, or: apt install {' '.join(wanted.values())}",
            os.EX_TEMPFAIL,
        )


def last_line(text: str) -> str:
    """The line that tells most of a failed program's words: its last."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else "it did not say why"
