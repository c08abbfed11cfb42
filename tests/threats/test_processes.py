"""The ids of every kind of process, from a real daemon: listener, runner, and the children of users."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.listener.test_daemon import Daemon, send, status_of, wait_for
from tests.support.sharedhost import UIDS, SharedHost

pytestmark = pytest.mark.root


@pytest.fixture
def daemon(host: SharedHost) -> Iterator[Daemon]:
    """A listener and a runner of this host's users."""
    directory = host.root / "daemon"
    directory.mkdir()
    made = Daemon(directory)
    (directory / "mail").rmdir()
    (host.root / "mail").rename(directory / "mail")
    text = made.cf.read_text().replace("RunAsUser = ", "RunAsUser = nobody")
    made.cf.write_text(f"{text}SmrshDirectory = /nonexistent\nMinFreeBlocks = 0\n")
    directory.chmod(0o711)
    Path(made.host.options.passwd_file).write_text(Path(host.options.passwd_file).read_text())
    for name in ("aliases", "passwd", "names"):
        (directory / name).chmod(0o644)
    os.chmod(made.host.mqueue, 0o1733)
    yield made
    made.stop()


def ids(status: dict[str, str]) -> tuple[set[str], set[str], set[str], set[int]]:
    """All uids, gids, groups and sets of capabilities but the bound."""
    capabilities = {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    return (
        set(status["Uid"].split()),
        set(status["Gid"].split()),
        set(status["Groups"].split()),
        capabilities,
    )


def test_each_process_has_the_rights_of_its_task_and_no_others(
    host: SharedHost, daemon: Daemon
) -> None:
    e = host.evidence
    forward = f'"|cat /proc/self/status > {e}/t; mv {e}/t {e}/program", {e}/file\n'
    host.put("dave", forward.encode(), ".forward")
    tool = f'tool: "|cat /proc/self/status > {e}/a; mv {e}/a {e}/alias"\n'
    (daemon.cf.parent / "aliases").write_text(tool)
    daemon.start("-bD", "-q15m")
    nobody = pwd.getpwnam("nobody")
    listener = daemon.listener()
    wait_for(lambda: set(status_of(listener)["Uid"].split()) == {str(nobody.pw_uid)})
    assert ids(status_of(listener)) == ({str(nobody.pw_uid)}, {str(nobody.pw_gid)}, set(), {0})
    assert set(status_of(daemon.pid())["Uid"].split()) == {"0"}, "the runner becomes others"
    for name in ("dave", "tool", "carol"):
        send(daemon, name)
    expected = [e / "program", e / "file", e / "alias", daemon.cf.parent / "mail" / "carol"]
    wait_for(lambda: all(path.exists() and path.stat().st_size for path in expected))
    for name, user in (("program", "dave"), ("alias", "daemon")):
        uid = str(UIDS[user])
        assert ids(status_of_text((e / name).read_text())) == ({uid}, {uid}, {uid}, {0})
    assert (e / "file").stat().st_uid == UIDS["dave"]
    assert (daemon.cf.parent / "mail" / "carol").stat().st_uid == UIDS["carol"]
    assert ids(status_of(listener))[0] == {str(nobody.pw_uid)}, "still"


def status_of_text(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.split("\n") if ":\t" in line)
