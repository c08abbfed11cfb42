"""The way to a next hop, as it is told to people."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

from minimta.config.options import Options
from minimta.mailers.remote import route_preview
from minimta.mailers.remote.lines import LogLine, NameLine
from minimta.mailers.remote.protocol import encode
from minimta.mailers.remote.route_preview import RoutePreview, RoutePreviewer
from minimta.message.outcome import Fate
from minimta.system import privileges
from minimta.system.users import User
from tests.support.fakedns import FakeDns, Zone

ZONE: Zone = {
    "lab3.campus": {"MX": ["20 mx2.campus.", "10 mx.campus."], "A": ["10.0.3.136"]},
    "mx.campus": {"A": ["10.0.3.136"]},
    "mx2.campus": {"A": ["10.0.3.137"]},
    "plain.campus": {"A": ["10.0.3.138"]},
    "half.campus": {"MX": ["10 gone.campus.", "20 mx2.campus."]},
    "null.campus": {"MX": ["0 ."]},
    "back.campus": {"MX": ["10 lab2.campus."]},
    "lab2.campus": {"A": ["10.0.3.135"]},
    "both.campus": {"MX": ["10 bad.campus.", "20 gone.campus."]},
    "bad.campus": "SERVFAIL",
}


@pytest.fixture
def options() -> Options:
    options = Options()
    options.host_name = "lab2.campus"
    options.run_as_user = ""
    options.local_host_names = "/nonexistent"
    return options


@pytest.fixture
def previewer(options: Options) -> Iterator[RoutePreviewer]:
    with FakeDns(ZONE) as server:
        yield RoutePreviewer(options, server.address)


def targets(preview: RoutePreview) -> list[tuple[int, str, str, int]]:
    return [(found.preference, found.name, found.address, found.port) for found in preview.targets]


def test_the_addresses_stand_in_the_order_of_the_mx_records(previewer: RoutePreviewer) -> None:
    preview = previewer.preview("lab3.campus", option="")
    assert targets(preview) == [
        (10, "mx.campus.", "10.0.3.136", 25),
        (20, "mx2.campus.", "10.0.3.137", 25),
    ]
    assert (preview.fate, preview.problems) == (Fate.SENT, [])


def test_a_host_without_mx_records_is_its_own(previewer: RoutePreviewer) -> None:
    assert targets(previewer.preview("plain.campus:2525", option="")) == [
        (-1, "plain.campus.", "10.0.3.138", 2525)
    ]


def test_brackets_ask_for_no_mx_records(previewer: RoutePreviewer) -> None:
    assert targets(previewer.preview("[127.0.0.1]:2525", option="SmartHost")) == [
        (-1, "[127.0.0.1]", "127.0.0.1", 2525)
    ]


@pytest.mark.parametrize(
    ("next_hop", "fate", "text"),
    [
        ("nosuch.campus", Fate.FAILED, "host not found"),
        ("null.campus", Fate.FAILED, "null MX"),
        ("back.campus", Fate.FAILED, "points back to lab2.campus"),
        ("[127.0.0.1]", Fate.FAILED, "points back to lab2.campus"),
        ("bad.campus", Fate.DEFERRED, "host name lookup failure"),
        ("lab3.campus:no", Fate.DEFERRED, "bad next hop"),
    ],
)
def test_where_there_is_no_way_the_reason_is_told(
    previewer: RoutePreviewer, next_hop: str, fate: Fate, text: str
) -> None:
    preview = previewer.preview(next_hop, option="")
    assert (preview.fate, targets(preview)) == (fate, [])
    assert text in preview.problems[-1].text


@pytest.mark.parametrize("next_hop", ["nosuch.campus", "null.campus", "back.campus"])
def test_the_way_to_a_configured_host_that_is_no_good_is_not_known_yet(
    previewer: RoutePreviewer, next_hop: str
) -> None:
    preview = previewer.preview(next_hop, option="SmartHost")
    assert (preview.fate, targets(preview)) == (Fate.DEFERRED, [])
    assert f"SmartHost {next_hop}: " in preview.problems[-1].text


def test_a_host_of_the_list_that_is_not_there_is_told_beside_the_others(
    previewer: RoutePreviewer,
) -> None:
    preview = previewer.preview("half.campus", option="")
    assert [name for _, name, _, _ in targets(preview)] == ["mx2.campus."]
    assert ["gone.campus" in problem.text for problem in preview.problems] == [True]
    assert preview.fate is Fate.SENT


def test_one_host_that_cannot_be_asked_outweighs_those_that_are_not_there(
    previewer: RoutePreviewer,
) -> None:
    preview = previewer.preview("both.campus", option="")
    assert (preview.fate, targets(preview)) == (Fate.DEFERRED, [])
    assert [problem.fate for problem in preview.problems] == [Fate.DEFERRED, Fate.FAILED]


def test_exchangers_are_hosts_by_preference_or_the_domain_itself(previewer: RoutePreviewer) -> None:
    assert previewer.exchangers("lab3.campus") == ["mx.campus", "mx2.campus"]
    assert previewer.exchangers("plain.campus") == ["plain.campus"]


def test_no_such_host_is_not_the_same_as_no_answer(previewer: RoutePreviewer) -> None:
    with pytest.raises(FileNotFoundError, match="host not found"):
        previewer.exchangers("nosuch.campus")
    with pytest.raises(BlockingIOError, match="lookup failure"):
        previewer.exchangers("bad.campus")


def test_a_name_of_this_host_is_found_in_its_own_tables(previewer: RoutePreviewer) -> None:
    assert previewer.canonical("localhost")
    with pytest.raises(FileNotFoundError):
        previewer.canonical("no host at all")


def told(kind: str, **fields: object) -> bytes:
    return json.dumps({"kind": kind, **fields}).encode()


TARGET: dict[str, object] = {
    "name": "mx.campus.", "address": "10.0.3.136", "port": 25, "preference": 10, "vouched": False
}  # fmt: skip
PROBLEM = {
    **dict.fromkeys(("relay", "remote_mta", "diagnostic"), ""),
    "fate": "failed", "status": "5.1.2", "text": "red \x1b[31m",
    "transcript": [], "exit_code": 68, "dsn_passed_on": False, "is_busy": False, "turn": 0.0,
    "is_remembered": False,
}  # fmt: skip
ANSWERS: list[tuple[bytes, str]] = [
    (b"", "no clear answer"),
    (told("target", target={"name": "mx.campus."}), "no clear answer"),
    (told("target", target={**TARGET, "preference": "ten"}), "no clear answer"),
    (told("target", target={**TARGET, "port": 65536}), "no clear answer"),
    (told("target", target={**TARGET, "more": 1}), "no clear answer"),
    (told("problem", outcome={**PROBLEM, "fate": "somehow"}), "no clear answer"),
    (told("say", text="not for a preview"), "no clear answer"),
    (told("problem", outcome=PROBLEM), "red ?[31m"),
]


@pytest.mark.parametrize(("answer", "text"), ANSWERS)
def test_what_the_process_without_rights_says_is_not_believed_unchecked(
    previewer: RoutePreviewer, monkeypatch: pytest.MonkeyPatch, answer: bytes, text: str
) -> None:
    monkeypatch.setattr(privileges, "as_user", lambda *arguments: answer)
    preview = previewer.preview("lab3.campus", option="")
    assert (targets(preview), [text in problem.text for problem in preview.problems]) == (
        [],
        [True],
    )


def test_what_it_wants_logged_is_logged_behind_our_words(
    previewer: RoutePreviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    answer = encode(LogLine(-1, "ruleset=check_rcpt, relay=[10.0.3.1]\n")) + told(
        "target", target=TARGET
    )
    monkeypatch.setattr(privileges, "as_user", lambda *arguments: answer)
    monkeypatch.setattr("minimta.system.log.line", lambda qid, text, **_: lines.append(text))
    preview = previewer.preview("lab3.campus", option="")
    assert (len(preview.targets), preview.problems) == (1, [])
    assert lines == ["route preview: ruleset=check_rcpt, relay=[10.0.3.1]?"]


def test_a_process_that_dies_is_no_proof_of_anything(
    previewer: RoutePreviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(user: User, act: Callable[[], bytes], seconds: float) -> bytes:
        raise OSError(5, "the process that acts for the user died")

    monkeypatch.setattr(privileges, "as_user", die)
    assert previewer.preview("lab3.campus", option="").fate is Fate.DEFERRED


@pytest.mark.root
def test_root_has_name_servers_asked_by_somebody_without_rights(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    options.run_as_user = "nobody"
    monkeypatch.setattr(route_preview, "_canonical", lambda host: [NameLine(str(os.geteuid()))])
    assert RoutePreviewer(options).canonical("localhost") not in ("", "0")
    options.run_as_user = "no-such-user"
    with pytest.raises(OSError, match="no-such-user"):
        RoutePreviewer(options).canonical("localhost")
