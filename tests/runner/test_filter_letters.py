"""Letters of commands before the filters: they are asked when the runner adopts a letter."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from minimta.config import filters
from minimta.milter import input_filters
from minimta.queue.control import decode
from minimta.queue.spool import Spool
from minimta.runner import filter_letters, take_in
from minimta.runner.filter_letters import LetterFilters
from minimta.runner.queue_run import run
from minimta.submission import caller
from minimta.system import landlock, log, privileges, processes
from minimta.system.users import Users
from tests.support.fakefilter import Answer, FilterProcess, reply
from tests.support.hostile import connect, make, outcomes, read, tried
from tests.support.privatehost import PrivateHost
from tests.system.test_sandbox import kernel

EMMA, DAVE, CAROL = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>"
TEXT = b"Subject: hello\nTo: somebody\n\nbody\nof it\n"
Use = Callable[..., FilterProcess]
OWN = reply(b"y", b"550 5.7.9 No such thing")


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


@pytest.fixture
def use(host: PrivateHost, tmp_path: Path) -> Iterator[Use]:
    started: list[FilterProcess] = []

    def start(answers: dict[str, Answer] | None = None, flags: str = "T") -> FilterProcess:
        started.append(FilterProcess(tmp_path / f"filter{len(started)}", answers))
        row = started[-1].row(flags=flags, times="C:2s;S:2s;R:2s;E:2s")
        host.options.mail_filters = filters.read(row)
        host.options.input_mail_filters = ("one",)
        return started[-1]

    yield start
    for one in started:
        one.close()


def leave(host: PrivateHost, *recipients: bytes) -> str:
    """A letter of ours in clientmqueue."""
    queue = host.options.queue_directory
    host.options.queue_directory = host.options.client_queue_directory
    try:
        return host.submit(EMMA, *(recipients or (DAVE,)), text=TEXT)
    finally:
        host.options.queue_directory = queue


def taken(host: PrivateHost) -> list[str]:
    """Take in; the names in mqueue."""
    spool = Spool(host.options.queue_directory)
    take_in.take_in(host.options, spool, time.time())
    spool.close()
    return [name[:2] for name in host.files()]


def left(host: PrivateHost) -> list[str]:
    return [name[:2] for name in sorted(os.listdir(host.options.client_queue_directory))]


def test_a_filter_sees_a_letter_as_one_from_this_host(host: PrivateHost, use: Use) -> None:
    one = use()
    leave(host, DAVE, CAROL)
    assert taken(host) == ["df", "qf"]
    assert left(host) == []
    [qid] = [name[2:].encode() for name in host.files() if name.startswith("qf")]
    assert one.all_said().replace("L", "") == "OCHMRRTNBEQ"
    assert one.data("C") == [b"localhost\x004\0\x00127.0.0.1\0"]
    assert one.data("H") == [b"lab1.campus\0"]
    assert one.data("R") == [b"<dave@lab1.campus>\0", b"<carol@lab1.campus>\0"]
    assert one.data("B") == [b"body\r\nof it\r\n"]
    names = [data.partition(b"\0")[0] for data in one.data("L")]
    assert names == [b"Received", b"Date", b"From", b"Message-Id", b"Subject", b"To"]
    assert one.macros["C"] == {
        b"j": b"lab1.campus",
        b"_": b"localhost [127.0.0.1]",
        b"{daemon_name}": b"MTA",
        b"{if_name}": b"localhost",
    }
    assert one.macros["M"] == {
        b"i": qid,
        b"{mail_mailer}": b"local",
        b"{mail_host}": b"",
        b"{mail_addr}": b"emma",
    }
    assert one.macros["E"][b"{msg_id}"].startswith(b"<2")


def test_what_a_filter_changes_is_what_is_delivered(host: PrivateHost, use: Use) -> None:
    use(
        {
            "E": [
                reply(b"i", b"X-Top", b"t", index=0),
                reply(b"h", b"X-New", b"n"),
                reply(b"m", b"Subject", b"other", index=1),
                reply(b"+", CAROL),
                reply(b"-", DAVE),
                b"bnew \xc3\xa9\r\n",
                b"c",
            ]
        }
    )
    leave(host)
    run(host.options)
    assert host.letters("dave") == []
    [letter] = host.letters("carol")
    assert list(letter.keys())[:3] == ["Return-Path", "X-Top", "Received"]
    assert (letter["X-New"], letter["Subject"]) == ("n", "other")
    assert letter.get_payload(decode=True) == b"new \xc3\xa9\n"


@pytest.mark.parametrize("letter", "CHMRTLNBE")
@pytest.mark.parametrize("answer", [b"t", b"", reply(b"y", b"451 4.7.1 Later"), b"x"], ids=repr)
def test_a_letter_stays_while_a_filter_cannot_say_yes(
    host: PrivateHost, use: Use, letter: str, answer: bytes
) -> None:
    one = use({letter: answer})
    leave(host)
    assert taken(host) == []
    assert left(host) == ["df", "qf"]
    one.accept_all()
    assert taken(host) == ["df", "qf"]


def test_without_a_filter_a_letter_waits_or_goes_on_as_its_row_says(
    host: PrivateHost, tmp_path: Path
) -> None:
    host.options.input_mail_filters = ("gone",)
    host.options.mail_filters = filters.read(f"gone, S=unix:{tmp_path}/gone, F=T")
    leave(host)
    assert taken(host) == []
    host.options.mail_filters = filters.read(f"gone, S=unix:{tmp_path}/gone")
    assert taken(host) == ["df", "qf"]


def age(host: PrivateHost, seconds: float) -> None:
    """The letter in clientmqueue was written so long ago."""
    [path] = Path(host.options.client_queue_directory).glob("qf*")
    then = b"\nT%d\n" % (time.time() - seconds)
    path.write_bytes(re.sub(rb"\nT\d+\n", then, path.read_bytes()))


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is logged, also in children."""
    path = tmp_path / "log"

    def line(qid: str, text: str, **_: bool) -> None:
        with path.open("a") as file:
            file.write(f"{qid}: {text}\n")

    monkeypatch.setattr(log, "line", line)
    return path


@pytest.mark.parametrize(
    ("answer", "told"),
    [(b"t", "a filter says 451 4.3.2"), (b"x", "filter one: ")],
)
def test_the_log_says_whether_a_filter_wants_to_wait_or_has_failed(
    host: PrivateHost, use: Use, logged: Path, answer: bytes, told: str
) -> None:
    use({"M": answer})
    qid = leave(host)
    taken(host)
    assert f"\n{qid}: not adopted: {told}" in "\n" + logged.read_text()


def test_a_letter_waits_for_a_filter_that_nobody_has_defined(
    host: PrivateHost, logged: Path
) -> None:
    host.options.input_mail_filters = ("one",)
    qid = leave(host)
    assert (taken(host), left(host)) == ([], ["df", "qf"])
    why = "InputMailFilters: no MailFilter is named one, there is none at all"
    assert f"\n{qid}: not adopted: {why}\n" in "\n" + logged.read_text()


def test_a_letter_that_a_filter_puts_off_for_days_comes_back(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_letters, "_STARTING", 0.0)
    use({"E": reply(b"y", b"451 4.7.1 Greylisted")})
    leave(host)
    age(host, host.options.timeout_queuereturn - 60)
    run(host.options)
    assert (left(host), host.files()) == (["df", "qf"], [])
    age(host, host.options.timeout_queuereturn + 60)
    monkeypatch.setattr(filter_letters, "_STARTING", float("inf"))
    run(host.options)
    assert (left(host), host.files()) == (["df", "qf"], [])
    monkeypatch.setattr(filter_letters, "_STARTING", 0.0)
    run(host.options)
    run(host.options)
    assert (left(host), host.files(), host.letters("dave")) == ([], [], [])
    [bounce] = host.letters("emma")
    text = bounce.as_string()
    for words in ("Action: failed", "Status: 4.4.7", "451 4.7.1 Greylisted"):
        assert words in text


@pytest.mark.parametrize("letter", "CHMRTLNBE")
@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"r", "5.7.1 Command rejected"), (OWN, "5.7.9 No such")],
)
def test_what_a_filter_refuses_comes_back_to_its_sender(
    host: PrivateHost, use: Use, letter: str, answer: bytes, words: str
) -> None:
    use({letter: answer})
    leave(host, DAVE, CAROL)
    run(host.options)
    run(host.options)
    assert host.letters("dave") == host.letters("carol") == []
    [bounce] = host.letters("emma")
    assert bounce["Subject"] == "Returned mail: see transcript for details"
    text = bounce.as_string()
    assert words in text
    assert "Action: failed" in text
    assert text.count("Final-Recipient") == 2
    assert (left(host), host.files()) == ([], [])


def test_a_recipient_may_be_refused_alone(host: PrivateHost, use: Use) -> None:
    use({"R": lambda data: b"r" if b"dave" in data else b"c"})
    leave(host, DAVE, CAROL)
    run(host.options)
    run(host.options)
    assert host.letters("dave") == []
    assert len(host.letters("carol")) == 1
    [bounce] = host.letters("emma")
    assert "dave@lab1.campus" in bounce.as_string()
    assert "RFC822; carol" not in bounce.as_string()
    assert host.files() == []


def test_until_the_bounce_is_sent_a_refused_letter_is_held(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minimta.runner import filter_letters

    use({"R": lambda data: OWN if b"dave" in data else b"c", "E": [reply(b"q", b"odd"), b"c"]})
    leave(host, DAVE, CAROL)
    with monkeypatch.context() as context:
        context.setattr(filter_letters.LetterFilters, "give_back", lambda *unused: None)
        run(host.options)
    assert [name[:2] for name in host.files()] == ["df", "hf"]
    for _ in range(2):
        run(host.options)
    [bounce] = host.letters("emma")
    assert "550 5.7.9 No such thing" in bounce.as_string()
    assert host.letters("dave") == host.letters("carol") == []
    [held] = [name for name in host.files() if name.startswith("hf")]
    text = Path(host.options.queue_directory, held).read_bytes()
    assert b"\nqodd\n" in text
    assert (b"dave@" in text.partition(b"\nH")[0], b"carol@" in text) == (False, True)


def test_who_looks_for_bounces_lets_go_of_what_is_held_for_another_reason(
    host: PrivateHost, use: Use
) -> None:
    use({"E": [reply(b"q", b"odd"), b"c"]})
    leave(host)
    taken(host)
    [held] = [name for name in host.files() if name.startswith("hf")]
    ours, others = (Spool(host.options.queue_directory) for _ in range(2))
    users = Users(host.options.passwd_file)
    LetterFilters(host.options, ours, users, time.time()).give_all_back()
    message = others.lock(held[2:], kind="hf")
    assert message is not None and message.control.quarantine == "odd"
    message.release()
    ours.close()
    others.close()


def test_the_log_tells_what_a_filter_did_and_who_was_refused(
    host: PrivateHost, use: Use, logged: Path
) -> None:
    use({"R": lambda data: OWN if b"dave" in data else b"c", "E": [reply(b"q", b"odd"), b"c"]})
    leave(host, DAVE, CAROL)
    taken(host)
    lines = [line.partition(": ")[2] for line in logged.read_text().splitlines()]
    assert "quarantine=odd" in lines
    facts = "delay=00:00:00, xdelay=00:00:00, mailer=relay, dsn=5.7.9"
    why = "reply=550 5.7.9 No such thing, stat=Service unavailable"
    assert [line for line in lines if "dave" in line and "5.7.9" in line] == [
        f"to=<dave@lab1.campus>, {facts}, {why}"
    ]


@pytest.mark.parametrize("letter", "MRTLNBE")
def test_discard_takes_a_letter_and_nobody_gets_it(
    host: PrivateHost, use: Use, letter: str
) -> None:
    use({letter: b"d"})
    leave(host)
    assert (taken(host), left(host)) == ([], [])


def test_a_letter_without_recipients_is_gone(host: PrivateHost, use: Use) -> None:
    use({"E": [reply(b"-", DAVE), b"c"]})
    leave(host)
    assert (taken(host), left(host)) == ([], [])


def test_quarantine_holds_a_letter(host: PrivateHost, use: Use) -> None:
    use({"E": [reply(b"q", b"odd"), b"c"]})
    leave(host)
    assert taken(host) == ["df", "hf"]


def test_a_letter_that_hangs_in_a_filter_holds_up_no_other(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_in, "PATIENCE", 0.5)
    hanging = iter([True])
    fork, started = processes.fork, list[int]()

    def forked(name: str, act: Callable[[], int]) -> int:
        started.append(fork(name, act))
        return started[-1]

    monkeypatch.setattr(processes, "fork", forked)

    def first_hangs(data: bytes) -> bytes | list[bytes]:
        if next(hanging, False):
            time.sleep(1.5)
        return b"c"

    use({"M": first_hangs})
    for _ in range(3):
        leave(host)
    assert taken(host).count("qf") == 2
    assert len(left(host)) == 2
    assert taken(host).count("qf") == 2  # it is in hand, and left alone
    end = time.monotonic() + 10
    while left(host) and time.monotonic() < end:
        time.sleep(0.05)
    assert [name[:2] for name in host.files()].count("qf") == 3
    for pid in started:  # who hung was left to init
        processes.has_ended(pid, 5.0)


def test_a_run_goes_on_for_as_long_as_letters_come_through(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_in, "MOST", 1)
    monkeypatch.setattr(take_in, "PATIENCE", 2.0)

    def slow(data: bytes) -> bytes:
        time.sleep(0.5)
        return b"c"

    use({"M": slow})
    for _ in range(5):
        leave(host)
    assert taken(host).count("qf") == 5


def test_no_more_letters_are_in_hand_than_there_may_be(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_in, "MOST", 2)
    one = use()
    for _ in range(7):
        leave(host)
    assert taken(host).count("qf") == 7
    one.all_said()
    assert one.sessions == 7


def test_the_filter_is_talked_to_by_a_child_that_has_given_up_root(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use()
    parent = os.getpid()

    def become(name: str, *, with_groups: bool = False) -> None:
        text = f"{name} {with_groups} {os.getpid() != parent}"
        (tmp_path / "became").write_text(text)

    monkeypatch.setattr(privileges, "become", become)
    host.options.run_as_user = "nobody"
    leave(host)
    taken(host)
    assert (tmp_path / "became").read_text() == "nobody True True"


def test_the_child_connects_to_filters_and_writes_nothing(
    host: PrivateHost, tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        good, bad = (server.getsockname()[1] for server in (one, other))
        host.options.mail_filters = filters.read(f"one, S=inet:{good}@127.0.0.1")
        host.options.input_mail_filters = ("one",)
        attempts: dict[str, Callable[[], object]] = {
            "filter": connect(good),
            "elsewhere": connect(bad),
            "read": read(tmp_path / "passwd"),
            "write": make(tmp_path / "new"),
        }

        class Hostile:
            def answer(self, routes: object) -> object:
                return json.loads(tried(attempts))

        act = partial(filter_letters._ask, host.options, Hostile(), [])  # type: ignore[arg-type]
        found = outcomes(privileges.in_child(act, 10))
    by_rule = "EACCES" if kernel() else "done"
    tcp = "EACCES" if kernel() >= landlock.NETWORK else "done"
    assert found == {"filter": "done", "elsewhere": tcp, "read": by_rule, "write": by_rule}


def test_what_the_child_says_is_not_believed(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minimta.milter.submitted import Submitted

    whole = Submitted.answer
    use()
    for bad in (
        {"fields": ["X: y\nR</etc/passwd>"]},
        {"above": ["no field"]},
        {"above": ["X: a\nb"]},
        {"fields": ["X: a\rb"]},
        {"fields": ["X: a\0b"]},
        {"recipients": [("|/bin/sh", "PFD", "")]},
        {"sender": "<a\nRPFD:|x>"},
        {"recipients": [("<x\ny>", "PFD", "")]},
        {"recipients": [("<x>",)]},
        {"recipients": 7},
        {"fields": ["X: \u20ac"]},
        {"said": [["<nobody@here>", "550 no"]]},
        {"said": None},
        {"notes": 3},
    ):
        monkeypatch.setattr(Submitted, "answer", lambda *given, bad=bad: whole(*given) | bad)
        leave(host)
        assert taken(host) == [], bad
        assert left(host) == ["df", "qf"]
        for name in os.listdir(host.options.client_queue_directory):
            Path(host.options.client_queue_directory, name).unlink()


def test_a_reason_is_one_line_and_no_long_one(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minimta.milter.submitted import Submitted

    whole, reason = Submitted.answer, "odd\nRPFD:|x\n" + "y" * 400
    use()
    monkeypatch.setattr(Submitted, "answer", lambda *given: whole(*given) | {"quarantine": reason})
    leave(host)
    assert taken(host) == ["df", "hf"]
    [held] = [name for name in host.files() if name.startswith("hf")]
    control = decode(Path(host.options.queue_directory, held).read_bytes())
    assert [one.address for one in control.recipients] == [DAVE]
    assert control.quarantine.startswith("odd?RPFD:|x?yyy") and len(control.quarantine) == 200


@pytest.mark.parametrize("block", [4, 1 << 18])
@pytest.mark.parametrize("octet", [b"\r", b"\0"])
def test_a_body_that_is_no_text_is_not_believed(
    host: PrivateHost, use: Use, monkeypatch: pytest.MonkeyPatch, octet: bytes, block: int
) -> None:
    from minimta.milter.submitted import Submitted

    whole = Submitted.answer
    monkeypatch.setattr(filter_letters, "_BLOCK", block)

    def spoil(letter: Submitted, routes: list[tuple[str, str, bytes]]) -> dict[str, object]:
        os.pwrite(letter._data, octet, 6)
        return whole(letter, routes)

    use()
    monkeypatch.setattr(Submitted, "answer", spoil)
    leave(host)
    assert taken(host) == []
    assert left(host) == ["df", "qf"]


def test_with_filters_the_queues_owner_submits_like_everybody(host: PrivateHost, use: Use) -> None:
    spool, is_mta = caller.choose_spool(host.options, "")
    assert is_mta
    use()
    assert input_filters.why_not(host.options) == ""
    client, is_mta = caller.choose_spool(host.options, "")
    assert not is_mta
    assert client.directory == host.options.client_queue_directory
    direct, is_mta = caller.choose_spool(host.options, "m")
    assert is_mta
    for one in (spool, client, direct):
        one.close()
