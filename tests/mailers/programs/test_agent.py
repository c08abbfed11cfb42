"""LocalMailer = |PROGRAM: what it is told, as whom it runs, and what may not reach it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.mailers.programs.agent import AgentMailer, harmless
from minimta.message.outcome import Fate, Outcome
from minimta.system.users import User, Users
from tests.support.jobs import job, options

AGENT = """#!/bin/sh
for word; do printf '<%s>\\n' "$word"; done > "$HOME/words"
(id -u; id -g; id -G; pwd; umask; env) > "$HOME/who"
cat > "$HOME/got"
exit $(cat "$HOME/code" 2>/dev/null || echo 0)
"""


class Place:
    """An agent that writes down what it is given, for dave."""

    def __init__(self, ground: Path, dave: User) -> None:
        self.ground = ground
        self.dave = dave
        self.script = ground / "agent"
        self.script.write_text(AGENT)
        self.script.chmod(0o755)
        (ground / "mail").mkdir()
        self.write_passwd("dave", dave.uid)
        self.options: Options = options(
            local_mailer=f"|{self.script} -a $h -d $u", mailbox_directory=str(ground / "mail")
        )

    def write_passwd(self, name: str, uid: int) -> None:
        line = f"{name}:x:{uid}:{self.dave.gid}::{self.dave.home}:/bin/sh\n"
        (self.ground / "passwd").write_text(line)

    def deliver(
        self, name: str = "dave", detail: str = "", sender: bytes = b"emma@lab1.campus"
    ) -> Outcome:
        users = Users(str(self.ground / "passwd"))
        mailer = AgentMailer(self.options, users, clock=lambda: 0.0)
        ((_, outcomes),) = mailer.deliver([job(detail, name, reverse_path=sender)])
        return outcomes[name.encode()]

    def text(self, name: str) -> str:
        return Path(self.dave.home, name).read_text()

    def words(self) -> list[str]:
        return [line[1:-1] for line in self.text("words").splitlines()]


@pytest.fixture
def place(ground: Path, dave: User) -> Place:
    return Place(ground, dave)


def test_the_agent_gets_its_words_and_the_message(place: Place) -> None:
    assert place.deliver(detail="lists").text == "Sent"
    assert place.words() == ["-a", "lists", "-d", "dave"]
    first, rest = place.text("got").split("\n", 1)
    assert first.startswith("From emma@lab1.campus  Thu Jan  1 ")
    assert rest == "Subject: c\n\nbody\n"


def test_an_empty_value_is_a_word_of_its_own(place: Place) -> None:
    place.deliver()
    assert place.words() == ["-a", "", "-d", "dave"]


def test_values_are_filled_in_anywhere_in_a_word_and_only_once(place: Place) -> None:
    place.options.local_mailer = f"|{place.script} '$u+$h of $f' --x=$u"
    place.deliver(detail="u", sender=b"x=y@lab1.campus")
    assert place.words() == ["dave+u of x=y@lab1.campus", "--x=dave"]


def test_the_null_reverse_path_is_mailer_daemon(place: Place) -> None:
    place.options.local_mailer = f"|{place.script} $f"
    place.deliver(sender=b"")
    assert place.words() == ["MAILER-DAEMON"]
    assert place.text("got").startswith("From MAILER-DAEMON  ")


EVIL = [
    b"-oQ/tmp", b"--", b"-", b"a b", b"$(id)", b"`id`", b";id", b"a;b", b"x\ny", b"\0", b"a/../b",
    b"{x}", b"'", b'"', b"\\", b"() { :;}; x", b"${run{x}}", b"caf\xc3\xa9", b"*", b"~root", b"!x",
    b"a|b", b"<x", b"%n", b"a,b", b"#",
]  # fmt: skip


@pytest.mark.parametrize("value", EVIL)
def test_what_strangers_could_do_harm_with_is_left_out_and_the_mail_arrives(
    place: Place, value: bytes
) -> None:
    place.options.local_mailer = f"|{place.script} $h $f"
    outcome = place.deliver(detail=os.fsdecode(value), sender=value)
    assert outcome.fate is Fate.SENT
    assert place.words() == ["", "MAILER-DAEMON"]


@pytest.mark.parametrize("value", [b"lists", b"a.b+c_d-e=f:1", b"X@lab1.campus", b""])
def test_usual_values_are_harmless(value: bytes) -> None:
    assert harmless(value) == value


def test_a_user_who_looks_like_an_option_waits(place: Place) -> None:
    place.write_passwd("-d", place.dave.uid)
    outcome = place.deliver("-d")
    assert outcome.fate is Fate.DEFERRED
    assert "looks like an option" in outcome.text
    assert not Path(place.dave.home, "got").exists()


def test_it_runs_as_the_recipient_with_a_clean_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "evil")
    place.deliver()
    uid, gid, groups, home, umask, *environment = place.text("who").splitlines()
    assert (int(uid), int(gid)) == (place.dave.uid, place.dave.gid)
    assert os.geteuid() != 0 or groups == gid
    assert (home, umask) == (place.dave.home, "0077")
    names = {line.partition("=")[0] for line in environment}
    assert names == {"HOME", "LOGNAME", "PATH", "PWD", "SHELL", "USER"}


@pytest.mark.root
def test_nothing_runs_as_root_whose_mail_stays_in_his_mailbox(place: Place) -> None:
    place.write_passwd("root", 0)
    assert place.deliver("root").fate is Fate.SENT
    assert not Path(place.dave.home, "got").exists()
    text = (place.ground / "mail" / "root").read_text()
    assert text.startswith("From emma@lab1.campus  ") and text.endswith("\n\nbody\n\n")


@pytest.mark.parametrize(
    ("code", "fate", "status", "text"),
    [
        (67, Fate.FAILED, "5.1.1", "User unknown"),
        (73, Fate.FAILED, "5.0.0", "Can't create output"),
        (75, Fate.DEFERRED, "4.0.0", "local mailer ({agent}) exited with EX_TEMPFAIL"),
        (77, Fate.FAILED, "5.0.0", "Insufficient permission"),
        (99, Fate.FAILED, "5.3.0", "unknown mailer error 99"),
    ],
)
def test_its_exit_code_decides(place: Place, code: int, fate: Fate, status: str, text: str) -> None:
    Path(place.dave.home, "code").write_text(f"{code}\n")
    outcome = place.deliver()
    expected = text.replace("{agent}", str(place.script))
    assert (outcome.fate, outcome.status, outcome.text) == (fate, status, expected)
    assert outcome.exit_code == code


def test_who_is_in_no_password_file_is_unknown(place: Place) -> None:
    outcome = place.deliver("nosuch")
    assert (outcome.fate, outcome.status, outcome.text) == (Fate.FAILED, "5.1.1", "User unknown")
    assert outcome.exit_code == os.EX_NOUSER


def test_an_agent_that_is_not_there_makes_mail_wait(place: Place) -> None:
    place.script.unlink()
    outcome = place.deliver()
    assert (outcome.fate, outcome.exit_code) == (Fate.DEFERRED, os.EX_TEMPFAIL)
    assert outcome.text == f"local mailer ({place.script}) cannot be run: stat failed"


def test_an_agent_that_others_may_write_is_not_run(place: Place) -> None:
    place.script.chmod(0o757)
    outcome = place.deliver()
    assert outcome.fate is Fate.DEFERRED
    assert outcome.text.endswith("may not be trusted: World writable file")
    place.options.dont_blame = frozenset({"runwritableprogram"})
    assert place.deliver().fate is Fate.SENT


def test_an_agent_that_never_ends_is_ended(place: Place) -> None:
    place.options.timeout_program = 1
    place.script.write_text("#!/bin/sh\nexec sleep 987\n")
    outcome = place.deliver()
    assert outcome.text == f"local mailer ({place.script}) did not end in 1 seconds"


def test_a_name_service_that_fails_makes_mail_wait(place: Place) -> None:
    (place.ground / "passwd").unlink()
    assert place.deliver().fate is Fate.DEFERRED


def test_every_user_of_a_job_has_a_process_of_his_own(place: Place) -> None:
    mailer = AgentMailer(place.options, Users(str(place.ground / "passwd")))
    many = job("", "dave", "nosuch", "Dave")
    ((_, outcomes),) = mailer.deliver([many])
    fates = [outcomes[name].fate for name in (b"dave", b"nosuch", b"Dave")]
    assert fates == [Fate.SENT, Fate.FAILED, Fate.SENT]
    assert place.words() == ["-a", "", "-d", "dave"]
