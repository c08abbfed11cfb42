"""The file of users: what is kept of passwords, and what is asked of it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from minimta.listener import smtp_users
from minimta.listener.auth_backend import LoginPlace, PasswordVerdict
from minimta.listener.smtp_users import SmtpUserFile, SmtpUsers
from minimta.smtp import sasl
from minimta.smtp.sasl_server import Accepted, Challenge, Refused, Step
from tests.support.smtp_users import write_users

PLACE = LoginPlace("10.0.3.134", "10.0.3.135", True)
NAMES = ["emma", "emma@example.org", "Emma Example", "em:ma,$x", "\u00e9milie", "#x", "="]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return write_users(tmp_path / "smtp-users", {"emma": "secret", "dave": "other"})


def test_what_was_written_is_what_is_read() -> None:
    keys = {name: smtp_users.new_keys(f"of {name}") for name in NAMES}
    file = SmtpUserFile(b"s" * 32, keys)
    assert smtp_users.decode(smtp_users.encode(file)) == file


def test_neither_password_nor_keys_are_shown_by_accident() -> None:
    keys = smtp_users.new_keys("hunter2")
    text = repr(SmtpUserFile(b"of the server", {"emma": keys}))
    assert "hunter2" not in text and "of the server" not in text
    assert repr(keys.scrypt.value) not in text and repr(keys.scram.stored_key) not in text
    assert b"hunter2" not in smtp_users.encode(SmtpUserFile(b"x", {"emma": keys}))


def test_the_hash_is_scrypt_and_costs_16_mib() -> None:
    hashed = smtp_users.new_keys("secret").scrypt
    assert 128 * hashed.r << hashed.ln == 16 << 20
    made = hashlib.scrypt(
        b"secret", salt=hashed.salt, n=1 << hashed.ln, r=8, p=1, maxmem=1 << 26, dklen=32
    )
    assert made == hashed.value
    assert smtp_users.new_keys("secret").scrypt.salt != hashed.salt


@pytest.mark.parametrize("name", ["", "a\tb", "a\nb", "\x7f", "x" * 1025, "\u202etxt"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        smtp_users.user_name(name)


@pytest.mark.parametrize("password", ["", "a\nb", "\u00ad"])
def test_what_is_no_password_is_refused(password: str) -> None:
    with pytest.raises(ValueError):
        smtp_users.new_keys(password)


@pytest.mark.parametrize(
    ("user", "password", "verdict"),
    [
        ("emma", "secret", PasswordVerdict.RIGHT),
        ("emma", "Secret", PasswordVerdict.WRONG),
        ("dave", "secret", PasswordVerdict.WRONG),
        ("Emma", "secret", PasswordVerdict.NO_USER),
        ("", "secret", PasswordVerdict.NO_USER),
        ("nosuch", "", PasswordVerdict.NO_USER),
    ],
)
def test_a_password_is_right_wrong_or_nobodys(
    path: Path, user: str, password: str, verdict: PasswordVerdict
) -> None:
    assert SmtpUsers(str(path)).check(user, password, PLACE) is verdict


def test_an_unknown_user_costs_the_same_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[object, ...]] = []
    real = hashlib.scrypt

    def counted(password: bytes, **costs: object) -> bytes:
        done.append((len(password), costs["n"], costs["r"], costs["p"]))
        return real(password, **costs)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "scrypt", counted)
    users = SmtpUsers(str(path))
    for user in ("emma", "nosuch"):
        users.check(user, "wrong!", PLACE)
    assert done == [(6, 16384, 8, 1)] * 2


def test_a_realm_may_be_left_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = str(write_users(tmp_path / "u", {"emma": "1", "dave@lab2.campus": "2"}))
    users = SmtpUsers(path, "lab2.campus")
    for user, password in (("emma@lab2.campus", "1"), ("dave", "2"), ("dave@lab2.campus", "2")):
        assert users.check(user, password, PLACE) is PasswordVerdict.RIGHT
    for user in ("emma@lab1.campus", "dave@lab1.campus"):
        assert users.check(user, "1", PLACE) is PasswordVerdict.NO_USER
    assert SmtpUsers(path).check("dave", "2", PLACE) is PasswordVerdict.NO_USER


def scram(users: SmtpUsers, user: str, password: str) -> tuple[list[bytes], Step]:
    """The challenges, and what the dialogue came to."""
    login = sasl.Login(user, password.encode())
    client = sasl.client("SCRAM-SHA-256", login, sasl.Surroundings("client"))
    server = users.scram(PLACE)
    step, challenges = server.step(client.initial()), []
    while isinstance(step, Challenge):
        challenges.append(step.octets)
        step = server.step(client.step(step.octets))
    return challenges, step


def test_scram_finds_the_same_users(path: Path) -> None:
    users = SmtpUsers(str(path))
    assert scram(users, "emma", "secret")[1] == Accepted("emma")
    assert scram(users, "emma", "wrong")[1] == Refused("emma")
    assert scram(users, "nosuch", "secret")[1] == Refused("nosuch")


def test_scram_tells_nobody_who_exists(path: Path) -> None:
    asked = [scram(SmtpUsers(str(path)), name, "x")[0][0] for name in ("nosuch", "nosuch", "emma")]
    salts = [challenge.split(b",")[1] for challenge in asked]
    # The same salt each time, also after a restart, and as many rounds.
    assert salts[0] == salts[1] != salts[2]
    assert len({(len(one), one.split(b",")[2]) for one in asked}) == 1


def test_a_changed_file_is_seen(path: Path) -> None:
    users = SmtpUsers(str(path))
    assert users.check("emma", "secret", PLACE) is PasswordVerdict.RIGHT
    write_users(path, {"emma": "new"})
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert users.check("emma", "secret", PLACE) is PasswordVerdict.WRONG
    assert users.check("emma", "new", PLACE) is PasswordVerdict.RIGHT


def test_without_a_file_nobody_may_log_in(tmp_path: Path) -> None:
    assert not SmtpUsers(str(tmp_path / "nosuch")).is_there()
    assert not SmtpUsers(str(tmp_path / "passwd" / "x")).is_there()


def test_a_file_that_cannot_be_looked_at_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*unused: object, **more: object) -> os.stat_result:
        raise OSError(5, "Input/output error", str(path))

    users = SmtpUsers(str(path))
    monkeypatch.setattr(os, "stat", fails)
    assert users.is_there()
    with pytest.raises(OSError):
        users.check("emma", "secret", PLACE)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o662])
def test_a_file_that_others_can_read_or_write_is_not_used(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(OSError, match="file"):
        SmtpUsers(str(path)).check("emma", "secret", PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# minimta passwd writes this\n# end\n",
        "\t!!!\n# end\n",
        "\tc2VjcmV0\nemma\n# end\n",
        "\tc2VjcmV0\nemma\tx\ty\n# end\n",
        # more memory than a login may take
        "\tc2VjcmV0\nemma\t$scrypt$ln=20,r=8,p=1$c2FsdA==$aGFzaA==\t"
        "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy\n# end\n",
    ],
)
def test_a_file_that_makes_no_sense_is_nobodys_wrong_password(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(OSError, match=r"makes no sense|was cut|is missing"):
        SmtpUsers(str(path)).check("emma", "secret", PLACE)


def test_every_cut_of_the_file_is_seen(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            smtp_users.decode(whole[:length])


def test_only_two_passwords_are_hashed_at_the_same_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_users, "_TURN", 0.01)
    users = SmtpUsers(str(path))
    for _ in range(2):
        users._turns.acquire()
    with pytest.raises(OSError, match="at the same time"):
        users.check("emma", "secret", PLACE)
    users._turns.release()
    assert users.check("emma", "secret", PLACE) is PasswordVerdict.RIGHT
