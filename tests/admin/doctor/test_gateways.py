"""An open relay by mistake: gateways and loopback behind a proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.admin.doctor import gateways
from minimta.config import ports
from tests.support.patient import Machine

DOCKER = "172.17.0.1"


@pytest.fixture
def machine(machine: Machine) -> Machine:
    machine.options.daemon_ports = ports.read("Name=MTA, Addr=0.0.0.0, Port=25")
    machine.changes["gateways"] = lambda: {DOCKER}
    return machine


@pytest.mark.parametrize("network", ["172.17", "172", DOCKER])
def test_a_docker_gateway_that_may_relay_is_an_open_relay(machine: Machine, network: str) -> None:
    path = Path(machine.options.relay_domains)
    path.write_text(f"{network}\n")
    [line] = machine.told(gateways.gateways)
    assert line == (
        f"{DOCKER}: a gateway of this host, may relay ({path}): so may everybody who is brought by a"
        f" proxy behind it: take it out of {path}; a client that must relay logs in, or HAProxy="
    )


def test_the_access_table_is_asked_too(machine: Machine) -> None:
    Path(machine.options.access_file).write_text("Connect:172.17  RELAY\n")
    [line] = machine.told(gateways.gateways)
    assert f"may relay ({machine.options.access_file})" in line


def test_one_that_may_not_is_none(machine: Machine) -> None:
    Path(machine.options.relay_domains).write_text("10.0.3\n")
    assert not machine.told(gateways.gateways)


@pytest.mark.parametrize("place", ["/.dockerenv", "/run/.containerenv"])
def test_a_container_that_trusts_loopback(machine: Machine, place: str) -> None:
    machine.write(place, "")
    [line] = machine.told(gateways.gateways)
    assert line.startswith(
        "TrustLoopback: Warning: this is a container, and clients with the address"
    )
    machine.options.trust_loopback = False
    assert not machine.told(gateways.gateways)


def test_a_proxy_of_docker_for_our_port(machine: Machine) -> None:
    machine.write("/proc/77/cmdline", "/usr/bin/docker-proxy\0-proto\0tcp\0-host-port\08080\0")
    assert not machine.told(gateways.gateways)
    machine.write("/proc/77/cmdline", "/usr/bin/docker-proxy\0-proto\0tcp\0-host-port\x0025\0")
    assert "docker-proxy runs" in machine.told(gateways.gateways)[0]


def test_who_listens_on_loopback_alone_is_asked_by_nobody(machine: Machine) -> None:
    machine.options.daemon_ports = ports.read("Name=MTA, Addr=127.0.0.1, Port=25")
    Path(machine.options.relay_domains).write_text("172.17\n")
    machine.write("/.dockerenv", "")
    assert not machine.told(gateways.gateways)
