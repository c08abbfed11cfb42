"""minimta dkim: a key, the record for the zone, the row for the table."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.admin import dkim, verbs

pytestmark = pytest.mark.debian("openssl")

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    tmp_path.chmod(0o700)
    cf = tmp_path / "cf"
    cf.write_text(f"DKIMSign = {tmp_path}/dkim-sign\n")
    cf.chmod(0o644)
    return lambda *words: verbs.main(["dkim", "-C", str(cf), *words])


def public(key: Path) -> bytes:
    command = ["openssl", "rsa", "-in", str(key), "-pubout", "-outform", "DER"]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_makes_a_key_and_prints_what_the_zone_has_to_say(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], umask: int
) -> None:
    os.umask(umask)
    assert run("--selector", "2026a", "Example.ORG.") == 0
    key = tmp_path / "dkim/example.org.2026a.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert os.listdir(key.parent) == [key.name]
    told = capfd.readouterr().out
    assert told.startswith(f"{key}: a new key\n")
    assert told.endswith(f"\nexample.org  2026a  {key}\n")
    assert "\n2026a._domainkey.example.org. IN TXT ( " in told
    strings = re.findall(r'"([^"]*)"', told)
    assert all(len(one) <= 255 for one in strings)
    head, equals, encoded = "".join(strings).partition("; p=")
    assert (head, equals) == ("v=DKIM1; k=rsa", "; p=")
    assert b64decode(encoded, validate=True) == public(key)
    assert not (tmp_path / "dkim-sign").exists(), "nothing is signed before the record is seen"


def test_a_key_that_exists_stays(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("example.org") == 0
    first = capfd.readouterr().out
    key = tmp_path / "dkim/example.org.minimta.pem"
    before = key.read_bytes()
    assert run("example.org") == 0
    assert key.read_bytes() == before
    assert capfd.readouterr().out == first.partition("\n")[2]


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ((), 64, "one DOMAIN"),
        (("a.example", "b.example"), 64, "cannot make sense of b.example"),
        (("--nonsense", "a.example"), 64, "cannot make sense of --nonsense"),
        (("../etc",), 65, "is no name of DNS"),
        (("-",), 65, "is no name of DNS"),
        (("a b",), 65, "is no name of DNS"),
        (("--selector", "a/b", "a.example"), 65, "is no name of DNS"),
    ],
)
def test_what_it_does_not_understand_is_an_error(
    run: Run, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, reason: str
) -> None:
    assert run(*words) == code
    assert reason in capfd.readouterr().err


def test_without_a_table_it_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "cf").write_text("DKIMSign =\n")
    (tmp_path / "cf").chmod(0o644)
    assert verbs.main(["dkim", "-C", str(tmp_path / "cf"), "example.org"]) == 78
    assert "DKIMSign is empty" in capfd.readouterr().err


def test_a_record_is_what_zone_files_have() -> None:
    assert dkim.record("example.org", "s", "x" * 300) == (
        's._domainkey.example.org. IN TXT ( "v=DKIM1; k=rsa; p='
        + "x" * 237
        + '"\n    "'
        + "x" * 63
        + '" )'
    )
