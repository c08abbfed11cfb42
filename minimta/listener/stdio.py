"""``sendmail -bs``: an SMTP session on standard input and output, for a local user's program.

This is submission over SMTP: the process has the rights of the user and no others, and the message
goes into the queue that these allow, as with ``sendmail ADDRESS``. All may be said at once and before
the greeting, as ``printf ... | sendmail -bs`` does: nobody else's words can be in between.
"""

from __future__ import annotations

import os
import select
import time

from minimta.config.options import Options
from minimta.listener.connection import session
from minimta.listener.handler import Handler
from minimta.listener.peer import Peer
from minimta.listener.rights import of_user
from minimta.listener.shared_state import SharedState
from minimta.milter import input_filters
from minimta.smtp.state import State
from minimta.submission import caller, delivery_mode
from minimta.system import files, log, traffic
from minimta.system.terminal import complain

_CHUNK = 65536
#: as in Sendmail's submit.cf
_PRIVACY = ("noexpn", "novrfy", "noetrn", "noverb")


def serve(options: Options) -> int:
    """One session; returns the exit code."""
    if why_not := input_filters.why_not(options):
        files.write_all(
            1, f"421 4.3.5 {os.uname().nodename} Local configuration error\r\n".encode()
        )
        complain(f"sendmail: {why_not}")
        return os.EX_CONFIG
    who = caller.Caller(options)
    try:
        spool, is_mta = caller.choose_spool(options, "")
    except OSError as error:
        complain(f"sendmail: cannot open the queue: {error.strerror}")
        return os.EX_TEMPFAIL
    options.privacy_options = (*options.privacy_options, *_PRIVACY)
    rights = of_user(who.name)
    client = Peer("", f"{who.name}@localhost", confirmed=True, port=None, rights=rights)
    shared = SharedState(options, spool)
    queued: list[str] = []
    handler = Handler(shared, client, queued.append)
    if not who.is_trusted():
        handler.warnings.append(f"{log.clean(who.name)} owned process doing -bs")
    _Dialogue(shared, handler, client).run()
    hear = traffic.heard if traffic.is_open() else None
    if (
        is_mta
        and delivery_mode.is_wanted(options)
        and delivery_mode.is_ours(options, verbose=hear is not None)
    ):
        for qid in queued:
            delivery_mode.first(shared.here, spool, qid, hear=hear)
    return os.EX_OK


class _Dialogue:
    """The session on descriptors 0 and 1, which may be pipes, a terminal or a socket."""

    def __init__(self, shared: SharedState, handler: Handler, client: Peer) -> None:
        self._options = shared.options
        self._shared = shared
        self._handler = handler
        self._session = session(shared, handler, client)
        self._traffic = traffic.SmtpTraffic()

    def run(self) -> None:
        session, handler = self._session, self._handler
        try:
            self._say(session.greeting(self._shared.greeting("/Submit")))
            while not session.is_closed:
                chunk = self._read()
                if not chunk:
                    break
                self._traffic.received(chunk)
                replies = session.receive(chunk)
                time.sleep(session.throttle.take_pause())
                self._say(replies)
        except BrokenPipeError:
            pass  # nobody reads the replies
        if not session.was_used:
            handler.note_unused()
        if not session.is_closed:
            if session.is_in_transaction:
                handler.lost(session.state.name.lower())
            session.closing(421, "4.4.2", "Input ended")

    def _say(self, replies: bytes) -> None:
        self._traffic.sent(replies)
        files.write_all(1, replies)

    def _read(self) -> bytes:
        """b"" at the end of the input, or when nothing came in time."""
        in_data = self._session.state is State.DATA
        options = self._options
        seconds = options.timeout_datablock if in_data else options.timeout_command
        poll = select.poll()
        poll.register(0, select.POLLIN)
        if poll.poll(seconds * 1000):
            return os.read(0, _CHUNK)
        text = self._handler.timed_out() if in_data else "Timeout; closing connection"
        self._say(self._session.closing(421, "4.4.2", text))
        return b""
