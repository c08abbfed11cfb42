"""Is the clock of this machine right? Certificates, retries and dates in letters depend on it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, warning
from minimta.queue import directories, pattern
from minimta.queue import qid as queue_id

#: epoch seconds: nobody has run this before, and nobody will after
_FIRST, _LAST = 1_735_689_600.0, 4_102_444_800.0  # 2025, 2100
#: seconds by which an id may be ahead: clocks are put right a little all the time
_AHEAD = 600.0
_SET = "timedatectl set-ntp true, or date -s"


def clock(patient: Patient) -> Iterator[Diagnosis]:
    """The year, NTP, and messages from the future."""
    now = patient.now
    if not _FIRST < now < _LAST:
        year = time.gmtime(now).tm_year
        yield fault(
            "clock", f"it says {year}: certificates are not good, and dates are wrong", _SET
        )
        return
    bad = 0
    for name in _from_the_future(patient):
        bad += 1
        text = "is from the future: the clock was set back, and it may wait until then"
        yield warning(name, text, f"sendmail -qI{name}")
        break
    try:
        said = patient.run(["timedatectl", "show", "-P", "NTPSynchronized"]).strip()
    except OSError:
        if not bad:
            yield ok("clock", "the year is right; whether NTP sets it is not known")
        return
    if said == "no":
        yield warning("clock", "nothing sets it (NTP)", "apt install systemd-timesyncd, or chrony")
    elif not bad:
        yield ok("clock", "is set by NTP")


def _from_the_future(patient: Patient) -> Iterator[str]:
    """Ids of messages that are to be newer than now."""
    limit = queue_id.new(patient.now + _AHEAD)[:6]
    try:
        names = directories.names(patient.options)
    except OSError:
        return
    ids = [pattern.of_message(name)[1] for name in names]
    # An id sorts by its time; after the round of sixty years it would be from the past.
    yield from sorted(name for name in ids if name[:1] == limit[:1] and name[:6] > limit)
