"""What a client hears, and what becomes of its mail, where the queue is several directories."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from minimta.queue.queue_group import QueueGroup
from minimta.queue.spool import Spool
from tests.support.smtphost import ClientEnd, SmtpHost

NAMES = ("q1", "q2", "q3")


@pytest.fixture
def host(tmp_path: Path) -> SmtpHost:
    made = SmtpHost(tmp_path)
    made.options.queue_pattern = f"{made.mqueue}/q*"
    for name in NAMES:
        (made.mqueue / name).mkdir(mode=0o700)
    return made


def client(host: SmtpHost) -> ClientEnd:
    peer = host.connect("10.0.3.134", "lab1.campus")
    peer.says("EHLO lab1.campus")
    return peer


def places(host: SmtpHost) -> Counter[str]:
    return Counter(path.parent.name for path in host.mqueue.glob("*/qf*"))


def fails(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These directories can make no file any more."""
    real = Spool.create_file

    def create_file(spool: Spool, name: str) -> int:
        if os.path.basename(spool.directory) in names:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(spool, name)

    monkeypatch.setattr(Spool, "create_file", create_file)


def test_what_a_client_brings_is_spread(host: SmtpHost) -> None:
    peer = client(host)
    for _ in range(6):
        assert peer.writes("emma@lab1.campus", "dave").startswith("250 2.0.0 ")
    assert places(host) == dict.fromkeys(NAMES, 2)


def test_a_full_directory_is_noticed_by_no_client(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "q1", "q3")
    peer = client(host)
    for _ in range(6):
        assert peer.writes("emma@lab1.campus", "dave").startswith("250 2.0.0 ")
    assert places(host) == {"q2": 6}


def test_only_when_all_are_full_a_client_hears_452(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, *NAMES)
    peer = client(host)
    assert peer.writes("emma@lab1.campus", "dave").startswith("452 4.3.1 ")
    assert not list(host.mqueue.glob("*/*"))


def test_the_room_that_counts_is_that_of_the_directory_which_has_most(
    host: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = dict.fromkeys(NAMES, 0)
    monkeypatch.setattr(
        Spool, "free_blocks", lambda spool: blocks[os.path.basename(spool.directory)]
    )
    mail = "MAIL FROM:<emma@lab1.campus>"
    assert client(host).says(mail)[0].startswith("452 4.3.1 ")
    blocks["q2"] = 1 << 20
    assert client(host).says(mail)[0].startswith("250 ")


def test_when_all_directories_are_gone_the_client_keeps_its_mail(host: SmtpHost) -> None:
    peer = client(host)
    spool = peer.handler._shared.spool
    assert isinstance(spool, QueueGroup)
    for name in NAMES:
        (host.mqueue / name).rename(host.mqueue / f"away-{name}")
    with pytest.raises(OSError, match="there is no such directory"):
        spool.look()
    assert peer.says("MAIL FROM:<emma@lab1.campus>")[0].startswith("452 4.3.1 ")
    assert not list(host.mqueue.glob("*/*"))
