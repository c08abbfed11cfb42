"""LogTo: is the place there?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, ok, unknown, warning

_SUBJECT = "LogTo"
_SYSLOG = "/dev/log"


def log_place(patient: Patient) -> Iterator[Diagnosis]:
    """Without a log neither trace nor report nor ledger can tell what became of mail."""
    places = patient.options.log_to.split(",")
    if patient.is_chroot:
        yield ok(_SUBJECT, "this is a chroot, where no syslog is started")
        return
    is_well = True
    for path in places:
        directory = os.path.dirname(path)
        if not path.startswith("/"):
            continue
        try:
            os.stat(os.path.join(directory, ""))
        except (FileNotFoundError, NotADirectoryError):
            is_well = False
            yield warning(_SUBJECT, f"{directory} is not there", f"mkdir {directory}")
        except OSError as error:  # it may be there
            is_well = False
            yield unknown(_SUBJECT, f"{directory}: {error.strerror}")
    if "syslog" in places and not patient.below(_SYSLOG).exists():
        is_well = False
        yield warning(
            _SUBJECT,
            f"there is no {_SYSLOG}, so nothing tells what became of mail",
            "apt install rsyslog, or LogTo = /var/log/minimta/mail.log and mkdir /var/log/minimta",
        )
    if is_well:
        yield ok(_SUBJECT, ", ".join(places))
