"""What is remembered of the conversations with a next hop."""

from __future__ import annotations

from minimta.mailers.remote.dialogue import RecordedDialogue
from minimta.message.outcome import DIALOGUE, Fate, Outcome, deferred
from tests.mailers.remote.test_delivery import deliver
from tests.support.fakesmtp import DROP, FakeSmtp
from tests.support.jobs import job

SENT = Outcome(Fate.SENT, "2.0.0", "Sent")


def test_a_message_has_the_opening_and_its_own_part_only() -> None:
    told: list[str] = []
    dialogue = RecordedDialogue(told.append)
    dialogue.connect("a. [10.0.3.1] port 25")
    dialogue.hear("220 a")
    dialogue.begin("first")
    dialogue.hear(">>> MAIL From:<one@a>")
    dialogue.begin("second")
    dialogue.hear(">>> MAIL From:<two@a>")
    assert dialogue.of("second") == (
        "=== a. [10.0.3.1] port 25",
        "220 a",
        ">>> MAIL From:<two@a>",
    )
    assert told == ["220 a", ">>> MAIL From:<one@a>", ">>> MAIL From:<two@a>"]


def test_of_an_earlier_host_the_opening_stays_and_another_message_does_not() -> None:
    dialogue = RecordedDialogue()
    for host in ("a", "b"):
        dialogue.connect(host)
        dialogue.begin(host)
        dialogue.hear(f"about {host}")
    assert dialogue.of("b") == ("=== a", "=== b", "about b")
    assert dialogue.of("a") == ("=== a", "about a", "=== b")


def test_a_peer_without_end_fills_no_memory() -> None:
    dialogue = RecordedDialogue()
    for _ in range(50):
        dialogue.connect("a")
        dialogue.begin("x")
        for number in range(1000):
            dialogue.hear(f"{number} {'y' * 10_000}")
    assert sum(len(line) + 1 for line in dialogue.of("x")) <= DIALOGUE
    assert sum(len(part) for _, _, part in dialogue._earlier) <= 5 * 400


def test_only_what_failed_has_it() -> None:
    dialogue = RecordedDialogue()
    dialogue.connect("a")
    outcomes = dialogue.added_to({b"x": SENT, b"y": deferred("4.2.2", "full")}, "m")
    assert outcomes[b"x"].dialogue == () and outcomes[b"y"].dialogue == ("=== a",)


def test_a_refusal_comes_with_what_was_said_and_without_text() -> None:
    with FakeSmtp(answers={".": ["552 5.2.3 too big for me"]}) as peer:
        ((outcome,),) = (fates.values() for fates in deliver(job(peer.host)))
    assert outcome.dialogue[0] == f"=== [127.0.0.1] [127.0.0.1] port {peer.port}"
    assert outcome.dialogue[1] == "220 sink.campus ESMTP fake"
    assert ">>> DATA" in outcome.dialogue and outcome.dialogue[-1] == "552 5.2.3 too big for me"
    assert not any("body" in line or "Subject" in line for line in outcome.dialogue)


def test_a_success_carries_nothing() -> None:
    with FakeSmtp() as peer:
        ((outcome,),) = (fates.values() for fates in deliver(job(peer.host)))
    assert outcome.dialogue == ()


def test_a_connection_that_breaks_is_told() -> None:
    with FakeSmtp(answers={"MAIL": [DROP]}) as peer:
        ((outcome,),) = (fates.values() for fates in deliver(job(peer.host)))
    assert outcome.dialogue[-1] == "=== reply: read error from [127.0.0.1]"
    assert any(line.startswith(">>> MAIL") for line in outcome.dialogue)
