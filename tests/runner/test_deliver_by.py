"""BY= (RFC 2852): what is late goes back, or its sender is told; REQUIRETLS in the queue (RFC 8689)."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.message.deliver_by import parse
from minimta.message.envelope import Envelope, Recipient
from minimta.queue.control import REQUIRE_TLS, decode, encode
from tests.support.privatehost import DOWN, SENT, Elsewhere, PrivateHost

EMMA, X = b"<emma@lab1.campus>", b"<x@lab2.campus>"
NOW = 1795339967.0


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path, now=NOW)


def submit(host: PrivateHost, value: bytes, recipient: bytes | Recipient = X) -> str:
    def wish(envelope: Envelope) -> None:
        envelope.deliver_by = parse(value).line()

    return host.submit(EMMA, recipient, envelope=wish)


def run(host: PrivateHost, qid: str, outcome: object = DOWN, *, later: float = 0.0) -> Elsewhere:
    elsewhere = Elsewhere({b"x@lab2.campus": outcome})  # type: ignore[dict-item]
    host.now = NOW + later
    host.deliverer(esmtp=elsewhere).attempt([qid])
    return elsewhere


def letters(host: PrivateHost) -> list[str]:
    return [one.as_string() for one in host.letters("emma")]


def returned(host: PrivateHost) -> list[str]:
    """Not the warnings that it waits."""
    return [letter for letter in letters(host) if "Action: failed" in letter]


def test_the_queue_keeps_the_wish_as_sendmail_does(host: PrivateHost) -> None:
    qid = submit(host, b"600;NT")
    assert b"\n!\x11 600\n" in (host.root / "mqueue" / f"qf{qid}").read_bytes()
    control = host.control(qid)
    assert decode(encode(control)) == control


def test_what_is_late_goes_back_and_is_not_delivered(host: PrivateHost) -> None:
    qid = submit(host, b"600;R")
    run(host, qid, later=599)
    assert letters(host) == []
    elsewhere = run(host, qid, SENT, later=600)
    assert elsewhere.jobs == []
    [letter] = letters(host)
    assert "Action: failed" in letter and "Status: 5.4.7" in letter
    assert "delivery time expired 600s" in letter
    assert host.files() == []


@pytest.mark.parametrize("jump", [600, 10 * 365 * 86400])
def test_what_nobody_has_tried_is_tried_though_the_clock_says_that_it_is_late(
    host: PrivateHost, jump: int
) -> None:
    """It may have jumped."""
    qid = submit(host, b"600;R")
    assert run(host, qid, later=jump).jobs
    assert returned(host) == []
    assert not run(host, qid, SENT, later=jump + 1).jobs
    [letter] = returned(host)
    assert "Status: 5.4.7" in letter
    assert host.files() == []


def test_what_was_tried_long_ago_is_tried_once_more(host: PrivateHost) -> None:
    qid = submit(host, b"600;R")
    run(host, qid, later=1)
    assert run(host, qid, later=2 * 86400).jobs
    assert returned(host) == []
    assert not run(host, qid, SENT, later=2 * 86400 + 1).jobs
    assert len(returned(host)) == 1


def test_a_clock_that_is_put_right_brings_no_mail_back(host: PrivateHost) -> None:
    qid = submit(host, b"600;R")
    run(host, qid, later=10 * 365 * 86400)
    assert run(host, qid, SENT, later=300).jobs
    assert returned(host) == []


def test_of_what_is_late_the_sender_is_told_once(host: PrivateHost) -> None:
    qid = submit(host, b"600;N")
    run(host, qid, later=599)
    assert letters(host) == []
    run(host, qid, later=601)
    run(host, qid, later=700)
    [letter] = letters(host)
    assert "Action: delayed" in letter
    assert "Subject: Warning: could not send message for past 10 minutes" in letter
    assert run(host, qid, SENT, later=800).jobs
    assert len(letters(host)) == 1


def test_who_wants_no_reports_is_told_nothing(host: PrivateHost) -> None:
    qid = submit(host, b"-1;NT", Recipient(X, "PN"))
    run(host, qid, later=10)
    run(host, qid, SENT, later=20)
    assert letters(host) == []


@pytest.mark.parametrize(("value", "told"), [(b"600;RT", True), (b"600;R", False)])
def test_a_trace_tells_of_every_hop(host: PrivateHost, value: bytes, told: bool) -> None:
    qid = submit(host, value)
    run(host, qid, SENT)
    assert [("Action: relayed" in letter) for letter in letters(host)] == [True] * told


def test_a_job_has_the_wish_and_when_the_message_came(host: PrivateHost) -> None:
    qid = submit(host, b"600;R")
    [job] = run(host, qid, later=5).jobs
    assert (job.deliver_by, job.created) == (parse(b"600;R"), int(NOW))


def test_requiretls_is_kept_and_its_bounce_has_no_body(host: PrivateHost) -> None:
    def wish(envelope: Envelope) -> None:
        envelope.requires_tls = True

    qid = host.submit(EMMA, X, b"<nosuch@lab1.campus>", envelope=wish)
    assert host.control(qid).macros[REQUIRE_TLS] == b"1"
    elsewhere = run(host, qid)
    assert [job.requires_tls for job in elsewhere.jobs] == [True]
    [letter] = letters(host)
    assert "text/rfc822-headers" in letter and "message/rfc822" not in letter
