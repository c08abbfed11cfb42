"""Eleven mail domains in signed zones, nsd and unbound before them, in a network of their own.

    unshare --net --mount python3 -m tests.support.signedzone DIRECTORY PROGRAMS

Sends a message to each, by the name server of the network and by one that is elsewhere, validated by
this process; asks posttls-finger(1) too, if it is there. Prints what came of it as JSON.

The root is signed, and has all of "campus"; "old" has signatures that have expired, "lab" has none.
DIRECTORY has certificates (see ``test_signed_zone``); PROGRAMS is where packages are unpacked, "/" if
they are installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from minimta.mailers.job import Job
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.mailer import RemoteMailer
from minimta.mailers.remote.mx_targets import Ourselves, TargetFinder
from minimta.mailers.remote.tls_policy import TlsPolicies
from minimta.mailers.remote.transport import Transport
from minimta.message.outcome import Outcome
from minimta.system.dns import Resolver
from minimta.system.resolv_conf import ResolvConf
from minimta.system.tls import TlsClient, server_context
from minimta.system.tls_values import KeyPair, TlsFacts, Trust
from minimta.system.validator import Validator
from minimta.system.x509 import public_key
from tests.support.fakesmtp import FakeSmtp
from tests.support.jobs import job, options
from tests.support.securesending import in_clear
from tests.support.slots import slots

HERE, ELSEWHERE = "127.0.0.1", "10.0.3.1"
#: domain -> certificate of its host, "" for no STARTTLS; and what is said of it
DOMAINS = {
    "usable.campus": ("own", "3 1 1 own"),
    "authority.campus": ("signed", "2 0 1 ca"),
    "wrong.campus": ("own", "3 1 1 other"),
    "expired.campus": ("expired", "3 1 1 expired"),
    "expired-authority.campus": ("expired", "2 0 1 ca"),
    "bogus.campus": ("own", "3 1 1 own"),
    "alias.campus": ("own", "3 1 1 own"),
    "none.campus": ("own", ""),
    "bare.campus": ("", "3 1 1 own"),
    "signed.old": ("own", "3 1 1 own"),
    "unsigned.lab": ("own", "3 1 1 other"),
}
_PATIENCE = 10.0


class Campus:
    """The zones, and who serves them."""

    def __init__(self, directory: Path, programs: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._programs = programs
        self._stack = stack
        libraries = ["usr/lib/x86_64-linux-gnu", "usr/lib/postfix"]
        found = ":".join(str(programs / path) for path in libraries)
        unpacked = {} if str(programs) == "/" else {"LD_LIBRARY_PATH": found}
        self.environment = {**os.environ, **unpacked}

    def program(self, name: str) -> str:
        """Its path, "" if it is not there."""
        paths = [self._programs / place / name for place in ("usr/sbin", "usr/bin")]
        return next((str(path) for path in paths if path.exists()), "")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [self.program(command[0]) or command[0], *command[1:]],
            check=True,
            capture_output=True,
            text=True,
            cwd=self.directory,
            env=self.environment,
        )
        return done.stdout.strip()

    def start(self, *command: str) -> None:
        """A daemon, until the end."""
        log = self._stack.enter_context((self.directory / f"{command[0]}.log").open("wb"))
        child = subprocess.Popen(
            [self.program(command[0]), *command[1:]],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._stack.callback(child.wait)
        self._stack.callback(child.terminate)

    def certificate(self, name: str) -> bytes:
        return ssl.PEM_cert_to_DER_cert((self.directory / f"{name}.pem").read_text())

    def tlsa(self, text: str) -> str:
        usage, selector, matching, name = text.split()
        chosen = self.certificate(name)
        chosen = public_key(chosen) if selector == "1" else chosen
        return f"{usage} {selector} {matching} {hashlib.sha256(chosen).hexdigest()}"

    # --- zones ------------------------------------------------------------------------------------

    def records(self, top: str) -> Iterator[str]:
        for number, (domain, (_, tlsa)) in enumerate(DOMAINS.items(), 11):
            if not domain.endswith(top):
                continue
            host = real = f"mx.{domain}."
            yield f"{domain}. IN MX 10 {host}"
            if domain == "alias.campus":
                real = f"real.{domain}."
                yield f"{host} IN CNAME {real}"
            yield f"{real} IN A 10.0.3.{number}"
            if tlsa:
                yield f"_25._tcp.{real} IN TLSA {self.tlsa(tlsa)}"

    def zone(self, origin: str, *records: str) -> str:
        """Write it; its file."""
        name = origin.strip(".") or "root"
        soa = f"{origin} IN SOA ns.campus. root.campus. 1 3600 600 86400 60"
        lines = ["$TTL 60", soa, f"{origin} IN NS ns.campus.", *records, ""]
        (self.directory / f"{name}.zone").write_text("\n".join(lines))
        return f"{name}.zone"

    def sign(self, origin: str, file: str, *dates: str) -> str:
        """Sign it; the file of the record that the zone above has of its key."""
        made = self.run("ldns-keygen", "-r", "/dev/urandom", "-a", "ECDSAP256SHA256", "-k", origin)
        self.run("ldns-signzone", *dates, "-o", origin, "-f", file, file, made)
        return f"{made}.ds"

    def serve_names(self) -> None:
        self.zone("lab.", *self.records("lab"))
        past = ("-i", "20200101000000", "-e", "20200201000000")
        old = self.sign("old.", self.zone("old.", *self.records("old")), *past)
        delegations = ["lab. IN NS ns.campus.", "old. IN NS ns.campus."]
        delegations.append((self.directory / old).read_text().strip())
        root = self.zone(".", "ns.campus. IN A 127.0.0.2", *delegations, *self.records("campus"))
        anchor = self.sign(".", root)
        (self.directory / "anchor").write_text((self.directory / anchor).read_text())
        signed = (self.directory / root).read_text()
        place = r"(_25\._tcp\.mx\.bogus\.campus\.\s+\d+\s+IN\s+TLSA\s+3 1 1 )[0-9a-f]{4}"
        broken, count = re.subn(place, r"\g<1>0000", signed)
        assert count == 1
        (self.directory / root).write_text(broken)
        zones = "".join(
            f"zone:\n  name: {name}\n  zonefile: {file}.zone\n"
            for name, file in ((".", "root"), ("lab.", "lab"), ("old.", "old"))
        )
        self._start_nsd(zones)
        self._start_unbound()

    def _start_nsd(self, zones: str) -> None:
        (self.directory / "nsd.conf").write_text(
            f"server:\n  ip-address: 127.0.0.2\n  zonesdir: {self.directory}\n  username: root\n"
            f'  chroot: ""\n  pidfile: ""\n  database: ""\n  zonelistfile: nsd.list\n'
            f"  xfrdfile: nsd.xfrd\n  xfrdir: {self.directory}\n  server-count: 1\n"
            f"  verbosity: 1\nremote-control:\n  control-enable: no\n{zones}"
        )
        self.start("nsd", "-d", "-c", str(self.directory / "nsd.conf"))

    def _start_unbound(self) -> None:
        (self.directory / "unbound.conf").write_text(
            f"server:\n  interface: {HERE}\n  interface: {ELSEWHERE}\n  do-daemonize: no\n"
            f'  access-control: 10.0.3.0/24 allow\n  username: ""\n  chroot: ""\n  pidfile: ""\n'
            f"  directory: {self.directory}\n  use-syslog: no\n  num-threads: 1\n"
            f"  do-not-query-localhost: no\n  qname-minimisation: no\n"
            f'  module-config: "validator iterator"\n  trust-anchor-file: anchor\n'
            f'stub-zone:\n  name: "."\n  stub-addr: 127.0.0.2\nremote-control:\n  control-enable: no\n'
        )
        self.start("unbound", "-d", "-c", str(self.directory / "unbound.conf"))
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            assert time.monotonic() < end, "unbound does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        resolver = Resolver(budget=1.0, nameserver=(HERE, 53), hosts="/nonexistent")
        with contextlib.suppress(Exception):
            return resolver.is_vouched("none.campus", "MX")
        return False

    # --- hosts ------------------------------------------------------------------------------------

    def serve_mail(self) -> dict[str, FakeSmtp]:
        servers = {}
        for number, (domain, (name, _)) in enumerate(DOMAINS.items(), 11):
            key = self.directory / f"{name}.key"
            chain = KeyPair(str(self.directory / f"{name}.chain"), str(key))
            context = server_context(chain) if name else None
            server = FakeSmtp(address=f"10.0.3.{number}", port=25, tls=context)
            servers[domain] = self._stack.enter_context(server)
        return servers


def sent(domain: str, resolver: Resolver, server: FakeSmtp) -> dict[str, object]:
    """What came of a message to *domain*."""
    outcomes: list[Outcome] = []
    secured: list[TlsFacts] = []

    def report(_: Job, found: Mapping[bytes, Outcome]) -> None:
        outcomes.extend(found.values())

    ourselves = Ourselves("lab1.campus", frozenset({b"lab1.campus"}), frozenset())
    transport = Transport(
        options(), ourselves, tls=TlsClient(Trust()), policies=TlsPolicies({}, "table")
    )
    before = len(server.messages), len(in_clear(server))
    Delivery(
        [job(domain)],
        transport,
        report,
        tell_tls=lambda _, facts: secured.append(facts),
        resolver=resolver,
    ).run()
    [outcome] = outcomes
    return {
        "fate": outcome.fate.value,
        "text": outcome.text,
        "verify": secured[0].verify if secured else "",
        "messages": len(server.messages) - before[0],
        "in_clear": len(in_clear(server)) - before[1],
    }


def by_worker(domain: str, server: FakeSmtp) -> dict[str, object]:
    """The same by a worker that has given up root."""
    configured = options(run_as_user="nobody")
    places = slots()
    before = len(server.messages), len(in_clear(server))
    [(_, found)] = RemoteMailer(configured, places).deliver([job(domain)])
    [outcome] = found.values()
    return {
        "fate": outcome.fate.value,
        "text": outcome.text,
        "messages": len(server.messages) - before[0],
        "in_clear": len(in_clear(server)) - before[1],
    }


def by_validating_worker(campus: Campus, domain: str, server: FakeSmtp) -> dict[str, object]:
    """By a worker that validates: the name server is elsewhere."""
    # Where it may read: its sandbox leaves it /etc and /usr.
    place = Path("/usr/local/share/anchor")
    place.write_text((campus.directory / "anchor").read_text())
    place.chmod(0o644)
    anchors = ((str(place),),)
    conf = Path("/etc/resolv.conf")
    conf.write_text(f"nameserver {ELSEWHERE}\n")
    try:
        with mock.patch.object(Validator.__init__, "__defaults__", anchors):
            return by_worker(domain, server)
    finally:
        conf.write_text(f"nameserver {HERE}\noptions trust-ad\n")


def by_posttls_finger(campus: Campus, domain: str) -> str:
    """How posttls-finger(1) calls the connection, "lookup" or "no TLS" if there is none."""
    command = ["posttls-finger", "-c", "-l", "dane", "-L", "summary,verbose", domain]
    done = subprocess.run(
        [campus.program(command[0]), *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={**campus.environment, "MAIL_CONFIG": str(campus.directory)},
    )
    (campus.directory / f"finger-{domain}.log").write_text(done.stdout + done.stderr)
    told = done.stdout + done.stderr
    found = re.search(r"(\w+) TLS connection established", told)
    is_unknown = re.search(r"TLSA lookup error|address lookup failed", told)
    return found[1] if found else "lookup" if is_unknown else "no TLS"


def validated(campus: Campus) -> Resolver:
    """By python3-unbound in this process; the server is elsewhere. Raise ImportError."""
    config = ResolvConf(servers=((ELSEWHERE, 53),))
    anchors = [str(campus.directory / "anchor")]
    return Resolver(
        config=config,
        hosts="/nonexistent",
        make_validator=lambda servers: Validator(servers, anchors),
    )


def set_up_network(directory: Path) -> None:
    commands = [["ip", "link", "set", "lo", "up"]]
    addresses = [ELSEWHERE, *(f"10.0.3.{number}" for number in range(11, 11 + len(DOMAINS)))]
    commands += [["ip", "address", "add", f"{address}/32", "dev", "lo"] for address in addresses]
    (directory / "resolv.conf").write_text(f"nameserver {HERE}\noptions trust-ad\n")
    users = "mail_owner = daemon\ndefault_privs = nobody\nsetgid_group = adm\n"
    (directory / "main.cf").write_text(f"compatibility_level = 3.6\n{users}")
    commands.append(["mount", "--bind", str(directory / "resolv.conf"), "/etc/resolv.conf"])
    commands.append(["mount", "-t", "tmpfs", "tmpfs", "/usr/local/share"])
    for command in commands:
        subprocess.run(command, check=True)


def main(directory: Path, programs: Path) -> dict[str, dict[str, object]]:
    """domain -> what came of it."""
    set_up_network(directory)
    found: dict[str, dict[str, object]] = {}
    with ExitStack() as stack:
        campus = Campus(directory, programs, stack)
        servers = campus.serve_mail()
        campus.serve_names()
        for domain, server in servers.items():
            here = sent(domain, Resolver(hosts="/nonexistent"), server)
            found[domain] = {"here": here}
            try:
                found[domain]["validated"] = sent(domain, validated(campus), server)
            except ImportError:
                found[domain]["validated"] = None
            with mock.patch.object(TargetFinder, "_is_us", lambda *_: False):
                found[domain]["worker"] = by_worker(domain, server)
                if found[domain]["validated"] is not None:
                    found[domain]["validating worker"] = by_validating_worker(
                        campus, domain, server
                    )
            if campus.program("posttls-finger"):
                found[domain]["postfix"] = by_posttls_finger(campus, domain)
    return found


if __name__ == "__main__":
    assert socket.if_nameindex() == [(1, "lo")], "this is no network of its own"
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2])), indent=1))
