"""The mechanisms of AUTH as a server takes them."""

from __future__ import annotations

import pytest

from minimta.smtp import sasl, sasl_server, scram
from minimta.smtp.sasl import Login, Surroundings
from minimta.smtp.sasl_server import Accepted, Challenge, CheckPassword, Refused
from minimta.smtp.scram import SaslError, ScramServer

LOGIN = Login("emma", b"secret")


def begin(mechanism: str, login: Login = LOGIN) -> sasl.SaslClient:
    return sasl.client(mechanism, login, Surroundings("abc"))


def test_plain_is_taken_with_the_command_or_after_a_challenge() -> None:
    found = CheckPassword("emma", "secret", "dave")
    assert sasl_server.server("PLAIN").step(b"dave\0emma\0secret") == found
    theirs = sasl_server.server("PLAIN")
    assert theirs.step(None) == Challenge(b"")
    assert theirs.step(b"dave\0emma\0secret") == found


@pytest.mark.parametrize(
    "response",
    [b"", b"emma", b"\0emma", b"\0emma\0a\0b", b"\0\0secret", b"\0emma\0", b"\0em\xffma\0x",
     b"\0em\x07ma\0x", b"\0" + b"e" * 1025 + b"\0x", b"\0emma\0" + b"x" * 1025],
)  # fmt: skip
def test_what_is_no_plain_is_refused(response: bytes) -> None:
    with pytest.raises(SaslError):
        sasl_server.server("PLAIN").step(response)


def test_login_asks_for_user_and_password() -> None:
    theirs = sasl_server.server("LOGIN")
    assert theirs.step(None) == Challenge(b"Username:")
    assert theirs.step(b"emma") == Challenge(b"Password:")
    assert theirs.step(b"secret") == CheckPassword("emma", "secret")


def test_login_takes_the_user_with_the_command() -> None:
    theirs = sasl_server.server("LOGIN")
    assert theirs.step(b"emma") == Challenge(b"Password:")
    with pytest.raises(SaslError):
        theirs.step(b"")
    with pytest.raises(SaslError):
        sasl_server.server("LOGIN").step(b"")


def scram_server() -> sasl_server.SaslServer:
    made = {"emma": scram.keys_of("secret", b"salt", 4096)}
    keys = ScramServer("SCRAM-SHA-256", made.get, b"ours", "xyz")
    return sasl_server.server("SCRAM-SHA-256", keys)


@pytest.mark.parametrize("has_initial", [True, False])
def test_scram_between_both_ends(has_initial: bool) -> None:
    ours, theirs = begin("SCRAM-SHA-256"), scram_server()
    if not has_initial:
        assert theirs.step(None) == Challenge(b"")
    first = ours.initial()
    assert first is not None
    step = theirs.step(first)
    assert isinstance(step, Challenge)
    step = theirs.step(ours.step(step.octets))
    assert isinstance(step, Challenge)
    assert theirs.step(ours.step(step.octets)) == Accepted("emma")
    ours.finish()


def test_scram_refuses_a_wrong_password_and_an_unknown_user_alike() -> None:
    for login in (Login("emma", b"wrong"), Login("nosuch", b"secret")):
        ours, theirs = begin("SCRAM-SHA-256", login), scram_server()
        step = theirs.step(ours.initial())
        assert isinstance(step, Challenge)
        assert theirs.step(ours.step(step.octets)) == Refused(login.user)


def test_scram_takes_nothing_behind_its_end() -> None:
    ours, theirs = begin("SCRAM-SHA-256"), scram_server()
    step = theirs.step(ours.initial())
    assert isinstance(step, Challenge)
    theirs.step(ours.step(step.octets))
    with pytest.raises(SaslError):
        theirs.step(b"more")


def test_a_look_at_the_users_that_fails_is_no_verdict() -> None:
    def fail(user: str) -> None:
        raise OSError("disk")

    theirs = sasl_server.server("SCRAM-SHA-256", ScramServer("SCRAM-SHA-256", fail, b"", "xyz"))
    with pytest.raises(OSError, match="disk"):
        theirs.step(begin("SCRAM-SHA-256").initial())


def test_a_server_offers_what_is_possible_and_chosen() -> None:
    every = [*sasl_server.SERVER_MECHANISMS, "GSSAPI"]
    assert sasl_server.offer(sends_password=True, keys=True, binding=True, chosen=every) == list(
        sasl_server.SERVER_MECHANISMS
    )
    assert sasl_server.offer(sends_password=False, keys=True, binding=False, chosen=every) == [
        "SCRAM-SHA-256"
    ]
    assert sasl_server.offer(sends_password=True, keys=False, binding=True, chosen=["plain"]) == [
        "PLAIN"
    ]
