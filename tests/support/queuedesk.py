"""A host, and who administers its queue from the command line.

desk = QueueDesk(tmp_path, monkeypatch, capsys)
qid = desk.waiting(X)                       # tried once, and deferred
code, printed = desk.say("hold", qid)       # minimta queue hold QID
"""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.admin.queue import command
from minimta.config.options import Options
from minimta.message.outcome import deferred
from minimta.system import log
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost

EMMA, DAVE = b"<emma@lab1.campus>", b"<dave@lab1.campus>"
X, Y = b"<x@lab2.campus>", b"<y@lab3.campus>"
_DOWN = deferred("4.4.1", "Connection refused by lab3.campus.")


class QueueDesk:
    """Sees all that is printed and logged."""

    def __init__(
        self,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        root.chmod(0o700)
        self.host = PrivateHost(root)
        self.host.options.log_to = "none"
        self.client = Path(self.host.options.client_queue_directory)
        self.grey = Elsewhere({b"x@lab2.campus": BUSY, b"y@lab3.campus": _DOWN})
        self._capsys = capsys
        #: "ID: text" of each line of the log
        self.logged: list[str] = []

        def line(qid: str, text: str, **unused: object) -> None:
            self.logged.append(f"{qid}: {text}")

        def options(path: str | None) -> Options:
            return self.host.options

        monkeypatch.setattr(log, "line", line)
        monkeypatch.setattr(command, "_options", options)
        monkeypatch.delenv("SUDO_USER", raising=False)

    def say(self, *words: str) -> tuple[int, str]:
        """The exit code of ``minimta queue WORDS``, and what it prints."""
        self._capsys.readouterr()
        code = command.run(list(words))
        return code, self._capsys.readouterr().out

    def waiting(self, *recipients: bytes, sender: bytes = EMMA) -> str:
        """A message that was tried once and waits."""
        qid = self.host.submit(sender, *(recipients or (X,)))
        self.host.deliverer(esmtp=self.grey).attempt([qid])
        return qid

    def kinds(self, qid: str) -> list[str]:
        """Which files of it there are."""
        return sorted(name[:2] for name in self.host.files() if name.endswith(qid))

    def logged_of(self, qid: str) -> list[str]:
        """What the log says of it, without the id."""
        return [line.partition(": ")[2] for line in self.logged if line.startswith(qid)]
