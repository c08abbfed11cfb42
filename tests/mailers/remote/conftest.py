"""A directory of tokens, an authorization server that renews them; hosts of the net."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.remote import token_file
from minimta.mailers.remote.oauth import OAuthClient, TokenTrouble
from minimta.mailers.remote.renewal import access_token
from minimta.mailers.remote.token_file import TokenFile
from minimta.system.tls import server_context
from minimta.system.tls_values import KeyPair
from tests.support.certificates import Authority
from tests.support.fakeauthorization import FakeAuthorization
from tests.support.jobs import options

NOW = 1_800_000_000.0
SECRETS = ("old-refresh-token", "old-access-token", "client-s3cret", "access-1-", "refresh-1-")


@pytest.fixture
def loopback_is_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 127.0.0.x play hosts of the net."""
    monkeypatch.setattr("minimta.mailers.remote.mx_targets.TargetFinder._is_us", lambda *_: False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    return authority.issue("127.0.0.1")


class Place:
    """A directory of tokens, and the server that renews them."""

    def __init__(self, directory: Path, authority: Authority, stack: ExitStack) -> None:
        directory.chmod(0o700)
        (directory / "tokens").mkdir(mode=0o700)
        self.options: Options = options(token_directory=str(directory / "tokens"))
        self.options.run_as_user = ""
        self.path = str(directory / "tokens" / "office.json")
        self.now = NOW
        self.logged: list[str] = []
        self._authority = authority
        self._stack = stack

    def serve(self, pair: KeyPair, **how: object) -> FakeAuthorization:
        known = {"refresh_tokens": ["old-refresh-token"], **how}
        server = FakeAuthorization(server_context(pair), **known)  # type: ignore[arg-type]
        return self._stack.enter_context(server)

    def put(self, endpoint: str, left: int = 0, **more: object) -> TokenFile:
        """The token "office", which ends in *left* seconds."""
        known = {"client_id": "client-1", "ca_file": self._authority.certificate, **more}
        grant = str(known.pop("grant", "refresh_token"))
        client = OAuthClient(endpoint, **known)  # type: ignore[arg-type]
        times = (int(self.now) + left - 3600, int(self.now) + left)
        refresh = "old-refresh-token" if grant == "refresh_token" else ""
        token = TokenFile(client, grant, "first", refresh, "old-access-token", *times)
        token_file.write(self.path, token)
        return token

    def get(self, **more: bool) -> str:
        def note(text: str, *, is_error: bool = False) -> None:
            self.logged.append(text)

        return access_token(self.options, "office", note, clock=lambda: self.now, **more)

    def trouble(self, **more: bool) -> str:
        """Why there is no token; no secret is in it, nor in what is logged."""
        with pytest.raises((TokenTrouble, OSError, ValueError)) as raised:
            self.get(**more)
        told = [str(raised.value), repr(raised.value), *self.logged]
        with_trouble = Path(self.path).with_suffix(".trouble")
        if with_trouble.exists():
            told.append(with_trouble.read_text())
        assert not any(secret in text for text in told for secret in SECRETS)
        return str(raised.value)


@pytest.fixture
def place(tmp_path: Path, authority: Authority) -> Iterator[Place]:
    with ExitStack() as stack:
        made = Place(tmp_path, authority, stack)
        yield made
