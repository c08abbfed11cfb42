"""Logging in at a provider: by which mechanism, when not at all, and what a refusal means."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from minimta.mailers.job import Job
from minimta.mailers.remote import mx_targets
from minimta.mailers.remote import transport as transports
from minimta.mailers.remote.credentials import HopLogin
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.lines import Line, LoginLine
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.tls_policy import TlsPolicies
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Fate, Outcome
from minimta.smtp.sasl import Login
from minimta.system.dns import Resolver
from minimta.system.tls import TlsClient, server_context
from minimta.system.tls_values import Trust
from tests.support.certificates import Authority
from tests.support.fakedns import FakeDns, Zone
from tests.support.fakeprovider import PROVIDERS, FakeProvider
from tests.support.fakesmtp import BROKEN, FakeSmtp
from tests.support.jobs import job, options

pytestmark = pytest.mark.debian("openssl")

SECRET = "correct-horse-battery"
USERS = {"emma": SECRET}
LOGIN = Login("emma", SECRET.encode())
WRONG = Login("emma", b"not-" + SECRET.encode())
FILE = "/etc/mail/authinfo"


class Campus:
    """An authority, and certificates for localhost and for another host."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.good = self.authority.issue("localhost", "127.0.0.1")
        self.other = self.authority.issue("mx.other.campus")


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


class Sent:
    """Some messages to a next hop where we log in, and what came of it."""

    def __init__(
        self,
        hop: str,
        login: Login | None = LOGIN,
        *,
        campus: Campus | None = None,
        row: str = "",
        jobs: int = 1,
        names: tuple[str, ...] = (),
        zone: Zone | None = None,
        fault: str = "",
        away: bool = False,
        option: str = "SmartHost",
        monkeypatch: pytest.MonkeyPatch | None = None,
    ) -> None:
        """*away*: the address of the provider does not count as one of this host."""
        self.told: list[LoginLine] = []
        self.said: list[str] = []
        self.logged: list[str] = []
        self.outcomes: list[Outcome] = []
        got = HopLogin(login, names, f"{FILE} line 3", fault)
        logins = {part: got for part in hop.split(",")} if login or fault else {}
        ourselves = Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset())
        trust = Trust(campus.authority.certificate if campus else "")
        table = {b".": row.encode()} if row else {}
        transport = Transport(
            options(),
            ourselves,
            tls=TlsClient(trust, None),
            policies=TlsPolicies(table, "/etc/mail/tls-policy"),
            logins=logins,
        )
        if away:
            assert monkeypatch
            monkeypatch.setattr(transports, "is_loopback", lambda address: False)
        with FakeDns(zone or {}) as server:
            Delivery(
                [job(hop, option=option) for _ in range(jobs)],
                transport,
                self._report,
                say=self.said.append,
                log=self.logged.append,
                tell=self._tell,
                resolver=Resolver(nameserver=server.address),
            ).run()

    def _tell(self, line: Line) -> None:
        if isinstance(line, LoginLine):
            self.told.append(line)

    def _report(self, one: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        self.outcomes += outcomes.values()

    @property
    def outcome(self) -> Outcome:
        assert len(self.outcomes) == 1
        return self.outcomes[0]

    @property
    def deferred(self) -> str:
        """Why all of it waits; nothing was returned, and no secret is in any text."""
        assert {outcome.fate for outcome in self.outcomes} == {Fate.DEFERRED}
        everything = [*self.said, *self.logged, *map(repr, self.outcomes), *map(repr, self.told)]
        assert not any(SECRET in text for text in everything)
        return self.outcomes[0].text


def lead_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """MX records may lead to addresses of this host."""
    monkeypatch.setattr(mx_targets.TargetFinder, "_is_us", lambda self, address: False)
    monkeypatch.setattr(mx_targets.TargetFinder, "_leads_away", lambda self, address: True)


def verbs(server: FakeSmtp) -> list[str]:
    return [line.split(" ")[0] for told in server.commands for line in told]


# --- mechanisms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "login", "mechanism"),
    [
        ("gmail", LOGIN, "PLAIN"),
        ("gmail", Login("emma", SECRET.encode(), mechanisms=("XOAUTH2",)), "XOAUTH2"),
        (
            "gmail",
            Login("emma", SECRET.encode(), mechanisms=("XOAUTH2", "OAUTHBEARER")),
            "OAUTHBEARER",
        ),
        ("office365", LOGIN, "LOGIN"),
        ("office365", Login("emma", SECRET.encode(), mechanisms=("XOAUTH2",)), "XOAUTH2"),
        ("ses", LOGIN, "PLAIN"),
        ("ses", Login("emma", SECRET.encode(), mechanisms=("LOGIN",)), "LOGIN"),
        ("fastmail", LOGIN, "PLAIN"),
        ("scram", LOGIN, "SCRAM-SHA-256"),
        ("scram", Login("emma", SECRET.encode(), mechanisms=("CRAM-MD5",)), "CRAM-MD5"),
    ],
)
def test_the_best_mechanism_that_both_have_is_used(
    campus: Campus, provider: str, login: Login, mechanism: str
) -> None:
    with FakeProvider(PROVIDERS[provider], USERS, tls=server_context(campus.good)) as server:
        sent = Sent(f"[localhost]:{server.port}", login, campus=campus, jobs=2)
        assert [outcome.fate for outcome in sent.outcomes] == [Fate.SENT] * 2
        # Two messages, one login, over TLS.
        assert server.logins == [("emma", mechanism, True, True)]
        assert [(line.text, line.accepted) for line in sent.told] == [(mechanism, True)]
        assert sent.told[0].bits >= 128
        assert verbs(server).index("STARTTLS") < verbs(server).index("AUTH")


def test_a_login_on_port_465(campus: Campus) -> None:
    context = server_context(campus.good)
    with FakeProvider(PROVIDERS["fastmail"], USERS, tls=context, implicit=True) as server:
        sent = Sent(f"[localhost]:{server.port}", campus=campus, row="verify implicit")
        assert sent.outcome.fate is Fate.SENT
        assert server.logins == [("emma", "PLAIN", True, True)]
        assert "STARTTLS" not in verbs(server)


def test_an_author_is_not_vouched_for() -> None:
    with FakeProvider(PROVIDERS["ses"], USERS) as server:
        assert Sent(server.host).outcome.fate is Fate.SENT
        assert "MAIL From:<emma@lab1.campus> AUTH=<>" in server.commands[0]


def test_who_has_not_logged_in_says_nothing_of_authors() -> None:
    with FakeSmtp(keywords=["AUTH PLAIN"]) as server:
        assert Sent(server.host, None).outcome.fate is Fate.SENT
        assert "MAIL From:<emma@lab1.campus>" in server.commands[0]


def test_a_long_token_goes_in_a_line_of_its_own() -> None:
    token = "t" * 2000
    login = Login("emma", token.encode(), mechanisms=("XOAUTH2",))
    with FakeProvider(PROVIDERS["gmail"], {"emma": token}) as server:
        assert Sent(server.host, login).outcome.fate is Fate.SENT
        assert "AUTH XOAUTH2" in server.commands[0]


@pytest.mark.parametrize("code", ["500 5.5.1", "501 5.5.2", "502", "503 5.5.1", "504 5.5.4", "538"])
def test_a_mechanism_that_fails_technically_gives_way_to_the_next(code: str) -> None:
    with FakeProvider(PROVIDERS["ses"], USERS, auth_answers=[f"{code} not now"]) as server:
        assert Sent(server.host).outcome.fate is Fate.SENT
        assert server.logins == [("emma", "LOGIN", True, False)]


def test_a_challenge_that_makes_no_sense_is_cancelled_and_gives_way_to_the_next() -> None:
    answers = ["334 !!!", "501 5.5.4 cancelled"]
    with FakeProvider(PROVIDERS["scram"], USERS, auth_answers=answers[:1]) as server:
        sent = Sent(server.host)
        assert sent.outcome.fate is Fate.SENT
        assert "*" in server.commands[0]
        assert server.logins == [("emma", "PLAIN", True, False)]


def test_where_no_mechanism_works_the_reason_of_each_is_told() -> None:
    answers = ["504 5.5.4 not now", "334 !!!"]
    with FakeProvider(PROVIDERS["ses"], USERS, auth_answers=answers) as server:
        sent = Sent(server.host)
        told = r"no mechanism of \S+ works: PLAIN: 504 5\.5\.4 not now; LOGIN: \S.*"
        assert re.fullmatch(told, sent.deferred)
        assert (sent.outcome.status, sent.told) == ("4.7.0", [])
        assert "MAIL" not in verbs(server)


@pytest.mark.parametrize(
    ("offered", "mechanisms", "told"),
    [
        ("GSSAPI NTLM", (), "offers GSSAPI NTLM; we can SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5"),
        ("", (), "offers none; we can SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5"),
        ("PLAIN", ("LOGIN", "XOAUTH2"), "offers PLAIN; we can XOAUTH2 LOGIN"),
        ("SCRAM-SHA-256-PLUS", ("SCRAM-SHA-256-PLUS",), "offers SCRAM-SHA-256-PLUS; we can none"),
    ],
)  # fmt: skip
def test_where_none_is_for_the_login_both_lists_are_told(
    offered: str, mechanisms: tuple[str, ...], told: str
) -> None:
    with FakeSmtp(keywords=[f"AUTH {offered}".rstrip()]) as server:
        sent = Sent(server.host, Login("emma", b"x", mechanisms=mechanisms))
        assert sent.deferred.startswith(f"no mechanism for the login of {FILE} line 3: ")
        assert sent.deferred.endswith(told)
        assert verbs(server) == ["EHLO", "QUIT"]


def test_questions_of_login_may_be_plain_text() -> None:
    answers = {"AUTH": ["334 Username:"], "ZW1TQQ==": ["334 Password:"], "YWJj": ["235 ok"]}
    with FakeSmtp(keywords=["AUTH LOGIN"], answers=answers) as server:
        # The fake knows lines by their first word in capitals.
        assert Sent(server.host, Login("emSA", b"abc")).deferred
        assert "AUTH LOGIN" in server.commands[0]
        assert "ZW1TQQ==" in server.commands[0]


def test_a_mechanism_whose_challenges_do_not_end_is_no_mechanism() -> None:
    with FakeSmtp(
        keywords=["AUTH LOGIN"], answers={"AUTH": ["334 "], "": ["334 "], "*": ["501 no"]}
    ) as server:
        assert "no mechanism of" in Sent(server.host, Login("", b"")).deferred
        assert "MAIL" not in verbs(server)


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wrong_password_is_tried_once_and_for_no_message_again(
    campus: Campus, provider: str
) -> None:
    with FakeProvider(PROVIDERS[provider], USERS, tls=server_context(campus.good)) as server:
        sent = Sent(f"[localhost]:{server.port}", WRONG, campus=campus, jobs=3)
        assert sent.deferred.startswith(f"password of emma refused, correct {FILE} line 3: 535")
        assert len(sent.outcomes) == 3
        assert [accepted for _, _, accepted, _ in server.logins] == [False]
        assert verbs(server).count("AUTH") == 1
        assert "MAIL" not in verbs(server)
        assert verbs(server)[-1] == "QUIT"
        assert [line.accepted for line in sent.told] == [False]
        assert {outcome.status for outcome in sent.outcomes} == {"4.7.8"}


@pytest.mark.parametrize("provider", ["gmail", "office365", "fastmail"])
def test_a_token_that_has_expired_is_told_with_the_reason(campus: Campus, provider: str) -> None:
    login = Login("emma", b"expired", mechanisms=("XOAUTH2",))
    with FakeProvider(PROVIDERS[provider], USERS, tls=server_context(campus.good)) as server:
        sent = Sent(f"[localhost]:{server.port}", login, campus=campus)
        assert sent.deferred.startswith("token of emma refused")
        assert ("(400)" if provider == "gmail" else "(401)") in sent.deferred
        assert verbs(server).count("AUTH") == 1


def test_a_refused_login_is_not_tried_at_another_host_of_the_same_next_hop(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_anywhere(monkeypatch)
    zone: Zone = {
        "provider.campus": {"MX": ["10 a.campus.", "20 b.campus."]},
        "a.campus": {"A": ["127.0.0.1"]},
        "b.campus": {"A": ["127.0.0.2"]},
    }
    tls, row = server_context(campus.good), "verify match=localhost"
    with FakeProvider(PROVIDERS["ses"], USERS, tls=tls, address="0.0.0.0") as server:
        hop = f"provider.campus:{server.port}"
        sent = Sent(hop, WRONG, zone=zone, campus=campus, row=row)
        assert "refused" in sent.deferred
        assert len(server.logins) == 1
        assert len(server.commands) == 1


@pytest.mark.parametrize("answer", ["454 4.7.0 Temporary authentication failure", "432 4.7.12 x"])
def test_a_login_that_is_put_off_is_no_wrong_password(answer: str) -> None:
    with FakeProvider(PROVIDERS["ses"], USERS, auth_answers=[answer]) as server:
        sent = Sent(server.host)
        assert sent.deferred.startswith("login as emma put off by")
        assert sent.told == []
        assert sent.outcome.status == answer.split(" ")[1]
        assert verbs(server).count("AUTH") == 1


def test_a_peer_that_closes_at_auth_has_refused_no_password() -> None:
    with FakeProvider(
        PROVIDERS["ses"], USERS, auth_answers=["421 4.7.0 Too many logins"]
    ) as server:
        sent = Sent(server.host)
        assert "421 4.7.0 Too many logins" in sent.deferred
        assert sent.told == []
        assert verbs(server) == ["EHLO", "AUTH"]


def test_a_host_that_still_wants_a_login_wants_another_one() -> None:
    answers = {"AUTH": ["235 ok"], "MAIL": ["530 5.7.0 no"]}
    with FakeSmtp(keywords=["AUTH PLAIN"], answers=answers) as server:
        assert f"wants a login, the right login wanted in {FILE}: 530" in Sent(server.host).deferred


def test_a_host_that_nobody_configured_returns_mail_as_always() -> None:
    with FakeSmtp(answers={"MAIL": ["530 5.7.0 Authentication required"]}) as server:
        sent = Sent(server.host, None, option="")
        assert sent.outcome.fate is Fate.FAILED


@pytest.mark.parametrize("answer", ["534 5.7.9 Application-specific password required", "550 no"])
def test_other_refusals_are_refusals(answer: str) -> None:
    with FakeProvider(PROVIDERS["ses"], USERS, auth_answers=[answer]) as server:
        sent = Sent(server.host)
        assert answer in sent.deferred
        assert [line.accepted for line in sent.told] == [False]
        assert verbs(server).count("AUTH") == 1


def test_a_server_that_does_not_know_the_password_gets_no_mail_and_no_password() -> None:
    """It says yes to a SCRAM that it cannot have checked."""
    with FakeProvider(PROVIDERS["scram"], USERS, auth_answers=["235 2.7.0 welcome"]) as server:
        sent = Sent(server.host)
        assert "did not prove that it knows the password" in sent.deferred
        assert verbs(server) == ["EHLO", "AUTH"]


@pytest.mark.parametrize("verb", ["greeting", "EHLO"])
def test_who_is_refused_before_the_login_waits(verb: str) -> None:
    """It is about this host, and nobody's mail is returned for it."""
    answer = "554 5.7.1 your address is blocked"
    answers = {verb: [answer], "HELO": [answer]}
    with FakeSmtp(answers=answers) as server:
        sent = Sent(server.host)
        assert sent.deferred == answer
        assert sent.outcome.status[0] == "4"
    with FakeSmtp(answers=answers) as server:
        assert Sent(server.host, None).outcome.fate is Fate.FAILED


def test_a_password_that_a_server_calls_wrong_is_not_said_once_more() -> None:
    """e=invalid-proof of RFC 5802 section 7, before the server's 535."""
    with FakeProvider(PROVIDERS["scram"], {"emma": "another"}) as server:
        server.ask("say_why")
        sent = Sent(server.host)
        assert "password of emma refused" in sent.deferred
        assert verbs(server).count("AUTH") == 1
        assert [line.accepted for line in sent.told] == [False]


def test_a_secret_that_a_peer_repeats_is_hidden(campus: Campus) -> None:
    answer = f"535 5.7.8 bad password {SECRET} AGVtbWEAY29ycmVjdC1ob3JzZS1iYXR0ZXJ5 "
    answer += "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"
    with FakeProvider(PROVIDERS["ses"], USERS, auth_answers=[answer]) as server:
        sent = Sent(server.host)
        assert "bad password *** *** ***" in sent.deferred
        assert any("AUTH PLAIN ***" in line for line in sent.said)


def test_challenges_and_their_answers_are_not_shown() -> None:
    with FakeProvider(PROVIDERS["scram"], USERS) as server:
        sent = Sent(server.host)
        dialogue = [line for line in sent.said if "AUTH" in line or "***" in line]
        assert dialogue[1:] == [
            ">>> AUTH SCRAM-SHA-256 ***", "334 ***", ">>> ***", "334 ***", ">>> ***",
            ">>> MAIL From:<emma@lab1.campus> AUTH=<>",
        ]  # fmt: skip


# --- not even tried -------------------------------------------------------------------------------


def test_no_auth_is_no_mail_for_there_is_a_login() -> None:
    with FakeProvider(PROVIDERS["ses"], USERS, mechanisms="") as server:
        sent = Sent(server.host)
        assert "offers no AUTH, and the login of /etc/mail/authinfo line 3 must be used" in (
            sent.deferred
        )
        assert verbs(server) == ["EHLO", "QUIT"]


def test_no_mechanism_in_common_is_told_with_both_lists() -> None:
    login = Login("emma", SECRET.encode(), mechanisms=("SCRAM-SHA-256",))
    with FakeProvider(PROVIDERS["office365"], USERS) as server:
        text = Sent(server.host, login).deferred
        assert "offers LOGIN XOAUTH2; we can SCRAM-SHA-256" in text
        assert verbs(server) == ["EHLO", "QUIT"]


@pytest.mark.parametrize("row", ["", "verify", "encrypt"])
def test_a_stripped_starttls_is_told_and_nothing_is_said_in_clear(
    campus: Campus, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeProvider(PROVIDERS["gmail"], USERS) as server:
        sent = Sent(
            f"[localhost]:{server.port}", campus=campus, row=row, away=True, monkeypatch=monkeypatch
        )
        assert "it offers no STARTTLS" in sent.deferred
        assert set(verbs(server)) == {"EHLO"}


@pytest.mark.parametrize("row", ["may", "none"])
def test_not_even_a_policy_lets_a_password_go_in_clear(
    campus: Campus, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeProvider(PROVIDERS["gmail"], USERS) as server:
        sent = Sent(
            f"[localhost]:{server.port}", campus=campus, row=row, away=True, monkeypatch=monkeypatch
        )
        assert "without it there is no login" in sent.deferred
        assert set(verbs(server)) == {"EHLO", "QUIT"}


def test_a_certificate_for_another_name_gets_no_password(campus: Campus) -> None:
    with FakeProvider(PROVIDERS["gmail"], USERS, tls=server_context(campus.other)) as server:
        sent = Sent(f"[localhost]:{server.port}", campus=campus, row="verify")
        assert "the certificate is for mx.other.campus, not for localhost" in sent.deferred
        assert "AUTH" not in verbs(server)


def test_with_a_login_the_certificate_is_verified_without_any_row(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = server_context(campus.other)
    with FakeProvider(PROVIDERS["gmail"], USERS, tls=context) as server:
        host = f"[localhost]:{server.port}"
        sent = Sent(host, campus=campus, away=True, monkeypatch=monkeypatch)
        assert "not for localhost" in sent.deferred
        assert "AUTH" not in verbs(server)


def test_a_name_that_the_row_lists_may_be_in_the_certificate(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeProvider(PROVIDERS["gmail"], USERS, tls=server_context(campus.other)) as server:
        host, names = f"[localhost]:{server.port}", ("mx.other.campus",)
        sent = Sent(host, campus=campus, names=names, away=True, monkeypatch=monkeypatch)
        assert sent.outcome.fate is Fate.SENT


def test_on_this_host_a_login_needs_no_tls() -> None:
    with FakeProvider(PROVIDERS["ses"], USERS) as server:
        assert Sent(server.host).outcome.fate is Fate.SENT
        assert server.logins == [("emma", "PLAIN", True, False)]


def test_a_name_that_leads_to_this_host_is_not_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forged answer of a name server; any user may listen on the port."""
    lead_anywhere(monkeypatch)
    zone: Zone = {"provider.campus": {"A": ["127.0.0.1"]}}
    with FakeProvider(PROVIDERS["ses"], USERS) as server:
        for row in ("", "may", "none"):
            sent = Sent(f"provider.campus:{server.port}", row=row, zone=zone)
            assert sent.outcome.status == "4.7.4", sent.outcome.text
        assert "AUTH" not in verbs(server)
        assert Sent(f"[localhost]:{server.port}", zone=zone).outcome.fate is Fate.SENT


def test_a_login_with_a_fault_is_no_reason_to_send_without() -> None:
    with FakeProvider(PROVIDERS["ses"], USERS) as server:
        sent = Sent(server.host, None, fault=f"{FILE} line 3: P: is empty")
        assert sent.deferred == f"{FILE} line 3: P: is empty"
        assert server.commands == []


def test_the_next_smart_host_has_its_turn_when_one_cannot_be_used() -> None:
    with (
        FakeProvider(PROVIDERS["ses"], USERS, mechanisms="") as first,
        FakeProvider(PROVIDERS["ses"], USERS) as second,
    ):
        sent = Sent(f"{first.host},{second.host}")
        assert sent.outcome.fate is Fate.SENT
        assert "MAIL" not in verbs(first)


def test_a_host_that_only_an_mx_record_names_gets_a_login_only_if_verified(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_anywhere(monkeypatch)
    zone: Zone = {
        "provider.campus": {"MX": ["10 mx.other.campus."]},
        "mx.other.campus": {"A": ["127.0.0.1"]},
    }
    for row, why in (("encrypt", "verify its certificate"), ("verify match=mx.other.campus", "")):
        with FakeProvider(PROVIDERS["gmail"], USERS, tls=server_context(campus.other)) as server:
            hop = f"provider.campus:{server.port}"
            sent = Sent(hop, campus=campus, row=row, zone=zone, away=True, monkeypatch=monkeypatch)
            if why:
                assert why in sent.deferred
                assert "AUTH" not in verbs(server)
            else:
                assert sent.outcome.fate is Fate.SENT


# --- no login where one is wanted -----------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_configured_host_that_wants_a_login_delays_and_says_so(provider: str) -> None:
    with FakeProvider(PROVIDERS[provider], USERS) as server:
        sent = Sent(server.host, None)
        assert f"wants a login, a row for it is wanted in {FILE}: 5" in sent.deferred
        assert sent.outcome.diagnostic.startswith(("530", "550"))


def test_it_delays_without_a_file_of_logins_too(monkeypatch: pytest.MonkeyPatch) -> None:
    without = options(auth_info_file="")
    monkeypatch.setattr(sys.modules[__name__], "options", lambda: without)
    with FakeSmtp(answers={"MAIL": ["530 5.5.1 Must issue an AUTH command first"]}) as server:
        told = Sent(server.host, None).deferred
    assert "wants a login, a row for it is wanted in AuthInfoFile: 530 5.5.1" in told


def test_a_broken_handshake_gets_no_password(campus: Campus) -> None:
    other = Authority(Path(campus.authority.certificate).parent, "nobody").issue("localhost")
    with FakeProvider(PROVIDERS["gmail"], USERS, tls=server_context(other)) as server:
        sent = Sent(f"[localhost]:{server.port}", campus=campus, row="verify")
        assert "authority is unknown" in sent.deferred
        assert "AUTH" not in verbs(server)
        assert BROKEN in [line for told in server.commands for line in told]
