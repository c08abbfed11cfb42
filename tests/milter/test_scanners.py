"""ClamAV refuses EICAR and rspamd GTUBE, by milter; what is clean passes. Both need a minute to start."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.config import filters
from tests.support.smtphost import STRANGER, SmtpHost

pytestmark = pytest.mark.long

# In two pieces, or scanners would find them here.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE" + b"-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
PART = b"""MIME-Version: 1.0
Content-Type: application/octet-stream; name=eicar.com
Content-Transfer-Encoding: base64

"""
HEADER = b"From: Emma <emma@lab1.campus>\nTo: dave@lab2.campus\nSubject: a\n"
Run = Callable[..., None]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start a program and wait for its socket."""
    running: list[subprocess.Popen[bytes]] = []

    def start(program: str, *arguments: str, ready: Callable[[], bool]) -> None:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert path
        running.append(subprocess.Popen([path, *arguments]))
        end = time.monotonic() + 240
        while not ready():
            assert time.monotonic() < end and running[-1].poll() is None
            time.sleep(0.1)

    yield start
    for one in running:
        one.terminate()
        one.wait(30)


def answer(host: SmtpHost, message: bytes) -> str:
    peer = host.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA")
    found = peer.sends(message.replace(b"\n", b"\r\n") + b".\r\n")
    peer.handler.end()
    return found[-1]


def use(host: SmtpHost, row: str) -> None:
    host.options.mail_filters = filters.read(row)
    host.options.input_mail_filters = (host.options.mail_filters[0].name,)


@pytest.mark.debian("clamav-daemon", "clamav-milter")
def test_clamav_refuses_eicar(host: SmtpHost, run: Run, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "eicar.ndb").write_text(f"Eicar-Test:0:*:{EICAR[:40].hex()}\n")
    daemon, milter = tmp_path / "clamd.sock", tmp_path / "milter.sock"
    user = f"User {'root' if os.geteuid() == 0 else os.environ['USER']}\nForeground yes\n"
    (tmp_path / "clamd.conf").write_text(
        f"LocalSocket {daemon}\nDatabaseDirectory {tmp_path}/db\n{user}"
    )
    (tmp_path / "milter.conf").write_text(
        f"MilterSocket {milter}\nClamdSocket unix:{daemon}\nOnInfected Reject\n"
        f"RejectMsg Infected with %v\nAddHeader Replace\n{user}"
    )
    run("clamd", "-c", str(tmp_path / "clamd.conf"), ready=daemon.exists)
    run("clamav-milter", "-c", str(tmp_path / "milter.conf"), ready=milter.exists)
    use(host, f"clamav, S=unix:{milter}, F=T, T=R:60s")
    infected = HEADER + PART + base64.b64encode(EICAR) + b"\n"
    assert answer(host, infected).startswith("550 5.7.1 Infected with Eicar-Test")
    assert host.files() == []
    assert answer(host, HEADER + b"\nclean\n").startswith("250 2.0.0")
    [(control, _)] = host.queued()
    assert (b"", b"X-Virus-Status: Clean") in control.headers


@pytest.mark.root
@pytest.mark.namespace
@pytest.mark.debian("rspamd")
def test_rspamd_refuses_gtube(host: SmtpHost, run: Run, tmp_path: Path) -> None:
    local = tmp_path / "local.d"
    local.mkdir()
    path = tmp_path / "rspamd.sock"
    texts = {
        "worker-proxy.inc": f'milter = yes; bind_socket = "{path} mode=0600";\n'
        'upstream "local" { default = yes; self_scan = yes; }\n',
        "options.inc": 'dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }\n'
        "disable_hyperscan = true;\n",
    }
    for name in ("controller", "normal", "fuzzy"):
        texts[f"worker-{name}.inc"] = "enabled = false;\n"
    for name, text in texts.items():
        (local / name).write_text(text)
    (tmp_path / "var").mkdir()
    script = (
        f"mount --bind {local} /etc/rspamd/local.d && mount -t tmpfs none /run &&"
        f" mkdir -p /run/rspamd && mount --bind {tmp_path}/var /var/lib &&"
        " mkdir -p /var/lib/rspamd /var/log/rspamd && exec rspamd -i -f -u root -g root"
    )
    run("unshare", "--mount", "sh", "-c", script, ready=path.exists)
    use(host, f"rspamd, S=unix:{path}, F=T, T=R:60s")
    assert answer(host, HEADER + b"\n" + GTUBE + b"\n") == "554 5.7.1 Gtube pattern"
    assert host.files() == []
    assert answer(host, HEADER + b"\nclean\n").startswith("250 2.0.0")
