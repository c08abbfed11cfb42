"""The TLS handshake of either side, over octets that somebody else receives and sends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from minimta.system.tls import TlsLayer
from minimta.system.tls_values import TlsError


def establish(layer: TlsLayer, recv: Callable[[], bytes], send: Callable[[bytes], None]) -> None:
    """Make the handshake of *layer*; recv() gives what comes, b"" at the end of the connection.

    Raise TlsError for whatever goes wrong, also if recv() or send() raises OSError, or TimeoutError
    when the time for it is over.
    """
    try:
        while not _is_over(layer, send):
            octets = recv()
            if not octets:
                raise TlsError("the other side closed the connection in the handshake")
            layer.feed(octets)
    except TlsError:
        raise
    except TimeoutError as error:
        raise TlsError("no end of the handshake (Timeout.starttls)") from error
    except OSError as error:
        raise TlsError(f"the connection broke in the handshake: {error.strerror}") from error


def _is_over(layer: TlsLayer, send: Callable[[bytes], None]) -> bool:
    """One step of it; is it over?"""
    try:
        is_over = layer.handshake()
    except TlsError:
        with contextlib.suppress(OSError):
            send(layer.take())  # the alert tells the other side why
        raise
    send(layer.take())
    return is_over
