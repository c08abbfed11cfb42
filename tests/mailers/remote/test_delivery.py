from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote import delivery
from minimta.mailers.remote.connection import OutgoingConnection
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.host_status import HostMemory, Hosts, HostStatus
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, Outcome
from minimta.system.dns import Resolver
from minimta.system.slots import Place
from tests.support.fakedns import FakeDns, Zone
from tests.support.fakesmtp import ALL, DROP, HANG, FakeSmtp, Refusing
from tests.support.jobs import job, options
from tests.support.slots import slots

OURSELVES = Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset({"127.0.0.1"}))
PLAIN = ("8BITMIME", "HELP")

Fates = list[dict[str, Outcome]]


def deliver(
    *jobs: Job,
    configured: Options | None = None,
    say: list[str] | None = None,
    resolver: Resolver | None = None,
    ourselves: Ourselves = OURSELVES,
    place: Place | None = None,
    hosts: Hosts | None = None,
) -> Fates:
    """Run the deliveries; one dict user -> Outcome for each job, in the order given."""
    fates: dict[Job, dict[str, Outcome]] = {one: {} for one in jobs}

    def report(one: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        for name, outcome in outcomes.items():
            assert name.decode() not in fates[one], "told twice"
            fates[one][name.decode()] = outcome

    Delivery(
        jobs,
        Transport(configured or options(), ourselves),
        report,
        say=None if say is None else say.append,
        resolver=resolver,
        place=place,
        hosts=hosts,
    ).run()
    for one in jobs:
        assert set(fates[one]) == {user.name.decode() for user in one.users}
    return list(fates.values())


def only(fates: Fates) -> Outcome:
    """The one Outcome of one user of one job."""
    ((outcome,),) = (list(fate.values()) for fate in fates)
    return outcome


# -- what the peer gets to see ---------------------------------------------------------------------


def test_the_dialogue_is_as_recorded() -> None:
    with FakeSmtp() as sink:
        outcome = only(deliver(job(sink.host)))
    assert sink.commands == [
        [
            "EHLO lab1.campus",
            "MAIL From:<emma@lab1.campus> SIZE=20",
            "RCPT To:<x@lab2.campus>",
            "DATA",
            "QUIT",
        ]
    ]
    assert sink.messages == [b"Subject: c\r\n\r\nbody\r\n"]
    assert outcome == Outcome(
        Fate.SENT,
        "2.0.0",
        "Sent (Ok: queued as FAKE1)",
        relay="[127.0.0.1] [127.0.0.1]",
        remote_mta="[127.0.0.1]",
    )


@pytest.mark.parametrize("greeting", ["220 lab2.campus ESMTP", "554 no"])
def test_a_connection_is_closed_when_it_is_over(
    greeting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Kept(OutgoingConnection):
        def connect(self, timeout: float) -> None:
            super().connect(timeout)
            made.append(self._stream)

    monkeypatch.setattr(delivery, "OutgoingConnection", Kept)
    with FakeSmtp(answers={"greeting": [greeting]}) as peer:
        deliver(job(peer.host))
    assert [stream is not None and stream.fileno() for stream in made] == [-1]


def test_a_server_without_esmtp_gets_helo_and_no_parameters() -> None:
    answers = {"EHLO": ["500 Command unrecognized"], ".": ["250 ok"]}
    with FakeSmtp(answers=answers) as old:
        outcome = only(deliver(job(old.host)))
    assert old.commands[0][:3] == [
        "EHLO lab1.campus",
        "HELO lab1.campus",
        "MAIL From:<emma@lab1.campus>",
    ]
    assert outcome.text == "Sent (ok)"


def test_ipv6_works_too() -> None:
    with FakeSmtp(address="::1") as sink:
        assert only(deliver(job(sink.host))).relay == "[::1] [::1]"


@pytest.mark.parametrize("keywords", [ALL, PLAIN])
def test_one_transaction_carries_all_recipients(keywords: tuple[str, ...]) -> None:
    with FakeSmtp(keywords=keywords) as sink:
        (fates,) = deliver(job(sink.host, "x@s.campus", "y@s.campus", "x@s.campus"))
    assert [f.fate for f in fates.values()] == [Fate.SENT, Fate.SENT]
    assert len(sink.messages) == 1
    assert [line for line in sink.commands[0] if line.startswith("RCPT")] == [
        "RCPT To:<x@s.campus>",
        "RCPT To:<y@s.campus>",
    ]


@pytest.mark.parametrize("keywords", [ALL, PLAIN])
def test_one_connection_carries_all_messages(keywords: tuple[str, ...]) -> None:
    with FakeSmtp(keywords=keywords) as sink:
        fates = deliver(*(job(sink.host, body=b"%d\n" % n) for n in range(20)))
    assert all(fate["x@lab2.campus"].fate is Fate.SENT for fate in fates)
    assert len(sink.commands) == 1
    assert sink.messages == [b"Subject: c\r\n\r\n%d\r\n" % n for n in range(20)]
    assert "RSET" not in sink.commands[0]


def test_dsn_parameters_go_to_a_peer_that_offers_dsn() -> None:
    user = JobUser(b"x@s.campus", "SUCCESS,FAILURE", b"rfc822;x@s.campus")
    with FakeSmtp() as sink:
        outcome = only(deliver(job(sink.host, user, envid=b"e1", ret=b"HDRS")))
    assert sink.commands[0][1].endswith(" SIZE=20 ENVID=e1 RET=HDRS")
    assert sink.commands[0][2].endswith("> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@s.campus")
    assert outcome.dsn_passed_on


def test_without_dsn_the_reports_stay_our_business() -> None:
    user = JobUser(b"x@s.campus", "SUCCESS,FAILURE", b"rfc822;x@s.campus")
    with FakeSmtp(keywords=PLAIN) as sink:
        outcome = only(deliver(job(sink.host, user, envid=b"e1", ret=b"HDRS")))
    assert sink.commands[0][2] == "RCPT To:<x@s.campus>"
    assert not outcome.dsn_passed_on


@pytest.mark.parametrize("size", [0, 1, 5, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_001])
@pytest.mark.parametrize("line", [b".\n", b"..x\n", b"plain text\n"])
def test_the_content_arrives_octet_for_octet(size: int, line: bytes) -> None:
    body = (line * (size // len(line) + 1))[:size]
    with FakeSmtp(keywords=("PIPELINING", "SIZE")) as sink:
        one = job(sink.host, body=body)
        assert only(deliver(one)).fate is Fate.SENT
    (wire,) = sink.messages
    assert wire.replace(b"\r\n.", b"\r\n") == (b"Subject: c\n\n" + body).replace(b"\n", b"\r\n") + (
        b"" if body.endswith(b"\n") or not body else b"\r\n"
    )
    assert b"\r" not in wire.replace(b"\r\n", b"") and b"\n" not in wire.replace(b"\r\n", b"")
    told = int(sink.commands[0][1].partition("SIZE=")[2])
    assert told == len((b"Subject: c\n\n" + body).replace(b"\n", b"\r\n"))


# -- 8 bits, size, bad text ------------------------------------------------------------------------

LATIN = "café\n".encode("latin-1")
MIME = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n"


def test_8bit_goes_as_it_is_to_a_host_with_8bitmime() -> None:
    with FakeSmtp() as sink:
        deliver(job(sink.host, body=LATIN))
    assert sink.commands[0][1].endswith(" SIZE=20 BODY=8BITMIME")
    assert sink.messages[0].endswith(b"caf\xe9\r\n")


def test_8bit_is_converted_for_a_host_without() -> None:
    with FakeSmtp(keywords=("SIZE",)) as old:
        assert only(deliver(job(old.host, body=LATIN, header=MIME))).fate is Fate.SENT
    assert old.messages[0] == (
        MIME.replace(b"\n", b"\r\n")
        + b"Content-Transfer-Encoding: base64\r\nX-MIME-Autoconverted: from 8bit to base64"
        b" by lab1.campus id 6AM9jfMc005642\r\n\r\nY2Fm6Q0K\r\n"
    )
    assert "BODY" not in old.commands[0][1]
    assert old.commands[0][1].endswith(f"SIZE={len(old.messages[0])}")


def test_pass8_sends_8bit_to_anyone() -> None:
    with FakeSmtp(keywords=()) as old:
        deliver(job(old.host, body=LATIN), configured=options(eight_bit_mode="pass8"))
    assert old.messages[0].endswith(b"\r\ncaf\xe9\r\n")


@pytest.mark.parametrize(
    ("mode", "header"),
    [("strict", MIME), ("mimify", b"Content-Type: multipart/signed; boundary=x\n")],
)
def test_8bit_that_may_not_be_converted_is_returned(mode: str, header: bytes) -> None:
    with FakeSmtp(keywords=()) as old:
        one = job(old.host, "x@s.campus", "y@s.campus", body=LATIN, header=header)
        other = job(old.host)
        fates = deliver(one, other, configured=options(eight_bit_mode=mode))
    assert [f.status for f in fates[0].values()] == ["5.6.3", "5.6.3"]
    assert all(f.fate is Fate.FAILED and f.exit_code == os.EX_DATAERR for f in fates[0].values())
    assert only(fates[1:]).fate is Fate.SENT
    assert len(old.messages) == 1


@pytest.mark.parametrize(("limit", "sent"), [("20", True), ("19", False), ("0", True), ("", True)])
def test_a_message_over_the_limit_of_the_peer_is_not_offered(limit: str, sent: bool) -> None:
    with FakeSmtp(keywords=("SIZE " + limit,)) as sink:
        outcome = only(deliver(job(sink.host)))
    assert (outcome.fate is Fate.SENT) == sent
    assert len(sink.messages) == sent
    if not sent:
        assert (outcome.status, outcome.exit_code) == ("5.2.3", os.EX_UNAVAILABLE)
        assert outcome.text == "Message is too large; 19 bytes max"
        assert sink.commands[0][1:] == ["QUIT"]


@pytest.mark.parametrize(
    "text",
    [b"a\rb\n", b"a\r\n", b"a\0b\n", b"x" * 300_000 + b"\r"],
    ids=["CR", "CR LF", "NUL", "CR at the end"],
)
def test_cr_and_nul_are_returned_before_anything_is_said(text: bytes) -> None:
    with FakeSmtp() as sink:
        fates = deliver(job(sink.host, body=text), job(sink.host))
    assert only(fates[:1]).status == "5.6.0"
    assert only(fates[1:]).fate is Fate.SENT
    assert len(sink.messages) == 1


def test_a_data_file_cut_short_waits() -> None:
    with FakeSmtp() as sink:
        fates = deliver(job(sink.host, body=b"abc\n", size=5), job(sink.host))
    assert (only(fates[:1]).fate, only(fates[:1]).status) == (Fate.DEFERRED, "4.3.0")
    assert only(fates[1:]).fate is Fate.SENT


@pytest.mark.parametrize(
    ("address", "status"), [(b"x>@s.campus", "5.1.3"), ("jü@s.campus".encode(), "5.6.7")]
)
def test_an_address_that_cannot_be_said_fails_alone(address: bytes, status: str) -> None:
    with FakeSmtp() as sink:
        (fates,) = deliver(job(sink.host, JobUser(address), "y@s.campus"))
    assert fates[address.decode()].status == status
    assert fates["y@s.campus"].fate is Fate.SENT


def test_a_sender_that_cannot_be_said_fails_the_message() -> None:
    with FakeSmtp() as sink:
        assert only(deliver(job(sink.host, reverse_path=b"a>b@c"))).status == "5.1.7"
    assert sink.commands[0] == ["EHLO lab1.campus", "QUIT"]


# -- refusals --------------------------------------------------------------------------------------

NO = "550 5.1.1 No such mailbox here"


@pytest.mark.parametrize("keywords", [ALL, PLAIN])
@pytest.mark.parametrize(
    ("reply", "fate", "status", "text", "exit_code"),
    [
        (NO, Fate.FAILED, "5.1.1", "User unknown", os.EX_NOUSER),
        ("550 no", Fate.FAILED, "5.1.1", "User unknown", os.EX_NOUSER),
        ("550 5.7.1 Relaying denied", Fate.FAILED, "5.7.1", "User unknown", os.EX_NOUSER),
        ("551 no", Fate.FAILED, "5.1.6", "User unknown", os.EX_NOUSER),
        ("553 no", Fate.FAILED, "5.1.3", "User unknown", os.EX_NOUSER),
        ("554 5.7.1 no", Fate.FAILED, "5.7.1", "Service unavailable", os.EX_UNAVAILABLE),
        ("599 no", Fate.FAILED, "5.0.0", "Service unavailable", os.EX_UNAVAILABLE),
        ("451 4.7.1 Greylisted", Fate.DEFERRED, "4.7.1", "451 4.7.1 Greylisted", os.EX_TEMPFAIL),
        ("452 4.2.2 full", Fate.DEFERRED, "4.2.2", "452 4.2.2 full", os.EX_TEMPFAIL),
        ("450 busy", Fate.DEFERRED, "4.2.0", "450 busy", os.EX_TEMPFAIL),
    ],
)
def test_a_refused_recipient_reads_as_recorded(
    reply: str, fate: Fate, status: str, text: str, exit_code: int, keywords: tuple[str, ...]
) -> None:
    with FakeSmtp(keywords=keywords, answers={"RCPT": [reply]}) as server:
        outcome = only(deliver(job(server.host)))
    said = "DATA" if keywords is ALL else "RCPT To:<x@lab2.campus>"
    assert outcome == Outcome(
        fate,
        status,
        text,
        relay="[127.0.0.1] [127.0.0.1]",
        remote_mta="[127.0.0.1]",
        diagnostic=reply,
        transcript=("... while talking to [127.0.0.1]:", f">>> {said}", f"<<< {reply}"),
        exit_code=exit_code,
    )
    assert server.messages == [b""] * (keywords is ALL)  # the lone dot


@pytest.mark.parametrize("keywords", [ALL, PLAIN])
def test_mixed_answers_are_kept_apart(keywords: tuple[str, ...]) -> None:
    answers = {"RCPT": ["250 ok", NO, "451 4.7.1 later", "250 ok"]}
    names = ("a@s.campus", "b@s.campus", "c@s.campus", "d@s.campus")
    with FakeSmtp(keywords=keywords, answers=answers) as server:
        (fates,) = deliver(job(server.host, *names))
    assert [fates[name].fate for name in names] == [
        Fate.SENT,
        Fate.FAILED,
        Fate.DEFERRED,
        Fate.SENT,
    ]
    assert len(server.messages) == 1


@pytest.mark.parametrize("keywords", [ALL, PLAIN])
@pytest.mark.parametrize(
    ("verb", "reply", "fate", "status"),
    [
        ("MAIL", "550 5.7.1 not you", Fate.FAILED, "5.7.1"),
        ("MAIL", "451 later", Fate.DEFERRED, "4.3.0"),
        ("MAIL", "300 what?", Fate.DEFERRED, "4.5.0"),
        ("RCPT", "300 what?", Fate.DEFERRED, "4.5.0"),
        ("DATA", "554 5.7.1 no", Fate.FAILED, "5.7.1"),
        ("DATA", "451 4.3.0 later", Fate.DEFERRED, "4.3.0"),
        ("DATA", "250 what?", Fate.DEFERRED, "4.5.0"),
        ("DATA", "400 later", Fate.DEFERRED, "4.0.0"),
        (".", "554 5.7.1 Message looks like spam", Fate.FAILED, "5.7.1"),
        (".", "452 4.3.1 disk full", Fate.DEFERRED, "4.3.1"),
        (".", "354 go on?", Fate.DEFERRED, "4.5.0"),
    ],
)
def test_a_refused_message_is_decided_and_the_next_one_goes(
    keywords: tuple[str, ...], verb: str, reply: str, fate: Fate, status: str
) -> None:
    good = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", ".": "250 ok"}[verb]
    answers = {verb: [reply, good]}
    if verb == "MAIL" and keywords is ALL:
        answers["RCPT"] = ["503 no", "250 ok"]
    if verb in ("MAIL", "RCPT") and keywords is ALL:
        answers["DATA"] = ["503 no", "354 go"]
    with FakeSmtp(keywords=keywords, answers=answers) as server:
        fates = deliver(job(server.host), job(server.host))
    outcome = only(fates[:1])
    assert (outcome.fate, outcome.status, outcome.diagnostic) == (fate, status, reply)
    assert outcome.transcript[-1] == f"<<< {reply}"
    assert only(fates[1:]).fate is Fate.SENT
    assert len(server.commands) == 1


def test_spam_in_the_final_reply_reads_as_recorded() -> None:
    with FakeSmtp(answers={".": ["554 5.7.1 Message looks like spam"]}) as server:
        outcome = only(deliver(job(server.host)))
    assert (outcome.text, outcome.exit_code) == ("Service unavailable", os.EX_UNAVAILABLE)
    assert outcome.transcript[1:] == (">>> DATA", "<<< 554 5.7.1 Message looks like spam")


@pytest.mark.parametrize("keywords", [ALL, PLAIN])
@pytest.mark.parametrize("too_many", ["452 4.5.3 too many", "452 too many", "552 too many"])
def test_recipients_over_the_limit_come_in_another_round(
    keywords: tuple[str, ...], too_many: str
) -> None:
    answers = {"RCPT": ["250 ok", "250 ok", too_many, too_many, "250 ok", NO]}
    names = [f"{letter}@s.campus" for letter in "abcd"]
    with FakeSmtp(keywords=keywords, answers=answers) as server:
        (fates,) = deliver(job(server.host, *names))
    assert [fates[name].fate for name in names] == [Fate.SENT] * 3 + [Fate.FAILED]
    assert len(server.messages) == 2
    assert len(server.commands) == 1


def test_a_full_mailbox_is_not_a_limit() -> None:
    answers = {"RCPT": ["250 ok", "452 4.2.2 Mailbox full"]}
    with FakeSmtp(answers=answers) as server:
        (fates,) = deliver(job(server.host, "a@s.campus", "b@s.campus"))
    assert fates["b@s.campus"].text == "452 4.2.2 Mailbox full"
    assert len(server.messages) == 1


def test_many_recipients_are_split_at_a_hundred() -> None:
    with FakeSmtp() as sink:
        (fates,) = deliver(job(sink.host, *(f"u{n}@s.campus" for n in range(250))))
    assert all(outcome.fate is Fate.SENT for outcome in fates.values())
    assert len(sink.messages) == 3


# -- hosts in trouble ------------------------------------------------------------------------------


def test_a_refused_connection_defers_every_message() -> None:
    with Refusing() as port:
        fates = deliver(*(job(f"[127.0.0.1]:{port}") for _ in range(3)))
    assert [only([fate]) for fate in fates] == [
        Outcome(
            Fate.DEFERRED,
            "4.4.1",
            "Connection refused by [127.0.0.1]",
            relay="[127.0.0.1] [127.0.0.1]",
            remote_mta="[127.0.0.1]",
            exit_code=os.EX_TEMPFAIL,
        )
    ] * 3


@pytest.mark.parametrize(
    ("greeting", "fate", "status", "text"),
    [
        (
            "554 5.3.2 nogreet.campus does not want you",
            Fate.FAILED,
            "5.5.0",
            "Service unavailable",
        ),
        ("521 no mail here", Fate.FAILED, "5.5.0", "Service unavailable"),  # RFC 7504
        ("421 4.3.2 busy", Fate.DEFERRED, "4.5.0", "421 4.3.2 busy"),
        (b"SSH-2.0-OpenSSH\r\n", Fate.DEFERRED, "4.4.2", "Connection timed out with [127.0.0.1]"),
        (b"220-" + b"x" * (1 << 20), Fate.DEFERRED, "4.4.2", "Remote protocol error: reply line"),
        (DROP, Fate.DEFERRED, "4.4.2", "reply: read error from [127.0.0.1]"),
    ],
)
def test_a_greeting_that_is_no_welcome(
    greeting: str | bytes, fate: Fate, status: str, text: str
) -> None:
    with FakeSmtp(answers={"greeting": [greeting]}) as server:
        outcome = only(deliver(job(server.host), configured=options(timeout_initial=1)))
    assert (outcome.fate, outcome.status) == (fate, status)
    assert outcome.text.startswith(text)
    assert server.commands in ([["QUIT"]], [[]])
    assert (server.commands == [["QUIT"]]) == (fate is Fate.FAILED)


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("greeting", "timeout_initial"),
        ("EHLO", "timeout_helo"),
        ("MAIL", "timeout_mail"),
        ("RCPT", "timeout_rcpt"),
        ("DATA", "timeout_datainit"),
        (".", "timeout_datafinal"),
    ],
)
def test_each_phase_has_its_own_patience(verb: str, option: str) -> None:
    configured = options()
    for name in vars(configured):
        if name.startswith("timeout_"):
            setattr(configured, name, 60)
    setattr(configured, option, 0.05)
    with FakeSmtp(keywords=PLAIN, answers={verb: [HANG]}) as mute:
        outcome = only(deliver(job(mute.host), configured=configured))
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.4.2")
    assert outcome.text == "Connection timed out with [127.0.0.1]"


def test_a_host_that_takes_its_time_over_quit_spoils_nothing() -> None:
    with FakeSmtp(answers={"QUIT": [HANG]}) as server:
        configured = options(timeout_quit=0.05)  # type: ignore[arg-type]
        assert only(deliver(job(server.host), configured=configured)).fate is Fate.SENT


def test_a_reply_that_trickles_in_has_no_more_time_than_another() -> None:
    with FakeSmtp(dribble=0.02) as slow:
        configured = options(timeout_initial=0.1)  # type: ignore[arg-type]
        outcome = only(deliver(job(slow.host), configured=configured))
    assert outcome.text == "Connection timed out with [127.0.0.1]"


def test_a_host_that_takes_no_content_is_left() -> None:
    with FakeSmtp(keywords=(), deaf=True) as deaf:
        configured = options(timeout_datablock=0.1)  # type: ignore[arg-type]
        big = job(deaf.host, body=b"x" * 79 * 100_000 + b"\n")
        outcome = only(deliver(big, configured=configured))
    assert outcome.text == "Connection timed out with [127.0.0.1]"


def test_one_poisonous_message_does_not_hold_up_the_others() -> None:
    with FakeSmtp(poison="From:<poison@") as server:
        poison = job(server.host, reverse_path=b"poison@lab1.campus")
        fates = deliver(poison, *(job(server.host) for _ in range(5)))
    assert only(fates[:1]).fate is Fate.DEFERRED
    assert all(only([fate]).fate is Fate.SENT for fate in fates[1:])


def test_a_sign_of_life_follows_every_wait() -> None:
    signs: list[int] = []
    with FakeSmtp(keywords=PLAIN) as server:
        Delivery(
            [job(server.host)],
            Transport(options(), OURSELVES),
            lambda *_: None,
            alive=lambda: signs.append(len(server.commands)),
        ).run()
    said = ["EHLO", "MAIL", "RCPT", "DATA", "content", "QUIT"]
    assert len(signs) == len(["connect", "greeting"]) + 2 * len(said)


@pytest.mark.parametrize(
    ("first_attempt", "option"), [(True, "timeout_iconnect"), (False, "timeout_connect")]
)
def test_a_silent_address_times_out_in_connect(first_attempt: bool, option: str) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(address)
        configured = options(timeout_connect=60, timeout_iconnect=60)
        setattr(configured, option, 0.05)
        one = replace(job(f"[127.0.0.1]:{address[1]}"), first_attempt=first_attempt)
        outcome = only(deliver(one, configured=configured))
        for client in waiting:
            client.close()
    assert (outcome.status, outcome.text) == ("4.4.1", "Connection timed out with [127.0.0.1]")


def test_no_answer_to_the_final_dot_defers_and_does_not_send_again() -> None:
    with FakeSmtp(answers={".": [DROP, "250 ok"]}) as drop:
        fates = deliver(job(drop.host), job(drop.host))
    assert only(fates[:1]).text == "reply: read error from [127.0.0.1]"
    assert (only(fates[:1]).fate, only(fates[:1]).status) == (Fate.DEFERRED, "4.4.2")
    assert only(fates[1:]).fate is Fate.SENT
    assert len(drop.messages) == 2


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("trouble", [DROP, "421 4.3.2 too many messages", b"250-a\r\n550 b\r\n"])
def test_a_message_interrupted_before_its_content_comes_again(verb: str, trouble: str) -> None:
    good = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go"}[verb]
    with FakeSmtp(answers={verb: [good, trouble, good]}) as server:
        fates = deliver(*(job(server.host, body=b"%d\n" % n) for n in range(4)))
    assert all(only([fate]).fate is Fate.SENT for fate in fates)
    assert len(server.commands) == 2
    assert sorted(server.messages) == [b"Subject: c\r\n\r\n%d\r\n" % n for n in range(4)]


@pytest.mark.parametrize("trouble", [DROP, "421 4.3.2 no more"])
def test_a_host_that_always_interrupts_is_left_alone(trouble: str) -> None:
    with FakeSmtp(answers={"MAIL": [trouble]}) as server:
        fates = deliver(*(job(server.host) for _ in range(10)))
    assert all(only([fate]).fate is Fate.DEFERRED for fate in fates)
    assert len(server.commands) == 2


def test_a_421_to_the_final_dot_defers_and_the_rest_gets_a_new_connection() -> None:
    with FakeSmtp(answers={".": ["250 ok", "421 4.3.2 bye", "250 ok"]}) as server:
        fates = deliver(*(job(server.host) for _ in range(3)))
    assert [only([fate]).fate for fate in fates] == [Fate.SENT, Fate.DEFERRED, Fate.SENT]
    assert only(fates[1:2]).text == "421 4.3.2 bye"
    assert len(server.commands) == 2


def test_a_message_accepted_in_the_last_breath_is_sent() -> None:
    with FakeSmtp(answers={".": [b"250 2.0.0 ok\r\n421 bye\r\n", "250 ok"]}) as server:
        fates = deliver(job(server.host), job(server.host))
    assert [only([fate]).fate for fate in fates] == [Fate.SENT, Fate.SENT]
    assert len(server.messages) == 2


@pytest.mark.parametrize(
    "junk",
    [
        b"\r\n",
        b"thank you\r\n",
        b"250",
        b"250 x\r\n",
        b"421 x\r\n",
        b"25 x\r\n",
        b"600 x\r\n",
        b"x" * 5000,
    ],
)
@pytest.mark.parametrize("before", [b"", b"\r\nthank you\r\n"])
def test_what_was_answered_with_250_is_sent_whatever_stands_around_it(
    before: bytes, junk: bytes
) -> None:
    taken = before + b"250 2.0.0 taken\r\n" + junk
    with FakeSmtp(answers={".": [taken]}) as server:
        fates = deliver(*(job(server.host, f"{n}@lab2.campus") for n in "abc"))
    assert [outcome.fate for fate in fates for outcome in fate.values()] == [Fate.SENT] * 3
    assert len(server.messages) == 3


def test_a_reply_too_many_never_counts_as_acceptance() -> None:
    answers = {"DATA": [b"354 go\r\n250 accepted\r\n"]}
    with FakeSmtp(answers=answers) as server:
        outcome = only(deliver(job(server.host)))
    assert outcome.fate is Fate.DEFERRED
    assert server.messages == []


# -- several hosts ---------------------------------------------------------------------------------


def by_dns(
    zone: Zone,
    *jobs: Job,
    say: list[str] | None = None,
    ourselves: Ourselves = OURSELVES,
    place: Place | None = None,
    hosts: Hosts | None = None,
) -> Fates:
    with FakeDns(zone) as server:
        resolver = Resolver(budget=5.0, nameserver=server.address, hosts="/nonexistent/hosts")
        return deliver(
            *jobs, resolver=resolver, say=say, ourselves=ourselves, place=place, hosts=hosts
        )


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize(
    "first",
    [
        {"greeting": ["554 5.3.2 go away"]},
        {"greeting": ["421 4.3.2 busy"]},
        {"greeting": [DROP]},
        {"EHLO": ["421 bye"]},
        {"EHLO": ["500 no"], "HELO": ["550 no"]},
        {"MAIL": ["421 bye"]},
        {"MAIL": [DROP]},
    ],
)
def test_a_host_in_trouble_leaves_the_next_one_its_turn(first: dict[str, list[str]]) -> None:
    with FakeSmtp() as good, FakeSmtp(answers=first, address="127.0.0.2", port=good.port) as bad:
        zone: Zone = {
            "d.campus": {"MX": ["10 bad.campus.", "20 good.campus."]},
            "bad.campus": {"A": ["127.0.0.2"]},
            "good.campus": {"A": ["127.0.0.1"]},
        }
        fates = by_dns(zone, *(job(f"d.campus:{good.port}", "x@d.campus") for _ in range(2)))
    assert all(only([fate]).relay == "good.campus. [127.0.0.1]" for fate in fates)
    assert all(only([fate]).fate is Fate.SENT for fate in fates)
    assert bad.commands
    assert len(good.messages) == 2


@pytest.mark.usefixtures("loopback_is_the_world")
def test_a_host_that_other_domains_crowd_is_not_asked_and_nor_is_the_next_one() -> None:
    with FakeSmtp() as server:
        zone: Zone = {
            "d.campus": {"MX": ["10 mx.campus.", "20 mx2.campus."]},
            "mx.campus": {"A": ["127.0.0.1"]},
            "mx2.campus": {"A": ["127.0.0.1"]},
        }
        other, place = slots(2).place_at("hop e.campus"), slots(2).place_at("hop d.campus")
        assert other is not None and place is not None
        with other, place:
            assert other.moves_on_to(f"host mx.campus.:{server.port}")
            one = job(f"d.campus:{server.port}", "x@d.campus")
            outcome = only(by_dns(zone, one, place=place))
            assert server.commands == []
        assert outcome.is_crowded
        assert outcome.text == "waits for another delivery to mx.campus."


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """A memory that this process reads and writes."""
    memory = HostMemory(str(tmp_path / "hosts"), 0.0)
    memory.open()
    yield Hosts(memory, memory.note)
    memory.close()


@pytest.mark.usefixtures("loopback_is_the_world")
def test_a_dead_host_is_remembered_by_all_domains_that_it_serves(hosts: Hosts) -> None:
    with FakeSmtp(answers={"greeting": [DROP]}) as dead:
        zone: Zone = {
            "d.campus": {"MX": ["10 mx.campus."]},
            "e.campus": {"MX": ["10 mx.campus."]},
            "mx.campus": {"A": ["127.0.0.1"]},
        }
        one, other = (job(f"{name}.campus:{dead.port}", "x@d.campus") for name in "de")
        texts = [only(by_dns(zone, given, hosts=hosts)).text for given in (one, other)]
        assert len(dead.commands) == 1
    assert texts == ["reply: read error from mx.campus."] * 2


@pytest.mark.usefixtures("loopback_is_the_world")
def test_the_next_exchanger_takes_what_a_dead_one_would_have_had(hosts: Hosts) -> None:
    with (
        FakeSmtp() as good,
        FakeSmtp(answers={"greeting": [DROP]}, address="127.0.0.2", port=good.port) as dead,
    ):
        zone: Zone = {
            "d.campus": {"MX": ["10 bad.campus.", "20 good.campus."]},
            "bad.campus": {"A": ["127.0.0.2", "127.0.0.3"]},
            "good.campus": {"A": ["127.0.0.1"]},
        }
        for _ in range(2):
            outcome = only(by_dns(zone, job(f"d.campus:{good.port}", "x@d.campus"), hosts=hosts))
            assert outcome.fate is Fate.SENT
        assert (len(dead.commands), len(good.commands)) == (1, 2)


@pytest.mark.usefixtures("loopback_is_the_world")
def test_one_address_that_answers_makes_its_host_alive(hosts: Hosts) -> None:
    with Refusing() as port, FakeSmtp(address="127.0.0.2", port=port) as good:
        zone: Zone = {"d.campus": {"A": ["127.0.0.1", "127.0.0.2"]}}
        for _ in range(2):
            outcome = only(by_dns(zone, job(f"d.campus:{good.port}", "x@d.campus"), hosts=hosts))
            assert outcome.relay == "d.campus. [127.0.0.2]"
    assert hosts.memory.known(f"d.campus:{good.port}") is None


@pytest.mark.parametrize("greeting", ["421 4.3.2 busy", "554 go away"])
def test_a_host_that_answers_is_not_dead(hosts: Hosts, greeting: str) -> None:
    with FakeSmtp(answers={"greeting": [greeting]}) as busy:
        for _ in range(2):
            deliver(job(busy.host), hosts=hosts)
        assert len(busy.commands) == 2


def test_a_host_that_is_back_is_forgotten(hosts: Hosts) -> None:
    with FakeSmtp() as server:
        host = f"127.0.0.1:{server.port}"
        hosts.memory.note(HostStatus(host, 111, "4.4.1", 75))
        outcome = only(deliver(job(server.host), hosts=hosts))
        assert (outcome.text, outcome.status) == ("Connection refused by [127.0.0.1]", "4.4.1")
        assert server.commands == []
        later = HostMemory(hosts.memory._path, time.time() + 1)
        later.open()
        assert only(deliver(job(server.host), hosts=Hosts(later, later.note))).fate is Fate.SENT
        later.close()
    assert hosts.memory.trouble(host) is None


def test_with_host_status_the_last_reply_is_kept_and_a_busy_host_left_alone(
    tmp_path: Path,
) -> None:
    lasting = HostMemory(str(tmp_path / "hosts"), 0.0, lasting=1800)
    lasting.open()
    hosts = Hosts(lasting, lasting.note)
    with FakeSmtp() as good, FakeSmtp(answers={"greeting": ["421 4.3.2 busy"]}) as busy:
        deliver(job(good.host), hosts=hosts)
        first, second = (only(deliver(job(busy.host), hosts=hosts)) for _ in range(2))
        assert len(busy.commands) == 1
    found = lasting.known(f"127.0.0.1:{good.port}")
    assert found is not None
    assert (found.exit_code, found.reply) == (0, "250 2.0.0 Ok: queued as FAKE1")
    assert first.fate is second.fate is Fate.DEFERRED
    assert first.text == second.text == "421 4.3.2 busy"
    lasting.close()


def test_a_greeting_that_refuses_for_good_is_remembered_as_a_delay(tmp_path: Path) -> None:
    lasting = HostMemory(str(tmp_path / "hosts"), 0.0, lasting=1800)
    lasting.open()
    with FakeSmtp(answers={"greeting": ["554 5.3.2 go away"]}) as server:
        for fate in (Fate.FAILED, Fate.DEFERRED):
            outcome = only(deliver(job(server.host), hosts=Hosts(lasting, lasting.note)))
            assert outcome.fate is fate
    lasting.close()


def by_two_hosts(
    first: dict[str, list[str | bytes]], second: dict[str, list[str | bytes]], *names: str
) -> tuple[dict[str, Outcome], FakeSmtp, FakeSmtp]:
    """A message to *names* by bad.campus, which has two addresses, and good.campus."""
    with (
        FakeSmtp(answers=second) as good,
        FakeSmtp(answers=first, address="127.0.0.2", port=good.port) as bad,
    ):
        zone: Zone = {
            "d.campus": {"MX": ["10 bad.campus.", "20 good.campus."]},
            "bad.campus": {"A": ["127.0.0.2", "127.0.0.3"]},
            "good.campus": {"A": ["127.0.0.1"]},
        }
        (fates,) = by_dns(zone, job(f"d.campus:{good.port}", *names))
    return fates, bad, good


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize("first", [{"MAIL": ["451 later"]}, {"RCPT": ["451 4.7.1 grey"]}])
def test_451_to_the_whole_message_asks_the_next_host(first: dict[str, list[str | bytes]]) -> None:
    fates, bad, good = by_two_hosts(first, {}, "x@d.campus", "y@d.campus")
    assert {outcome.fate for outcome in fates.values()} == {Fate.SENT}
    assert (len(bad.commands), len(good.messages)) == (1, 1)


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize(
    "second", [{"greeting": ["554 go away"]}, {"RCPT": ["451 later"]}, {"greeting": [DROP]}]
)
def test_a_451_stands_if_no_other_host_takes_it(second: dict[str, list[str | bytes]]) -> None:
    fates, _, _ = by_two_hosts({"RCPT": ["451 4.7.1 grey"]}, second, "x@d.campus")
    (outcome,) = fates.values()
    assert (outcome.fate, outcome.text[:3]) == (Fate.DEFERRED, "451")


@pytest.mark.usefixtures("loopback_is_the_world")
def test_a_451_to_one_recipient_of_two_asks_nobody_else() -> None:
    first: dict[str, list[str | bytes]] = {"RCPT": ["250 ok", "451 4.7.1 grey"]}
    fates, _, good = by_two_hosts(first, {}, "x@d.campus", "y@d.campus")
    assert [outcome.fate for outcome in fates.values()] == [Fate.SENT, Fate.DEFERRED]
    assert good.commands == []


@pytest.mark.usefixtures("loopback_is_the_world")
def test_every_address_of_a_host_is_tried() -> None:
    with FakeSmtp(address="127.0.0.3") as good:
        zone: Zone = {"d.campus": {"A": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]}}
        outcome = only(by_dns(zone, job(f"d.campus:{good.port}", "x@d.campus")))
    assert outcome.relay == "d.campus. [127.0.0.3]"


def test_the_option_keeps_mail_from_private_addresses() -> None:
    zone: Zone = {"d.campus": {"MX": ["10 mx.campus."]}, "mx.campus": {"A": ["10.255.255.1"]}}
    with FakeDns(zone) as server:
        resolver = Resolver(nameserver=server.address, hosts="/nonexistent/hosts")
        configured = options(refuse_private=True)
        fates = deliver(job("d.campus", "x@d.campus"), configured=configured, resolver=resolver)
    assert (only(fates).fate, only(fates).status) == (Fate.FAILED, "5.4.4")


@pytest.mark.usefixtures("loopback_is_the_world")
def test_equal_hosts_share_the_mail() -> None:
    """RFC 5321 section 5.1: in random order, and after no host of a worse preference."""
    hosts = {name: f"127.0.0.{number}" for number, name in enumerate("abcz", 1)}
    zone: Zone = {
        "d.campus": {"MX": ["20 z.campus.", *(f"10 {name}.campus." for name in "abc")]},
        **{f"{name}.campus": {"A": [address]} for name, address in hosts.items()},
    }
    with FakeSmtp(address="0.0.0.0") as server:
        hop = f"d.campus:{server.port}"
        fates = [by_dns(zone, job(hop, "x@d.campus")) for _ in range(40)]
    assert {only(fate).relay[0] for fate in fates} == set("abc")


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize("greetings", [("554 no", "421 later"), ("421 later", "554 no")])
def test_one_try_later_outweighs_every_never(greetings: tuple[str, str]) -> None:
    with FakeSmtp(answers={"greeting": [greetings[0]]}) as one:
        second = {"greeting": [greetings[1]]}
        with FakeSmtp(answers=second, address="127.0.0.2", port=one.port):
            zone: Zone = {
                "d.campus": {"MX": ["10 a.campus.", "20 b.campus."]},
                "a.campus": {"A": ["127.0.0.1"]},
                "b.campus": {"A": ["127.0.0.2"]},
            }
            outcome = only(by_dns(zone, job(f"d.campus:{one.port}", "x@d.campus")))
    assert (outcome.fate, outcome.text) == (Fate.DEFERRED, "421 later")


@pytest.mark.usefixtures("loopback_is_the_world")
def test_a_host_with_our_own_name_is_a_loop() -> None:
    with FakeSmtp(answers={"EHLO": ["250 LAB1.campus hello"]}) as mirror:
        zone: Zone = {"d.campus": {"A": ["127.0.0.1"]}}
        outcome = only(by_dns(zone, job(f"d.campus:{mirror.port}", "x@d.campus")))
    assert (outcome.fate, outcome.status) == (Fate.FAILED, "5.4.6")
    assert "mail loops back to me" in outcome.transcript[0]
    assert mirror.commands == [["EHLO lab1.campus", "QUIT"]]


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize(
    "name", ["localhost", "lab1", "list.campus", "[127.0.0.1]", "lab1.campus.x"]
)
def test_a_host_with_a_name_that_is_not_ours_alone_is_none(name: str) -> None:
    """Many hosts are localhost, or have our first label; LocalHostNames are not what we greet with."""
    names = frozenset({b"lab1.campus", b"lab1", b"localhost", b"list.campus", b"[127.0.0.1]"})
    ourselves = Ourselves("lab1.campus", names, frozenset({"127.0.0.1"}))
    with FakeSmtp(answers={"EHLO": [f"250 {name} hello"]}) as server:
        zone: Zone = {"d.campus": {"A": ["127.0.0.1"]}}
        found = by_dns(zone, job(f"d.campus:{server.port}", "x@d.campus"), ourselves=ourselves)
    assert only(found).fate is Fate.SENT


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize("name", ["localhost", "box1"])
def test_a_host_without_a_full_name_knows_itself_by_none(name: str) -> None:
    ourselves = Ourselves(name, frozenset({name.encode()}))
    with FakeSmtp(answers={"EHLO": [f"250 {name} hello"]}) as server:
        zone: Zone = {"d.campus": {"A": ["127.0.0.1"]}}
        found = by_dns(zone, job(f"d.campus:{server.port}", "x@d.campus"), ourselves=ourselves)
    assert only(found).fate is Fate.SENT


@pytest.mark.usefixtures("loopback_is_the_world")
def test_a_configured_host_that_is_us_returns_no_mail() -> None:
    with FakeSmtp(answers={"EHLO": ["250 LAB1.campus. hello"]}) as mirror:
        zone: Zone = {"d.campus": {"A": ["127.0.0.1"]}}
        hop = f"d.campus:{mirror.port}"
        outcome = only(by_dns(zone, job(hop, "x@y.campus", option="SmartHost")))
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.3.5")
    assert outcome.text == (
        f"Local configuration error: SmartHost {hop}:"
        " d.campus. config error: mail loops back to me (MX problem?)"
    )


@pytest.mark.parametrize(("option", "fate"), [("SmartHost", Fate.DEFERRED), ("", Fate.FAILED)])
def test_only_a_configured_host_that_does_not_exist_delays(option: str, fate: Fate) -> None:
    outcome = only(by_dns({}, job("nosuch.example", "a@nosuch.example", option=option)))
    assert outcome.fate is fate
    assert ("SmartHost nosuch.example" in outcome.text) == bool(option)


def test_what_a_configured_host_says_stands() -> None:
    with FakeSmtp(answers={"RCPT": ["550 5.1.1 no"]}) as server:
        outcome = only(deliver(job(server.host, option="SmartHost")))
    assert (outcome.fate, outcome.status) == (Fate.FAILED, "5.1.1")


def test_a_configured_host_may_have_our_name() -> None:
    with FakeSmtp(answers={"EHLO": ["250 lab1.campus hello"]}) as server:
        assert only(deliver(job(server.host))).fate is Fate.SENT


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1"])
def test_a_literal_that_somebody_wrote_to_is_not_a_configured_host(literal: str) -> None:
    written = f"IPv6:{literal}" if ":" in literal else literal
    outcome = only(deliver(job(f"[{literal}]", f"x@[{written}]", option="")))
    status = "5.4.4" if literal.startswith("fe80") else "5.4.6"
    assert (outcome.fate, outcome.status) == (Fate.FAILED, status)


def test_a_next_hop_that_is_none_waits_for_the_administrator() -> None:
    outcome = only(deliver(job("[127.0.0.1")))
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.3.5")


def test_a_domain_that_does_not_exist_is_told_as_recorded() -> None:
    outcome = only(by_dns({}, job("nosuch.example", "a@nosuch.example")))
    assert outcome.text == "Host unknown (Name server: nosuch.example: host not found)"
    assert outcome.exit_code == os.EX_NOHOST


@pytest.mark.usefixtures("loopback_is_the_world")
def test_the_verbose_lines_are_as_recorded() -> None:
    lines: list[str] = []
    with FakeSmtp(keywords=("PIPELINING",)) as sink, Refusing("127.0.0.2", sink.port):
        zone: Zone = {
            "d.campus": {"MX": ["10 dead.campus.", "20 sink.campus."]},
            "dead.campus": {"A": ["127.0.0.2"]},
            "sink.campus": {"A": ["127.0.0.1"]},
        }
        by_dns(zone, job(f"d.campus:{sink.port}", "x@d.campus", "y@d.campus"), say=lines)
    assert lines == [
        f"x@d.campus,y@d.campus... Connecting to dead.campus. port {sink.port} via esmtp...",
        f"x@d.campus,y@d.campus... Connecting to sink.campus. port {sink.port} via esmtp...",
        "220 sink.campus ESMTP fake",
        ">>> EHLO lab1.campus",
        "250-sink.campus",
        "250 PIPELINING",
        ">>> MAIL From:<emma@lab1.campus>",
        ">>> RCPT To:<x@d.campus>",
        ">>> RCPT To:<y@d.campus>",
        ">>> DATA",
        "250 2.1.0 Sender ok",
        "250 2.1.5 Recipient ok",
        "250 2.1.5 Recipient ok",
        "354 Go ahead",
        ">>> .",
        "250 2.0.0 Ok: queued as FAKE1",
        "Closing connection to sink.campus.",
        ">>> QUIT",
        "221 2.0.0 Bye",
    ]


def test_text_of_no_known_character_set_is_called_as_the_option_says() -> None:
    configured = options()
    configured.default_charset = "iso-8859-1"
    with FakeSmtp(keywords=("SIZE",)) as old:
        deliver(job(old.host, body=LATIN, header=b"Subject: x\n"), configured=configured)
    assert b"Content-Type: text/plain; charset=iso-8859-1\r\n" in old.messages[0]
