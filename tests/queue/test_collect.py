"""From text and envelope to df and qf: the control file to the line, limits, bounded memory."""

from __future__ import annotations

import errno
import os
from binascii import crc32
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.message import dates
from minimta.message.envelope import Envelope, Recipient
from minimta.message.received import PRODUCT
from minimta.queue import own_letters, permission
from minimta.queue import qid as queue_id
from minimta.queue.collect import Incoming, MessageRefused
from minimta.queue.control import decode
from minimta.queue.spool import Spool

NOW = 1795340561.0
DATE = dates.rfc5322(NOW)
QID = "6AM9gfFH004798"
RETURN_PATH = b"H?P?Return-Path: <\x81g>\n"


@pytest.fixture
def options(tmp_path: Path) -> Options:
    chosen = Options()
    chosen.host_name = "lab1.campus"
    chosen.queue_directory = str(tmp_path / "mqueue")
    chosen.client_queue_directory = str(tmp_path / "clientmqueue")
    os.mkdir(chosen.queue_directory, 0o700)
    os.mkdir(chosen.client_queue_directory, 0o700)
    return chosen


@pytest.fixture
def spool(options: Options) -> Spool:
    return Spool(options.queue_directory)


def over_smtp(*recipients: bytes) -> Envelope:
    to = [Recipient(r) for r in recipients or (b"<emma@lab1.campus>",)]
    envelope = Envelope(b"<dave@lab2.campus>", to)
    envelope.client, envelope.protocol = b"lab2.campus [10.0.3.135]", b"ESMTP"
    envelope.helo, envelope.if_address = b"lab2.campus", b"10.0.3.134"
    return envelope


def submitted(*recipients: bytes) -> Envelope:
    envelope = Envelope(b"root", [Recipient(r) for r in recipients or (b"emma",)])
    envelope.client, envelope.daemon_flags = b"root@localhost", b"c u"
    envelope.full_name, envelope.auth = b"root", b"root@lab1.campus"
    return envelope


class Queued:
    """A committed message."""

    def __init__(
        self,
        spool: Spool,
        options: Options,
        envelope: Envelope,
        text: bytes,
        *,
        trace_recipient: bytes | None = None,
        **more: object,
    ):
        incoming = Incoming(spool, options, envelope, qid=QID, now=NOW, host="lab1.campus", **more)  # type: ignore[arg-type]
        incoming.first.trace_recipient = trace_recipient
        incoming.write(text)
        self.qid = incoming.commit()
        directory = Path(spool.directory)
        self.body = (directory / f"df{self.qid}").read_bytes()
        lines = (directory / f"qf{self.qid}").read_bytes().split(b"\n")
        #: without what is ours alone
        self.control = b"\n".join(line for line in lines if not line.startswith(b"${df_size}"))

    def headers(self) -> list[bytes]:
        return [line for line in self.control.split(b"\n") if line[:1] == b"H"]


def test_a_message_over_smtp_is_queued_line_for_line_as_sendmail_does(
    spool: Spool, options: Options
) -> None:
    queued = Queued(spool, options, over_smtp(), b"Subject: q\n\nbody\n")
    assert queued.body == b"body\n"
    date = DATE.encode()
    assert queued.control == (
        b"V8\nT1795340561\nK0\nN0\nP30017\nFs\n$_lab2.campus [10.0.3.135]\n$rESMTP\n"
        b"$slab2.campus\n${daemon_flags}\n${if_addr}10.0.3.134\nS<dave@lab2.campus>\n"
        b"rRFC822; emma@lab1.campus\nRPFD:<emma@lab1.campus>\n"
        + RETURN_PATH
        + b"H??Received: from lab2.campus (lab2.campus [10.0.3.135])\n"
        b"\tby lab1.campus (" + PRODUCT + b") with ESMTP id 6AM9gfFH004798\n"
        b"\tfor <emma@lab1.campus>; " + date + b"\n"
        b"H?D?Date: " + date + b"\nH?F?From: dave@lab2.campus\n"
        b"H?M?Message-Id: <202611220942.6AM9gfFH004798@lab1.campus>\nH??Subject: q\n.\n"
    )


def test_a_submission_is_queued_line_for_line_as_sendmail_does(
    spool: Spool, options: Options
) -> None:
    queued = Queued(spool, options, submitted(), b"Subject: q\n\nbody\n", trace_recipient=b"emma")
    date = DATE.encode()
    assert queued.control == (
        b"V8\nT1795340561\nK0\nN0\nP30017\nFs\n$_root@localhost\n${daemon_flags}c u\n"
        b"Sroot\nAroot@lab1.campus\nrRFC822; emma@lab1.campus\nRPFD:emma\n"
        + RETURN_PATH
        + b"H??Received: (from root@localhost)\n"
        b"\tby lab1.campus (" + PRODUCT + b") id 6AM9gfFH004798\n\tfor emma; " + date + b"\n"
        b"H?D?Date: " + date + b"\nH?F?From: root <root>\nH?x?Full-Name: root\n"
        b"H?M?Message-Id: <202611220942.6AM9gfFH004798@lab1.campus>\nH??Subject: q\n.\n"
    )


def test_dsn_parameters_stand_where_sendmail_puts_them(spool: Spool, options: Options) -> None:
    envelope = submitted()
    envelope.ret, envelope.envid = b"HDRS", b"env-1"
    envelope.recipients[0].flags = "PNSD"
    lines = Queued(spool, options, envelope, b"\nx\n").control.split(b"\n")
    assert lines[5:11] == [
        b"Fdns",
        b"$_root@localhost",
        b"${daemon_flags}c u",
        b"Sroot",
        b"Zenv-1",
        b"Aroot@lab1.campus",
    ]
    assert b"RPNSD:emma" in lines


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (b"Subject: x\n\nx\n", b"Fs"),
        (b"To: emma\nBcc: y\n\nx\n", b"Fbs"),
        (b"Cc: emma\n\nx\n", b"Fbs"),
        (b"Bcc: y\n\nx\n", b"Fs"),
        (b"Resent-To: emma\nBcc: y\n\nx\n", b"Fbs"),
        (b"Subject: x\n\ncaf\xc3\xa9\n", b"F8s"),
        (b"Subject: caf\xe9\n\nx\n", b"F8s"),
        (b"Precedence: bulk\n\nx\n", b"Fns"),
    ],
)
def test_flags(spool: Spool, options: Options, text: bytes, flags: bytes) -> None:
    assert Queued(spool, options, over_smtp(), text).control.split(b"\n")[5] == flags


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        (b"Precedence: junk\nPriority: non-urgent\n\nx\n", b"P210041"),
        (b"Precedence: special-delivery\n\nx\n", b"P-149968"),
        (b"Precedence: list\n\nx\n", b"P84020"),
        (b"Precedence: bulk\n\nx\n", b"P138020"),
        (b"Precedence: first-class\n\nx\n", b"P30027"),
        (b"Precedence: whatever\n\nx\n", b"P30024"),
        (b"", b"P30000"),
    ],
)
def test_priority_is_size_recipients_and_class(
    spool: Spool, options: Options, text: bytes, priority: bytes
) -> None:
    assert Queued(spool, options, submitted(), text).control.split(b"\n")[4] == priority


def test_only_a_single_recipient_is_named_in_received(spool: Spool, options: Options) -> None:
    queued = Queued(spool, options, over_smtp(b"<a@x>", b"<b@x>"), b"\nx\n")
    assert b"\tfor " not in queued.control
    assert b" id 6AM9gfFH004798;\n\t" + DATE.encode() in queued.control


def test_what_is_there_is_not_added_again(spool: Spool, options: Options) -> None:
    text = b"Date: yesterday\nmessage-id: <1@2>\nFROM: a@b\nReturn-Path: <x@y>\nFull-Name: X\n\nx\n"
    queued = Queued(spool, options, submitted(), text)
    assert queued.headers()[3:] == [b"H??Date: yesterday", b"H??message-id: <1@2>", b"H??FROM: a@b"]


def test_a_resent_message_gets_resent_fields(spool: Spool, options: Options) -> None:
    text = b"Resent-From: e@x\nResent-To: d@y\nFrom: a@b\nDate: then\nSubject: r\n\nx\n"
    names = [
        line.split(b":")[0] for line in Queued(spool, options, over_smtp(), text).headers()[2:]
    ]
    assert names == [
        b"H?D?Resent-Date",
        b"H?M?Resent-Message-Id",
        b"H?M?Message-Id",
        b"H??Resent-From",
        b"H??Resent-To",
        b"H??From",
        b"H??Date",
        b"H??Subject",
    ]


def test_the_null_reverse_path_gets_no_from_field(spool: Spool, options: Options) -> None:
    envelope = over_smtp()
    envelope.reverse_path = b"<>"
    assert b"From" not in b"".join(Queued(spool, options, envelope, b"\nx\n").headers())


def test_warnings_come_before_the_messages_own_fields(spool: Spool, options: Options) -> None:
    envelope = submitted()
    envelope.warnings = [b"lab1.campus: emma set sender to <> using -f"]
    fields = Queued(spool, options, envelope, b"Subject: x\n\nx\n").headers()
    assert fields[-2] == b"H??X-Authentication-Warning: lab1.campus: emma set sender to <> using -f"


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ("add-to", b"H??To: <emma@lab1.campus>"),
        ("add-apparently-to", b"H??Apparently-To: <emma@lab1.campus>"),
        ("add-bcc", b"H??Bcc:"),
        ("add-to-undisclosed", b"H??To: undisclosed-recipients:;"),
        ("none", b"H??Subject: n"),
    ],
)
def test_no_recipient_action(spool: Spool, options: Options, action: str, field: bytes) -> None:
    options.no_recipient_action = action
    assert Queued(spool, options, over_smtp(), b"Subject: n\n\nx\n").headers()[-1] == field
    assert Queued(spool, options, over_smtp(), b"Cc: n\n\nx\n").headers()[-1] == b"H??Cc: n"


def test_always_bcc_is_a_recipient_more_in_no_header_and_told_to_nobody(
    spool: Spool, options: Options
) -> None:
    options.always_bcc = "archive"
    options.no_recipient_action = "add-to"
    control = decode(Queued(spool, options, submitted(b"emma"), b"Subject: q\n\nx\n").control)
    assert [(r.address, r.flags, r.final) for r in control.recipients] == [
        (b"emma", "PFD", b"RFC822; emma@lab1.campus"),
        (b"archive", "PN", b"RFC822; archive@lab1.campus"),
    ]
    assert not any(b"archive" in field for _, field in control.headers)
    assert (b"", b"To: emma") in control.headers
    over = Queued(spool, options, over_smtp(), b"Subject: q\n\nx\n").control
    assert b"\tfor <emma@lab1.campus>;" in over and b"\nRPN:archive\n" in over


def test_who_gets_the_message_anyway_gets_no_copy(spool: Spool, options: Options) -> None:
    options.always_bcc = "archive@lab1.campus"
    for named in (b"archive", b"<ARCHIVE@lab1.campus>"):
        control = decode(Queued(spool, options, submitted(named), b"\nx\n").control)
        assert [(r.address, r.flags) for r in control.recipients] == [(named, "PFD")]


def test_our_own_reports_are_not_copied(spool: Spool, options: Options) -> None:
    options.always_bcc = "archive"
    envelope = Envelope(b"MAILER-DAEMON", [Recipient(b"<x@y>", "PF")])
    control = decode(Queued(spool, options, envelope, b"\nx\n", response=True).control)
    assert [r.address for r in control.recipients] == [b"<x@y>"]


def test_only_a_submission_has_its_addresses_completed(spool: Spool, options: Options) -> None:
    text = b"From: Emma <emma>\nTo: dave, carol@x\nSubject: emma\n\nx\n"
    as_it_came = Queued(spool, options, over_smtp(), text).headers()[-3:]
    assert as_it_came == [b"H??From: Emma <emma>", b"H??To: dave, carol@x", b"H??Subject: emma"]
    completed = Queued(spool, options, submitted(), text, qualify=True).headers()[-3:]
    assert completed == [
        b"H??From: Emma <emma@lab1.campus>",
        b"H??To: dave@lab1.campus, carol@x",
        b"H??Subject: emma",
    ]


def test_a_bounce_is_marked(spool: Spool, options: Options) -> None:
    envelope = Envelope(b"MAILER-DAEMON", [Recipient(b"<x@y>", "PF")])
    envelope.client = envelope.helo = b"localhost"
    envelope.full_name = b"Mail Delivery Subsystem"
    queued = Queued(spool, options, envelope, b"To: <x@y>\n\nx\n", response=True)
    assert b"\nFrs\n" in queued.control
    assert b"\n$r\n$slocalhost\n" in queued.control
    assert b"From: Mail Delivery Subsystem <MAILER-DAEMON>" in queued.control
    assert b"Received: from localhost (localhost)\n\tby lab1.campus (" + PRODUCT in queued.control


MESSAGES = [
    b"Subject: q\nTo: a,\n\tb\n\nbody\n\nmore\n",
    b"no header\nat all\n",
    b"Subject: x\nnot a header\n\nx\n",
    b"Subject: only header\n",
    b"\nbody\n",
    b"",
]


@pytest.mark.parametrize("text", MESSAGES)
def test_any_chunking_gives_the_same_message(spool: Spool, options: Options, text: bytes) -> None:
    whole = Queued(spool, options, over_smtp(), text)
    for size in range(1, len(text) + 1):
        incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
        for begin in range(0, len(text), size):
            incoming.write(text[begin : begin + size])
        qid = incoming.commit()
        for kind, content in (("df", whole.body), ("qf", whole.control)):
            got = (
                (Path(spool.directory) / (kind + qid))
                .read_bytes()
                .replace(qid.encode(), QID.encode())
            )
            lines = got.split(b"\n")
            assert b"\n".join(
                li for li in lines if not li.startswith(b"${df_size}")
            ) == content.replace(whole.qid.encode(), QID.encode())


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_000])
def test_a_body_of_any_size_arrives_whole(spool: Spool, options: Options, size: int) -> None:
    body = (b"x" * 79 + b"\n") * (size // 80) + b"y" * (size % 80 - 1) + b"\n"
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Subject: big\n\n")
    for begin in range(0, len(body), 10_000):
        incoming.write(body[begin : begin + 10_000])
    assert incoming.size == len(body) + 14
    qid = incoming.commit()
    assert (Path(spool.directory) / f"df{qid}").read_bytes() == body


def test_a_body_beyond_64_kib_is_not_kept_in_memory(spool: Spool, options: Options) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"\n")
    for _ in range(64):
        incoming.write(b"z" * 65536)  # one endless line
        assert sum(map(len, incoming._body)) <= 65536
    assert (Path(spool.directory) / f"df{QID}").stat().st_size >= 63 * 65536
    incoming.abort()


def test_a_missing_last_line_end_is_added(spool: Spool, options: Options) -> None:
    queued = Queued(spool, options, over_smtp(), b"Subject: x\n\nlast line without newline")
    assert queued.body == b"last line without newline\n"


@pytest.mark.parametrize(
    ("pieces", "code", "text"),
    [
        ([b"Subject: " + b"x" * 300_000], 552, "Headers too large (262144 max)"),
        ([b"A: b\n"] * 1001, 552, "Too many header fields (1000 max)"),
        ([b"A: 1\n" + b" x\n" * 90_000], 552, "Headers too large (262144 max)"),
        ([b"x" * 300_000], 552, "Headers too large (262144 max)"),
        ([b"a\rb\n"], 554, "Bare carriage return or NUL not allowed"),
        ([b"\na\0b\n"], 554, "Bare carriage return or NUL not allowed"),
    ],
)
def test_limits_of_the_header_are_refusals_that_leave_nothing(
    spool: Spool, options: Options, pieces: list[bytes], code: int, text: str
) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    with pytest.raises(MessageRefused) as caught:
        for piece in pieces:
            incoming.write(piece)
    incoming.abort()
    assert (caught.value.code, caught.value.text) == (code, text)
    assert not os.listdir(spool.directory)


def test_a_message_that_is_too_big_is_refused_while_it_comes(
    spool: Spool, options: Options
) -> None:
    options.max_message_size = 100_000
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Subject: x\n\n" + b"y" * 99_987 + b"\n")
    with pytest.raises(MessageRefused, match=r"Message exceeds maximum fixed size \(100000\)"):
        incoming.write(b"z")
    incoming.abort()
    assert not os.listdir(spool.directory)


@pytest.mark.parametrize(("given", "refused"), [(99, False), (100, True), (110, True)])
def test_too_many_hops_are_a_loop(
    spool: Spool, options: Options, given: int, refused: bool
) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Received: from a by b; x\n" * given + b"\nx\n")
    if not refused:
        incoming.commit()
        return
    with pytest.raises(MessageRefused) as caught:
        incoming.commit()
    assert (caught.value.code, caught.value.status) == (554, "5.4.6")
    assert caught.value.text.startswith(
        f"Too many hops {given + 1} (100 max): from <dave@lab2.campus>"
    )
    assert not os.listdir(spool.directory)


@pytest.mark.parametrize(
    "text",
    [b"Subject: x\n\nbody\n", b"Subject: x\n\n" + b"y" * 100_000],
    ids=["small", "big"],
)
def test_a_finished_message_is_complete_but_not_yet_in_the_queue(
    spool: Spool, options: Options, text: bytes
) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(text)
    incoming.finish()
    assert incoming.fields() == [b"Subject: x"]
    assert incoming.size == len(text) + (not text.endswith(b"\n"))
    assert not spool.names()
    incoming.abort()
    assert not os.listdir(spool.directory)


def test_finishing_twice_is_finishing_once(spool: Spool, options: Options) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Subject: x\n\nbody")
    incoming.finish()
    incoming.finish()
    qid = incoming.commit()
    assert (Path(spool.directory) / f"df{qid}").read_bytes() == b"body\n"


def test_a_loop_is_found_when_the_message_is_finished(spool: Spool, options: Options) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Received: from a by b; x\n" * 100 + b"\nx\n")
    with pytest.raises(MessageRefused, match="Too many hops"):
        incoming.finish()


@pytest.mark.parametrize("size", [5, 200_000])
@pytest.mark.parametrize("fails", ["fsync", "rename"])
def test_what_the_disk_refused_can_still_be_saved_elsewhere(
    spool: Spool,
    options: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
    size: int,
) -> None:
    def full(*unused: object, **more: object) -> int:
        raise OSError(28, "No space left on device")

    body = b"x" * size + b"\n"
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Subject: x\n\n" + body)
    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space left"):
        incoming.commit()
    assert not os.listdir(spool.directory)
    assert b"\nSubject: x\n" in incoming.text(b"emma")
    with open(tmp_path / "saved", "wb") as file:
        incoming.copy_body(file.fileno())
    assert (tmp_path / "saved").read_bytes() == body
    incoming.abort()


def forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk does not take what is written: fsync(2) says so once, and the pages are zeros from then on."""

    def fsync(file: int) -> None:
        if size := os.fstat(file).st_size:
            os.ftruncate(file, 0)
            os.ftruncate(file, size)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("size", [5, 200_000])
def test_what_the_disk_has_forgotten_is_not_saved_as_the_message(
    spool: Spool, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Subject: x\n\n" + b"x" * size + b"\n")
    forgets(monkeypatch)
    with pytest.raises(OSError, match="Input/output"):
        incoming.commit()
    with open(tmp_path / "saved", "wb") as file, pytest.raises(OSError, match="is gone"):
        incoming.copy_body(file.fileno())
    incoming.abort()


def test_an_id_that_is_taken_gives_another(spool: Spool, options: Options) -> None:
    (Path(spool.directory) / f"qf{QID}").touch()
    queued = Queued(spool, options, over_smtp(), b"Subject: x\n\nx\n")
    assert queued.qid != QID and queue_id.valid(queued.qid)
    assert queued.control.count(queued.qid.encode()) == 2


def test_a_full_disk_leaves_nothing_and_is_told(
    spool: Spool, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*unused: object) -> int:
        raise OSError(28, "No space left on device")

    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"\nx\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        incoming.commit()
    assert not os.listdir(spool.directory)


@pytest.mark.parametrize("evil", [b"\n.\n", b"\nRPFD:|x", b"\r\nX: y", b"\0", b"\x1b[2J"])
def test_nothing_in_the_envelope_forges_a_line_of_the_control_file(
    spool: Spool, options: Options, evil: bytes
) -> None:
    plain = Queued(spool, options, submitted(), b"\nx\n").control
    envelope = submitted()
    envelope.client += evil
    envelope.full_name += evil
    envelope.helo += evil
    envelope.warnings = [b"w" + evil]
    got = Queued(spool, options, envelope, b"\nx\n").control
    # One X-Authentication-Warning, $r and $s more; no recipient, no end before the end.
    assert got.count(b"\n") == plain.count(b"\n") + 3
    assert got.count(b"\nR") == 1 and got.endswith(b"\n.\n") and got.count(b"\n.\n") == 1


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EACCES])
def test_a_queue_beyond_reach_is_not_ours_and_one_that_cannot_be_looked_at_may_be(
    options: Options, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(path: str, failure: int) -> os.stat_result:
        raise OSError(failure, os.strerror(failure), path)

    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path: fail(path, number))
        assert not permission.may_administer(options) and not permission.may_see(options)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, "stat", lambda path: fail(path, errno.EIO))
        permission.may_administer(options)


@pytest.mark.parametrize("recipients", [1, 250])
def test_what_its_user_cannot_list_is_noted_for_them(options: Options, recipients: int) -> None:
    """All parts, if a message becomes several."""
    options.max_recipients = 100
    spool = Spool(options.client_queue_directory, is_client=True)
    to = [b"<u%d@lab3.campus>" % number for number in range(recipients)]
    Queued(spool, options, submitted(*to), b"\nx\n")
    assert own_letters.read(spool.descriptor) == []
    before = set(spool.names())
    spool.may_list = False
    new = queue_id.new(NOW)
    incoming = Incoming(spool, options, submitted(*to), qid=new, now=NOW, host="lab1.campus")
    incoming.write(b"\nx\n")
    incoming.commit()
    assert set(own_letters.read(spool.descriptor)) == set(spool.names()) - before
    spool.close()


def test_root_and_the_owner_write_mqueue_and_others_clientmqueue(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert permission.owns_queue(options)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert not permission.owns_queue(options)


def test_what_is_in_memory_and_what_is_in_the_file_are_one_body(
    spool: Spool, options: Options, tmp_path: Path
) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"\n" + b"x" * 100_000 + b"\n")
    incoming.write(b"the end\n")
    body = b"x" * 100_000 + b"\nthe end\n"
    with open(tmp_path / "copy", "w+b") as copy:
        incoming.copy_body(copy.fileno())
        copy.seek(0)
        assert copy.read() == body
    file, size = incoming.body_file()
    assert (os.pread(file, size + 1, 0), size) == (body, len(body))
    incoming.abort()


def test_between_finish_and_commit_body_and_header_may_be_replaced(
    spool: Spool, options: Options, tmp_path: Path
) -> None:
    incoming = Incoming(spool, options, over_smtp(), qid=QID, now=NOW, host="lab1.campus")
    incoming.write(b"Subject: old\n\nold body\n" + b"x" * 100_000 + b"\n")
    incoming.finish()
    file, size = incoming.body_file()
    assert size == 100_010
    os.pwrite(file, b"new \xe9\n", 0)
    os.ftruncate(file, 6)
    incoming.body_was_replaced(6, checksum=crc32(b"new \xe9\n"), eight_bit=True)
    incoming.change_header([b"X-Top: t"], [b"Subject: new"])
    assert incoming.size == len(b"X-Top: t\nSubject: new\n\nnew \xe9\n")
    with open(tmp_path / "copy", "w+b") as copy:
        incoming.copy_body(copy.fileno())
        copy.seek(0)
        assert copy.read() == b"new \xe9\n"
    incoming.commit()
    control = decode(Path(spool.directory, f"qf{QID}").read_bytes())
    assert Path(spool.directory, f"df{QID}").read_bytes() == b"new \xe9\n"
    assert (control.size, "8" in control.flags) == (6, True)
    assert [field for _, field in control.headers][1] == b"X-Top: t"
    assert control.headers[-1] == (b"", b"Subject: new")
