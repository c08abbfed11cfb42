"""A queue run: what is due, in which order, and that two runs share the work."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import resource
import time
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

from minimta.config import ports
from minimta.config.options import Options
from minimta.queue import pattern
from minimta.queue.control import Control
from minimta.queue.listing import Listed
from minimta.queue.rest import rest_after
from minimta.queue.spool import Spool
from minimta.runner import queue_run, queue_work, take_in
from minimta.runner.due import RunOrder, is_due
from minimta.runner.queue_run import parse_selection, run
from minimta.system import log
from minimta.system.slots import of_queue
from tests.support.fakesmtp import FakeSmtp
from tests.support.privatehost import DOWN, Elsewhere, PrivateHost

EMMA, DAVE, CAROL = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>"
NOW = 1795339967.0


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, without the queue id."""
    found: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **unused: found.append(text))
    return found


def listed(qid: str, priority: int, created: int, recipient: bytes) -> Listed:
    one = Listed(qid)
    one.priority, one.created, one.recipients = priority, created, [(recipient, b"", b"")]
    return one


QUEUE = [
    listed("b", 30, 1, b"<x@b.campus>"),
    listed("c", 10, 3, b"<x@a.example>"),
    listed("a", 20, 2, b"<x@a.campus>"),
]
TIMES = {"a": 9.0, "b": 8.0, "c": 7.0}


@pytest.mark.parametrize(
    "order, expected",
    [
        ("priority", "cab"),
        ("time", "bac"),
        ("filename", "abc"),
        ("modification", "cba"),
        ("host", "abc"),
        ("none", "bca"),
    ],
)
def test_the_order_is_that_of_queue_sort_order(order: str, expected: str) -> None:
    found = RunOrder(order)
    for one in QUEUE:
        found.add(one, TIMES[one.qid])
    assert len(found) == 3
    assert "".join(found) == expected


def test_the_order_of_very_many_messages_needs_no_more_memory() -> None:
    def peak(number: int) -> int:
        tracemalloc.start()
        found = RunOrder("priority")
        for n in range(number):
            found.add(listed(f"{n:014}", 30000 + n * 7919 % number, n, DAVE), NOW)
        names = list(islice(found, 2))
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert names[0] == f"{0:014}"
        return grown

    peak(10)
    assert peak(20_000) < 1.5 * peak(5_000)


@pytest.mark.parametrize("portion", [1, 2, 1000])
def test_all_that_is_due_is_tried_in_order_however_few_are_looked_at_together(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: logged.append(f"{qid}: {text}"))
    monkeypatch.setattr(queue_run, "_PORTION", portion)
    host.options.queue_sort_order = "filename"
    qids = [host.submit(EMMA, DAVE) for _ in range(5)]
    link = Path(host.options.queue_directory) / ("qf" + "0" * 14)
    link.symlink_to("elsewhere")
    run(host.options)
    assert len(host.letters("dave")) == 5
    done = [line.partition(":")[0] for line in logged if ": done;" in line]
    assert done == sorted(qids)
    assert any("Losing ./qf" in line and line.startswith("0" * 14) for line in logged)


def test_what_cannot_be_read_comes_last() -> None:
    found = RunOrder("filename")
    found.add_last("a")
    found.add(listed("b", 0, 0, DAVE), NOW)
    assert list(found) == ["b", "a"]


@pytest.mark.parametrize(
    "mtime, expected",
    [
        (NOW - 1, True),
        (NOW, True),
        (NOW + 1, False),
        (NOW + 1800, False),
        (NOW + 1801, True),
        (NOW + 10 * 365 * 86400, True),
    ],
)
def test_a_message_waits_until_its_time_but_no_longer_than_it_could_have_to(
    mtime: float, expected: bool
) -> None:
    assert is_due(mtime, NOW, 1800) is expected


def test_a_run_delivers_all_that_is_due(host: PrivateHost) -> None:
    for _ in range(3):
        host.submit(EMMA, DAVE)
    assert run(host.options) == 0
    assert len(host.letters("dave")) == 3
    assert host.files() == []


def test_a_run_tells_of_mail_that_sendmail_has_left_where_it_does_not_look(
    host: PrivateHost, lines: list[str]
) -> None:
    queue = Path(host.options.queue_directory)
    (queue / "qf").mkdir()
    run(host.options)
    assert not [line for line in lines if "no run" in line]
    qid = host.submit(EMMA, DAVE)
    (queue / f"qf{qid}").rename(queue / "qf" / f"qf{qid}")
    run(host.options)
    told = f"1 message in {queue}/qf, as Sendmail may have it, that no run sees: minimta check"
    assert [line for line in lines if "no run" in line] == [told]
    assert host.letters("dave") == []


def test_which_directories_there_are_need_not_be_known_again_in_a_run(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.submit(EMMA, DAVE)

    def fails(options: Options) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(pattern, "paths", fails)
    run(host.options)
    assert len(host.letters("dave")) == 1


def test_a_selection_leaves_the_others(host: PrivateHost) -> None:
    host.submit(EMMA, DAVE)
    other = host.submit(EMMA, CAROL)
    run(host.options, [parse_selection("Rdave")])
    assert host.queued() == [other]


def test_what_is_too_young_is_not_opened(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.options.min_queue_age = 1800
    host.options.smart_host = "[127.0.0.1]:1"
    young = host.submit(EMMA, b"<x@lab2.campus>")

    def tried(control: Control) -> None:
        control.attempts, control.last_attempt = 1, int(time.time())

    host.rewrite(young, tried, due=time.time() + 1800)
    opened: list[str] = []
    lock = Spool.lock

    def noting(spool: Spool, qid: str, *, trusted: bool = True, kind: str = "qf") -> object:
        opened.append(qid)
        return lock(spool, qid, trusted=trusted, kind=kind)

    monkeypatch.setattr(Spool, "lock", noting)
    new = host.submit(EMMA, DAVE)
    run(host.options)
    assert opened == [new]


def test_the_content_decides_when_the_time_of_the_file_says_it_is_due(host: PrivateHost) -> None:
    host.options.min_queue_age = 1800
    qid = host.submit(EMMA, DAVE)

    def tried(control: Control) -> None:
        control.attempts, control.last_attempt = 1, int(time.time())

    host.rewrite(qid, tried, due=time.time() - 10)
    run(host.options)
    assert host.queued() == [qid]


@pytest.mark.parametrize(
    "minimum, maximum, created, last, rest",
    [
        (0, 0, 1000, 9000, 0),
        (600, 0, 1000, 9000, 600),
        (0, 14400, 1000, 1000, 0),
        (0, 14400, 1000, 1600, 600),
        (0, 14400, 1000, 2200, 1200),
        (0, 14400, 1000, 99999, 14400),
        (1800, 14400, 1000, 1600, 1800),
        (1800, 600, 1000, 99999, 1800),
        (0, 14400, 9000, 1000, 0),
    ],
)
def test_a_message_rests_for_its_age_at_the_last_attempt_between_two_limits(
    minimum: int, maximum: int, created: int, last: int, rest: int
) -> None:
    options = Options()
    options.min_queue_age, options.max_queue_age = minimum, maximum
    assert rest_after(options, created, last) == rest


def test_a_message_that_waits_is_tried_less_and_less_often(tmp_path: Path) -> None:
    host = PrivateHost(tmp_path, now=NOW)
    host.options.min_queue_age, host.options.max_queue_age = 60, 1000
    qid = host.submit(EMMA, b"<x@lab2.campus>")
    rests = []
    for _ in range(6):
        assert host.now is not None
        host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": DOWN})).attempt([qid])
        due = Path(host.options.queue_directory, "qf" + qid).stat().st_mtime
        rests.append(due - host.now)
        host.now = due
    assert rests == [60, 60, 120, 240, 480, 960]


def test_a_run_leaves_what_rests_by_max_queue_age(host: PrivateHost) -> None:
    host.options.max_queue_age = 14400
    young, old = host.submit(EMMA, DAVE), host.submit(EMMA, DAVE)
    now = int(time.time())

    def tried(control: Control) -> None:
        control.created, control.attempts, control.last_attempt = now - 2000, 1, now - 900

    def tried_before(control: Control) -> None:
        control.created, control.attempts, control.last_attempt = now - 2000, 1, now - 1100

    host.rewrite(young, tried, due=now + 10000)
    host.rewrite(old, tried_before, due=now - 10)
    run(host.options)
    assert host.queued() == [young]
    host.rewrite(young, tried, due=now - 10)  # what it says counts
    run(host.options)
    assert host.queued() == [young]

    def untried(control: Control) -> None:
        control.attempts = 0

    host.rewrite(young, untried, due=now + 14000)  # and so does the time of the file
    run(host.options)
    assert host.queued() == [young]


def test_chosen_messages_are_tried_though_they_rest(host: PrivateHost) -> None:
    host.options.min_queue_age = 1800
    chosen, other = host.submit(EMMA, DAVE), host.submit(EMMA, CAROL)

    def tried(control: Control) -> None:
        control.attempts, control.last_attempt = 1, int(time.time()) - 5

    for qid in (chosen, other):
        host.rewrite(qid, tried, due=time.time() + 1795)
    run(host.options, [parse_selection("Rdave")])
    assert host.queued() == [other]


def test_a_run_takes_at_most_max_queue_run_size_messages(host: PrivateHost) -> None:
    host.options.max_queue_run_size = 2
    for _ in range(5):
        host.submit(EMMA, DAVE)
    run(host.options)
    assert len(host.queued()) == 3


def test_batches_are_of_a_size_that_open_files_allow(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_run, "batch_size", lambda: 2)
    for _ in range(5):
        host.submit(EMMA, DAVE)
    run(host.options)
    assert len(host.letters("dave")) == 5


def test_the_batch_leaves_descriptors_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(soft: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, soft))
        return queue_run.batch_size()

    assert [limit(1024), limit(256), limit(64), limit(-1)] == [100, 52, 1, 100]


def test_v_shows_each_message_with_its_place_in_the_run(host: PrivateHost) -> None:
    said: list[str] = []
    first, second = host.submit(EMMA, DAVE), host.submit(EMMA, CAROL)
    message = Spool(host.options.queue_directory).lock(second)
    assert message is not None
    with message:
        run(host.options, say=said.append, verbose=True)
    directory = host.options.queue_directory
    assert said == [
        f"\nRunning {directory}/{first} (sequence 1 of 2)",
        "<dave@lab1.campus>... Connecting to local...",
        "<dave@lab1.campus>... Sent",
        f"\nRunning {directory}/{second} (sequence 2 of 2)",
        f"{second}: locked",
    ]


def test_v_says_what_is_wrong_with_a_queue_file(host: PrivateHost) -> None:
    said: list[str] = []
    qid = host.submit(EMMA, DAVE)
    path = Path(host.options.queue_directory, "qf" + qid)
    path.write_bytes(path.read_bytes() + b"# hand-made\n")
    run(host.options, say=said.append, verbose=True)
    assert said[1:2] == ["SECURITY ALERT: extra or bogus data in queue file: # hand-made"]
    assert f"{qid}: locked" not in said


def test_above_queue_la_a_run_delivers_nothing_and_says_so(
    host: PrivateHost, lines: list[str]
) -> None:
    host.options.queue_la = 0
    qid = host.submit(EMMA, DAVE)
    said: list[str] = []
    assert run(host.options, say=said.append, verbose=True) == 0
    assert said == ["Skipping queue run -- load average too high"]
    assert lines[-1] == f"runqueue: {said[0]}"
    assert host.queued() == [qid]


def test_without_a_queue_it_is_78_with_the_recorded_words(
    host: PrivateHost, capfd: pytest.CaptureFixture[str], lines: list[str]
) -> None:
    host.options.queue_directory = str(host.root / "nowhere")
    assert run(host.options) == os.EX_CONFIG
    out, err = capfd.readouterr()
    assert out == f"can not chdir({host.root}/nowhere/): No such file or directory\n"
    assert err == "Program mode requires special privileges, e.g., root or TrustedUser.\n"
    assert f"SYSERR: {out.rstrip()}" in lines


def test_a_run_adopts_what_a_user_left_in_clientmqueue(host: PrivateHost) -> None:
    queue = host.options.queue_directory
    host.options.queue_directory = host.options.client_queue_directory
    host.submit(b"<emma@lab1.campus>", DAVE)
    host.options.queue_directory = queue
    run(host.options)
    assert len(host.letters("dave")) == 1
    assert os.listdir(host.options.client_queue_directory) == []


def test_who_left_what_cannot_be_adopted_is_told_in_the_end_and_postmaster_too(
    host: PrivateHost,
) -> None:
    """Whichever run finds it: that of a resident runner's adopting child delivers nothing."""
    client = Path(host.options.client_queue_directory)
    for kind, text in (("qf", "bad\n"), ("df", "b\n")):
        (client / (kind + "6AM9CfOn000096")).write_text(text)
        (client / (kind + "6AM9CfOn000096")).chmod(0o600)
    spool = Spool(host.options.queue_directory)
    for _ in range(2):
        take_in.take_in(host.options, spool, time.time() + 6 * 86400)
    spool.close()
    run(host.options)
    (letter,) = host.letters("emma")
    assert letter["Subject"] == "Returned mail: see transcript for details"
    assert "incomplete queue file read" in str(letter.get_payload())
    assert [one["Subject"] for one in host.letters("root")] == ["Queue files put aside"]
    assert sorted(os.listdir(client)) == ["Qf6AM9CfOn000096", "df6AM9CfOn000096"]


def test_what_was_adopted_a_moment_ago_is_due(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = host.submit(EMMA, DAVE)
    clock = itertools.count(NOW)
    os.utime(Path(host.options.queue_directory, "qf" + qid), (NOW + 0.5, NOW + 0.5))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    monkeypatch.setattr(queue_run, "take_in", lambda options, spool, now: [qid])
    run(host.options)
    assert len(host.letters("dave")) == 1


def test_two_runs_at_once_deliver_each_message_once(host: PrivateHost) -> None:
    qids = [host.submit(EMMA, DAVE, CAROL) for _ in range(20)]
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                run(host.options)
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    run(host.options)  # what one of them had locked when the other looked
    assert len(host.letters("dave")) == len(host.letters("carol")) == len(qids)
    assert host.files() == []


def test_a_deferred_message_is_sent_when_the_host_is_up(host: PrivateHost) -> None:
    with FakeSmtp() as server:
        port = server.port
    host.options.smart_host = f"[127.0.0.1]:{port}"
    qid = host.submit(EMMA, b"<x@lab2.campus>")
    run(host.options)
    assert host.control(qid).message.startswith("Deferred: Connection refused by ")
    with FakeSmtp(port=port) as server:
        run(host.options)
        assert host.queued() == []
        assert [qid.encode() in message for message in server.messages] == [True]


@pytest.mark.parametrize(
    ("mode", "port", "load", "wants"),
    [
        ("background", "", 0.0, True),
        ("background", "", 8.0, False),
        ("background", "DeliveryMode=q", 0.0, True),
        ("queueonly", "", 0.0, False),
        ("deferred", "DeliveryMode=q", 0.0, False),
        ("queueonly", "DeliveryMode=b", 0.0, True),
    ],
)
def test_new_messages_are_tried_if_any_port_wants_it(
    monkeypatch: pytest.MonkeyPatch, mode: str, port: str, load: float, wants: bool
) -> None:
    monkeypatch.setattr("minimta.system.load.average", lambda: load)
    options = Options()
    options.delivery_mode = mode
    options.daemon_ports = ports.read(f"Name=x,{port}")
    assert queue_work.QueueWork(options, of_queue(options)).wants_new() is wants


@pytest.mark.parametrize("several", [False, True])
def test_a_child_that_has_many_batches_has_no_more_files_open_for_it(
    host: PrivateHost, several: bool
) -> None:
    if several:
        host.spread("q1", "q2")
    slots = of_queue(host.options)
    work = queue_work.QueueWork(host.options, slots)
    kept, counts = work.kept({}), list[int]()
    gc.collect()  # what other tests have left closes now
    for _ in range(4):
        qid = host.submit(EMMA, DAVE)
        assert work.attempt([qid], lambda: True, lambda: False, kept) == {}
        assert host.queued() == []
        counts.append(len(os.listdir("/proc/self/fd")))
    slots.leave()
    assert counts == counts[:1] * 4


@pytest.mark.parametrize("nice", [0, 7])
def test_a_run_gives_way_as_nice_queue_run_says(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, nice: int
) -> None:
    asked = list[int]()
    monkeypatch.setattr("minimta.runner.queue_run.os.nice", asked.append)
    host.options.nice_queue_run = nice
    assert queue_run.run(host.options) == 0
    assert asked == [nice] * bool(nice)
