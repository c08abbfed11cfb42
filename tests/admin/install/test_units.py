"""The units under a living systemd: both forms of the listener, the runner, and who hears of a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.living_systemd import LivingSystemd, NotLiving

pytestmark = [
    pytest.mark.long,
    pytest.mark.root,
    pytest.mark.namespace,
    pytest.mark.debian(
        "systemd", "openssl", "iproute2", "procps", "python3-dnspython", "python3-filelock"
    ),
]

#: the unit of the versions that had one for both
OLD_UNIT = """\
[Unit]
Description=minimta mail transfer agent: listener and queue runner
[Service]
Type=notify
ExecStart=/usr/sbin/sendmail -bD -q15m
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
UMask=0077
[Install]
WantedBy=multi-user.target
"""
#: takes what a smart host would, a file for each message
SMART_HOST = """
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 smart.campus\\r\\n")
        in_data, text = False, b""
        for line in self.rfile:
            if in_data:
                text += line
                if line == b".\\r\\n":
                    open("/var/tmp/smart", "ab").write(text)
                    in_data = False
                    self.wfile.write(b"250 taken\\r\\n")
            elif line[:4].upper() == b"DATA":
                in_data = True
                self.wfile.write(b"354 go on\\r\\n")
            elif line[:4].upper() == b"QUIT":
                self.wfile.write(b"221 bye\\r\\n")
                return
            else:
                self.wfile.write(b"250 yes\\r\\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 2525), Handler).serve_forever()
"""
SEND = """
import smtplib, sys
with smtplib.SMTP("127.0.0.1", 25, timeout=60) as peer:
    if len(sys.argv) > 3:
        peer.starttls()
        peer.login("emma", sys.argv[3])
    peer.sendmail("root@localhost", [sys.argv[1]], f"Subject: {sys.argv[2]}\\r\\n\\r\\nhi\\r\\n")
"""
USER = "dave"


class Machine:
    """A living one, with minimta installed from a checkout, a user and a smart host."""

    def __init__(self, living: LivingSystemd) -> None:
        self._living = living
        self.sh("rm -rf /etc/mail /var/mail/* /var/spool/*mqueue* /etc/cron.d/minimta")
        self.sh(f"id {USER} || useradd -m -s /bin/sh {USER}; mkdir -p /etc/mail")
        self.write("/etc/mail/minimta.cf", "HostName = vm.campus\nSmartHost = [127.0.0.1]:2525\n")
        self.write("/root/smart", SMART_HOST)
        self.write("/root/send", SEND)
        self.sh("systemd-run --quiet --unit=smart /usr/bin/python3 /root/smart")

    def sh(self, command: str, seconds: float = 180) -> str:
        """Run a command of the shell there, and give what it says; it must succeed."""
        done = self._living.run("sh", "-c", command, seconds=seconds)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def write(self, path: str, text: str) -> None:
        self._living.run("sh", "-c", f"cat > {path}", text=text)

    def install(self) -> str:
        return self.sh("/opt/minimta/bin/minimta install")

    def send(self, whom: str, subject: str, password: str = "") -> None:
        self.sh(f"python3 /root/send {whom} {subject} {password}")

    def comes(self, path: str, text: str) -> None:
        """Wait until *text* stands in the file."""
        end = time.monotonic() + 60
        while self._living.run("grep", "-q", text, path).returncode:
            assert time.monotonic() < end, self.sh(
                f"cat {path}; mailq; journalctl --no-pager -n 40"
            )
            time.sleep(0.2)

    def states(self, *units: str) -> list[str]:
        return self._living.run("systemctl", "is-active", *units).stdout.split()

    def main_pid(self, unit: str) -> int:
        return int(self.sh(f"systemctl show -P MainPID {unit}"))

    def all_is_delivered(self, name: str) -> None:
        """To a mailbox, to a program with a set-id one in it, to the smart host; by SMTP and command."""
        self.send(USER, f"{name}-box")
        self.comes(f"/var/mail/{USER}", f"{name}-box")
        # Its user is another, and what it leaves in /tmp and at home is found there.
        self.sh("cp /usr/bin/id /usr/local/bin/set-id; chmod 4755 /usr/local/bin/set-id")
        forward = f'"|/usr/local/bin/set-id > /tmp/{name}; cat > /home/{USER}/{name}"'
        self.sh(f"echo '{forward}' > /home/{USER}/.forward; chown {USER} /home/{USER}/.forward")
        self.sh(f"chmod 644 /home/{USER}/.forward; echo hello | sendmail {USER}")
        self.comes(f"/home/{USER}/{name}", "hello")
        self.comes(f"/tmp/{name}", "euid=0(root)")
        self.sh(f"rm /home/{USER}/.forward")
        self.send("henry@lab3.campus", f"{name}-remote")
        self.sh(f"printf 'Subject: {name}-command\\n\\nhi\\n' | sendmail henry@lab3.campus")
        for subject in ("remote", "command"):
            self.comes("/var/tmp/smart", f"{name}-{subject}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as stack:
        try:
            living = stack.enter_context(LivingSystemd(tmp_path))
        except NotLiving as why:
            pytest.skip(f"systemd does not live here: {why}")
        yield Machine(living)


def test_listener_and_runner_deliver_under_their_own_sandboxes(machine: Machine) -> None:
    machine.install()
    assert machine.states("minimta", "minimta-runner") == ["active", "active"]
    assert machine.sh("ls /etc/cron.d").find("minimta") < 0
    machine.all_is_delivered("two")
    # One word for both.
    runner = machine.main_pid("minimta-runner")
    machine.sh("systemctl reload minimta")
    journal = machine.sh("journalctl -u minimta-runner --no-pager")
    assert "reload: done" in journal
    machine.sh("systemctl restart minimta")
    assert machine.main_pid("minimta-runner") != runner
    machine.sh("systemctl stop minimta; sleep 1; ! pgrep -f 'sendmail -[bq]'")
    machine.sh("systemctl start minimta")
    assert machine.states("minimta", "minimta-runner") == ["active", "active"]
    assert "nothing to do" in machine.install()
    machine.sh("/opt/minimta/bin/minimta uninstall; ! pgrep -f 'sendmail -[bq]'")
    assert "minimta" not in machine.sh("ls /etc/systemd/system /etc/cron.d /etc/init.d")


def test_a_listener_that_has_never_been_root_has_ports_and_secrets_from_systemd(
    machine: Machine,
) -> None:
    machine.install()
    machine.sh("printf 'secret\\n' | minimta passwd emma; chmod 600 /etc/mail/smtp-users")
    machine.sh("chown root:root /etc/mail/smtp-users; chmod 600 /etc/mail/server.pem")
    machine.sh("systemctl disable --now minimta.service && systemctl enable --now minimta.socket")
    # What comes by commands needs no listener.
    machine.sh(f"printf 'Subject: no-client-yet\\n\\nhi\\n' | sendmail {USER}")
    machine.comes(f"/var/mail/{USER}", "no-client-yet")
    machine.send(USER, "with-a-login", "secret")
    machine.comes(f"/var/mail/{USER}", "with-a-login")
    processes = machine.sh("ps -C sendmail -o user=,args=").splitlines()
    assert {line.split()[0] for line in processes if "-bD" in line} == {"minimta"}
    machine.all_is_delivered("socket")
    # Reload needs no root.
    with_limit = "HostName = vm.campus\nSmartHost = [127.0.0.1]:2525\nMaxMessageSize = 1234\n"
    machine.write("/etc/mail/minimta.cf", with_limit)
    pid = machine.main_pid("minimta-listener")
    machine.sh(f"runuser -u minimta -- sh -c 'kill -HUP {pid}'")
    machine.sh(
        "for n in $(seq 100); do printf 'EHLO x\\r\\n' | timeout 2 python3 -c '"
        'import smtplib; s = smtplib.SMTP("127.0.0.1"); s.ehlo(); print(s.esmtp_features["size"])\''
        " | grep -qx 1234 && exit; sleep 0.1; done; exit 1"
    )
    assert machine.main_pid("minimta-listener") == pid
    # A restart brings new secrets, and refuses nobody.
    machine.sh("printf 'other\\n' | minimta passwd emma; chown root:root /etc/mail/smtp-users")
    machine.sh("chmod 600 /etc/mail/smtp-users; systemctl restart minimta-listener & : ")
    for number in range(5):
        machine.send(USER, f"while-it-restarts-{number}")
    machine.send(USER, "with-another-password", "other")
    machine.comes(f"/var/mail/{USER}", "with-another-password")
    journal = machine.sh("journalctl --no-pager -u minimta-listener -u minimta-runner")
    assert "SYSERR" not in journal
    # Who installs once more does not bring the other form back; sendmail.cf follows minimta.cf.
    said = machine.install().splitlines()
    assert not [line for line in said if line.startswith(("service ", "counts "))]
    assert "nothing to do" in machine.install()
    machine.sh("echo '#' >> /etc/systemd/system/minimta-listener.service")
    assert "service minimta.socket, enabled and running" in machine.install()
    assert machine.states("minimta", "minimta-listener") == ["inactive", "active"]
    machine.sh("/opt/minimta/bin/minimta uninstall; ! pgrep -f 'sendmail -[bq]'")
    assert "minimta" not in machine.sh("ls /etc/systemd/system")


def test_a_client_that_asks_for_its_mail_is_served_by_the_runner(machine: Machine) -> None:
    text = "HostName = vm.campus\nSmartHost = [127.0.0.1]:2525\nMinQueueAge = 1h\n"
    machine.write("/etc/mail/minimta.cf", text)
    machine.sh("systemctl stop smart")
    machine.install()
    machine.send("henry@lab3.campus", "asked-for")
    machine.sh("for n in $(seq 300); do mailq | grep -q Deferred && exit; sleep 0.1; done; exit 1")
    machine.sh("systemctl reset-failed smart || :")
    machine.sh("systemd-run --quiet --unit=smart2 /usr/bin/python3 /root/smart; sleep 1")
    machine.sh(
        'python3 -c \'import smtplib; s = smtplib.SMTP("127.0.0.1"); s.ehlo();'
        ' assert s.docmd("ETRN", "lab3.campus")[0] == 250\''
    )
    machine.comes("/var/tmp/smart", "asked-for")
    assert "ask" not in machine.sh("ls /var/spool/mqueue")


def test_a_log_that_is_a_file_is_written_by_both_and_may_be_put_aside(machine: Machine) -> None:
    log = "/var/log/minimta/mail.log"
    machine.write("/etc/mail/minimta.cf", f"HostName = vm.campus\nLogTo = {log}\n")
    machine.sh("rm -rf /var/log/minimta")
    machine.install()
    for number in range(2):
        machine.send(USER, f"logged-{number}")
        machine.comes(log, "from=<root@localhost>")
        machine.comes(log, "stat=Sent")
        if not number:  # as logrotate(8) does it
            machine.sh(
                f"mv {log} {log}.1; install -m 640 /dev/null {log}; systemctl reload minimta"
            )
            machine.comes(log, "reload: done, the old")
    assert "SYSERR" not in machine.sh(f"cat {log} {log}.1")
    assert "from=<root@localhost>" not in machine.sh("journalctl --no-pager -t sm-mta || :")


def test_root_hears_of_a_unit_that_has_failed(machine: Machine) -> None:
    machine.install()
    machine.write(
        "/etc/systemd/system/back-up.service",
        "[Unit]\nOnFailure=minimta-failure@%n.service\n"
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo the disk is full: 100%%; exit 3'\n",
    )
    machine.sh("systemctl daemon-reload; systemctl start back-up || :")
    machine.comes("/var/mail/root", "Subject: .*: back-up.service has failed")
    text = machine.sh("cat /var/mail/root")
    assert "the disk is full: 100%" in text
    assert "status=3" in text
    assert "Auto-Submitted: auto-generated" in text
    # A wrong line keeps the listener down. The letter about it waits for the runner.
    machine.write("/etc/mail/minimta.cf", "SmartHots = x\n")
    machine.sh("systemctl restart minimta; systemctl reset-failed; : ", seconds=60)
    machine.write("/etc/mail/minimta.cf", "HostName = vm.campus\n")
    machine.sh("systemctl restart minimta-runner minimta")
    machine.comes("/var/mail/root", "Subject: .*: minimta.service has failed")


def test_the_one_unit_of_old_is_replaced_with_mail_in_the_queue(machine: Machine) -> None:
    machine.install()
    machine.sh("systemctl disable --now minimta minimta-runner; rm /etc/systemd/system/minimta*")
    machine.write("/etc/systemd/system/minimta.service", OLD_UNIT)
    machine.write("/etc/cron.d/minimta", "# minimta: a queue run every five minutes\n")
    machine.sh("systemctl daemon-reload; systemctl enable --now minimta; systemctl stop smart")
    machine.send("henry@lab3.campus", "from-before")
    machine.sh("for n in $(seq 300); do mailq | grep -q Deferred && exit; sleep 0.1; done; exit 1")
    machine.sh("systemctl reset-failed smart || :")
    machine.sh("systemd-run --quiet --unit=smart2 /usr/bin/python3 /root/smart; sleep 1")
    machine.install()
    assert machine.states("minimta", "minimta-runner") == ["active", "active"]
    command = machine.sh("tr '\\0' ' ' < /proc/$(systemctl show -P MainPID minimta)/cmdline")
    assert " -q" not in command
    machine.comes("/var/tmp/smart", "from-before")
    assert "minimta" not in machine.sh("ls /etc/cron.d")
    machine.all_is_delivered("new")


#: one connection, one recipient that is refused
REFUSED = """
import smtplib
with smtplib.SMTP("127.0.0.1", 25, timeout=60) as peer:
    peer.ehlo()
    peer.mail("root@localhost")
    assert peer.rcpt("nosuch@vm.campus")[0] == 550
"""


def test_what_clients_bring_is_counted_in_both_forms(machine: Machine) -> None:
    machine.write("/root/refused", REFUSED)
    machine.install()
    assert machine.sh(f"stat -c '%U %G %a' {COUNTS}") == "root minimta 664\n"
    _is_counted(machine, "root-")
    # As a version before made it; and what its user wrote there.
    machine.sh("systemctl disable --now minimta.service")
    machine.sh(f"chown root:root {COUNTS}; chmod 600 {COUNTS}")
    assert f"counts of mail {COUNTS}" in machine.install()
    machine.sh(f"systemctl stop minimta; systemctl enable --now minimta.socket; : > {COUNTS}")
    _is_counted(machine, "socket-")
    processes = machine.sh("ps -C sendmail -o user=,args=").splitlines()
    assert {line.split()[0] for line in processes if "-bD" in line} == {"minimta"}
    # When the machine starts, without "minimta install".
    machine.sh(f"systemctl stop minimta.socket minimta-listener; rm {COUNTS}")
    machine.sh("systemd-tmpfiles --create /etc/tmpfiles.d/minimta.conf")
    machine.sh("systemctl start minimta.socket")
    _is_counted(machine, "again-")
    machine.sh("/opt/minimta/bin/minimta uninstall")
    assert "mqueue" not in machine.sh("ls /var/spool")


COUNTS = "/var/spool/mqueue.statistics"


def _is_counted(machine: Machine, name: str) -> None:
    """Three connections with one refusal, and a letter by each of the two others."""
    before = _counts(machine)
    machine.sh("python3 /root/refused")
    for number in range(2):
        machine.send(USER, f"{name}{number}")
        machine.comes(f"/var/mail/{USER}", f"{name}{number}")
    end = time.monotonic() + 30
    while (after := _counts(machine)) != [a + b for a, b in zip(before, (3, 2, 2, 1), strict=True)]:
        journal = "journalctl --no-pager -n 40"
        assert time.monotonic() < end, (before, after, machine.sh(journal))
        time.sleep(0.2)


def _counts(machine: Machine) -> list[int]:
    """Connections, messages that came, messages that went, refusals, for a user who may only read."""
    said = machine.sh(f"runuser -u {USER} -- mailstats -P").splitlines()
    total = next(line.split() for line in said if line.startswith(" T "))
    connections = next(line.split() for line in said if line.startswith(" C "))
    return [int(text) for text in (connections[1], total[1], total[3], total[5])]
