"""SIGHUP of a runner without a listener."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from minimta.config.file import ConfigError
from minimta.config.options import Options
from minimta.runner.reload import Reload
from minimta.system import log


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Lines of the log; the handler of before comes back."""
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **more: lines.append(text))
    before = signal.getsignal(signal.SIGHUP)
    yield lines
    signal.signal(signal.SIGHUP, before)


def test_new_options_come_once_when_they_were_asked_for(told: list[str]) -> None:
    new = Options()
    new.max_queue_children = 7
    reload = Reload(Options(), lambda: new)
    assert reload.renewed() is None
    os.kill(os.getpid(), signal.SIGHUP)
    assert reload.renewed() is new
    assert reload.renewed() is None
    assert told[-1] == "reload: done"


def test_a_wrong_file_changes_nothing_and_is_told(told: list[str]) -> None:
    def wrong() -> Options:
        raise ConfigError("/etc/mail/minimta.cf", [(3, "unknown option name X"), (4, "no value")])

    reload = Reload(Options(), wrong)
    os.kill(os.getpid(), signal.SIGHUP)
    assert reload.renewed() is None
    assert told[1:] == [
        "reload: nothing is changed: /etc/mail/minimta.cf: line 3: unknown option name X",
        "reload: nothing is changed: /etc/mail/minimta.cf: line 4: no value",
    ]


@pytest.mark.root  # only root becomes another user
@pytest.mark.parametrize(
    ("name", "why"),
    [("nosuchuser", "no such user"), ("root", "is root; leave the option empty to keep root")],
)
def test_a_run_as_user_who_cannot_be_changes_nothing(told: list[str], name: str, why: str) -> None:
    new = Options()
    new.run_as_user = name
    reload = Reload(Options(), lambda: new)
    os.kill(os.getpid(), signal.SIGHUP)
    assert reload.renewed() is None
    assert told[1:] == [f"reload: nothing is changed: RunAsUser {name}: {why}"]
    new.run_as_user = "nobody"
    os.kill(os.getpid(), signal.SIGHUP)
    assert reload.renewed() is new


def test_a_filter_that_nobody_has_defined_changes_nothing(told: list[str]) -> None:
    new = Options()
    new.input_mail_filters = ("scan",)
    reload = Reload(Options(), lambda: new)
    os.kill(os.getpid(), signal.SIGHUP)
    assert reload.renewed() is None
    text = "InputMailFilters: no MailFilter is named scan, there is none at all"
    assert told[1:] == [f"reload: nothing is changed: {text}"]


@pytest.mark.parametrize("attribute", ["queue_directory", "pid_file"])
def test_what_a_running_runner_cannot_change_needs_a_restart(
    attribute: str, told: list[str]
) -> None:
    new = Options()
    setattr(new, attribute, "/elsewhere")
    reload = Reload(Options(), lambda: new)
    os.kill(os.getpid(), signal.SIGHUP)
    assert reload.renewed() is None
    assert "which needs a restart" in told[-1]
