"""mail(1) as it is called: what sendmail gets, what a session prints, what is left in the mailbox."""

from __future__ import annotations

import mailbox
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minimta.commands.mail import hand_over
from minimta.submission import deadletter

PROGRAM = Path(__file__).parents[3] / "bin" / "mail"
LETTER = b"""\
From emma@lab1.campus  Sun Nov 22 09:37:57 2026
Return-Path: <emma@lab1.campus>
Received: from lab1.campus by lab3.campus; Sun, 22 Nov 2026 09:37:57 GMT
Date: Sun, 22 Nov 2026 09:37:57 GMT
From: Emma Example <emma@lab1.campus>
Message-Id: <1@lab1.campus>
To: henry@lab3.campus, Dave <dave@lab2.campus>
Cc: carol@lab2.campus
Subject: Maintenance fail

The maintenance script failed

"""
SECOND = LETTER.replace(b"Maintenance", b"Second").replace(b"<1@", b"<2@")


class Desk:
    """A user's home with a mailbox and a sendmail that writes down what it is given."""

    def __init__(self, root: Path) -> None:
        self.home = root
        self.box = root / "box"
        self.sent = root / "sent"
        sendmail = root / "sendmail"
        sendmail.write_text(f'#!/bin/sh\n{{ echo "$*"; cat; }} >> {self.sent}\nexit ${{CODE:-0}}\n')
        sendmail.chmod(0o755)
        (root / ".mailrc").write_text(
            f"set sendmail={sendmail}\nunset askcc\nalias boss emma@lab1.campus\n"
        )
        self.environment = {
            "HOME": str(root),
            "MAIL": str(self.box),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }

    def run(
        self, *words: str, stdin: str | bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        text = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-I", PROGRAM, *words],
            input=text,
            capture_output=True,
            env=self.environment | environment,
            cwd=self.home,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def subjects(self, path: Path) -> list[str]:
        return [str(one["subject"]) for one in mailbox.mbox(str(path), create=False)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# --- sending --------------------------------------------------------------------------------------


def test_the_lesson_sends_a_line(desk: Desk) -> None:
    done = desk.run("-s", "Maintenance fail", "henry@lab3.campus", stdin="it failed\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert desk.sent.read_text() == (
        "-i -- henry@lab3.campus\nTo: henry@lab3.campus\nSubject: Maintenance fail\n\nit failed\n"
    )


def test_all_that_can_be_said_of_a_message(desk: Desk) -> None:
    words = "-s s -c cc@x,cc2@x -b bcc@x -r Root<root@x> -a X-Loop:1 boss dave"
    done = desk.run(*words.split(), stdin="~s no escape\n.\n..\nFrom x\n")
    assert done.returncode == 0, done.stderr
    first, _, rest = desk.sent.read_text().partition("\n")
    assert first == "-i -froot@x -- emma@lab1.campus dave cc@x cc2@x bcc@x"
    assert rest == (
        "From: Root<root@x>\nTo: emma@lab1.campus, dave\nCc: cc@x, cc2@x\nSubject: s\nX-Loop:1\n\n"
        "~s no escape\n.\n..\nFrom x\n"
    )


def test_options_may_follow_the_addresses(desk: Desk) -> None:
    """Debian's bsd-mailx takes them so, and scripts write it: mail root -s "backup failed"."""
    done = desk.run("dave", "-s", "backup failed", "henry@lab3.campus", "-r", "root@x", stdin="x\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert desk.sent.read_text() == (
        "-i -froot@x -- dave henry@lab3.campus\nFrom: root@x\nTo: dave, henry@lab3.campus\n"
        "Subject: backup failed\n\nx\n"
    )


def test_text_that_is_not_ascii_says_so(desk: Desk) -> None:
    assert desk.run("-s", "grün", "dave", stdin="grün\n").returncode == 0
    text = desk.sent.read_text()
    assert "Subject: =?utf-8?q?gr=C3=BCn?=\n" in text
    assert (
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ngrün\n" in text
    )


def test_an_empty_message_is_sent_and_with_capital_e_not(desk: Desk) -> None:
    assert desk.run("-E", "dave").returncode == 0
    assert not desk.sent.exists()
    done = desk.run("dave")
    assert (done.returncode, done.stderr) == (0, "Null message body; hope that's ok\n")
    assert desk.sent.exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-s", "x"], os.EX_USAGE, "You must specify direct recipients"),
        (["-a", "/etc/passwd", "dave"], os.EX_USAGE, "is no header field"),
        (["-a", "X: a\nBcc: b", "dave"], os.EX_DATAERR, "line end"),
        (["-s", "a\nBcc: b", "dave"], os.EX_DATAERR, "line end"),
        (["--", "-oQ/tmp"], os.EX_DATAERR, "an address begins with no -"),
        (["-y", "dave"], os.EX_USAGE, "invalid option"),
        (["-f", "a", "b"], os.EX_USAGE, "-f reads one file"),
        (["-r", "a, b", "dave"], os.EX_DATAERR, "not one address"),
    ],
)
def test_what_cannot_be_meant(words: list[str], code: int, says: str, desk: Desk) -> None:
    done = desk.run(*words, stdin="text\n")
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert not desk.sent.exists()


def test_what_sendmail_says_is_what_mail_says(desk: Desk) -> None:
    done = desk.run("dave", stdin="text\n", CODE="75")
    assert done.returncode == 75
    assert "the message was not sent (sendmail's exit code is 75)" in done.stderr


def test_mail_that_some_did_not_get_is_not_called_unsent(desk: Desk) -> None:
    """sendmail takes it for the others: who believes that it was not sent sends it twice."""
    done = desk.run("dave", "nobody-here", stdin="text\n", CODE="67")
    assert "the message was not sent, or not to all (sendmail's exit code is 67)" in done.stderr


def test_nothing_is_appended_to_a_file_that_has_another_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Somebody may have linked another file of the user's there."""
    other = tmp_path / "other"
    other.write_text("of another program\n")
    os.link(other, tmp_path / "dead.letter")
    hand_over.keep(b"Subject: x\n\nx\n", str(tmp_path))
    assert other.read_text() == "of another program\n"
    assert "not a plain file with one name: the message is lost" in capfd.readouterr().err


def test_letters_of_two_programs_do_not_mix_in_dead_letter(tmp_path: Path) -> None:
    path = str(tmp_path / "dead.letter")
    with deadletter.opened(path) as file:
        os.write(file, b"From emma Mon Nov 30 18:00:00 2026\nSubject: one\n\n")
        other = threading.Thread(target=hand_over.append, args=(path, b"Subject: two\n\n"))
        other.start()
        other.join(0.2)
        os.write(file, b"its end\n\n")
    other.join()
    one, two = mailbox.mbox(path)
    assert (one["Subject"], two["Subject"], one.get_payload()) == ("one", "two", "its end\n")


def test_who_keeps_dead_letter_locked_loses_no_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "dead.letter")
    monkeypatch.setattr(deadletter, "_PAUSE", 0.0)
    with deadletter.opened(path):
        hand_over.append(path, b"Subject: two\n\n")
    assert b"Subject: two" in Path(path).read_bytes()


def test_without_a_sendmail_the_message_is_in_dead_letter(desk: Desk) -> None:
    (desk.home / "sendmail").unlink()
    done = desk.run("-s", "x", "dave", stdin="text\n")
    assert done.returncode == os.EX_UNAVAILABLE
    assert desk.subjects(desk.home / "dead.letter") == ["x"]


def typed(desk: Desk, words: list[str], text: str) -> str:
    """What a terminal shows when *text* is typed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(desk.home)
        os.execve(sys.executable, [sys.executable, "-I", str(PROGRAM), *words], desk.environment)
    shown = b""
    os.write(terminal, text.encode())
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_it_asks_and_knows_escapes(desk: Desk) -> None:
    (desk.home / "file").write_text("from a file\n")
    lines = [
        "lunch",
        "text",
        "~c carol",
        "~b dave",
        "~r file",
        "~~tilde",
        "~p",
        "~| tr a-z A-Z",
        "~y",
        ".",
    ]
    shown = typed(desk, ["boss"], "\n".join(lines) + "\n")
    assert "Subject: " in shown
    assert "~y: Unknown tilde escape" in shown
    assert "Message contains:\nTo: emma@lab1.campus\nCc: carol\nSubject: lunch\n\ntext\n" in shown
    assert desk.sent.read_text() == (
        "-i -- emma@lab1.campus carol dave\nTo: emma@lab1.campus\nCc: carol\nSubject: lunch\n\n"
        "TEXT\nFROM A FILE\n~TILDE\n"
    )


def test_a_message_that_is_given_up_is_kept(desk: Desk) -> None:
    typed(desk, ["-s", "x", "dave"], "text\n~q\n")
    assert not desk.sent.exists()
    assert desk.subjects(desk.home / "dead.letter") == ["x"]


@pytest.mark.parametrize(
    ("subject", "escape"), [("x", "~c carol <"), ("a line\nend", "~c carol"), ("a line\nend", "~q")]
)
def test_what_was_typed_is_kept_if_it_cannot_be_sent(desk: Desk, subject: str, escape: str) -> None:
    typed(desk, ["-s", subject, "dave"], f"text\n{escape}\n.\n")
    assert not desk.sent.exists()
    assert "\ntext\n" in (desk.home / "dead.letter").read_text()


def test_an_answer_is_kept_if_it_cannot_be_sent(desk: Desk) -> None:
    desk.box.write_bytes(LETTER)
    done = desk.run(stdin="reply\nmy answer\n~c carol <\n~.\nx\n")
    assert "carol <>: " in done.stderr
    assert not desk.sent.exists()
    assert "\nmy answer\n" in (desk.home / "dead.letter").read_text()


# --- reading --------------------------------------------------------------------------------------


def test_the_lesson_reads_its_mail(desk: Desk) -> None:
    desk.box.write_bytes(LETTER)
    shown = desk.run(stdin="print 1\nq\n").stdout.split("\n")
    assert shown[1:5] == [
        f'"{desk.box}": 1 message 1 new',
        ">N  1 emma@lab1.campus   Sun Nov 22 09:37   12/382   Maintenance fail",
        "Message 1:",
        "From emma@lab1.campus  Sun Nov 22 09:37:57 2026",
    ]
    assert shown[5] == "Date: Sun, 22 Nov 2026 09:37:57 GMT"  # no Received, no Return-Path
    assert "The maintenance script failed" in shown


def test_commands_and_their_abbreviations(desk: Desk) -> None:
    desk.box.write_bytes(LETTER + SECOND)
    commands = "t 2|d1|u 1|h|f *|=|si 2|to 1|s 1 saved|w 2 text|cop 1 copied|n|n|nosuch|x"
    done = desk.run(stdin=commands.replace("|", "\n") + "\n")
    assert "Message 2:" in done.stdout
    assert '"saved" [New file]' in done.stdout
    assert "At EOF" in done.stdout
    assert 'Unknown command: "nosuch"' in done.stdout
    assert desk.subjects(desk.home / "saved") == ["Maintenance fail"]
    assert (desk.home / "text").read_text() == "The maintenance script failed\n\n"
    assert desk.box.read_bytes() == LETTER + SECOND  # x


def test_deleted_messages_go_at_the_end(desk: Desk) -> None:
    desk.box.write_bytes(LETTER + SECOND)
    assert desk.run(stdin="d 1\nq\n").returncode == 0
    assert desk.subjects(desk.box) == ["Second fail"]
    assert desk.run(stdin="d 1\n").returncode == 0  # the end of the input is q
    assert desk.box.read_bytes() == b""
    assert (desk.run().returncode, desk.run("-e").returncode) == (1, 1)


def test_the_end_of_input_on_a_mailbox_that_changed_changes_nothing(desk: Desk) -> None:
    desk.box.write_bytes(LETTER + SECOND)
    editor = f"!printf '%s' x > {desk.box}\nd 1\nq\n"
    done = desk.run(stdin=editor)
    assert (done.returncode, "changed by another program" in done.stderr) == (os.EX_IOERR, True)
    assert desk.box.read_bytes() == b"x"


def test_reply_goes_to_all_and_capital_reply_to_the_author(desk: Desk) -> None:
    desk.box.write_bytes(LETTER)
    desk.run(stdin="r 1\nyes\n.\nR 1\nno\n.\nx\n")
    first, second = desk.sent.read_text().split("-i -- ")[1:]
    assert first.startswith(
        "emma@lab1.campus henry@lab3.campus dave@lab2.campus carol@lab2.campus\n"
    )
    assert (
        "Subject: Re: Maintenance fail\nIn-Reply-To: <1@lab1.campus>\nReferences: <1@lab1.campus>\n\nyes\n"
        in first
    )
    assert second.startswith("emma@lab1.campus\n")


def test_on_a_terminal_no_letter_commands_it(desk: Desk) -> None:
    desk.box.write_bytes(
        LETTER.replace(b"Maintenance fail", b"\x1b]0;x\x07").replace(b"script", b"\x1b[2J\x9b")
    )
    shown = typed(desk, [], "1\nx\n")
    assert "\x1b" not in shown
    assert "The maintenance ?[2J" in shown


def test_mail_that_comes_during_a_session_is_there_after_it(desk: Desk) -> None:
    desk.box.write_bytes(LETTER)
    third = SECOND.replace(b"Second", b"Third").decode().replace("\n", "\\n")
    done = desk.run(stdin=f"d 1\n!printf '{third}' >> {desk.box}\ninc\nq\n")
    assert "1 new" in done.stdout
    assert desk.subjects(desk.box) == ["Third fail"]


def test_only_the_list_and_only_the_question(desk: Desk) -> None:
    desk.box.write_bytes(LETTER + SECOND)
    assert len(desk.run("-H").stdout.splitlines()) == 2
    assert desk.run("-e").returncode == 0
    assert desk.run("-f", str(desk.home / "none")).returncode == 1


def test_a_session_waits_for_the_lock_of_another_program(desk: Desk) -> None:
    desk.box.write_bytes(LETTER + SECOND)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-Ic",
            f"import fcntl; f = open({str(desk.box)!r}, 'r+b'); fcntl.lockf(f, 2); print(1, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout and holder.stdin
    holder.stdout.readline()
    reader = subprocess.Popen(
        [sys.executable, "-I", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=desk.environment,
    )
    assert reader.stdin
    reader.stdin.write(b"d 1\nq\n")
    reader.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        reader.wait(timeout=0.7)
    assert desk.subjects(desk.box) == ["Maintenance fail", "Second fail"]
    holder.stdin.write(b"\n")
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()
    assert reader.wait(timeout=60) == 0
    assert desk.subjects(desk.box) == ["Second fail"]


def test_an_alias_within_two_others_is_told_once(desk: Desk) -> None:
    with (desk.home / ".mailrc").open("a") as file:
        file.write("alias all left right\nalias left carol\nalias right carol\n")
        file.write("alias carol carol@lab2.campus\nalias dave dave henry\nalias henry dave\n")
    assert desk.run("-s", "x", "all", "dave", stdin="text\n").returncode == 0
    assert desk.sent.read_text().splitlines()[0] == "-i -- carol@lab2.campus dave"


def test_a_sendmail_that_is_killed_loses_no_message(desk: Desk) -> None:
    (desk.home / "sendmail").write_text("#!/bin/sh\nkill -9 $$\n")
    done = desk.run("-s", "x", "dave", stdin="text\n")
    assert done.returncode == os.EX_TEMPFAIL
    assert desk.subjects(desk.home / "dead.letter") == ["x"]


@pytest.mark.parametrize("code", [0, 78])
def test_a_sendmail_that_reads_nothing_ends_mail_as_it_did(desk: Desk, code: int) -> None:
    (desk.home / "sendmail").write_text(f"#!/bin/sh\nexit {code}\n")
    done = desk.run("-s", "x", "dave", stdin="text\n" * 100_000)
    assert done.returncode == code
    assert (desk.home / "dead.letter").exists() is bool(code)
    if code:
        assert desk.subjects(desk.home / "dead.letter") == ["x"]


def test_what_sendmail_has_kept_is_not_kept_twice(desk: Desk) -> None:
    (desk.home / "sendmail").write_text("#!/bin/sh\ncat >> $HOME/dead.letter\nexit 67\n")
    assert desk.run("-s", "x", "dave", stdin="text\n").returncode == 67
    assert (desk.home / "dead.letter").read_text().count("Subject: x") == 1


def test_where_there_is_no_mail_that_is_told(desk: Desk) -> None:
    done = desk.run()
    assert (done.stdout, done.stderr) == (f"{desk.box}: no messages\n", "")
    (desk.home / "empty").touch()
    assert desk.run("-f", str(desk.home / "empty")).stdout == f"{desk.home}/empty: no messages\n"


def test_there_is_no_window_before_the_first_and_behind_the_last(desk: Desk) -> None:
    desk.box.write_bytes(LETTER + SECOND)
    assert "On last screenful of messages\n" in desk.run(stdin="z\nexit\n").stdout
    assert "On first screenful of messages\n" in desk.run(stdin="z-\nexit\n").stdout


def test_mail_that_comes_during_a_session_is_told_at_its_end(desk: Desk) -> None:
    desk.box.write_bytes(LETTER)
    (desk.home / "second").write_bytes(SECOND)
    done = desk.run(stdin=f"inc\n!cat {desk.home}/second >> {desk.box}\ndelete 1\nquit\n")
    assert "No new mail.\n" in done.stdout and "New mail has arrived.\n" in done.stdout
    assert desk.subjects(desk.box) == ["Second fail"]


def test_a_session_outlives_a_pager_and_a_sendmail_that_read_nothing(desk: Desk) -> None:
    (desk.home / "sendmail").write_text("#!/bin/sh\nexit 0\n")
    desk.box.write_bytes(LETTER + SECOND)
    long = "text\n" * 100_000
    done = desk.run(stdin=f"reply 1\n{long}~.\n\ndelete 1\nquit\n".replace("~.", "."))
    assert done.returncode == 0, done.stderr
    assert desk.subjects(desk.box) == ["Second fail"]
    assert "New mail" not in done.stdout
