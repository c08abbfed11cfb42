"""The configuration file: what it may say, and whose it may be."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimta.config import file as config_file
from minimta.config.file import ConfigError
from minimta.config.option import OptionError
from minimta.config.options import Options
from minimta.system import safefile
from tests.support import homes


def load(path: Path | str | None, *overrides: tuple[str, str]) -> Options:
    name = None if path is None else str(path)
    return config_file.load(name, list(overrides), safefile.why_untrusted)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "minimta.cf"
    path.write_text("")
    path.chmod(0o644)
    return path


def test_names_values_comments_and_blank_lines(file: Path) -> None:
    file.write_text("# comment\n\n  MaxHopCount = 7  \nSmartHost=[10.0.3.1]:2525\n")
    options = load(file)
    assert (options.max_hop_count, options.smart_host) == (7, "[10.0.3.1]:2525")


def test_a_byte_order_mark_is_no_part_of_the_first_line(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfMaxMessageSize = 10M\n")
    assert load(file).max_message_size == 10 << 20


def test_an_option_that_is_set_twice_is_told(file: Path) -> None:
    file.write_text(
        "MaxHopCount = 7\n#MaxHopCount = 8\n\nLogTo = none\nmaxhopcount=9\n"
        "DaemonPortOptions = Port=25\nDaemonPortOptions = Port=26\n"
    )
    options = load(file, ("LogTo", "stderr"))
    assert options.max_hop_count == 9
    text = "line 5: Warning: MaxHopCount is set in line 1, too; this one counts"
    assert options.warnings == [f"{file}: {text}"]


def test_the_command_line_has_the_last_word(file: Path) -> None:
    file.write_text("MaxHopCount = 7\n")
    assert load(file, ("maxhopcount", "9")).max_hop_count == 9


def test_ports_on_the_command_line_replace_those_of_the_file_and_add_up(file: Path) -> None:
    file.write_text("DaemonPortOptions = Name=a\nDaemonPortOptions = Name=b\n")
    assert [port.name for port in load(file).daemon_ports] == ["a", "b"]
    given = [("DaemonPortOptions", f"Name={name}") for name in "cd"]
    assert [port.name for port in load(file, *given).daemon_ports] == ["c", "d"]
    assert [port.name for port in load(file, ("MaxHopCount", "9")).daemon_ports] == ["a", "b"]


def test_a_file_that_is_not_read_whole_leaves_ports_for_who_asks(file: Path) -> None:
    file.write_text("DaemonPortOptions = Name=a\nMaxHopCount = 7\nDaemonPortOptions = Prot=b\n")
    options = config_file.load(str(file), [], safefile.why_untrusted, whole=False)
    assert options.max_hop_count == 7
    with pytest.raises(OptionError, match="unknown key Prot"):
        _ = options.daemon_ports
    with pytest.raises(ConfigError, match="line 3: option DaemonPortOptions: unknown key Prot"):
        load(file)


def test_no_file_at_all_is_a_good_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "DEFAULT_FILE", "/nonexistent/minimta.cf")
    assert load(None).queue_directory == "/var/spool/mqueue"


def test_a_file_that_was_asked_for_must_be_there() -> None:
    with pytest.raises(ConfigError, match="cannot open: No such file") as caught:
        load("/nonexistent/minimta.cf")
    assert caught.value.exit_code == os.EX_OSFILE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("garbage\n", 'line 1: unknown configuration line "garbage"'),
        ("\nQueDirectory = /x\n", "line 2: unknown option name QueDirectory (did you mean"),
        ("MaxHopCount = x\n", "line 1: option MaxHopCount: not a number: 'x'"),
        ("MaxHopCount = 0\n", "line 1: option MaxHopCount: below 1: '0'"),
        ("MaxMessageSize = -1\n", "line 1: option MaxMessageSize: below 0: '-1'"),
        ("HostName = me@x\n", "line 1: option HostName: 'me@x' is no name of a host"),
        ("SmartHost = h # x\n", "line 1: option SmartHost: 'h # x' is no host; wanted: HOST,"),
        ("#\n#\nDeliveryMode = never\n", "line 3: option DeliveryMode: 'never' is none of"),
        ("MaxQueueChildren = 0\n", "line 1: option MaxQueueChildren: below 1: '0'; 0 is not \"no"),
        ("MaxMessageSize = 9T\nGarbage", 'line 2: unknown configuration line "Garbage"'),
        ("MaxMessageSize = 9999999T\n", "line 1: option MaxMessageSize: too large a number"),
    ],
)
def test_an_error_names_file_line_and_reason(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert caught.value.exit_code == os.EX_CONFIG


def test_all_errors_of_a_file_are_told_at_once(file: Path) -> None:
    file.write_bytes(
        b"NoSuchThing = 1\nMaxHopCount = 7\nSmartHots = x\n\nLogTo = \xff\nLogTo = none\nx\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).split("\n") == [
        f"{file}: line 1: unknown option name NoSuchThing",
        f"{file}: line 3: unknown option name SmartHots (did you mean SmartHost?)",
        f"{file}: line 5: is not UTF-8",
        f'{file}: line 7: unknown configuration line "x"; wanted: Name = value',
    ]
    assert caught.value.unknown == {"", "SmartHost", "LogTo"}
    assert caught.value.options is not None
    assert caught.value.options.max_hop_count == 7


def test_of_a_binary_file_the_first_lines_and_every_option_are_told(file: Path) -> None:
    file.write_bytes(
        b"\x7fELF\0\xff\n" * 30 + b"SmartHost = h # x\nnosuch_thing = 1\nMaxHopCount 9\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.sentences == [
        f"{file}: is no text",
        *(f"{file}: line {number}: is not UTF-8" for number in range(1, 11)),
        f"{file}: line 31: option SmartHost: 'h # x' is no host; wanted: HOST, HOST:PORT, [HOST],"
        " [HOST]:PORT, several with commas between them",
        f"{file}: line 32: unknown option name nosuch_thing",
        f'{file}: line 33: unknown configuration line "MaxHopCount 9"; wanted: Name = value',
        f"{file}: 20 more lines are no options",
    ]
    assert caught.value.unknown == {"", "SmartHost", "MaxHopCount"}


def test_of_a_sendmail_cf_the_first_lines_are_told_and_what_it_is(file: Path) -> None:
    options = [f"O Timeout.queuereturn={number}d" for number in range(30)]
    file.write_text("\n".join(["# made by m4", "V10/Berkeley", "Cwlocalhost", *options, ""]))
    with pytest.raises(ConfigError) as caught:
        load(file)
    first, *lines, last = caught.value.sentences
    assert first == (
        f"{file}: is a sendmail.cf, which minimta does not read;"
        " minimta import reads the sendmail.mc that it was made from"
    )
    assert [line.partition(": line ")[2].partition(":")[0] for line in lines] == [
        str(number) for number in range(2, 12)
    ]
    assert last == f"{file}: 22 more lines are no options"
    assert "Timeout.queuereturn" in caught.value.unknown


def test_a_comment_may_have_any_octets(file: Path) -> None:
    file.write_bytes(b"# Gr\xfc\xdfe\nMaxHopCount = 7\n")
    assert load(file).max_hop_count == 7


def test_of_a_file_that_users_cannot_read_the_administrator_is_warned(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(0o600)
    assert load(file).warnings == []  # one's own, for -C
    monkeypatch.setattr(config_file, "DEFAULT_FILE", str(file))
    [warning] = load(None).warnings
    assert warning.startswith(f"{file}: Warning: mode 600; all users must be able to read it")
    file.chmod(0o644)
    assert load(None).warnings == []


@pytest.mark.parametrize(("required", "exit_code"), [(True, 72), (False, 75)])
def test_a_caller_who_may_not_read_the_administrators_file_is_to_come_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, required: bool, exit_code: int
) -> None:
    def deny(*_: object) -> int:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(config_file, "DEFAULT_FILE", str(file))
    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(ConfigError, match="cannot open: Permission denied") as caught:
        load(file if required else None)
    assert caught.value.exit_code == exit_code
    assert ("chmod a+r" in str(caught.value)) is not required


@pytest.mark.parametrize(
    ("mode", "fault"), [(0o664, "Group writable"), (0o646, "World writable"), (0o666, "")]
)
def test_a_file_that_others_can_write_is_refused_with_what_mends_it(
    file: Path, mode: int, fault: str
) -> None:
    os.chown(file, -1, homes.other_group())
    file.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {fault}")
    assert str(caught.value).endswith(f"writable file (chmod go-w {file})")
    assert caught.value.exit_code == os.EX_CONFIG
    file.chmod(mode & ~0o022)
    load(file)


@pytest.fixture
def of_umask_002(tmp_path: Path) -> Path:
    """A configuration as Debian 13's ordinary users write one."""
    old = os.umask(0o002)
    path = tmp_path / "of_umask_002.cf"
    path.write_text("MaxHopCount = 7\n")
    os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o664
    return path


def test_without_root_ones_own_group_is_oneself(
    of_umask_002: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safefile, "_OWN_GROUP", os.getegid())
    assert load(of_umask_002).max_hop_count == 7
    of_umask_002.chmod(0o666)
    with pytest.raises(ConfigError, match="World writable file"):
        load(of_umask_002)


def test_as_root_no_group_is_oneself(of_umask_002: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        monkeypatch.setattr(safefile, "_OWN_GROUP", -1)
    with pytest.raises(ConfigError, match="Group writable file"):
        load(of_umask_002)


def test_a_link_is_refused(file: Path) -> None:
    link = file.with_name("link.cf")
    link.symlink_to(file)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        load(link)


def test_a_fifo_neither_hangs_nor_configures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigError, match="is not a regular file"):
        load(tmp_path / "fifo")


def test_a_foreign_file_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.getuid():
        os.chown(file, 1234, 1234)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match="belongs to user"):
        load(file)


def test_octets_that_are_no_text_are_told_with_their_line(file: Path) -> None:
    file.write_bytes(b"#\nSmartHost = \xff\n")
    with pytest.raises(ConfigError, match="line 2: is not UTF-8"):
        load(file)


def test_a_bad_override_is_no_error_of_the_file(file: Path) -> None:
    with pytest.raises(OptionError, match="unknown option name NoSuchOption"):
        load(file, ("NoSuchOption", "1"))


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(errno.EIO, 75), (errno.EMFILE, 75), (errno.ENOMEM, 75), (errno.EACCES, 72)],
)
def test_a_file_that_cannot_be_read_now_is_to_be_tried_later(
    file: Path, monkeypatch: pytest.MonkeyPatch, code: int, exit_code: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(ConfigError, match="cannot open") as caught:
        load(file)
    assert caught.value.exit_code == exit_code


def test_the_zone_of_dates_is_what_the_file_says(tmp_path: Path) -> None:
    """In a process of its own: the zone is that of all its dates."""
    (tmp_path / "cf").write_text("TimeZoneSpec = Asia/Tokyo\n")
    (tmp_path / "cf").chmod(0o644)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from minimta.config import file\n"
        "file.load(sys.argv[2], [], lambda status, owners: '')\n"
        "from minimta.message import dates\n"
        "print(dates.rfc5322(0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, Path(__file__).parents[2], tmp_path / "cf"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "Thu, 1 Jan 1970 09:00:00 +0900\n"
