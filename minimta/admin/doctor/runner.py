"""Who runs the queue: a resident runner, cron, or nobody; and what has been left in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from minimta.admin.doctor import service_commands
from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown, warning
from minimta.queue import directories, pattern
from minimta.runner import outage
from minimta.system import locks, log

_CRON = "/etc/cron.d/minimta"
#: units that have a resident runner
_UNITS = ("minimta.service", "minimta-runner.service")
#: seconds after which something is wrong with what waits
_OLD = 4 * 3600.0


def runner(patient: Patient) -> Iterator[Diagnosis]:
    """Without one mail that is not delivered at once waits for ever."""
    path = locks.beside(patient.options.queue_directory)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
        is_there = locks.is_resident(path)
    except FileNotFoundError:
        is_there = False
    except OSError as error:
        yield unknown("queue runner", f"{path}: {error.strerror}; only root can tell")
        return
    if is_there or patient.is_chroot:
        yield ok(
            "queue runner", "is resident" if is_there else "this is a chroot, where none is started"
        )
        return
    if not _has_cron(patient):
        yield fault(
            "queue runner",
            "there is none, and no cron entry: what waits is never tried again",
            service_commands.start(patient),
        )
        return
    if not _cron_runs(patient):
        yield fault(
            "queue runner",
            f"{_CRON} is there, and no cron daemon runs it",
            f"apt install cron, or {service_commands.start(patient)}",
        )
        return
    yield ok("queue runner", "is cron's")


def _has_cron(patient: Patient) -> bool:
    return any(
        "sendmail -q" in patient.text(path)
        for path in (_CRON, "/etc/crontab", "/var/spool/cron/crontabs/root")
    )


def _cron_runs(patient: Patient) -> bool:
    """Is there a process of that name? Without /proc nobody can tell, and it is believed."""
    names = {"cron", "crond", "anacron", "busybox"}
    try:
        processes = [one for one in patient.below("/proc").iterdir() if one.name.isdigit()]
    except OSError:
        return True
    if not processes:
        return True
    for process in processes:
        try:
            if (process / "comm").read_text().strip() in names:
                return True
        except OSError:
            continue
    return False


def service(patient: Patient) -> Iterator[Diagnosis]:
    """What systemd says of our units, where it runs."""
    if not patient.has_systemd:
        return
    for unit in (*_UNITS, "minimta-listener.service"):
        try:
            said = patient.run(["systemctl", "show", "-P", "ActiveState", unit]).strip()
        except OSError as error:
            yield unknown(unit, error.strerror or str(error))
            return
        if said == "inactive" and _is_enabled(patient, unit):
            yield fault(unit, "is enabled, and does not run", f"systemctl start {unit}")
        if said == "failed":
            yield fault(
                unit, "has failed", f"systemctl status {unit}, then systemctl restart {unit}"
            )


def _is_enabled(patient: Patient, unit: str) -> bool:
    try:
        return patient.run(["systemctl", "is-enabled", unit]).strip() == "enabled"
    except OSError:
        return False


def left_over(patient: Patient) -> Iterator[Diagnosis]:
    """Messages that were put aside (Qf), and those that wait for hours."""
    directory = patient.options.queue_pattern
    try:
        lost = directories.names(patient.options, "Qf")
        names = directories.names(patient.options)
    except FileNotFoundError:
        return  # "queues" tells
    except OSError as error:
        yield unknown(directory, f"{error.strerror}; only root can see what waits")
        return
    if lost:
        lost = [pattern.of_message(name)[1] for name in lost]
        text = f"{len(lost)} messages could not be read, and were put aside (Qf{lost[0]})"
        yield warning(
            directory, text, f"mailq -qL; the log says why: grep {lost[0]} /var/log/mail.log"
        )
    age = _age(patient, names)
    if age:
        yield warning(directory, age, "mailq -v says why; minimta trace ID")
    if not lost and not age:
        yield ok(directory, f"{len(names)} messages wait, none for long")


def _age(patient: Patient, names: list[str]) -> str:
    made = type(patient.options)()
    vars(made).update(vars(patient.options))
    made.alert_age = made.alert_age or int(_OLD)
    return log.clean(outage.age_trouble(made, names, patient.now), 300)
