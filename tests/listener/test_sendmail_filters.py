"""What Sendmail 8.17.1 told a filter in the same sessions, and what became of them, side by side.

``sendmail_filters.json`` was recorded from Debian 12's sendmail by the filter of ``fakefilter``: the
packets with their macros, the replies, and the queue file. Differences that are meant stand here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from minimta.config import filters
from minimta.queue.control import decode
from tests.support.fakefilter import Answer, FakeFilter
from tests.support.smtphost import ClientEnd, SmtpHost

CASES = json.loads(Path(__file__).with_name("sendmail_filters.json").read_text())
#: name of a session -> what is not compared, and why
DIFFERS = {
    # A second name is asked about again; Sendmail has done with the session.
    "rejhelo": {"packets"},
    # The field that a filter adds is not one of those that we would have added.
    "add": {"fields"},
}
#: what stands in a Full-Name field never leaves the queue; who has a name here is another question
UNSEEN = ("Full-Name: ",)


def play(host: SmtpHost, tmp_path: Path, case: dict[str, object]) -> tuple[list[str], list[str]]:
    """(replies, packets) of the session."""
    given = case["answers"]
    assert isinstance(given, dict)
    answers: dict[str, Answer] = {
        letter: [text.encode("latin-1") for text in texts] if texts != [""] else b""
        for letter, texts in given.items()
    }
    wishes, lines = case["wishes"], case["lines"]
    assert isinstance(wishes, int) and isinstance(lines, list)
    with FakeFilter(tmp_path / "filter", answers, wishes=wishes) as one:
        host.options.mail_filters = filters.read(one.row(times="C:9s;S:9s;R:9s;E:9s"))
        host.options.input_mail_filters = ("one",)
        peer = host.connect("127.0.0.1", "localhost")
        replies = [reply for line in lines if (reply := said(peer, line)) is not None]
        peer.handler.end()
        one.all_said()
        return replies, list(shown(one.packets))


def said(peer: ClientEnd, line: str) -> str | None:
    if peer.session.is_closed:
        return None
    reply = "|".join(peer.sends(line.encode() + b"\r\n"))
    reply = "250" if line.startswith("EHLO") and reply.startswith("250") else reply
    return re.sub(r"2\.0\.0 \S+ Message", "2.0.0 QID Message", reply)


def shown(packets: list[tuple[str, bytes]]) -> list[str]:
    found = []
    for letter, data in packets:
        if letter == "D":
            parts = [part.decode() for part in data[1:].split(b"\0")[:-1]]
            pairs = dict(zip(parts[::2], parts[1::2], strict=True))
            found.append(f"D{data[:1].decode()} {pairs}")
        elif letter == "C":
            found.append("C " + data.partition(b"\0")[0].decode())
        elif letter != "O":
            found.append(f"{letter} {repr(data)[2:-1]}")
    text = "\n".join(found)
    text = re.sub(r"'i': '[^']*'", "'i': 'QID'", text)
    return re.sub(r"<2019\d+\.[^@]*@", "<QID@", text).split("\n")


def without_abort(packets: list[str]) -> list[str]:
    """Sendmail sends no abort in front of the last quit."""
    return packets[:-2] + packets[-1:] if packets[-2:] == ["A ", "Q "] else packets


def queued(host: SmtpHost) -> tuple[list[str], list[str]]:
    """Fields of the header, lines of the envelope."""
    kept = [name for name in host.files() if name[:2] in ("qf", "hf")]
    if not kept:
        return [], []
    control = decode((host.mqueue / kept[0]).read_bytes())
    fields = [field.decode("latin-1").split("\n")[0] for flag, field in control.headers]
    own = ("Received: from lab1.campus (", "Return-Path")
    fields = [
        field if not field.startswith(own) else re.split("[: ]", field)[0] for field in fields
    ]
    made = r"(Date|Message-Id): (Mon, 18 Nov 2019 20:03:09 \+0000|<2019\d+\..*)"
    is_null = control.reverse_path == b"<>"
    fields = [re.sub(made, r"\1", field) if is_null else field for field in fields]
    lines = [f"S{control.reverse_path.decode()}"]
    lines += [f"R{one.flags}:{one.address.decode()}" for one in control.recipients]
    return fields, [*([f"q{control.quarantine}"] if control.quarantine else []), *lines]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_filter_is_told_what_sendmail_tells_it(
    host: SmtpHost, tmp_path: Path, case: dict[str, object]
) -> None:
    replies, packets = play(host, tmp_path, case)
    fields, envelope = queued(host)
    expected = {"packets": case["packets"], "replies": case["replies"]}
    assert isinstance(case["fields"], list) and isinstance(case["packets"], list)
    expected["fields"] = [one for one in case["fields"] if not one.startswith(UNSEEN)]
    expected["envelope"] = case["envelope"]
    expected["packets"] = without_abort(case["packets"])
    got = {
        "packets": without_abort(packets),
        "replies": replies,
        "fields": fields,
        "envelope": envelope,
    }
    for part in DIFFERS.get(str(case["name"]), set()):
        del expected[part], got[part]
    assert got == expected
