"""What a machine gets beside the commands: systemd, bash and others understand it, and it is packaged."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.admin.install import machine_files
from minimta.admin.install.machine_files import FILES, UNITS, Where
from minimta.admin.install.services import QUEUE
from minimta.system import statistics

TEXTS = Path(machine_files.__file__).parent / "machine"
RUNNER = "minimta-runner.service"
LISTENERS = ("minimta.service", "minimta-listener.service")


def lines_of(name: str) -> list[str]:
    """Without comments."""
    text = machine_files.by_name(name).text()
    return [line for line in text.split("\n") if line and line[0] not in "#;"]


def test_every_text_has_its_place_and_is_packaged() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(HOME, "setup.cfg"), encoding="utf-8")
    assert "admin/install/machine/*" in setup["options.package_data"]["minimta"].split()
    assert {path.name for path in TEXTS.iterdir()} == {file.name for file in FILES}
    places = [file.installed for file in FILES] + [file.packaged for file in FILES]
    assert not [place for place in places if not place.startswith(("/etc/", "/usr/"))]
    assert len({file.packaged for file in FILES}) == len(FILES)


def test_no_text_tells_where_minimta_lies() -> None:
    assert not [file.name for file in FILES if HOME in file.text() or "{" in file.installed]


def test_a_cron_entry_is_only_where_nobody_starts_a_resident_runner(tmp_path: Path) -> None:
    assert machine_files.wanted(Where.WITHOUT_SYSTEMD, tmp_path)
    assert not machine_files.wanted(Where.WITH_SYSTEMD, tmp_path)
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").touch()
    assert not machine_files.wanted(Where.WITHOUT_SYSTEMD, tmp_path)
    assert machine_files.wanted(Where.WITH_SYSTEMD, tmp_path)


def test_openrc_gets_its_script_where_it_is(tmp_path: Path) -> None:
    assert not machine_files.wanted(Where.WITH_OPENRC, tmp_path)
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/openrc-run").touch()
    assert machine_files.wanted(Where.WITH_OPENRC, tmp_path)
    assert machine_files.by_name("openrc").mode == 0o755


@pytest.mark.parametrize(
    ("home", "is_hidden"),
    [
        ("/opt/minimta", False),
        ("/home/emma/minimta", True),
        ("/tmp/clone", True),
        ("/homes/x", False),
    ],
)
def test_a_copy_where_the_listener_sees_nothing_is_shown_to_it(home: str, is_hidden: bool) -> None:
    found = machine_files.drop_ins(home)
    assert bool(found) == is_hidden
    assert all(f"BindReadOnlyPaths={home}" in text.split("\n") for text in found.values())


# --- units ----------------------------------------------------------------------------------------


@pytest.mark.debian("systemd")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in UNITS:
        text = machine_files.by_name(name).text()
        (tmp_path / name).write_text(text.replace("/usr/sbin/sendmail", f"{HOME}/bin/sendmail"))
    units = [tmp_path / name.replace("@", "@x") for name in UNITS]
    (tmp_path / "minimta-failure@x.service").symlink_to("minimta-failure@.service")
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.split("\n") if "minimta" in line] == []


@pytest.mark.debian("systemd")
@pytest.mark.parametrize(
    ("name", "most"), [("minimta-listener.service", 1.4), ("minimta.service", 2.3)]
)
def test_the_listener_is_exposed_little(name: str, most: float, tmp_path: Path) -> None:
    (tmp_path / name).write_text(machine_files.by_name(name).text())
    command = ["systemd-analyze", "security", "--offline=yes", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    overall = next(line for line in done.stdout.split("\n") if "Overall exposure" in line)
    assert float(overall.partition(": ")[2].split()[0]) <= most


@pytest.mark.parametrize("name", ["minimta-listener.service", "minimta.service"])
def test_a_listener_may_keep_its_threads_on_one_processor(name: str) -> None:
    filters = [line for line in lines_of(name) if line.startswith("SystemCallFilter=")]
    # The call is one of @resources: what is said later counts.
    denied = next(number for number, line in enumerate(filters) if "@resources" in line)
    assert "SystemCallFilter=sched_setaffinity" in filters[denied + 1 :]


def test_programs_of_users_inherit_no_filter_of_the_runner() -> None:
    given = {line.partition("=")[0] for line in lines_of(RUNNER)}
    harmful = {
        *("NoNewPrivileges", "ProtectHome", "PrivateTmp", "User", "PrivateUsers", "PrivateDevices"),
        *("SystemCallFilter", "SystemCallArchitectures", "MemoryDenyWriteExecute", "ProtectProc"),
        *("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality"),
        *(
            "RestrictAddressFamilies",
            "ProtectHostname",
            "ProtectClock",
            "ProcSubset",
            "DeviceAllow",
        ),
        *("PrivateNetwork", "IPAddressDeny", "RootDirectory", "RemoveIPC"),
    }
    assert given & harmful == set()
    # and each of them is named, with its reason
    text = machine_files.by_name(RUNNER).text()
    reasons = " ".join(line for line in text.split("\n") if line.startswith("#"))
    assert not [name for name in harmful if name not in reasons]


@pytest.mark.parametrize("name", [*LISTENERS, RUNNER])
def test_what_will_be_wrong_in_five_seconds_as_well_is_not_started_again(name: str) -> None:
    unit = lines_of(name)
    assert {"Type=notify", "Restart=on-failure", "RestartPreventExitStatus=64 78"} <= set(unit)
    # Of a check that may stop the start systemd does not heed the exit code: it would try for ever.
    reloads = [line for line in unit if line.startswith("ExecReload=")]
    # kill(1) is of procps, which a small machine need not have; a shell has its own.
    assert reloads == [
        "ExecReload=/usr/sbin/sendmail -bC",
        "ExecReload=/bin/sh -c 'kill -HUP $$MAINPID'",
    ]
    checks = [line for line in unit if line.startswith(("ExecStartPre=", "ExecCondition="))]
    assert checks == ["ExecStartPre=-/usr/sbin/sendmail -bC"]


@pytest.mark.parametrize("name", [*LISTENERS, RUNNER])
def test_a_process_that_grew_too_large_takes_no_other_along(name: str) -> None:
    """What systemd does else, to all deliveries when it was a user's program."""
    assert "OOMPolicy=continue" in lines_of(name)


@pytest.mark.parametrize("name", LISTENERS)
def test_who_starts_or_reloads_a_listener_does_it_to_the_runner(name: str) -> None:
    wants = [line for line in lines_of(name) if line.startswith("Wants=")]
    assert RUNNER in wants[0].split()
    reloads = [line for line in lines_of(RUNNER) if line.startswith("ReloadPropagatedFrom=")]
    assert name in reloads[0].partition("=")[2].split()


def test_the_runner_does_not_wait_for_a_client_to_connect() -> None:
    """systemd starts a listener behind minimta.socket when the first one does."""
    assert f"Wants={RUNNER}" in lines_of("minimta.socket")
    # Stopping the one form and starting the other at once, one unit could not do both.
    assert "PartOf=minimta.service" in lines_of(RUNNER)
    assert not [name for name in UNITS for line in lines_of(name) if line.startswith("Conflicts=")]


def test_the_listener_without_root_has_no_right_at_all() -> None:
    unit = lines_of("minimta-listener.service")
    assert {"User=minimta", "CapabilityBoundingSet=", "Requires=minimta.socket"} <= set(unit)
    assert not [line for line in unit if line.partition("=")[2].startswith(("+", "!"))]


@pytest.mark.debian("fail2ban")
@pytest.mark.parametrize("jail", ["sendmail-auth", "sendmail-reject"])
def test_fail2ban_finds_our_lines_in_the_journal(jail: str, tmp_path: Path) -> None:
    shutil.copytree("/etc/fail2ban", tmp_path / "fail2ban", symlinks=True)
    file = machine_files.by_name("fail2ban")
    place = tmp_path / "fail2ban" / file.packaged.removeprefix("/etc/fail2ban/")
    place.write_text(file.text())
    jails = f"[DEFAULT]\nbackend = systemd\n[{jail}]\nenabled = true\nbackend = systemd\n"
    (tmp_path / "fail2ban/jail.local").write_text(jails)
    command = ["fail2ban-client", "-c", str(tmp_path / "fail2ban"), "-d"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [
        line for line in done.stdout.split("\n") if "addjournalmatch" in line and jail in line
    ]
    assert "'SYSLOG_IDENTIFIER=sm-mta', '+'" in line


# --- the others -----------------------------------------------------------------------------------


def test_cron_leaves_a_resident_runner_alone() -> None:
    line = lines_of("cron")[0]
    assert "flock -n /var/spool/mqueue.runner true && /usr/sbin/sendmail -q" in line
    assert line.startswith("*/5 * * * * root ")


@pytest.mark.debian("bash")
def test_bash_completes_what_minimta_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "minimta").symlink_to(f"{HOME}/bin/minimta")

    def completed(*words: str) -> list[str]:
        script = f"""
            PATH={tmp_path}:$PATH; compopt() {{ :; }}; . {TEXTS}/completion.bash
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            "$(complete -p "$1" | sed 's/.*-F //; s/ .*//')"
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        command = ["bash", "-c", script, "bash", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    assert {"install", "check", "trace", "uninstall"} <= set(completed("minimta", ""))
    assert completed("minimta", "unin") == ["uninstall"]
    assert completed("minimta", "install", "--r") == ["--root"]
    assert {"renew", "list"} <= set(completed("minimta", "token", ""))
    assert "--client-id" in completed("minimta", "token", "get", "--cl")
    assert {"-bp", "-bv", "-bd"} <= set(completed("sendmail", "-b"))
    assert completed("sendmail", "-N", "del") == ["delay"]
    assert completed("mailq", "-v") == ["-v"]


def test_the_script_for_openrc_is_one_of_the_shell() -> None:
    for name in ("openrc", "completion.bash"):
        subprocess.run(["bash", "-n", str(TEXTS / name)], check=True)
    assert machine_files.by_name("openrc").text().startswith("#!/sbin/openrc-run\n")


@pytest.mark.parametrize("name", LISTENERS)
def test_the_listener_may_write_the_counts_that_are_made_for_it(name: str) -> None:
    counts = statistics.path_of("", QUEUE)
    writes = [line for line in lines_of(name) if line.startswith("ReadWritePaths=")]
    assert f"-{counts}" in writes[0].partition("=")[2].split()
    made = [line.split() for line in lines_of("tmpfiles.conf")]
    assert ["f", counts, "0664", "root", "minimta", "-"] in made
