"""Other mail systems: what they left in their queues is counted, named and not touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.admin.install import other_mta
from tests.support import dpkgtree

#: as each mail system lays out its queue
MESSAGES = {
    "postfix": ["deferred/A/A1B2C3", "active/D4E5F6", "maildrop/112233", "hold/445566"],
    "exim4-daemon-light": ["input/1tAbCd-000000-AB-H", "input/A/1tAbCe-000000-AB-H"],
    "nullmailer": ["queue/1764500000.12"],
    "dma": ["M1a2b.55d0"],
    "opensmtpd": ["queue/ab/abcdef01/message"],
    "courier-mta": ["12/C123456"],
}
#: what is no message
OTHERS = {
    "postfix": ["defer/A/A1B2C3", "public/qmgr", "pid/master.pid", "saved/1"],
    "exim4-daemon-light": ["input/1tAbCd-000000-AB-D", "msglog/1tAbCd-000000-AB", "db/retry"],
    "nullmailer": ["tmp/1", "trigger"],
    "dma": ["Q1a2b.55d0", "flush"],
    "opensmtpd": ["queue/ab/abcdef01/envelope", "incoming/x"],
    "courier-mta": ["12/D123456"],
}


@pytest.mark.parametrize("queue", other_mta.OLD_QUEUES, ids=lambda queue: queue.package)
def test_messages_are_counted_and_nothing_else(tmp_path: Path, queue: other_mta.OldQueue) -> None:
    for name in OTHERS[queue.package]:
        place = tmp_path / queue.directory.lstrip("/") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    assert other_mta.left_mail(tmp_path) == []
    for name in MESSAGES[queue.package]:
        place = tmp_path / queue.directory.lstrip("/") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    [left] = other_mta.left_mail(tmp_path)
    assert (left.queue, left.messages) == (queue, len(MESSAGES[queue.package]))
    assert str(left).startswith(f"{left.messages} message")
    assert f" of {queue.package} in {queue.directory}, which nobody sends now" in str(left)
    assert f"apt install {queue.package}; {queue.lists}; {queue.sends}" in str(left)


@pytest.mark.debian("dpkg")
def test_a_queue_whose_owner_is_there_is_its_owners(tmp_path: Path) -> None:
    root = dpkgtree.make(tmp_path)
    dpkgtree.install(root, "nullmailer", {}, "mail-transport-agent")
    (root / "var/spool/nullmailer/queue").mkdir(parents=True)
    (root / "var/spool/nullmailer/queue/1").touch()
    assert [str(left) for left in other_mta.left_mail(root)] == [
        "1 message of nullmailer in /var/spool/nullmailer, which only nullmailer sends: mailq"
    ]


@pytest.mark.debian("dpkg")
def test_mail_systems_are_known_by_what_they_provide(tmp_path: Path) -> None:
    root = dpkgtree.make(tmp_path)
    assert other_mta.installed(tmp_path / "nowhere") == []
    dpkgtree.install(root, "postfix", {}, "default-mta, mail-transport-agent (= 3), postfix-x")
    dpkgtree.install(root, "bsd-mailx", {}, "mail-reader, mailx")
    dpkgtree.install(root, "minimta", {}, "mail-transport-agent")
    assert other_mta.installed(root) == ["postfix"]
