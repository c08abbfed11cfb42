"""Root, accounts without a login, and numbers that belong to somebody else by now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.sharedhost import UIDS, SharedHost

pytestmark = pytest.mark.root

DAVE = UIDS["dave"]


def starting(host: SharedHost) -> bytes:
    made = bytes(host.evidence)
    return b'"|id -u > %b/id; id -G >> %b/id"\n%b/file\n' % (made, made, made)


def started(host: SharedHost) -> dict[str, set[int]]:
    found = {path.name: {path.stat().st_uid} for path in host.evidence.iterdir()}
    if "id" in found:
        found["id"] |= set(map(int, (host.evidence / "id").read_text().split()))
    return found


# --- shells ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false", "/bin/zzz", "/bin/sh "])
def test_who_has_no_valid_shell_starts_nothing_by_a_forward(host: SharedHost, shell: str) -> None:
    """In Sendmail's words, to the sender and to the log."""
    host.shells["dave"] = shell
    host.write_passwd()
    path = host.put("dave", starting(host), ".forward")
    program, file = starting(host).decode().rstrip("\n").split("\n")
    qids = host.submit_each("dave", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/emma", "mail/carol"}
    assert host.queued() == []
    (bounce,) = host.letters("emma")
    why = "User dave@lab1.campus doesn't have a valid shell for mailing to"
    assert f"{path}: line 1: {program}... {why} programs\n" in bounce.as_string()
    assert f"{path}: line 2: {file}... {why} files\n" in bounce.as_string()
    assert any(f"{why} programs" in line for line in host.lines)


def test_who_has_no_valid_shell_still_forwards_to_people(host: SharedHost) -> None:
    host.shells["dave"] = "/usr/sbin/nologin"
    host.write_passwd()
    host.put("dave", b"carol, \\dave\n", ".forward")
    host.run(host.submit_each("dave"))
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (1, 1)


def test_an_empty_shell_is_bin_sh(host: SharedHost) -> None:
    host.shells["dave"] = ""
    host.write_passwd()
    host.put("dave", starting(host), ".forward")
    host.run(host.submit_each("dave"))
    assert started(host) == {"id": {UIDS["dave"]}, "file": {UIDS["dave"]}}


# --- root -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["root", "toor"])
def test_the_forward_of_uid_0_starts_nothing_as_root(host: SharedHost, name: str) -> None:
    with open(host.options.passwd_file, "a", encoding="ascii") as file:
        file.write(f"toor:x:0:0:root:{host.root}/home/toor:/bin/sh\n")
    (host.root / "home" / name).mkdir()
    (host.root / "home" / name).chmod(0o755)
    host.put(name, starting(host), ".forward")
    host.run(host.submit_each(name))
    assert started(host) == {"id": {UIDS["daemon"]}, "file": {UIDS["daemon"]}}
    assert host.queued() == []


@pytest.mark.parametrize("spoiled", ["home", "file", "mode"])
def test_a_forward_of_root_that_others_could_have_written_is_not_followed(
    host: SharedHost, spoiled: str
) -> None:
    home = host.root / "home" / "root"
    home.mkdir()
    home.chmod(0o755)
    path = host.put("root", starting(host), ".forward")
    if spoiled == "mode":
        path.chmod(0o664)
    else:
        os.chown(home if spoiled == "home" else path, UIDS["mallory"], UIDS["mallory"])
    qids = host.submit_each("root", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/root", "mail/carol"}
    assert host.told(f"{qids[0]}: forward {path}: ")


@pytest.mark.parametrize("default", ["root", "0", "0:0", "nosuch-user", "toor"])
def test_root_as_default_user_starts_nothing(host: SharedHost, default: str) -> None:
    with open(host.options.passwd_file, "a", encoding="ascii") as file:
        file.write(f"toor:x:0:0:root:{host.root}:/bin/sh\n")
    host.options.default_user = default
    host.aliases("list: " + starting(host).decode().rstrip("\n").replace("\n", ", "))
    qids = host.submit_each("list", "carol")
    before = host.snapshot()
    host.run(qids)
    assert host.changes(before) == {"mail/carol"}
    assert host.queued() == [qids[0]]
    assert any("to act as" in line for line in host.lines if line.startswith(qids[0]))


# --- numbers --------------------------------------------------------------------------------------------


def wait_for_a_retry(host: SharedHost) -> str:
    """dave's program and file could not be served once; the queue remembers his name and number."""
    gate = host.evidence / "gate"
    gate.write_text("")
    program = b'"|test -e %b && exit 75; id -u > %b/id"\n' % (bytes(gate), bytes(host.evidence))
    host.put("dave", program, ".forward")
    (qid,) = host.submit_each("dave")
    host.run([qid])
    uid = UIDS["dave"]
    expected = b"dave:%d:%d:<dave@lab1.campus>" % (uid, uid)
    assert [r.controlling_user for r in host.control(qid).recipients] == [expected]
    gate.unlink()
    return qid


def passwd(host: SharedHost, old: str, new: str) -> None:
    path = Path(host.options.passwd_file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_after_a_retry_the_program_runs_as_who_it_was(host: SharedHost) -> None:
    wait_for_a_retry(host)
    host.run()
    assert started(host) == {"id": {UIDS["dave"]}}
    assert host.queued() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"dave:x:{DAVE}:", f"david:x:{DAVE}:"),
        (f"dave:x:{DAVE}:", f"dave:x:{DAVE + 5}:"),
        (f"dave:x:{DAVE}:", "dave:x:0:"),
    ],
    ids=["number is another's", "name has another number", "name is root by now"],
)
def test_what_waits_for_somebody_who_is_another_by_now_is_not_started(
    host: SharedHost, old: str, new: str
) -> None:
    qid = wait_for_a_retry(host)
    passwd(host, old, new)
    others = host.submit_each("carol")
    before = host.snapshot()
    host.run([qid, *others])
    assert host.changes(before) == {"mail/carol"}
    assert host.queued() == [qid]
    assert any("to act as" in line for line in host.lines if line.startswith(qid))
    passwd(host, new, old)
    host.run()
    assert started(host) == {"id": {UIDS["dave"]}}


@pytest.mark.parametrize(
    "line",
    [b"root:0:0:<dave@lab1.campus>", b"dave:0:0:<dave@lab1.campus>", b":include:/l:0:0:<d@x>"],
)
def test_a_queue_file_that_says_root_starts_nothing_as_root(host: SharedHost, line: bytes) -> None:
    qid = wait_for_a_retry(host)
    host.rewrite(qid, lambda control: setattr(control.recipients[0], "controlling_user", line))
    host.run()
    assert started(host) == {"id": {UIDS["daemon"]}}


@pytest.mark.parametrize(
    "line", [b"", b"dave", b"dave:x:y:z", b"dave:-1:-1:z", b"nosuch:61777:1:z"]
)
def test_a_queue_file_that_says_nobody_starts_nothing(host: SharedHost, line: bytes) -> None:
    qid = wait_for_a_retry(host)
    host.rewrite(qid, lambda control: setattr(control.recipients[0], "controlling_user", line))
    host.run()
    assert started(host) == {}
    assert host.queued() == [qid]
