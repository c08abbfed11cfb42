"""Small messages go behind their commands, by BDAT, where that saves a round trip (RFC 3030)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from minimta.mailers.job import Job
from minimta.mailers.remote.content import MAX_CHUNK
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.tls_policy import TlsPolicies
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, Outcome
from minimta.system.tls import TlsClient, server_context
from minimta.system.tls_values import KeyPair, Trust
from tests.support.certificates import self_signed
from tests.support.fakesmtp import ALL, DROP, FakeSmtp
from tests.support.jobs import job, options

pytestmark = pytest.mark.debian("openssl")

CHUNKING = (*ALL, "CHUNKING")
TEXT = b"Subject: x\r\n\r\n.\r\n..two\r\nQUIT\r\n"
BODY = b".\n..two\nQUIT\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return self_signed(tmp_path_factory.mktemp("certificates"), "localhost")


@pytest.fixture
def sink(certificate: KeyPair) -> FakeSmtp:
    return secure(certificate)


def secure(
    certificate: KeyPair, answers: Mapping[str, Sequence[str | bytes]] | None = None
) -> FakeSmtp:
    return FakeSmtp(tls=server_context(certificate), keywords=CHUNKING, answers=answers)


def sent(*jobs: Job) -> list[Outcome]:
    """The outcomes of all users of all jobs."""
    found: list[Outcome] = []

    def report(one: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        found.extend(outcomes.values())

    ourselves = Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset({"127.0.0.1"}))
    policies = TlsPolicies({}, "/etc/mail/tls-policy")
    transport = Transport(options(), ourselves, tls=TlsClient(Trust(""), None), policies=policies)
    Delivery(jobs, transport, report).run()
    return found


def said(sink: FakeSmtp) -> list[str]:
    """The verbs of the first connection, inside TLS."""
    lines = sink.commands[0]
    return [line.partition(" ")[0] for line in lines[lines.index("-- TLS --") + 2 :]]


def test_a_small_message_needs_no_answer_before_its_text(sink: FakeSmtp) -> None:
    with sink:
        outcomes = sent(*(job(sink.host, header=b"Subject: x\n", body=BODY) for _ in range(2)))
    assert [outcome.fate for outcome in outcomes] == [Fate.SENT] * 2
    assert sink.messages == [TEXT] * 2
    assert said(sink) == ["MAIL", "RCPT", "BDAT"] * 2 + ["QUIT"]
    assert f"BDAT {len(TEXT)} LAST" in sink.commands[0]


@pytest.mark.parametrize(
    ("keywords", "body"),
    [
        (ALL, BODY),
        (("CHUNKING", "SIZE"), BODY),
        (CHUNKING, b"x" * 70 * 500),
        (CHUNKING, b"y" * MAX_CHUNK),
    ],
)
def test_all_others_wait_for_the_354(
    certificate: KeyPair, keywords: tuple[str, ...], body: bytes
) -> None:
    with FakeSmtp(tls=server_context(certificate), keywords=keywords) as sink:
        [outcome] = sent(job(sink.host, body=body))
    assert outcome.fate is Fate.SENT
    assert said(sink) == ["MAIL", "RCPT", "DATA", "QUIT"]


def test_in_clear_nothing_is_sent_that_could_be_taken_for_commands() -> None:
    with FakeSmtp(keywords=CHUNKING) as sink:
        sent(job(sink.host, body=BODY))
    assert "DATA" in sink.commands[0]


@pytest.mark.parametrize(
    ("answers", "fate", "text"),
    [
        ({"MAIL": ["550 5.7.1 No"], "BDAT": ["503 5.5.1 Order"]}, Fate.FAILED, "5.7.1"),
        ({"RCPT": ["450 4.2.1 Later"], "BDAT": ["503 5.5.1 Order"]}, Fate.DEFERRED, "4.2.1"),
        ({"BDAT": ["554 5.6.0 Spam"]}, Fate.FAILED, "5.6.0"),
        ({"BDAT": ["452 4.3.1 Full"]}, Fate.DEFERRED, "4.3.1"),
        ({"BDAT": ["421 4.3.2 Shutting down"]}, Fate.DEFERRED, "4.3.2"),
    ],
)
def test_every_answer_means_what_it_means_with_data(
    certificate: KeyPair, answers: Mapping[str, Sequence[str | bytes]], fate: Fate, text: str
) -> None:
    with secure(certificate, answers) as sink:
        [outcome] = sent(job(sink.host))
    assert (outcome.fate, outcome.status) == (fate, text)


def test_after_a_refused_chunk_the_next_message_begins_with_rset(certificate: KeyPair) -> None:
    answers = {"BDAT": ["554 5.6.0 Spam", "250 2.0.0 Ok"]}
    with secure(certificate, answers) as sink:
        outcomes = sent(job(sink.host), job(sink.host))
    assert [outcome.fate for outcome in outcomes] == [Fate.FAILED, Fate.SENT]
    assert said(sink) == ["MAIL", "RCPT", "BDAT", "RSET", "MAIL", "RCPT", "BDAT", "QUIT"]


def test_a_connection_that_breaks_may_have_cost_the_answer_only(certificate: KeyPair) -> None:
    """The peer may have the message: it waits, and is not said to another host at once."""
    with secure(certificate, {"BDAT": [DROP]}) as sink:
        [outcome] = sent(job(sink.host))
    assert outcome.fate is Fate.DEFERRED
    assert len([line for line in sink.commands if "BDAT" in str(line)]) == 1


def test_a_421_before_it_leaves_the_message_free_for_another_connection(
    certificate: KeyPair,
) -> None:
    with secure(certificate, {"MAIL": ["421 4.3.2 Busy", "250 2.1.0 Ok"]}) as sink:
        [outcome] = sent(job(sink.host))
    assert outcome.fate is Fate.SENT
    assert len(sink.commands) == 2
