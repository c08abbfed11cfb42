"""Which new queue ids are free, without a look at the queue for each.

An id must not be used while any file of it exists. Whoever makes one looks for seven files: the df,
by O_EXCL, and six more, which are six calls to the kernel a message, and as many times the interpreter
lock given up. A process that lives long need not make them. An id ends in the number of its process,
and no process gives an id twice (see ``qid``). So what there is of its ids was left by processes that
had the same number before it: it lists them once, when it begins.

    while it lives                           what proves that the id is free
    another of the same number, in           the df, which every message has first and last
    another container
    the clock is set back by minutes: its    nothing: it looks for every file again, until the clock
    own ids may come again                   is where it was
"""

from __future__ import annotations

import os

from minimta.queue.qid import valid

#: an id's first digits: the minute
_MINUTE = 5


class Leftovers:
    """Files of ids of this process that others have left in one queue directory. For all threads."""

    def __init__(self, directory: int) -> None:
        """Read the open *directory* once. Raise OSError."""
        self._suffix = f"{os.getpid():06}"
        #: the latest minute of an id; ids of the same age or older are in order
        self._latest = ""
        # A descriptor of its own: threads that share one would share the position in it.
        own = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            with os.scandir(own) as entries:  # a queue may be large: name by name
                self._taken = frozenset(
                    entry.name[2:] for entry in entries if self._is_own(entry.name[2:])
                )
        finally:
            os.close(own)

    def _is_own(self, qid: str) -> bool:
        return qid[8:] == self._suffix and valid(qid)

    def know(self, qid: str) -> bool:
        """Is it certain whether files of the new *qid* are there? Else they are to be looked for."""
        minute = qid[:_MINUTE]
        if qid[8:] != self._suffix or minute < self._latest:
            return False
        self._latest = minute
        return True

    def __contains__(self, qid: str) -> bool:
        return qid in self._taken
