"""What the manual pages and the README show is so: every command in them is run, every file is read.

A display of a page (``.Bd -literal``) has a comment before it that says what it is:

    .\\" commands          lines after "# " are typed by root, after "$ " by the user emma; what follows
                          one, up to the next, is what it prints: "..." is anything
    .\\" commands 75 67    the same, and the last ones end with these exit codes
    .\\" file PATH         what stands in that file (~: emma's home)
    .\\" read             commands that need the outside: their words are read, nothing is run
    .\\" shown            a picture, or lines that another test has

The displays of a section (``.Sh``) are one story, on a machine of its own (``support/manualhost``); of what stands
in files there ``minimta check`` finds no line wrong. Commands inside
of sentences (``.Ql "sendmail -qf"``, ``.Ic minimta trace``) are read by the parsers of the commands.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from minimta.admin import verbs
from minimta.config import commandline
from minimta.config.option import OptionError
from tests.support import manualhost
from tests.test_manuals import HOME, PAGES, PLAIN, help_of, long_flags

DISPLAY = re.compile(r"(.*)\n\.Bd -literal.*\n((?:(?!\.Ed).*\n)*)\.Ed|^\.Sh (.*)", re.MULTILINE)


@dataclass(frozen=True)
class Display:
    """One ``.Bd -literal``: what its comment says, and its lines; or "section", the heading."""

    kind: str
    lines: list[str]


def displays(page: Path) -> list[Display]:
    return [one for one in sections_and_displays(page) if one.kind != "section"]


def sections_and_displays(page: Path) -> list[Display]:
    found = []
    for before, text, title in DISPLAY.findall(page.read_text(encoding="utf-8")):
        if title:
            found.append(Display("section", [title]))
            continue
        plain = text.replace("\\&", "").replace("\\e", "\\").replace("\\(dq", '"')
        kind = before.removeprefix('.\\" ') if before.startswith('.\\" ') else ""
        found.append(Display(kind, plain.removesuffix("\n").split("\n")))
    return found


@dataclass
class Typed:
    """A command as it is shown."""

    prompt: str
    command: str
    printed: list[str]
    code: int = 0


def typed(display: Display) -> list[Typed]:
    found: list[Typed] = []
    for line in display.lines:
        if line[:2] in ("$ ", "# "):
            found.append(Typed(line[0], line[2:], []))
        elif found[-1].command.endswith("\\") and not found[-1].printed:
            found[-1].command = found[-1].command[:-1] + line
        else:
            found[-1].printed.append(line)
    codes = [int(code) for code in display.kind.split()[1:]]
    for one, code in zip(reversed(found), reversed(codes), strict=False):
        one.code = code
    return found


def is_as_shown(printed: list[str], shown: list[str]) -> bool:
    """Line by line; "..." is any number of lines, or of characters."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return is_as_shown(printed, shown[1:]) or (
            bool(printed) and is_as_shown(printed[1:], shown)
        )
    if not printed:
        return False
    pattern = re.sub(r"([*?[])", r"[\1]", shown[0]).replace("...", "*")
    return fnmatchcase(printed[0], pattern) and is_as_shown(printed[1:], shown[1:])


def play(steps: list[list[str]], directory: Path) -> list[tuple[int, str]]:
    system = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child"]
    shell = ["sh", "-c", 'mount -t proc proc /proc; "$@"; exit $?', "sh"]
    done = subprocess.run(
        [*system, *shell, sys.executable, "-m", "tests.support.manualhost", str(directory)],
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        cwd=HOME,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    results: list[tuple[int, str]] = json.loads(done.stdout)
    return results


def check_story(shown: list[Display], directory: Path) -> None:
    """Write the files, run the commands, compare what they say."""
    steps: list[list[str]] = []
    expected: list[Typed | None] = []
    for display, following in zip(shown, [*shown[1:], None], strict=True):
        word, _, rest = display.kind.partition(" ")
        if word == "section" and steps and steps[-1][0] != "anew":
            steps.append(["anew", "", ""])
            expected.append(None)
        if word == "file":
            steps.append(["file", rest, "\n".join(display.lines) + "\n"])
            expected.append(None)
            if following is None or not following.kind.startswith("file "):
                steps.append(["run", "#", "minimta check --offline"])
                expected.append(None)
        elif word == "commands":
            expected += typed(display)
            steps += [["run", one.prompt, one.command] for one in typed(display)]
    for (code, output), one in zip(play(steps, directory), expected, strict=True):
        assert not [line for line in output.split("\n") if WRONG.match(line)], output
        if one is not None:
            assert (one.command, code, output) == (one.command, one.code, output)
            if one.printed:
                assert is_as_shown(output.removesuffix("\n").split("\n"), one.printed), output


#: what `minimta check` says of a line; what a row names need not be there
WRONG = re.compile(r"/etc/mail/\S+: line \d+: (?!Warning|.*(No such file|is not installed))")
STORIES = [page for page in PAGES if any(d.kind not in ("shown", "read") for d in displays(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_display_says_what_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(displays(page)) == text.count("\n.Bd -literal")
    for display in displays(page):
        assert re.fullmatch(r"shown|read|commands( \d+)*|file \S+", display.kind), (
            f"{display.lines}: see the docstring of tests/test_examples.py"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_text_before_a_file_says_which_it_is(page: Path) -> None:
    """Of minimta.cf its own form does."""
    text = page.read_text(encoding="utf-8")
    for before, path in re.findall(r'((?:.*\n){8})\.\\" file (\S+)\n', text):
        name = path.rpartition("/")[2]
        assert name in before or name == "minimta.cf", f"{page.name}: {path}"


@pytest.mark.root
@pytest.mark.namespace
@pytest.mark.debian()
@pytest.mark.parametrize("page", STORIES, ids=lambda page: page.name)
def test_what_a_page_shows_happens(page: Path, tmp_path: Path) -> None:
    check_story(sections_and_displays(page), tmp_path)


# --- the README -----------------------------------------------------------------------------------

#: where they are played, or what they need: all that is checked here is that their words exist
ELSEWHERE = {
    "bin/minimta demo": "tests/admin/demo",
    "bin/minimta test": "is what runs this",
    ".ci/run": "is what runs this",
    "bin/minimta package": "tests/admin/package",
    "minimta setup": "tests/admin/setup",
    "minimta import": "tests/admin/migrate",
    "/opt/minimta/bin/minimta install": "tests/admin/install",
}


def readme_commands() -> list[str]:
    """What its blocks show, without comments; what has no command's name is a file."""
    text = (HOME / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    found = [re.split(r"   +#", line)[0].rstrip() for line in lines]
    programs = {path.name for path in (HOME / "bin").iterdir()} | set(manualhost.OUTSIDE)
    return [one for one in found if one.split()[0].rpartition("/")[2] in (*programs, "run")]


def is_elsewhere(command: str) -> bool:
    return any(command == one or command.startswith(f"{one} ") for one in ELSEWHERE)


@pytest.mark.root
@pytest.mark.namespace
@pytest.mark.debian()
def test_what_the_readme_shows_happens(tmp_path: Path) -> None:
    lines = [one for one in readme_commands() if not is_elsewhere(one)]
    steps = [["file", "/etc/mail/minimta.cf", "# all as it is by itself"]]
    steps.append(["run", "#", "echo hello >letter"])
    steps += [["run", "#", line] for line in lines]
    for (code, output), (_, _, command) in zip(play(steps, tmp_path), steps, strict=True):
        assert (command, code, output) == (command, 0, output)


def test_the_readme_shows_commands_and_each_exists() -> None:
    found = readme_commands()
    assert len(found) > 15
    for command in found:
        parse(command.removeprefix("/opt/minimta/").removeprefix("bin/").partition(" < ")[0])
    for test in (test for test in ELSEWHERE.values() if test.startswith("tests/")):
        assert (HOME / test).exists()


# --- commands in sentences ------------------------------------------------------------------------

#: names of commandline.parse
SENDMAILS = ("sendmail", "mailq", "newaliases", "hoststat", "purgestat")
SPOKEN = re.compile(r'^\.(?:Ql|Ic|Li) (?:\( )?(?:"([^"]+)"|([a-z]+))', re.MULTILINE)


def spoken(page: Path) -> set[str]:
    """Commands of ours that sentences name."""
    text = page.read_text(encoding="utf-8").replace("\\(dq", "'").replace("\\e", "\\")
    words = {quoted or bare for quoted, bare in SPOKEN.findall(text)}
    return {word for word in words if word.split()[0] in (*SENDMAILS, "minimta")}


def parse(command: str) -> None:
    """Read *command* as its program would. Raise what it raises, AssertionError for no such verb or flag."""
    words = shlex.split(command)
    if words[:2] == ["minimta", "help"]:
        words = [words[0], *words[2:], "--help"]
    if words[0] in SENDMAILS:
        commandline.parse(words)
    elif words[0] == "minimta" and len(words) > 1 and words[1] not in (*PLAIN, "--help"):
        assert words[1] in verbs.VERBS
        if long_flags(command):
            called = words[1:3] if words[1] == "token" else words[1:2]
            assert long_flags(command) <= long_flags(help_of(*called))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_need_the_outside_have_words_that_exist(page: Path) -> None:
    for display in displays(page):
        for one in typed(display) if display.kind == "read" else []:
            parse(one.command.partition(" < ")[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_inside_of_sentences_exist(page: Path) -> None:
    for command in spoken(page):
        parse(command)


@pytest.mark.parametrize(
    "command",
    ["sendmail -qf -J", "minimta exlpode", "mailq -O NoSuch=1", "minimta dkim --sleketor x"],
)
def test_a_command_that_is_none_is_found(command: str) -> None:
    with pytest.raises((commandline.UsageError, OptionError, AssertionError)):
        parse(command)
