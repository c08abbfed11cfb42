"""Where mail for root and postmaster goes in the end: expanded as the runner does, without name servers."""

from __future__ import annotations

import os
from collections.abc import Iterator

from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown, warning
from minimta.aliases.rebuild_report import RebuildReport
from minimta.aliases.source import Source, read_text
from minimta.aliases.text import compile_text
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate
from minimta.routing.destination import Node
from minimta.routing.expand import explain
from minimta.routing.local_host import LocalHost
from minimta.system import log
from minimta.system.safefile import Untrusted

#: every mail system has these (RFC 5321 section 4.5.1); programs write to root
_NAMES = (b"root", b"postmaster")
#: octets of root's mailbox from which on nobody seems to read it
_MUCH = 1
#: wrong lines of a file that are told one by one
_SHOWN = 5


def aliases(patient: Patient) -> Iterator[Diagnosis]:
    """Do they lead somewhere, and is the database what the text says?"""
    here = LocalHost(patient.options, asks_as_root=not patient.is_root)
    try:
        for source in here.aliases.sources:
            if source.is_stale():
                text = "has changed since newaliases; the change does not count yet"
                yield warning(log.clean(source.path), text, "newaliases")
            yield from _of_lines(source, here)
        for name in _NAMES:
            yield from _of_name(patient, here, name)
    except OSError as error:
        where = str(error.filename or ", ".join(patient.options.alias_files))
        yield fault(
            log.clean(where), f"{error.strerror or error}; mail waits", "see minimta trace root"
        )


def _of_lines(source: Source, here: LocalHost) -> Iterator[Diagnosis]:
    """Those that newaliases leaves out: it told somebody, perhaps long ago."""
    report = RebuildReport(source.path)
    try:
        compile_text(read_text(source.path, source.forgiven), report, here.router.is_local)
    except (OSError, Untrusted):
        return  # what asks it says so
    for told in report.errors[:_SHOWN]:
        line, _, text = told.removeprefix(f"{source.path}: ").partition(": ")
        subject = f"{log.clean(source.path)}: {line}"
        yield fault(subject, f"{text}; it is left out", "correct it, then newaliases")
    if (more := len(report.errors) - _SHOWN) > 0:
        yield fault(log.clean(source.path), f"{more} more lines are left out", "newaliases")


def _of_name(patient: Patient, here: LocalHost, name: bytes) -> Iterator[Diagnosis]:
    shown, ends, bad = name.decode("ascii"), [], 0
    for node in _all(explain([Recipient(name)], here)):
        for path, reason in node.refused:
            bad += 1
            text = f"{log.clean(path)} is not believed: {log.clean(reason)}"
            yield warning(shown, text, f"minimta trace {shown}")
        if "leads back to itself" in node.notes:
            bad += 1
            what = "" if _said(node) == shown else f"leads to {_said(node)}, which "
            text = f"{what}leads back to itself"
            yield fault(shown, text, f"correct it in {_file(patient)}, then newaliases")
        elif node.end is not None:
            outcome = node.end.outcome
            if outcome is not None and outcome.fate is Fate.FAILED:
                bad += 1
                text = f"leads to {_said(node)}: {log.clean(outcome.text)}"
                yield fault(shown, text, f"correct it in {_file(patient)}, then newaliases")
            elif outcome is not None and outcome.fate is Fate.DEFERRED:
                bad += 1
                text, why = f"leads to {_said(node)}", log.clean(outcome.text)
                if patient.is_root:
                    yield warning(shown, f"{text}, and waits: {why}", f"minimta trace {shown}")
                else:  # what a user may not read the runner may
                    yield unknown(shown, f"{text}, and only root can tell how it goes on: {why}")
            ends.append(_said(node))
    if not ends and not bad:
        yield fault(
            shown, "leads nowhere", f"{shown}: somebody in {_file(patient)}, then newaliases"
        )
    elif name == b"root" and ends == ["root"] and not bad:
        yield _of_roots_mailbox(patient)
    elif not bad:
        yield ok(shown, f"leads to {', '.join(ends)}")


def _of_roots_mailbox(patient: Patient) -> Diagnosis:
    mailbox = os.path.join(patient.options.mailbox_directory, "root")
    try:
        size = os.stat(mailbox).st_size
    except OSError:
        size = 0
    if size < _MUCH or patient.options.local_mailer != "mbox":
        return ok("root", f"stays in {mailbox}")
    text = f"mail stays in {mailbox}, where {size} octets wait for somebody to read them"
    return warning("root", text, f"root: emma@example.org in {_file(patient)}, then newaliases")


def _all(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _all(node.children)


def _said(node: Node) -> str:
    return log.clean(bytes(node.target))


def _file(patient: Patient) -> str:
    return (
        patient.options.alias_files[0].removeprefix("-o ")
        if patient.options.alias_files
        else "AliasFile"
    )
