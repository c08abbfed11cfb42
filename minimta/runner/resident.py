"""The resident runner (sendmail -q15m): one for each queue; it takes its place, and does its ``loop``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial

from minimta.config.options import Options
from minimta.mailers.by_name import Mailers
from minimta.queue import pattern
from minimta.queue.directory import QueueDirectory
from minimta.runner.asked_runs import HandedRuns
from minimta.runner.loop import Loop
from minimta.runner.make_jobs import MAILERS
from minimta.runner.queue_run import give_way
from minimta.runner.queue_work import QueueWork
from minimta.runner.redirect import announce
from minimta.system import locks, log, tls
from minimta.system.slots import Slots, of_queue
from minimta.system.terminal import complain
from minimta.system.users import Users
from minimta.system.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minimta.queue.queue_group import QueueGroup

#: seconds for a runner that was told to end to leave its place
RESTART = 3.0


def _nothing() -> None:
    """Is told, and does nothing."""


def _no_news() -> None:
    """The options stay as they are."""


def _no_other() -> Wait:
    """Only signals."""
    return Wait((), math.inf)


def stay(
    options: Options,
    interval: int | None,
    stop: Callable[[], bool],
    *,
    begins: Callable[[], None] = _nothing,
    waits: Callable[[], None] | None = None,
    ends: Callable[[], None] = _nothing,
    renewed: Callable[[], Options | None] = _no_news,
    also: Callable[[], Wait] = _no_other,
    place: locks.Lock | None = None,
) -> int:
    """Be the resident runner until stop(): new messages at once, a full run each *interval* seconds.

    begins() is called when the queue is ours. Another runner may just be ending, which takes a
    moment; if it stays the exit code is 75. With waits(), which is called then, its end is waited for.
    ends() is called just before the queue is free again for others: what names us, who run it, must
    not go when it names the next one; our children may still work then. renewed() gives new options,
    once they are there; attempts that have begun go on with the old ones. also() is what, beside a
    signal, makes it worth while to ask stop() and renewed(). The queue is ours already with its *place*.
    """
    try:
        lock = place or _place(options, stop, waits, also)
    except OSError as error:
        path = locks.beside(options.queue_directory)
        complain(f"sendmail: cannot lock {path}: {error.strerror or error}")
        return os.EX_OSERR  # not 78, after which a unit would not start again
    if lock is None:
        return os.EX_OK if stop() else os.EX_TEMPFAIL
    with lock:
        give_way(options)
        begins()
        announce(options)
        slots = of_queue(options)
        _load_for_children(options, slots)
        handed = HandedRuns(QueueDirectory(options.queue_directory), group=_group(options))
        loop = _loop(options, slots, interval, handed)

        def look() -> bool:
            nonlocal options
            handed.begin(options)
            if (news := renewed()) is not None:
                options = news
                announce(news)
                slots.resize(news.max_queue_children)
                loop.renew(QueueWork(news, slots))
            return stop()

        loop.stay(look, also)
        # A runner that only waits for its children is in nobody's way: a restart need not wait.
        ends()
        lock.release()
        loop.end()
    return os.EX_OK


def _group(options: Options) -> QueueGroup | None:
    """All directories, if there may be several. Raise OSError."""
    if not options.has_queue_group:
        return None
    from minimta.queue.queue_group import QueueGroup

    return QueueGroup(options)


def _loop(options: Options, slots: Slots, interval: int | None, handed: HandedRuns) -> Loop:
    return Loop(
        QueueWork(options, slots),
        (options.queue_directory, options.client_queue_directory),
        handed.names,
        slots,
        interval=interval,
        more=partial(_several, options),
    )


def _several(options: Options) -> list[str]:
    """The queue directories in QueueDirectory, if there may be several."""
    try:
        return pattern.paths(options) if options.has_queue_group else []
    except OSError:
        return []  # told when the queue is listed


def _place(
    options: Options,
    stop: Callable[[], bool],
    waits: Callable[[], None] | None,
    also: Callable[[], Wait],
) -> locks.Lock | None:
    """The place of the one resident runner; None if it is not to be had. Raise OSError."""
    path = locks.beside(options.queue_directory)
    lock = locks.wait_for(path, stop, RESTART)
    if lock is not None or stop():
        return lock
    text = f"another queue runner is resident for {options.queue_directory}"
    if waits is None:
        log.line("", text, level=1, error=True)
        complain(f"sendmail: {text}")
        return None
    log.line("", f"{text}; its end is waited for", level=1)
    waits()
    return locks.wait_long_for(path, stop, also)


def _load_for_children(options: Options, slots: Slots) -> None:
    """Import once, here, what each child would else import for itself: a fork shares it."""
    import hashlib  # noqa: F401, for Slots.place_at

    import minimta.maps.cdb
    import minimta.maps.text_table
    import minimta.queue.failed_attempts
    import minimta.runner.send_reports  # noqa: F401

    tls.load()
    mailers = Mailers(options, Users(options.passwd_file), slots)
    for name in MAILERS:
        mailers[name]  # made, and so imported
