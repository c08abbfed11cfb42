"""The files of tokens: what they say, and what is left of them when somebody dies."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimta.mailers.remote import oauth, renewal, token_file
from minimta.mailers.remote.token_file import TokenFile
from minimta.system import files, processes
from minimta.system.tls_values import KeyPair
from tests.mailers.remote.conftest import NOW, Place
from tests.support.powercut import Disk, playground

pytestmark = pytest.mark.debian("openssl")


@pytest.fixture
def steps(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the disk: the call, the end of the name, and of a file whether it is padded."""
    place.put("https://127.0.0.1/token")
    found: list[str] = []

    def shown(file: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        if path.is_dir():
            return "directory"
        text = path.read_bytes()
        return f"{path.suffix} {'padded ' if text.endswith(bytes(1)) else ''}{text[:1].decode()}"

    def noted(name: str) -> None:
        real = getattr(os, name)

        def call(what: int | str, *more: Any, **also: Any) -> None:
            found.append(f"{name} {shown(what) if isinstance(what, int) else Path(what).suffix}")
            real(what, *more, **also)

        monkeypatch.setattr(os, name, call)

    for name in ("ftruncate", "fsync", "rename", "unlink"):
        noted(name)
    return found


def test_it_has_its_name_when_it_is_durable_and_room_until_it_is_written(
    place: Place, steps: list[str]
) -> None:
    token_file.write(place.path, token_file.read(place.path))
    begun = ["unlink .new", "fsync .new padded \0"]
    written = ["ftruncate .new padded {", "fsync .new {", "rename .new", "fsync directory"]
    assert steps == [*begun, *written, "unlink .new"]


def test_what_a_dead_renewal_has_written_is_durable_before_it_takes_its_place(
    place: Place, steps: list[str]
) -> None:
    aside = Path(f"{place.path}.new")
    aside.write_bytes(Path(place.path).read_bytes() + bytes(100))
    aside.chmod(0o600)
    token_file.finish(place.path)
    assert steps == [
        *["ftruncate .new padded {", "fsync .new {"],
        *["rename .new", "fsync directory"],
    ]


def test_of_what_is_removed_nothing_comes_back(place: Place, steps: list[str]) -> None:
    token_file.note_trouble(place.path, NOW, "refused", is_final=True)
    Path(f"{place.path}.new").write_bytes(b"{")
    there = set(os.listdir(os.path.dirname(place.path)))
    steps.clear()
    token_file.remove(place.path)
    assert steps[-1] == "fsync directory"
    assert len(there - set(os.listdir(os.path.dirname(place.path)))) == 3
    assert token_file.trouble(place.path) is None


def test_who_shares_its_lock_is_waited_for(place: Place) -> None:
    with Path(place.path).with_suffix(".lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(TimeoutError), token_file.locked(place.path, 0):
            pass


def test_two_at_once_renew_once(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True, holds=True)
    place.put(server.url("token"))
    found = [os.pipe() for _ in range(3)]

    def run(pipe: int) -> int:
        files.write_all(pipe, place.get().encode())
        return os.EX_OK

    children = [processes.fork("runner", lambda pipe=pipe: run(pipe)) for _, pipe in found]  # type: ignore[misc]
    server.wait_for_forms(1)
    server.release()
    for child, (reading, writing) in zip(children, found, strict=True):
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(reading, 100) == b"access-1-token"
        os.close(reading)
    assert len(server.forms) == 1


def test_while_one_renews_others_use_what_is_still_good(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("https://127.0.0.1/token", left=renewal.MARGIN - 1)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits"))
    with token_file.locked(place.path, 1):
        assert place.get() == "old-access-token"
    assert place.logged == []


def test_a_lock_that_cannot_be_had_is_logged_while_the_token_is_good(place: Place) -> None:
    place.put("https://127.0.0.1/token", left=renewal.MARGIN - 1)
    os.mkdir(place.path.replace(".json", ".lock"))
    assert place.get() == "old-access-token"
    assert place.logged == ["token=office, not renewed: Is a directory"]
    place.now += renewal.MARGIN
    with pytest.raises(OSError, match="Is a directory"):
        place.get()


def test_a_lock_that_is_held_for_ever_is_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_LOCK_TIME", 0.0)
    place.put("https://127.0.0.1/token")
    with token_file.locked(place.path, 1), pytest.raises(OSError, match="another process"):
        place.get()


def test_a_power_cut_leaves_the_old_token_or_the_new_and_what_was_promised(
    place: Place, tmp_path: Path
) -> None:
    before = place.put("https://127.0.0.1/token")
    after = before.with_tokens(oauth.Tokens("new-access", 3600, "new-refresh"), NOW)
    with Disk(Path(place.path).parent) as disk:
        token_file.write(place.path, after)
        disk.mark("written")
    with playground(tmp_path) as fresh:
        for cut in disk.cuts():
            for number, state in enumerate(disk.survivors(after=cut)):
                directory = fresh / f"{cut}-{number}"
                directory.mkdir(mode=0o700)
                state.write(directory)
                found = token_file.read(str(directory / "office.json"))
                assert found == after or (found == before and not disk.marks(cut)), state.label


def test_without_room_for_its_successor_a_refresh_token_is_not_spent(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = place.serve(pair, rotates=True)
    before = place.put(server.url("token"))

    def full(file: int, start: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert "No space left on device" in place.trouble()
    assert server.forms == []
    assert token_file.read(place.path) == before
    assert place.get(is_forced=True) == "access-1-token"


def test_a_new_refresh_token_is_durable_before_it_is_used(
    place: Place, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    done: list[str] = []

    def note(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def noting(*arguments: object) -> object:
            done.append(name)
            return real(*arguments)

        return noting

    for module, name in ((os, "fsync"), (os, "rename"), (files, "sync_directory")):
        monkeypatch.setattr(module, name, note(name, getattr(module, name)))
    monkeypatch.setattr(oauth, "ask", note("ask", oauth.ask))
    assert place.get() == "access-1-token"
    assert done[done.index("ask") + 1 :] == ["fsync", "rename", "sync_directory", "fsync"]


def test_a_runner_that_is_killed_meanwhile_loses_no_rotated_token(
    place: Place, pair: KeyPair
) -> None:
    from minimta.system import privileges

    server = place.serve(pair, rotates=True, holds=True)
    place.put(server.url("token"))

    def run() -> int:
        privileges.in_child(lambda: place.get().encode(), 60)
        return os.EX_OK

    runner = processes.fork("runner", run)
    server.wait_for_forms(1)
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)
    server.release()
    # The child of the runner has the lock until it has written.
    with token_file.locked(place.path, 10):
        assert token_file.read(place.path).refresh_token == "refresh-1-token"
    assert place.get() == "access-1-token"
    assert len(server.forms) == 1


def test_a_term_signal_waits_until_the_new_token_is_written(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True, holds=True)
    place.put(server.url("token"))

    def run() -> int:
        place.get()
        return os.EX_OK

    renewing = processes.fork("runner", run)
    server.wait_for_forms(1)
    os.kill(renewing, signal.SIGTERM)
    server.release()
    assert os.WTERMSIG(os.waitpid(renewing, 0)[1]) == signal.SIGTERM
    assert token_file.read(place.path).refresh_token == "refresh-1-token"


def put_beside(place: Place, token: TokenFile, room: bytes = b"") -> Path:
    """As a renewal leaves it that is killed before its rename(2)."""
    aside = Path(f"{place.path}.new")
    token_file.write(f"{place.path}.made", token)
    os.rename(f"{place.path}.made", aside)
    with aside.open("ab") as file:
        file.write(room)
    return aside


@pytest.mark.parametrize("left", [0, 3600], ids=["has ended", "is good"])
@pytest.mark.parametrize("room", [b"", b"\0" * 50000], ids=["cut", "uncut"])
def test_a_successor_that_was_written_and_not_yet_renamed_is_the_next_one(
    place: Place, pair: KeyPair, left: int, room: bytes
) -> None:
    """The old refresh token is spent: with it somebody would have to authorize anew."""
    server = place.serve(pair, rotates=True, refresh_tokens=["new-refresh"])
    before = place.put(server.url("token"))
    after = before.with_tokens(oauth.Tokens("new-access", left, "new-refresh"), NOW)
    aside = put_beside(place, after, room)
    assert place.get() == ("new-access" if left else "access-1-token")
    said = [form["refresh_token"] for _, form in server.forms]
    assert said == ([] if left else ["new-refresh"])
    assert not aside.exists()


@pytest.mark.parametrize("other", [{"authorization": "second"}, {"obtained": 5}])
def test_a_successor_of_another_authorization_or_of_old_is_none(
    place: Place, pair: KeyPair, other: dict[str, Any]
) -> None:
    server = place.serve(pair)
    before = place.put(server.url("token"))
    put_beside(place, replace(before, refresh_token="other", **other))
    assert place.get() == "access-1-token"
    assert [form["refresh_token"] for _, form in server.forms] == ["old-refresh-token"]


def test_what_a_dead_one_left_beside_it_is_in_nobodys_way(place: Place, pair: KeyPair) -> None:
    server = place.serve(pair, rotates=True)
    place.put(server.url("token"))
    Path(f"{place.path}.new").write_text("half of a tok")
    assert place.get() == "access-1-token"
