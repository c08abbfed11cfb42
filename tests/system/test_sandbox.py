"""The sandbox: what stays possible in it, and what it says of a kernel that has less."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from minimta.config.options import Options
from minimta.system import landlock, privileges, sandbox
from minimta.system.sandbox import Needs
from minimta.system.users import Users
from tests.support.hostile import connect, listen, make, outcomes, read, run, tried


def kernel() -> int:
    """The ABI of this kernel, 0: it has no Landlock."""
    try:
        return landlock.abi()
    except OSError:
        return 0


def pretend(monkeypatch: pytest.MonkeyPatch, version: int | OSError) -> None:
    """Let the kernel have this ABI, or none."""

    def abi() -> int:
        if isinstance(version, OSError):
            raise version
        return version

    monkeypatch.setattr(landlock, "abi", abi)


def said(options: Options, needs: Needs) -> sandbox.Confined:
    """What enter() answers in a child."""

    def act() -> bytes:
        confined = sandbox.enter(options, needs)
        return json.dumps([confined.text, confined.problems]).encode()

    text, problems = json.loads(privileges.in_child(act, 10))
    return sandbox.Confined(text, tuple(problems))


def tries(options: Options, needs: Needs, **attempts: Callable[[], object]) -> dict[str, str]:
    """What comes of *attempts* in a child that is confined."""

    def act() -> bytes:
        sandbox.enter(options, needs)
        return tried(attempts)

    return outcomes(privileges.in_child(act, 10))


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for name in ("queue", "tables", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_text("x")
    return tmp_path


def needs(places: Path, **more: object) -> Needs:
    known = {"reads": (str(places / "tables/there"),), "fills": (str(places / "queue"),)}
    return Needs(**{**known, "connects": (53,), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("version", range(1, landlock.NEWEST + 1))
def test_all_abis_confine_to_what_is_needed(
    places: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    if kernel():
        version = min(version, kernel())
        pretend(monkeypatch, version)
    has = {1: kernel() > 0, landlock.NETWORK: 0 < landlock.NETWORK <= version and kernel() > 0}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = tries(
            Options(),
            needs(places),
            library=read(os.__file__),
            table=read(places / "tables/there"),
            new_table=read(places / "tables/new"),
            letter=read(places / "queue/there"),
            new_letter=make(places / "queue/new"),
            elsewhere=read(places / "elsewhere/there"),
            new_elsewhere=make(places / "elsewhere/new"),
            connect=connect(port),
            listen=listen,
        )
    rule = {True: "EACCES", False: "done"}
    assert found == {
        "library": "done",
        "table": "done",
        "new_table": "ENOENT",
        "letter": rule[has[1]],
        "new_letter": "done",
        "elsewhere": rule[has[1]],
        "new_elsewhere": rule[has[1]],
        "connect": rule[has[landlock.NETWORK]],
        "listen": rule[has[landlock.NETWORK]],
    }


def test_a_program_cannot_be_started(places: Path) -> None:
    if kernel():
        assert tries(Options(), needs(places), run=run) == {"run": "EACCES"}
    else:
        with pytest.raises(OSError, match="died"):  # /bin/true has no answer for us
            tries(Options(), needs(places), run=run)


def test_what_is_read_back_may_be_read(places: Path) -> None:
    found = tries(Options(), needs(places, reads_back=True), letter=read(places / "queue/there"))
    assert found == {"letter": "done"}


def test_a_table_is_found_behind_a_link_and_after_it_was_replaced(places: Path) -> None:
    link = places / "elsewhere/link"
    link.symlink_to(places / "tables/there")

    def replaced() -> bytes:
        sandbox.enter(Options(), Needs(reads=(str(link),)))
        os.write(ask[1], b"?")
        os.read(answer[0], 1)
        return tried({"replaced": read(link)})

    ask, answer = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.read(ask[0], 1)
        (places / "tables/new").write_text("new")
        os.rename(places / "tables/new", places / "tables/there")
        os.write(answer[1], b"!")
        os._exit(0)
    found = outcomes(privileges.in_child(replaced, 10, {ask[1], answer[0]}))
    os.waitpid(child, 0)
    for descriptor in (*ask, *answer):
        os.close(descriptor)
    assert found == {"replaced": "done"}


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_landlock_is_told_and_the_rest_holds(
    places: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    pretend(monkeypatch, OSError(code, os.strerror(code)))
    text = f"no Landlock ({os.strerror(code)}): only user and modes"
    assert sandbox.available(Options()) == text
    assert said(Options(), needs(places)) == sandbox.Confined(text)

    def act() -> bytes:
        sandbox.enter(Options(), needs(places))
        return Path("/proc/self/status").read_bytes() + Path("/proc/self/limits").read_bytes()

    told = privileges.in_child(act, 10)
    assert b"\nNoNewPrivs:\t1\n" in told
    assert b"Max core file size        0                    0 " in told


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (1, "Landlock ABI 1: files, programs"),
        (3, "Landlock ABI 3: files, programs"),
        (4, "Landlock ABI 4: files, programs, TCP"),
        (6, "Landlock ABI 6: files, programs, TCP, signals"),
        (9, "Landlock ABI 9: files, programs, TCP, signals"),
    ],
)
def test_it_says_what_is_on(monkeypatch: pytest.MonkeyPatch, version: int, text: str) -> None:
    pretend(monkeypatch, version)
    assert sandbox.available(Options()) == text


def test_it_can_be_switched_off(places: Path) -> None:
    options = Options()
    options.sandbox = False
    assert sandbox.available(options) == "off (option Sandbox)"
    assert said(options, needs(places)) == sandbox.Confined("off (option Sandbox)")
    found = tries(options, needs(places), elsewhere=read(places / "elsewhere/there"))
    assert found == {"elsewhere": "done"}


def test_a_rule_that_cannot_be_made_is_told_and_allows_nothing(places: Path) -> None:
    late = places / "late"
    wanted = needs(places, reads=(f"{late}/table", "/etc/no-such-directory/table"))
    assert said(Options(), wanted).problems == (
        (f"{late}: No such file or directory",) if kernel() else ()
    )

    def act() -> bytes:
        sandbox.enter(Options(), wanted)
        os.write(pipe[1], b".")
        os.read(back[0], 1)
        return tried({"late": read(late / "table")})

    pipe, back = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.read(pipe[0], 1)
        late.mkdir()
        (late / "table").write_text("x")
        os.write(back[1], b".")
        os._exit(0)
    found = outcomes(privileges.in_child(act, 10, {pipe[1], back[0]}))
    os.waitpid(child, 0)
    for descriptor in (*pipe, *back):
        os.close(descriptor)
    assert found == {"late": "EACCES" if kernel() else "done"}


def test_memory_that_cannot_be_hidden_is_told(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.EPERM, "prctl: Operation not permitted")

    monkeypatch.setattr(sandbox, "memory", SimpleNamespace(hide=fail))
    assert said(Options(), needs(places)).problems == ("prctl: Operation not permitted",)


# --- name services --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "strange"),
    [
        (
            "passwd: files systemd\ngroup: files systemd\nhosts: files mdns4_minimal [NOTFOUND=return] dns",
            "",
        ),
        ("passwd: compat sss\nhosts: files  resolve [!UNAVAIL=return] dns\nservices: db nis", ""),
        ("passwd: files nis # not ldap\n", "nis"),
        (
            "passwd: files\ngroup: ldap files\nhosts: files[SUCCESS=return]wins nis-plus\n",
            "ldap, nis-plus",
        ),
    ],
)
def test_for_an_unknown_name_service_nothing_is_forbidden_that_it_may_need(
    places: Path, monkeypatch: pytest.MonkeyPatch, text: str, strange: str
) -> None:
    (places / "nsswitch.conf").write_text(text)
    monkeypatch.setattr(sandbox, "_SERVICES", str(places / "nsswitch.conf"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = tries(
            Options(),
            needs(places),
            elsewhere=read(places / "elsewhere/there"),
            connect=connect(port),
            make=make(places / "elsewhere/new"),
            run_itself=listen,
        )
        told = said(Options(), needs(places)).text
    refused = "EACCES" if kernel() else "done"
    tcp = "EACCES" if kernel() >= landlock.NETWORK else "done"
    assert found["elsewhere"] == ("done" if strange else refused)
    assert found["connect"] == ("done" if strange else tcp)
    assert found["make"] == refused, "whoever asks for users"
    assert found["run_itself"] == tcp
    if kernel():
        what = f"; for name service {strange} all files are read, all TCP ports connected to"
        assert told.endswith(what if strange else "signals" if kernel() >= 6 else "")


@pytest.mark.parametrize(
    ("stamp", "code", "is_told"),
    [
        ((1, 1), errno.EACCES, True),
        ((1, 1), errno.ENOENT, False),
        (None, errno.EACCES, False),
        (None, errno.ENOENT, False),
    ],
)
def test_only_what_a_rule_may_forbid_has_its_remedy(
    monkeypatch: pytest.MonkeyPatch, stamp: tuple[int, int] | None, code: int, is_told: bool
) -> None:
    monkeypatch.setattr(sandbox, "_services", stamp)
    told = " (if a link or directory there is new, it counts in a moment)"
    assert sandbox.remedy(OSError(code, os.strerror(code))) == (told if is_told else "")


def test_no_user_is_unknown_once_the_name_services_have_changed(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = places / "nsswitch.conf"
    services.write_text("passwd: files\n")
    monkeypatch.setattr(sandbox, "_SERVICES", str(services))
    monkeypatch.setattr(sandbox, "_services", sandbox._stamp_of_services())
    users = Users()
    assert users.find(b"no-such-user-here") is None
    services.write_text("passwd: files extrausers\n")
    with pytest.raises(OSError, match="has changed; it counts after a reload"):
        users.find(b"no-such-user-here")
    found = users.find(b"root")
    assert found is not None and found.uid == 0
