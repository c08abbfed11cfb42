from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.job import Job
from minimta.mailers.job import JobUser as To
from minimta.mailers.remote.delivery import Delivery
from minimta.mailers.remote.lmtp import LmtpMailer
from minimta.mailers.remote.transaction_outcomes import LATER
from minimta.message.outcome import Fate, Outcome
from minimta.system.users import User
from tests.support.fakelmtp import DOVECOT, FakeLmtp
from tests.support.fakesmtp import DROP, HANG, FakeSmtp, Refusing
from tests.support.jobs import job, options
from tests.support.slots import slots
from tests.support.unix_servers import wait_until_it_listens


@pytest.fixture(autouse=True)
def stay_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that do not speak of RunAsUser run their workers as themselves."""
    monkeypatch.setattr("minimta.system.privileges.become", lambda name: None)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Where a socket may be: its name may have but 107 octets."""
    here = os.getcwd()
    os.chdir(tmp_path)
    yield f"/proc/{os.getpid()}/cwd/lmtp"
    os.chdir(here)


def deliver(
    place: str, *jobs: Job, say: Callable[[str], None] | None = None, **chosen: int | str
) -> list[Mapping[bytes, Outcome]]:
    """The outcomes, in the order of the jobs."""
    found: dict[Job, Mapping[bytes, Outcome]] = {}
    for one, outcomes in LmtpMailer(
        options(local_mailer=place, **chosen), slots(), say=say
    ).deliver(jobs):
        assert one not in found, "yielded twice"
        assert set(outcomes) == {user.name for user in one.users}
        found[one] = outcomes
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no zombie
    return [found[one] for one in jobs]


def fates(outcomes: Mapping[bytes, Outcome]) -> dict[bytes, Fate]:
    return {name: outcome.fate for name, outcome in outcomes.items()}


# -- the dialogue ------------------------------------------------------------------------------


def test_the_server_hears_lhlo_bare_names_and_no_return_path(path: str) -> None:
    header = b"Return-Path: <emma@lab1.campus>\nSubject: x\n"
    with FakeLmtp(path) as server:
        (outcomes,) = deliver(server.place, job("", "dave", "carol", header=header))
    assert outcomes[b"dave"] == Outcome(
        Fate.SENT,
        "2.0.0",
        "Sent (Ok: queued as FAKE1)",
        relay=f"localhost [[UNIX: {path}]]",
        remote_mta="localhost",
    )
    assert server.commands == [
        ["LHLO lab1.campus", "MAIL From:<emma@lab1.campus>", "RCPT To:<dave>", "RCPT To:<carol>",
         "DATA", "QUIT"]
    ]  # fmt: skip
    assert server.messages == [b"Subject: x\r\n\r\nbody\r\n"]


@pytest.mark.parametrize(
    "limit", [{"destination_concurrency": 1}, {"single_thread_delivery": 1}, {}]
)
def test_this_host_is_no_destination_that_options_limit(path: str, limit: dict[str, Any]) -> None:
    """Another attempt delivers there at the same time."""
    taken = slots(10).place_at(f"hop lmtp:{path}", 1)
    assert taken is not None
    with taken, FakeLmtp(path) as server:
        (outcomes,) = deliver(server.place, job("", "dave"), **limit)
    assert fates(outcomes) == {b"dave": Fate.SENT}


def test_who_does_not_know_its_own_names_waits(path: str, tmp_path: Path) -> None:
    with FakeLmtp(path) as server:
        (outcomes,) = deliver(server.place, job("", "dave"), local_host_names=str(tmp_path))
        assert server.commands == []
    outcome = outcomes[b"dave"]
    assert (outcome.fate, outcome.text) == (Fate.DEFERRED, f"{tmp_path}: Is a directory")


def test_a_foreign_return_path_is_not_taken_for_ours(path: str) -> None:
    header = b"Subject: x\nReturn-Path: <a@b>\n"
    with FakeLmtp(path) as server:
        deliver(server.place, job("", "dave", header=header))
    assert server.messages[0].startswith(b"Subject: x\r\nReturn-Path: <a@b>\r\n")


@pytest.mark.parametrize(
    ("detail", "address"),
    [("", "dave"), ("work", "dave+work"), ("a.b-c_d=e+f", "dave+a.b-c_d=e+f"),
     ("a b", "dave"), ("a>", "dave"), ("\xe4", "dave"), ("a\r\nRSET", "dave"), ("a@b", "dave")],
)  # fmt: skip
def test_the_detail_goes_along_if_it_needs_no_quotes(path: str, detail: str, address: str) -> None:
    with FakeLmtp(path) as server:
        deliver(server.place, job(detail, "dave"))
    assert server.commands[0][2] == f"RCPT To:<{address}>"


@pytest.mark.parametrize(
    ("sender", "said"),
    [(b"", ""), (b"root", "root@lab1.campus"), (b"emma@lab1.campus", "emma@lab1.campus")],
)
def test_a_sender_without_a_domain_is_of_this_host(path: str, sender: bytes, said: str) -> None:
    with FakeLmtp(path) as server:
        deliver(server.place, job("", "dave", reverse_path=sender))
    assert server.commands[0][1] == f"MAIL From:<{said}>"


def test_what_the_server_offers_is_used(path: str) -> None:
    user = To(b"dave", "SUCCESS,FAILURE", b"rfc822;d@x")
    one = job("", user, body=b"\xe4\n", envid=b"E1", ret=b"HDRS")
    with FakeLmtp(path, keywords=(*DOVECOT, "SIZE 1000", "DSN")) as server:
        (outcomes,) = deliver(server.place, one)
    assert server.commands[0][1:3] == [
        "MAIL From:<emma@lab1.campus> SIZE=17 BODY=8BITMIME ENVID=E1 RET=HDRS",
        "RCPT To:<dave> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;d@x",
    ]
    assert outcomes[b"dave"].dsn_passed_on


def test_without_pipelining_each_command_waits_for_its_answer(path: str) -> None:
    with FakeLmtp(path, keywords=()) as server:
        (outcomes,) = deliver(server.place, job("", "dave", "carol"))
    assert set(fates(outcomes).values()) == {Fate.SENT}


def test_all_messages_share_one_connection(path: str) -> None:
    with FakeLmtp(path) as server:
        deliver(server.place, *(job("", "dave") for _ in range(20)))
    assert len(server.messages) == 20
    assert len(server.commands) == 1


def test_no_jobs_make_no_connection(path: str) -> None:
    with FakeLmtp(path) as server:
        assert deliver(server.place) == []
    assert server.commands == []


def test_the_dialogue_is_told(path: str) -> None:
    lines: list[str] = []
    with FakeLmtp(path) as server:
        deliver(server.place, job("", "dave"), say=lines.append)
    assert lines[:2] == ["220 sink.campus ESMTP fake", ">>> LHLO lab1.campus"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_server_may_be_on_a_port(host: str) -> None:
    with FakeLmtp() as server:
        place = f"lmtp:{host}:{server.port}"
        (outcomes,) = deliver(place, job("", "dave"))
    assert outcomes[b"dave"].fate is Fate.SENT
    assert outcomes[b"dave"].relay == f"[{host}] [127.0.0.1]"


def test_the_server_may_have_our_name(path: str) -> None:
    with FakeLmtp(path, answers={"LHLO": ["250 lab1.campus"]}) as server:
        (outcomes,) = deliver(server.place, job("", "dave"))
    assert outcomes[b"dave"].fate is Fate.SENT


# -- an answer for each recipient --------------------------------------------------------------


def test_each_recipient_has_the_answer_that_is_his(path: str) -> None:
    answers = {
        "RCPT": ["250 ok", "550 5.1.1 No such mailbox", "250 ok", "250 ok"],
        ".": ["250 2.0.0 saved", "452 4.2.2 Quota exceeded", "554 5.7.1 Sieve says no"],
    }
    with FakeLmtp(path, answers=answers) as server:
        (outcomes,) = deliver(server.place, job("", "dave", "nosuch", "carol", "emma"))
    assert {name: (o.fate, o.status, o.diagnostic) for name, o in outcomes.items()} == {
        b"dave": (Fate.SENT, "2.0.0", ""),
        b"nosuch": (Fate.FAILED, "5.1.1", "550 5.1.1 No such mailbox"),
        b"carol": (Fate.DEFERRED, "4.2.2", "452 4.2.2 Quota exceeded"),
        b"emma": (Fate.FAILED, "5.7.1", "554 5.7.1 Sieve says no"),
    }
    assert outcomes[b"nosuch"].text == "User unknown"


def test_who_has_no_answer_when_the_connection_breaks_waits(path: str) -> None:
    with FakeLmtp(path, answers={".": ["250 2.0.0 saved", DROP]}) as server:
        first, second = deliver(server.place, job("", "dave", "carol", "emma"), job("", "dave"))
    assert fates(first) == {b"dave": Fate.SENT, b"carol": Fate.DEFERRED, b"emma": Fate.DEFERRED}
    assert first[b"carol"].status == "4.4.2"
    assert fates(second) == {b"dave": Fate.DEFERRED}


def test_a_server_that_leaves_after_the_dot_is_believed_as_far_as_it_spoke(path: str) -> None:
    answers = {".": ["250 2.0.0 saved", "421 4.3.2 Shutting down", DROP]}
    with FakeLmtp(path, answers=answers) as server:
        (outcomes,) = deliver(server.place, job("", "dave", "carol", "emma"))
    assert list(fates(outcomes).values()) == [Fate.SENT, Fate.DEFERRED, Fate.DEFERRED]
    assert outcomes[b"carol"].diagnostic == "421 4.3.2 Shutting down"


def test_lines_without_a_code_around_the_answers_to_the_dot_are_left_out(path: str) -> None:
    with FakeLmtp(path, answers={".": [b"garbage\r\n250 ok\r\ngarbage\r\n"]}) as server:
        (outcomes,) = deliver(server.place, job("", "dave", "carol"))
    assert set(fates(outcomes).values()) == {Fate.SENT}


def test_nonsense_after_the_dot_returns_nothing(path: str) -> None:
    with FakeLmtp(path, answers={".": [b"250 ok\r\n" + b"x" * 5000]}) as server:
        (outcomes,) = deliver(server.place, job("", "dave", "carol"))
    assert list(fates(outcomes).values()) == [Fate.SENT, Fate.DEFERRED]


def test_one_user_with_two_details_is_two_messages(path: str) -> None:
    with FakeLmtp(path) as server:
        deliver(server.place, job("a", "dave"), job("b", "dave"))
    assert [line for line in server.commands[0] if line.startswith("RCPT")] == [
        "RCPT To:<dave+a>", "RCPT To:<dave+b>"
    ]  # fmt: skip


def test_nobody_taken_means_no_message(path: str) -> None:
    with FakeLmtp(path, answers={"RCPT": ["550 5.1.1 no", "450 4.2.1 locked", "250 ok"]}) as server:
        first, second = deliver(server.place, job("", "a", "b"), job("", "dave"))
    assert fates(first) == {b"a": Fate.FAILED, b"b": Fate.DEFERRED}
    assert fates(second) == {b"dave": Fate.SENT}
    assert len(server.messages) == 1


def test_a_354_although_nobody_was_taken_ends_the_connection(path: str) -> None:
    """No answer would ever come to the dot."""
    with FakeLmtp(path, answers={"RCPT": ["550 5.1.1 no", "250 ok"]}, eager=True) as server:
        first, second = deliver(server.place, job("", "a"), job("", "dave"))
    assert fates(first) == {b"a": Fate.FAILED}
    assert fates(second) == {b"dave": Fate.SENT}
    assert len(server.commands) == 2


def test_a_message_to_many_goes_in_portions(path: str) -> None:
    names = [f"u{number}" for number in range(250)]
    with FakeLmtp(path) as server:
        (outcomes,) = deliver(server.place, job("", *names))
    assert set(fates(outcomes).values()) == {Fate.SENT}
    assert len(server.messages) == 3


# -- what goes wrong ---------------------------------------------------------------------------


def test_a_message_that_breaks_the_connection_waits_and_the_others_go(path: str) -> None:
    with FakeLmtp(path, answers={"MAIL": ["250 ok", DROP, "250 ok"]}) as server:
        found = deliver(server.place, *(job("", "dave") for _ in range(5)))
    assert [outcomes[b"dave"].fate for outcomes in found] == [
        Fate.SENT, Fate.DEFERRED, Fate.SENT, Fate.SENT, Fate.SENT
    ]  # fmt: skip
    assert len(server.commands) == 2


def test_a_server_that_breaks_every_connection_is_not_tried_for_ever(path: str) -> None:
    with FakeLmtp(path, answers={"MAIL": [DROP]}) as server:
        found = deliver(server.place, *(job("", "dave") for _ in range(9)))
    assert {outcomes[b"dave"].fate for outcomes in found} == {Fate.DEFERRED}
    assert found[-1][b"dave"] == LATER
    assert len(server.commands) == 2


def test_a_server_that_takes_something_on_every_connection_is_tried_on(path: str) -> None:
    answers = {"MAIL": ["250 ok", DROP] * 4}
    with FakeLmtp(path, answers=answers) as server:
        found = deliver(server.place, *(job("", "dave") for _ in range(8)))
    assert [outcomes[b"dave"].fate for outcomes in found] == [Fate.SENT, Fate.DEFERRED] * 4
    assert len(server.commands) == 4


def test_what_was_sent_is_not_sent_again_when_the_connection_breaks(path: str) -> None:
    answers = {"DATA": ["354 ok", DROP, "354 ok"]}
    with FakeLmtp(path, answers=answers) as server:
        found = deliver(server.place, job("", *(f"u{n}" for n in range(150))), job("", "dave"))
    assert list(fates(found[0]).values()) == [Fate.SENT] * 100 + [Fate.DEFERRED] * 50
    assert fates(found[1]) == {b"dave": Fate.SENT}
    assert len(server.messages) == 2


@pytest.mark.parametrize(
    "answers",
    [
        {"greeting": ["554 5.7.1 Go away"]},
        {"greeting": ["421 4.3.2 Busy"]},
        {"greeting": [b"x" * 5000]},
        {"greeting": [DROP]},
        {"LHLO": ["500 5.5.1 This is no LMTP server"]},
        {"LHLO": ["550 5.7.1 Not you"]},
        {"LHLO": [DROP]},
    ],
)
def test_a_server_that_is_not_to_be_talked_to_delays_and_never_returns(
    path: str, answers: dict[str, list[str | bytes]]
) -> None:
    with FakeLmtp(path, answers=answers) as server:
        found = deliver(server.place, job("", "dave"), job("", "carol", "emma"))
    for outcomes in found:
        for outcome in outcomes.values():
            assert outcome.fate is Fate.DEFERRED
            assert outcome.status.startswith("4.")
            assert outcome.exit_code == os.EX_TEMPFAIL
            assert outcome != LATER
    assert len(server.commands) == 1


def test_an_smtp_server_gets_no_mail() -> None:
    with FakeSmtp() as server:
        (outcomes,) = deliver(f"lmtp:127.0.0.1:{server.port}", job("", "dave"))
    assert outcomes[b"dave"].fate is Fate.DEFERRED
    assert outcomes[b"dave"].text == "500 5.5.1 Command unrecognized"
    assert server.messages == []


def test_nobody_on_the_port_delays() -> None:
    with Refusing() as port:
        (outcomes,) = deliver(f"lmtp:127.0.0.1:{port}", job("", "dave"))
    assert outcomes[b"dave"].fate is Fate.DEFERRED
    assert outcomes[b"dave"].text == "Connection refused by [127.0.0.1]"


def test_a_host_without_an_address_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    (outcomes,) = deliver("lmtp:nosuch.campus:24", job("", "dave"))
    assert outcomes[b"dave"].fate is Fate.DEFERRED


def test_no_socket_delays(path: str) -> None:
    (outcomes,) = deliver(f"lmtp:{path}", job("", "dave"))
    assert outcomes[b"dave"].fate is Fate.DEFERRED
    assert outcomes[b"dave"].text == f"localhost: {path}: No such file or directory"


def test_a_socket_that_nobody_listens_at_delays(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    (outcomes,) = deliver(f"lmtp:{path}", job("", "dave"))
    assert outcomes[b"dave"].text == "Connection refused by localhost"


def test_a_path_too_long_for_a_socket_delays() -> None:
    (outcomes,) = deliver("lmtp:/" + "x" * 200, job("", "dave"))
    assert outcomes[b"dave"].fate is Fate.DEFERRED


def test_a_server_that_falls_silent_delays(path: str) -> None:
    with FakeLmtp(path, answers={"MAIL": [HANG]}) as server:
        (outcomes,) = deliver(server.place, job("", "dave"), timeout_mail=0)
    assert outcomes[b"dave"].text == "Connection timed out with localhost"


def test_a_data_file_that_is_too_short_delays_its_message_only(path: str) -> None:
    with FakeLmtp(path) as server:
        first, second = deliver(
            server.place, job("", "dave", body=b"half", size=9), job("", "dave")
        )
    assert (first[b"dave"].fate, second[b"dave"].fate) == (Fate.DEFERRED, Fate.SENT)
    assert len(server.messages) == 1


def test_a_worker_that_dies_delays(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Delivery, "run", lambda self: os.kill(os.getpid(), 9))
    with FakeLmtp(path) as server:
        (outcomes,) = deliver(server.place, job("", "dave"))
    assert outcomes[b"dave"].text == "remote worker died with signal 9"


# -- rights ------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_socket_of_root_alone_is_opened_by_root_and_read_by_somebody_without_rights(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    path = str(ground / "lmtp")
    seen, parent = ground / "seen", os.getpid()

    class Server(FakeLmtp):
        def _answer(self, connection: socket.socket, lines: Any, verb: str) -> bytes:
            if verb == "LHLO":
                for entry in Path("/proc").glob("[0-9]*/status"):
                    with suppress(OSError):
                        text = entry.read_text()
                        if f"PPid:\t{parent}\n" in text:
                            seen.write_text(text.partition("Uid:\t")[2].split()[0])
            return super()._answer(connection, lines, verb)

    with Server(path) as server:
        os.chmod(path, 0o600)
        chosen = replace_options(server.place)
        ((_, outcomes),) = list(LmtpMailer(chosen, slots()).deliver([job("", "dave")]))
    assert outcomes[b"dave"].fate is Fate.SENT
    assert seen.read_text() == "65534"


def replace_options(place: str) -> Any:
    return options(local_mailer=place, run_as_user="nobody")


# -- Dovecot -----------------------------------------------------------------------------------


@pytest.fixture
def dovecot(ground: Path, dave: User, carol: User) -> Iterator[Path]:
    """Dovecot's own LMTP server, in a house of its own; its socket is root's."""
    run = ground / "run"
    run.mkdir()
    passwd = [f"{u.name}:x:{u.uid}:{u.gid}::{u.home}:/bin/sh\n" for u in (dave, carol)]
    (ground / "passwd").write_text("".join(passwd))
    users = f"{{\n driver = passwd-file\n args = {ground}/passwd\n}}\n"
    (ground / "conf").write_text(
        f"base_dir = {run}\nlog_path = {run}/log\nprotocols = lmtp\nssl = no\n"
        f"mail_location = maildir:~/Maildir\npassdb {users}userdb {users}"
        "service lmtp {\n unix_listener lmtp {\n mode = 0600\n }\n}\n"
        "lmtp_save_to_detail_mailbox = no\n"
    )
    server = subprocess.Popen(["dovecot", "-F", "-c", str(ground / "conf")])
    try:
        wait_until_it_listens(run / "lmtp", server)
        yield run / "lmtp"
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.root
@pytest.mark.debian("dovecot-core", "dovecot-lmtpd")
def test_dovecot_takes_mail_for_its_users(
    dovecot: Path, dave: User, carol: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    body = b"From me\n.\n\xe4" + b"y" * 5000 + b"\n"
    jobs = [
        job("work", "dave", "carol", "nosuch", header=b"Return-Path: <emma@x>\nSubject: 1\n"),
        job("", "dave", body=body, reverse_path=b"", header=b"Return-Path: <>\nSubject: 2\n"),
        replace(job("", "nosuch"), header=b"Subject: 3\n"),
    ]
    found = dict(LmtpMailer(replace_options(f"lmtp:{dovecot}"), slots()).deliver(jobs))
    assert fates(found[jobs[0]]) == {
        b"dave": Fate.SENT, b"carol": Fate.SENT, b"nosuch": Fate.FAILED
    }  # fmt: skip
    assert found[jobs[0]][b"nosuch"].status == "5.1.1"
    assert fates(found[jobs[1]]) == {b"dave": Fate.SENT}
    assert fates(found[jobs[2]]) == {b"nosuch": Fate.FAILED}
    texts = [path.read_bytes() for path in Path(dave.home, "Maildir", "new").iterdir()]
    assert [text.count(b"Return-Path: ") for text in texts] == [1, 1]
    by_body = {text.partition(b"\n\n")[2]: text for text in texts}
    assert by_body.keys() == {b"body\n", body}
    assert by_body[b"body\n"].startswith(b"Return-Path: <emma@lab1.campus>\n")
    assert len(list(Path(carol.home, "Maildir", "new").iterdir())) == 1
