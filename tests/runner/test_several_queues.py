"""A queue of several directories, from acceptance to the mailbox: runs, bounces, adoption, the resident runner."""

from __future__ import annotations

import errno
import gc
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from minimta.queue import adopt, directories, put_aside
from minimta.queue.queue_group import QueueGroup
from minimta.queue.selectors import parse_selection
from minimta.queue.spool import Spool
from minimta.runner import outage, quarantine
from minimta.runner.queue_run import run
from minimta.runner.watch import Watches
from minimta.system.users import Users
from minimta.system.wakeup import WakeUp
from tests.runner.test_resident import residing, wait_for
from tests.support.fakesmtp import FakeSmtp
from tests.support.privatehost import DOWN, REFUSED, Elsewhere, PrivateHost

EMMA, DAVE, CAROL = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>"
X = b"<x@lab2.campus>"
NAMES = ("q1", "q2", "q3")


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    made = PrivateHost(tmp_path)
    made.spread(*NAMES)
    return made


def places(host: PrivateHost) -> dict[str, str]:
    """qid -> directory, of what is queued."""
    return {
        name[2:]: path.name
        for path in Path(host.options.queue_directory).iterdir()
        for name in os.listdir(path)
        if name[:2] in ("qf", "hf", "Qf")
    }


def files(host: PrivateHost) -> list[str]:
    base = Path(host.options.queue_directory)
    return sorted(name for directory in NAMES for name in os.listdir(base / directory))


def test_a_run_delivers_from_all_directories(host: PrivateHost) -> None:
    for _ in range(6):
        host.submit(EMMA, DAVE)
    assert Counter(places(host).values()) == dict.fromkeys(NAMES, 2)
    assert run(host.options) == 0
    assert len(host.letters("dave")) == 6
    assert files(host) == []


def test_a_run_orders_the_messages_of_all_directories_and_says_where_each_is(
    host: PrivateHost,
) -> None:
    host.options.queue_sort_order = "filename"
    ids = [host.submit(EMMA, DAVE) for _ in range(4)]
    there, said = places(host), list[str]()
    run(host.options, say=said.append, verbose=True)
    base = host.options.queue_directory
    assert [line.strip() for line in said if "Running" in line] == [
        f"Running {base}/{there[qid]}/{qid} (sequence {number} of 4)"
        for number, qid in enumerate(ids, 1)
    ]


def test_what_waits_stays_where_it_is(host: PrivateHost) -> None:
    qid = host.submit(EMMA, X)
    before = places(host)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": DOWN})).attempt([f"{before[qid]}/{qid}"])
    assert places(host) == before
    assert sorted(files(host)) == [f"{kind}{qid}" for kind in ("af", "df", "qf")]


def test_a_bounce_is_queued_in_some_directory_and_delivered_in_the_same_attempt(
    host: PrivateHost,
) -> None:
    for _ in NAMES:
        host.submit(EMMA, X)
    deliverer = host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": REFUSED}))
    results = deliverer.attempt(deliverer.spool.names())
    assert [result.exit_code for result in results] == [os.EX_NOUSER] * 3
    assert len(host.letters("emma")) == 3
    assert files(host) == []


def test_a_bounce_goes_elsewhere_if_the_directory_of_the_message_is_full(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    qid = host.submit(EMMA, X)
    full = places(host)[qid]
    real = Spool.create_file

    def create_file(spool: Spool, name: str) -> int:
        if spool.directory.endswith(full):
            raise OSError(28, os.strerror(28))
        return real(spool, name)

    monkeypatch.setattr(Spool, "create_file", create_file)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": REFUSED})).attempt([f"{full}/{qid}"])
    assert len(host.letters("emma")) == 1
    assert files(host) == []


def test_two_messages_of_one_id_are_both_delivered_once(host: PrivateHost) -> None:
    base = Path(host.options.queue_directory)
    qid = host.submit(EMMA, DAVE)
    there = places(host)[qid]
    other = next(name for name in NAMES if name != there)
    for kind in ("df", "qf"):
        text = (base / there / (kind + qid)).read_bytes().replace(b"<dave@", b"<carol@")
        (base / other / (kind + qid)).write_bytes(text)
        (base / other / (kind + qid)).chmod(0o600)
    run(host.options)
    assert [len(host.letters(user)) for user in ("dave", "carol")] == [1, 1]
    assert files(host) == []


def test_a_run_for_one_id_or_recipient_looks_into_all_directories(host: PrivateHost) -> None:
    ids = [host.submit(EMMA, DAVE) for _ in range(3)] + [host.submit(EMMA, CAROL)]
    run(host.options, [parse_selection(f"I{ids[1]}")])
    assert sorted(places(host)) == sorted({*ids} - {ids[1]})
    run(host.options, [parse_selection("Rcarol")])
    assert sorted(places(host)) == sorted({*ids} - {ids[1], ids[3]})


def test_what_users_left_is_adopted_into_all_directories(host: PrivateHost) -> None:
    options, pattern = host.options, host.options.queue_pattern
    options.queue_directory = options.client_queue_directory
    for _ in range(6):
        host.submit(b"<emma@lab1.campus>", DAVE)
    options.queue_pattern = pattern
    queue = directories.open_queue(options)
    users = Users(options.passwd_file)
    made = adopt.adopt(options.client_queue_directory, queue, options, users, now=host.clock() + 1)
    queue.close()
    assert Counter(places(host)[qid] for qid in made) == dict.fromkeys(NAMES, 2)
    assert os.listdir(options.client_queue_directory) == []
    run(options)
    assert len(host.letters("dave")) == 6


def test_a_directory_that_nobody_can_read_keeps_no_other_waiting(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        host.submit(EMMA, DAVE)
    closed = Path(host.options.queue_directory, "q2")
    closed.chmod(0)
    really_open = os.open

    def opened(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if Path(os.fsdecode(path)).name == "q2":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really_open(path, flags, mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened)  # root could
        assert run(host.options) == 0
        assert len(host.letters("dave")) == 2
    closed.chmod(0o700)
    assert run(host.options) == 0
    assert len(host.letters("dave")) == 3


def test_a_link_to_a_directory_elsewhere_is_one(host: PrivateHost, tmp_path: Path) -> None:
    (tmp_path / "other-disk").mkdir(mode=0o700)
    Path(host.options.queue_directory, "q4").symlink_to(tmp_path / "other-disk")
    for _ in range(4):
        host.submit(EMMA, DAVE)
    assert len(os.listdir(tmp_path / "other-disk")) == 2
    run(host.options)
    assert len(host.letters("dave")) == 4


def test_a_message_is_held_and_let_go_where_it_is(host: PrivateHost) -> None:
    ids = [host.submit(EMMA, DAVE) for _ in range(3)]
    before, said = places(host), list[str]()
    chosen = [parse_selection("Remma"), parse_selection("Rdave")]
    assert quarantine.change(host.options, chosen[1:], "why", said.append) == 0
    assert places(host) == before
    assert [name[:2] for name in files(host)] == ["df"] * 3 + ["hf"] * 3
    run(host.options)
    assert not host.letters("dave")
    quarantine.change(host.options, [parse_selection("Qwhy")], "", said.append)
    run(host.options)
    assert len(host.letters("dave")) == len(ids)


def test_what_cannot_be_acted_on_is_put_aside_where_it_is(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    there = Path(host.options.queue_directory, places(host)[qid])
    (there / f"df{qid}").unlink()
    run(host.options)
    run(host.options)  # with the note to the postmaster
    assert os.listdir(there) == [f"Qf{qid}"]
    assert len(host.letters("root")) == 1
    (there / f"df{qid}").write_bytes(b"body\n")
    (there / f"df{qid}").chmod(0o600)
    with_it = Spool(str(there))
    assert put_aside.take_back(with_it, qid)
    with_it.close()
    run(host.options)
    assert len(host.letters("dave")) == 1


def test_without_a_directory_a_run_says_what_to_do(
    host: PrivateHost, capfd: pytest.CaptureFixture[str]
) -> None:
    host.options.queue_pattern = f"{host.options.queue_directory}/none*"
    assert run(host.options) == os.EX_CONFIG
    base = host.options.queue_directory
    assert capfd.readouterr().out.startswith(f"{base}/none*: there is no such directory; mkdir")


def test_an_outage_is_one_of_any_directory(host: PrivateHost) -> None:
    assert outage.queue_trouble(host.options) == ""
    host.submit(EMMA, DAVE)
    host.options.alert_age = 60
    names = directories.names(host.options)
    later = host.clock() + 7200
    assert outage.age_trouble(host.options, names, later).startswith(
        f"the oldest message, {next(iter(places(host)))}, waits"
    )
    os.rename(Path(host.options.queue_directory, "q2"), host.root / "gone")
    Path(host.options.queue_directory, "q2").mkdir(mode=0o500)
    if os.geteuid():
        assert "mqueue/q2: Permission denied" in outage.queue_trouble(host.options)
    host.options.queue_pattern += "x*"
    assert "there is no such directory" in outage.queue_trouble(host.options)


# --- the resident runner ----------------------------------------------------------------------------


def test_the_resident_runner_sees_what_comes_into_any_directory(host: PrivateHost) -> None:
    host.submit(EMMA, DAVE)
    with residing(host):
        for number in range(2, 8):
            host.submit(EMMA, DAVE)
            wait_for(lambda n=number: len(host.letters("dave")) == n)  # type: ignore[misc]
        wait_for(lambda: files(host) == [])


def test_the_resident_runner_sees_a_directory_that_is_made_while_it_runs(
    host: PrivateHost,
) -> None:
    with residing(host):
        host.submit(EMMA, DAVE)
        wait_for(lambda: len(host.letters("dave")) == 1)  # it has begun
        host.spread("q4")
        for _ in range(8):
            host.submit(EMMA, DAVE)
        wait_for(lambda: len(host.letters("dave")) == 9)
        wait_for(lambda: not os.listdir(Path(host.options.queue_directory, "q4")))


def test_a_directory_that_is_taken_away_keeps_its_mail_and_the_runner_goes_on(
    host: PrivateHost,
) -> None:
    with FakeSmtp(answers={"RCPT TO": ["451 4.2.1 later"] * 100}) as server:
        host.options.smart_host = server.host
        with residing(host):
            ids = [host.submit(EMMA, X) for _ in range(3)]
            wait_for(lambda: len(places(host)) == 3)
            base = Path(host.options.queue_directory)
            os.rename(base / "q2", host.root / "taken")
            host.submit(EMMA, DAVE)
            host.submit(EMMA, DAVE)
            wait_for(lambda: len(host.letters("dave")) == 2)
            kept = {name[2:] for name in os.listdir(host.root / "taken") if name[:2] == "qf"}
            assert kept <= set(ids) and len(kept) == 1


def test_what_is_open_is_closed(host: PrivateHost) -> None:
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    QueueGroup(host.options).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_new_name_in_any_directory_is_told_of(host: PrivateHost) -> None:
    base = Path(host.options.queue_directory)
    (base / "q1" / "old").touch()
    watch = Watches(str(base), lambda: [str(path) for path in sorted(base.glob("q*"))])
    gc.collect()  # what other tests have left closes now
    before = len(os.listdir("/proc/self/fd"))
    with WakeUp() as wake, watch.telling():
        while watch.has_changed():
            pass
        if not watch.tells:
            pytest.skip("this kernel does not tell")
        for name in ("q3", "q4/"):
            path = base / name
            if name.endswith("/"):
                path.mkdir(mode=0o700)
            else:
                (path / "qf6AM9CfOn000096").touch()
            begun = time.monotonic()
            wake.wait((), 30.0)
            assert time.monotonic() < begun + 29
            assert watch.has_changed()
            while watch.has_changed():
                pass
        (base / "q4" / "qf6AM9CfOn000096").touch()
        wake.wait((), 30.0)
        assert watch.has_changed()
        (base / "q4").rename(host.root / "away")
        while watch.has_changed():
            pass
        (host.root / "away" / "qf6AM9CfOn000097").touch()
        assert not watch.has_changed()
    assert len(os.listdir("/proc/self/fd")) == before
