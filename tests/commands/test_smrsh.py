"""The command smrsh, as processes: what it prints, logs and becomes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.config.option import OptionError
from minimta.config.options import Options, by_name
from minimta.mailers.programs import smrsh
from minimta.mailers.programs.smrsh import CommandRefused
from minimta.system import executables

#: runs main() with a directory of its own: the command reads /etc/mail/minimta.cf
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from minimta.commands import smrsh
from minimta.config.options import Options
options = Options()
options.smrsh_directory, options.log_to = sys.argv[2], "stderr"
sys.exit(smrsh.main(["smrsh", *sys.argv[3:]], options))
"""


@pytest.fixture
def options(tmp_path: Path) -> Options:
    tmp_path.chmod(0o755)
    directory = tmp_path / "smrsh"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    program = directory / "out.sh"
    program.write_text('#!/bin/sh\necho "$@"; env; exec 3>&-; kill -PIPE $$; exit 9\n')
    program.chmod(0o755)
    made = Options()
    made.smrsh_directory = str(directory)
    made.log_to = "stderr"
    return made


def run(options: Options, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-IS", "-c", SCRIPT, HOME, options.smrsh_directory, *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"LD_PRELOAD_X": "evil"}
    )


def test_a_program_gets_its_arguments_a_clean_environment_and_sigpipe(options: Options) -> None:
    done = run(options, "-c", "/usr/bin/out.sh a 'b c'")
    first, *environment = done.stdout.splitlines()
    assert first == "a b c"
    assert {line.partition("=")[0] for line in environment} == {"PATH", "PWD"}
    assert "PATH=/usr/bin:/bin" in environment
    assert done.returncode in (-13, 128 + 13), "killed by SIGPIPE, which Python ignores"


@pytest.mark.parametrize(
    ("words", "code", "told", "logged"),
    [
        ((), 64, "Usage: smrsh -c command\n", "smrsh: usage\n"),
        (("foo",), 64, "Usage: smrsh -c command\n", "smrsh: usage\n"),
        (("-c", "exit 3"), 3, "", ""),
        (
            ("-c", "nosuch"),
            69,
            'smrsh: "nosuch" not available for sendmail programs (stat failed)\n',
            f'smrsh: uid {os.getuid()}: attempt to use "nosuch" (stat failed)\n',
        ),
        (
            ("-c", "out.sh > /tmp/x"),
            69,
            "smrsh: cannot use > in command\n",
            f"smrsh: uid {os.getuid()}: attempt to use > in command: out.sh > /tmp/x\n",
        ),
    ],
)
def test_it_says_what_sendmails_says(
    options: Options, words: tuple[str, ...], code: int, told: str, logged: str
) -> None:
    done = run(options, *words)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", logged + told)


def test_a_directory_that_others_may_write_makes_mail_wait(options: Options) -> None:
    os.chmod(options.smrsh_directory, 0o777)
    done = run(options, "-c", "out.sh")
    assert done.returncode == os.EX_TEMPFAIL
    assert "may not be trusted: World writable directory" in done.stderr
    assert run(options, "-c", "exit 3").returncode == 3


def test_trouble_makes_mail_wait(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: bytes, owners: object, blamed: object) -> str:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(executables, "why_not", broken)
    with pytest.raises(CommandRefused, match="Input/output error") as refused:
        smrsh.checked(b"out.sh", options, (0,))
    assert refused.value.exit_code == os.EX_TEMPFAIL


def test_the_script_is_the_command() -> None:
    done = subprocess.run([f"{HOME}/bin/smrsh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == f"Usage: {HOME}/bin/smrsh -c command\n"


def test_programs_are_restricted_where_there_is_a_directory(tmp_path: Path) -> None:
    options = Options()
    for text, is_restricted in (
        (str(tmp_path), True), (str(tmp_path / "no"), False), ("", False)
    ):  # fmt: skip
        options.set(by_name("SmrshDirectory"), text)
        assert smrsh.is_restricted(options) is is_restricted
    with pytest.raises(OptionError, match="no absolute path"):
        options.set(by_name("SmrshDirectory"), "mail/smrsh")


def test_a_directory_that_cannot_be_seen_is_no_missing_one(tmp_path: Path) -> None:
    options = Options()
    (tmp_path / "loop").symlink_to("loop")
    options.smrsh_directory = str(tmp_path / "loop")
    with pytest.raises(OSError):
        smrsh.is_restricted(options)


def test_without_a_directory_nothing_is_run_from_the_root(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    options.smrsh_directory = ""
    monkeypatch.setattr(executables, "why_not", lambda path, owners, blamed: "")
    with pytest.raises(CommandRefused, match="stat failed"):
        smrsh.checked(b"bin/sh", options, (0,))
