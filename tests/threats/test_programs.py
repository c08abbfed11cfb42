"""What a program gets from us, wherever it is named: nothing but the message."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from minimta.system import privileges
from tests.support.sharedhost import UIDS, SharedHost

pytestmark = pytest.mark.root

#: what a shell, a mailer or a template might take for an order
HOSTILE = [
    b"() { :;}; touch pwned@a.example",
    b"() { :;}; touch pwned",
    b";for i in x; do touch pwned; done",
    b"-oQ/tmp",
    b"-X/tmp/pwned",
    b"--",
    b"${run{/bin/touch pwned}}",
    b"`touch pwned`@a.example",
    b"$(touch${IFS}pwned)@a.example",
    b"|touch pwned",
    b'"|touch pwned"@a.example',
    b"/etc/passwd",
    b"../../pwned",
    b"%s%s%n",
    b"{0.__class__}@a.example",
    b"a'; touch pwned; 'b",
    b'a"; touch pwned; "b',
    b"a\\@a.example",
    b"\x1b[31m@a.example",
    b"a&&touch pwned&b",
    b"a>pwned",
]
#: nothing of it may reach a program
EVIL_ENVIRONMENT = {
    "LD_PRELOAD": "/tmp/evil.so",
    "LD_LIBRARY_PATH": "/tmp",
    "PYTHONPATH": "/tmp",
    "PYTHONSTARTUP": "/tmp/evil.py",
    "BASH_ENV": "/tmp/evil",
    "ENV": "/tmp/evil",
    "IFS": "/",
    "PS4": "$(touch pwned)",
    "BASH_FUNC_id%%": "() { touch pwned; }",
    "TZ": "/tmp/evil",
    "PATH": "/tmp",
}


def place_program(host: SharedHost, where: str, command: str) -> str:
    """Name *command* in an alias, a .forward or a list; as whom it runs. Mail for dave starts it."""
    item = b'"|%b"' % command.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    if where == "alias":
        host.aliases(f"dave: {os.fsdecode(item)}")
        return "daemon"
    if where == "forward":
        host.put("dave", item + b"\n", ".forward")
        return "dave"
    path = host.put("mallory", item + b"\n", "list")
    host.aliases(f"dave: :include:{path}")
    return "mallory"


WHERE = pytest.mark.parametrize("where", ["alias", "forward", "include"])


@WHERE
@pytest.mark.parametrize("evil", HOSTILE, ids=[repr(text)[2:-1] for text in HOSTILE])
def test_nothing_of_the_envelope_reaches_a_shell(
    host: SharedHost, where: str, evil: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as a command, nor as an argument, nor in the environment."""
    for name, value in EVIL_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    made = host.evidence
    actor = place_program(
        host, where, f"env > {made}/env; echo $0,$#,$* > {made}/words; cat > {made}/text"
    )
    detail = b"" if where == "include" else b"+" + evil
    host.submit(b"<%b>" % evil, b"<dave%b@lab1.campus>" % detail, text=b"Subject: %b\n\nx\n" % evil)
    before = host.snapshot()
    host.run()
    host.run(host.submit_each("carol"))
    evidence = {f"evidence/{name}" for name in ("env", "words", "text")}
    assert host.changes(before) == {"mail/carol", *evidence}
    home = f"{host.root}/home/{actor}"
    environment = dict(
        line.split("=", 1) for line in (made / "env").read_text().rstrip("\n").split("\n")
    )
    assert environment == {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "PWD": home,
        "USER": actor,
        "LOGNAME": actor,
        "SHELL": "/bin/sh",
    }
    assert (made / "words").read_text() in ("/bin/sh,0,\n", "sh,0,\n")
    assert (made / "text").read_bytes().startswith(b"From %b " % evil)
    assert host.queued() == []


@pytest.mark.parametrize("evil", [b"a\ntouch pwned@b", b"a\n/etc/x", b"a\r\nb@c"])
def test_a_line_end_in_an_address_forges_no_line_of_the_queue(
    host: SharedHost, evil: bytes
) -> None:
    with pytest.raises(ValueError, match="would forge a line"):
        host.submit(b"<%b>" % evil, b"<dave@lab1.campus>")
    with pytest.raises(ValueError, match="would forge a line"):
        host.submit(b"<emma@lab1.campus>", b"<%b>" % evil)
    assert host.queued() == []


# --- what is open, and where it is -----------------------------------------------------------------


@pytest.fixture
def tempting(host: SharedHost) -> Iterator[None]:
    """We have open what no program may get, and groups that it may not have."""
    groups = os.getgroups()
    os.setgroups([0, 6, 42])
    files = [os.open(path, os.O_RDWR) for path in (host.secret, host.canary, host.root / "passwd")]
    for file in files:
        os.set_inheritable(file, True)
    yield
    for file in files:
        os.close(file)
    os.setgroups(groups)


def lines(path: Path) -> list[str]:
    return path.read_text().rstrip("\n").split("\n")


@pytest.mark.usefixtures("tempting")
@WHERE
def test_a_program_has_three_descriptors_and_is_alone_in_its_session(
    host: SharedHost, where: str
) -> None:
    e = host.evidence
    actor = place_program(
        host,
        where,
        f"ls -l /proc/self/fd > {e}/fd; cut -d' ' -f5,6,7 /proc/self/stat > {e}/session; "
        f"echo $$ > {e}/session2; umask > {e}/umask; pwd -P > {e}/cwd; ulimit -c > {e}/core",
    )
    host.run([*host.submit_each("dave"), *host.submit_each("carol")])
    numbers = {line.split()[-3]: line.split()[-1] for line in lines(e / "fd") if " -> " in line}
    looked_at = {number for number, target in numbers.items() if target.startswith("/proc/")}
    assert set(numbers) - looked_at == {"0", "1", "2"}
    assert numbers["0"].startswith("pipe:")
    assert numbers["2"].startswith("pipe:")
    shell = lines(e / "session2")[0]
    assert lines(e / "session")[0].split() == [shell, shell, "0"], "group, session, no terminal"
    assert lines(e / "umask") == ["0077"]
    assert lines(e / "cwd") == [str((host.root / "home" / actor).resolve())]
    assert lines(e / "core") == ["0"]
    assert len(host.letters("carol")) == 1


@pytest.mark.usefixtures("tempting")
@WHERE
@pytest.mark.parametrize("own", [[], [61200, 61201]], ids=["no groups", "two groups"])
def test_a_program_has_the_ids_and_groups_of_its_user_and_no_others(
    host: SharedHost, where: str, own: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def groups(name: str, gid: int) -> list[int]:
        return [gid, *own]

    monkeypatch.setattr(os, "getgrouplist", groups)
    status = host.evidence / "status"
    actor = place_program(host, where, f"cat /proc/self/status > {status}")
    host.run(host.submit_each("dave"))
    fields = dict(line.split(":", 1) for line in lines(status))
    uid = str(UIDS[actor])
    assert fields["Uid"].split() == [uid] * 4
    assert fields["Gid"].split() == [uid] * 4
    assert sorted(fields["Groups"].split()) == sorted([uid, *map(str, own)])
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}


@WHERE
def test_a_program_cannot_look_into_the_process_that_started_it(
    host: SharedHost, where: str
) -> None:
    """It has the same user, but was root a moment ago and remembers the queue."""
    e = host.evidence
    place_program(
        host,
        where,
        f"for f in environ maps mem fd/0; do cat /proc/$PPID/$f > {e}/got 2>&1 && touch {e}/read; done; "
        f"ls /proc/$PPID/fd/ >{e}/got 2>&1 && touch {e}/read; exit 0",
    )
    host.run(host.submit_each("dave", "carol"))
    assert not (e / "read").exists()
    assert "Permission denied" in (e / "got").read_text()
    assert len(host.letters("carol")) == 1


def open_files() -> Iterator[str]:
    """What this process has open."""
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the directory of descriptors itself
            yield os.readlink(f"/proc/self/fd/{number}").partition(":")[0]


# --- as whom each child works ----------------------------------------------------------------------


@pytest.mark.usefixtures("tempting")
@pytest.mark.parametrize(
    ("target", "reader"),
    [
        (lambda host: f"\\carol, {host.evidence}/file", "dave"),
        (lambda host: f":include:{host.put('carol', b'carol', 'list')}", "dave"),
    ],
    ids=["file", "include"],
)
def test_each_child_that_acts_for_a_user_is_that_user_alone(
    host: SharedHost,
    target: Callable[[SharedHost], str],
    reader: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The .forward is read, and the file written or the list read, with no more than his rights."""
    seen = host.evidence / "seen"
    real = privileges.drop

    def drop(uid: int, gid: int, groups: list[int]) -> None:
        real(uid, gid, groups)
        with seen.open("a") as file:
            for line in Path("/proc/self/status").read_text().split("\n"):
                if line.startswith(("Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:")):
                    file.write(f"{' '.join(line.split())}\n")
            file.write(f"{' '.join(open_files())} {os.getcwd()}\n")

    monkeypatch.setattr(privileges, "drop", drop)
    host.put("dave", target(host).encode(), ".forward")
    qids = host.submit_each("dave")
    bodies = {f"{host.root}/mqueue/df{qid}" for qid in qids}
    host.run(qids)
    assert len(host.letters("carol")) == 1
    uid = UIDS[reader]
    found = lines(seen)
    each = [
        f"Uid: {uid} {uid} {uid} {uid}",
        f"Gid: {uid} {uid} {uid} {uid}",
        f"Groups: {uid}",
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
    ]
    assert len(found) == 12, "two children"
    assert (found[:5], found[6:11]) == (each, each)
    allowed = {"/dev/null", "pipe", "/", *bodies, str(seen)}
    for line in (found[5], found[11]):
        assert set(line.split()) <= allowed, "neither queue nor secrets"
        assert line.endswith(" /")


def test_a_new_mailbox_belongs_to_its_user_alone(host: SharedHost) -> None:
    host.run(host.submit_each("dave"))
    state = host.mailbox("dave").stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o7777) == (
        UIDS["dave"],
        UIDS["dave"],
        0o600,
    )
