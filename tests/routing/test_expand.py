from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minimta.aliases.lookup import Aliases
from minimta.config.options import Options
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate
from minimta.routing import controlling_user, forward
from minimta.routing.destination import Destination
from minimta.routing.expand import expand
from minimta.routing.local_host import LocalHost
from minimta.routing.route import Route, Router
from minimta.system import log
from tests.support.homes import let_others_in

NAMES = ("dave", "carol", "henry", "list")


class House:
    """A host with some users, whose aliases and .forward files a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.chmod(0o755)
        lines = [
            f"{name}:x:{os.getuid()}:{os.getgid()}:::\n".replace(":::", f"::{root}/{name}:")
            for name in NAMES
        ]
        (root / "passwd").write_text("".join(lines))
        self.options = Options()
        self.options.host_name = "lab2.campus"
        self.options.local_host_names = "/nonexistent"
        self.options.mailer_table = str(root / "mailertable")
        self.options.passwd_file = str(root / "passwd")
        self.options.alias_files = (str(root / "aliases"),)
        self.alias(b"")

    def alias(self, text: bytes) -> None:
        path = self.root / "aliases"
        path.write_bytes(text)
        path.chmod(0o644)

    def forward(self, name: str, text: bytes, suffix: str = "") -> Path:
        home = self.root / name
        home.mkdir(exist_ok=True)
        home.chmod(0o755)
        path = home / f".forward{suffix}"
        path.write_bytes(text)
        path.chmod(0o644)
        return path

    def expand(
        self, *recipients: bytes | Recipient, sender: bytes = b"<emma@lab1.campus>"
    ) -> list[Destination]:
        given = [r if isinstance(r, Recipient) else Recipient(r) for r in recipients]
        return expand(given, sender, LocalHost(self.options), qid="id1")


@pytest.fixture
def house(tmp_path: Path) -> House:
    let_others_in(tmp_path)  # the default user has to get there
    return House(tmp_path)


def targets_of(found: list[Destination]) -> list[str]:
    """ "local dave", "esmtp lab3.campus henry@lab3.campus", "5.1.1 nosuch"."""
    shown = []
    for it in found:
        if it.outcome is not None:
            shown.append(f"{it.outcome.status} {it.recipient.address.decode()}")
        else:
            assert it.route is not None
            where = f"{it.route.mailer} {it.route.host}".strip()
            shown.append(f"{where} {it.route.user.decode()}")
    return shown


# Aliases, .forward of dave, of carol, recipients, what becomes of them: the recorded cases.
CASES: dict[str, tuple[bytes, bytes, bytes, list[bytes], list[str]]] = {
    "user": (b"", b"", b"", [b"<dave@lab2.campus>"], ["local dave"]),
    "case": (b"List: dave", b"", b"", [b"LIST"], ["local dave"]),
    "case-user": (b"", b"", b"", [b"DAVE@LAB2.campus"], ["local dave"]),
    "unknown": (b"", b"", b"", [b"nosuch"], ["5.1.1 nosuch"]),
    "remote": (b"", b"", b"", [b"x@lab3.campus"], ["esmtp lab3.campus x@lab3.campus"]),
    "two": (b"list: dave, carol", b"", b"", [b"list"], ["local dave", "local carol"]),
    "external": (
        b"list: henry@lab3.campus",
        b"",
        b"",
        [b"list"],
        ["esmtp lab3.campus henry@lab3.campus"],
    ),
    "loop": (b"list: team\nteam: list", b"", b"", [b"list"], ["local list"]),
    "backslash-recipient": (b"dave: henry", b"carol\n", b"", [b"\\dave"], ["local dave"]),
    "backslash-forward": (b"", b"carol\n", b"", [b"\\dave@lab2.campus"], ["local dave"]),
    "backslash-quoted": (b"dave: henry", b"carol\n", b"", [b'"\\dave"'], ["local dave"]),
    "backslash-alias": (b"team: dave", b"", b"", [b"\\team"], ["5.1.1 \\team"]),
    "backslash-program": (b"", b"", b"", [b"\\|/bin/x"], ["5.1.1 \\|/bin/x"]),
    "backslash-twice": (b"", b"carol\n", b"", [b"\\dave", b"dave"], ["local dave", "local carol"]),
    "loop-users": (b"henry: carol\ncarol: henry", b"", b"", [b"henry"], ["local henry"]),
    "loop-users-both": (
        b"henry: carol\ncarol: henry",
        b"",
        b"",
        [b"henry", b"carol"],
        ["local carol"],
    ),
    "loop-users-each-other": (
        b"",
        b"carol\n",
        b"dave\n",
        [b"dave", b"carol"],
        ["local carol", "local dave"],
    ),
    "loop-nousers-both": (b"aa: bb\nbb: aa", b"", b"", [b"aa", b"bb"], ["5.4.6 bb"]),
    "loop-user-inside": (b"aa: carol\ncarol: aa", b"", b"", [b"aa"], ["local carol"]),
    "loop3": (b"list: a1\na1: a2\na2: list", b"", b"", [b"list"], ["local list"]),
    "self": (b"dave: dave, carol", b"", b"", [b"dave"], ["local dave", "local carol"]),
    "self-case": (b"dave: DAVE, carol", b"", b"", [b"dave"], ["local dave", "local carol"]),
    "self-nobody": (b"dave: (away)", b"carol", b"", [b"dave"], ["local carol"]),
    "self-only": (b"dave: dave", b"", b"", [b"dave"], ["local dave"]),
    "backslash": (b"dave: \\dave, carol", b"", b"", [b"dave"], ["local dave", "local carol"]),
    "dup": (
        b"list: dave, carol, dave, Dave@lab2.campus, team\nteam: dave",
        b"",
        b"",
        [b"list"],
        ["local dave", "local carol"],
    ),
    "dup-arg": (
        b"list: dave",
        b"",
        b"",
        [b"dave", b"list", b"dave@lab2.campus", b"DAVE"],
        ["local dave"],
    ),
    "dup-remote": (
        b"",
        b"",
        b"",
        [b"x@lab3.campus", b"x@LAB3.campus", b"X@lab3.campus"],
        ["esmtp lab3.campus x@lab3.campus", "esmtp lab3.campus X@lab3.campus"],
    ),
    "unknown-mixed": (b"list: dave, nosuch", b"", b"", [b"list"], ["local dave", "5.1.1 nosuch"]),
    "error": (
        b"list: error:nouser No such list",
        b"",
        b"",
        [b"list"],
        ["5.1.1 error:nouser No such list"],
    ),
    "error-status": (
        b"list: error:5.7.1:550 No",
        b"",
        b"",
        [b"list"],
        ["5.7.1 list"],
    ),
    "at-rhs": (b"aa: henry@lab2.campus, henry@localhost", b"", b"", [b"aa"], ["local henry"]),
    "nocomma": (b"list: dave\n\tcarol", b"", b"", [b"list"], ["5.1.1 dave\tcarol"]),
    "loop-nouser": (b"aa: bb\nbb: aa", b"", b"", [b"aa"], ["5.4.6 aa"]),
    "loop-self-nouser": (b"aa: aa", b"", b"", [b"aa"], ["5.1.1 aa"]),
    "loop-partial": (b"aa: bb, henry\nbb: aa", b"", b"", [b"aa"], ["local henry"]),
    "first.last": (b"first.last: henry", b"", b"", [b"first.last@lab2.campus"], ["local henry"]),
    "plus": (b"", b"", b"", [b"dave+info"], ["local info dave"]),
    "plus-alias": (b"list: carol\nlist+info: dave", b"", b"", [b"list+info"], ["local dave"]),
    "plus-wild": (b"list: carol\nlist+*: dave", b"", b"", [b"list+xyz"], ["local dave"]),
    "plus-name": (b"team: carol", b"", b"", [b"team+xyz"], ["local carol"]),
    "plus-forward": (b"", b"carol", b"", [b"dave+info"], ["local carol"]),
    "plus-unknown": (b"", b"", b"", [b"nosuch+info"], ["5.1.1 nosuch+info"]),
    "fwd": (b"", b"carol\n", b"", [b"dave"], ["local carol"]),
    "fwd-keep": (b"", b"\\dave\ncarol\n", b"", [b"dave"], ["local dave", "local carol"]),
    "fwd-keep2": (b"", b"dave\ncarol\n", b"", [b"dave"], ["local dave", "local carol"]),
    "fwd-selfat": (b"", b"dave@lab2.campus\n", b"", [b"dave"], ["local dave"]),
    "fwd-comment": (b"", b"# nothing\n", b"", [b"dave"], ["local dave"]),
    "fwd-loop": (b"", b"carol\n", b"dave\n", [b"dave"], ["local dave", "local carol"]),
    "fwd-alias": (b"list: dave", b"carol\n", b"", [b"list"], ["local carol"]),
    "fwd-unknown": (b"", b"nosuch\n", b"", [b"dave"], ["5.1.1 nosuch"]),
    "fwd-tilde": (b"", b"~/inbox\n", b"", [b"dave"], ["5.1.1 ~/inbox"]),
    "fwd-devnull": (b"", b"/dev/null\n", b"", [b"dave"], ["2.0.0 /dev/null"]),
    "fwd-lines": (
        b"",
        b"# to both\ncarol\nhenry@lab3.campus\n",
        b"",
        [b"dave"],
        ["local carol", "esmtp lab3.campus henry@lab3.campus"],
    ),
    "postmaster": (b"postmaster: carol", b"", b"", [b"PostMaster@lab2.campus"], ["local carol"]),
    "postmaster-none": (b"root: carol", b"", b"", [b"postmaster"], ["local carol"]),
    "empty-alias": (b"dave: (nobody)", b"", b"", [b"dave"], ["local dave"]),
    "quoted": (b"", b"", b"", [b'<"dave"@lab2.campus>'], ["local dave"]),
}


@pytest.mark.parametrize("case", CASES)
def test_recipients_become_what_sendmail_makes_of_them(house: House, case: str) -> None:
    aliases, dave, carol, recipients, expected = CASES[case]
    house.alias(aliases)
    if dave:
        house.forward("dave", dave)
    if carol:
        house.forward("carol", carol)
    assert sorted(targets_of(house.expand(*recipients))) == sorted(expected)


@pytest.mark.parametrize("case", CASES)
def test_a_second_attempt_at_what_is_left_repeats_nothing(house: House, case: str) -> None:
    aliases, dave, carol, recipients, _ = CASES[case]
    house.alias(aliases)
    if dave:
        house.forward("dave", dave)
    if carol:
        house.forward("carol", carol)
    first = [it for it in house.expand(*recipients) if it.outcome is None]
    again = house.expand(*[it.recipient for it in first])
    assert sorted(targets_of(again)) == sorted(targets_of(first))


def test_a_recipient_that_does_not_expand_stays_as_it_is(house: House) -> None:
    recipient = Recipient(b"<dave@lab2.campus>", "PFD", final=b"RFC822; dave@lab2.campus")
    (found,) = house.expand(recipient)
    assert found.recipient is recipient
    assert (recipient.address, recipient.flags) == (b"<dave@lab2.campus>", "PFD")


def test_a_recipient_from_an_alias_inherits_what_the_dsn_needs(house: House) -> None:
    house.alias(b"list: b@grey.campus")
    given = Recipient(
        b"<list@lab2.campus>",
        "PNSF",
        original=b"rfc822;list@lab2.campus",
        final=b"RFC822; list@lab2.campus",
    )
    (found,) = house.expand(given)
    assert found.recipient == Recipient(
        b"b@grey.campus",
        "NSFA",
        original=b"rfc822;list@lab2.campus",
        final=b"RFC822; list@lab2.campus",
        controlling_user=b"list:%d:0:<list@lab2.campus>" % (os.geteuid() or 1),
    )


def test_a_recipient_without_final_gets_the_name_it_was_sent_to(house: House) -> None:
    house.alias(b"list: b@grey.campus")
    (found,) = house.expand(b"list")
    assert found.recipient.final == b"RFC822; list@lab2.campus"


def test_a_forward_is_answered_for_by_its_user(house: House) -> None:
    house.alias(b"list: dave")
    house.forward("dave", b"a@refused.campus\ncarol\n")
    direct = house.expand(Recipient(b"<dave@lab2.campus>", "PFD"))
    controlling_user = b"dave:%d:%d:<dave@lab2.campus>" % (os.getuid(), os.getgid())
    assert [it.recipient.controlling_user for it in direct] == [controlling_user] * 2
    # As recorded: what a .forward sends to another host keeps its P.
    assert [it.recipient.flags for it in direct] == ["PFD", "FDA"]
    through = house.expand(Recipient(b"<list@lab2.campus>", "PFD"))
    assert {it.recipient.controlling_user.split(b":")[3] for it in through} == {b"dave"}
    assert [it.recipient.flags for it in through] == ["FDA", "FDA"]


def test_a_mailbox_of_a_self_reference_is_written_with_a_backslash(house: House) -> None:
    house.alias(b"dave: dave, carol")
    found = house.expand(Recipient(b"<dave@lab2.campus>", "PFD"))
    assert sorted((it.recipient.address, it.recipient.flags) for it in found) == [
        (b"\\dave", "FDA"),
        (b"carol", "FDA"),
    ]


def test_what_came_from_an_expansion_is_never_expanded_again(house: House) -> None:
    house.alias(b"dave: carol")
    house.forward("henry", b"carol")
    found = house.expand(Recipient(b"dave", "FDA"), Recipient(b"henry", "FDA"))
    assert targets_of(found) == ["local dave", "local henry"]


@pytest.mark.parametrize(
    "name",
    [
        b"|/bin/sh",
        b'"|/bin/sh"',
        b"/etc/passwd",
        b":include:/etc/passwd",
        b"\\|/bin/sh",
        b"\\/etc/passwd",
        b"\\nosuch",
        b"error:5.7.1:no",
        b"~dave",
        b"../dave",
        b"/dev/null",
        b'"/dev/null"@lab2.campus',
        b'":include:/etc/passwd"@lab2.campus',
        b'"|x"@lab2.campus',
    ],
)
def test_what_a_client_names_is_a_mailbox_whatever_it_looks_like(house: House, name: bytes) -> None:
    (found,) = house.expand(Recipient(name, "PFD"))
    assert found.outcome is not None
    assert (found.outcome.fate, found.outcome.status) == (Fate.FAILED, "5.1.1")


@pytest.mark.parametrize(
    ("right", "where"),
    [
        (b"|out.sh", "prog out.sh"),
        (b'"|out.sh -x, y"', "prog out.sh -x, y"),
        (b"/var/tmp/f", "*file* /var/tmp/f"),
    ],
)
def test_programs_and_files_act_as_the_default_user(house: House, right: bytes, where: str) -> None:
    house.alias(b"list: carol, " + right)
    found = house.expand(Recipient(b"<list@lab2.campus>", "PFD"))
    assert targets_of(found) == ["local carol", where]
    special = found[1]
    assert special.controlling is not None and special.controlling.name == "daemon"
    assert b":0:<list@lab2.campus>" in special.recipient.controlling_user
    assert special.recipient.flags == "FDA"
    (again,) = house.expand(special.recipient)
    assert targets_of([again]) == [where]
    assert again.recipient is special.recipient
    assert again.controlling == special.controlling


def test_a_program_of_a_forward_acts_as_its_user(house: House) -> None:
    house.forward("dave", b'"|out.sh"\n')
    (found,) = house.expand(b"dave")
    assert targets_of([found]) == ["prog out.sh"]
    # Where dave is root, as the tests are in CI, root runs nothing: the default user does.
    expected = "daemon" if os.geteuid() == 0 else "dave"
    assert found.controlling is not None and found.controlling.name == expected
    assert found.recipient.controlling_user.startswith(b"dave:%d:" % os.getuid())


def test_a_user_without_a_valid_shell_starts_nothing(house: House) -> None:
    passwd = house.root / "passwd"
    lines = passwd.read_text().replace(f"{house.root}/dave:", f"{house.root}/dave:/bin/zzz")
    passwd.write_text(lines)
    house.forward("dave", b'"|out.sh"\n/var/tmp/f\n')
    found = house.expand(b"dave")
    texts = [it.outcome.text for it in found if it.outcome]
    refusal = "User dave@lab2.campus doesn't have a valid shell for mailing to "
    assert texts == [refusal + "programs", refusal + "files"]
    assert all(it.outcome and it.outcome.fate is Fate.FAILED for it in found)


def test_a_list_is_read_and_a_missing_one_comes_back(house: House) -> None:
    lists = house.root / "l"
    lists.write_bytes(b"dave\n# comment\ncarol, nosuch\n")
    lists.chmod(0o644)
    house.alias(b"list: :include:%b" % os.fsencode(lists))
    found = house.expand(b"list")
    assert targets_of(found) == ["local dave", "local carol", "5.1.1 nosuch"]
    assert found[2].outcome
    assert found[2].outcome.transcript == (f"550 5.1.1 {lists}: line 3: nosuch... User unknown",)
    lists.unlink()
    (gone,) = house.expand(b"list")
    assert gone.outcome and gone.outcome.fate is Fate.FAILED
    assert gone.outcome.text == f"Cannot open {lists}: No such file or directory"


def test_a_list_that_cannot_be_opened_is_in_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(log, "line", lambda qid, text, **_: lines.append((qid, text)))
    house.alias(b"list: :include:%b/gone" % os.fsencode(house.root))
    house.expand(b"list")
    path = house.root / "gone"
    why = f":include:{path}... Cannot open {path}: No such file or directory"
    assert lines == [("id1", why)]


def test_an_empty_list_waits(house: House) -> None:
    lists = house.root / "l"
    lists.write_bytes(b"")
    lists.chmod(0o644)
    house.alias(b"list: :include:%b" % os.fsencode(lists))
    (found,) = house.expand(b"list")
    assert found.outcome and found.outcome.fate is Fate.DEFERRED
    (again,) = house.expand(found.recipient)
    assert again.outcome == found.outcome


def test_what_goes_to_a_list_comes_from_its_owner(house: House) -> None:
    house.alias(b"list: dave, henry@lab3.campus\nowner-list: carol\n")
    found = house.expand(b"list")
    assert [controlling_user.owner(it.recipient) for it in found] == [b"carol", b"carol"]
    again = house.expand(found[1].recipient)
    assert [controlling_user.owner(it.recipient) for it in again] == [b"carol"]
    found = house.expand(b"list", sender=b"<>")
    assert [controlling_user.owner(it.recipient) for it in found] == [None, None]
    house.alias(b"list: dave\nowner-list: carol, henry\n")
    (found_one,) = house.expand(b"list")
    assert controlling_user.owner(found_one.recipient) == b"owner-list"
    house.alias(b"list: dave, henry@lab3.campus\n")  # an alias, for which the sender answers
    assert [controlling_user.owner(it.recipient) for it in house.expand(b"list")] == [None, None]


def test_the_depth_of_expansion_is_limited(house: House) -> None:
    house.alias(b"".join(b"a%d: a%d\n" % (n, n + 1) for n in range(10)) + b"a10: dave\n")
    (found,) = house.expand(b"a0")
    assert found.outcome is not None
    assert (found.outcome.fate, found.outcome.status) == (Fate.FAILED, "5.4.6")
    assert found.outcome.text == "aliasing/forwarding loop broken (11 aliases deep; 10 max)"
    assert found.outcome.exit_code == os.EX_USAGE
    assert targets_of(house.expand(b"a1")) == ["local dave"]


def test_every_address_is_expanded_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [b"a%d: a%d, b%d\nb%d: a%d, b%d\n" % ((n, n + 1, n + 1) * 2) for n in range(9)]
    house.alias(b"".join(lines) + b"a9: dave\nb9: dave\n")
    asked: list[bytes] = []
    real = Aliases.find

    def find(self: Aliases, name: bytes) -> bytes | None:
        asked.append(name)
        return real(self, name)

    monkeypatch.setattr(Aliases, "find", find)
    assert targets_of(house.expand(b"a0")) == ["local dave"]
    # Each name once, and once whether it is a list that has an owner.
    assert len(asked) == len(set(asked)) == 39


@pytest.mark.parametrize(
    ("me_too", "right", "expected"),
    [
        (True, b"dave, carol", ["local dave", "local carol"]),
        (False, b"dave, carol", ["local carol"]),
        (False, b"dave", ["local dave"]),
    ],
)
def test_the_sender_gets_a_copy_unless_me_too_is_off(
    house: House, me_too: bool, right: bytes, expected: list[str]
) -> None:
    house.options.me_too = me_too
    house.alias(b"team: " + right)
    assert targets_of(house.expand(b"team", sender=b"<dave@lab2.campus>")) == expected


def test_the_sender_who_names_himself_gets_his_mail(house: House) -> None:
    house.options.me_too = False
    assert targets_of(house.expand(b"dave", b"carol", sender=b"dave")) == [
        "local dave",
        "local carol",
    ]


def test_whoever_is_named_twice_hears_what_either_wanted(house: House) -> None:
    never, success = Recipient(b"dave", "PN"), Recipient(b"DAVE", "PNS")
    (found,) = house.expand(never, success)
    assert found.recipient is never
    assert found.recipient.flags == "PNS"


# -- .forward -----------------------------------------------------------------------------------


def test_the_forward_of_a_detail_comes_before_the_plain_one(house: House) -> None:
    house.forward("dave", b"henry")
    house.forward("dave", b"carol", "+info")
    assert targets_of(house.expand(b"dave+info")) == ["local carol"]
    assert targets_of(house.expand(b"dave+other", b"dave")) == ["local henry"]


@pytest.mark.parametrize("detail", [b"a/b", b"../../x", b"\0", b"", b"\xff" * 300])
def test_a_detail_is_no_path(house: House, detail: bytes) -> None:
    house.forward("dave", b"henry")
    (house.root / "dave" / ".forward+a").mkdir(mode=0o755)
    house.forward("dave", b"carol", "+a/b")
    assert targets_of(house.expand(b"dave+" + detail)) == ["local henry"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.chmod(0o646), "World writable file"),
        (lambda path: path.parent.chmod(0o757), "World writable directory"),
        (lambda path: (path.unlink(), path.mkdir()), "Regular files only"),
    ],
)
def test_a_forward_that_others_could_write_is_logged_and_the_mailbox_used(
    house: House,
    spoil: Callable[[Path], object],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = house.forward("dave", b"carol")
    spoil(path)
    log.configure("sm-mta", "stderr", 9)
    try:
        assert targets_of(house.expand(b"dave")) == ["local dave"]
    finally:
        log.configure("sendmail", "none", 9)
    assert f"id1: forward {path}: {reason}\n" in capsys.readouterr().err


def test_no_home_is_no_forward(house: House) -> None:
    assert not (house.root / "henry").exists()
    assert targets_of(house.expand(b"henry")) == ["local henry"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_forward_that_cannot_be_read_defers_its_user_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = house.forward("dave", b"carol")
    house.alias(b"team: dave, henry")

    def fail(*_: object) -> bytes:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(forward, "read_as", fail)
    henry, dave = house.expand(Recipient(b"<team@lab2.campus>", "PFD"))
    if henry.outcome:
        henry, dave = dave, henry
    assert targets_of([henry]) == ["local henry"]
    assert dave.outcome is not None
    assert (dave.outcome.fate, dave.outcome.status) == (Fate.DEFERRED, "4.3.0")
    assert dave.outcome.text == f"{path}: {os.strerror(code)}"
    monkeypatch.undo()
    # What waits is dave with his .forward still to be read, and henry is not sent to again.
    assert "A" not in dave.recipient.flags
    assert targets_of(house.expand(dave.recipient)) == ["local carol"]


def test_a_name_service_or_database_that_fails_defers(house: House) -> None:
    (house.root / "aliases.cdb").write_bytes(b"x" * 3000)
    (found,) = house.expand(b"dave")
    assert found.outcome is not None
    assert (found.outcome.fate, found.outcome.status) == (Fate.DEFERRED, "4.3.0")
    os.unlink(house.root / "aliases.cdb")
    os.unlink(house.root / "passwd")
    (found,) = house.expand(Recipient(b"dave", "FDA"))
    assert found.outcome is not None
    assert found.outcome.fate is Fate.DEFERRED
    assert found.recipient.flags == "FDA"


def test_an_unknown_user_is_told_as_sendmail_tells_it(house: House) -> None:
    house.forward("dave", b"\nnosuch\n")
    (found,) = house.expand(b"dave")
    assert found.outcome is not None
    assert (found.outcome.text, found.outcome.exit_code) == ("User unknown", os.EX_NOUSER)
    where = f"{house.root}/dave/.forward: line 2: nosuch"
    assert found.outcome.transcript == (f"550 5.1.1 {where}... User unknown",)


def test_an_alias_that_waits_for_error_is_looked_up_again(house: House) -> None:
    house.alias(b"gone: error:4.2.1:450 Later")
    (found,) = house.expand(b"gone")
    assert found.outcome is not None and found.outcome.fate is Fate.DEFERRED
    assert (found.recipient.address, found.recipient.flags) == (b"gone", "PFD")


def test_of_a_list_with_one_error_that_member_fails_and_the_others_do_not(house: House) -> None:
    house.alias(b"list: dave, error:5.7.1:550 No")
    dave, failed = house.expand(b"list")
    assert dave.outcome is None and failed.outcome is not None
    assert failed.outcome.diagnostic == "550 5.7.1 No"
    assert failed.recipient.address == b"error:5.7.1:550 No"


def test_an_error_of_the_mailer_table_is_an_outcome(house: House) -> None:
    table = "bad.example error:5.7.1:550 Go away\nodd.example uucp:x\n"
    Path(house.options.mailer_table).write_text(table)
    refused, postponed = house.expand(b"x@bad.example", b"x@odd.example")
    assert refused.outcome is not None and postponed.outcome is not None
    assert (refused.outcome.fate, refused.outcome.text) == (Fate.FAILED, "Go away")
    assert postponed.outcome.fate is Fate.DEFERRED


def test_a_list_is_expanded_as_a_whole_or_waits_as_a_whole(house: House) -> None:
    """Or the first members would get it now, and again when the list is tried again."""
    house.alias(b"list: dave, x@lab3.campus")
    house.options.local_host_names = str(house.root)  # a directory: it cannot be told what is ours
    (found,) = house.expand(b"list")
    assert found.outcome is not None and found.outcome.fate is Fate.DEFERRED
    assert (found.recipient.address, found.recipient.flags) == (b"list", "PFD")


def test_no_input_recipient_vanishes(house: House) -> None:
    house.alias(b"list: dave, list\nempty: (nothing)\nteam: team2\nteam2: team\n")
    for name in (b"list", b"empty", b"team", b"dave", b"x@y", b"nosuch", b"", b"<>", b"@", b"a@"):
        assert house.expand(name), name


@pytest.mark.parametrize(
    "target",
    [
        "x@lab3.campus",
        "\\dave",
        "dave",
        "|prog",
        "/dev/null",
        "/var/log/mail-copy",
        "error:5.7.1:550 No",
        ":include:/nonexistent",
        "x@odd.example",
    ],
)
def test_an_alias_whose_members_have_all_been_met_is_no_unknown_user(
    house: House, target: str
) -> None:
    Path(house.options.mailer_table).write_text("odd.example uucp:x\n")
    house.alias(f"list: {target}, team\nteam: {target}\n".encode())
    (alone,) = house.expand(b"team")
    (both,) = house.expand(b"list", b"team")
    assert both.route == alone.route
    assert (both.outcome and both.outcome.status) == (alone.outcome and alone.outcome.status)


def test_an_alias_that_leads_to_its_sender_is_no_unknown_user(house: House) -> None:
    house.options.me_too = False
    house.alias(b"list: team, carol@lab3.campus\nteam: emma@lab1.campus, list\n")
    found = house.expand(b"list", b"team")
    assert targets_of(found) == ["esmtp lab3.campus carol@lab3.campus"]


def test_an_alias_to_what_cannot_be_routed_now_waits_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = Router.route

    def fails(self: Router, bare: bytes) -> Route:
        if b"lab3" in bare:
            raise OSError(errno.EIO, "Input/output error", "mailertable")
        return route(self, bare)

    monkeypatch.setattr(Router, "route", fails)
    house.alias(b"list: dave, x@lab3.campus, team\nteam: x@lab3.campus\n")
    assert targets_of(house.expand(b"list", b"team")) == ["local dave", "4.3.0 x@lab3.campus"]


def test_v_shows_what_an_alias_and_a_forward_make_of_a_recipient(house: House) -> None:
    house.alias(b"list: dave, Carol <carol@lab3.campus>\n")
    house.forward("dave", b"\\dave, |prog\n")
    said: list[str] = []
    expand(
        [Recipient(b"<list@lab2.campus>")],
        b"<>",
        LocalHost(house.options),
        qid="1",
        say=said.append,
    )
    assert said == [
        "<list@lab2.campus>... aliased to dave, carol@lab3.campus",
        "dave... forwarding to \\dave, |prog",
    ]


def test_an_address_is_one_in_whatever_case_it_is_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.alias(b"list: DAVE, Team\nteam: Dave\n")
    asked: list[str] = []
    monkeypatch.setattr(forward, "read", lambda user, *_, **unused: asked.append(user.name))
    assert targets_of(house.expand(b"LIST", b"list", b"dave")) == ["local dave"]
    assert asked == ["dave"]


def test_each_detail_is_a_mailbox_of_its_own(house: House) -> None:
    house.alias(b"list: dave+a, dave\n")
    found = house.expand(b"list", b"dave+b", b"DAVE+a")
    assert sorted(targets_of(found)) == ["local a dave", "local b dave", "local dave"]


def test_who_is_refused_by_the_mailer_table_is_told_of_each_recipient(house: House) -> None:
    Path(house.options.mailer_table).write_text("bad.example error:5.7.1:550 Go away\n")
    found = house.expand(b"x@bad.example", b"y@bad.example", b"x@BAD.example")
    assert targets_of(found) == ["5.7.1 x@bad.example", "5.7.1 y@bad.example"]
