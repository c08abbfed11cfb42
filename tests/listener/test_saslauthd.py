"""Passwords that saslauthd checks."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from minimta.listener import saslauthd
from minimta.listener.auth_backend import LoginPlace, PasswordVerdict
from minimta.listener.saslauthd import Saslauthd
from tests.support.fakeunix import FakeUnix
from tests.support.unix_servers import wait_until_it_listens

PLACE = LoginPlace("192.0.2.1", "", True)


class Daemon:
    """Says *answer*, and remembers what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            for _ in range(4):
                self.asked.append(file.read(struct.unpack(">H", file.read(2))[0]))
        connection.sendall(self.answer)


@pytest.mark.parametrize(
    ("user", "realm", "asked"),
    [
        ("emma", "", [b"emma", b"secret", b"smtp", b""]),
        ("emma", "campus", [b"emma", b"secret", b"smtp", b"campus"]),
        ("emma@lab2", "campus", [b"emma", b"secret", b"smtp", b"lab2"]),
        ("a@b@lab2", "", [b"a@b", b"secret", b"smtp", b"lab2"]),
        ("\u00e9", "", ["\u00e9".encode(), b"secret", b"smtp", b""]),
    ],
)
def test_four_strings_go_there(tmp_path: Path, user: str, realm: str, asked: list[bytes]) -> None:
    daemon = Daemon(b"\0\2OK")
    with FakeUnix(tmp_path / "mux", daemon.talk) as server:
        verdict = Saslauthd(server.path, realm).check(user, "secret", PLACE)
    assert verdict is PasswordVerdict.RIGHT
    assert daemon.asked == asked


@pytest.mark.parametrize("answer", [b"\0\2NO", b"\0\x11NO authentication "])
def test_no_is_no(tmp_path: Path, answer: bytes) -> None:
    with FakeUnix(tmp_path / "mux", Daemon(answer).talk) as server:
        verdict = Saslauthd(server.path).check("emma", "secret", PLACE)
    assert verdict is PasswordVerdict.WRONG


@pytest.mark.parametrize("answer", [b"", b"\0", b"\0\2", b"\0\2O", b"\0\0", b"\0\3YES", b"OK"])
def test_what_is_no_answer_is_no_verdict(tmp_path: Path, answer: bytes) -> None:
    with (
        FakeUnix(tmp_path / "mux", Daemon(answer).talk) as server,
        pytest.raises(OSError, match="no answer"),
    ):
        Saslauthd(server.path).check("emma", "secret", PLACE)


def test_a_socket_that_is_not_there_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        Saslauthd(str(tmp_path / "nosuch")).check("emma", "secret", PLACE)
    assert caught.value.filename == str(tmp_path / "nosuch")


def test_a_daemon_that_hangs_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saslauthd, "PATIENCE", 0.05)
    with (
        FakeUnix(tmp_path / "mux", lambda connection: time.sleep(0.3)) as server,
        pytest.raises(OSError),
    ):
        Saslauthd(server.path).check("emma", "secret", PLACE)


def test_a_daemon_that_drips_costs_no_more_than_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saslauthd, "PATIENCE", 0.2)

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"\x01\0OK")
        while True:
            time.sleep(0.01)
            connection.sendall(b".")

    with FakeUnix(tmp_path / "mux", talk) as server, pytest.raises(OSError, match="timed out"):
        Saslauthd(server.path).check("emma", "secret", PLACE)


# --- the real one ---------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.namespace
@pytest.mark.debian("sasl2-bin")
def test_the_real_saslauthd_knows_the_users_of_this_host(tmp_path: Path) -> None:
    crypted = subprocess.run(
        ["openssl", "passwd", "-6", "secret"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (tmp_path / "shadow").write_text(f"root:*:1::::::\nemma:{crypted}:19000:0:99999:7:::\n")
    (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\nemma:x:1001:1001::/:/bin/sh\n")
    run = tmp_path / "run"
    run.mkdir()
    bound = "".join(
        f"mount --bind {tmp_path}/{name} /etc/{name} && " for name in ("shadow", "passwd")
    )
    script = f"{bound}exec saslauthd -d -n 0 -a shadow -m {run}"
    daemon = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it ends its whole process group
    )
    try:
        wait_until_it_listens(run / "mux", daemon)
        backend = Saslauthd(str(run / "mux"))
        assert backend.check("emma", "secret", PLACE) is PasswordVerdict.RIGHT
        assert backend.check("emma", "wrong", PLACE) is PasswordVerdict.WRONG
        assert backend.check("nosuch", "secret", PLACE) is PasswordVerdict.WRONG
    finally:
        daemon.terminate()
        daemon.wait(10)
