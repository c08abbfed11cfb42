"""root and postmaster lead somewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from minimta.admin.doctor import aliases
from minimta.message.envelope import Recipient
from minimta.message.outcome import deferred
from minimta.routing.destination import Destination, Node
from minimta.routing.targets import AliasTarget
from tests.support.patient import Machine


def test_an_alias_that_leads_to_nobody_is_a_fault(machine: Machine) -> None:
    machine.aliases("postmaster: root", "root: nobodyhere")
    first, second = machine.told(aliases.aliases)
    assert first.startswith("root: leads to nobodyhere: ")
    assert "User unknown" in first
    assert second.startswith("postmaster: leads to nobodyhere: ")


def test_a_circle_is_a_fault(machine: Machine) -> None:
    machine.aliases("postmaster: root", "root: admin", "admin: postmaster")
    told = machine.told(aliases.aliases)
    assert any("leads back to itself" in line for line in told)
    assert any(one.exit_code == 78 for one in machine.found(aliases.aliases))


def test_a_change_that_does_not_count_yet_is_told(machine: Machine) -> None:
    path = Path(machine.options.alias_files[0])
    path.write_text("root: dave\n")
    later = time.time() + 10
    os.utime(path, (later, later))
    [line] = [one for one in machine.told(aliases.aliases) if "newaliases" in one]
    assert (
        line
        == f"{path}: Warning: has changed since newaliases; the change does not count yet: newaliases"
    )


def test_lines_that_newaliases_leaves_out_are_faults(machine: Machine) -> None:
    machine.aliases("postmaster: emma", "root dave", "info@elsewhere.example: dave", *":" * 9)
    path = machine.options.alias_files[0]
    found = [one for one in machine.found(aliases.aliases) if path in one.subject]
    first, second, *_, last = map(str, found)
    remedy = "it is left out: correct it, then newaliases"
    assert first == f"{path}: line 2: missing colon; {remedy}"
    assert second.startswith(f"{path}: line 3: info@elsewhere.example... ")
    assert last == f"{path}: 6 more lines are left out: newaliases"
    assert [one.exit_code for one in found] == [os.EX_CONFIG] * 6


def test_mail_that_nobody_reads_in_roots_mailbox_is_told(machine: Machine) -> None:
    machine.aliases("postmaster: root")
    assert not machine.told(aliases.aliases)
    mailbox = Path(machine.options.mailbox_directory, "root")
    mailbox.write_text("From x\n\nbody\n")
    [line] = machine.told(aliases.aliases)
    assert f"root: Warning: mail stays in {mailbox}, where 13 octets wait" in line


def test_no_postmaster_is_no_fault_for_it_is_root_by_itself(machine: Machine) -> None:
    machine.aliases("root: emma")
    assert not machine.told(aliases.aliases)


def test_an_alias_file_that_others_can_write_is_a_fault(machine: Machine) -> None:
    os.unlink(machine.options.alias_files[0] + ".cdb")
    os.chmod(machine.options.alias_files[0], 0o666)
    told = machine.told(aliases.aliases)
    assert told
    assert all("mail waits" in line or "and waits" in line for line in told)


@pytest.mark.parametrize(
    "address", ["emma@elsewhere.example", "emma, dave", "|/bin/true", "/dev/null"]
)
def test_everything_that_is_somewhere_will_do(machine: Machine, address: str) -> None:
    machine.aliases(
        "postmaster: root", f'root: "{address}"' if address[0] == "|" else f"root: {address}"
    )
    assert not [line for line in machine.told(aliases.aliases) if "Warning" not in line]


@pytest.mark.parametrize(
    ("is_root", "said"),
    [
        (True, "Warning: leads to emma, and waits: "),
        (False, "unknown: leads to emma, and only root can tell how it goes on: "),
    ],
)
def test_what_a_user_may_not_read_is_not_said_to_wait(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, is_root: bool, said: str
) -> None:
    machine.aliases("postmaster: root", "root: emma")
    later = deferred("4.3.0", "/home/emma/.forward: Permission denied")
    recipient = Recipient(b"emma")
    node = Node(recipient, AliasTarget("user", b"emma"))
    node.end = Destination(recipient, None, later)
    monkeypatch.setattr(aliases, "explain", lambda recipients, here: [node])
    machine.changes["is_root"] = is_root
    first, second = machine.told(aliases.aliases)
    assert first.startswith(f"root: {said}/home/emma/.forward: Permission denied")
    assert second.startswith(f"postmaster: {said}")
