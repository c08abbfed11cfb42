"""A host with every kind of destination, the mail for it, and the account of what came of it.

dave        a mailbox                        program     an alias that is a program
emma        .forward: \\emma, another host    carol       .forward: a program, run as carol
everyone    a list in a file: two mailboxes, a program and another host
x@plain     another host                     x@tls       one that wants TLS
x@updown    one that may be killed           gN@grey     one that says 451 at first
nobody@plain   refused: the message comes back to its sender, frank
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import copies
from tests.bench.copies import Copy, Tally
from tests.bench.host import DOMAIN, Host, OtherHost

PEOPLE = ("dave", "emma", "carol", "frank", "ulla", "urs")
SENDER = "frank"
_NAME = "load.campus"
#: to whom nothing can be delivered
RETURNED = "nobody@plain.campus"
#: part of all messages that go to one kind of destination, and the places where copies must come
KINDS: Sequence[tuple[int, str, tuple[str, ...]]] = (
    (30, "dave", ("dave",)),
    (10, "program", ("program",)),
    (10, "emma", ("emma", "plain")),
    (5, "carol", ("program",)),
    (10, "everyone", ("ulla", "urs", "program", "plain")),
    (15, "x@plain.campus", ("plain",)),
    (8, "x@tls.campus", ("tls",)),
    (5, "x@updown.campus", ("updown",)),
    (5, "g{number}@grey.campus", ("grey",)),
    (2, RETURNED, ("returned",)),
)


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to send."""

    #: its Message-Id, or its queue id
    name: str
    #: as a command may have it, without a domain if it is ours
    recipient: str
    places: tuple[str, ...]
    text: bytes

    @property
    def address(self) -> str:
        """Its recipient with a domain."""
        return self.recipient if "@" in self.recipient else f"{self.recipient}@{DOMAIN}"


class Mixture:
    """The host, four others, and who was sent what."""

    def __init__(self, directory: Path, *, seed: int = 0, certificate: str = "") -> None:
        """*certificate*: chain and key of host tls, in one file; without it that host speaks no TLS."""
        self.host = Host(directory, PEOPLE)
        words = {"grey": ("--greylist", "2"), "tls": ("--certificate", certificate)}
        if not certificate:
            del words["tls"]
        self.others = {
            name: OtherHost(directory / name, *words.get(name, ()))
            for name in ("plain", "tls", "updown", "grey")
        }
        self._directory = directory
        self._luck = random.Random(seed)
        self._number = 0
        #: place -> names of messages that must come there
        self._expected: dict[str, list[str]] = defaultdict(list)
        self.acknowledged = 0

    def build(self, **options: str) -> None:
        """Write the host's tree; start the others."""
        members = self._directory / "everyone"
        members.write_text("ulla\nurs\nprogram\nx@plain.campus\n")
        members.chmod(0o644)
        self.host.build(
            aliases=f'program: "|{self.host.program}"\neveryone: :include:{members}\n',
            routes={f"{name}.campus": other.port for name, other in self.others.items()},
            **options,
        )
        self.host.run("newaliases")
        self.host.forward("emma", "\\emma, x@plain.campus\n")
        self.host.forward("carol", f'"|{self.host.program}"\n')
        for other in self.others.values():
            other.up()

    def close(self) -> None:
        """End all of it."""
        for other in self.others.values():
            other.down()

    def next(self, octets: int = 1000) -> Letter:
        """The next message, for one kind of destination, by chance."""
        self._number += 1
        weights = [weight for weight, _, _ in KINDS]
        _, recipient, places = self._luck.choices(KINDS, weights)[0]
        name = f"{self._number}@{_NAME}"
        return Letter(
            name, recipient.format(number=self._number), places, copies.text(name, octets)
        )

    def was_acknowledged(self, letter: Letter) -> None:
        """From now on it is ours."""
        self.acknowledged += 1
        for place in letter.places:
            self._expected[place].append(letter.name)

    def found(self, place: str) -> Iterator[Copy]:
        """Copies that came there."""
        if place == "program":
            return copies.of_directory(self.host.program_copies)
        if place == "returned":
            return copies.of_bounces(self.host.directory / "mail" / SENDER, _NAME)
        if place in self.others:
            return copies.of_directory(self.others[place].copies)
        return copies.of_mailbox(self.host.directory / "mail" / place)

    def tallies(self) -> dict[str, Tally]:
        """What became of all that was acknowledged, place by place."""
        return {
            place: copies.tally(names, self.found(place)) for place, names in self._expected.items()
        }
