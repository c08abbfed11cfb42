"""What is planted in the queue directories; a whole queue run looks at it, and nothing leaves."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.commands import mailq
from minimta.queue import adopt
from minimta.queue.control import Control, decode, encode
from minimta.runner import queue_run, take_in
from tests.support.sharedhost import SECRET, UIDS, SharedHost, attacking, exchanger

pytestmark = pytest.mark.root

#: messages that are taken over while their owner swaps files
RACES = 15


@pytest.fixture(autouse=True)
def fresh(host: SharedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both queues as they are installed."""
    (host.root / "clientmqueue").chmod(0o1733)
    host.options.min_free_blocks = 0
    monkeypatch.setattr(adopt, "_said", set())
    monkeypatch.setattr(adopt, "_copied", set())


def run(host: SharedHost) -> None:
    """A queue run, in which carol gets hers."""
    host.submit_each("carol")
    assert queue_run.run(host.options) == 0
    assert len(host.letters("carol")) == 1


class Message:
    """The files of a message for emma, in one of the queues."""

    def __init__(self, host: SharedHost, queue: str, owner: str = "root") -> None:
        (self.qid,) = host.submit_each("emma", text=b"Subject: planted\n\nplanted\n")
        self.queue = host.root / queue
        for kind in ("qf", "df"):
            path = self.queue / (kind + self.qid)
            (host.root / "mqueue" / (kind + self.qid)).rename(path)
            os.chown(path, UIDS.get(owner, 0), UIDS.get(owner, 0))
            path.chmod(0o600)
        self.qf, self.df = self.queue / f"qf{self.qid}", self.queue / f"df{self.qid}"

    def rewrite(self, change: Callable[[Control], None]) -> None:
        control = decode(self.qf.read_bytes())
        change(control)
        self.replace(encode(control))

    def replace(self, text: bytes) -> None:
        # Without O_CREAT, which fs.protected_regular (proc(5)) refuses to root in clientmqueue: the
        # owner of the file, who is meant here, may.
        with open(os.open(self.qf, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(text)


Plant = Callable[[SharedHost, Message], None]


def replaced(kind: str, by: Callable[[SharedHost, Path], None]) -> Plant:
    """One of the two files is something else."""

    def plant(host: SharedHost, message: Message) -> None:
        path = message.queue / (kind + message.qid)
        path.rename(host.root / "away")
        by(host, path)

    return plant


def link_to_the_secret(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.secret)


def hard_link_to_the_secret(host: SharedHost, path: Path) -> None:
    os.link(host.secret, path)


def link_to_the_file_itself(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.root / "away")


def hard_link_to_the_file_itself(host: SharedHost, path: Path) -> None:
    os.link(host.root / "away", path)


def link_to_nothing(host: SharedHost, path: Path) -> None:
    path.symlink_to(host.evidence / "new")


def link_to_a_device(host: SharedHost, path: Path) -> None:
    path.symlink_to("/dev/zero")


def fifo(host: SharedHost, path: Path) -> None:
    os.mkfifo(path)


def directory(host: SharedHost, path: Path) -> None:
    path.mkdir()


def device(host: SharedHost, path: Path) -> None:
    os.mknod(path, 0o20600, os.makedev(1, 5))


def nothing(host: SharedHost, path: Path) -> None:
    """It is missing."""


REPLACEMENTS = (
    link_to_the_secret,
    hard_link_to_the_secret,
    link_to_the_file_itself,
    hard_link_to_the_file_itself,
    link_to_nothing,
    link_to_a_device,
    fifo,
    directory,
    device,
)


def of_another(kind: str) -> Plant:
    def plant(host: SharedHost, message: Message) -> None:
        os.chown(message.queue / (kind + message.qid), UIDS["mallory"], UIDS["mallory"])

    return plant


def writable(kind: str) -> Plant:
    def plant(host: SharedHost, message: Message) -> None:
        (message.queue / (kind + message.qid)).chmod(0o666)

    return plant


def huge(host: SharedHost, message: Message) -> None:
    message.replace(b"V8\nT1\nS<x@y>\n")
    os.truncate(message.qf, 1 << 30)


PLANTED: list[tuple[str, Plant]] = [
    *(
        (f"{kind} is {by.__name__}", replaced(kind, by))
        for kind in ("qf", "df")
        for by in REPLACEMENTS
    ),
    *((f"{kind} of another", of_another(kind)) for kind in ("qf", "df")),
    *((f"{kind} 0666", writable(kind)) for kind in ("qf", "df")),
    ("df is missing", replaced("df", nothing)),
    ("qf of 1 GB", huge),
]
TABLE = pytest.mark.parametrize(
    "plant", [row[1] for row in PLANTED], ids=[row[0] for row in PLANTED]
)


@TABLE
def test_what_is_planted_in_the_queue_is_put_aside_and_told(host: SharedHost, plant: Plant) -> None:
    message = Message(host, "mqueue")
    plant(host, message)
    secret, canary = host.secret.read_bytes(), host.canary.read_bytes()
    run(host)
    assert host.letters("emma") == []
    assert message.qid not in host.queued()
    assert os.path.lexists(message.queue / f"Qf{message.qid}"), "nothing is deleted"
    assert any(line.startswith(f"{message.qid}: ") and "Losing ./qf" in line for line in host.lines)
    assert (host.secret.read_bytes(), host.canary.read_bytes()) == (secret, canary)
    assert host.leaks() == []


@TABLE
def test_what_a_user_plants_in_the_client_queue_stays_there(host: SharedHost, plant: Plant) -> None:
    message = Message(host, "clientmqueue", "dave")
    plant(host, message)
    before = host.snapshot()
    run(host)
    assert host.changes(before) == {"mail/carol"}
    assert host.queued() == []
    assert host.leaks() == []
    assert any(line.startswith(f"{message.qid}: not adopted: ") for line in host.lines)


def claim(name: str, value: object) -> Plant:
    def plant(host: SharedHost, message: Message) -> None:
        def change(control: Control) -> None:
            recipient = control.recipients[0]
            text = value
            if isinstance(text, bytes):
                text = text.replace(b"{e}", bytes(host.evidence))
                text = text.replace(b"{s}", bytes(host.secret))
            setattr(recipient, name, text)
            recipient.flags = "PFDA"

        message.rewrite(change)

    return plant


@pytest.mark.parametrize(
    "address",
    [b'"|touch {e}/pwned"', b"|touch {e}/pwned", b"{e}/file", b'"{e}/file"', b":include:{s}"],
)
def test_a_users_message_names_no_program_file_or_list(host: SharedHost, address: bytes) -> None:
    message = Message(host, "clientmqueue", "dave")
    claim("address", address)(host, message)
    before = host.snapshot()
    run(host)
    assert host.changes(before) == {"mail/carol"}
    assert host.leaks() == []
    assert host.told(f"{message.qid}: not adopted: Cannot mail directly to programs or files")


def test_a_users_message_cannot_say_in_whose_name(host: SharedHost) -> None:
    """Neither the C line nor the flag A of a recipient is believed."""
    message = Message(host, "clientmqueue", "dave")
    claim("controlling_user", b"root:0:0:<root@lab1.campus>")(host, message)
    host.put("emma", b'"|id -u > %b/id"\n' % bytes(host.evidence), ".forward")
    run(host)
    assert (host.evidence / "id").read_text().strip() == str(UIDS["emma"])


NAMES = [
    "qf",
    "qf..",
    "qf../../x",
    "qf/etc/passwd",
    "qf-oQ",
    "qf a b",
    "qf\x1b[2J",
    "qf" + "a" * 200,
]


@pytest.mark.parametrize("queue", ["mqueue", "clientmqueue"])
@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_what_is_no_queue_id_is_nobodys_message(host: SharedHost, queue: str, name: str) -> None:
    message = Message(host, queue, "root" if queue == "mqueue" else "dave")
    text = message.qf.read_bytes()
    message.qf.unlink()
    planted = message.queue / name.replace("/", "_")
    planted.write_bytes(text)
    os.chown(planted, UIDS["dave"] if queue == "clientmqueue" else 0, -1)
    deliverer = host.deliverer()
    deliverer.attempt([name.removeprefix("qf")])
    run(host)
    assert host.letters("emma") == []
    assert planted.read_bytes() == text


@pytest.mark.parametrize("other", ["secret", "hard link", "fifo"])
@pytest.mark.parametrize("kind", ["df", "qf"])
def test_no_race_makes_root_take_over_what_is_not_the_users(
    host: SharedHost, kind: str, other: str
) -> None:
    """dave lets a file of his message change places with the secret while root takes it over."""
    plants = {"secret": link_to_the_secret, "hard link": hard_link_to_the_secret, "fifo": fifo}
    swapped = host.root / "clientmqueue" / "swapped"
    deliverer = host.deliverer()
    for _ in range(RACES):
        message = Message(host, "clientmqueue", "dave")
        plants[other](host, swapped)
        path = message.queue / (kind + message.qid)
        with attacking(host.user("root"), exchanger(path, swapped)):
            for _ in range(10):
                if take_in.take_in(host.options, deliverer.spool, host.clock()):
                    break
        for left in (path, message.qf, message.df, swapped):
            left.unlink(missing_ok=True)
    assert host.leaks() == []
    assert host.secret.exists()
    qids = host.queued()
    for qid in qids:
        assert (host.root / "mqueue" / f"df{qid}").read_bytes() == b"planted\n"
    run(host)
    assert len(host.letters("emma")) == len(qids)


@pytest.mark.parametrize("mode", [0o777, 0o733, 0o2733])
def test_a_client_queue_where_others_may_rename_is_put_right(host: SharedHost, mode: int) -> None:
    client = host.root / "clientmqueue"
    client.chmod(mode)
    run(host)
    assert client.stat().st_mode & 0o7777 == mode | 0o1000


def test_a_client_queue_of_another_user_is_not_read(host: SharedHost) -> None:
    Message(host, "clientmqueue", "dave")
    client = host.root / "clientmqueue"
    os.chown(client, UIDS["mallory"], 0)
    run(host)
    assert host.letters("emma") == []
    assert len(os.listdir(client)) == 2
    assert host.told("nothing is adopted")


@TABLE
def test_what_a_user_plants_in_the_client_queue_does_not_hurt_who_lists_it(
    host: SharedHost, plant: Plant, capfd: pytest.CaptureFixture[str]
) -> None:
    """mailq as root looks into both."""
    plant(host, Message(host, "clientmqueue", "dave"))
    host.submit_each("carol")
    tracemalloc.start()
    try:
        assert mailq.show(host.options, verbose=True) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    shown = capfd.readouterr().out
    assert "<carol@lab1.campus>" in shown
    assert SECRET.decode() not in shown
    assert peak < 100_000_000
