"""More texts than shall be in memory come out in the order of their keys."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.system import external_sort
from minimta.system.external_sort import ExternalSort


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(external_sort, "_PLACES", (str(tmp_path / "nowhere"), str(tmp_path)))
    return tmp_path


def sorted_by(most: int, numbers: list[int]) -> list[str]:
    texts = ExternalSort(most)
    for number in numbers:
        texts.add((number, f"id{number}"), f"text {number}\n\u00e9")
    assert len(texts) == len(numbers)
    return list(texts)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 64, 65, 300, 1000])
def test_any_number_comes_out_in_order(places: Path, count: int) -> None:
    numbers = list(range(count))
    random.Random(count).shuffle(numbers)
    assert sorted_by(10, numbers) == [f"text {number}\n\u00e9" for number in range(count)]
    assert sorted_by(100, numbers) == sorted_by(10_000, numbers)


def test_what_is_too_much_goes_into_a_file_without_a_name(places: Path) -> None:
    texts = ExternalSort(10)
    for number in range(95):
        texts.add((number,), str(number))
    assert len(texts._pairs) == 5
    assert list(places.iterdir()) == []
    assert len(list(texts)) == 95


@pytest.mark.usefixtures("places")
def test_when_all_are_out_the_file_is_gone() -> None:
    before = os.listdir("/proc/self/fd")
    assert len(sorted_by(10, list(range(95)))) == 95
    assert os.listdir("/proc/self/fd") == before


@pytest.fixture(params=["open", "write"])
def no_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file can be made, or the third write finds the disk full."""
    real, calls = os.write, [0]

    def refuse(*arguments: object, **options: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "no such files here")

    def fill(file: int, octets: bytes) -> int:
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(errno.ENOSPC, "full")
        return real(file, octets)

    name, change = ("open", refuse) if request.param == "open" else ("write", fill)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, change)
        yield


@pytest.mark.usefixtures("places", "no_disk")
def test_without_a_disk_all_stays_in_memory() -> None:
    numbers = list(range(300, 0, -1))
    assert sorted_by(10, numbers) == [f"text {number}\n\u00e9" for number in range(1, 301)]
