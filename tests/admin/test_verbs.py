"""minimta VERB: what its caller sees when standard output takes nothing more, or something breaks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from minimta.admin import output, verbs
from minimta.admin.checkout import HOME
from minimta.admin.install.files import Link

PRINTING = ("--help", "--version", "test", "uninstall")


def start(verb: str, root: Path, stdout: int) -> subprocess.CompletedProcess[str]:
    """Run a verb that prints; *root* has something that uninstall would take back."""
    Link(root, "/usr/bin/mailq", f"{HOME}/bin/mailq").do()
    more = {
        "test": ["--collect-only", "tests/test_layers.py"],
        "uninstall": ["--dry-run", "--root", str(root)],
    }
    command = [sys.executable, "-I", f"{HOME}/bin/minimta", verb, *more.get(verb, [])]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("verb", PRINTING)
def test_a_full_standard_output_is_one_sentence(verb: str, tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    done = start(verb, tmp_path, full)
    os.close(full)
    assert done.returncode == os.EX_IOERR
    assert done.stderr == f"minimta {verb}: standard output: No space left on device\n"


@pytest.mark.parametrize("verb", PRINTING)
def test_a_reader_that_has_gone_is_no_trouble_to_tell_of(verb: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = start(verb, tmp_path, writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def broken(error: BaseException) -> SimpleNamespace:
    def run(arguments: list[str]) -> int:
        raise error

    return SimpleNamespace(run=run)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(errno.EIO, "Input/output error", "/x"), os.EX_OSERR, "/x: Input/output error"),
        (OSError(errno.EACCES, "Permission denied", "/x"), os.EX_NOPERM, "/x: Permission denied"),
        (OSError(errno.EAGAIN, "Try again"), os.EX_OSERR, "Try again"),
        (OSError("odd"), os.EX_OSERR, "odd"),
        (output.unwritable(OSError(errno.ENOSPC, "Full"), "/x"), os.EX_CANTCREAT,
         "cannot write /x (Full): make room there"),
    ],
)  # fmt: skip
def test_what_breaks_is_one_sentence(
    error: Exception,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(verbs, "import_module", lambda name: broken(error))
    assert verbs.main(["demo"]) == code
    assert capfd.readouterr().err == f"minimta demo: {told}\n"


def test_an_interrupt_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verbs, "import_module", lambda name: broken(KeyboardInterrupt()))
    assert verbs.main(["demo"]) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("verb", sorted(verbs.VERBS.keys() - {"test"}))
def test_help_of_a_verb_is_its_own(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert verbs.main(["help", verb]) == 0
    assert capfd.readouterr().out.startswith(f"usage: minimta {verb} ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["alert", ""], "minimta alert: cannot make sense of ''; see --help\n"),
        (
            ["report", "a b", "\x1b[2J"],
            "minimta report: cannot make sense of 'a b' '?[2J'; see --help\n",
        ),
        (
            ["queue", "list", "--nosuch"],
            "minimta queue: cannot make sense of --nosuch; see --help\n",
        ),
        (["dkim", "--nosuch"], "minimta dkim: cannot make sense of --nosuch; see --help\n"),
        (["demo", "--port", "65536"], "minimta demo: --port: there is no port 65536\n"),
        # argparse tells this one itself, below its usage.
        (
            ["queue", "list", "--re", "x"],
            "ambiguous option: --re could match --recipient, --reason\n",
        ),
    ],
)
def test_words_that_mean_nothing_are_a_wrong_use(
    words: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(words) == os.EX_USAGE
    assert capfd.readouterr().err.endswith(told)


@pytest.mark.parametrize("name", ["nosuch", "file"])
@pytest.mark.parametrize(
    "words", [["install"], ["uninstall"], ["setup", "local"], ["import", "--write"]], ids=str
)
def test_a_tree_that_is_not_there_is_not_made(
    words: list[str], name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("relayhost = a.example\n")
    more = [str(tmp_path / "file")] if words[0] == "import" else []
    assert verbs.main([*words, *more, "--root", str(tmp_path / name)]) == os.EX_NOINPUT
    told = f"minimta {words[0]}: --root: {tmp_path / name} is no directory\n"
    assert capfd.readouterr().err == told
    assert os.listdir(tmp_path) == ["file"]


def test_help_of_what_is_no_verb_names_the_nearest(capfd: pytest.CaptureFixture[str]) -> None:
    assert verbs.main(["help", "qeue"]) == 64
    assert capfd.readouterr().err.startswith("minimta: unknown verb 'qeue' (did you mean queue?)\n")
    assert verbs.main(["help", "nosuch"]) == 64
    assert capfd.readouterr().err.startswith("minimta: unknown verb 'nosuch'\nusage: ")


@pytest.mark.parametrize(
    ("words", "code"), [([], 64), (["--help"], 0), (["help", "help"], 0), (["nonsense"], 64)]
)
def test_the_verbs_are_listed(
    words: list[str], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(words) == code
    told = "".join(capfd.readouterr())
    assert all(f"\n  {verb} " in told for verb in verbs.VERBS)
    verb_of = [line.split()[0] for line in told.splitlines() if line.startswith("  ")]
    assert verb_of.index("uninstall") == verb_of.index("install") + 1  # "take that back"
