"""What a peer limits (LIMITS), and what it must promise: DELIVERBY, REQUIRETLS."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from minimta.mailers.job import Job
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.tls_policy import TlsPolicies
from minimta.mailers.remote.transport import Transport
from minimta.message.deliver_by import DeliverBy
from minimta.message.outcome import Fate, Outcome
from minimta.system.tls import TlsClient, server_context
from minimta.system.tls_values import Trust
from tests.mailers.remote.test_delivery import deliver, only
from tests.support.fakesmtp import ALL, SECURED, FakeSmtp
from tests.support.jobs import job, options
from tests.support.securesending import Campus

# --- LIMITS (RFC 9422) ----------------------------------------------------------------------------


def verbs(commands: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in commands[1:]]


def test_no_more_recipients_at_once_than_the_peer_takes() -> None:
    with FakeSmtp(keywords=(*ALL, "LIMITS RCPTMAX=2 X-OTHER=1")) as sink:
        [fates] = deliver(job(sink.host, *(f"x{n}@lab2.campus" for n in range(5))))
    assert {one.fate for one in fates.values()} == {Fate.SENT}
    [commands] = sink.commands
    message = ["MAIL", "RCPT", "RCPT", "DATA"]
    assert verbs(commands) == [*message, *message, "MAIL", "RCPT", "DATA", "QUIT"]


def test_no_more_domains_at_once_than_the_peer_takes() -> None:
    names = ["a@one.campus", "b@ONE.campus", "c@two.campus", "d@one.campus"]
    with FakeSmtp(keywords=(*ALL, "LIMITS RCPTDOMAINMAX=1")) as sink:
        [fates] = deliver(job(sink.host, *names))
    assert {one.fate for one in fates.values()} == {Fate.SENT}
    assert len(sink.messages) == 3


def test_no_more_messages_over_one_connection_than_the_peer_takes() -> None:
    with FakeSmtp(keywords=(*ALL, "LIMITS MAILMAX=2")) as sink:
        fates = deliver(*(job(sink.host) for _ in range(5)))
    assert [only([fate]).fate for fate in fates] == [Fate.SENT] * 5
    assert [verbs(commands).count("MAIL") for commands in sink.commands] == [2, 2, 1]
    assert all(commands[-1] == "QUIT" for commands in sink.commands)


# --- DELIVERBY (RFC 2852) -------------------------------------------------------------------------


def in_time(host: str, seconds: int, *, returns: bool, ago: int = 0, traces: bool = False) -> Job:
    wish = DeliverBy(seconds, returns, traces)
    return replace(job(host), deliver_by=wish, created=int(time.time()) - ago)


@pytest.mark.parametrize(
    ("seconds", "returns", "ago", "said"),
    [(600, True, 0, "600;R"), (600, False, 100, "500;N"), (60, False, 100, "-40;N")],
)
def test_the_peer_is_told_what_is_left(seconds: int, returns: bool, ago: int, said: str) -> None:
    with FakeSmtp(keywords=(*ALL, "DELIVERBY")) as sink:
        outcome = only(deliver(in_time(sink.host, seconds, returns=returns, ago=ago)))
    assert outcome.fate is Fate.SENT
    told = sink.commands[0][1].rpartition(" BY=")[2]
    assert told[-2:] == said[-2:] and abs(int(told[:-2]) - int(said[:-2])) <= 2


@pytest.mark.parametrize(
    ("keywords", "status"), [(ALL, "5.3.3"), ((*ALL, "DELIVERBY 3600"), "5.4.7")]
)
def test_what_must_be_there_in_time_goes_to_no_host_that_cannot_say_so(
    keywords: tuple[str, ...], status: str
) -> None:
    with FakeSmtp(keywords=keywords) as sink:
        outcome = only(deliver(in_time(sink.host, 600, returns=True)))
        other = only(deliver(in_time(sink.host, 600, returns=False)))
    assert (outcome.fate, outcome.status) == (Fate.FAILED, status)
    assert other.fate is Fate.SENT
    assert len(sink.messages) == 1


def test_another_exchanger_may_be_able_to() -> None:
    with FakeSmtp(keywords=ALL) as first, FakeSmtp(keywords=(*ALL, "DELIVERBY")) as second:
        both = f"[127.0.0.1]:{first.port},[localhost]:{second.port}"
        outcome = only(deliver(in_time(both, 600, returns=True)))
    assert outcome.fate is Fate.SENT
    assert (len(first.messages), len(second.messages)) == (0, 1)


# --- REQUIRETLS (RFC 8689) ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


def requiring(host: str, trust: str = "", row: str = "") -> Outcome:
    found: list[Outcome] = []

    def report(one: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        found.extend(outcomes.values())

    ourselves = Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset({"127.0.0.1"}))
    table = {b".": row.encode()} if row else {}
    transport = Transport(
        options(),
        ourselves,
        tls=TlsClient(Trust(trust), None),
        policies=TlsPolicies(table, "/etc/mail/tls-policy"),
    )
    Delivery([replace(job(host), requires_tls=True)], transport, report).run()
    [outcome] = found
    return outcome


SAFE = (*ALL, "REQUIRETLS")


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("row", ["", "verify"])
def test_requiretls_goes_on_to_who_has_proved_itself(campus: Campus, row: str) -> None:
    with FakeSmtp(tls=server_context(campus.good), secure_keywords=SAFE) as sink:
        outcome = requiring(f"[localhost]:{sink.port}", campus.authority.certificate, row)
    assert outcome.fate is Fate.SENT
    commands = sink.commands[0]
    mail = commands[commands.index(SECURED) + 2]
    assert mail.startswith("MAIL From:<") and mail.endswith(" REQUIRETLS")


@pytest.mark.debian("openssl")
@pytest.mark.parametrize("case", ["not offered", "stranger", "other name", "address", "in clear"])
def test_requiretls_goes_to_nobody_else(campus: Campus, case: str) -> None:
    pair = {"stranger": campus.stranger, "other name": campus.other}.get(case, campus.good)
    keywords = ALL if case == "not offered" else SAFE
    context = None if case == "in clear" else server_context(pair)
    name = "127.0.0.1" if case == "address" else "localhost"
    with FakeSmtp(tls=context, keywords=SAFE, secure_keywords=keywords) as sink:
        outcome = requiring(f"[{name}]:{sink.port}", campus.authority.certificate)
    assert (outcome.fate, outcome.status) == (Fate.FAILED, "5.7.30")
    assert "REQUIRETLS support required" in outcome.text
    assert sink.messages == []


def test_in_clear_it_is_not_even_read(tmp_path: Path) -> None:
    with FakeSmtp(keywords=SAFE) as sink:
        outcome = only(deliver(replace(job(sink.host), requires_tls=True)))
    assert outcome.status == "5.7.30"
    assert all("MAIL" not in line for line in sink.commands[0])
