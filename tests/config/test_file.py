"""The configuration file: what it may say, and whose it may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minimta.config import file as config_file
from minimta.config.file import ConfigError
from minimta.config.options import OptionError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "minimta.cf"
    path.write_text("")
    path.chmod(0o644)
    return path


def test_names_values_comments_and_blank_lines(file: Path) -> None:
    file.write_text("# comment\n\n  MaxHopCount = 7  \nSmartHost=[10.0.3.1]:2525\n")
    options = config_file.load(str(file), [])
    assert (options.max_hop_count, options.smart_host) == (7, "[10.0.3.1]:2525")


def test_the_command_line_has_the_last_word(file: Path) -> None:
    file.write_text("MaxHopCount = 7\n")
    assert config_file.load(str(file), [("maxhopcount", "9")]).max_hop_count == 9


def test_no_file_at_all_is_a_good_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "DEFAULT_FILE", "/nonexistent/minimta.cf")
    assert config_file.load(None, []).queue_directory == "/var/spool/mqueue"


def test_a_file_that_was_asked_for_must_be_there() -> None:
    with pytest.raises(ConfigError, match="cannot open: No such file") as caught:
        config_file.load("/nonexistent/minimta.cf", [])
    assert caught.value.exit_code == os.EX_OSFILE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("garbage\n", 'line 1: unknown configuration line "garbage"'),
        ("\nQueDirectory = /x\n", "line 2: unknown option name QueDirectory (did you mean"),
        ("MaxHopCount = x\n", "line 1: option MaxHopCount: not a number: 'x'"),
        ("#\n#\nDeliveryMode = never\n", "line 3: option DeliveryMode: 'never' is none of"),
    ],
)
def test_an_error_names_file_line_and_reason(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config_file.load(str(file), [])
    assert str(caught.value).startswith(f"{file}: {message}")
    assert caught.value.exit_code == os.EX_CONFIG


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(ConfigError, match="Group or world writable file"):
        config_file.load(str(file), [])


def test_a_link_is_refused(file: Path) -> None:
    link = file.with_name("link.cf")
    link.symlink_to(file)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        config_file.load(str(link), [])


def test_a_fifo_neither_hangs_nor_configures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigError, match="is not a regular file"):
        config_file.load(str(tmp_path / "fifo"), [])


def test_a_foreign_file_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.getuid():
        os.chown(file, 1234, 1234)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match="belongs to user"):
        config_file.load(str(file), [])


def test_octets_that_are_no_text_are_told_with_their_line(file: Path) -> None:
    file.write_bytes(b"#\nSmartHost = \xff\n")
    with pytest.raises(ConfigError, match="line 2: is not UTF-8"):
        config_file.load(str(file), [])


def test_a_bad_override_is_no_error_of_the_file(file: Path) -> None:
    with pytest.raises(OptionError, match="unknown option name NoSuchOption"):
        config_file.load(str(file), [("NoSuchOption", "1")])
