"""Forms by HTTPS: where they go, and how long an answer may take."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from minimta.system.https import Endpoint, HttpsClient
from minimta.system.tls import server_context
from minimta.system.tls_values import TlsError, Trust
from tests.support.certificates import Authority
from tests.support.fakeauthorization import FakeAuthorization


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://h.example/token", Endpoint("h.example", 443, "/token")),
        ("https://H.example", Endpoint("h.example", 443, "/")),
        ("https://h.example:8443/a/b?p=1", Endpoint("h.example", 8443, "/a/b?p=1")),
        ("https://[::1]:8443/t", Endpoint("::1", 8443, "/t")),
    ],
)
def test_where_a_form_goes(url: str, endpoint: Endpoint) -> None:
    assert Endpoint.read(url) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h.example/token",
        "http://h.example/token",
        "ftp://h.example/",
        "https:///token",
        "https://emma:x@h.example/",
        "https://h.example/#x",
        "https://h.example:99999/",
        "https://h.example:x/",
        "https://h.example/a b",
        "https://h.example/\r\nX: y",
        "https://h\u00e4.example/",
    ],
)
def test_what_is_no_place_for_a_form(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Endpoint.read(url)


def test_authorities_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match="No such file"):
        HttpsClient(Trust(str(tmp_path / "none.pem")))


@pytest.mark.debian("openssl")
def test_one_address_that_swallows_all_leaves_time_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority.issue("127.0.0.1"))
    waited: list[float] = []
    real = socket.create_connection

    def note(address: tuple[str, int], timeout: float, *more: Any) -> socket.socket:
        waited.append(timeout)
        return real(address, timeout, *more)

    monkeypatch.setattr(socket, "create_connection", note)
    with FakeAuthorization(context, refresh_tokens=["r"]) as server:
        form = {"grant_type": "refresh_token", "refresh_token": "r"}
        status, _ = HttpsClient(Trust(authority.certificate)).post(server.url("token"), form, 6.0)
    assert (status, waited) == (200, [2.0])
