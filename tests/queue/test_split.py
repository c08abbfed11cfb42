"""What is put into clientmqueue is adopted: limits, and messages of many recipients, all or nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.message.envelope import Envelope, Recipient
from minimta.queue import adopt, collect, commit
from minimta.queue import qid as ids
from minimta.queue.control import decode
from minimta.queue.spool import Spool
from minimta.system.users import Users

NOW = time.time()
TEXT = b"Subject: x\n\nbody\n"


class Place:
    """Both queues; we are emma."""

    def __init__(self, root: Path) -> None:
        self.client = root / "clientmqueue"
        self.client.mkdir()
        self.client.chmod(0o1733)
        (root / "mqueue").mkdir(mode=0o700)
        passwd = root / "passwd"
        passwd.write_text(f"emma:x:{os.geteuid()}:{os.getegid()}:Emma:/home/emma:/bin/sh\n")
        self.options = Options()
        self.options.host_name = "lab1.campus"
        self.options.passwd_file = str(passwd)
        self.options.trusted_users = "/nonexistent"
        self.options.min_free_blocks = 0
        self.main = Spool(str(root / "mqueue"))

    def submit(self, *recipients: bytes, text: bytes = TEXT, sender: bytes = b"<emma@a>") -> str:
        spool = Spool(str(self.client), is_client=True)
        envelope = Envelope(sender, [Recipient(one, "PFD") for one in recipients])
        incoming = collect.Incoming(
            spool, self.options, envelope, qid=ids.new(NOW), now=NOW, host="lab1.campus"
        )
        try:
            incoming.write(text)
            return incoming.commit()
        finally:
            incoming.abort()
            spool.close()

    def adopted(self) -> list[list[bytes]]:
        """The recipients of each message that a runner takes over; all of them, or it fails."""
        users = Users(self.options.passwd_file)
        taken = adopt.adopt(str(self.client), self.main, self.options, users, now=NOW)
        assert self.files() == []
        found = []
        for qid in taken:
            message = self.main.lock(qid)
            assert message is not None
            with message:
                assert os.pread(message.data, 100, 0) == b"body\n"
                found.append([one.address for one in message.control.recipients])
        return sorted(found)

    def files(self) -> list[str]:
        return sorted(os.listdir(self.client))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def many(count: int) -> list[bytes]:
    return [b"<u%04d@lab2.campus>" % number for number in range(count)]


@pytest.mark.parametrize("count", [1, 5, 6, 10, 11, 26])
def test_many_recipients_are_several_messages_of_one_message_id(place: Place, count: int) -> None:
    place.options.max_recipients = 5
    place.submit(*many(count))
    names = [name for name in place.files() if name[:2] == "qf"]
    controls = [decode((place.client / name).read_bytes()) for name in names]
    fields = {field for one in controls for _, field in one.headers if field[:10] == b"Message-Id"}
    assert len(fields) == 1
    adopted = place.adopted()
    assert len(adopted) == -(-count // 5)
    assert [address for one in adopted for address in one] == many(count)


def test_without_a_limit_recipients_stay_together(place: Place) -> None:
    place.options.max_recipients = 0
    place.submit(*many(3000))
    assert len(place.adopted()) == 1


def test_many_long_addresses_are_cut_by_their_octets(place: Place) -> None:
    place.options.max_recipients = 0
    place.submit(*[b"<%b%04d@lab2.campus>" % (b"v" * 1900, number) for number in range(2500)])
    assert sum(map(len, place.adopted())) == 2500


def test_the_longest_header_that_is_taken_is_adopted(place: Place) -> None:
    longest = place.options.max_headers_length
    lines = b"".join(b"X-%02d: %b\n" % (n, b"y" * 10_000) for n in range(26))
    lines += b"X: %b\n" % (b"y" * (longest - len(lines) - len(b"X: \nSubject: x\n")))
    with pytest.raises(collect.MessageRefused):
        place.submit(b"<dave@lab2.campus>", text=b"y: \n" + lines + TEXT)
    # With the fields that are added here it is longer than the limit.
    place.submit(b"<dave@lab2.campus>", text=lines + TEXT)
    assert len(place.adopted()) == 1


@pytest.mark.parametrize("address", [b"<caf\xe9@lab2.campus>", b"<%b@a>" % (b"x" * 3000)])
def test_what_would_not_be_adopted_is_refused(place: Place, address: bytes) -> None:
    with pytest.raises(collect.MessageRefused):
        place.submit(b"<dave@lab2.campus>", address)
    with pytest.raises(collect.MessageRefused):
        place.submit(b"<dave@lab2.campus>", sender=address)
    assert place.files() == []


@pytest.mark.parametrize("call", ["rename", "create", "sync"])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_none_is_there_if_one_fails(
    place: Place, monkeypatch: pytest.MonkeyPatch, call: str, turn: int
) -> None:
    place.options.max_recipients = 2
    where, name = {
        "rename": (commit, "rename"),
        "create": (Spool, "create"),
        "sync": (Spool, "sync_names"),
    }[call]
    real: Callable[..., object] = getattr(where, name)
    calls = []

    def failing(*given: object) -> object:
        calls.append(1)
        if len(calls) == turn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given)

    monkeypatch.setattr(where, name, failing)
    with pytest.raises(OSError):
        place.submit(*many(6))
    assert len(calls) >= turn
    assert place.files() == []


def test_all_are_durable_before_the_first_has_its_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.options.max_recipients = 2
    calls: list[str] = []
    fsync, rename = os.fsync, commit.rename

    def noted_fsync(file: int) -> None:
        calls.append("fsync")
        fsync(file)

    def noted_rename(spool: Spool, qid: str) -> None:
        calls.append("rename")
        rename(spool, qid)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(commit, "rename", noted_rename)
    place.submit(*many(6))
    first = calls.index("rename")
    assert calls[:first] == ["fsync"] * 6
    assert calls[first : first + 3] == ["rename"] * 3


def test_each_control_file_is_locked_then_written_then_durable(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.options.max_recipients = 2
    calls: list[tuple[str, bool]] = []
    flock, fsync = fcntl.flock, os.fsync

    def note(call: str, file: int) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{file}")).startswith("tf"):
            calls.append((call, os.fstat(file).st_size > 0))

    def locked(file: int, how: int) -> None:
        note("flock", file)
        flock(file, how)

    def synced(file: int) -> None:
        note("fsync", file)
        fsync(file)

    monkeypatch.setattr(fcntl, "flock", locked)
    monkeypatch.setattr(os, "fsync", synced)
    place.submit(*many(6))
    assert calls == [("flock", False), ("fsync", True)] * 3
