"""kill -9 in the middle of a deed on many messages: each is as it was, or done; nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import minimta
from minimta.queue.control import decode
from tests.support.privatehost import PrivateHost
from tests.support.queuedesk import DAVE, X

HOME = Path(minimta.__file__).parent.parent
MESSAGES = 40
COMMAND = """
import sys
from minimta.admin.queue import command
from minimta.config.options import Options
options = Options()
for name, value in {values!r}.items():
    setattr(options, name, value)
command._options = lambda path: options
sys.exit(command.run(sys.argv[1:]))
"""


def values(host: PrivateHost) -> dict[str, object]:
    ends = ("_directory", "_file", "_files", "_table", "_names", "host_name")
    found = {
        name: getattr(host.options, name)
        for name in vars(type(host.options))
        if name.endswith(ends)
    }
    return found | {"run_as_user": "", "queue_la": 10000, "log_to": "none"}


def fate(host: PrivateHost, qid: str) -> str:
    """What is there of a message: each control file has its body, and there is one at most."""
    directory = Path(host.options.queue_directory)
    kinds = [kind for kind in ("qf", "hf") if (directory / f"{kind}{qid}").exists()]
    assert len(kinds) <= 1
    if not kinds:
        return "gone"
    assert (directory / f"df{qid}").read_bytes() == b"body\n"
    control = decode((directory / f"{kinds[0]}{qid}").read_bytes())
    held = " held" if control.quarantine else ""
    return f"{control.recipients[0].address.decode()}{held}"


#: verb -> its words, what a message is when it is done
DEEDS = {
    "hold": ((), "<x@lab2.campus> held"),
    "delete": ((), "gone"),
    "redirect": (("--to", "carol@lab1.campus"), "<carol@lab1.campus>"),
    "bounce": ((), "gone"),
}


@pytest.mark.parametrize("verb", list(DEEDS))
def test_a_killed_deed_leaves_each_message_as_it_was_or_done(tmp_path: Path, verb: str) -> None:
    tmp_path.chmod(0o700)
    host = PrivateHost(tmp_path)
    words, done = DEEDS[verb]
    qids = [host.submit(DAVE, X) for _ in range(MESSAGES)]
    script = COMMAND.format(values=values(host))
    chance = random.Random(verb)
    killed = 0
    for _ in range(4):
        line = [sys.executable, "-c", script, verb, *qids, *words]
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=HOME
        ) as process:
            assert process.stdout
            process.stdout.readline()  # it is in the middle of it
            time.sleep(chance.random() / 200)
            os.kill(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        fates = Counter(fate(host, qid) for qid in qids)
        assert set(fates) <= {"<x@lab2.campus>", done}, fates
    subprocess.run(line, stdout=subprocess.DEVNULL, cwd=HOME, check=False)
    assert {fate(host, qid) for qid in qids} == {done}
    assert killed, "none of them was killed in the middle"
    if verb == "bounce":
        _reported_once_or_again(host, qids, killed)


def _reported_once_or_again(host: PrivateHost, qids: list[str], killed: int) -> None:
    """A crash between report and removal reports again; never not at all."""
    reports = list(Path(host.options.queue_directory).glob("qf*"))
    assert len(qids) <= len(reports) <= len(qids) + killed
