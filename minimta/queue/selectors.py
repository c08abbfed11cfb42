"""Which messages a queue run or a listing is about: ``-qISRQL``, each with "!" for "not" before it.

I915       queue id contains "915"            S, R   a sender, a recipient contains (any case)
Q, Qspam   quarantined, for a reason that contains "spam"         L   put aside as Qf
!Rgrey     no recipient contains "grey"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_FILE_KINDS = {"Q": "hf", "L": "Qf"}


class SelectionError(ValueError):
    """The argument is none of these forms."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One criterion."""

    #: "I", "S", "R", "Q", "L"
    kind: str
    text: str
    negated: bool = False

    @property
    def file_kind(self) -> str:
        """Which files it is about: "qf" (what runs), "hf" (quarantined), "Qf" (put aside)."""
        return "qf" if self.negated else _FILE_KINDS.get(self.kind, "qf")

    def matches(
        self, qid: str, *, reverse_path: bytes, recipients: Sequence[bytes], quarantine: str
    ) -> bool:
        """Is this message meant?"""
        wanted = self.text.encode("utf-8", "surrogateescape").lower()
        if self.kind == "I":
            found = self.text in qid
        elif self.kind == "S":
            found = wanted in reverse_path.lower()
        elif self.kind == "R":
            found = any(wanted in recipient.lower() for recipient in recipients)
        elif self.kind == "Q":
            found = bool(quarantine) and self.text.lower() in quarantine.lower()
        else:
            return True  # "L": the file kind says it all
        return found is not self.negated


def parse_selection(argument: str) -> Selection:
    """What follows ``-q``: "Rgrey", "!I6AM9MYBC001915". Raise SelectionError."""
    negated = argument.startswith("!")
    text = argument.removeprefix("!")
    if text[:1] not in ("I", "S", "R", "Q", "L") or not text:
        raise SelectionError(f"Invalid queue selection {argument!r}")
    return Selection(text[0], text[1:], negated)


def file_kinds(selections: Iterable[Selection]) -> set[str]:
    """Which files the selections are about together: {"qf"} without any."""
    return {selection.file_kind for selection in selections} or {"qf"}


def all_match(
    selections: Iterable[Selection],
    qid: str,
    *,
    reverse_path: bytes,
    recipients: Sequence[bytes],
    quarantine: str,
) -> bool:
    """Of each kind that is given one criterion has to hold, as in Sendmail."""
    by_kind: dict[str, bool] = {}
    for selection in selections:
        found = selection.matches(
            qid, reverse_path=reverse_path, recipients=recipients, quarantine=quarantine
        )
        by_kind[selection.kind] = by_kind.get(selection.kind, False) or found
    return all(by_kind.values())
