"""How the daemon is started and made to read anew, and where its log is: with systemd, or by hand."""

from __future__ import annotations

from minimta.admin.doctor.patient import Patient

_BY_HAND = "sendmail -bd -q15m"


def start(patient: Patient) -> str:
    """What starts the daemon, now and with the machine where systemd does that."""
    return "systemctl enable --now minimta" if patient.has_systemd else _BY_HAND


def restart(patient: Patient) -> str:
    """What starts it anew."""
    by_hand = f"start the daemon anew ({_BY_HAND})"
    return "systemctl restart minimta" if patient.has_systemd else by_hand


def reload(patient: Patient) -> str:
    """What makes it read its configuration and its certificate anew."""
    by_hand = f"kill -HUP the first line of {patient.options.pid_file}"
    return "systemctl reload minimta" if patient.has_systemd else by_hand


def log_of_daemon(patient: Patient) -> str:
    """What shows what it has said."""
    journal = ", or journalctl -u minimta" if patient.has_systemd else ""
    return f"grep sm-mta /var/log/mail.log{journal}"
