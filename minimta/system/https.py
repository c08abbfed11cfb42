"""A form or a question sent by HTTPS, and the answer, within bounds (only importer of http.client, urllib).

For authorization servers (OAuth), policies (MTA-STS) and alerts: the certificate must be for the host's name, no redirect is
followed, no proxy is taken from the environment, and the answer may have LIMIT octets. What is sent
is secret, and so is the answer: neither is in the text of an exception.
"""

from __future__ import annotations

import contextlib
import errno
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minimta.system import tls
from minimta.system.tls_values import CertificateError, Trust

if TYPE_CHECKING:
    import http.client
    import socket
    from typing import Any

#: octets of an answer
LIMIT = 1 << 16
HTTP_OK = 200
#: a timeout of 0 would be a socket that does not wait at all
_LEAST = 0.001


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a form goes."""

    host: str
    port: int
    #: path and query
    path: str

    @classmethod
    def read(cls, url: str) -> Endpoint:
        """From an "https://host/path". Raise ValueError if it is something else."""
        from urllib.parse import urlsplit

        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("no URL")
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise ValueError("no URL like https://host/path")
        path = parts.path or "/"
        return cls(parts.hostname, parts.port or 443, f"{path}?{parts.query}".removesuffix("?"))


class HttpsClient:
    """How forms are sent: made where files can be read, used in a child without rights."""

    def __init__(self, trust: Trust, proxy: str = "", basic: tuple[str, str] | None = None) -> None:
        """*proxy* is "host:port", "" for none; *basic* are user and password for the server.

        Raise TlsError if the certificates of *trust* cannot be read.
        """
        import http.client  # noqa: F401
        import urllib.parse  # noqa: F401

        "localhost".encode("idna")
        self._context = tls.https_context(trust)
        self._proxy = proxy
        self._basic = basic

    def post(self, url: str, form: Mapping[str, str], seconds: float) -> tuple[int, bytes]:
        """Status and content of the answer to *form*.

        Raise ValueError for what is no URL, OSError if there is no answer within *seconds* or none
        within bounds, however slowly its octets come.
        """
        from urllib.parse import urlencode

        body = urlencode(dict(form)).encode("ascii")
        status, _, content = self._exchange(url, "POST", body, self._headers(), seconds)
        return status, content

    def get_text(self, url: str, seconds: float) -> bytes:
        """What stands there, text/plain. Raise OSError as post() does, and if it is something else.

        CertificateError is one of those.
        """
        headers = {"Accept": "text/plain", "Connection": "close"}
        status, kind, content = self._exchange(url, "GET", None, headers, seconds)
        if status != HTTP_OK:
            raise OSError(errno.EPROTO, f"the server answers {status}")
        if kind.partition(";")[0].strip().lower() != "text/plain":
            raise OSError(errno.EPROTO, "the answer is no text/plain")
        return content

    def send(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> int:
        """The status of the answer to *body*; what it says is not looked at.

        Raise ValueError for what is no URL, OSError as post() does.
        """
        told = {"Connection": "close", "User-Agent": "minimta", **headers}
        return self._exchange(url, "POST", body, told, seconds)[0]

    def _exchange(
        self, url: str, method: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> tuple[int, str, bytes]:
        """Status, type and content of the answer."""
        import http.client

        place = Endpoint.read(url)
        deadline = time.monotonic() + seconds
        # One address that swallows all leaves time for others: a host has IPv6 and IPv4.
        connection = self._connection(place, seconds / 3)
        connection.response_class = _in_time(deadline)
        try:
            connection.connect()
            connection.sock.settimeout(max(deadline - time.monotonic(), _LEAST))
            connection.request(method, place.path, body, dict(headers))
            response = connection.getresponse()
            kind = response.getheader("Content-Type", "")
            return response.status, kind, _content(response, connection, deadline)
        except http.client.HTTPException:
            raise OSError(errno.EPROTO, f"{place.host} does not answer as HTTP has it") from None
        except OSError as error:
            way = f"{place.host} (HTTPSProxy {self._proxy})" if self._proxy else place.host
            if hasattr(error, "verify_code"):
                raise CertificateError(f"{way}: {tls.why(error)}") from None
            raise OSError(error.errno or errno.EIO, f"{way}: {tls.why(error)}") from None
        finally:
            connection.close()

    def _connection(self, place: Endpoint, seconds: float) -> http.client.HTTPSConnection:
        from http.client import HTTPSConnection

        host, port = place.host, place.port
        if self._proxy:
            host, _, digits = self._proxy.rpartition(":")
            host, port = host.strip("[]"), int(digits)
        made = HTTPSConnection(host, port, timeout=seconds, context=self._context)
        if self._proxy:
            made.set_tunnel(place.host, place.port)
        return made

    def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if self._basic is not None:
            headers["Authorization"] = _basic(*self._basic)
        return headers


def _in_time(deadline: float) -> type[http.client.HTTPResponse]:
    """Responses that are read until *deadline* (time.monotonic()), not from one octet to the next."""
    from http.client import HTTPResponse

    class InTime(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
            super().__init__(sock, *args, **more)
            self.fp = io.BufferedReader(_UntilDeadline(sock, deadline))

    return InTime


class _UntilDeadline(io.RawIOBase):
    """What a socket gives."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        self._file = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "timed out: the answer takes too long")
        with contextlib.suppress(OSError):  # the connection is closed, but not its file
            self._socket.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _basic(user: str, password: str) -> str:
    """RFC 6749 section 2.3.1: both are encoded as in a form before."""
    from base64 import b64encode
    from urllib.parse import quote_plus

    words = f"{quote_plus(user)}:{quote_plus(password)}"
    return f"Basic {b64encode(words.encode('ascii')).decode('ascii')}"


def _content(
    response: http.client.HTTPResponse,
    connection: http.client.HTTPSConnection,
    deadline: float,
) -> bytes:
    content = b""
    while octets := response.read1(LIMIT + 1 - len(content)):
        content += octets
        if len(content) > LIMIT:
            raise OSError(errno.EMSGSIZE, "the answer is too long")
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "the answer takes too long")
        if connection.sock is not None:
            connection.sock.settimeout(left)
    return content


def query(url: str) -> dict[str, str]:
    """The parameters of an address that somebody pasted; the first of each name."""
    from urllib.parse import parse_qs, urlsplit

    try:
        found = parse_qs(urlsplit(url.strip()).query, max_num_fields=50)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """*url* with *parameters* behind it, for a browser."""
    from urllib.parse import urlencode

    return f"{url}{'&' if '?' in url else '?'}{urlencode(dict(parameters))}"
