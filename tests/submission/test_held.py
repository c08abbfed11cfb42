"""A broken minimta.cf: what becomes of the letters that come meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.config import file as config_file
from minimta.config.options import TABLE
from minimta.queue import permission
from minimta.queue.adopt import adopt
from minimta.queue.control import Control, encode
from minimta.queue.sanitize import UNKNOWN_HOST
from minimta.queue.spool import Spool
from minimta.submission.held import QUEUEING
from minimta.system import safefile
from minimta.system.users import Users
from tests.support.commandhost import MESSAGE, Host


@pytest.fixture
def host(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    monkeypatch.delenv("NAME", raising=False)
    monkeypatch.setattr(config_file, "DEFAULT_FILE", str(tmp_path / "cf"))
    # Also when PasswdFile cannot be known.
    monkeypatch.setattr(
        Users, "by_uid", lambda users, uid: Users(str(tmp_path / "passwd")).find(b"emma")
    )
    yield Host(tmp_path, capfd)


def add(host: Host, *lines: str) -> None:
    with (host.root / "cf").open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write("".join(f"{line}\n" for line in lines))


HARMLESS = (
    "NoSuchThing = 1",
    "garbage",
    "SmartHots = relay.lab3.campus",
    "SmartHost = https://relay.lab3.campus",
    "AliasFile = hesiod:x",
    "LogLevel = loud",
    "MaxQueueChildren = 0",
    "DeliveryMode = never",
    "Timeout.queuereturn = soon",
    "LocalMailer = pigeon \udcff",
)
HARMFUL = (
    "ClientQueueDirectry = /x",
    "QueueDirectory /x",
    "O QueueDirectory=/x",
    "Spool = /x",
    "MaxMessageSize = big",
    "MaxMesageSize = 1k",
    "MaxHeadersLength = 1,000",
    "MaxRecipientsPerMessage = -1",
    "MaxHopCount = 0",
    "MinFreeBlocks = some",
    "IgnoreDots = perhaps",
    "NoRecipientAction = shrug",
    "PaswdFile = /x",
)


@pytest.mark.parametrize("line", HARMLESS)
def test_a_wrong_line_that_does_not_concern_it_lets_a_letter_wait(host: Host, line: str) -> None:
    add(host, line)
    ran = host.run("nosuch@lab1.campus", "dave@lab2.campus")
    number = (host.root / "cf").read_bytes().count(b"\n")
    assert (ran.code, ran.out, ran.err.count("\n")) == (0, "", 1)
    assert ran.err.startswith(f"sendmail: {host.root}/cf: line {number}: ")
    assert ran.err.endswith(f"the letter waits in {host.root}/clientmqueue\n")
    control, body = host.only("clientmqueue")
    assert [r.address for r in control.recipients] == [
        b"<nosuch@lab1.campus>",
        b"<dave@lab2.campus>",
    ]
    assert (control.reverse_path, body) == (b"<emma@lab1.campus>", b"hello\n")
    assert (host.queued(), host.dead_letter()) == ([], b"")


def test_what_only_the_daemon_reads_holds_no_letter(host: Host) -> None:
    add(host, "DaemonPortOptions = Port=0x19")
    assert host.run("dave@lab2.campus").code == 0
    assert (len(host.queued()), host.queued("clientmqueue")) == (1, [])
    checked = host.run("-bC")
    assert (checked.code, "not a number: '0x19'" in checked.out) == (78, True)


@pytest.mark.parametrize("line", HARMFUL)
def test_a_wrong_line_about_queue_limits_or_the_letter_itself_does_not(
    host: Host, line: str
) -> None:
    add(host, line)
    ran = host.run("dave@lab2.campus")
    assert (ran.code, host.queued(), host.queued("clientmqueue")) == (78, [], [])
    assert f"{host.root}/cf: line " in ran.out
    assert f"Saved message in {host.root}/home/dead.letter" in ran.out
    assert b"\n\nhello\n" in host.dead_letter()


def test_what_the_caller_says_of_an_option_is_not_in_doubt(host: Host) -> None:
    add(host, "IgnoreDots = perhaps")
    assert host.run("-i", "dave@lab2.campus", stdin=b"\n.\nx\n").code == 0
    assert host.only("clientmqueue")[1] == b".\nx\n"


def test_t_takes_the_recipients_of_the_header_then_as_well(host: Host) -> None:
    add(host, "NoSuchThing = 1")
    assert host.run("-t", stdin=b"To: carol@lab2.campus\nBcc: emma\n\nx\n").code == 0
    recipients = [r.address for r in host.only("clientmqueue")[0].recipients]
    assert recipients == [b"<carol@lab2.campus>", b"<emma@lab1.campus>"]


@pytest.mark.parametrize(("others", "waiting"), [([], 0), (["dave"], 1)])
def test_for_whom_is_no_address_the_letter_is_in_dead_letter_then_as_well(
    host: Host, others: list[str], waiting: int
) -> None:
    add(host, "NoSuchThing = 1")
    ran = host.run("a>b", *others)
    assert (ran.code, ran.out.split("\n")[0]) == (64, "a>b... Illegal address")
    assert len(host.queued("clientmqueue")) == waiting
    assert b"\n\nhello\n" in host.dead_letter()


@pytest.mark.parametrize(("line", "code"), [("PaswdFile = /x", 78), ("NoSuchThing = 1", 64)])
def test_who_calls_is_no_number_while_it_is_in_doubt_where_users_are(
    host: Host, monkeypatch: pytest.MonkeyPatch, line: str, code: int
) -> None:
    monkeypatch.setattr(Users, "by_uid", lambda users, uid: None)
    add(host, line)
    ran = host.run("dave@lab2.campus")
    assert ran.code == code
    assert ("is no address" in ran.out) == (code == 64)
    assert host.queued("clientmqueue") == []


def test_all_wrong_lines_count_and_one_sentence_tells_how_many(host: Host) -> None:
    add(host, "NoSuchThing = 1", "LogLevel = loud", "garbage")
    assert "unknown option name NoSuchThing (and 2 more: sendmail -bC)" in host.run("dave").err
    add(host, "MaxHopCount = 0")
    assert host.run("dave").code == 78


def mend_and_adopt(host: Host, **options_set: str) -> Control:
    """What the runner makes of the one letter when the file is mended."""
    host.configure(**options_set)
    options = config_file.load(None, [], safefile.why_untrusted)
    spool = Spool(options.queue_directory)
    users = Users(options.passwd_file)
    [qid] = adopt(options.client_queue_directory, spool, options, users, now=time.time())
    spool.close()
    assert host.queued("clientmqueue") == []
    assert (host.root / "mqueue" / f"qf{qid}").exists()
    return host.only()[0]


def test_the_runner_takes_the_letter_when_the_file_is_mended(host: Host) -> None:
    add(host, "NoSuchThing = 1")
    assert host.run("dave@lab2.campus").code == 0
    assert mend_and_adopt(host).recipients[0].address == b"<dave@lab2.campus>"


@pytest.mark.parametrize("line", ["HostName = me@lab1.campus", "HostNam = lab1.campus"])
@pytest.mark.parametrize(
    ("arguments", "sender"),
    [
        ([], b"<emma@lab1.campus>"),
        (["-f", "emma@lab1.campus"], b"<emma@lab1.campus>"),
        (["-f", ""], b"<>"),
    ],
)
def test_our_name_is_not_guessed_the_runner_knows_it(
    host: Host, line: str, arguments: list[str], sender: bytes
) -> None:
    add(host, line)
    text = b"To: dave\nCc: x@lab2.campus\n\nhello\n"
    assert host.run(*arguments, "dave", "x@lab2.campus", stdin=text).code == 0
    [first, last] = host.only("clientmqueue")[0].recipients
    assert (first.address, last.address) == (b"<dave@%b>" % UNKNOWN_HOST, b"<x@lab2.campus>")
    control = mend_and_adopt(host)
    assert control.reverse_path == sender
    assert [r.address for r in control.recipients] == [b"<dave@lab1.campus>", b"<x@lab2.campus>"]
    assert UNKNOWN_HOST not in encode(control)
    fields = dict(field.split(b": ", 1) for _, field in control.headers)
    assert fields[b"To"] == b"dave@lab1.campus"
    assert fields[b"Message-Id"].endswith(b"@lab1.campus>")
    assert (b"X-Authentication-Warning" in fields) == (sender == b"<>" and os.getuid() != 0)
    if sender == b"<>":
        assert b"From" not in fields
    else:
        assert fields[b"From"].strip(b"<>").endswith(b"emma@lab1.campus")


@pytest.mark.parametrize("line", ["AlwaysBcc = archive, x", "AlwaysBc = archive"])
@pytest.mark.parametrize(
    ("mended", "recipients"),
    [
        ({"AlwaysBcc": "archive"}, [b"<dave@lab2.campus>", b"archive"]),
        ({"AlwaysBcc": "dave@lab2.campus"}, [b"<dave@lab2.campus>"]),
        ({}, [b"<dave@lab2.campus>"]),
    ],
)
def test_a_copy_for_whom_nobody_knows_yet_is_added_when_the_file_is_mended(
    host: Host, line: str, mended: dict[str, str], recipients: list[bytes]
) -> None:
    add(host, line)
    assert host.run("dave@lab2.campus").code == 0
    control = mend_and_adopt(host, **mended)
    assert [r.address for r in control.recipients] == recipients
    assert [r.flags for r in control.recipients[1:]] == ["PN"] * (len(recipients) - 1)
    assert UNKNOWN_HOST not in encode(control)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-C", "{root}/cf", "dave"], 78),
        (["-O", "NoSuchThing=1", "dave"], 70),
        (["-Am", "dave"], 78),
        (["-q"], 78),
        (["-qf"], 78),
        (["-q15m"], 78),
        (["-bp"], 78),
        (["-bi"], 78),
        (["-bv", "dave"], 78),
        (["-bd"], 78),
        (["-bC"], 78),
    ],
)
def test_whatever_is_no_letter_is_refused_and_the_letters_stay(
    host: Host, arguments: list[str], code: int
) -> None:
    add(host, "NoSuchThing = 1")
    assert host.run("dave@lab2.campus").code == 0
    ran = host.run(*(argument.format(root=host.root) for argument in arguments))
    assert (ran.code, "NoSuchThing" in ran.out + ran.err, ran.out.count("\n")) == (code, True, 1)
    assert len(host.queued("clientmqueue")) == 1


def test_a_program_that_speaks_smtp_is_told_to_come_again(host: Host) -> None:
    add(host, "NoSuchThing = 1")
    ran = host.run("-bs")
    assert (ran.code, ran.out[:10], ran.out[-2:]) == (78, "421 4.3.5 ", "\r\n")
    assert "unknown option name NoSuchThing" in ran.err


def test_a_stranger_may_say_no_more_than_otherwise(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(host, "NoSuchThing = 1")
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    monkeypatch.setattr(permission, "owns_queue", lambda options: False)
    ran = host.run("-O", "ClientQueueDirectory=/tmp", "dave@lab2.campus")
    assert (ran.code, host.queued("clientmqueue")) == (77, [])
    assert host.run("dave@lab2.campus").code == 0


def test_a_full_client_queue_keeps_the_letter_elsewhere(host: Host) -> None:
    host.configure(MinFreeBlocks=str(1 << 60))
    add(host, "NoSuchThing = 1")
    ran = host.run("dave@lab2.campus")
    assert (ran.code, host.queued("clientmqueue")) == (75, [])
    assert b"\n\nhello\n" in host.dead_letter()


@pytest.mark.parametrize("mode", [0o666, 0o646])
def test_a_file_that_all_may_write_says_nothing_of_a_queue(host: Host, mode: int) -> None:
    (host.root / "cf").chmod(mode)
    ran = host.run("dave@lab2.campus")
    assert (ran.code, host.queued("clientmqueue")) == (78, [])
    assert b"\n\nhello\n" in host.dead_letter()


def test_a_file_that_only_root_may_read_is_told_and_nobody_is_told_72(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def deny(path: str, *more: int, **named: int) -> int:
        if path == config_file.DEFAULT_FILE:
            raise PermissionError(13, "Permission denied")
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", deny)
    ran = host.run("dave@lab2.campus")
    assert (ran.code, host.queued(), host.queued("clientmqueue")) == (75, [], [])
    assert f"all users must be able to read it (chmod a+r {host.root}/cf)" in ran.out
    assert b"\n\nhello\n" in host.dead_letter()


def test_every_option_that_a_letter_depends_on_is_one() -> None:
    assert QUEUEING.issubset(option.name for option in TABLE)


def test_the_message_is_whole(host: Host) -> None:
    add(host, "NoSuchThing = 1")
    big = MESSAGE + b"line of text\n" * 20_000
    assert host.run("dave@lab2.campus", stdin=big).code == 0
    assert host.only("clientmqueue")[1] == big.partition(b"\n\n")[2]
