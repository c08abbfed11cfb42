"""Rows of /etc/mail/authinfo: what they say, which one counts, and what is wrong with one."""

from __future__ import annotations

import pytest

from minimta.mailers.remote.authinfo import AuthRow, find, parse


def only(text: str) -> AuthRow:
    (row,) = parse(text.encode())
    return row


def test_a_row_of_sendmails_manual() -> None:
    row = only(
        'AuthInfo:other.dom "U:user" "I:user2" "P:secret" "R:other.dom" "M:DIGEST-MD5 LOGIN"'
    )
    assert (row.fault, row.line, row.key) == ("", 1, "other.dom")
    assert (row.user, row.identity) == ("user2", "user")
    assert (row.source, row.value, row.mechanisms) == ("P", b"secret", ("LOGIN",))


@pytest.mark.parametrize("fields", ['"U:emma" "P:s"', '"I:emma" "P:s"', '"U:emma" "I:emma" "P:s"'])
def test_user_or_authentication_identity_is_enough(fields: str) -> None:
    row = only(f"AuthInfo:h {fields}")
    assert (row.user, row.identity, row.fault) == ("emma", "", "")


@pytest.mark.parametrize("name", ["root", "smmsp"])
def test_local_users_of_the_examples_are_nobody_elsewhere(name: str) -> None:
    row = only(f'AuthInfo:smtp.gmail.com "U:{name}" "I:emma@gmail.com" "P:s"')
    assert (row.user, row.identity) == ("emma@gmail.com", "")


def test_a_password_in_base64() -> None:
    assert only('AuthInfo:host.more.dom "U:user" "P=c2VjcmV0"').value == b"secret"


def test_a_password_with_blanks_and_octets_as_they_stand() -> None:
    (row,) = parse(b'AuthInfo:h "U:u" "P: a b\xff#:\\"')
    assert row.value == b" a b\xff#:\\"


def test_fields_need_no_quotation_marks_and_the_key_no_word_before_it() -> None:
    row = only("smtp.Example.org U:emma P:secret M:plain,login")
    assert (row.key, row.user, row.value) == ("smtp.example.org", "emma", b"secret")
    assert row.mechanisms == ("PLAIN", "LOGIN")


def test_comments_and_what_continues_nothing_are_left_out() -> None:
    assert parse(b"# comment\n\n  \n\r\n indented U:x P:y\n") == []


def test_a_byte_order_mark_does_not_hide_the_first_row() -> None:
    """Mail would go out without the login."""
    (row,) = parse(b'\xef\xbb\xbfAuthInfo:h "U:emma" "P:s"\n')
    assert (row.key, row.line, row.user, row.fault) == ("h", 1, "emma", "")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("", "one of P:"),
        ('"U:emma"', "one of P:"),
        ('"U:emma" "P:a" "F:/x"', "one of P:"),
        ('"P:secret"', "I: or U:"),
        ('"U:emma" "P:"', "P: is empty"),
        ('"U:emma" "P=!!"', "P= is no base64"),
        ('"U:emma" "P:secret', "quotation mark"),
        ('"U:emma""P:secret"', "quotation mark"),
        ('"U:emma" "P:a"b"', "quotation mark"),
        ('"U:emma" "x"secret "P:x"', "quotation mark"),
        ('"U:emma" "secret"', "each field begins with"),
        ('"U:emma" "U:dave" "P:x"', "U: stands there twice"),
        ('"U:emma" "F:secret"', "begins with /"),
        ('"U:emma" "C:secret"', "begins with /"),
        ('"U:emma" "S:a/b"', "without /"),
        ('"U:emma" "P:x" "M:GSSAPI"', "M: has none of"),
        ('"U:emma" "P:x" "M:PLAIN XOAUTH2"', "for a password and for a token"),
        ('"U:em\x07ma" "P:x"', "control character"),
        ('"U:emma" "P:x" "H:other.org"', "a row for a sender"),
    ],
)
def test_what_is_wrong_with_a_row_is_its_fault_and_no_secret_is_shown(
    fields: str, fault: str
) -> None:
    row = only(f"AuthInfo:h {fields}")
    assert fault in row.fault
    assert "secret" not in row.fault
    assert (row.key, row.value, row.source) == ("h", b"", "")


def test_a_row_with_a_fault_hides_no_other() -> None:
    bad, good = parse(b'AuthInfo:a "U:x"\nAuthInfo:b "U:x" "P:y"\n')
    assert (bool(bad.fault), good.fault) == (True, "")
    assert find([bad, good], "b", 25, b"") is good
    assert find([bad, good], "a", 25, b"") is bad


def test_two_rows_for_the_same_are_a_fault_of_the_second() -> None:
    first, second = parse(b'AuthInfo:a "U:x" "P:1"\nauthinfo:A "U:x" "P:2"\n')
    assert first.fault == ""
    assert second.fault == "line 1 is for the same"
    assert find([first, second], "a", 25, b"") is first


def test_a_secret_is_not_shown() -> None:
    assert "secret" not in repr(only('AuthInfo:h "U:emma" "P:secret"'))


# --- which row ------------------------------------------------------------------------------------

ROWS = parse(
    b"""\
AuthInfo: "U:default" "P:x"
AuthInfo:smtp.example.org "U:host" "P:x"
AuthInfo:smtp.example.org:587 "U:port" "P:x"
AuthInfo:[10.9.9.1] "U:address" "P:x"
AuthInfo:[IPv6:2001:db8::1]:2525 "U:six" "P:x"
AuthInfo:emma@example.org "H:[smtp.example.org]" "U:sender" "P:x"
AuthInfo:emma@example.org "H:smtp.example.org:465" "U:sender465" "P:x"
AuthInfo:@example.org "H:smtp.example.org" "U:domain" "P:x"
AuthInfo:named.org.:submission "U:named" "P:x"
AuthInfo:broken@example.org "U:broken"
"""
)


@pytest.mark.parametrize(
    ("name", "port", "sender", "user"),
    [
        ("smtp.example.org", 587, b"", "port"),
        ("SMTP.Example.ORG.", 25, b"", "host"),
        ("other.example.org", 587, b"", "default"),
        ("10.9.9.1", 25, b"", "address"),
        ("2001:db8::1", 2525, b"", "six"),
        ("2001:db8::1", 25, b"", "default"),
        ("smtp.example.org", 587, b"Emma@Example.org", "sender"),
        ("smtp.example.org", 465, b"emma@example.org", "sender465"),
        ("smtp.example.org", 587, b"dave@example.org", "domain"),
        ("other.example.org", 587, b"emma@example.org", "default"),
        ("named.org", 587, b"", "named"),
    ],
)
def test_the_nearest_row_counts(name: str, port: int, sender: bytes, user: str) -> None:
    row = find(ROWS, name, port, sender)
    assert row is not None
    assert row.user == user


def test_without_a_default_there_is_no_login_for_other_hosts() -> None:
    assert find(ROWS[1:], "other.example.org", 587, b"emma@example.org") is None


def test_a_row_for_a_sender_that_has_a_fault_delays_that_senders_mail() -> None:
    row = find(ROWS, "smtp.example.org", 587, b"broken@example.org")
    assert row is not None
    assert "needs H:" in row.fault


def test_a_token_is_for_the_mechanisms_that_need_one() -> None:
    (row,) = parse(b'AuthInfo:smtp.example.org "U:emma" "T:office"')
    assert (row.source, row.value, row.mechanisms) == ("T", b"office", ("OAUTHBEARER", "XOAUTH2"))
    (row,) = parse(b'AuthInfo:smtp.example.org "U:emma" "T:office" "M:XOAUTH2"')
    assert (row.mechanisms, row.fault) == (("XOAUTH2",), "")
    (row,) = parse(b'AuthInfo:smtp.example.org "U:emma" "T:office" "M:PLAIN"')
    assert row.fault == "T: needs one of the mechanisms OAUTHBEARER, XOAUTH2, or no M:"


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "-x", "a b", "\u00e4", "x" * 101])
def test_the_name_of_a_token_is_no_path(name: str) -> None:
    (row,) = parse(f'AuthInfo:smtp.example.org "U:emma" "T:{name}"'.encode())
    assert row.fault == "T: needs a name that `minimta token list` tells"
