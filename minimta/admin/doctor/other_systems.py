"""Other mail systems of this machine: their packages, what they took from us, what they left."""

from __future__ import annotations

from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, warning
from minimta.admin.install import install, other_mta


def other_systems(patient: Patient) -> Iterator[Diagnosis]:
    """Packages that provide mail-transport-agent, and queues with mail in them."""
    found = list(_all(patient))
    yield from found or [ok("other mail systems", "there is none")]


def _all(patient: Patient) -> Iterator[Diagnosis]:
    is_beside = install.is_installed(patient.root)
    for name in other_mta.installed(patient.root):
        text = f"the package {name} is another mail system: its daemon may take port 25, its programs the mail"
        text = other_mta.beside(name) if is_beside else text
        yield warning(name, text, f"apt remove {name}")
    for left in other_mta.left_mail(patient.root):
        yield warning(left.queue.directory, str(left))
    for sentence in install.taken_away(patient.root):
        what, _, remedy = sentence.partition(": ")
        yield fault("commands", what, remedy)
