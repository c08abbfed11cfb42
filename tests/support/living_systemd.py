"""A machine of its own with a living systemd: the files of this one, its own processes and network.

with LivingSystemd(tmp_path) as machine:          root, and a kernel that has cgroup2 to mount
    machine.run("systemctl", "is-active", "x")

What is written there is below *tmp_path* (overlayfs) and seen nowhere else; settings of the kernel,
which is everybody's (sysctl), are left alone. NotLiving: it does not come
up here, as in a container that may not mount.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

HOME = Path(__file__).parent.parent.parent
#: seconds until systemd has started what it starts
_PATIENCE = 60.0
_ROOT = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sys sys
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
ln -s pts/ptmx dev/ptmx
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --make-rshared .
ip link set lo up
hostname lab1.campus
exec env -i container=lxc PATH=/usr/sbin:/usr/bin chroot . /usr/lib/systemd/systemd --system \\
    --unit=basic.target --log-target=console
"""


class NotLiving(Exception):
    """systemd does not come up; the text says what it said."""


class LivingSystemd:
    """Runs while the with block does; the checkout is in /opt/minimta."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._log = place / "console"
        self._outside: subprocess.Popen[bytes] | None = None
        self._init = 0
        for name in ("upper", "work", "root"):
            (place / name).mkdir()
        target = place / "upper" / "opt" / "minimta"
        shutil.copytree(HOME, target, ignore=shutil.ignore_patterns(".git", "var", "__pycache__"))

    def __enter__(self) -> LivingSystemd:
        command = ["unshare", "-m", "-p", "-n", "-u", "-i", "-C", "--fork", "--kill-child"]
        with self._log.open("wb") as log:
            self._outside = subprocess.Popen(
                [*command, "sh", "-c", _ROOT, "sh", self._place],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait(self._outside)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._end()

    def _wait(self, outside: subprocess.Popen[bytes]) -> None:
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and outside.poll() is None:
            with contextlib.suppress(OSError):
                self._init = int(next(iter(children.read_text().split()), "0"))
            comm = Path(f"/proc/{self._init}/comm")
            if self._init and comm.exists() and comm.read_text() == "systemd\n":
                state = self.run("systemctl", "is-system-running").stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.1)
        raise NotLiving(self._log.read_text(errors="replace")[-500:])

    def _end(self) -> None:
        assert self._outside is not None
        if self._outside.poll() is None:
            self._outside.send_signal(signal.SIGKILL)  # and --kill-child ends systemd
        self._outside.wait(10)

    def run(
        self, *words: str, text: str = "", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there, as root, with *text* on its standard input."""
        inside = ["nsenter", "-t", str(self._init), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *words]
        return subprocess.run(
            [*inside, *clean],
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )
