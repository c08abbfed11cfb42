"""What an administrator is told when the installation is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimta.admin.install import advice


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /etc/mail/minimta.cf."""
    monkeypatch.setattr("minimta.config.file.DEFAULT_FILE", str(tmp_path / "minimta.cf"))
    return tmp_path / "minimta.cf"


def warning(node: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("minimta.system.hostnames._full_name", lambda name: node)
    advice.warn_of_configuration(Path("/"))
    return capfd.readouterr().err


def test_a_host_name_without_a_domain_is_told_with_the_remedy(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told = warning("box1", monkeypatch, capfd)
    assert told.startswith("warning: this host's name, box1, has no domain")
    assert f"HostName = box1.example.org into {configuration}" in told


def test_a_full_name_is_nothing_to_tell(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert warning("box1.campus", monkeypatch, capfd) == ""
    configuration.write_text("HostName = mail.example.org\n")
    configuration.chmod(0o644)
    assert warning("box1", monkeypatch, capfd) == ""


def test_mail_that_no_run_would_see_is_told(
    configuration: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    queue = configuration.parent / "mqueue"
    (queue / "qf").mkdir(parents=True)
    (queue / "qf/qf6AM9CfOn000096").touch()
    configuration.write_text(f"QueueDirectory = {queue}\n")
    configuration.chmod(0o644)
    told = warning("box1.campus", monkeypatch, capfd)
    assert told.startswith(f"warning: 1 message in {queue}/qf, as Sendmail may have it, that no")
    assert f"mv {queue}/[dqx]f/* {queue}/" in told


@pytest.mark.parametrize(
    ("text", "mode", "warning"),
    [
        ("LogLevel = 9\n", 0o644, ""),
        ("LogLevel = 9\n", 0o600, "mode 600; all users must be able to read it (chmod a+r"),
        ("garbage\nmore\n", 0o644, 'line 2: unknown configuration line "more"'),
    ],
)
def test_what_is_wrong_with_the_configuration_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    text: str,
    mode: int,
    warning: str,
) -> None:
    file = tmp_path / "minimta.cf"
    file.write_text(text)
    file.chmod(mode)
    monkeypatch.setattr("minimta.config.file.DEFAULT_FILE", str(file))
    monkeypatch.setattr("minimta.system.hostnames._full_name", lambda name: "box1.campus")
    advice.warn_of_configuration(tmp_path)  # a tree for another machine
    assert capfd.readouterr().err == ""
    advice.warn_of_configuration(Path("/"))
    said = capfd.readouterr().err
    assert warning in said
    assert said.count("warning: ") == (0 if not warning else text.count("\n"))


@pytest.mark.parametrize("has_systemd", [True, False])
def test_how_it_is_started_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], has_systemd: bool
) -> None:
    monkeypatch.setattr(advice, "has_systemd", lambda: has_systemd)
    advice.tell_next(Path("/"))
    told = capfd.readouterr().out
    assert ("systemctl restart minimta" in told) is has_systemd
    assert ("journalctl" in told) is has_systemd
    assert ("sendmail -bd -q15m" in told) is not has_systemd
    assert f"\n  {advice.how_to_start(Path('/'))}\n" in told
    assert advice.how_to_start(Path("/tree")) == "systemctl restart minimta"


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("root: emma\n", True),
        ("postmaster: x\nROOT : emma\n", True),
        ('"root": emma\n', True),
        ("postmaster: root\n", False),
        ("# root: emma\n", False),
        (None, False),
    ],
)
def test_whether_root_has_an_alias(tmp_path: Path, text: str | None, is_there: bool) -> None:
    if text is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/aliases").write_text(text)
    assert advice.has_alias(tmp_path, b"root") is is_there
