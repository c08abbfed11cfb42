"""DANE in signed zones: nsd signs and serves, unbound validates, Postfix's verdict stands beside ours.

Needs nsd, unbound and ldns-signzone; with -m "long or not long" python3-unbound and posttls-finger are
asked, too. All may be installed, or unpacked (dpkg -x) below the directory that UNPACKED names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, self_signed

HOME = Path(__file__).resolve().parents[3]
PROGRAMS = Path(os.environ.get("UNPACKED", "/"))
NEEDED = ("nsd", "unbound", "ldns-signzone", "ldns-keygen")

pytestmark = [pytest.mark.root, pytest.mark.namespace, pytest.mark.debian("openssl")]

#: what is found for each domain: fate, ${verify}, and how Postfix 3.7 calls the connection
EXPECTED = {
    "usable.campus": ("delivered", "TRUSTED", "Verified"),
    "authority.campus": ("delivered", "TRUSTED", "Verified"),
    "wrong.campus": ("delayed", "", "Untrusted"),
    "expired.campus": ("delivered", "TRUSTED", "Verified"),
    "expired-authority.campus": ("delayed", "", "Untrusted"),
    "bogus.campus": ("delayed", "", "lookup"),
    "alias.campus": ("delivered", "TRUSTED", "Verified"),
    "none.campus": ("delivered", "FAIL", "Untrusted"),
    "bare.campus": ("delayed", "", "no TLS"),
    "signed.old": ("delayed", "", "lookup"),
    "unsigned.lab": ("delivered", "FAIL", "Untrusted"),
}


def is_there(program: str) -> bool:
    places = os.pathsep.join(str(PROGRAMS / place) for place in ("usr/sbin", "usr/bin"))
    return shutil.which(program, path=places) is not None


def certificates(directory: Path) -> None:
    """own, other: signed by nobody; signed, expired: by ca, with it behind them."""
    authority = Authority(directory)
    ca = Path(authority.certificate).read_text()
    made = {
        "own": self_signed(directory, "own.example"),
        "other": self_signed(directory, "other.example"),
        "signed": authority.issue("mx.authority.campus"),
        "expired": authority.issue("mx.expired-authority.campus", days=-1),
    }
    for name, pair in made.items():
        text = Path(pair.cert_file).read_text()
        (directory / f"{name}.pem").write_text(text)
        (directory / f"{name}.chain").write_text(text + ca * (name in ("signed", "expired")))
        shutil.copyfile(pair.key_file, directory / f"{name}.key")
        (directory / f"{name}.key").chmod(0o600)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    if lacking := [program for program in NEEDED if not is_there(program)]:
        pytest.skip(f"needs {' '.join(lacking)} (apt install nsd unbound ldnsutils, or UNPACKED)")
    directory = tmp_path_factory.mktemp("zones")
    certificates(directory)
    paths = [str(HOME), *(path for path in sys.path if path)]
    environment = dict(os.environ)
    if "UNPACKED" in os.environ:
        paths.append(str(PROGRAMS / "usr/lib/python3/dist-packages"))
        environment["LD_LIBRARY_PATH"] = str(PROGRAMS / "usr/lib/x86_64-linux-gnu")
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.support.signedzone"]
    done = subprocess.run(
        [*command, str(directory), str(PROGRAMS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=HOME,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("domain", EXPECTED)
@pytest.mark.parametrize("who", ["here", pytest.param("validated", marks=pytest.mark.long)])
def test_what_is_sent_is_what_dnssec_and_the_records_allow(
    found: dict[str, dict[str, Any]], domain: str, who: str
) -> None:
    fate, verify, _ = EXPECTED[domain]
    result = found[domain][who]
    if result is None:
        pytest.skip("needs python3-unbound")
    assert (result["fate"], result["verify"]) == (fate, verify), result["text"]
    assert result["messages"] == (fate == "delivered")
    assert result["in_clear"] == 0


@pytest.mark.parametrize("domain", EXPECTED)
@pytest.mark.parametrize(
    "who", ["worker", pytest.param("validating worker", marks=pytest.mark.long)]
)
def test_a_worker_without_rights_does_the_same(
    found: dict[str, dict[str, Any]], domain: str, who: str
) -> None:
    fate = EXPECTED[domain][0]
    if who not in found[domain]:
        pytest.skip("needs python3-unbound")
    result = found[domain][who]
    assert (result["fate"], result["text"]) == (fate, found[domain]["here"]["text"])
    assert result["messages"] == (fate == "delivered")
    assert result["in_clear"] == 0


@pytest.mark.long
@pytest.mark.parametrize("domain", EXPECTED)
def test_postfix_says_the_same(found: dict[str, dict[str, Any]], domain: str) -> None:
    if "postfix" not in found[domain]:
        pytest.skip("needs posttls-finger")
    said = found[domain]["postfix"]
    assert said == EXPECTED[domain][2]
