"""A machine on which the examples of a manual page are carried out, one after the other.

    unshare --mount --net --uts --pid --fork --kill-child sh -c '"$@"; exit $?' sh \\
        python -m tests.support.manualhost DIRECTORY

Standard input: a list of steps as JSON, ["file", path, text], ["run", "$" or "#", command], or
["anew", "", ""], after which nothing is left of what was configured and queued.
Standard output: for each step [exit code, output]. DIRECTORY is for what is written.

vm1.lan has no network, the users emma, dave and carol, /etc of its own (a copy), an empty queue, empty
/var/mail and /srv; the commands of the checkout stand in /usr/local/sbin. So do those that would reach
for the outside, apt and systemctl: they say what they were called with, in /srv/called.
"""

from __future__ import annotations

import fcntl
import grp
import json
import os
import pwd
import shlex
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parent.parent.parent
#: files that root alone may read
SECRETS = ("authinfo", "secret", "alert-url")
#: seconds for one command
PATIENCE = 60
USERS = {"emma": 60101, "dave": 60102, "carol": 60103, "minimta": 60104}
#: what is played, for it would need the network or a running systemd
OUTSIDE = ("apt", "systemctl", "adduser", "journalctl", "git", "curl")
_CALLED = """\
#!/bin/sh
echo "${0##*/} $*" >>/srv/called
"""


def prepare(directory: Path) -> None:
    """Cover the directories that the commands change. Only in a mount namespace of one's own."""
    copy = directory / "etc"
    shutil.copytree("/etc", copy, symlinks=True, ignore_dangling_symlinks=True)
    for name in ("resolv.conf", "hosts", "nsswitch.conf"):
        forget(copy / name)
    write(copy / "resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    write(copy / "hosts", "127.0.0.1 localhost\n127.0.1.1 vm1.lan vm1\n")
    write(copy / "nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    add_users(copy)
    run("mount", "--bind", str(copy), "/etc")
    for path in ("/srv", "/run", "/var/spool", "/var/mail", "/var/lib", "/usr/local/sbin"):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
    for name, uid in USERS.items():
        Path("/srv", name).mkdir()
        os.chown(f"/srv/{name}", uid, uid)
    Path("/srv/root").mkdir()
    Path("/srv/called").touch()
    Path("/srv/called").chmod(0o666)
    run("chmod", "1777", "/var/mail")
    begin_anew()
    make_commands()
    open_way(directory)
    start_cron(copy)
    with socket.socket() as any_socket:  # netdevice(7): SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))
    socket.sethostname("vm1")


def start_cron(copy: Path) -> None:
    """For `minimta check`: without anybody who runs the queue a machine is not well. It does nothing."""
    (copy / "cron.d").mkdir(exist_ok=True)
    write(copy / "cron.d/minimta", "*/5 * * * * root /usr/sbin/sendmail -q\n")
    program = Path("/usr/local/sbin/cron")
    write(program, "#!/bin/sh\nwhile :; do sleep 60; done\n")
    program.chmod(0o755)
    nothing = subprocess.DEVNULL
    subprocess.Popen([str(program)], stdin=nothing, stdout=nothing, stderr=nothing)


def forget(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def add_users(copy: Path) -> None:
    people = [one for one in pwd.getpwall() if one.pw_name not in (*USERS, "root")]
    lines = ["root:x:0:0:root:/srv/root:/bin/sh"]
    lines += [":".join(map(str, one)) for one in people]
    lines += [f"{name}:x:{uid}:{uid}:{name}:/srv/{name}:/bin/sh" for name, uid in USERS.items()]
    write(copy / "passwd", "\n".join(lines) + "\n")
    groups = [f"{g.gr_name}:x:{g.gr_gid}:" for g in grp.getgrall() if g.gr_name not in USERS]
    groups += [f"{name}:x:{uid}:" for name, uid in USERS.items()]
    write(copy / "group", "\n".join(groups) + "\n")


def open_way(directory: Path) -> None:
    """Checkout and Python may lie where only root gets (/root): cover what is closed, but not these."""
    needed = {HOME, Path(sys.prefix), Path(sys.base_prefix)}
    closed = {path: closed_above(path) for path in needed if closed_above(path)}
    for number, path in enumerate(closed):
        (directory / str(number)).mkdir()
        run("mount", "--bind", str(path), str(directory / str(number)))
    held = os.open(directory, os.O_PATH)  # its path may be covered, too
    for place in set(closed.values()):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(place))
    for number, path in enumerate(closed):
        path.mkdir(parents=True)
        source = f"/proc/self/fd/{held}/{number}"
        subprocess.run(["mount", "--bind", source, str(path)], check=True, pass_fds=[held])


def closed_above(path: Path) -> Path | None:
    """The topmost directory on the way to *path* that others may not enter."""
    way = [*reversed(path.parents), path]
    return next((one for one in way if not one.stat().st_mode & 0o001), None)


def begin_anew() -> None:
    """Nothing is configured, and nothing waits."""
    etc, emma = Path("/etc"), Path("/srv/emma")
    for path in (etc / "mail", *etc.glob("aliases*"), *Path("/var/spool").iterdir()):
        forget(path)
    for path in (*Path("/var/mail").iterdir(), *emma.iterdir()):
        forget(path)
    write(etc / "aliases", "postmaster: root\n")
    (etc / "mail").mkdir()
    for queue, mode, group in (
        ("/var/spool/mqueue", 0o1730, USERS["minimta"]),
        ("/var/spool/clientmqueue", 0o1733, 0),
    ):
        Path(queue).mkdir()
        os.chown(queue, 0, group)
        Path(queue).chmod(mode)


def make_commands() -> None:
    place = Path("/usr/local/sbin")
    for program in (HOME / "bin").iterdir():
        flags = program.read_text(encoding="utf-8").split("\n")[0].split()[1:]
        words = shlex.join([sys.executable, *flags, str(program)])
        # The name by which it was called says what it does: of a link, too.
        write(place / program.name, f'#!/bin/sh\nexec {words} "$@"\n')
    for name in OUTSIDE:
        write(place / name, _CALLED)
    for path in place.iterdir():
        path.chmod(0o755)


def run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=sys.stderr)


def step(kind: str, where: str, what: str) -> tuple[int, str]:
    """Do one; the exit code and all output of a command, 0 and nothing for a file."""
    if kind == "anew":
        begin_anew()
        return 0, ""
    if kind == "file":
        path = Path(where.replace("~", "/srv/emma"))
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, what)
        is_program = where.startswith("/usr/local/")
        path.chmod(0o755 if is_program else 0o600 if path.name in SECRETS else 0o644)
        if where.startswith("~"):
            os.chown(path, USERS["emma"], USERS["emma"])
        return 0, ""
    name = "emma" if where == "$" else "root"
    uid = USERS.get(name, 0)
    environment = {
        "HOME": f"/srv/{name}",
        "USER": name,
        "LOGNAME": name,
        "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups", "/bin/bash", "-c", what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=f"/srv/{name}",
        env=environment,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def main() -> None:
    os.umask(0o022)
    prepare(Path(sys.argv[1]))
    json.dump([step(*one) for one in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
