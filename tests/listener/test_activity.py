from __future__ import annotations

from minimta.listener.activity import Activity


def test_what_is_noted_is_new_once() -> None:
    activity = Activity()
    assert not activity.is_new()
    activity.note()
    activity.note()
    assert activity.is_new()
    assert not activity.is_new()


def test_who_rests_is_woken_once() -> None:
    activity, woken = Activity(), list[str]()
    activity.note()
    assert activity.is_new()
    activity.rest(lambda: woken.append("x"))
    assert woken == []
    activity.note()
    activity.note()
    assert woken == ["x"]


def test_who_rests_too_late_is_woken_at_once() -> None:
    activity, woken = Activity(), list[str]()
    activity.note()
    activity.rest(lambda: woken.append("x"))
    assert woken == ["x"]
