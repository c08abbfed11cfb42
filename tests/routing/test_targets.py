from __future__ import annotations

import pytest

from minimta.routing.targets import AliasTarget, parse, split_items, strip_address


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (b"dave", "user", b"dave"),
        (b"henry@lab3.campus", "user", b"henry@lab3.campus"),
        (b"<henry@lab3.campus>", "user", b"henry@lab3.campus"),
        (b"Henry E <henry@lab3.campus>", "user", b"henry@lab3.campus"),
        (b"<<henry@lab3.campus>>", "user", b"henry@lab3.campus"),
        (b"<Henry E <henry@lab3.campus>>", "user", b"henry@lab3.campus"),
        (b'"E <x>" <henry@lab3.campus>', "user", b"henry@lab3.campus"),
        (b'"E, Henry" <henry@lab3.campus>', "user", b"henry@lab3.campus"),
        (b"henry@lab3.campus (Henry (the) E)", "user", b"henry@lab3.campus"),
        (b'"a b"@lab3.campus', "user", b'"a b"@lab3.campus'),
        (b"|subscribe.sh", "program", b"subscribe.sh"),
        (b'"|out.sh -x, y"', "program", b"out.sh -x, y"),
        (b'"|out.sh \\"a b\\""', "program", b'out.sh "a b"'),
        (b'|"out.sh -x"', "program", b"out.sh -x"),
        (b'| "out.sh -x, y"', "program", b"out.sh -x, y"),
        (b'|"out.sh \\"a b\\" \'c d\'"', "program", b"out.sh \"a b\" 'c d'"),
        (b'|"a b/out.sh" "c d"', "program", b'"a b/out.sh" "c d"'),
        (b'|out.sh "c d"', "program", b'out.sh "c d"'),
        (b'"|\\"a b/out.sh\\""', "program", b'"a b/out.sh"'),
        (b"/var/tmp/archive", "file", b"/var/tmp/archive"),
        (b'"/var/tmp/a b"', "file", b"/var/tmp/a b"),
        (b":include:/etc/list", "include", b"/etc/list"),
        (b'":include: /etc/list"', "include", b"/etc/list"),
        (b"error:5.7.1:550 No", "error", b"5.7.1:550 No"),
        (b"~/inbox", "user", b"~/inbox"),
        # as recorded: neither starts a comment or separates
        (b"dave # not a comment", "user", b"dave # not a comment"),
        (b"dave\tcarol", "user", b"dave\tcarol"),
        (b"dave\r", "user", b"dave"),
    ],
)
def test_one_item_is_one_target(text: bytes, kind: str, value: bytes) -> None:
    (target,) = parse(text)
    assert (target.kind, target.value, target.final) == (kind, value, False)


def test_a_backslash_makes_a_user_final() -> None:
    (target,) = parse(b"\\dave")
    assert (target.kind, target.value, target.final) == ("user", b"dave", True)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (b"dave, carol ,henry", [b"dave", b"carol", b"henry"]),
        (b",, dave,", [b"dave"]),
        (b'"|a, b", dave', [b'"|a, b"', b"dave"]),
        (b"a (b, c), d", [b"a (b, c)", b"d"]),
        (b"<@a,@b:c@d>, e", [b"<@a,@b:c@d>", b"e"]),
        (b"a\\,b, c", [b"a\\,b", b"c"]),
        (b"", []),
        (b"  \t", []),
        (b'dave@, <carol, "a b', [b"dave@", b'<carol, "a b']),
    ],
)
def test_commas_separate_outside_quotes_comments_and_brackets(
    text: bytes, items: list[bytes]
) -> None:
    assert split_items(text) == items


def test_a_forward_file_has_lines_and_comments() -> None:
    found = parse(b'# to both\ncarol\n\nhenry@lab3.campus, "|vacation dave"\n#end')
    assert [bytes(target) for target in found] == [
        b"carol",
        b"henry@lab3.campus",
        b'"|vacation dave"',
    ]
    assert [target.line for target in found] == [2, 4, 4]


@pytest.mark.parametrize(
    "text", [b"# nothing\n", b"", b"\n\n", b" , ,", b"(only a comment)", b"<>"]
)
def test_nothing_gives_no_target(text: bytes) -> None:
    assert parse(text) == []


@pytest.mark.parametrize(
    "target",
    [
        AliasTarget("user", b"dave"),
        AliasTarget("user", b"dave", final=True),
        AliasTarget("user", b'"a b"@c'),
        AliasTarget("program", b'/bin/x "a\\b", c'),
        AliasTarget("file", b"/var/a, b"),
        AliasTarget("file", b"/dev/null"),
        AliasTarget("include", b"/etc/list"),
        AliasTarget("error", b"5.7.1:550 No"),
    ],
    ids=bytes,
)
def test_what_a_recipient_line_holds_reads_back_as_the_same_target(target: AliasTarget) -> None:
    assert parse(bytes(target)) == [target]


@pytest.mark.parametrize("item", [b"|out.sh", b'"|out.sh"', b'"|out.sh a b"', b"|out.sh a b"])
def test_a_program_is_shown_as_it_was_written(item: bytes) -> None:
    (target,) = parse(item)
    assert bytes(target) == item
    assert parse(bytes(target)) == [AliasTarget("program", item.strip(b'"')[1:])]


@pytest.mark.parametrize("cut", range(40))
def test_no_cut_of_a_line_is_too_odd_to_read(cut: int) -> None:
    line = b'a (b "c) <d, "e\\" f"> , "|g \\\\ h", <i@j>k\\'
    for target in parse(line[cut:]) + parse(line[:cut]):
        assert target.value


def test_a_hundred_thousand_open_comments_cost_no_time() -> None:
    assert strip_address(b"(" * 100_000 + b"dave") == b""


def test_a_byte_order_mark_is_no_part_of_the_first_target() -> None:
    assert parse(b"\xef\xbb\xbf|out.sh\ndave") == parse(b"|out.sh\ndave")
    assert parse(b"\xef\xbb\xbf# comment\n") == []


@pytest.mark.parametrize(
    ("text", "users"),
    [
        (b"<dave> <carol>", [b"dave", b"carol"]),
        (b"Dave <dave@x> (one) Carol <carol@x>, henry", [b"dave@x", b"carol@x", b"henry"]),
        (b"<\\dave> <carol@x>", [b"dave", b"carol@x"]),
        (b"<a@x> b@y", [b"a@x", b"b@y"]),
    ],
)
def test_a_comma_forgotten_behind_a_bracket_loses_nobody(text: bytes, users: list[bytes]) -> None:
    assert [(target.kind, target.value) for target in parse(text)] == [("user", u) for u in users]
    assert [target.final for target in parse(text)] == [b"\\" in text] + [False] * (len(users) - 1)


def test_brackets_in_a_refusal_are_text() -> None:
    (target,) = parse(b"error:550 <dave> is now <carol@x>")
    assert (target.kind, target.value) == ("error", b"550 <dave> is now <carol@x>")
