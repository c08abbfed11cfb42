"""How programs of Debian and elsewhere call us: what they say, and what has to come of it.

``invocations.jsonl`` has one call a line, most of them captured from the program itself. Whoever runs
the tests is the user of the call. Where mail would go out at once it is queued, and looked at there.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import pytest

from minimta.config import commandline
from minimta.message import address, headers
from minimta.queue.control import Control
from tests.listener.test_daemon import wait_for
from tests.support.commandhost import Host, Ran

_LINES = (Path(__file__).parent / "invocations.jsonl").read_text(encoding="utf-8").split("\n")
_SOURCE = Path(__file__).read_text(encoding="utf-8")
CASES: list[dict[str, Any]] = [json.loads(line) for line in _LINES if line]
SUBMITTED = [case for case in CASES if case["group"] == "submit"]
#: the others, which are told apart in the tests below
OTHERS = {case["id"]: case for case in CASES if case["group"] != "submit"}
#: what would deliver at once
AT_ONCE = ("-odi", "-odb")
HOST = "vm1.example.org"


def text_of(case: dict[str, Any]) -> bytes:
    return str(case.get("stdin") or "").encode("utf-8", "surrogateescape")


class Machine(Host):
    """vm1.example.org, where the caller has the name that the call has."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str], user: str = "root") -> None:
        super().__init__(root, capfd)
        names = ("root", "emma", "dave", "henry", "www-data", "sympa", "daemon", "news", "list")
        ids = {name: 7000 + number for number, name in enumerate(names)}
        lines = [
            f"{name}:x:{number}:{number}:{name}:{root}/home:/bin/sh\n"
            for name, number in ids.items()
            if name != user
        ]
        mine = f"{user}:x:{os.getuid()}:{os.getgid()}:{user}:{root}/home:/bin/sh\n"
        (root / "passwd").write_text(mine + "".join(lines))
        (root / "aliases").write_text(
            "postmaster: root\nroot: emma\nMAILER-DAEMON: postmaster\nlist-outgoing: dave, henry\n"
        )
        (root / "names").write_text("vm1\nlocalhost\n")
        (root / "trusted-users").write_text("root\ndaemon\n")
        self.configure(HostName=HOST, LocalHostNames=str(root / "names"))


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Machine:
    user: str = getattr(request, "param", "root")
    return Machine(tmp_path, capfd, user)


def whole(path: bytes) -> str:
    """An address of the envelope as the cases have it: with our name, "<>" for the null path."""
    bare = address.bare(path)
    return address.qualified(bare, HOST).decode() if bare else "<>"


def delivered(control: Control, body: bytes, mailer: str = "local") -> Message[str, str]:
    """What a mailbox would get."""
    header = headers.render(
        control.headers, mailer=mailer, reverse_path=control.sender, flags=control.flags
    )
    return message_from_bytes(header + b"\n" + body)


def from_address(letter: Message[str, str]) -> str:
    """Of the From field, with our name."""
    found = parseaddr(str(letter["From"]))[1]
    return found if "@" in found else f"{found}@{HOST}"


def check_envelope(control: Control, expected: dict[str, Any]) -> None:
    recipients = {whole(r.address).lower() for r in control.recipients}
    assert recipients == {one.lower() for one in expected["envelope_rcpts"]}
    assert whole(control.sender) == expected["envelope_sender"]
    letters = {"SUCCESS": "S", "FAILURE": "F", "DELAY": "D"}
    for word in expected.get("notify", ()):
        flags = control.recipients[0].flags
        assert "N" in flags and letters.get(word, "N") in flags
        assert word != "NEVER" or not set(flags) & set("SFD")
    if "envid" in expected:
        assert control.envid == expected["envid"].encode()
    if "ret" in expected:
        assert ("n" in control.flags) == (expected["ret"] == "HDRS")
    if "body_type" in expected:
        assert control.body_type == expected["body_type"].encode()


def check_text(letter: Message[str, str], body: bytes, case: dict[str, Any]) -> None:
    expected, given = case["expect"], text_of(case)
    for name in expected.get("adds_headers", ()):
        if name == "X-Authentication-Warning":
            continue  # who runs the tests owns the queue and is trusted: test_sendmail has the others
        assert letter[name], name
    for name in [*expected.get("removes_headers", ()), *expected.get("no_headers", ())]:
        assert not letter[name], name
    for name, value in expected.get("keeps_headers", {}).items():
        assert letter.get_all(name) == [value]
    if "header_from_addr" in expected:
        assert [from_address(letter)] == expected["header_from_addr"]
    if "body_lines" in expected:
        assert body.decode().splitlines() == expected["body_lines"]
    if expected.get("body_unchanged"):
        assert body == given.partition(b"\n\n")[2]
    if expected.get("header_to_unchanged"):
        (line,) = re.findall(rb"(?m)^To: (.*)$", given)
        assert letter["To"].encode() == line
    if expected.get("no_bare_cr"):
        assert b"\r" not in body and "\r" not in letter.as_string()
    if "first_header" in expected:
        name, _, value = expected["first_header"].partition(": ")
        assert letter[name] == value


@pytest.mark.parametrize(
    ("machine", "case"),
    [pytest.param(case["user"], case, id=case["id"]) for case in SUBMITTED],
    indirect=["machine"],
)
def test_a_message_is_taken_as_its_program_means_it(
    machine: Machine, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "NAME"):
        monkeypatch.delenv(name, raising=False)
    expected = case["expect"]
    argv = [f"-C{machine.root}/cf", *("-odq" if word in AT_ONCE else word for word in case["argv"])]
    ran = machine.run(*(argv[1:] if "-C" in case["argv"] else argv), stdin=text_of(case))
    assert ran.code == expected["exit"], (ran.out, ran.err)
    for pattern in [expected[key] for key in ("stderr_regex", "stdout_regex") if key in expected]:
        assert re.search(pattern, ran.out + ran.err)
    queued = machine.queued()
    if expected["exit"]:
        assert queued == []
        return
    ((control, body),) = queued
    if "envelope_rcpts" in expected:
        check_envelope(control, expected)
    check_text(delivered(control, body), body, case)


def admin(machine: Machine, name: str, *more: str, stdin: bytes = b"") -> Ran:
    """Run one of OTHERS with our configuration; its name and flags are those of the call."""
    case = OTHERS[name]
    command = os.path.basename(case["argv0"])
    argv = ["-odq" if word in AT_ONCE else word for word in case["argv"]]
    return machine.run(*more, f"-C{machine.root}/cf", *argv, stdin=stdin, name=command)


def test_every_other_call_is_tested_below() -> None:
    tested = re.findall(r'"((?:alpine|mailq|sendmail|newaliases|purgestat)-?[\w-]*)"', _SOURCE)
    assert OTHERS.keys() - set(tested) == {"mailstats-P"}  # tests/commands/test_mailstats.py


def test_alpine_speaks_smtp(machine: Machine) -> None:
    machine.configure(HostName=HOST, LocalHostNames=str(machine.root / "names"))
    ran = admin(machine, "alpine-bs", stdin=text_of(OTHERS["alpine-bs"]))
    expected = OTHERS["alpine-bs"]["expect"]
    assert ran.code == expected["exit"]
    for pattern in expected["stdout_regex"]:
        assert re.search(pattern, ran.out)


def listing(machine: Machine, name: str) -> str:
    """What the case has, with our directories."""
    text = str(OTHERS[name]["expect"]["stdout"])
    return text.replace("/var/spool/mqueue", str(machine.root / "mqueue"))


def test_an_empty_queue_is_listed_as_recorded(machine: Machine) -> None:
    ran = admin(machine, "mailq-empty")
    assert (ran.code, ran.out) == (0, listing(machine, "mailq-empty"))


def one_waits(machine: Machine) -> None:
    """The message of the case mailq-one."""
    (machine.root / "mqueue" / "dfxAIK3D9S000453").write_bytes(b"x" * 35 + b"\n")
    (machine.root / "mqueue" / "qfxAIK3D9S000453").write_text(
        "V8\nT1574107380\nK1574107380\nN1\nP120036\n"
        "MDeferred: Connection refused by lab2.campus.\nFs\n$_emma@lab1.campus\n"
        "S<emma@lab1.campus>\nrRFC822; dave@lab2.campus\nRPFD:<dave@lab2.campus>\n"
        "H??Subject: x\n.\n"
    )


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize("name", ["mailq-one", "sendmail-bp"])
def test_one_that_waits_is_listed_as_recorded(machine: Machine, name: str) -> None:
    one_waits(machine)
    ran = admin(machine, name)
    assert (ran.code, ran.out) == (0, listing(machine, "mailq-one"))


def test_zabbix_counts_what_waits(machine: Machine) -> None:
    """Its grep is the last word of "mailq-zabbix"."""
    pattern = OTHERS["mailq-zabbix"]["argv"][-1].rpartition("grep -c ")[2].strip("'")
    assert pattern == "^[0-9A-Z]"
    for number in (0, 1, 2):
        if number:
            machine.run(f"-C{machine.root}/cf", "dave")
        lines = admin(machine, "mailq-empty").out.split("\n")
        assert sum(bool(re.match(pattern, line)) for line in lines) == number


@pytest.mark.parametrize(
    ("name", "runs"), [("sendmail-qf", True), ("sendmail-qR", True), ("sendmail-qI", True)]
)
def test_a_queue_run_takes_what_it_is_for(machine: Machine, name: str, runs: bool) -> None:
    machine.configure(HostName=HOST, LocalHostNames="/nonexistent", FallbackMXhost="")
    one_waits(machine)
    machine.run(f"-C{machine.root}/cf", "dave")
    ran = admin(machine, name, "-v", "-OConnectOnlyTo=127.0.0.1")
    assert ran.code == 0
    assert ("xAIK3D9S000453" in ran.out) is runs
    assert ("(sequence 2 of 2)" in ran.out) is (name == "sendmail-qf")


def test_a_queue_run_goes_on_behind(machine: Machine) -> None:
    machine.run(f"-C{machine.root}/cf", "emma")
    assert admin(machine, "sendmail-q").code == 0
    wait_for(lambda: not machine.queued())
    os.waitpid(-1, 0)


@pytest.mark.parametrize("name", ["newaliases", "sendmail-bi", "sendmail-I"])
def test_aliases_are_rebuilt_and_counted(machine: Machine, name: str) -> None:
    pattern = OTHERS["newaliases"]["expect"]["stdout_regex"]
    ran = admin(machine, name)
    assert ran.code == 0
    assert re.search(pattern.replace("/etc/aliases", f"{machine.root}/aliases"), ran.out)


def test_addresses_are_verified(machine: Machine) -> None:
    expected = OTHERS["sendmail-bv"]["expect"]
    ran = admin(machine, "sendmail-bv")
    assert ran.code == expected["exit"]
    assert all(text in ran.out for text in expected["stdout_has"])
    assert re.search(expected["stdout_regex"], ran.out)


def test_the_version_is_said(machine: Machine) -> None:
    ran = admin(machine, "sendmail-d01")
    assert ran.code == 0 and re.search(OTHERS["sendmail-d01"]["expect"]["stdout_regex"], ran.out)


@pytest.mark.parametrize(
    ("name", "mode", "run", "tag"),
    [("sendmail-bd-q", "d", "30m", ""), ("sendmail-L-sm-mta", "d", "10m", "sm-mta")],
)
def test_the_daemon_is_started_as_it_is_meant(name: str, mode: str, run: str, tag: str) -> None:
    """That it serves is told by the tests of the listener."""
    command = commandline.parse(["sendmail", *OTHERS[name]["argv"]])
    assert (command.mode, command.queue_runs, command.tag) == (mode, [run], tag)


def test_addresses_may_be_tested(machine: Machine) -> None:
    ran = admin(machine, "sendmail-bt", stdin=OTHERS["sendmail-bt"]["expect"]["stdin"].encode())
    assert ran.code == 0 and "ADDRESS TEST MODE" in ran.out


def test_the_configuration_is_checked(machine: Machine) -> None:
    assert admin(machine, "sendmail-bC").code == 0


def test_what_is_known_of_hosts_may_be_forgotten(machine: Machine) -> None:
    assert admin(machine, "purgestat").code == 0
