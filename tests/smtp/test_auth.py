"""AUTH as a dialogue (RFC 4954), without a socket."""

from __future__ import annotations

import base64
import errno

import pytest

from minimta.smtp import auth, sasl
from minimta.smtp.auth import AuthCommand
from minimta.smtp.reply import reply
from minimta.smtp.sasl_server import Accepted, CheckPassword, Refused
from minimta.smtp.server import Session
from tests.support.dialogue import ServerDialogue, fits, server_dialogues
from tests.support.fakelogins import FakeLogins
from tests.support.fakereceiver import FakeReceiver, session

#: NUL emma NUL secret
GOOD, BAD = "AGVtbWEAc2VjcmV0", "AGVtbWEAd3Jvbmc="
AUTHENTICATED = "235 2.0.0 OK Authenticated"


class Client:
    """A client of a session with FakeLogins."""

    def __init__(self, *, required: bool = False) -> None:
        self.logins = FakeLogins()
        self.receiver = FakeReceiver()
        self.auth = AuthCommand(self.logins, is_required=required)
        self.session: Session = session(self.receiver, has_tls=True, auth=self.auth)

    def says(self, *lines: str) -> list[str]:
        octets = "".join(f"{line}\r\n" for line in lines).encode()
        return self.session.receive(octets).decode().split("\r\n")[:-1]


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_ehlo_offers_the_mechanisms_and_helo_nothing() -> None:
    client = Client()
    lines = client.says("EHLO lab1.campus")
    assert "250-AUTH SCRAM-SHA-256 PLAIN LOGIN" in lines
    # as Sendmail has it
    assert [line[4:].split()[0] for line in lines[-4:]] == ["DSN", "AUTH", "STARTTLS", "HELP"]
    assert not any("AUTH" in line for line in client.says("HELO lab1.campus"))


def test_ehlo_offers_no_auth_without_a_mechanism() -> None:
    client = Client()
    client.logins.mechanisms = ()
    assert not any("AUTH" in line for line in client.says("EHLO lab1.campus"))


LOGINS = server_dialogues("auth.txt")


@pytest.mark.parametrize("played", LOGINS, ids=lambda played: played.name)
def test_it_is_said_as_sendmail_says_it(played: ServerDialogue) -> None:
    client = Client()
    for kind, text in played.lines[1:]:
        if kind == "C":
            said = client.says(text)
        elif not text.startswith("221"):
            assert len(said) == 1 and fits(said[0], text)


@pytest.mark.parametrize("word", ["PLAIN", "plain", "Plain"])
def test_a_mechanism_may_be_written_in_any_case(word: str) -> None:
    assert Client().says(f"auth {word} {GOOD}") == [AUTHENTICATED]


def test_an_equals_sign_is_an_empty_initial_response() -> None:
    # RFC 4954 section 4: not the same as none
    client = Client()
    assert client.says("AUTH PLAIN =")[0].startswith("501 5.5.2 ")
    assert client.says("AUTH SCRAM-SHA-256 =")[0].startswith("501 5.5.2 ")


def test_login_takes_the_user_as_initial_response() -> None:
    client = Client()
    assert client.says("AUTH LOGIN ZW1tYQ==", "c2VjcmV0") == ["334 UGFzc3dvcmQ6", AUTHENTICATED]
    assert client.logins.finished == [("LOGIN", CheckPassword("emma", "secret"))]


def scram_login(client: Client, user: str = "emma", password: str = "secret") -> list[str]:
    made = sasl.client(
        "SCRAM-SHA-256", sasl.Login(user, password.encode()), sasl.Surroundings("client")
    )
    first = made.initial()
    assert first is not None
    said = client.says(f"AUTH SCRAM-SHA-256 {b64(first)}")
    while said[-1].startswith("334 "):
        said += client.says(b64(made.step(base64.b64decode(said[-1][4:]))))
    if said[-1].startswith("235"):
        made.finish()
    return said


def test_scram_proves_both_ends() -> None:
    client = Client()
    assert [line[:3] for line in scram_login(client)] == ["334", "334", "235"]
    assert client.logins.finished == [("SCRAM-SHA-256", Accepted("emma"))]


@pytest.mark.parametrize(("user", "password"), [("emma", "wrong"), ("nosuch", "secret")])
def test_scram_refuses_a_wrong_password_and_an_unknown_user_alike(user: str, password: str) -> None:
    client = Client()
    assert [line[:3] for line in scram_login(client, user, password)] == ["334", "535"]
    assert client.logins.finished == [("SCRAM-SHA-256", Refused(user))]


@pytest.mark.parametrize(
    "response",
    [b"", b"emma\0secret", b"\0emma\0sec\0ret", b"\0\0secret", b"\0emma\0", b"\0emma\0s\xff"],
)
def test_what_is_no_message_of_plain_is_501_and_no_failure(response: bytes) -> None:
    client = Client()
    [answer] = client.says(f"AUTH PLAIN {b64(response) or '='}")
    assert answer.startswith("501 5.5.2 AUTH PLAIN: ")
    assert client.logins.finished == []


def test_a_password_that_is_no_base64_is_told_to_the_client_alone() -> None:
    client = Client()
    client.says("AUTH PLAIN hunter2!", "AUTH LOGIN", "hunter2!")
    assert client.logins.notes == ["AUTH decode64 error [bad base64]"] * 2
    assert not any("hunter2" in note for note in client.receiver.notes)


def test_a_line_may_have_12288_octets() -> None:
    client = Client()
    fits = "A" * ((sasl.MAX_LINE - len("AUTH PLAIN ")) // 4 * 4)
    assert client.says(f"AUTH PLAIN {fits}")[0].startswith("501 5.5.2 ")  # no NUL in it
    assert client.says("AUTH PLAIN", "A" * sasl.MAX_LINE)[1].startswith("501 5.5.2 ")
    assert not client.session.is_closed


def test_a_line_that_is_longer_ends_the_session() -> None:
    client = Client()
    client.says("AUTH PLAIN")
    assert client.says("A" * (sasl.MAX_LINE + 4))[0].startswith("421 4.7.0 ")
    assert client.session.is_closed
    client = Client()
    client.says("AUTH PLAIN")
    assert client.session.receive(b"A" * (auth.MAX_LINE + 1)).startswith(b"421 4.7.0 ")


def test_only_lines_of_a_login_may_be_so_long() -> None:
    client = Client()
    assert client.says("NOOP " + "A" * 2048) == ["500 5.5.2 Line too long"]
    assert client.says("AUTHX " + "A" * 2048) == ["500 5.5.2 Line too long"]


def test_no_dialogue_goes_on_for_ever() -> None:
    client = Client()
    client.says("AUTH LOGIN", "ZW1tYQ==")
    assert client.says("c2VjcmV0", "c2VjcmV0")[0] == AUTHENTICATED
    assert not client.auth.awaits


def test_inside_tls_only_is_538() -> None:
    client = Client()
    client.logins.mechanisms = ()
    assert client.says(f"AUTH PLAIN {GOOD}") == [
        "538 5.7.11 Encryption required for requested authentication mechanism"
    ]
    assert client.logins.finished == []


def test_without_users_there_is_no_auth() -> None:
    client = Client()
    client.logins.mechanisms = client.logins.inside_tls = ()
    assert client.says(f"AUTH PLAIN {GOOD}") == ["503 5.3.3 AUTH not available"]
    alone = session(FakeReceiver())
    assert alone.receive(b"AUTH PLAIN\r\n") == b"503 5.3.3 AUTH not available\r\n"


def test_a_look_that_fails_is_454() -> None:
    client = Client()
    client.logins.fault = OSError(errno.EIO, "Input/output error")
    assert scram_login(client) == ["454 4.7.0 Temporary authentication failure"]
    assert not client.auth.is_done
    assert client.says("NOOP") == ["250 2.0.0 OK"]


def test_a_handshake_makes_the_login_and_its_beginning_forgotten() -> None:
    client = Client()
    client.says(f"AUTH PLAIN {GOOD}", "STARTTLS")
    client.session.secured()
    assert client.says(f"AUTH PLAIN {GOOD}") == [AUTHENTICATED]


@pytest.mark.parametrize("verb", ["EHLO lab1.campus", "RSET", "NOOP", "HELO x"])
def test_nothing_else_makes_it_forgotten(verb: str) -> None:
    client = Client(required=True)
    client.says(f"AUTH PLAIN {GOOD}")
    client.says(verb)
    assert client.says("MAIL FROM:<a@b>")[0].startswith("250")


@pytest.mark.parametrize("line", ["MAIL FROM:<a@b>", "VRFY dave", "EXPN dave"])
def test_where_a_login_is_required_nothing_is_taken_before_it(line: str) -> None:
    client = Client(required=True)
    assert client.says("EHLO lab1.campus")[-1] == "250 HELP"
    assert client.says(line) == ["530 5.7.0 Authentication required"]
    assert client.says(f"AUTH PLAIN {BAD}", line)[1] == "530 5.7.0 Authentication required"
    client.says(f"AUTH PLAIN {GOOD}")
    assert client.says(line)[0][0] == "2"


@pytest.mark.parametrize("line", ["NOOP", "RSET", "HELP", "EHLO x", "STARTTLS", "QUIT"])
def test_what_needs_no_login_may_come_before_it(line: str) -> None:
    assert Client(required=True).says(line)[-1][0] == "2"


def test_a_failure_makes_the_client_wait_and_the_last_one_ends_the_session() -> None:
    client = Client()
    client.logins.pause = 3.0
    client.says(f"AUTH PLAIN {BAD}")
    assert client.session.throttle.take_pause() == 3.0
    client.logins.last_words = reply(421, "4.7.0", "Too many failed logins")
    assert client.says(f"AUTH PLAIN {BAD}") == ["421 4.7.0 Too many failed logins"]
    assert client.session.is_closed


def test_responses_of_junk_end_the_session_too() -> None:
    client = Client()
    said = client.says(*["AUTH PLAIN !!!"] * 30)
    assert said[-1].startswith("421 4.7.0 ") and len(said) == 26
    client = Client()
    said = client.says(*["AUTH LOGIN", "%%%"] * 30)
    assert said[-1].startswith("421 4.7.0 ") and len(said) == 52


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_any_chunking_of_a_login_gives_the_same_replies(size: int) -> None:
    client = Client()
    octets = f"AUTH LOGIN\r\nZW1tYQ==\r\n*\r\nAUTH PLAIN {GOOD}\r\nNOOP\r\n".encode()
    said = b"".join(
        client.session.receive(octets[i : i + size]) for i in range(0, len(octets), size)
    )
    codes = [line[:3] for line in said.split(b"\r\n")[:-1]]
    assert codes == [b"334", b"334", b"501", b"235", b"250"]
