"""MTA-STS: what is sent, and what is not, by the policy of the domain (RFC 8461)."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.remote import sts_lookup
from minimta.mailers.remote.findings import Findings
from minimta.mailers.remote.lines import ResultLine, StsLine
from minimta.mailers.remote.mailer import RemoteMailer
from minimta.mailers.remote.sts_cache import StsCache, forget_old
from minimta.mailers.remote.sts_policy import MAX_AGE, StsPolicy
from minimta.mailers.remote.tls_policy import TlsPolicies
from minimta.message.outcome import Fate
from minimta.system import log
from minimta.system.dns import Resolver
from minimta.system.https import HttpsClient
from minimta.system.tls import server_context
from minimta.system.tls_values import KeyPair, Trust
from tests.support.certificates import Authority, der, self_signed
from tests.support.fakedns import FakeDns, Zone
from tests.support.fakepolicyhost import DRIBBLE, HANG, FakePolicyHost, response, text
from tests.support.fakesmtp import SECURED, FakeSmtp
from tests.support.jobs import job, options
from tests.support.securesending import Sent, in_clear
from tests.support.slots import slots

pytestmark = [pytest.mark.debian("openssl"), pytest.mark.usefixtures("loopback_is_the_world")]

DOMAIN, MX = "campus.example", "mx.campus.example"
ID = "20261130"
#: the answer of the name server that announces a policy
ANNOUNCED: Mapping[str, Any] = {f"_mta-sts.{DOMAIN}": {"TXT": [f'"v=STSv1; id={ID};"']}}


class World:
    """An authority, a cache, the policy host, and two hosts that take mail."""

    def __init__(self, directory: Path, authority: Authority, stack: ExitStack) -> None:
        self._authority = authority
        self._stack = stack
        self._directory = directory
        self.cache = StsCache(str(directory / "mqueue.sts"))
        self.cache.open()
        stack.callback(self.cache.close)

    def policy_host(self, content: bytes, pair: KeyPair | None = None) -> FakePolicyHost:
        issued = pair or self._authority.issue(f"mta-sts.{DOMAIN}")
        return self._stack.enter_context(FakePolicyHost(server_context(issued), content))

    def mail_host(self, *names: str) -> FakeSmtp:
        """With a certificate of the authority for *names*; without any it has no STARTTLS."""
        context = server_context(self._authority.issue(*names)) if names else None
        return self._stack.enter_context(FakeSmtp(tls=context))

    def stranger(self) -> FakeSmtp:
        """Its certificate is signed by nobody."""
        context = server_context(self_signed(self._directory, MX))
        return self._stack.enter_context(FakeSmtp(tls=context))

    def send(
        self,
        to: FakeSmtp,
        host: FakePolicyHost | None,
        zone: Zone | None = None,
        *,
        announced: Mapping[str, Any] = ANNOUNCED,
        **more: Any,
    ) -> Sent:
        """One message by MX; *host* None: there is no way to one."""
        trust = self._authority.certificate
        proxy = host.proxy if host is not None else "127.0.0.1:1"
        known: Zone = {
            DOMAIN: {"MX": [f"10 {MX}."]},
            MX: {"A": ["127.0.0.1"]},
            **announced,
            **(zone or {}),
        }
        return Sent(
            f"{DOMAIN}:{to.port}",
            zone=known,
            trust=trust,
            sts=self.cache,
            https=HttpsClient(Trust(trust), proxy),
            **more,
        )

    def age(self, seconds: float, name: str = DOMAIN) -> None:
        """What is in the cache was fetched so long ago."""
        path = self._directory / "mqueue.sts" / name
        lines = path.read_text().split("\n")
        then = f"fetched: {int(time.time() - seconds)}"
        path.write_text("\n".join(then if "fetched" in line else line for line in lines))


@pytest.fixture
def world(tmp_path: Path, authority: Authority) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, authority, stack)


def told(sent: Sent) -> StsLine:
    [line] = [line for line in sent.told if isinstance(line, StsLine)]
    return line


def results(sent: Sent) -> list[tuple[str, str]]:
    """What was counted: policy-type and result-type of RFC 8460."""
    lines = [line for line in sent.told if isinstance(line, ResultLine)]
    assert {(line.domain, line.host) for line in lines} <= {(DOMAIN, MX)}
    return [(line.policy_type, line.result) for line in lines]


@contextmanager
def nothing_sent(server: FakeSmtp) -> Iterator[None]:
    yield
    assert not in_clear(server)
    assert not server.messages


# -- enforce -----------------------------------------------------------------------------------------


def test_a_policy_that_is_met_is_fetched_once_and_kept(world: World) -> None:
    server, host = world.mail_host(MX), world.policy_host(text(mx=[MX]))
    sent = world.send(server, host)
    assert (sent.outcome.fate, sent.verify) == (Fate.SENT, "OK")
    assert told(sent) == StsLine(DOMAIN, ID, "enforce", 86400, (MX,))
    again = world.send(server, host)
    assert again.outcome.fate is Fate.SENT
    assert not [line for line in again.told if isinstance(line, StsLine)]
    url = "GET /.well-known/mta-sts.txt HTTP/1.1"
    assert host.asked() == [(f"mta-sts.{DOMAIN}:443", url)]


def test_a_host_that_the_policy_does_not_name_gets_nothing(world: World) -> None:
    server, host = world.mail_host(MX), world.policy_host(text(mx=["mx.other.example"]))
    with nothing_sent(server):
        sent = world.send(server, host)
    assert server.commands == []
    assert (sent.outcome.fate, sent.outcome.status) == (Fate.DEFERRED, "4.7.5")
    assert sent.outcome.text == (
        f"MTA-STS: {MX} is none of the hosts in the policy of {DOMAIN}; nothing was sent"
    )


def test_the_next_exchanger_is_asked_if_the_policy_names_only_that(world: World) -> None:
    server = world.mail_host("mx2.campus.example")
    host = world.policy_host(text(mx=["mx2.campus.example"]))
    zone: Zone = {
        DOMAIN: {"MX": [f"10 {MX}.", "20 mx2.campus.example."]},
        MX: {"A": ["127.0.0.2"]},
        "mx2.campus.example": {"A": ["127.0.0.1"]},
    }
    sent = world.send(server, host, zone)
    assert sent.outcome.fate is Fate.SENT
    assert sent.tls[0][0] == "mx2.campus.example."


@pytest.mark.parametrize("kind", ["bare", "stranger", "other name", "domain"])
def test_a_host_that_is_not_whom_the_policy_wants_gets_nothing(world: World, kind: str) -> None:
    """RFC 8461 section 4.1: the certificate is for the host's name, not the domain's."""
    names = {"other name": ["mx.other.example"], "domain": [DOMAIN]}
    server = world.stranger() if kind == "stranger" else world.mail_host(*names.get(kind, []))
    with nothing_sent(server):
        sent = world.send(server, world.policy_host(text(mx=["*.campus.example"])))
    assert sent.outcome.fate is Fate.DEFERRED
    assert f"nothing was sent (the MTA-STS policy of {DOMAIN} wants verify)" in sent.outcome.text


def test_a_certificate_that_has_expired_gets_nothing(world: World, authority: Authority) -> None:
    context = server_context(authority.issue(MX, days=-1))
    with FakeSmtp(tls=context) as server, nothing_sent(server):
        sent = world.send(server, world.policy_host(text(mx=[MX])))
    assert "the certificate has expired" in sent.outcome.text
    assert results(sent) == [("sts", "certificate-expired")]


# -- what is counted for the domain's owner (RFC 8460) -------------------------------------------------


@pytest.mark.parametrize("mode", ["enforce", "testing"])
@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("good", ""),
        ("bare", "starttls-not-supported"),
        ("stranger", "certificate-not-trusted"),
        ("other name", "certificate-host-mismatch"),
        ("other host", "validation-failure"),
    ],
)
def test_how_a_policy_comes_out_is_counted(world: World, mode: str, kind: str, result: str) -> None:
    """In mode testing the same is found, and the mail goes out (RFC 8461 section 5)."""
    names = {"bare": [], "other name": ["mx.other.example"]}
    server = world.stranger() if kind == "stranger" else world.mail_host(*names.get(kind, [MX]))
    policy = text(mode=mode, mx=["mx.other.example" if kind == "other host" else MX])
    sent = world.send(server, world.policy_host(policy))
    assert results(sent) == [("sts", result)]
    assert sent.outcome.fate is (Fate.SENT if mode == "testing" or not result else Fate.DEFERRED)
    [line] = [line for line in sent.told if isinstance(line, ResultLine)]
    assert "\n".join(line.policy).encode() == policy.replace(b"\r", b"").rstrip()


def test_what_no_policy_is_about_is_counted_as_that(world: World) -> None:
    assert results(world.send(world.stranger(), None, announced={})) == [("no-policy-found", "")]
    bare = world.send(world.mail_host(), None, announced={})
    assert results(bare) == [("no-policy-found", "starttls-not-supported")]


def test_what_a_row_wants_is_counted_for_nobody(world: World) -> None:
    assert results(world.send(world.stranger(), None, row="encrypt")) == []


@pytest.mark.parametrize(
    ("records", "result"),
    [
        ("right", ""),
        ("wrong", "validation-failure"),
        ("useless", "tlsa-invalid"),
        ("SERVFAIL", "dnssec-invalid"),
    ],
)
def test_how_records_come_out_is_counted(
    world: World, tmp_path: Path, records: str, result: str
) -> None:
    pair = self_signed(tmp_path, MX)
    with FakeSmtp(tls=server_context(pair)) as server:
        place = f"_{server.port}._tcp.{MX}"
        zone: Zone = {
            "right": tlsa(server, der(pair)),
            "wrong": tlsa(server, b"other"),
            "useless": {place: {"TLSA": [f"1 1 1 {'0' * 64}"]}},
            "SERVFAIL": {place: "SERVFAIL"},
        }[records]
        sent = world.send(server, None, zone, announced={}, signed=[DOMAIN])
    assert results(sent) == [("tlsa", result)]


def test_that_records_are_missing_is_counted_where_they_must_be(world: World) -> None:
    sent = world.send(world.stranger(), None, announced={}, row="dane-only")
    assert results(sent) == [("tlsa", "dane-required")]


# -- what asks for nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_testing_and_none_send_as_ever(world: World, mode: str) -> None:
    server, host = world.mail_host(), world.policy_host(text(mode=mode, mx=["mx.other.example"]))
    sent = world.send(server, host)
    assert sent.outcome.fate is Fate.SENT
    assert told(sent).mode == mode


def test_without_a_record_nothing_is_fetched(world: World) -> None:
    server, host = world.mail_host(), world.policy_host(text(mx=["mx.other.example"]))
    assert world.send(server, host, announced={}).outcome.fate is Fate.SENT
    assert host.asked() == []


def test_the_option_mtasts_switches_it_off(world: World) -> None:
    server, host = world.mail_host(), world.policy_host(text(mx=["mx.other.example"]))
    off = options(mta_sts=False)
    assert world.send(server, host, configured=off).outcome.fate is Fate.SENT
    assert host.asked() == []
    other = world.mail_host()
    with nothing_sent(other):
        sent = world.send(other, host, configured=off, row="sts")
    assert sent.outcome.fate is Fate.DEFERRED


@pytest.mark.parametrize("row", ["may", "encrypt"])
def test_a_row_asks_nobody_else(world: World, row: str) -> None:
    host = world.policy_host(text(mx=["mx.other.example"]))
    sent = world.send(world.stranger(), host, row=row)
    assert sent.outcome.fate is Fate.SENT
    assert host.asked() == []


def test_a_row_is_not_lowered(world: World) -> None:
    host = world.policy_host(text(mode="none"))
    server = world.stranger()
    with nothing_sent(server):
        assert world.send(server, host, row="verify").outcome.fate is Fate.DEFERRED


# -- what was fetched before -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["no record", "no answer", "no way", "new id"])
def test_a_policy_holds_whatever_becomes_of_record_and_host(world: World, how: str) -> None:
    """RFC 8461 section 3.3: who could take them away would take away the policy."""
    host = world.policy_host(text(mx=[MX]))
    assert world.send(world.mail_host(MX), host).outcome.fate is Fate.SENT
    answers: dict[str, Mapping[str, Any]] = {
        "no record": {},
        "no answer": {f"_mta-sts.{DOMAIN}": "SERVFAIL"},
        "new id": {f"_mta-sts.{DOMAIN}": {"TXT": ['"v=STSv1; id=2;"']}},
    }
    announced = answers.get(how, ANNOUNCED)
    server = world.mail_host()
    with nothing_sent(server):
        sent = world.send(server, None, announced=announced)
    assert sent.outcome.fate is Fate.DEFERRED
    assert [line.trouble for line in sent.told if isinstance(line, StsLine)] == (
        ["mta-sts.campus.example (HTTPSProxy 127.0.0.1:1): Connection refused"]
        if how == "new id"
        else []
    )


def test_a_new_id_brings_a_new_policy(world: World) -> None:
    server, host = world.mail_host(), world.policy_host(text(mx=[MX]))
    with nothing_sent(server):
        world.send(server, host)
    host.change(text(mode="none"))
    renewed = {f"_mta-sts.{DOMAIN}": {"TXT": ['"v=STSv1; id=2;"']}}
    assert world.send(server, host).outcome.fate is Fate.DEFERRED
    assert world.send(server, host, announced=renewed).outcome.fate is Fate.SENT


def test_a_policy_that_has_expired_and_cannot_be_fetched_asks_for_nothing(world: World) -> None:
    host = world.policy_host(text(mx=[MX], max_age=600))
    world.send(world.mail_host(MX), host)
    world.age(601)
    assert world.send(world.mail_host(), None).outcome.fate is Fate.SENT


def test_a_policy_is_fetched_again_in_its_last_half(world: World) -> None:
    server, host = world.mail_host(MX), world.policy_host(text(mx=[MX], max_age=600))
    world.send(server, host)
    world.age(290)
    world.send(server, host)
    assert len(host.asked()) == 1
    world.age(310)
    world.send(server, host)
    assert len(host.asked()) == 2


def test_what_could_not_be_fetched_is_left_alone_for_a_while(world: World) -> None:
    server, host = world.mail_host(), world.policy_host(response(b"", status="503 Busy"))
    world.send(server, host)
    world.send(server, host)
    assert len(host.asked()) == 1
    world.age(sts_lookup.PAUSE + 1, f"{DOMAIN}.tried")
    host.change(text(mx=[MX]))
    with nothing_sent(world.stranger()):
        assert world.send(server, host).outcome.fate is Fate.DEFERRED
    assert not os.path.exists(f"{world.cache._path}/{DOMAIN}.tried")


@pytest.mark.parametrize(("short", "is_left_alone"), [(0.0, True), (60.0, False)])
def test_a_name_server_that_is_slow_not_to_answer_is_left_alone_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch, short: float, is_left_alone: bool
) -> None:
    monkeypatch.setattr(sts_lookup, "SHORT", short)
    server, host = world.mail_host(MX), world.policy_host(text(mx=[MX]))
    sent = world.send(server, host, announced={f"_mta-sts.{DOMAIN}": "SERVFAIL"})
    assert sent.outcome.fate is Fate.SENT
    assert [one.trouble for one in sent.told if isinstance(one, StsLine)] == (
        [f"no answer for TXT of _mta-sts.{DOMAIN}"] if is_left_alone else []
    )
    world.send(server, host)
    assert len(host.asked()) == (0 if is_left_alone else 1)
    if is_left_alone:
        world.age(sts_lookup.PAUSE + 1, f"{DOMAIN}.tried")
        world.send(server, host)
        assert len(host.asked()) == 1


# -- what is no policy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "result", "why"),
    [
        (response(b"", status="404 Not Found"), "sts-policy-fetch-error", "answers 404"),
        (
            response(text(mx=[MX]), status="301 Moved\r\nLocation: https://other.example/"),
            "sts-policy-fetch-error",
            "answers 301",
        ),
        (response(text(mx=[MX]), kind="text/html"), "sts-policy-fetch-error", "no text/plain"),
        (b"HTTP/1.1 what\r\n\r\n", "sts-policy-fetch-error", "not answer as HTTP"),
        (text(mx=[MX]).replace(b"STSv1", b"STSv9"), "sts-policy-invalid", "no version STSv1"),
        (b"x" * 70_000, "sts-policy-fetch-error", "too long"),
        (HANG, "sts-policy-fetch-error", "timed out"),
        (DRIBBLE, "sts-policy-fetch-error", "timed out"),
    ],
)
def test_an_answer_that_is_none_is_told_and_asks_for_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, content: bytes, result: str, why: str
) -> None:
    monkeypatch.setattr(sts_lookup, "FETCH_TIME", 0.5 if content in (HANG, DRIBBLE) else 10.0)
    sent = world.send(world.mail_host(), world.policy_host(content))
    assert sent.outcome.fate is Fate.SENT
    assert told(sent).result == result
    assert why in told(sent).trouble
    assert told(sent).policy() is None


@pytest.mark.parametrize("which", ["self", "other name"])
def test_a_policy_host_with_a_wrong_certificate_is_not_believed(
    world: World, tmp_path: Path, authority: Authority, which: str
) -> None:
    name = f"mta-sts.{DOMAIN}"
    pair = self_signed(tmp_path, name) if which == "self" else authority.issue("www.example")
    sent = world.send(world.mail_host(), world.policy_host(text(mx=["mx.other.example"]), pair))
    assert sent.outcome.fate is Fate.SENT
    assert told(sent).result == "sts-webpki-invalid"


# -- by the worker ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", pytest.param("nobody", marks=pytest.mark.root)])
def test_a_worker_without_rights_fetches_and_its_parent_keeps(
    world: World, monkeypatch: pytest.MonkeyPatch, authority: Authority, user: str
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    server, host = world.mail_host(), world.policy_host(text(mx=["mx.other.example"]))
    zone: Zone = {DOMAIN: {"MX": [f"10 {MX}."]}, MX: {"A": ["127.0.0.1"]}, **ANNOUNCED}
    configured = options(
        run_as_user=user, ca_cert_file=authority.certificate, https_proxy=host.proxy
    )
    with FakeDns(zone) as names:
        defaults = {**(Resolver.__init__.__kwdefaults__ or {}), "nameserver": names.address}
        monkeypatch.setattr(Resolver.__init__, "__kwdefaults__", defaults)
        findings = Findings(configured, None, world.cache)
        mailer = RemoteMailer(configured, slots(), findings=findings)
        for _ in range(2):
            [(_, outcomes)] = mailer.deliver([job(f"{DOMAIN}:{server.port}")])
            [outcome] = outcomes.values()
            assert outcome.text.startswith("MTA-STS: ")
    assert len(host.asked()) == 1, "the second worker reads what the first has told"
    assert server.commands == []
    world.cache.open()
    known = world.cache.known(DOMAIN)
    assert known is not None and known.policy.mx == ("mx.other.example",)
    assert f"MTA-STS: domain={DOMAIN}, id={ID}, mode=enforce, max_age=86400" in lines


def test_authorities_that_cannot_be_read_are_logged(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(text))
    (tmp_path / "ca.pem").write_text("nobody\n")
    configured = options(mta_sts=True, ca_cert_file=str(tmp_path / "ca.pem"))
    assert Findings(configured, None, world.cache).https([DOMAIN], TlsPolicies({})) is None
    [line] = lines
    assert line.startswith("MTA-STS: no policy can be fetched: ") and "ca.pem" in line


def test_where_nothing_can_be_fetched_what_is_known_holds(world: World) -> None:
    world.send(world.mail_host(MX), world.policy_host(text(mx=[MX], max_age=600)))
    world.age(310)
    other: Mapping[str, Any] = {"_mta-sts.other.example": {"TXT": ['"v=STSv1; id=1;"']}}
    said: list[StsLine] = []
    with FakeDns({**ANNOUNCED, **other}) as names:
        resolver = Resolver(nameserver=names.address, hosts="/nonexistent")
        lookup = sts_lookup.StsLookup(world.cache, None, resolver, said.append)
        known = lookup.policy(DOMAIN)
        assert known is not None and known.mx == (MX,)
        assert lookup.policy("other.example") is None
    assert not said


# -- with DANE -------------------------------------------------------------------------------------------


def tlsa(server: FakeSmtp, certificate: bytes) -> Zone:
    data = hashlib.sha256(certificate).hexdigest()
    return {f"_{server.port}._tcp.{MX}": {"TLSA": [f"3 0 1 {data}"]}}


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_a_policy_does_not_lower_what_dane_asks(
    world: World, authority: Authority, mode: str
) -> None:
    """RFC 8461 section 2."""
    server = world.mail_host(MX)
    wrong = tlsa(server, der(authority.issue("elsewhere.example")))
    host = world.policy_host(text(mode=mode, mx=[MX]))
    with nothing_sent(server):
        sent = world.send(server, host, wrong, signed=[DOMAIN])
    assert "(TLSA) names" in sent.outcome.text


def test_dane_says_which_certificate_and_the_policy_which_hosts(
    world: World, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path, MX)
    with FakeSmtp(tls=server_context(pair)) as server:
        zone, host = tlsa(server, der(pair)), world.policy_host(text(mx=[MX]))
        met = world.send(server, host, zone, signed=[DOMAIN])
        assert met.verify == "TRUSTED"
        assert results(met) == [("tlsa", "")]
        world.cache.note(DOMAIN, ID, StsPolicy("enforce", 600, ("mx.other.example",)))
        refused = world.send(server, host, zone, signed=[DOMAIN])
    assert refused.outcome.text.startswith("MTA-STS: ")


def test_records_that_do_not_count_leave_it_to_the_policy(world: World) -> None:
    server = world.stranger()
    useless: Zone = {f"_{server.port}._tcp.{MX}": {"TLSA": [f"1 1 1 {'0' * 64}"]}}
    with nothing_sent(server):
        sent = world.send(server, world.policy_host(text(mx=[MX])), useless, signed=[DOMAIN])
    assert SECURED not in server.commands[0]
    assert sent.outcome.fate is Fate.DEFERRED


# -- the cache -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["..", ".new", "a/b", "", "x" * 300, "A.example", "a\nb"])
def test_a_domain_that_is_no_file_name_is_not_kept(world: World, domain: str) -> None:
    world.cache.note(domain, ID, StsPolicy("enforce", 600, (MX,)))
    assert os.listdir(world.cache._path) == []
    assert world.cache.known(domain) is None


@pytest.mark.parametrize("damage", [b"", b"fetched: x\n", b"\xff\xfe"])
def test_what_is_damaged_is_fetched_again(world: World, damage: bytes) -> None:
    Path(world.cache._path, DOMAIN).write_bytes(damage)
    host = world.policy_host(text(mx=[MX]))
    assert world.send(world.mail_host(MX), host).outcome.fate is Fate.SENT
    assert len(host.asked()) == 1


def test_a_disk_that_fills_while_a_policy_is_written_takes_none_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cache.note(DOMAIN, ID, StsPolicy("enforce", 600, (MX,)))
    write, left = os.write, [40]

    def short(file: int, octets: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, octets[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", short)
    world.cache.note(DOMAIN, "2", StsPolicy("enforce", 6000, (MX,)))
    known = world.cache.known(DOMAIN)
    assert left == [0]
    assert known is not None and (known.id, known.policy.max_age) == (ID, 600)


def test_a_policy_dated_by_a_clock_that_was_put_back_is_fetched_again(world: World) -> None:
    server, host = world.mail_host(MX), world.policy_host(text(mx=[MX], max_age=600))
    world.send(server, host)
    world.age(-1000)
    assert world.send(server, host).outcome.fate is Fate.SENT
    assert len(host.asked()) == 2


def test_a_policy_dated_years_ahead_holds_until_then_for_nobody(world: World) -> None:
    host = world.policy_host(text(mx=[MX], max_age=600))
    world.send(world.mail_host(MX), host)
    world.age(-1000)
    assert world.send(world.mail_host(), None, announced={}).outcome.fate is Fate.DEFERRED
    world.age(-2 * MAX_AGE)
    assert world.send(world.mail_host(), None, announced={}).outcome.fate is Fate.SENT


def test_a_directory_of_somebody_else_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = StsCache(str(tmp_path / "mqueue.sts"))
    (tmp_path / "mqueue.sts").mkdir()
    (tmp_path / "mqueue.sts" / DOMAIN).write_bytes(text(mode="none") + b"id: 1\nfetched: 9\n")
    here = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: here + 1)
    cache.open()
    assert cache.file == -1
    assert cache.known(DOMAIN) is None


def test_what_counts_no_more_is_removed(world: World) -> None:
    policy = StsPolicy("enforce", 600, (MX,))
    for domain in ("old.example", "new.example"):
        world.cache.note(domain, ID, policy)
    world.age(601, "old.example")
    for name in ("old.example.tried", "rubbish"):
        Path(world.cache._path, name).write_text(f"id: {ID}\nfetched: 5\n")
        os.utime(Path(world.cache._path, name), (5, 5))
    world.cache.note("young.example", ID, None)
    forget_old(world.cache._path)
    assert sorted(os.listdir(world.cache._path)) == ["new.example", "young.example.tried"]
    forget_old(world.cache._path + ".nothing")
