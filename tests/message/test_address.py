import pytest

from minimta.message import address


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"<dave@lab2.campus>", b"dave@lab2.campus"),
        (b"<>", b""),
        (b"dave", b"dave"),
        (b"<dave", b"<dave"),
        (b"dave>", b"dave>"),
    ],
)
def test_only_a_matching_pair_of_brackets_is_taken_off(path: bytes, expected: bytes) -> None:
    assert address.bare(path) == expected


@pytest.mark.parametrize(
    ("whole", "local", "domain"),
    [
        (b"dave@lab2.campus", b"dave", b"lab2.campus"),
        (b"dave", b"dave", b""),
        (b"", b"", b""),
        (b"a@b@c", b"a@b", b"c"),
        (b'"a@b"@c', b'"a@b"', b"c"),
        (b'"a@b"', b'"a@b"', b""),
        (b"dave@", b"dave", b""),
        (b"dave%lab3.campus@lab2.campus", b"dave%lab3.campus", b"lab2.campus"),
    ],
)
def test_the_last_unquoted_at_splits(whole: bytes, local: bytes, domain: bytes) -> None:
    assert address.split(whole) == (local, domain)


@pytest.mark.parametrize(
    ("local", "meaning"),
    [
        (b"dave", b"dave"),
        (b'"dave"', b"dave"),
        (b'"da\\ ve"', b"da ve"),
        (b'"a\\"b"', b'a"b'),
        (b'"a\\\\b"', b"a\\b"),
        (b'""', b""),
        (b'"', b'"'),
        (b'"a\\"', b"a\\"),
    ],
)
def test_quoting_does_not_change_the_meaning(local: bytes, meaning: bytes) -> None:
    assert address.unquote(local) == meaning


@pytest.mark.parametrize(
    ("local", "plainest"),
    [
        (b"dave", b"dave"),
        (b'"dave"', b"dave"),
        (b"da\\ve", b"dave"),
        (b'"da"."ve"', b"da.ve"),
        (b'da"v\\e"', b"dave"),
        (b'"da ve"', b'"da ve"'),
        (b'"da\\ ve"', b'"da ve"'),
        (b'"a\\"b"', b'"a\\"b"'),
        (b'""', b'""'),
        (b"dave\\", b'"dave\\\\"'),
        (b"", b""),
    ],
)
def test_a_mailbox_has_one_spelling_in_tables(local: bytes, plainest: bytes) -> None:
    assert address.plainest(local) == plainest


@pytest.mark.parametrize(
    ("local", "name", "is_final"),
    [
        (b"dave", b"dave", False),
        (b"\\dave", b"dave", True),
        (b'"\\dave"', b"dave", True),
        (b'\\"da ve"', b"da ve", True),
        (b'"da\\ ve"', b"da ve", False),
        (b"EXAMPLE\\dave", b"EXAMPLE\\dave", False),
        (b"\\", b"", True),
        (b"", b"", False),
    ],
)
def test_a_backslash_before_a_name_is_the_mailbox(
    local: bytes, name: bytes, is_final: bool
) -> None:
    assert address.local_name(local) == (name, is_final)


@pytest.mark.parametrize(
    ("meaning", "written"),
    [
        (b"dave", b"dave"),
        (b"da.ve+x", b"da.ve+x"),
        (b"da ve", b'"da ve"'),
        (b"EXAMPLE\\john smith", b'"EXAMPLE\\\\john smith"'),
        (b'a"b', b'"a\\"b"'),
        (b"a@b", b'"a@b"'),
        (b"", b'""'),
    ],
)
def test_a_local_part_is_quoted_if_it_needs_it(meaning: bytes, written: bytes) -> None:
    assert address.quoted(meaning) == written
    assert address.unquote(written) == meaning


@pytest.mark.parametrize(
    ("login", "local"),
    [
        (b"dave", b"dave"),
        (b"da.ve", b"da.ve"),
        (b"dave.", b'"dave."'),
        (b".dave", b'".dave"'),
        (b"da..ve", b'"da..ve"'),
        (b"EXAMPLE\\john smith", b'"EXAMPLE\\\\john smith"'),
        (b"dave@corp", b'"dave@corp"'),
    ],
)
def test_a_login_need_be_no_atom(login: bytes, local: bytes) -> None:
    assert address.of_login(login) == local
    assert address.unquote(local) == login
    assert address.split(address.qualified(local, "lab2.campus")) == (local, b"lab2.campus")


def test_domains_compare_without_case_and_final_dot() -> None:
    assert address.domain_key(b"Lab2.CAMPUS.") == address.domain_key(b"lab2.campus")


@pytest.mark.parametrize(
    ("domain", "literal"),
    [
        (b"[10.0.3.135]", "10.0.3.135"),
        (b"[IPv6:2001:db8::1]", "2001:db8::1"),
        (b"[ipv6:::1]", "::1"),
        (b"lab2.campus", ""),
        (b"[10.0.3.135", ""),
    ],
)
def test_literals_are_recognised_by_their_brackets(domain: bytes, literal: str) -> None:
    assert address.literal(domain) == literal


@pytest.mark.parametrize(
    ("bare", "on_the_wire"),
    [
        (b"dave@lab2.campus.", b"dave@lab2.campus"),
        (b"dave.@lab2.campus", b"dave.@lab2.campus"),
        (b'"a@b."', b'"a@b."'),
        (b"dave@[10.0.3.135].", b"dave@[10.0.3.135]"),
        (b"dave@.", b"dave"),
        (b"dave.", b"dave."),
        (b".", b"."),
        (b"", b""),
    ],
)
def test_the_final_dot_of_a_domain_is_taken_off(bare: bytes, on_the_wire: bytes) -> None:
    assert address.without_final_dot(bare) == on_the_wire


def test_the_address_is_found_behind_a_name() -> None:
    assert address.bare(b"Henry E <henry@lab3.campus>") == b"henry@lab3.campus"
    assert address.bare(b"a>b") == b"a>b"


@pytest.mark.parametrize(
    ("bare", "whole"),
    [
        (b"dave", b"dave@lab2.campus"),
        (b"dave@lab3.campus", b"dave@lab3.campus"),
        (b'"a@b"', b'"a@b"@lab2.campus'),
        (b"", b""),
    ],
)
def test_an_address_is_completed_and_the_null_reverse_path_is_not(
    bare: bytes, whole: bytes
) -> None:
    assert address.qualified(bare, "lab2.campus") == whole


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *[(text, "Cannot mail directly to programs") for text in (b"|x", b'"|x y"', b" <|x@h>")],
        *[(text, "Cannot mail directly to files") for text in (b"/x", b'"/x"@lab2.campus')],
        *[
            (text, "Cannot mail directly to :include:s")
            for text in (b":include:/x", b":Include:/x", b"x <:include:/x>")
        ],
        *[(text, "") for text in (b"dave", b"a/b|c", b"\\|x", b":x", b"error:x", b"<>", b"")],
    ],
)
def test_programs_files_and_lists_are_no_addresses(text: bytes, why: str) -> None:
    assert address.why_special(text) == why
