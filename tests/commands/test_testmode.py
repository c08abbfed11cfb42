"""sendmail -bt: the recorded forms that need no rule sets, and what the others get to hear."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

import minimta
from minimta.commands import testmode
from minimta.commands.testmode import TestMode
from minimta.config.options import Options
from minimta.mailers.remote.route_preview import RoutePreviewer

PROGRAM = Path(minimta.__file__).parent.parent / "bin" / "sendmail"
TITLE = "ADDRESS TEST MODE (ruleset 3 NOT automatically invoked)\nEnter <ruleset> <address>\n"


class Names(RoutePreviewer):
    """Name servers that know lab3, cname.campus and nothing else; lame.campus is asleep."""

    def exchangers(self, domain: str) -> list[str]:
        self._fail(domain)
        return ["mx.campus", "mx2.campus"]

    def canonical(self, host: str) -> str:
        self._fail(host)
        return {"lab3": "lab3.campus", "cname.campus": "lab2.campus"}.get(host, host)

    def _fail(self, host: str) -> None:
        if host.startswith("nosuch"):
            raise OSError(errno.ENOENT, "host not found")
        if host.startswith("lame"):
            raise OSError(errno.EAGAIN, "host name lookup failure")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    options = Options()
    options.host_name = "lab2.campus"
    options.alias_files = (str(tmp_path / "aliases"),)
    options.local_host_names = str(tmp_path / "local-host-names")
    options.mailer_table = str(tmp_path / "mailertable")
    options.trusted_users = str(tmp_path / "trusted-users")
    options.generics_table = options.virtuser_table = ""
    (tmp_path / "aliases").write_text("postmaster: root\nlist: dave,\n carol\n")
    (tmp_path / "aliases").chmod(0o644)
    (tmp_path / "local-host-names").write_text("campus.example\n")
    (tmp_path / "mailertable").write_text(
        ".example\tesmtp:[10.0.3.136]\nbad.campus error:5.7.1:550 No\n"
    )
    (tmp_path / "trusted-users").write_text("uucp\ndaemon\n")
    return options


@pytest.fixture
def mode(options: Options) -> TestMode:
    return TestMode(options, Names(options))


def answers(mode: TestMode, *questions: str) -> list[str]:
    return [line for question in questions for line in mode.answer(question.encode())]


PARSED: list[tuple[str, str, str]] = [
    ("dave", "$g", "mailer local, user dave"),
    ("nosuch", "$g", "mailer local, user nosuch"),
    ("dave+x@lab2.campus", "$g", "mailer local, user dave+x"),
    ("Dave <dave@lab2.campus> (x)", "Dave <$g> (x)", "mailer local, user dave"),
    ("x@lab3.campus", "$g", "mailer esmtp, host lab3.campus, user x@lab3.campus"),
    ("x@a.example", "$g", "mailer esmtp, host [10.0.3.136], user x@a.example"),
    ("x@bad.campus", "$g", "mailer error, host 5.7.1, user 550 No"),
    ("|/bin/cat", "$g", "mailer prog, user |/bin/cat"),
    ('"|out.sh a"', "$g", 'mailer prog, user "|out.sh a"'),
    ("/tmp/x", "$g", "mailer *file*, user /tmp/x"),
    (":include:/tmp/x", "$g", "mailer *include*, user /tmp/x"),
    ("<>", "<>", "<>... User address required"),
    ("@lab3.campus:a@b.campus", "@lab3.campus:$g", "mailer esmtp, host b.campus, user a@b.campus"),
    ("a\x1b[31m@b.campus", "$g", "a?[31m@b.campus... Illegal address"),
]


@pytest.mark.parametrize(("given", "cracked", "triple"), PARSED)
def test_parse_shows_mailer_host_and_user(
    mode: TestMode, given: str, cracked: str, triple: str
) -> None:
    shown = [f"Cracked address = {cracked}", "Parsing envelope recipient address", triple]
    assert answers(mode, f"/parse {given}") == shown


#: question, answer: as recorded from Sendmail 8.17 where it needs no rule sets
ASKED: list[tuple[str, list[str]]] = [
    ("", []),
    ("# a comment", []),
    ("/canon lab3", ["getcanonname(lab3) returns lab3.campus"]),
    ("/canon cname.campus", ["getcanonname(cname.campus) returns lab2.campus"]),
    ("/canon nosuch.example", ["getcanonname(nosuch.example) returns nosuch.example"]),
    ("/canon LAB3.CAMPUS", ["getcanonname(LAB3.CAMPUS) returns LAB3.CAMPUS"]),
    ("/canon lame.campus", ["getcanonname(lame.campus) cannot be told now: host name lookup failure"]),
    ("/canon", ["Usage: /canon address"]),
    ("/mx lab3.campus", ["getmxrr(lab3.campus) returns 2 value(s):", "\tmx.campus.", "\tmx2.campus."]),
    ("/mx nosuch.example", ["getmxrr(nosuch.example) returns no value: host not found"]),
    ("/mx", ["Usage: /mx address"]),
    ("/map aliases postmaster", ["map_lookup: aliases (postmaster) returns root (0)"]),
    ("/map aliases LIST", ["map_lookup: aliases (LIST) returns dave, carol (0)"]),
    ("/map aliases nosuch", ["map_lookup: aliases (nosuch) no match (0)"]),
    ("/map host lab3", ["map_lookup: host (lab3) returns lab3.campus. (0)"]),
    ("/map host nosuch.x", ["map_lookup: host (nosuch.x) no match (0)"]),
    ("/map host lame.x", ["map_lookup: host (lame.x) no match (75): host name lookup failure"]),
    ("/map mailertable a.example", ["map_lookup: mailertable (a.example) returns esmtp:[10.0.3.136] (0)"]),
    ("/map mailertable a.campus", ["map_lookup: mailertable (a.campus) no match (0)"]),
    ("/map nosuchmap x", ['Map named "nosuchmap" not found']),
    ("/map bogus", ["No key specified"]),
    ("/map", ["Usage: /map mapname key"]),
    ("/parse", ["Usage: /parse address"]),
    ("/try esmtp", ["Usage: /try mailer address"]),
    ("/try nosuch x", ["Unknown mailer nosuch"]),
    ("/tryflags X", ["Usage: /tryflags [Hh|Ee][Ss|Rr]"]),
    ("/sender dave", ["There is no /sender here; ? tells what there is"]),
    ("/gethostbyname lab3", ["There is no /gethostbyname here; ? tells what there is"]),
    ("/nonsense", ['Unknown "/" command nonsense']),
    ("$j", ["lab2.campus"]),
    ("$w", ["lab2"]),
    ("$m", ["campus"]),
    ("$v", [minimta.__version__]),
    ("$q", ["Undefined"]),
    ("${client_addr}", ["Undefined"]),
    ("$=t", ["daemon", "root", "uucp"]),
    ("$=R", ["There is no class R here"]),
    ("-d21.12", ["There are no debug flags here"]),
]  # fmt: skip


@pytest.mark.parametrize(("question", "shown"), ASKED)
def test_each_question_has_its_answer(mode: TestMode, question: str, shown: list[str]) -> None:
    assert answers(mode, question) == shown


@pytest.mark.parametrize("question", ["3,0 dave", "check_rcpt dave", "=S5", ".Dxy", ".Cwx", "dave"])
def test_what_needs_rule_sets_is_told_so(mode: TestMode, question: str) -> None:
    assert answers(mode, question) == [testmode._NO_RULES]


TRIED: list[tuple[str, str, str, str]] = [
    ("", "local dave", "envelope recipient", "dave"),
    ("", "local dave@lab2.campus", "envelope recipient", "dave"),
    ("", "local x@lab3.campus", "envelope recipient", "x@lab3.campus"),
    ("", "esmtp x@lab3.campus", "envelope recipient", "x@lab3.campus"),
    ("", "esmtp dave", "envelope recipient", "dave@lab2.campus"),
    ("HS", "esmtp dave", "header sender", "dave@lab2.campus"),
    ("hr", "local dave", "header recipient", "dave@lab2.campus"),
    ("ES", "local dave", "envelope sender", "dave@lab2.campus"),
]


@pytest.mark.parametrize(("flags", "given", "what", "written"), TRIED)
def test_try_writes_an_address_as_the_mailer_does(
    mode: TestMode, flags: str, given: str, what: str, written: str
) -> None:
    mailer, bare = given.split()
    assert flags == "" or answers(mode, f"/tryflags {flags}") == []
    assert answers(mode, f"/try {given}") == [
        f"Trying {what} address {bare} for mailer {mailer}",
        f"Rcode = 0, addr = {written}",
    ]


@pytest.mark.parametrize(
    ("flags", "given", "written"),
    [
        ("HS", "esmtp dave", "dave@campus"),
        ("HS", "local dave@lab2.campus", "dave@campus"),
        ("HR", "esmtp dave", "dave@lab2.campus"),
        ("ES", "esmtp dave", "dave@lab2.campus"),
        ("ER", "esmtp dave", "dave@lab2.campus"),
        ("HS", "esmtp root", "admin@provider.example"),
        ("HS", "esmtp bad", "two words"),
    ],
)
def test_try_shows_the_sender_that_others_see(
    options: Options, tmp_path: Path, flags: str, given: str, written: str
) -> None:
    options.masquerade_as = "campus"
    options.generics_table = str(tmp_path / "genericstable")
    (tmp_path / "genericstable").write_text("root admin@provider.example\nbad two words\n")
    mode = TestMode(options, Names(options))
    answers(mode, f"/tryflags {flags}")
    told = answers(mode, f"/try {given}")[1]
    assert told == f"Rcode = 0, addr = {written}" or (
        written == "two words" and told.startswith("Rcode = 75, ") and written in told
    )


def test_a_flag_leaves_the_other_as_it_was(mode: TestMode) -> None:
    answers(mode, "/tryflags HS", "/tryflags E")
    assert answers(mode, "/try local dave")[0].startswith("Trying envelope sender")
    answers(mode, "/tryflags H", "/tryflags S")
    assert answers(mode, "/try local dave")[0].startswith("Trying header sender")
    answers(mode, "/tryflags E", "/tryflags R")
    assert answers(mode, "/try local dave")[0].startswith("Trying envelope recipient")


def test_the_names_of_this_host_are_class_w_literals_last(mode: TestMode) -> None:
    names = answers(mode, "$=w")
    assert names[:2] == ["lab2.campus", "campus.example"]
    literals = [name for name in names if name.startswith("[")]
    # Beside these the machine's own /etc/hosts may name more.
    assert {"lab2", "localhost"} <= set(names)
    assert "[127.0.0.1]" in literals
    assert names[-len(literals) :] == literals


def test_the_mailers_are_shown_with_their_numbers(mode: TestMode) -> None:
    shown = answers(mode, "=M")
    assert [line.partition(":")[0] for line in shown] == [
        "mailer 0 (prog)",
        "mailer 1 (*file*)",
        "mailer 2 (*include*)",
        "mailer 3 (local)",
        "mailer 4 (esmtp)",
    ]
    assert shown[3] == "mailer 3 (local): P=[mbox /var/mail]"


def test_programs_are_run_by_smrsh_where_there_is_a_directory_for_it(
    options: Options, tmp_path: Path
) -> None:
    options.smrsh_directory = str(tmp_path / "smrsh")
    assert answers(TestMode(options), "=M")[0] == "mailer 0 (prog): P=/bin/sh A=sh -c $u"
    (tmp_path / "smrsh").mkdir()
    assert "smrsh -c $u" in answers(TestMode(options), "=M")[0]


def test_the_help_names_what_there_is_and_nothing_else(mode: TestMode) -> None:
    [text] = answers(mode, "?")
    forms = {line.split()[0] for line in text.split("\n") if line[:1] in "/=$"}
    assert forms == {
        "/parse",
        "/try",
        "/tryflags",
        "/mx",
        "/canon",
        "/map",
        "=M",
        "$X",
        "$=X",
        "/quit",
    }
    for form in forms - {"=M", "$X", "$=X", "/quit"}:
        assert "Unknown" not in answers(mode, f"{form} x y")[:1]
    assert "one of: aliases, host, mailertable" in text
    assert answers(mode, "/help") == [text]


def test_aliases_that_cannot_be_asked_are_no_missing_ones(options: Options) -> None:
    os.chmod(options.alias_files[0], 0o666)
    [line] = answers(TestMode(options), "/map aliases list")
    assert line.startswith("map_lookup: aliases (list) no match (75): ")
    assert "writable file" in line


# --- the command ----------------------------------------------------------------------------------


def run(options: Options, text: bytes, **more: object) -> subprocess.CompletedProcess[bytes]:
    configuration = Path(options.alias_files[0]).with_name("cf")
    lines = [
        f"HostName = {options.host_name}",
        f"AliasFile = {options.alias_files[0]}",
        f"MailerTable = {options.mailer_table}",
        f"QueueDirectory = {configuration.parent}/mqueue",
        "LogTo = none",
    ]
    (configuration.parent / "mqueue").mkdir(mode=0o700)
    configuration.write_text("\n".join(lines) + "\n")
    configuration.chmod(0o600)
    command = [str(PROGRAM), "-C", str(configuration), "-bt"]
    return subprocess.run(command, input=text, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (b"", "> "),
        (b"\n", "> > "),
        (b"/try nosuch x\n", "> Unknown mailer nosuch\n> "),
        (b"$j\n/quit\n$m\n", "> lab2.campus\n> "),
        (b"$j", "> lab2.campus\n> "),
        (b"/map bogus\r\n", "> No key specified\n> "),
    ],
)
def test_a_prompt_stands_before_every_question(options: Options, typed: bytes, shown: str) -> None:
    done = run(options, typed)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == TITLE + shown


def test_a_table_that_cannot_be_read_is_named(options: Options) -> None:
    os.unlink(options.mailer_table)
    os.mkdir(options.mailer_table)
    done = run(options, b"$j\n")
    assert done.returncode == os.EX_NOINPUT
    assert options.mailer_table in done.stderr.decode()
