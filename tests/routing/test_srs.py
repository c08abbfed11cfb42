"""SRS: senders that we may use for the mail of others.

The addresses are those of postsrsd 1.10 (-d ours.example, secret "secretkey") on day 20,787, but for
their hashes, which were made with `printf 'js=lab2.campus=dave' | openssl dgst -sha1 -hmac secretkey`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minimta.routing import srs, srs_key
from minimta.routing.local_host import LocalHost
from tests.support.smtphost import STRANGER, SmtpHost

KEY, DAY = b"secretkey", 86400
NOW = 1795993359.0
DAVE = b"SRS0=037q=JS=lab2.campus=dave"
VECTORS = [
    (b"dave@lab2.campus", DAVE),
    (b"Dave.X+y@LAB2.Campus", b"SRS0=MQWy=JS=LAB2.Campus=Dave.X+y"),
    (b"a=b@x.example", b"SRS0=enNA=JS=x.example=a=b"),
    (
        b"SRS0=Abcd=QX=orig.example=bob@fwd.example",
        b"SRS1=c3LZ=fwd.example==Abcd=QX=orig.example=bob",
    ),
    (
        b"SRS0+Abcd=QX=orig.example=bob@fwd.example",
        b"SRS1=vz/h=fwd.example=+Abcd=QX=orig.example=bob",
    ),
    (b"SRS0-x@q.example", b"SRS1=hSVN=q.example=-x"),
]


def back(local: bytes, now: float = NOW, *keys: bytes) -> bytes:
    return srs.original(local, keys or (KEY,), now)


@pytest.mark.parametrize(("sender", "made"), VECTORS)
def test_addresses_are_those_of_postsrsd(sender: bytes, made: bytes) -> None:
    assert srs.forwarded(sender, b"ours.example", KEY, NOW) == made + b"@ours.example"


@pytest.mark.parametrize(("sender", "made"), VECTORS)
def test_what_was_made_is_taken_back_in_any_case(sender: bytes, made: bytes) -> None:
    assert back(made) == sender
    assert back(made.lower()).lower() == sender.lower()
    assert back(made.upper()).lower() == sender.lower()


def test_a_second_forwarder_shortens_the_way_to_the_first() -> None:
    sender = b"SRS1=zzzz=first.example==Abcd=QX=orig.example=bob@second.example"
    made = b"SRS1=p/by=first.example==Abcd=QX=orig.example=bob"
    assert srs.forwarded(sender, b"ours.example", KEY, NOW) == made + b"@ours.example"
    assert back(made) == b"SRS0=Abcd=QX=orig.example=bob@first.example"


@pytest.mark.parametrize(
    "sender", [b'"da ve"@x.example', b'"SRS0=a b"@x.example', b'"a@b"@x.example', b'"\\"q"@x.example']
)  # fmt: skip
def test_what_needs_quotes_keeps_its_meaning(sender: bytes) -> None:
    local = srs.forwarded(sender, b"ours.example", KEY, NOW).rpartition(b"@")[0]
    assert local[:1] == b'"' and back(local) == sender


@pytest.mark.parametrize(("days", "is_good"), [(0, True), (21, True), (22, False), (1023, True), (500, False)])  # fmt: skip
def test_an_address_is_good_for_21_days(days: int, is_good: bool) -> None:
    """A day ahead (1,023 of 1,024) may be the clock of another host of ours."""
    assert back(DAVE, NOW + days * DAY) == (b"dave@lab2.campus" if is_good else b"")


def test_another_octet_anywhere_is_no_address_of_ours() -> None:
    other = {
        good: back(DAVE[:n] + b"9" + DAVE[n + 1 :]) for n, good in enumerate(DAVE) if good != 57
    }
    assert set(other.values()) == {b""}
    assert back(VECTORS[3][1].replace(b"fwd", b"evil")) == b""


@pytest.mark.parametrize(
    "local",
    [b"", b"SRS0", b"SRS0=", b"SRS0===", b"SRS0=a=b=c=d", b"SRS0=037=JS=lab2.campus=dave", b"SRS1=c3LZ",
     b"SRS1=c3LZ=fwd.example", b"SRS0:037q=JS=lab2.campus=dave", b"SRS0=037q=JS==dave", b"\xff" * 9,
     b"SRS2=037q=JS=lab2.campus=dave", b"SRS0=\xff\xff\xff\xff=JS=lab2.campus=dave"],
)  # fmt: skip
def test_what_is_no_such_address_is_nobodys(local: bytes) -> None:
    assert back(local) == b""


@pytest.mark.parametrize(
    ("sender", "other"),
    [
        (b"muser@gmail.co", b"gmail.com=user"),
        (b"x@gmail.comuser.evil.example", b"gmail.com=user.evil.examplex"),
        (b"SRS0=h=JS=a=b@gmail.com-x.example", b"gmail.com=-x.example=h=JS=a=b"),
    ],
)
def test_what_is_signed_for_one_host_is_not_good_for_another(sender: bytes, other: bytes) -> None:
    kind, given, *rest = srs.forwarded(sender, b"ours.example", KEY, NOW).split(b"=")
    day = rest[:1] if kind == b"SRS0" else []
    assert back(b"=".join([kind, given, *day, other])) == b""


def test_an_older_key_is_good_for_taking_back() -> None:
    assert back(DAVE, NOW, b"a new one", KEY) == b"dave@lab2.campus"
    assert back(DAVE, NOW, b"a new one") == b""


def test_a_sender_that_would_be_too_long_stays() -> None:
    sender = b"a" * 200 + b"@a-rather-long-name-of-a-host.example"
    assert srs.forwarded(sender, b"ours.example", KEY, NOW) == sender


# --- the key -----------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "srs-key"


def test_root_makes_the_key_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if owner:
        monkeypatch.setattr(srs_key, "_read", lambda path: tuple(Path(path).read_bytes().split()))
    with pytest.raises(FileNotFoundError):
        srs_key.read(str(path))
    (key,) = srs_key.read(str(path), makes=True)
    assert len(key) == 64 and srs_key.read(str(path)) == (key,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.listdir(path.parent) == ["srs-key"]


def test_nobody_else_makes_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(FileNotFoundError):
        srs_key.read(str(path), makes=True)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_or_change_is_none(path: Path, mode: int) -> None:
    path.write_text("a-secret-key\nand-another\n")
    path.chmod(mode)
    with pytest.raises(OSError, match="others may read or change the key"):
        srs_key.read(str(path))
    path.chmod(0o600)
    assert srs_key.read(str(path)) == (b"a-secret-key", b"and-another")


@pytest.mark.parametrize("text", ["", "short\n", "long-enough-key\nshort\n"])
def test_a_key_that_can_be_guessed_is_none(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(OSError, match="no key of 8 characters"):
        srs_key.read(str(path))


def test_a_key_of_8_characters_is_one(path: Path) -> None:
    path.write_text("8letters\n")
    path.chmod(0o600)
    assert srs_key.read(str(path)) == (b"8letters",)


# --- at RCPT -----------------------------------------------------------------------------------------------


@pytest.fixture
def smtp(tmp_path: Path) -> SmtpHost:
    host = SmtpHost(tmp_path)
    host.options.srs_domain = "lab2.campus"
    host.options.srs_key_file = str(tmp_path / "srs-key")
    Path(host.options.srs_key_file).write_bytes(KEY + b"\n")
    Path(host.options.srs_key_file).chmod(0o600)
    return host


def rcpt(smtp: SmtpHost, recipient: str) -> str:
    peer = smtp.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<>")
    return peer.says(f"RCPT TO:<{recipient}>")[0]


def test_a_bounce_to_an_address_of_ours_is_taken(
    smtp: SmtpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    good = f"{DAVE.decode()}@lab2.campus".replace("lab2.campus=dave", "far.example=dave")
    made = srs.forwarded(b"dave@far.example", b"lab2.campus", KEY, NOW).decode()
    assert rcpt(smtp, made).startswith("250 2.1.5")
    assert rcpt(smtp, good).startswith("550 5.1.1")  # another's hash
    assert rcpt(smtp, made.replace("@lab2.campus", "@[10.0.3.135]")).startswith("550 5.1.1")
    monkeypatch.setattr("time.time", lambda: NOW + 30 * DAY)
    assert rcpt(smtp, made).startswith("550 5.1.1")


def test_without_the_option_it_is_a_user_like_any_other(smtp: SmtpHost) -> None:
    smtp.options.srs_domain = ""
    made = srs.forwarded(b"dave@far.example", b"lab2.campus", KEY, NOW).decode()
    assert rcpt(smtp, made).startswith("550 5.1.1")


def test_a_key_that_cannot_be_read_is_later(smtp: SmtpHost) -> None:
    Path(smtp.options.srs_key_file).chmod(0o644)
    made = srs.forwarded(b"dave@far.example", b"lab2.campus", KEY, NOW).decode()
    assert rcpt(smtp, made).startswith("451 4.3.0")
    assert rcpt(smtp, "dave@lab2.campus").startswith("250")


@pytest.mark.root
def test_a_listener_makes_the_key_and_whoever_only_looks_does_not(smtp: SmtpHost) -> None:
    path = Path(smtp.options.srs_key_file)
    path.unlink()
    here = LocalHost(smtp.options)
    here.read_tables()
    assert here.router.route(DAVE + b"@lab2.campus").mailer == "local" and not path.exists()
    smtp.shared_state().read_tables()
    assert len(path.read_text()) == 65
