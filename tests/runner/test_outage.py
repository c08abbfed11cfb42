"""What counts as an outage: the queue, logins, and how old the oldest message is."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.mailers.remote import login_memory
from minimta.mailers.remote.credentials import CredentialStore
from minimta.mailers.remote.login_memory import LoginMemory
from minimta.queue import listing
from minimta.queue.spool import Spool
from minimta.runner import outage
from minimta.runner.alert_state import Trouble
from tests.support.homes import let_others_in
from tests.support.privatehost import PrivateHost

EMMA, DAVE = b"<emma@lab1.campus>", b"<dave@lab1.campus>"
HOUR = 3600.0


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    tmp_path.chmod(0o700)
    host = PrivateHost(tmp_path)
    host.options.alert_age = int(4 * HOUR)
    return host


def names(host: PrivateHost) -> list[str]:
    return list(host.queued())


def look(host: PrivateHost) -> outage.Outage:
    return outage.look(host.options, names(host), time.time())


def submit(host: PrivateHost, hours: float) -> str:
    host.now = time.time() - hours * HOUR
    return host.submit(EMMA, DAVE)


def test_an_empty_queue_is_no_outage(host: PrivateHost) -> None:
    assert look(host) == (Trouble.NONE, "")


def test_a_message_that_is_younger_than_alertage_is_none(host: PrivateHost) -> None:
    submit(host, 3.9)
    assert look(host).trouble is Trouble.NONE


def test_alertage_itself_is_not_longer_than_alertage(host: PrivateHost) -> None:
    submit(host, 0)
    assert host.now is not None
    created, age = float(int(host.now)), host.options.alert_age
    assert outage.age_trouble(host.options, names(host), created + age) == ""
    assert "(4 h 0 min)" in outage.age_trouble(host.options, names(host), created + age + 1)


def test_the_oldest_message_is_told_with_its_id_and_nobodys_address(host: PrivateHost) -> None:
    old = submit(host, 4.5)
    submit(host, 0.1)
    found = look(host)
    assert found.trouble is Trouble.AGE
    assert found.text.startswith(f"the oldest message, {old}, waits since 20")
    assert found.text.endswith("(4 h 30 min), 2 wait")
    assert "@" not in found.text


def test_alertage_0_is_never(host: PrivateHost) -> None:
    submit(host, 500)
    host.options.alert_age = 0
    assert look(host).trouble is Trouble.NONE


def test_of_many_messages_only_the_oldest_are_opened(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(60):
        submit(host, 0.1)
    old = submit(host, 5)
    opened: list[str] = []
    scan = listing.scan

    def counted(directory: str, kind: str, *, only: list[str]) -> Iterator[listing.Listed]:
        opened.extend(only)
        return scan(directory, kind, only=only)

    monkeypatch.setattr(listing, "scan", counted)
    assert old in look(host).text
    assert len(opened) == 20


def test_what_is_held_on_purpose_does_not_count(host: PrivateHost) -> None:
    qid = submit(host, 10)
    assert look(host).trouble is Trouble.AGE
    spool = Spool(host.options.queue_directory)
    spool.rename("qf" + qid, "hf" + qid)
    assert outage.look(host.options, spool.names(), time.time()).trouble is Trouble.NONE
    spool.close()


def test_a_queue_that_is_not_there_cannot_be_written(host: PrivateHost) -> None:
    shutil.rmtree(host.options.client_queue_directory)
    assert look(host).trouble is Trouble.NONE, "who has no users needs none"
    shutil.rmtree(host.options.queue_directory)
    found = outage.look(host.options, [], time.time())
    assert found == (
        Trouble.QUEUE,
        f"nothing can be written in {host.options.queue_directory}: No such file or directory",
    )


def test_a_client_queue_that_nobody_can_write_is_an_outage(host: PrivateHost) -> None:
    path = Path(host.options.client_queue_directory)
    path.rmdir()
    path.touch()
    assert look(host).text == f"nothing can be written in {path}: Not a directory"


def test_too_little_space_is_one_that_cannot_be_written(host: PrivateHost) -> None:
    host.options.min_free_blocks = 1 << 60
    assert "blocks are free, less than MinFreeBlocks" in look(host).text


@pytest.mark.root
def test_a_queue_that_the_listener_may_not_write_is_told_though_root_may(
    host: PrivateHost,
) -> None:
    let_others_in(host.root)
    host.options.run_as_user = "daemon"
    found = look(host)
    assert found.trouble is Trouble.QUEUE
    assert found.text.endswith(f"{host.options.queue_directory}: Permission denied")
    for directory in (host.options.queue_directory, host.options.client_queue_directory):
        os.chmod(directory, 0o1733)
    assert look(host).trouble is Trouble.NONE


def test_a_look_leaves_nothing_in_the_queue(host: PrivateHost) -> None:
    look(host)
    assert not os.listdir(host.options.queue_directory)
    assert not os.listdir(host.options.client_queue_directory)


# --- logins ---------------------------------------------------------------------------------------


def login(host: PrivateHost, fields: str = '"U:emma" "P:not-the-password"') -> LoginMemory:
    path = Path(host.options.auth_info_file)
    path.write_text(f"AuthInfo:smtp.example.org {fields}\n")
    path.chmod(0o600)
    return LoginMemory(login_memory.beside(host.options.queue_directory))


def state(host: PrivateHost) -> str:
    store = CredentialStore.read(host.options)
    return store.state_of(store.rows[0])


def test_a_login_that_was_refused_is_told_without_its_password(host: PrivateHost) -> None:
    memory = login(host)
    assert look(host).trouble is Trouble.NONE
    memory.refused("smtp.example.org:587 emma", state(host), time.time(), "535 5.7.8 no")
    assert look(host) == (
        Trouble.LOGIN,
        "the login at smtp.example.org:587 as emma is refused",
    )
    memory.accepted("smtp.example.org:587 emma", state(host), time.time())
    assert look(host).trouble is Trouble.NONE


def test_after_a_change_of_authinfo_it_still_counts_for_a_while(host: PrivateHost) -> None:
    memory = login(host)
    memory.refused("smtp.example.org:587 emma", state(host), time.time(), "535 5.7.8 no")
    login(host, '"U:emma" "P:better"')
    assert look(host).trouble is Trouble.LOGIN
    an_hour_ago = time.time() - HOUR - 1
    os.utime(host.options.auth_info_file, (an_hour_ago, an_hour_ago))
    assert look(host).trouble is Trouble.NONE


def test_a_login_that_nobody_uses_any_more_does_not_count(host: PrivateHost) -> None:
    memory = login(host)
    memory.refused("smtp.example.org:587 emma", state(host), time.time(), "535 5.7.8 no")
    login(host, '"U:dave" "P:better"')
    assert look(host).trouble is Trouble.NONE
    os.unlink(host.options.auth_info_file)
    assert look(host).trouble is Trouble.NONE


def test_logins_that_others_may_read_are_an_outage(host: PrivateHost) -> None:
    login(host)
    os.chmod(host.options.auth_info_file, 0o644)
    assert look(host).trouble is Trouble.LOGIN
    assert look(host).text.endswith("it must be root's, mode 600")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(59, "0 min"), (250 * 60, "4 h 10 min"), (49 * 3600, "2 days 1 h")],
)
def test_how_long_is_spelt(seconds: float, told: str) -> None:
    assert outage.spell(seconds) == told
