"""minimta demo: played once for real; and what it says when something is in the way."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from minimta.admin.checkout import HOME, AdminError
from minimta.admin.demo import demo, dialogue
from minimta.admin.demo.privateroot import (
    ADDRESS,
    PrivateRoot,
    free_port,
    need_port,
    processes_of,
    wait_for,
)
from minimta.config import file as config_file
from minimta.config.options import TABLE
from minimta.system import safefile


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the checkout in which the demo was played, and what it printed.

    It lies where others can write, as in a shared directory; no .forward there would be believed.
    """
    home = tmp_path_factory.mktemp("a dir with 'blanks'")
    home.chmod(0o777)
    for name in ("bin", "minimta"):
        shutil.copytree(Path(HOME, name), home / name, symlinks=True)
    command = [sys.executable, "-I", str(home / "bin/minimta"), "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


def test_every_step_is_played_and_checked(played: tuple[Path, str]) -> None:
    steps = played[1].split("\n\n")
    numbered = [step for step in steps if step[:1].isdigit()]
    assert [step[0] for step in numbered] == list("12345678")
    assert all("\n   ok: " in step for step in numbered)


def test_the_dialogue_is_shown_as_it_happens(played: tuple[Path, str]) -> None:
    lines = played[1].split("\n")
    start = lines.index("   > RCPT TO:<nobody-here@lab2.campus>")
    assert lines[start + 1].startswith("   < 550 5.1.1 ")
    assert lines[start + 2] == "   > RCPT TO:<dave@lab2.campus>"
    assert "   > QUIT" in lines[start:]


def test_the_letters_are_in_the_mailboxes(played: tuple[Path, str]) -> None:
    here, there = played[0] / "var/demo/mail", played[0] / "var/demo/lab1/mail"
    subjects = {
        here / "dave": ["over SMTP", "by command", "to be forwarded"],
        here / "carol": ["to the postmaster", "to be forwarded"],
        there / "carol": ["while you were out"],
    }
    for box, expected in subjects.items():
        lines = box.read_text().split("\n")
        assert [line[9:] for line in lines if line.startswith("Subject: ")] == expected
    assert (here / "dave").read_text().split("\n")[1] in played[1]


def test_commands_are_shown_as_one_types_them(played: tuple[Path, str]) -> None:
    typed = [line[5:] for line in played[1].split("\n") if line.startswith("   $ ")]
    assert {"mailq", "newaliases", "sendmail dave@lab2.campus", "sendmail -q"} <= set(typed)
    assert not [line for line in typed if str(played[0]) in line]


def test_all_is_shown_that_is_typed_and_answered(played: tuple[Path, str]) -> None:
    lines = [line.strip() for line in played[1].split("\n")]
    assert "> not sent" in lines
    assert "Total requests: 1" in lines


def test_they_work_when_they_are_typed(played: tuple[Path, str]) -> None:
    way = [line for line in played[1].split("\n") if "PATH=" in line]
    assert way[0] == "   $ " + way[1].strip() + "   # the commands of the checkout, for this host"
    script = f"{way[1]}\nmailq\nsendmail -bv postmaster\nnewaliases\n"
    words = ["/bin/sh", "-euc", script]
    done = subprocess.run(words, cwd=played[0], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{played[0]}/var/demo/spool/mqueue is empty" in done.stdout
    assert "carol... deliverable: mailer local, user carol" in done.stdout


def test_it_is_short(played: tuple[Path, str]) -> None:
    assert played[1].count("\n") <= 110


def test_it_tells_how_to_go_on(played: tuple[Path, str]) -> None:
    end = played[1].rpartition("To go on by hand")[2]
    assert f"nc {ADDRESS} " in end
    assert "sendmail -bD -q15m &" in end


def test_it_tells_how_to_remove_it(played: tuple[Path, str]) -> None:
    last = played[1].rstrip("\n").rpartition("\n")[2]
    assert last.split("#")[0].split()[:3] == ["rm", "-r", "var/demo"]
    made = [path.name for path in (played[0] / "var").iterdir()]
    assert made == ["demo"]


def test_nothing_is_left_running(played: tuple[Path, str]) -> None:
    assert not processes_of(played[0] / "var/demo/minimta.cf")
    assert not processes_of(played[0] / "var/demo/lab1/minimta.cf")


def start(home: Path, stdout: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", str(home / "bin/minimta"), "demo"]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_reader_that_goes_ends_it_quietly(played: tuple[Path, str]) -> None:
    home = played[0]
    with start(home, subprocess.PIPE) as playing:
        assert playing.stdout is not None
        for line in playing.stdout:
            if "ok: port" in line:  # the listener runs
                break
        playing.stdout.close()
        assert playing.stderr is not None
        assert playing.stderr.read() == ""
    assert playing.returncode == 141
    assert not processes_of(home / "var/demo/minimta.cf")


def test_a_full_standard_output_ends_it_with_one_sentence(played: tuple[Path, str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with start(played[0], full) as playing:
        os.close(full)
        told = playing.communicate(timeout=60)[1]
    assert told == "minimta demo: standard output: No space left on device\n"
    assert playing.returncode == os.EX_IOERR


def test_a_port_in_use_is_told_with_the_remedy_before_anything_begins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server((ADDRESS, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AdminError, match=rf"^port {port} .*in use.*--port"):
            demo.run(["--port", str(port)])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("path", ["/home/anna/a:b", "/home/anna/a,b", "/home/anna/\udcff"])
def test_a_path_that_no_alias_file_may_have_is_told_with_the_remedy(path: str) -> None:
    with pytest.raises(AdminError, match="clone the project into another directory"):
        demo.need_plain_path(path)


def test_a_path_with_blanks_and_quotes_will_do() -> None:
    demo.need_plain_path('/home/anna/a dir #1 ("it\'s"; $HOME *)')


@pytest.mark.parametrize("words", [["--port", "x"], ["--port", "65536"], ["more"]])
def test_words_that_mean_nothing_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(AdminError) as trouble:
        demo.run(words)
    assert trouble.value.exit_code == os.EX_USAGE


def test_a_demo_that_still_runs_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = PrivateRoot(tmp_path / "demo", "lab2.campus", 1)
    root.make("", {})
    monkeypatch.setattr("minimta.admin.demo.privateroot.processes_of", lambda cf: [4711])
    with pytest.raises(AdminError, match="kill 4711"):
        root.make("", {})


def test_nothing_of_the_machines_own_mail_system_counts(tmp_path: Path) -> None:
    """Its logins are root's alone, and with its tables the letters of the demo would go elsewhere."""
    root = PrivateRoot(tmp_path / "demo", "lab2.campus", 1)
    root.make("", {})
    options = config_file.load(str(root.cf), [], safefile.why_untrusted)
    for row in TABLE:
        value = getattr(options, row.attribute)
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, str) and path.startswith("/"):
                assert path.startswith(f"{root.directory}/"), row.name


def test_a_directory_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = PrivateRoot(tmp_path / "file" / "demo", "lab2.campus", 1)
    with pytest.raises(AdminError, match="directory of your own") as trouble:
        root.make("", {})
    assert trouble.value.exit_code == os.EX_CANTCREAT


def test_processes_are_found_by_their_configuration(tmp_path: Path) -> None:
    cf = tmp_path / "minimta.cf"
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "-C", str(cf)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert wait_for(lambda: processes_of(cf) == [process.pid], 5)
        process.communicate()
    assert processes_of(cf) == []


def test_a_step_that_does_not_hold_ends_the_demo(tmp_path: Path) -> None:
    root = PrivateRoot(Path(HOME, "var", "demo"), "lab2.campus", 1)
    with pytest.raises(AdminError, match="not so: it arrived; the log is var/demo/log"):
        demo.Demo(root, root)._check("it arrived", False)


LETTER = "From emma\nSubject: hello\n\nText\n\n"


@pytest.mark.parametrize(
    ("box", "is_good"),
    [
        (LETTER, True),
        ("", False),
        (LETTER * 2, False),
        (LETTER[:-1], False),
        (LETTER.replace("Text", "Text\n.\nnot sent"), False),
    ],
)
def test_a_letter_must_arrive_once_and_whole(
    monkeypatch: pytest.MonkeyPatch, box: str, is_good: bool
) -> None:
    root = PrivateRoot(Path(HOME, "var", "demo"), "lab2.campus", 1)
    monkeypatch.setattr(demo, "PATIENCE", 0)
    monkeypatch.setattr(root, "mailbox", lambda person: box)
    try:
        demo.Demo(root, root)._arrives(root, "dave", "hello")
    except AdminError as trouble:
        assert not is_good
        assert "not so: it is in the mailbox of dave" in str(trouble)
    else:
        assert is_good


def serve(replies: list[bytes]) -> tuple[int, Callable[[], bytes]]:
    """A peer that sends *replies*, one after each line it gets; the port, and what it got."""
    server = socket.create_server((ADDRESS, 0))
    got = bytearray()

    def talk() -> None:
        with server, server.accept()[0] as peer, peer.makefile("rb") as lines:
            for reply in replies:
                peer.sendall(reply)
                got.extend(lines.readline())

    thread = Thread(target=talk)
    thread.start()

    def finish() -> bytes:
        thread.join(5)
        return bytes(got)

    return int(server.getsockname()[1]), finish


def test_the_dialogue_is_typed_with_bare_line_feeds() -> None:
    shown: list[str] = []
    port, finish = serve([b"220 hi\r\n", b"250-one\r\n250 two\r\n", b"221 bye\r\n"])
    dialogue.play(ADDRESS, port, [("EHLO me", 250), ("QUIT", 221)], shown.append)
    assert finish() == b"EHLO me\nQUIT\n"
    assert shown == ["< 220 hi", "> EHLO me", "< 250-one", "< 250 two", "> QUIT", "< 221 bye"]


@pytest.mark.parametrize("reply", [b"550 no\r\n", b""])
def test_another_reply_than_expected_ends_the_dialogue(reply: bytes) -> None:
    port, finish = serve([b"220 hi\r\n", reply][: 2 if reply else 1])
    with pytest.raises(AdminError, match="expected 250, got"):
        dialogue.play(ADDRESS, port, [("HELO me", 250)], lambda line: None)
    finish()


def test_a_free_port_can_be_had() -> None:
    need_port(free_port())
