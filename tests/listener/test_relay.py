from __future__ import annotations

from pathlib import Path

import pytest

from minimta.aliases.lookup import Aliases
from minimta.listener import relay
from minimta.routing import recipients
from minimta.routing.route import Router
from minimta.system.users import Users

PASSWD = "".join(
    f"{name}:x:1001:1001::/home/{name}:/bin/sh\n" for name in ("dave", "carol", "a+b", "-oq")
)
ALIASES = "staff: dave, carol\nhelp+*: dave\nhelp: carol\nMixed: dave\nspam: error:nouser No\n"
LOCAL = frozenset((b"lab2.campus", b"lab2", b"localhost", b"[10.0.3.135]"))


class Here:
    def __init__(self, directory: Path) -> None:
        for name, text in (("passwd", PASSWD), ("aliases", ALIASES)):
            (directory / name).write_text(text)
        directory.chmod(0o700)
        self.router = Router(LOCAL, "", {b"table.example": b"local:dave"})
        self.aliases = Aliases((str(directory / "aliases"),))
        self.users = Users(str(directory / "passwd"))

    def verdict(self, bare: bytes) -> tuple[bool, bool]:
        found = recipients.recipient_verdict(bare, self.router, self.aliases, self.users)
        return found.local, found.known


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
        b"\\dave",
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


@pytest.mark.parametrize(
    "bare", [b"dave@lab3.campus", b"dave@lab2.campus.evil", b"dave@[10.0.3.1]"]
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


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_relay(ip: str) -> None:
    assert relay.may_relay(ip)


@pytest.mark.parametrize(
    "ip",
    ["10.0.3.134", "127.0.0.2", "::", "::ffff:10.0.0.1", "0.0.0.0", "2001:db8::1", "", "localhost"],
)
def test_nobody_else_may(ip: str) -> None:
    assert not relay.may_relay(ip)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("10.0.3.134", True),
        ("10.0.3.999", False),
        ("::1", True),
        ("2001:db8::g", False),
        ("", False),
    ],
)
def test_an_address_is_an_address(text: str, is_one: bool) -> None:
    assert relay.is_ip(text) is is_one


@pytest.mark.parametrize(
    ("bare", "asks"),
    [
        (b"henry%lab3@lab2", True),
        (b"lab3!henry", True),
        (b'"henry@lab3"@lab2', True),
        (b"henry@lab2", False),
        (b"hen-ry+x@lab2", False),
    ],
)
def test_a_local_part_that_asks_to_be_sent_on_is_told(bare: bytes, asks: bool) -> None:
    assert relay.looks_like_route(bare) is asks
