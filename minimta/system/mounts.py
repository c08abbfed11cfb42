"""Which paths lead to a server that may be dead: asked without touching what may hang.

On a hard mount of NFS every call waits until the server answers, and no signal ends it. So a path is
followed name by name, and it is looked at /proc/self/mountinfo (proc(5)) before each step: what is
no file system of this machine's own disks is not entered. Nothing here raises.
"""

from __future__ import annotations

import os
import re
import time

#: file systems that answer as long as this machine does; all others are not waited for
# fmt: off
_OWN = {
    "ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "f2fs", "jfs", "reiserfs", "zfs", "tmpfs",
    "devtmpfs", "ramfs", "rootfs", "overlay", "squashfs", "erofs", "vfat", "exfat", "ntfs3", "iso9660",
    "udf",
}
# fmt: on
_TABLE = "/proc/self/mountinfo"
#: seconds that a list of mounts is believed
_FRESH = 2.0
_MOST_LINKS = 40
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mounts:
    """The mounts that may hang, as they were a moment ago."""

    def __init__(self, table: str = _TABLE) -> None:
        """*table* has the form of /proc/self/mountinfo."""
        self._table = table
        self._until = 0.0
        #: mount point -> may it hang?
        self._may_hang: dict[str, bool] = {}

    def may_hang(self, path: str) -> bool:
        """Could a look at *path*, which is absolute, wait for another machine or for a user's program?"""
        self._renew()
        links, reached, left = 0, "", [part for part in path.split("/") if part][::-1]
        while left:
            name = left.pop()
            if name in (".", ".."):
                reached = reached if name == "." else os.path.dirname(reached).rstrip("/")
                continue
            here = f"{reached}/{name}"
            if self._may_hang.get(here, False):
                return True
            try:
                target = os.readlink(here)
            except OSError:  # no link, or nothing: whoever goes on finds out what
                reached = here
                continue
            links += 1
            if links > _MOST_LINKS:
                return False  # ELOOP for everybody
            left += [part for part in target.split("/") if part][::-1]
            reached = "" if target.startswith("/") else reached
        return False

    def _renew(self) -> None:
        now = time.monotonic()
        if now < self._until:
            return
        self._until = now + _FRESH
        try:
            with open(self._table, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except OSError:
            lines = []  # no /proc: then it is looked as before
        self._may_hang.clear()
        for line in lines:
            before, dash, behind = line.partition(" - ")
            words = before.split(" ")
            if dash and len(words) > 4:
                point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), words[4])
                self._may_hang[point] = behind.split(" ")[0] not in _OWN
