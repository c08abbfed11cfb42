from __future__ import annotations

import itertools

import pytest

from minimta.smtp.reply import reply
from minimta.smtp.state import AFTER, State, advance, out_of_order

OK, NO = reply(250, "2.0.0", "ok"), reply(451, "4.3.0", "later")
VERBS = sorted({verb for _, verb in AFTER})


@pytest.mark.parametrize(("state", "verb"), list(itertools.product(State, VERBS)))
def test_a_pair_is_in_the_table_or_answered_503(state: State, verb: str) -> None:
    answer = out_of_order(state, verb)
    assert ((state, verb) in AFTER) == (answer is None)
    assert answer is None or answer.code == 503


@pytest.mark.parametrize(("state", "verb"), list(AFTER))
def test_a_refusal_moves_the_state_only_after_the_final_dot(state: State, verb: str) -> None:
    expected = State.IDLE if verb == "." else state
    assert advance(state, verb, NO) is expected


def test_the_lesson_session_reaches_data() -> None:
    state = State.IDLE
    for verb in ("HELO", "MAIL", "RCPT", "RCPT", "DATA"):
        assert out_of_order(state, verb) is None
        state = advance(state, verb, OK)
    assert state is State.DATA
