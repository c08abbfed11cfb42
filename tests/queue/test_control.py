"""The control file: Sendmail's format, both ways, and nothing but CorruptControlFile for the rest."""

from __future__ import annotations

import random

import pytest

from minimta.message.envelope import Recipient
from minimta.queue.control import Control, CorruptControlFile, decode, encode, is_plain

#: recorded from Sendmail 8.17 (deferred, with DSN parameters), all its lines in its order
RECORDED = b"""V8
T1795340567
K1795340579
N2
P210017
I0/77/2369806
B8BITMIME
MDeferred: Connection refused by refused.campus.
F8dns
$_lab2.campus [10.0.3.135]
$rESMTP
$slab2.campus
${daemon_flags}
${if_addr}10.0.3.134
S<dave@lab2.campus>
ZQQ314
A<>
! 600
MDeferred: 451 4.7.1 Greylisted
Clist:1:0:<list@lab1.campus>
Qrfc822;list@lab1.campus
rRFC822; list@lab1.campus
RFDA:b@grey.campus
rRFC822; list@lab1.campus
RFDA:"|prog x"
C
RPFD:<emma@lab1.campus>
H?P?Return-Path: <g>
H??Received: from lab2.campus (lab2.campus [10.0.3.135])
\tby lab1.campus (8.17.1.9/8.17.1.9) with ESMTP id 6AM9gl53004889
\tfor <list@lab1.campus>; Sun, 22 Nov 2026 09:42:47 GMT
H?M?Message-Id: <202611220942.6AM9gl53004889@lab1.campus>
H??Subject: q
.
"""


def plain(**fields: object) -> Control:
    control = Control(1, b"<emma@lab1.campus>", [Recipient(b"<dave@lab2.campus>")])
    for name, value in fields.items():
        setattr(control, name, value)
    return control


def test_a_file_of_sendmails_survives_but_for_the_inode() -> None:
    assert encode(decode(RECORDED)) == RECORDED.replace(b"I0/77/2369806\n", b"")


def test_every_line_is_understood() -> None:
    control = decode(RECORDED)
    assert (control.created, control.last_attempt, control.attempts) == (1795340567, 1795340579, 2)
    assert control.macros[b"_"] == b"lab2.campus [10.0.3.135]"
    assert control.macros[b"{if_addr}"] == b"10.0.3.134"
    assert control.message == "Deferred: Connection refused by refused.campus."
    assert control.carried == [b"! 600"]
    first, second, third = control.recipients
    assert first.message == "Deferred: 451 4.7.1 Greylisted"
    assert first.original == b"rfc822;list@lab1.campus"
    assert second.controlling_user == b"list:1:0:<list@lab1.campus>"
    assert (second.message, second.original) == ("", b"")
    assert (third.controlling_user, third.flags) == (b"", "PFD")
    assert control.headers[1][1].count(b"\n") == 2
    assert control.size == -1


def test_the_size_of_the_data_file_travels_in_a_macro_that_sendmail_ignores() -> None:
    text = encode(plain(size=1234))
    assert b"\n${df_size}1234\nS<" in text
    assert decode(text).size == 1234
    assert decode(text).macros == {}
    with pytest.raises(CorruptControlFile):
        decode(text.replace(b"1234", b"-3"))


def test_a_file_of_an_old_version_is_read() -> None:
    text = b"V4\nT1\nK0\nN0\nP30000\nFs\n$_root@localhost\nSemma\nRPFD:henry\nHSubject: old\n.\n"
    control = decode(text)
    assert control.headers == [(b"", b"Subject: old")]
    assert control.recipients == [Recipient(b"henry")]


def test_a_file_without_recipients_is_no_error() -> None:
    # All are done, and a power cut brought the file back: there is nothing left to do but to remove it.
    assert decode(encode(plain(recipients=[]))).recipients == []


@pytest.mark.parametrize(
    ("text", "says", "reason"),
    [
        (b"", "incomplete queue file read", "incomplete queue file"),
        (b"V8\nT1\nSx\nRPFD:emma\n", "incomplete queue file read", "incomplete queue file"),
        (b"V8\nSx\n.", "incomplete queue file read", "incomplete queue file"),
        (
            b"V99\nT1\nP1\nSx\nRPFD:emma\n.\n",
            "Version number in queue file (99) greater than max (8)",
            "unsupported queue file version",
        ),
        (b"V8\nT1\nYfoo\nSemma\n.\n", 'line 3: bad line "Yfoo"', "unrecognized line"),
        (
            b"V8\nSx\n.\nRPFD:root\n.\n",
            "SECURITY ALERT: extra or bogus data in queue file: ",
            "bogus queue line",
        ),
        (
            b"V8\nSx\n.\nRPFD:root\n",
            "SECURITY ALERT: extra or bogus data in queue file: RPFD:root",
            "bogus queue line",
        ),
        (b"V8\nT1\nRPFD:emma\n.\n", "no version or no sender", "incomplete queue file"),
        (b"V8\nTone\nSx\n.\n", "line 2: not a number: one", "unrecognized line"),
        (b"V8\nT1_0\nSx\n.\n", "line 2: not a number: 1_0", "unrecognized line"),
        (b"V8\nT-1\nSx\n.\n", "line 2: less than nothing: -1", "unrecognized line"),
        (b"V8\nSx\nRemma\n.\n", 'line 3: bad recipient "emma"', "unrecognized line"),
        (b"V8\nSx\n\n.\n", 'line 3: bad line ""', "unrecognized line"),
        (b"V8\nSx\n\tfolded\n.\n", "line 3: continuation line without", "unrecognized line"),
        (b"V8\nSx\nY\x1b[2J\n.\n", 'line 3: bad line "Y?[2J"', "unrecognized line"),
        (b"V8\nSx\nHSubject\n.\n", "line 3: header field without a colon", "unrecognized line"),
    ],
)
def test_a_damaged_file_is_refused_in_sendmails_words(text: bytes, says: str, reason: str) -> None:
    with pytest.raises(CorruptControlFile) as caught:
        decode(text)
    assert str(caught.value).startswith(says)
    assert caught.value.reason == reason


@pytest.mark.parametrize("cut", range(len(RECORDED)))
def test_a_file_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(CorruptControlFile):
        decode(RECORDED[:cut])


@pytest.mark.parametrize(
    "control",
    [
        plain(reverse_path=b"<a@b>\nRPFD:root"),
        plain(reverse_path=b""),
        plain(envid=b"x\n."),
        plain(auth=b"x\ry"),
        plain(macros={b"s": b"helo\0"}),
        plain(flags="8\nV8"),
        plain(body_type=b"7BIT\n"),
        plain(carried=[b"! 600\nX"]),
        plain(recipients=[Recipient(b"a\nb")]),
        plain(recipients=[Recipient(b"")]),
        plain(recipients=[Recipient(b"a", "P:F")]),
        plain(recipients=[Recipient(b"a", original=b"x\ny")]),
        plain(recipients=[Recipient(b"a", final=b"x\ny")]),
        plain(recipients=[Recipient(b"a", controlling_user=b"x\ny")]),
        plain(headers=[(b"", b"Subject: x\nRPFD:root")]),
        plain(headers=[(b"", b"Subject: x\n.\n")]),
        plain(headers=[(b"", b"Subject: \0")]),
        plain(headers=[(b"", b"no colon")]),
        plain(headers=[(b"?", b"Subject: x")]),
        plain(headers=[(b"\n", b"Subject: x")]),
    ],
)
def test_what_would_forge_a_line_is_not_written(control: Control) -> None:
    with pytest.raises(
        ValueError, match=r"forge a line|no sender|without an address|no header field"
    ):
        encode(control)


@pytest.mark.parametrize("octet", [b"\0", b"\r"])
def test_what_could_not_be_written_again_is_not_read(octet: bytes) -> None:
    # Else it would be delivered, and nobody could record that it was: again and again.
    recipient = Recipient(b"<x@lab2.campus>", "PFD", final=b"rfc822; x@lab2.campus")
    text = encode(Control(1, b"<emma@lab1.campus>", [recipient]))
    assert decode(text).recipients == [recipient]
    with pytest.raises(CorruptControlFile):
        decode(text.replace(b"rfc822; x@", b"rfc822; x" + octet))


def test_a_reason_is_written_in_ascii_and_never_with_a_newline() -> None:
    # Replies of other hosts come here cleaned; the last guard is that they forge nothing.
    with pytest.raises(ValueError, match="forge"):
        encode(plain(message="Deferred\nRPFD:root"))
    assert decode(encode(plain(message="Größe"))).message == "Gr\\xf6\\xdfe"


def test_mutated_files_raise_only_corrupt_control_file() -> None:
    chance = random.Random(2026)
    pieces = RECORDED.split(b"\n")
    refused = 0
    for _ in range(10_000):
        text = bytearray(RECORDED)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(text))
            match chance.randrange(4):
                case 0:
                    text[at] = chance.randrange(256)
                case 1:
                    del text[at : at + chance.randint(1, 30)]
                case 2:
                    text[at:at] = chance.choice(pieces) + b"\n"
                case 3:
                    text[at:at] = bytes([chance.choice(b"\n\t \0\r.$?:-9{}\xff")])
        try:
            control = decode(bytes(text))
        except CorruptControlFile:
            refused += 1
            continue
        try:
            again = encode(control)
        except ValueError:
            continue  # a NUL or CR came in: we do not write it
        assert decode(again) == control
    assert 1000 < refused < 9900


def test_a_header_of_a_hundred_thousand_folds_is_read_in_one_pass() -> None:
    field = b"X: y" + b"\n " * 100_000
    control = plain(headers=[(b"", field)])
    assert decode(encode(control)).headers == [(b"", field)]


@pytest.mark.parametrize(
    "address",
    [
        *(b"|prog", b'"|prog x"', b"<|prog>", b'<"|prog">', b" |prog"),
        *(b"/var/tmp/f", b'"/var/tmp/f"'),
        *(b":include:/etc/shadow", b'":include:/x"', b":INCLUDE:/x"),
        *(b"Henry E <|prog>", b"|prog <x>", b"</x@lab3.campus>"),
    ],
)
def test_programs_files_and_lists_are_not_plain(address: bytes) -> None:
    assert not is_plain(Recipient(address))


def test_an_address_is_plain_unless_somebody_answers_for_it() -> None:
    assert is_plain(Recipient(b"<dave@lab2.campus>"))
    assert is_plain(Recipient(b"a/b@lab2.campus"))
    assert not is_plain(Recipient(b"dave", controlling_user=b"emma:1001:1001:<emma@h>"))
