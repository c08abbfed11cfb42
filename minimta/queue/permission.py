"""Who may act on the MTA queue: root, and the owner of its directory. Nobody else writes there."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.config.options import Options


#: what others are told, in Sendmail's words
NO_RIGHTS = "Program mode requires special privileges, e.g., root or TrustedUser."
#: and with PrivacyOptions restrictmailq, restrictqrun
NOT_TO_SEE = "You are not permitted to see the queue"
NOT_TO_RUN = "You do not have permission to process the queue"


def may_administer(options: Options) -> bool:
    """As owns_queue(), but a queue that is not there, or beyond our reach, is not ours.

    Raise OSError if it cannot be looked at now: that is not no.
    """
    try:
        return owns_queue(options)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False


def may_listen(options: Options) -> bool:
    """May this process be the listener: may it act on the queue, or is it RunAsUser, who fills it?

    Raise OSError as may_administer().
    """
    if may_administer(options):
        return True
    from minimta.queue import pattern  # not for submission
    from minimta.system.users import Users

    if not options.run_as_user or not any(map(_may_fill, pattern.paths(options))):
        return False

    user = Users().find(options.run_as_user.encode())
    return user is not None and user.uid == os.geteuid()


def _may_fill(directory: str) -> bool:
    """May this process make files in a queue directory?"""
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)


def make_queues(options: Options) -> None:
    """OneUser: make the directories that a new volume lacks. Raise OSError."""
    from minimta.queue import pattern

    try:
        first = pattern.paths(options)[0]
    except FileNotFoundError:
        first = f"{options.queue_pattern[:-1]}1"
    for path in (
        first,
        options.client_queue_directory,
        options.mailbox_directory,
    ):
        os.makedirs(path, 0o700, exist_ok=True)


def may_see(options: Options) -> bool:
    """May this process see the MTA queue, if PrivacyOptions has restrictmailq?

    Root, the owner and, as with Sendmail, the group of its directory may. Raise OSError as
    may_administer().
    """
    if may_administer(options):
        return True
    try:
        group = os.stat(options.queue_directory).st_gid
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return group in (os.getegid(), *os.getgroups())


def why_not_queue(directory: str) -> str:
    """What keeps this process out of a queue directory, in Sendmail's words; "" if nothing does."""
    try:
        os.stat(os.path.join(directory, "."))
    except OSError as error:
        return f"can not chdir({directory.rstrip('/')}/): {error.strerror}"
    if os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return ""
    return f"can not chdir({directory.rstrip('/')}/): Permission denied"


def lets_others_remove(directory: os.stat_result) -> bool:
    """May others write in this directory, and remove there what is not theirs?"""
    return bool(directory.st_mode & 0o022) and not directory.st_mode & stat.S_ISVTX


def owns_queue(options: Options) -> bool:
    """May this process act on the MTA queue? Raise OSError if it cannot be looked at."""
    user = os.geteuid()
    return not user or os.stat(options.queue_directory).st_uid == user
