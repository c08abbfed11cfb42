"""Deeds beside a resident runner that delivers the same messages: each has exactly one fate."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from minimta.system.processes import fork, has_ended
from tests.support.privatehost import PrivateHost
from tests.support.queuedesk import DAVE, EMMA, QueueDesk

MESSAGES = 200


def runner(host: PrivateHost, until: int) -> int:
    """A child that runs the queue over and over until *until* (a pipe) closes; returns its pid."""

    def act() -> int:
        os.set_blocking(until, False)
        while True:
            try:
                if os.read(until, 1) == b"":
                    return 0
            except BlockingIOError:
                pass
            host.deliverer().attempt(host.queued())

    return fork("runner", act)


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> QueueDesk:
    return QueueDesk(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    "words",
    [("hold",), ("delete",), ("bounce",), ("redirect", "--to", "carol@lab1.campus")],
)
def test_each_message_has_one_fate_while_a_runner_delivers(
    desk: QueueDesk, words: tuple[str, ...]
) -> None:
    host = desk.host
    qids = [
        host.submit(DAVE, EMMA, text=b"Subject: number %d\nTo: x\n\nbody\n" % number)
        for number in range(MESSAGES)
    ]
    shuffled = random.Random(1).sample(qids, MESSAGES)
    reading, writing = os.pipe()
    pid = runner(host, reading)
    done: dict[str, str] = {}
    verb, *rest = words
    for start in range(0, MESSAGES, 20):
        _, printed = desk.say(verb, *shuffled[start : start + 20], *rest)
        for line in printed.splitlines():
            if line[:14] in qids:
                done[line[:14]] = line.partition(": ")[2]
    os.close(writing)
    assert has_ended(pid, 60)
    os.close(reading)
    while host.queued():
        host.deliverer().attempt(host.queued())
    fates = _fates(host, verb)
    expected = Counter(
        verb if re.match("held|deleted|returned|redirected", text) else "delivered"
        for text in done.values()
    )
    assert sum(expected.values()) == MESSAGES
    assert fates == expected, (fates, expected)
    left = {name[2:] for name in host.files()}
    assert len(left) == (fates["hold"] if verb == "hold" else 0)


def _fates(host: PrivateHost, verb: str) -> Counter[str]:
    fates: Counter[str] = Counter(delivered=len(host.letters("emma")))
    subjects = [letter["Subject"] for letter in host.letters("emma")]
    assert len(set(subjects)) == len(subjects), "delivered twice"
    if verb == "hold":
        fates["hold"] = sum(name.startswith("hf") for name in host.files())
    elif verb == "delete":
        fates["delete"] = MESSAGES - len(subjects)
    elif verb == "redirect":
        fates["redirect"] = len(host.letters("carol"))
    elif verb == "bounce":
        fates["bounce"] = sum(
            letter["Subject"].startswith("Returned mail") for letter in host.letters("dave")
        )
    return +fates
