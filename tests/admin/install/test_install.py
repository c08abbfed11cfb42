"""minimta install: rows that know whether they are done, and a tree that comes back as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME, AdminError
from minimta.admin.install import install, machine_files, other_mta, services, uninstall
from minimta.admin.install.accounts import Account
from minimta.admin.install.files import CountsFile, Directory, Link, TextFile
from minimta.aliases import text
from minimta.aliases.rebuild_report import RebuildReport
from minimta.system import hostnames
from tests.support import dpkgtree

COMMANDS = (
    "/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/mailq", "/usr/bin/newaliases",
    "/usr/bin/hoststat", "/usr/bin/purgestat",
    "/usr/libexec/sendmail/smrsh", "/usr/libexec/sendmail/mail.local", "/usr/sbin/praliases", "/usr/sbin/mailstats",
    "/usr/sbin/makemap", "/usr/sbin/editmap", "/usr/sbin/rmail", "/usr/sbin/runq", "/usr/sbin/minimta",
)  # fmt: skip


@pytest.fixture
def administrator(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is root who asks."""
    monkeypatch.setattr("minimta.admin.install.install.os.geteuid", lambda: 0)


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Python that has the libraries stand for Debian's, and a clone in any home for /opt."""
    monkeypatch.setattr(install, "PYTHON", sys.executable)
    monkeypatch.setattr(install, "need_readable", lambda: None)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minimta.admin.install.install.os.geteuid", lambda: 1000)


def checkout(place: Path) -> Path:
    """Something that is_checkout() takes for one of ours; returns its bin/sendmail."""
    for name in ("bin/sendmail", "minimta/__init__.py"):
        (place / name).parent.mkdir(parents=True)
        (place / name).touch()
    return place / "bin" / "sendmail"


def test_whom_one_writes_to_about_mail_and_abuse_is_there() -> None:
    """RFC 2142 sections 4 and 5; RFC 5321 section 4.5.1."""
    report = RebuildReport("aliases")
    records = text.compile_text(install.ALIASES.encode(), report, lambda domain: True)
    assert (report.errors, report.warnings) == ([], [])
    for asked in (b"abuse", b"mailer-daemon", b"postmaster"):
        name = asked
        while name in records:
            name = records[name].lower()
        assert name == b"root"


def test_a_link_is_made_and_taken_back(tmp_path: Path) -> None:
    link = Link(tmp_path, "/usr/sbin/sendmail", f"{HOME}/bin/sendmail")
    assert not link.is_done()
    link.do()
    assert link.is_done()
    assert link.is_ours()
    assert os.readlink(tmp_path / "usr/sbin/sendmail") == f"{HOME}/bin/sendmail"
    link.undo()
    assert not list((tmp_path / "usr/sbin").iterdir())


def test_a_link_into_another_checkout_is_led_to_this_one(tmp_path: Path) -> None:
    old = checkout(tmp_path / "old")
    (tmp_path / "sendmail").symlink_to(old)
    link = Link(tmp_path, "/sendmail", f"{HOME}/bin/sendmail")
    assert (link.is_ours(), link.is_done()) == (True, False)
    link.do()
    assert link.is_done()


def test_the_links_of_the_package_are_ours(tmp_path: Path) -> None:
    """They are relative, and /usr/lib/sendmail leads to /usr/sbin/sendmail; Exim's are not."""
    checkout(tmp_path / "share")
    (tmp_path / "sbin").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "sbin/sendmail").symlink_to("../share/bin/sendmail")
    (tmp_path / "sbin/mailq").symlink_to("exim4")
    for name in ("sendmail", "mailq", "nothing"):
        (tmp_path / "lib" / name).symlink_to(f"../sbin/{name}")
    root = Path("/")
    ours = {str(path) for path in tmp_path.glob("*/*") if Link(root, str(path), "").is_ours()}
    assert ours == {f"{tmp_path}/sbin/sendmail", f"{tmp_path}/lib/sendmail"}


@pytest.mark.parametrize(
    "make",
    [
        Path.touch,
        lambda path: path.symlink_to("/etc/alternatives/sendmail"),
        lambda path: path.symlink_to("exim4"),  # the tests, too, run in a checkout
    ],
)
def test_it_stops_before_the_files_of_another_mail_system(
    tmp_path: Path, administrator: None, python: None, make: Callable[[Path], None]
) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    make(tmp_path / "usr/sbin/sendmail")
    with pytest.raises(AdminError, match=r"^/usr/sbin/sendmail is there already") as trouble:
        install.run(["--root", str(tmp_path)])
    assert trouble.value.exit_code == os.EX_CANTCREAT
    assert [path.name for path in tmp_path.rglob("*")] == ["usr", "sbin", "sendmail"]


def test_commands_that_a_package_takes_later_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_mta, "package_of", lambda root, path: "exim4-daemon-light")
    assert install.taken_away(tmp_path) == []  # nothing is installed
    names = ("/usr/sbin/minimta", "/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/mailq")
    for path in (*names, "/usr/bin/newaliases"):
        Link(tmp_path, path, f"{HOME}/bin/{Path(path).name}").do()
    assert install.taken_away(tmp_path) == []
    (tmp_path / "usr/bin/mailq").unlink()
    (tmp_path / "usr/sbin/sendmail").unlink()
    (tmp_path / "usr/sbin/sendmail").symlink_to("exim4")
    assert install.taken_away(tmp_path) == [
        "/usr/sbin/sendmail does not lead to minimta: apt remove exim4-daemon-light, then minimta install",
        "/usr/bin/mailq does not lead to minimta: minimta install",
    ]


def test_the_package_that_is_in_the_way_is_named(
    tmp_path: Path, administrator: None, python: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that update-alternatives(1) leads to a package are no package's, and not diverted."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/mailq").symlink_to("mailq-mta")
    owners = {"/usr/bin/mailq-mta": "sendmail-bin"}
    monkeypatch.setattr(other_mta, "package_of", lambda root, path: owners.get(path, ""))
    with pytest.raises(AdminError, match=r"of the package sendmail-bin: apt remove sendmail-bin"):
        install.run(["--root", str(tmp_path)])


def test_missing_libraries_are_told_with_the_remedy(
    tmp_path: Path, administrator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "PYTHON", "/bin/false")
    with pytest.raises(
        AdminError, match="apt install python3-dnspython python3-filelock"
    ) as trouble:
        install.run(["--root", str(tmp_path)])
    assert trouble.value.exit_code == os.EX_UNAVAILABLE


def test_only_root_installs(tmp_path: Path, python: None, user: None) -> None:
    with pytest.raises(AdminError, match="only root") as trouble:
        install.run(["--root", str(tmp_path)])
    assert trouble.value.exit_code == os.EX_NOPERM
    assert not list(tmp_path.iterdir())


def test_a_dry_run_tells_every_row_and_touches_nothing(
    tmp_path: Path, python: None, user: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install.run(["--dry-run", "--root", str(tmp_path)]) == 0
    told = capsys.readouterr().out.split("\n")[:-1]
    assert all(line.startswith("would do: ") for line in told)
    expected = ["user and group minimta", "directory /var/spool/mqueue, mode 1730, root:minimta"]
    expected += ["directory /var/spool/clientmqueue, mode 1733, root:root", "write /etc/aliases"]
    expected += [f"link {path} -> {HOME}/bin/{path.rpartition('/')[2]}" for path in COMMANDS]
    assert {f"would do: {row}" for row in expected} <= set(told)
    assert not list(tmp_path.iterdir())


def test_a_row_that_fails_is_named() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "/etc/cron.d/minimta")

    with pytest.raises(AdminError, match=r"^the cron entry: .*No space left") as trouble:
        install.perform([("the cron entry", fail), ("another", pytest.fail)], is_dry=False)
    assert trouble.value.exit_code == os.EX_CANTCREAT


@pytest.mark.parametrize("words", [["--nonsense"], ["--root"], ["more"]])
def test_words_that_mean_nothing_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(AdminError) as trouble:
        install.parse("install", words)
    assert trouble.value.exit_code == os.EX_USAGE


def test_the_administrators_aliases_stay(tmp_path: Path) -> None:
    row = TextFile(tmp_path, "/etc/aliases", install.ALIASES, keep=True)
    row.do()
    assert row.is_ours()
    (tmp_path / "etc/aliases").write_text("root: emma\n")
    assert (row.is_done(), row.is_ours()) == (True, False)


def test_a_mailname_that_others_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: None
) -> None:
    monkeypatch.setattr(hostnames, "own_name", lambda options: "vm1.example.org")
    rows = [row for row in install._of_this_host(tmp_path) if "mailname" in str(row)]
    assert len(rows) == 1 and not rows[0].is_done()
    rows[0].do()
    assert (tmp_path / "etc/mailname").read_text() == "vm1.example.org\n"
    assert rows[0].is_done() and not rows[0].is_ours()


def test_a_link_of_the_administrators_that_leads_nowhere_now_stays(tmp_path: Path) -> None:
    (tmp_path / "aliases").symlink_to("/nowhere/aliases")
    step = TextFile(tmp_path, "/aliases", "ours", keep=True)
    assert step.is_done() and not step.is_ours()


def test_a_directory_goes_if_nothing_is_in_it_and_a_link_to_one_stays(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("other")
    assert not Directory(tmp_path, "/link", 0o755, keep=True).is_ours()
    assert Directory(tmp_path, "/other", 0o755, keep=True).is_ours()


def test_every_directory_that_a_minimal_system_lacks_is_a_row(tmp_path: Path) -> None:
    """Whoever writes below it makes it, too; only a row is taken back."""
    rows = install.program_steps(tmp_path)
    made = {row.path for row in rows if isinstance(row, Directory)}
    has = ("/etc", "/etc/", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/local/share")
    given = ("/etc/cron.d", "/etc/logrotate.d", "/etc/systemd/system", "/usr/local/share/man")
    files = [row for row in rows if isinstance(row, TextFile | Link)]
    for row in files:
        parent = os.path.dirname(row.path)
        while parent not in (*has, *given):
            assert parent in made, row.path
            parent = os.path.dirname(parent)


def test_a_file_of_ours_that_was_changed_is_written_again(tmp_path: Path) -> None:
    row = TextFile(tmp_path, "/etc/cron.d/minimta", "* * * * * root true\n")
    row.do()
    (tmp_path / "etc/cron.d/minimta").write_text("")
    assert not row.is_done()
    row.do()
    assert row.is_done()
    assert (tmp_path / "etc/cron.d/minimta").stat().st_mode & 0o777 == 0o644


def test_a_queue_with_mail_in_it_stays(tmp_path: Path) -> None:
    queue = tmp_path / "var/spool/mqueue"
    queue.mkdir(parents=True)
    row = Directory(tmp_path, "/var/spool/mqueue", 0o1730)
    (queue / "dfxAIK3D9S000453").touch()
    assert not row.is_ours()
    (queue / "dfxAIK3D9S000453").unlink()
    assert row.is_ours()
    row.undo()
    assert not queue.exists()


def test_a_message_that_comes_while_its_queue_is_removed_stays(tmp_path: Path) -> None:
    message = tmp_path / "mqueue" / "dfxAIK3D9S000453"
    message.parent.mkdir()
    message.touch()
    with pytest.raises(OSError, match="not empty"):
        Directory(tmp_path, "/mqueue", 0o1730).undo()
    uninstall.take_back(Directory(tmp_path, "/mqueue", 0o1730))
    assert message.exists()


@pytest.mark.root
def test_counts_stay_when_their_file_gets_its_owner(tmp_path: Path) -> None:
    row, path = CountsFile(tmp_path, "/counts", "root"), tmp_path / "counts"
    path.write_text("numbers")
    path.chmod(0o600)
    os.chown(path, 12, 34)
    assert not row.is_done()
    row.do()
    assert row.is_done()
    assert path.read_text() == "numbers"
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (0, 0, 0o664)


def test_what_an_administrator_has_put_in_place_of_counts_stays(tmp_path: Path) -> None:
    row, other = CountsFile(tmp_path, "/counts", "root"), tmp_path / "other"
    (tmp_path / "counts").symlink_to(other)
    assert row.is_done()
    with pytest.raises(OSError, match="symbolic links"):
        row.do()
    assert not other.exists()


def test_what_a_machine_does_not_want_any_more_goes(tmp_path: Path) -> None:
    """The cron entry, where systemd starts a resident runner: three lines in the log every time."""
    cron = machine_files.by_name("cron")
    for wanted in (True, False):
        row = install.machine_step(tmp_path, cron)
        assert not row.is_done()
        row.do()
        assert row.is_done()
        assert (tmp_path / "etc/cron.d/minimta").exists() is wanted
        (tmp_path / "usr/lib/systemd").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr/lib/systemd/systemd").touch()


def test_byte_code_is_seen_to_be_of_this_source(tmp_path: Path) -> None:
    source = tmp_path / "room.py"
    source.write_text("x = 1\n")
    row = services.ByteCode(tmp_path)
    assert not row.is_done()
    row.do()
    assert row.is_done()
    source.write_text("x = 12\n")
    assert not row.is_done()
    assert not row.is_ours()


# --- the whole of it, in a tree ----------------------------------------------------------------


class Machine:
    """A tree with a passwd file and a checkout in /opt/minimta, which is run as root runs it."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.home = place / "opt" / "minimta"
        for name in ("bin", "minimta"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(Path(HOME, name), self.home / name, symlinks=True, ignore=ignore)
        (self.root / "etc").mkdir(parents=True)
        (self.root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (self.root / "etc/group").write_text("root:x:0:\n")
        (self.root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
        (self.root / "etc/gshadow").write_text("root:*::\n")

    def run(self, *words: str) -> str:
        script = str(self.home / "bin/minimta")
        command = [sys.executable, "-I", script, *words, "--root", str(self.root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def files(self) -> dict[str, tuple[int, int, bytes]]:
        """Path -> (mode, inode, content) of all that is there, backups of passwd apart."""
        found = {}
        for path in self.root.rglob("*"):
            if not path.name.endswith(("-", "wd.lock", "ow.lock", "up.lock")):
                content = path.read_bytes() if path.is_file() else b""
                stat = path.lstat()
                found[str(path.relative_to(self.root))] = (stat.st_mode, stat.st_ino, content)
        return found

    def contents(self) -> dict[str, bytes]:
        """Path -> content of all files."""
        paths = [path for path in self.files() if not (self.root / path).is_dir()]
        return {path: self.files()[path][2] for path in paths}


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Below a directory that everybody may pass, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="minimta-test-") as name:
        Path(name).chmod(0o755)
        yield Machine(Path(name))


@pytest.mark.debian("dpkg")
def test_a_checkout_is_not_installed_over_the_package(
    tmp_path: Path, administrator: None, python: None
) -> None:
    root = dpkgtree.make(tmp_path)
    dpkgtree.install(root, "minimta", {"/usr/sbin/minimta": ""}, "mail-transport-agent")
    with pytest.raises(AdminError, match=r"package minimta is installed: apt remove minimta"):
        install.run(["--root", str(root)])
    assert dpkgtree.diversions(root) == []


@pytest.mark.root
@pytest.mark.debian("python3-dnspython", "python3-filelock")
def test_a_second_run_changes_nothing(machine: Machine) -> None:
    assert "\nlink /usr/sbin/sendmail" in machine.run("install")
    before = machine.files()
    assert machine.run("install") == "nothing to do\n"
    assert machine.files() == before


@pytest.mark.root
@pytest.mark.debian("python3-dnspython", "python3-filelock")
def test_everything_has_its_owner_and_mode(machine: Machine) -> None:
    machine.run("install")
    entry = (machine.root / "etc/passwd").read_text().split("\n")[1].split(":")
    assert (entry[0], entry[5:]) == ("minimta", ["/var/spool/mqueue", "/usr/sbin/nologin"])
    queue, client = (machine.root / f"var/spool/{name}" for name in ("mqueue", "clientmqueue"))
    assert (queue.stat().st_uid, queue.stat().st_gid) == (0, int(entry[3]))
    assert (queue.stat().st_mode & 0o7777, client.stat().st_mode & 0o7777) == (0o1730, 0o1733)
    counts = (machine.root / "var/spool/mqueue.statistics").stat()
    assert (counts.st_uid, counts.st_gid, counts.st_mode & 0o7777) == (0, int(entry[3]), 0o664)
    assert (machine.root / "etc/aliases.cdb").is_file()
    assert (machine.root / "etc/mail").is_dir()
    for path in COMMANDS:
        name = path.rpartition("/")[2]
        assert os.readlink(machine.root / path[1:]) == f"{machine.home}/bin/{name}"


@pytest.mark.root
@pytest.mark.debian("python3-dnspython", "python3-filelock")
def test_uninstall_takes_everything_back(machine: Machine) -> None:
    before = machine.contents()
    machine.run("install")
    for lock in ("runner", "daemon", "slots", "logins", "pace"):
        (machine.root / f"var/spool/mqueue.{lock}").touch()
    (machine.root / "var/spool/mqueue.hosts/campus.").mkdir(parents=True)
    (machine.root / "var/spool/mqueue.hosts/campus./mx").touch()
    machine.run("uninstall")
    assert machine.contents() == before
    assert machine.run("uninstall") == "nothing to do\n"


@pytest.mark.root
@pytest.mark.debian("python3-dnspython", "python3-filelock")
def test_uninstall_leaves_all_mail_and_its_owner(machine: Machine) -> None:
    machine.run("install")
    mail = [machine.root / path for path in ("var/spool/mqueue/qf1", "var/spool/clientmqueue/qf2")]
    for path in mail:
        path.write_text("V8\n")
    machine.run("uninstall")
    assert all(path.read_text() == "V8\n" for path in mail)
    assert "\nminimta:" in (machine.root / "etc/passwd").read_text()
    assert not os.path.lexists(machine.root / "usr/sbin/sendmail")


def test_the_packages_copy_leaves_programs_to_dpkg(
    tmp_path: Path,
    administrator: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """install, as postinst runs it, sees to what running programs need; uninstall is apt's."""
    monkeypatch.setattr(install, "is_packaged", lambda: True)
    monkeypatch.setattr(uninstall, "is_packaged", lambda: True)
    (tmp_path / "var/spool/postfix/hold").mkdir(parents=True)
    (tmp_path / "var/spool/postfix/hold/A1").touch()
    assert install.run(["--dry-run", "--root", str(tmp_path)]) == 0
    said = capfd.readouterr().out
    assert "would do: directory /var/spool/mqueue, mode 1730, root:minimta\n" in said
    assert "note: 1 message of postfix in /var/spool/postfix, " in said
    assert "/usr/sbin" not in said
    with pytest.raises(AdminError, match="apt remove minimta"):
        uninstall.run([])


def test_the_cron_entry_of_the_package_is_for_machines_without_systemd(tmp_path: Path) -> None:
    for is_wanted in (True, False):
        row = install.packaged_cron(tmp_path)
        assert str(row) == f"{'write' if is_wanted else 'remove'} /etc/cron.d/minimta"
        assert (row.is_done(), row.is_ours()) == (False, not is_wanted)
        row.do()
        assert (row.is_done(), row.is_ours()) == (True, is_wanted)
        assert (tmp_path / "etc/cron.d/minimta").exists() is is_wanted
        (tmp_path / "usr/lib/systemd").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr/lib/systemd/systemd").touch()


def test_what_an_alias_file_has_wrong_stops_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [services.AliasDatabase(tmp_path, "/etc/aliases", "/bin/false")]
    monkeypatch.setattr(install, "state_steps", lambda root: rows)
    assert install.run_packaged(tmp_path, is_dry=False) == 0
    assert "warning: /bin/false -OAliasFile=" in capfd.readouterr().err


@pytest.mark.parametrize("is_dry", [False, True])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_package_that_is_new_tells_how_to_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    is_new: bool,
    is_dry: bool,
) -> None:
    (tmp_path / "etc").mkdir()
    known = "" if is_new else "minimta:x:998:998::/var/spool/mqueue:/usr/sbin/nologin\n"
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n" + known)
    rows = [Account(tmp_path, "minimta", "/var/spool/mqueue")]
    monkeypatch.setattr(install, "state_steps", lambda root: rows)
    monkeypatch.setattr(Account, "do", lambda row: None)
    assert install.run_packaged(tmp_path, is_dry=is_dry) == 0
    is_told = "\nNext:\n" in capfd.readouterr().out
    assert is_told is (is_new and not is_dry)


def test_uninstall_tells_what_it_would_take_back(
    tmp_path: Path, user: None, capsys: pytest.CaptureFixture[str]
) -> None:
    Link(tmp_path, "/usr/bin/mailq", f"{HOME}/bin/mailq").do()
    assert uninstall.run(["--dry-run", "--root", str(tmp_path)]) == 0
    assert (
        f"would do: take back: link /usr/bin/mailq -> {HOME}/bin/mailq" in capsys.readouterr().out
    )
    assert os.path.lexists(tmp_path / "usr/bin/mailq")


def test_uninstall_tells_of_mail_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uninstall, "need_root", lambda *, is_dry: None)
    monkeypatch.setattr(uninstall, "steps", lambda root: [])
    assert uninstall.run(["--root", str(tmp_path)]) == 0
    assert capfd.readouterr().out == "nothing to do\n"
    for name in ("mqueue/qfA1", "mqueue/dfA1", "mqueue/hfA2", "clientmqueue/qfA3"):
        path = tmp_path / "var/spool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert uninstall.run(["--root", str(tmp_path)]) == 0
    assert capfd.readouterr().out.splitlines()[1:] == [
        "note: 2 messages stay in /var/spool/mqueue, which only minimta sends: minimta install",
        "note: 1 message stays in /var/spool/clientmqueue, which only minimta sends: minimta install",
    ]


def test_byte_code_that_only_root_can_read_is_made_readable(tmp_path: Path) -> None:
    os.umask(0o022)
    (tmp_path / "room.py").write_text("x = 1\n")
    row = services.ByteCode(tmp_path)
    row.do()
    assert row.is_done()
    cache = tmp_path / "__pycache__"
    for path, mode, right in ((cache, 0o700, 0o755), (next(cache.iterdir()), 0o600, 0o644)):
        path.chmod(mode)
        assert not row.is_done()
        row.do()
        assert row.is_done()
        assert path.stat().st_mode & 0o777 == right


def test_only_root_uninstalls(tmp_path: Path, user: None) -> None:
    Link(tmp_path, "/usr/bin/mailq", f"{HOME}/bin/mailq").do()
    with pytest.raises(AdminError, match=r"^only root can do that") as trouble:
        uninstall.run(["--root", str(tmp_path)])
    assert trouble.value.exit_code == os.EX_NOPERM
    assert os.path.lexists(tmp_path / "usr/bin/mailq")


def test_only_root_can_tell_whether_a_queue_is_empty(
    tmp_path: Path, user: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(row: Directory) -> bool:
        raise PermissionError(13, "Permission denied", row.path)

    monkeypatch.setattr(Directory, "is_ours", closed)
    with pytest.raises(AdminError, match=r"^only root can tell: /.* is closed") as trouble:
        uninstall.run(["--dry-run", "--root", str(tmp_path)])
    assert trouble.value.exit_code == os.EX_NOPERM


@pytest.mark.root
@pytest.mark.debian("python3-dnspython", "python3-filelock")
def test_it_tells_what_to_do_next(machine: Machine) -> None:
    told = machine.run("install").partition("\n\nNext:\n")[2]
    assert told.startswith("  minimta setup: ")
    assert "/etc/mail/minimta.cf" in told
    assert "root's mail" in told
    assert "sendmail -v root" in told
    (machine.root / "etc/aliases").write_text("Root: emma\n")
    assert "root's mail" not in machine.run("install").partition("\n\nNext:\n")[2]


@pytest.mark.root
@pytest.mark.debian("python3-dnspython", "python3-filelock")
def test_a_checkout_that_users_cannot_read_is_refused(machine: Machine) -> None:
    machine.home.chmod(0o700)
    command = [sys.executable, "-I", f"{machine.home}/bin/minimta", "install"]
    command += ["--root", str(machine.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == os.EX_NOPERM
    assert f"chmod -R a+rX {machine.home}" in done.stderr
    assert not (machine.root / "usr").exists()


@pytest.mark.root
@pytest.mark.debian("python3-dnspython", "python3-filelock")
def test_nothing_is_left_half_done_because_nobody_reads_what_is_told(machine: Machine) -> None:
    script = f"{machine.home}/bin/minimta"
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-I", script, "install", "--root", str(machine.root)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == os.EX_IOERR
    assert done.stderr.endswith("standard output: No space left on device\n")
    assert machine.run("install") == "nothing to do\n"
