"""The calls that real code makes on the files of a queue, in the words of ``tests.model.programs``.

    with CallsMade(queue=..., client=..., mail=...) as made:
        ...
    made.lines        "create df", "lock df", "write df", "fsync directory" ...

Files are named by their kind, those of clientmqueue with "client/" before, those of a message that
has come since with "new/". What only reads is left
out, but for the looks (stat of a name) and for opening and reading what was queued; of calls of the
same kind that follow each other on the same files one is given, and looks are put together.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minimta.queue import commit
from minimta.queue.qid import valid

_ON_NAMES = ("stat", "unlink", "rename", "open")
_ON_FILES = ("write", "writev", "fsync", "utime", "close", "pread", "ftruncate")
_WORDS = {"stat": "look", "writev": "write", "pread": "read", "ftruncate": "cut"}


class CallsMade:
    """Wraps os.open, os.fsync ... of this process between ``with`` and its end."""

    def __init__(self, queue: Path, client: Path | None = None, mail: Path | None = None) -> None:
        """Directories whose files are followed; all else is of no interest."""
        self._directories = {str(queue): "", str(client): "client/", str(mail): "mail"}
        self.lines: list[str] = []
        #: ids of the messages that were there before
        self._here: set[str] = set()
        self._saved: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> CallsMade:
        queue = next(path for path, where in self._directories.items() if not where)
        self._here = {name[2:] for name in os.listdir(queue)}
        for name in (*_ON_NAMES, *_ON_FILES):
            self._wrap(os, name, self._on_name if name in _ON_NAMES else self._on_file)
        self._wrap(fcntl, "flock", self._on_lock)
        self._wrap(commit, "syncfs", self._on_file)
        return self

    def __exit__(self, *unused: object) -> None:
        while self._saved:
            owner, name, real = self._saved.pop()
            setattr(owner, name, real)

    def _wrap(self, owner: Any, name: str, note: Callable[..., str]) -> None:
        real = getattr(owner, name)
        self._saved.append((owner, name, real))

        def wrapped(*args: Any, **options: Any) -> Any:
            line = note(name, args, options)  # before: afterwards a file may be gone
            try:
                result = real(*args, **options)
            except FileNotFoundError:
                if name == "stat" and line:  # that nothing is there is what was looked for
                    self._add(line)
                raise
            if line:
                self._add(line)
            return result

        setattr(owner, name, wrapped)

    def _add(self, line: str) -> None:
        call, *files = line.split()
        last = self.lines[-1].split() if self.lines else [""]
        if last == [call, *files]:
            return
        if call == "look" == last[0] and _whose(files[0]) == _whose(last[1]):
            self.lines[-1] = " ".join(
                [*self.lines[-1].split(), *(f for f in files if f not in last)]
            )
            return
        self.lines.append(line)

    # --- what the call is about -------------------------------------------------------------------

    def _on_name(self, call: str, args: tuple[Any, ...], options: dict[str, Any]) -> str:
        directory = options.get("dir_fd", options.get("src_dir_fd"))
        names = args[:2] if call == "rename" else args[:1]
        if not all(isinstance(name, (str, bytes, os.PathLike)) for name in names):
            return self._on_file(call, args, options)
        if call == "open" and args[1] & os.O_DIRECTORY:
            return ""
        files = [self._called(os.fsdecode(name), directory) for name in names]
        if not all(files):
            return ""
        if call == "open" and args[1] & os.O_CREAT:
            call = "create"
        return " ".join([_WORDS.get(call, call), *files])

    def _on_file(self, call: str, args: tuple[Any, ...], options: dict[str, Any]) -> str:
        if not isinstance(args[0], int):
            return ""
        path = os.readlink(f"/proc/self/fd/{args[0]}").removesuffix(" (deleted)")
        if path in self._directories:
            where = self._directories[path]
            what = where if where == "mail" else f"{where}directory"
            return f"{call} {what}" if call in ("fsync", "syncfs") else ""
        file = self._called(path, None)
        return f"{_WORDS.get(call, call)} {file}" if file else ""

    def _on_lock(self, call: str, args: tuple[Any, ...], options: dict[str, Any]) -> str:
        file = self._on_file("lock", args, options)
        return file.replace("lock", "unlock") if args[1] & fcntl.LOCK_UN else file

    def _called(self, name: str, directory: int | None) -> str:
        """The model's word for a file; "" if it is none of those that are followed."""
        if directory is not None and not os.path.isabs(name):
            name = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), name)
        parent, base = os.path.split(name)
        where = self._directories.get(parent)
        if where is None:
            return ""
        if where == "mail":
            return "" if base.endswith(".lock") or ".lock" in base else "mailbox"
        if not valid(base[2:]):
            return ""
        if not where and base[2:] not in self._here:
            where = "new/"
        return where + base[:2]


def _whose(file: str) -> str:
    return file.rpartition("/")[0]
