"""Access tokens, renewed before they end: from a name in authinfo to what AUTH says.

    hidden child of the runner (root)    holds the lock, makes room, writes what came; asks by
    a child of it, as RunAsUser          HTTPS, and sees no file

One renews at a time; who waited finds it done. While an access token is still good, trouble with its
renewal is only logged. Without one the mail waits, with a sentence that says what to do:

    not reached, 5xx, no sense     tried again after a minute, later after half an hour
    refused (invalid_grant)        after half an hour up to a day, or when the file has changed
"""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from minimta.config.options import Options
from minimta.mailers.remote import oauth, token_file
from minimta.mailers.remote.oauth import TokenTrouble
from minimta.mailers.remote.token_file import Successor, TokenFile
from minimta.system import log

#: seconds before its end that a token is renewed, and that it is still used
MARGIN, _LEAST = 300, 30
#: seconds to wait for another renewal; that all of one may take
_LOCK_TIME, RENEWAL_TIME = 30.0, 60.0


class Note(Protocol):
    """What gets lines for the log."""

    def __call__(self, text: str, *, is_error: bool = False) -> None:
        """*text* has nothing that may not stand there. Raises nothing."""


def no_note(text: str, *, is_error: bool = False) -> None:
    """For those who tell people themselves."""


def access_token(
    options: Options,
    name: str,
    note: Note = no_note,
    *,
    clock: Callable[[], float] = time.time,
    newer_than: float = 0.0,
    is_forced: bool = False,
) -> str:
    """The token *name*, renewed if need be; *is_forced*: in any case, and whatever went wrong before.

    *note* gets what became of a renewal; *clock* gives epoch seconds. One that was not *newer_than*
    its last refusal is no good any more, whatever its end.
    Raise TokenTrouble, OSError, Untrusted, ValueError, each with a reason for people.
    """
    path = token_file.path_of(options.token_directory, name)
    found = token_file.read(path)
    if not is_forced and not is_due(found, clock(), newer_than):
        return found.access_token
    now = clock()
    is_good = not is_forced and _is_good(found, now, newer_than, left=_LEAST)
    try:
        with _undisturbed(), token_file.locked(path, 0.0 if is_good else _LOCK_TIME):
            token_file.finish(path)
            before, found = found, token_file.read(path)
            if found != before and not is_due(found, now, newer_than):
                return found.access_token  # by somebody else, just now
            return _renewed(options, name, found, now, note, is_good=is_good, is_forced=is_forced)
    except OSError as error:
        if not is_good:
            raise
        if error.errno != errno.ETIMEDOUT:  # that is another one at it
            note(f"token={name}, not renewed: {log.clean(error.strerror or '')}", is_error=True)
        return found.access_token


def is_due(token: TokenFile, now: float, newer_than: float = 0.0) -> bool:
    """Is it to be renewed at *now* (epoch seconds)? Of a short life the last quarter is the margin."""
    margin = min(MARGIN, (token.expires - token.obtained) // 4)
    return not _is_good(token, now, newer_than, left=margin)


def _is_good(token: TokenFile, now: float, newer_than: float, *, left: int) -> bool:
    """Can it be used, with so many seconds *left*?"""
    # What came in the future was dated by a clock that has been put right.
    is_of_now = token.obtained - 60 <= now < token.expires - left
    return bool(token.access_token) and is_of_now and token.obtained > newer_than


def _renewed(
    options: Options,
    name: str,
    token: TokenFile,
    now: float,
    note: Note,
    *,
    is_good: bool,
    is_forced: bool,
) -> str:
    path = token_file.path_of(options.token_directory, name)
    last = token_file.trouble(path)
    if last and last.counts(now) and not is_forced:
        if is_good:
            return token.access_token
        raise TokenTrouble(last.text, is_final=last.is_final)
    try:
        renewed = _renew(options, path, token, now)
    except (TokenTrouble, OSError, ValueError) as error:
        is_final = isinstance(error, TokenTrouble) and error.is_final
        text = _sentence(name, error, is_final=is_final)
        note(f"token={name}, not renewed: {log.clean(text)}", is_error=True)
        with suppress(OSError):  # a full disk: then the next run asks again
            token_file.note_trouble(path, now, text, is_final=is_final)
        if is_good:
            return token.access_token
        raise TokenTrouble(text, is_final=is_final) from None
    note(f"token={name}, renewed, lifetime={renewed.expires - renewed.obtained}")
    return renewed.access_token


def _renew(options: Options, path: str, token: TokenFile, now: float) -> TokenFile:
    client = token.client
    if token.grant == "client_credentials":
        form = oauth.client_credentials_form(client)
    else:
        form = oauth.refresh_form(token.refresh_token, client)
    with Successor(path) as successor:
        tokens = oauth.tokens_of(oauth.ask(options, client, client.token_endpoint, form))
        renewed = token.with_tokens(tokens, now)
        successor.commit(renewed)
    token_file.forget_trouble(path)
    return renewed


def _sentence(name: str, error: Exception, *, is_final: bool) -> str:
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    remedy = f"; to authorize it again: minimta token renew {name}" if is_final else ""
    return f"token {name}: {reason}{remedy}"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What ends us waits: a refresh token that is spent must have its successor on the disk."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, oauth.ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
