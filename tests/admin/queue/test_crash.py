"""Pull the plug in the middle of each deed: the message is there as it was, or the deed is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.message.envelope import Recipient
from minimta.queue import put_aside
from minimta.queue.control import decode
from minimta.queue.locked import LockedMessage
from minimta.queue.spool import Spool
from minimta.routing.local_host import LocalHost
from minimta.runner import quarantine
from minimta.runner.give_up import GivingUp
from minimta.system import log
from tests.support.powercut import Disk
from tests.support.privatehost import BUSY, Elsewhere, PrivateHost
from tests.support.queuedesk import DAVE, X

NEW = b"<carol@lab1.campus>"


def hold(host: PrivateHost, qid: str) -> None:
    _with(host, qid, lambda message: quarantine.hold(message, "why"))


def release(host: PrivateHost, qid: str) -> None:
    _with(host, qid, lambda message: quarantine.release(message, 1.0), "hf")


def delete(host: PrivateHost, qid: str) -> None:
    spool = Spool(host.options.queue_directory)
    message = spool.lock(qid)
    assert message is not None
    message.retire()
    spool.flush()
    spool.close()


def redirect(host: PrivateHost, qid: str) -> None:
    def act(message: LockedMessage) -> None:
        message.control.recipients = [Recipient(NEW)]
        message.rewrite(1.0)

    _with(host, qid, act)


def bounce(host: PrivateHost, qid: str) -> None:
    spool = Spool(host.options.queue_directory)
    message = spool.lock(qid)
    assert message is not None
    GivingUp(LocalHost(host.options), spool).bounce(message, "closed", 2.0)
    spool.close()


def delete_aside(host: PrivateHost, qid: str) -> None:
    spool = Spool(host.options.queue_directory)
    put_aside.remove(spool, qid)
    spool.close()


def take_back(host: PrivateHost, qid: str) -> None:
    spool = Spool(host.options.queue_directory)
    put_aside.take_back(spool, qid)
    spool.close()


def _with(
    host: PrivateHost, qid: str, act: Callable[[LockedMessage], None], kind: str = "qf"
) -> None:
    spool = Spool(host.options.queue_directory)
    message = spool.lock(qid, kind=kind)
    assert message is not None
    with message:
        act(message)
    spool.close()


#: deed -> how the control file is called before, and what is true of the queue when it is done
DEEDS: dict[str, tuple[Callable[[PrivateHost, str], None], str]] = {
    "hold": (hold, "qf"),
    "release": (release, "hf"),
    "delete": (delete, "qf"),
    "redirect": (redirect, "qf"),
    "bounce": (bounce, "qf"),
    "delete_aside": (delete_aside, "Qf"),
    "take_back": (take_back, "Qf"),
}


def story(directory: Path, qid: str) -> str:
    """What a runner that starts now finds: the kind of the message, its recipients, and the reports."""
    kinds = [kind for kind in ("qf", "hf", "Qf") if (directory / f"{kind}{qid}").exists()]
    assert len(kinds) <= 1, "it is there twice"
    told = "gone"
    if kinds:
        assert (directory / f"df{qid}").exists(), "a control file without its body"
        control = decode((directory / f"{kinds[0]}{qid}").read_bytes())
        held = " held" if control.quarantine else ""
        told = f"{kinds[0]}{held} {control.recipients[0].address.decode()}"
    # One whose names are not all on disk was not yet queued, and is put aside.
    reports = [
        path
        for path in directory.glob("qf*")
        if path.name != f"qf{qid}" and (directory / f"df{path.name[2:]}").exists()
    ]
    for report in reports:
        assert b"RPF:" in report.read_bytes()
    return told + (" reported" if reports else "")


#: what may be found after a power cut, first to last: before, in between, done
FOUND = {
    "hold": ["qf <x@lab2.campus>", "qf held <x@lab2.campus>", "hf held <x@lab2.campus>"],
    "release": ["hf held <x@lab2.campus>", "qf held <x@lab2.campus>", "qf <x@lab2.campus>"],
    "delete": ["qf <x@lab2.campus>", "gone"],
    "redirect": ["qf <x@lab2.campus>", "qf <carol@lab1.campus>"],
    "bounce": ["qf <x@lab2.campus>", "qf <x@lab2.campus> reported", "gone reported"],
    "delete_aside": ["Qf <x@lab2.campus>", "gone"],
    "take_back": ["Qf <x@lab2.campus>", "qf <x@lab2.campus>"],
}


def prepared(tmp_path: Path, kind: str) -> tuple[PrivateHost, str]:
    host = PrivateHost(tmp_path / "host")
    qid = host.submit(DAVE, X)
    host.deliverer(esmtp=Elsewhere({b"x@lab2.campus": BUSY})).attempt([qid])
    if kind == "hf":
        hold(host, qid)
    elif kind == "Qf":
        path = Path(host.options.queue_directory, f"qf{qid}")
        path.rename(path.with_name(f"Qf{qid}"))
    return host, qid


@pytest.mark.parametrize("deed", list(DEEDS))
def test_a_power_cut_leaves_each_deed_done_or_not_done(
    tmp_path: Path, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "line", lambda *unused, **named: None)
    (tmp_path / "host").mkdir(mode=0o700)
    act, kind = DEEDS[deed]
    host, qid = prepared(tmp_path, kind)
    queue = Path(host.options.queue_directory)
    with Disk(queue) as disk:
        act(host, qid)
        disk.mark("done")
    found: set[str] = set()
    for cut in disk.cuts():
        for state in disk.survivors(after=cut):
            fresh = tmp_path / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            state.write(fresh)
            told = story(fresh, qid)
            assert told in FOUND[deed], f"after call {cut}: {told}"
            if disk.marks(cut):
                assert told == FOUND[deed][-1], "it was told to be done, and is not"
            found.add(told)
    assert {FOUND[deed][0], FOUND[deed][-1]} <= found, "the test cuts nowhere"
