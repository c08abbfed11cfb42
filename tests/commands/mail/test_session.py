"""The end of a session on a mailbox: what goes to mbox, what stays, and what a kill leaves."""

from __future__ import annotations

import mailbox
import os
from pathlib import Path

import pytest

from minimta.commands.mail import reading, rewrite
from minimta.commands.mail.session import FolderPlace, ReadingSession
from minimta.commands.mail.settings import Settings
from minimta.system.users import User

LINE = b"From emma@lab1.campus  Sun Nov 22 09:37:57 2026\n"


@pytest.fixture
def me(tmp_path: Path) -> User:
    (tmp_path / "home").mkdir()
    (tmp_path / "mail").mkdir()
    return User("emma", os.getuid(), os.getgid(), home=str(tmp_path / "home"))


def box_of(me: User) -> Path:
    return Path(me.home).parent / "mail" / "emma"


def begun(me: User, names: str = "abc", **variables: str) -> ReadingSession:
    box = box_of(me)
    if names:
        box.write_bytes(b"".join(LINE + b"Subject: %c\n\ntext\n\n" % ord(name) for name in names))
        box.chmod(0o600)
    settings = Settings()
    settings.variables |= variables
    place = FolderPlace(str(box), True, me)
    return ReadingSession(place, place, me, settings, "/bin/false")


def status(path: Path) -> dict[str, str]:
    box = list(mailbox.mbox(str(path), create=False)) if path.exists() else []
    return {str(one["subject"]): str(one["status"]) for one in box}


def obey(session: ReadingSession, *commands: str) -> None:
    for command in commands:
        reading.obey(session, command)


@pytest.mark.parametrize(
    ("commands", "stays", "saved"),
    [
        ([], "abc", ""),
        (["type 1"], "bc", "a"),
        (["top 1"], "bc", "a"),
        (["type 1 2", "hold 1"], "ac", "b"),
        (["mbox 3"], "ab", "c"),
        (["delete 2"], "ac", ""),
        (["delete *", "undelete 2"], "b", ""),
        (["save 1 elsewhere"], "bc", ""),
        (["copy 1 elsewhere", "unread 1"], "abc", ""),
        (["type 1", "unread 1"], "abc", ""),
        (["touch 2"], "ac", "b"),
    ],
)
def test_where_messages_are_at_the_end(
    commands: list[str], stays: str, saved: str, me: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(me.home)
    session = begun(me)
    obey(session, *commands)
    with pytest.raises(reading.Ended):
        reading.obey(session, "quit")
    assert "".join(status(box_of(me))) == stays
    assert "".join(status(Path(me.home, "mbox"))) == saved


def test_read_messages_stay_where_the_user_wants_that(me: User) -> None:
    session = begun(me, hold="")
    obey(session, "type 1")
    session.quit()
    assert status(box_of(me)) == {"a": "RO", "b": "O", "c": "O"}


def test_messages_are_never_in_neither_file(me: User, monkeypatch: pytest.MonkeyPatch) -> None:
    session = begun(me)
    obey(session, "type 1")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rewrite, "_keep", fails)
    with pytest.raises(OSError):
        session.quit()
    assert "".join(status(box_of(me))) == "abc"
    assert "".join(status(Path(me.home, "mbox"))) == "a"


def test_the_next_session_finishes_what_a_kill_interrupted(
    me: User, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    session = begun(me)
    obey(session, "delete 1")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rewrite, "_carry_out", killed)
        with pytest.raises(KeyboardInterrupt):
            session.quit()
    begun(me, "")
    assert "that were interrupted" in capfd.readouterr().out
    assert status(box_of(me)) == {"b": "O", "c": "O"}
    assert not [name for name in os.listdir(me.home) if name.startswith(".mail")]


def test_the_way_to_another_folder_carries_out_what_was_marked(me: User) -> None:
    session = begun(me)
    Path(me.home, "mbox").write_bytes(LINE + b"Subject: old\n\ntext\n\n")
    Path(me.home, "mbox").chmod(0o600)
    obey(session, "delete 1", "folder &")
    assert [one.subject for one in session.letters] == ["old"]
    obey(session, "folder %")
    assert [one.subject for one in session.letters] == ["b", "c"]
    session.quit()


def test_variables_of_a_file_and_of_a_session(me: User, tmp_path: Path) -> None:
    rc = tmp_path / "rc"
    rc.write_text(
        "set hold noask folder=Mail indentprefix='> '\n# no\nalias friends emma \\\n dave\nretain from\nif t\n"
    )
    settings = Settings()
    assert settings.read_file(str(rc)) == []
    assert settings.variables.keys() == {"hold", "askcc", "dot", "save", "folder", "indentprefix"}
    assert settings.expanded(["friends, carol"]) == ["emma", "dave", "carol"]
    assert (settings.shows("from"), settings.shows("to")) == (True, False)
    rc.write_text("set x='y\n")
    assert settings.read_file(str(rc)) == [f"{rc}: line 1: set x='y: No closing quotation"]


def test_a_mailbox_that_cannot_be_cut_gives_mbox_nothing_twice(
    me: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begun(me)
    obey(session, "type 1")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(rewrite, "_keep", fails)
        for _ in range(2):
            with pytest.raises(OSError):
                session.quit()
    obey(session, "type 2")
    session.quit()
    assert status(box_of(me)) == {"c": "O"}
    assert [one["subject"] for one in mailbox.mbox(str(Path(me.home, "mbox")))] == ["a", "b"]


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3\xa9", b"RO\x1b", b"x\n To: y", b"\0"])
def test_a_status_that_its_sender_made_up_hinders_nothing(me: User, wrong: bytes) -> None:
    session = begun(me, "a")
    box = box_of(me)
    with box.open("ab") as file:
        file.write(LINE + b"Status: " + wrong + b"\nSubject: b\n\ntext\n\n")
    session = begun(me, "")
    obey(session, "delete 1")
    session.quit()
    assert box.read_bytes().startswith(LINE + b"Subject: b\nStatus: ")
    assert box.read_bytes().isascii() and b"\x1b" not in box.read_bytes()
