"""DANE: what is sent, and what is not, by the TLSA records that a host has (RFC 7672)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from minimta.message.outcome import Fate
from minimta.system.tls import server_context
from minimta.system.tls_values import KeyPair
from minimta.system.x509 import public_key
from tests.support.certificates import Authority, der
from tests.support.fakedns import Zone
from tests.support.fakesmtp import ALL, SECURED, FakeSmtp
from tests.support.jobs import options
from tests.support.securesending import NAME, TABLE, Campus, Sent, at, in_clear

pytestmark = pytest.mark.debian("openssl")


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Campus:
    return Campus(tmp_path_factory.mktemp("certificates"))


def record(usage: int, selector: int, matching: int, certificate: bytes) -> str:
    """A TLSA record for *certificate*, as a zone has it."""
    chosen = public_key(certificate) if selector else certificate
    digest = {1: hashlib.sha256, 2: hashlib.sha512}
    data = digest[matching](chosen).digest() if matching else chosen
    return f"{usage} {selector} {matching} {data.hex()}"


def zone(server: FakeSmtp, records: Sequence[str] | str, name: str = NAME) -> Zone:
    tlsa = records if isinstance(records, str) else {"TLSA": list(records)}
    return {name: {"A": ["127.0.0.1"]}, f"_{server.port}._tcp.{name}": tlsa}


def with_authority(pair: KeyPair, authority: str, directory: Path) -> KeyPair:
    """The host's certificate with its authority's behind it, as DANE-TA wants it sent."""
    both = directory / "both.pem"
    both.write_text(Path(pair.cert_file).read_text() + Path(authority).read_text())
    return KeyPair(str(both), pair.key_file)


def authority_of(campus: Campus) -> bytes:
    return der(KeyPair(campus.authority.certificate, ""))


# -- usage 3 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_a_certificate_that_a_record_names_needs_no_authority(
    campus: Campus, selector: int, matching: int
) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        records = [record(3, selector, matching, der(campus.own))]
        sent = Sent(at(server), zone=zone(server, records), signed=[NAME])
        assert sent.outcome.fate is Fate.SENT
        assert not in_clear(server)
    assert sent.verify == "TRUSTED"


@pytest.mark.parametrize("which", ["expired", "other", "stranger"])
def test_names_and_dates_of_a_certificate_that_a_record_names_do_not_count(
    campus: Campus, which: str
) -> None:
    """RFC 7672 section 3.1.1."""
    pair = getattr(campus, which)
    with FakeSmtp(tls=server_context(pair)) as server:
        records = [record(3, 1, 1, der(pair))]
        assert Sent(at(server), zone=zone(server, records), signed=[NAME]).verify == "TRUSTED"


def test_requiretls_goes_on_to_who_shows_a_certificate_that_a_record_names(campus: Campus) -> None:
    """RFC 8689 section 4.2.1: by DANE, too; records that do not count prove nothing."""
    with FakeSmtp(tls=server_context(campus.own), secure_keywords=(*ALL, "REQUIRETLS")) as server:
        found, other = (
            Sent(at(server), zone=zone(server, [one]), signed=[NAME], requires_tls=True).outcome
            for one in (record(3, 1, 1, der(campus.own)), record(1, 1, 1, der(campus.own)))
        )
        [mail] = [line for told in server.commands for line in told if line.startswith("MAIL")]
    assert found.fate is Fate.SENT and mail.endswith(" REQUIRETLS")
    assert (other.fate, other.status) == (Fate.FAILED, "5.7.30")


@pytest.mark.parametrize("usage", [2, 3])
def test_to_another_certificate_nothing_is_sent(campus: Campus, usage: int) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        records = [record(usage, 1, 1, der(campus.own))]
        trust = campus.authority.certificate
        sent = Sent(at(server), zone=zone(server, records), signed=[NAME], trust=trust)
        assert not in_clear(server)
        assert not server.messages
    assert (sent.outcome.fate, sent.outcome.status) == (Fate.DEFERRED, "4.7.5")
    place = f"_{server.port}._tcp.{NAME}"
    assert sent.outcome.text == (
        f"TLS: the certificate is none that {place} (TLSA) names; nothing was sent ({place} wants "
        f"dane). To allow it: a row of {TABLE}: {at(server)} encrypt"
    )


def test_one_record_of_several_is_enough(campus: Campus) -> None:
    """Two while a certificate is replaced (RFC 7671 section 8.1)."""
    with FakeSmtp(tls=server_context(campus.own)) as server:
        records = [record(3, 1, 1, der(campus.good)), record(3, 1, 1, der(campus.own))]
        assert Sent(at(server), zone=zone(server, records), signed=[NAME]).verify == "TRUSTED"


def test_each_connection_shows_its_certificate_again(campus: Campus) -> None:
    answers = {"MAIL": ["250 ok", "421 later", "250 ok"]}
    with FakeSmtp(tls=server_context(campus.own), answers=answers) as server:
        records = [record(3, 1, 1, der(campus.own))]
        sent = Sent(at(server), zone=zone(server, records), signed=[NAME], jobs=2)
        assert server.ask("resumed") == [False, False]
    assert [facts.verify for _, facts in sent.tls] == ["TRUSTED", "TRUSTED"]


# -- usage 2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("selector", "matching"), [(0, 0), (0, 1), (1, 1), (1, 2)])
def test_an_authority_that_a_record_names_is_believed(
    campus: Campus, tmp_path: Path, selector: int, matching: int
) -> None:
    pair = with_authority(campus.good, campus.authority.certificate, tmp_path)
    with FakeSmtp(tls=server_context(pair)) as server:
        records = [record(2, selector, matching, authority_of(campus))]
        assert Sent(at(server), zone=zone(server, records), signed=[NAME]).verify == "TRUSTED"


def test_an_authority_that_is_a_whole_record_need_not_be_sent(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.good)) as server:
        records = [record(2, 0, 0, authority_of(campus))]
        assert Sent(at(server), zone=zone(server, records), signed=[NAME]).verify == "TRUSTED"


def test_an_authority_need_not_be_a_root(tmp_path: Path) -> None:
    middle = Authority(tmp_path, "root").below("middle")
    pair = with_authority(middle.issue(NAME), middle.certificate, tmp_path)
    with FakeSmtp(tls=server_context(pair)) as server:
        records = [record(2, 1, 1, der(KeyPair(middle.certificate, "")))]
        assert Sent(at(server), zone=zone(server, records), signed=[NAME]).verify == "TRUSTED"


@pytest.mark.parametrize("which", ["expired", "other", "stranger"])
def test_below_an_authority_names_and_dates_count(
    campus: Campus, tmp_path: Path, which: str
) -> None:
    """RFC 7672 section 3.1.2; the stranger's shows an authority that did not sign it."""
    pair = with_authority(getattr(campus, which), campus.authority.certificate, tmp_path)
    with FakeSmtp(tls=server_context(pair)) as server:
        records = [record(2, 0, 1, authority_of(campus))]
        sent = Sent(at(server), zone=zone(server, records), signed=[NAME])
        assert not server.messages
        assert not in_clear(server)
    assert sent.outcome.fate is Fate.DEFERRED


# -- records that do not count, or are not there -------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"0 0 1 {'0' * 64}",
        f"1 0 1 {'0' * 64}",
        f"3 2 1 {'0' * 64}",
        f"3 1 3 {'0' * 64}",
        f"4 1 1 {'0' * 64}",
    ],
)
def test_where_no_record_counts_there_is_tls_with_anybody(campus: Campus, text: str) -> None:
    """RFC 7672 section 2.2: records that DNSSEC vouches for promise TLS."""
    with FakeSmtp(tls=server_context(campus.own)) as server, FakeSmtp() as bare:
        sent = Sent(at(server), zone=zone(server, [text]), signed=[NAME])
        refused = Sent(at(bare), zone=zone(bare, [text]), signed=[NAME]).outcome
        assert not in_clear(bare)
    assert sent.verify == "FAIL"
    assert sent.outcome.fate is Fate.SENT
    assert refused.fate is Fate.DEFERRED
    assert "offers no STARTTLS; nothing was sent (_" in refused.text
    assert "none of whose records can be used, wants encrypt)" in refused.text


@pytest.mark.parametrize("answer", ["NXDOMAIN", "NOERROR"])
def test_without_records_it_is_as_ever(campus: Campus, answer: str) -> None:
    with FakeSmtp() as server:
        tlsa: Sequence[str] | str = [] if answer == "NOERROR" else answer
        sent = Sent(at(server), zone=zone(server, tlsa), signed=[NAME])
        assert len(server.messages) == 1
    assert sent.outcome.fate is Fate.SENT


def test_where_nobody_can_tell_nothing_is_sent(campus: Campus) -> None:
    """SERVFAIL is what a validating server says of what is bogus (RFC 7672 section 2.1.2)."""
    with FakeSmtp(tls=server_context(campus.own)) as server:
        sent = Sent(at(server), zone=zone(server, "SERVFAIL"), signed=[NAME])
        assert server.commands == []
    assert (sent.outcome.fate, sent.outcome.status) == (Fate.DEFERRED, "4.7.5")
    place = f"_{server.port}._tcp.{NAME}"
    assert sent.outcome.text == f"DANE: {place}: host name lookup failure; nothing was sent"


def test_a_host_of_which_nobody_can_tell_is_passed_by(campus: Campus) -> None:
    with FakeSmtp() as first, FakeSmtp() as second:
        known = {**zone(first, "SERVFAIL"), **zone(second, "NXDOMAIN")}
        sent = Sent(at(first), at(second), zone=known, signed=[NAME])
        assert first.commands == []
    assert sent.outcome.fate is Fate.SENT


def test_records_that_dnssec_does_not_vouch_for_say_nothing(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        records = [record(3, 1, 1, der(campus.good))]
        sent = Sent(at(server), zone=zone(server, records))
    assert sent.verify == "FAIL"
    assert sent.outcome.fate is Fate.SENT


def test_records_behind_an_alias_that_dnssec_does_not_vouch_for_say_nothing(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        wrong = {"TLSA": [record(3, 1, 1, der(campus.good))]}
        records: Zone = {
            NAME: {"A": ["127.0.0.1"]},
            f"_{server.port}._tcp.{NAME}": {"CNAME": ["tlsa.hoster.example."]},
            "tlsa.hoster.example": wrong,
        }
        assert Sent(at(server), zone=records, signed=[NAME]).verify == "FAIL"
        host: Zone = {
            NAME: {"CNAME": ["real.hoster.example."]},
            "real.hoster.example": {"A": ["127.0.0.1"]},
            f"_{server.port}._tcp.real.hoster.example": wrong,
        }
        assert Sent(at(server), zone=host, signed=["hoster.example"]).verify == "FAIL"


def test_the_option_dane_switches_it_off(campus: Campus) -> None:
    configured = options(dane=False)
    with FakeSmtp() as server:
        records = [record(3, 1, 1, der(campus.own))]
        sent = Sent(at(server), zone=zone(server, records), signed=[NAME], configured=configured)
    assert sent.outcome.fate is Fate.SENT


def test_a_host_with_records_that_offers_no_starttls_gets_nothing(campus: Campus) -> None:
    with FakeSmtp() as server:
        records = [record(3, 1, 1, der(campus.own))]
        sent = Sent(at(server), zone=zone(server, records), signed=[NAME])
        assert server.commands == [["EHLO lab1.campus", "QUIT"]] or not in_clear(server)
        assert not server.messages
    assert (sent.outcome.fate, sent.outcome.status) == (Fate.DEFERRED, "4.7.4")


def test_a_broken_handshake_with_a_host_with_records_is_no_reason_for_clear_text(
    campus: Campus,
) -> None:
    with FakeSmtp(tls=server_context(campus.own), hangs_at_starttls=True) as server:
        records = [record(3, 1, 1, der(campus.own))]
        configured = options(timeout_starttls=1)
        found = zone(server, records)
        sent = Sent(at(server), zone=found, signed=[NAME], configured=configured)
        assert len(server.commands) == 1
        assert not server.messages
    assert sent.outcome.fate is Fate.DEFERRED


# -- MX and aliases ----------------------------------------------------------------------------------


def exchange(server: FakeSmtp, records: Sequence[str], host: str = "mx.campus.example") -> Zone:
    return {"campus.example": {"MX": [f"10 {host}."]}, **zone(server, records, host)}


@pytest.mark.usefixtures("loopback_is_the_world")
def test_the_records_of_a_host_count_if_dnssec_vouches_for_the_mx_too(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        hop = f"campus.example:{server.port}"
        wrong = exchange(server, [record(3, 1, 1, der(campus.good))])
        assert Sent(hop, zone=wrong, signed=["campus.example"]).outcome.fate is Fate.DEFERRED
        # RFC 7672 section 2.2.1: who can forge the list can name a host with records of its own.
        assert Sent(hop, zone=wrong, signed=["mx.campus.example"]).verify == "FAIL"


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize("for_name", ["mx.campus.example", "campus.example"])
def test_below_an_authority_the_name_is_the_hosts_or_the_domains(
    campus: Campus, tmp_path: Path, for_name: str
) -> None:
    """RFC 7672 section 3.2.2: DNSSEC vouches for both."""
    issued = campus.authority.issue(for_name)
    pair = with_authority(issued, campus.authority.certificate, tmp_path)
    with FakeSmtp(tls=server_context(pair)) as server:
        found = exchange(server, [record(2, 0, 1, authority_of(campus))])
        hop = f"campus.example:{server.port}"
        assert Sent(hop, zone=found, signed=["campus.example"]).verify == "TRUSTED"


@pytest.mark.usefixtures("loopback_is_the_world")
@pytest.mark.parametrize(
    ("signed", "place", "verify"),
    [
        (["campus.example", "hoster.example"], "real.hoster.example", "TRUSTED"),
        (["campus.example", "hoster.example"], "mx.campus.example", "TRUSTED"),
        (["campus.example"], "mx.campus.example", "TRUSTED"),
        (["campus.example"], "real.hoster.example", "FAIL"),
        (["hoster.example"], "real.hoster.example", "FAIL"),
    ],
)
def test_an_alias_is_followed_as_far_as_dnssec_vouches_for_it(
    campus: Campus, signed: list[str], place: str, verify: str
) -> None:
    """RFC 7672 section 2.2.2; the records stand below *place*."""
    with FakeSmtp(tls=server_context(campus.own)) as server:
        known: Zone = {
            "campus.example": {"MX": ["10 mx.campus.example."]},
            "mx.campus.example": {"CNAME": ["real.hoster.example."]},
            "real.hoster.example": {"A": ["127.0.0.1"]},
            f"_{server.port}._tcp.{place}": {"TLSA": [record(3, 1, 1, der(campus.own))]},
        }
        sent = Sent(f"campus.example:{server.port}", zone=known, signed=signed)
    assert sent.verify == verify


# -- rows of TLSPolicy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["may", "encrypt"])
def test_a_row_asks_nobody_else(campus: Campus, row: str) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        records = [record(3, 1, 1, der(campus.good))]
        sent = Sent(at(server), row=row, zone=zone(server, records), signed=[NAME])
    assert (sent.outcome.fate, sent.verify) == (Fate.SENT, "FAIL")


def test_the_row_dane_counts_whatever_the_option_says(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        records = [record(3, 1, 1, der(campus.good))]
        found, configured = zone(server, records), options(dane=False)
        sent = Sent(at(server), row="dane", zone=found, signed=[NAME], configured=configured)
        assert not server.messages
        bare = Sent(at(server), row="dane", zone=zone(server, "NXDOMAIN"), signed=[NAME])
    assert sent.outcome.fate is Fate.DEFERRED
    assert (bare.outcome.fate, bare.verify) == (Fate.SENT, "FAIL")


@pytest.mark.parametrize(
    ("records", "signed", "why"),
    [
        ("NXDOMAIN", [NAME], "[localhost] has no TLSA records that DNSSEC vouches for"),
        ("own", [], "[localhost] has no TLSA records that DNSSEC vouches for"),
        ("unusable", [NAME], "can be used"),
    ],
)
def test_dane_only_sends_nothing_without_records_that_count(
    campus: Campus, records: str, signed: list[str], why: str
) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        texts = {"own": [record(3, 1, 1, der(campus.own))], "unusable": [f"1 1 1 {'0' * 64}"]}
        known = zone(server, texts.get(records, records))
        sent = Sent(at(server), row="dane-only", zone=known, signed=signed)
        assert server.commands == []
        known = zone(server, texts["own"])
        met = Sent(at(server), row="dane-only", zone=known, signed=[NAME])
    assert sent.outcome.fate is Fate.DEFERRED
    assert why in sent.outcome.text
    assert sent.outcome.text.endswith(f"nothing was sent (row . of {TABLE} wants dane-only)")
    assert met.verify == "TRUSTED"


@pytest.mark.parametrize("row", ["dane", "sts"])
@pytest.mark.parametrize("records", ["NXDOMAIN", [f"1 1 1 {'0' * 64}"]])
def test_where_dns_says_nothing_a_login_still_wants_the_name(
    campus: Campus, row: str, records: str | list[str]
) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        found = zone(server, records)
        sent = Sent(at(server), zone=found, signed=[NAME], row=row, logs_in=True)
        assert SECURED not in server.commands[0]
    assert sent.outcome.fate is Fate.DEFERRED
    assert "wants verify" in sent.outcome.text
    with FakeSmtp(tls=server_context(campus.good)) as server:
        found, trust = zone(server, records), campus.authority.certificate
        met = Sent(at(server), zone=found, signed=[NAME], row=row, logs_in=True, trust=trust)
    assert met.verify == "OK"


def test_a_login_wants_the_name_that_was_configured_and_no_records(campus: Campus) -> None:
    with FakeSmtp(tls=server_context(campus.own)) as server:
        records = [record(3, 1, 1, der(campus.own))]
        found = zone(server, records)
        sent = Sent(at(server), zone=found, signed=[NAME], logs_in=True)
        assert not server.messages
        assert SECURED not in server.commands[0]
    assert sent.outcome.fate is Fate.DEFERRED
