"""The policies of MTA-STS that were fetched: a file for each domain, beside the queue.

    lab2.campus         the policy's text, as it is fetched, and behind it
                        id: 20261130            of the TXT record then
                        fetched: 1796007683     when, epoch seconds
    lab2.campus.tried   the same two, of a policy that could not be fetched

Workers, which have no rights, look into them, and tell what they have fetched; the process that
records outcomes writes. What cannot be read or understood is not there, and is fetched again. A policy
holds for its max_age, whatever becomes of its TXT record and its server (RFC 8461 section 3.3): who
could take those away would take away the policy.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass

from minimta.config.options import Options
from minimta.mailers.remote import sts_policy
from minimta.mailers.remote.own_directory import OwnDirectory
from minimta.mailers.remote.sts_policy import MAX_AGE, StsPolicy
from minimta.system import files

#: octets of a file that are read
_MOST = 40_000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIED = ".tried"
#: seconds for which "it could not be fetched" is of use
_OLD_TRIAL = 86400.0


@dataclass(frozen=True, slots=True)
class KnownPolicy:
    """A policy, and when it was fetched."""

    policy: StsPolicy
    id: str
    #: epoch seconds
    fetched: float

    def holds(self, now: float) -> bool:
        """Does it still count at *now* (epoch seconds)?

        What a clock that was wrong by years has dated counts no more, or it would for all of them.
        """
        return self.fetched - MAX_AGE < now < self.fetched + self.policy.max_age

    def is_young(self, now: float) -> bool:
        """Was it fetched in its last half, and not by a clock that has been put back?"""
        return self.fetched <= now < self.fetched + self.policy.max_age / 2


class StsCache(OwnDirectory):
    """The directory, as one attempt sees it."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "MTA-STS policies")

    def known(self, domain: str) -> KnownPolicy | None:
        """The policy of *domain* that was fetched last, whether it still holds or not."""
        text = self._text(domain)
        fields = _fields(text)
        try:
            return KnownPolicy(sts_policy.read(text), fields["id"], float(int(fields["fetched"])))
        except (KeyError, ValueError):
            return None

    def tried(self, domain: str) -> tuple[str, float]:
        """Which id could not be fetched, and when (epoch seconds); ("", 0.0) if none."""
        fields = _fields(self._text(domain + _TRIED))
        try:
            return fields["id"], float(int(fields["fetched"]))
        except (KeyError, ValueError):
            return "", 0.0

    def note(self, domain: str, id_: str, policy: StsPolicy | None) -> None:
        """Write down what was fetched now, None: nothing. What cannot be written is forgotten."""
        if not _is_file(domain) or self.file < 0:
            return
        text = sts_policy.written(policy) if policy is not None else b""
        text += f"id: {id_}\nfetched: {int(time.time())}\n".encode("ascii")
        with suppress(OSError):
            new = f".new{os.getpid()}"
            file = os.open(new, _WRITE, 0o644, dir_fd=self.file)
            try:
                os.fchmod(file, 0o644)
                files.write_all(file, text)
            finally:
                os.close(file)
            name = domain if policy is not None else domain + _TRIED
            os.rename(new, name, src_dir_fd=self.file, dst_dir_fd=self.file)
            if policy is not None:
                with suppress(FileNotFoundError):
                    os.unlink(domain + _TRIED, dir_fd=self.file)

    def _text(self, name: str) -> bytes:
        if not _is_file(name) or self.file < 0:
            return b""
        try:
            file = os.open(name, _READ, dir_fd=self.file)
        except OSError:
            return b""
        try:
            return os.read(file, _MOST)
        except OSError:
            return b""
        finally:
            os.close(file)


def forget_old(path: str) -> None:
    """Remove from the directory *path* what counts no more. Raises nothing."""
    if not os.path.isdir(path):
        return
    cache, now = StsCache(path), time.time()
    cache.open()
    with suppress(OSError):
        for name in os.listdir(cache.file) if cache.file >= 0 else ():
            known = cache.known(name)
            when = os.stat(name, dir_fd=cache.file, follow_symlinks=False).st_mtime
            if not (known.holds(now) if known else when > now - _OLD_TRIAL):
                os.unlink(name, dir_fd=cache.file)
    cache.close()


def _is_file(domain: str) -> bool:
    """A domain comes from somebody's address, and becomes a file."""
    return re.fullmatch(r"[a-z0-9_-][a-z0-9._-]{0,240}", domain, re.ASCII) is not None


def _fields(text: bytes) -> dict[str, str]:
    lines = (line.partition(": ") for line in text.decode("ascii", "replace").split("\n"))
    return {name: value for name, _, value in lines}


def of_queue(options: Options) -> StsCache:
    """The cache of the deliveries of a queue."""
    return StsCache(beside(options.queue_directory))


def beside(queue_directory: str) -> str:
    """The directory of a queue: not within, where the listener could make it first."""
    return queue_directory.rstrip("/") + ".sts"
