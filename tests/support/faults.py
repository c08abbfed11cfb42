"""Every system call may fail: ``os`` functions that do so at the n-th call, once or from then on."""

from __future__ import annotations

import os
from typing import Any

from tests.support.powercut import CHANGES, SYNCS

CALLS = (*CHANGES, *SYNCS, "close", "fstat", "stat", "fstatvfs", "read", "pread")


class Faults:
    """Let call number *at* of ``with Faults(...)`` raise OSError(*code*); *lasting*: all after it too.

    close(2) does close before it reports. ``count`` calls were made, ``failed`` names the first that
    failed, "" if there were not so many.
    """

    def __init__(self, code: int, at: int, *, lasting: bool = False) -> None:
        self.code = code
        self.at = at
        self.lasting = lasting
        self.count = 0
        self.failed = ""
        self._saved: dict[str, Any] = {}

    def __enter__(self) -> Faults:
        for name in CALLS:
            self._saved[name] = getattr(os, name)
            setattr(os, name, self._wrapped(name))
        return self

    def __exit__(self, *unused: object) -> None:
        for name, real in self._saved.items():
            setattr(os, name, real)

    def _wrapped(self, name: str) -> Any:
        real = self._saved[name]

        def call(*args: Any, **options: Any) -> Any:
            here, self.count = self.count, self.count + 1
            if here == self.at or (self.lasting and here > self.at):
                self.failed = self.failed or name
                if name == "close":
                    real(*args)
                raise OSError(self.code, os.strerror(self.code))
            if name in SYNCS:
                return None
            return real(*args, **options)

        return call
