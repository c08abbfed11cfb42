"""What the access table wants of TLS with other hosts: which row counts, and what is sent then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from minimta.commands import makemap
from minimta.mailers.job import Job
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mx_targets import Ourselves
from minimta.mailers.remote.tls_policy import Level, Policy, TlsPolicies
from minimta.mailers.remote.tls_rules import TlsRules
from minimta.mailers.remote.transport import Transport
from minimta.maps import text_table
from minimta.message.outcome import Fate, Outcome
from minimta.system.dns import Resolver
from minimta.system.tls import TlsClient, server_context
from minimta.system.tls_values import Trust
from tests.mailers.remote.test_starttls import broken_handshake, by_mailer
from tests.support.fakesmtp import BROKEN, SECURED, FakeSmtp
from tests.support.jobs import job, options
from tests.support.securesending import Campus, at, in_clear

pytestmark = pytest.mark.debian("openssl")

PATH = "/etc/mail/access"


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


def rules(text: str) -> TlsRules:
    rows = (line.split(None, 1) for line in text.encode().splitlines())
    return TlsRules({key.lower(): value for key, value in rows}, PATH)


# --- which row ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("mx.lab3.campus", True),
        ("lab3.campus", True),
        ("campus", True),
        ("10.0.3.136", True),
        ("10.0.3", True),
        ("", True),
        ("b3.campus", False),
        ("mx", False),
        ("10.0.30", False),
    ],
)
def test_a_host_is_found_by_name_domain_address_and_network(key: str, counts: bool) -> None:
    table = rules(f"TLS_Srv:{key} VERIFY\nTry_TLS:{key} NO\n")
    found = table.of_server("mx.Lab3.campus", "10.0.3.136")
    assert (found is not None) is counts
    assert table.tries("mx.Lab3.campus", "10.0.3.136") is not counts
    assert found is None or found.origin == f"row TLS_Srv:{key} of {PATH}"


def test_the_nearest_row_counts_and_may_be_an_exception() -> None:
    table = rules("TLS_Srv: VERIFY\nTLS_Srv:10 ENCR:1\nTLS_Srv:lab3.campus NONE\nlab9.campus OK\n")
    assert table.of_server("mx.lab3.campus", "10.0.3.136") is None
    for host, address, bits in (("lab9.campus", "10.0.3.1", 1), ("lab9.campus", "192.0.2.1", 0)):
        found = table.of_server(host, address)
        assert found is not None and found.bits == bits


def test_a_literal_is_an_address_and_an_address_of_ipv6_has_its_prefix() -> None:
    table = rules("TLS_Srv:10.0.3 ENCR:1\nTLS_Srv:IPv6:2001:db8 ENCR:2\nTLS_Srv:mx.campus ENCR:3\n")
    for host, address, bits in (
        ("[10.0.3.9]", "10.0.3.9", 1),
        ("[IPv6:2001:db8::9]", "2001:db8::9", 2),
        ("[mx.campus]", "192.0.2.1", 3),
    ):
        found = table.of_server(host, address)
        assert found is not None and found.bits == bits


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("dave+x@lab2.campus", True),
        ("dave+*@lab2.campus", True),
        ("Dave@Lab2.campus", True),
        ("dave@", True),
        ("lab2.campus", True),
        ("campus", True),
        ("", True),
        ("carol@lab2.campus", False),
        ("dave", False),
    ],
)
def test_a_recipient_is_found_by_address_user_and_domain(key: str, counts: bool) -> None:
    found = rules(f"TLS_Rcpt:{key} VERIFY\n").of_recipient(b"dave+x@lab2.campus")
    assert (found is not None) is counts


def test_a_row_that_makes_no_sense_is_named() -> None:
    table = rules("TLS_Srv: VERFY\nTLS_Rcpt:x@ OK++\nTry_TLS: PERHAPS\n")
    for ask, row in (
        (lambda: table.of_server("a.campus", "10.0.3.1"), "TLS_Srv:"),
        (lambda: table.of_recipient(b"x@a.campus"), "TLS_Rcpt:x@"),
        (lambda: table.tries("a.campus", "10.0.3.1"), "Try_TLS:"),
    ):
        with pytest.raises(ValueError, match=f"^row {row} of {PATH}: "):
            ask()


# --- with the table of TLSPolicy ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "rows", "then"),
    [
        (Level.MAY, "", Level.MAY),
        (Level.MAY, "TLS_Srv: ENCR:1", Level.ENCRYPT),
        (Level.NONE, "TLS_Srv: ENCR:1", Level.ENCRYPT),
        (Level.VERIFY, "TLS_Srv: ENCR:1", Level.VERIFY),
        (Level.FINGERPRINT, "TLS_Srv: VERIFY", Level.FINGERPRINT),
        (Level.MAY, "Try_TLS: NO", Level.NONE),
        (Level.ENCRYPT, "Try_TLS: NO", Level.ENCRYPT),
        (Level.MAY, "Try_TLS: NO\nTLS_Srv: ENCR:1", Level.ENCRYPT),
        (Level.NONE, "TLS_Srv: NONE", Level.NONE),
    ],
)
def test_the_stricter_of_two_tables_counts(level: Level, rows: str, then: Level) -> None:
    found = rules(rows).applied(Policy(level, origin="x"), "mx.campus", "10.0.3.1")
    assert found.level is then
    assert (found.required is not None) is ("ENCR" in rows or "VERIFY" in rows)
    assert found.is_binding is (then not in (Level.NONE, Level.MAY))


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "cdb"])
def test_rows_are_read_from_text_and_database(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access"
    path.write_text(
        "Connect:10 RELAY\nTLS_Srv:a.campus VERIFY+CITag:MyCA\nMyCA:/O=Lab/CN=ca OK\nx OK\n"
    )
    if kind == "cdb":
        with path.open() as text:
            monkeypatch.setattr("sys.stdin", text)
            assert makemap.main(["makemap", "cdb", str(path)]) == 0
        path.unlink()
    found = TlsRules.read(options(access_file=str(path)))
    wanted = found.of_server("a.campus", "10.0.3.1")
    assert wanted is not None and wanted.wishes == (("CITag", "MyCA"),)
    assert found.allows("MyCA:/O=Lab/CN=ca") and not found.allows("MyCA:/CN=x")
    assert not found.allows("x")


def test_no_file_is_no_rows_and_one_that_is_cut_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "access"
    assert TlsRules.read(options(access_file=str(path))).of_server("a", "10.0.3.1") is None
    assert TlsRules.read(options(access_file="")).of_server("a", "10.0.3.1") is None
    for text in (b"Connect:10 RELAY\nTLS_Sr", b"Connect:10\0 RELAY\n"):
        path.write_bytes(text)
        with pytest.raises(OSError):
            TlsRules.read(options(access_file=str(path)))
    path.unlink()
    (tmp_path / "access.cdb").write_bytes(b"x" * 3000)
    with pytest.raises(OSError):
        TlsRules.read(options(access_file=str(path)))


def test_a_big_table_without_such_rows_is_no_work(tmp_path: Path) -> None:
    path = tmp_path / "access"
    path.write_text("".join(f"Connect:host{n}.example.org REJECT\n" for n in range(100_000)))

    def fastest(read: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            read()
            times.append(time.perf_counter() - began)
        return min(times)

    whole = fastest(lambda: text_table.read_table(str(path)))
    assert fastest(lambda: TlsRules.read(options(access_file=str(path)))) < whole / 2


# --- what is sent ---------------------------------------------------------------------------------


class Sent:
    """One message to a host on loopback, and what came of it."""

    def __init__(
        self, campus: Campus, host: str, rows: str, *names: str, row: str = "", trusts: bool = True
    ) -> None:
        self.outcomes: dict[bytes, Outcome] = {}
        self.logged: list[str] = []
        trust = campus.authority.certificate if trusts else "/nonexistent"
        policies = TlsPolicies({b".": row.encode()} if row else {}, "/etc/mail/tls-policy")
        transport = Transport(
            options(),
            Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset({"127.0.0.1"})),
            tls=TlsClient(Trust(trust)),
            policies=policies,
            rules=rules(rows),
        )
        hosts = Path(campus.own.cert_file).with_name("hosts")
        hosts.write_text("127.0.0.1 localhost\n")  # not ::1, where nobody listens
        Delivery(
            [job(host, *names)],
            transport,
            self._report,
            log=self.logged.append,
            resolver=Resolver(hosts=str(hosts)),
        ).run()

    def _report(self, one: Job, outcomes: Mapping[bytes, Outcome]) -> None:
        self.outcomes |= outcomes

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.outcomes.values()
        return outcome


@pytest.mark.parametrize(
    ("rows", "certificate", "reply"),
    [
        ("TLS_Srv: VERIFY:112+CN", "good", ""),
        ("TLS_Srv:localhost VERIFY+CN:localhost++CI:/CN=ca", "good", ""),
        ("TLS_Srv:127 VERIFY+CS:/CN=localhost", "good", ""),
        ("TLS_Srv: VERIFY", "other", ""),
        ("TLS_Srv: ENCR:112", "own", ""),
        ("TLS_Srv: VERIFY", "own", "454 4.7.0 authentication failed"),
        ("TLS_Srv: TEMP+VERIFY", "stranger", "403 4.7.0 authentication failed"),
        ("TLS_Srv: VERIFY+CN", "other", "454 4.7.0 CN mx.other.campus does not match localhost"),
        ("TLS_Srv: ENCR:512", "good", "454 4.7.0 encryption too weak 256 less than 512"),
        ("TLS_Srv: VERIFY+CI:/CN=x", "good", "454 4.7.0 Cert Issuer /CN=ca does not match /CN=x"),
        ("TLS_Srv: VERIFY+CITag:A", "good", "454 4.7.0 Cert Issuer /CN=ca not acceptable"),
        ("TLS_Srv: VERIFY+CITag:A\nA:/CN=ca OK", "good", ""),
    ],
)
def test_a_host_gets_mail_if_it_is_what_the_row_wants(
    campus: Campus, rows: str, certificate: str, reply: str
) -> None:
    with FakeSmtp(tls=server_context(getattr(campus, certificate))) as server:
        outcome = Sent(campus, at(server), rows).outcome
        assert len(server.messages) == (not reply)
        assert not in_clear(server)
        if reply:
            # We may be gone before the other side knows that the handshake is over.
            (told,) = server.commands
            assert told[:2] == ["EHLO lab1.campus", "STARTTLS"]
            assert set(told[2:]) <= {SECURED, BROKEN}
    assert outcome.fate is (Fate.DEFERRED if reply else Fate.SENT)
    if reply:
        assert outcome.status == "4.7.0"
        key = rows.partition(" ")[0]
        assert outcome.text == f"{reply}; nothing was sent (row {key} of {PATH})"


def test_perm_returns_the_mail(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server, FakeSmtp() as clear:
        for one, why in (
            (server, "authentication failed"),
            (clear, "other side does not support STARTTLS"),
        ):
            outcome = Sent(campus, at(one, "127.0.0.1"), "TLS_Srv: PERM+VERIFY").outcome
            assert outcome.fate is Fate.FAILED
            assert outcome.text.startswith(f"503 5.7.0 {why}; nothing was sent")
            assert outcome.status == "5.7.0"
            assert not in_clear(one) and not one.messages


def test_what_is_no_fault_of_the_host_returns_nothing(campus: Campus) -> None:
    rows = "TLS_Srv: PERM+VERIFY"
    answers = {"STARTTLS": ["454 4.3.3 TLS not available after start"]}
    with FakeSmtp(tls=server_context(campus.good), answers=answers) as server:
        refused = Sent(campus, at(server), rows).outcome
    with broken_handshake(campus) as server:
        broken = Sent(campus, at(server), rows).outcome
        assert not in_clear(server)
    with FakeSmtp(tls=server_context(campus.good)) as server:
        blind = Sent(campus, at(server), rows, trusts=False).outcome
        assert not in_clear(server) and not server.messages
        rcpt = Sent(campus, at(server), "TLS_Rcpt: PERM+VERIFY", trusts=False).outcome
        assert not server.messages
    assert [one.fate for one in (refused, broken, blind, rcpt)] == [Fate.DEFERRED] * 4
    assert "/nonexistent" in rcpt.text
    assert "/nonexistent" in blind.text


def test_the_rows_of_tlspolicy_hold_as_well(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.other)) as server:
        outcome = Sent(campus, at(server), "TLS_Srv: VERIFY", row="verify").outcome
        assert not server.messages
        assert "the certificate is for mx.other.campus, not for localhost" in outcome.text
        for row in ("none", "may"):
            sent = Sent(campus, at(server), "TLS_Srv: VERIFY\nTry_TLS: NO", row=row)
            assert sent.outcome.fate is Fate.SENT
        assert not in_clear(server)


def test_starttls_is_not_said_where_the_row_says_no(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        assert Sent(campus, at(server), "Try_TLS:localhost NO").outcome.fate is Fate.SENT
        assert "STARTTLS" not in server.commands[0]
        assert Sent(campus, at(server), "Try_TLS:localhost OK").outcome.fate is Fate.SENT
        assert SECURED in server.commands[1]
        outcome = Sent(campus, at(server), "Try_TLS:localhost MAYBE").outcome
        assert len(server.commands) == 2
    assert outcome.fate is Fate.DEFERRED
    assert f"row Try_TLS:localhost of {PATH}: 'MAYBE' is neither NO nor OK" in outcome.text


def test_a_row_for_a_recipient_is_about_that_recipient_alone(campus: Campus) -> None:
    rows = "TLS_Rcpt:a@x.campus VERIFY\nTLS_Rcpt:b@x.campus PERM+ENCR:112\nTLS_Rcpt:d@ VERFY"
    names = [f"{user}@x.campus" for user in "abcd"]
    with FakeSmtp() as server:
        found = Sent(campus, at(server), rows, *names).outcomes
        assert [line for line in server.commands[0] if line.startswith("RCPT")] == [
            "RCPT To:<c@x.campus>"
        ]
    told = {name.decode()[0]: (one.fate, one.text.partition(";")[0]) for name, one in found.items()}
    assert told["a"] == (Fate.DEFERRED, "454 4.7.0 other side does not support STARTTLS")
    assert told["b"] == (Fate.FAILED, "503 5.7.0 encryption too weak 0 less than 112")
    assert told["c"][0] is Fate.SENT
    assert told["d"][0] is Fate.DEFERRED and "did you mean VERIFY?" in told["d"][1]
    with FakeSmtp(tls=server_context(campus.good)) as server:
        found = Sent(campus, at(server), rows, *names[:3]).outcomes
    assert {one.fate for one in found.values()} == {Fate.SENT}


def test_a_recipient_who_needs_tls_gets_nothing_in_clear_after_a_broken_handshake(
    campus: Campus,
) -> None:
    with broken_handshake(campus) as server:
        found = Sent(
            campus, at(server), "TLS_Rcpt:a@ PERM+ENCR:1", "a@x.campus", "b@x.campus"
        ).outcomes
        assert in_clear(server) == [
            "MAIL From:<emma@lab1.campus> SIZE=20",
            "RCPT To:<b@x.campus>",
            "DATA",
        ]
    assert found[b"a@x.campus"].text.startswith("503 5.7.0 TLS handshake failed.; nothing was sent")
    assert found[b"a@x.campus"].fate is Fate.DEFERRED
    assert found[b"a@x.campus"].status == "4.7.0"
    assert found[b"b@x.campus"].fate is Fate.SENT


def test_where_we_choose_no_tls_the_reply_says_so(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        rows = "Try_TLS: NO\nTLS_Rcpt: VERIFY"
        outcome = Sent(campus, at(server), rows).outcome
        assert not server.messages
    assert outcome.text.startswith("454 4.7.0 STARTTLS disabled locally; nothing was sent")


def test_the_next_host_is_tried_and_one_later_outweighs_a_never(campus: Campus) -> None:
    with FakeSmtp() as bad, FakeSmtp(tls=server_context(campus.good)) as good:
        both = f"{at(bad)},{at(good)}"
        assert Sent(campus, both, "TLS_Srv: PERM+VERIFY").outcome.fate is Fate.SENT
        assert len(good.messages) == 1 and not bad.messages
        good.change(".", "451 4.3.0 later")
        assert Sent(campus, both, "TLS_Srv: PERM+VERIFY").outcome.fate is Fate.DEFERRED


# --- with the mailer ------------------------------------------------------------------------------


def sent_by_mailer(
    monkeypatch: pytest.MonkeyPatch, host: str, access: Path, campus: Campus
) -> Outcome:
    authority = campus.authority.certificate
    configured = options(access_file=str(access), tls_policy="", ca_cert_file=authority)
    return by_mailer(monkeypatch, host, configured)[0]


def test_the_mailer_obeys_the_table_of_the_option(
    tmp_path: Path, campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = tmp_path / "access"
    with FakeSmtp() as server:
        assert sent_by_mailer(monkeypatch, at(server), access, campus).fate is Fate.SENT
        access.write_text("TLS_Srv:localhost\tENCR:112\n")
        outcome = sent_by_mailer(monkeypatch, at(server), access, campus)
        assert outcome.text.startswith("454 4.7.0 encryption too weak 0 less than 112;")
        access.write_bytes(b"TLS_Srv:localhost\0")
        unknown = sent_by_mailer(monkeypatch, at(server), access, campus)
        assert (unknown.fate, unknown.status) == (Fate.DEFERRED, "4.3.0")
        assert f"{access}: is no text" in unknown.text
        assert len(server.messages) == 1
