"""SMTP dialogues as text files: see tests/dialogues/README.md."""

from __future__ import annotations

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
