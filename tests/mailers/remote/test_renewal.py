"""Access tokens: renewed in time, once; and what becomes of mail when they cannot be."""

from __future__ import annotations

import errno
import json
import os
import ssl
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.remote import oauth, renewal, token_file
from minimta.mailers.remote.login_memory import FIRST_REST
from minimta.mailers.remote.token_file import TokenFile
from minimta.message.outcome import Fate
from minimta.system import safedirpath
from minimta.system.safefile import Untrusted
from minimta.system.tls_values import KeyPair
from tests.mailers.remote.conftest import NOW, SECRETS, Place
from tests.mailers.remote.test_logins import Host, to
from tests.support.certificates import Authority
from tests.support.fakeauthorization import free_port
from tests.support.fakeprovider import PROVIDERS, FakeProvider

pytestmark = pytest.mark.debian("openssl")


def test_a_token_that_is_good_is_used_and_nobody_is_asked(place: Place) -> None:
    place.put(f"https://127.0.0.1:{free_port()}/token", left=renewal.MARGIN + 1)
    assert place.get() == "old-access-token"


def test_a_token_is_renewed_before_its_end(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"), left=renewal.MARGIN)
    assert place.get() == "access-1-token"
    assert server.forms == [
        (
            "/token",
            {
                "grant_type": "refresh_token",
                "refresh_token": "old-refresh-token",
                "client_id": "client-1",
            },
        )
    ]
    assert place.get() == "access-1-token"
    assert len(server.forms) == 1
    place.now += 3600 - renewal.MARGIN - 1
    assert place.get() == "access-1-token"
    place.now += 1
    assert place.get() == "access-2-token"


def test_a_refresh_token_that_is_not_replaced_goes_on(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"))
    place.get()
    assert token_file.read(place.path).refresh_token == "old-refresh-token"


def test_a_rotated_refresh_token_is_the_next_one(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    assert [place.get(is_forced=True) for _ in range(3)] == [
        "access-1-token",
        "access-2-token",
        "access-3-token",
    ]
    said = [form["refresh_token"] for _, form in server.forms]
    assert said == ["old-refresh-token", "refresh-1-token", "refresh-2-token"]


def test_a_token_from_the_future_is_renewed(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"), left=30 * 86400)
    assert place.get() == "access-1-token"


def test_client_credentials_are_asked_for_again(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, secret="client-s3cret")
    more = {"client_secret": "client-s3cret", "scope": "https://outlook.office365.com/.default"}
    place.put(server.url("token"), 0, grant="client_credentials", **more)
    assert place.get() == "access-1-token"
    ((_, form),) = server.forms
    assert form == {"grant_type": "client_credentials", "client_id": "client-1", **more}


def test_a_client_secret_may_go_into_the_authorization_field(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"), client_secret="s:3 t", is_basic=True)
    assert place.get() == "access-1-token"
    assert server.authorizations == ["Basic Y2xpZW50LTE6cyUzQTMrdA=="]
    assert "client_secret" not in server.forms[0][1]


def test_the_file_stays_private_and_nothing_lies_beside_it(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    place.get()
    directory = Path(place.path).parent
    assert stat.S_IMODE(os.stat(place.path).st_mode) == 0o600
    assert sorted(path.name for path in directory.iterdir()) == ["office.json", "office.lock"]
    assert place.logged == ["token=office, renewed, lifetime=3600"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_not_believed(place: Place, mode: int) -> None:
    place.put("https://127.0.0.1/token", left=3000)
    os.chmod(place.path, mode)
    with pytest.raises(Untrusted):
        place.get()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"client": 1}', '{"client": {}, "grant": "x"}']
)
def test_a_file_that_makes_no_sense_is_told(place: Place, text: str) -> None:
    place.put("https://127.0.0.1/token", left=3000)
    Path(place.path).write_text(text)
    assert "is no token of `minimta token`" in place.trouble()


def test_a_file_with_a_field_of_another_type_is_told(place: Place) -> None:
    place.put("https://127.0.0.1/token", left=3000)
    said = json.loads(Path(place.path).read_text())
    wrong: dict[str, object] = {"access_token": {}, "expires": "1", "refresh_token": None}
    for name, value in wrong.items():
        Path(place.path).write_text(json.dumps({**said, name: value}))
        assert "is no token of `minimta token`" in place.trouble()


# --- refused --------------------------------------------------------------------------------------


def test_a_revoked_authorization_is_told_and_not_tried_again_soon(
    place: Place, pair: KeyPair
) -> None:
    server = place.serve(pair, refresh_tokens=[])
    place.put(server.url("token"))
    assert place.trouble() == (
        "token office: authorization revoked or expired (invalid_grant, AADSTS70000);"
        " to authorize it again: minimta token renew office"
    )
    for rest in (token_file.FIRST_REST, 2 * token_file.FIRST_REST):
        asked = len(server.forms)
        place.now += rest - 1
        assert "invalid_grant" in place.trouble()
        assert len(server.forms) == asked
        place.now += 1
        place.trouble()
        assert len(server.forms) == asked + 1


def test_the_rest_has_an_end_after_a_day(place: Place) -> None:
    place.put("https://127.0.0.1/token")
    for _ in range(20):
        token_file.note_trouble(place.path, NOW, "no", is_final=True)
    record = token_file.trouble(place.path)
    assert record is not None and record.until == NOW + token_file.LONGEST_REST


def test_a_trouble_of_a_clock_that_was_wrong_is_none(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair)
    place.put(server.url("token"), left=-2 * 86400)
    server.answer((400, {"error": "invalid_grant"}))
    assert "invalid_grant" in place.trouble()
    place.now -= token_file.FIRST_REST
    assert "invalid_grant" in place.trouble() and len(server.forms) == 1
    place.now -= token_file.LONGEST_REST
    assert place.get() == "access-1-token"


def test_a_change_of_the_file_ends_the_rest(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, secret="client-s3cret")
    place.put(server.url("token"), client_secret="client-0ld")
    assert "client id or client secret is refused (invalid_client)" in place.trouble()
    place.put(server.url("token"), client_secret="client-s3cret")
    assert place.get() == "access-1-token"


def test_trouble_while_the_token_is_still_good_stops_no_mail(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, refresh_tokens=[])
    place.put(server.url("token"), left=renewal.MARGIN - 1)
    assert place.get() == "old-access-token"
    assert "not renewed: token office: authorization revoked" in place.logged[0]
    assert place.get() == "old-access-token"
    assert len(server.forms) == 1
    place.now += renewal.MARGIN
    assert "invalid_grant" in place.trouble()


# --- a letter -------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def of_host(host: Host, authority: Authority, stack: ExitStack) -> Place:
    import time

    place = Place(host.directory, authority, stack)
    place.now = time.time()
    place.logged = host.logged
    host.options.token_directory = place.options.token_directory
    host.options.run_as_user = ""
    return place


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER", ""])
def test_a_letter_goes_out_with_a_token_that_had_expired(
    host: Host, authority: Authority, pair: KeyPair, mechanism: str
) -> None:
    with ExitStack() as stack:
        place = of_host(host, authority, stack)
        server = place.serve(pair, rotates=True)
        place.put(server.url("token"))
        host.write(
            'AuthInfo:127.0.0.1 "U:emma" "T:office"' + (f' "M:{mechanism}"' if mechanism else "")
        )
        with FakeProvider(PROVIDERS["fastmail"], {"emma": "access-1-token"}) as provider:
            assert host.run(to(provider))[0].fate is Fate.SENT
            assert host.run(to(provider))[0].fate is Fate.SENT
            assert provider.logins == [("emma", mechanism or "OAUTHBEARER", True, False)] * 2
        assert len(server.forms) == 1
        told = [*host.logged, *host.said]
        assert not any(secret in text for text in told for secret in SECRETS)
        assert told.count(": token=office, renewed, lifetime=3600") == 1
        for path in host.directory.rglob("*"):
            if path.is_file() and path.suffix != ".json":
                text = path.read_text(errors="replace")
                assert not any(secret in text for secret in SECRETS), path


def test_a_letter_waits_when_the_authorization_was_revoked(
    host: Host, authority: Authority, pair: KeyPair
) -> None:
    with ExitStack() as stack:
        place = of_host(host, authority, stack)
        server = place.serve(pair, refresh_tokens=[])
        place.put(server.url("token"))
        host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
        with FakeProvider(PROVIDERS["office365"], {"emma": "x"}) as provider:
            for _ in range(2):
                (outcome,) = host.run(to(provider))
                assert outcome.fate is Fate.DEFERRED
                assert outcome.text.startswith("token office: authorization revoked")
                assert outcome.text.endswith("to authorize it again: minimta token renew office")
            assert provider.commands == []
        assert len(server.forms) == 1


def test_a_token_that_the_host_refuses_is_renewed_when_its_rest_is_over(
    host: Host, authority: Authority, pair: KeyPair
) -> None:
    """Providers end tokens before their time: a password was changed, an address looked odd."""
    with ExitStack() as stack:
        place = of_host(host, authority, stack)
        host.now = place.now
        server = place.serve(pair)
        place.put(server.url("token"), left=3500)
        host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
        with FakeProvider(PROVIDERS["office365"], {"emma": "access-1-token"}) as provider:
            assert host.run(to(provider))[0].text.startswith("token of emma refused")
            assert server.forms == []
            host.now += FIRST_REST + 1
            server.answer((503, {}))
            assert "the server answers 503" in host.run(to(provider))[0].text
            assert len(provider.logins) == 1  # the refused one is not shown again
            token_file.forget_trouble(place.path)
            assert host.run(to(provider))[0].fate is Fate.SENT
            assert [accepted for _, _, accepted, _ in provider.logins] == [False, True]


def test_a_token_that_does_not_exist_delays_and_is_told(host: Host, tmp_path: Path) -> None:
    host.options.token_directory = str(tmp_path / "none")
    host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
    with FakeProvider(PROVIDERS["office365"], {"emma": "x"}) as provider:
        (outcome,) = host.run(to(provider))
    assert outcome.fate is Fate.DEFERRED
    assert "office.json: No such file" in outcome.text


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_a_token_that_cannot_be_read_delays_and_is_told(
    host: Host, authority: Authority, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = safedirpath.read_trusted

    def fail(path: str, *more: Any) -> safedirpath.TrustedFile:
        if path.endswith(".json"):
            raise OSError(code, os.strerror(code), path)
        return real(path, *more)

    with ExitStack() as stack:
        of_host(host, authority, stack).put("https://127.0.0.1/token", left=3000)
        host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
        with FakeProvider(PROVIDERS["office365"], {"emma": "old-access-token"}) as provider:
            with monkeypatch.context() as patch:
                patch.setattr(safedirpath, "read_trusted", fail)
                (outcome,) = host.run(to(provider))
            assert outcome.fate is Fate.DEFERRED
            assert os.strerror(code) in outcome.text
            assert provider.commands == []
            assert host.run(to(provider))[0].fate is Fate.SENT


def test_a_renewal_is_no_new_login_and_an_authorization_is(
    host: Host, authority: Authority
) -> None:
    from minimta.mailers.remote.credentials import CredentialStore

    def state() -> str:
        store = CredentialStore.read(host.options)
        return store.state_of(store.rows[0])

    with ExitStack() as stack:
        place = of_host(host, authority, stack)
        token = place.put("https://127.0.0.1/token")
        host.write('AuthInfo:127.0.0.1 "U:emma" "T:office"')
        first = state()
        token_file.write(place.path, token.with_tokens(oauth.Tokens("b", 1), NOW))
        assert state() == first
        token_file.write(place.path, TokenFile(token.client, token.grant, "second"))
        assert state() != first


def test_the_context_is_made_for_https() -> None:
    from minimta.system.tls import https_context
    from minimta.system.tls_values import Trust

    context = https_context(Trust())
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
