"""Which messages are signed with which key: the table of DKIMSign, and the key files it names.

    # /etc/mail/dkim-sign: domain, selector, file of the key (PEM, RSA), root's, mode 600
    example.org    2026a  /etc/mail/dkim/example.org.2026a.pem
    .example.org   2026a  /etc/mail/dkim/example.org.2026a.pem

The domain of the first address in From decides, ".example.org" is for those below. Only mail of our
own is signed: submitted here, or by a client that may relay. A stranger's letter that is forwarded
may say From: anybody.

The runner opens the key and never reads it; a worker gets the one for its messages, for one worker
has messages of one signature. What is wrong (table, file, library) makes the mail wait, with the reason.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from minimta.mailers.job import Job
from minimta.mailers.remote import dkim
from minimta.mailers.remote.dkim import SigningKey
from minimta.maps.table import all_rows
from minimta.message import address, addresslist, headers
from minimta.system import safedirpath, safefile
from minimta.system.safefile import Untrusted

_SELECTOR = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(slots=True)
class SigningKeys:
    """For the jobs of one delivery; close() it."""

    #: job -> the key, for those that are signed
    keys: dict[Job, SigningKey] = field(default_factory=dict)
    #: job -> why it cannot be signed now
    faults: dict[Job, str] = field(default_factory=dict)
    _opened: dict[bytes, SigningKey | str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str, jobs: Sequence[Job]) -> SigningKeys:
        """As the table *path* says, "" for none. Raises nothing."""
        made = cls()
        own = [job for job in jobs if job.is_own]
        if not path or not own:
            return made
        try:
            rows = all_rows(path)
        except OSError as error:
            why = f"DKIM: {error.filename or path}: {error.strerror or error}"
            made.faults = dict.fromkeys(own, why)
            return made
        if rows:
            for job in own:
                made._add(job, rows, path)
        return made

    def of(self, job: Job) -> SigningKey | None:
        """The key that signs *job*, None if it is not signed."""
        return self.keys.get(job)

    def close(self) -> None:
        """Close the key files; may be called twice."""
        for found in self._opened.values():
            if isinstance(found, SigningKey):
                os.close(found.file)
        self._opened.clear()

    def _add(self, job: Job, rows: Mapping[bytes, bytes], path: str) -> None:
        row = row_of(author_domain(job.header), rows)
        if not row:
            return
        if row not in self._opened:
            try:
                self._opened[row] = _opened(row, rows[row])
            except ValueError as error:
                self._opened[row] = f"{path}: row {os.fsdecode(row)}: {error}"
        found = self._opened[row]
        if isinstance(found, str):
            self.faults[job] = f"DKIM: {found}"
        else:
            self.keys[job] = found


def author_domain(header: bytes) -> bytes:
    """The domain of the first address in From, as it is compared; b"" if there is none."""
    for one in headers.split_message(header)[0]:
        if headers.name(one) == b"from":
            listed = addresslist.parse(headers.value(one), blanks_separate=False)
            bare = next((found.address for found in listed if not found.problem), b"")
            return address.domain_key(address.split(bare)[1])
    return b""


def row_of(domain: bytes, rows: Mapping[bytes, bytes]) -> bytes:
    """The key of the row for *domain*: itself, or the nearest ".domain" above; b"" if there is none."""
    if domain and domain in rows:
        return domain
    while domain:
        _, dot, domain = domain.partition(b".")
        if dot + domain in rows and domain:
            return dot + domain
    return b""


def fault_of(row: bytes, value: bytes) -> str:
    """Why nothing can be signed by a row of the table, "" if it can; whoever asks must be able to read the key."""
    try:
        found = _opened(row, value)
    except ValueError as error:
        return str(error)
    if isinstance(found, str):
        return found
    os.close(found.file)
    return ""


def _opened(row: bytes, value: bytes) -> SigningKey | str:
    """The key of the row, or why it cannot be had. Raise ValueError for what is no row."""
    words = os.fsdecode(value).split(None, 1)
    domain = os.fsdecode(row.removeprefix(b"."))
    if len(words) != 2 or not words[1].startswith("/"):
        raise ValueError("a row has domain, selector and the path of the key")
    selector, path = words[0], words[1].strip()
    if not (domain.isascii() and _SELECTOR.fullmatch(selector)):
        raise ValueError("domain and selector are names of DNS")
    try:
        dkim.load()
    except ImportError:
        how = "apt install python3-dkim, or pip install minimta[dkim]"
        return f"python3-dkim is not installed ({how})"
    try:
        return _open(domain, selector, path)
    except Untrusted as error:
        return f"{path}: {error}; it must be root's, mode 600"
    except OSError as error:
        return f"{path}: {error.strerror}"


def _open(domain: str, selector: str, path: str) -> SigningKey:
    """Raise Untrusted, OSError."""
    owners = (0, os.geteuid())
    directory = safedirpath.walk(os.path.dirname(path), owners)
    try:
        file = os.open(os.path.basename(path), _OPEN, dir_fd=directory)
    finally:
        os.close(directory)
    found = os.fstat(file)
    why = safefile.why_untrusted(found, owners)
    if not stat.S_ISREG(found.st_mode):
        why = "Regular files only"
    elif safefile.readers(found) or found.st_mode & 0o033:
        why = why or "Others may read it"
    if why:
        os.close(file)
        raise Untrusted(why)
    return SigningKey(domain, selector, (path, found.st_ino, found.st_mtime_ns), file)
