"""Addresses and headers beyond ASCII, to hosts that offer SMTPUTF8 and others (RFC 6531)."""

from __future__ import annotations

import pytest

from minimta.message.outcome import Fate
from tests.mailers.remote.test_delivery import deliver, only
from tests.support.fakesmtp import ALL, FakeSmtp
from tests.support.jobs import job

UTF8 = (*ALL, "SMTPUTF8")
JOERG = "jörg@müller.example".encode()
HEADER = "Subject: für dich\nFrom: Jörg <jörg@müller.example>\n".encode()


def said(sink: FakeSmtp) -> list[str]:
    """MAIL and RCPT, as they were said; the sink reads them as latin-1."""
    lines = [line.encode("latin-1").decode("utf-8") for line in sink.commands[0]]
    return [line for line in lines if line[:4] in ("MAIL", "RCPT")]


def test_an_address_that_needs_smtputf8_goes_to_who_offers_it() -> None:
    with FakeSmtp(keywords=UTF8) as sink:
        outcome = only(deliver(job(sink.host, "söhne@käse.example", reverse_path=JOERG)))
    assert outcome.fate is Fate.SENT
    assert said(sink) == [
        "MAIL From:<jörg@müller.example> SIZE=20 SMTPUTF8",
        "RCPT To:<söhne@käse.example>",
    ]


def test_it_is_returned_where_it_is_not_offered() -> None:
    with FakeSmtp(keywords=ALL) as sink:
        outcome = only(deliver(job(sink.host, "x@lab2.campus", reverse_path=JOERG)))
        other = only(deliver(job(sink.host, "söhne@käse.example")))
    for one in (outcome, other):
        assert (one.fate, one.status) == (Fate.FAILED, "5.6.7")
        assert one.text == "SMTPUTF8 is required, but was not offered by the host"
    assert said(sink) == []


def test_one_recipient_who_needs_it_does_not_keep_it_from_the_others() -> None:
    with FakeSmtp(keywords=ALL) as sink:
        [fates] = deliver(job(sink.host, "söhne@käse.example", "x@lab2.campus"))
    assert fates["söhne@käse.example"].status == "5.6.7"
    assert fates["x@lab2.campus"].fate is Fate.SENT
    assert said(sink)[1:] == ["RCPT To:<x@lab2.campus>"]


@pytest.mark.parametrize("keywords", [ALL, UTF8])
def test_a_domain_beyond_ascii_needs_nothing(keywords: tuple[str, ...]) -> None:
    with FakeSmtp(keywords=keywords) as sink:
        outcome = only(
            deliver(job(sink.host, "x@käse.example", reverse_path="e@müller.example".encode()))
        )
    assert outcome.fate is Fate.SENT
    assert said(sink) == [
        "MAIL From:<e@xn--mller-kva.example> SIZE=20",
        "RCPT To:<x@xn--kse-qla.example>",
    ]


@pytest.mark.parametrize("keywords", [ALL, UTF8])
def test_a_header_beyond_ascii_is_8bit_mail_for_everybody(keywords: tuple[str, ...]) -> None:
    """Ten projects have threads about mail that came back for want of SMTPUTF8, and needed none."""
    with FakeSmtp(keywords=keywords) as sink:
        outcome = only(deliver(job(sink.host, header=HEADER)))
    assert outcome.fate is Fate.SENT
    assert "SMTPUTF8" not in said(sink)[0] and "BODY=8BITMIME" in said(sink)[0]
    assert sink.messages == [HEADER.replace(b"\n", b"\r\n") + b"\r\nbody\r\n"]


def test_a_recipient_who_needs_it_has_it_asked_of_mail() -> None:
    with FakeSmtp(keywords=UTF8) as sink:
        only(deliver(job(sink.host, "söhne@x.example")))
    assert said(sink)[0] == "MAIL From:<emma@lab1.campus> SIZE=20 SMTPUTF8"


def test_what_the_log_and_the_dialogue_show_is_ascii() -> None:
    lines: list[str] = []
    with FakeSmtp(keywords=UTF8) as sink:
        deliver(job(sink.host, "söhne@x.example", reverse_path=JOERG), say=lines)
    assert ">>> RCPT To:<s??hne@x.example>" in lines
    assert all(line.isascii() for line in lines)
