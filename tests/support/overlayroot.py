"""A machine's files over those of another: what is changed there is seen nowhere else.

root = OverlayRoot(tmp_path)                      over this machine; or over a tree, lower=PATH
root.run("dpkg", "-i", "/tmp/x.deb")              root, in namespaces of its own
root.path("/etc/aliases").read_text()             what was written there

Processes that a command leaves behind end with it. There is no service manager.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ROOT = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir -p "$2/share" minimta
mount --bind "$2/share" minimta
[ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf >etc/resolv.conf
ip link set lo up 2>/dev/null || true
shift 2
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot . "$@"
"""


class OverlayRoot:
    """What the commands of *share* see as /minimta is *place*/share."""

    def __init__(self, place: Path, lower: str = "/", *, has_network: bool = False) -> None:
        self._place = place
        self._lower = lower
        namespaces = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        self._unshare = ["unshare", *namespaces, *([] if has_network else ["--net"])]
        for name in ("upper", "work", "root", "share"):
            (place / name).mkdir(mode=0o755)
        self.share = place / "share"

    def path(self, path: str) -> Path:
        """Where what was written as *path* lies."""
        return self._place / "upper" / path.lstrip("/")

    def exists(self, path: str) -> bool:
        """Is there anything of that name? What was removed is a device without a number."""
        written = self.path(path)
        if os.path.lexists(written):
            return not (written.is_char_device() and written.lstat().st_rdev == 0)
        return os.path.lexists(Path(self._lower, path.lstrip("/")))

    def run(self, *words: str, seconds: float = 600.0) -> subprocess.CompletedProcess[str]:
        """Run a command as root; its output is one text."""
        command = [*self._unshare, "sh", "-c", _ROOT, "sh", self._lower, str(self._place), *words]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )

    def must(self, *words: str, seconds: float = 600.0) -> str:
        """Run it, and give what it said."""
        done = self.run(*words, seconds=seconds)
        assert done.returncode == 0, done.stdout
        return done.stdout
