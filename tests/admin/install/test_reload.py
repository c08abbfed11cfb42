"""systemctl reload under a living systemd: nobody is refused, nothing is lost, a mistake changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.living_systemd import LivingSystemd, NotLiving

pytestmark = [
    pytest.mark.long,
    pytest.mark.root,
    pytest.mark.namespace,
    pytest.mark.debian("systemd", "openssl", "iproute2", "python3-dnspython", "python3-filelock"),
]

#: a client that sends without a pause while the service is reloaded, each time with a new certificate
LOAD = """
import hashlib, json, os, smtplib, ssl, subprocess, threading, time

PEM, END = "/etc/mail/server.pem", "-----END CERTIFICATE-----"
stop, sent, refused, broken = threading.Event(), [], [], []
context = ssl._create_unverified_context()

def client(number):
    count = 0
    while not stop.is_set():
        count += 1
        name = f"<{number}-{count}@load>"
        try:
            peer = smtplib.SMTP("127.0.0.1", 25, timeout=30)
        except (OSError, smtplib.SMTPException) as error:
            refused.append(repr(error))
            continue
        try:
            if count % 2:
                peer.starttls(context=context)
            peer.sendmail("x@lab1.campus", ["root@localhost"], f"Message-Id: {name}\\r\\n\\r\\nhi\\r\\n")
            sent.append(name)
            peer.quit()
        except (OSError, smtplib.SMTPException) as error:
            broken.append(repr(error))
        time.sleep(0.02)

def served():
    with smtplib.SMTP("127.0.0.1", 25, timeout=30) as peer:
        peer.starttls(context=context)
        return hashlib.sha256(peer.sock.getpeercert(True)).hexdigest()

def renew():
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=x"
    files = ["-out", "/run/pem", "-keyout", "/run/key"]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    text = open("/run/pem").read() + open("/run/key").read()
    os.close(os.open(PEM + ".new", os.O_CREAT | os.O_TRUNC, 0o600))
    with open(PEM + ".new", "w") as file:
        file.write(text)
    os.rename(PEM + ".new", PEM)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text.partition(END)[0] + END + "\\n")).hexdigest()

def reload():
    return subprocess.run(["systemctl", "reload", "minimta"], capture_output=True).returncode

def is_served(wanted):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        # The old listener may take another connection or two.
        if all(served() == wanted for _ in range(5)):
            return True
    return False

threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(4)]
for thread in threads:
    thread.start()
codes, renewed = [], 0
for _ in range(20):
    wanted = renew()
    codes.append(reload())
    renewed += is_served(wanted)
with open("/etc/mail/minimta.cf", "w") as file:
    file.write("SmartHots = x\\n")
renew()
wrong = reload()
kept = is_served(wanted)
stop.set()
for thread in threads:
    thread.join()
missing, end = set(sent), time.monotonic() + 60
while missing and time.monotonic() < end:
    text = open("/var/mail/root").read() if os.path.exists("/var/mail/root") else ""
    missing = {name for name in sent if name not in text}
    time.sleep(0.2)
told = {"codes": codes, "renewed": renewed, "wrong": wrong, "kept": kept, "sent": len(sent)}
print(json.dumps({**told, "refused": refused, "broken": broken, "missing": sorted(missing)}))
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[LivingSystemd]:
    with ExitStack() as stack:
        try:
            living = stack.enter_context(LivingSystemd(tmp_path))
        except NotLiving as why:
            pytest.skip(f"systemd does not live here: {why}")
        yield living


def test_a_reload_refuses_no_connection_and_loses_no_message(machine: LivingSystemd) -> None:
    machine.run("sh", "-c", "rm -rf /etc/mail /var/mail/root /var/spool/*mqueue")
    installed = machine.run("/opt/minimta/bin/minimta", "install", seconds=120)
    assert "service minimta.service, enabled and running" in installed.stdout, installed
    done = machine.run("/usr/bin/python3", "-", text=LOAD, seconds=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["refused"], told["broken"], told["missing"]) == ([], [], [])
    assert told["codes"] == [0] * 20
    assert told["renewed"] == 20
    assert told["sent"] > 100
    assert (told["wrong"], told["kept"]) == (1, True)
    journal = machine.run("journalctl", "-u", "minimta", "--no-pager").stdout
    assert "line 1: unknown option name SmartHots (did you mean SmartHost?)" in journal
    state = machine.run("systemctl", "show", "minimta", "-p", "NRestarts,ActiveState").stdout
    assert set(state.split()) == {"NRestarts=0", "ActiveState=active"}
