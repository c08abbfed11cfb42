"""What waits in clientmqueue becomes ours: all of it at once, or with filters each letter by itself.

A filter may hang, and with it the letter that it looks at, for as long as its MailFilter allows. So
with InputMailFilters each letter has a process, some of them beside each other. Whoever takes in
waits for them a moment and goes on; a letter that is in hand is locked, and the next one who takes in
leaves it alone.
"""

from __future__ import annotations

import os
from functools import partial

from minimta.config.options import Options
from minimta.mailers.by_name import Mailers
from minimta.queue import adopt
from minimta.queue.letter_judge import in_hand
from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.system import log, processes, waiting
from minimta.system.users import Users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.directories import Queue

#: letters that filters look at beside each other
MOST = 10
#: seconds for which a run waits for the next of them
PATIENCE = 10.0


def take_in(options: Options, spool: Queue, now: float) -> list[str]:
    """Sweep, and adopt what waits in clientmqueue. Trouble there does not keep the queue waiting.

    Returns the new ids, with filters none of them.
    """
    try:
        spool.sweep(now)
        if options.input_mail_filters:
            _each_by_itself(options, spool, now)
            return []
        users = Users(options.passwd_file)
        adopted = adopt.adopt(options.client_queue_directory, spool, options, users, now=now)
        _report_losses(options, spool, users, now)
        return adopted
    except OSError as error:
        log.line("", f"SYSERR(root): taking in: {log.clean(str(error))}", error=True)
        return []


def give_back(options: Options, spool: Queue, now: float) -> None:
    """Send the bounces of letters that filters refused and that somebody, or a crash, left unsent."""
    try:
        if not options.input_mail_filters or not spool.names("hf"):
            return
        from minimta.runner.filter_letters import LetterFilters

        LetterFilters(options, spool, Users(options.passwd_file), now).give_all_back()
    except OSError as error:
        log.line("", f"SYSERR(root): giving back: {log.clean(str(error))}", error=True)


def _report_losses(options: Options, spool: Queue, users: Users, now: float) -> None:
    """Tell the postmaster, and those whose it was, what had to be put aside."""
    if not (spool.lost or spool.refused):
        return
    from minimta.runner.send_reports import ReportSender  # nearly no run has anything to tell

    ReportSender(LocalHost(options), spool, Mailers(options, users)).report_losses(now)


# --- with filters -----------------------------------------------------------------------------------


def _each_by_itself(options: Options, spool: Queue, now: float) -> None:
    """Raise OSError."""
    try:
        client = Spool(options.client_queue_directory)
    except FileNotFoundError:
        return
    try:
        names = sorted(client.names())
        busy = in_hand(client, names)
    finally:
        client.close()
    running: dict[int, int] = {}  # the end of a pipe that closes when the process ends -> its id
    try:
        for name in (one for one in names if one not in busy):
            while len(running) + len(busy) >= MOST:
                if not running or not _wait(running):
                    return
            running.update([_start(options, spool, name, now)])
        while running and _wait(running):
            pass
    finally:
        for pipe in running:
            os.close(pipe)


def _start(options: Options, spool: Queue, name: str, now: float) -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        act = partial(_adopt_one, options, spool, name, now)
        return reading, processes.fork("adoption", act)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)


def _wait(running: dict[int, int]) -> bool:
    """Until one of them has ended; False if none has for PATIENCE."""
    ended = waiting.readable(running, PATIENCE)
    for pipe in ended:
        processes.has_ended(running.pop(pipe), 1.0)
        os.close(pipe)
    return bool(ended)


def _adopt_one(options: Options, spool: Queue, name: str, now: float) -> int:
    """In a process of its own: adopt the letter *name*, if the filters let it pass."""
    from minimta.runner.filter_letters import LetterFilters  # few hosts have filters

    users = Users(options.passwd_file)
    directory = options.client_queue_directory
    try:
        judge = LetterFilters(options, spool, users, now)
        adopt.adopt(directory, spool, options, users, now=now, only=[name], judge=judge)
        _report_losses(options, spool, users, now)
    except OSError as error:
        log.line(name, f"SYSERR(root): taking in: {log.clean(str(error))}", error=True)
        return os.EX_TEMPFAIL
    return os.EX_OK
