"""sendmail -Q: messages that are held, and let go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.queue import locked
from minimta.queue.control import decode
from minimta.queue.selectors import Selection, parse_selection
from minimta.runner import quarantine, queue_run
from minimta.runner.deliver import open_spool
from tests.support.privatehost import PrivateHost

EMMA, DAVE, CAROL = b"<emma@lab1.campus>", b"<dave@lab1.campus>", b"<carol@lab1.campus>"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    return PrivateHost(tmp_path)


def chosen(*words: str) -> list[Selection]:
    return [parse_selection(word) for word in words]


def change(host: PrivateHost, reason: str, *words: str) -> int:
    return quarantine.change(host.options, chosen(*words), reason, lambda text: None)


def kinds(host: PrivateHost, qid: str) -> list[str]:
    names = os.listdir(host.options.queue_directory)
    return sorted(name[:2] for name in names if name.endswith(qid))


def reason_of(host: PrivateHost, qid: str) -> str:
    return decode((Path(host.options.queue_directory) / f"hf{qid}").read_bytes()).quarantine


def test_what_is_held_becomes_hf_with_its_reason_and_is_not_run(host: PrivateHost) -> None:
    qid, other = host.submit(EMMA, DAVE), host.submit(EMMA, CAROL)
    assert change(host, "looks bad", "I" + qid) == 0
    assert (kinds(host, qid), kinds(host, other)) == (["df", "hf"], ["df", "qf"])
    assert reason_of(host, qid) == "looks bad"
    queue_run.run(host.options)
    assert (len(host.letters("dave")), len(host.letters("carol"))) == (0, 1)
    assert kinds(host, qid) == ["df", "hf"]


def test_what_is_let_go_is_delivered_by_the_next_run(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    change(host, "looks bad", "I" + qid)
    change(host, "", "Qgood")
    assert kinds(host, qid) == ["df", "hf"]
    change(host, "", "Qbad")
    assert kinds(host, qid) == ["df", "qf"]
    assert host.control(qid).quarantine == ""
    queue_run.run(host.options)
    assert len(host.letters("dave")) == 1


def test_another_reason_replaces_the_first(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    change(host, "looks bad", "I" + qid)
    change(host, "looks worse", "Q")
    assert reason_of(host, qid) == "looks worse"


def test_a_run_over_the_quarantine_delivers_and_keeps_the_rest_held(host: PrivateHost) -> None:
    free, gone, stuck = (host.submit(EMMA, DAVE) for _ in range(3))
    change(host, "spam", "I" + gone)
    change(host, "fine", "I" + stuck)
    queue_run.run(host.options, chosen("Qspam"))
    assert len(host.letters("dave")) == 1
    assert [kinds(host, one) for one in (free, gone, stuck)] == [["df", "qf"], [], ["df", "hf"]]


def test_what_a_run_over_the_quarantine_cannot_deliver_stays_held(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    change(host, "spam", "I" + qid)
    (Path(host.options.mailbox_directory) / "dave").mkdir()
    queue_run.run(host.options, chosen("Q"))
    assert kinds(host, qid) == ["af", "df", "hf"]
    control = decode((Path(host.options.queue_directory) / f"hf{qid}").read_bytes())
    assert (control.attempts, control.quarantine) == (1, "spam")


def test_a_message_that_another_has_is_left_and_told(host: PrivateHost) -> None:
    qid, told = host.submit(EMMA, DAVE), list[str]()
    with open_spool(host.options).lock(qid) or pytest.fail("not locked"):
        assert quarantine.change(host.options, chosen("I" + qid), "x", told.append) == 1
    assert told == [f"{qid}: locked"]
    assert kinds(host, qid) == ["df", "qf"]


@pytest.mark.parametrize("reason", ["", "looks bad"])
def test_a_crash_between_line_and_name_holds_the_message(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    qid = host.submit(EMMA, DAVE)
    if not reason:
        change(host, "looks bad", "I" + qid)

    def crash(self: locked.LockedMessage, what: object) -> None:
        raise KeyboardInterrupt

    step = "_move" if reason else "rewrite"
    with monkeypatch.context() as patch:
        patch.setattr(locked.LockedMessage, step, crash)
        with pytest.raises(KeyboardInterrupt):
            change(host, reason, "I" + qid if reason else "Q")
    queue_run.run(host.options)
    assert host.letters("dave") == []
    # It is let go as it stands.
    change(host, "", "I" + qid)
    queue_run.run(host.options)
    assert len(host.letters("dave")) == 1


def test_a_reason_cannot_forge_a_line(host: PrivateHost) -> None:
    qid = host.submit(EMMA, DAVE)
    change(host, "x\nRPFD:<carol@lab1.campus>", "I" + qid)
    control = decode((Path(host.options.queue_directory) / f"hf{qid}").read_bytes())
    assert len(control.recipients) == 1 and "\n" not in control.quarantine
