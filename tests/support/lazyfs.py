"""LazyFS, a file system by others that forgets what was not fsynced (github.com/dsrhaslab/lazyfs, FUSE 3).

    with LazyFs(os.environ["MINIMTA_LAZYFS"], directory) as disk:
        ...                     work in disk.mounted
        disk.forget()           the power is off: what was written and not fsynced is gone

Names are never lost on it, only octets. It is built so, with cmake, g++ and libfuse3-dev:

    git clone https://github.com/dsrhaslab/lazyfs && cd lazyfs
    (cd libs/libpcache && ./build.sh) && (cd lazyfs && ./build.sh)
    export MINIMTA_LAZYFS=$PWD/lazyfs/build/lazyfs
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType

#: seconds for it to be there, to forget and to go
_PATIENCE = 20.0
_CONFIGURATION = """\
[faults]
fifo_path="{directory}/faults"
fifo_path_completed="{directory}/done"
[cache]
apply_eviction=false
[cache.simple]
custom_size="0.25GB"
blocks_per_page=1
[filesystem]
log_all_operations=false
logfile=""
"""


class LazyFs:
    """Mounted between ``with`` and its end."""

    def __init__(self, program: str, directory: Path) -> None:
        """*program* is the built lazyfs; all that it needs is below *directory*."""
        self._program = program
        self._directory = directory
        self.mounted = directory / "mounted"
        self._process: subprocess.Popen[bytes] | None = None
        self._done = -1

    def __enter__(self) -> LazyFs:
        configuration, below = self._directory / "lazyfs.toml", self._directory / "below"
        configuration.write_text(_CONFIGURATION.format(directory=self._directory))
        for directory in (self.mounted, below):
            directory.mkdir(exist_ok=True)
        # Its path of a configuration must not have "-o" in it.
        words = [self._program, str(self.mounted), "--config-path", configuration.name]
        words += ["-o", "allow_other", "-o", "modules=subdir", "-o", f"subdir={below}", "-f"]
        with (self._directory / "lazyfs.log").open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory
            )
        try:
            self._wait_for_it()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait_for_it(self) -> None:
        end, answers = time.monotonic() + _PATIENCE, self._directory / "done"
        while not (answers.exists() and os.path.ismount(self.mounted)):
            assert time.monotonic() < end, (self._directory / "lazyfs.log").read_text()
            time.sleep(0.02)
        self._done = os.open(answers, os.O_RDWR)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(["fusermount3", "-u", "-z", str(self.mounted)], check=False)
        assert self._process is not None
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._done >= 0:
            os.close(self._done)

    def forget(self) -> None:
        """Lose what was not fsynced, and come back. Nobody has a file open any more.

        It is mounted anew: what it remembers of a file across its own "clear" (a length of 0 of one whose
        octets are below) no power cut leaves.
        """
        (self._directory / "faults").write_text("lazyfs::clear-cache\n")
        poll = select.poll()
        poll.register(self._done, select.POLLIN)
        assert poll.poll(_PATIENCE * 1000), "LazyFS does not answer"
        assert b"finished::clear-cache" in os.read(self._done, 1000)
        self.__exit__(None, None, None)
        for name in ("done", "faults"):
            (self._directory / name).unlink()
        self.__enter__()
