"""Ages, sizes and times as ``minimta queue`` and ``trace`` show them."""

from __future__ import annotations

from minimta.message import dates

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def age(seconds: float) -> str:
    """The two largest units: "2h13m", "5d", "7s"."""
    left = max(0, int(seconds))
    told: list[str] = []
    for name, unit in _UNITS:
        number, left = divmod(left, unit)
        if number or (name == "s" and not told):
            told.append(f"{number}{name}")
    return "".join(told[:2])


def size(octets: int) -> str:
    """Octets, in the largest unit: "812", "1.2k", "5.0M"."""
    if octets < 0:
        return "-"
    number, unit = float(octets), ""
    for larger in "kMGT":
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.1f}{unit}" if unit else str(octets)


def moment(seconds: float, now: float) -> str:
    """A time of day, with the date if it is not today's: "10:43:07", "Nov 22 10:43"."""
    there, here = dates.local(seconds), dates.local(now)
    if (there.tm_year, there.tm_yday) == (here.tm_year, here.tm_yday):
        return f"{there.tm_hour:02}:{there.tm_min:02}:{there.tm_sec:02}"
    return dates.queue_time_verbose(seconds)


def next_attempt(due: float, now: float) -> str:
    """When it is tried again: "due at the next queue run", "due at 10:43:07, in 12m"."""
    if due <= now:
        return "due at the next queue run"
    return f"due at {moment(due, now)}, in {age(due - now)}"


def count(number: int, what: str = "message") -> str:
    """ "1 message", "3 messages"."""
    return f"{number} {what}" + ("" if number == 1 else "s")
