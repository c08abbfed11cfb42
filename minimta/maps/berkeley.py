"""Maps of Berkeley DB, hash and btree, as Sendmail's makemap(8) makes them: PATH.db.

They are read and written by the programs of Debian's db5.3-util, in their portable form: one line of
hexadecimal digits for a key, one for its value. Nothing here delivers mail by such a map: it is for
what other programs read.

What may fail: Missing if they are not there; OSError for the file, with the program's words.
"""

from __future__ import annotations

import os
import subprocess
from shutil import which

from minimta.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = ("hash", "btree")
SUFFIX = ".db"
_LOAD, _DUMP = ("db5.3_load", "db_load"), ("db5.3_dump", "db_dump")
#: where the programs are, whatever PATH a caller has
_PATH = "/usr/bin:/usr/local/bin"


class Missing(Exception):
    """Berkeley DB is not installed; the text says how it is."""


def is_there() -> bool:
    """Can such maps be made here?"""
    return _found(_LOAD) is not None


def read(path: str) -> list[tuple[bytes, bytes]]:
    """All records of the map *path*, in its order. Raise OSError, Missing."""
    with open(path, "rb"):  # in the words of the system
        pass
    done = subprocess.run([_program(_DUMP), path], capture_output=True, check=False, env={})
    if done.returncode:
        raise OSError(0, _reason(done.stderr), path)
    _, _, data = done.stdout.partition(b"HEADER=END\n")
    lines = [bytes.fromhex(line.decode("ascii")) for line in _records(data)]
    return list(zip(lines[::2], lines[1::2], strict=True))


def write(
    path: str,
    kind: str,
    items: Iterable[tuple[bytes, bytes]],
    mode: int,
    owner: tuple[int, int] | None,
    *,
    duplicates: bool = False,
) -> None:
    """Make *path* a map of *items*, atomically and durably: readers see the old or the new.

    *kind* is one of KINDS; with *duplicates* a key may have several values. *owner* is the (uid, gid)
    of the file, by default ours. Raise OSError, Missing; then the old map stands.
    """
    program, temporary = _program(_LOAD), f"{path}.tmp-{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)  # left by a dead process that had our number
    try:
        command = [program, temporary]
        text = b"".join(_lines(kind, items, duplicates=duplicates))
        done = subprocess.run(
            command, input=text, capture_output=True, check=False, env={}, umask=0o077
        )
        if done.returncode:
            raise OSError(0, _reason(done.stderr), path)
        file = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if owner is not None:
                os.fchown(file, *owner)
            os.fchmod(file, mode)
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    files.sync_directory(os.path.dirname(path) or ".")


def _lines(kind: str, items: Iterable[tuple[bytes, bytes]], *, duplicates: bool) -> Iterator[bytes]:
    yield f"VERSION=3\nformat=bytevalue\ntype={kind}\n".encode("ascii")
    if duplicates:
        yield b"duplicates=1\n"
    yield b"HEADER=END\n"
    for key, value in items:
        yield f" {key.hex()}\n {value.hex()}\n".encode("ascii")
    yield b"DATA=END\n"


def _records(data: bytes) -> Iterator[bytes]:
    return (line[1:] for line in data.split(b"\n") if line[:1] == b" ")


def _found(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := which(name, path=_PATH))), None)


def _program(names: tuple[str, ...]) -> str:
    path = _found(names)
    if path is None:
        need = "maps of Berkeley DB need db5.3_load and db5.3_dump (apt install db5.3-util)"
        raise Missing(f"{need}; minimta itself reads the text, or a map of type cdb")
    return path


def _reason(said: bytes) -> str:
    """The last words of a program."""
    lines = said.decode("utf-8", "replace").strip().splitlines() or ["failed"]
    return lines[-1].rpartition(": ")[2]
