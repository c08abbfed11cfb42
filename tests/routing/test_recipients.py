"""Who is a recipient of this host, as RCPT, VRFY, EXPN, -bv, a submission and the expansion see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.routing import recipients
from minimta.routing.local_host import LocalHost

PASSWD = "".join(
    f"{name}:x:1001:1001::/home/{name}:/bin/sh\n" for name in ("dave", "carol", "a+b", "-oq")
)
ALIASES = "staff: dave, carol\ncarol+x: dave\nhelp+*: dave\nhelp: carol\nMixed: dave\nspam: error:nouser No\n"
FILES = {
    "passwd": PASSWD,
    "aliases": ALIASES,
    "names": "[10.0.3.135]\n",
    "mailertable": "table.example local:dave\nbad.example error:5.7.1:550 No\n",
}


class Here:
    def __init__(self, directory: Path) -> None:
        for name, text in FILES.items():
            (directory / name).write_text(text)
        directory.chmod(0o700)
        options = Options()
        options.host_name = "lab2.campus"
        options.local_host_names = str(directory / "names")
        options.mailer_table = str(directory / "mailertable")
        options.passwd_file = str(directory / "passwd")
        options.alias_files = (str(directory / "aliases"),)
        self.host = LocalHost(options)

    def verdict(self, bare: bytes) -> tuple[bool, bool]:
        """(is it local, is it known)"""
        found = recipients.look_up(bare, self.host)
        return found is not None, found is None or found.is_known


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.mark.parametrize(
    "bare",
    [
        b"dave@lab2.campus",
        b"dave",
        b"DAVE@LAB2.Campus",
        b"dave@[10.0.3.135]",
        b"dave@lab2.campus.",
        b"dave+lists@lab2",
        b'"dave"@lab2.campus',
        b'"da\\ve"@lab2.campus',
        b"staff",
        b"STAFF@localhost",
        b"mixed",
        b"help+anything",
        b"postmaster",
        b"PostMaster@lab2.campus",
        b"a+b",
        b"x@table.example",
    ],
)
def test_users_aliases_and_postmaster_are_known(here: Here, bare: bytes) -> None:
    assert here.verdict(bare) == (True, True)


@pytest.mark.parametrize(
    "bare",
    [
        b"nosuch",
        b"nosuch+x",
        b"+dave",
        b"dave.",
        b".dave",
        b"dave/x",
        b"../dave",
        b"|/bin/sh",
        b"/tmp/x",
        b":include:/etc/passwd",
        b"\\nosuch",
        b"\\",
        b"~dave",
        b"error:x",
        b"dave%lab2.campus",
        b"lab2.campus!dave",
        b'"dave "@lab2.campus',
        b'"da ve"@lab2.campus',
        b"(c)dave",
        b"",
    ],
)
def test_whatever_else_stands_before_a_local_domain_is_nobody(here: Here, bare: bytes) -> None:
    assert here.verdict(bare) == (True, False)


@pytest.mark.parametrize("bare", [b"\\dave", b"\\dave@lab2.campus", b'"\\dave"@lab2.campus'])
def test_a_backslash_names_a_mailbox(here: Here, bare: bytes) -> None:
    assert here.verdict(bare) == (True, True)
    found = recipients.look_up(bare, here.host)
    assert found is not None and found.alias is None


@pytest.mark.parametrize(
    "bare",
    [b"dave@lab3.campus", b"dave@lab2.campus.evil", b"dave@[10.0.3.1]", b"x@bad.example"],
)
def test_other_domains_are_not_ours(here: Here, bare: bytes) -> None:
    assert not here.verdict(bare)[0]


def test_a_user_who_appears_later_is_seen(here: Here, tmp_path: Path) -> None:
    assert here.verdict(b"erin") == (True, False)
    (tmp_path / "passwd").write_text(PASSWD + "erin:x:1:1::/:/bin/sh\n")
    assert here.verdict(b"erin") == (True, True)


def test_users_who_cannot_be_asked_are_not_unknown(here: Here, tmp_path: Path) -> None:
    (tmp_path / "passwd").unlink()
    with pytest.raises(OSError):
        here.verdict(b"dave")


@pytest.mark.parametrize(
    ("local_part", "alias", "value"),
    [
        (b"staff", b"staff", b"dave, carol"),
        (b"Staff+x", b"Staff", b"dave, carol"),
        (b"help+x", b"help+*", b"dave"),
        (b"help", b"help", b"carol"),
        (b"PostMaster", b"", b"root"),
        (b"carol+x", b"carol+x", b"dave"),
        (b"dave", None, b""),
        (b"postmaster+x", None, b""),
    ],
)
def test_the_alias_that_counts(
    here: Here, local_part: bytes, alias: bytes | None, value: bytes
) -> None:
    found = recipients.find(local_part, here.host)
    assert (found.alias, found.value) == (alias, value)


@pytest.mark.parametrize(
    ("local_part", "user", "detail"),
    [
        (b"dave", "dave", b""),
        (b"DAVE", "dave", b""),
        (b"dave+", "dave", b""),
        (b"DAVE+Lists", "dave", b"Lists"),
        (b"dave+a+b", "dave", b"a+b"),
        (b"a+b", "a+b", b""),
        (b"A+B", "a+b", b""),
        (b"staff+x", "", b""),
        (b"+dave", "", b""),
    ],
)
def test_the_user_and_the_detail(here: Here, local_part: bytes, user: str, detail: bytes) -> None:
    found = recipients.find_mailbox(local_part, here.host)
    assert (found.user.name if found.user else "") == user
    assert not found.user or found.detail == detail


def test_who_cannot_be_looked_up_now_is_not_unknown(
    here: Here, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipients.is_unknown(b"nosuch", here.host)
    assert not recipients.is_unknown(b"dave", here.host)
    assert not recipients.is_unknown(b"nosuch@lab3.campus", here.host)
    (tmp_path / "passwd").unlink()
    assert not recipients.is_unknown(b"nosuch", here.host)


def test_who_remembers_asks_once_and_who_does_not_sees_changes(here: Here, tmp_path: Path) -> None:
    once = LocalHost(here.host.options, remembers=True)
    assert recipients.find(b"dave", once).user == recipients.find(b"dave", here.host).user
    (tmp_path / "aliases").write_text(ALIASES + "dave: carol\n")
    assert recipients.find(b"dave", once).alias is None
    assert recipients.find(b"dave", here.host).value == b"carol"
    assert recipients.find(b"carol", once).user is not None
