"""What dpkg is told of the package: control fields, conffiles, checksums, changelog, maintainer scripts.

One package is the mail system of a machine (Debian Policy 11.6): it provides, conflicts with and
replaces ``mail-transport-agent``, so that apt puts another one away and installs no second one.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from minimta.admin.checkout import PACKAGED, AdminError
from minimta.admin.install import alternatives, install, sendmail_cf
from minimta.admin.install.certificate import MARK, PLACE
from minimta.admin.install.diversions import SUFFIX
from minimta.admin.install.files import CountsFile, LockFile, RememberedHosts
from minimta.admin.install.machine_files import ENABLED_UNITS, FILES, UNITS, by_name
from minimta.admin.install.other_mta import VIRTUAL
from minimta.admin.install.services import CLIENT_QUEUE, QUEUE
from minimta.admin.package.contents import MAIL, Entry
from minimta.admin.package.version import Version
from minimta.config.file import DEFAULT_FILE

_SCRIPTS = Path(__file__).parent / "scripts"
MAINTAINER = "minimta contributors <minimta@localhost.localdomain>"

_CONTROL = f"""\
Package: minimta
Version: {{version}}
Architecture: all
Multi-Arch: foreign
Maintainer: {MAINTAINER}
Installed-Size: {{size}}
Depends: python3 (>= 3.11), python3-dnspython (>= 2.3), python3-filelock (>= 3.9), passwd, init-system-helpers (>= 1.54~)
Suggests: openssl, mailx, python3-unbound, python3-dkim
Provides: {VIRTUAL}
Conflicts: {VIRTUAL}{{packages}}
Replaces: {VIRTUAL}{{packages}}
Section: mail
Priority: optional
Description: small Sendmail-compatible mail transfer agent
 Takes mail from programs of this machine (sendmail, mail, cron, PHP) and by
 SMTP, keeps it in a queue, and delivers it to mailboxes, files, programs and
 other hosts, or hands it to a smart host with login and TLS.
 .
 Command line, queue, log and exit codes are Sendmail's. Without any
 configuration local mail is delivered, and SMTP is taken on 127.0.0.1 and ::1
 only. Users' mail is delivered by a process that has become that user.
"""

#: path -> the package that is no mail system and has it, too
_ALONE = {"/usr/sbin/rmail": "rmail", "/usr/bin/rmail": "rmail"}

#: units of mail systems that may outlive their packages
OTHER_MTAS = (
    *("postfix.service", "postfix@-.service", "exim4.service", "nullmailer.service"),
    *("opensmtpd.service", "sendmail.service", "courier.service"),
)
#: What purge removes: only minimta reads it. Tables that Sendmail has, too, stay.
CONFIGURATION = (DEFAULT_FILE, "/etc/mail/smtp-users", "/var/lib/minimta", "/var/log/minimta")
REMEMBERED = ("/etc/aliases.cdb",)


def control(version: Version, entries: list[Entry]) -> str:
    """The fields. The size is in KiB, each file rounded up (Policy 5.6.20)."""
    size = sum(-(-len(entry.content) // 1024) for entry in entries)
    paths = {entry.path for entry in entries}
    packages = "".join(f", {name}" for path, name in _ALONE.items() if path in paths)
    return _CONTROL.format(version=version.number, size=size, packages=packages)


def conffiles(entries: list[Entry]) -> str:
    """What dpkg asks about when administrator and package have both changed it."""
    return "".join(f"{entry.path}\n" for entry in entries if entry.path.startswith("/etc/"))


def md5sums(entries: list[Entry]) -> str:
    """For ``dpkg --verify`` and debsums(1)."""
    lines = []
    for entry in entries:
        if not entry.target and not entry.path.startswith("/etc/"):
            digest = hashlib.md5(entry.content, usedforsecurity=False).hexdigest()
            lines.append(f"{digest}  {entry.path.lstrip('/')}\n")
    return "".join(lines)


def changelog(version: Version) -> str:
    """One entry, for tools that look for the version there; the changes stand in minimta-changes(7)."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(version.epoch))
    head = f"minimta ({version.number}) unstable; urgency=medium"
    return f"{head}\n\n  * See minimta-changes(7).\n\n -- {MAINTAINER}  {date}\n"


def scripts() -> dict[str, str]:
    """The maintainer scripts by name. Raise OSError."""
    return {path.name: _filled(path.read_text(encoding="utf-8")) for path in _SCRIPTS.iterdir()}


def _filled(text: str) -> str:
    for name, value in _values().items():
        text = text.replace(f"@{name}@", value)
    return text


def _values() -> dict[str, str]:
    state = install.state_steps(Path("/nowhere"))
    kinds = CountsFile | LockFile | RememberedHosts
    remembered = [row.path for row in state if isinstance(row, kinds)]
    return {
        "HOME": PACKAGED,
        "COMMANDS": " ".join(install.COMMANDS),
        "WRITTEN": " ".join(dict.fromkeys(file.installed for file in FILES)),
        "UNITS": " ".join(UNITS),
        "ENABLED": " ".join(ENABLED_UNITS),
        "OTHERS": " ".join(unit for unit in UNITS if unit not in ENABLED_UNITS and "@" not in unit),
        "CRON": by_name("cron").packaged,
        "SUFFIX": SUFFIX,
        "QUEUES": f"{CLIENT_QUEUE} {QUEUE}",
        "REMEMBERED": " ".join([*remembered, *REMEMBERED]),
        "CONFIGURATION": " ".join(CONFIGURATION),
        "MAIL": MAIL,
        "MAIL_INSTALL": f"{alternatives.LINK} {alternatives.GROUP} {MAIL} {alternatives.PRIORITY}",
        "MAIL_SLAVE": f"{alternatives.SLAVE_LINK} {alternatives.SLAVE} {MAIL}",
        "MAIL_GROUP": alternatives.GROUP,
        "OTHER_MTAS": " ".join(OTHER_MTAS),
        "USER": "minimta",
        "SENDMAIL_CF": sendmail_cf.PATH,
        "SENDMAIL_CF_MARK": sendmail_cf.FIRST.strip(),
        "CERTIFICATE": PLACE,
        "CERTIFICATE_MARK": MARK,
    }


def need_plain(entries: list[Entry]) -> None:
    """Raise AdminError for a path that would not be one word in a list of dpkg's."""
    for entry in entries:
        if any(char.isspace() for char in entry.path):
            raise AdminError(f"{entry.path}: a package takes no name with a blank")
