"""Start-up is part of the house: what a submission loads, and whom the program obeys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minimta
from minimta.admin.install.startup_code import StartupFile

HOME = Path(minimta.__file__).parent.parent
PROGRAM = HOME / "bin" / "sendmail"

#: each costs more than the submission itself, or is on the way to something that does
FORBIDDEN = {
    "argparse", "ast", "asyncio", "bz2", "collections", "contextlib", "ctypes", "dataclasses",
    "datetime", "decimal", "difflib", "dns", "email", "enum", "filelock", "functools", "gettext",
    "hashlib", "inspect", "ipaddress", "json", "locale", "logging", "pathlib", "random", "re",
    "select", "shutil", "signal", "socket", "ssl", "string", "subprocess", "tempfile", "textwrap",
    "threading", "traceback", "typing", "urllib", "uuid", "warnings", "weakref", "zlib",
}  # fmt: skip
#: the modules on the way from standard input to the queue, when all recipients are elsewhere
ROOMS = {
    "aliases", "aliases.lookup", "aliases.source", "commands", "commands.sendmail", "config",
    "config.commandline", "config.file", "config.option", "config.options", "config.quantities", "config.values", "maps",
    "maps.text_table", "message", "message.address", "message.addresslist", "message.dates",
    "message.envelope", "message.fullname", "message.headers", "message.missing_fields",
    "message.printable", "message.received", "queue", "queue.collect", "queue.commit",
    "queue.control", "queue.directory", "queue.first_control", "queue.permission", "queue.qid",
    "queue.spool",
    "routing", "routing.local_host", "routing.recipients", "routing.route",
    "submission",
    "submission.caller", "submission.delivery_mode", "submission.sender", "submission.stdin",
    "submission.submit", "system", "system.files", "system.hostnames",
    "system.hosts_file", "system.log",
    "system.safefile", "system.startup_code", "system.terminal", "system.users",
}  # fmt: skip
#: what else looks up a local recipient: the text of the aliases if they have no database, else that
TEXT = {"aliases.rebuild_report", "aliases.text"}
DATABASE = {"maps.cdb"}

#: how its modules are loaded where minimta is installed, less those before that can be known
FROM_FILE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from minimta.system import startup_code
startup_code.use(sys.argv[1] + "/minimta", os.getuid())
before = set(sys.modules)
from minimta.commands.sendmail import main
code = main(["sendmail", "-C", sys.argv[2], "dave@lab2.campus", "emma"])
ours = {name for name in sys.modules if name.startswith("minimta")} - before
odd = {name for name in ours if type(sys.modules[name].__loader__).__name__ != "StartupCode"}
print(code, len(ours), *odd)
"""

SCRIPT = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
from minimta.commands.sendmail import main
code = main(["sendmail", "-C", sys.argv[2], "dave@lab2.campus", {who!r}])
print(code, *sorted(set(sys.modules) - before))
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    (tmp_path / "mqueue").mkdir(mode=0o700)
    (tmp_path / "passwd").write_text(
        f"emma:x:{os.getuid()}:{os.getgid()}:Emma Example:{tmp_path}:/bin/sh\n"
    )
    (tmp_path / "aliases").write_text("postmaster: emma\n")
    settings = {
        "HostName": "lab1.campus",
        "QueueDirectory": tmp_path / "mqueue",
        "PasswdFile": tmp_path / "passwd",
        "AliasFile": tmp_path / "aliases",
        "TrustedUsers": "/nonexistent",
        "LogTo": "none",
        "MinFreeBlocks": "0",
        "DeliveryMode": "queueonly",
    }
    path = tmp_path / "cf"
    path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    for file in (path, tmp_path / "aliases"):
        file.chmod(0o600)
    return path


def loaded(configuration: Path, who: str) -> set[str]:
    # -S: a .pth file of the environment may load what it likes; that is not our doing.
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        SCRIPT.format(who=who),
        str(HOME),
        str(configuration),
    ]
    done = subprocess.run(command, input=b"Subject: x\n\nx\n", capture_output=True, check=True)
    code, *modules = done.stdout.decode().split()
    assert code == "0", done.stderr
    return set(modules)


@pytest.mark.parametrize("who", ["emma", "postmaster"])
def test_a_submission_loads_nothing_heavy(configuration: Path, who: str) -> None:
    assert not {module.partition(".")[0] for module in loaded(configuration, who)} & FORBIDDEN


def rooms(configuration: Path, who: str) -> set[str]:
    found = {module.partition(".") for module in loaded(configuration, who)}
    return {room for top, _, room in found if top == "minimta" and room}


def test_a_submission_loads_the_rooms_on_its_way_and_no_others(configuration: Path) -> None:
    assert rooms(configuration, "henry@lab3.campus") == ROOMS
    assert rooms(configuration, "emma") == ROOMS | TEXT
    # With the interpreter of the tests: the one that its first line names may lack filelock.
    newaliases = [
        sys.executable,
        "-I",
        str(PROGRAM.with_name("newaliases")),
        "-C",
        str(configuration),
    ]
    subprocess.run(newaliases, check=True)
    assert rooms(configuration, "emma") == ROOMS | DATABASE


def test_an_installation_has_all_of_them_in_one_file(configuration: Path, tmp_path: Path) -> None:
    """Of local recipients, too, with the alias database and a port in the configuration."""
    ignored = shutil.ignore_patterns("__pycache__", "man")
    home = shutil.copytree(HOME / "minimta", tmp_path / "home" / "minimta", ignore=ignored).parent
    step = StartupFile(home / "minimta")
    assert not step.is_done()
    step.do()
    assert step.is_done()
    configuration.write_text(configuration.read_text() + "DaemonPortOptions = Port=25\n")
    newaliases = [sys.executable, "-I", str(PROGRAM.with_name("newaliases"))]
    subprocess.run([*newaliases, "-C", str(configuration)], check=True)
    command = [sys.executable, "-IS", "-c", FROM_FILE, str(home), str(configuration)]
    done = subprocess.run(command, input=b"Subject: x\n\nx\n", capture_output=True, check=False)
    code, number, *odd = done.stdout.decode().split()
    assert (code, odd) == ("0", []), done.stderr
    assert int(number) >= len(ROOMS)

    os.utime(home / "minimta/queue/qid.py")
    assert not step.is_done()
    assert step.is_ours()
    step.undo()
    assert not step.is_ours()


def test_nothing_is_looked_through_for_garbage_in_a_submission(configuration: Path) -> None:
    script = (
        "import gc, os, sys\n"
        f"program = sys.argv[0] = {str(PROGRAM)!r}\n"
        "code = compile(open(program).read(), program, 'exec')\n"
        "gc.collect()\n"
        "gc.callbacks.append(lambda phase, info: print('collecting', file=sys.stderr))\n"
        "exec(code, {'__file__': program})\n"
    )
    command = [sys.executable, "-I", "-S", "-c", script, "-C", str(configuration), "emma"]
    for _ in range(2):  # the first may have to compile
        done = subprocess.run(command, input=b"Subject: x\n\nx\n", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_listener_does_not_keep_what_only_type_checkers_read() -> None:
    """typing takes 0.4 MB of each process; it comes with dnspython, where strangers are clients."""
    script = (
        f"import sys; sys.path.insert(0, {str(HOME)!r})\n"
        "from minimta.listener import daemon, process\n"
        "assert 'typing' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_run_over_an_empty_queue_loads_nothing_that_talks_to_other_hosts(
    configuration: Path, tmp_path: Path
) -> None:
    """Cron starts it every few minutes, and most often nothing waits."""
    for made in ("mqueue.hosts", "mqueue.sts", "mqueue.tlsrpt"):
        (tmp_path / made).mkdir(mode=0o700)  # as deliveries leave them
    script = (
        f"import sys; sys.path.insert(0, {str(HOME)!r})\n"
        "from minimta.commands.sendmail import main\n"
        f"code = main(['sendmail', '-C', {str(configuration)!r}, '-qf'])\n"
        "print(code, *sorted({'socket', 'ssl', 'hmac', 'subprocess'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def submit(
    configuration: Path, environment: dict[str, str], directory: Path
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(PROGRAM), "-C", str(configuration), "emma"],
        input=b"Subject: x\n\nx\n",
        capture_output=True,
        check=False,
        env=environment,
        cwd=directory,
    )


@pytest.mark.skipif(not os.access("/usr/bin/python3", os.X_OK), reason="needs /usr/bin/python3")
def test_a_hostile_environment_and_directory_do_not_win(
    configuration: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "hostile"
    (hostile / "minimta").mkdir(parents=True)
    evil = f"open({str(tmp_path / 'pwned')!r}, 'w')\n"
    for name in (
        "minimta/__init__.py",
        "os.py",
        "syslog.py",
        "pwd.py",
        "sitecustomize.py",
        "stat.py",
    ):
        (hostile / name).write_text(evil)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(hostile),
        "PYTHONHOME": str(hostile),
        "PYTHONSTARTUP": str(hostile / "os.py"),
        "PYTHONINSPECT": "1",
        "HOME": str(hostile),
    }
    done = submit(configuration, environment, hostile)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not (tmp_path / "pwned").exists()
    assert len(list((tmp_path / "mqueue").glob("qf*"))) == 1


def test_the_first_line_isolates_the_interpreter() -> None:
    assert PROGRAM.read_text().splitlines()[0] == "#!/usr/bin/python3 -IS"


@pytest.mark.parametrize("name", ["mailq", "newaliases"])
def test_the_other_names_are_links_to_the_one_program(name: str) -> None:
    assert os.readlink(PROGRAM.with_name(name)) == "sendmail"


def test_closed_standard_descriptors_do_not_end_up_in_the_message(
    configuration: Path, tmp_path: Path
) -> None:
    command = f"exec {PROGRAM} -C {configuration} -v emma nosuch >&- 2>&-"
    done = subprocess.run(
        ["/bin/sh", "-c", command], input=b"Subject: x\n\nwhole\n", check=False, timeout=30
    )
    assert done.returncode == 67
    [data] = (tmp_path / "mqueue").glob("df*")
    assert data.read_bytes() == b"whole\n"


def test_an_empty_environment_and_an_unreadable_directory_are_enough(configuration: Path) -> None:
    assert submit(configuration, {}, Path("/")).returncode == 0


def test_packages_are_found_when_somebody_needs_one(tmp_path: Path) -> None:
    """The first line has -S, which leaves site-packages out until then."""
    script = (
        f"import sys; sys.path.insert(0, {str(HOME)!r})\n"
        "from minimta.system import locks; assert 'site' not in sys.modules\n"
        "from minimta.system import dns\n"
        "dns.load(); assert locks.resident(sys.argv[1])\n"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
