"""Address lists: RFC 5322 section 3.4, the obsolete forms, and hostile ones."""

from __future__ import annotations

import time

import pytest

from minimta.message import address, addresslist

LISTS = [
    (b"henry", [b"henry"]),
    (b"henry@lab3.campus", [b"henry@lab3.campus"]),
    (b"a,b", [b"a", b"b"]),
    (b"a , b ,c", [b"a", b"b", b"c"]),
    (b"a,,b,", [b"a", b"b"]),
    (b"", []),
    (b"   ", []),
    (b",", []),
    (b"<henry>", [b"henry"]),
    (b"Henry Example <henry>", [b"henry"]),
    (
        b'Henry Example <henry>,\n\t"Root, the" <root>, (comment) daemon',
        [b"henry", b"root", b"daemon"],
    ),
    (b"friends: henry, root;", [b"henry", b"root"]),
    (b"friends: henry; root", [b"henry", b"root"]),
    (b"undisclosed-recipients:;", []),
    (b"undisclosed recipients: ;", []),
    (b"A: a@x;, B: b@x;", [b"a@x", b"b@x"]),
    (b"Dave (the one, only) <dave@ex.org>,\n  root", [b"dave@ex.org", b"root"]),
    (b"dave@ex.org (Dave, the one)", [b"dave@ex.org"]),
    (b"dave (a (b (c)) d) @ ex . org", [b"dave@ex.org"]),
    (b"dave @ ex . org", [b"dave@ex.org"]),
    (b"  <a@b>  ", [b"a@b"]),
    (b"<a@b>,<c@d>", [b"a@b", b"c@d"]),
    (b" <emma@ex.org>", [b"emma@ex.org"]),
    (b'"odd name"@ex.org', [b'"odd name"@ex.org']),
    (b'"a@b"@c', [b'"a@b"@c']),
    (b'"a,b"@c, d', [b'"a,b"@c', b"d"]),
    (b'"q\\"u,ote" <x@y>', [b"x@y"]),
    (b'"x \\\\" <x@y>, z', [b"x@y", b"z"]),
    (b"<@a,@b:u@d>", [b"u@d"]),
    (b"dave@[10.0.3.135]", [b"dave@[10.0.3.135]"]),
    (b"dave@[IPv6:::1], root", [b"dave@[IPv6:::1]", b"root"]),
    (b"root, dave@[IPv6:::1]", [b"root", b"dave@[IPv6:::1]"]),
    (b"a@[10.0.3.1], b, c@[10.0.3.2], d", [b"a@[10.0.3.1]", b"b", b"c@[10.0.3.2]", b"d"]),
    (b"a b", [b"a", b"b"]),
    (b"a b@c d@e", [b"a", b"b@c", b"d@e"]),
    (b" a\n\tb  c\t", [b"a", b"b", b"c"]),
    (b"a @ b c . d", [b"a@b", b"c.d"]),
    (b'"x y" z', [b'"x y"', b"z"]),
    (b"a b, c", [b"a.b", b"c"]),
    (b"a b;", [b"a.b"]),
    (b"a b (x)", [b"a.b"]),
    (b"|prog dave", [b"|prog.dave"]),
    (b"<<a>>", [b"a"]),
    (b"A <<a@b>>, c", [b"a@b", b"c"]),
    (b"<A B <a@b> >, c", [b"a@b", b"c"]),
    (b"<a> <a>", [b"a", b"a"]),
    (b"<a> <b>", [b"a", b"b"]),
    (b"Dave <a@x> (one) Carol <b@x>, c", [b"a@x", b"b@x", b"c"]),
    (b"<<a>> <b>", [b"a", b"b"]),
    (b"g: <a> <b>; <c>\n\t<d>", [b"a", b"b", b"c", b"d"]),
    (b"<a@x> b@y", [b"a@x", b"b@y"]),
    (b'<a> "x, y" <b>', [b"a", b"b"]),
    (b"<dave@x> Dave Hill", [b"dave@x"]),
    (b"<a@x> (a@y)", [b"a@x"]),
    (b"g: <a@x>: Dave;", [b"a@x"]),
    (b'<"x<y" <a@b>>', [b"a@b"]),
    (b"root (Cron Daemon)", [b"root"]),
    (b'"(Cron Daemon)" <root>', [b"root"]),
    (b"Logwatch", [b"Logwatch"]),
    (b"=?utf-8?q?J=C3=BCrgen?= <j@x>", [b"j@x"]),
    (b"J\xc3\xbcrgen <j@x>", [b"j@x"]),
    (b"a;b", [b"a", b"b"]),
    (b"emma+lists@x", [b"emma+lists@x"]),
    (b"-henry", [b"-henry"]),
    (b"|/bin/cat", [b"|/bin/cat"]),
    (b"/tmp/x", [b"/tmp/x"]),
]


@pytest.mark.parametrize(("text", "found"), LISTS, ids=[repr(text) for text, _ in LISTS])
def test_every_address_of_a_list_is_found(text: bytes, found: list[bytes]) -> None:
    mailboxes = addresslist.parse(text)
    assert [mailbox.address for mailbox in mailboxes] == found
    assert not any(mailbox.problem for mailbox in mailboxes)


@pytest.mark.parametrize(("text", "found"), LISTS, ids=[repr(text) for text, _ in LISTS])
def test_what_stands_in_the_queue_leads_to_the_same_address(
    text: bytes, found: list[bytes]
) -> None:
    assert [address.bare(mailbox.given) for mailbox in addresslist.parse(text)] == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"henry@", "Hostname required"),
        (b"@lab3.campus", "User address required"),
        (b"<>", "User address required"),
        (b"<@>", "User address required"),
        (b"<henry", "Unbalanced '<'"),
        (b'"henry', "Unbalanced '\"'"),
        (b"henry (x", "Unbalanced '('"),
        (b"a>b", "Illegal address"),
        (b"<a<b>", "Unbalanced '<'"),
        (b"<<a>", "Unbalanced '<'"),
        (b"a\x07b", "Illegal address"),
        (b'"a\nb"@x', "Illegal address"),
        (b"a" * 999, "Illegal address"),
        (b"dave@k\xe4se.example", "Neither ASCII nor a domain name and text in UTF-8"),
        (b"d\xe4ve@x.example", "Neither ASCII nor a domain name and text in UTF-8"),
        ("dave@lab2。campus".encode(), "Neither ASCII nor a domain name and text in UTF-8"),
        ("da\u202eve@x".encode(), "Neither ASCII nor a domain name and text in UTF-8"),
        ("dave@käse.example".encode(), ""),
        ("döner@käse.example".encode(), ""),
    ],
)
def test_what_is_no_address_is_told_in_sendmails_words(text: bytes, problem: str) -> None:
    assert [mailbox.problem for mailbox in addresslist.parse(text)] == [problem]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (b"Henry E <henry@lab3.campus>", b"Henry E <henry@lab3.campus>"),
        (b"Henry\n\tE  <henry>", b"Henry E <henry>"),
        (b"<henry>", b"<henry>"),
        (b"henry (x)", b"henry"),
        (b"(x) Henry <henry>", b"<henry>"),
        (b"J\xc3\xbcrgen <j@x>", b"<j@x>"),
        (b"X\x1b[2J <j@x>", b"<j@x>"),
    ],
)
def test_the_queue_keeps_the_address_as_it_was_written(text: bytes, given: bytes) -> None:
    assert addresslist.parse(text)[0].given == given


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (b"To: dave", b"To: dave@h.x"),
        (b"To: dave, Carol X <carol>", b"To: dave@h.x, Carol X <carol@h.x>"),
        (b'Cc: "Q, R" <henry>, (c) root', b'Cc: "Q, R" <henry@h.x>, (c) root@h.x'),
        (b"cc: friends: henry, root;", b"cc: friends: henry@h.x, root@h.x;"),
        (b"From: root (Cron Daemon)", b"From: root@h.x (Cron Daemon)"),
        (b'From: "(Cron Daemon)" <root>', b'From: "(Cron Daemon)" <root@h.x>'),
        (b"From:  <emma@ex.org>", b"From:  <emma@ex.org>"),
        (b"From: Logwatch", b"From: Logwatch@h.x"),
        (b"To: a@b,\n\tc", b"To: a@b,\n\tc@h.x"),
        (b"To: <dave >", b"To: <dave@h.x >"),
        (b"To: undisclosed-recipients:;", b"To: undisclosed-recipients:;"),
        (b"To:", b"To:"),
        (b"To: two words", b"To: two@h.x, words@h.x"),
        (b"Cc: a@b\n\tc  d", b"Cc: a@b,\n\tc@h.x,  d@h.x"),
        (b"To: two words, x", b"To: two words, x@h.x"),
        (b"From: two words", b"From: two words"),
        (b"Reply-To: two words", b"Reply-To: two words"),
        (b"To: <>", b"To: <>"),
        (b"Subject: dave", b"Subject: dave"),
        (b"Return-Receipt-To: henry", b"Return-Receipt-To: henry"),
        (b"Errors-To: henry", b"Errors-To: henry@h.x"),
        (b'To: "odd name"', b'To: "odd name"@h.x'),
        (b'To: "a@b"', b'To: "a@b"@h.x'),
    ],
)
def test_only_a_missing_domain_is_added_and_nothing_else_changes(text: bytes, whole: bytes) -> None:
    assert addresslist.qualify_field(text, b"h.x") == whole


def test_a_long_list_is_folded_so_that_no_line_is_too_long() -> None:
    field = b"To: " + b", ".join(b"user%d" % number for number in range(400))
    whole = addresslist.qualify_field(field, b"lab1.campus")
    assert max(map(len, whole.split(b"\n"))) <= 998
    assert all(line.startswith(b"\t") for line in whole.split(b"\n")[1:])
    names = [m.address for m in addresslist.parse(whole.partition(b":")[2])]
    assert names == [b"user%d@lab1.campus" % number for number in range(400)]


@pytest.mark.parametrize(
    "hostile",
    [
        b"(" * 200_000,
        b"<" * 200_000,
        b'"' * 200_001,
        b"(a)" * 60_000,
        b"a," * 100_000,
        b"[" * 200_000,
    ],
    ids=["comments", "angles", "quotes", "many", "commas", "brackets"],
)
def test_hostile_lists_cost_no_more_than_their_length(hostile: bytes) -> None:
    begin = time.process_time()
    addresslist.qualify(hostile, b"x")
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("text", [b"<a\nBcc: x>", b"a\n\tBcc", b"A\nR:x <b>", b'A "\n" <b>'])
def test_no_line_end_survives_in_what_goes_to_the_queue(text: bytes) -> None:
    for mailbox in addresslist.parse(text):
        assert b"\n" not in mailbox.given + mailbox.address


def test_a_bracket_that_is_missing_hides_no_other_address() -> None:
    found = addresslist.parse(b"<<a>, c")
    assert [(it.address, it.problem) for it in found] == [(b"a", "Unbalanced '<'"), (b"c", "")]


@pytest.mark.parametrize(
    "text",
    [b"a " * 50000, b" " * 100000 + b"a", b"<" * 50000 + b">" * 50000],
    ids=["words", "blanks", "brackets"],
)
def test_many_blanks_and_brackets_cost_little(text: bytes) -> None:
    began = time.process_time()
    addresslist.parse(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        (b"<a> <b>", b"<a@h>, <b@h>"),
        (b"Dave <a> (one) Carol <b>, c", b"Dave <a@h>, (one) Carol <b@h>, c@h"),
        (b"<a@x> b@y", b"<a@x>, b@y"),
        (b"g: <a> <b>;", b"g: <a@h>, <b@h>;"),
        (b"<a> Dave Hill", b"<a@h> Dave Hill"),
    ],
)
def test_a_comma_that_lacks_behind_a_bracket_is_put(text: bytes, completed: bytes) -> None:
    assert addresslist.qualify(text, b"h") == completed
    assert addresslist.qualify(completed, b"h") == completed


def test_brackets_separate_recipients_and_not_senders() -> None:
    assert len(addresslist.parse(b"<a> <b>", blanks_separate=False)) == 1
    assert addresslist.qualify_field(b"From: <a@x> <b@x>", b"h") == b"From: <a@x> <b@x>"
