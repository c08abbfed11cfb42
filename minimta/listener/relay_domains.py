"""Option RelayDomains: a file of hosts, domains and networks that may relay, and that are relayed to.

    lab1.campus         clients whose proved name is it or below it; recipients there
    10.0.3              clients 10.0.3.0 to 10.0.3.255
    IPv6:2001:db8       clients below 2001:db8::/32

Sendmail's class R. No file is no names; one that cannot be read is an OSError. It is looked at again
for each question, as the access table is.
"""

from __future__ import annotations

import os

from minimta.maps.access_keys import address_keys, domain_keys
from minimta.system import files, log


class RelayDomains:
    """The words of the file. For all threads."""

    def __init__(self, path: str) -> None:
        """Opens nothing yet; "" is no file."""
        self._path = path
        self._known: tuple[tuple[int, int, int] | None, frozenset[str]] | None = None

    def words(self) -> frozenset[str]:
        """All of them, in small letters. Raise OSError."""
        try:
            seen = self._look()
        except PermissionError:
            # The directory is closed to us since we gave up root; what root has read stands.
            if self._known is None:
                raise
            return self._known[1]
        if self._known is None or self._known[0] != seen:
            self._known = seen, self._read() if seen else frozenset()
        return self._known[1]

    def covers_client(self, ip: str, name: str, *, confirmed: bool) -> bool:
        """May the client relay? By its address, or by a name that leads back to it. Raise OSError."""
        words = self.words()
        if any(key in words for key in address_keys(ip)):
            return True
        return confirmed and any(key in words for key in domain_keys(name))

    def covers_domain(self, domain: str) -> bool:
        """May anybody send to *domain*? Not to a literal. Raise OSError."""
        return domain[:1] != "[" and any(key in self.words() for key in domain_keys(domain))

    def _look(self) -> tuple[int, int, int] | None:
        if not self._path:
            return None
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> frozenset[str]:
        found = frozenset(
            word.decode("utf-8", "replace").lower().removesuffix(".")
            for word in files.words(self._path)
        )
        for word in sorted(found):
            if "/" in word:
                why = (
                    "networks are written as Sendmail does, 10.0.3 for 10.0.3.0/24; it does nothing"
                )
                log.line("", f"{self._path}: {log.clean(word)}: {why}", level=1, error=True)
        return found
