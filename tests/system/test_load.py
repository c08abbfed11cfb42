"""The load for each processor, and whose it is."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from minimta.system import load

HOST = 0xEFFFFFFC


def stand(
    monkeypatch: pytest.MonkeyPatch, *, namespace: int, device: int, processors: int | None
) -> None:
    """Be where 20 processes run: in this PID namespace, with /proc/loadavg on this device."""
    real = os.stat
    found = {
        "/proc/self/ns/pid": SimpleNamespace(st_ino=namespace, st_dev=4),
        "/proc/loadavg": SimpleNamespace(st_ino=1, st_dev=device),
        "/proc": SimpleNamespace(st_ino=1, st_dev=21),
    }
    monkeypatch.setattr(os, "stat", lambda path, **more: found.get(path) or real(path, **more))
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(os, "getloadavg", lambda: (20.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("namespace", "device", "processors", "average"),
    [
        (HOST, 21, 1, 20.0),
        (HOST, 21, 8, 2.5),
        (HOST, 21, None, 20.0),
        (4026532281, 21, 8, 0.0),  # docker, podman: the file tells of the host
        (4026532281, 77, 8, 2.5),  # LXCFS has put another file there
    ],
)
def test_it_is_for_each_processor_and_not_that_of_another_host(
    monkeypatch: pytest.MonkeyPatch,
    namespace: int,
    device: int,
    processors: int | None,
    average: float,
) -> None:
    stand(monkeypatch, namespace=namespace, device=device, processors=processors)
    assert load.average() == average


def test_what_cannot_be_found_out_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*unused: object) -> tuple[float, float, float]:
        raise OSError("not obtainable")

    monkeypatch.setattr(os, "getloadavg", fails)
    assert load.average() == 0.0
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(os, "stat", fails)
    assert load.average() == 0.0
