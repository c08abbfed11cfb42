"""SMTP dialogues as text files: see tests/dialogues/README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent / "dialogues"


@dataclass
class Dialogue:
    """One file."""

    name: str
    #: who speaks ("S", "C"), and the octets that are said at once; ("TLS", b"") is the handshake
    steps: list[tuple[str, bytes]] = field(default_factory=list)
    #: of the table of TLSPolicy
    row: str = ""
    #: "sent", "deferred" or "failed", and how the text begins
    end: tuple[str, str] = ("", "")

    def said_by(self, who: str) -> list[bytes]:
        """All that *who* says, piece by piece."""
        return [octets for speaker, octets in self.steps if speaker == who]


def read(path: Path) -> Dialogue:
    """The dialogue in a file."""
    found = Dialogue(path.stem)
    lines = [line for line in path.read_text().split("\n") if line and line[0] != "#"]
    for who, group in groupby(lines, key=lambda line: line.partition(":")[0].partition(" ")[0]):
        texts = [line.partition(":")[2].removeprefix(" ") for line in group]
        if who == "row":
            (found.row,) = texts
        elif who == "=":
            fate = lines[-1].removeprefix("= ").partition(":")[0]
            found.end = (fate, texts[0])
        else:
            assert who in ("S", "C", "TLS"), f"{path}: {who}?"
            octets = b"" if who == "TLS" else "".join(f"{text}\r\n" for text in texts).encode()
            found.steps.append((who, octets))
    assert found.end[0], f"{path}: how does it end?"
    return found


def of(side: str) -> list[Dialogue]:
    """All dialogues of a directory: "client"."""
    return [read(path) for path in sorted((ROOT / side).glob("*.txt"))]


@dataclass(frozen=True)
class ServerDialogue:
    """One dialogue of a file of dialogues with a server."""

    name: str
    #: the client's address, and the name that it leads to
    client: tuple[str, str]
    #: ("C", what the client says), ("S", a line of the answer), ("L", logged), ("Q", a recipient)
    lines: list[tuple[str, str]]


def server_dialogues(file: str) -> list[ServerDialogue]:
    """All dialogues of a file: "session.txt"."""
    found = []
    for part in re.split(r"^== ", (ROOT / file).read_text("utf-8"), flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines()
        name, _, client = head.partition(" | ")
        kept = [(line[0], line[3:]) for line in lines if re.match("[CSLQ]:", line)]
        ip, _, host = client.partition(" ")
        found.append(ServerDialogue(name, (ip, host), kept))
    return found


def fits(line: str, wanted: str) -> bool:
    """Is it the line that is *wanted*? "*" stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), line) is not None
