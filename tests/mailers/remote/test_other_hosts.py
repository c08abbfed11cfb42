"""SMTPUTF8 and CHUNKING with Postfix and Exim, both ways.

Their packages need not be installed, which would take each other's place: UNPACKED names a directory
in which postfix, exim4-base and exim4-daemon-light were unpacked (apt-get download, dpkg -x).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from email import message_from_string
from pathlib import Path

import pytest

from tests.support.otherhosts import HOME

pytestmark = [pytest.mark.long, pytest.mark.root, pytest.mark.namespace]

UNPACKED = Path(os.environ.get("UNPACKED", "/nonexistent"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if not all((UNPACKED / "usr/sbin" / name).exists() for name in ("postfix", "exim4")):
        pytest.skip("needs postfix, exim4-base and exim4-daemon-light below UNPACKED")
    system = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    command = [*system, "sh", "-c", '"$@"; exit $?', "sh", sys.executable]
    directory = tmp_path_factory.mktemp("hosts")
    ran = subprocess.run(
        [*command, "-m", "tests.support.otherhosts", str(directory), str(UNPACKED)],
        cwd=HOME, capture_output=True, timeout=200, check=False, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, str] = json.loads(ran.stdout)
    assert "log" not in found, found["log"]
    return found


def letter(box: str, words: str) -> str:
    """The message in a mailbox that has these words."""
    [found] = [one for one in re.split(r"^From (?=\S+ {2})", box, flags=re.M) if words in one]
    return found


def test_postfix_takes_a_chunk_and_utf8_addresses_and_sends_them_back(told: dict[str, str]) -> None:
    found = letter(told["jörg"], "für Postfix")
    assert "by pf.example (Postfix) with UTF8SMTPS" in found
    assert "by mt.example" in found and "with UTF8SMTPS id" in found
    assert found.startswith("söhne@käse.example ")
    assert found.rstrip("\n").endswith("\nä\n.\n..zwei")
    assert re.search(r"mail=\d+ rcpt=\d+ bdat=\d+", told["postfix"])


def test_exim_takes_and_sends_chunks_and_utf8_addresses(told: dict[str, str]) -> None:
    found = letter(told["jörg"], "für Exim")
    assert "with utf8esmtps" in found and "(Exim 4." in found
    assert "with UTF8SMTPS id" in found
    assert found.rstrip("\n").endswith("\nä\n.\n..zwei")
    lines = [line for line in told["exim"].split("\n") if " <= " in line or " => " in line]
    assert len([line for line in lines if " K " in line]) == 2  # K: by BDAT, in and out


def test_utf8_in_the_header_alone_needs_no_smtputf8(told: dict[str, str]) -> None:
    found = letter(told["dave"], "für alle")
    assert "From: Jörg <a@client.example>" in found
    assert "with ESMTPS id" in found.partition("by pf.example")[2].partition(";")[0]


def test_what_needs_it_comes_back_in_the_form_of_rfc_6533(told: dict[str, str]) -> None:
    found = letter(told["jörg"], "global-delivery-status")
    assert "Final-Recipient: utf-8; döner@no.example" in found
    assert "Status: 5.6.7" in found


def test_binary_parts_survive_the_way(told: dict[str, str]) -> None:
    found = letter(told["dave"], "Subject: binary")
    message = message_from_string(found.partition("\n")[2])
    assert message.get_payload(decode=True) == b"\0\r\n.\r\n\xff\n"
