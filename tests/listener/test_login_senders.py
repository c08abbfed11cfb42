"""Who has logged in sends as themselves (LoginSenders)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.listener.rights import after_login
from minimta.maps.cdbwriter import write_cdb
from tests.support.smtphost import STRANGER, ClientEnd, SmtpHost

TABLE = """\
# who may send as whom
info@example.org     emma, Dave Example
@lists.example.org   dave@example.org
"""


@pytest.fixture
def table(host: SmtpHost, tmp_path: Path) -> Path:
    path = tmp_path / "login-senders"
    path.write_text(TABLE)
    host.options.login_senders = str(path)
    return path


def logged_in(host: SmtpHost, user: str) -> ClientEnd:
    client = host.connect(*STRANGER)
    client.client.rights = after_login(client.client.rights, user)
    client.client.mechanism = "PLAIN"
    return client


@pytest.mark.parametrize(
    ("user", "sender", "code"),
    [
        ("emma", "emma@lab2.campus", "250"),
        ("emma", "EMMA@LAB2.CAMPUS", "250"),
        ("emma", "emma", "250"),
        ("emma", "", "250"),
        ("emma", "emma@[10.0.3.135]", "250"),
        ("emma", "emma@lab1.campus", "553"),
        ("emma", "dave@lab2.campus", "553"),
        ("emma", "dave", "553"),
        ("emma", "info@example.org", "250"),
        ("emma", "Info@Example.org", "250"),
        ("Dave Example", "info@example.org", "250"),
        ("dave@example.org", "info@example.org", "553"),
        ("dave@example.org", "any@lists.example.org", "250"),
        ("dave@example.org", "any@sub.lists.example.org", "553"),
        ("dave@example.org", "Dave@example.org", "250"),
        ("dave@example.org", "dave@lab2.campus", "553"),
    ],
)
def test_a_user_sends_as_themselves_and_as_the_table_says(
    host: SmtpHost, table: Path, user: str, sender: str, code: str
) -> None:
    assert logged_in(host, user).says(f"MAIL FROM:<{sender}>")[0][:3] == code


def test_the_refusal_says_why_and_is_logged(host: SmtpHost, table: Path, lines: list[str]) -> None:
    [answer] = logged_in(host, "emma").says("MAIL FROM:<dave@lab2.campus>")
    text = "<dave@lab2.campus>... Sender address not owned by user emma"
    assert answer == f"553 5.7.1 {text}"
    who = "arg1=<dave@lab2.campus>, relay=lab1.campus [10.0.3.134]"
    assert f"ruleset=check_mail, {who}, reject=553 5.7.1 {text}" in lines


def test_who_has_not_logged_in_is_not_asked(host: SmtpHost, table: Path) -> None:
    assert host.connect(*STRANGER).says("MAIL FROM:<dave@lab2.campus>")[0][:3] == "250"


def test_without_the_option_a_user_sends_as_anybody(host: SmtpHost) -> None:
    assert logged_in(host, "emma").says("MAIL FROM:<dave@example.org>")[0][:3] == "250"


def test_a_changed_table_is_seen(host: SmtpHost, table: Path) -> None:
    client = logged_in(host, "emma")
    assert client.says("MAIL FROM:<new@example.org>")[0][:3] == "553"
    table.write_text("new@example.org emma\n")
    os.utime(table, (9, 9))
    assert client.says("MAIL FROM:<new@example.org>")[0][:3] == "250"


def test_what_makemap_has_made_of_the_table_counts_before_it(host: SmtpHost, table: Path) -> None:
    client = logged_in(host, "emma")
    assert client.says("MAIL FROM:<new@example.org>")[0][:3] == "553"
    write_cdb(f"{table}.cdb", [(b"new@example.org", b"emma")])
    table.unlink()
    assert client.says("MAIL FROM:<new@example.org>")[0][:3] == "250"
    assert client.says("RSET", "MAIL FROM:<info@example.org>")[1][:3] == "553"


@pytest.mark.parametrize("text", [None, b"new@example.org", b"a\0b"])
def test_a_table_that_cannot_be_read_delays(
    host: SmtpHost, table: Path, lines: list[str], text: bytes | None
) -> None:
    table.unlink()
    if text is not None:
        table.write_bytes(text)
    client = logged_in(host, "emma")
    assert client.says("MAIL FROM:<x@example.org>")[0][:9] == "451 4.3.0"
    assert any(f"SYSERR(root): LoginSenders: {table}: " in line for line in lines)
    # Who sends as themselves needs no table.
    assert client.says("MAIL FROM:<emma@lab2.campus>")[0][:3] == "250"
