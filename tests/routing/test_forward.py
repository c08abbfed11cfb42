"""Which .forward counts, and when none may be followed (ForwardPath)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.config import options
from minimta.config.option import OptionError
from minimta.config.options import Options
from minimta.config.values import blame
from minimta.routing import forward
from minimta.routing.local_host import LocalHost
from minimta.system import hostnames
from minimta.system.safedirpath import TrustedFile
from minimta.system.users import User
from tests.support import homes
from tests.support.homes import put


class Forwards:
    """Asks for a user's .forward, and remembers what was refused."""

    def __init__(self) -> None:
        self.options = Options()
        self.options.host_name = "lab2.campus"
        self.refused: list[tuple[str, str]] = []

    def read(self, user: User, detail: bytes = b"") -> TrustedFile | None:
        self.refused = []
        return forward.read(user, detail, LocalHost(self.options), refused=self._refuse)

    def text(self, user: User, detail: bytes = b"") -> bytes | None:
        found = self.read(user, detail)
        return found.text if found else None

    def _refuse(self, path: str, reason: str) -> None:
        self.refused.append((path, reason))


@pytest.fixture
def forwards() -> Forwards:
    return Forwards()


@pytest.fixture
def dave(tmp_path: Path) -> User:
    return homes.own_home(tmp_path)


# -- ForwardPath ----------------------------------------------------------------------------------


def test_by_default_host_and_detail_come_before_the_plain_file(
    forwards: Forwards, dave: User
) -> None:
    names = [".forward.lab2+info", ".forward+info", ".forward.lab2", ".forward"]
    for name in names:
        put(dave, name.encode(), name)
    for name in names:
        found = forwards.read(dave, b"info")
        assert found is not None
        assert (found.path, found.text) == (f"{dave.home}/{name}", name.encode())
        os.unlink(found.path)
    assert forwards.read(dave, b"info") is None


def test_without_a_detail_no_file_with_one_counts(forwards: Forwards, dave: User) -> None:
    put(dave, name=".forward.lab2+")
    put(dave, name=".forward+")
    assert forwards.read(dave) is None
    put(dave, b"emma\n")
    assert forwards.text(dave) == b"emma\n"


@pytest.mark.parametrize("detail", [b"a/b", b"/../x", b"../../etc/passwd", b"a\0b", b"..", b"."])
def test_a_detail_leads_nowhere_else(forwards: Forwards, dave: User, detail: bytes) -> None:
    forwards.options.forward_path = "$z/d/$h/fw:$z/d/fw+$h:$z/.forward"
    put(dave, b"wrong\n", "fw")
    put(dave, b"wrong\n", "d/fw")
    put(dave, b"wrong\n", "d/fw+a/b")
    put(dave, b"right\n")
    assert forwards.text(dave, detail) == b"right\n"


def test_a_detail_of_any_octets_names_a_file(forwards: Forwards, dave: User) -> None:
    put(dave, b"emma\n", os.fsdecode(b".forward+\xff $z"))
    assert forwards.text(dave, b"\xff $z") == b"emma\n"


def test_files_outside_of_the_home_are_named_after_the_user(
    forwards: Forwards, dave: User, tmp_path: Path
) -> None:
    forwards.options.forward_path = f"{tmp_path}/home/$u.$w:$z/.forward"
    put(dave, b"in the home\n")
    assert forwards.text(dave) == b"in the home\n"
    put(dave, b"outside\n", "../dave.lab2")
    assert forwards.text(dave) == b"outside\n"


@pytest.mark.parametrize("path", ["", ":", "fw", "$u.fw", ":fw:"])
def test_what_is_no_absolute_path_is_no_file(
    forwards: Forwards, dave: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(dave, name="fw")
    put(dave, name="dave.fw")
    monkeypatch.chdir(dave.home)
    forwards.options.forward_path = path
    assert forwards.read(dave) is None


@pytest.mark.parametrize("home", ["", "home/dave", "."])
def test_a_home_that_is_no_absolute_path_has_no_files(
    forwards: Forwards, dave: User, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(dave)
    monkeypatch.chdir(Path(dave.home).parent.parent)
    dave.home = home
    assert candidates(forwards, dave) == []
    assert forwards.read(dave) is None


def candidates(forwards: Forwards, user: User) -> list[str]:
    return list(forward.candidates(user, b"", LocalHost(forwards.options)))


def test_what_forward_path_cannot_mean_is_an_error() -> None:
    option = options.by_name("ForwardPath")
    Options().set(option, "/var/forward/$u:$z/.forward+$h:$z/.forward.$w")
    for text in ("$z/.forward.$r", "$z/$", "${home}/.forward"):
        with pytest.raises(OptionError, match="is none of"):
            Options().set(option, text)


# -- what may not be followed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "reason"), [row[1:] for row in homes.SPOILED], ids=[row[0] for row in homes.SPOILED]
)
def test_what_may_not_be_trusted_is_refused_and_the_search_ends_in_the_mailbox(
    forwards: Forwards, dave: User, spoil: Callable[[Path], None], reason: str
) -> None:
    path = put(dave)
    spoil(path)
    assert forwards.read(dave) is None
    ((refused, why),) = forwards.refused
    assert refused == str(path)
    assert why == reason.replace("[0-9]+", "65536")


def test_after_a_refusal_the_search_goes_on(forwards: Forwards, dave: User) -> None:
    put(dave, b"not this\n", ".forward+info").chmod(0o646)
    put(dave, b"emma\n")
    assert forwards.text(dave, b"info") == b"emma\n"
    assert forwards.refused == [(f"{dave.home}/.forward+info", "World writable file")]


def test_64_kib_are_followed_and_no_more(forwards: Forwards, dave: User) -> None:
    put(dave, b"x" * 65536)
    assert forwards.text(dave) == b"x" * 65536
    put(dave, b"x" * 65537)
    assert forwards.read(dave) is None
    assert forwards.refused == [(f"{dave.home}/.forward", "Larger than 65536 octets")]


def test_an_empty_file_counts(forwards: Forwards, dave: User) -> None:
    put(dave, b"", ".forward+info")
    put(dave, b"emma\n")
    assert forwards.text(dave, b"info") == b""


@pytest.mark.parametrize("safe", [False, True])
def test_what_the_administrator_loosened_is_followed(
    forwards: Forwards, dave: User, safe: bool
) -> None:
    homes.mode(0o664)(put(dave))
    names = "GroupWritableForwardFile" + (" GroupWritableForwardFileSafe" if safe else "")
    forwards.options.dont_blame = blame(names)
    found = forwards.read(dave)
    assert found is not None
    assert found.safe is safe
    assert forwards.refused == []


# -- nothing there, and not known now -------------------------------------------------------------


def test_neither_file_nor_home_is_none_and_starts_no_child(
    forwards: Forwards, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_child(*_: object) -> TrustedFile:
        raise AssertionError

    monkeypatch.setattr(forward, "read_as", no_child)
    assert forwards.read(dave, b"info") is None
    assert forwards.read(dave, b"x" * 300) is None, "such a long name no file can have"
    Path(dave.home).rmdir()
    assert forwards.read(dave, b"info") is None
    Path(dave.home).write_text("no directory\n")
    assert forwards.read(dave, b"info") is None
    assert forwards.refused == []


def test_a_file_that_goes_while_we_look_is_none(
    forwards: Forwards, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_may_exist", lambda _: True)
    assert forwards.read(dave) is None
    Path(dave.home).rmdir()
    Path(dave.home).write_text("no directory\n")
    assert forwards.read(dave) is None


def test_a_home_on_a_server_that_may_be_dead_is_only_looked_at_by_a_child_that_can_be_ended(
    forwards: Forwards, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(path: str) -> os.stat_result:
        raise AssertionError(path)

    asked: list[str] = []

    def read_as(user: User, path: str, *_: object) -> TrustedFile:
        asked.append(path)
        raise TimeoutError(errno.ETIMEDOUT, "no answer", path)

    monkeypatch.setattr(forward._mounts, "may_hang", lambda path: path.startswith(dave.home))
    monkeypatch.setattr(forward, "read_as", read_as)
    monkeypatch.setattr(os, "lstat", hangs)
    with pytest.raises(TimeoutError):
        forwards.read(dave)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOMEM]
)
def test_a_home_that_cannot_be_seen_now_makes_the_mail_wait(
    forwards: Forwards, dave: User, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """An automounted one whose server is down, for instance; also to the cheap look."""
    put(dave)
    real_open, real_lstat = os.open, os.lstat

    def blind_open(path: str, *args: int, **named: int) -> int:
        if path == "dave":
            raise OSError(code, os.strerror(code), path)
        return real_open(path, *args, **named)

    def blind_lstat(path: str) -> os.stat_result:
        if path.startswith(dave.home):
            raise OSError(code, os.strerror(code), path)
        return real_lstat(path)

    monkeypatch.setattr(os, "open", blind_open)
    monkeypatch.setattr(os, "lstat", blind_lstat)
    with pytest.raises(OSError) as caught:
        forwards.read(dave)
    assert caught.value.errno == code
    assert caught.value.filename == f"{dave.home}/.forward.lab2"
    assert forwards.refused == []


def test_when_we_may_not_look_the_user_is_asked(
    forwards: Forwards, dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root on NFS with root_squash and a home of mode 0700."""
    put(dave, b"emma\n")

    def squashed(path: str) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "lstat", squashed)
    assert forwards.text(dave) == b"emma\n"
    os.unlink(f"{dave.home}/.forward")
    assert forwards.read(dave) is None


# -- as root --------------------------------------------------------------------------------------


@pytest.fixture
def nobody(tmp_path: Path) -> User:
    return homes.foreign_home(tmp_path)


@pytest.mark.root
def test_root_reads_it_in_a_closed_home_as_the_user(forwards: Forwards, nobody: User) -> None:
    put(nobody, b"emma\n").chmod(0o600)
    Path(nobody.home).chmod(0o700)
    found = forwards.read(nobody)
    assert found is not None
    assert (found.text, found.uid, found.gid) == (b"emma\n", nobody.uid, nobody.gid)


@pytest.mark.root
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [row[1:] for row in (*homes.SPOILED, *homes.SPOILED_BY_ROOT)],
    ids=[row[0] for row in (*homes.SPOILED, *homes.SPOILED_BY_ROOT)],
)
def test_root_follows_nothing_that_others_could_have_written(
    forwards: Forwards, nobody: User, spoil: Callable[[Path], None], reason: str
) -> None:
    path = put(nobody)
    spoil(path)
    assert forwards.read(nobody) is None
    assert forwards.refused == [(str(path), reason.replace("[0-9]+", "65536"))]


@pytest.mark.root
def test_what_the_user_himself_may_not_read_waits(forwards: Forwards, nobody: User) -> None:
    put(nobody).chmod(0)
    with pytest.raises(PermissionError) as caught:
        forwards.read(nobody)
    assert caught.value.filename == f"{nobody.home}/.forward"


@pytest.mark.root
@pytest.mark.parametrize("owner", ["root", "user", "stranger"])
def test_outside_of_the_home_root_or_the_user_may_own_it(
    forwards: Forwards, nobody: User, tmp_path: Path, owner: str
) -> None:
    forwards.options.forward_path = f"{tmp_path}/forward/$u"
    (tmp_path / "forward").mkdir(mode=0o755)
    path = tmp_path / "forward" / nobody.name
    path.write_bytes(b"emma\n")
    path.chmod(0o644)
    uid = {"root": 0, "user": nobody.uid, "stranger": homes.STRANGER}[owner]
    os.chown(path, uid, uid)
    assert forwards.text(nobody) == (None if owner == "stranger" else b"emma\n")
    assert [why for _, why in forwards.refused] == (["Wrong owner"] if owner == "stranger" else [])


@pytest.mark.root
@pytest.mark.parametrize("what", ["home", "file"])
def test_root_is_forwarded_only_by_what_is_roots(
    forwards: Forwards, nobody: User, what: str
) -> None:
    root = User("root", 0, 0, home=nobody.home)
    path = put(nobody)
    if what == "file":
        os.chown(nobody.home, 0, 0)
    else:
        os.chown(path, 0, 0)
    assert forwards.read(root) is None
    assert [why for _, why in forwards.refused] == [
        "Wrong owner" if what == "file" else "Wrong owner directory"
    ]
    os.chown(nobody.home, 0, 0)
    os.chown(path, 0, 0)
    assert forwards.text(root) == b"carol\n"


def test_the_host_of_the_path_is_the_first_label_of_ours(forwards: Forwards, dave: User) -> None:
    forwards.options.host_name = ""
    label = hostnames.own_name(forwards.options).partition(".")[0]
    assert candidates(forwards, dave)[0] == f"{dave.home}/.forward.{label}"
