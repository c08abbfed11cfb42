"""Mail in from clients that others wrote, in clear and inside TLS, with and without a login."""

from __future__ import annotations

import re
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


@pytest.mark.debian("sslscan")
@pytest.mark.parametrize(
    ("port", "words"), [(MTA, ("--starttls-smtp",)), (MSA, ("--starttls-smtp",)), (MTAS, ())]
)
def test_sslscan_finds_nothing_old_and_nothing_weak(
    listen: Listen, port: str, words: tuple[str, ...]
) -> None:
    found = run("sslscan", "--no-colour", *words, f"127.0.0.1:{listen(port).port}").stdout
    protocols = re.findall(r"^(SSLv\d|TLSv1\.\d) +enabled", found, re.MULTILINE)
    assert protocols == ["TLSv1.2", "TLSv1.3"]
    ciphers = re.findall(r"^(?:Preferred|Accepted) +\S+ +(\d+) bits +(\S+)", found, re.MULTILINE)
    assert ciphers and all(int(bits) >= 128 for bits, _ in ciphers)
    assert not re.search(r"RC4|DES|NULL|EXP|MD5|ADH|AECDH|anon", " ".join(n for _, n in ciphers))
    assert "Session renegotiation not supported" in found
    assert " vulnerable" not in found.replace("not vulnerable", "")
