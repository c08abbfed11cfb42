"""Which mailer brings mail to the users of this host (option LocalMailer)."""

from __future__ import annotations

from collections.abc import Callable

from minimta.config.options import Options
from minimta.mailers.job import Mailer
from minimta.system.users import Users


def local_mailer(
    options: Options, users: Users, say: Callable[[str], None] | None = None
) -> Mailer:
    """The mailer ``local``; *say* gets what a dialogue of it says (-v)."""
    chosen = options.local_mailer
    if chosen.startswith("lmtp:"):
        from minimta.mailers.remote.lmtp import LmtpMailer

        return LmtpMailer(options, say=say)
    if chosen == "maildir":
        from minimta.mailers.files.maildir import MaildirMailer

        return MaildirMailer(options, users)
    if chosen.startswith("|"):
        from minimta.mailers.programs.agent import AgentMailer

        return AgentMailer(options, users)
    from minimta.mailers.files.mbox import MboxMailer

    return MboxMailer(options, users)
