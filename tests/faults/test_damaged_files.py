"""Damaged files: 10,000 by seed of the queue, the databases, the tables and the configuration.

    qf, df         read with the meaning that stands there, or put aside (Qf); never rights, nor an
                   address, that do not stand there; the other messages of the run are delivered
    cdb            a value that was put in, nothing, or CorruptMap
    minimta.cf     accepted, or each fault with its line, and exit code 78
    tables, aliases, .forward    an answer, or the error that says "not now"

A case is played again by its number: ``Random("qf 17")``. Each ends at once, whatever it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from minimta.aliases.rebuild_report import RebuildReport
from minimta.aliases.text import compile_text
from minimta.config import file as config_file
from minimta.listener.access import AccessRows
from minimta.mailers.remote import authinfo
from minimta.maps.cdb import Cdb, CorruptMap
from minimta.maps.cdbwriter import write_cdb
from minimta.maps.text_table import read_table
from minimta.queue.control import CorruptControlFile, decode, encode, is_plain
from minimta.routing import recipients, targets
from minimta.routing.local_host import LocalHost
from minimta.system import log
from tests.support.mutations import damaged
from tests.support.privatehost import Elsewhere, PrivateHost

#: times as many with -m long
AMOUNTS = [pytest.param(1, id="some"), pytest.param(10, id="many", marks=pytest.mark.long)]
#: seconds that one may take at most, on a loaded machine
LONGEST = 10.0
EMMA, DAVE = b"<emma@lab1.campus>", b"<dave@lab1.campus>"
QF = b"""V8
T1795339967
K1795340000
N3
P32215
MDeferred: Connection refused by lab2.campus.
F8bs
$_lab3.campus [10.0.3.136]
$rESMTP
${df_size}5
S<emma@lab1.campus>
ZQQ314
A<>
Cdave:1001:1001:<dave@lab1.campus>
rRFC822; x@lab2.campus
RPFD:<x@lab2.campus>
C
RPFD:<dave@lab1.campus>
H?P?Return-Path: <$g>
H??Received: from lab3.campus
\tby lab1.campus; Sun, 22 Nov 2026 09:37:07 +0000
H??Subject: hello
.
"""
CF = b"""# minimta.cf
HostName = lab1.campus
QueueDirectory = /var/spool/mqueue
Timeout.queuereturn = 5d
DaemonPortOptions = Name=MTA, Addr=127.0.0.1, Port=25, M=E
PrivacyOptions = authwarnings,goaway
MaxMessageSize = 20000000
InputMailFilters = one
MailFilter = one, S=unix:/run/one.sock, F=T, T=C:5m;S:1s
SmartHost = [mx.lab2.campus]:587
BlockLists = dnsbl.example.org
"""
ALIASES = b"""# aliases
postmaster: root
root: emma, "dave smith"@lab2.campus
list: :include:/etc/mail/list,
   carol
robot: "|/usr/bin/filter -a \\"b\\""
archive: /var/mail/archive
owner-list: emma
"""
ACCESS = b"""Connect:10.0.3.134\tRELAY
From:spam@lab2.campus\tREJECT
To:lab3.campus\tERROR:5.7.1:550 no
ClientRate:10.0.3\t20
lab9.campus\tDISCARD
GreetPause:127.0.0.1\t0
TLS_Clt:lab2.campus\tVERIFY:112
"""
AUTHINFO = b"""AuthInfo:smtp.lab2.campus:587 "U:emma" "P:secret" "M:PLAIN LOGIN"
AuthInfo:emma@lab1.campus "I:emma" "F:/etc/mail/pass" "H:lab3.campus"
"""
MAILERTABLE = b"""lab3.campus\tesmtp:[10.0.3.1]
.lab4.campus\tesmtp:mx.lab4.campus:587
lab5.campus\terror:5.7.0:550 closed
"""
VIRTUSERS = b"""x@lab1.campus\tdave
@lab6.campus\t%1@lab2.campus
info@lab6.campus\terror:nouser 550 no
"""


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: found.append(text))
    return found


def looked_at(
    kind: str, text: bytes, count: int, look: Callable[[bytes], object], *allowed: type[Exception]
) -> tuple[int, int]:
    """How many were accepted, and how many refused with one of the *allowed* exceptions."""
    accepted = refused = 0
    for number in range(count):
        octets = damaged(Random(f"{kind} {number}"), text)
        begun = time.process_time()
        try:
            look(octets)
            accepted += 1
        except allowed:
            refused += 1
        except BaseException as error:
            error.add_note(f"{kind} {number}: {octets[:300]!r}")
            raise
        assert time.process_time() - begun < LONGEST, f"{kind} {number}"
    return accepted, refused


# --- queue ------------------------------------------------------------------------------------------


def read_control(octets: bytes) -> None:
    control = decode(octets)
    stands = octets.split(b"\n")
    for recipient in control.recipients:
        # What is delivered to stands there, on a line of its own.
        assert any(line[:1] == b"R" and line.endswith(recipient.address) for line in stands)
        if not is_plain(recipient):
            assert any(line[:1] == b"C" or line[:2] == b"R/" or b"|" in line for line in stands)
    again = decode(encode(control))
    assert again == control, "reads otherwise what it has written"


@pytest.mark.parametrize("times", AMOUNTS)
def test_a_damaged_control_file_is_read_as_it_stands_or_refused(times: int) -> None:
    accepted, refused = looked_at("qf", QF, 3500 * times, read_control, CorruptControlFile)
    assert accepted > 300 and refused > 300


@pytest.mark.parametrize("times", AMOUNTS)
def test_a_run_over_damaged_messages_delivers_the_others(
    tmp_path: Path, lines: list[str], times: int
) -> None:
    host = PrivateHost(tmp_path)
    mqueue = tmp_path / "mqueue"
    texts = {}
    for number in range(300 * times):
        qid = host.submit(EMMA, DAVE, text=b"Subject: damaged\n\nbody\n")
        qf, df = mqueue / f"qf{qid}", mqueue / f"df{qid}"
        which = df if number % 5 == 0 else qf
        texts[qid] = damaged(Random(f"run {number}"), which.read_bytes())
        which.write_bytes(texts[qid])
    whole = [host.submit(EMMA, DAVE, text=b"Subject: whole\n\nbody\n") for _ in range(5)]
    elsewhere = Elsewhere({})
    deliverer = host.deliverer(esmtp=elsewhere)
    qids = sorted({path.name[2:] for path in mqueue.glob("qf*")})
    for start in range(0, len(qids), 50):
        deliverer.attempt(qids[start : start + 50])
    host.end(deliverer)
    assert not [line for line in lines if "Traceback" in line]
    mailbox = (tmp_path / "mail" / "dave").read_bytes()
    assert mailbox.count(b"\nSubject: whole\n") == len(whole)
    left = {path.name[2:] for path in mqueue.glob("[qQ]f*")}
    for qid, octets in texts.items():
        has_body = (mqueue / f"df{qid}").exists()
        assert has_body == (qid in left) or octets == b"", f"{qid}: torn in the queue"
    aside = len(list(mqueue.glob("Qf*")))
    assert aside > 50 * times
    for job in elsewhere.jobs:  # an address that the damage made is one that stands there
        assert all(user.name in texts[job.qid] for user in job.users if job.qid in texts)


# --- databases, tables ------------------------------------------------------------------------------


@pytest.mark.parametrize("times", AMOUNTS)
def test_a_damaged_database_has_what_was_put_in_or_is_corrupt(tmp_path: Path, times: int) -> None:
    path, names = tmp_path / "aliases.cdb", [b"name%d" % number for number in range(40)]
    write_cdb(str(path), ((name, name * 3) for name in names))
    whole = path.read_bytes()

    def ask(octets: bytes) -> None:
        path.write_bytes(octets)
        database = Cdb(str(path))
        try:
            for name in (*names, b"nobody"):
                database.get(name)
            sum(1 for _ in database.records())
        finally:
            database.close()

    accepted, refused = looked_at("cdb", whole, 1000 * times, ask, CorruptMap)
    assert accepted and refused


@pytest.mark.parametrize("times", AMOUNTS)
def test_a_damaged_configuration_is_accepted_or_each_fault_has_its_line(
    tmp_path: Path, times: int
) -> None:
    path = tmp_path / "cf"

    def load(octets: bytes) -> None:
        path.write_bytes(octets)
        try:
            config_file.load(str(path), [], lambda *unused, **more: "")
        except config_file.ConfigError as error:
            assert error.exit_code == 78, error
            assert all(f"{path}: " in sentence for sentence in error.sentences)
            raise

    accepted, refused = looked_at("cf", CF, 800 * times, load, config_file.ConfigError)
    assert accepted and refused


@pytest.mark.parametrize("times", AMOUNTS)
def test_a_damaged_access_table_answers_or_says_not_now(tmp_path: Path, times: int) -> None:
    path = tmp_path / "access"

    def ask(octets: bytes) -> None:
        path.write_bytes(octets)
        rows = AccessRows(read_table(str(path)).get, str(path))
        rows.client("10.0.3.134", "lab2.campus", confirmed=True)
        rows.may_relay("10.0.3.134", "", confirmed=False)
        rows.wants_tls("10.0.3.134", "lab2.campus", confirmed=True)
        rows.sender(b"spam@lab2.campus")
        rows.recipient(b"x@lab3.campus", is_ours=False, untagged=True)
        rows.number("clientrate", "10.0.3.134")
        rows.number("greetpause", "127.0.0.1")

    accepted, _ = looked_at("access", ACCESS, 1000 * times, ask, OSError, ValueError)
    assert accepted


@pytest.mark.parametrize("times", AMOUNTS)
def test_damaged_tables_of_routes_answer_or_say_not_now(tmp_path: Path, times: int) -> None:
    def ask(name: str, octets: bytes) -> None:
        host.aliases("postmaster: root")
        (tmp_path / name).write_bytes(octets)
        here = LocalHost(host.options)
        for address in (
            b"x@lab3.campus",
            b"x@a.lab4.campus",
            b"x@lab5.campus",
            b"info@lab6.campus",
        ):
            recipients.look_up(address, here)
            here.router.route(address)

    host = PrivateHost(tmp_path)
    for name, text in (("mailertable", MAILERTABLE), ("virtusertable", VIRTUSERS)):
        looked_at(name, text, 500 * times, partial(ask, name), OSError)
        (tmp_path / name).unlink()
    accepted, _ = looked_at("authinfo", AUTHINFO, 1000 * times, authinfo.parse)
    assert accepted == 1000 * times  # what is wrong with a row is told when it is used


# --- aliases ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", AMOUNTS)
def test_damaged_aliases_name_only_what_stands_there(times: int) -> None:
    def compile_(octets: bytes) -> None:
        found = compile_text(octets, RebuildReport("aliases"), None)
        for name, value in found.items():
            assert len(name) <= len(octets) and b"\n" not in name
            for target in targets.parse(value):
                assert target.value or target.kind == "include", "nobody"

    accepted, _ = looked_at("aliases", ALIASES, 1000 * times, compile_)
    assert accepted == 1000 * times


FORWARD = (
    b'carol, "|/usr/bin/vacation dave", /home/dave/archive\n\\dave # and me\n"a b"@lab2.campus\n'
)


@pytest.mark.parametrize("times", AMOUNTS)
def test_a_damaged_forward_names_only_what_stands_there(times: int) -> None:
    def parse(octets: bytes) -> None:
        for target in targets.parse(octets):
            assert len(target.value) <= len(octets)

    accepted, _ = looked_at(".forward", FORWARD, 500 * times, parse)
    assert accepted == 500 * times
