"""What is sent, and what is not, by the TLS that a peer has and the policy that there is."""

from __future__ import annotations

import os
import socket
import ssl
from io import BufferedIOBase
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.remote import connection, handshake
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mailer import RemoteMailer
from minimta.message.outcome import Fate, Outcome
from minimta.system.tls import server_context
from minimta.system.tls_values import Trust
from tests.support.certificates import fingerprint
from tests.support.fakedns import Zone
from tests.support.fakesmtp import ALL, BROKEN, DROP, HANG, SECURED, FakeSmtp, Refusing
from tests.support.jobs import job, options
from tests.support.securesending import NAME, TABLE, Campus, Sent, at, in_clear
from tests.support.slots import slots

pytestmark = pytest.mark.debian("openssl")


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


# -- with TLS --------------------------------------------------------------------------------------


def test_starttls_is_used_where_it_is_offered(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        sent = Sent(at(server))
        assert server.commands == [
            [
                "EHLO lab1.campus",
                "STARTTLS",
                SECURED,
                "EHLO lab1.campus",
                "MAIL From:<emma@lab1.campus> SIZE=20",
                "RCPT To:<x@lab2.campus>",
                "DATA",
                "QUIT",
            ]
        ]
        assert server.messages == [b"Subject: c\r\n\r\nbody\r\n"]
    assert sent.outcome.fate is Fate.SENT
    assert sent.said.count(">>> EHLO lab1.campus") == 2
    i = sent.said.index(">>> STARTTLS")
    assert sent.said[i + 1] == "220 2.0.0 Ready to start TLS"


def test_what_the_ehlo_in_clear_offered_is_forgotten(campus: Campus) -> None:
    """RFC 3207 section 4.2."""
    context = server_context(campus.own)
    with FakeSmtp(tls=context, secure_keywords=("8BITMIME",)) as server:
        Sent(at(server))
        assert server.commands[0][4:] == [
            "MAIL From:<emma@lab1.campus>",
            "RCPT To:<x@lab2.campus>",
            "DATA",
            "QUIT",
        ]


def test_a_large_message_goes_through_tls_as_it_is(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own), keywords=("PIPELINING",)) as server:
        body = b"x" * 998 + b"\n"
        transport = Sent(at(server)).transport
        found: list[Outcome] = []
        letter = job(at(server), body=body * 2000)
        Delivery([letter], transport, lambda _, said: found.extend(said.values())).run()
        assert found[0].fate is Fate.SENT
        assert server.messages[1].count(b"x" * 998 + b"\r\n") == 2000


@pytest.mark.parametrize(
    ("which", "verify"),
    [("good", "OK"), ("other", "OK"), ("own", "FAIL"), ("expired", "FAIL"), ("stranger", "FAIL")],
)
def test_the_log_says_what_the_certificate_was_worth(
    campus: Campus, which: str, verify: str
) -> None:
    """As Sendmail's ${verify}: the chain counts, not the name; and the message is sent."""
    with FakeSmtp(tls=server_context(getattr(campus, which))) as server:
        sent = Sent(at(server), trust=campus.authority.certificate)
    assert sent.outcome.fate is Fate.SENT
    assert sent.verify == verify
    relay, facts = sent.tls[0]
    assert (relay, facts.version, facts.bits) == ("[localhost]", "TLSv1.3", 256)


def test_an_rsa_certificate_is_judged_too(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.authority.issue(NAME, rsa=True))) as server:
        assert Sent(at(server), trust=campus.authority.certificate).verify == "OK"
        assert Sent(at(server)).verify == "FAIL"


def test_a_host_met_again_gets_its_session_back(campus: Campus) -> None:
    context = server_context(campus.good)
    answers = {"MAIL": ["250 ok", "421 later", "250 ok"]}
    with FakeSmtp(tls=context, answers=answers) as server:
        sent = Sent(at(server), row="verify", trust=campus.authority.certificate, jobs=2)
        assert len(server.commands) == 2
        assert server.ask("resumed") == [False, True]
    assert [outcome.fate for outcome in sent.outcomes] == [Fate.SENT, Fate.SENT]


def test_a_certificate_of_ours_is_shown_to_who_asks(campus: Campus) -> None:
    ours = campus.authority.issue("lab1.campus")
    context = server_context(campus.good, trust=Trust(campus.authority.certificate), asks=True)
    context.verify_mode = ssl.CERT_REQUIRED
    with FakeSmtp(tls=context) as server:
        assert Sent(at(server), row="encrypt", own=ours).outcome.fate is Fate.SENT
        refused = Sent(at(server), row="encrypt").outcome
        assert not in_clear(server)
    assert refused.fate is Fate.DEFERRED
    assert "wants a certificate of ours" in refused.text


# -- implicit TLS ----------------------------------------------------------------------------------


def test_tls_from_the_first_octet(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.good), implicit=True) as server:
        sent = Sent(at(server), row="verify implicit", trust=campus.authority.certificate)
        assert server.commands[0][:2] == [SECURED, "EHLO lab1.campus"]
        assert "STARTTLS" not in server.commands[0]
    assert sent.outcome.fate is Fate.SENT


def test_a_port_that_greets_in_clear_where_tls_should_be(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        sent = Sent(at(server), row="may implicit")
        assert not in_clear(server)
    assert sent.outcome.fate is Fate.DEFERRED
    assert sent.outcome.text.startswith(
        "TLS: the answer is no TLS: 220 sink.campus ESMTP fake (STARTTLS has another port: 587, 25)"
    )


def test_a_silent_port_where_tls_should_be_costs_only_the_time_of_a_handshake(
    campus: Campus,
) -> None:
    with FakeSmtp(tls=server_context(campus.good), implicit=True) as server:
        server.change("greeting", HANG)
        sent = Sent(at(server), row="may implicit", configured=options(timeout_initial=1))
    assert sent.outcome.fate is Fate.DEFERRED
    assert "timed out" in sent.outcome.text


def test_a_port_that_speaks_only_tls_is_found_at_once(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for our ClientHello, and we would for its greeting, as long as Timeout.initial."""
    monkeypatch.setattr(connection, "SILENCE", 0.1)
    with FakeSmtp(tls=server_context(campus.good), implicit=True) as server:
        sent = Sent(at(server), configured=options(timeout_initial=3600))
        assert not in_clear(server)
        assert len(server.commands) == 2, "the connection, and the question"
    outcome = sent.outcome
    assert outcome.fate is Fate.DEFERRED
    assert f"port {server.port} speaks TLS from the first octet" in outcome.text
    assert f"To allow it: a row of {TABLE}: {at(server)} encrypt implicit" in outcome.text


def test_a_port_that_is_only_slow_is_waited_for(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE", 0.05)
    monkeypatch.setattr(handshake, "_PATIENCE", 0.05)
    with FakeSmtp(dribble=0.005) as server:
        assert Sent(at(server)).outcome.fate is Fate.SENT


@pytest.mark.parametrize(
    "greeting", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x15\x03\x03\x00\x02\x02\x0a"]
)
def test_an_alert_instead_of_a_greeting_is_understood(greeting: bytes) -> None:
    with FakeSmtp(answers={"greeting": [greeting]}) as server:
        outcome = Sent(at(server)).outcome
        assert len(server.commands) == 1
    assert outcome.fate is Fate.DEFERRED
    assert "speaks TLS from the first octet" in outcome.text


# -- without TLS -----------------------------------------------------------------------------------


def test_a_host_without_starttls_gets_mail_in_clear() -> None:
    with FakeSmtp() as server:
        sent = Sent(at(server))
    assert sent.outcome.fate is Fate.SENT
    assert not sent.tls


@pytest.mark.parametrize("answer", ["454 4.3.3 TLS not available after start", "502 5.5.1 no"])
def test_a_refused_starttls_changes_nothing(campus: Campus, answer: str) -> None:
    answers = {"STARTTLS": [answer]}
    with FakeSmtp(tls=server_context(campus.good), answers=answers) as server:
        assert Sent(at(server)).outcome.fate is Fate.SENT
        assert server.commands[0][:3] == [
            "EHLO lab1.campus",
            "STARTTLS",
            "MAIL From:<emma@lab1.campus> SIZE=20",
        ]


def broken_handshake(campus: Campus) -> FakeSmtp:
    """A server with which no handshake comes to its end: no cipher of ours is good enough for it."""
    context = server_context(campus.good)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # the certificate is not RSA
    return FakeSmtp(tls=context)


def test_a_broken_handshake_is_tried_once_more_in_clear(campus: Campus) -> None:
    with broken_handshake(campus) as server:
        sent = Sent(at(server))
        assert [told[:3] for told in server.commands] == [
            ["EHLO lab1.campus", "STARTTLS", BROKEN],
            ["EHLO lab1.campus", "MAIL From:<emma@lab1.campus> SIZE=20", "RCPT To:<x@lab2.campus>"],
        ]
    assert sent.outcome.fate is Fate.SENT
    (logged,) = sent.logged
    assert logged.startswith("STARTTLS=client, relay=[localhost], error: the other side refused")
    assert logged.endswith("; once more in clear")


@pytest.mark.parametrize("behind", [DROP, "not TLS at all", "\x15\x03\x01\x00\x02\x02\x28"])
def test_however_a_handshake_breaks_the_message_goes_in_clear(behind: str) -> None:
    # Our ClientHello is a line of the fake server, up to its first line feed or blank.
    class Garbling(FakeSmtp):
        def _answer(self, connection: socket.socket, lines: BufferedIOBase, verb: str) -> bytes:
            if verb != "STARTTLS":
                return super()._answer(connection, lines, verb)
            connection.sendall(b"220 go\r\n")
            connection.recv(5)
            if behind != DROP:
                connection.sendall(behind.encode("latin-1"))
            connection.shutdown(socket.SHUT_RDWR)
            return b"5"

    with Garbling(keywords=(*ALL, "STARTTLS")) as server:
        sent = Sent(at(server))
    assert sent.outcome.fate is Fate.SENT
    assert sent.logged[0].endswith("; once more in clear")


def test_a_host_that_hangs_up_at_starttls_gets_mail_in_clear() -> None:
    with FakeSmtp(keywords=(*ALL, "STARTTLS"), answers={"STARTTLS": [DROP]}) as server:
        assert Sent(at(server)).outcome.fate is Fate.SENT


def test_a_handshake_without_end_is_bounded() -> None:
    answers = {"STARTTLS": ["220 go"]}
    keywords = (*ALL, "STARTTLS")
    with FakeSmtp(keywords=keywords, answers=answers, hangs_at_starttls=True) as server:
        outcome = Sent(at(server), row="encrypt", configured=options(timeout_starttls=1)).outcome
    assert outcome.fate is Fate.DEFERRED
    assert "no end of the handshake (Timeout.starttls)" in outcome.text


def test_without_fallback_a_broken_handshake_delays(campus: Campus) -> None:
    with broken_handshake(campus) as server:
        sent = Sent(at(server), configured=options(tls_fallback_to_clear=False))
        assert not in_clear(server)
    assert sent.outcome.fate is Fate.DEFERRED
    assert sent.outcome.status == "4.7.4"


def test_only_tls_of_today_is_spoken(campus: Campus) -> None:
    """RFC 8996: neither 1.0 nor 1.1."""
    context = server_context(campus.good)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with FakeSmtp(tls=context) as server:
        outcome = Sent(at(server), row="encrypt").outcome
        assert not in_clear(server)
    assert outcome.fate is Fate.DEFERRED


# -- text in clear around the handshake ------------------------------------------------------------


@pytest.mark.parametrize(
    "behind", [b"250 injected\r\n", b"250-injected\r\n", b"250 inj", b"\0", b"220 go\r\n220 go\r\n"]
)
@pytest.mark.parametrize("row", ["", "encrypt"])
def test_replies_in_clear_behind_starttls_count_for_nothing(
    campus: Campus, behind: bytes, row: str
) -> None:
    """CVE-2021-38371: they would be taken for answers under TLS."""
    answers = {"STARTTLS": [b"220 2.0.0 go\r\n" + behind]}
    with FakeSmtp(tls=server_context(campus.good), answers=answers) as server:
        sent = Sent(at(server), row=row)
        assert not in_clear(server)
        assert not server.messages
    assert sent.outcome.fate is Fate.DEFERRED
    assert "Remote protocol error" in sent.outcome.text


# -- policies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["encrypt", "verify", "fingerprint sha256:" + "0" * 64])
def test_where_tls_must_be_nothing_goes_without_it(row: str) -> None:
    """A host in between that takes STARTTLS away gets nothing."""
    with FakeSmtp() as server:
        outcome = Sent(at(server), row=row).outcome
        assert not in_clear(server)
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.7.4")
    assert outcome.exit_code == os.EX_TEMPFAIL
    assert outcome.text == (
        "TLS: it offers no STARTTLS; nothing was sent "
        f"(row . of {TABLE} wants {row.partition(' ')[0]}). To allow it: a row of {TABLE}: "
        f"{at(server)} may"
    )


def test_where_tls_must_be_a_refused_starttls_delays(campus: Campus) -> None:
    answers = {"STARTTLS": ["502 5.5.1 not today"]}
    with FakeSmtp(tls=server_context(campus.good), answers=answers) as server:
        outcome = Sent(at(server), row="encrypt").outcome
        assert not in_clear(server)
    assert outcome.fate is Fate.DEFERRED
    assert "answers STARTTLS with 502 5.5.1 not today" in outcome.text


def test_where_tls_must_be_a_broken_handshake_delays(campus: Campus) -> None:
    with broken_handshake(campus) as server:
        outcome = Sent(at(server), row="encrypt").outcome
        assert len(server.commands) == 1
        assert not in_clear(server)
    assert outcome.fate is Fate.DEFERRED


def test_verify_takes_the_certificate_of_the_host_that_was_configured(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        sent = Sent(at(server), row="verify", trust=campus.authority.certificate)
        by_address = Sent(at(server, "127.0.0.1"), row="verify", trust=campus.authority.certificate)
    assert sent.outcome.fate is Fate.SENT
    assert sent.verify == "OK"
    assert by_address.outcome.fate is Fate.SENT


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("expired", "the certificate has expired"),
        ("own", "the certificate is self-signed"),
        ("stranger", "the certificate's authority is unknown"),
        ("other", "the certificate is for mx.other.campus, not for localhost"),
    ],
)
def test_verify_takes_no_other_certificate(campus: Campus, which: str, why: str) -> None:
    with FakeSmtp(tls=server_context(getattr(campus, which))) as server:
        outcome = Sent(at(server), row="verify", trust=campus.authority.certificate).outcome
        assert not in_clear(server)
        assert not server.messages
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.7.5")
    assert why in outcome.text
    assert f"a row of {TABLE}: {at(server)} " in outcome.text


#: who can forge it has mx.other.campus, and a certificate for that
FORGED: Zone = {
    "campus.example": {"MX": ["10 mx.other.campus."]},
    "mx.other.campus": {"A": ["127.0.0.1"]},
}


@pytest.mark.usefixtures("loopback_is_the_world")
def test_the_name_of_an_mx_host_proves_nothing(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.other)) as server:
        hop, trust = f"campus.example:{server.port}", campus.authority.certificate
        outcome = Sent(hop, row="verify", trust=trust, zone=FORGED).outcome
        assert not in_clear(server)
        assert not server.messages
        row = "verify match=campus.example,mx.other.campus"
        listed = Sent(hop, row=row, trust=trust, zone=FORGED).outcome
    assert outcome.fate is Fate.DEFERRED
    assert "is for mx.other.campus, not for campus.example" in outcome.text
    assert f"{hop} verify match=mx.other.campus" in outcome.text
    assert listed.fate is Fate.SENT


@pytest.mark.usefixtures("loopback_is_the_world")
def test_a_certificate_for_the_domain_itself_is_right_on_any_mx_host(campus: Campus) -> None:
    for_domain = server_context(campus.authority.issue("campus.example"))
    with FakeSmtp(tls=for_domain) as server:
        hop, trust = f"campus.example:{server.port}", campus.authority.certificate
        sent = Sent(hop, row="verify", trust=trust, zone=FORGED)
    assert sent.outcome.fate is Fate.SENT
    assert sent.tls[0][0] == "mx.other.campus."


def test_verify_takes_a_name_that_the_row_lists(campus: Campus) -> None:
    row = "verify match=mx.nowhere.campus,.other.campus"
    with FakeSmtp(tls=server_context(campus.other)) as server:
        sent = Sent(at(server), row=row, trust=campus.authority.certificate)
    assert sent.outcome.fate is Fate.SENT


def test_a_pinned_certificate_needs_no_authority(campus: Campus) -> None:
    row = f"fingerprint sha256:{'1' * 64} sha256:{fingerprint(campus.own)}"
    with FakeSmtp(tls=server_context(campus.own)) as server:
        sent = Sent(at(server), row=row)
    assert sent.outcome.fate is Fate.SENT
    assert sent.verify == "TRUSTED"


def test_another_certificate_than_the_pinned_one_gets_nothing(campus: Campus) -> None:
    row = f"fingerprint sha256:{fingerprint(campus.own)}"
    with FakeSmtp(tls=server_context(campus.good)) as server:
        outcome = Sent(at(server), row=row, trust=campus.authority.certificate).outcome
        assert not in_clear(server)
        assert not server.messages
    assert outcome.fate is Fate.DEFERRED
    assert f"fingerprint sha256:{fingerprint(campus.good)}" in outcome.text


def test_none_is_no_tls(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        assert Sent(at(server), row="none").outcome.fate is Fate.SENT
        assert "STARTTLS" not in server.commands[0]


def test_where_we_log_in_no_row_for_clear_text_is_proposed() -> None:
    with FakeSmtp() as server:
        outcome = Sent(at(server), logs_in=True).outcome
    assert outcome.text == (
        "TLS: it offers no STARTTLS; logins are taken at port 587 or 465, as a rule; nothing was sent "
        f"(the login at {at(server)} wants verify)"
    )


def test_where_we_log_in_the_certificate_is_verified(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        outcome = Sent(at(server), logs_in=True).outcome
        assert not in_clear(server)
        explicit = Sent(at(server), logs_in=True, row="encrypt").outcome
    assert outcome.fate is Fate.DEFERRED
    assert f"(the login at {at(server)} wants verify)" in outcome.text
    assert explicit.fate is Fate.SENT


def test_authorities_that_cannot_be_read_delay_only_who_must_be_verified(
    campus: Campus, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.pem")
    with FakeSmtp(tls=server_context(campus.good)) as server:
        outcome = Sent(at(server), row="verify", trust=missing).outcome
        assert not in_clear(server)
        assert Sent(at(server), trust=missing).outcome.fate is Fate.SENT
    assert outcome.fate is Fate.DEFERRED
    assert f"{missing}: No such file or directory" in outcome.text


def test_a_row_that_makes_no_sense_delays() -> None:
    with FakeSmtp() as server:
        outcome = Sent(at(server), row="verfy").outcome
        assert not server.commands
    assert outcome.fate is Fate.DEFERRED
    assert f"row . of {TABLE}: 'verfy' is no level of TLS (did you mean verify?)" in outcome.text


# -- several hosts ---------------------------------------------------------------------------------


def test_several_smart_hosts_are_tried_in_order() -> None:
    with Refusing() as closed, FakeSmtp() as server, FakeSmtp() as spare:
        sent = Sent(f"[{NAME}]:{closed}", at(server), at(spare))
        assert (len(server.messages), len(spare.messages)) == (1, 0)
    assert sent.outcome.fate is Fate.SENT


def test_a_smart_host_without_the_right_tls_is_passed_by(campus: Campus) -> None:
    with FakeSmtp() as stripped, FakeSmtp(tls=server_context(campus.own)) as server:
        sent = Sent(at(stripped), at(server), row="encrypt")
        assert not in_clear(stripped)
        assert len(server.messages) == 1
    assert sent.outcome.fate is Fate.SENT


# -- the mailer, with its worker -------------------------------------------------------------------


def by_mailer(
    monkeypatch: pytest.MonkeyPatch, host: str, configured: Options
) -> tuple[Outcome, list[str]]:
    """The outcome of one message, and the lines of the log."""
    lines: list[str] = []
    monkeypatch.setattr("minimta.system.privileges.become", lambda name: None)
    monkeypatch.setattr(
        "minimta.system.log.line", lambda qid, text, **_: lines.append(f"{qid}: {text}")
    )
    mine = slots(10)
    assert mine.enter()
    ((_, outcomes),) = RemoteMailer(configured, mine).deliver([job(host)])
    mine.leave()
    (outcome,) = outcomes.values()
    return outcome, lines


def test_the_log_has_the_line_that_sendmail_writes(
    campus: Campus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured = options(tls_policy=str(tmp_path / "nosuch"))
    with FakeSmtp(tls=server_context(campus.own)) as server:
        outcome, lines = by_mailer(monkeypatch, server.host, configured)
    assert outcome.fate is Fate.SENT
    assert lines == [
        ": STARTTLS=client, relay=[127.0.0.1], version=TLSv1.3, verify=FAIL, "
        "cipher=TLS_AES_256_GCM_SHA384, bits=256/256"
    ]


def test_the_options_name_table_authorities_and_certificate(
    campus: Campus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "tls-policy"
    table.write_text("# all of them\n[127.0.0.1] verify\n")
    ours = campus.authority.issue("lab1.campus")
    configured = options(
        tls_policy=str(table),
        ca_cert_file=campus.authority.certificate,
        client_cert_file=ours.cert_file,
        client_key_file=ours.key_file,
    )
    context = server_context(campus.good, trust=Trust(campus.authority.certificate), asks=True)
    context.verify_mode = ssl.CERT_REQUIRED
    with FakeSmtp(tls=context) as server:
        outcome, lines = by_mailer(monkeypatch, server.host, configured)
    assert outcome.fate is Fate.SENT
    assert "verify=OK" in lines[0]


def test_a_table_that_cannot_be_read_delays_all_mail_that_it_could_be_about(
    campus: Campus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        outcome, _ = by_mailer(monkeypatch, server.host, options(tls_policy=str(tmp_path)))
        assert not server.commands
    assert outcome.fate is Fate.DEFERRED
    assert f"{tmp_path}: Is a directory" in outcome.text


def test_a_certificate_of_ours_that_is_no_good_is_logged_and_stops_no_mail(
    campus: Campus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured = options(tls_policy=str(tmp_path / "nosuch"), client_cert_file="/nonexistent")
    with FakeSmtp(tls=server_context(campus.good)) as server:
        outcome, lines = by_mailer(monkeypatch, server.host, configured)
    assert outcome.fate is Fate.SENT
    assert lines[0].startswith(": STARTTLS=client, error: no certificate to show: /nonexistent: No")
