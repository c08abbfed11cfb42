import os

import pytest

from minimta.message.outcome import Fate, Outcome, from_exit_code


@pytest.mark.parametrize(
    ("code", "fate"),
    [
        (os.EX_OK, Fate.SENT),
        (os.EX_TEMPFAIL, Fate.DEFERRED),
        (os.EX_OSERR, Fate.DEFERRED),
        (os.EX_IOERR, Fate.DEFERRED),
        *[
            (code, Fate.FAILED)
            for code in range(64, 79)
            if code not in (os.EX_OSERR, os.EX_IOERR, os.EX_TEMPFAIL)
        ],
        (1, Fate.FAILED),
        (255, Fate.FAILED),
        (-9, Fate.DEFERRED),
    ],
)
def test_an_exit_code_decides_the_fate(code: int, fate: Fate) -> None:
    outcome = from_exit_code(code)
    assert outcome.fate is fate
    assert outcome.status[0] == {Fate.SENT: "2", Fate.DEFERRED: "4", Fate.FAILED: "5"}[fate]


def test_the_log_and_mailq_show_a_remedy_to_its_end() -> None:
    remedy = f"its authority in CACertFile, or a row: [{'h' * 40}]:587 fingerprint sha256:..."
    text = f"TLS: {'the chain of its certificate is not complete ' * 4}; to allow it: {remedy}"
    assert Outcome(Fate.DEFERRED, "4.7.5", text).stat == f"Deferred: {text}"
    assert len(Outcome(Fate.DEFERRED, "4.7.5", "x" * 4000).stat) == 410


def test_a_person_is_told_the_transcript_without_dialogue_and_codes() -> None:
    lines = (">>> RCPT To:<x>", "some output", "550 5.1.1 x... User unknown", "554 odd", "421")
    outcome = Outcome(Fate.FAILED, "5.1.1", "User unknown", transcript=lines)
    assert outcome.told() == ["x... User unknown", "odd", "421"]
