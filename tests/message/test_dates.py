import time
from collections.abc import Iterator

import pytest

from minimta.message import dates

LESSON = 1574107389  # Mon Nov 18 20:03:09 2019 UTC


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_a_zone_is_always_numeric(zone: str) -> None:
    expected = {
        "UTC": "Mon, 18 Nov 2019 20:03:09 +0000",
        "America/New_York": "Mon, 18 Nov 2019 15:03:09 -0500",
        "Asia/Kolkata": "Tue, 19 Nov 2019 01:33:09 +0530",
    }
    assert dates.rfc5322(LESSON) == expected[zone]


def test_asctime_is_the_c_librarys(zone: str) -> None:
    assert dates.asctime(LESSON) == time.asctime(time.localtime(LESSON))


def test_queue_times_have_fixed_columns() -> None:
    assert len(dates.queue_time(LESSON)) == 16
    assert dates.asctime(LESSON)[4:16] == dates.queue_time_verbose(LESSON)


def test_the_beginning_of_a_message_id_is_in_utc(zone: str) -> None:
    assert dates.compact(LESSON) == "201911182003"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (31, "00:00:31"),
        (3661, "01:01:01"),
        (93784, "1+02:03:04"),
        (-5, "00:00:00"),
    ],
)
def test_durations_are_sendmails(seconds: float, text: str) -> None:
    assert dates.duration(seconds) == text


def test_the_date_of_a_from_line_is_read_back() -> None:
    assert dates.from_asctime(dates.asctime(1795340226.0)) == 1795340226.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "someone",
        "Sat Nov 16 2019",
        "Sat Foo 16 00:19:13 2019",
        "Sat Nov \uff11\uff16 00:19:13 2019",
    ],
)
def test_what_is_no_date_gives_none(text: str) -> None:
    assert dates.from_asctime(text) is None


@pytest.mark.parametrize("seconds", [10**19, -(10**19), 253402300800, -1, float("inf")])
def test_a_time_beyond_the_calendar_is_its_end(seconds: float) -> None:
    assert dates.rfc5322(seconds) and dates.asctime(seconds) and dates.queue_time(seconds)
    assert 1 <= dates.local(seconds).tm_year <= 9999
