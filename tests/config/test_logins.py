"""The options of AUTH."""

from __future__ import annotations

import pytest

from minimta.config import logins
from minimta.config.option import OptionError
from minimta.config.options import Options, by_name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("login plain", ("LOGIN", "PLAIN")),
        ("PLAIN, LOGIN", ("PLAIN", "LOGIN")),
        ("EXTERNAL GSSAPI DIGEST-MD5 CRAM-MD5 LOGIN PLAIN", ("LOGIN", "PLAIN")),
        ("PLAIN PLAIN", ("PLAIN",)),
        ("", ()),
    ],
)
def test_of_mechanisms_those_are_left_that_can_be_had_in_their_order(
    text: str, found: tuple[str, ...]
) -> None:
    assert logins.mechanisms(text) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PLAIM", r"unknown mechanism PLAIM \(did you mean PLAIN\?\)"),
        ("CRAM-MD5 DIGEST-MD5", "none of these can be had, only SCRAM-SHA-256 PLAIN LOGIN"),
        ("SCRAM-SHA-256-PLUS PLAIN", "SCRAM-SHA-256-PLUS cannot be had: .* no tls-exporter"),
    ],
)
def test_mechanisms_that_are_none_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        logins.mechanisms(text)


@pytest.mark.parametrize("text", ["A", "A p y", "p,y", "Apyd", "m"])
def test_letters_that_are_so_are_taken(text: str) -> None:
    assert set(logins.letters(text)) <= set("Apydm")


@pytest.mark.parametrize("letter", "acfTx")
def test_letters_that_nothing_obeys_are_refused(letter: str) -> None:
    with pytest.raises(ValueError, match=f"{letter}"):
        logins.letters(f"A{letter}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/etc/x", "/etc/x"),
        ("file:/etc/x", "/etc/x"),
        ("Dovecot: /run/a", "dovecot:/run/a"),
        ("saslauthd:/run/a:b", "saslauthd:/run/a:b"),
        ("/etc/a:b", "/etc/a:b"),
        ("", ""),
        ("file:", ""),
    ],
)
def test_a_back_end_is_a_file_or_a_socket(text: str, found: str) -> None:
    assert logins.backend(text) == found


@pytest.mark.parametrize("text", ["x", "file:x", "dovecot:", "dovecot:x", "pam:/x", "ldap:x"])
def test_what_is_no_back_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        logins.backend(text)


def test_the_options_name_the_readers() -> None:
    options = Options()
    assert options.auth_backend == "/etc/mail/smtp-users"
    assert options.auth_mechanisms == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    with pytest.raises(OptionError, match="AuthMechanisms"):
        options.set(by_name("AuthMechanisms"), "CRAM-MD5")
    with pytest.raises(OptionError, match="AuthOptions"):
        options.set(by_name("AuthOptions"), "c")
