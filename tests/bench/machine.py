"""The machine that was measured: what a number means depends on its processor and on its disk."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

_WRITES = 100
_BLOCK = b"x" * 4096


def facts(directory: Path) -> Iterator[tuple[str, str]]:
    """Pairs of what and how much, about the machine and the file system of *directory*."""
    yield "processor", f"{_processor()}, {cores()} of {os.cpu_count()} cores usable"
    yield "memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MB"
    yield "system", f"Linux {platform.release()}, Python {platform.python_version()}"
    yield "file system", file_system(directory)
    median, late = fsync_ms(directory)
    yield "write 4 KB and fsync", f"{median:.2f} ms (median), {late:.2f} ms (95 of 100)"
    yield "load before", " ".join(f"{load:.1f}" for load in os.getloadavg())


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def file_system(directory: Path) -> str:
    """Type and device of the file system that holds *directory*."""
    device = directory.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] == wanted:
            kind, source = line.partition(" - ")[2].split()[:2]
            return f"{kind} on {source}"
    return "unknown"


def fsync_ms(directory: Path) -> tuple[float, float]:
    """Milliseconds to write 4 KB into a new file and to fsync it: the median, and what 95 of 100 keep."""
    taken = []
    for number in range(_WRITES):
        path = directory / f"fsync-{number}"
        begin = time.perf_counter()
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, _BLOCK)
        os.fsync(file)
        taken.append((time.perf_counter() - begin) * 1e3)
        os.close(file)
        path.unlink()
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
