"""The power fails while a file is written that is no mail: it is the old one or the new one, whole.

When the writer was told that it is done, it is the new one, of what must last; what may be lost (LASTING
says which) is then gone without harm to anybody. The token of an account: tests/mailers/remote/test_token_file.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimta.admin import passwd
from minimta.admin.install import certificate as certificate_file
from minimta.admin.install.certificate import PLACE, Certificate
from minimta.admin.install.files import TextFile
from minimta.admin.placing import Placing
from minimta.aliases import rebuild
from minimta.aliases.source import Source
from minimta.config.options import Options
from minimta.listener.smtp_users import ScryptHash, SmtpUserFile, UserKeys
from minimta.mailers.remote.host_status import HostMemory, HostStatus
from minimta.mailers.remote.login_memory import LoginMemory
from minimta.mailers.remote.sts_cache import StsCache
from minimta.mailers.remote.sts_policy import StsPolicy
from minimta.maps.cdb import Cdb
from minimta.maps.cdbwriter import write_cdb
from minimta.message.envelope import Envelope, Recipient
from minimta.queue import collect
from minimta.queue.spool import Spool
from minimta.routing import srs_key
from minimta.runner import alert_state
from minimta.runner.alert_state import AlertRecord, Trouble
from minimta.smtp.scram import keys_of
from minimta.submission import deadletter
from minimta.system import statistics
from minimta.system.users import Users
from tests.support.powercut import Disk, playground, without_waiting

NOW = 1795339967.0


@dataclass(frozen=True)
class Case:
    """A file and who writes it, below a directory."""

    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    read: Callable[[Path], object]
    #: is what was told to be done done for good?
    lasts: bool = True
    #: may the old one be gone, too? It is forgotten then, as if it had never been
    may_be_lost: bool = False
    #: is it the same if it is done once more?
    again: bool = True


def nothing(where: Path) -> None:
    pass


def aliases(where: Path, text: str = "postmaster: emma\nteam: dave, carol\n") -> Source:
    path = where / "aliases"
    path.write_text(text)
    path.chmod(0o644)
    return Source(str(path))


def newaliases(where: Path) -> None:
    source = Source(str(where / "aliases"))
    rebuild.rebuild(source, Users(str(where / "passwd")))


def old_aliases(where: Path) -> None:
    (where / "passwd").write_text("emma:x:1:1:emma:/:/bin/sh\n")
    aliases(where, "postmaster: root\n")
    newaliases(where)
    aliases(where)


def database(path: Path) -> object:
    return dict(Cdb(str(path)).records())


def makemap(where: Path) -> None:
    write_cdb(str(where / "map.cdb"), [(b"%d" % n, b"value %d" % n) for n in range(500)])


def old_map(where: Path) -> None:
    write_cdb(str(where / "map.cdb"), [(b"old", b"value")])


def users_file(where: Path, *names: str) -> None:
    keys = UserKeys(
        ScryptHash(4, 1, 1, b"salt" * 4, bytes(64)), keys_of("secret", b"salt" * 4, 4096)
    )
    file = SmtpUserFile(bytes(32), dict.fromkeys(names, keys))
    passwd._write(str(where / "smtp-users"), file, os.getegid())


def configured(where: Path) -> None:
    for name in ("minimta.cf", "authinfo"):
        (where / name).write_text(f"# the old {name}\n")


def place(where: Path) -> None:
    with Placing() as placing:
        for name, mode in (("minimta.cf", 0o644), ("authinfo", 0o600)):
            placing.add(str(where / name), f"# the new {name}\n".encode() * 90, mode)
        placing.commit()


def install(where: Path) -> None:
    TextFile(where, "/minimta.cf", "# the new minimta.cf\n" * 90).do()


def text(*names: str) -> Callable[[Path], object]:
    return lambda where: tuple((where / name).read_bytes() for name in names)


def directory_of_certificates(where: Path) -> None:
    (where / PLACE.lstrip("/")).parent.mkdir(parents=True)


def certificate(where: Path) -> None:
    Certificate(where, "lab1.campus").do()


def counted(where: Path) -> None:
    statistics.count("local", "msgsto", 7)
    statistics.flush_to(str(where / "statistics"))


def counts(where: Path) -> object:
    path = where / "statistics"
    try:
        return statistics.read(str(path)).of("local")[2] if path.exists() else 0
    except statistics.NoStatistics:
        return 0


def host_status(where: Path, error: int = errno.ECONNREFUSED) -> None:
    memory = HostMemory(str(where / "hosts"), 0.0, lasting=1e9)
    with contextlib.closing(memory):
        memory.open()
        memory.note(HostStatus("mx.lab2.campus", error, "4.4.1", 75, "421 4.3.2 busy"))


def known_host(where: Path) -> object:
    memory = HostMemory(str(where / "hosts"), 0.0, lasting=1e9)
    with contextlib.closing(memory):
        memory.open()
        return memory.known("mx.lab2.campus", ever=True)


def sts_policy(where: Path, mx: str = "mx.new.campus") -> None:
    cache = StsCache(str(where / "sts"))
    with contextlib.closing(cache):
        cache.open()
        cache.note("new.campus", f"id{mx}", StsPolicy("enforce", 86400, (mx, "*.backup.campus")))


def known_policy(where: Path) -> object:
    cache = StsCache(str(where / "sts"))
    with contextlib.closing(cache):
        cache.open()
        found = cache.known("new.campus")
        return found and (found.policy, found.id)


def login(where: Path, text: str = "535 5.7.8 no") -> None:
    LoginMemory(str(where / "logins")).refused("mx.campus:587 emma", "state", NOW, text)


def known_logins(where: Path) -> object:
    return {name: one.text for name, one in LoginMemory(str(where / "logins")).known().items()}


def alert(where: Path, told: Trouble = Trouble.QUEUE) -> None:
    with alert_state.locked(str(where / "mqueue"), str(where)) as state:
        assert state is not None
        state.write(AlertRecord(told, NOW), NOW)


def told(where: Path) -> object:
    return alert_state.read(str(where / "mqueue"), str(where)).told


def srs(where: Path) -> None:
    srs_key._make(str(where / "srs"))


def srs_keys(where: Path) -> object:
    return srs_key.read(str(where / "srs")) if (where / "srs").exists() else None


def dead_letter(where: Path) -> None:
    options = Options()
    options.host_name = "lab1.campus"
    with playground(where.parent) as queue, contextlib.closing(Spool(str(queue))) as spool:
        letter = collect.Incoming(
            spool, options, SENT, qid="6AM9CfOn000096", now=NOW, host="lab1.campus"
        )
        letter.write(LETTER)
        letter.finish()
        assert deadletter.save(letter, str(where), "", NOW)
        letter.abort()


def letters(where: Path) -> object:
    path = where / "dead.letter"
    return path.read_bytes() if path.exists() else b""


def an_old(act: Callable[..., None], *words: object) -> Callable[[Path], None]:
    return lambda where: act(where, *words)


LETTER = b"Subject: x\n\n" + b"line\n" * 50
SENT = Envelope(b"<emma@lab1.campus>", [Recipient(b"<dave@lab1.campus>")])
FORGOTTEN = {"lasts": False, "may_be_lost": True}

CASES = {
    "newaliases": Case(old_aliases, newaliases, lambda where: database(where / "aliases.cdb")),
    "makemap": Case(old_map, makemap, lambda where: database(where / "map.cdb")),
    "minimta passwd": Case(
        an_old(users_file, "dave"), an_old(users_file, "dave", "carol"), text("smtp-users")
    ),
    "minimta install": Case(configured, install, text("minimta.cf")),
    "certificate": Case(
        directory_of_certificates, certificate, text(PLACE.lstrip("/")), again=False
    ),
    "SRS key": Case(nothing, srs, srs_keys, again=False),
    "alert": Case(an_old(alert, Trouble.AGE), alert, told, may_be_lost=True),
    "statistics": Case(counted, counted, counts, again=False, **FORGOTTEN),
    "statistics anew": Case(nothing, counted, counts, again=False, **FORGOTTEN),
    "host status": Case(an_old(host_status, 0), host_status, known_host, **FORGOTTEN),
    "host status anew": Case(nothing, host_status, known_host, **FORGOTTEN),
    "MTA-STS": Case(an_old(sts_policy, "mx.old.campus"), sts_policy, known_policy, **FORGOTTEN),
    "logins": Case(an_old(login, "535 5.7.8 old"), login, known_logins, **FORGOTTEN),
}


@pytest.fixture(autouse=True)
def without_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_file, "_made", lambda *_: b"key and certificate\n" * 90)
    monkeypatch.setattr(os, "getpid", lambda: 7)  # in a container all come again with their numbers


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_old_one_or_the_new_one(tmp_path: Path, name: str) -> None:
    case, root = CASES[name], tmp_path / "disk"
    (tmp_path / "nothing").mkdir()
    root.mkdir()
    case.prepare(root)
    before = tried(case, root)
    with Disk(root, ignored=".lock") as disk:
        case.act(root)
        disk.mark("done")
    after = tried(case, root)
    assert before != after
    lost, done = tried(case, tmp_path / "nothing"), set[tuple[tuple[str, ...], str]]()
    for cut in disk.cuts():
        for state in disk.survivors(after=cut):
            with playground(tmp_path) as fresh, without_waiting():
                state.write(fresh)
                found = tried(case, fresh)
                allowed = [before, after] + ([lost] if case.may_be_lost else [])
                assert found in allowed, state.label
                if case.lasts and disk.marks(cut):
                    assert found == after, state.label
                left = tuple(sorted(os.listdir(fresh)))
                if (left, repr(found)) not in done:
                    done.add((left, repr(found)))
                    case.act(fresh)
                    assert tried(case, fresh) == after or not case.again, state.label
    assert {repr(before), repr(after)} <= {found for _, found in done}, "the test cuts nowhere"


def tried(case: Case, where: Path) -> object:
    """What is read there; the name of what is not there."""
    try:
        return case.read(where)
    except FileNotFoundError as error:
        return error.strerror


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "appended"])
def test_a_dead_letter_that_was_told_of_is_there(tmp_path: Path, is_there: bool) -> None:
    root = tmp_path / "home"
    root.mkdir()
    if is_there:
        dead_letter(root)
    before = letters(root)
    with Disk(root) as disk:
        dead_letter(root)
        disk.mark("done")
    assert isinstance(before, bytes)
    for cut in disk.cuts():
        for state in disk.survivors(after=cut):
            with playground(tmp_path) as fresh:
                state.write(fresh)
                found = letters(fresh)
            assert isinstance(found, bytes)
            assert found.startswith(before)
            if disk.marks(cut):
                assert found.count(LETTER.partition(b"\n\n")[2]) == 1 + is_there, state.label


def test_files_of_a_configuration_are_each_the_old_or_the_new(tmp_path: Path) -> None:
    """``minimta setup``: several change together; a power cut between two names may part them."""
    root = tmp_path / "etc"
    root.mkdir()
    configured(root)
    names = ("minimta.cf", "authinfo")
    before = text(*names)(root)
    with Disk(root) as disk:
        place(root)
        disk.mark("done")
    after = text(*names)(root)
    assert isinstance(before, tuple) and isinstance(after, tuple)
    for cut in disk.cuts():
        for state in disk.survivors(after=cut):
            with playground(tmp_path) as fresh, without_waiting():
                state.write(fresh)
                found = text(*names)(fresh)
                assert isinstance(found, tuple)
                assert all(one in pair for one, *pair in zip(found, before, after, strict=True))
                assert found == after or not disk.marks(cut), state.label
                place(fresh)
                assert text(*names)(fresh) == after
    for k in disk.syncs()[:2]:
        states = [one for cut in disk.cuts() for one in disk.survivors(after=cut, without={k})]
        assert any(b"" in [file.content for file in state.files.values()] for state in states)
