"""Postfix and Exim beside minimta in a network of their own: the same mail goes to them and comes back.

    unshare --mount --net --pid --fork --kill-child sh -c '"$@"; exit $?' sh \\
        python -m tests.support.otherhosts DIRECTORY UNPACKED

The first process of a system waits for children that it never had, which a shell does and Python does not.

UNPACKED is where the packages postfix, exim4-base and exim4-daemon-light were unpacked (dpkg -x); all
that they want of a system is a root over this one, which goes when the process does. DIRECTORY is for
minimta. On standard output: JSON, mailbox -> text, and what the logs of the two say of chunks.

    jörg@pf.example, ascii@pf.example    Postfix, which sends it on to jörg and dave at minimta
    döner@ex.example                     Exim, to jörg
    ascii@no.example                     Postfix on a port without SMTPUTF8 and CHUNKING, to dave
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(__file__).parent.parent.parent
PATIENCE = 30.0
#: of minimta, Postfix, Postfix without SMTPUTF8, Exim
OURS, POSTFIX, PLAIN_POSTFIX, EXIM = 26526, 26525, 26528, 26527
_IDS = {"postfix": 9101, "Debian-exim": 9102, "postdrop": 9104}
_POSTFIX = f"""\
compatibility_level = 3.6
maillog_file = /var/log/postfix.log
myhostname = pf.example
mydestination =
virtual_alias_domains = pf.example no.example
virtual_alias_maps = texthash:/etc/postfix/virtual
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
disable_dns_lookups = yes
alias_maps =
alias_database =
transport_maps = inline:{{ mt.example=smtp:[127.0.0.1]:{OURS} }}
mynetworks = 127.0.0.0/8
smtpd_tls_cert_file = /etc/cert.pem
smtpd_tls_key_file = /etc/cert.pem
smtpd_tls_security_level = may
smtp_tls_security_level = may
"""
_VIRTUAL = """\
jörg@pf.example jörg@mt.example
ascii@pf.example dave@mt.example
ascii@no.example dave@mt.example
"""
_EXIM = f"""\
primary_hostname = ex.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {EXIM}
acl_smtp_rcpt = accept
acl_smtp_data = accept
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
tls_advertise_hosts = *
tls_certificate = /etc/cert.pem
allow_utf8_domains = true
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim-%slog
log_selector = +all
begin routers
ours:
  driver = redirect
  domains = ex.example
  data = jörg@mt.example
back:
  driver = manualroute
  domains = mt.example
  transport = smtp
  route_list = * 127.0.0.1::{OURS} byname
  self = send
begin transports
smtp:
  driver = smtp
"""


class OtherHosts:
    """Postfix and Exim, below a root of their own."""

    def __init__(self, unpacked: Path, certificate: Path) -> None:
        self.root = self._mounted(unpacked)
        self._add_users()
        shutil.copy(certificate, self.root / "etc/cert.pem")
        (self.root / "etc/cert.pem").chmod(0o644)  # Exim reads it as its own user
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        self._write_postfix()
        self._write_exim()
        # Of the package's own samples some are lacking, which it says and goes on.
        self._run("postfix", "set-permissions", must_succeed=False)
        self._run("postfix", "start")
        self._run("exim4", "-C", "/etc/exim4/exim4.conf", "-bd")

    def _mounted(self, unpacked: Path) -> Path:
        _do("mount", "--make-rprivate", "/")
        at = Path("/mnt")
        _do("mount", "-t", "tmpfs", "tmpfs", str(at))
        for name in ("upper", "work", "root"):
            (at / name).mkdir()
        layers = f"lowerdir=/,upperdir={at}/upper,workdir={at}/work"
        _do("mount", "-t", "overlay", "overlay", "-o", layers, str(at / "root"))
        root = at / "root"
        # Debian 12 unpacks some below /lib, which is a link here.
        for name in ("usr", "etc", "var", "lib"):
            if (unpacked / name).is_dir():
                target = root / ("usr/lib" if name == "lib" else name)
                shutil.copytree(unpacked / name, target, symlinks=True, dirs_exist_ok=True)
        _do("mount", "-t", "proc", "proc", str(root / "proc"))
        _do("mount", "--rbind", "/dev", str(root / "dev"))
        return root

    def _add_users(self) -> None:
        with (
            (self.root / "etc/passwd").open("a") as passwd,
            (self.root / "etc/group").open("a") as group,
        ):
            for name, number in _IDS.items():
                passwd.write(f"{name}:x:{number}:{number}::/:/usr/sbin/nologin\n")
                group.write(f"{name}:x:{number}:\n")

    def _write_postfix(self) -> None:
        etc = self.root / "etc/postfix"
        (etc / "dynamicmaps.cf").touch()
        for name in ("var/spool/postfix", "var/lib/postfix"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (etc / "main.cf").write_text(_POSTFIX)
        (etc / "virtual").write_text(_VIRTUAL, encoding="utf-8")
        master = (self.root / "usr/share/postfix/master.cf.dist").read_text()
        plain = "-o smtputf8_enable=no -o smtpd_discard_ehlo_keywords=chunking,smtputf8"
        ports = [
            f"127.0.0.1:{POSTFIX} inet n - n - - smtpd",
            f"127.0.0.1:{PLAIN_POSTFIX} inet n - n - - smtpd {plain}",
        ]
        lines = [line for line in master.split("\n") if not line.startswith("smtp      inet")]
        fields = [line.split() for line in lines if line and line[0] not in "# \t"]
        lines = [" ".join([*one[:4], "n", *one[5:]]) for one in fields]  # no chroot
        (etc / "master.cf").write_text("\n".join([*ports, *lines]) + "\n")

    def _write_exim(self) -> None:
        (self.root / "etc/exim4").mkdir(exist_ok=True)
        (self.root / "etc/exim4/exim4.conf").write_text(_EXIM, encoding="utf-8")
        spool = self.root / "var/spool/exim4"
        for name in ("input", "db", "msglog"):
            (spool / name).mkdir(parents=True, exist_ok=True)
        for path in (spool, *spool.iterdir()):
            os.chown(path, _IDS["Debian-exim"], _IDS["Debian-exim"])
        (self.root / "var/log").chmod(0o777)

    def _run(self, *command: str, must_succeed: bool = True) -> None:
        # Not a pipe: what it starts keeps its end.
        with (self.root / "var/log/start.log").open("ab") as told:
            words = ["chroot", str(self.root), *command]
            code = subprocess.run(words, stdout=told, stderr=told, check=False).returncode
        is_good = code == 0 or not must_succeed
        assert is_good, self.log("start.log") + self.log("postfix.log")

    def log(self, name: str) -> str:
        path = self.root / "var/log" / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _start_minimta(directory: Path, certificate: Path) -> subprocess.Popen[bytes]:
    for name in ("mqueue", "clientmqueue", "mail"):
        (directory / name).mkdir(mode=0o700)
    users = "".join(f"{name}:x:65534:65534::/nonexistent:/bin/sh\n" for name in ("jörg", "dave"))
    (directory / "mail").chmod(0o777)
    (directory / "passwd").write_text("root:x:0:0::/root:/bin/sh\n" + users, encoding="utf-8")
    (directory / "aliases").write_text("postmaster: root\n")
    ports = {"pf.example": POSTFIX, "ex.example": EXIM, "no.example": PLAIN_POSTFIX}
    rows = "".join(f"{domain} esmtp:[localhost]:{port}\n" for domain, port in ports.items())
    (directory / "mailertable").write_text(rows)
    settings = {
        "HostName": "mt.example", "QueueDirectory": directory / "mqueue",
        "ClientQueueDirectory": directory / "clientmqueue", "MailboxDirectory": directory / "mail",
        "AliasFile": directory / "aliases", "PasswdFile": directory / "passwd",
        "LocalHostNames": directory / "names", "MailerTable": directory / "mailertable",
        "AccessFile": directory / "access", "PidFile": directory / "pid", "RunAsUser": "",
        "DaemonPortOptions": f"Name=MTA, Addr=127.0.0.1, Port={OURS}", "LogTo": "stderr",
        "ServerCertFile": certificate, "QueueLA": 1000, "RefuseLA": 1000,
    }  # fmt: skip
    text = "".join(f"{name} = {value}\n" for name, value in settings.items())
    (directory / "cf").write_text(text)
    command = [sys.executable, "-I", str(HOME / "bin/sendmail"), "-C", str(directory / "cf")]
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [*command, "-bD", "-q1m"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _await_port(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nobody listens at {port}"
            time.sleep(0.05)


def _send(sender: str, recipient: str, text: bytes, parameters: str) -> None:
    """One message to minimta, in one chunk."""
    with socket.create_connection(("127.0.0.1", OURS), PATIENCE) as sock:
        lines = sock.makefile("rb")
        lines.readline()
        said = [
            b"EHLO client.example\r\n",
            f"MAIL FROM:<{sender}> {parameters}\r\nRCPT TO:<{recipient}>\r\n".encode(),
            b"BDAT %d LAST\r\n%b" % (len(text), text),
        ]
        for octets, replies in zip(said, (1, 2, 1), strict=True):
            sock.sendall(octets)
            last = 0
            while last < replies:
                line = lines.readline()
                assert line[:1] == b"2", line
                last += line[3:4] == b" "


def _letter(subject: str) -> bytes:
    header = f"From: Jörg <a@client.example>\r\nTo: Döner <x@y.example>\r\nSubject: {subject}\r\n"
    return (header + "\r\nä\r\n.\r\n..zwei\r\n").encode()


_BINARY = (
    b"Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\n\0\r\n.\r\n\xff\n"
)


def play(directory: Path) -> dict[str, str]:
    """Send all, wait for it, and tell what is in the mailboxes then."""
    utf8, eight = "SMTPUTF8 BODY=8BITMIME", "BODY=8BITMIME"
    _send("söhne@käse.example", "jörg@pf.example", _letter("für Postfix"), utf8)
    _send("söhne@käse.example", "döner@ex.example", _letter("für Exim"), utf8)
    _send("a@mt.example", "ascii@no.example", _letter("für alle"), eight)
    _send("jörg@mt.example", "döner@no.example", _letter("für niemand"), utf8)
    _send("a@mt.example", "ascii@pf.example", _BINARY, "BODY=BINARYMIME")
    wanted = {
        "jörg": ("für Postfix", "für Exim", "global-delivery-status"),
        "dave": ("für alle", "Subject: binary"),
    }
    end = time.monotonic() + PATIENCE
    while True:
        boxes = {name: directory / "mail" / name for name in wanted}
        texts = {
            name: box.read_text(encoding="utf-8", errors="replace") if box.exists() else ""
            for name, box in boxes.items()
        }
        if all(words in texts[name] for name, several in wanted.items() for words in several):
            return texts
        if time.monotonic() > end:
            return {**texts, "log": (directory / "log").read_text(errors="replace")}
        time.sleep(0.1)


def main(directory: Path, unpacked: Path) -> None:
    _do("ip", "link", "set", "lo", "up")
    certificate = directory / "cert.pem"
    _do(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
        "-subj", "/CN=localhost", "-keyout", str(directory / "key"), "-out", str(certificate),
    )  # fmt: skip
    certificate.write_bytes((directory / "key").read_bytes() + certificate.read_bytes())
    certificate.chmod(0o600)
    others = OtherHosts(unpacked, certificate)
    minimta = _start_minimta(directory, certificate)
    try:
        for port in (OURS, POSTFIX, PLAIN_POSTFIX, EXIM):
            _await_port(port)
        told = play(directory)
        told["postfix"], told["exim"] = others.log("postfix.log"), others.log("exim-mainlog")
        print(json.dumps(told))
    finally:
        minimta.terminate()
        minimta.wait(PATIENCE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
