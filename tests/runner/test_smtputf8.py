"""Addresses beyond ASCII from the queue to mailboxes, and back to their senders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.message.outcome import Fate, Outcome
from tests.support.privatehost import Elsewhere, PrivateHost

NEEDED = Outcome(Fate.FAILED, "5.6.7", "SMTPUTF8 is required, but was not offered by the host")


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    made = PrivateHost(tmp_path)
    ids = f"{os.getuid()}:{os.getgid()}"
    with (tmp_path / "passwd").open("a", encoding="utf-8") as file:
        file.write(f"jörg:x:{ids}:Jörg:{tmp_path}/home/jörg:/bin/sh\n")
    (tmp_path / "aliases").write_text("Bücher: jörg, emma\n", encoding="utf-8")
    (tmp_path / "local-host-names").write_text("käse.example\n", encoding="utf-8")
    return made


def test_an_alias_leads_to_a_user(host: PrivateHost) -> None:
    qid = host.submit("<söhne@x.example>".encode(), "<bücher@KÄSE.example>".encode())
    host.deliverer().attempt([qid])
    for user in ("jörg", "emma"):
        text = (host.root / "mail" / user).read_bytes()
        assert "Return-Path: <söhne@x.example>\n".encode() in text
        assert text.startswith("From söhne@x.example ".encode())


def test_a_forward_names_an_address_beyond_ascii(host: PrivateHost) -> None:
    home = host.root / "home" / "jörg"
    home.mkdir()
    (home / ".forward").write_text("söhne@müller.example, \\jörg\n", encoding="utf-8")
    elsewhere = Elsewhere({})
    qid = host.submit(b"<emma@lab1.campus>", "<jörg>".encode())
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert (host.root / "mail" / "jörg").exists()
    [job] = elsewhere.jobs
    assert (job.host, job.users[0].name) == (
        "xn--mller-kva.example",
        "söhne@müller.example".encode(),
    )


def test_what_no_host_takes_comes_back_in_the_form_of_rfc_6533(host: PrivateHost) -> None:
    name = "söhne@müller.example".encode()
    qid = host.submit("<jörg@lab1.campus>".encode(), b"<" + name + b">")
    deliverer = host.deliverer(esmtp=Elsewhere({name: NEEDED}))
    deliverer.attempt([qid])
    for path in (host.root / "mqueue").glob("qf*"):
        deliverer.attempt([path.name[2:]])
    text = (host.root / "mail" / "jörg").read_text(encoding="utf-8")
    assert "Content-Type: message/global-delivery-status" in text
    assert "Final-Recipient: utf-8; söhne@müller.example" in text
    assert "To: <jörg@lab1.campus>" in text or "To: jörg@lab1.campus" in text
    assert "Status: 5.6.7" in text
