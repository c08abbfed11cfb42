"""``mailq``, ``sendmail -bp``: the queue as Sendmail lists it, to the column.

Monitoring programs cut this by position and pattern, down to the blanks. What senders wrote is made
printable first: an escape sequence in a reason or an address would command the reader's terminal.
"""

from __future__ import annotations

import errno
import os
import time
from itertools import islice

from minimta.message import dates
from minimta.queue import (
    directories,
    listing,
    own_letters,
    pattern,
    permission,
    subdirectories,
)
from minimta.queue.qid import valid
from minimta.queue.rest import rest_after
from minimta.system import load, log
from minimta.system.external_sort import ExternalSort
from minimta.system.terminal import complain, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from minimta.config.options import Options
    from minimta.queue.listing import Listed
    from minimta.queue.selectors import Selection

_PLAIN = "-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------"
_VERBOSE = "-----Q-ID----- --Size-- -Priority- ---Q-Time--- --------Sender/Recipient--------"

#: the last line for who cannot read the queue
_TAKEN = "Of what the queue runner has taken over only root can see the list."


def show(
    options: Options,
    *,
    verbose: bool = False,
    client: bool = False,
    selections: Sequence[Selection] = (),
) -> int:
    """Print the MTA queue, and the client queue if something waits there; with *client* only that.

    *selections* leaves others out (-qR...). Who may not read the queue gets their own letters. Returns
    the exit code: 75 if not every directory can be read, 77 if restrictmailq (PrivacyOptions) forbids it, 78 if
    there is no queue. Raise
    OSError if it cannot be known what the caller may see.
    """
    if "restrictmailq" in options.privacy_options and not permission.may_see(options):
        say(permission.NOT_TO_SEE)
        return os.EX_NOPERM
    reason = (
        permission.why_not_queue(options.client_queue_directory)
        if client
        else directories.why_not_queue(options)
    )
    if reason.endswith(os.strerror(errno.EACCES)):
        return _show_own(options, _Printer(options, verbose), selections)
    if reason:
        say(reason)
        complain(permission.NO_RIGHTS)
        return os.EX_CONFIG
    printer = _Printer(options, verbose)
    wanted = [options.client_queue_directory] if client else pattern.paths(options)
    listings, code = _read_all(printer, wanted, selections)
    waiting = None if client else _waiting(options, printer, selections)
    for path, found in listings.items():
        _say_all(printer.listing(path, found))
    total = sum(map(len, listings.values()))
    if waiting:
        _say_all(printer.listing(options.client_queue_directory, waiting))
        total += len(waiting)
    lines = [f"\t\tTotal requests: {total}"]
    if not selections:
        aside = sum(map(_count_put_aside, {*wanted, options.client_queue_directory}))
        # DIFFERS: Sendmail's ends with the total; what it lost is seen by who knows -qL.
        lines += [f"{aside} put aside: mailq -qL"] if aside else []
        lines += [f"{one}: minimta check" for one in map(subdirectories.told, wanted) if one]
    say("\n".join([*lines, *_redirected(options)]))
    return code


def _read_all(
    printer: _Printer, directories: Iterable[str], selections: Sequence[Selection]
) -> tuple[dict[str, ExternalSort], int]:
    """What is to be listed of each, and the exit code. Raise OSError if none can be read."""
    found, trouble = {}, None
    for path in directories:
        try:
            found[path] = _read(printer, path, selections)
        except OSError as error:
            trouble = error
            complain(f"mailq: {log.clean(path)}: {error.strerror or error}")
    if trouble and not found:
        raise trouble
    return found, os.EX_TEMPFAIL if trouble else os.EX_OK


#: lines that are written at a time
_LINES = 1000


def _say_all(lines: Iterator[str]) -> None:
    """Print a listing as it comes: of a long queue it shall never be in memory whole."""
    while block := list(islice(lines, _LINES)):
        say("\n".join(block))


def _redirected(options: Options) -> list[str]:
    if not options.redirect_all:
        return []
    from minimta.runner.redirect import notice  # few hosts have the option

    return [notice(options)]


def _show_own(options: Options, printer: _Printer, selections: Sequence[Selection]) -> int:
    """What the caller has left in clientmqueue, which they cannot list."""
    # DIFFERS: Sendmail is set-group-id and shows all or nothing; here only one's own files open.
    directory = options.client_queue_directory
    try:
        letters = list(_select(directory, selections, only=_own(directory)))
    except OSError as error:
        reason = error.strerror or str(error)
        complain(f"mailq: cannot tell what waits in {directory}: {reason}")
        return os.EX_TEMPFAIL
    explain(options, letters)
    found = printer.sorted(letters)
    lines = [f"{directory}: no letter of yours"]
    if found:
        lines = list(printer.listing(directory, found))
    lines += [f"\t\tTotal requests: {len(found)}", _TAKEN, *_redirected(options)]
    say("\n".join(lines))
    return os.EX_OK


def _own(directory: str) -> list[str]:
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        return own_letters.read(folder)
    finally:
        os.close(folder)


def _count_put_aside(directory: str) -> int:
    """How many Qf there are; 0 if it is not for this caller to know."""
    try:
        with os.scandir(directory) as entries:
            return sum(entry.name[:2] == "Qf" and valid(entry.name[2:]) for entry in entries)
    except OSError:
        return 0


#: seconds in which a letter has passed the filters, if a runner and they are there
_SOON = 15
_FILTERS = b"not adopted: not past the filters yet (minimta check, log)"


def explain(options: Options, waiting: list[Listed]) -> None:
    """Say of what waits in clientmqueue why it is not adopted, as the reason of a delay."""
    if not waiting:
        return
    from minimta.queue import adopt
    from minimta.system.users import Users

    names = [one.qid for one in waiting if not one.locked]
    directory, users = options.client_queue_directory, Users(options.passwd_file)
    try:
        reasons = adopt.why_not(directory, names, options, users, now=time.time())
    except OSError:
        return  # not for this caller to look at
    for one in waiting:
        if one.qid in reasons:
            one.message = b"not adopted: " + reasons[one.qid].encode("ascii", "replace")
        elif options.input_mail_filters and not one.locked and one.created < time.time() - _SOON:
            one.message = _FILTERS


def _read(printer: _Printer, directory: str, selections: Sequence[Selection]) -> ExternalSort:
    """What is to be listed of *directory*. Raise OSError if it cannot be read."""
    return printer.sorted(_select(directory, selections))


def _waiting(
    options: Options, printer: _Printer, selections: Sequence[Selection]
) -> ExternalSort | None:
    """What waits in clientmqueue, each with its reason."""
    try:
        letters = list(_select(options.client_queue_directory, selections))
    except OSError:
        return None  # there is none, or it is not for this caller to read and count
    explain(options, letters)
    return printer.sorted(letters)


def _select(
    directory: str, selections: Sequence[Selection], *, only: Iterable[str] | None = None
) -> Iterator[Listed]:
    """What is to be listed, in no order. Raise OSError if it cannot be read.

    *only* are ids of the caller's letters, None: all that is there.
    """
    kinds = {selection.file_kind for selection in selections} or {"qf"}
    owner = None if only is None else os.geteuid()
    for kind in kinds:
        for entry in listing.scan(directory, kind, only=only, owner=owner):
            if not selections or _is_meant(selections, entry):
                yield entry


def _is_meant(selections: Sequence[Selection], entry: Listed) -> bool:
    from minimta.queue.selectors import all_match

    return all_match(
        selections,
        entry.qid,
        reverse_path=entry.sender,
        recipients=[recipient for recipient, _, _ in entry.recipients],
        quarantine=entry.quarantine.decode("ascii", "backslashreplace"),
    )


class _Printer:
    """The lines of a listing."""

    def __init__(self, options: Options, verbose: bool) -> None:
        self._verbose = verbose
        self._overloaded = load.average() >= options.queue_la
        self._options = options
        self._now = time.time()
        self._times: dict[int, str] = {}

    def sorted(self, found: Iterable[Listed]) -> ExternalSort:
        """Their lines in the order of a queue run: lowest priority number first. Raise OSError."""
        texts = ExternalSort()
        for entry in found:
            # One number for three, which the interpreter compares at once; each has 20 digits at most.
            rank = (entry.is_empty * 10**22 + entry.priority) * 10**22 + entry.created
            texts.add((rank, entry.qid), "\n".join(self._entry(entry)))
        return texts

    def listing(self, directory: str, found: ExternalSort) -> Iterator[str]:
        """The lines for one directory."""
        if not found:
            yield f"{directory} is empty"
            return
        requests = "1 request" if len(found) == 1 else f"{len(found)} requests"
        yield f"\t\t{directory} ({requests})"
        yield _VERBOSE if self._verbose else _PLAIN
        yield from found

    def _entry(self, entry: Listed) -> list[str]:
        if entry.is_empty:
            return [f"{entry.qid}{self._mark(entry)} (no control file)"]
        lines = [self._verbose_line(entry) if self._verbose else self._line(entry)]
        if entry.quarantine:
            lines.append(f"     QUARANTINE: {log.clean(entry.quarantine, 60)}")
        if entry.body_type or entry.message:
            lines.append(self._reason(entry))
        for recipient, status, controlling_user in entry.recipients:
            if not self._verbose:
                lines.append("\t\t\t\t\t " + _cut(recipient, 38))
                continue
            if controlling_user:
                lines.append(f"\t\t\t\t\t\t(---{_cut(controlling_user, 64)}---)")
            lines.append("\t\t\t\t\t\t" + _cut(recipient, 71))
            if status:
                lines.append(f"\t\t ({_cut(status, _WHOLE)})")
        return lines

    def _line(self, entry: Listed) -> str:
        when = self._time(entry.created)
        return f"{entry.qid}{self._mark(entry)}{entry.size:8} {when} {_cut(entry.sender, 39)}"

    def _time(self, created: int) -> str:
        """The Q-Time; many messages of a long queue came in the same minute."""
        text = self._times.get(created // 60)
        if text is None:
            text = self._times[created // 60] = dates.queue_time(created)
        return text

    def _verbose_line(self, entry: Listed) -> str:
        warned = "+" if b"w" in entry.flags else " "
        when = dates.queue_time_verbose(entry.created)
        numbers = f"{entry.size:8} {entry.priority:10}{warned}"
        return f"{entry.qid}{self._mark(entry)}{numbers}{when} {_cut(entry.sender, 78)}"

    def _reason(self, entry: Listed) -> str:
        """Body type and status; a message may have either."""
        begin = f"    {_cut(entry.body_type, 10):>10}"
        return f"{begin}   ({self._status(entry.message)})" if entry.message else begin

    def _status(self, message: bytes) -> str:
        # DIFFERS: Sendmail shows 78 characters with -v; what can be done may stand behind them.
        return _cut(message, _WHOLE if self._verbose else 60)

    def _mark(self, entry: Listed) -> str:
        """* being delivered, X load too high, - tried too short ago."""
        if entry.locked:
            return "*"
        if self._overloaded:
            return "X"
        rest = rest_after(self._options, entry.created, entry.last_attempt)
        is_young = entry.attempts and rest and entry.last_attempt > self._now - rest
        return "-" if is_young else " "


#: characters of a reason, with -v
_WHOLE = 1000


def _cut(value: bytes, width: int) -> str:
    """*value* printable and without the dots that log.clean puts where it cuts."""
    return log.clean(value[:width], width)
