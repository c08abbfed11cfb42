"""Rules that every mailer keeps. A new mailer gets a Place and must pass."""

from __future__ import annotations

import mailbox
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.files.file_mailer import FileMailer
from minimta.mailers.files.maildir import MaildirMailer
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.job import Job, Mailer
from minimta.mailers.programs.agent import AgentMailer
from minimta.mailers.programs.prog import ProgMailer
from minimta.mailers.remote.lmtp import LmtpMailer
from minimta.mailers.remote.mailer import RemoteMailer
from minimta.message.outcome import Fate, Outcome
from minimta.system.users import User, Users
from tests.support.children import assert_none_left
from tests.support.fakelmtp import FakeLmtp
from tests.support.fakesmtp import FakeSmtp
from tests.support.jobs import job, options
from tests.support.slots import slots


class Place:
    """A mailer, and where it brings the mail of dave and carol; "nosuch" is nobody."""

    name = "local"
    #: is what was delivered in a file that we can see?
    is_file = True
    mailer: Mailer

    def __init__(self, ground: Path, dave: User, carol: User, stack: ExitStack) -> None:
        self.ground = ground
        self.homes = {"dave": dave, "carol": carol}
        self.stack = stack
        self.passwd = ground / "passwd"
        lines = [f"{u.name}:x:{u.uid}:{u.gid}::{u.home}:/bin/sh\n" for u in (dave, carol)]
        self.passwd.write_text("".join(lines))
        self.make()

    def make(self) -> None:
        raise NotImplementedError

    def job(self, *names: str, **more: Any) -> Job:
        return job(self.host(), *(self.address(name) for name in names), **more)

    def host(self) -> str:
        return ""

    def address(self, name: str) -> str:
        """What user.name is for him."""
        return name

    def texts(self, name: str) -> list[bytes]:
        """The messages he has got, in order, with LF line ends, "From " unquoted."""
        raise NotImplementedError

    def files(self, name: str) -> list[Path]:
        """Where they are."""
        raise NotImplementedError

    def spoil(self) -> None:
        """Make delivery impossible for now."""
        raise NotImplementedError


class InMailboxes(Place):
    def make(self) -> None:
        (self.ground / "mail").mkdir()
        configured = options(mailbox_directory=str(self.ground / "mail"))
        self.mailer = MboxMailer(configured, Users(str(self.passwd)), pause=lambda _: None)

    def files(self, name: str) -> list[Path]:
        path = self.ground / "mail" / name
        return [path] if path.exists() else []

    def texts(self, name: str) -> list[bytes]:
        return [text for path in self.files(name) for text in messages(path)]

    def spoil(self) -> None:
        (self.ground / "mail").rename(self.ground / "away")


def messages(path: Path) -> list[bytes]:
    box = mailbox.mbox(path, create=False)
    try:
        return [box.get_bytes(key).replace(b"\n>From ", b"\nFrom ") for key, _ in box.items()]
    finally:
        box.close()


class InFiles(InMailboxes):
    name = "*file*"

    def make(self) -> None:
        self.mailer = FileMailer(options(), pause=lambda _: None)

    def address(self, name: str) -> str:
        home = self.ground / "nosuch" if name == "nosuch" else Path(self.homes[name].home)
        return str(home / "inbox")

    def job(self, *names: str, **more: Any) -> Job:
        # A job has one path in real life; who writes does not matter here.
        owner = self.homes["dave" if "dave" in names else "carol"]
        return replace(super().job(*names, **more), controlling=owner)

    def files(self, name: str) -> list[Path]:
        path = Path(self.address(name))
        return [path] if path.exists() else []

    def spoil(self) -> None:
        for user in self.homes.values():
            Path(user.home).chmod(0o777)


class InMaildirs(Place):
    def make(self) -> None:
        self.mailer = MaildirMailer(options(), Users(str(self.passwd)))

    def files(self, name: str) -> list[Path]:
        new = Path(self.homes[name].home, "Maildir", "new")
        return sorted(new.iterdir(), key=order) if new.exists() else []

    def texts(self, name: str) -> list[bytes]:
        return [path.read_bytes() for path in self.files(name)]

    def spoil(self) -> None:
        for user in self.homes.values():
            os.rename(user.home, user.home + ".away")


def order(path: Path) -> tuple[int, ...]:
    """Of Maildir names: by the numbers that are in them."""
    seconds, rest = path.name.split(".")[:2]
    return (
        int(seconds),
        *(int(part) for part in rest.replace("P", "M").replace("Q", "M").split("M") if part),
    )


class Choosy(FakeSmtp):
    """Does not know "nosuch"."""

    def _answer(self, connection: Any, lines: Any, verb: str) -> bytes:
        if verb == "RCPT" and "nosuch" in self.commands[-1][-1]:
            connection.sendall(b"550 5.1.1 User unknown\r\n")
            return b"5"
        return super()._answer(connection, lines, verb)


class ChoosyLmtp(Choosy, FakeLmtp):
    pass


class AtHosts(Place):
    name = "esmtp"
    is_file = False
    server: FakeSmtp

    def make(self) -> None:
        self.server = self.stack.enter_context(Choosy(keywords=("PIPELINING", "8BITMIME")))
        self.mailer = RemoteMailer(options(run_as_user=""), slots())

    def host(self) -> str:
        return self.server.host

    def address(self, name: str) -> str:
        return f"{name}@lab2.campus"

    def texts(self, name: str) -> list[bytes]:
        addressed: list[list[str]] = []
        for line in (line for told in self.server.commands for line in told):
            if line.startswith("MAIL"):
                addressed.append([])
            elif line.startswith("RCPT") and "nosuch" not in line:
                addressed[-1].append(line)
        taken = [whom for whom in addressed if whom]
        return [
            text.replace(b"\r\n", b"\n").replace(b"\n..", b"\n.")
            for whom, text in zip(taken, self.server.messages, strict=False)
            if f"RCPT To:<{self.address(name)}>" in whom
        ]

    def spoil(self) -> None:
        self.server.change("greeting", "421 4.3.2 Not now")


class AtLmtp(AtHosts):
    name = "local"

    def make(self) -> None:
        self.server = self.stack.enter_context(ChoosyLmtp())
        place = f"lmtp:127.0.0.1:{self.server.port}"
        self.mailer = LmtpMailer(options(local_mailer=place, run_as_user=""), slots())

    def host(self) -> str:
        return ""

    def address(self, name: str) -> str:
        return name


class AtLmtpSocket(AtLmtp):
    def make(self) -> None:
        path = str(self.ground / "lmtp")
        self.server = self.stack.enter_context(ChoosyLmtp(path))
        self.mailer = LmtpMailer(options(local_mailer=f"lmtp:{path}", run_as_user=""), slots())


class InPrograms(Place):
    """Programs that keep each message, with a NUL behind it."""

    name = "prog"
    is_file = False

    def make(self) -> None:
        shell = options(smrsh_directory=str(self.ground / "none"), timeout_program=20)
        self.mailer = ProgMailer(shell)

    def address(self, name: str) -> str:
        if name == "nosuch":
            return f"exit {os.EX_NOUSER}"
        keep = f"(cat && printf '\\0') >>{self.homes[name].home}/kept"
        return f"if [ -e {self.ground}/stop ]; then exit {os.EX_TEMPFAIL}; fi; {keep}"

    def job(self, *names: str, **more: Any) -> Job:
        owner = self.homes["dave" if "dave" in names else "carol"]
        return replace(super().job(*names, **more), controlling=owner)

    def texts(self, name: str) -> list[bytes]:
        kept = Path(self.homes[name].home, "kept")
        texts = kept.read_bytes().split(b"\0")[:-1] if kept.exists() else []
        return [text.partition(b"\n")[2] if text[:5] == b"From " else text for text in texts]

    def spoil(self) -> None:
        (self.ground / "stop").touch()


class InAgent(InPrograms):
    """An agent that keeps each message like those programs."""

    name = "local"

    def make(self) -> None:
        script = self.ground / "agent"
        script.write_text(
            f"[ -e {self.ground}/stop ] && exit {os.EX_TEMPFAIL}\n"
            "(cat && printf '\\0') >>\"$HOME/kept\"\n"
        )
        words = f"|/bin/sh {script} $u"
        chosen = options(local_mailer=words, timeout_program=20)
        self.mailer = AgentMailer(chosen, Users(str(self.passwd)))

    def address(self, name: str) -> str:
        return name

    def job(self, *names: str, **more: Any) -> Job:
        return Place.job(self, *names, **more)


class InProcmail(InMailboxes):
    is_file = False  # what it fsyncs is its own business

    def make(self) -> None:
        nobody = pwd.getpwnam("nobody")
        if os.geteuid() == 0:  # it wants users whom the system knows
            ids = f":{nobody.pw_uid}:{nobody.pw_gid}:"
            lines = [f"{u.name}:x{ids}:{u.home}:/bin/sh\n" for u in self.homes.values()]
            self.passwd.write_text("".join(lines))
        boxes = self.ground / "mail"
        boxes.mkdir()
        boxes.chmod(0o1777)
        # It waits a second for a mailbox that is new, or that somebody reads within that second.
        for user in self.homes.values():
            (boxes / user.name).touch(0o600)
            os.utime(boxes / user.name, (1, 1))
            if os.geteuid() == 0:
                os.chown(boxes / user.name, nobody.pw_uid, nobody.pw_gid)
        # Without its set-id bits: with them it would make a mailbox in /var/mail as well.
        program = self.ground / "procmail"
        shutil.copyfile("/usr/bin/procmail", program)
        program.chmod(0o755)
        words = f"|{program} -t -a $h DEFAULT={boxes}/$u ORGMAIL={boxes}/$u /dev/null"
        self.options = options(local_mailer=words, timeout_program=20)
        self.mailer = AgentMailer(self.options, Users(str(self.passwd)))

    def spoil(self) -> None:
        super().spoil()
        self.options.timeout_program = 1  # it tries to lock for a quarter of a minute

    def texts(self, name: str) -> list[bytes]:
        # A message that ends in an empty line gets no other one before the next.
        texts = super().texts(name)
        return [t + b"\n" if t.endswith(b"\n\n") or b"\n\n" not in t else t for t in texts]


PLACES = (
    InMailboxes, InFiles, InMaildirs, InPrograms, InAgent,
    pytest.param(InProcmail, marks=pytest.mark.debian("procmail")), AtHosts, AtLmtp, AtLmtpSocket,
)  # fmt: skip


@pytest.fixture(params=PLACES, ids=lambda kind: kind.__name__)
def place(request: pytest.FixtureRequest, ground: Path, dave: User, carol: User) -> Iterator[Place]:
    with ExitStack() as stack:
        yield request.param(ground, dave, carol, stack)


def deliver(place: Place, *jobs: Job) -> list[dict[str, Outcome]]:
    """The outcomes in the order of the jobs; every job came once, with all its users."""
    found: dict[Job, dict[str, Outcome]] = {}
    for one, outcomes in place.mailer.deliver(jobs):
        assert one in jobs and one not in found
        assert set(outcomes) == {user.name for user in one.users}
        assert all(isinstance(outcome, Outcome) for outcome in outcomes.values())
        found[one] = {os.fsdecode(name): outcome for name, outcome in outcomes.items()}
    return [found[one] for one in jobs]


def fates(outcomes: dict[str, Outcome]) -> list[Fate]:
    return [outcome.fate for outcome in outcomes.values()]


def body_of(text: bytes) -> bytes:
    return text.partition(b"\n\n")[2]


def ended(body: bytes) -> bytes:
    """A body whose last line has an end: some mailers must give it one."""
    return body if not body or body.endswith(b"\n") else body + b"\n"


def test_a_mailer_has_the_name_that_the_queue_gives_it(place: Place) -> None:
    assert place.mailer.name == place.name


def test_no_jobs_are_no_work(place: Place) -> None:
    assert deliver(place) == []


def test_every_job_is_yielded_once_with_an_outcome_for_every_user(place: Place) -> None:
    jobs = [place.job("dave"), place.job("carol"), place.job("nosuch"), place.job("dave")]
    found = deliver(place, *jobs)
    assert [fates(outcomes) for outcomes in found] == [
        [Fate.SENT], [Fate.SENT], [Fate.FAILED], [Fate.SENT]
    ]  # fmt: skip
    assert (len(place.texts("dave")), len(place.texts("carol"))) == (2, 1)


def test_users_of_one_job_have_their_own_fates(place: Place) -> None:
    (outcomes,) = deliver(place, place.job("dave", "nosuch"))
    assert outcomes[place.address("dave")].fate is Fate.SENT
    assert outcomes[place.address("nosuch")].fate is Fate.FAILED


def test_one_user_twice_in_a_job_gets_it_once(place: Place) -> None:
    (outcomes,) = deliver(place, place.job("dave", "dave"))
    assert fates(outcomes) == [Fate.SENT]
    assert len(place.texts("dave")) == 1


def test_two_messages_for_one_user_arrive_both_and_in_order(place: Place) -> None:
    jobs = [place.job("dave", body=b"%d\n" % number) for number in range(4)]
    deliver(place, *jobs)
    assert [body_of(text) for text in place.texts("dave")] == [b"0\n", b"1\n", b"2\n", b"3\n"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\n", b"no end", b"\n\n\n", b"From me\nFrom you\n", b".\n..\n", b"caf\xe9 \xff\n",
        bytes(range(128, 256)) + b"\n",
        b"x" * (1 << 20), b"x" * (1 << 20) + b"\n.\nFrom y", b"line\n" * 300_000,
    ],
    ids=lambda body: f"{body[:9]!r} {len(body)}",
)  # fmt: skip
def test_every_body_arrives_whole(place: Place, body: bytes) -> None:
    header = b"Subject: x\nTo: dave,\n\tcarol\n"
    (outcomes,) = deliver(place, place.job("dave", body=body, header=header))
    assert fates(outcomes) == [Fate.SENT]
    (text,) = place.texts("dave")
    assert text.startswith(header + b"\n")
    assert ended(body_of(text)) == ended(body)


def test_the_null_reverse_path_is_one(place: Place) -> None:
    (outcomes,) = deliver(place, place.job("dave", reverse_path=b""))
    assert fates(outcomes) == [Fate.SENT]
    assert len(place.texts("dave")) == 1


def test_a_data_file_that_is_too_short_is_deferred_and_its_neighbours_arrive(place: Place) -> None:
    jobs = [
        place.job("dave", body=b"1\n"),
        place.job("dave", body=b"half\n", size=2 << 20),
        place.job("dave", body=b"3\n"),
    ]
    found = [fates(outcomes) for outcomes in deliver(place, *jobs)]
    assert found == [[Fate.SENT], [Fate.DEFERRED], [Fate.SENT]]
    assert [body_of(text) for text in place.texts("dave")] == [b"1\n", b"3\n"]


def test_expected_trouble_is_an_outcome_for_everybody(place: Place) -> None:
    place.spoil()
    for outcomes in deliver(place, place.job("dave"), place.job("carol"), place.job("dave")):
        for outcome in outcomes.values():
            assert (outcome.fate, outcome.exit_code) == (Fate.DEFERRED, os.EX_TEMPFAIL)


def test_a_status_agrees_with_its_fate_and_its_text_can_be_printed(place: Place) -> None:
    found = deliver(place, place.job("dave"), place.job("nosuch"), place.job("carol", size=60))
    seen = [outcome for outcomes in found for outcome in outcomes.values()]
    assert [outcome.fate for outcome in seen] == [Fate.SENT, Fate.FAILED, Fate.DEFERRED]
    for outcome, status in zip(seen, "254", strict=True):
        assert outcome.status[0] == status
        assert (outcome.exit_code == 0) == (status == "2")
        assert outcome.text and outcome.text.isascii() and outcome.text.isprintable()


def test_what_is_sent_is_there_and_durable_when_it_is_yielded(place: Place, synced: Any) -> None:
    jobs = [place.job("dave"), place.job("carol"), place.job("dave")]
    for one, outcomes in place.mailer.deliver(jobs):
        assert [outcome.fate for outcome in outcomes.values()] == [Fate.SENT]
        name = "carol" if one is jobs[1] else "dave"
        assert place.texts(name)
        if place.is_file:
            assert all(path in synced for path in place.files(name))
            assert place.files(name)[0].parent in synced, "the name of a new file"


def test_the_data_file_stays_open_and_where_it_was(place: Place) -> None:
    jobs = [place.job("dave"), place.job("carol"), place.job("nosuch")]
    deliver(place, *jobs)
    for one in jobs:
        assert os.lseek(one.body, 0, os.SEEK_CUR) == len(b"body\n")  # where job() left it
        assert os.pread(one.body, 9, 0) == b"body\n"


@pytest.mark.parametrize("spoiled", [False, True])
def test_neither_a_descriptor_nor_a_child_is_left(place: Place, *, spoiled: bool) -> None:
    jobs = [place.job("dave"), place.job("nosuch"), place.job("carol", size=60)]
    if spoiled:
        place.spoil()
    before = descriptors()
    deliver(place, *jobs)
    assert descriptors() == before
    assert_none_left()


def descriptors() -> dict[str, str]:
    """Number -> file, without sockets, which are also the fake server's."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # that of the listing
            continue
    return {number: name for number, name in found.items() if not name.startswith("socket:")}


def test_who_stops_listening_leaves_no_child(place: Place) -> None:
    outcomes = place.mailer.deliver([place.job("dave"), place.job("carol")])
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert_none_left()
