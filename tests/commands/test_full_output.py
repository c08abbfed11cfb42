"""Standard output that takes nothing more (a full disk) is an error; who has closed a pipe wants no more."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.mailers.remote.host_status import HostMemory, HostStatus
from minimta.system import statistics, terminal
from tests.listener.test_daemon import PATIENCE, SENDMAIL, Daemon

#: what prints; {place} has the configuration, the map "m" and a mailbox, {cf} is the first of these
COMMANDS = (
    "mailq -C {cf}",
    "mailq -v -C {cf}",
    "sendmail -C {cf} -bp -qL",
    "sendmail -C {cf} -bv dave",
    "sendmail -C {cf} -bt",
    "sendmail -C {cf} -bP",
    "sendmail -C {cf} -bi",
    "sendmail -C {cf} -d0.1 -bv dave",
    "sendmail --help",
    "newaliases -C {cf}",
    "hoststat -C {cf}",
    "praliases -C {cf}",
    "mailstats -C {cf}",
    "mailstats -C {cf} -P",
    "makemap -u cdb {place}/m",
    "makemap -v cdb {place}/other",
    "makemap -l",
    "editmap -q cdb {place}/m key",
    "minimta queue list -C {cf}",
    "minimta --help",
    "minimta queue --help",
    "minimta help status",
)


class Place:
    """A host with aliases, a letter that waits, a map, statistics and a host that is down."""

    def __init__(self, directory: Path) -> None:
        self._place = directory
        self.daemon = Daemon(directory)
        memory = HostMemory(f"{directory}/hosts", 0.0, lasting=1800.0)
        memory.open()
        memory.note(HostStatus("lab3.campus", 111, "4.4.1", 75))
        memory.close()
        statistics.count("local", "msgsfr")
        statistics.flush_to(f"{directory}/st")
        with self.daemon.cf.open("a") as cf:
            cf.write(f"HostStatusDirectory = {directory}/hosts\nStatusFile = {directory}/st\n")
        self.run("newaliases -C {cf}")
        self.run("makemap cdb {place}/m", text=b"key value\n")
        self.run("sendmail -C {cf} -odq dave")

    def run(
        self, words: str, output: int = subprocess.DEVNULL, text: bytes = b"x dave\n"
    ) -> tuple[int, str]:
        """Exit code, and what it said on standard error."""
        name, *rest = words.format(cf=self.daemon.cf, place=self._place).split()
        done = subprocess.run(
            [sys.executable, "-I", str(SENDMAIL.with_name(name)), *rest],
            input=text, stdout=output, stderr=subprocess.PIPE, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr.decode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("host"))


@pytest.mark.parametrize("words", COMMANDS)
def test_what_a_full_disk_has_not_taken_is_an_error(place: Place, words: str) -> None:
    with open("/dev/full", "wb") as full:
        code, told = place.run(words, full.fileno())
    assert code == os.EX_IOERR, told
    assert told.endswith("standard output: No space left on device\n")
    assert "Traceback" not in told


@pytest.mark.parametrize("words", COMMANDS)
def test_who_has_closed_a_pipe_is_told_nothing(place: Place, words: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    try:
        code, told = place.run(words, writes)
    finally:
        os.close(writes)
    # 141: as a shell tells of who was ended by SIGPIPE
    assert code == (141 if words.startswith("minimta") else 0)
    assert "tandard output" not in told and "Broken" not in told


def test_the_list_of_a_mailbox_that_finds_no_room_is_an_error(place: Place, tmp_path: Path) -> None:
    (tmp_path / "box").write_text("From a@b Sat Nov 16 00:19:13 2019\nSubject: x\n\nx\n\n")
    with open("/dev/full", "wb") as full:
        code, told = place.run(f"mail -n -H -f {tmp_path}/box", full.fileno())
    assert (code, told) == (
        os.EX_IOERR,
        "mail: standard output: No space left on device\n",
    )


def test_a_letter_that_was_taken_is_no_error(place: Place) -> None:
    """The caller would bring it again."""
    with open("/dev/full", "wb") as full:
        assert place.run("sendmail -C {cf} -v -odq dave", full.fileno())[0] == 0


def test_a_map_is_made_though_nobody_hears_of_it(place: Place) -> None:
    with open("/dev/full", "wb") as full:
        code, _ = place.run("makemap -v cdb {place}/heard", full.fileno(), b"key value\n")
    assert code == os.EX_IOERR
    assert place.run("editmap -q cdb {place}/heard key")[0] == 0


def test_what_is_taken_in_pieces_is_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = bytearray()

    def write(descriptor: int, octets: memoryview) -> int:
        assert descriptor == 1
        taken.extend(octets[:7])
        return min(len(octets), 7)

    monkeypatch.setattr(terminal, "_lost", 0)
    monkeypatch.setattr(os, "write", write)
    terminal.say("x" * 100)
    terminal.print_octets(b"%d" % number for number in range(50_000))
    monkeypatch.undo()
    assert bytes(taken) == b"x" * 100 + b"\n" + b"".join(b"%d" % number for number in range(50_000))


def test_what_is_not_taken_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_lost", 0)
    written: list[int] = []

    def full(descriptor: int, octets: memoryview) -> int:
        written.append(len(octets))
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "write", full)
    terminal.print_octets([b"x" * 70000, b"y"])
    assert written == [70000]


def test_what_came_before_an_error_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one\n"
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError):
        terminal.print_octets(pieces())
    assert capfd.readouterr().out == "one\n"
