"""A moment in the past, as people write it after --since.

2h, 30m, 7d, 1d12h      that long ago
today, yesterday        since midnight
2026-11-30              also with " 10:00", or in full with a zone: local time if no zone is named
@1795335161             seconds since the epoch
"""

from __future__ import annotations

from datetime import datetime, timedelta

from minimta.config import quantities


def moment(text: str, now: float) -> float:
    """Epoch seconds; *now* is that too. Raise ValueError with what may be written."""
    word = text.strip()
    here = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if word in ("today", "yesterday"):
            return (here - timedelta(days=word == "yesterday")).timestamp()
        if word.startswith("@"):
            return float(quantities.natural(word[1:]))
        if word[:4].isdigit() and word[4:5] == "-":
            return datetime.fromisoformat(word).timestamp()
        return now - quantities.interval(word, "")
    except (ValueError, OverflowError):
        raise ValueError(
            f'{word[:40]!r} is no time: say "2h", "7d", "today" or "2026-11-30"'
        ) from None
