"""Modes and owners: each that is wrong is told, with the command that puts it right."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path

import pytest

from minimta.admin.doctor import modes
from minimta.queue import subdirectories
from tests.support.patient import Machine


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o1737, "mode 1737: others may read and write all mail"),
        (0o1733, "mode 1733: others may write and pass all mail"),
        (0o730, "without the sticky bit the listener could remove others' mail"),
    ],
)
def test_a_queue_that_is_open_to_others(machine: Machine, mode: int, text: str) -> None:
    path = machine.options.queue_directory
    os.chmod(path, mode)
    [line] = machine.told(modes.queues)
    assert text in line
    assert line.endswith(f"{path} && chmod 1730 {path}")


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o733, "without the sticky bit users can remove each other's mail"),
        (0o1777, "users see who else sends"),
    ],
)
def test_a_client_queue_that_is_too_open(machine: Machine, mode: int, text: str) -> None:
    os.chmod(machine.options.client_queue_directory, mode)
    [line] = machine.told(modes.queues)
    assert text in line


def test_queues_that_are_not_there(machine: Machine) -> None:
    os.rmdir(machine.options.queue_directory)
    os.rmdir(machine.options.client_queue_directory)
    assert [line.rpartition(": ")[2] for line in machine.told(modes.queues)] == [
        "minimta install"
    ] * 2


def test_a_mailbox_directory_where_users_can_replace_mailboxes(machine: Machine) -> None:
    os.chmod(machine.options.mailbox_directory, 0o777)
    [line] = machine.told(modes.mailboxes)
    assert "users can replace each other's mailboxes: chown root:mail" in line


def test_a_mailbox_of_somebody_else(machine: Machine) -> None:
    users = Path(machine.options.passwd_file)
    users.write_text(users.read_text() + "frank:x:54321:54321:frank:/home/frank:/bin/sh\n")
    mailbox = Path(machine.options.mailbox_directory, "frank")
    mailbox.touch(0o600)
    [line] = machine.told(modes.mailboxes)
    assert line.startswith(f"{mailbox}: belongs to ")
    assert line.endswith(f"not to frank, whose mail waits: chown frank {mailbox}")


def test_a_mailbox_that_others_may_read(machine: Machine) -> None:
    mailbox = Path(machine.options.mailbox_directory, "emma")
    mailbox.touch()
    mailbox.chmod(0o664)
    [line] = machine.told(modes.mailboxes)
    assert line == f"{mailbox}: Warning: mode 664: others may read this mail: chmod o= {mailbox}"


@pytest.mark.parametrize("name", ["aliases", "access", "mailertable", "mailertable.cdb"])
def test_a_table_that_others_may_write(machine: Machine, name: str) -> None:
    assert not machine.told(modes.tables)
    path = machine.host.root / name
    path.touch()
    path.chmod(0o646)
    [line] = machine.told(modes.tables)
    assert line == f"{path}: mode 646: others than root decide where mail goes: chmod go-w {path}"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("authinfo", "passwords"),
        ("authinfo.cdb", "passwords"),
        ("server.pem", "the key of the listener"),
        ("srs-key", "the key of SRS"),
        ("tokens", "tokens"),
        ("alert-url", "the URL of alerts"),
    ],
)
def test_a_secret_that_others_may_read(machine: Machine, name: str, what: str) -> None:
    machine.options.alert_command = f"file:{machine.host.root}/alert-url"
    path = machine.host.root / name
    path.touch(0o600)
    assert not machine.told(modes.secrets)
    path.chmod(0o640)
    [line] = machine.told(modes.secrets)
    assert line == (
        f"{path}: mode 640: others than root may read {what}: chmod 600 {path}, and perhaps a new one"
    )


@pytest.mark.parametrize(("mode", "lines"), [(0o600, 1), (0o640, 0)])
def test_all_is_well_only_if_no_secret_can_be_read(machine: Machine, mode: int, lines: int) -> None:
    path = machine.host.root / "authinfo"
    path.touch()
    path.chmod(mode)
    found = [str(one) for one in machine.found(modes.secrets)]
    assert found.count("secrets: nobody but root can read them") == lines


def test_what_a_container_is_given_may_be_read_by_the_only_user(machine: Machine) -> None:
    machine.options.one_user = True
    path = machine.host.root / "authinfo"
    path.touch()
    path.chmod(0o444)
    assert not machine.told(modes.secrets)
    path.chmod(0o466)
    assert "others than root may write passwords: chmod 600" in machine.told(modes.secrets)[0]


def test_the_server_of_the_mailboxes_listens(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("s") / "lmtp")
    machine.options.local_mailer = f"lmtp:{path}"
    then = "mail for users of this host waits: start the server that LocalMailer means, or correct"
    [line] = machine.told(modes.mailboxes)
    assert line == f"{path}: No such file or directory: {then} the path"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        [line] = machine.told(modes.mailboxes)
        assert line == f"{path}: Connection refused: {then} the path"
        server.listen()
        assert not machine.told(modes.mailboxes)
    machine.changes["is_root"] = False
    assert machine.told(modes.mailboxes) == [f"{path}: unknown: Connection refused"]


def test_a_server_that_cannot_be_asked_now_is_not_said_to_be_away(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(family: int) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    machine.options.local_mailer = "lmtp:/run/lmtp"
    monkeypatch.setattr(socket, "socket", none_left)
    assert machine.told(modes.mailboxes) == ["/run/lmtp: unknown: Too many open files"]


def test_with_one_user_all_mailboxes_are_theirs(machine: Machine) -> None:
    users = Path(machine.options.passwd_file)
    users.write_text(users.read_text() + "frank:x:54321:54321:frank:/home/frank:/bin/sh\n")
    Path(machine.options.mailbox_directory, "frank").touch(0o600)
    machine.options.one_user = True
    assert not machine.told(modes.mailboxes)


def test_logins_that_everybody_may_read(machine: Machine) -> None:
    path = machine.host.root / "smtp-users"
    path.touch(0o640)
    path.chmod(0o640)
    assert not machine.told(modes.secrets)
    path.chmod(0o644)
    assert machine.told(modes.secrets)[0].endswith(f"chmod 640 {path}, and perhaps a new one")


@pytest.fixture
def program(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = machine.host.root / "checkout"
    for name in ("bin", "minimta"):
        (home / name).mkdir(parents=True)
        (home / name / "file").touch(0o644)
    monkeypatch.setattr(modes, "HOME", str(home))
    monkeypatch.setattr(modes, "is_writable_by_others", lambda path: bool(path.lstat().st_mode & 0o002)
                        and not path.lstat().st_mode & 0o1000)  # fmt: skip
    monkeypatch.setattr(modes, "_is_open", lambda path: home not in path.parents
                        or bool(path.stat().st_mode & 0o004))  # fmt: skip
    return home


def test_code_that_others_may_write(machine: Machine, program: Path) -> None:
    assert not machine.told(modes.program)
    (program / "minimta/file").chmod(0o646)
    [line] = machine.told(modes.program)
    assert line.startswith(
        f"{program}/minimta/file: others than root can write it, and so become root"
    )


def test_a_checkout_of_a_user_is_judged_if_it_is_the_sendmail_of_the_machine(
    machine: Machine, program: Path
) -> None:
    """root runs it, so its owner is root."""
    machine.changes["is_root"] = False
    if not os.geteuid():
        os.chown(program, 1000, 1000)
    (program / "minimta/file").chmod(0o646)
    (program / "bin/sendmail").touch(0o755)
    assert machine.told(modes.program) == [f"{program}: unknown: is a user's own checkout"]
    (machine.root / "usr/sbin").mkdir(parents=True)
    (machine.root / "usr/sbin/sendmail").symlink_to(program / "bin/sendmail")
    [line] = machine.told(modes.program)
    assert "others than root can write it, and so become root here" in line
    machine.options.one_user = True
    assert machine.told(modes.program) == [f"{program}: unknown: is a user's own checkout"]


def test_code_that_users_cannot_read(machine: Machine, program: Path) -> None:
    (program / "bin/file").chmod(0o640)
    [line] = machine.told(modes.program)
    assert line.endswith(f"users cannot read it, and so have no sendmail: chmod -R a+rX {program}")


def test_a_set_user_id_sendmail(machine: Machine, program: Path) -> None:
    machine.write("/usr/sbin/sendmail", "").chmod(0o4755)
    assert "no program of minimta is set-user-id" in machine.told(modes.program)[0]


@pytest.fixture
def base(machine: Machine) -> Path:
    """A machine with several queue directories, and where they are."""
    base = Path(machine.options.queue_directory)
    machine.options.queue_pattern = f"{base}/q*"
    for name in ("q1", "q2"):
        (base / name).mkdir()
        (base / name).chmod(0o1730)
    return base


def test_each_queue_directory_is_looked_at(machine: Machine, base: Path) -> None:
    assert machine.told(modes.queues) == []
    (base / "q2").chmod(0o1777)
    [line] = machine.told(modes.queues)
    assert f"{base}/q2: mode 1777: others may read and write all mail" in line
    assert line.endswith(f"{base}/q2 && chmod 1730 {base}/q2")


def test_without_a_queue_directory_the_first_is_to_be_made(machine: Machine, base: Path) -> None:
    for name in ("q1", "q2"):
        (base / name).rmdir()
    [line] = machine.told(modes.queues)
    assert f"{base}/q*: there is no such directory" in line
    assert line.endswith(f" {base}/q1")
    assert "install -d -m 1730 -o root -g " in line


def test_mail_from_before_there_were_several_is_told(machine: Machine, base: Path) -> None:
    (base / "qf6AM9CfOn000096").touch()
    [line] = machine.told(modes.queues)
    assert f"{base}: 1 message in it, which is no queue directory: no run sees them" in line
    assert line.endswith(f"mv {base}/[dax]f* {base}/q1/ && mv {base}/[qhQ]f* {base}/q1/")


def test_mail_in_directories_that_the_option_no_longer_means_is_told(
    machine: Machine, base: Path
) -> None:
    for name in ("q1/qf6AM9CfOn000096", "q2/hf6AM9CfOn000097", "q2/QfwhateverQfIs"):
        (base / name).touch()
    machine.options.queue_pattern = f"{base}/q1*"
    [line] = machine.told(modes.queues)
    assert f"{base}/q2: 1 message in it, which is no queue directory: no run sees them" in line
    machine.options.queue_pattern = str(base)
    base.chmod(0o1730)
    lines = machine.told(modes.queues)
    assert [line.partition(" in it")[0].split()[-3:] for line in lines] == [
        [f"{base}/{name}:", "1", "message"] for name in ("q1", "q2")
    ]
    assert f"mv {base}/q1/[dax]f* {base}/ && mv {base}/q1/[qhQ]f* {base}/" in lines[0]


def test_a_listener_that_cannot_see_the_queue_directories_is_told(
    machine: Machine, base: Path
) -> None:
    machine.options.run_as_user = "daemon"
    base.chmod(0o700)
    [line] = machine.told(modes.queues)
    assert f"{base}: mode 700: the listener cannot see which queue directories there are" in line
    assert line.endswith(f"chgrp daemon {base} && chmod g+x {base}")
    base.chmod(0o711)
    assert machine.told(modes.queues) == []


def test_links_and_names_of_any_kind_disturb_nothing(machine: Machine, base: Path) -> None:
    (base / "q3").symlink_to("q1")
    (base / "q4").symlink_to("q4")
    (base / "q$(id)").mkdir(mode=0o755)
    (base / "q1" / "qf6AM9CfOn000096").touch()
    [line] = machine.told(modes.queues)
    assert line.endswith(f"'{base}/q$(id)' && chmod 1730 '{base}/q$(id)'")


def test_a_directory_whose_name_nothing_can_mean_is_told(machine: Machine, base: Path) -> None:
    (base / "q 3").mkdir()
    (base / "q 3" / "qf6AM9CfOn000096").touch()
    [line] = machine.told(modes.queues)
    assert f"{base}/q 3: 1 message in it" in line
    assert f"mv '{base}/q 3/'[dax]f* {base}/q1/" in line


def test_subdirectories_as_sendmail_may_have_are_told(machine: Machine, base: Path) -> None:
    (base / "q2" / "df").mkdir()
    [line] = machine.told(modes.queues)
    assert f"{base}/q2: Warning: has subdirectories (df), as Sendmail may" in line
    (base / "q2" / "qf").mkdir()
    for name in ("qf/qf6AM9CfOn000096", "df/df6AM9CfOn000096", "qf/qfno", "qf/tf6AM9CfOn000097"):
        (base / "q2" / name).touch()
    (base / "q2").chmod(0o777)
    wrong, line = machine.told(modes.queues)
    assert "others may" in wrong
    assert (
        f"{base}/q2: 1 message in {base}/q2/qf, as Sendmail may have it, that no run sees" in line
    )
    remedy = line.partition("with both stopped: ")[2].partition(", then")[0]
    subprocess.run(["/bin/sh", "-c", remedy], check=True)
    assert {"qf6AM9CfOn000096", "df6AM9CfOn000096"} < set(os.listdir(base / "q2"))
    machine.options.queue_pattern = str(base / "q2")
    _, line = machine.told(modes.queues)
    assert "has subdirectories (qf, df)" in line


@pytest.mark.parametrize("place", ["q1", "q2/qf"], ids=["another queue", "a subdirectory"])
def test_where_mail_may_lie_and_cannot_be_looked_for_is_unknown(
    machine: Machine, base: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fails(directory: str) -> int:
        if directory == f"{base}/{place}":
            raise OSError(errno.EIO, os.strerror(errno.EIO), directory)
        return 0

    monkeypatch.setattr(subdirectories, "messages", fails)
    machine.options.queue_pattern = f"{base}/q2*"
    [line] = machine.told(modes.queues)
    assert f"{base}/{place}: " in line and "Input/output error" in line
