"""Header blocks: what is a field, what is added, what is delivered."""

from __future__ import annotations

import pytest

from minimta.message import headers, received

FIELDS = [
    headers.RETURN_PATH,
    (b"", b"Received: (from emma@localhost)\n\tby lab1.campus id x"),
    (b"D", b"Date: now"),
    (b"F", b"From: Emma <emma@lab1.campus>"),
    (b"x", b"Full-Name: Emma"),
    (b"M", b"Message-Id: <1@lab1.campus>"),
    (b"", b"To: dave,\n\tcarol"),
    (b"", b"Bcc: secret@x.campus"),
    (b"", b"Content-Length: 5"),
]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"Subject: x", b"Subject"),
        (b"Subject : x", b"Subject"),
        (b"X-A:", b"X-A"),
        (b"no header here: really", b""),
        (b"just text", b""),
        (b": x", b""),
        (b"", b""),
        (b"S\xc3\xbcbject: x", b""),
        (b"Sub\x07ject: x", b""),
    ],
)
def test_a_field_name_is_printable_and_has_no_blank_inside(line: bytes, name: bytes) -> None:
    assert headers.field_name(line) == name


@pytest.mark.parametrize(
    ("text", "fields", "body"),
    [
        (b"Subject: x\n\nbody\n", [b"Subject: x"], b"body\n"),
        (b"A: 1\n two\n\tthree\nB: 2\n\nx\n", [b"A: 1\n two\n\tthree", b"B: 2"], b"x\n"),
        (b"just text\n", [], b"just text\n"),
        (b"Subject: x\nnot a header\nTo: y\n\nz\n", [b"Subject: x"], b"not a header\nTo: y\n\nz\n"),
        (b"Subject: x\n", [b"Subject: x"], b""),
        (b"Subject: x", [b"Subject: x"], b""),
        (b"\nbody\n", [], b"body\n"),
        (b" folded first\n", [], b" folded first\n"),
        (b"", [], b""),
        (b"A: 1\n \n\nx\n", [b"A: 1\n "], b"x\n"),
    ],
)
def test_the_header_ends_at_an_empty_line_or_before_a_line_that_is_no_field(
    text: bytes, fields: list[bytes], body: bytes
) -> None:
    found, offset = headers.split_message(text)
    assert (found, text[offset:]) == (fields, body)


def test_value_is_unfolded_and_find_keeps_the_order() -> None:
    block = [(b"", b"X: 1\n\t 2"), (b"", b"x: 3"), (b"", b"Y: 4")]
    assert [headers.value(field) for field in headers.find(block, b"x")] == [b"1\t 2", b"3"]


def render(mailer: str, flags: str = "b") -> bytes:
    return headers.render(FIELDS, mailer=mailer, reverse_path=b"emma@lab1.campus", flags=flags)


def test_a_local_delivery_has_one_return_path_and_it_comes_first() -> None:
    block = [*FIELDS, (b"", b"Return-Path: <forged@x>")]
    text = headers.render(block, mailer="local", reverse_path=b"emma@lab1.campus")
    assert text.startswith(b"Return-Path: <emma@lab1.campus>\nReceived: ")
    assert text.lower().count(b"return-path") == 1


def test_a_relay_adds_no_return_path() -> None:
    assert b"Return-Path" not in render("esmtp")


def test_the_null_reverse_path_is_shown_as_such() -> None:
    text = headers.render([], mailer="local", reverse_path=b"")
    assert text == b"Return-Path: <>\n"


def test_only_a_mailbox_loses_the_content_length() -> None:
    assert b"Content-Length" not in render("local")
    assert b"Content-Length: 5\n" in render("esmtp")


def test_the_full_name_never_leaves_the_queue() -> None:
    assert b"Full-Name" not in render("local") + render("esmtp")


@pytest.mark.parametrize(("flags", "shown"), [("bs", b""), ("s", b"Bcc:\n")])
def test_blind_copies_are_never_told(flags: str, shown: bytes) -> None:
    text = render("esmtp", flags)
    assert b"secret" not in text
    assert (b"Bcc:\n" in text) == bool(shown)


@pytest.mark.parametrize("mailer", ["local", "esmtp"])
@pytest.mark.parametrize("name", [b"Bcc", b"BCC", b"Resent-Bcc", b"resent-bcc", b"Resent-BCC "])
@pytest.mark.parametrize("value", [b" carol@x.campus", b" a@b,\n\tcarol", b"carol"])
def test_every_kind_of_blind_copy_is_one(name: bytes, value: bytes, mailer: str) -> None:
    fields = [(b"", b"To: dave"), (b"", name + b":" + value)]
    whole = headers.render(fields, mailer=mailer, reverse_path=b"a@b", flags="bs")
    assert b"carol" not in whole and b"cc" not in whole.lower()
    emptied = headers.render(fields, mailer=mailer, reverse_path=b"a@b", flags="s")
    assert emptied.endswith(b"To: dave\n%b:\n" % name.strip())


def test_a_relayed_field_is_passed_on_octet_for_octet() -> None:
    odd = [b"X-Odd:  two  blanks \n\t\n  and 8-bit \xe9", b"DKIM-Signature: a=b;\n bh=x"]
    text = headers.render([(b"", f) for f in odd], mailer="esmtp", reverse_path=b"a@b")
    assert text == odd[0] + b"\n" + odd[1] + b"\n"


def test_change_sees_every_field_of_the_block() -> None:
    text = headers.render(
        [(b"", b"To: dave"), (b"", b"X: y")],
        mailer="esmtp",
        reverse_path=b"a@b",
        change=lambda field: field.replace(b"dave", b"dave@lab1.campus"),
    )
    assert text == b"To: dave@lab1.campus\nX: y\n"


def trace(**changes: bytes) -> bytes:
    values = {
        "client": b"emma@localhost",
        "helo": b"",
        "protocol": b"",
        "host": b"lab1.campus",
        "product": b"minimta 0/0",
        "qid": b"6AM9CfOn000096",
        "recipient": b"",
        "date": b"DATE",
    }
    return received.received(**{**values, **changes})


def test_received_of_a_submission_names_the_caller() -> None:
    assert trace(recipient=b"dave") == (
        b"Received: (from emma@localhost)\n"
        b"\tby lab1.campus (minimta 0/0) id 6AM9CfOn000096\n"
        b"\tfor dave; DATE"
    )


def test_received_over_smtp_names_helo_client_and_protocol() -> None:
    field = trace(client=b"x [10.0.3.1]", helo=b"me", protocol=b"ESMTP", recipient=b"<d@e>")
    assert field == (
        b"Received: from me (x [10.0.3.1])\n"
        b"\tby lab1.campus (minimta 0/0) with ESMTP id 6AM9CfOn000096\n"
        b"\tfor <d@e>; DATE"
    )


def test_received_without_recipient_folds_before_the_date() -> None:
    assert trace().endswith(b" id 6AM9CfOn000096;\n\tDATE")


@pytest.mark.parametrize("argument", ["client", "helo", "protocol", "recipient"])
@pytest.mark.parametrize("evil", [b"\n", b"\r", b"\0", b"\x1b", b"\x7f", b"\xe9", b"\n\t"])
def test_nothing_from_outside_can_forge_a_line_of_received(argument: str, evil: bytes) -> None:
    plain = trace(**{argument: b"aXBcc: x"})
    if argument == "recipient" and not evil.isascii():
        plain = trace()
    assert trace(**{argument: b"a" + evil + b"Bcc: x"}) == plain.replace(b"X", b"?" * len(evil))
