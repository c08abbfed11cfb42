"""A file that the log goes to (LogTo), as syslogd(8) writes one:

    Nov 30 10:43:23 lab1 sm-mta[96]: 6AM9CfOn000096: to=<dave@lab2.campus>, stat=Sent

It is opened for appending, and again once another is there under its name (logrotate(8)). Who may not
open the new one, as a listener that is no root any more, goes on with the old one until its end.
"""

from __future__ import annotations

import contextlib
import os
import time

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
#: as syslogd(8) has it: its group reads it, adm where logrotate(8) made it
_MODE = 0o640
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class LogFile:
    """One file. For many threads, and for processes that were forked with it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        #: (device, inode) of it
        self._identity = (-1, -1)

    @property
    def is_open(self) -> bool:
        """Is there a file that lines go to?"""
        return self._file >= 0

    @property
    def descriptor(self) -> int:
        """Of the file that lines go to, -1 if there is none."""
        return self._file

    def open(self) -> bool:
        """Have the file that is under that name now, if that can be. Can anything be written?"""
        try:
            new = os.open(self._path, _FLAGS | os.O_CLOEXEC, _MODE)
        except OSError:
            return self._file >= 0
        found = os.fstat(new)
        self._identity = found.st_dev, found.st_ino
        if not found.st_size:
            with contextlib.suppress(OSError):  # it is another's
                os.fchmod(new, _MODE)  # our umask is for mail
        old, self._file = self._file, new
        if old >= 0:
            os.close(old)
        return True

    def write(self, text: str) -> bool:
        """Append a line, with time and host before it. Could it be written?"""
        if (self._file < 0 or self._is_gone()) and not self.open():
            return False
        now = time.localtime()
        date = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {time.strftime('%H:%M:%S', now)}"
        whole = f"{date} {os.uname().nodename.partition('.')[0]} {text}"
        try:
            # In one piece: others append to it, too.
            os.write(self._file, whole.encode("utf-8", "backslashreplace"))
        except OSError:  # the disk is full
            return False
        return True

    def _is_gone(self) -> bool:
        try:
            found = os.stat(self._path)
            return (found.st_dev, found.st_ino) != self._identity
        except OSError:
            return True
