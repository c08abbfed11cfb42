"""The mechanisms of AUTH: what a client sends, what a server takes, in which order."""

from __future__ import annotations

import pytest

from minimta.smtp import sasl
from minimta.smtp.sasl import Login, Surroundings
from minimta.smtp.sasl_server import CheckPassword
from minimta.smtp.scram import SaslError

LOGIN = Login("emma", b"secret")
TOKEN = Login("emma@example.org", b"ya29.token")
PLACE = Surroundings("abc", host="smtp.example.org", port=587)


def begin(mechanism: str, login: Login = LOGIN) -> sasl.SaslClient:
    return sasl.client(mechanism, login, PLACE)


# --- base64 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [b"", b"a", b"\0emma\0secret", bytes(range(256))])
def test_base64_comes_back(octets: bytes) -> None:
    assert sasl.decoded(sasl.encoded(octets)) == octets


@pytest.mark.parametrize(
    "line",
    [b"!!!", b"YQ", b"YQ=", b"YR==", b"YQ==YQ==", b"Y Q==", b"YQ==\n", b"=", b"YQ===", b"Y-_=",
     b"A" * 12292, "é".encode()],
)  # fmt: skip
def test_what_is_not_exactly_base64_is_refused(line: bytes) -> None:
    with pytest.raises(SaslError):
        sasl.decoded(line)


# --- which mechanism ------------------------------------------------------------------------------


def test_the_strongest_mechanism_that_both_have_comes_first() -> None:
    offered = "LOGIN plain CRAM-MD5 SCRAM-SHA-1 XOAUTH2 SCRAM-SHA-256 SCRAM-SHA-256-PLUS GSSAPI"
    found = sasl.usable(offered, LOGIN, binding=False)
    assert found == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"]
    assert sasl.usable(offered, LOGIN, binding=True)[0] == "SCRAM-SHA-256-PLUS"


def test_the_administrator_says_which_mechanisms_may_be_used() -> None:
    login = Login("emma", b"secret", mechanisms=("LOGIN", "PLAIN"))
    assert sasl.usable("SCRAM-SHA-256 LOGIN PLAIN", login, binding=False) == ["PLAIN", "LOGIN"]
    assert sasl.usable("SCRAM-SHA-256", login, binding=False) == []


def test_a_password_is_never_sent_as_a_token_nor_a_token_as_a_password() -> None:
    assert sasl.usable("XOAUTH2 OAUTHBEARER", LOGIN, binding=False) == []
    token = Login("emma", b"t", mechanisms=("XOAUTH2",))
    assert sasl.usable("PLAIN XOAUTH2", token, binding=False) == ["XOAUTH2"]


def test_what_was_tried_is_not_tried_again() -> None:
    assert sasl.usable("PLAIN LOGIN", LOGIN, binding=False, tried=["PLAIN"]) == ["LOGIN"]


# --- clients --------------------------------------------------------------------------------------


def test_plain_says_all_at_once() -> None:
    ours = begin("PLAIN")
    assert ours.initial() == b"\0emma\0secret"
    ours.finish()
    with pytest.raises(SaslError):
        ours.step(b"more")


def test_plain_acts_as_another() -> None:
    assert begin("PLAIN", Login("i", b"p", identity="u")).initial() == b"u\0i\0p"


def test_nul_in_a_password_would_forge_a_field() -> None:
    with pytest.raises(SaslError):
        begin("PLAIN", Login("emma", b"a\0b"))


def test_login_answers_two_questions_and_no_third() -> None:
    ours = begin("LOGIN")
    assert ours.initial() is None
    assert [ours.step(b"Benutzer:"), ours.step(b"Passwort:")] == [b"emma", b"secret"]
    ours.finish()
    with pytest.raises(SaslError):
        ours.step(b"?")


def test_login_is_not_over_before_the_password() -> None:
    ours = begin("LOGIN")
    ours.step(b"Username:")
    with pytest.raises(SaslError):
        ours.finish()


def test_cram_md5_says_what_rfc_2195_says() -> None:
    ours = begin("CRAM-MD5", Login("tim", b"tanstaaftanstaaf"))
    assert ours.initial() is None
    answer = ours.step(b"<1896.697170952@postoffice.reston.mci.net>")
    assert answer == b"tim b913a602c7eda7a495b4e6e7334d3890"
    ours.finish()
    with pytest.raises(SaslError):
        ours.step(b"<again>")


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "LOGIN", "SCRAM-SHA-256"])
def test_a_server_that_asked_for_nothing_has_accepted_nothing(mechanism: str) -> None:
    ours = begin(mechanism)
    ours.initial()
    with pytest.raises(SaslError):
        ours.finish()


def test_xoauth2_says_user_and_token() -> None:
    ours = begin("XOAUTH2", TOKEN)
    said = b"user=emma@example.org\x01auth=Bearer ya29.token\x01\x01"
    assert ours.initial() == said
    assert ours.step(b'{"status":"401"}') == b""
    with pytest.raises(SaslError):
        ours.step(b"more")


def test_a_token_may_hold_all_that_can_be_seen() -> None:
    token = bytes(range(0x21, 0x7F))
    assert token in (begin("XOAUTH2", Login("emma", token)).initial() or b"")


def test_oauthbearer_says_what_rfc_7628_says() -> None:
    login = Login("user@example.com", b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    ours = sasl.client("OAUTHBEARER", login, Surroundings("", host="server.example.com", port=143))
    said = (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    )
    assert ours.initial() == said
    assert ours.step(b'{"status":"invalid_token"}') == b"\x01"


@pytest.mark.parametrize("token", [b"", b"a b", b"a\x01b", b"a\nb", b"a\x7f", b"\xff"])
def test_what_cannot_be_a_token_is_not_sent(token: bytes) -> None:
    for mechanism in sasl.TOKEN_MECHANISMS:
        with pytest.raises(SaslError):
            begin(mechanism, Login("emma", token))


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (b'{"status":"invalid_token","scope":"x"}', "invalid_token"),
        (b'{"status":400}', "400"),
        (b'{"status":"a\\r\\nb"}', "a??b"),
        (b'{"status":{}}', ""),
        (b'["status"]', ""),
        (b"\xff", ""),
        (b"[" * 100000, ""),
    ],
)
def test_the_reason_of_a_refused_token_is_cleaned(challenge: bytes, reason: str) -> None:
    assert sasl.token_trouble(challenge) == reason


def test_a_password_that_scram_cannot_say_is_left_to_another_mechanism() -> None:
    for password in (b"\xff\xfe", b"a\x07"):
        with pytest.raises(SaslError):
            begin("SCRAM-SHA-256", Login("emma", password))
        assert begin("PLAIN", Login("emma", password)).initial() == b"\0emma\0" + password


def test_no_secret_is_shown() -> None:
    shown = repr(LOGIN) + repr(CheckPassword("emma", "secret"))
    assert "secret" not in shown.replace("secret=", "")
