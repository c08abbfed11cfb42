"""DNS both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.admin.doctor import name_servers
from tests.support.patient import OURS, Machine

LOOKS = (name_servers.forward, name_servers.backward, name_servers.exchangers)


def test_a_host_that_is_known_both_ways(machine: Machine) -> None:
    assert not [line for look in LOOKS for line in machine.told(look)]


def test_a_name_without_an_address(machine: Machine) -> None:
    machine.addresses.clear()
    [line] = machine.told(name_servers.forward)
    assert line.startswith(
        "vm1.example.org: Warning: has no address in DNS; many hosts refuse mail"
    )
    machine.options.smart_host = "[smtp.example.org]:587"
    assert not machine.told(name_servers.forward)


def test_name_servers_that_do_not_answer(machine: Machine) -> None:
    machine.addresses["vm1.example.org"] = None
    [found] = machine.found(name_servers.forward)
    assert found.exit_code == 69
    assert "no name server tells of vm1.example.org" in found.text
    assert "/etc/resolv.conf" in found.remedy
    machine.sources.clear()  # of which "network" tells
    assert not machine.found(name_servers.forward)


def test_an_address_without_a_name(machine: Machine) -> None:
    machine.names.clear()
    [line] = machine.told(name_servers.backward)
    assert line.startswith(
        f"{OURS}: Warning: has no name (PTR): Google, Microsoft and others refuse"
    )


def test_a_name_that_does_not_lead_back(machine: Machine) -> None:
    machine.names[OURS] = ["dyn-7.provider.example"]
    machine.addresses["dyn-7.provider.example"] = ["203.0.113.1"]
    [line] = machine.told(name_servers.backward)
    assert "has the name dyn-7.provider.example, which does not lead back to it" in line


def test_a_private_address_is_not_judged(machine: Machine) -> None:
    machine.sources["inet"] = "10.0.2.15"
    [line] = machine.told(name_servers.backward)
    assert line.startswith("10.0.2.15: unknown: is a private address")
    machine.options.smart_host = "[smtp.example.org]:587"
    assert not machine.told(name_servers.backward)


@pytest.fixture
def domain(machine: Machine) -> str:
    words = "example.org\n[198.51.100.7]\nshort\nlocalhost.localdomain\n"
    Path(machine.options.local_host_names).write_text(words)
    machine.addresses["example.org"] = ["203.0.113.80"]
    return "example.org"


def test_a_domain_whose_mail_goes_elsewhere(machine: Machine, domain: str) -> None:
    machine.exchangers[domain] = ["mx.provider.example"]
    machine.addresses["mx.provider.example"] = ["203.0.113.25"]
    [line] = machine.told(name_servers.exchangers)
    assert line == (
        "example.org: Warning: others send its mail to mx.provider.example, and mail of this host for"
        f" it stays here: take it out of {machine.options.local_host_names}, or correct the MX record"
    )


@pytest.mark.parametrize("host", ["vm1.example.org", "mail.example.org"])
def test_a_domain_whose_mail_comes_here_by_name_or_address(
    machine: Machine, domain: str, host: str
) -> None:
    machine.exchangers[domain] = [host]
    machine.addresses["mail.example.org"] = [OURS]
    assert not machine.told(name_servers.exchangers)
