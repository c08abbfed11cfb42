"""Filters that answer anything: no traceback, no reply out of step, nothing half done."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from minimta.config import filters
from minimta.milter.protocol import packet
from minimta.system import log
from tests.support.fakefilter import ALL, FakeFilter
from tests.support.smtphost import STRANGER, SmtpHost

_LETTERS = b"catrdsyfhimeqb+-2p4lOxQ\0\xff"
_WORDS = [
    b"X-A",
    b"",
    b"<a@b>",
    b"550 5.7.1 x",
    b"421 x",
    b"Subject",
    b"\r\n",
    b"\xc3\xa9",
    b"%",
    b"|x",
]


def answer(chance: random.Random) -> list[bytes]:
    """Packets, whole, cut, or none at all."""
    count = chance.choice((0, 1, 1, 1, 2, 3, 8))
    return [b"raw" + one(chance) for _ in range(count)]


def one(chance: random.Random) -> bytes:
    kind = chance.randrange(40)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 40))
    letter = bytes([chance.choice(_LETTERS)])
    data = b"".join(
        chance.choice(_WORDS) + chance.choice((b"\0", b"\0", b""))
        for _ in range(chance.randrange(4))
    )
    if letter in b"im":
        data = struct.pack(">I", chance.choice((0, 1, 9, 2**32 - 1))) + data
    whole = packet(letter, b"" if kind < 16 else data)
    return whole[: chance.randrange(len(whole))] if kind == 39 else whole


def session(host: SmtpHost, path: Path, seed: int) -> None:
    """One session with a filter of random answers; every command has one reply."""
    chance = random.Random(seed)
    path.unlink(missing_ok=True)
    bad = chance.choice("OCHMRTLNBE")
    answers = {bad: lambda data: answer(chance) or b"", "O": b"raw" + negotiation(chance)}
    if bad != "O" or chance.random() < 0.5:
        del answers["O"]
    with FakeFilter(path, answers, actions=ALL) as filter_:  # type: ignore[arg-type]
        flags = chance.choice(("", "T", "R", "4"))
        # The filter hangs up after an empty answer; what is cut short is waited for.
        host.options.mail_filters = filters.read(filter_.row(flags=flags, times="R:1s;E:1s"))
        host.options.input_mail_filters = ("one",)
        peer = host.connect(*STRANGER)
        for line in ("EHLO a.b", "MAIL FROM:<emma@lab1.campus>", "RCPT TO:<dave>", "DATA"):
            if not peer.session.is_closed:
                replies = peer.says(line)
                assert one_reply(replies), (seed, line, replies)
        if replies[0].startswith("354"):
            replies = peer.sends(b"Subject: x\r\n\r\nHi\r\n.\r\n")
            assert one_reply(replies), (seed, replies)
        if not peer.session.is_closed:
            assert peer.says("NOOP")[-1][:3] in ("250", "421", "451", "550"), seed
        peer.handler.end()
    for control, body in host.queued():
        assert body.endswith(b"\n") and b"\r" not in body and b"\0" not in body, seed
        assert control.recipients, seed
    for name in host.files():
        (host.mqueue / name).unlink()


def one_reply(replies: list[str]) -> bool:
    """Lines of one code, all but the last with a hyphen?"""
    codes = {line[:3] for line in replies}
    marks = "".join(line[3:4] for line in replies)
    return len(codes) == 1 and replies[0][:3].isdigit() and marks == "-" * (len(marks) - 1) + " "


def negotiation(chance: random.Random) -> bytes:
    fields = [chance.choice((0, 2, 6, 7, 0x1FF, 2**32 - 1)) for _ in range(chance.randrange(5))]
    return packet(b"O", b"".join(struct.pack(">I", field) for field in fields))


def run(host: SmtpHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: range) -> None:
    def bug(qid: str, what: str) -> None:
        raise AssertionError(f"a traceback: {what}")

    monkeypatch.setattr(log, "bug", bug)
    for seed in seeds:
        session(host, tmp_path / "filter", seed)


def test_three_hundred_hostile_filters(
    host: SmtpHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(host, tmp_path, monkeypatch, range(300))


@pytest.mark.long
def test_ten_thousand_hostile_filters(
    host: SmtpHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(host, tmp_path, monkeypatch, range(10_000))
