"""The queue directory: who gets a message, what is put aside, what is swept away."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from minimta.message.envelope import Recipient
from minimta.queue import directory
from minimta.queue import qid as ids
from minimta.queue.control import Control, encode
from minimta.queue.directory import UNKNOWN_UID
from minimta.queue.spool import Spool
from minimta.system import log
from tests.support.faults import Faults
from tests.support.homes import let_others_in

QID = "6AM9CfOn000096"
BODY = b"body\n"
NOW = time.time()  # of the kernel, which stamps the inodes
LATER = NOW + 7200  # an hour after the files of a test that comes late
LISTENER = 4242


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    directory = tmp_path / "mqueue"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def spool(queue: Path) -> Iterator[Spool]:
    spool = Spool(str(queue), listener_uid=LISTENER)
    yield spool
    spool.close()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(f"{qid}: {text}"))
    return lines


def control(*recipients: Recipient) -> Control:
    return Control(1, b"<emma@lab1.campus>", list(recipients) or [Recipient(b"<dave@lab2.campus>")])


def put(spool: Spool, qid: str = QID, *recipients: Recipient, body: bytes = BODY) -> None:
    data = spool.create(qid)
    os.write(data, body)
    spool.accept(qid, data, control(*recipients))


def files(queue: Path) -> set[str]:
    return {path.name for path in queue.iterdir()}


# --- in and out -----------------------------------------------------------------------------------


def test_a_message_goes_in_and_comes_out(spool: Spool, queue: Path) -> None:
    put(spool)
    assert files(queue) == {"qf" + QID, "df" + QID}
    held = spool.lock(QID)
    assert held
    assert os.pread(held.data, 100, 0) == BODY
    assert (held.size, held.owner, held.qid) == (5, os.geteuid(), QID)
    assert held.control.recipients == [Recipient(b"<dave@lab2.campus>")]
    held.retire()
    assert files(queue) == {"df" + QID}
    spool.flush()
    assert files(queue) == set()


def test_queue_files_are_for_their_owner_alone(spool: Spool, queue: Path) -> None:
    os.umask(old := os.umask(0))
    os.umask(0)
    try:
        put(spool)
        held = spool.lock(QID)
        assert held
        held.rewrite(1.0)
        held.release()
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in queue.iterdir()} == {0o600}


@pytest.mark.parametrize("kind", ["df", "qf", "tf", "xf", "hf", "Qf"])
def test_an_id_of_which_any_file_exists_is_not_used(spool: Spool, queue: Path, kind: str) -> None:
    (queue / (kind + QID)).write_bytes(b"")
    with pytest.raises(FileExistsError):
        spool.create(QID)
    assert files(queue) == {kind + QID}


def test_a_symbolic_link_in_the_place_of_the_df_is_not_followed(spool: Spool, queue: Path) -> None:
    (queue / ("df" + QID)).symlink_to(queue / "elsewhere")
    with pytest.raises(FileExistsError):
        spool.create(QID)
    assert not (queue / "elsewhere").exists()


@pytest.mark.parametrize("is_new_there", [True, False])
def test_what_was_begun_before_the_queue_was_moved_does_not_go_where_nobody_looks(
    spool: Spool, queue: Path, is_new_there: bool
) -> None:
    """It may have come for minutes. One that is only away for a moment is still the queue."""
    data = spool.create(QID)
    os.write(data, BODY)
    queue.rename(queue.with_name("away"))
    if is_new_there:
        queue.mkdir(mode=0o700)
        with pytest.raises(OSError, match="the queue directory was moved") as error:
            spool.accept(QID, data, control())
        assert error.value.errno == errno.ESTALE
        os.close(data)
    else:
        spool.accept(QID, data, control())
    left = {"qf" + QID, "df" + QID} if not is_new_there else set()
    assert files(queue.with_name("away")) == left


def test_a_discarded_message_leaves_nothing(spool: Spool, queue: Path) -> None:
    data = spool.create(QID)
    spool.discard(QID, data)
    assert files(queue) == set()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(data)


def test_accept_closes_the_data(spool: Spool, queue: Path) -> None:
    data = spool.create(QID)
    spool.accept(QID, data, control())
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(data)


def test_accept_leaves_no_file_when_a_field_would_forge_a_line_but_the_text_can_still_be_read(
    spool: Spool, queue: Path
) -> None:
    data = spool.create(QID)
    os.write(data, b"body\n")
    with pytest.raises(ValueError, match="forge"):
        spool.accept(QID, data, control(Recipient(b"a\nb")))
    assert files(queue) == set()
    assert os.pread(data, 100, 0) == b"body\n"
    os.close(data)


def test_names_are_the_ids_that_have_a_qf(spool: Spool, queue: Path) -> None:
    put(spool)
    for name in ("df" + QID[:-1] + "7", "qfshort", "qf..", "Qf" + QID, "hf" + QID, ".runner"):
        (queue / name).write_bytes(b"")
    assert spool.names() == [QID]


def test_an_entry_has_the_due_time_of_its_message(spool: Spool) -> None:
    put(spool)
    (entry,) = spool.entries()
    assert entry.qid == QID
    assert abs(entry.mtime - time.time()) < 60
    held = spool.lock(QID)
    assert held
    held.rewrite(NOW + 1234.5)
    held.release()
    (entry,) = spool.entries()
    assert entry.mtime == pytest.approx(NOW + 1234.5, abs=1e-3)


def test_a_queue_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Spool(str(tmp_path / "nowhere"))


def test_free_blocks_are_those_of_the_file_system(spool: Spool, queue: Path) -> None:
    available = os.statvfs(queue).f_bavail
    assert abs(spool.free_blocks() - available) < max(available / 10, 10000)


# --- lock, then look ------------------------------------------------------------------------------


def test_a_message_is_held_by_one_at_a_time(spool: Spool) -> None:
    put(spool)
    with spool.lock(QID) as held:  # type: ignore[union-attr]
        assert held
        assert spool.lock(QID) is None
    again = spool.lock(QID)
    assert again
    again.release()
    again.release()


def test_a_message_is_held_by_one_process_at_a_time(spool: Spool) -> None:
    """Two processes, each takes what it gets: every message is taken once."""
    qids = [ids.new(NOW) for _ in range(40)]
    for qid in qids:
        put(spool, qid)
    results = []
    for _ in range(2):
        receiving, sending = os.pipe()
        if os.fork() == 0:
            mine = []
            for qid in qids:
                if held := spool.lock(qid):
                    held.retire()
                    mine.append(qid)
            os.write(sending, " ".join(mine).encode())
            os._exit(0)
        os.close(sending)
        results.append(receiving)
    taken = []
    for receiving in results:
        with open(receiving, encoding="ascii") as file:
            taken += file.read().split()
    os.wait()
    os.wait()
    assert sorted(taken) == sorted(qids)


def test_a_lock_dies_with_its_process(spool: Spool) -> None:
    put(spool)
    child = os.fork()
    if child == 0:
        os._exit(0 if spool.lock(QID) else 1)
    assert os.waitpid(child, 0)[1] == 0
    held = spool.lock(QID)
    assert held
    held.release()


def test_release_lets_go_though_a_child_still_has_the_descriptor(spool: Spool) -> None:
    put(spool)
    held = spool.lock(QID)
    assert held
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(sending)
        os.read(receiving, 1)  # until the parent closes its end
        os._exit(0)
    held.release()
    again = spool.lock(QID)
    os.close(receiving)
    os.close(sending)
    os.waitpid(child, 0)
    assert again
    again.release()


def test_a_message_that_went_while_we_waited_is_not_taken(
    spool: Spool, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spool)
    real = fcntl.flock

    def removed_first(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        os.unlink(queue / ("qf" + QID))
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    assert spool.lock(QID) is None
    assert spool.lost == []


def test_a_message_that_was_rewritten_while_we_waited_is_not_taken_by_its_old_inode(
    spool: Spool, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spool)
    real = fcntl.flock

    def rewritten_first(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        (queue / "new").write_bytes((queue / ("qf" + QID)).read_bytes())
        os.rename(queue / "new", queue / ("qf" + QID))
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", rewritten_first)
    assert spool.lock(QID) is None


def test_the_lock_is_kept_over_a_rewrite(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    put(spool)
    held = spool.lock(QID)
    assert held
    real, seen = os.rename, []

    def rename(*args: object, **options: object) -> None:
        real(*args, **options)  # type: ignore[arg-type]
        seen.append(spool.lock(QID))

    monkeypatch.setattr(os, "rename", rename)
    held.rewrite(1.0)
    assert seen == [None], "somebody could take it the moment it had its new inode"
    assert spool.lock(QID) is None
    held.release()


def test_a_tf_left_by_a_dead_writer_does_not_stop_a_rewrite(spool: Spool, queue: Path) -> None:
    put(spool)
    (queue / ("tf" + QID)).write_bytes(b"half")
    held = spool.lock(QID)
    assert held
    held.control.attempts = 3
    held.rewrite(1.0)
    held.release()
    again = spool.lock(QID)
    assert again
    assert again.control.attempts == 3
    again.release()
    assert files(queue) == {"qf" + QID, "df" + QID}


def test_sendmails_lock_is_respected_and_its_half_made_file_left_alone(
    spool: Spool, queue: Path
) -> None:
    path = queue / ("qf" + QID)
    path.touch(0o600)
    assert spool.lock(QID) is None  # made, not yet locked
    with path.open("r+b") as sendmail:
        fcntl.flock(sendmail, fcntl.LOCK_EX)
        sendmail.write(b"V8\n")
        sendmail.flush()
        assert spool.lock(QID) is None
    assert files(queue) == {"qf" + QID}


@pytest.mark.parametrize("name", ["../../etc/pwd", "", ".", "a" * 30, "6AM9CfOn0000/6"])
def test_what_is_no_id_is_nobodys_message(spool: Spool, name: str) -> None:
    assert spool.lock(name) is None
    assert spool.lost == []


# --- put aside ------------------------------------------------------------------------------------


def is_put_aside(spool: Spool, queue: Path, reason: str) -> None:
    assert spool.lock(QID) is None
    assert spool.lost == [(QID, reason)]
    assert "Qf" + QID in files(queue)
    assert "qf" + QID not in files(queue)
    assert spool.lock(QID) is None
    assert len(spool.lost) == 1


def test_a_damaged_qf_is_put_aside_in_sendmails_words(
    spool: Spool, queue: Path, logged: list[str]
) -> None:
    put(spool)
    text = (queue / ("qf" + QID)).read_bytes().replace(b"\nF\n", b"\nYfoo\n")
    (queue / ("qf" + QID)).write_bytes(text)
    is_put_aside(spool, queue, "unrecognized line")
    assert logged == [
        f'{QID}: SYSERR(root): readqf: ./qf{QID}: line 6: bad line "Yfoo"',
        f"{QID}: Losing ./qf{QID}: unrecognized line",
    ]
    assert spool.complaints == [f'readqf: ./qf{QID}: line 6: bad line "Yfoo"']
    assert (queue / ("Qf" + QID)).read_bytes() == text, "never deleted"
    assert (queue / ("df" + QID)).exists()


def test_a_newer_version_is_put_aside_in_sendmails_words(
    spool: Spool, queue: Path, logged: list[str]
) -> None:
    put(spool)
    path = queue / ("qf" + QID)
    path.write_bytes(path.read_bytes().replace(b"V8", b"V99"))
    is_put_aside(spool, queue, "unsupported queue file version")
    assert (
        logged[0] == f"{QID}: SYSERR(root): Version number in queue file (99) greater than max (8)"
    )


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o660, 0o666])
def test_a_qf_that_others_may_write_is_put_aside(
    spool: Spool, queue: Path, logged: list[str], mode: int
) -> None:
    put(spool)
    (queue / ("qf" + QID)).chmod(mode)
    is_put_aside(spool, queue, "bogus file uid/gid in mqueue")
    uid, gid = os.geteuid(), (queue / ("Qf" + QID)).stat().st_gid
    assert logged[0] == f"{QID}: bogus queue file, uid={uid}, gid={gid}, mode=100{mode:o}"


def test_a_df_that_others_may_write_is_put_aside(spool: Spool, queue: Path) -> None:
    put(spool)
    (queue / ("df" + QID)).chmod(0o620)
    is_put_aside(spool, queue, "bogus data file")


def test_a_qf_with_a_second_name_is_put_aside(spool: Spool, queue: Path) -> None:
    put(spool)
    os.link(queue / ("qf" + QID), queue / "elsewhere")
    is_put_aside(spool, queue, "bogus file uid/gid in mqueue")


def test_a_df_with_a_second_name_is_put_aside(spool: Spool, queue: Path, tmp_path: Path) -> None:
    put(spool)
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    os.unlink(queue / ("df" + QID))
    os.link(secret, queue / ("df" + QID))
    is_put_aside(spool, queue, "bogus data file")


OTHER = "6AM9CfOo000096"


def test_messages_of_sendmails_may_share_a_df(spool: Spool, queue: Path) -> None:
    put(spool)
    put(spool, OTHER)
    (queue / ("df" + OTHER)).unlink()
    os.link(queue / ("df" + QID), queue / ("df" + OTHER))
    for qid in (QID, OTHER):
        message = spool.lock(qid)
        assert message is not None
        assert os.pread(message.data, 100, 0) == BODY
        message.retire()
        spool.flush()
    assert not files(queue)


def test_a_df_is_not_shared_with_what_is_no_df(spool: Spool, queue: Path) -> None:
    put(spool)
    os.link(queue / ("df" + QID), queue / "letter")
    assert spool.lock(QID) is None
    is_put_aside(spool, queue, "bogus data file")


def test_a_df_that_another_message_leaves_while_it_is_opened_is_taken(
    spool: Spool, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spool)
    os.link(queue / ("df" + QID), queue / ("df" + OTHER))
    list_files = spool.files

    def removing() -> list[str]:
        spool.unlink("df" + OTHER)
        return list_files()

    monkeypatch.setattr(spool, "files", removing)
    message = spool.lock(QID)
    assert message is not None
    message.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's file")
def test_the_listeners_df_is_not_shared(spool: Spool, queue: Path) -> None:
    put(spool)
    os.link(queue / ("df" + QID), queue / ("df" + OTHER))
    os.chown(queue / ("df" + QID), LISTENER, LISTENER)
    assert spool.lock(QID) is None
    is_put_aside(spool, queue, "bogus data file")


def test_a_symbolic_link_for_a_qf_is_put_aside_unread(spool: Spool, queue: Path) -> None:
    put(spool)
    os.rename(queue / ("qf" + QID), queue / "elsewhere")
    (queue / ("qf" + QID)).symlink_to("elsewhere")
    is_put_aside(spool, queue, "not a regular file")


def test_a_symbolic_link_for_a_df_is_not_followed(spool: Spool, queue: Path) -> None:
    put(spool)
    os.rename(queue / ("df" + QID), queue / "elsewhere")
    (queue / ("df" + QID)).symlink_to("elsewhere")
    is_put_aside(spool, queue, "not a regular file")


@pytest.mark.parametrize("kind", ["qf", "df"])
def test_a_fifo_makes_nobody_wait(spool: Spool, queue: Path, kind: str) -> None:
    put(spool)
    os.unlink(queue / (kind + QID))
    os.mkfifo(queue / (kind + QID), 0o600)
    reason = "bogus file uid/gid in mqueue" if kind == "qf" else "bogus data file"
    is_put_aside(spool, queue, reason)


def test_a_directory_for_a_qf_is_put_aside(spool: Spool, queue: Path) -> None:
    (queue / ("qf" + QID)).mkdir(mode=0o700)
    is_put_aside(spool, queue, "not a regular file")


def test_a_qf_without_df_is_put_aside(spool: Spool, queue: Path, logged: list[str]) -> None:
    put(spool)
    os.unlink(queue / ("df" + QID))
    is_put_aside(spool, queue, "no data file")
    text = f"readqf: cannot open ./df{QID}: No such file or directory"
    assert logged[0] == f"{QID}: SYSERR(root): {text}"


def test_what_cannot_be_removed_of_a_message_that_was_not_accepted_is_told(
    spool: Spool, queue: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be delivered, although the client was told no."""
    put(spool)

    def fails(name: str) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO), name)

    monkeypatch.setattr(spool, "unlink", fails)
    spool.withdraw(QID)
    assert logged == [f"{QID}: SYSERR: cannot remove queue files: Input/output error"]
    assert files(queue) == {"df" + QID, "qf" + QID}


def test_a_descriptor_that_cannot_be_closed_is_told_and_no_trouble(logged: list[str]) -> None:
    directory.close(-1)
    assert logged == [": close: Bad file descriptor"]


def test_where_sendmail_had_the_df_of_a_qf_without_one_is_told(
    spool: Spool, queue: Path, logged: list[str]
) -> None:
    """Of several queue directories it may be in another one (the d line)."""
    put(spool)
    os.unlink(queue / ("df" + QID))
    qf = queue / ("qf" + QID)
    qf.write_bytes(qf.read_bytes().replace(b"\nS", b"\nd/var/spool/mqueue/q2\nS", 1))
    is_put_aside(spool, queue, "no data file")
    assert logged[0].endswith("No such file or directory; Sendmail had it in /var/spool/mqueue/q2")


@pytest.mark.parametrize("body", [b"", b"bod", BODY + b"more\n"])
def test_a_df_of_another_length_than_recorded_is_never_delivered(
    spool: Spool, queue: Path, body: bytes
) -> None:
    put(spool)
    (queue / ("df" + QID)).write_bytes(body)
    is_put_aside(spool, queue, "data file torn")


def test_a_message_of_sendmails_has_no_recorded_length_and_gets_one(
    spool: Spool, queue: Path
) -> None:
    for kind, text in (("df", BODY), ("qf", encode(control()))):
        (queue / (kind + QID)).touch(0o600)
        (queue / (kind + QID)).write_bytes(text)
    held = spool.lock(QID)
    assert held
    held.rewrite(1.0)
    held.release()
    assert b"\n${df_size}5\n" in (queue / ("qf" + QID)).read_bytes()


def test_a_lost_message_does_not_replace_one_that_was_lost_before(
    spool: Spool, queue: Path
) -> None:
    put(spool)
    (queue / ("Qf" + QID)).write_bytes(b"older")
    (queue / ("df" + QID)).unlink()
    assert spool.lock(QID) is None
    assert (queue / ("Qf" + QID)).read_bytes() == b"older"
    assert (queue / ("qf" + QID)).exists()


# --- trust is read off the inode ------------------------------------------------------------------

PROGRAM = Recipient(b'"|/bin/sh"', "FDA", controlling_user=b"root:0:0:<root@lab1.campus>")


def test_our_own_files_may_name_programs(spool: Spool) -> None:
    put(spool, QID, PROGRAM)
    held = spool.lock(QID)
    assert held
    assert held.control.recipients == [PROGRAM]
    held.release()


def test_a_file_that_shall_not_be_trusted_may_not(spool: Spool, queue: Path) -> None:
    put(spool, QID, PROGRAM)
    assert spool.lock(QID, trusted=False) is None
    assert spool.lost == [(QID, "bogus file uid/gid in mqueue")]


@pytest.mark.root
@pytest.mark.parametrize(
    "recipient",
    [
        PROGRAM,
        Recipient(b"|/bin/sh"),
        Recipient(b"/var/tmp/f"),
        Recipient(b":include:/etc/shadow"),
        Recipient(b"dave", controlling_user=b"root:0:0:x"),
    ],
    ids=["program", "pipe", "file", "include", "controlling user"],
)
def test_the_listeners_files_may_not_name_more_than_addresses(
    spool: Spool, queue: Path, logged: list[str], recipient: Recipient
) -> None:
    put(spool, QID, Recipient(b"<dave@lab2.campus>"), recipient)
    for kind in ("qf", "df"):
        os.chown(queue / (kind + QID), LISTENER, LISTENER)
    is_put_aside(spool, queue, "bogus file uid/gid in mqueue")
    assert f"uid={LISTENER} names a program, a file or a controlling user" in logged[0]


@pytest.mark.root
def test_the_listeners_plain_messages_are_taken_and_become_ours_when_rewritten(
    spool: Spool, queue: Path
) -> None:
    put(spool)
    for kind in ("qf", "df"):
        os.chown(queue / (kind + QID), LISTENER, LISTENER)
    held = spool.lock(QID)
    assert held
    assert held.owner == LISTENER
    held.control.recipients.append(PROGRAM)
    held.rewrite(1.0)
    held.release()
    again = spool.lock(QID)  # qf of root now, df still the listener's
    assert again
    assert again.owner == 0
    again.release()


@pytest.mark.root
def test_while_nobody_knows_the_listener_its_files_wait(spool: Spool, queue: Path) -> None:
    put(spool)
    for kind in ("qf", "df"):
        os.chown(queue / (kind + QID), LISTENER, LISTENER)
    blind = Spool(str(queue), listener_uid=UNKNOWN_UID)
    with pytest.raises(OSError, match=f"of uid {LISTENER}, and RunAsUser is not found"):
        blind.lock(QID)
    blind.close()
    held = spool.lock(QID)
    assert held is not None, "nothing was put aside"
    held.release()


@pytest.mark.root
def test_the_listener_cannot_send_away_a_df_that_is_not_its_own(spool: Spool, queue: Path) -> None:
    put(spool)
    os.chown(queue / ("qf" + QID), LISTENER, LISTENER)
    is_put_aside(spool, queue, "bogus data file")


@pytest.mark.root
@pytest.mark.parametrize("kind", ["qf", "df"])
def test_files_of_anybody_else_are_put_aside(spool: Spool, queue: Path, kind: str) -> None:
    put(spool)
    os.chown(queue / (kind + QID), 1001, 1001)
    is_put_aside(
        spool, queue, "bogus file uid/gid in mqueue" if kind == "qf" else "bogus data file"
    )


@pytest.mark.root
def test_a_listener_needs_no_more_than_mode_1730_if_it_opened_the_queue_as_root(
    queue: Path,
) -> None:
    os.chown(queue, 0, LISTENER)
    queue.chmod(0o1730)
    os.chmod(queue.parent, 0o755)
    let_others_in(queue.parent)
    spool = Spool(str(queue))
    put(spool, "6AM9CfOm000096")
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(LISTENER, LISTENER, LISTENER)
            os.setresuid(LISTENER, LISTENER, LISTENER)
            put(spool)
            data = spool.create("6AM9CfOo000096")
            spool.discard("6AM9CfOo000096", data)
            try:
                spool.names()
            except PermissionError:
                os._exit(0 if spool.free_blocks() and not _may_remove(queue) else 2)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert files(queue) == {"qf" + QID, "df" + QID, "qf6AM9CfOm000096", "df6AM9CfOm000096"}


def _may_remove(queue: Path) -> bool:
    try:
        os.unlink(queue / "qf6AM9CfOm000096")
    except PermissionError:
        return False
    return True


# --- sweep ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["df", "tf", "xf"])
def test_what_a_dead_process_left_goes_after_an_hour(spool: Spool, queue: Path, kind: str) -> None:
    path = queue / (kind + QID)
    path.write_bytes(encode(control()))
    os.utime(path, (0, 0))  # its owner may say what he likes
    spool.sweep(NOW + 3500)
    assert path.exists()
    spool.sweep(LATER)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["qf", "hf", "Qf"])
def test_the_df_of_a_message_is_not_swept(spool: Spool, queue: Path, kind: str) -> None:
    for name in (kind + QID, "df" + QID, "xf" + QID):
        (queue / name).write_bytes(b"x")
    spool.sweep(LATER)
    assert files(queue) == {kind + QID, "df" + QID, "xf" + QID}


def test_a_tf_beside_a_qf_is_left_to_who_has_the_message(spool: Spool, queue: Path) -> None:
    """By its name sweep() could remove another: the one that a rewrite has just made in its place."""
    put(spool)
    (queue / ("tf" + QID)).write_bytes(b"x")
    spool.sweep(LATER)
    assert files(queue) == {"qf" + QID, "df" + QID, "tf" + QID}
    held = spool.lock(QID)
    assert held is not None
    held.rewrite(5.0)
    held.release()
    assert files(queue) == {"qf" + QID, "df" + QID}


def test_a_message_that_takes_hours_to_arrive_is_not_swept(spool: Spool, queue: Path) -> None:
    data = spool.create(QID)
    other = Spool(str(queue))
    other.sweep(NOW + 86400)
    os.write(data, BODY)
    spool.accept(QID, data, control())
    other.close()
    held = spool.lock(QID)
    assert held
    held.release()


def test_a_message_that_arrives_while_the_sweep_looks_is_not_swept(
    spool: Spool, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = spool.create(QID)
    os.write(data, BODY)
    names = os.listdir(queue)
    spool.accept(QID, data, control())
    monkeypatch.setattr(spool, "files", lambda: names)  # listed before the qf was there
    spool.sweep(LATER)
    assert files(queue) == {"qf" + QID, "df" + QID}


def test_an_old_empty_qf_is_put_aside(spool: Spool, queue: Path) -> None:
    (queue / ("qf" + QID)).touch(0o600)
    spool.sweep(NOW + 3500)
    assert spool.lost == []
    spool.sweep(LATER)
    assert spool.lost == [(QID, "empty queue file")]
    assert files(queue) == {"Qf" + QID}


@pytest.mark.parametrize("kind", ["df", "qf", "tf"])
@pytest.mark.parametrize("what", ["directory", "fifo", "socket", "link"])
def test_what_is_no_file_does_not_stop_a_sweep(
    spool: Spool, queue: Path, kind: str, what: str
) -> None:
    path = queue / (kind + QID)
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "socket":
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    else:
        path.symlink_to("nowhere")
    (queue / "df6AM9CfOz000096").write_bytes(b"")
    spool.sweep(LATER)
    assert files(queue) == {kind + QID}


def test_too_many_open_files_is_an_error_and_not_a_lost_message(spool: Spool) -> None:
    put(spool)
    for at in range(3):
        with Faults(errno.EMFILE, at) as faults, pytest.raises(OSError, match="Too many"):
            spool.lock(QID)
        assert faults.failed
    assert spool.lost == []
    held = spool.lock(QID)
    assert held
    held.release()


def test_sweep_touches_nothing_that_is_not_a_queue_file(spool: Spool, queue: Path) -> None:
    for name in (".runner", "dfshort", "lost+found", "tf..", "zf" + QID):
        (queue / name).write_bytes(b"")
    (queue / ("df" + QID)).symlink_to("elsewhere")
    spool.sweep(LATER)
    assert len(files(queue)) == 6


# --- fast -----------------------------------------------------------------------------------------


def test_a_hundred_thousand_names_cost_no_open(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"{kind}6AM9CfOn{n:06}" for n in range(100_000) for kind in ("qf", "df")]
    found = nullcontext([SimpleNamespace(name=name) for name in many])
    monkeypatch.setattr(os, "listdir", lambda directory: many)
    monkeypatch.setattr(os, "scandir", lambda directory: found)
    monkeypatch.setattr(spool, "find", lambda name: os.stat_result([0] * 10))
    opened: list[object] = []
    real = os.open

    def counting(*args: object, **options: object) -> int:
        opened.append(args)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", counting)
    began = time.process_time()
    assert len(spool.names()) == 100_000
    assert sum(1 for _ in spool.entries()) == 100_000
    assert len(opened) == 2
    assert time.process_time() - began < 2


def test_a_message_that_cannot_be_removed_keeps_its_body(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Spool, name: str) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO), name)

    put(spool)
    message = spool.lock(QID)
    assert message is not None
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(Spool, "unlink", refuse)
        message.retire()
    spool.flush()
    assert sorted(spool.files()) == ["df" + QID, "qf" + QID]
    message.release()


def test_a_message_that_begins_in_quarantine_has_the_name_that_keeps_runs_away(
    spool: Spool,
) -> None:
    data = spool.create(QID)
    held = control()
    held.quarantine = "judged"
    spool.accept(QID, data, held)
    assert sorted(spool.files()) == ["df" + QID, "hf" + QID]
    assert spool.names() == []


def test_of_a_very_long_queue_few_names_are_in_memory(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with little memory may have to sweep what an outage of days has left."""
    now, looked = time.time(), set[str]()

    def each_file() -> Iterator[str]:
        for _ in range(25_000):
            qid = ids.new(now)
            yield from ("df" + qid, "qf" + qid)

    def find(name: str) -> None:
        looked.add(name[:4])

    monkeypatch.setattr(spool, "each_file", each_file)
    monkeypatch.setattr(spool, "find", find)
    tracemalloc.start()
    try:
        spool.sweep(now)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 << 20
    assert {name[:2] for name in looked} == {"qf"}, "no df of a message is touched"


@pytest.mark.parametrize(
    ("uid", "change", "octets", "is_room"),
    [
        (0, {}, 3 * 4096 - 1, True),
        (0, {}, 3 * 4096, False),
        (9, {}, 4095, True),  # what is reserved is root's
        (9, {}, 4096, False),
        (0, {"f_ffree": 0}, 1, False),
        (0, {"f_ffree": 0, "f_files": 0}, 1, True),  # Btrfs has no table of inodes
        (9, {"f_favail": 0}, 1, False),
        (0, {"f_bfree": 0}, 0, False),
        (0, {"f_bfree": 0, "f_blocks": 0}, 1 << 40, True),  # it does not tell
    ],
)
def test_room_for_a_file(
    spool: Spool,
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    change: dict[str, int],
    octets: int,
    is_room: bool,
) -> None:
    told = {"f_frsize": 4096, "f_blocks": 9, "f_bfree": 3, "f_bavail": 1}
    told |= {"f_files": 9, "f_ffree": 2, "f_favail": 1, **change}
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: SimpleNamespace(**told))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert spool.has_room(octets) is is_room


@pytest.mark.parametrize(
    ("uid", "error", "is_room"),
    [
        (9, None, True),
        (9, errno.EDQUOT, False),
        (9, errno.ENOSPC, False),
        (9, errno.EOPNOTSUPP, True),  # nothing is known of it
        (0, errno.EDQUOT, True),  # root has no quota
    ],
)
def test_a_quota_is_found_before_anybody_has_the_message(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, uid: int, error: int | None, is_room: bool
) -> None:
    """statvfs(2) does not know it."""
    put(spool, QID)
    asked: list[int] = []

    def allocate(file: int, begin: int, octets: int) -> None:
        asked.append(octets)
        if error is not None:
            raise OSError(error, os.strerror(error))

    with spool.lock(QID) or pytest.fail() as message:
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(os, "posix_fallocate", allocate)
        assert message.has_room(2) is is_room
    qf = Path(spool.directory, "qf" + QID).stat().st_size
    assert asked == ([qf + 2 * 256] if uid else [])
    assert sorted(spool.files()) == ["df" + QID, "qf" + QID]
