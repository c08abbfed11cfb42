"""/etc/mail/sendmail.cf, for programs that look there whether a host is an open relay, or tells too much.

minimta does not read it. Security checkers do: they want ``O PrivacyOptions=`` and the rule that refuses
relaying, and would else report a host as unprotected. So it says, in Sendmail's form, what minimta.cf
comes to, and nothing that is not so. A sendmail.cf of anybody else, recognized by its first line, stays
as it is; ``minimta install`` renews ours when the configuration has changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minimta import __version__
from minimta.admin.install.files import TextFile
from minimta.admin.install.steps import below
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.system import safefile

PATH = "/etc/mail/sendmail.cf"
#: the first line, by which a file of ours is recognized
FIRST = "# minimta does not read this file: it tells checkers, in Sendmail's form, what is so.\n"
#: of PrivacyOptions: what is so whatever the option says
_ALWAYS = ("noetrn", "noverb", "restrictexpand", "restrictqrun")


def text(options: Options) -> str:
    """The whole file."""
    words = dict.fromkeys([*options.privacy_options, *_ALWAYS])
    words.pop("public", None)
    ports = [
        f"O DaemonPortOptions=Name={port.name}, Addr={port.address}, Port={port.port}, Family={port.family}"
        for port in options.daemon_ports
    ]
    lines = [
        "# Change /etc/mail/minimta.cf; minimta install writes this anew.",
        "V10/Berkeley",
        f"DZminimta-{__version__}",
        f"DS{options.smart_host}",
        *([f"DM{options.masquerade_as}"] if options.masquerade_as else []),
        f"Fw-o {options.local_host_names}",
        f"FR-o {options.relay_domains}",
        f"O PrivacyOptions={','.join(words)}",
        f"O SmtpGreetingMessage={options.greeting}",
        f"O LogLevel={options.log_level}",
        f"O AliasFile={','.join(options.alias_files)}",
        f"O MaxMessageSize={options.max_message_size}",
        f"O MaxDaemonChildren={options.max_daemon_children}",
        f"O MaxRecipientsPerMessage={options.max_recipients}",
        f"O RunAsUser={options.run_as_user}",
        *ports,
        f"Kaccess hash -o {options.access_file}",
        "# Clients that are neither of this host, nor in relay-domains or access, nor logged in:",
        "SRelay_ok",
        'R$*\t\t\t$#error $@ 5.7.1 $: "550 Relaying denied"',
    ]
    return FIRST + "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class SendmailCf:
    """The file of the tree below *root*."""

    root: Path

    def __str__(self) -> str:
        return f"write {PATH}, for programs that check it"

    def _wanted(self) -> TextFile | None:
        """None while minimta.cf is wrong: what is so cannot be told then."""
        try:
            config = str(below(self.root, config_file.DEFAULT_FILE))
            path = config if below(self.root, config_file.DEFAULT_FILE).exists() else None
            options = config_file.load(path, [], safefile.why_untrusted) if path else Options()
        except config_file.ConfigError:
            return None
        return TextFile(self.root, PATH, text(options))

    def _is_others(self) -> bool:
        place = below(self.root, PATH)
        if not place.is_file():  # also a link that leads nowhere now
            return os.path.lexists(place)
        return not place.read_text(errors="replace").startswith(FIRST)

    def is_done(self) -> bool:
        """Does it say what is so, or is it somebody else's?"""
        wanted = self._wanted()
        return wanted is None or self._is_others() or wanted.is_done()

    def is_ours(self) -> bool:
        """Did we write it?"""
        return below(self.root, PATH).is_file() and not self._is_others()

    def do(self) -> None:
        """Write it. Raise OSError."""
        wanted = self._wanted()
        if wanted is not None:
            wanted.do()

    def undo(self) -> None:
        """Remove it. Raise OSError."""
        below(self.root, PATH).unlink()
