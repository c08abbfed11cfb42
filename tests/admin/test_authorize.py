"""How an authorization is got: device code, authorization code with PKCE, client credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minimta.admin.authorize import PROVIDERS, Dialogue, authorize
from minimta.mailers.remote import oauth
from minimta.mailers.remote.oauth import OAuthClient, Tokens, TokenTrouble
from minimta.system import https
from minimta.system.tls import server_context
from minimta.system.tls_values import KeyPair
from tests.support.certificates import Authority
from tests.support.fakeauthorization import HANG, FakeAuthorization
from tests.support.jobs import options

pytestmark = pytest.mark.debian("openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    return authority.issue("127.0.0.1")


class User:
    """Who sits before the terminal, and whose clock runs when it is slept."""

    def __init__(self, ask: Callable[[str], str] | None = None) -> None:
        self.said: list[str] = []
        self.slept: list[float] = []
        self.dialogue = Dialogue(
            self.said.append, ask or (lambda text: ""), self.slept.append, lambda: sum(self.slept)
        )


@pytest.fixture
def client(authority: Authority) -> OAuthClient:
    return OAuthClient("", "client-1", ca_file=authority.certificate, scope="mail offline_access")


def go(server: FakeAuthorization, client: OAuthClient, user: User, way: str) -> Tokens:
    client = replace(
        client,
        token_endpoint=server.url("token"),
        device_endpoint=server.url("device") if way == "device" else "",
        authorization_endpoint=server.url("authorize") if way == "browser" else "",
    )
    return authorize(options(run_as_user=""), client, user.dialogue)


# --- device code ----------------------------------------------------------------------------------


def test_a_device_code_is_waited_for_as_the_server_wants_it(
    pair: KeyPair, client: OAuthClient
) -> None:
    polls = ["authorization_pending", "slow_down", "authorization_pending"]
    user = User()
    with FakeAuthorization(server_context(pair), polls=polls) as server:
        tokens = go(server, client, user, "device")
        assert tokens == Tokens("access-1-token", 3600, "refresh-1-token")
        assert server.forms[0] == (
            "/device",
            {"client_id": "client-1", "scope": "mail offline_access"},
        )
        assert server.forms[1] == (
            "/token",
            {
                "grant_type": oauth.DEVICE_GRANT,
                "device_code": "device-code-1",
                "client_id": "client-1",
            },
        )
    assert user.slept == [5, 5, 10, 10]
    assert user.said == [
        "In a browser, on any machine, open https://microsoft.com/devicelogin",
        "and type the code ABCD-EFGH. This waits until that is done.",
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", "the authorization was denied (access_denied)"),
        ("authorization_declined", "the authorization was denied (authorization_declined)"),
        ("expired_token", "the code has expired (expired_token)"),
        ("bad_verification_code", "the code is refused (bad_verification_code)"),
        ("what_else", "the server refuses (what_else)"),
    ],
)
def test_a_device_code_that_is_refused_is_told(
    pair: KeyPair, client: OAuthClient, error: str, reason: str
) -> None:
    with FakeAuthorization(server_context(pair), polls=["authorization_pending", error]) as server:
        with pytest.raises(TokenTrouble) as raised:
            go(server, client, User(), "device")
        assert raised.value.text == reason
        assert len(server.forms) == 3


def test_a_device_code_that_nobody_types_expires(pair: KeyPair, client: OAuthClient) -> None:
    user = User()
    polls = ["authorization_pending"] * 1000
    with FakeAuthorization(server_context(pair), polls=polls) as server:
        server.answer(
            (
                200,
                {
                    "device_code": "d",
                    "user_code": "U",
                    "verification_uri": "https://v.example",
                    "expires_in": 60,
                    "interval": 20,
                },
            )
        )
        with pytest.raises(TokenTrouble, match="nobody typed it in"):
            go(server, client, user, "device")
    assert user.slept == [20, 20]


def test_a_device_code_of_which_nothing_is_told_is_good_for_a_quarter_of_an_hour(
    pair: KeyPair, client: OAuthClient
) -> None:
    user = User()
    device = {"device_code": "d", "user_code": "U", "verification_url": "https://v.example"}
    with FakeAuthorization(server_context(pair), polls=["authorization_pending"] * 10) as server:
        server.answer((200, {**device, "interval": 225}))
        with pytest.raises(TokenTrouble, match="nobody typed it in"):
            go(server, client, user, "device")
    assert user.slept == [225] * 3  # the fourth question would come when it is over


def test_a_server_that_is_away_for_a_while_is_asked_less_often(
    pair: KeyPair, client: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "ASK_TIME", 0.2)
    user = User()
    with FakeAuthorization(server_context(pair)) as server:
        device = {"device_code": "d", "user_code": "U", "verification_url": "https://v.example"}
        server.answer((200, device), (503, {"error": "server_error"}), HANG)
        assert go(server, client, user, "device").access_token == "access-1-token"
    assert user.slept == [5, 10, 20]
    assert any(line.startswith("not reached, tried again: 127.0.0.1: ") for line in user.said)


@pytest.mark.parametrize(
    "answer", [(200, {}), (200, {"device_code": "d", "user_code": "a\x1b[2J"}), b"x\r\n\r\n"]
)
def test_a_device_answer_that_makes_no_sense_is_told(
    pair: KeyPair, client: OAuthClient, answer: object
) -> None:
    with FakeAuthorization(server_context(pair)) as server:
        server.answer(answer)  # type: ignore[arg-type]
        with pytest.raises((TokenTrouble, OSError), match=r"no code for a user|as HTTP has it"):
            go(server, client, User(), "device")


def test_a_client_that_may_not_use_device_codes_is_told(pair: KeyPair, client: OAuthClient) -> None:
    with FakeAuthorization(server_context(pair)) as server:
        server.answer((401, {"error": "invalid_client", "error_description": "AADSTS7000218: x"}))
        with pytest.raises(TokenTrouble, match=r"refused \(invalid_client, AADSTS7000218\)"):
            go(server, client, User(), "device")


# --- authorization code ---------------------------------------------------------------------------


class Browser(User):
    """Logs in at the server and pastes what the browser then shows; *changes* replaces parts of it."""

    def __init__(self, server: FakeAuthorization, **changes: str) -> None:
        super().__init__(self.paste)
        self._server = server
        self._changes = changes
        self.asked = {"": ""}

    def paste(self, text: str) -> str:
        (address,) = [line for line in self.said if line.startswith("https://")]
        self.asked = https.query(address)
        self._server.ask("expect_code", "the-code", self.asked["code_challenge"])
        back = {"code": "the-code", "state": self.asked["state"], **self._changes}
        return "  " + https.with_query(self.asked["redirect_uri"], back) + "  "


@pytest.fixture
def server(pair: KeyPair) -> Iterator[FakeAuthorization]:
    with FakeAuthorization(server_context(pair), secret="client-s3cret") as server:
        yield server


def test_a_code_is_pasted_back_and_bound_by_pkce(
    server: FakeAuthorization, client: OAuthClient
) -> None:
    user = Browser(server)
    client = replace(client, client_secret="client-s3cret")
    tokens = go(server, client, user, "browser")
    assert tokens == Tokens("access-1-token", 3600, "refresh-1-token")
    asked = dict(user.asked)
    ((_, form),) = server.forms
    assert asked.pop("redirect_uri") == form.pop("redirect_uri")
    assert asked.pop("code_challenge") == oauth.challenge_of(form["code_verifier"])
    assert 43 <= len(form.pop("code_verifier")) <= 128
    assert len(asked.pop("state")) >= 22
    assert asked == {
        "response_type": "code",
        "client_id": "client-1",
        "scope": "mail offline_access",
        "code_challenge_method": "S256",
        "access_type": "offline",
        "prompt": "consent",
    }
    assert form == {
        "grant_type": "authorization_code",
        "code": "the-code",
        "client_id": "client-1",
        "client_secret": "client-s3cret",
    }


def test_the_challenge_is_that_of_the_rfc() -> None:
    # RFC 7636 appendix B
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert oauth.challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_an_answer_to_another_request_is_not_taken(
    server: FakeAuthorization, client: OAuthClient
) -> None:
    with pytest.raises(TokenTrouble, match="no address with a code"):
        go(server, client, Browser(server, state="another"), "browser")
    assert server.forms == []


def test_a_user_who_says_no_in_the_browser_is_told(
    server: FakeAuthorization, client: OAuthClient
) -> None:
    with pytest.raises(TokenTrouble, match=r"was denied \(access_denied\)"):
        go(server, client, Browser(server, error="access_denied"), "browser")


def test_who_pastes_nothing_is_asked_three_times_and_an_end_is_an_end(
    server: FakeAuthorization, client: OAuthClient
) -> None:
    asked: list[str] = []

    def nothing(text: str) -> str:
        asked.append(text)
        return "http://127.0.0.1/"

    def gone(text: str) -> str:
        asked.append(text)
        raise EOFError

    with pytest.raises(TokenTrouble, match="no address with a code"):
        go(server, client, User(nothing), "browser")
    with pytest.raises(TokenTrouble, match="no address with a code"):
        go(server, client, User(gone), "browser")
    assert len(asked) == 4


def test_a_code_with_another_verifier_is_refused_by_the_server(
    server: FakeAuthorization, client: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake checks what real ones check."""
    client = replace(client, client_secret="client-s3cret")
    with pytest.raises(TokenTrouble, match="invalid_grant"):
        go(server, client, Browser(server, code="stolen"), "browser")


# --- client credentials ---------------------------------------------------------------------------


def test_client_credentials_ask_nobody(server: FakeAuthorization, client: OAuthClient) -> None:
    user = User()
    tokens = go(server, replace(client, client_secret="client-s3cret"), user, "")
    assert tokens == Tokens("access-1-token", 3600, "")
    assert user.said == []


def test_the_places_of_the_providers(tmp_path: Path) -> None:
    for provider in PROVIDERS.values():
        for url in (
            provider.token_endpoint,
            provider.device_endpoint,
            provider.authorization_endpoint,
        ):
            assert not url or https.Endpoint.read(url.format(tenant="common")).port == 443
