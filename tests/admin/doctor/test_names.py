"""The name of this host, and /etc/mailname."""

from __future__ import annotations

import pytest

from minimta.admin.doctor import names
from tests.support.patient import Machine


def test_a_host_without_a_domain_is_told(machine: Machine) -> None:
    machine.options.host_name = "vm1"
    assert not machine.told(names.mailname)
    [line] = machine.told(names.host_name)
    assert line == (
        "vm1: Warning: this host's name has no domain: others refuse it, and nobody can answer:"
        " HostName = vm1.example.org in /etc/mail/minimta.cf"
    )


def test_the_remedy_is_an_example_where_nobody_knows_the_full_name(machine: Machine) -> None:
    machine.options.host_name = "vm1"
    machine.write("/etc/mailname", "vm1\n")
    assert machine.told(names.host_name)[0].endswith(
        "HostName = vm1.example.org in /etc/mail/minimta.cf"
    )
    machine.write("/etc/mailname", "box.campus\n")
    assert machine.told(names.host_name)[0].endswith(
        "HostName = box.campus in /etc/mail/minimta.cf"
    )


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain"])
def test_a_host_called_localhost_is_a_fault(machine: Machine, name: str) -> None:
    machine.options.host_name = name
    [found] = machine.found(names.host_name)
    assert found.exit_code == 78
    assert "and so is every other one" in found.text


def test_a_name_that_nobody_outside_knows_is_told_unless_senders_are_rewritten(
    machine: Machine,
) -> None:
    machine.options.host_name = "vm1.lan"
    [line] = machine.told(names.host_name)
    assert "nobody can answer to root@vm1.lan: minimta setup, or MasqueradeAs" in line
    machine.options.masquerade_as = "example.org"
    assert not machine.told(names.host_name)


def test_a_mailname_of_another_host_is_told(machine: Machine) -> None:
    machine.write("/etc/mailname", "old.example.net\n")
    [line] = machine.told(names.mailname)
    assert line.startswith(
        "/etc/mailname: Warning: old.example.net is no name of this host, vm1.example.org, and"
        " programs send as root@old.example.net: echo vm1.example.org > /etc/mailname"
    )


@pytest.mark.parametrize("text", ["", "vm1.example.org\n", "example.org\n", "VM1.Example.ORG."])
def test_what_may_stand_in_mailname(machine: Machine, text: str) -> None:
    machine.write("/etc/mailname", text)
    assert not machine.told(names.mailname)


def test_a_mailname_without_a_domain_is_told(machine: Machine) -> None:
    machine.write("/etc/mailname", "box\n")
    assert "box has no domain; programs send as root@box" in machine.told(names.mailname)[0]
