"""Programs of aliases and .forward files: as whom, with what, and how they end."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest

from minimta.mailers import Job, User
from minimta.mailers.prog import ProgMailer
from minimta.options import Options
from minimta.status import Fate, Outcome
from minimta.users import User as SystemUser


class Place:
    """A directory that the program may write to, and a message."""

    def __init__(self, path: Path) -> None:
        self.path = path
        entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())
        self.user = SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid, home=str(path))
        for parent in (path, *path.parents):
            if parent.name.startswith("pytest") or parent == path:
                parent.chmod(0o755)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        self.options = Options()
        self.options.smrsh_directory = str(path / "none")
        self.options.timeout_program = 20

    def run(
        self, command: bytes, body: bytes = b"hello\n", sender: bytes = b"emma@lab1.campus"
    ) -> Outcome:
        data = self.path / "df"
        data.write_bytes(body)
        file = os.open(data, os.O_RDONLY)
        user = User(command)
        header = b"Subject: t\n"
        job = Job("id1", sender, "", (user,), header, file, len(body), controlling=self.user)
        try:
            ((_, outcomes),) = ProgMailer(self.options, clock=lambda: 0.0).deliver([job])
        finally:
            os.close(file)
        return outcomes[command]

    def text(self, name: str) -> str:
        return (self.path / name).read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_program_gets_the_message_as_sendmail_gives_it(place: Place) -> None:
    outcome = place.run(b"cat > got", b"hello\nFrom here\n")
    assert (outcome.fate, outcome.text) == (Fate.SENT, "Sent")
    first, rest = place.text("got").split("\n", 1)
    assert first.startswith("From emma@lab1.campus Thu Jan  1 ")
    assert rest == "Subject: t\n\nhello\nFrom here\n"


def test_it_runs_as_the_user_in_his_home_with_a_clean_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD_X", "evil")
    monkeypatch.setenv("PYTHONPATH", "evil")
    place.run(
        b"id -u > got; id -g >> got; pwd >> got; umask >> got; env | sort >> got; cat >/dev/null"
    )
    uid, gid, home, umask, *environment = place.text("got").split("\n")
    assert (int(uid), int(gid), umask) == (place.user.uid, place.user.gid, "0077")
    assert home == str(place.path)
    names = {line.partition("=")[0] for line in environment if line}
    assert names == {"HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER"}


@pytest.mark.root
def test_it_has_the_ids_and_groups_of_the_user_and_no_others(place: Place) -> None:
    place.run(b"grep -E '^(Uid|Gid|Groups):' /proc/self/status > got")
    uid, gid, groups = (line.split()[1:] for line in place.text("got").splitlines())
    assert set(uid) == {str(place.user.uid)}
    assert set(gid) == {str(place.user.gid)}
    assert set(groups) <= {str(n) for n in os.getgrouplist(place.user.name, place.user.gid)}


def test_it_has_three_descriptors(place: Place) -> None:
    with open(os.devnull, "rb") as other:
        os.set_inheritable(other.fileno(), True)
        place.run(b"exec ls /proc/self/fd > got")
    assert set(place.text("got").split()) == {"0", "1", "2", "3"}  # 3: what ls looks at


@pytest.mark.parametrize(
    ("code", "fate", "status"),
    [
        (64, Fate.FAILED, "5.5.4"),
        (67, Fate.FAILED, "5.1.1"),
        (70, Fate.FAILED, "5.3.0"),
        (75, Fate.DEFERRED, "4.0.0"),
        (78, Fate.FAILED, "5.3.5"),
        (99, Fate.FAILED, "5.3.0"),
    ],
)
def test_its_exit_code_decides_and_its_output_is_told(
    place: Place, code: int, fate: Fate, status: str
) -> None:
    outcome = place.run(b"echo some output; printf 'er\\033ror\\n' >&2; exit %d" % code)
    assert (outcome.fate, outcome.status, outcome.exit_code) == (fate, status, code)
    assert outcome.transcript[0] == "some output"
    assert "\033" not in "".join(outcome.transcript)


def test_one_that_does_not_read_is_no_error(place: Place) -> None:
    assert place.run(b"exit 0", b"x" * 3_000_000).fate is Fate.SENT


def test_one_that_prints_for_ever_is_cut_short_and_ended(place: Place) -> None:
    place.options.timeout_program = 1
    outcome = place.run(b"yes")
    assert outcome.fate is Fate.DEFERRED
    assert "did not end in 1 seconds" in outcome.text


def test_one_that_never_ends_is_ended_with_its_children(place: Place) -> None:
    place.options.timeout_program = 1
    outcome = place.run(b"trap '' TERM; sleep 987 & echo $! > pid; sleep 987")
    assert outcome.fate is Fate.DEFERRED
    child = int(place.text("pid"))
    for _ in range(500):
        if not os.path.exists(f"/proc/{child}") or "Z" in _state(child):
            break
        time.sleep(0.01)
    else:
        pytest.fail("a child of the program lives")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_what_is_left_in_the_background_holds_nobody_up(place: Place) -> None:
    begun = time.monotonic()
    assert place.run(b"sleep 987 & exit 0").fate is Fate.SENT
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    "sender",
    [b"() { :;}; touch x@a.example", b";touch evil;@x", b"-oQ/tmp", b"${run{touch evil}}"],
)
def test_nothing_of_the_message_gets_into_the_command(place: Place, sender: bytes) -> None:
    before = {"df", "got"}
    assert place.run(b"cat > got", sender=sender).fate is Fate.SENT
    assert set(os.listdir(place.path)) == before


def test_nobody_runs_as_root_or_without_a_user(place: Place) -> None:
    file = os.open(os.devnull, os.O_RDONLY)
    job = Job("id1", b"", "", (User(b"touch got"),), b"", file, 0)
    ((_, outcomes),) = ProgMailer(place.options).deliver([job])
    os.close(file)
    assert outcomes[b"touch got"].fate is Fate.DEFERRED
    assert not (place.path / "got").exists()


def test_where_programs_are_restricted_they_wait(place: Place) -> None:
    place.options.smrsh_directory = str(place.path)
    assert place.run(b"touch got").fate is Fate.DEFERRED
    assert not (place.path / "got").exists()
