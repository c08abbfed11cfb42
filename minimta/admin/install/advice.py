"""What an administrator should know or do once the installation is made."""

from __future__ import annotations

from pathlib import Path

from minimta.admin.install.services import has_systemd
from minimta.admin.install.steps import below
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.queue import pattern, subdirectories
from minimta.system import hostnames, log, safefile
from minimta.system.terminal import complain

_CONFIGURE = """\
Next:
  minimta setup: how mail goes out (gmail, office365, ..., HOST, mx, local); or by hand, in
  /etc/mail/minimta.cf (man minimta.cf): HostName, SmartHost ...; then minimta check, and"""
_START = "systemctl restart minimta"
_START_BY_HAND = "sendmail -bd -q15m (there is no systemd; after changes: kill -HUP the first line of the PidFile)"
_ROOT = "  /etc/aliases: root's mail to somebody who reads it (root: emma), then newaliases"
_TEST = """\
  a test letter: echo hello | sendmail -v root; what waits, and why: mailq; the log: facility mail of
  syslog"""
_JOURNAL = " (journalctl SYSLOG_FACILITY=2)"


def warn_of_configuration(root: Path) -> None:
    """What ``minimta check`` would tell: the service will not start, or users' sendmail not queue.

    And a name without a domain, which other hosts refuse, in senders and in HELO.
    """
    if root != Path("/"):
        return
    try:
        options = config_file.load(None, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        told = error.sentences
    else:
        told = [*options.warnings, *_about_host_name(options), *about_queue(options)]
    for sentence in told:
        complain(f"warning: {sentence}")


def about_queue(options: Options) -> list[str]:
    """What Sendmail has left where no run looks, and how it is moved."""
    try:
        paths = pattern.paths(options)
    except OSError:
        return []  # none was made yet
    told = [(subdirectories.told(path), subdirectories.remedy(path)) for path in paths]
    return [f"{what}: {remedy}" for what, remedy in told if what]


def _about_host_name(options: Options) -> list[str]:
    try:
        name = log.clean(hostnames.own_name(options))
    except OSError as error:
        return [f"the name of this host: {error}"]
    if "." in name:
        return []
    remedy = f"write HostName = {name}.example.org into {config_file.DEFAULT_FILE}"
    return [f"this host's name, {name}, has no domain, and others will refuse its mail: {remedy}"]


def tell_next(root: Path) -> None:
    """What to do now, in a few lines."""
    say(f"\n{_CONFIGURE}")
    say(f"  {how_to_start(root)}")
    if not has_alias(root, b"root"):
        say(_ROOT)
    say(_TEST + (_JOURNAL if _runs_systemd(root) else ""))


def how_to_start(root: Path) -> str:
    """What makes a new configuration count on the machine of which *root* is the tree."""
    return _START if _runs_systemd(root) else _START_BY_HAND


def _runs_systemd(root: Path) -> bool:
    """A tree for another machine is taken for one that does."""
    return root != Path("/") or has_systemd()


def has_alias(root: Path, name: bytes) -> bool:
    """Does *name* stand on the left side of a line of the alias file? False if it cannot be read."""
    try:
        lines = below(root, "/etc/aliases").read_bytes().split(b"\n")
    except OSError:
        return False
    return any(line.partition(b":")[0].strip(b' \t"').lower() == name for line in lines)
