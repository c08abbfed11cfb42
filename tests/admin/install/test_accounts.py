"""The system user of an installation, made and taken back in a tree for another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.admin.install import accounts
from minimta.admin.install.accounts import Account

QUEUE = "/var/spool/mqueue"
USER = f"minimta:x:998:998::{QUEUE}:/usr/sbin/nologin\n"


def write(root: Path, user: str = USER, group: str = "minimta:x:998:\n") -> None:
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{user}")
    (root / "etc/group").write_text(f"root:x:0:\nminimta-more:x:997:\n{group}")


@pytest.fixture
def account(tmp_path: Path) -> Account:
    write(tmp_path)
    return Account(tmp_path, "minimta", QUEUE)


@pytest.mark.root
@pytest.mark.debian("passwd")
def test_it_is_made_and_taken_back_with_its_group(account: Account) -> None:
    write(account.root, "", "")
    assert not account.is_done() and not account.is_ours()
    account.do()
    assert account.is_done() and account.is_ours()
    made = accounts.find_user(account.root, "minimta")
    assert made is not None and made.home == QUEUE
    assert "\nminimta:x:" in (account.root / "etc/group").read_text()
    account.undo()
    assert not account.is_done() and not account.is_ours()
    assert "\nminimta:" not in (account.root / "etc/group").read_text()


@pytest.mark.parametrize("takes_group", [True, False])
def test_the_group_goes_where_userdel_leaves_it(
    account: Account, monkeypatch: pytest.MonkeyPatch, takes_group: bool
) -> None:
    called: list[list[str]] = []

    def call(command: list[str]) -> None:
        called.append(command)
        write(account.root, "", "" if takes_group else "minimta:x:998:\n")

    monkeypatch.setattr(accounts, "call", call)
    account.undo()
    names = ["userdel"] if takes_group else ["userdel", "groupdel"]
    assert called == [[name, "--prefix", str(account.root), "minimta"] for name in names]


def test_who_has_another_home_or_mail_in_the_queue_is_not_taken_back(account: Account) -> None:
    queue = account.root / QUEUE.lstrip("/")
    queue.mkdir(parents=True)
    assert account.is_ours()
    (queue / "qfA1").touch()
    assert not account.is_ours()
    (queue / "qfA1").unlink()
    write(account.root, USER.replace(QUEUE, "/home/minimta"))
    assert account.is_done() and not account.is_ours()


def test_groups_are_found_by_their_users(account: Account) -> None:
    found = [accounts.group_number(account.root, name) for name in ("root", "minimta", "nosuch")]
    assert found == [0, 998, -1]
    assert accounts.prefix(Path("/")) == []
