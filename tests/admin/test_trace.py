"""minimta trace: what it tells of an address, and that it changes nothing."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.admin import verbs
from minimta.admin.trace import Trace
from minimta.aliases.rebuild import rebuild
from minimta.aliases.source import Source
from minimta.config.options import Options, by_name
from minimta.mailers.remote.route_preview import RoutePreviewer
from minimta.queue import permission
from minimta.system import safefile
from minimta.system.privileges import as_user, read_as
from minimta.system.safefile import Untrusted
from minimta.system.users import User, Users
from tests.support.fakedns import FakeDns, Zone
from tests.support.homes import SPOILED, let_others_in, put

HOME = Path(__file__).parent.parent.parent
ZONE: Zone = {
    "lab3.campus": {"MX": ["10 mx.lab3.campus.", "20 mx2.lab3.campus."]},
    "mx.lab3.campus": {"A": ["10.0.3.136"]},
    "mx2.lab3.campus": {"A": ["10.0.3.137"]},
    "plain.campus": {"A": ["10.0.3.138"]},
    "half.campus": {"MX": ["10 gone.campus.", "20 mx.lab3.campus."]},
    "both.campus": {"MX": ["10 gone.campus.", "20 lame.campus."]},
    "back.campus": {"MX": ["10 lab2.campus."]},
    "lame.campus": "SERVFAIL",
}
#: as whom dave and carol act: never root
OWNER = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())


class Host:
    """lab2.campus with dave, carol and henry below a directory, and name servers of its own."""

    def __init__(self, root: Path, nameserver: tuple[str, int]) -> None:
        self.root = root
        for name in ("etc", "home", "home/dave", "home/carol", "var", "var/mail", "var/mqueue"):
            (root / name).mkdir()
            (root / name).chmod(0o755)
            if name.startswith("home/"):
                os.chown(root / name, OWNER.pw_uid, OWNER.pw_gid)
        lines = [
            f"{name}:x:{OWNER.pw_uid}:{OWNER.pw_gid}::{root}/home/{name}:/bin/sh\n"
            for name in ("dave", "carol", "henry")
        ]
        (root / "etc/passwd").write_text("".join(lines))
        self.options = Options()
        for name, value in {
            "HostName": "lab2.campus",
            "AliasFile": root / "etc/aliases",
            "PasswdFile": root / "etc/passwd",
            "MailerTable": root / "etc/mailertable",
            "VirtUserTable": root / "etc/virtusertable",
            "LocalHostNames": "/nonexistent",
            "MailboxDirectory": root / "var/mail",
            "QueueDirectory": root / "var/mqueue",
            "SmrshDirectory": "",
            "RunAsUser": "",
            "DefaultUser": "henry",
        }.items():
            self.options.set(by_name(name), str(value))
        self._nameserver = nameserver
        self.aliases("postmaster: henry")

    def aliases(self, *lines: str) -> None:
        path = self.root / "etc/aliases"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o644)

    def user(self, name: str) -> User:
        return User(name, OWNER.pw_uid, OWNER.pw_gid, home=f"{self.root}/home/{name}")

    def forward(self, name: str, text: str) -> Path:
        return put(self.user(name), text.encode())

    def set(self, name: str, value: str) -> None:
        self.options.set(by_name(name), value)

    def trace(self, *addresses: str) -> tuple[int, list[str]]:
        """Exit code and lines, as if the host's directory were / and its users number 1001."""
        lines: list[str] = []
        previewer = RoutePreviewer(self.options, self._nameserver)
        code = Trace(self.options, lines.append, previewer).tell(
            [os.fsencode(it) for it in addresses]
        )
        number = f"({OWNER.pw_uid})"
        return code, [it.replace(str(self.root), "").replace(number, "(1001)") for it in lines]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    let_others_in(tmp_path)
    with FakeDns(ZONE) as server:
        yield Host(tmp_path, server.address)


LEAVES: list[tuple[str, int, str]] = [
    ("dave", 0, "dave: user dave, delivered to mailbox /var/mail/dave (mailer local)"),
    ("dave@lab2.campus", 0, "dave@lab2.campus: user dave, delivered to mailbox /var/mail/dave (mailer local)"),
    ("dave+x", 0, "dave+x: user dave, delivered to mailbox /var/mail/dave, detail x (mailer local)"),
    ("nosuch", 67, "nosuch: refused: User unknown (5.1.1)"),
    ("|/bin/cat", 67, "|/bin/cat: refused: User unknown (5.1.1)"),
    ("Dave <", 67, "Dave <: refused: Unbalanced '<'"),
    ("x@lab3.campus", 0, "x@lab3.campus: next host mx.lab3.campus. [10.0.3.136] by MX 10 (mailer esmtp)|  then mx2.lab3.campus. [10.0.3.137] by MX 20"),
    ("x@plain.campus", 0, "x@plain.campus: next host plain.campus. [10.0.3.138] (mailer esmtp)"),
    ("x@[10.0.3.136]", 0, "x@[10.0.3.136]: next host [10.0.3.136] (mailer esmtp)"),
    ("x@nosuch.campus", 67, "x@nosuch.campus: refused: Host unknown (Name server: nosuch.campus: host not found) (5.1.2)"),
    ("x@back.campus", 67, "x@back.campus: refused: MX list for back.campus. points back to lab2.campus (5.4.6)"),
    ("x@lame.campus", 75, "x@lame.campus: cannot be told now: Name server: lame.campus.: host name lookup failure (4.4.3)"),
    ("x@half.campus", 0, "x@half.campus: next host mx.lab3.campus. [10.0.3.136] by MX 20 (mailer esmtp)|  but Host unknown (Name server: gone.campus.: host not found) (5.1.2)"),
    ("d\x1b[31m@x", 67, "d?[31m@x: refused: Illegal address"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "code", "told"), LEAVES)
def test_an_address_is_told_with_its_end(host: Host, given: str, code: int, told: str) -> None:
    assert host.trace(given) == (code, told.replace("|  ", "\n  ").split("\n"))


def test_the_manual_shows_what_trace_tells(host: Host) -> None:
    host.aliases("postmaster: henry", "", "list: dave, carol,", "    henry@lab3.campus")
    host.forward("dave", "carol\n").chmod(0o646)
    host.forward("carol", '\\carol\n"|/usr/bin/vacation carol"\n')
    code, told = host.trace("list")
    page = (HOME / "minimta" / "man" / "minimta.8").read_text(encoding="utf-8")
    example = page.partition("\n$ minimta trace list\n")[2].partition("\n.Ed\n")[0]
    assert told == example.replace("\\e", "\\").split("\n")
    assert code == 0


def test_a_slip_in_the_mailer_table_waits(host: Host) -> None:
    (host.root / "etc/mailertable").write_text("# routes\n\nlab3.campus relay\n")
    code, told = host.trace("x@lab3.campus")
    assert (code, told) == (
        75,
        [
            "x@lab3.campus: waits: Local configuration error: mailer table: relay (4.3.5)",
            "  by /etc/mailertable line 3",
        ],
    )


ROUTED: list[tuple[str, str, str]] = [
    ("esmtp:[10.0.3.9]:2525", "x@lab3.campus", "next host [10.0.3.9]:2525 by /etc/mailertable line 3: [10.0.3.9]:2525 (mailer esmtp)"),
    ("relay:plain.campus", "x@lab3.campus", "next host plain.campus by /etc/mailertable line 3: plain.campus. [10.0.3.138] (mailer esmtp)"),
    ("relay:lame.campus", "x@lab3.campus", "cannot be told now: lame.campus by /etc/mailertable line 3: Name server: lame.campus.: host name lookup failure (4.4.3)"),
    ("error:5.7.1:550 No", "x@lab3.campus", "refused: No (5.7.1)|  by /etc/mailertable line 3"),
    ("local:dave", "x@lab3.campus", "user dave, delivered to mailbox /var/mail/dave (mailer local)|  by /etc/mailertable line 3"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "given", "told"), ROUTED)
def test_the_row_of_the_mailer_table_is_named(
    host: Host, value: str, given: str, told: str
) -> None:
    (host.root / "etc/mailertable").write_text(f"# routes\n\nLab3.Campus\t{value}\n")
    assert host.trace(given)[1] == f"{given}: {told}".split("|")


def test_the_row_of_the_virtual_user_table_is_named(host: Host) -> None:
    (host.root / "etc/virtusertable").write_text("# v\n@lab2.campus dave\n")
    row = "  is dave by /etc/virtusertable line 2"
    where = "user dave, delivered to mailbox /var/mail/dave (mailer local)"
    assert host.trace("x@lab2.campus")[1] == [f"x@lab2.campus: {where}", row]
    (host.root / "etc/virtusertable").write_text("x@lab2.campus error:5.7.1:550 No\n")
    row = "  is error:5.7.1:550 No by /etc/virtusertable line 1"
    assert host.trace("x@lab2.campus")[1] == ["x@lab2.campus: refused: No (5.7.1)", row]
    (host.root / "etc/virtusertable").write_text("x@lab2.campus y@plain.campus\n")
    told = host.trace("x@lab2.campus")[1]
    assert told[0].startswith("x@lab2.campus: next host plain.campus.")
    assert told[1] == "  is y@plain.campus by /etc/virtusertable line 1"


def test_a_row_for_all_below_a_domain_is_named(host: Host) -> None:
    (host.root / "etc/mailertable").write_text(".campus esmtp:[10.0.3.9]\n")
    assert "by /etc/mailertable line 1: [10.0.3.9]" in host.trace("x@a.b.campus")[1][0]


def test_the_smart_host_is_named_and_may_be_anywhere(host: Host) -> None:
    host.set("SmartHost", "[127.0.0.1]:2525")
    assert host.trace("x@lab3.campus") == (
        0,
        [
            "x@lab3.campus: next host [127.0.0.1]:2525, the smart host: [127.0.0.1]:2525 (mailer esmtp)"
        ],
    )


# --- aliases --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            "plain.campus encrypt",
            ["  TLS with plain.campus: encrypt (row plain.campus of /tls-policy)"],
        ),
        ("other.campus encrypt", []),
        ("plain.campus may", ["  TLS with plain.campus: may (row plain.campus of /tls-policy)"]),
        (
            ". verfy",
            [
                "  waits: TLSPolicy: row . of /tls-policy: 'verfy' is no level of TLS (did you mean verify?) (4.3.5)"
            ],
        ),
    ],
)
def test_what_tls_a_next_hop_must_have_is_told(host: Host, row: str, told: list[str]) -> None:
    table = host.root / "tls-policy"
    table.write_text(f"{row}\n")
    host.set("TLSPolicy", str(table))
    code, lines = host.trace("x@plain.campus")
    assert lines[1:] == told
    assert code == (os.EX_TEMPFAIL if "verfy" in row else os.EX_OK)


def test_what_decides_stands_first(host: Host) -> None:
    assert host.trace("x@both.campus") == (
        75,
        [
            "x@both.campus: cannot be told now:"
            " Name server: lame.campus.: host name lookup failure (4.4.3)",
            "  refused: Host unknown (Name server: gone.campus.: host not found) (5.1.2)",
        ],
    )


def test_an_alias_names_the_first_line_of_its_entry(host: Host) -> None:
    host.aliases("# mail", "list: dave,", "  carol", "team: list, henry", "who+*: dave")
    assert host.trace("team")[1] == [
        "team: alias, /etc/aliases line 4",
        "  list: alias, /etc/aliases line 2",
        "    dave: user dave, delivered to mailbox /var/mail/dave (mailer local)",
        "    carol: user carol, delivered to mailbox /var/mail/carol (mailer local)",
        "  henry: user henry, delivered to mailbox /var/mail/henry (mailer local)",
    ]
    assert host.trace("who+x")[1][0] == "who+x: alias who+*, /etc/aliases line 5"
    assert host.trace("LIST")[1][0] == "LIST: alias, /etc/aliases line 2"


def test_postmaster_needs_no_alias(host: Host) -> None:
    host.aliases("root: dave")
    assert host.trace("postmaster")[1][:2] == [
        "postmaster: no alias and no user, so it is root (RFC 5321 section 4.5.1)",
        "  root: alias, /etc/aliases line 1",
    ]


def test_redirect_all_is_told_before_all(host: Host) -> None:
    host.set("RedirectAll", "tester@staging.example")
    told = "RedirectAll: all mail for other hosts goes to tester@staging.example"
    assert host.trace("dave")[1][0] == told


def test_a_text_that_has_changed_is_told_before_all(host: Host) -> None:
    host.aliases("list: dave")
    rebuild(Source(f"{host.root}/etc/aliases"), Users())
    assert host.trace("list")[1][0] == "list: alias, /etc/aliases line 1"
    host.aliases("team: dave")
    os.utime(host.root / "etc/aliases", ns=(2**62, 2**62))
    told = host.trace("list")[1]
    assert told[0] == "/etc/aliases has changed: it counts after newaliases."
    assert (
        told[1]
        == "list: alias, by the database of /etc/aliases, which itself does not say so any more"
    )


def test_aliases_that_others_may_write_cannot_be_told(host: Host) -> None:
    (host.root / "etc/aliases").chmod(0o646)
    assert host.trace("list") == (
        75,
        ["list: cannot be told now: /etc/aliases: World writable file (4.3.0)"],
    )


def test_what_two_ways_lead_to_is_told_once_and_again_for_the_next_argument(host: Host) -> None:
    host.aliases("list: dave, team", "team: dave")
    assert host.trace("list", "dave")[1] == [
        "list: alias, /etc/aliases line 1",
        "  dave: user dave, delivered to mailbox /var/mail/dave (mailer local)",
        "  team: alias, /etc/aliases line 2",
        "    dave: is a duplicate",
        "dave: user dave, delivered to mailbox /var/mail/dave (mailer local)",
    ]


def test_what_files_say_is_made_printable(host: Host) -> None:
    host.aliases("it: a\x1b[31m, :include:/\x1b[32m")
    assert host.trace("it")[1][1:] == [
        "  a?[31m: refused: User unknown (5.1.1)",
        "  :include:/?[32m: list, read as henry (1001)",
        "    refused: Cannot open /?[32m: No such file or directory (5.2.4)",
    ]


def test_circles_are_told(host: Host) -> None:
    host.aliases("aa: bb", "bb: aa")
    assert host.trace("aa") == (
        67,
        [
            "aa: alias, /etc/aliases line 1",
            "  refused: aliasing/forwarding loop broken (5.4.6)",
            "  bb: alias, /etc/aliases line 2",
            "    aa: leads back to itself",
        ],
    )
    host.aliases("dave: dave, carol")
    assert host.trace("dave")[1][1] == (
        "  dave: leads back to itself: delivered to mailbox /var/mail/dave (mailer local)"
    )


def test_the_depth_of_aliases_is_limited(host: Host) -> None:
    host.set("MaxAliasRecursion", "2")
    host.aliases("a1: a2", "a2: a3", "a3: dave")
    code, told = host.trace("a1")
    assert (code, told[-1]) == (
        67,
        "      refused: aliasing/forwarding loop broken (3 aliases deep; 2 max) (5.4.6)",
    )


@pytest.mark.parametrize(
    ("target", "code", "told"),
    [
        ("error:5.7.1:550 No", 67, "error:5.7.1:550 No: refused: No (5.7.1)"),
        ("error:4.7.1:450 Later", 75, "error:4.7.1:450 Later: waits: Later (4.7.1)"),
        ("/dev/null", 0, "/dev/null: discarded"),
        ("/var/archive", 0, "/var/archive: file, written as henry (1001) (mailer *file*)"),
        ("|/bin/x", 0, "|/bin/x: program, runs as henry (1001) in / (mailer prog)"),
        ("\\dave", 0, "\\dave: delivered to mailbox /var/mail/dave (mailer local)"),
    ],
)  # fmt: skip
def test_what_an_alias_may_name(host: Host, target: str, code: int, told: str) -> None:
    host.aliases(f"it: {target}")
    assert host.trace("it") == (code, ["it: alias, /etc/aliases line 1", f"  {told}"])


@pytest.mark.parametrize(
    ("mailer", "told"),
    [
        ("maildir", "delivered to /home/dave/Maildir, detail x (mailer local)"),
        ("lmtp:/run/lmtp", "handed to lmtp:/run/lmtp for dave, detail x (mailer local)"),
    ],
)
def test_the_local_mailer_is_the_one_that_is_chosen(host: Host, mailer: str, told: str) -> None:
    host.set("LocalMailer", mailer)
    assert host.trace("dave+x")[1] == [f"dave+x: user dave, {told}"]


# --- .forward and lists ---------------------------------------------------------------------------


def test_lines_of_a_forward_are_told_and_as_whom_they_act(host: Host) -> None:
    host.forward("dave", "# away\ncarol, henry@lab3.campus\n|/usr/bin/x\n")
    assert host.trace("dave")[1] == [
        "dave: user dave, forwards by /home/dave/.forward",
        "  carol (line 2): user carol, delivered to mailbox /var/mail/carol (mailer local)",
        "  henry@lab3.campus (line 2): next host mx.lab3.campus. [10.0.3.136] by MX 10 (mailer esmtp)",
        "    then mx2.lab3.campus. [10.0.3.137] by MX 20",
        "  |/usr/bin/x (line 3): program, runs as dave (1001) in /home/dave (mailer prog)",
    ]


def test_a_forward_without_an_address_is_told(host: Host) -> None:
    host.forward("dave", "# nobody\n")
    assert host.trace("dave")[1] == [
        "dave: user dave",
        "  /home/dave/.forward names nobody",
        "  delivered to mailbox /var/mail/dave (mailer local)",
    ]


def test_the_directory_that_spoils_a_forward_is_named(host: Host) -> None:
    host.forward("dave", "carol\n")
    (host.root / "home/dave").chmod(0o757)
    assert host.trace("dave") == (
        0,
        [
            "dave: user dave",
            "  /home/dave/.forward refused: World writable directory /home/dave"
            " (ForwardFileInUnsafeDirPath of DontBlameSendmail would allow it)",
            "  delivered to mailbox /var/mail/dave (mailer local)",
        ],
    )


def test_a_list_tells_who_reads_it_and_who_answers_for_it(host: Host) -> None:
    path = put(User("dave", OWNER.pw_uid, OWNER.pw_gid, home=str(host.root / "home")), name="l")
    path.write_bytes(b"carol\n|/bin/x\n")
    host.aliases(f"list: :include:{path}")
    assert host.trace("list")[1][1:] == [
        "  :include:/home/l: list, read as henry (1001); its programs and files act as dave (1001)",
        "    carol (line 1): user carol, delivered to mailbox /var/mail/carol (mailer local)",
        "    |/bin/x (line 2): program, runs as dave (1001) in /home/dave (mailer prog)",
    ]


def test_a_list_that_is_refused_says_what_would_allow_it(host: Host) -> None:
    path = put(User("dave", OWNER.pw_uid, OWNER.pw_gid, home=str(host.root / "home")), name="l")
    path.chmod(0o646)
    host.aliases(f"list: :include:{path}")
    code, told = host.trace("list")
    assert (code, told[-1]) == (
        67,
        "    refused: Cannot open /home/l: World writable file"
        " (WorldWritableIncludeFile of DontBlameSendmail would allow it) (5.2.4)",
    )
    path.unlink()
    assert host.trace("list")[1][-1] == (
        "    refused: Cannot open /home/l: No such file or directory (5.2.4)"
    )


def test_a_user_without_a_shell_may_start_nothing(host: Host) -> None:
    path = host.root / "etc/passwd"
    path.write_text(path.read_text().replace("/bin/sh", "/nonexistent"))
    host.forward("dave", "|/bin/x\n")
    code, told = host.trace("dave")
    assert code == 67
    assert "User dave@lab2.campus doesn't have a valid shell for mailing to programs" in told[1]


SPOILED_AND_ALLOWED = [
    (spoil, word) for _, spoil, word in SPOILED if word.split()[-1] in ("file", "directory")
]


@pytest.mark.parametrize(("spoil", "word"), SPOILED_AND_ALLOWED)
def test_what_would_allow_a_forward_does(
    host: Host, monkeypatch: pytest.MonkeyPatch, spoil: object, word: str
) -> None:
    path = host.forward("dave", "carol\n")
    assert callable(spoil)
    spoil(path)
    monkeypatch.setattr(safefile, "_OWN_GROUP", -1)
    names: list[str] = []
    while len(names) < 4:
        told = next((line for line in host.trace("dave")[1] if " refused: " in line), "")
        if not told:
            break
        assert (word in told) or names
        names.append(told.partition("(")[2].partition(" of ")[0])
        host.set("DontBlameSendmail", ",".join(names))
    assert 0 < len(names) < 4
    assert host.trace("dave")[1][0] == "dave: user dave, forwards by /home/dave/.forward"


# --- programs, rights -----------------------------------------------------------------------------


def test_smrsh_is_asked_what_it_would_run(host: Host) -> None:
    programs = host.root / "etc/smrsh"
    programs.mkdir(mode=0o755)
    (programs / "count").write_text("#!/bin/sh\n")
    (programs / "count").chmod(0o755)
    host.set("SmrshDirectory", str(programs))
    host.aliases("a: |/usr/bin/count -n", "b: |/bin/cat")
    assert host.trace("a") == (
        0,
        [
            "a: alias, /etc/aliases line 1",
            "  |/usr/bin/count -n: program, smrsh runs /etc/smrsh/count -n as henry (1001) (mailer prog)",
        ],
    )
    code, told = host.trace("b")
    assert code == 67
    assert told[1].startswith("  |/bin/cat: refused: smrsh: ")
    programs.chmod(0o757)
    code, told = host.trace("a")
    assert (code, told[1].split(": ")[1]) == (75, "cannot be told now")


def test_who_has_no_rights_is_told_whose_rights_count(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OWNER.pw_uid)
    monkeypatch.setattr(permission, "may_administer", lambda options: False)
    told = host.trace("dave")[1]
    assert told[0] == "Read with the rights of dave; mail is delivered with others."
    monkeypatch.setattr(permission, "may_administer", lambda options: True)
    assert host.trace("dave")[1] == told[1:]


def test_without_rights_programs_are_still_the_default_users(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.aliases("it: |/bin/x")
    host.set("DefaultUser", "carol")
    monkeypatch.setattr(os, "geteuid", lambda: OWNER.pw_uid + 1)
    monkeypatch.setattr(permission, "may_administer", lambda options: False)
    assert host.trace("it")[1][-1] == (
        "  |/bin/x: program, runs as carol (1001) in /home/carol (mailer prog)"
    )


def test_who_runs_a_queue_of_his_own_runs_its_programs(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.aliases("it: |/bin/x")
    monkeypatch.setattr(os, "geteuid", lambda: OWNER.pw_uid + 1)
    monkeypatch.setattr(permission, "may_administer", lambda options: True)
    assert f"runs as henry ({OWNER.pw_uid + 1})" in host.trace("it")[1][-1]


def test_a_default_user_who_is_root_runs_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.aliases("it: |/bin/x")
    host.set("DefaultUser", "root")
    monkeypatch.setattr(permission, "may_administer", lambda options: False)
    code, told = host.trace("it")
    assert (code, "cannot be told now: no user" in told[-1]) == (75, True)


@pytest.mark.root
def test_what_an_ordinary_user_may_not_read_is_not_guessed(host: Host) -> None:
    """As henry, who may not look into dave's home."""
    host.forward("dave", "carol\n")
    (host.root / "home/dave").chmod(0o700)
    host.trace("dave")  # what it imports the stranger may not be able to read

    def act() -> bytes:
        code, told = host.trace("dave")
        return "\n".join([*told, str(code)]).encode()

    told = as_user(User("stranger", 4242, 4242), act, 30).decode().split("\n")
    assert told == [
        "Read with the rights of 4242; mail is delivered with others.",
        "dave: user dave, cannot be told now: /home/dave/.forward.lab2: Permission denied (4.3.0)",
        "75",
    ]


def test_trace_changes_nothing(host: Host) -> None:
    host.aliases("list: dave, |/bin/false, /etc/passwd, :include:/nonexistent")
    host.forward("dave", "/var/tmp/archive\n")

    def state() -> dict[str, tuple[int, int]]:
        found = sorted(host.root.rglob("*"))
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}

    before = state()
    host.trace("list", "nosuch", "x@lab3.campus")
    assert state() == before


# --- the command ----------------------------------------------------------------------------------


def test_the_verb_prints_lines_and_ends_with_the_code(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = host.root / "cf"
    configuration.write_text(
        f"HostName = lab2.campus\nPasswdFile = {host.root}/etc/passwd\n"
        f"AliasFile = {host.root}/etc/aliases\nMailboxDirectory = /var/mail\n"
    )
    configuration.chmod(0o644)
    assert verbs.main(["trace", "-C", str(configuration), "nosuch"]) == 67
    assert capsys.readouterr().out.split("\n")[-2] == "nosuch: refused: User unknown (5.1.1)"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 64, "no address"),
        (["dave", ""], 64, "'' names no address"),
        ([" , "], 64, "' , ' names no address"),
        (["--nonsense", "dave"], 64, "--nonsense"),
        (["-C", "/nonexistent", "dave"], 72, "/nonexistent"),
    ],
)
def test_a_command_line_that_cannot_be_obeyed(
    capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    assert verbs.main(["trace", *arguments]) == code
    told = capfd.readouterr()
    assert (told.out, text in told.err) == ("", True)


def test_a_table_that_cannot_be_read_is_named(
    host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    (host.root / "etc/mailertable").mkdir()
    configuration = host.root / "cf"
    configuration.write_text(f"MailerTable = {host.root}/etc/mailertable\n")
    configuration.chmod(0o644)
    assert verbs.main(["trace", "-C", str(configuration), "dave"]) == 75
    assert f"{host.root}/etc/mailertable" in capfd.readouterr().err


def test_read_as_is_what_the_runner_uses(host: Host) -> None:
    """The fixtures are what the rules of trust take for good, else the tests above prove little."""
    path = host.forward("dave", "carol\n")
    assert read_as(host.user("dave"), str(path), 100).text == b"carol\n"
    path.chmod(0o646)
    with pytest.raises(Untrusted):
        read_as(host.user("dave"), str(path), 100)
