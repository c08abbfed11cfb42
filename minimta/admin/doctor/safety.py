"""Options that are allowed, and seldom meant: what they open, one line each."""

from __future__ import annotations

import os
from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, warning
from minimta.config.options import Options
from minimta.listener.relay_domains import RelayDomains
from minimta.system import log
from minimta.system.users import Users

#: DontBlameSendmail: what lets others than a file's owner decide what is run
_GRAVE = ("world", "unsafe", "runwritable")


def safety(patient: Patient) -> Iterator[Diagnosis]:
    """One line for each."""
    options, path = patient.options, patient.path
    found = [*_run_as_user(patient), *_options(options, path), *_relay_words(options)]
    yield from found or [ok(path, "no option is dangerous")]


def _run_as_user(patient: Patient) -> Iterator[Diagnosis]:
    """Is there such a user? Who is not root becomes nobody else."""
    name = patient.options.run_as_user
    if patient.is_root and name and Users().find(os.fsencode(name)) is None:
        text = f"there is no user {name}: no daemon starts, and mail for other hosts waits"
        yield fault("RunAsUser", text, f"RunAsUser = minimta in {patient.path}; minimta install")


def _options(options: Options, path: str) -> Iterator[Diagnosis]:
    user = Users().find(options.run_as_user.encode()) if options.run_as_user else None
    is_root = not options.run_as_user or (user is not None and user.uid == 0)
    if options.one_user and os.geteuid() == 0:
        text = "nothing runs as root with it, and this is root"
        yield fault("OneUser", text, "run it as the owner of QueueDirectory (podman exec --user)")
    elif is_root and not options.one_user:
        yield fault(
            "RunAsUser",
            "is root: what talks with strangers can do anything here",
            f"RunAsUser = minimta in {path}",
        )
    if not options.sandbox:
        yield warning(
            "Sandbox",
            "is off: what talks with strangers sees more than it needs",
            f"Sandbox = True in {path}",
        )
    grave = sorted(
        name for name in options.dont_blame if name.startswith(_GRAVE) or "unsafe" in name
    )
    if grave:
        text = f"allows {', '.join(grave)}: others than the owner of a file decide what mail does"
        yield warning(
            "DontBlameSendmail", log.clean(text), "chmod go-w the file, and take the name out"
        )
    if options.redirect_all:
        text = f"all mail for other hosts goes to {options.redirect_all}, and nobody else"
        yield warning("RedirectAll", text, "take the line out where mail is to reach people")
    if options.always_bcc:
        yield warning(
            "AlwaysBcc",
            f"{options.always_bcc} gets a copy of every message",
            "is that known to all?",
        )
    if any(port.oldest_tls != "1.2" for port in options.daemon_ports):
        yield warning(
            "DaemonPortOptions",
            "a port speaks TLS 1.0 or 1.1, which is broken",
            "only on a port for printers inside",
        )


def _relay_words(options: Options) -> Iterator[Diagnosis]:
    """Networks so large that they are not one's own."""
    try:
        words = RelayDomains(options.relay_domains).words()
    except OSError:
        return  # told with the tables
    for word in sorted(words):
        octets = word.split(".")
        is_network = all(part.isdigit() for part in octets)
        is_private = word in ("10", "127") or word.startswith(("192.168", "172."))
        if is_network and len(octets) < 3 and not is_private:
            number = 1 << (8 * (4 - len(octets)))
            text = f"lets {number} addresses of strangers relay"
            yield fault(
                options.relay_domains,
                f"{word} {text}",
                "name one's own network, 192.0.2 for 192.0.2.0/24",
            )
        elif word in ("0.0.0.0", "*", "", "::", "ipv6:"):
            yield fault(
                options.relay_domains,
                f"{word} is no network",
                "name one's own, 192.0.2 for 192.0.2.0/24",
            )
