"""Not knowing is not no: every file that is read at run time cannot be read, once or for a while.

file x fault (EIO ... garbage) x duration x room (listener, submission, runner). Whatever a look meets:
mail is delivered once, or waits, or is refused with 4yz or an exit code for later. It is never
bounced, put aside, refused for good or sent to another host; and when the file is well again all
of it comes, once. Cells that differ on purpose stand in ON_PURPOSE, with what happens and why.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from minimta.commands import sendmail
from minimta.listener import rights as relay
from minimta.listener.peer import Peer
from minimta.listener.shared_state import SharedState
from minimta.queue.spool import Spool
from minimta.routing import controlling_user, include
from minimta.system import log, safedirpath, users
from tests.support.privatehost import Elsewhere, PrivateHost
from tests.support.smtphost import STRANGER, ClientEnd

CODES = ("EIO", "EMFILE", "EACCES", "ENOMEM", "ENOENT")
FAULTS = (*CODES, "directory", "garbage")
DURATIONS = ("once", "lasting")

#: file below the host's directory -> its content
FILES = {
    "access": "To:one.example RELAY\n",
    "relay-domains": "two.example\n",
    "aliases": 'postmaster: root\nlist: emma\nteam: ":include:{root}/team"\n',
    "aliases.cdb": "",
    "local-host-names": "alias.example\n",
    "mailertable": "lab2.campus esmtp:[192.0.2.1]\n",
    "genericstable": "dave office@lab2.campus\n",
    "virtusertable": "boss@alias.example root\n",
    "passwd": "",
    "sender-relay": "other@far.example [192.0.2.9]\n",
    "trusted-users": "uucp\n",
    "home/dave/.forward": 'carol, "|deliver"\n',
    "team": "\\dave\n",
    "shells": "/bin/sh\n",
    "minimta.cf": "",
}
#: which of them a room reads
_OF_LISTENER = ("access", "relay-domains")
ROOMS = {
    "runner": tuple(
        name for name in FILES if name not in ("minimta.cf", "trusted-users", *_OF_LISTENER)
    ),
    "listener": (
        *_OF_LISTENER,
        "aliases",
        "aliases.cdb",
        "local-host-names",
        "mailertable",
        "passwd",
        "virtusertable",
    ),
    "submission": tuple(
        name
        for name in FILES
        if name not in ("home/dave/.forward", "team", "shells", "sender-relay", *_OF_LISTENER)
    ),
}
SENDER = b"<sender@far.example>"
RECIPIENTS = (
    b"<dave@lab1.campus>",
    b"<list@lab1.campus>",
    b"<team@lab1.campus>",
    b"<boss@alias.example>",
    b"<x@lab2.campus>",
)

#: anybody may send there
RELAYED = (b"<x@one.example>", b"<x@two.example>")

#: (room, file, fault) -> (what happens, why that is right)
ON_PURPOSE = {
    ("runner", "local-host-names", "ENOENT"): (
        "boss@alias.example to alias.example, esmtp 2 times",
        "most hosts have no such file, and no other names",
    ),
    ("listener", "local-host-names", "ENOENT"): (
        ", ".join(["550 5.7.1 <boss@alias.example>... Relaying denied"] * 2),
        "most hosts have no such file, and no other names",
    ),
    ("listener", "access", "ENOENT"): (
        ", ".join(["550 5.7.1 <x@one.example>... Relaying denied"] * 2),
        "most hosts have no such file, and nobody relays",
    ),
    ("listener", "relay-domains", "ENOENT"): (
        ", ".join(["550 5.7.1 <x@two.example>... Relaying denied"] * 2),
        "most hosts have no such file, and nobody relays",
    ),
    ("runner", "mailertable", "ENOENT"): (
        "x@lab2.campus to lab2.campus",
        "most hosts have no such file, and mail goes where DNS says",
    ),
    ("runner", "virtusertable", "ENOENT"): (
        "bounced, esmtp 2 times",
        "most hosts have no such file, and no user of that name",
    ),
    ("listener", "virtusertable", "ENOENT"): (
        ", ".join(["550 5.1.1 <boss@alias.example>... User unknown"] * 2),
        "most hosts have no such file, and no user of that name",
    ),
    ("submission", "virtusertable", "ENOENT"): (
        "queued and refused, exit 67",
        "most hosts have no such file, and no user of that name",
    ),
    ("runner", "home/dave/.forward", "ENOENT"): (
        "dave has it in the mailbox",
        "most users have no such file",
    ),
    ("runner", "home/dave/.forward", "directory"): (
        "dave has it in the mailbox",
        "as Sendmail: a .forward that is no regular file is not followed",
    ),
    ("runner", "team", "ENOENT"): (
        "bounced, esmtp 2 times",
        "ENOENT is certain: the alias names a list that does not exist, as it could a user; 5.2.4 as"
        " Sendmail. Whoever replaces a list does so by rename, and there is no moment without it",
    ),
    ("runner", "team", "directory"): (
        "bounced, esmtp 2 times",
        "certain, too: what is there is no list; 5.2.4 as Sendmail (Regular files only)",
    ),
}


class House:
    """A host with all these files, and what came of the mail for it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = PrivateHost(root)
        self.root = root
        options = self.host.options
        options.trusted_users = str(root / "trusted-users")
        options.log_to = "none"
        (root / "home" / "dave").mkdir()
        for name, text in FILES.items():
            if text:
                (root / name).write_text(text.format(root=root))
                (root / name).chmod(0o644)
        settings = {
            "HostName": "lab1.campus",
            "QueueDirectory": options.queue_directory,
            "ClientQueueDirectory": options.client_queue_directory,
            "MailboxDirectory": options.mailbox_directory,
            "AliasFile": root / "aliases",
            "PasswdFile": root / "passwd",
            "LocalHostNames": root / "local-host-names",
            "MailerTable": root / "mailertable",
            "VirtUserTable": root / "virtusertable",
            "TrustedUsers": root / "trusted-users",
            "DeadLetterDrop": root / "dead.letter",
            "DeliveryMode": "queueonly",
            "LogTo": "none",
        }
        (root / "minimta.cf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        (root / "minimta.cf").chmod(0o644)
        for name in (".", "home", "home/dave"):
            (root / name).chmod(0o755)
        valid = users.has_valid_shell
        monkeypatch.setattr(
            controlling_user, "has_valid_shell", lambda user: valid(user, str(root / "shells"))
        )
        # Not in a child, whose looks we would not see.
        monkeypatch.setattr(
            include,
            "read_as",
            lambda _, *more: safedirpath.read_trusted(more[0], os.getuid(), *more[1:]),
        )
        monkeypatch.setattr(log, "line", lambda *_, **__: None)
        self.esmtp, self.prog = Elsewhere({}), Elsewhere({})

    def compile_aliases(self) -> None:
        from minimta.maps.cdbwriter import write_cdb

        items = {b"postmaster": b"root", b"list": b"emma"}
        items[b"team"] = b":include:%b/team" % os.fsencode(self.root)
        write_cdb(str(self.root / "aliases.cdb"), items.items())

    def run_queue(self) -> None:
        deliverer = self.host.deliverer(esmtp=self.esmtp)
        deliverer.mailers["prog"] = self.prog
        deliverer.attempt(self.host.queued())
        deliverer.spool.close()

    def letters(self) -> dict[str, int]:
        found = {name: len(self.host.letters(name)) for name in ("carol", "dave", "emma", "root")}
        return found | {"prog": len(self.prog.jobs), "esmtp": len(self.esmtp.jobs)}

    def wrong(self) -> list[str]:
        """What must never be, at any time."""
        found = [name for name in self.host.files() if name[:2] == "Qf"]
        for job in self.esmtp.jobs:
            told = b",".join(user.name for user in job.users).decode()
            if (told, job.host) != ("x@lab2.campus", "[192.0.2.1]"):
                found.append("bounced" if not job.reverse_path else f"{told} to {job.host}")
        found += [f"{k} {n} times" for k, n in self.letters().items() if n > ALL[k]]
        return found


#: what must have come in the end
ALL = {"carol": 1, "dave": 1, "emma": 1, "root": 1, "prog": 1, "esmtp": 1}


@contextmanager
def trouble(path: Path, fault: str, *, lasting: bool) -> Iterator[None]:
    """In the body the file *path* cannot be read."""
    with failing(path, fault, lasting=lasting) if fault in CODES else spoiled(path, fault):
        yield


@contextmanager
def spoiled(path: Path, fault: str) -> Iterator[None]:
    kept = path.with_name(path.name + ".kept")
    path.rename(kept)
    if fault == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"\xff\0" * 2000)
    try:
        yield
    finally:
        shutil.rmtree(path) if fault == "directory" else path.unlink()
        kept.rename(path)


@contextmanager
def failing(path: Path, fault: str, *, lasting: bool) -> Iterator[None]:
    """Looks at *path* raise; the first alone if it is not *lasting*."""
    code, failed = getattr(errno, fault), list[Any]()
    saved = {name: getattr(os, name) for name in ("open", "stat", "lstat")}
    opened = builtins.open

    def fails(name: Any, dir_fd: int | None) -> bool:
        if isinstance(name, int) or (failed and not lasting):
            return False
        text = os.fsdecode(name)
        return text == str(path) or (dir_fd is not None and text == path.name)

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(name: Any, *args: Any, **more: Any) -> Any:
            if fails(name, more.get("dir_fd")):
                failed.append(name)
                raise OSError(code, os.strerror(code), name)
            return real(name, *args, **more)

        return call

    for name, real in saved.items():
        setattr(os, name, wrapped(real))
    builtins.open = io.open = wrapped(opened)
    try:
        yield
    finally:
        for name, real in saved.items():
            setattr(os, name, real)
        builtins.open = io.open = opened


def cells() -> list[tuple[str, str, str, str]]:
    return [
        (room, name, fault, duration)
        for room, names in ROOMS.items()
        for name in names
        for fault in FAULTS
        for duration in DURATIONS
    ]


def test_without_trouble_everything_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, monkeypatch)
    shared = SharedState(
        house.host.options, Spool(house.host.options.queue_directory), resolves=lambda _: True
    )
    assert {reply[:3] for reply in ask(shared)} == {"250"}
    shared.spool.close()
    assert submission(house, nullcontext) == []
    assert len(house.host.queued()) == 1


def test_the_number_of_cells() -> None:
    assert len(cells()) == len(FAULTS) * len(DURATIONS) * sum(map(len, ROOMS.values())) == 392
    assert {key[:3] for key in ON_PURPOSE} <= {cell[:3] for cell in cells()}


@pytest.mark.parametrize(("room", "name", "fault", "duration"), cells())
def test_a_look_that_fails_is_later(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: str,
    name: str,
    fault: str,
    duration: str,
) -> None:
    house = House(tmp_path, monkeypatch)
    if name == "aliases.cdb":
        house.compile_aliases()
    act = {"runner": runner, "listener": listener, "submission": submission}[room]
    seen = act(house, lambda: trouble(tmp_path / name, fault, lasting=duration == "lasting"))
    expected, _ = ON_PURPOSE.get((room, name, fault), ("", ""))
    if name in _OF_LISTENER and duration == "once":
        expected = ""  # they are looked at for each command
    if (name, duration) == ("virtusertable", "once"):
        expected = ""  # it is looked at again for each question
    assert ", ".join(seen) == expected


def runner(house: House, trouble: Callable[[], Any]) -> list[str]:
    house.host.submit(SENDER, *RECIPIENTS)
    with trouble():
        house.run_queue()
        house.run_queue()
        seen = house.wrong()
    house.run_queue()
    seen = seen or house.wrong()
    if not seen and (house.letters() != ALL or house.host.files()):
        unfollowed = ALL | {"carol": 0, "prog": 0}
        alone = house.letters() == unfollowed and not house.host.files()
        told = f"{house.letters()} {house.host.files()}"
        seen = ["dave has it in the mailbox" if alone else told]
    return seen


def listener(house: House, trouble: Callable[[], Any]) -> list[str]:
    spool = Spool(house.host.options.queue_directory)
    seen = []
    with trouble():
        try:
            shared = SharedState(house.host.options, spool, resolves=lambda _: True)
            replies = ask(shared)
        except OSError:
            return []  # the daemon does not start
        seen += [reply for reply in replies if reply[:1] not in "24"]
    spool.close()
    return seen


def ask(shared: SharedState) -> list[str]:
    port = shared.options.daemon_ports[0]
    rights = relay.at_connect(STRANGER[0], port)
    client = ClientEnd(shared, Peer(*STRANGER, confirmed=True, port=port, rights=rights))
    client.says("EHLO lab1.campus")
    greeted = client.says("MAIL FROM:<sender@far.example>")
    if greeted[0][:1] != "2":
        return greeted
    ours = [address.decode() for address in (*RECIPIENTS[:-1], *RELAYED)]
    return client.says(*(f"RCPT TO:{address}" for address in (*ours, *ours)))


def submission(house: House, trouble: Callable[[], Any]) -> list[str]:
    (house.root / "letter").write_bytes(b"Subject: hello\n\nbody\n")
    arguments = ["-C", str(house.root / "minimta.cf"), "-fsender@far.example"]
    with trouble():
        code = submit(house, [*arguments, *(os.fsdecode(r) for r in RECIPIENTS)])
    queued = [house.host.control(qid) for qid in house.host.queued()]
    if code:
        wrong = ["queued and refused"] if queued else []
        return wrong if code in (72, 75, 78) else [*wrong, f"exit {code}"]
    found = [bytes(r.address) for control in queued for r in control.recipients]
    return [] if sorted(found) == sorted(RECIPIENTS) else [f"queued for {found}"]


def submit(house: House, arguments: list[str]) -> int:
    mask = os.umask(0o022)
    kept, letter = os.dup(0), os.open(house.root / "letter", os.O_RDONLY)
    try:
        os.dup2(letter, 0)
        return sendmail.main(["sendmail", *arguments])
    finally:
        os.umask(mask)
        os.dup2(kept, 0)
        os.close(kept)
        os.close(letter)
