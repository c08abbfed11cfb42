"""What other hosts have refused of late, in words: logins, what waits in the queue, what was returned.

QueueDirectory.logins    logins that are refused, and rest
qf files                 what mailq says of what waits; the oldest _MOST are read
QueueDirectory.hosts     what hosts said that took no mail
the mail log             of the last day: replies (5yz) by which mail was returned
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator

from minimta.admin import mail_log, provider_replies
from minimta.admin.doctor.patient import Diagnosis, Patient, ok, outside, unknown, warning
from minimta.admin.provider_replies import ReplyKind, ReplyMeaning
from minimta.mailers.remote import host_status, login_memory, token_file
from minimta.mailers.remote.login_memory import LoginMemory
from minimta.message import dates
from minimta.queue import directories
from minimta.system import log

#: messages that are read, lines of the log, and reasons that are told
_MOST, _MOST_LINES, _TOLD = 500, 200_000, 8
_DAY = 86400.0
#: what is the affair of a single recipient
_SINGLE = (ReplyKind.RECIPIENT, ReplyKind.LATER, ReplyKind.SIZE)


def logins(patient: Patient) -> Iterator[Diagnosis]:
    """Logins and tokens that were refused."""
    options = patient.options
    if not patient.is_root and options.run_as_user:
        yield unknown("logins", "only root can tell which were refused")
        return
    try:
        known = LoginMemory(login_memory.beside(options.queue_directory)).known()
    except OSError as error:
        yield unknown("logins", error.strerror or str(error))
        return
    bad = {name: one for name, one in known.items() if one.rests(patient.now)}
    for name, record in sorted(bad.items()):
        found = provider_replies.explain(record.text)
        until = dates.queue_time(record.rests_until)
        text = f"the login was refused {record.count} times, and is not tried before {until}"
        said = found.meaning if found else log.clean(record.text, 200)
        remedy = found.remedy if found else f"correct {options.auth_info_file}"
        yield outside(
            log.clean(name),
            f"{text} ({said})",
            f"{remedy}; a change of {options.auth_info_file} has it tried at once",
        )
    bad_tokens = list(_tokens(patient))
    yield from bad_tokens
    if not bad and not bad_tokens:
        yield ok("logins", "none is refused")


def _tokens(patient: Patient) -> Iterator[Diagnosis]:
    directory = patient.options.token_directory
    for name in token_file.names(directory):
        try:
            found = token_file.trouble(token_file.path_of(directory, name))
        except (OSError, ValueError):
            continue
        if found is not None:
            yield outside(
                f"token {log.clean(name)}",
                log.clean(found.text, 200),
                f"minimta token renew {log.clean(name)}",
            )


def waiting(patient: Patient) -> Iterator[Diagnosis]:
    """Why the oldest messages wait."""
    directory = patient.options.queue_pattern
    try:
        names = directories.oldest(directories.names(patient.options), _MOST)
        found = list(directories.listed(patient.options, only=names))
    except FileNotFoundError:
        return  # "queues" tells
    except OSError as error:
        yield unknown(directory, f"{error.strerror}; only root can see what waits")
        return
    reasons = Counter[ReplyMeaning]()
    example: dict[ReplyMeaning, tuple[str, str]] = {}
    for one in found:
        texts = [one.message, *(status for _, status, _ in one.recipients)]
        for meaning, said in _meanings(texts):
            reasons[meaning] += 1
            example.setdefault(meaning, (one.qid, said))
    for meaning, number in reasons.most_common(_TOLD):
        qid, said = example[meaning]
        yield _told(meaning, f"{number} wait, {qid}", said)
    if not reasons:
        yield ok(directory, "nothing waits for a refusal")


def _meanings(texts: Iterable[bytes]) -> Iterator[tuple[ReplyMeaning, str]]:
    """Each once."""
    seen = set[ReplyMeaning]()
    for text in texts:
        said = text.decode("utf-8", "replace")
        meaning = provider_replies.explain(said)
        if meaning is not None and meaning not in seen:
            seen.add(meaning)
            yield meaning, said


def _told(meaning: ReplyMeaning, subject: str, said: str) -> Diagnosis:
    text = f"{meaning.meaning} ({log.clean(said, 160)})"
    make = warning if meaning.kind in _SINGLE else outside
    return make(subject, text, meaning.remedy)


def hosts(patient: Patient) -> Iterator[Diagnosis]:
    """What hosts said that took no mail, an hour ago at most."""
    options = patient.options
    path = host_status.directory_of(options) or host_status.beside(options.queue_directory)
    for found, when in host_status.listed(path):
        meaning = provider_replies.explain(found.reply) if found.exit_code else None
        if meaning is not None and patient.now - when < _DAY and meaning.kind not in _SINGLE:
            yield _told(meaning, log.clean(found.host), found.reply)


def _without_directory(log_to: str) -> Iterator[Diagnosis]:
    """Files of LogTo that nobody can make."""
    for path in (word.strip() for word in log_to.split(",")):
        directory = os.path.dirname(path)
        if directory and not os.path.isdir(directory):
            text = f"LogTo: there is no directory {directory}: the log goes to syslog"
            yield warning(path, text, f"mkdir {directory}")


def returned(patient: Patient) -> Iterator[Diagnosis]:
    """By which replies mail was returned within a day, from the log."""
    if patient.options.log_to in ("stderr", "none"):
        return  # who keeps it then is not known here
    complaints: list[str] = []
    reasons = Counter[ReplyMeaning]()
    example: dict[ReplyMeaning, tuple[str, str]] = {}
    read = 0
    try:
        places = mail_log.places(patient.options)
        for line in mail_log.read(places, patient.now - _DAY, complaints.append):
            read += 1
            fields = line.fields() if "dsn=5" in line.text else {}
            meaning = provider_replies.explain(fields.get("stat", "")) or provider_replies.explain(
                fields.get("reply", "")
            )
            if fields.get("mailer", "esmtp") in ("esmtp", "relay", "smtp") and meaning is not None:
                reasons[meaning] += 1
                example[meaning] = (line.qid, fields.get("stat", ""))
            if read >= _MOST_LINES:
                break
    except OSError as error:
        complaints.append(error.strerror or str(error))
    yield from _without_directory(patient.options.log_to)
    if not read and complaints and "No such file" not in complaints[0]:
        yield unknown("mail log", log.clean(complaints[0], 200))
    for meaning, number in reasons.most_common(_TOLD):
        qid, said = example[meaning]
        yield _told(meaning, f"{number} returned within a day, {qid}", said)
