from __future__ import annotations

import json
from dataclasses import astuple

import pytest

from minimta.mailers.job import JobUser
from minimta.mailers.remote.protocol import BadAnswer, Progress, decode
from minimta.message.outcome import Fate, Outcome
from tests.support.jobs import job

GOOD = ["delivered", "2.0.0", "Sent (ok)", "a. [1.2.3.4]", "a", "", [], 0, False]


def line(*, at: int = -1, value: object = None) -> bytes:
    """A report with one field of its outcome replaced."""
    fields = [value if i == at else field for i, field in enumerate(GOOD)]
    return json.dumps({"job": 0, "outcomes": {"0": fields}}).encode()


def test_what_a_worker_writes_is_read_back() -> None:
    outcome = Outcome(
        Fate.FAILED, "5.1.1", "User unknown", "a. [::1]", "a", "550 no", ("x", "y"), 67, True
    )
    fields = (outcome.fate.value, *astuple(outcome)[1:])
    said = json.dumps({"job": 2, "outcomes": {"1": fields}}).encode()
    answer = decode(said, 3)
    assert (answer.job, answer.outcomes) == (2, {1: outcome})


def test_a_heartbeat_says_nothing() -> None:
    answer = decode(b"{}", 1)
    assert (answer.job, answer.outcomes, answer.say, answer.error) == (-1, {}, "", "")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, "lost"),
        (0, 1),
        (0, None),
        (0, []),
        (1, "4.0.0"),
        (1, "2.0"),
        (1, "2.0.0\n"),
        (1, "2.0.0000"),
        (1, "２.0.0"),
        (1, 2),
        (2, None),
        (2, ["x"]),
        (3, 1),
        (6, "x"),
        (6, ["x"] * 41),
        (6, [1]),
        (7, -1),
        (7, 79),
        (7, True),
        (7, "0"),
        (8, 1),
    ],
)
def test_a_field_of_another_kind_is_not_believed(at: int, value: object) -> None:
    decode(line(), 1)
    with pytest.raises(BadAnswer):
        decode(line(at=at, value=value), 1)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"hello",
        b"[]",
        b"1",
        b"\xff",
        b"[" * 100000,
        b'{"job": 1}',
        b'{"job": -2}',
        b'{"job": true}',
        b'{"job": "0"}',
        b'{"job": 0, "outcomes": []}',
        b'{"job": 0, "outcomes": {"0": []}}',
        b'{"job": 0, "outcomes": {"-1": %b}}' % json.dumps(GOOD).encode(),
        b'{"job": 0, "outcomes": {"1_0": %b}}' % json.dumps(GOOD).encode(),
        b'{"say": 1}',
        b'{"error": []}',
    ],
)
def test_a_line_that_no_worker_writes_is_not_believed(said: bytes) -> None:
    with pytest.raises(BadAnswer):
        decode(said, 1)


@pytest.mark.parametrize("at", [2, 3, 4, 5])
def test_text_is_cleaned_and_cut(at: int) -> None:
    (outcome,) = decode(line(at=at, value="a\x1b[2J\n" + "x" * 5000), 1).outcomes.values()
    text = astuple(outcome)[at]
    assert text.startswith("a?[2J?xxx") and text.endswith("...") and len(text) < 1000
    (transcript,) = (o.transcript for o in decode(line(at=6, value=["\n."]), 1).outcomes.values())
    assert transcript == ("?.",)
    assert decode(b'{"say": "\\u001b]0;x"}', 1).say == "?]0;x"


def test_a_job_is_complete_when_every_user_has_a_fate() -> None:
    progress = Progress(job("h", "x@a", "y@a", JobUser(b"x@a")))
    sent, failed = Outcome(Fate.SENT, "2.0.0", "Sent"), Outcome(Fate.FAILED, "5.0.0", "no")
    progress.add({0: sent})
    assert not progress.is_complete
    progress.add({0: failed, 1: failed})
    assert progress.is_complete
    assert progress.outcomes == {b"x@a": sent, b"y@a": failed}
    with pytest.raises(BadAnswer):
        progress.add({3: sent})
