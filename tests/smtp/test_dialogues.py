"""The dialogues of tests/dialogues/client, played with the pure client, whatever pieces come."""

from __future__ import annotations

import pytest

from minimta.smtp.client import Client, PeerClosed, Transaction
from minimta.smtp.client_command import mail_line, rcpt_line
from minimta.smtp.reply import ReplyError
from tests.support import dialogue
from tests.support.dialogue import Dialogue

CONTENT = b"Subject: c\r\n\r\nbody\r\n.\r\n"


class Driver:
    """What OutgoingConnection and Delivery do with a Client, in short."""

    def __init__(self, row: str) -> None:
        self.client = Client("lab1.campus")
        self._must_be_secure = row.startswith("encrypt")
        self._is_secure = False
        self._asked = False
        self._transaction: Transaction | None = None
        self._has_quit = False

    def secure(self) -> None:
        self._is_secure = True
        if self.client.wants_handshake:
            self.client.secured()

    def says(self) -> bytes:
        """What goes out before the next answer, b"" if nothing does."""
        if self.client.wants_content:
            self.client.content_sent()
            return CONTENT
        octets = self.client.take()
        if not octets and not self.client.awaiting and self._goes_on():
            octets = self.client.take()
        return octets

    def _goes_on(self) -> bool:
        client = self.client
        if client.wants_handshake or self._has_quit:
            return False
        if not self._is_secure and not self._asked and "STARTTLS" in client.extensions:
            self._asked = True
            client.starttls()
        elif self._must_be_secure and not self._is_secure:
            return False
        elif self._transaction is None:
            mail = mail_line(b"emma@lab1.campus", client.extensions, size=20)
            self._transaction = Transaction(mail, [rcpt_line(b"x@lab2.campus", client.extensions)])
            client.begin(self._transaction)
        else:
            self._has_quit = True
            client.quit()
        return True


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("played", dialogue.of("client"), ids=lambda it: it.name)
def test_the_client_says_what_is_written(played: Dialogue, size: int) -> None:
    driver, said = Driver(played.row), []
    try:
        for who, octets in played.steps:
            if who == "TLS":
                driver.secure()
            elif who == "C":
                said.append(driver.says())
            else:
                for i in range(0, len(octets), size):
                    driver.client.receive(octets[i : i + size])
    except (PeerClosed, ReplyError):
        assert played.end[0] == "deferred"
    else:
        assert driver.says() == b""
    assert said == played.said_by("C")
