"""Does port 25 lead out?"""

from __future__ import annotations

import errno
import time

from minimta.admin.doctor import outwards
from minimta.mailers.remote import host_status
from minimta.mailers.remote.host_status import HostMemory, HostStatus
from tests.support.patient import Machine


def found_out(machine: Machine, host: str, error: int) -> None:
    """By a delivery."""
    path = host_status.beside(machine.options.queue_directory)
    memory = HostMemory(path, time.time())
    memory.open()
    memory.note(HostStatus(host, error, "4.4.1" if error else "2.0.0", 75 if error else 0))
    memory.close()


def test_what_deliveries_found_out_says_that_it_is_blocked(machine: Machine) -> None:
    found_out(machine, "mx1.far.example", errno.ETIMEDOUT)
    found_out(machine, "mx2.far.example", errno.ETIMEDOUT)
    [found] = machine.found(outwards.port_25)
    assert found.exit_code == 69
    assert str(found) == (
        "port 25 outwards: no host is reached (mx1.far.example, mx2.far.example): the network seems to"
        " block it, as many clouds do: SmartHost = [smtp.example.org]:587, with a login in authinfo"
        " (minimta setup)"
    )


def test_one_that_was_reached_says_that_it_is_open(machine: Machine) -> None:
    found_out(machine, "mx1.far.example", errno.ETIMEDOUT)
    found_out(machine, "mx2.far.example", 0)
    assert not machine.told(outwards.port_25)


def test_a_host_for_which_mail_waits_is_tried(machine: Machine) -> None:
    machine.host.submit(b"<emma@vm1.example.org>", b"<x@far.example>")
    machine.exchangers["far.example"] = ["mx.far.example"]
    machine.addresses["mx.far.example"] = ["203.0.113.25"]
    assert not machine.told(outwards.port_25)
    machine.silent["203.0.113.25", 25] = errno.ETIMEDOUT
    assert "no host is reached (mx.far.example)" in machine.told(outwards.port_25)[0]
    machine.silent["203.0.113.25", 25] = errno.ECONNREFUSED
    assert not machine.told(outwards.port_25), "the way there is open"


def test_a_host_without_ipv6_is_not_taken_for_one_that_is_cut_off(machine: Machine) -> None:
    machine.host.submit(b"<emma@vm1.example.org>", b"<x@far.example>")
    machine.exchangers["far.example"] = ["mx.far.example"]
    machine.addresses["mx.far.example"] = ["2a00::25", "203.0.113.25"]
    machine.silent["2a00::25", 25] = errno.ENETUNREACH
    assert not machine.told(outwards.port_25)
    machine.silent["203.0.113.25", 25] = errno.ENETUNREACH
    assert not machine.told(outwards.port_25)
    found_out(machine, "mx1.far.example", errno.ENETUNREACH)
    assert not machine.told(outwards.port_25)


def test_nobody_is_bothered_without_a_reason(machine: Machine) -> None:
    def connect(address: str, port: int, seconds: float) -> None:
        raise AssertionError("it connects")

    machine.changes["connect"] = connect
    assert not machine.found(outwards.port_25)
    machine.host.submit(b"<emma@vm1.example.org>", b"<dave@vm1.example.org>")
    assert not machine.found(outwards.port_25)
    machine.host.submit(b"<emma@vm1.example.org>", b"<x@far.example>")
    machine.options.smart_host = "[smtp.example.org]:587"
    assert not machine.found(outwards.port_25)


def test_a_host_without_a_network_is_told_once(machine: Machine) -> None:
    assert not machine.told(outwards.no_network)
    machine.sources.clear()
    assert machine.told(outwards.no_network) == [
        "network: unknown: this host has none: nothing outside was looked at"
    ]
