"""A signature on what leaves (DKIM, RFC 6376), made in the worker (only importer of dkim, optional).

The last thing that is done to a message for one peer, behind all rewriting and the conversion to
7 bits. The field stands on top, above our Received. rsa-sha256, relaxed/relaxed; what can be signed
of the header is, and From once more than it is there, so that nobody can add another one.

    the key is no key, or no longer there    Unreadable: the message waits
    the header cannot be signed              Unsendable: the message is returned
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from minimta.message import headers
from minimta.system import sitepackages

#: octets of a key file
MAX_KEY = 16384
#: RFC 6376 section 5.4.1; RFC 8058 section 4 wants List-Unsubscribe-Post
_SIGNED = frozenset(
    b"from sender reply-to subject date message-id to cc mime-version content-type"
    b" content-transfer-encoding content-id content-description in-reply-to references resent-date"
    b" resent-from resent-sender resent-to resent-cc resent-message-id list-id list-help"
    b" list-unsubscribe list-unsubscribe-post list-subscribe list-post list-owner"
    b" list-archive".split()
)


class SigningKey(NamedTuple):
    """The key for one domain, as the runner has opened it."""

    #: d= of the signature
    domain: str
    #: s=
    selector: str
    #: path, inode and time: another one when the file was replaced
    stamp: tuple[str, int, int]
    #: the open file
    file: int

    @property
    def path(self) -> str:
        """For people."""
        return self.stamp[0]

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for what signs in the same way, whatever descriptor it has."""
        return self[:3]


class BadKey(Exception):
    """It signs nothing; the text says why."""


class Unsignable(Exception):
    """It cannot be signed; the text says why."""


def load() -> None:
    """Import the library now, while it can be read. Raise ImportError if it is not installed."""
    sitepackages.provide()
    import dkim  # noqa: F401


def signed(key: SigningKey, header: bytes, body: bytes) -> bytes:
    """The *header* block with a DKIM-Signature on top, LF line ends. Raise BadKey, Unsignable."""
    import dkim

    message = (header + b"\n" + body).replace(b"\n", b"\r\n")
    try:
        private = os.pread(key.file, MAX_KEY, 0)
        field = dkim.DKIM(message).sign(
            key.selector.encode("ascii"),
            key.domain.encode("ascii"),
            private,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=list(_names(header)),
        )
    except dkim.MessageFormatError as error:
        raise Unsignable(str(error)) from error
    except (dkim.DKIMException, OSError, ValueError, IndexError) as error:
        # binascii.Error is a ValueError; nothing of the key is in a text of ours.
        raise BadKey(type(error).__name__) from None
    return bytes(field).replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n" + header


def _names(header: bytes) -> Iterator[bytes]:
    """The fields to sign, each as often as it is there, and From once more."""
    for field in headers.split_message(header)[0]:
        if headers.name(field) in _SIGNED:
            yield headers.name(field)
    yield b"from"
