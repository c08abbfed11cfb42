"""What may be believed, and that what is read is what was checked."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minimta.system import safedirpath
from minimta.system.safedirpath import STRICT, Allowance, read_trusted, walk
from minimta.system.safefile import Untrusted
from minimta.system.users import User
from tests.support import homes
from tests.support.faults import Faults
from tests.support.homes import put


@pytest.fixture
def dave(tmp_path: Path) -> User:
    return homes.own_home(tmp_path)


def read(
    user: User, *names: str, limit: int = 100, name: str = ".forward"
) -> safedirpath.TrustedFile:
    """With *names* of DontBlameSendmail."""
    allowed = Allowance("Forward", frozenset(names)) if names else STRICT
    return read_trusted(os.path.join(user.home, name), user.uid, limit, allowed)


def test_a_file_comes_with_its_owner(dave: User) -> None:
    path = put(dave)
    text = read(dave)
    assert (text.path, text.text, text.safe) == (str(path), b"carol\n", True)
    assert (text.uid, text.gid) == (dave.uid, os.stat(path).st_gid)


@pytest.mark.parametrize("octets", [0, 1, 99, 100])
def test_a_file_is_read_up_to_the_limit(dave: User, octets: int) -> None:
    put(dave, b"x" * octets)
    assert read(dave).text == b"x" * octets


def test_a_file_that_grows_beyond_the_limit_is_not_read(
    dave: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(dave, b"x" * 100)
    real = os.pread

    def grow(file: int, octets: int, position: int) -> bytes:
        with path.open("ab") as out:
            out.write(b"y" * 100)
        return real(file, octets, position)

    monkeypatch.setattr(os, "pread", grow)
    with pytest.raises(Untrusted, match=r"^Larger than 100 octets$"):
        read(dave)


@pytest.mark.parametrize(
    ("spoil", "reason"), [row[1:] for row in homes.SPOILED], ids=[row[0] for row in homes.SPOILED]
)
def test_what_others_could_have_written_is_not_read(
    dave: User, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(put(dave))
    before = open_descriptors()
    with pytest.raises(Untrusted, match=f"^{reason}$"):
        read(dave)
    assert open_descriptors() == before


@pytest.mark.root
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [row[1:] for row in homes.SPOILED_BY_ROOT],
    ids=[row[0] for row in homes.SPOILED_BY_ROOT],
)
def test_what_is_a_strangers_is_not_read(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    nobody = homes.foreign_home(tmp_path)
    spoil(put(nobody))
    with pytest.raises(Untrusted, match=f"^{reason}$"):
        read(nobody)


@pytest.mark.root
def test_a_directory_of_another_user_on_the_way_is_not_trusted(tmp_path: Path) -> None:
    nobody = homes.foreign_home(tmp_path)
    put(nobody, name="lists/l")
    os.chown(Path(nobody.home, "lists"), homes.STRANGER, homes.STRANGER)
    with pytest.raises(Untrusted, match=r"^Wrong owner directory$"):
        read(nobody, name="lists/l")


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", [".forward", "none/.forward", ".forward/x"])
def test_what_is_not_there_is_an_os_error_with_the_path(dave: User, name: str) -> None:
    if name == ".forward/x":
        put(dave)
    with pytest.raises((FileNotFoundError, NotADirectoryError)) as caught:
        read(dave, name=name)
    assert caught.value.filename == os.path.join(dave.home, name)
    assert caught.value.strerror == os.strerror(caught.value.errno or 0)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_what_may_pass_is_an_os_error_wherever_it_happens(dave: User, code: int) -> None:
    put(dave)
    for at in range(100):
        with Faults(code, at) as faults:
            try:
                read(dave)
            except OSError as error:
                assert (error.errno, error.filename) == (code, f"{dave.home}/.forward")
        if not faults.failed:
            assert at > 5
            return
    raise AssertionError("it never ends")


# -- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["fw", "./fw", "../dave/fw", "d/../fw", "up/dave/fw", "ABSOLUTE"]
)
def test_a_link_is_followed_where_only_the_user_could_have_put_it(dave: User, target: str) -> None:
    put(dave, name="fw")
    put(dave, name="d/x")
    Path(dave.home, "up").symlink_to("..")
    Path(dave.home, ".forward").symlink_to(target.replace("ABSOLUTE", f"{dave.home}/fw"))
    assert read(dave).text == b"carol\n"


def test_a_home_may_be_behind_a_link(dave: User, tmp_path: Path) -> None:
    put(dave)
    (tmp_path / "home" / "link").symlink_to("dave")
    dave.home = str(tmp_path / "home" / "link")
    assert read(dave).path == f"{dave.home}/.forward"


def test_a_link_leads_into_no_open_directory(dave: User) -> None:
    put(dave, name="shared/fw")
    Path(dave.home, "shared").chmod(0o707)
    Path(dave.home, ".forward").symlink_to("shared/fw")
    with pytest.raises(Untrusted, match=r"^World writable directory$"):
        read(dave)


def test_forty_links_are_followed_and_no_more(dave: User) -> None:
    put(dave, name="0")
    for number in range(41):
        Path(dave.home, str(number + 1)).symlink_to(str(number))
    assert read(dave, name="40").text == b"carol\n"
    with pytest.raises(Untrusted, match="Too many levels"):
        read(dave, name="41")


def test_a_second_name_does_no_harm_where_only_the_user_could_give_it(dave: User) -> None:
    os.link(put(dave), Path(dave.home, "fw"))
    assert read(dave).text == b"carol\n"


def test_a_sticky_directory_is_safe(dave: User) -> None:
    put(dave)
    Path(dave.home).chmod(0o1777)
    assert read(dave).safe


def test_a_walk_gives_a_directory_that_was_checked(dave: User) -> None:
    put(dave, name="d/fw")
    Path(dave.home, "link").symlink_to("d")
    before = open_descriptors()
    found = walk(f"{dave.home}/link/", (0, dave.uid))
    try:
        assert os.path.samestat(os.fstat(found), os.stat(f"{dave.home}/d"))
        assert not os.get_inheritable(found)
    finally:
        os.close(found)
    assert open_descriptors() == before
    Path(dave.home, "d").chmod(0o757)
    with pytest.raises(Untrusted, match=r"^World writable directory$"):
        walk(f"{dave.home}/link", (0, dave.uid))


# -- DontBlameSendmail ----------------------------------------------------------------------------

_GROUP, _ALL = "groupwritableforwardfile", "worldwritableforwardfile"
_GROUP_PATH, _PATH = "forwardfileingroupwritabledirpath", "forwardfileinunsafedirpath"


@pytest.mark.parametrize(
    ("spoil", "names", "expected"),
    [
        (homes.mode(0o664), (), "Group writable file"),
        (homes.mode(0o664), (_GROUP,), "unsafe"),
        (homes.mode(0o664), (_GROUP, _GROUP + "safe"), "safe"),
        (homes.mode(0o664), (_GROUP + "safe",), "Group writable file"),
        (homes.mode(0o664), (_ALL,), "Group writable file"),
        (homes.mode(0o666), (_GROUP,), "World writable file"),
        (homes.mode(0o666), (_GROUP, _ALL), "unsafe"),
        (homes.mode(0o666), (_GROUP, _GROUP + "safe", _ALL), "unsafe"),
        (homes.mode(0o646), (_ALL,), "unsafe"),
        (homes.mode(0o646), (_GROUP, _GROUP + "safe"), "World writable file"),
        (homes.mode(0o775, homes.parent), (_GROUP_PATH,), "safe"),
        (homes.mode(0o777, homes.parent), (_GROUP_PATH,), "World writable directory"),
        (homes.mode(0o757, homes.parent), (_GROUP_PATH,), "World writable directory"),
        (homes.mode(0o777, homes.parent), (_PATH,), "unsafe"),
        (homes.mode(0o777, homes.parent), (_PATH, _PATH + "safe"), "safe"),
        (homes.mode(0o777, homes.parent), (_PATH + "safe",), "World writable directory"),
        (homes.mode(0o775, homes.parent), (_PATH,), "unsafe"),
        (homes.mode(0o775, homes.parent), (_GROUP, _ALL), "Group writable directory"),
        (homes.fifo, (_GROUP, _ALL, _PATH), "Regular files only"),
        (homes.mode(0o644), (_GROUP, _ALL, _PATH, _GROUP_PATH), "safe"),
    ],
)
def test_names_of_dont_blame_loosen_what_they_say_and_no_more(
    dave: User, spoil: Callable[[Path], None], names: tuple[str, ...], expected: str
) -> None:
    spoil(put(dave))
    try:
        found = "safe" if read(dave, *names).safe else "unsafe"
    except Untrusted as error:
        found = str(error)
    assert found == expected


@pytest.mark.parametrize("make", ["symbolic", "hard"])
def test_no_links_are_followed_in_a_directory_that_a_name_lets_pass(dave: User, make: str) -> None:
    path = put(dave)
    path.rename(Path(dave.home, "fw"))
    if make == "hard":
        os.link(Path(dave.home, "fw"), path)
    else:
        path.symlink_to("fw")
    homes.mode(0o777, homes.parent)(path)
    with pytest.raises(Untrusted, match=f"^{make.capitalize()} links not allowed$"):
        read(dave, _PATH, _PATH + "safe")


def test_a_name_for_lists_says_nothing_of_forward_files() -> None:
    blamed = frozenset({"groupwritableincludefile", "includefileinunsafedirpath"})
    forward, include = Allowance("Forward", blamed), Allowance("Include", blamed)
    assert (forward.group_writable, forward.unsafe_directory) == (False, False)
    assert (include.group_writable, include.unsafe_directory) == (True, True)
    assert (forward.any_owner, include.any_owner) == (False, True)


def test_strict_loosens_nothing() -> None:
    assert not any(getattr(STRICT, name) for name in Allowance.__slots__)


# -- races ----------------------------------------------------------------------------------------


class Between:
    """``os``, but before call number *at* somebody else acts."""

    path = os.path

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.left = at
        self._act = act

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real):
            return real

        def call(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self._act()
            return real(*args, **named)

        return call


def replace_by_link(home: Path) -> None:
    (home / "new").symlink_to("../evil/open")
    (home / "new").rename(home / "d" / "fw")


def replace_by_open_file(home: Path) -> None:
    (home.parent / "evil" / "open").rename(home / "d" / "fw")


def replace_by_fifo(home: Path) -> None:
    os.mkfifo(home / "new")
    (home / "new").rename(home / "d" / "fw")


def replace_directory(home: Path) -> None:
    (home / "d").rename(home / "old")
    (home.parent / "evil").rename(home / "d")


def replace_directory_by_link(home: Path) -> None:
    (home / "d").rename(home / "old")
    (home / "d").symlink_to("../evil")


def replace_link(home: Path) -> None:
    (home / "new").symlink_to("../evil/fw")
    (home / "new").rename(home / ".forward")


@pytest.mark.parametrize(
    "swap",
    [
        replace_by_link,
        replace_by_open_file,
        replace_by_fifo,
        replace_directory,
        replace_directory_by_link,
        replace_link,
    ],
)
def test_whoever_renames_between_check_and_use_gets_nothing_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path], None]
) -> None:
    """.forward -> d/fw is good; evil/, and evil/open, others may write."""
    outcomes = set()
    for at in range(200):
        dave = homes.own_home(tmp_path / str(at))
        evil = put(dave, b"secret\n", "../evil/open")
        put(dave, b"secret\n", "../evil/fw")
        evil.chmod(0o666)
        evil.parent.chmod(0o777)
        put(dave, b"mine\n", "d/fw")
        Path(dave.home, ".forward").symlink_to("d/fw")
        between = Between(at, lambda home=Path(dave.home): swap(home))  # type: ignore[misc]
        monkeypatch.setattr(safedirpath, "os", between)
        try:
            outcomes.add(read(dave).text)
        except (Untrusted, OSError) as error:
            outcomes.add(str(error).encode())
        if between.left >= 0:
            break
    assert between.left >= 0, "it never ends"
    assert b"mine\n" in outcomes
    assert len(outcomes) > 1, "nothing was seen of the swap"
    assert b"secret\n" not in outcomes


SWAPPER = """
import os, sys
good, evil, name = sys.argv[1:]
for number in range(1000000):
    for target in (evil, good):
        os.symlink(target, name + ".new")
        os.rename(name + ".new", name)
    if number == 1:
        print(flush=True)
"""


@pytest.mark.parametrize("directory", [False, True])
def test_another_process_that_swaps_all_the_time_gets_nothing_read(
    dave: User, directory: bool
) -> None:
    """A link that leads to a good file, or directory, in one moment and to an open one in the next."""
    put(dave, b"mine\n", "good/fw")
    evil = put(dave, b"secret\n", "evil/fw")
    evil.chmod(0o666)
    evil.parent.chmod(0o777)
    link = Path(dave.home, "d" if directory else ".forward")
    ways = [f"{way}" if directory else f"{way}/fw" for way in ("good", "evil")]
    command = [sys.executable, "-c", SWAPPER, *ways, str(link)]
    seen = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        for _ in range(3000):
            try:
                seen.add(read(dave, name="d/fw" if directory else ".forward").text)
            except (Untrusted, OSError) as error:
                seen.add(str(error).encode())
        assert swapper.poll() is None, "it had to last longer than we"
        swapper.kill()
    assert b"secret\n" not in seen
    assert {b"mine\n", b"World writable directory"} <= seen
