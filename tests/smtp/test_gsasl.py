"""The mechanisms against those that others wrote: both ends with gsasl(1), line by line.

It prints the name of the mechanism, then a line of base64 for each message of its own, and reads one
for each of ours. It ends with 0 if the login was good.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minimta.smtp import sasl, sasl_server, scram
from minimta.smtp.sasl import Login, Surroundings
from minimta.smtp.sasl_server import Accepted, Challenge, CheckPassword, Refused
from minimta.smtp.scram import SaslError, ScramServer

pytestmark = pytest.mark.debian("gsasl")

PASSWORD = "p\u00e4ss word, =x"


class Gsasl:
    """The other end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdin and process.stdout
        self._to, self._from = process.stdin, process.stdout

    def hears(self, octets: bytes) -> None:
        self._to.write(sasl.encoded(octets).decode() + "\n")
        self._to.flush()

    def says(self) -> bytes | None:
        """Its next message; None: it has no more to say."""
        line = self._from.readline().removesuffix("\n")
        try:
            return sasl.decoded(line.encode())
        except SaslError:
            return None

    def ends_well(self) -> bool:
        self._to.close()
        return self._process.wait(10) == 0


@contextmanager
def gsasl(*words: str) -> Iterator[Gsasl]:
    """It runs, and has said which mechanism it uses."""
    command = ["stdbuf", "-o0", "gsasl", "--quiet", "--no-cb", *words]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield Gsasl(process)
        finally:
            process.kill()


# Its server can check a password of SCRAM only: for others it lacks the question.
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_our_client_with_its_server(mechanism: str, password: str) -> None:
    ours = sasl.client(mechanism, Login("emma", password.encode()), Surroundings("abcdef"))
    with gsasl(
        "--server", "-m", mechanism, "--password", PASSWORD, "--hostname", "h", "--service", "smtp"
    ) as theirs:  # fmt: skip
        assert theirs.says() == b""
        theirs.hears(ours.initial() or b"")
        theirs.hears(ours.step(theirs.says() or b""))
        said = theirs.says() or b""
        if password == PASSWORD:
            theirs.hears(ours.step(said))
            ours.finish()
            assert theirs.ends_well()
        else:
            with pytest.raises(SaslError):
                ours.step(said)
            assert not theirs.ends_well()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("is_right", [True, False])
def test_its_client_with_our_server(mechanism: str, is_right: bool) -> None:
    made = {"emma": scram.keys_of(PASSWORD, b"salt of emma", 4096)}
    keys = ScramServer(mechanism, made.get, b"ours", "xyz") if mechanism[:5] == "SCRAM" else None
    ours = sasl_server.server(mechanism, keys)
    word = PASSWORD if is_right else "wrong"
    with gsasl(
        "--client", "-m", mechanism, "--authentication-id", "emma", "--authorization-id", "",
        "--password", word, "--hostname", "h", "--service", "smtp",
    ) as theirs:  # fmt: skip
        if mechanism == "LOGIN":
            step = ours.step(None)
            assert isinstance(step, Challenge)
            theirs.hears(step.octets)
        while True:
            said = theirs.says()
            step = ours.step(said or b"")
            if not isinstance(step, Challenge):
                break
            theirs.hears(step.octets)
        if mechanism == "SCRAM-SHA-256":
            assert step == (Accepted("emma") if is_right else Refused("emma"))
        else:
            assert step == CheckPassword("emma", word)
