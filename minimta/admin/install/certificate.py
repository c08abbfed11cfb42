"""A certificate that the installation makes, so that mail is encrypted from the first minute on.

It is self-signed: who sends mail here opportunistically asks for no more. One of the administrator's
(``ServerCertFile``) takes its place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from minimta.admin.install.services import call, has_program
from minimta.admin.install.steps import below
from minimta.config.options import Options
from minimta.system.files import sync_directory

#: where the listener looks for certificate and key if it is told nothing
PLACE = Options().server_cert_file
_DAYS = 3650
#: the first line of one that do() made
MARK = "# A self-signed certificate and its key, made by minimta install."
_OURS = f"{MARK}\n".encode()


@dataclass(frozen=True, slots=True)
class Certificate:
    """The file, root's, mode 600. One that exists stays; without openssl(1) there is none."""

    root: Path
    #: the host's full name
    name: str

    def __str__(self) -> str:
        return f"self-signed certificate for {self.name}, {PLACE}"

    @property
    def _place(self) -> Path:
        return below(self.root, PLACE)

    def is_done(self) -> bool:
        """Is there one, or can there be none?"""
        return os.path.lexists(self._place) or not has_program("openssl")

    def is_ours(self) -> bool:
        """Did do() make it? Raise OSError."""
        return self._place.is_file() and self._place.read_bytes().startswith(_OURS)

    def do(self) -> None:
        """Make it. Raise OSError or AdminError."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.mkdtemp(prefix=".certificate", dir=self._place.parent)  # mode 700
        try:
            whole = _made(Path(aside), self.name)
            new = Path(aside, "whole")
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(_OURS + whole)
                out.flush()
                os.fsync(out.fileno())
            new.rename(self._place)
            sync_directory(str(self._place.parent))
        finally:
            shutil.rmtree(aside)

    def undo(self) -> None:
        """Remove it. Raise OSError."""
        self._place.unlink()


def _made(directory: Path, name: str) -> bytes:
    """Certificate and key, by files in *directory*. Raise AdminError with openssl's words."""
    certificate, key = directory / "certificate", directory / "key"
    files = ["-keyout", str(key), "-out", str(certificate)]
    # A common name has 64 characters at most, and nobody looks at it (RFC 7817).
    names = ["-subj", f"/CN={name[:64]}", "-addext", f"subjectAltName=DNS:{name}"]
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", str(_DAYS)]
    call(["openssl", "req", *kind, *names, *files])
    return key.read_bytes() + certificate.read_bytes()
