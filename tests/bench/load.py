"""Load of a mixture: several clients at once, who know what was acknowledged, and come again after a kill.

Load          our own clients
SourceLoad    smtp-source, which ends when a connection breaks; with -v it shows each 250, with the
              queue id of the message that was acknowledged
"""

from __future__ import annotations

import random
import re
import subprocess
import threading
import time
from types import TracebackType

from minimta.admin.demo.privateroot import ADDRESS
from tests.bench.host import DOMAIN
from tests.bench.mixture import KINDS, RETURNED, SENDER, Letter, Mixture
from tests.bench.sender import Refused, Session

#: seconds until a client comes again to a host that does not answer
_PAUSE = 0.05
#: messages of one smtp-source, and seconds between two: the load shall last while processes are killed
_BATCH, _REST = 20, 0.5
_ACKNOWLEDGED = re.compile(r"<<< 250 2\.0\.0 (\w{14}) ")


class Load:
    """Runs while the with block does, or until all is sent."""

    def __init__(
        self,
        mixture: Mixture,
        messages: int,
        *,
        clients: int = 4,
        octets: int = 1000,
        rest: float = 0.0,
    ) -> None:
        """*messages* are to be acknowledged in all, by *clients* connections at once; each rests so
        many seconds after a message."""
        self._rest = rest
        self._mixture = mixture
        self._left = messages
        self._octets = octets
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def is_going(self) -> bool:
        """Is anything left to send?"""
        return any(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        """Until all is acknowledged."""
        for thread in self._threads:
            thread.join()

    def _client(self) -> None:
        while self._is_more():
            try:
                with Session(ADDRESS, self._mixture.host.port) as session:
                    while letter := self._next():
                        self._send(session, letter)
            except (OSError, Refused):
                time.sleep(_PAUSE)

    def _is_more(self) -> bool:
        with self._lock:
            return self._left > 0 and not self._over.is_set()

    def _next(self) -> Letter | None:
        with self._lock:
            if self._left <= 0 or self._over.is_set():
                return None
            self._left -= 1
            return self._mixture.next(self._octets)

    def _send(self, session: Session, letter: Letter) -> None:
        """One; if it is not acknowledged, another one will be sent for it."""
        try:
            session.send(f"{SENDER}@{DOMAIN}", [letter.address], letter.text)
        except (OSError, Refused):
            with self._lock:
                self._left += 1
            raise
        with self._lock:
            self._mixture.was_acknowledged(letter)
        self._over.wait(self._rest)


class SourceLoad(Load):
    """The same with smtp-source, for all recipients but one: what is returned is not counted."""

    def __init__(self, mixture: Mixture, messages: int, program: str) -> None:
        """*program* is the path of smtp-source; two of it run at once, with two connections each."""
        super().__init__(mixture, messages, clients=2, rest=_REST)
        self._program = program

    def _client(self) -> None:
        kinds = [kind for kind in KINDS if kind[1] != RETURNED]
        while self._is_more():
            _, recipient, places = random.choices(kinds, [kind[0] for kind in kinds])[0]
            letter = Letter("", recipient.format(number=0), places, b"")
            for qid in self._batch(letter.address):
                with self._lock:
                    self._left -= 1
                    self._mixture.was_acknowledged(Letter(qid, recipient, places, b""))

    def _batch(self, address: str) -> list[str]:
        """Send some to *address*; the queue ids of those that were acknowledged."""
        count = str(min(_BATCH, max(1, self._left)))
        words = ["-v", "-d", "-s", "2", "-m", count, "-l", str(self._octets)]
        words += ["-f", f"{SENDER}@{DOMAIN}", "-t", address]
        done = subprocess.run(
            [self._program, *words, f"{ADDRESS}:{self._mixture.host.port}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self._over.wait(self._rest)
        return _ACKNOWLEDGED.findall(done.stderr + done.stdout)
