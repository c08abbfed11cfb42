"""lab2.campus as an SMTP client sees it: users, aliases, a queue below a directory, no network.

host = SmtpHost(tmp_path)
peer = host.connect("10.0.3.134", "lab1.campus")
peer.says("MAIL FROM:<emma@lab1.campus>") == ["250 2.1.0 <emma@lab1.campus>... Sender ok"]
"""

from __future__ import annotations

from pathlib import Path

from minimta.config import ports
from minimta.config.options import Options
from minimta.listener import rights as relay
from minimta.listener.connection import session
from minimta.listener.handler import Handler
from minimta.listener.peer import Peer
from minimta.listener.shared_state import SharedState
from minimta.queue import directories
from minimta.queue.control import Control, decode

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
dave:x:1001:1001:Dave Example,,,:/home/dave:/bin/sh
carol:x:1002:1002:Carol \u00c9xample:/home/carol:/bin/sh
"""
ALIASES = """\
postmaster: root
staff: dave, carol, henry@lab3.campus, "|prog", /tmp/x, :include:/x
self: \\self, dave
loop: pool
pool: loop
"""
#: sender domain -> dns.resolves(); all others exist
DOMAINS = {"nosuch.example": False, "servfail.campus": None}
#: sender domain -> dns.has_null_mx(); all others have none
NULL_MX = {"nullmx.example": True, "tired.example": None, "lab2.campus": True}
NOW = 1574107389.0
#: address and name of a client that may not relay
STRANGER = ("10.0.3.134", "lab1.campus")


class SmtpHost:
    """The host; change ``options`` before connect()."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o700)
        self.options = options = Options()
        options.host_name = "lab2.campus"
        for name, text in (("passwd", PASSWD), ("aliases", ALIASES), ("names", "[10.0.3.135]\n")):
            (directory / name).write_text(text)
        options.passwd_file = str(directory / "passwd")
        options.alias_files = (str(directory / "aliases"),)
        options.local_host_names = str(directory / "names")
        options.virtuser_table = str(directory / "virtusertable")
        options.access_file = str(directory / "access")
        options.relay_domains = str(directory / "relay-domains")
        options.mailer_table = str(directory / "mailertable")
        for name in ("mqueue", "clientmqueue"):
            (directory / name).mkdir(mode=0o700)
        options.queue_directory = str(directory / "mqueue")
        options.client_queue_directory = str(directory / "clientmqueue")
        options.pid_file = str(directory / "pid")
        options.run_as_user = ""
        # What else this machine does is no part of a test.
        options.queue_la = options.refuse_la = 10_000
        options.log_to = "none"
        self.mqueue = directory / "mqueue"
        self.asked: list[str] = []
        #: name in a block list -> its addresses
        self.listed: dict[str, list[str]] = {}
        self.now = NOW
        #: seconds since it was started
        self.elapsed = 0.0

    def shared_state(self) -> SharedState:
        spool = directories.open_queue(self.options)
        return SharedState(
            self.options,
            spool,
            ask=self._ask,
            resolves=self._resolves,
            has_null_mx=lambda domain: NULL_MX.get(domain, False),
            clock=lambda: self.now,
            ticks=lambda: self.elapsed,
        )

    def _ask(self, name: str, seconds: float) -> list[str]:
        self.asked.append(name)
        return self.listed.get(name, [])

    def _resolves(self, domain: str) -> bool | None:
        self.asked.append(domain)
        return DOMAINS.get(domain, True)

    def connect(
        self, ip: str, name: str = "", *, confirmed: bool = True, certain: bool = True
    ) -> ClientEnd:
        """A client of the first port in ``options``."""
        port = self.options.daemon_ports[0]
        rights = relay.at_connect(ip, port, trusts_loopback=self.options.trust_loopback)
        client = Peer(ip, name, confirmed=confirmed, port=port, rights=rights, certain=certain)
        return ClientEnd(self.shared_state(), client)

    def queued(self) -> list[tuple[Control, bytes]]:
        """(control file, body) of every message in the queue."""
        names = sorted(path.name[2:] for path in self.mqueue.glob("qf*"))
        files = [(self.mqueue / f"qf{name}", self.mqueue / f"df{name}") for name in names]
        return [(decode(qf.read_bytes()), df.read_bytes()) for qf, df in files]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.mqueue.iterdir())


class ClientEnd:
    """A client's end of a session, without a socket."""

    def __init__(self, shared: SharedState, client: Peer) -> None:
        self.client = client
        self.handler = Handler(shared, client)
        refused = self.handler.admit()
        self.session = session(shared, self.handler, client)
        if refused is not None:
            self.session.refuse(refused)

    def sends(self, octets: bytes) -> list[str]:
        return self.session.receive(octets).decode("ascii").split("\r\n")[:-1]

    def says(self, *lines: str) -> list[str]:
        """The replies, of one line each, to *lines*."""
        return self.sends("".join(f"{line}\r\n" for line in lines).encode())

    def writes(self, sender: str, *recipients: str, text: str = "Subject: x\n\nHi\n") -> str:
        """The reply to the final dot."""
        self.says(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{to}>" for to in recipients), "DATA")
        return self.sends(text.replace("\n", "\r\n").encode() + b".\r\n")[-1]


def begun(host: SmtpHost, ip: str = STRANGER[0], name: str = STRANGER[1]) -> ClientEnd:
    """A client that has said EHLO and MAIL."""
    peer = host.connect(ip, name)
    peer.says("EHLO lab1.campus")
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith("250")
    return peer


def by_port(host: SmtpHost, text: str, ip: str = STRANGER[0], name: str = STRANGER[1]) -> ClientEnd:
    """A client of the port that *text* describes (DaemonPortOptions)."""
    host.options.daemon_ports = ports.read(text)
    return host.connect(ip, name)
