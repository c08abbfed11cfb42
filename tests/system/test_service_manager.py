"""What systemd passes to us: ports that it has opened, secrets that it has read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.system import service_credentials

HOME = Path(__file__).parent.parent.parent
#: started with a socket as descriptor 3, as systemd would
ASKS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from minimta.system import activation
os.environ["LISTEN_PID"] = str(os.getpid()) if sys.argv[2] == "us" else "1"
try:
    found = activation.sockets()
    print([(one.name, one.socket.getsockname()[0], one.socket.get_inheritable()) for one in found])
    print(len(activation.sockets()), "LISTEN_FDS" in os.environ)
except OSError as error:
    print(error.filename, error.strerror)
"""


def asks(
    passed: socket.socket, whose: str = "us", names: str = "MSA", count: str = "1"
) -> list[str]:
    """What a process says that was started with *passed*."""

    def move() -> None:
        os.dup2(passed.fileno(), 3)

    done = subprocess.run(
        [sys.executable, "-I", "-c", ASKS, str(HOME), whose],
        env={**os.environ, "LISTEN_FDS": count, "LISTEN_FDNAMES": names},
        preexec_fn=move,
        close_fds=False,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_ports_are_taken_once_and_no_program_inherits_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        assert asks(port) == ["[('MSA', '127.0.0.1', False)]", "0 False"]


def test_what_was_passed_to_another_process_is_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        assert asks(port, "another") == ["[]", "0 False"]


@pytest.mark.parametrize("count", ["\u00b2", "-1", "", "1.5", "0x1"])
def test_a_number_that_is_none_passes_nothing(count: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        assert asks(port, count=count) == ["[]", "0 False"]


def test_more_than_there_are_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        [said] = asks(port, count="99999999999999999999")
    assert said.startswith("descriptor ") and said.endswith("is no socket")


def test_what_is_no_port_is_refused_with_its_name() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        said = asks(deaf, names="odd")
    assert said == [
        "descriptor 3 (odd) of the service manager"
        " is no listening TCP socket (ListenStream=, Accept=no)"
    ]


@pytest.mark.parametrize(
    ("text", "is_readable", "counts"),
    [("key", False, True), ("none\n", False, False), ("key", True, False), (None, False, False)],
)
def test_a_credential_is_for_the_file_that_we_may_not_read(
    text: str | None,
    is_readable: bool,
    counts: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "given"))
    (tmp_path / "given").mkdir()
    if text is not None:
        (tmp_path / "given" / "server.pem").write_text(text)
    file = tmp_path / "server.pem"
    if is_readable:  # root may read everything, so the other one is not there
        file.write_text("of the file")
    wanted = tmp_path / "given" / "server.pem" if counts else file
    assert service_credentials.place(str(file)) == str(wanted)


def test_without_a_service_manager_files_are_what_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert service_credentials.place("/etc/mail/server.pem") == "/etc/mail/server.pem"
    assert service_credentials.place("") == ""
