"""The load average that QueueLA, RefuseLA and the like are compared with: for each processor.

    where                                   load
    a host                                  that of /proc/loadavg, by its number of processors
    a container whose /proc/loadavg is its  the same: LXCFS mounts such a file
    own
    any other container                     0: /proc/loadavg tells of the whole host, and its other
                                            containers are no reason to keep our mail waiting

A container is what has a PID namespace of its own. What cannot be found out is 0: a limit that is not
known to be reached holds nobody up.
"""

from __future__ import annotations

import os

#: the inode number of the first PID namespace: PROC_PID_INIT_INO in include/linux/proc_ns.h
_OF_THE_HOST = 0xEFFFFFFC


def average() -> float:
    """The load of the last minute, by the number of processors; 0.0 if it is not known."""
    if _is_of_another_host():
        return 0.0
    try:
        # DIFFERS: a limit that the administrator sets is for each processor, as the defaults are.
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return 0.0


def _is_of_another_host() -> bool:
    """Are we in a container, and is /proc/loadavg not its own?"""
    try:
        if os.stat("/proc/self/ns/pid").st_ino == _OF_THE_HOST:
            return False
        return os.stat("/proc/loadavg").st_dev == os.stat("/proc").st_dev
    except OSError:
        return False  # no /proc: the load comes from somewhere else
