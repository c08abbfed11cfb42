"""Who may read and write what: queues, mailboxes, tables, secrets, the program itself.

path                         wanted
mqueue, each directory of it root's, group RunAsUser's, sticky, others nothing (1730)
clientmqueue                 sticky, everybody may put in, nobody may list (1733)
mailbox directory            root's; sticky if others may write
mailboxes                    their users', nothing for others
socket of LocalMailer        somebody listens
configuration, tables        nobody but root may write
secrets                      nobody but root (the listener's: and its group) may read
our code                     nobody but root may write, all may read
"""

from __future__ import annotations

import os
import shlex
import socket
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from minimta.admin.checkout import HOME
from minimta.admin.doctor.patient import Diagnosis, Patient, fault, ok, unknown, warning
from minimta.admin.install.modes import (
    against_writers,
    is_readable_by_others,
    is_writable_by_others,
)
from minimta.config.options import Options
from minimta.maps.table import SUFFIX
from minimta.queue import pattern, subdirectories
from minimta.system import log, safefile
from minimta.system.users import Users

#: mailboxes whose owners are looked up
_MOST_MAILBOXES = 2000
#: that a server of this host is waited for
_SECONDS = 5.0
#: what stands in the directory and is nobody's mailbox
_NO_MAILBOX = (".lock", ".tmp", ".bak")


def queues(patient: Patient) -> Iterator[Diagnosis]:
    """mqueue, or all that it may be, and clientmqueue."""
    options = patient.options
    group = _group_of(options) or "root"
    try:
        paths = pattern.paths(options)
    except pattern.NoQueueDirectory:
        text = "there is no such directory: nothing can be taken"
        remedy = f"install -d -m 1730 -o root -g {group} {options.queue_pattern[:-1]}1"
        yield fault(options.queue_pattern, text, remedy)
        paths = []
    except OSError:
        paths = [options.queue_directory]
    for path in paths:
        quoted = shlex.quote(path)
        yield from _queue(path, f"chown root:{group} {quoted} && chmod 1730 {quoted}")
    for path in (*paths, options.client_queue_directory):
        yield from _split(path)
    if options.has_queue_group:
        yield from _base(options, group)
    if paths:
        yield from _left_elsewhere(options, paths)
    # Where all is one user's (no RunAsUser) there may be nobody who sends by command.
    if options.run_as_user or _stat(options.client_queue_directory) is not None:
        yield from _client_queue(options.client_queue_directory)


def _queue(path: str, remedy: str) -> Iterator[Diagnosis]:
    found = _stat(path)
    if found is None:
        yield fault(path, "there is no queue: nothing can be taken", "minimta install")
    elif not stat.S_ISDIR(found.st_mode):
        yield fault(path, "is no directory: nothing can be taken", "minimta install")
    elif found.st_uid not in (0, os.geteuid()):
        yield fault(path, f"belongs to {_name(found.st_uid)}, who could take mail away", remedy)
    elif found.st_mode & 0o007:
        yield fault(
            path, f"mode {_mode(found)}: others may {_may(found.st_mode & 0o007)} all mail", remedy
        )
    elif found.st_mode & stat.S_IWGRP and not found.st_mode & stat.S_ISVTX:
        text = f"mode {_mode(found)}: without the sticky bit the listener could remove others' mail"
        yield fault(path, text, remedy)
    else:
        yield ok(path, f"mode {_mode(found)}")


def _split(path: str) -> Iterator[Diagnosis]:
    """Subdirectories, in which mail may be, or would be were Sendmail back."""
    try:
        unseen = subdirectories.unseen(path)
    except OSError as error:
        yield unknown(f"{path}/qf", error.strerror or str(error))
        return
    if unseen:
        yield fault(path, unseen, subdirectories.remedy(path))
    elif found := subdirectories.found(path):
        text = f"has subdirectories ({', '.join(found)}), as Sendmail may: mail there is not seen"
        yield warning(path, text, subdirectories.remedy(path))


def _base(options: Options, group: str) -> Iterator[Diagnosis]:
    """Where the queue directories are: the listener asks there which there are."""
    base, found = options.queue_directory, _stat(options.queue_directory)
    user = Users().find(os.fsencode(options.run_as_user)) if options.run_as_user else None
    if found is None or user is None or user.uid == 0 or found.st_mode & 0o001:
        return
    if found.st_gid != user.gid or not found.st_mode & 0o010:
        text = f"mode {_mode(found)}: the listener cannot see which queue directories there are"
        quoted = shlex.quote(base)
        yield fault(base, text, f"chgrp {group} {quoted} && chmod g+x {quoted}")


def _left_elsewhere(options: Options, paths: Sequence[str]) -> Iterator[Diagnosis]:
    """Mail from when QueueDirectory meant other directories in the same place, which no run looks at."""
    base = options.queue_directory
    try:
        with os.scandir(base) as entries:
            inner = sorted(one.path for one in entries if _may_be_queue(one))
    except OSError as error:
        if options.has_queue_group:
            yield unknown(base, error.strerror or str(error))
        return
    seen = [found for path in paths if (found := _stat(path))]
    for place in (base, *inner):
        found = _stat(place)
        is_seen = found is None or any(os.path.samestat(found, one) for one in seen)
        if is_seen:
            continue
        try:
            number = subdirectories.messages(place)
        except OSError as error:
            yield unknown(place, error.strerror or str(error))
            continue
        if number:
            text = f"{number} message{'s'[: number > 1]} in it, which is no queue directory: no run sees them"
            yield fault(place, text, f"minimta stopped: {_moved(place, paths[0])}")


def _may_be_queue(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.name not in subdirectories.NAMES and entry.is_dir()
    except OSError:
        return False  # a link in a circle


def _moved(source: str, target: str) -> str:
    source, target = shlex.quote(f"{source}/"), shlex.quote(f"{target}/")
    return f"mv {source}[dax]f* {target} && mv {source}[qhQ]f* {target}"


def _client_queue(path: str) -> Iterator[Diagnosis]:
    remedy = f"chown root:root {path} && chmod 1733 {path}"
    found = _stat(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        yield fault(path, "there is no such directory: users cannot send", "minimta install")
    elif found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        text = f"mode {_mode(found)}: without the sticky bit users can remove each other's mail"
        yield fault(path, text, remedy)
    elif found.st_mode & stat.S_IROTH:
        yield fault(path, f"mode {_mode(found)}: users see who else sends", remedy)
    elif found.st_uid == 0 and found.st_mode & 0o003 != 0o003:
        yield fault(path, f"mode {_mode(found)}: users cannot send", remedy)
    else:
        yield ok(path, f"mode {_mode(found)}")


def mailboxes(patient: Patient) -> Iterator[Diagnosis]:
    """Their directory, and whose they are."""
    options, path = patient.options, patient.options.mailbox_directory
    if options.local_mailer.startswith("lmtp:/"):
        yield _of_server(patient, options.local_mailer.removeprefix("lmtp:"))
    if options.local_mailer != "mbox":
        return
    found = _stat(path)
    if found is None:
        yield fault(
            path, "there is no directory for mailboxes", f"install -d -m 2775 -g mail {path}"
        )
        return
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        text = f"mode {_mode(found)}: users can replace each other's mailboxes"
        yield fault(path, text, f"chown root:mail {path} && chmod 2775 {path}")
    elif found.st_uid not in (0, os.geteuid()):
        yield fault(path, f"belongs to {_name(found.st_uid)}", f"chown root:mail {path}")
    else:
        yield ok(path, f"mode {_mode(found)}")
    yield from _each_mailbox(path, Users(options.passwd_file), is_alone=options.one_user)


def _of_server(patient: Patient, path: str) -> Diagnosis:
    """Does whoever keeps the mailboxes listen at the socket?"""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(path)
    except OSError as error:
        reason = error.strerror or str(error)
        is_known = isinstance(
            error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError
        )
        if not (is_known and patient.is_root):
            return unknown(path, reason)
        text = f"{reason}: mail for users of this host waits"
        return fault(path, text, "start the server that LocalMailer means, or correct the path")
    return ok(path, "the server of LocalMailer listens")


def _each_mailbox(path: str, users: Users, *, is_alone: bool) -> Iterator[Diagnosis]:
    """*is_alone*: all of them are the one user's."""
    try:
        names = sorted(os.listdir(path))[:_MOST_MAILBOXES]
    except OSError as error:
        yield unknown(path, error.strerror or str(error))
        return
    for name in names:
        place = os.path.join(path, name)
        found = _stat(place)
        if found is None or not stat.S_ISREG(found.st_mode) or name.endswith(_NO_MAILBOX):
            continue
        user = users.find(os.fsencode(name))
        if user is not None and found.st_uid != user.uid and not is_alone:
            text = f"belongs to {_name(found.st_uid)}, not to {log.clean(name)}, whose mail waits"
            yield fault(place, text, f"chown {log.clean(name)} {place}")
        elif found.st_mode & 0o007:
            text = f"mode {_mode(found)}: others may {_may(found.st_mode & 0o007)} this mail"
            yield warning(place, text, f"chmod o= {place}")


def tables(patient: Patient) -> Iterator[Diagnosis]:
    """Configuration, tables and alias files: who writes them decides where mail goes."""
    options = patient.options
    paths = [patient.path, *(path.removeprefix("-o ") for path in options.alias_files)]
    paths += [
        options.access_file, options.mailer_table, options.virtuser_table, options.generics_table,
        options.sender_relay, options.tls_policy, options.relay_domains, options.local_host_names,
        options.trusted_users, options.dkim_sign, options.login_senders,
    ]  # fmt: skip
    paths = [one for path in paths if path for one in (path, path + SUFFIX)]
    directories = sorted({os.path.dirname(path) for path in paths})
    bad = 0
    for path in dict.fromkeys([*directories, *paths]):
        found = _stat(path)
        reason = found and safefile.why_untrusted(found, (0, os.geteuid()))
        if (
            found is None
            or not reason
            or (found.st_mode & stat.S_ISVTX and reason != "Wrong owner")
        ):
            continue
        bad += 1
        is_owner = reason == "Wrong owner"
        text = f"belongs to {_name(found.st_uid)}" if is_owner else f"mode {_mode(found)}"
        remedy = f"chown root {path}" if is_owner else f"chmod go-w {path}"
        yield fault(path, f"{text}: others than root decide where mail goes", remedy)
    if not bad:
        yield ok("tables", "nobody but root can write them")


def secrets(patient: Patient) -> Iterator[Diagnosis]:
    """Passwords, keys, and what else others must not read."""
    bad = 0
    for path, bits, what in _secret_files(patient.options):
        # Where nobody else is (OneUser) what a container is given may have the mode 444.
        forbidden = bits & 0o022 if patient.options.one_user else bits
        found = _stat(path)
        if found is None:
            continue
        if found.st_mode & forbidden:
            bad += 1
            mode = "600" if bits == 0o077 else "640"
            text = f"mode {_mode(found)}: others than root may {_may(found.st_mode & forbidden)} {what}"
            yield fault(path, text, f"chmod {mode} {path}, and perhaps a new one")
        elif found.st_uid not in (0, os.geteuid()):
            bad += 1
            text = f"belongs to {_name(found.st_uid)}, who may read and change {what}"
            yield fault(path, text, f"chown root {path}")
    if not bad:
        yield ok("secrets", "nobody but root can read them")


def _secret_files(options: Options) -> Iterator[tuple[str, int, str]]:
    """Path, bits that must not be there, what it is."""
    yield options.auth_info_file, 0o077, "passwords"
    yield options.auth_info_file + SUFFIX, 0o077, "passwords"
    yield options.token_directory, 0o077, "tokens"
    yield options.srs_key_file, 0o077, "the key of SRS"
    keys = options.server_key_file or options.server_cert_file
    yield from ((path.strip(), 0o077, "the key of the listener") for path in keys.split(","))
    yield options.client_key_file or options.client_cert_file, 0o077, "our key"
    if options.auth_backend[:1] == "/":
        yield options.auth_backend, 0o027, "what logins are checked by"
    if options.alert_command[:5] == "file:":
        yield options.alert_command[5:], 0o077, "the URL of alerts"


def program(patient: Patient) -> Iterator[Diagnosis]:
    """What is run as root: only root may change it, and all must be able to read it."""
    home = Path(HOME)
    owner = home.stat().st_uid
    is_users_own = owner not in (0, os.geteuid()) or (not patient.is_root and owner)
    if is_users_own and not _is_installed(patient):
        yield unknown(HOME, "is a user's own checkout")
        return
    tree = [*reversed(home.parents), home, *_tree(home)]
    weak = next((path for path in tree if is_writable_by_others(path)), None)
    closed = next((path for path in tree if not _is_open(path)), None)
    if weak is not None:
        text = "others than root can write it, and so become root here"
        yield fault(str(weak), text, against_writers(weak, HOME))
    if closed is not None:
        yield fault(
            str(closed), "users cannot read it, and so have no sendmail", f"chmod -R a+rX {HOME}"
        )
    if weak is None and closed is None:
        yield ok(HOME, "nobody but root can write it")
    sendmail = _stat(str(patient.below("/usr/sbin/sendmail")))
    if sendmail is not None and sendmail.st_mode & (stat.S_ISUID | stat.S_ISGID):
        text = f"mode {_mode(sendmail)}: no program of minimta is set-user-id"
        yield warning("/usr/sbin/sendmail", text, "chmod ug-s /usr/sbin/sendmail")


def _is_installed(patient: Patient) -> bool:
    """Does root run this checkout as the sendmail of the machine?"""
    if patient.options.one_user:
        return False
    try:
        return patient.below("/usr/sbin/sendmail").samefile(Path(HOME, "bin/sendmail"))
    except OSError:
        return False


def _tree(home: Path) -> Iterable[Path]:
    for name in ("bin", "minimta"):
        yield home / name
        yield from home.joinpath(name).rglob("*")


def _is_open(path: Path) -> bool:
    return "__pycache__" in path.parts or is_readable_by_others(path)


# --- words ----------------------------------------------------------------------------------------


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path) if path else None
    except OSError:
        return None


def _group_of(options: Options) -> str:
    user = Users().find(os.fsencode(options.run_as_user))
    return options.run_as_user if user is not None else ""


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):o}"


def _may(bits: int) -> str:
    """What bits of group and others allow."""
    words = [
        word for word, mask in (("read", 0o044), ("write", 0o022), ("pass", 0o011)) if bits & mask
    ]
    return " and ".join(words[:2] if len(words) > 1 else words)


def _name(uid: int) -> str:
    try:
        user = Users().by_uid(uid)
    except OSError:
        user = None
    return log.clean(user.name) if user is not None else f"user {uid}"
