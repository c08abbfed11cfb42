"""OpenDKIM by milter: what it signs here another one finds good, one hop later and with Received above."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.config import filters
from minimta.message import headers
from minimta.runner import queue_run
from tests.support.privatehost import PrivateHost
from tests.support.smtphost import STRANGER, SmtpHost
from tests.support.unix_servers import wait_until_it_listens

pytestmark = pytest.mark.debian("opendkim", "openssl")

#: lines that a careless hand would change: 8-bit, a dot, blanks at the end, an empty last line
BODY = (
    b"Hello  \n.\n..two\ncaf\xc3\xa9\n"
    + b"0123456789abcdef" * 60
    + b"\n"
    + b"line\n" * 30_000
    + b"\n"
)
HEADER = b"From: Emma <emma@lab1.campus>\nTo: dave@lab2.campus\nSubject: a\n\tfolded  one\n"
Start = Callable[..., str]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a private key, and a file that stands for the DNS."""
    directory = tmp_path_factory.mktemp("keys")
    subprocess.run(
        ["openssl", "genrsa", "-out", str(directory / "key"), "2048"],
        capture_output=True,
        check=True,
    )
    command = ["openssl", "rsa", "-in", str(directory / "key"), "-pubout", "-outform", "DER"]
    public = subprocess.run(command, capture_output=True, check=True).stdout
    record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    (directory / "dns").write_text(f"s1._domainkey.lab1.campus {record}\n")
    (directory / "key").chmod(0o600)
    return directory


@pytest.fixture
def opendkim(tmp_path: Path, keys: Path) -> Iterator[Start]:
    """Start one; returns its MailFilter."""
    running: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> str:
        path, configuration = tmp_path / f"{mode}.sock", tmp_path / f"{mode}.conf"
        lines = [f"Mode {mode}", f"Socket local:{path}", "Syslog no", "Background no"]
        if mode == "s":
            lines += ["Domain lab1.campus", "Selector s1", f"KeyFile {keys}/key"]
            lines += [
                "RequireSafeKeys no",
                "OversignHeaders From",
                "Canonicalization simple/simple",
            ]
        else:
            lines += [f"TestPublicKeys {keys}/dns", "AuthservID lab2.campus"]
        configuration.write_text("\n".join(lines) + "\n")
        program = shutil.which("opendkim", path=f"{os.environ['PATH']}:/usr/sbin") or "opendkim"
        running.append(subprocess.Popen([program, "-f", "-x", str(configuration)]))
        wait_until_it_listens(path, running[-1])
        return f"opendkim{mode}, S=local:{path}, F=T, T=R:20s"

    yield start
    for one in running:
        one.kill()  # it takes seconds to end by itself
        one.wait(10)


def use(host: SmtpHost | PrivateHost, row: str) -> None:
    host.options.mail_filters = filters.read(row)
    host.options.input_mail_filters = (host.options.mail_filters[0].name,)


def text(host: SmtpHost) -> bytes:
    """The only message in the queue, as another host gets it; it is taken away."""
    [(control, body)] = host.queued()
    for name in host.files():
        (host.mqueue / name).unlink()
    header = headers.render(control.headers, mailer="esmtp", reverse_path=control.sender)
    return header + b"\n" + body


def send(host: SmtpHost, message: bytes, client: tuple[str, str]) -> bytes:
    peer = host.connect(*client)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus> BODY=8BITMIME", "RCPT TO:<dave>", "DATA")
    wire = message.replace(b"\n", b"\r\n").replace(b"\r\n.", b"\r\n..")
    [answer] = peer.sends(wire + b".\r\n")
    assert answer.startswith("250 2.0.0"), answer
    peer.says("QUIT")
    peer.handler.end()
    return text(host)


def test_what_opendkim_signs_opendkim_verifies(host: SmtpHost, opendkim: Start) -> None:
    use(host, opendkim("s"))
    signed = send(host, HEADER + b"\n" + BODY, ("127.0.0.1", "localhost"))
    assert (
        signed.count(b"DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=lab1.campus; s=s1")
        == 1
    )
    assert signed.endswith(b"\n\n" + BODY)
    assert signed.startswith(b"DKIM-Signature: ")  # where Sendmail puts it, over its Received
    use(host, opendkim("v"))
    verified = send(host, signed, STRANGER)
    assert b"Authentication-Results: lab2.campus;\n\tdkim=pass (2048-bit key" in verified
    changed = send(host, signed.replace(b"Hello", b"Hallo"), STRANGER)
    assert b"dkim=fail" in changed
    assert send(host, HEADER + b"\n" + BODY, STRANGER).count(b"dkim=none") <= 1


def test_a_command_s_letter_is_signed_when_it_is_adopted(
    tmp_path: Path, host: SmtpHost, opendkim: Start
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    home = PrivateHost(private)
    use(home, opendkim("s"))
    queue = home.options.queue_directory
    home.options.queue_directory = home.options.client_queue_directory
    home.submit(b"<emma@lab1.campus>", b"<dave@lab1.campus>", text=HEADER + b"\n" + BODY)
    home.options.queue_directory = queue
    queue_run.run(home.options)
    [letter] = home.letters("dave")
    assert letter["DKIM-Signature"].startswith("v=1; a=rsa-sha256;")
    use(host, opendkim("v"))
    box = Path(home.options.mailbox_directory, "dave").read_bytes()
    whole = box.partition(b"\n")[2].removesuffix(b"\n")  # without the From_ line
    verified = send(host, whole, STRANGER)
    assert b"dkim=pass (2048-bit key" in verified
