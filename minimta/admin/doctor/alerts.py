"""AlertCommand: could it be called? ``--test-alert`` does it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown
from minimta.config import alerts as values
from minimta.routing.local_host import LocalHost
from minimta.runner import alert_send
from minimta.system import executables, log
from minimta.system.safefile import Untrusted

_SUBJECT = "AlertCommand"


def alerts(patient: Patient) -> Iterator[Diagnosis]:
    """Is the program there, or the file with the URL, and may it be used?"""
    options = patient.options
    command = options.alert_command
    if not command:
        return
    if command.startswith("file:"):
        if not patient.is_root and options.run_as_user:
            yield unknown(_SUBJECT, "only root can tell whether it can be used")
            return
        try:
            alert_send.read_hook(command.removeprefix("file:"))
        except (OSError, Untrusted, ValueError) as error:
            path = command.removeprefix("file:")
            why = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
            remedy = f"its first line is an https URL; chmod 600 {path}"
            yield fault(_SUBJECT, log.clean(why), remedy)
            return
    elif why := _why_not(patient, values.words(command)[0]):
        yield fault(
            _SUBJECT, why, "name a program that only root can change, and DefaultUser can run"
        )
        return
    yield ok(_SUBJECT, "can be called; minimta alert --test does")


def _why_not(patient: Patient, program: str) -> str:
    options = patient.options
    try:
        why = executables.why_not(
            os.fsencode(program), executables.trusted_owners(), options.dont_blame
        )
        if not why and LocalHost(options).default_user() is None:
            why = f"DefaultUser {options.default_user} is nobody"
    except (OSError, Untrusted) as error:
        why = str(error)
    if why == "stat failed":
        why = "there is no such program"
    return f"{log.clean(program)}: {log.clean(why)}" if why else ""
