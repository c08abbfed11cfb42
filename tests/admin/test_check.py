"""minimta check: what it tells of a configuration file."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.admin import check, check_tables, verbs
from minimta.admin.checkout import HOME
from minimta.admin.doctor import examinations
from minimta.admin.doctor.examinations import Examination
from minimta.admin.doctor.patient import (
    Diagnosis,
    Patient,
    fault,
    ok,
    outside,
    unknown,
    warning,
)
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.system import dns
from tests.support.certificates import self_signed
from tests.support.fakefilter import FakeFilter


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "minimta.cf"
    path.write_text("# nothing\n")
    path.chmod(0o644)
    monkeypatch.setattr(check_tables, "findings", lambda options: iter(()))
    monkeypatch.setattr(examinations, "TABLE", ())
    monkeypatch.setattr(config_file, "DEFAULT_FILE", str(path))
    return path


def test_a_good_file_is_said_to_be_good(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert verbs.main(["check"]) == 0
    assert capfd.readouterr().out == f"{file}: every line is understood\n"


def test_no_file_is_good_and_told(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.unlink()
    assert verbs.main(["check"]) == 0
    assert "there is no such file; all options have their defaults" in capfd.readouterr().out
    assert verbs.main(["check", "-C", str(file)]) == 72


def test_all_that_is_wrong_is_told_at_once_with_its_line(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text("SmartHots = x\nLogLevel = 9\nMaxHopCount = 0\nLogLevel = 10\n")
    assert verbs.main(["check"]) == 78
    lines = capfd.readouterr().out.split("\n")
    assert lines[0] == f"{file}: line 1: unknown option name SmartHots (did you mean SmartHost?)"
    assert lines[1].startswith(f"{file}: line 3: option MaxHopCount: below 1: '0'")
    assert lines[2].startswith(f"{file}: line 4: Warning: LogLevel is set in line 2, too")
    assert lines[3:] == [""]


def test_what_is_suspicious_is_no_error(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.write_text("LogLevel = 9\nLogLevel = 10\n")
    file.chmod(0o640)
    assert verbs.main(["check"]) == 0
    out = capfd.readouterr().out
    assert f"{file}: Warning: mode 640; all users must be able to read it (chmod a+r {file})" in out
    assert "Warning: LogLevel is set in line 1, too" in out


def test_another_file_may_be_named(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = file.with_name("other.cf")
    other.write_text("garbage\n")
    other.chmod(0o600)
    assert verbs.main(["check", "-C", str(other)]) == 78
    assert (
        capfd.readouterr().out
        == f'{other}: line 1: unknown configuration line "garbage"; wanted: Name = value\n'
    )


@pytest.mark.parametrize("words", [["x"], ["-x"], ["-C"]])
def test_other_words_are_refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert verbs.main(["check", *words]) == 64
    assert capfd.readouterr().err.startswith("minimta check: ")


@pytest.mark.debian("openssl")
def test_a_certificate_that_cannot_be_used_is_told(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own, other = self_signed(tmp_path, "a.campus"), self_signed(tmp_path, "b.campus")
    file.write_text(f"ServerCertFile = {own.cert_file}\nServerKeyFile = {own.key_file}\n")
    assert verbs.main(["check"]) == 0
    assert "TLS" not in capfd.readouterr().out
    for key, why in (
        (other.key_file, "no certificate with the key that belongs to it"),
        ("/nonexistent/key", "/nonexistent/key: No such file or directory"),
    ):
        file.write_text(f"ServerCertFile = {own.cert_file}\nServerKeyFile = {key}\n")
        assert verbs.main(["check"]) == 0
        told = capfd.readouterr().out
        assert f"{file}: Warning: STARTTLS is not offered: " in told
        assert why in told


def test_a_port_where_nobody_can_log_in_is_told(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "users"
    port = "DaemonPortOptions = Name=MSA, Port=587, M=Ea\n"

    def told(text: str) -> str:
        file.write_text(port + text)
        assert verbs.main(["check"]) == 0
        return capfd.readouterr().out.partition(" (M=a) takes no mail: nobody can log in, ")[2]

    assert told(f"AuthBackend = {users}\n").startswith(f"there is no {users}; minimta passwd NAME")
    assert told("AuthBackend =\n").startswith("AuthBackend is empty")
    why = f"there is no {users}; does dovecot run?\n"
    assert told(f"ClearAuth = loopback\nAuthBackend = dovecot:{users}\n").startswith(why)
    users.touch()
    assert told(f"ClearAuth = loopback\nAuthBackend = dovecot:{users}\n") == ""
    assert told(f"AuthBackend = dovecot:{users}\n").startswith("there is no TLS")
    users.touch()
    assert told(f"AuthBackend = {users}\nClearAuth = loopback\n") == ""
    port = ""
    assert told("AuthBackend =\n") == ""


@pytest.mark.root
def test_tables_that_the_listener_cannot_read_are_told(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # nobody may pass pytest's own
        os.chmod(place, 0o755)
        names = {"AccessFile": "access", "RelayDomains": "relay", "LoginSenders": "senders"}
        rows = "".join(f"{option} = {place}/{name}\n" for option, name in names.items())
        file.write_text(f"RunAsUser = nobody\nVirtUserTable =\n{rows}")
        for name in (*names.values(), "access.cdb"):
            Path(place, name).touch(0o600)
        Path(place, "relay").chmod(0o644)
        assert verbs.main(["check"]) == 0
    lines = [line for line in capfd.readouterr().out.split("\n") if "cannot read it" in line]
    told = [line.partition(": ")[0] for line in lines]
    assert told == [f"{place}/{name}" for name in ("access.cdb", "access", "senders")]
    assert "Warning: nobody, the listener, cannot read it (Permission denied)" in lines[0]


def told_of_filters(file: Path) -> str:
    """By a process of its own: this one has threads, those of the filter, and so may not fork."""
    command = [sys.executable, f"{HOME}/bin/minimta", "check", "--offline", "-C", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.root
def test_filters_are_asked_with_the_rights_of_the_listener(file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with FakeFilter(tmp_path / "filter") as one:
        rows = f"MailFilter = {one.row()}\nInputMailFilters = one\n"
        file.write_text(f"RunAsUser = nobody\n{rows}")
        assert "filter one does not answer (cannot connect: Permission" in told_of_filters(file)
        assert f"RunAsUser must be in the group of {tmp_path}/filter" in told_of_filters(file)
    file.write_text(f"RunAsUser = nosuch\n{rows}")
    why = "no such user: nosuch (option RunAsUser)"
    assert f"Warning: no filter was asked: {why}" in told_of_filters(file)


def test_filters_are_asked_whether_they_are_there(
    file: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with FakeFilter(tmp_path / "filter") as one:
        rows = f"MailFilter = {one.row()}\nMailFilter = gone, S=unix:{tmp_path}/gone\n"
        file.write_text(f"RunAsUser =\n{rows}InputMailFilters = one, gone\n")
        found = told_of_filters(file)
    why = "cannot connect: No such file or directory"
    warning = f"Warning: the filter gone does not answer ({why}): mail passes without it"
    assert f"{file}: {warning}\n" in found
    assert "filter one" not in found
    file.write_text(f"{rows}InputMailFilters = two\n")
    assert verbs.main(["check"]) == 78
    text = "InputMailFilters: no MailFilter is named two, only one, gone"
    assert f"{file}: {text}\n" in capfd.readouterr().out


# --- the machine ----------------------------------------------------------------------------------


def diagnoses(patient: Patient) -> Iterator[Diagnosis]:
    yield ok("port 25", "is held by minimta")
    yield warning("clock", "nothing sets it", "apt install chrony")
    yield unknown("mail log", "No such file")


def is_ill(patient: Patient) -> Iterator[Diagnosis]:
    yield outside("smtp.example.org:587", "is not reached", "SmartHost")
    yield fault("/var/spool/mqueue", "mode 777", "chmod 1730 /var/spool/mqueue")


def look_at(monkeypatch: pytest.MonkeyPatch, *rows: Examination) -> None:
    monkeypatch.setattr(examinations, "TABLE", rows)


def test_what_is_well_is_told_only_with_v(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    look_at(monkeypatch, Examination("x", diagnoses))
    assert verbs.main(["check"]) == 0
    understood, *lines = capfd.readouterr().out.splitlines()
    assert understood == f"{file}: every line is understood"
    assert lines == [
        "clock: Warning: nothing sets it: apt install chrony",
        "mail log: unknown: No such file",
    ]
    assert verbs.main(["check", "-v"]) == 0
    assert "ok: port 25: is held by minimta" in capfd.readouterr().out.splitlines()


def test_the_exit_code_is_that_of_the_worst(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_elsewhere(patient: Patient) -> Iterator[Diagnosis]:
        yield outside("smtp.example.org:587", "is not reached")

    look_at(monkeypatch, Examination("x", diagnoses), Examination("y", is_elsewhere))
    assert verbs.main(["check"]) == 69
    look_at(monkeypatch, Examination("y", is_elsewhere), Examination("z", is_ill))
    assert verbs.main(["check"]) == 78


def test_offline_asks_nobody(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    look_at(monkeypatch, Examination("x", is_ill, outside=True), Examination("y", diagnoses))
    assert verbs.main(["check", "--offline"]) == 0
    assert "smtp.example.org" not in capfd.readouterr().out


def test_json_has_it_all(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text("HostName = vm1.example.org\nLogLevel = 9\nLogLevel = 10\n")
    look_at(monkeypatch, Examination("ill", is_ill))
    assert verbs.main(["check", "--json"]) == 78
    told = json.loads(capfd.readouterr().out)
    assert {name: told[name] for name in ("version", "host", "configuration", "exit_code")} == {
        "version": 1,
        "host": "vm1.example.org",
        "configuration": str(file),
        "exit_code": 78,
    }
    assert told["findings"][0]["subject"] == f"{file}: line 3"
    assert told["findings"][0]["state"] == "warning"
    assert told["findings"][-1] == {
        "examination": "ill",
        "state": "fault",
        "subject": "/var/spool/mqueue",
        "text": "mode 777",
        "remedy": "chmod 1730 /var/spool/mqueue",
        "is_outside": False,
    }


def test_json_of_a_wrong_file(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.write_text("SmartHots = x\n")
    assert verbs.main(["check", "--json"]) == 78
    [found] = json.loads(capfd.readouterr().out)["findings"]
    assert found["subject"] == f"{file}: line 1"
    assert found["state"] == "fault"


def test_what_only_root_can_see_is_told_in_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    look_at(monkeypatch, Examination("secrets", is_ill, root=True), Examination("y", diagnoses))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = dict(check._machine(Options(), str(file), argparse.Namespace(offline=False)))
    assert [str(one) for one in found["rights"]] == [
        "minimta check: unknown: only root can look at secrets"
    ]
    assert "secrets" not in found
    assert capfd.readouterr().out == ""


def test_without_dnspython_it_says_so_and_looks_at_the_rest(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def load() -> None:
        raise ImportError("No module named 'dns'")

    monkeypatch.setattr(dns, "load", load)
    look_at(monkeypatch, Examination("x", is_ill, outside=True), Examination("y", diagnoses))
    assert verbs.main(["check"]) == 78
    out = capfd.readouterr().out
    assert (
        "python3-dnspython: No module named 'dns': no mail goes to other hosts: apt install" in out
    )
    assert "smtp.example.org" not in out
    assert "nothing sets it" in out


def test_an_alert_is_tried_when_that_is_asked(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(["check", "--test-alert"]) == 78
    assert "AlertCommand: is empty: nobody hears of outages" in capfd.readouterr().out
    file.write_text("AlertCommand = /no/such/program\n")
    assert verbs.main(["check", "--test-alert"]) == 69
    assert (
        "AlertCommand: the test was not sent: /no/such/program: stat failed"
        in capfd.readouterr().out
    )


def test_it_changes_nothing(file: Path, tmp_path: Path) -> None:
    """The real examinations, on this machine, with a queue of their own."""
    for name in ("mqueue", "clientmqueue", "mail"):
        (tmp_path / name).mkdir()
    file.write_text(
        f"QueueDirectory = {tmp_path}/mqueue\nClientQueueDirectory = {tmp_path}/clientmqueue\n"
        f"MailboxDirectory = {tmp_path}/mail\nRunAsUser =\nAuthInfoFile = {tmp_path}/authinfo\n"
        f"SRSKeyFile = {tmp_path}/srs-key\nTokenDirectory = {tmp_path}/tokens\n"
    )

    def seen() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = seen()
    command = [sys.executable, f"{HOME}/bin/minimta", "check", "--offline", "-C", str(file)]
    subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert seen() == before
