"""minimta ledger: every message ends in one place; what is missing is unknown, and never delivered."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from minimta.admin import ledger, mail_log, report_html, verbs, when
from minimta.admin.ledger import Ledger
from minimta.admin.ledger_accounts import Ending, LedgerEntries, ending, recipients
from minimta.admin.log_line import LoggedLine
from minimta.admin.report_figures import Figures
from minimta.config.options import Options
from minimta.mailers.files import dotlock
from minimta.message.envelope import Recipient
from minimta.queue import qid as queue_id
from minimta.queue.spool import Spool
from minimta.system import log
from tests.listener.test_daemon import Daemon, children, is_gone, send, wait_for
from tests.support.powercut import Disk, playground
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost
from tests.support.privatehost import SENT as SENT_ELSEWHERE
from tests.test_crash import content

EMMA, DAVE, CAROL = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>"
NOBODY, X, Y = b"<nosuch@lab1.campus>", b"<x@lab2.campus>", b"<y@lab3.campus>"
USERS = ("emma", "dave", "carol", "root")
A, B, C = "6AU9aaaa000001", "6AU9aaab000001", "6AU9aaac000002"
FROM = "from=<e@x>, size=9, class=0, nrcpts=1, msgid=<1@x>, proto=ESMTP, relay=h [10.0.0.1]"
TO = "to=<d@x>, delay=00:00:01, xdelay=00:00:00, mailer=local, pri=30000"
SENT = f"{TO}, dsn=2.0.0, stat=Sent"
LATE = f"{TO}, dsn=4.2.2, stat=Deferred: 452 4.2.2 Mailbox full"
LOST = f"{TO}, dsn=5.1.1, stat=User unknown"
DONE = "done; delay=00:00:01, ntries=1, rcpts="
OTHER = SENT.replace("<d@x>", "<o@x>")
HANDED = (
    f"{TO}, relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, stat=Sent ({B} Message accepted for delivery)"
)


def options_of(root: Path) -> Options:
    options = Options()
    options.queue_directory, options.client_queue_directory = str(root / "q"), str(root / "c")
    options.run_as_user = ""
    for name in "qc":
        (root / name).mkdir(exist_ok=True)
    return options


def of_lines(root: Path, *lines: str) -> Ledger:
    (root / "log").write_text("".join(f"sm-mta[9]: {line}\n" for line in lines))
    return ledger.make(options_of(root), [str(root / "log")], now=time.time())


@pytest.mark.parametrize(
    ("lines", "endings"),
    [
        ([FROM, SENT, DONE + "1"], [Ending.DELIVERED]),
        ([FROM, LATE, SENT, DONE + "1"], [Ending.DELIVERED]),
        ([SENT, DONE + "1"], [Ending.DELIVERED]),
        ([FROM, SENT, SENT, DONE + "1"], [Ending.DELIVERED]),
        ([FROM, SENT], [Ending.UNKNOWN]),
        ([FROM], [Ending.UNKNOWN]),
        ([FROM, DONE + "1"], [Ending.UNKNOWN]),
        ([FROM, SENT, DONE + "2"], [Ending.UNKNOWN]),
        ([FROM, SENT, SENT, DONE + "2"], [Ending.UNKNOWN]),
        ([FROM, LOST, DONE + "1"], [Ending.UNKNOWN]),
        ([FROM, LATE, DONE + "1"], [Ending.UNKNOWN]),
        ([FROM, LOST, "not returned: <d@x>", DONE + "1"], [Ending.DISCARDED]),
        ([FROM, LOST, OTHER, "not returned: <d@x>", DONE + "2"], [Ending.DELIVERED]),
        ([FROM, LOST, "savemail: mailbox of root: Sent", DONE + "1"], [Ending.DEAD_LETTER]),
        ([FROM, "to=<d@x>, delay=00:00:00, mailer=*discard*, stat=Deleted by root"], [Ending.DISCARDED]),
        ([FROM, LATE, "redirected by root to <o@x>, instead of <d@x>", OTHER, DONE + "1"], [Ending.DELIVERED]),
        ([FROM.replace("msgid=<1@x>, ", ""), "discarded"], [Ending.DISCARDED]),
        ([FROM.replace("msgid=<1@x>, ", "")], []),
        (["removed df, left by a process that died"], []),
        ([FROM, "to=<d@x>, delay=00:00:00, mailer=local, stat=queued"], [Ending.UNKNOWN]),
    ],
)  # fmt: skip
def test_the_lines_of_a_message_say_where_it_ended(
    tmp_path: Path, lines: list[str], endings: list[Ending]
) -> None:
    found = of_lines(tmp_path, *(f"{A}: {line}" for line in lines))
    assert list(found.endings.elements()) == endings
    assert found.accepted == len(endings)


def test_a_report_is_a_message_of_its_own(tmp_path: Path) -> None:
    lines = [f"{A}: {FROM}", f"{A}: {LOST}", f"{A}: {B}: DSN: User unknown", f"{A}: {DONE}1"]
    found = of_lines(tmp_path, *lines, f"{B}: {FROM}", f"{B}: {SENT}", f"{B}: {DONE}1")
    assert found.endings == {Ending.RETURNED: 1, Ending.DELIVERED: 1}
    assert found.recipients == {"returned": 1, "delivered": 1}
    found = of_lines(tmp_path, *lines)
    assert found.endings == {Ending.RETURNED: 1, Ending.UNKNOWN: 1}
    assert [one.qid for one in found.unknown] == [B]


def test_a_warning_is_no_report_of_failure(tmp_path: Path) -> None:
    warned = f"{A}: {B}: sender notify: Warning: could not send message for past 4 hours"
    end = [f"{B}: {FROM}", f"{B}: {SENT}", f"{B}: {DONE}1"]
    found = of_lines(tmp_path, f"{A}: {FROM}", f"{A}: {LATE}", warned, f"{A}: {DONE}1", *end)
    assert found.endings == {Ending.UNKNOWN: 1, Ending.DELIVERED: 1}


def test_a_letter_that_was_taken_over_is_one_message(tmp_path: Path) -> None:
    follow = [f"{B}: {FROM}", f"{A}: {HANDED}", f"{B}: {SENT}", f"{B}: {DONE}1"]
    found = of_lines(tmp_path, f"{A}: {FROM}", *follow)
    assert found.endings == {Ending.DELIVERED: 1}
    found = of_lines(tmp_path, f"{A}: {FROM}", f"{A}: {HANDED}")
    assert found.endings == {Ending.UNKNOWN: 1}
    assert found.unknown[0].qid == B


def test_who_says_what_our_own_words_say_is_another_host(tmp_path: Path) -> None:
    said = HANDED.replace("[127.0.0.1] [127.0.0.1]", "mx.x. [10.0.0.2]")
    found = of_lines(tmp_path, f"{A}: {FROM}", f"{A}: {said}", f"{A}: {DONE}1")
    assert found.endings == {Ending.DELIVERED: 1}


def test_the_parts_of_a_split_letter_are_messages(tmp_path: Path) -> None:
    split = f"{A}: split: rcpts=200, ids={A}, {B}, {C}"
    ends = [f"{qid}: {text}" for qid in (A, B) for text in (SENT, DONE + "1")]
    found = of_lines(tmp_path, split, f"{A}: {FROM}", *ends)
    assert found.endings == {Ending.DELIVERED: 2, Ending.UNKNOWN: 1}
    assert found.unknown[0].qid == C


def test_only_who_runs_the_queue_says_what_became_of_mail(tmp_path: Path) -> None:
    entries = [
        {"MESSAGE": f"{A}: {text}", "_UID": uid, "__REALTIME_TIMESTAMP": f"{time.time() - 9:.0f}000000"}
        for text, uid in ((FROM, "4001"), (SENT, "4002"), (DONE + "1", "4002"))
    ]  # fmt: skip
    script = tmp_path / "journalctl"
    script.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(map(json.dumps, entries)) + "\nEND\n")
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        found = ledger.make(options_of(tmp_path), [mail_log.JOURNAL], now=time.time())
    assert found.endings == {Ending.UNKNOWN: 1}


def test_what_is_not_as_it_should_be_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_NAMED", 2)
    lines = [f"{A}: {SENT}", f"{A}: {SENT}", f"{A}: {DONE}1"]
    lines += [f"{B}: {FROM}", f"{B}: {SENT}", f"{B}: {DONE}2"]
    lines += [f"{qid}: {FROM}" for qid in (C, C[:-1] + "3")]
    found = of_lines(tmp_path, *lines)
    found.complaints = ["/var/log/mail.log.1: Permission denied"]
    named = [f"{one.qid}: unknown: accepted {ledger.date(one.time)} from" for one in found.unknown]
    assert ledger.told(found) == [
        "accepted             4  (4 by SMTP)",
        "delivered            1",
        "returned             0",
        "dead-lettered        0",
        "discarded            0",
        "waiting              0",
        "unknown              3",
        "recipients: 2 delivered, 3 unknown",
        "1 recipients got a message once more, as after a crash",
        "1 messages have no from= line: it is older, or was lost",
        f"{named[0]} <e@x>: 1 of 2 recipients have no line",
        f"{named[1]} <e@x>: no line says that it is done, and it is in no queue",
        "and 1 more",
        "not read: /var/log/mail.log.1: Permission denied",
        "NOT balanced: 3 of 4 messages in the log and in the queue are unknown",
    ]
    found.since = NOW
    assert ledger.verdict(found) == (
        f"NOT balanced: 3 of 4 messages since {ledger.date(NOW)} are unknown"
    )


def test_addresses_with_commas_are_one_recipient() -> None:
    assert recipients('<a@x>,"|prog a,b",<"c,d"@x>,plain') == [
        *("<a@x>", '"|prog a,b"', '<"c,d"@x>', "plain"),
    ]


def test_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1795335161.0
    assert when.moment("2h", now) == now - 7200
    assert when.moment("7d", now) == now - 7 * 86400
    assert when.moment("@17", now) == 17
    assert when.moment("yesterday", now) == when.moment("today", now) - 86400
    assert when.moment("2026-11-22T09:12:41+01:00", now) == now
    for text in ("", "2", "soon", "2026-13-01", "@x", "99999999999999w"):
        with pytest.raises(ValueError, match="is no time"):
            when.moment(text, now)


def test_messages_before_that_time_do_not_count(tmp_path: Path) -> None:
    now = time.time()
    lines = [f"{A}: {FROM}", f"{A}: {SENT}"]
    (tmp_path / "log").write_text("".join(f"sm-mta[9]: {line}\n" for line in lines))
    found = ledger.make(options_of(tmp_path), [str(tmp_path / "log")], since=now - 60, now=now)
    assert found.accepted == 0
    assert time.strftime("%m-%d %H:%M", time.gmtime(ledger.time_of("6AM9CfOn000096", now))) == (
        "11-22 09:12"
    )


# --- what our own programs log ----------------------------------------------------------------------


class Logged:
    """A log in a file, as LogTo=stderr writes it."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        path.touch()

        def line(qid: str, text: str, *, level: int = 9, error: bool = False) -> None:
            with path.open("a") as file:
                file.write(f"sm-mta[9]: {qid}: {text}\n" if qid else f"sm-mta[9]: {text}\n")

        patch.setattr(log, "line", line)

    def ledger(self, options: Options) -> Ledger:
        return ledger.make(options, [str(self.path)], now=time.time())


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    return Logged(tmp_path / "log", monkeypatch)


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


def told(found: Ledger) -> str:
    return "\n".join(ledger.told(found))


def test_all_that_can_become_of_mail_is_balanced(host: PrivateHost, logged: Logged) -> None:
    host.aliases("postmaster: root", "list: dave, carol, x@lab2.campus, nosuch")
    elsewhere = Elsewhere({X[1:-1]: BUSY})
    for recipients_of in (
        [DAVE],
        [DAVE, CAROL, NOBODY],
        [b"<list@lab1.campus>"],
        [X],
        [Recipient(NOBODY, "PN")],
        [DAVE, Recipient(NOBODY, "PN")],
        [Recipient(b"<%b@lab1.campus>" % (b"n" * 40 + b"%d" % n), "PFD") for n in range(60)],
    ):
        qid = host.submit(EMMA, *recipients_of)
        host.deliverer(esmtp=elsewhere).attempt([qid])
    held = host.submit(EMMA, DAVE)
    host.submit(EMMA, CAROL)
    spool = Spool(host.options.queue_directory)
    message = spool.lock(held)
    assert message
    with message:
        message.hold("spam")
    spool.close()
    found = logged.ledger(host.options)
    assert not found.unknown, told(found)
    assert found.endings == {
        Ending.DELIVERED: 5,  # dave, dave with NEVER, and three reports
        Ending.RETURNED: 2,
        Ending.DISCARDED: 1,
        Ending.WAITING: 4,  # list, x, held, carol
    }
    assert found.waiting == {"qf": 3, "hf": 1}
    assert found.origins["report"] == 3
    assert found.recipients["returned"] == 62  # two, and sixty in lines of their own
    assert ledger.told(found) == [
        "accepted            12  (9 by SMTP, 3 from minimta itself)",
        "delivered            5",
        "returned             2",
        "dead-lettered        0",
        "discarded            1",
        "waiting              4  (3 queued, 1 held)",
        "unknown              0",
        "recipients: 9 delivered, 2 discarded, 62 returned, 4 waiting",
        "balanced: all 12 messages in the log and in the queue are accounted for",
    ]


def test_a_partial_delivery_is_counted_to_its_end(host: PrivateHost, logged: Logged) -> None:
    qid = host.submit(EMMA, DAVE, X, Y)
    host.deliverer(esmtp=Elsewhere({X[1:-1]: BUSY, Y[1:-1]: BUSY})).attempt([qid])
    host.deliverer(esmtp=Elsewhere({Y[1:-1]: BUSY})).attempt([qid])
    found = logged.ledger(host.options)
    assert found.recipients == {"delivered": 2, "waiting": 1}
    host.deliverer(esmtp=Elsewhere({})).attempt([qid])
    found = logged.ledger(host.options)
    assert found.recipients == {"delivered": 3}
    assert f"{qid}: done; " in logged.path.read_text()
    assert "rcpts=3" in logged.path.read_text()
    # One line of the first attempt is lost: rcpts= shows it.
    text = logged.path.read_text().splitlines(keepends=True)
    logged.path.write_text("".join(line for line in text if "mailer=local" not in line))
    assert logged.ledger(host.options).endings == {Ending.UNKNOWN: 1}


def test_a_report_that_nobody_can_get_is_a_dead_letter(host: PrivateHost, logged: Logged) -> None:
    host.aliases("postmaster: nosuch2")
    qid = host.submit(b"<nobodyhere@lab1.campus>", NOBODY)
    host.deliverer().attempt([qid])
    found = logged.ledger(host.options)
    assert not found.unknown, told(found)
    assert found.endings[Ending.DEAD_LETTER] == 1


def test_what_is_returned_because_it_is_too_old_is_returned(
    host: PrivateHost, logged: Logged
) -> None:
    qid = host.submit(EMMA, X)
    host.deliverer(esmtp=Elsewhere({X[1:-1]: BUSY})).attempt([qid])
    host.now = time.time() + host.options.timeout_queuereturn + 60
    host.rewrite(qid, lambda control: setattr(control, "last_attempt", int(host.clock()) - 60))
    host.deliverer(esmtp=Elsewhere({X[1:-1]: BUSY})).attempt([qid])
    found = ledger.make(host.options, [str(logged.path)], now=host.now + 60)
    assert found.endings == {Ending.RETURNED: 1, Ending.DELIVERED: 1}, told(found)


def test_what_is_put_aside_waits(host: PrivateHost, logged: Logged) -> None:
    qid = host.submit(EMMA, DAVE)
    (host.root / "mqueue" / f"qf{qid}").write_bytes(b"V8\ngarbage\n")
    host.deliverer().attempt([qid])
    found = logged.ledger(host.options)
    assert found.endings == {Ending.WAITING: 2}
    assert found.waiting == {"Qf": 1, "qf": 1}  # it, and the note to the postmaster


# --- crashes ----------------------------------------------------------------------------------------


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "case", ["delivered", pytest.param("returned", marks=LONG), pytest.param("two", marks=LONG)]
)
def test_after_a_power_cut_nothing_is_counted_as_delivered_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Whatever the disk keeps, and however much of the log's end is lost."""
    root, after = tmp_path / "host", tmp_path / "after"
    root.mkdir()
    after.mkdir()
    now = time.time() - 7200
    host = PrivateHost(root, now=now)
    logged = Logged(tmp_path / "log", monkeypatch)
    with Disk(root) as disk:
        line = log.line

        def mark(qid: str, text: str, *, level: int = 9, error: bool = False) -> None:
            line(qid, text)
            disk.mark(f"sm-mta[9]: {qid}: {text}\n")

        monkeypatch.setattr(log, "line", mark)
        to = {"delivered": [DAVE], "returned": [NOBODY], "two": [DAVE, X]}[case]
        qid = host.submit(EMMA, *to)
        host.deliverer(esmtp=Elsewhere({X[1:-1]: BUSY})).attempt([qid])
    monkeypatch.setattr(dotlock, "_boot", lambda: "the boot after")
    checked = balanced = 0
    rest, seen = Logged(tmp_path / "rest", monkeypatch), set[tuple[object, int]]()
    for cut in disk.cuts():
        marks = disk.marks(cut)
        for state in disk.survivors(after=cut):
            key = content(state, state.root), len(marks)
            if key in seen:
                continue
            seen.add(key)
            with playground(after) as fresh:
                state.write(fresh)
                for path in (fresh / "mail").glob("*.lock"):
                    os.utime(path, (now - 3600, now - 3600))
                recovered, elsewhere = PrivateHost(fresh, now=now + 3600), Elsewhere({})
                rest.path.write_text("")
                for _ in range(3):
                    recovered.deliverer(esmtp=elsewhere).attempt(recovered.queued())
                came = len(elsewhere.jobs) + sum(map(len, map(recovered.letters, USERS)))
                for kept in {0, len(marks) // 2, max(0, len(marks) - 1), len(marks)}:
                    logged.path.write_text("".join(marks[:kept]) + rest.path.read_text())
                    found = logged.ledger(recovered.options)
                    checked += 1
                    assert found.recipients["delivered"] <= came, f"{state.label}: {told(found)}"
                    if kept == len(marks):
                        assert not found.unknown, f"{state.label}: {told(found)}"
                        balanced += 1
    assert checked > balanced > 10


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_after_kill_9_of_everything_under_load_it_is_balanced(tmp_path: Path, seed: int) -> None:
    daemon = Daemon(tmp_path)
    luck = random.Random(seed)
    with daemon.cf.open("a") as cf:
        # The home of root, who reads postmaster's, is closed to others.
        cf.write("MinQueueAge = 0\nForwardPath =\n")
    promised, goal = [0], [0]

    def load(stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                send(daemon, luck.choice(["dave", "emma", "postmaster"]))
                promised[0] += 1
            except (AssertionError, OSError):
                time.sleep(0.01)

    try:
        for _ in range(4):
            daemon.start("-bD", "-q15m")
            stop = threading.Event()
            threads = [threading.Thread(target=load, args=(stop,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            goal.append(promised[0] + 8)
            try:
                wait_for(lambda: promised[0] >= goal[-1])
                time.sleep(luck.random() / 4)
                kill_all(daemon)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
        daemon.start("-bD", "-q1s")
        # As long as a busy machine takes for all that came meanwhile.
        wait_for(lambda: not [n for n in os.listdir(tmp_path / "mqueue") if n[:2] == "qf"], 120.0)
    finally:
        daemon.stop()
    found = ledger.make(daemon.host.options, [str(daemon.log)], now=time.time() + 1)
    assert not found.unknown, told(found)
    assert found.accepted >= promised[0] >= 32
    assert found.endings[Ending.WAITING] == 0
    letters = sum(
        path.read_bytes().count(b"\nSubject: x\n") for path in (tmp_path / "mail").iterdir()
    )
    assert found.recipients["delivered"] <= letters


def kill_all(daemon: Daemon) -> None:
    assert daemon.process
    pids = [daemon.process.pid]
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            pids += children(pid)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    daemon.process.wait(20)
    wait_for(lambda: all(is_gone(pid) for pid in pids[1:]))


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def configured(host: PrivateHost, logged: Logged) -> Iterator[list[str]]:
    """Arguments that lead to the host and its log."""
    cf = host.root / "cf"
    cf.write_text(
        f"QueueDirectory = {host.options.queue_directory}\n"
        f"ClientQueueDirectory = {host.options.client_queue_directory}\n"
        "RunAsUser =\nLogTo = none\n"
    )
    cf.chmod(0o644)
    yield ["-C", str(cf), "--log", str(logged.path)]


def test_the_command_says_whether_it_is_balanced(
    host: PrivateHost, logged: Logged, configured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    qid = host.submit(EMMA, DAVE)
    host.deliverer().attempt([qid])
    assert verbs.main(["ledger", *configured]) == os.EX_OK
    assert "balanced: all 1 messages" in capsys.readouterr().out
    text = logged.path.read_text()
    logged.path.write_text("".join(x for x in text.splitlines(True) if "done;" not in x))
    assert verbs.main(["ledger", *configured, "--since", "1h"]) == 1
    shown = capsys.readouterr().out
    assert f"{qid}: unknown: accepted " in shown and "NOT balanced: 1 of 1" in shown
    assert verbs.main(["ledger", *configured, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["endings"]["unknown"] == 1 and found["unknown"][0]["id"] == qid


@pytest.mark.parametrize("waiting", [0, 1])
@pytest.mark.parametrize("verb", ["ledger", "report"])
def test_without_a_log_nothing_is_called_balanced(
    host: PrivateHost,
    logged: Logged,
    configured: list[str],
    capsys: pytest.CaptureFixture[str],
    verb: str,
    waiting: int,
) -> None:
    if waiting:
        host.submit(EMMA, DAVE)
    logged.path.unlink(missing_ok=True)
    logged.path.mkdir()
    configured[-1] = str(logged.path / "none" / "log")
    assert verbs.main([verb, *configured]) == os.EX_NOINPUT
    shown = capsys.readouterr().out
    assert "unknown: no log could be read" in shown and "balanced:" not in shown
    assert verbs.main([verb, *configured, "--json"]) == os.EX_NOINPUT
    assert json.loads(capsys.readouterr().out)["balanced"] is False
    page = logged.path / "page.html"
    assert verbs.main(["report", *configured, "--html", str(page)]) == os.EX_NOINPUT
    assert '<p class="verdict bad">unknown: no log could be read' in page.read_text()


def test_wrong_arguments_are_told(
    host: PrivateHost, configured: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(["ledger", *configured, "--since", "soon"]) == os.EX_USAGE
    assert verbs.main(["ledger", "--nonsense"]) == os.EX_USAGE
    assert verbs.main(["ledger", *configured[:2], "--log", "/nonexistent/l"]) == os.EX_NOINPUT
    assert "is no time" in capfd.readouterr().err


def test_nobody_takes_the_message_of_another(tmp_path: Path) -> None:
    """Whose line says "from=" or "split:" may say what became of it: no user of somebody else's."""
    theirs = [SENT, DONE + "1"]
    for claim in (FROM, f"split: rcpts=1, ids={A}"):
        entries = LedgerEntries({0})
        for uid, qid, text in [
            (0, A, FROM),
            *(
                (1000, A if text != claim or claim == FROM else B, text)
                for text in [claim, *theirs]
            ),
        ]:
            entries.take(LoggedLine(1.0, "h", "sm-mta", 9, qid, text, uid))
        assert ending(entries.get(A))[0] is Ending.UNKNOWN
        assert not entries.get(B).parts


def test_what_a_user_said_before_of_a_message_of_the_queue_does_not_count(tmp_path: Path) -> None:
    entries = LedgerEntries({0})
    for uid, text in [(1000, FROM), (1000, SENT), (1000, DONE + "1"), (0, FROM)]:
        entries.take(LoggedLine(1.0, "h", "sm-mta", 9, A, text, uid))
    assert ending(entries.get(A))[0] is Ending.UNKNOWN


def test_a_number_without_end_is_no_number(tmp_path: Path) -> None:
    found = of_lines(tmp_path, f"{A}: {FROM}", f"{A}: {SENT}", f"{A}: {DONE}{'9' * 5000}")
    assert found.endings == {Ending.UNKNOWN: 1}


@pytest.mark.parametrize(
    ("ahead", "counts"), [(86400.0, True), (3600.0, True), (30.0, False), (-60.0, True)]
)
def test_what_came_while_the_clock_was_ahead_is_counted(
    tmp_path: Path, ahead: float, counts: bool
) -> None:
    now = 1795335161.0
    date = datetime.fromtimestamp(now + ahead, tz=UTC).isoformat()
    (tmp_path / "log").write_text(f"{date} h sm-mta[9]: {A}: {FROM}\n")
    found = ledger.make(options_of(tmp_path), [str(tmp_path / "log")], now=now)
    assert found.endings == ({Ending.UNKNOWN: 1} if counts else {})


NOW = 1795335161.0
YEARS = 10 * 365 * 86400


def at(moment: float, qid: str, text: str) -> str:
    """A line of a file that was written when the clock showed that."""
    date = datetime.fromtimestamp(moment, tz=UTC).isoformat()
    return f"{date} h sm-mta[9]: {qid}: {text}\n"


@pytest.mark.parametrize("jump", [3600, -3600, YEARS, -YEARS])
@pytest.mark.parametrize("before", range(4))
def test_a_clock_that_is_put_right_at_any_step_changes_no_sum(
    tmp_path: Path, jump: int, before: int
) -> None:
    """It was wrong by *jump* until then; what has no right date counts in a ledger of all times."""
    steps = [FROM, LATE, SENT, DONE + "1"]
    wrong = [(NOW - 100 + step + (jump if step < before else 0)) for step in range(4)]
    text = "".join(at(moment, A, step) for moment, step in zip(wrong, steps, strict=True))
    (tmp_path / "log").write_text(at(NOW - 200, B, FROM) + text + at(NOW - 50, B, SENT))
    (tmp_path / "log").write_text((tmp_path / "log").read_text() + at(NOW - 49, B, DONE + "1"))
    found = ledger.make(options_of(tmp_path), [str(tmp_path / "log")], now=NOW)
    assert found.endings == {Ending.DELIVERED: 2}
    assert found.recipients == {"delivered": 2}


@pytest.mark.parametrize("jump", [3600, YEARS])
def test_what_was_done_after_the_clock_was_set_back_is_known_of_what_came_before(
    tmp_path: Path, jump: int
) -> None:
    """Its last lines are older than --since."""
    lines = [at(NOW + jump, A, FROM), at(NOW - 500, A, SENT), at(NOW - 499, A, DONE + "1")]
    (tmp_path / "log").write_text("".join(lines))
    seen: list[float] = []
    found = ledger.make(
        options_of(tmp_path),
        [str(tmp_path / "log")],
        since=NOW - 100,
        now=NOW,
        watch=lambda line: seen.append(line.time),
    )
    assert found.endings == {Ending.DELIVERED: 1}
    assert seen == [NOW + jump]


@pytest.mark.parametrize("jump", [3600, -3600, YEARS, -YEARS])
@pytest.mark.parametrize("step", range(4))
def test_mail_on_its_way_while_the_clock_is_wrong_for_a_step_is_balanced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int, step: int
) -> None:
    """Real lines: accepted, deferred, deferred, delivered and returned."""
    host = PrivateHost(tmp_path, now=NOW - 1000)

    def line(qid: str, text: str, **unused: object) -> None:
        with (tmp_path / "log").open("a") as file:
            file.write(at(host.now or 0.0, qid, text))

    monkeypatch.setattr(log, "line", line)
    for number, answer in enumerate((None, BUSY, BUSY, SENT_ELSEWHERE)):
        host.now = NOW - 1000 + number + (jump if number == step else 0)
        if answer is None:
            qid = host.submit(EMMA, X, DAVE, NOBODY)
        else:
            host.deliverer(esmtp=Elsewhere({X[1:-1]: answer})).attempt([qid])
    for since in (0.0, NOW - 1000 - max(0, -jump)):
        found = ledger.make(host.options, [str(tmp_path / "log")], since=since, now=NOW)
        assert not found.unknown, told(found)
        assert found.endings[Ending.RETURNED] == 1 and not found.endings[Ending.WAITING]


def test_rotated_files_of_a_wrong_clock_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text(at(NOW + YEARS, A, FROM) + at(NOW + YEARS, A, LATE))
    os.utime(tmp_path / "log.1", (NOW + YEARS, NOW + YEARS))
    (tmp_path / "log").write_text(at(NOW - 9, A, SENT) + at(NOW - 8, A, DONE + "1"))
    os.utime(tmp_path / "log", (NOW - 8, NOW - 8))
    found = ledger.make(options_of(tmp_path), [str(tmp_path / "log")], now=NOW)
    assert found.endings == {Ending.DELIVERED: 1}


@pytest.mark.parametrize("year", [2000, 2016, 2026, 2027, 2036])
def test_an_id_of_a_wrong_clock_says_when_that_was(year: int) -> None:
    made = datetime(year, 11, 22, 9, 12, 41, tzinfo=UTC).timestamp()
    assert ledger.time_of(queue_id.new(made), NOW) == made


def test_what_waits_is_counted_whatever_its_date(tmp_path: Path) -> None:
    options = options_of(tmp_path)
    (tmp_path / "q" / f"qf{A}").write_text(
        f"V8\nT{'9' * 20}\nN0\nP1\nS<e@x>\nRPF:<d@x>\nHA: b\n.\n"
    )
    found = ledger.make(options, [], now=time.time())
    assert found.endings == {Ending.WAITING: 1}
    figures = Figures()
    ledger.make(options, [], now=time.time(), counted=figures.counted)
    assert report_html.page(found, figures, "h", 20)


def test_a_log_that_is_not_there_is_no_empty_log(tmp_path: Path) -> None:
    found = ledger.make(options_of(tmp_path), [str(tmp_path / "log")], now=time.time())
    assert found.complaints == [f"{tmp_path}/log: there is no such file"]
