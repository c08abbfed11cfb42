"""The command newaliases with several files, as processes: what it prints, makes and returns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.aliases.lookup import Aliases
from minimta.commands import newaliases
from minimta.config import file as config_file
from minimta.routing import recipients
from minimta.routing.local_host import LocalHost

ONE, TWO = "1 aliases, longest 4 bytes, 7 bytes total", "1 aliases, longest 5 bytes, 8 bytes total"


class Place:
    """A private mail system with two alias files."""

    def __init__(self, root: Path) -> None:
        root.chmod(0o755)
        self.root = root
        self.one, self.two = root / "a1", root / "a2"
        self.one.write_text("one: dave\n")
        self.two.write_text("two: carol\n")
        for path in (self.one, self.two):
            path.chmod(0o644)
        users = ("dave", "carol")
        (root / "passwd").write_text("".join(f"{name}:x:1:1::/:/bin/sh\n" for name in users))
        (root / "mqueue").mkdir(mode=0o700)
        settings = {
            "HostName": "lab1.campus",
            "QueueDirectory": root / "mqueue",
            "PasswdFile": root / "passwd",
            "LocalHostNames": "/nonexistent",
            "TrustedUsers": "/nonexistent",
            "MailerTable": "/nonexistent",
            "LogTo": "none",
        }
        (root / "cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        (root / "cf").chmod(0o600)

    def newaliases(self, *more: str, files: str = "") -> tuple[int, list[str], str]:
        """Exit code, lines on standard output, standard error."""
        files = files or f"hash:{self.one}, {self.two}"
        arguments = ["-C", str(self.root / "cf"), f"-OAliasFile={files}", *more]
        command = [sys.executable, "-IS", f"{HOME}/bin/newaliases", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_each_file_gets_its_own_database(place: Place) -> None:
    shown = [f"{place.one}: {ONE}", f"{place.two}: {TWO}"]
    assert place.newaliases() == (0, shown, "")
    os.unlink(place.one)
    os.unlink(place.two)
    aliases = Aliases((str(place.one), str(place.two)))
    assert (aliases.find(b"one"), aliases.find(b"two")) == (b"dave", b"carol")


def test_a_missing_file_is_told_and_the_others_are_compiled(place: Place) -> None:
    os.unlink(place.one)
    missing = f"newaliases: cannot open {place.one}: No such file or directory"
    assert place.newaliases() == (0, [missing, f"{place.two}: {TWO}"], "")
    assert place.newaliases(files=f"-o {place.one},{place.two}")[1] == [
        missing,
        f"{place.two}: {TWO}",
    ]


def test_an_error_in_one_file_is_the_exit_code_of_all(place: Place) -> None:
    place.one.write_text("one: dave\nbad\n")
    code, lines, _ = place.newaliases()
    assert code == 70
    assert lines == [
        f"{place.one}: line 2: missing colon",
        f"{place.one}: {ONE}",
        f"{place.two}: {TWO}",
    ]


def test_a_database_that_cannot_be_written_does_not_keep_the_others_from_it(place: Place) -> None:
    (place.root / "a1.cdb").mkdir()
    code, lines, told = place.newaliases()
    assert (code, lines) == (73, [f"{place.two}: {TWO}"])
    assert told.startswith(f"newaliases: cannot write the database of {place.one}: ")
    assert sorted(path.name for path in place.root.glob("a1*")) == ["a1", "a1.cdb", "a1.cdb.lock"]


def test_dont_blame_sendmail_lets_a_file_pass(place: Place) -> None:
    place.two.chmod(0o646)
    refused = f"newaliases: cannot open {place.two}: World writable file"
    assert place.newaliases() == (0, [f"{place.one}: {ONE}", refused], "")
    given = "-ODontBlameSendmail=WorldWritableAliasFile"
    assert place.newaliases(given) == (0, [f"{place.one}: {ONE}", f"{place.two}: {TWO}"], "")


@pytest.mark.parametrize("spec", ["ldap:x", "foo:/a", "/a /b", ""])
def test_what_is_no_alias_file_is_a_configuration_error(place: Place, spec: str) -> None:
    code, lines, _ = place.newaliases(files=spec or " ")
    assert code == 70
    assert lines and lines[0].startswith("readcf: option AliasFile: ")


def test_a_local_target_that_does_not_exist_is_told(place: Place) -> None:
    (place.root / "passwd").write_text("dave:x:1:1::/:/bin/sh\n")
    place.one.write_text(
        "root: rooot, dave, x@lab9.campus, |prog, /file, two, postmaster, dave+x\n"
    )
    place.two.write_text("two: \\carol\n")
    code, out, err = place.newaliases()
    assert (code, err) == (0, "")
    assert out[2:] == [
        f"{place.one}: root: rooot... Warning: no such user or alias",
        f"{place.two}: two: carol... Warning: no such user or alias",
    ]


def test_a_name_is_looked_up_once_however_often_it_stands_there(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place.one.write_text("".join(f"a{n}: dave, ghost\nb{n}: ghost\n" for n in range(9)))
    options = config_file.load(str(place.root / "cf"), [], lambda found, owners: "")
    options.alias_files = (str(place.one),)
    asked, really = list[bytes](), recipients.is_unknown

    def ask(name: bytes, here: LocalHost) -> bool:
        asked.append(name)
        return really(name, here)

    monkeypatch.setattr(recipients, "is_unknown", ask)
    assert newaliases.run(options) == 0
    assert sorted(asked) == [b"dave", b"ghost"]
    assert capfd.readouterr().out.count("ghost... Warning: no such user or alias") == 18
