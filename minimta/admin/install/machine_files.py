"""What a machine gets of ours beside the commands: units, accounts, directories, completion and so on.

The texts are files in ``machine/``, as they are on the machine, and say "/usr/sbin/sendmail", wherever
minimta itself is. ``minimta install`` and the Debian package put the same ones into their places:

    installed    where ``minimta install`` writes it: the administrator's part of the tree
    packaged     where a package has it
    where        which machines want it, see ``Where``

A cron entry is for machines where nobody starts a resident runner: beside one it would do nothing, and
write three lines into the log every five minutes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

_TEXTS = Path(__file__).parent / "machine"


class Where(enum.Enum):
    """Which machines want a file."""

    EVERYWHERE = enum.auto()
    #: sd_booted(3), or in a tree for another machine: systemd is installed
    WITH_SYSTEMD = enum.auto()
    #: nobody starts a resident runner
    WITHOUT_SYSTEMD = enum.auto()
    WITH_OPENRC = enum.auto()


@dataclass(frozen=True, slots=True)
class MachineFile:
    """One file; paths are those of the finished machine."""

    #: in ``machine/``
    name: str
    installed: str
    packaged: str
    where: Where = Where.EVERYWHERE
    mode: int = 0o644

    def text(self) -> str:
        """What stands in it. Raise OSError."""
        return (_TEXTS / self.name).read_text(encoding="utf-8")


#: all units, in the order in which they are told to the administrator
UNITS = (
    "minimta.service",
    "minimta-runner.service",
    "minimta.socket",
    "minimta-listener.service",
    "minimta-failure@.service",
)
#: what is enabled and started; the others are the administrator's choice
ENABLED_UNITS = ("minimta-runner.service", "minimta.service")

#: the other form of one of them: (what is enabled in its place, what that starts)
INSTEAD = {"minimta.service": ("minimta.socket", "minimta-listener.service")}

_COMPLETIONS = "share/bash-completion/completions"

# fmt: off
FILES: tuple[MachineFile, ...] = (
    *(
        MachineFile(name, f"/etc/systemd/system/{name}", f"/usr/lib/systemd/system/{name}", Where.WITH_SYSTEMD)
        for name in UNITS
    ),
    MachineFile("sysusers.conf", "/etc/sysusers.d/minimta.conf", "/usr/lib/sysusers.d/minimta.conf", Where.WITH_SYSTEMD),
    MachineFile("tmpfiles.conf", "/etc/tmpfiles.d/minimta.conf", "/usr/lib/tmpfiles.d/minimta.conf", Where.WITH_SYSTEMD),
    MachineFile("cron", "/etc/cron.d/minimta", "/etc/cron.d/minimta", Where.WITHOUT_SYSTEMD),
    MachineFile("fail2ban", "/etc/fail2ban/filter.d/sendmail-auth.local", "/etc/fail2ban/filter.d/sendmail-auth.local"),
    MachineFile("logrotate", "/etc/logrotate.d/minimta", "/etc/logrotate.d/minimta"),
    MachineFile("openrc", "/etc/init.d/minimta", "/etc/init.d/minimta", Where.WITH_OPENRC, 0o755),
    # One file for each command: that is how bash finds it.
    *(
        MachineFile("completion.bash", f"/usr/local/{_COMPLETIONS}/{command}", f"/usr/{_COMPLETIONS}/{command}")
        for command in ("minimta", "sendmail", "mailq")
    ),
    MachineFile("completion.zsh", "/usr/local/share/zsh/site-functions/_minimta", "/usr/share/zsh/vendor-completions/_minimta"),
)
# fmt: on


#: what the units of the listener hide from it
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")


def drop_ins(home: str) -> dict[str, str]:
    """Path -> text of what lets the listener see a copy of ours at *home*, where its units hide that."""
    if not f"{home}/".startswith(_HIDDEN):
        return {}
    text = f"# minimta is run from there.\n[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={home}\n"
    units = ("minimta.service", "minimta-listener.service")
    return {f"/etc/systemd/system/{unit}.d/minimta.conf": text for unit in units}


def by_name(name: str) -> MachineFile:
    """The file *name* of ``machine/``, the first of several places. Raise LookupError."""
    return next(file for file in FILES if file.name == name)


def wanted(where: Where, root: Path = Path("/")) -> bool:
    """Does the machine, or the tree below *root* for another one, want what is for *where*?"""
    is_here = root == Path("/")
    systemd = root / ("run/systemd/system" if is_here else "usr/lib/systemd/systemd")
    return {
        Where.EVERYWHERE: True,
        Where.WITH_SYSTEMD: systemd.exists(),
        Where.WITHOUT_SYSTEMD: not systemd.exists(),
        Where.WITH_OPENRC: (root / "sbin/openrc-run").exists() and not systemd.exists(),
    }[where]
