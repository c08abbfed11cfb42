"""Mail in from clients that others wrote, in clear and inside TLS, with and without a login."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.listener.test_injection import MSA, MTA, MTAS, campus, listen
from tests.listener.test_starttls import SecureListening
from tests.support.smtphost import SmtpHost

__all__ = ["campus", "listen"]

pytestmark = pytest.mark.debian("openssl")
Listen = Callable[[str], SecureListening]
LETTER = "Subject: x\r\n\r\n.dot\r\n..\r\n"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    return subprocess.run(
        command, input=LETTER, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.debian("curl")
@pytest.mark.parametrize(
    ("port", "scheme", "words", "protocol"),
    [
        (MTA, "smtp", (), b"ESMTP"),
        (MTA, "smtp", ("--ssl-reqd",), b"ESMTPS"),
        (MTAS, "smtps", (), b"ESMTPS"),
        (MTAS, "smtps", ("--user", "emma:secret"), b"ESMTPSA"),
        (MSA, "smtp", ("--ssl-reqd", "--user", "emma:secret"), b"ESMTPSA"),
        (
            MSA,
            "smtp",
            ("--ssl-reqd", "--user", "emma:secret", "--login-options", "AUTH=LOGIN"),
            b"ESMTPSA",
        ),
    ],
)
def test_curl_sends(
    host: SmtpHost,
    listen: Listen,
    port: str,
    scheme: str,
    words: tuple[str, ...],
    protocol: bytes,
) -> None:
    url = f"{scheme}://127.0.0.1:{listen(port).port}/lab1.campus"
    path = ("--mail-from", "emma@lab2.campus", "--mail-rcpt", "dave@lab2.campus")
    done = run("curl", "-sS", "-k", *words, *path, "-T", "-", url)
    assert done.returncode == 0, done.stderr
    [(control, body)] = host.queued()
    assert control.macros[b"r"] == protocol
    assert body == b".dot\n..\n"


@pytest.mark.debian("curl")
def test_curl_with_a_wrong_password_is_told_so_and_sends_nothing(
    host: SmtpHost, listen: Listen
) -> None:
    url = f"smtps://127.0.0.1:{listen(MTAS).port}/lab1.campus"
    path = ("--mail-from", "emma@lab2.campus", "--mail-rcpt", "dave@lab2.campus")
    done = run("curl", "-sS", "-k", "--user", "emma:wrong", *path, "-T", "-", url)
    assert "Login denied" in done.stderr
    assert host.files() == []
