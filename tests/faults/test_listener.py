"""SMTP acceptance: whichever call fails, 250 means that the message is there, and all else that it is not.

df, tf, qf     ENOSPC, EDQUOT: 452; all else: 451; nothing of it stays in the queue
tables         a command is answered 4yz, never 5yz: not knowing is not no
the socket     the connection is over; a message whose 250 was lost is there
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest

from minimta.listener.connection import Connection
from minimta.listener.stream import Stream
from minimta.queue import commit
from minimta.queue.spool import ORPHAN_AGE, Spool
from tests.faults.sweep import AMOUNTS, compare, sweep
from tests.support import callfaults
from tests.support.callfaults import CallFault
from tests.support.smtphost import SmtpHost

#: more than what stays in memory: a part of it is in the df before the final dot
LARGE = b"".join(b"line %d of the letter\r\n" % number for number in range(4000))
SMALL = b"Hi\r\n"
BODIES = (LARGE, SMALL)
NAMES = (b"dave", b"carol")
#: what the final dot is answered with if a queue file meets this error; 451 for all others
REPLIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM), 452)
#: calls that may fail when the message is there already: its 250 does not arrive, or it cannot be undone
UNSURE = ("send", "unlink")


class ScriptedSocket:
    """A client that sends each of BODIES, as far as it is let, and then QUIT."""

    def __init__(self) -> None:
        #: all that was answered, line by line
        self.said: list[bytes] = []
        #: the answers to the final dots
        self.verdicts: list[tuple[bytes, int]] = []
        self._client = self._dialogue()
        self._next = next(self._client)

    def codes(self) -> list[int]:
        return [code for _, code in self.verdicts]

    # --- what Stream asks a socket ----------------------------------------------------------------

    def recv(self, most: int, flags: int = 0) -> bytes:
        callfaults.reach("recv", "client")
        octets, self._next = self._next[:most], self._next[most:]
        return octets

    def send(self, octets: bytes, flags: int = 0) -> int:
        callfaults.reach("send", "client")
        lines = bytes(octets).split(b"\r\n")[:-1]
        self.said += lines
        for line in lines:
            if line[3:4] != b"-":
                self._next += self._client.send(int(line[:3]))
        return len(octets)

    def setsockopt(self, *unused: object) -> None:
        callfaults.reach("setsockopt", "client")

    def getsockname(self) -> tuple[str, int]:
        callfaults.reach("getsockname", "client")
        return "127.0.0.1", 25

    def shutdown(self, how: int) -> None:
        callfaults.reach("shutdown", "client")

    def close(self) -> None:
        """It has no descriptor."""

    # --- the client -------------------------------------------------------------------------------

    def _dialogue(self) -> Generator[bytes, int, None]:
        code = yield b""
        if code == 220:
            yield b"EHLO lab1.campus\r\n"
        for body in BODIES:
            yield from self._letter(body)
        yield b"QUIT\r\n"
        while True:
            yield b""

    def _letter(self, body: bytes) -> Generator[bytes, int, None]:
        taken = 0
        code = yield b"MAIL FROM:<emma@lab1.campus>\r\n"
        for name in NAMES if code == 250 else ():
            code = yield b"RCPT TO:<%b@lab2.campus>\r\n" % name
            taken += code == 250
        code = yield b"DATA\r\n" if taken else b"RSET\r\n"
        if code == 354:
            code = yield b"Subject: x\r\n\r\n" + body + b".\r\n"
            self.verdicts.append((body, code))


class Acceptance:
    """A session that brings two letters to a host."""

    is_process = False

    def __init__(self, directory: Path, *, group: bool) -> None:
        self.host = SmtpHost(directory)
        self.shared = self.host.shared_state()
        if group:
            self.shared.spool = Spool(str(self.host.mqueue), commit=commit.GroupCommitter())
        self.client = ScriptedSocket()

    def act(self) -> None:
        stream = None
        with contextlib.suppress(
            OSError
        ):  # of setsockopt(2): the socket is closed by who accepted it
            stream = Stream(cast(socket.socket, self.client))
        if stream is not None:
            port = self.host.options.daemon_ports[0]
            Connection(stream, "127.0.0.1", port, self.shared).run()

    def judge(self, fault: CallFault | None, log: list[str]) -> None:
        self._judge_replies(fault)
        self._judge_queue(fault)
        self.client = ScriptedSocket()
        self.act()
        assert self.client.codes() == [250, 250], "another client is not served"

    def _judge_replies(self, fault: CallFault | None) -> None:
        said = self.client.said
        assert not [line for line in said if line[:1] == b"5"], f"permanent: {said[-4:]}"
        refused = {code for code in self.client.codes() if code != 250}
        if fault is None:
            assert self.client.codes() == [250, 250]
        elif fault.made.subject in ("df", "tf", "qf", "mqueue"):
            assert refused <= {REPLIES.get(fault.code, 451)}, f"answered {refused}"
        assert refused <= {421, 451, 452}, f"answered {refused}"

    def _judge_queue(self, fault: CallFault | None) -> None:
        queued = self.host.queued()
        bodies = [body for _, body in queued]
        promised = [body for body, code in self.client.verdicts if code == 250]
        assert all(control.recipients for control, _ in queued)
        for body in BODIES:
            count = bodies.count(body.replace(b"\r\n", b"\n"))
            assert count >= promised.count(body), "lost"
            may_stay = fault is not None and (fault.kind in UNSURE or fault.lasting)
            assert count == promised.count(body) or may_stay, "queued without 250"
        assert len(bodies) == len(queued), "torn"
        may_leave = fault is not None and (fault.kind == "unlink" or fault.lasting)
        assert len(self.host.files()) == 2 * len(queued) or may_leave, self.host.files()
        self.shared.spool.sweep(time.time() + 2 * ORPHAN_AGE)
        assert len(self.host.files()) == 2 * len(queued), "not swept"


@pytest.mark.parametrize("is_full", AMOUNTS)
def test_250_if_and_only_if_it_is_there(tmp_path: Path, *, is_full: bool) -> None:
    count = sweep(lambda place: Acceptance(place, group=False), tmp_path, is_full=is_full)
    compare("SMTP", count, is_full=is_full)


@pytest.mark.long
def test_the_same_with_group_commit(tmp_path: Path) -> None:
    count = sweep(lambda place: Acceptance(place, group=True), tmp_path, is_full=True)
    compare("SMTP, GroupCommit", count, is_full=True)
