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


class Noted(Activity):
    """Something is asked for just after the look whether anything is."""

    def __init__(self) -> None:
        super().__init__()
        self.is_due = True

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if name == "_is_new" and self.is_due:
            self.is_due = False
            self.note()
        return value


def test_what_comes_during_the_look_wakes_who_rests_then() -> None:
    activity, woken = Noted(), list[str]()
    assert not activity.is_new()
    activity.rest(lambda: woken.append("x"))
    assert woken == ["x"]
