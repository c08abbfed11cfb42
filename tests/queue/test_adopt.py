"""clientmqueue -> mqueue: what any user may have put there, and how little of it is believed."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.message.envelope import Recipient
from minimta.queue import adopt as room
from minimta.queue import sanitize
from minimta.queue.adopt import _Adoption, adopt
from minimta.queue.control import Control, decode, encode
from minimta.queue.letter_judge import JudgedLetter
from minimta.queue.spool import Spool
from minimta.system import hostnames, log
from minimta.system.users import Users
from tests.support.faults import Faults
from tests.support.homes import let_others_in
from tests.support.powercut import Disk, playground

QID = "6AM9CfOn000096"
OTHER = "6AM9CfOo000096"
BODY = b"body\nof it\n"
NOW = time.time()
HOST = "lab1.campus"
LOGIN = b"emma"
WARNING = b"X-Authentication-Warning: lab1.campus: emma set sender to %b using -f"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append(f"{qid}: {text}"))
    return lines


class House:
    """Both queues, and a passwd file in which we are emma."""

    def __init__(self, root: Path) -> None:
        self.client = root / "clientmqueue"
        self.main = root / "mqueue"
        self.client.mkdir()
        self.client.chmod(0o1733)
        self.main.mkdir(mode=0o700)
        passwd = root / "passwd"
        passwd.write_text(f"emma:x:{os.geteuid()}:{os.getegid()}:Emma:/home/emma:/bin/sh\n")
        self.users = Users(str(passwd))
        self.options = Options()
        self.options.trusted_users = str(root / "trusted-users")
        self.options.min_free_blocks = 0
        self.spool = Spool(str(self.main))

    def adopt(self, now: float = NOW) -> list[str]:
        return adopt(str(self.client), self.spool, self.options, self.users, now=now)

    def put(self, control: Control, qid: str = QID, body: bytes = BODY) -> None:
        control.size = len(body)
        self.write(encode(control), body, qid)

    def write(self, text: bytes, body: bytes = BODY, qid: str = QID) -> None:
        for kind, content in (("df", body), ("qf", text)):
            path = self.client / (kind + qid)
            path.touch(0o600)
            path.write_bytes(content)

    def taken(self) -> Control:
        """The only message in mqueue, without the Received field of the step itself."""
        control = self.stored()
        assert control.headers.pop(1)[1].startswith(b"Received: from ")
        return control

    def stored(self) -> Control:
        """The only message in mqueue."""
        (qid,) = self.spool.names()
        return decode((self.main / ("qf" + qid)).read_bytes())


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(hostnames, "own_name", lambda options: HOST)
    # Sender rules are about users; the test may run as root, who may call himself what he likes.
    monkeypatch.setattr(room, "_said", set())
    monkeypatch.setattr(room, "_copied", set())
    house = House(tmp_path)
    yield house
    house.spool.close()


def submitted(sender: bytes = LOGIN, *recipients: Recipient) -> Control:
    control = Control(int(NOW), sender, list(recipients) or [Recipient(b"dave@lab2.campus")])
    control.macros = {b"_": b"emma@localhost", b"{daemon_flags}": b"c u"}
    control.priority = 30017
    control.headers = [
        (b"P", b"Return-Path: <g>"),
        (b"", b"Received: (from emma@localhost)\n\tby lab1.campus id 6AM9CfOn000096"),
        (b"M", b"Message-Id: <x@lab1.campus>"),
        (b"", b"Subject: q"),
    ]
    return control


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def stays(house: House, logged: list[str], reason: str) -> None:
    """Refused: nothing in mqueue, all still there, said once."""
    before = names(house.client)
    assert house.adopt() == []
    assert house.adopt() == []
    assert names(house.main) == set()
    assert names(house.client) == before
    told = [line for line in logged if "not adopted" in line]
    assert len(told) == 1, told
    assert reason in told[0]


# --- what is taken --------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
def test_the_step_leaves_its_trace_above_all_others(house: House, several: bool) -> None:
    given = submitted()
    given.recipients = [Recipient(b"dave"), Recipient(b"carol")][: 1 + several]
    house.put(given)
    (new,) = house.adopt()
    _, trace, submitted_trace = (field for _, field in house.stored().headers[:3])
    assert trace.startswith(b"Received: from lab1.campus (emma@localhost)\n\tby lab1.campus (")
    assert b" id %b" % new.encode() in trace
    assert (b"\n\tfor dave; " in trace) is not several
    assert submitted_trace.startswith(b"Received: (from emma@localhost)")


def test_a_message_moves_with_all_that_may_be_believed(house: House) -> None:
    given = submitted()
    given.body_type, given.envid, given.flags = b"8BITMIME", b"env-1", "8bdns"
    given.recipients = [
        Recipient(b"dave", "PNSD", original=b"rfc822;d@x", final=b"RFC822; dave@lab1.campus"),
        Recipient(b"Henry E <henry@lab3.campus>"),
    ]
    house.put(given)
    (new,) = house.adopt()
    assert new != QID
    assert names(house.client) == set()
    taken = house.taken()
    assert taken.recipients == given.recipients
    assert taken.headers == given.headers
    assert (taken.body_type, taken.envid, taken.flags) == (b"8BITMIME", b"env-1", "8bdns")
    assert taken.macros == {b"_": b"emma@localhost", b"{daemon_flags}": b"c u"}
    assert taken.reverse_path == LOGIN
    assert taken.created == int(NOW)
    assert (house.main / ("df" + new)).read_bytes() == BODY
    held = house.spool.lock(new)
    assert held
    assert held.owner == os.geteuid()
    held.release()


def test_the_copy_is_a_new_file_that_the_user_does_not_hold_open(house: House) -> None:
    house.put(submitted())
    with (house.client / ("df" + QID)).open("r+b") as mine:
        (new,) = house.adopt()
        mine.write(b"evil")
        mine.flush()
    assert (house.main / ("df" + new)).read_bytes() == BODY


def test_the_priority_is_kept_but_never_below_that_of_a_plain_message(house: House) -> None:
    for qid, priority in ((QID, 30011), (OTHER, 84011)):
        given = submitted()
        given.priority = priority
        house.put(given, qid)
    qids = house.adopt()
    texts = [(house.main / ("qf" + qid)).read_bytes() for qid in qids]
    assert [decode(text).priority for text in texts] == [30011, 84011]


def test_all_messages_move_in_one_pass(house: House) -> None:
    for n in range(70):
        house.put(submitted(), f"6AM9CfOn{n:06}")
    assert len(house.adopt()) == 70
    assert names(house.client) == set()
    assert len(house.spool.names()) == 70


def test_of_one_user_only_so_many_are_taken_at_a_time_and_the_others_later(
    house: House, logged: list[str]
) -> None:
    house.options.max_messages_per_user = 3
    for number in range(8):
        house.put(submitted(), f"6AM9CfOn00009{number}")
    assert [len(house.adopt()) for _ in range(4)] == [3, 3, 2, 0]
    assert names(house.client) == set()
    [line] = [line for line in logged if "MaxMessagesPerUser" in line]
    assert f"of uid {os.geteuid()}" in line


@pytest.mark.root
def test_who_floods_the_client_queue_keeps_nobody_else_waiting(house: House) -> None:
    house.options.max_messages_per_user = 2
    for number in range(6):
        house.put(submitted(), f"6AM9CfOn00009{number}")
    house.put(submitted(b"7"), "6AM9CfOn000099")
    for kind in ("qf", "df"):
        os.chown(house.client / f"{kind}6AM9CfOn000099", 7, 7)
    assert len(house.adopt()) == 3


def test_no_directory_means_no_messages(house: House, logged: list[str]) -> None:
    house.client.rmdir()
    assert house.adopt() == []
    assert logged == []


def test_what_only_an_mta_may_say_is_dropped(house: House) -> None:
    given = submitted()
    given.flags, given.attempts, given.last_attempt = "rw8", 7, 99
    given.message, given.quarantine = "Deferred", "because"
    given.carried, given.priority, given.created = [b"! 600"], -(10**9), int(NOW) + 10**6
    given.recipients = [Recipient(b"dave", "PFDA", controlling_user=b"root:0:0:<root@h>")]
    given.macros |= {b"_": b"root@localhost", b"x": b"y", b"r": b"EVIL", b"{if_addr}": b"1.2.3.4"}
    house.put(given)
    house.adopt()
    taken = house.taken()
    assert taken.recipients == [Recipient(b"dave", "PFD")]
    assert (taken.flags, taken.attempts, taken.last_attempt) == ("8", 0, 0)
    assert (taken.message, taken.quarantine, taken.carried) == ("", "", [])
    assert taken.macros == {b"_": b"emma@localhost", b"{daemon_flags}": b"c u"}
    assert taken.priority == 30000 + len(BODY)
    assert taken.created <= NOW


def test_a_session_on_stdin_keeps_its_protocol_and_name(house: House) -> None:
    given = submitted()
    given.macros |= {b"r": b"ESMTP", b"s": b"client.campus"}
    house.put(given)
    house.adopt()
    assert house.taken().macros[b"r"] == b"ESMTP"
    assert house.taken().macros[b"s"] == b"client.campus"


def test_a_body_without_a_final_line_end_gets_one(house: House) -> None:
    house.put(submitted(), body=b"no end")
    (new,) = house.adopt()
    assert (house.main / ("df" + new)).read_bytes() == b"no end\n"
    assert house.taken().size == 7


def test_the_bodies_of_many_go_a_batch_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_BATCH", 2)
    left, take = [], _Adoption._take

    def noted(self: _Adoption, name: str, opened: list[int]) -> str:
        left.append(sorted(names(house.client)))
        return take(self, name, opened)

    monkeypatch.setattr(_Adoption, "_take", noted)
    qids = [f"6AM9CfO{letter}000096" for letter in "abc"]
    for qid in qids:
        house.put(submitted(), qid)
    house.adopt()
    assert left[2] == ["df" + qids[2], "qf" + qids[2]]


def test_of_what_is_gone_nothing_is_remembered(house: House) -> None:
    house.put(submitted())
    house.adopt()
    assert room._copied == set()


def test_a_letter_that_filters_throw_away_leaves_nothing(house: House) -> None:
    class Discards:
        def judge(self, qid: str, data: int, control: Control) -> JudgedLetter:
            judged = JudgedLetter()
            judged.is_discarded = True
            return judged

        def give_back(self, qid: str) -> None:
            raise AssertionError("nobody is refused")

    house.put(submitted())
    adopt(str(house.client), house.spool, house.options, house.users, now=NOW, judge=Discards())
    assert names(house.client) == names(house.main) == set()


# --- the sender -----------------------------------------------------------------------------------


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch, house: House) -> House:
    """The owner of the files is no root: give him a number of his own in all that is asked."""
    if os.geteuid() == 0:
        real = os.fstat

        def fstat(file: int) -> os.stat_result:
            found = real(file)
            fields = list(found)
            regular = found.st_mode & 0o170000 == 0o100000
            path = os.readlink(f"/proc/self/fd/{file}")
            if regular and "/clientmqueue/" in path:
                fields[4] = 1001
            return os.stat_result(fields, {"st_ctime": found.st_ctime, "st_ctime_ns": 0})

        monkeypatch.setattr(os, "fstat", fstat)
        passwd = Path(house.client.parent / "passwd2")
        passwd.write_text("emma:x:1001:1001:Emma:/home/emma:/bin/sh\n")
        house.users = Users(str(passwd))
    return house


@pytest.mark.parametrize("sender", [b"emma", b"<emma@lab1.campus>", b"emma@LAB1.campus"])
def test_the_owner_himself_needs_no_warning(as_user: House, sender: bytes) -> None:
    given = submitted(sender)
    given.auth = b"emma@lab1.campus"
    as_user.put(given)
    as_user.adopt()
    assert as_user.taken().headers == given.headers
    assert as_user.taken().auth == b"emma@lab1.campus"


def test_a_login_that_is_no_atom_is_its_owner_in_quotes(as_user: House) -> None:
    passwd = as_user.client.parent / "passwd3"
    uid = os.geteuid() or 1001
    passwd.write_text(f"EX\\jo hn:x:{uid}:{uid}:John:/home/emma:/bin/sh\n")
    as_user.users = Users(str(passwd))
    given = submitted(b'<"EX\\\\jo hn"@lab1.campus>')
    as_user.put(given)
    as_user.adopt()
    assert as_user.taken().headers == given.headers


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        (b"root", b"root"),
        (b"<root@lab1.campus>", b"root@lab1.campus"),
        (b"<>", b"<>"),
        (b"emma@lab2.campus", b"emma@lab2.campus"),
        (b"EMMA", b"EMMA"),
    ],
)
def test_another_sender_is_kept_with_a_warning_though_the_file_has_none(
    as_user: House, sender: bytes, shown: bytes
) -> None:
    given = submitted(sender)
    given.auth = b"root@lab1.campus"
    as_user.put(given)
    as_user.adopt()
    taken = as_user.taken()
    assert taken.reverse_path == sender
    assert taken.headers[3] == (b"", WARNING % shown)
    assert taken.headers[:3] + taken.headers[4:] == given.headers
    assert taken.auth == b""


def test_a_warning_that_is_there_is_not_added_again(as_user: House) -> None:
    given = submitted(b"root")
    given.headers.insert(3, (b"", WARNING % b"root"))
    as_user.put(given)
    as_user.adopt()
    assert as_user.taken().headers == given.headers


def test_a_warning_about_somebody_else_does_not_count(as_user: House) -> None:
    given = submitted(b"root")
    given.headers.append(
        (b"", b"X-Authentication-Warning: lab1.campus: dave set sender to root using -f")
    )
    as_user.put(given)
    as_user.adopt()
    assert (b"", WARNING % b"root") in as_user.taken().headers


def test_a_trusted_user_may_give_any_sender(as_user: House) -> None:
    Path(as_user.options.trusted_users).write_text("# class t\nlist\nemma # lists\n")
    given = submitted(b"list-owner@lab1.campus")
    as_user.put(given)
    as_user.adopt()
    assert as_user.taken().headers == given.headers


# --- what stays -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", [b"|/bin/sh", b'"|/bin/sh"', b"/etc/passwd", b":include:/etc/shadow", b"<|x>"]
)
def test_recipients_may_not_be_programs_or_files(
    house: House, logged: list[str], address: bytes
) -> None:
    house.put(submitted(LOGIN, Recipient(b"dave"), Recipient(address)))
    stays(house, logged, "Cannot mail directly to programs or files")


@pytest.mark.parametrize("address", [b"caf\xe9@lab2.campus", b"a\tb@lab2.campus", b"a" * 3000])
def test_recipients_must_be_addresses(house: House, logged: list[str], address: bytes) -> None:
    house.put(submitted(LOGIN, Recipient(b"dave"), Recipient(address)))
    stays(house, logged, "recipient is no address")


def test_a_message_without_recipients_stays(house: House, logged: list[str]) -> None:
    given = submitted()
    given.recipients = []
    house.put(given)
    stays(house, logged, "no recipients")


@pytest.mark.parametrize("where", ["qf", "df"])
@pytest.mark.parametrize("octet", [b"\0", b"\r"])
def test_nul_and_cr_are_refused(house: House, logged: list[str], where: str, octet: bytes) -> None:
    text = encode(submitted())
    if where == "qf":
        text = text.replace(b"Subject: q", b"Subject: q" + octet)
    house.write(text, BODY + octet if where == "df" else BODY)
    stays(house, logged, "bare carriage return or NUL")


def test_limits_hold(house: House, logged: list[str]) -> None:
    house.options.max_message_size = 5
    house.put(submitted())
    stays(house, logged, "df of 11 octets, 5 max")


def test_too_many_recipients_stay(house: House, logged: list[str]) -> None:
    house.options.max_recipients = 2
    house.put(submitted(LOGIN, *[Recipient(b"dave")] * 3))
    stays(house, logged, "3 recipients, 2 max")


def test_too_long_a_control_file_stays(house: House, logged: list[str]) -> None:
    house.write(encode(submitted()) + b"H" * (8 << 20))
    stays(house, logged, "qf of")


def test_the_longest_control_file_that_is_submitted_is_taken(
    house: House, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = encode(submitted())
    house.write(text)
    monkeypatch.setattr(room, "MAX_CONTROL", len(text) - 1)
    stays(house, logged, f"qf of {len(text)} octets, {len(text) - 1} max")
    monkeypatch.setattr(room, "MAX_CONTROL", len(text))
    assert len(house.adopt()) == 1


def test_too_long_a_header_stays(house: House, logged: list[str]) -> None:
    given = submitted()
    given.headers.append((b"", b"X: " + b"y" * 330_000))
    house.put(given)
    stays(house, logged, "Headers too large")


def test_too_long_a_mime_field_stays(house: House, logged: list[str]) -> None:
    house.options.max_mime_header_length = (20, 0)
    given = submitted()
    given.headers.append((b"", b"Content-Description: " + b"y" * 21))
    house.put(given)
    stays(house, logged, "Too long: Content-Description field (21 octets, 20 max)")


def test_a_damaged_control_file_stays(house: House, logged: list[str]) -> None:
    house.write(b"V8\nYfoo\n.\n")
    stays(house, logged, 'line 2: bad line "Yfoo"')


def test_a_torn_data_file_stays(house: House, logged: list[str]) -> None:
    house.put(submitted())
    (house.client / ("df" + QID)).write_bytes(b"bod")
    stays(house, logged, "3 octets, 11 recorded")


def test_a_missing_data_file_stays(house: House, logged: list[str]) -> None:
    house.put(submitted())
    (house.client / ("df" + QID)).unlink()
    stays(house, logged, "no data file")


@pytest.mark.parametrize("kind", ["qf", "df"])
@pytest.mark.parametrize("what", ["link", "hard link", "fifo", "directory", "writable", "foreign"])
def test_only_a_users_own_plain_files_are_read(
    house: House, logged: list[str], kind: str, what: str
) -> None:
    house.put(submitted())
    path = house.client / (kind + QID)
    secret = house.client.parent / "secret"
    secret.write_bytes(path.read_bytes())
    if what not in ("writable", "foreign"):
        path.unlink()
    if what == "link":
        path.symlink_to(secret)
    elif what == "hard link":
        os.link(secret, path)
    elif what == "fifo":
        os.mkfifo(path, 0o600)
    elif what == "directory":
        path.mkdir()
    elif what == "writable":
        path.chmod(0o620)
    elif os.geteuid():
        pytest.skip("needs root")
    else:
        os.chown(path, 1001, 1001)
    stays(house, logged, "not adopted")


NUMBER = b"%d" % os.geteuid()


def test_the_log_follows_it_from_the_client_queue_into_the_other(
    house: House, logged: list[str]
) -> None:
    house.put(submitted())
    (new,) = house.adopt()
    begin, end = logged
    assert begin.startswith(f"{new}: from=emma, size=")
    assert begin.endswith(
        ", class=0, nrcpts=1, msgid=<x@lab1.campus>, proto=ESMTP, relay=emma@localhost"
    )
    ids = f"({os.geteuid()}/{os.getegid()})"
    assert end == (
        f"{QID}: to=dave@lab2.campus, ctladdr=emma {ids}, delay=00:00:00, xdelay=00:00:00,"
        " mailer=relay, pri=30017, relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0,"
        f" stat=Sent ({new} Message accepted for delivery)"
    )


@pytest.mark.parametrize("sender", [NUMBER, b"<%b@lab1.campus>" % NUMBER])
def test_a_number_without_a_name_may_send_and_bounces_go_to_postmaster(
    house: House, sender: bytes
) -> None:
    (house.client.parent / "passwd").write_text("other:x:9:9::/:\n")
    house.put(submitted(sender))
    assert len(house.adopt()) == 1
    assert house.taken().reverse_path == b"<postmaster@lab1.campus>"


def test_a_number_without_a_name_may_state_its_sender(house: House) -> None:
    (house.client.parent / "passwd").write_text("other:x:9:9::/:\n")
    house.put(submitted(b"<app@lab9.campus>"))
    assert len(house.adopt()) == 1
    assert house.taken().reverse_path == b"<app@lab9.campus>"


def test_a_user_whom_passwd_file_does_not_list_has_the_systems_name(house: House) -> None:
    (house.client.parent / "passwd").write_text("other:x:9:9::/:\n")
    house.options.passwd_file = str(house.client.parent / "passwd")
    house.put(submitted())
    house.adopt()
    assert (
        house.taken().macros[b"_"]
        == os.fsencode(pwd.getpwuid(os.geteuid()).pw_name) + b"@localhost"
    )


def test_an_owner_who_cannot_be_looked_up_now_is_waited_for_and_the_log_says_why(
    house: House, logged: list[str]
) -> None:
    passwd = house.client.parent / "passwd"
    passwd.unlink()
    house.put(submitted())
    assert house.adopt(NOW + 6 * 86400) == []
    assert house.adopt(NOW + 6 * 86400) == []
    assert names(house.client) == {"qf" + QID, "df" + QID}
    reason = f"{passwd}: No such file or directory"
    assert logged == [f"{QID}: not adopted: {reason}"]
    found = room.why_not(str(house.client), [QID], house.options, house.users, now=NOW)
    assert found == {QID: reason}


def test_a_message_that_its_owner_takes_away_meanwhile_is_nothing_to_log(
    house: House, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put(submitted())
    monkeypatch.setattr(Spool, "names", lambda spool: [QID, OTHER])
    assert len(house.adopt()) == 1
    assert [line for line in logged if OTHER in line] == []


def test_a_login_beyond_ascii_leaves_no_such_octet_in_the_trace(house: House) -> None:
    line = f"müller:x:{os.geteuid()}:{os.getegid()}::/:/bin/sh\n"
    (house.client.parent / "passwd").write_text(line, encoding="utf-8")
    house.put(submitted(b"<me@lab1.campus>"))
    assert len(house.adopt()) == 1
    assert encode(house.stored()).isascii()


@pytest.mark.parametrize("lock", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_a_message_that_its_owner_holds_is_left_for_later(
    house: House, logged: list[str], lock: int
) -> None:
    house.put(submitted())
    with (house.client / ("qf" + QID)).open("rb") as mine:
        fcntl.flock(mine, lock)
        assert house.adopt() == []
    assert logged == []
    assert len(house.adopt()) == 1


def test_a_name_that_leads_elsewhere_by_now_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put(submitted())
    real = fcntl.flock

    def swapped(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        text = (house.client / ("qf" + QID)).read_bytes()
        (house.client / "new").touch(0o600)
        (house.client / "new").write_bytes(text)
        os.rename(house.client / "new", house.client / ("qf" + QID))
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", swapped)
    assert house.adopt() == []
    assert names(house.main) == set()


def test_a_body_that_grows_while_it_is_copied_is_refused(
    house: House, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put(submitted())
    real = sanitize.sanitized

    def grown(*args: object) -> Control:
        with (house.client / ("df" + QID)).open("ab") as mine:
            mine.write(b"more\n")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "sanitized", grown)
    assert house.adopt() == []
    assert "changed while it was read" in logged[0]
    assert names(house.main) == set()


def test_one_bad_message_does_not_keep_the_others(house: House) -> None:
    house.write(b"bad\n", qid="6AM9CfOm000096")
    house.put(submitted(), QID)
    assert len(house.adopt()) == 1
    assert names(house.client) == {"qf6AM9CfOm000096", "df6AM9CfOm000096"}


@pytest.mark.parametrize("name", ["qf../../x", "qfshort", "qf" + "a" * 40, "Qf" + QID, "tf" + QID])
def test_what_is_no_queue_file_is_not_looked_at(house: House, logged: list[str], name: str) -> None:
    (house.client / name.replace("/", "_")).write_bytes(b"x")
    assert house.adopt() == []
    assert logged == []


def test_after_five_days_what_cannot_be_taken_is_put_aside_and_postmaster_told(
    house: House, logged: list[str]
) -> None:
    house.write(b"bad\n")
    os.utime(house.client / ("qf" + QID), (0, 0))  # its owner's word does not count
    house.adopt(NOW + 4.9 * 86400)
    assert house.spool.lost == []
    house.adopt(NOW + 5.1 * 86400)
    assert house.spool.lost == [(QID, "cannot be adopted")]
    ((login, qid, reason),) = house.spool.refused
    assert (login, qid) == ("emma", QID)
    assert reason == "incomplete queue file read"
    assert names(house.client) == {"Qf" + QID, "df" + QID}
    assert house.adopt(NOW + 6 * 86400) == []
    assert len(house.spool.lost) == 1


def test_an_owner_whom_a_passwd_file_does_not_list_is_told_too(
    house: House, logged: list[str]
) -> None:
    (house.main.parent / "passwd").write_text("dave:x:4242:4242:Dave:/home/dave:/bin/sh\n")
    house.write(b"bad\n")
    house.adopt(NOW + 5.1 * 86400)
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert [login for login, _, _ in house.spool.refused] == [me]


def test_why_a_message_is_not_adopted_can_be_asked_without_taking_it(house: House) -> None:
    house.put(submitted())
    house.write(b"bad\n", qid=OTHER)
    before = names(house.client)
    found = room.why_not(str(house.client), [QID, OTHER], house.options, house.users, now=NOW)
    assert found.keys() == {OTHER}
    assert found[OTHER] == "incomplete queue file read"
    assert names(house.client) == before
    assert house.spool.names() == []


def test_orphans_of_users_are_swept(house: House) -> None:
    (house.client / ("df" + OTHER)).write_bytes(b"x")
    house.adopt(NOW + 3000)
    assert names(house.client) == {"df" + OTHER}
    house.adopt(NOW + 7200)
    assert names(house.client) == set()


@pytest.mark.parametrize("kind", ["df", "qf", "tf", "Qf"])
@pytest.mark.parametrize("what", ["directory", "fifo", "socket", "link"])
def test_nothing_that_a_user_arranges_keeps_the_others_from_being_adopted(
    house: House, kind: str, what: str
) -> None:
    path = house.client / (kind + OTHER)
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "socket":
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    else:
        path.symlink_to("/etc/shadow")
    if kind != "Qf":
        (house.client / ("Qf" + OTHER)).mkdir()
    for later in (0, 3700, 6 * 86400):
        house.put(submitted())
        assert len(house.adopt(NOW + later)) == 1


# --- the directory --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "is_good"),
    [
        *((0o1733, True), (0o3733, True), (0o1777, True), (0o3777, True), (0o1770, True)),
        *((0o700, True), (0o755, True), (0o2755, True)),
        *((0o733, False), (0o2733, False), (0o777, False), (0o2770, False), (0o722, False)),
    ],
)
def test_a_directory_where_others_could_remove_mail_is_put_right(
    house: House, logged: list[str], mode: int, is_good: bool
) -> None:
    house.put(submitted())
    house.client.chmod(mode)
    assert len(house.adopt()) == 1
    house.adopt()
    assert stat.S_IMODE(house.client.stat().st_mode) == (mode if is_good else mode | stat.S_ISVTX)
    complaints = [line for line in logged if "let everybody remove" in line]
    assert len(complaints) == (not is_good)


def test_a_directory_that_cannot_be_put_right_is_not_read(
    house: House, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put(submitted())
    house.client.chmod(0o733)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fchmod", refuse)
    assert house.adopt() == []
    assert "nothing is adopted" in logged[-1]


def test_a_link_to_a_directory_is_refused(house: House, logged: list[str]) -> None:
    house.put(submitted())
    real = house.client.rename(house.client.parent / "real")
    house.client.symlink_to(real)
    assert house.adopt() == []
    assert "nothing is adopted" in logged[0]


@pytest.mark.root
def test_a_directory_of_a_users_is_refused(house: House, logged: list[str]) -> None:
    house.put(submitted())
    os.chown(house.client, 1001, 1001)
    assert house.adopt() == []
    assert "uid=1001" in logged[0]


@pytest.mark.root
def test_a_user_without_rights_leaves_a_message_and_root_takes_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: he may neither list nor fsync the directory, and the message is his."""
    let_others_in(house.client.parent)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(1001, 1001, 1001)
            os.setresuid(1001, 1001, 1001)
            spool = Spool(str(house.client))
            data = spool.create(QID)
            os.write(data, BODY)
            spool.accept(QID, data, submitted(b"root"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert (house.client / ("qf" + QID)).stat().st_uid == 1001
    (house.client.parent / "passwd3").write_text("emma:x:1001:1001:Emma:/home/emma:/bin/sh\n")
    house.users = Users(str(house.client.parent / "passwd3"))
    (new,) = house.adopt()
    assert (house.main / ("qf" + new)).stat().st_uid == 0
    assert (house.main / ("df" + new)).stat().st_uid == 0
    assert (b"", WARNING % b"root") in house.taken().headers
    assert names(house.client) == set()


# --- crashes and broken disks ---------------------------------------------------------------------


def copies(directory: Path, house: House) -> dict[bytes, int]:
    """Adopt what is left after a power cut; then each subject in mqueue, and how often."""
    (directory / "clientmqueue").chmod(0o1733)
    spool = Spool(str(directory / "mqueue"))
    try:
        adopt(str(directory / "clientmqueue"), spool, house.options, house.users, now=NOW)
        found: dict[bytes, int] = {}
        for qid in spool.names():
            held = spool.lock(qid)
            if held:
                with held:
                    assert os.pread(held.data, 100, 0) == BODY, "torn"
                    subject = held.control.headers[-1][1]
                    found[subject] = found.get(subject, 0) + 1
        return found
    finally:
        spool.close()


def verdict(
    disk: Disk, house: House, after: Path, good: set[object], without: tuple[int, ...] = ()
) -> str:
    """What is wrong: a message lost, torn, or there more often than a crash allows; empty if well."""
    for cut in disk.cuts():
        for state in disk.survivors(after=cut, without=without):
            key = (state.key, tuple(disk.marks(cut)))
            if key in good:
                continue
            with playground(after) as fresh:
                state.write(fresh)
                room._copied.clear()
                try:
                    found = copies(fresh, house)
                except AssertionError as error:
                    return f"{state.label}: {error}"
            most = 1 if disk.marks(cut) else 2
            for subject in (b"Subject: one", b"Subject: two"):
                if not 1 <= found.get(subject, 0) <= most:
                    return f"{state.label}: {found.get(subject, 0)} copies of {subject!r}"
            good.add(key)
    return ""


def test_a_power_cut_at_any_call_loses_nothing_and_doubles_only_what_is_in_flight(
    house: House, tmp_path: Path, logged: list[str]
) -> None:
    for qid, subject in ((QID, b"Subject: one"), (OTHER, b"Subject: two")):
        given = submitted()
        given.headers[-1] = (b"", subject)
        house.put(given, qid)
    (tmp_path / "after").mkdir()
    disk_root = tmp_path / "disk"
    disk_root.mkdir()
    for directory in (house.client, house.main):
        directory.rename(disk_root / directory.name)
    house.client, house.main = disk_root / "clientmqueue", disk_root / "mqueue"
    with Disk(disk_root) as disk:
        assert len(house.adopt()) == 2
        disk.mark("done")
    good: set[object] = set()
    assert verdict(disk, house, tmp_path / "after", good) == ""
    assert len(disk.syncs()) == 2 * 3 + 1
    for k in disk.syncs():
        assert verdict(disk, house, tmp_path / "after", good, (k,)), f"fsync {k} is not needed?"


def test_an_original_that_cannot_be_removed_is_copied_once(
    house: House, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put(submitted())
    real = os.unlink

    def unlink(name: str, **options: int) -> None:
        if name == "qf" + QID:
            raise OSError(30, "Read-only file system")
        real(name, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    for _ in range(5):
        try:
            house.adopt()
        except OSError as error:
            assert error.errno == 30
    assert len(house.spool.names()) == 1
    monkeypatch.setattr(os, "unlink", real)
    assert house.adopt() == []
    assert names(house.client) == set()
    assert len(house.spool.names()) == 1


def test_where_nothing_can_be_removed_nothing_is_copied(
    house: House, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that is read-only by now; each run of the queue is a process of its own."""
    house.put(submitted())
    asked = os.access

    def access(path: str, mode: int, *, dir_fd: int, effective_ids: bool) -> bool:
        assert (path, mode, effective_ids) == (".", os.W_OK | os.X_OK, True)
        assert os.path.samestat(os.fstat(dir_fd), os.stat(house.client))
        return False

    monkeypatch.setattr(os, "access", access)
    for _ in range(3):
        room._copied.clear()
        assert house.adopt() == []
    assert house.spool.names() == []
    assert logged == [f": not adopted: {house.client}: what was taken could not be removed"]
    monkeypatch.setattr(os, "access", asked)
    assert len(house.adopt()) == 1


def test_whatever_fails_the_message_is_in_one_of_the_queues(
    house: House, logged: list[str]
) -> None:
    for at in range(200):
        for directory in (house.client, house.main):
            for path in directory.iterdir():
                path.unlink()
        room._copied.clear()
        house.put(submitted())
        with Faults(5, at) as faults:
            try:
                house.adopt()
            except OSError:
                assert faults.failed
        house.adopt()
        adopted = house.spool.names()
        assert len(adopted) == 1, f"{faults.failed} failed"
        held = house.spool.lock(adopted[0])
        assert held
        assert os.pread(held.data, 100, 0) == BODY
        held.release()
        if not faults.failed:
            assert at > 20
            return
    pytest.fail("there is no end")


def test_too_little_space_leaves_messages_where_they_are(house: House, logged: list[str]) -> None:
    house.put(submitted())
    house.options.min_free_blocks = 1 << 60
    assert house.adopt() == []
    assert "MinFreeBlocks" in logged[0]
    assert names(house.client) == {"qf" + QID, "df" + QID}
