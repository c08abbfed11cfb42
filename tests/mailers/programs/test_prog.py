"""Programs of aliases and .forward files: as whom, with what, and how they end."""

from __future__ import annotations

import fcntl
import os
import pwd
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.job import Job, JobUser
from minimta.mailers.programs import process, smrsh
from minimta.mailers.programs.prog import ProgMailer
from minimta.message.outcome import Fate, Outcome
from minimta.system import log
from minimta.system.users import User as SystemUser
from minimta.system.waiting import returned
from tests.support.homes import let_others_in


class Place:
    """A directory that the program may write to, and a message."""

    def __init__(self, path: Path) -> None:
        self.path = path
        entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())
        self.user = SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid, home=str(path))
        let_others_in(path)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        self.options = Options()
        self.options.smrsh_directory = str(path / "none")
        self.options.timeout_program = 20

    def run(
        self,
        command: bytes,
        body: bytes = b"hello\n",
        sender: bytes = b"emma@lab1.campus",
        size: int = 0,
    ) -> Outcome:
        data = self.path / "df"
        data.write_bytes(body)
        file = os.open(data, os.O_RDONLY)
        user = JobUser(command)
        header = b"Subject: t\n"
        size = size or len(body)
        job = Job("id1", sender, "", (user,), header, file, size, controlling=self.user)
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
        (2, Fate.FAILED, "5.3.0"),  # of a shell that cannot fork as well, which is another matter
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


@pytest.mark.parametrize(
    "command",
    [
        b"kill -KILL $$",
        b"kill -PIPE $$",  # which Python ignores, and no program of ours
        b"/bin/sh -c 'kill -SEGV $$'; exit $?",
        b"/bin/sh -c 'kill -KILL $$' && exit 0",
    ],
)
def test_whoever_was_killed_is_tried_again(place: Place, command: bytes) -> None:
    outcome = place.run(command)
    assert (outcome.fate, outcome.exit_code) == (Fate.DEFERRED, os.EX_TEMPFAIL)
    assert outcome.text.startswith("mailer died with signal ")


def test_a_command_that_is_not_there_is_final(place: Place) -> None:
    outcome = place.run(b"nosuch-program")
    assert (outcome.fate, outcome.text) == (Fate.FAILED, "unknown mailer error 127")


def test_binary_output_is_made_printable(place: Place) -> None:
    outcome = place.run(b"printf 'a\\000\\377\\033[2J\\r\\n\\n.\\nFrom x'; exit 69")
    assert outcome.transcript == ("a??[2J?".replace("??", "???"), ".", "From x")


def test_a_lot_of_output_is_cut(place: Place) -> None:
    outcome = place.run(b"head -c 3000000 /dev/zero | tr '\\0' x; exit 69")
    assert sum(map(len, outcome.transcript)) <= 8192


def test_its_memory_processes_and_cores_are_limited(place: Place) -> None:
    place.options.max_program_memory = 300_000 * 1024
    place.options.max_program_processes = 150
    place.run(b"ulimit -v > got; ulimit -p >> got; ulimit -c >> got")
    assert place.text("got").split() == ["300000", "150", "0"]


def test_it_leaves_no_core_behind(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        place.run(b"ulimit -c > got")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert place.text("got") == "0\n"


def test_zero_is_no_limit(place: Place) -> None:
    place.options.max_program_memory = place.options.max_program_processes = 0
    place.run(b"ulimit -v > got")
    assert place.text("got") == "unlimited\n"


def test_one_that_needs_too_much_memory_ends(place: Place) -> None:
    place.options.max_program_memory = 100_000_000
    assert place.run(b"head -c 200000000 /dev/zero | tail -n 1 >/dev/null").fate is not Fate.SENT


@pytest.mark.root
def test_no_process_to_be_had_is_tried_again(place: Place) -> None:
    place.options.max_program_processes = 1
    outcome = place.run(b"/bin/true; /bin/true")
    assert (outcome.fate, outcome.exit_code) == (Fate.DEFERRED, os.EX_TEMPFAIL)


def test_without_a_home_it_is_in_the_root(place: Place) -> None:
    place.user.home = "/nonexistent"
    outcome = place.run(b"pwd; exit 69")
    assert outcome.transcript == ("/",)


def test_a_data_file_that_is_too_short_starts_nothing(place: Place) -> None:
    def prepare() -> process.ProgramResult:
        (place.path / "got").touch()
        return process.ProgramResult(0)

    with open(os.devnull, "rb") as empty:
        job = Job("id1", b"", "", (JobUser(b"x"),), b"", empty.fileno(), 1000)
        with pytest.raises(OSError, match="shorter than recorded"):
            returned(process.run(job, place.user, prepare, place.options))
    assert not (place.path / "got").exists()
    assert place.run(b"exit 0", b"short\n", size=1000).fate is Fate.DEFERRED


def test_who_has_just_taken_the_message_is_waited_for_and_an_earlier_run_for_a_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.path / "df").write_bytes(b"hello\n")
    with open(place.path / "df", "rb") as ours, open(place.path / "df", "rb") as theirs:
        job = Job("id1", b"", "", (JobUser(b"x"),), b"", ours.fileno(), 0)
        for patience in (5.0, 0.0):
            monkeypatch.setattr(process, "_ACCEPTANCE", patience)
            fcntl.flock(theirs, fcntl.LOCK_EX)
            steps = process.run(job, place.user, lambda: process.ProgramResult(3), place.options)
            if not patience:
                with pytest.raises(OSError, match="earlier run left behind"):
                    returned(steps)
                continue
            next(steps)
            next(steps)
            fcntl.flock(theirs, fcntl.LOCK_UN)
            assert returned(steps).code == 3
            fcntl.flock(ours, fcntl.LOCK_UN)


def test_not_even_in_memory_is_all_of_an_endless_output(place: Place) -> None:
    place.options.timeout_program = 1
    command = process.Invocation(["/usr/bin/yes"], {}, b"")
    with open(os.devnull, "rb") as empty:
        job = Job("id1", b"", "", (JobUser(b"x"),), b"", empty.fileno(), 0)
        result = returned(process.run(job, place.user, lambda: command, place.options))
    assert result.timed_out
    assert len(result.output) == 8192


def test_one_that_closes_its_output_early_gets_all_the_same(place: Place) -> None:
    body = b"line\n" * 100_000
    assert place.run(b"exec >&- 2>&-; cat > got", body).fate is Fate.SENT
    assert place.text("got").endswith("\n\n" + body.decode())


def test_an_output_that_is_closed_is_not_read_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, asked = os.read, list[int]()

    def counted(file: int, octets: int) -> bytes:
        asked.append(file)
        return read(file, octets)

    command = ["/bin/sh", "-c", "exec >&- 2>&-; cat; sleep 0.5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout
        monkeypatch.setattr(os, "read", counted)
        end = time.monotonic() + 20
        assert process._converse(program, iter([b"x\n"]), end) == (b"", True)
        monkeypatch.undo()
        # That it is closed, and whether there is a rest.
        assert asked.count(program.stdout.fileno()) <= 2


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
    assert comes_true(lambda: is_gone(int(place.text("pid"))))


def test_one_that_was_too_slow_keeps_no_other_message_waiting(place: Place) -> None:
    place.options.timeout_program = 1
    mailer = ProgMailer(place.options)
    slow, quick = JobUser(b"echo >>slow; exec sleep 99"), JobUser(b"echo >>quick")
    (place.path / "df").write_bytes(b"x\n")
    with open(place.path / "df", "rb") as file:
        jobs = [
            Job(str(number), b"", "", (user,), b"", file.fileno(), 2, controlling=place.user)
            for number, user in enumerate([slow, slow, quick, slow])
        ]
        found = [next(iter(outcomes.values())) for _, outcomes in mailer.deliver(jobs)]
    assert [outcome.fate.name for outcome in found] == ["DEFERRED", "DEFERRED", "SENT", "DEFERRED"]
    assert found[0].text == found[3].text == "prog mailer (/bin/sh) did not end in 1 seconds"
    assert (place.text("slow"), place.text("quick")) == ("\n", "\n")


def comes_true(condition: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_one_that_is_too_slow_may_clean_up(place: Place) -> None:
    place.options.timeout_program = 1
    place.run(b"trap 'echo clean > got; exit 0' TERM; sleep 987 & wait")
    assert place.text("got") == "clean\n"


@pytest.mark.parametrize("output", [b"", b" >/dev/null 2>&1"])
@pytest.mark.parametrize("start", [b"sleep 987", b"setsid sleep 987", b"yes"])
def test_what_is_left_in_the_background_holds_nobody_up(
    place: Place, start: bytes, output: bytes
) -> None:
    begun = time.monotonic()
    outcome = place.run(b"echo said; %b%b & echo $! > pid; exit 0" % (start, output))
    assert (outcome.fate, outcome.transcript[0]) == (Fate.SENT, "said")
    assert time.monotonic() - begun < 15
    pid = int(place.text("pid"))
    if not is_gone(pid):
        os.kill(pid, signal.SIGKILL)


def test_what_works_on_after_success_has_the_rest_of_the_time(place: Place) -> None:
    place.options.timeout_program = 2
    place.run(b"mkfifo go; (read word < go; echo $word > done; exec sleep 987) & echo $! > pid")
    pid = int(place.text("pid"))
    assert not is_gone(pid)
    (place.path / "go").write_text("on\n")
    assert comes_true(lambda: (place.path / "done").exists() and place.text("done") == "on\n")
    assert comes_true(lambda: is_gone(pid))


def test_what_a_failure_leaves_behind_ends_at_once(place: Place) -> None:
    assert place.run(b"sleep 987 & echo $! > pid; exit 75").fate is Fate.DEFERRED
    assert comes_true(lambda: is_gone(int(place.text("pid"))))


def test_what_works_on_keeps_the_message_for_nobody_else(place: Place) -> None:
    assert place.run(b"sleep 987 & echo $! > pid").fate is Fate.SENT
    pid = int(place.text("pid"))
    with open(place.path / "df", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not is_gone(pid)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "sender",
    [b"() { :;}; touch x@a.example", b";touch evil;@x", b"-oQ/tmp", b"${run{touch evil}}"],
)
def test_nothing_of_the_message_gets_into_the_command(place: Place, sender: bytes) -> None:
    before = {"df", "got"}
    assert place.run(b"cat > got", sender=sender).fate is Fate.SENT
    assert set(os.listdir(place.path)) == before


@pytest.mark.parametrize(
    "user", [None, pytest.param(SystemUser("root", 0, 0), marks=pytest.mark.root)]
)
def test_nothing_runs_as_root_or_without_a_user(place: Place, user: SystemUser | None) -> None:
    command = b"touch %b/got" % os.fsencode(place.path)
    with open(os.devnull, "rb") as empty:
        users = (JobUser(command),)
        job = Job("id1", b"", "", users, b"", empty.fileno(), 0, controlling=user)
        ((_, outcomes),) = ProgMailer(place.options).deliver([job])
    assert outcomes[command].fate is Fate.DEFERRED
    assert not (place.path / "got").exists()


# --- where there is a smrsh directory ----------------------------------------------------------------


@pytest.fixture
def restricted(place: Place, tmp_path: Path) -> Place:
    directory = tmp_path / "smrsh"
    directory.mkdir()
    script = directory / "out.sh"
    script.write_text(
        '#!/bin/sh\n(echo "$0 $@"; id -u; env) > got; cat > /dev/null; exit ${1:-0}\n'
    )
    for path in (directory, script):
        path.chmod(0o755)
    # The place itself belongs to the user: to root it is no way to trust.
    place.options.dont_blame = frozenset({"runprograminunsafedirpath"})
    place.options.smrsh_directory = str(directory)
    return place


def test_a_program_of_the_directory_runs_with_nothing_but_a_path(restricted: Place) -> None:
    assert restricted.run(b"/usr/bin/out.sh 0 a").fate is Fate.SENT
    first, uid, *environment = restricted.text("got").splitlines()
    assert first == f"{restricted.options.smrsh_directory}/out.sh 0 a"
    assert int(uid) == restricted.user.uid
    assert set(environment) == {"PATH=/usr/bin:/bin", f"PWD={restricted.path}"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (b"/bin/cat > got", '"cat" not available for sendmail programs (stat failed)'),
        (b"out.sh; id > got", '"out.sh;" not available for sendmail programs (stat failed)'),
        (b"out.sh a; id > got", "cannot use ; in command"),
    ],
)
def test_anything_else_is_returned_with_what_smrsh_says(
    restricted: Place, command: bytes, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = restricted.run(command)
    assert (outcome.fate, outcome.status) == (Fate.FAILED, "5.0.0")
    assert (outcome.text, outcome.exit_code) == ("Service unavailable", os.EX_UNAVAILABLE)
    assert outcome.transcript == (f"smrsh: {told}",)
    assert not (restricted.path / "got").exists()


def test_the_log_names_the_user_who_tried(
    restricted: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A child has its standard error taken away: ask here, as the child does.
    monkeypatch.setattr("os.getuid", lambda: restricted.user.uid)
    log.configure("sendmail", "stderr", 9)
    try:
        with pytest.raises(smrsh.CommandRefused):
            smrsh.checked(b"/bin/cat", restricted.options, (restricted.user.uid, 0))
    finally:
        log.configure("sendmail", "none", 9)
    uid = restricted.user.uid
    assert capfd.readouterr().err == f'smrsh: uid {uid}: attempt to use "cat" (stat failed)\n'


def test_a_restricted_command_that_asks_for_it_is_tried_again(restricted: Place) -> None:
    outcome = restricted.run(b"out.sh 1 || exit 75")
    text = "prog mailer (/usr/libexec/sendmail/smrsh) exited with EX_TEMPFAIL"
    assert (outcome.fate, outcome.status, outcome.text) == (Fate.DEFERRED, "4.0.0", text)


def test_a_directory_that_may_not_be_trusted_runs_nothing_and_the_mail_waits(
    restricted: Place,
) -> None:
    restricted.options.dont_blame = frozenset()
    os.chmod(restricted.options.smrsh_directory, 0o777)
    assert restricted.run(b"out.sh").fate is Fate.DEFERRED
    assert not (restricted.path / "got").exists()


def test_a_directory_that_cannot_be_seen_restricts_all_the_same(restricted: Place) -> None:
    (restricted.path / "loop").symlink_to("loop")
    restricted.options.smrsh_directory = str(restricted.path / "loop")
    assert restricted.run(b"touch got").fate is Fate.DEFERRED
    assert not (restricted.path / "got").exists()


@pytest.mark.parametrize("name", ["got-a-file", "got-a-file/smrsh"])
def test_a_file_in_place_of_the_directory_is_not_no_directory(restricted: Place, name: str) -> None:
    (restricted.path / "got-a-file").write_text("")
    restricted.options.smrsh_directory = str(restricted.path / name)
    assert restricted.run(b"touch got").fate is Fate.DEFERRED
    assert not (restricted.path / "got").exists()


def test_on_a_system_with_one_user_what_others_want_run_waits(place: Place) -> None:
    place.options.one_user = True
    place.user = SystemUser("carol", os.geteuid() + 1, os.getegid(), home=str(place.path))
    outcome = place.run(b"cat > got")
    assert not (place.path / "got").exists()
    assert (outcome.fate, outcome.status) == (Fate.DEFERRED, "4.3.5")
    assert "nothing is done as carol on a system with one user" in outcome.text
    # One's own are run. Root has none, and runs nothing with that option.
    place.user = SystemUser("emma", os.geteuid(), os.getegid(), home=str(place.path))
    outcome = place.run(b"cat > got")
    assert (place.path / "got").exists() == (outcome.text == "Sent") == (os.geteuid() != 0)
