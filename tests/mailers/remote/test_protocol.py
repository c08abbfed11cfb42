from __future__ import annotations

import json
from dataclasses import fields

import pytest

from minimta.mailers.remote import protocol
from minimta.mailers.remote.host_status import HostStatus
from minimta.mailers.remote.lines import (
    AliveLine,
    DialogueLine,
    ErrorLine,
    HostLine,
    KeptLine,
    Line,
    LoginLine,
    LogLine,
    NameLine,
    OutcomesLine,
    ProblemLine,
    ResultLine,
    SayLine,
    StsLine,
    TakenLine,
    TargetLine,
    TlsLine,
)
from minimta.mailers.remote.mx_targets import Target
from minimta.mailers.remote.protocol import BadLine, decode, encode
from minimta.message.outcome import Fate, Outcome
from minimta.system.tls_values import TlsFacts

OUTCOME = Outcome(
    Fate.FAILED, "5.1.1", "User unknown", "a. [::1]", "a", "550 no", ("x", "y"), 67, True
)
LINES: list[Line] = [
    OutcomesLine(2, {0: Outcome(Fate.SENT, "2.0.0", "Sent (ok)"), 1: OUTCOME}),
    DialogueLine(2, (">>> EHLO lab1.campus", "250 sink.campus")),
    SayLine(">>> EHLO lab1.campus"),
    LogLine(1, "a fact"),
    LogLine(-1, "a fact"),
    TlsLine("[IPv6:::1]", TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "OK")),
    LoginLine("[smtp.example.org]:587", "[smtp.example.org]", True, "PLAIN", 256),
    LoginLine("[127.0.0.1]", "[127.0.0.1]", False, "refused: 535 5.7.8 no", 0),
    ErrorLine("ValueError: x"),
    AliveLine(),
    KeptLine(),
    TakenLine(),
    TargetLine(Target("mx.campus.", "10.0.3.136", 25, 10, vouched=True)),
    ProblemLine(OUTCOME),
    HostLine(HostStatus("mx.campus:2525", 111, "4.4.1", 75)),
    StsLine("lab2.campus", "2026", "enforce", 86400, ("mx.lab2.campus", "*.hoster.example")),
    StsLine(
        "lab2.campus", "2026", trouble="the server answers 404", result="sts-policy-fetch-error"
    ),
    ResultLine("lab2.campus", "tlsa", "mx.lab2.campus", "dnssec-invalid", ("3 1 1 0b9f",)),
    ResultLine("lab2.campus", "no-policy-found", "mx.lab2.campus", ""),
    NameLine("mx.campus"),
]

GOOD = {
    "fate": "delivered",
    "status": "2.0.0",
    "text": "Sent (ok)",
    "relay": "a. [1.2.3.4]",
    "remote_mta": "a",
    "diagnostic": "",
    "transcript": [],
    "exit_code": 0,
    "dsn_passed_on": False,
    "is_busy": False,
    "turn": 0.0,
    "is_remembered": False,
}
TARGET = {
    "name": "mx.campus.",
    "address": "10.0.3.136",
    "port": 25,
    "preference": 10,
    "vouched": False,
}


def told(kind: str, **fields: object) -> bytes:
    return json.dumps({"kind": kind, **fields}).encode()


def outcomes(**replaced: object) -> bytes:
    """A report with fields of its outcome replaced."""
    return told("outcomes", job=0, outcomes={"0": {**GOOD, **replaced}})


STS = {
    "domain": "lab2.campus",
    "id": "1",
    "mode": "enforce",
    "max_age": 5,
    "mx": ["a.campus"],
    "trouble": "",
    "result": "",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("domain", "a b"),
        ("domain", "a, relay=x"),
        ("id", "1\n"),
        ("mode", "enforced"),
        ("mode", None),
        ("max_age", -1),
        ("max_age", 31_557_601),
        ("max_age", True),
        ("mx", "a.campus"),
        ("mx", [1]),
        ("mx", ["A.campus"]),
        ("mx", ["a.campus\nmode: none"]),
        ("mx", ["*.*.campus"]),
        ("mx", ["a.campus"] * 101),
        ("result", "a b"),
        ("unheard_of", 1),
    ],
)
def test_a_policy_of_another_kind_is_not_believed(name: str, value: object) -> None:
    decode(told("sts", **STS))
    with pytest.raises(BadLine):
        decode(told("sts", **{**STS, name: value}))


RESULT = {"domain": "a.campus", "policy_type": "sts", "host": "b", "result": "", "policy": ["x"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("domain", "a\nb"),
        ("policy_type", ""),
        ("policy_type", "dane"),
        ("host", "a b"),
        ("result", None),
        ("policy", "x"),
        ("policy", [1]),
        ("policy", ["x"] * 104),
        ("unheard_of", 1),
    ],
)
def test_a_result_of_another_kind_is_not_believed(name: str, value: object) -> None:
    decode(told("result", **RESULT))
    with pytest.raises(BadLine):
        decode(told("result", **{**RESULT, name: value}))


def without(name: str, table: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if key != name}


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_what_is_written_is_read_back(line: Line) -> None:
    octets = encode(line)
    assert octets.endswith(b"\n") and octets.count(b"\n") == 1
    assert decode(octets, 3) == line


def test_there_is_a_line_of_every_kind_here() -> None:
    assert {type(line) for line in LINES} == set(protocol._KIND_OF)


@pytest.mark.parametrize("value", [Outcome, Target, HostStatus, TlsFacts])
def test_every_field_of_a_value_crosses(value: type) -> None:
    # The dialogue has a line of its own, for all users of a job together.
    names = [field.name for field in fields(value) if field.name != "dialogue"]
    assert list(protocol._FIELDS[value]) == names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fate", "lost"),
        ("fate", 1),
        ("fate", None),
        ("fate", []),
        ("status", "4.0.0"),
        ("status", "2.0"),
        ("status", "2.0.0\n"),
        ("status", "2.0.0000"),
        ("status", "２.0.0"),
        ("status", 2),
        ("text", None),
        ("text", ["x"]),
        ("relay", 1),
        ("transcript", "x"),
        ("transcript", ["x"] * 41),
        ("transcript", [1]),
        ("exit_code", -1),
        ("exit_code", 79),
        ("exit_code", True),
        ("exit_code", "0"),
        ("dsn_passed_on", 1),
        ("is_busy", 1),
        ("turn", 5.0),
        ("turn", 0),
        ("turn", False),
        ("is_remembered", 1),
        ("unheard_of", 1),
    ],
)
def test_a_field_of_another_kind_is_not_believed(name: str, value: object) -> None:
    decode(outcomes(), 1)
    with pytest.raises(BadLine):
        decode(outcomes(**{name: value}), 1)


@pytest.mark.parametrize("name", GOOD)
def test_an_outcome_that_lacks_a_field_is_not_believed(name: str) -> None:
    with pytest.raises(BadLine, match="fields"):
        decode(told("outcomes", job=0, outcomes={"0": without(name, GOOD)}), 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", None),
        ("address", 1),
        ("port", -1),
        ("port", 65536),
        ("port", "25"),
        ("preference", -2),
        ("preference", 65536),
        ("vouched", 0),
        ("unheard_of", 1),
    ],
)
def test_a_target_of_another_kind_is_not_believed(name: str, value: object) -> None:
    decode(told("target", target=TARGET))
    with pytest.raises(BadLine):
        decode(told("target", target={**TARGET, name: value}))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"hello",
        b"[]",
        b"1",
        b"\xff",
        b"{}",
        b"[" * 100000,
        b'{"kind": 1}',
        b'{"kind": []}',
        b'{"kind": "nonsense"}',
        b'{"kind": "alive", "more": 1}',
        told("outcomes", job=1, outcomes={}),
        told("outcomes", job=-1, outcomes={}),
        told("outcomes", job=-2, outcomes={}),
        told("outcomes", job=True, outcomes={}),
        told("outcomes", job="0", outcomes={}),
        told("outcomes", job=0.0, outcomes={}),
        told("outcomes", outcomes={}),
        told("outcomes", job=0),
        told("outcomes", job=0, outcomes=[]),
        told("outcomes", job=0, outcomes={"0": []}),
        told("outcomes", job=0, outcomes={"0": list(GOOD.values())}),
        told("outcomes", job=0, outcomes={"-1": GOOD}),
        told("outcomes", job=0, outcomes={"1_0": GOOD}),
        told("outcomes", job=0, outcomes={"١": GOOD}),
        told("say", text=1),
        told("error", text=[]),
        told("log", job=1, text="x"),
        told("log", job=-2, text="x"),
        told("log", text="x"),
        told("name", text=None),
        told("target", target=[]),
        told("problem", outcome={}),
    ],
)
def test_a_line_that_no_worker_writes_is_not_believed(said: bytes) -> None:
    with pytest.raises(BadLine):
        decode(said, 1)


@pytest.mark.parametrize("name", ["text", "relay", "remote_mta", "diagnostic"])
def test_text_is_cleaned_and_cut(name: str) -> None:
    line = decode(outcomes(**{name: "a\x1b[2J\n" + "x" * 5000}), 1)
    assert isinstance(line, OutcomesLine)
    text = getattr(line.outcomes[0], name)
    assert text.startswith("a?[2J?xxx") and text.endswith("...") and len(text) < 1000
    line = decode(outcomes(transcript=["\n."]), 1)
    assert isinstance(line, OutcomesLine)
    assert line.outcomes[0].transcript == ("?.",)


@pytest.mark.parametrize("kind", ["say", "error", "name"])
def test_a_line_of_text_is_cleaned(kind: str) -> None:
    line = decode(told(kind, text="\x1b]0;x"))
    assert isinstance(line, SayLine | ErrorLine | NameLine)
    assert line.text == "?]0;x"


def test_a_line_for_the_log_is_cleaned_and_cut() -> None:
    line = decode(told("log", job=-1, text="x\nsm-mta[1]: y" + "z" * 5000))
    assert isinstance(line, LogLine)
    assert line.text.startswith("x?sm-mta") and len(line.text) == 600


@pytest.mark.parametrize(
    "word", ["a, relay=[192.0.2.1]", "a b", "a\n", "x" * 256, "\u00e9", 1, None]
)
@pytest.mark.parametrize("name", ["relay", "version", "cipher", "verify"])
def test_what_tls_there_is_is_told_in_words(name: str, word: object) -> None:
    """They stand among the facts of a log line; a second one there would be forged."""
    said: dict[str, object] = {"version": "TLSv1.3", "cipher": "X", "bits": 256, "verify": "OK"}
    decode(told("tls", relay="mx.campus.", facts=said))
    relay = word if name == "relay" else "mx.campus."
    with pytest.raises(BadLine):
        decode(told("tls", relay=relay, facts={**said, **({name: word} if name in said else {})}))


@pytest.mark.parametrize("lines", ["x", [1], ["x"] * 20000, None])
def test_what_is_no_dialogue_is_refused(lines: object) -> None:
    with pytest.raises(BadLine):
        decode(told("dialogue", job=0, lines=lines), 1)


def test_a_dialogue_is_cleaned_and_bounded() -> None:
    line = decode(told("dialogue", job=0, lines=["\x1b]0;x\n", *["y" * 5000] * 100]), 1)
    assert isinstance(line, DialogueLine)
    assert line.lines[0] == "?]0;x?"
    assert sum(len(one) + 1 for one in line.lines) <= 16 * 1024
    assert "lines are left out" in " ".join(line.lines)


def test_a_dialogue_is_about_a_job_that_there_is() -> None:
    with pytest.raises(BadLine):
        decode(told("dialogue", job=1, lines=[]), 1)
