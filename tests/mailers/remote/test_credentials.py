"""Secrets: who reads them, from where, who gets which, and who never does."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

from minimta.commands import makemap
from minimta.config.options import Options
from minimta.mailers.remote import credentials
from minimta.mailers.remote.credentials import CredentialStore, HopLogin
from minimta.mailers.remote.mx_targets import NextHop
from minimta.smtp.sasl import Login
from minimta.system import memory, privileges
from minimta.system.safefile import Untrusted

PASSWORD = "correct-horse-battery"
HOP = NextHop("smtp.example.org", 587, bracketed=True)


class Place:
    """A file of logins."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o700)
        self.directory = directory
        self.file = directory / "authinfo"
        self.options = Options()
        self.options.auth_info_file = str(self.file)

    def write(self, text: str, mode: int = 0o600) -> CredentialStore:
        self.file.write_text(text)
        self.file.chmod(mode)
        return CredentialStore.read(self.options)

    def put(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fetch(store: CredentialStore, sender: bytes = b"", hop: NextHop = HOP) -> HopLogin:
    """What a worker for *hop* would get."""
    row = store.row(hop, sender)
    assert row is not None
    receiving, sending = os.pipe()
    store.hand_over({"hop": row}, sending)
    os.close(sending)
    try:
        return credentials.receive(receiving)["hop"]
    finally:
        os.close(receiving)


def secret_of(store: CredentialStore) -> bytes:
    login = fetch(store).login
    assert login is not None
    return login.secret


def fault_of(store: CredentialStore) -> str:
    got = fetch(store)
    assert got.login is None
    return got.fault


# --- the file -------------------------------------------------------------------------------------


def test_no_file_is_no_logins(place: Place) -> None:
    assert CredentialStore.read(place.options).row(HOP, b"") is None
    place.options.auth_info_file = ""
    assert CredentialStore.read(place.options).row(HOP, b"") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o622])
def test_a_file_that_others_may_read_or_write_is_not_believed(place: Place, mode: int) -> None:
    with pytest.raises(Untrusted, match=r"(Group|World) (read|writ)able file"):
        place.write(f'AuthInfo:smtp.example.org "U:emma" "P:{PASSWORD}"', mode)


def test_a_file_that_cannot_be_read_is_not_a_file_that_is_not_there(place: Place) -> None:
    place.file.mkdir()
    with pytest.raises(Untrusted, match="Regular files only"):
        CredentialStore.read(place.options)
    place.file.rmdir()
    place.file.symlink_to("nowhere")
    with pytest.raises(OSError, match="No such file"):
        CredentialStore.read(place.options)


def test_a_look_that_fails_does_not_mean_that_there_is_no_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> None:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(OSError, match="Input/output"):
        CredentialStore.read(place.options)


class _Input:
    """Standard input of makemap."""

    def __init__(self, text: str) -> None:
        self.buffer = BytesIO(text.encode())


def makemap_of(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ``makemap cdb PATH`` makes of *text*."""
    monkeypatch.setattr(sys, "stdin", _Input(text))
    assert makemap.main(["makemap", "cdb", str(path)]) == 0
    return path.with_name(f"{path.name}.cdb")


ROW = f'AuthInfo:smtp.example.org "U:dave" "I:emma" "P:{PASSWORD}" "M:LOGIN"\n'


def test_what_makemap_has_made_of_the_file_counts_before_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ROW.replace(PASSWORD, "of the text")
    assert secret_of(place.write(other)) == b"of the text"
    database = makemap_of(place.file, f"# x\n{ROW}", monkeypatch)
    assert database.stat().st_mode & 0o777 == 0o600
    got = fetch(CredentialStore.read(place.options))
    assert got.login == Login("emma", PASSWORD.encode(), "dave", ("LOGIN",))
    assert got.origin == f"{database} row smtp.example.org"
    place.file.unlink()
    assert secret_of(CredentialStore.read(place.options)) == PASSWORD.encode()


def test_a_database_made_meanwhile_is_not_mixed_with_the_text(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.write(ROW)
    makemap_of(place.file, ROW.replace(PASSWORD, "another"), monkeypatch)
    assert "has just been changed" in fault_of(store)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_database_that_others_may_read_or_write_is_not_believed(
    place: Place, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    place.write(ROW)
    makemap_of(place.file, ROW, monkeypatch).chmod(mode)
    with pytest.raises(Untrusted, match=r"(Group|World) (read|writ)able file"):
        CredentialStore.read(place.options)


def test_a_damaged_database_is_no_empty_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write(ROW)
    database = makemap_of(place.file, ROW, monkeypatch)
    whole = database.read_bytes()
    for text in (b"", whole[:2000], whole[:2050], bytes(100)):
        database.write_bytes(text)
        with pytest.raises(OSError, match="corrupt database"):
            CredentialStore.read(place.options)


def test_a_wrong_row_of_a_database_is_named_by_its_key(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = makemap_of(place.file, 'AuthInfo:smtp.example.org "U:emma"\n', monkeypatch)
    database.chmod(0o600)
    assert fault_of(CredentialStore.read(place.options)).startswith(
        f"{database} row smtp.example.org: one of P: F: C: S: T: must say"
    )


def test_a_worker_gets_all_of_its_login(place: Place) -> None:
    store = place.write(
        f'AuthInfo:smtp.example.org "U:dave" "I:emma" "P:{PASSWORD}" "M:LOGIN" "N:mx1.example.net"'
    )
    got = fetch(store)
    assert got.login == Login("emma", PASSWORD.encode(), "dave", ("LOGIN",))
    assert (got.names, got.origin) == (("mx1.example.net",), f"{place.file} line 1")


def test_a_worker_gets_the_secret_of_its_next_hop_and_no_other(place: Place) -> None:
    store = place.write(
        'AuthInfo:smtp.example.org "U:e" "P:mine"\nAuthInfo:other.example.org "U:e" "P:theirs"\n'
    )
    row = store.row(HOP, b"")
    assert row is not None
    receiving, sending = os.pipe()
    store.hand_over({"hop": row}, sending)
    os.close(sending)
    assert b"dGhlaXJz" not in os.read(receiving, 65536)  # "theirs"
    os.close(receiving)


#: makes a file of logins, whose secrets this process never sees, and beside it the secrets, and
#: their base64, with 85 added to each octet; what that makes of itself is no secret again
_MAKE = """
import base64, os, sys
directory = sys.argv[1]
secrets = [base64.b32encode(os.urandom(20)) for _ in range(3)]
with open(f"{directory}/authinfo", "wb") as file:
    file.write(b'AuthInfo:smtp.example.org "U:e" "P:%b"\\n' % secrets[0])
    file.write(b'AuthInfo:other.example.org "U:e" "C:%b/program"\\n' % os.fsencode(directory))
    file.write(b'AuthInfo:third.example.org "U:e" "P:%b"\\n' % secrets[2])
with open(f"{directory}/program", "wb") as file:
    file.write(b"#!/bin/sh\\necho %b\\n" % secrets[1])
os.chmod(f"{directory}/authinfo", 0o600)
os.chmod(f"{directory}/program", 0o700)
with open(f"{directory}/turned", "wb") as file:
    for secret in secrets:
        for form in (secret, base64.b64encode(secret)[:20]):
            file.write(bytes((octet + 85) % 256 for octet in form) + b"\\n")
"""
_TURNED = bytes((octet + 85) % 256 for octet in range(256))


def in_memory(turned: bytes) -> bool:
    """Is what *turned* means anywhere in this process's memory?"""
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory_file:
        for line in maps:
            start, _, end = line.split()[0].partition("-")
            if line.split()[1].startswith("rw") and "[v" not in line:
                memory_file.seek(int(start, 16))
                octets = memory_file.read(int(end, 16) - int(start, 16))
                if octets and turned in octets.translate(_TURNED):
                    return True
    return False


def test_neither_runner_nor_worker_has_a_secret_that_it_needs_not_have(place: Place) -> None:
    subprocess.run([sys.executable, "-c", _MAKE, str(place.directory)], check=True)
    turned = (place.directory / "turned").read_bytes().split(b"\n")[:-1]
    store = CredentialStore.read(place.options)
    wanted = {"a": store.rows[0], "b": store.rows[1]}
    receiving, sending = os.pipe()
    store.hand_over(wanted, sending)
    os.close(sending)
    assert not any(in_memory(form) for form in turned)
    login = credentials.receive(receiving)["a"].login  # as a worker does
    os.close(receiving)
    assert login is not None
    assert in_memory(turned[0])
    assert not in_memory(turned[4])


def test_a_file_that_changed_meanwhile_is_read_by_the_next_run(place: Place) -> None:
    store = place.write('AuthInfo:smtp.example.org "U:emma" "P:one"')
    place.file.write_text('AuthInfo:smtp.example.org "U:emma" "P:another"')
    assert "the next queue run reads it again" in fault_of(store)


def test_a_fault_names_file_and_line_and_delays_only_what_needs_the_row(place: Place) -> None:
    store = place.write('AuthInfo:other.org "U:x" "P:y"\nAuthInfo:smtp.example.org "U:emma"\n')
    assert fault_of(store).startswith(f"{place.file} line 2: one of P:")
    assert fetch(store, hop=NextHop("other.org", 25, bracketed=False)).login is not None


# --- where a secret is ----------------------------------------------------------------------------


def test_a_secret_is_the_first_line_of_a_file(place: Place) -> None:
    path = place.put("secret", f"{PASSWORD}\r\nsecond line\n")
    assert secret_of(place.write(f'AuthInfo:smtp.example.org "U:e" "F:{path}"')) == (
        PASSWORD.encode()
    )


def test_a_byte_order_mark_is_no_part_of_a_secret(place: Place) -> None:
    path = place.put("secret", f"\ufeff{PASSWORD}\n")
    assert secret_of(place.write(f'AuthInfo:smtp.example.org "U:e" "F:{path}"')) == (
        PASSWORD.encode()
    )


@pytest.mark.parametrize(
    ("text", "mode", "fault"),
    [
        ("", 0o600, "the first line is empty"),
        ("\nx\n", 0o600, "the first line is empty"),
        ("x\n", 0o640, "Group readable file"),
        ("x\n", 0o604, "World readable file"),
        ("x" * 12001, 0o600, "Larger than"),
    ],
)
def test_a_file_that_is_not_private_or_empty_is_no_secret(
    place: Place, text: str, mode: int, fault: str
) -> None:
    path = place.put("secret", text, mode)
    assert fault in fault_of(place.write(f'AuthInfo:smtp.example.org "U:e" "F:{path}"'))


def test_a_missing_file_of_a_secret_is_a_fault_that_names_it(place: Place) -> None:
    fault = fault_of(place.write('AuthInfo:smtp.example.org "U:e" "F:/nonexistent/x"'))
    assert "/nonexistent" in fault
    assert "No such file" in fault


def test_a_secret_is_a_credential_of_systemd(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = place.write('AuthInfo:smtp.example.org "U:e" "S:smtp-password"')
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "LoadCredential" in fault_of(store)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place.directory))
    place.put("smtp-password", PASSWORD, 0o400)
    assert secret_of(store) == PASSWORD.encode()


# --- programs -------------------------------------------------------------------------------------


def command(place: Place, script: str, arguments: str = "", mode: int = 0o700) -> CredentialStore:
    path = place.put("program", f"#!/bin/sh\n{script}\n", mode)
    return place.write(f'AuthInfo:smtp.example.org "U:e" "C:{path}{arguments}"')


def test_a_secret_is_the_first_line_that_a_program_prints(place: Place) -> None:
    assert secret_of(command(place, 'echo "$1-$2"; echo more', " a 'b c'")) == b"a-b c"


def test_a_program_has_an_empty_environment_no_input_and_no_terminal(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD_OF_SOMEBODY", "x")
    out = place.directory / "out"
    secret_of(command(place, f"/usr/bin/env >{out}; /bin/cat; pwd >>{out}; echo x"))
    told = out.read_text().split("\n")
    assert sorted(told) == ["", "/", "PWD=/"] or sorted(told) == [
        "",
        "/",
        "PWD=/",
        "_=/usr/bin/env",
    ]


def test_a_program_runs_once_a_run_whatever_comes_of_it(place: Place) -> None:
    count = place.directory / "count"
    for script, arguments in (("echo s", ""), ("exit 3", " x")):
        store = command(place, f"echo x >>{count}; {script}", arguments)
        assert fetch(store) == fetch(store)
        assert count.read_text() == "x\n"
        count.unlink()


@pytest.mark.parametrize(
    ("script", "mode", "fault"),
    [
        ("exit 3", 0o700, "ended with exit code 3"),
        ("echo hidden; exit 1", 0o700, "ended with exit code 1"),
        ("true", 0o700, "line 1: C: what it prints: the first line is empty"),
        ("echo x", 0o600, "not executable"),
        ("echo x", 0o777, "writable file"),
        ("/usr/bin/yes", 0o700, "prints too much"),
    ],
)
def test_a_program_that_fails_is_a_fault(place: Place, script: str, mode: int, fault: str) -> None:
    got = fault_of(command(place, script, mode=mode))
    assert fault in got
    assert "hidden" not in got


def test_a_program_that_does_not_end_costs_its_time_and_is_killed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "COMMAND_TIME", 0.2)
    pids = place.directory / "pids"
    store = command(place, f"sleep 600 & echo $! >{pids}; echo $$ >>{pids}; wait")
    assert "did not end in 0.2 seconds" in fault_of(store)
    for pid in pids.read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_program_that_is_not_there_or_quoted_wrongly_is_a_fault(place: Place) -> None:
    assert "stat failed" in fault_of(
        place.write('AuthInfo:smtp.example.org "U:e" "C:/nonexistent"')
    )
    assert "No closing quotation" in fault_of(
        place.write("""AuthInfo:smtp.example.org "U:e" "C:/bin/echo 'x" """)
    )


# --- memory ---------------------------------------------------------------------------------------


def test_what_hides_its_memory_cannot_be_dumped_or_read() -> None:
    def look() -> bytes:
        return b"%d %d" % (
            resource.getrlimit(resource.RLIMIT_CORE)[0],
            os.stat("/proc/self/environ").st_uid if os.geteuid() else 0,
        )

    assert privileges.in_child(look, 10) == b"0 0"


def test_hiding_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, *_: object, **__: object) -> None: ...

        def prctl(self, *_: int) -> int:
            return -1

    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with pytest.raises(OSError, match="prctl"):
        memory.hide()


def test_a_child_that_cannot_hide_reads_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.write(f'AuthInfo:smtp.example.org "U:emma" "P:{PASSWORD}"')

    def fail() -> None:
        raise OSError(1, "no")

    monkeypatch.setattr(memory, "hide", fail)
    assert fault_of(store).endswith("no")


def test_a_pipe_that_says_nothing_is_an_error_without_its_content() -> None:
    for octets in (b"", b'{"hop": {"secret": "aGVsbG8'):
        receiving, sending = os.pipe()
        os.write(sending, octets)
        os.close(sending)
        with pytest.raises(OSError, match="no login came") as error:
            credentials.receive(receiving)
        assert "aGVsbG8" not in str(error.value)
        assert error.value.__cause__ is None
        os.close(receiving)


def test_what_a_password_was_read_into_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    receiving, sending = os.pipe()
    os.write(sending, b'{"hop": {"fault": "aGVsbG8"}}')
    os.close(sending)
    seen: list[bytearray] = []
    real, loads = os.readv, json.loads

    def readv(file: int, buffers: list[bytearray]) -> int:
        seen.extend(buffers)
        return real(file, buffers)

    def load(text: bytearray) -> object:
        seen.append(text)
        return loads(text)

    monkeypatch.setattr(os, "readv", readv)
    monkeypatch.setattr(json, "loads", load)
    assert credentials.receive(receiving)["hop"].fault == "aGVsbG8"
    os.close(receiving)
    assert len(seen) == 3
    assert not any(any(buffer) for buffer in seen)
