"""From the file of logins to the provider, through the processes in between; and what is remembered."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from minimta.mailers.job import Job
from minimta.mailers.remote import login_memory, worker
from minimta.mailers.remote.lines import LoginLine
from minimta.mailers.remote.login_memory import FIRST_REST, LONGEST_REST, LoginMemory
from minimta.mailers.remote.logins import LoginDesk
from minimta.mailers.remote.mailer import RemoteMailer
from minimta.message.outcome import Fate, Outcome
from minimta.system import log, privileges, slots
from tests.support.fakeprovider import PROVIDERS, FakeProvider
from tests.support.fakesmtp import FakeSmtp
from tests.support.jobs import job, options

SECRET = "correct-horse-battery"
USERS = {"emma": SECRET, "dave": "another-one"}


class Host:
    """A queue, a file of logins, and what was logged and said."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory.chmod(0o700)
        (directory / "mqueue").mkdir(mode=0o700)
        self.directory = directory
        self.options = options(
            queue_directory=str(directory / "mqueue"), auth_info_file=str(directory / "authinfo")
        )
        self.now = 1_800_000_000.0
        self.logged: list[str] = []
        self.said: list[str] = []
        monkeypatch.setattr(
            log, "line", lambda qid, text, **_: self.logged.append(f"{qid}: {text}")
        )
        monkeypatch.setattr("minimta.system.privileges.become", lambda name: None)

    def write(self, text: str, mode: int = 0o600) -> None:
        path = self.directory / "authinfo"
        path.write_text(text)
        path.chmod(mode)

    def mailer(self) -> RemoteMailer:
        """Of a new run."""
        mine = slots.of_queue(self.options)
        assert mine.enter()
        mailer = RemoteMailer(self.options, mine, say=self.said.append)
        mailer._desk._clock = lambda: self.now
        return mailer

    def run(self, *jobs: Job, mailer: RemoteMailer | None = None) -> list[Outcome]:
        """Outcomes of the first user of each job, in their order."""
        mailer = mailer or self.mailer()
        found: dict[Job, Mapping[bytes, Outcome]] = dict(mailer.deliver(jobs))
        if mailer._slots.own >= 0:
            mailer._slots.leave()
        self.check_secrecy(found)
        return [next(iter(found[one].values())) for one in jobs]

    def check_secrecy(self, found: object) -> None:
        """No password is anywhere but in the file of logins."""
        told = [*self.logged, *self.said, repr(found)]
        for path in self.directory.rglob("*"):
            if path.is_file() and path.name not in ("authinfo", "secret", "program"):
                told.append(path.read_text(errors="replace"))
        assert not any(secret in text for text in told for secret in USERS.values())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(PROVIDERS["fastmail"], USERS) as server:
        yield server


def to(server: FakeSmtp, sender: str = "emma@lab1.campus", option: str = "SmartHost") -> Job:
    return job(server.host, reverse_path=sender.encode(), option=option)


def test_a_message_goes_out_with_the_login_of_its_next_hop(
    host: Host, provider: FakeProvider
) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')
    (outcome,) = host.run(to(provider))
    assert outcome.fate is Fate.SENT
    assert provider.logins == [("emma", "PLAIN", True, False)]
    assert ": AUTH=client, relay=[127.0.0.1], mech=PLAIN, bits=0" in host.logged
    assert ">>> AUTH PLAIN ***" in host.said


def test_a_host_without_a_row_is_talked_to_without_a_login(host: Host) -> None:
    host.write(f'AuthInfo:10.9.9.9 "U:emma" "P:{SECRET}"\n')
    with FakeSmtp(keywords=["AUTH PLAIN"]) as server:
        assert host.run(to(server))[0].fate is Fate.SENT
        assert [line[:4] for line in server.commands[0]] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_a_host_that_only_dns_or_a_sender_named_gets_no_login(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write(f'AuthInfo: "U:emma" "P:{SECRET}"\n')
    desk = LoginDesk(host.options, slots.of_queue(host.options))
    stranger = job("lab2.campus", option="")
    assert desk.rows(stranger) == ()
    prepared = desk.prepare(stranger)
    assert prepared is not None
    assert (prepared.wanted, prepared.faults) == ({}, {})


def test_messages_of_different_senders_go_with_their_own_logins(
    host: Host, provider: FakeProvider
) -> None:
    host.write(
        f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n'
        f'AuthInfo:dave@lab1.campus "H:127.0.0.1" "U:dave" "P:{USERS["dave"]}"\n'
    )
    senders = ("emma@lab1.campus", "dave@lab1.campus", "carol@lab1.campus", "dave@lab1.campus")
    assert {found.fate for found in host.run(*(to(provider, name) for name in senders))} == {
        Fate.SENT
    }
    assert sorted(name for name, *_ in provider.logins) == ["dave", "emma"]
    by_login = {
        told[1]: [line for line in told if line.startswith("MAIL")] for told in provider.commands
    }
    assert len(by_login) == 1  # both say AUTH PLAIN ...
    assert sorted(len([x for x in told if x[:4] == "MAIL"]) for told in provider.commands) == [2, 2]


@pytest.mark.parametrize(
    ("text", "mode", "fault"),
    [
        (f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n', 0o640, "Group readable file; it must be"),
        (f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n', 0o644, "World readable file; it must be"),
        ('\nAuthInfo:127.0.0.1 "U:emma"\n', 0o600, "authinfo line 2: one of P: F: C: S:"),
        ('AuthInfo:127.0.0.1 "U:emma" "F:/nonexistent"\n', 0o600, "/nonexistent"),
    ],
)
def test_a_login_that_cannot_be_read_delays_and_nobody_is_connected_to(
    host: Host, provider: FakeProvider, text: str, mode: int, fault: str
) -> None:
    host.write(text, mode)
    (outcome,) = host.run(to(provider))
    assert outcome.fate is Fate.DEFERRED
    assert fault in outcome.text
    assert provider.commands == []


def test_a_fault_of_the_file_delays_nothing_that_the_configuration_does_not_name(
    host: Host,
) -> None:
    host.write("x", 0o644)
    with FakeSmtp() as server:
        found = host.run(to(server, option="MailerTable"), job("lab2.invalid", option=""))
        assert "World readable" in found[0].text
        assert "World readable" not in found[1].text


# --- refused --------------------------------------------------------------------------------------


def refused(host: Host, provider: FakeProvider) -> str:
    (outcome,) = host.run(to(provider))
    assert outcome.fate is Fate.DEFERRED
    return outcome.text


def test_a_refused_password_rests_and_is_tried_again_later_each_time(
    host: Host, provider: FakeProvider
) -> None:
    host.write('AuthInfo:127.0.0.1 "U:emma" "P:wrong"\n')
    assert refused(host, provider).startswith("password of emma refused")
    host.now += FIRST_REST - 1
    rests = refused(host, provider)
    assert rests.startswith("password of emma refused, correct ")
    assert " line 1; not tried before " in rests
    assert rests.endswith(
        f"or a change of {host.options.auth_info_file}: 535 5.7.0 Incorrect username or password (e.g. use an app password)"
    )
    assert len(provider.logins) == 1
    host.now += 2
    assert refused(host, provider).startswith("password of emma refused")
    assert len(provider.logins) == 2
    host.now += 2 * FIRST_REST - 1
    assert "not tried before" in refused(host, provider)
    host.now += 2
    refused(host, provider)
    assert len(provider.logins) == 3


def test_a_refused_password_is_not_tried_again_for_other_messages_of_the_run(
    host: Host, provider: FakeProvider
) -> None:
    host.write('AuthInfo:127.0.0.1 "U:emma" "P:wrong"\n')
    mailer = host.mailer()
    for _ in range(3):
        (outcome,) = host.run(to(provider), mailer=mailer)
        assert outcome.fate is Fate.DEFERRED
    assert len(provider.logins) == 1


def test_a_change_of_the_file_ends_the_rest(host: Host, provider: FakeProvider) -> None:
    host.write('AuthInfo:127.0.0.1 "U:emma" "P:wrong"\n')
    refused(host, provider)
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')
    assert host.run(to(provider))[0].fate is Fate.SENT
    assert [accepted for _, _, accepted, _ in provider.logins] == [False, True]


def test_a_change_of_the_file_with_the_secret_ends_the_rest(
    host: Host, provider: FakeProvider
) -> None:
    secret = host.directory / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "F:{secret}"\n')
    refused(host, provider)
    assert "not tried before" in refused(host, provider)
    secret.write_text(f"{SECRET}\n")
    assert host.run(to(provider))[0].fate is Fate.SENT


def test_a_login_that_works_forgets_that_it_was_refused(host: Host, provider: FakeProvider) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')
    with FakeProvider(PROVIDERS["ses"], USERS, auth_answers=["535 no"]) as other:
        refused(host, other)
        host.now += FIRST_REST + 1
        assert host.run(to(other))[0].fate is Fate.SENT
        assert host.run(to(other))[0].fate is Fate.SENT


def test_a_login_of_which_nothing_is_known_is_tried_by_one_at_a_time(
    host: Host, provider: FakeProvider
) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')
    one = LoginDesk(host.options, slots.of_queue(host.options))
    other = LoginDesk(host.options, slots.of_queue(host.options))
    first = one.prepare(to(provider))
    assert first is not None
    assert other.prepare(to(provider)) is None
    first.close()
    second = other.prepare(to(provider))
    assert second is not None
    second.close()
    # When it was accepted there is no need.
    assert host.run(to(provider))[0].fate is Fate.SENT
    assert one.prepare(to(provider)) is not None
    assert other.prepare(to(provider)) is not None


def test_a_login_that_was_settled_is_free_for_others_while_the_worker_goes_on(
    host: Host, provider: FakeProvider
) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')
    one = LoginDesk(host.options, slots.of_queue(host.options), lambda: host.now)
    other = LoginDesk(host.options, slots.of_queue(host.options), lambda: host.now)
    mine = one.prepare(to(provider))
    assert mine is not None
    (hop,) = mine.wanted
    one.note(mine, LoginLine(hop, "x", accepted=False, text="no", bits=0))
    host.now += FIRST_REST + 1
    theirs = other.prepare(to(provider))
    assert theirs is not None
    theirs.close()


def test_a_row_with_a_fault_is_told_without_asking_for_its_secret(
    host: Host, provider: FakeProvider
) -> None:
    host.write('AuthInfo:127.0.0.1 "U:emma"\n')
    prepared = LoginDesk(host.options, slots.of_queue(host.options)).prepare(to(provider))
    assert prepared is not None
    assert prepared.wanted == {}
    (got,) = prepared.faults.values()
    assert "authinfo line 1: one of P:" in got.fault


def test_a_worker_can_say_nothing_of_logins_that_it_did_not_get(
    host: Host, provider: FakeProvider
) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\nAuthInfo:10.9.9.9 "U:e" "P:x"\n')
    desk = LoginDesk(host.options, slots.of_queue(host.options))
    mine = desk.prepare(to(provider))
    assert mine is not None
    desk.note(mine, LoginLine("[10.9.9.9]", "x", accepted=False, text="no", bits=0))
    mine.close()
    elsewhere = desk.prepare(job("[10.9.9.9]", option="SmartHost"))
    assert elsewhere is not None
    assert elsewhere.faults == {}
    elsewhere.close()


def test_a_refusal_forges_no_fact_in_the_log(host: Host) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')
    answer = "535 5.7.8 no, relay=[192.0.2.1], stat=Sent"
    with FakeProvider(PROVIDERS["ses"], USERS, auth_answers=[answer]) as server:
        host.run(to(server))
    (line,) = [line for line in host.logged if "AUTH=client" in line]
    assert line.endswith("535 5.7.8 no,?relay=[192.0.2.1],?stat=Sent")


# --- the processes --------------------------------------------------------------------------------


def in_worker(host: Host, monkeypatch: pytest.MonkeyPatch, look: Callable[[], str]) -> str:
    """What *look* says in a worker that has its login."""
    said = mmap.mmap(-1, 1000)  # shared with what is forked
    real = worker.Delivery  # type: ignore[attr-defined]

    def delivery(*arguments: object, **more: object) -> object:
        said.write(look().encode())
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "Delivery", delivery)
    with FakeProvider(PROVIDERS["ses"], USERS) as server:
        assert host.run(to(server))[0].fate is Fate.SENT
    return said[:].rstrip(b"\0").decode()


def test_a_worker_with_a_login_cannot_be_dumped_or_read(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')

    def look() -> str:
        import ctypes
        import resource

        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
        return f"{dumpable} {resource.getrlimit(resource.RLIMIT_CORE)}"

    assert in_worker(host, monkeypatch, look) == "0 (0, 0)"


def test_a_worker_has_no_secret_in_its_command_line_or_environment(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')

    def look() -> str:
        shown = [Path(f"/proc/self/{name}").read_bytes() for name in ("cmdline", "environ")]
        return str(any(SECRET.encode() in text for text in shown))

    if os.geteuid() == 0:
        assert in_worker(host, monkeypatch, look) == "False"


@pytest.mark.root
def test_a_worker_without_rights_has_its_login_all_the_same(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "minimta.system.privileges.become", lambda name: privileges.drop(65534, 65534, [])
    )
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')

    def look() -> str:
        try:
            (host.directory / "authinfo").read_text()
        except PermissionError:
            return f"{os.getuid()}"
        return "it read all logins"

    assert in_worker(host, monkeypatch, look) == "65534"


def test_who_waits_for_the_trial_of_a_login_waits_for_one_delivery(
    host: Host, provider: FakeProvider
) -> None:
    host.write(f'AuthInfo:127.0.0.1 "U:emma" "P:{SECRET}"\n')
    trying = LoginDesk(host.options, slots.of_queue(host.options)).prepare(to(provider))
    assert trying is not None
    (outcome,) = host.run(to(provider))
    assert outcome.is_crowded
    assert outcome.text.startswith("waits for another delivery to [127.0.0.1]:")
    trying.close()
    assert host.run(to(provider))[0].fate is Fate.SENT


# --- the memory -----------------------------------------------------------------------------------


@pytest.fixture
def memory(tmp_path: Path) -> LoginMemory:
    return LoginMemory(str(tmp_path / "mqueue.logins"))


def test_the_rest_is_doubled_up_to_a_day(memory: LoginMemory) -> None:
    rests = []
    for _ in range(9):
        record = memory.refused("emma", "s", 1000.0, "no")
        rests.append(record.rests_until - 1000.0)
    assert rests[:4] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST, 8 * FIRST_REST]
    assert rests[-1] == LONGEST_REST


def test_a_refusal_in_the_future_is_none(memory: LoginMemory) -> None:
    """The clock was wrong, and has been put right."""
    record = memory.refused("x", "s", 5000.0, "no")
    assert not record.rests(4999.0)
    assert record.rests(5000.0) and record.rests(5000.0 + FIRST_REST - 1)
    assert not record.rests(5000.0 + FIRST_REST)


def test_what_one_process_notes_another_one_knows(memory: LoginMemory, tmp_path: Path) -> None:
    memory.refused("emma", "s", 1000.0, "no")
    memory.refused("dave", "s", 1000.0, "no")
    memory.accepted("dave", "s", 1001.0)
    other = LoginMemory(str(tmp_path / "mqueue.logins"))
    emma, dave = other.last("emma", "s"), other.last("dave", "s")
    assert emma is not None and (emma.accepted, emma.text) == (False, "no")
    assert dave is not None and dave.accepted and dave.rests_until == 0
    assert other.last("emma", "changed") is None
    assert other.last("carol", "s") is None
    assert (tmp_path / "mqueue.logins").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"emma": 1}', '{"emma": {"x": 1}}', "null"])
def test_a_memory_that_makes_no_sense_is_none(
    memory: LoginMemory, tmp_path: Path, text: str
) -> None:
    (tmp_path / "mqueue.logins").write_text(text)
    assert memory.last("emma", "s") is None
    memory.refused("emma", "s", 1.0, "no")
    assert json.loads((tmp_path / "mqueue.logins").read_text())["emma"]["count"] == 1


def test_without_a_file_this_process_still_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: told.append(text))
    lost = LoginMemory(str(tmp_path / "nowhere" / "mqueue.logins"))
    lost.refused("emma", "s", 1000.0, "no")
    last = lost.last("emma", "s")
    assert last is not None and not last.accepted
    assert "logins are not remembered" in told[0]


def test_the_memory_is_beside_the_queue() -> None:
    assert login_memory.beside("/var/spool/mqueue/") == "/var/spool/mqueue.logins"
