"""Which test notices a change: the tests run on a copy of the tree in which one place is changed.

Nearest first: the test file of the module, those of its room that import it, then others, the rest of
its room, those of rooms through which it is met, and then the suites that crash, cut the power and fail
calls. The first test that fails ends it; it must pass without
the change, so that no broken test counts.
A test that says nothing for too long has noticed, too: the change is "timed out".

As root the tests run as an ordinary user, in processes that end with the run, whatever a change makes
of them; ``as_root`` leaves them the rights of root.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from minimta.system import waiting
from tests.mutation.changes import Change

HOME = Path(__file__).resolve().parent.parent.parent
#: what a copy has
_TREE = (
    "minimta",
    "tests",
    "bin",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    ".gitignore",
)
#: the suites that every module of the durable path meets, after the tests of its room
SUITES = (
    "tests/queue/test_crash.py",
    "tests/test_crash.py",
    "tests/powercut",
    "tests/faults",
    "tests/model",
)
#: they see each call that makes something durable, and are quick
_CALLS = ("tests/model/test_same_calls.py", "tests/queue/test_crash.py")
_WITH_CALLS = ("queue", "mailers", "runner")
#: rooms that are met through the door of another
_THROUGH = {
    "milter": ("tests/listener/test_filtering.py", "tests/listener/test_hostile_filters.py"),
    "submission": ("tests/commands/test_sendmail.py",),
}
#: seconds without a word of pytest after which the test under way hangs
SILENCE = 120.0
_NOBODY = 65534
_RESULT = re.compile(r"^(tests?[^ ]*::.*?) (FAILED|ERROR|PASSED|SKIPPED|XFAIL)\b", re.MULTILINE)
_STARTED = re.compile(r"^(tests?[^ ]*::.*?) *$", re.MULTILINE)


class Verdict(NamedTuple):
    """What became of a change."""

    #: "killed", "timed out" or "survived"; "skipped" if the one test that was asked does not run here
    fate: str
    #: the test that noticed, "" if none did
    test: str = ""

    @property
    def is_killed(self) -> bool:
        """A test that hangs has noticed, too; one that is skipped has not."""
        return self.fate in ("killed", "timed out")


class Workplace:
    """A copy of the tree. For one thread; end it with close()."""

    def __init__(
        self,
        home: Path = HOME,
        tree: Sequence[str] = _TREE,
        *,
        as_root: bool = False,
        silence: float = SILENCE,
    ) -> None:
        """Copy what *tree* names from *home*. *silence* in seconds: see SILENCE."""
        self.root = Path(tempfile.mkdtemp(prefix="mutation-"))
        self._silence = silence
        self._drops_root = os.geteuid() == 0 and not as_root
        #: tests that passed on the unchanged tree, and those that did not
        self._sound: set[str] = set()
        self._unsound: set[str] = set()
        for name in tree:
            source = home / name
            if source.is_dir():
                shutil.copytree(
                    source, self.root / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            elif source.exists():
                shutil.copy2(source, self.root / name)
        (self.root / "tmp").mkdir()
        if self._drops_root:
            self.root.chmod(0o755)
            subprocess.run(["chown", "-R", f"{_NOBODY}:{_NOBODY}", str(self.root)], check=True)

    def close(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.root, ignore_errors=True)

    def judge(self, module: str, change: Change, stages: Sequence[Sequence[str]]) -> Verdict:
        """Run the tests of each stage in turn on the changed *module* until one notices."""
        for stage in stages:
            while True:
                fate, test = self._run_changed(module, change, stage)
                if not test or fate == "survived":
                    break
                if self._is_sound(test):
                    return Verdict(fate, test)
                if "::" not in test:
                    raise RuntimeError(f"{test} does not run on the unchanged tree, as this user")
                self._unsound.add(test)
        return Verdict("survived")

    def notices(self, module: str, change: Change, test: str) -> str:
        """What this one *test* makes of the change: "killed", "survived", "timed out" or "skipped"."""
        return self._run_changed(module, change, [test])[0]

    def _is_sound(self, test: str) -> bool:
        if test in self._unsound:
            return False
        if test not in self._sound and self._pytest([test])[0] == "survived":
            self._sound.add(test)
        return test in self._sound

    def _run_changed(self, module: str, change: Change, tests: Sequence[str]) -> tuple[str, str]:
        path = self.root / module
        source = path.read_text(encoding="utf-8")
        self._put(path, change.apply(source))
        try:
            return self._pytest(tests)
        finally:
            self._put(path, source)

    @staticmethod
    def _put(path: Path, source: str) -> None:
        """Write a module; what was compiled of it may have the same second and size, and is wrong."""
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
        path.write_text(source, encoding="utf-8")

    def _pytest(self, tests: Sequence[str]) -> tuple[str, str]:
        """(fate, the test that failed or hung)."""
        there = [test for test in tests if (self.root / test.partition("::")[0]).exists()]
        if not there:
            return "survived", ""
        options = ["-x", "-v", "-p", "no:cacheprovider", "--tb=no", "--color=no"]
        options += [f"--deselect={test}" for test in sorted(self._unsound)]
        command = [sys.executable, "-m", "pytest", *options, *there]
        text, code = self._watched([*self._confined(), *command])
        if code is None:
            started = _STARTED.findall(text)
            return "timed out", started[-1] if started else there[0]
        results = _RESULT.findall(text)
        failed = [test for test, result in results if result in ("FAILED", "ERROR")]
        if failed:
            return "killed", failed[0]
        if code in (0, 5):
            is_skipped = bool(results) and all(result == "SKIPPED" for _, result in results)
            return "skipped" if is_skipped else "survived", ""
        return "killed", there[0]  # it cannot even be imported

    def _confined(self) -> list[str]:
        if os.geteuid():
            return []
        as_nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        user = as_nobody if self._drops_root else []
        if not _can_unshare():
            return user
        # No exec: the first process of a namespace has to reap what the tests leave to it.
        # All of them end with this one, however that ends.
        with_us = ["setpriv", "--pdeathsig", "KILL"]
        alone = [*with_us, "unshare", "--pid", "--mount-proc", "--fork", "--kill-child"]
        shell = ["bash", "-c", '"$@"; exit $?', "-"]
        return [*alone, *user, *shell]

    def _watched(self, command: list[str]) -> tuple[str, int | None]:
        """What it wrote, and its exit code; None if it had to be ended."""
        environment = {
            **{name: value for name, value in os.environ.items() if name != "CI"},
            "PYTEST_DEBUG_TEMPROOT": str(self.root / "tmp"),
            "TMPDIR": str(self.root / "tmp"),
            "HOME": str(self.root / "tmp"),
        }
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        with process.stdout as out:
            written = self._until_silent(out.fileno())
            text = b"".join(written).decode("utf-8", "replace")
            if self._is_over(process):
                return text, process.wait()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return text, None

    def _until_silent(self, out: int) -> Iterator[bytes]:
        while waiting.readable([out], self._silence):
            piece = os.read(out, 1 << 16)
            if not piece:
                return
            yield piece

    @staticmethod
    def _is_over(process: subprocess.Popen[bytes]) -> bool:
        """Has it ended, or is it just about to?"""
        end = time.monotonic() + 2
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return process.returncode is not None


@functools.cache
def _can_unshare() -> bool:
    command = ["unshare", "--pid", "--mount-proc", "--fork", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def stages(module: str, home: Path = HOME, suites: Sequence[str] = SUITES) -> list[list[str]]:
    """The tests that concern *module* ("minimta/queue/commit.py"), the nearest first."""
    path = Path(module)
    room = Path("tests", *path.parts[1:-1])
    own = [str(room / f"test_{path.stem}.py")]
    neighbours = [str(test.relative_to(home)) for test in sorted((home / room).glob("test_*.py"))]
    importers = [str(test) for test in _importers(path, home)]
    near = [test for test in importers if test in neighbours]
    found: list[list[str]] = []
    calls = _CALLS if path.parts[1] in _WITH_CALLS else ()
    through = _THROUGH.get(path.parts[1], ())
    rooms = ([*own, *near], calls, importers, neighbours, through)
    for stage in (*rooms, *([suite] for suite in suites)):
        known = [test for before in found for test in before]
        found.append(
            [test for test in dict.fromkeys(stage) if test not in known and (home / test).exists()]
        )
    return [stage for stage in found if stage]


def _importers(module: Path, home: Path) -> Iterator[Path]:
    """Test files that import the module by name."""
    package, name = ".".join(module.parts[:-1]), module.stem
    whole, part = re.escape(f"{package}.{name}"), re.escape(package)
    imports = re.compile(
        rf"^\s*(?:from {whole} import|import {whole}\b|from {part} import .*\b{name}\b)", re.M
    )
    for test in sorted((home / "tests").rglob("test_*.py")):
        if imports.search(test.read_text(encoding="utf-8")):
            yield test.relative_to(home)
