"""sendmail from the command line: exit codes, texts, what is queued, what is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minimta.admin.checkout import HOME
from minimta.commands import sendmail
from minimta.config import commandline
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.message import address
from minimta.queue import permission
from minimta.queue.control import Control
from minimta.queue.spool import Spool
from minimta.routing.route import Route, Router
from minimta.system import safefile
from minimta.system.users import Users
from tests.support.commandhost import MESSAGE, Host

DENIED = "Program mode requires special privileges, e.g., root or TrustedUser.\n"


@pytest.fixture
def host(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    monkeypatch.delenv("NAME", raising=False)
    monkeypatch.setattr(config_file, "DEFAULT_FILE", str(tmp_path / "cf"))
    yield Host(tmp_path, capfd)


@pytest.fixture
def stranger(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is henry, who has no rights on the MTA queue."""
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    monkeypatch.setattr(permission, "owns_queue", lambda options: False)


def fields(control: Control) -> dict[bytes, bytes]:
    split = [field.partition(b": ") for _, field in control.headers]
    return {name: value for name, _, value in split}


def addresses(control: Control) -> list[bytes]:
    return [recipient.address for recipient in control.recipients]


# --- success --------------------------------------------------------------------------------------


def test_a_check_of_the_configuration_tells_what_is_set_twice(host: Host) -> None:
    with (host.root / "cf").open("a") as file:
        file.write("LogTo = none\n")
    ran = host.run("-bC")
    assert (ran.code, ran.out.count("Warning: LogTo is set in line ")) == (0, 1)
    assert (host.run("dave").out, host.run("-bp").out.count("Warning")) == ("", 0)


@pytest.mark.parametrize("name", ["sendmail", "mailq", "newaliases"])
def test_help_explains_and_does_nothing(host: Host, name: str) -> None:
    (host.root / "cf").write_text("this is no configuration")
    ran = host.run("--help", name=name)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: {name}") and ran.out.count("\n") > 3
    assert max(map(len, ran.out.splitlines())) <= 100
    assert not host.queued() and not list(host.root.glob("aliases.*"))


def test_success_is_silent_and_the_message_is_queued(host: Host) -> None:
    ran = host.run("dave")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    control, body = host.only()
    assert (control.reverse_path, addresses(control), body) == (
        b"<emma@lab1.campus>",
        [b"<dave@lab1.campus>"],
        b"hello\n",
    )
    assert control.macros[b"_"] == b"emma@localhost"
    assert control.macros[b"{daemon_flags}"] == b"c u"
    assert control.auth == b"emma@lab1.campus"
    assert fields(control)[b"From"] == b"Emma Example <emma@lab1.campus>"
    assert fields(control)[b"Received"].startswith(
        b"(from emma@localhost)\n\tby lab1.campus (minimta"
    )
    assert b"/Submit) id " in fields(control)[b"Received"]
    assert b"\n\tfor dave; " in fields(control)[b"Received"]


def test_queue_files_are_their_owners_alone(host: Host) -> None:
    host.run("dave")
    modes = {path.stat().st_mode & 0o777 for path in (host.root / "mqueue").iterdir()}
    assert modes == {0o600}


def test_whatever_it_makes_without_a_mode_is_the_callers_alone(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[int] = []

    def run(command: object) -> int:
        masks.append(os.umask(0o077))
        return 0

    monkeypatch.setattr(sendmail, "_run", run)
    assert host.run("dave").code == 0
    assert masks == [0o077]


def test_with_Am_addresses_stand_as_they_were_given(host: Host) -> None:
    host.run("-Am", "-f", "dave@lab2.campus", "emma", "Henry E <henry@lab3.campus>")
    control, _ = host.only()
    assert (control.reverse_path, addresses(control)) == (
        b"dave@lab2.campus",
        [b"emma", b"Henry E <henry@lab3.campus>"],
    )
    assert [recipient.final for recipient in control.recipients] == [
        b"RFC822; emma@lab1.campus",
        b"RFC822; henry@lab3.campus",
    ]
    assert b"/Submit" not in fields(control)[b"Received"]
    assert fields(control)[b"From"] == b"dave@lab2.campus"


def test_one_argument_may_be_a_list_and_doubles_are_one(host: Host) -> None:
    host.run("a@ex.org,b@ex.org", "dave", "DAVE@LAB1.CAMPUS", "a@EX.org", "A@ex.org")
    assert addresses(host.only()[0]) == [
        b"<a@ex.org>",
        b"<b@ex.org>",
        b"<dave@lab1.campus>",
        b"<A@ex.org>",
    ]


def test_dsn_parameters_of_the_command_line(host: Host) -> None:
    host.run("-N", "success,delay", "-R", "hdrs", "-V", "env-1", "-B8BITMIME", "dave")
    control, _ = host.only()
    assert (control.recipients[0].flags, control.envid) == ("PNSD", b"env-1")
    assert (control.flags, control.body_type) == ("dns", b"8BITMIME")


@pytest.mark.parametrize(
    ("arguments", "text", "body"),
    [
        ([], b"Subject: d\n\none\n.\ntwo\n", b"one\n"),
        (["-i"], b"Subject: d\n\none\n.\ntwo\n", b"one\n.\ntwo\n"),
        (["-oi"], b"Subject: d\n\none\n.\ntwo\n", b"one\n.\ntwo\n"),
        ([], b"Subject: d\n\n..one\n...two\n.three\n", b".one\n..two\n.three\n"),
        ([], b"Subject: d\r\n\r\nline\r\n", b"line\n"),
        ([], b"just text\n", b"just text\n"),
        ([], b"Subject: x\nnot a header\n\nbody\n", b"not a header\n\nbody\n"),
        ([], b"", b""),
        ([], b"Subject: x\n\nno end", b"no end\n"),
        ([], b"Subject: x\n\n" + b"y" * 5000 + b"\n", b"y" * 5000 + b"\n"),
        (["-i"], b"Subject: x\n\n10%\r20%\n", b"10% 20%\n"),
        ([], b"Subject: x\n\ncaf\xe9\n", b"caf\xe9\n"),
    ],
)
def test_the_body_is_what_was_given(
    host: Host, arguments: list[str], text: bytes, body: bytes
) -> None:
    assert host.run(*arguments, "dave", stdin=text).code == 0
    assert host.only()[1] == body


def test_a_unix_from_line_is_dropped_and_gives_the_date(host: Host) -> None:
    text = b"From someone Sat Nov 16 00:19:13 2019\nSubject: x\n\nFrom here\n"
    host.run("dave", stdin=text)
    control, body = host.only()
    assert fields(control)[b"Date"].startswith(b"Sat, 16 Nov 2019 00:19:13 ")
    assert (body, control.priority) == (b"From here\n", 30000 + len(text))
    assert b"From someone" not in b"".join(field for _, field in control.headers)


def test_addresses_in_the_header_are_completed(host: Host) -> None:
    text = b"From: root (Cron Daemon)\nTo: dave, Carol X <carol>\nCc: a@b\nSubject: dave\n\nx\n"
    host.run("-FCronDaemon", "dave", stdin=text)
    got = fields(host.only()[0])
    assert got[b"From"] == b"root@lab1.campus (Cron Daemon)"
    assert got[b"To"] == b"dave@lab1.campus, Carol X <carol@lab1.campus>"
    assert (got[b"Cc"], got[b"Subject"]) == (b"a@b", b"dave")


def test_with_G_addresses_in_the_header_stay_as_they_are(host: Host) -> None:
    host.run("-G", "-f", "x@ex.org", "dave", stdin=b"From: x\nTo: Carol X <carol>\n\nx\n")
    control, _ = host.only()
    assert addresses(control) == [b"<dave@lab1.campus>"]
    assert (fields(control)[b"From"], fields(control)[b"To"]) == (b"x", b"Carol X <carol>")


def test_verbose_says_that_it_waits(host: Host) -> None:
    assert host.run("-v", "dave").out == "<dave@lab1.campus>... queued\n"


@pytest.mark.parametrize("flags", [["-n"], ["-n", "-Am"]])
def test_no_aliases_means_the_user_himself(host: Host, flags: list[str]) -> None:
    host.run(*flags, "dave")
    [recipient] = host.only()[0].recipients
    assert (recipient.address, recipient.flags) == (b"\\dave", "PFDA")


def test_no_aliases_means_another_hosts_user_all_the_same(host: Host) -> None:
    host.run("-n", "henry@lab3.campus")
    [recipient] = host.only()[0].recipients
    assert (recipient.address, recipient.flags) == (b"<henry@lab3.campus>", "PFD")


@pytest.mark.usefixtures("stranger")
def test_no_aliases_is_nothing_that_a_stranger_can_ask_of_the_mta(host: Host) -> None:
    host.run("-n", "dave")
    [recipient] = host.only("clientmqueue")[0].recipients
    assert (recipient.address, recipient.flags) == (b"<dave@lab1.campus>", "PFD")


@pytest.mark.parametrize(
    ("arguments", "tag"),
    [(["dave"], "sendmail"), (["-L", "cron-mail", "dave"], "cron-mail"), (["-qf"], "sm-mta")],
)
def test_the_log_names_who_writes_it(host: Host, arguments: list[str], tag: str) -> None:
    host.run("dave")
    host.configure(LogTo="stderr", RunAsUser="")
    said = host.run(*arguments).err
    assert said and {line.partition("[")[0] for line in said.splitlines()} == {tag}


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("login", ["EXAMPLE\\john smith", "dave.", "da..ve", "john@corp", "x"])
@pytest.mark.parametrize("told", [False, True])
def test_a_login_that_is_no_atom_is_quoted_and_no_stranger(
    host: Host, monkeypatch: pytest.MonkeyPatch, login: str, told: bool
) -> None:
    with (host.root / "passwd").open("a") as file:
        file.write(f"{login}:x:5151:5151:John Smith:{host.root}/home:/bin/sh\n")
    monkeypatch.setattr(os, "getuid", lambda: 5151)
    if told and "@" in login:
        return  # -f john@corp names an address of another host
    host.run(*(["-f", login] if told else []), "dave")
    control, _ = host.only("clientmqueue")
    local = address.of_login(login.encode())
    assert control.reverse_path == b"<%b@lab1.campus>" % local
    assert fields(control)[b"From"] == b"John Smith <%b@lab1.campus>" % local
    assert b"X-Authentication-Warning" not in fields(control)


# --- the full name --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name", "sender"),
    [
        ([], "", b"Emma Example <emma@lab1.campus>"),
        (["-F", "Sir Henry"], "", b"Sir Henry <emma@lab1.campus>"),
        ([], "Env Name", b"Env Name <emma@lab1.campus>"),
        (["-F", "Other", "-f", "x@lab2.campus"], "", b"x@lab2.campus"),
        (["-f", "dave"], "Env Name", b"Dave Example <dave@lab1.campus>"),
        (["-f", "dave@LAB1.campus"], "", b"Dave Example <dave@LAB1.campus>"),
        (["-f", "nobodyhere"], "", b"nobodyhere@lab1.campus"),
        (["-F", "J\u00fcrgen"], "", b"=?utf-8?q?J=C3=BCrgen?= <emma@lab1.campus>"),
        (["-F", "A\nBcc: x"], "", b'"A Bcc: x" <emma@lab1.campus>'),
    ],
)
def test_from_is_made_of_sender_and_full_name(
    host: Host, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str, sender: bytes
) -> None:
    if name:
        monkeypatch.setenv("NAME", name)
    host.run(*arguments, "dave")
    assert fields(host.only()[0])[b"From"] == sender


# --- recipients in the header ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "arguments", "to"),
    [
        (b"To: dave\nCc: a@b\nBcc: c@d\n\nx\n", [], [b"dave", b"a@b", b"c@d"]),
        (b"bcc: dave\n\nx\n", [], [b"dave"]),
        (b"Apparently-To: dave\n\nx\n", [], [b"dave"]),
        (b"To: dave\n\nx\n", ["extra@ex.org"], [b"extra@ex.org", b"dave"]),
        (b"Resent-To: dave\nTo: a@b\nBcc: c@d\nResent-Bcc: e@f\n\nx\n", [], [b"dave", b"e@f"]),
        (b"To: Dave <dave>,\n\t(x) emma;\ncc:\n\nx\n", [], [b"dave", b"emma"]),
        (b"Subject: To: a@b\nTo: friends: dave, emma;\n\nTo: no\n", [], [b"dave", b"emma"]),
    ],
)
def test_t_takes_the_recipients_of_the_header(
    host: Host, text: bytes, arguments: list[str], to: list[bytes]
) -> None:
    assert host.run("-t", *arguments, stdin=text).code == 0
    control, _ = host.only()
    local = [r.address[1:-1].removesuffix(b"@lab1.campus") for r in control.recipients]
    assert local == to
    assert b"\n\tfor " not in fields(control)[b"Received"]


@pytest.mark.parametrize("twice", [("dave", "dave"), ("dave@lab1.campus", "dave")])
def test_who_is_named_twice_gets_it_once_and_is_not_told_as_the_only_one(
    host: Host, twice: tuple[str, str]
) -> None:
    assert host.run(*twice).code == 0
    control, _ = host.only()
    assert len(control.recipients) == 1
    assert b"\n\tfor " not in fields(control)[b"Received"]


def test_the_final_dot_of_a_domain_is_neither_in_the_sender_nor_in_reports(host: Host) -> None:
    assert host.run("-f", "a@example.org.", "dave@lab1.campus.", "bob@example.net.").code == 0
    control, _ = host.only()
    assert control.sender == b"a@example.org"
    assert fields(control)[b"From"] == b"a@example.org"
    finals = [recipient.final for recipient in control.recipients]
    assert finals == [b"RFC822; dave@lab1.campus", b"RFC822; bob@example.net"]


@pytest.mark.parametrize("given", ["\\dave", "\\dave@lab1.campus", '"\\dave"', "Dave <\\dave>"])
@pytest.mark.parametrize("in_header", [False, True])
def test_a_backslash_means_the_mailbox_past_all_aliases(
    host: Host, given: str, in_header: bool
) -> None:
    with (host.root / "aliases").open("a") as file:
        file.write("dave: emma\n")
    host.configure(DeliveryMode="interactive")
    if in_header:
        assert host.run("-t", stdin=b"To: %b\n\nx\n" % given.encode()).code == 0
    else:
        assert host.run(given).code == 0
    letters = {path.name for path in (host.root / "home").iterdir()}
    assert letters == {"dave"}


@pytest.mark.parametrize("arguments", [["-t"], ["<a@x> Carol <b@y>"]])
def test_a_comma_that_was_forgotten_behind_a_bracket_loses_no_recipient(
    host: Host, arguments: list[str]
) -> None:
    assert host.run(*arguments, stdin=b"To: <a@x> Carol <b@y>\n\nx\n").code == 0
    control, _ = host.only()
    assert [address.bare(r.address) for r in control.recipients] == [b"a@x", b"b@y"]
    assert fields(control)[b"To"] == b"<a@x>, Carol <b@y>"


def test_a_backslash_before_an_alias_of_no_user_is_told(host: Host) -> None:
    ran = host.run("\\list")
    assert (ran.code, ran.err) == (67, "\\list... User unknown\n")


def test_blind_copies_are_marked_for_removal(host: Host) -> None:
    host.run("-t", stdin=b"To: dave\nBcc: a@b\n\nx\n")
    assert "b" in host.only()[0].flags


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text", "code", "out"),
    [
        ([], MESSAGE, 64, "Recipient names must be specified\n"),
        (["--"], MESSAGE, 64, "Recipient names must be specified\n"),
        ([""], MESSAGE, 64, "Recipient names must be specified\n"),
        (["-t"], MESSAGE, 64, "No recipient addresses found in header\n"),
        (
            ["-t"],
            b"To: undisclosed-recipients:;\n\nx\n",
            64,
            "No recipient addresses found in header\n",
        ),
        (["-V", "a b", "dave"], MESSAGE, 64, "Invalid syntax in -V flag\n"),
        (["-V", "a+zz", "dave"], MESSAGE, 64, "Invalid syntax in -V flag\n"),
        (["-V", "a\nb", "dave"], MESSAGE, 64, "Invalid syntax in -V flag\n"),
        (["-V", "", "dave"], MESSAGE, 64, "Invalid syntax in -V flag\n"),
        (["-V", "x" * 101, "dave"], MESSAGE, 64, "Invalid syntax in -V flag\n"),
        (["-f", "a", "-f", "b", "dave"], MESSAGE, 64, 'More than one "from" person\n'),
        (["-f", "a, b", "dave"], MESSAGE, 65, "a, b... One sender only\n"),
        (["-f", "a@", "dave"], MESSAGE, 65, "a@... Hostname required\n"),
        (["-f", "x\x1b[2J@y", "dave"], MESSAGE, 65, "x?[2J@y... Illegal address\n"),
        (["-OZzyzx=1", "dave"], MESSAGE, 70, "readcf: unknown option name Zzyzx\n"),
        (["-o~x", "dave"], MESSAGE, 70, "readcf: unknown option name 0x7e\n"),
        (
            ["-C", "/nonexistent.cf", "dave"],
            MESSAGE,
            72,
            "/nonexistent.cf: cannot open: No such file or directory\n",
        ),
        (["-qX"], b"", 64, "Invalid time unit `X'\n"),
        (["-qGnosuch"], b"", 0, "Queue group nosuch unknown\n"),
    ],
)
def test_exit_codes_and_texts_on_standard_output(
    host: Host, arguments: list[str], text: bytes, code: int, out: str
) -> None:
    ran = host.run(*arguments, stdin=text)
    assert (ran.code, ran.out) == (code, out)
    assert not host.queued()


@pytest.mark.parametrize(
    ("recipients", "code"),
    [(["team"], os.EX_NOUSER), (["henry@", "team"], os.EX_USAGE), (["dave"], os.EX_OK)],
)
def test_who_waits_for_the_attempt_gets_the_code_of_the_first_trouble(
    host: Host, recipients: list[str], code: int
) -> None:
    (host.root / "aliases").write_text("postmaster: emma\nteam: nosuch\n")
    host.configure(DeliveryMode="interactive")
    assert host.run(*recipients).code == code


def test_an_envid_may_have_100_characters(host: Host) -> None:
    assert host.run("-V", "x" * 100, "dave").code == 0
    assert host.only()[0].envid == b"x" * 100


def test_a_from_line_may_be_kept(host: Host) -> None:
    text = b"From dave Sat Nov 16 00:19:13 2019\nSubject: t\n\nhello\n"
    for flags, kept in ((["-s"], True), (["-oftrue"], True), ([], False)):
        assert host.run(*flags, "dave", stdin=text).code == 0
        control, body = host.queued()[-1]
        fields = b"".join(field for _, field in control.headers)
        assert (b"X-Mailbox-Line: From dave Sat Nov 16 00:19:13 2019" in fields) is kept
        assert b"Date: Sat, 16 Nov 2019" in fields and body == b"hello\n"
        for path in (host.root / "mqueue").glob("?f*"):
            path.unlink()


@pytest.mark.parametrize(
    ("flag", "macro"), [("-MrUUCP", b"UUCP"), ("-M{r}BSMTP", b"BSMTP"), ("-oMrSMTP", b"SMTP")]
)
def test_a_macro_that_means_something_is_set(host: Host, flag: str, macro: bytes) -> None:
    assert host.run(flag, "-Mslab9.campus", "-M{x}Sir Henry", "dave").code == 0
    control, _ = host.only()
    assert (control.macros[b"r"], control.macros[b"s"]) == (macro, b"lab9.campus")
    assert any(b"From: Sir Henry <emma@" in field for _, field in control.headers)


def test_the_name_of_this_host_is_a_macro(host: Host) -> None:
    assert host.run("-Mjother.campus", "dave").code == 0
    assert host.only()[0].sender == b"emma@other.campus"


@pytest.mark.parametrize("flag", ["-Mq1", "-M{daemon_name}x", "-M{r", "-M6AM0000000999999"])
def test_a_macro_that_means_nothing_is_told(host: Host, flag: str) -> None:
    ran = host.run(flag, "dave")
    assert ran.code == 64 and "means nothing here; those that do: j, r, s, x" in ran.out
    assert not host.queued()


def test_messages_are_counted(host: Host) -> None:
    queue = host.root / "mqueue"
    assert host.run("-bP").out == f"{queue} is empty\n"
    host.run("dave")
    host.run("dave")
    assert host.run("-bP").out == f"{queue}: entries=2\n"


@pytest.mark.parametrize(("mode", "code"), [("-bh", 0), ("-bH", 0), ("-bP", 0), ("-bC", 0)])
def test_modes_that_have_nothing_to_show(host: Host, mode: str, code: int) -> None:
    assert host.run(mode).code == code


def test_version(host: Host) -> None:
    ran = host.run("-d0.1", "-bv", "emma")
    assert ran.code == 0
    assert ran.out.startswith("Version ")
    assert "\n  (canonical domain name) $j = lab1.campus\n" in ran.out
    assert "\n      (short domain name) $w = lab1\n" in ran.out
    assert "\n         (subdomain name) $m = campus\n" in ran.out
    assert ran.out.endswith("\nemma... deliverable: mailer local, user emma\n")


def test_every_mode_of_the_command_line_has_a_row() -> None:
    assert set(sendmail._MODES) == set(commandline.MODES)


def test_the_version_goes_into_the_file_that_D_names(host: Host) -> None:
    path = host.root / "out"
    assert host.run("-D", str(path), "-d0.1", "-bC").out == ""
    assert path.read_text().startswith("Version ")
    ran = host.run("-D", "/nonexistent/out", "-d0.1", "-bC")
    text = "sendmail: cannot write /nonexistent/out: No such file or directory\n"
    assert (ran.code, ran.out, ran.err) == (os.EX_CANTCREAT, "", text)


def test_a_nul_is_refused_and_the_rest_kept_for_the_author(host: Host) -> None:
    ran = host.run("dave", stdin=b"Subject: nul\n\na\0b\n")
    assert (ran.code, ran.out.splitlines()[0]) == (65, "NUL byte not allowed")
    assert host.dead_letter().endswith(b"\n\nab\n\n")
    assert not host.queued()


def test_an_unknown_user_is_told_at_once(host: Host) -> None:
    ran = host.run("nosuch")
    letter = host.root / "home" / "dead.letter"
    assert (ran.code, ran.err) == (67, "nosuch... User unknown\n")
    assert ran.out == f"{letter}... Saved message in {letter}\n"
    text = host.dead_letter()
    assert text.startswith(b"From emma@lab1.campus ")
    assert text.endswith(b"\nSubject: t\n\nhello\n\n")
    assert letter.stat().st_mode & 0o777 == 0o600
    assert os.listdir(host.root / "mqueue") == []


@pytest.mark.parametrize(
    ("name", "value", "code", "told"),
    [
        ("gone", "error:5.1.6:550 He has moved", 67, "gone... He has moved\n"),
        ("gone", "error:550 No more", 69, "gone... No more\n"),
        ("gone", "error:nouser No such list", 67, "error:nouser No such list... User unknown\n"),
        ("gone", "error:4.2.1:450 Later", 0, ""),
        ("gone", "dave, error:5.1.6:550 No", 0, ""),
        ("x@gone.example", "error:5.1.6:550 Moved", 67, "x@gone.example... Moved\n"),
        ("x@gone.example", "error:nouser Nobody here", 67, "x@gone.example... Nobody here\n"),
        ("x@gone.example", "error:450 Later", 0, ""),
    ],
)
def test_what_error_refuses_is_told_at_once_and_once(
    host: Host, name: str, value: str, code: int, told: str
) -> None:
    (host.root / "aliases").write_text(f"postmaster: emma\ngone: {value}\n")
    (host.root / "table").write_text(f"gone.example {value}\n")
    host.configure(MailerTable=str(host.root / "table"))
    ran = host.run(name, "dave")
    assert (ran.code, ran.err) == (code, told)
    assert len(addresses(host.only()[0])) == (1 if code else 2)
    assert bool(host.dead_letter()) == bool(code)


@pytest.mark.parametrize("name", ["gone", "x@gone.example"])
def test_bv_says_what_error_refuses_once(host: Host, name: str) -> None:
    (host.root / "aliases").write_text("postmaster: emma\ngone: error:5.1.6:550 Moved\n")
    (host.root / "table").write_text("gone.example error:5.1.6:550 Moved\n")
    host.configure(MailerTable=str(host.root / "table"))
    ran = host.run("-bv", name)
    assert (ran.code, ran.out) == (67, f"{name}... Moved\n")


def test_with_Am_that_stands_on_standard_output(host: Host) -> None:
    ran = host.run("-Am", "nosuch")
    assert (ran.code, ran.out.splitlines()[0], ran.err) == (67, "nosuch... User unknown", "")


def test_the_good_recipients_still_get_it(host: Host) -> None:
    ran = host.run("-t", stdin=b"To: nosuch, dave\n\nx\n")
    assert ran.code == 67
    assert addresses(host.only()[0]) == [b"<dave@lab1.campus>"]
    assert host.dead_letter()


@pytest.mark.parametrize(
    ("mode", "code", "kept", "letter"),
    [
        ("p", 67, 0, True),
        ("q", 67, 0, False),
        ("m", 67, 1, False),
        ("w", 67, 1, False),
        ("e", 0, 1, False),
    ],
)
def test_error_modes(host: Host, mode: str, code: int, kept: int, letter: bool) -> None:
    ran = host.run(f"-oe{mode}", "nosuch")
    assert (ran.code, len(host.queued()), bool(host.dead_letter())) == (code, kept, letter)
    assert bool(ran.out + ran.err) == (mode == "p")


def test_somebody_elses_name_as_sender_gets_a_bounce(host: Host) -> None:
    ran = host.run("-Am", "-f", "dave", "nosuch")
    assert (ran.code, ran.out) == (67, "nosuch... User unknown\n")
    assert addresses(host.only()[0]) == [b"nosuch"]
    assert not host.dead_letter()


def test_who_waits_for_the_attempt_is_told_once(host: Host) -> None:
    ran = host.run("-Am", "-odi", "-f", "dave", "nosuch@lab1.campus")
    assert (ran.code, ran.out) == (67, "nosuch@lab1.campus... User unknown\n")


def test_malformed_arguments(host: Host) -> None:
    ran = host.run("henry@", "@lab3.campus", "<henry", "a b", "")
    assert ran.code == 64
    assert ran.out.splitlines()[:3] == [
        "henry@... Hostname required",
        "@lab3.campus... User address required",
        "<henry... Unbalanced '<'",
    ]
    assert addresses(host.only()[0]) == [b"<henry@lab1.campus>"]


@pytest.mark.parametrize(
    "evil",
    [
        "|/bin/cat",
        "/tmp/x",
        ":include:/etc/passwd",
        ":Include:/x",
        "|x@lab1.campus",
        '"|x"',
        '"/x"@lab1.campus',
    ],
)
def test_programs_files_and_lists_are_no_addresses(host: Host, evil: str) -> None:
    ran = host.run("-Am", evil)
    assert ran.code == 67
    assert f"{evil}... Cannot mail directly to " in ran.out
    assert not host.queued()


def test_what_did_not_go_to_a_wrong_address_is_kept_though_others_get_it(host: Host) -> None:
    ran = host.run("henry@", "dave")
    assert (ran.code, len(host.queued())) == (os.EX_USAGE, 1)
    assert host.dead_letter().count(b"Subject: t") == 1


def test_of_a_list_in_one_argument_only_the_program_is_refused(host: Host) -> None:
    ran = host.run("dave, |/bin/cat, emma")
    assert (ran.code, ran.err) == (67, "|/bin/cat... Cannot mail directly to programs\n")
    assert addresses(host.only()[0]) == [b"<dave@lab1.campus>", b"<emma@lab1.campus>"]


def test_the_dead_letter_is_appended_to(host: Host) -> None:
    host.run("nosuch")
    host.run("nosuch")
    assert host.dead_letter().count(b"\nSubject: t\n") == 2


def test_a_link_is_no_dead_letter(host: Host) -> None:
    target = host.root / "precious"
    target.write_text("precious\n")
    (host.root / "home" / "dead.letter").symlink_to(target)
    ran = host.run("nosuch")
    assert (ran.code, target.read_text()) == (67, "precious\n")
    assert "cannot save the message" in ran.err


def test_a_second_name_of_a_file_is_no_dead_letter(host: Host) -> None:
    target = host.root / "precious"
    target.write_text("precious\n")
    os.link(target, host.root / "home" / "dead.letter")
    host.run("nosuch")
    assert target.read_text() == "precious\n"


def test_dead_letter_drop_is_the_last_resort(host: Host) -> None:
    (host.root / "home" / "dead.letter").mkdir()
    host.configure(DeadLetterDrop=str(host.root / "drop"))
    assert host.run("nosuch").out.endswith(f"Saved message in {host.root}/drop\n")
    assert (host.root / "drop").read_bytes().endswith(b"hello\n\n")


def test_a_letter_that_the_queue_did_not_take_is_kept_whole(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*unused: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    ran = host.run("dave", stdin=b"Subject: x\n\n" + b"y" * 100_000 + b"\n")
    assert ran.code == 75
    assert host.dead_letter().endswith(b"\n\n" + b"y" * 100_000 + b"\n\n")
    assert not host.queued()


def test_a_full_disk_is_temporary_and_the_letter_is_kept(host: Host) -> None:
    (host.root / "mqueue").rmdir()
    (host.root / "mqueue").write_text("")
    ran = host.run("dave")
    assert ran.code == 75
    assert "cannot queue the message" in ran.err


@pytest.mark.parametrize("mode", ["queueonly", "interactive"])
def test_names_of_ours_that_cannot_be_read_keep_nobody_from_writing(host: Host, mode: str) -> None:
    host.configure(LocalHostNames=str(host.root), DeliveryMode=mode, QueueLA="1000")
    ran = host.run("dave", "x@lab2.campus", "dave")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert addresses(host.only()[0]) == [b"<dave@lab1.campus>", b"<x@lab2.campus>"]
    assert host.dead_letter() == b""
    ran = host.run("-f", "dave@list.campus", "emma")
    assert (ran.code, str(host.root) in ran.err, len(host.queued())) == (75, True, 1)


@pytest.mark.parametrize("mode", ["queueonly", "background", "interactive"])
def test_what_is_queued_is_not_refused_if_it_cannot_be_tried(
    host: Host, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    def fail(*unused: object, **more: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("minimta.submission.delivery_mode.first", fail)
    monkeypatch.setattr("minimta.submission.delivery_mode.postpone", fail)
    host.configure(DeliveryMode=mode, QueueLA="1000", LogTo="stderr")
    ran = host.run("dave")
    assert (ran.code, ran.out, host.dead_letter()) == (0, "", b"")
    (qid,) = [path.name[2:] for path in (host.root / "mqueue").glob("qf*")]
    told = f"{qid}: SYSERR: not tried now: Resource temporarily unavailable"
    assert [line.partition(": ")[2] for line in ran.err.splitlines() if "SYSERR" in line] == [told]


def test_no_space_is_temporary_and_logged(host: Host) -> None:
    host.configure(MinFreeBlocks=str(1 << 60), LogTo="stderr")
    ran = host.run("dave")
    assert ": low on space (" in ran.err and f" blocks free) in {host.root}/mqueue\n" in ran.err
    first, second = ran.out.splitlines()
    assert ran.code == 75
    assert first == f"Insufficient disk space in {host.root}/mqueue; try again later"
    assert second.endswith("/dead.letter")
    assert host.dead_letter().endswith(b"\nSubject: t\n\nhello\n\n")


@pytest.mark.parametrize(("wanted", "code"), [(100, os.EX_OK), (101, os.EX_TEMPFAIL)])
def test_as_many_free_blocks_as_minfreeblocks_are_enough(
    host: Host, monkeypatch: pytest.MonkeyPatch, wanted: int, code: int
) -> None:
    monkeypatch.setattr(Spool, "free_blocks", lambda self: 100)
    host.configure(MinFreeBlocks=str(wanted))
    assert host.run("dave").code == code
    assert len(host.queued()) == (code == os.EX_OK)


@pytest.mark.parametrize("octets", [10, 64 << 10, 200_000, 1_000_000])
def test_the_letter_is_kept_whatever_becomes_of_the_queue(
    host: Host, monkeypatch: pytest.MonkeyPatch, octets: int
) -> None:
    """The disk is full after 128 KiB, and takes a part of what is then written."""
    left, real = [128 << 10], os.write

    def write(file: int, data: bytes) -> int:
        if "/mqueue/df" not in os.readlink(f"/proc/self/fd/{file}"):
            return real(file, data)
        if not left[0]:
            raise OSError(28, "No space left on device")
        written = real(file, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    body = b"".join(b"%07d\n" % number for number in range(octets // 8)) + b"end"
    ran = host.run("dave", stdin=b"Subject: x\n\n" + body)
    if octets <= 64 << 10:
        assert (ran.code, len(host.queued())) == (0, 1)
        return
    assert ran.code == 75
    assert f"{host.root}/mqueue: No space left on device" in ran.err
    assert host.dead_letter().endswith(b"Subject: x\n\n" + body + b"\n\n")
    assert not host.queued() and not list((host.root / "mqueue").iterdir())


@pytest.mark.root  # to others a queue that is not there is not theirs: they have clientmqueue
@pytest.mark.parametrize("body", [b"x\n", b"y" * 300_000 + b"\n"], ids=["small", "big"])
def test_a_queue_that_is_not_there_loses_no_letter_and_is_logged(host: Host, body: bytes) -> None:
    (host.root / "mqueue").rmdir()
    host.configure(LogTo="stderr")
    ran = host.run("dave", "-t", stdin=b"To: emma\n\n" + body)
    assert ran.code == 75
    reason = f"cannot queue the message: {host.root}/mqueue: No such file or directory"
    assert [line for line in ran.err.splitlines() if "SYSERR(emma): " + reason in line]
    assert "sendmail: " + reason in ran.err.splitlines()
    assert host.dead_letter().endswith(b"\nTo: emma@lab1.campus\n\n" + body + b"\n")


@pytest.mark.parametrize(
    ("option", "text", "out"),
    [
        ("MaxMessageSize", MESSAGE * 200, "Message exceeds maximum fixed size (1000)"),
        ("MaxHeadersLength", b"X: " + b"y" * 2000, "Headers too large (1000 max)"),
        (
            "MaxMimeHeaderLength",
            b"Content-Type: text/plain; name=" + b"y" * 600 + b"\n\nx\n",
            "Too long: parameter of the Content-Type field (605 octets, 500 max)",
        ),
    ],
)
def test_what_is_too_big_is_refused(host: Host, option: str, text: bytes, out: str) -> None:
    host.configure(**{option: "1000"})
    ran = host.run("dave", stdin=text)
    assert (ran.code, ran.out.splitlines()[0]) == (69, out)
    assert os.listdir(host.root / "mqueue") == []


def test_a_loop_is_noticed(host: Host) -> None:
    ran = host.run("-h", "20", "dave", stdin=b"Received: x\n" * 80 + b"\nx\n")
    assert (ran.code, ran.out.startswith("Too many hops 101 (100 max)")) == (69, True)
    assert os.listdir(host.root / "mqueue") == []


# --- injection ------------------------------------------------------------------------------------

CONTROLS = ["\n", "\r", "\x1b", "\x7f", "\r\n", "\n.\n"]


@pytest.mark.parametrize("evil", CONTROLS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", "emma{}R:x", "dave"],
        ["-F", "Emma{}Bcc: x", "dave"],
        ["-V", "e{}Rx", "dave"],
        ["-p", "SMTP:h{}Bcc: x", "dave"],
        ["-p", "SM{}TP:h", "dave"],
        ["-oMsh{}Bcc: x", "dave"],
        ["-L", "tag{}x", "dave"],
        ["dave{}RPFD:|x"],
        ["Dave{}R <dave>"],
        ['"da{}ve"@x'],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_input_forges_a_header_or_a_line_of_the_queue(
    host: Host, evil: str, arguments: list[str]
) -> None:
    host.run(*[argument.format(evil) for argument in arguments])
    for control, _ in host.queued():
        known = {
            b"Return-Path",
            b"Received",
            b"Date",
            b"From",
            b"Full-Name",
            b"Message-Id",
            b"Subject",
            b"X-Authentication-Warning",
        }
        assert {field.partition(b":")[0] for _, field in control.headers} <= known
        assert not any("A" in recipient.flags for recipient in control.recipients)
        assert all(recipient.address.isascii() for recipient in control.recipients)


@pytest.mark.parametrize("evil", ["NAME=x\nBcc: y", "NAME=\x1b[2J"])
def test_the_environment_forges_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, evil: str
) -> None:
    monkeypatch.setenv(*evil.split("=", 1))
    host.run("dave")
    assert b"Bcc" not in fields(host.only()[0])
    assert b"\x1b" not in b"".join(field for _, field in host.only()[0].headers)


# --- who may what ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("stranger")
def test_a_stranger_leaves_his_message_in_the_client_queue(host: Host) -> None:
    assert host.run("dave").code == 0
    control, _ = host.only("clientmqueue")
    assert (control.reverse_path, addresses(control)) == (
        b"<henry@lab1.campus>",
        [b"<dave@lab1.campus>"],
    )
    assert not host.queued()


@pytest.mark.usefixtures("stranger")
def test_where_others_could_remove_a_message_it_is_not_left(host: Host) -> None:
    client = host.root / "clientmqueue"
    client.chmod(0o733)
    ran = host.run("dave")
    assert ran.code == 75
    assert f"chmod +t {client}" in ran.err
    assert not host.queued("clientmqueue")


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("login", ["müller", ""])
def test_who_has_no_address_states_one(host: Host, login: str) -> None:
    text = (host.root / "passwd").read_text().replace("henry:", f"{login or 'x'}:")
    if not login:
        text = text.replace(":4242:", ":4243:")
    (host.root / "passwd").write_text(text, encoding="utf-8")
    ran = host.run("dave")
    assert (ran.code, "state one with -f" in ran.out) == (64, True)
    assert not host.queued("clientmqueue")
    assert host.run("-f", "app@ex.org", "dave").code == 0
    assert host.only("clientmqueue")[0].reverse_path == b"<app@ex.org>"


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("emma", "emma@lab1.campus"),
        ("x@ex.org", "x@ex.org"),
        ("", "<>"),
        ("<>", "<>"),
        ("henry@elsewhere.org", "henry@elsewhere.org"),
        ("henry", None),
        ("henry@lab1.campus", None),
        ("henry@localhost", None),
    ],
)
def test_a_sender_that_the_caller_is_not_is_kept_with_a_warning(
    host: Host, sender: str, shown: str | None
) -> None:
    host.configure(LogTo="stderr")
    ran = host.run("-f", sender, "dave")
    control, _ = host.only("clientmqueue")
    warning = f"lab1.campus: henry set sender to {shown} using -f"
    given = fields(control).get(b"X-Authentication-Warning")
    assert given == (warning.encode() if shown else None)
    assert (f": Authentication-Warning: {warning}\n" in ran.err) is bool(shown)
    if shown == "<>":
        assert control.reverse_path == b"<>"
        assert b"From" not in fields(control)


@pytest.mark.usefixtures("stranger")
def test_trusted_users_and_privacy_options_spare_the_warning(host: Host) -> None:
    (host.root / "trusted-users").write_text("# class t\nhenry # the clerk\n")
    host.run("-f", "x@ex.org", "dave")
    (host.root / "trusted-users").write_text("")
    host.configure(PrivacyOptions="public")
    host.run("-f", "x@ex.org", "dave")
    for control, _ in host.queued("clientmqueue"):
        assert b"X-Authentication-Warning" not in fields(control)


def test_on_a_system_with_one_user_nothing_runs_as_root(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable = os.stat_result((0o100444, *[0] * 9))
    monkeypatch.setattr(safefile, "_readers", safefile._readers)
    monkeypatch.setattr(config_file, "_why_refused", lambda *about: "")  # whose file it is
    host.configure(OneUser="True", RunAsUser="")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ran = host.run("dave")
    assert (ran.code, ran.out, host.queued()) == (os.EX_CONFIG, "", [])
    assert ran.err.startswith("sendmail: with OneUser = True nothing runs as root: ")
    assert safefile.readers(readable)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert host.run("dave").code == 0
    assert len(host.queued() + host.queued("clientmqueue")) == 1
    assert not safefile.readers(readable)


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    "arguments",
    [
        ["-C", "{cf}", "dave"],
        ["-oQ/tmp", "dave"],
        ["-O", "QueueDirectory=/tmp", "dave"],
        ["-ORunAsUser=root", "dave"],
        ["-oA/tmp/aliases", "-bi"],
        ["-D", "/tmp/out.dbg", "-d0.1", "-bv", "x"],
        ["-oMrSMTP", "dave"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_unsafe_options_of_a_stranger_are_refused(host: Host, arguments: list[str]) -> None:
    ran = host.run(*[argument.format(cf=host.root / "cf") for argument in arguments])
    assert (ran.code, ran.out) == (77, "")
    assert ran.err.endswith(": Permission denied (real uid not trusted)\n")
    assert not host.queued("clientmqueue") + host.queued()


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    ("arguments", "logged"),
    [
        (["-bi"], "rebuild the alias map"),
        (["-I"], "rebuild the alias map"),
        (["-bd"], "run daemon"),
        (["-bD"], "run daemon"),
    ],
)
def test_what_a_stranger_may_not_start(host: Host, arguments: list[str], logged: str) -> None:
    host.configure(LogTo="stderr")
    ran = host.run(*arguments)
    assert ran.code == 64
    assert f" attempted to {logged}\n" in ran.err
    assert ran.out.endswith("Permission denied (real uid not trusted)\n")


@pytest.fixture
def locked_out(monkeypatch: pytest.MonkeyPatch, host: Host) -> Callable[[], None]:
    def refuse(path: str, mode: int, **unused: object) -> bool:
        return not path.endswith("mqueue")

    monkeypatch.setattr(os, "access", refuse)
    return lambda: None


@pytest.mark.usefixtures("locked_out")
@pytest.mark.parametrize(
    "arguments",
    [
        *(["-Am", "dave"], ["-q"], ["-qf"], ["-bv", "dave"], ["-Ax", "dave"]),
        *(["-bP"], ["-Qodd", "-qRdave"]),
    ],
)
def test_who_may_not_enter_the_queue_is_told_in_sendmails_words(
    host: Host, arguments: list[str]
) -> None:
    ran = host.run(*arguments)
    assert (ran.code, ran.err) == (78, DENIED)
    assert ran.out == f"can not chdir({host.root}/mqueue/): Permission denied\n"


@pytest.mark.usefixtures("locked_out", "stranger")
@pytest.mark.parametrize("arguments", [["-q"], ["-qf"], ["-q1h"], ["-qRdave"]])
def test_restrictqrun_is_told_to_who_may_not_run_the_queue(
    host: Host, arguments: list[str]
) -> None:
    host.configure(PrivacyOptions="restrictqrun")
    ran = host.run(*arguments)
    assert (ran.code, ran.out) == (77, "You do not have permission to process the queue\n")


def test_restrictqrun_is_not_for_the_owner_of_the_queue(host: Host) -> None:
    host.configure(PrivacyOptions="restrictqrun")
    assert host.run("-qf").code == 0


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.ELOOP])
@pytest.mark.parametrize(
    "arguments", [["-bd"], ["-OQueueDirectory=/x", "dave"], ["-f", "carol", "dave"], ["-bs"]]
)
def test_a_queue_that_cannot_be_looked_at_denies_nothing_for_good(
    host: Host, monkeypatch: pytest.MonkeyPatch, number: int, arguments: list[str]
) -> None:
    def fail(options: Options) -> bool:
        raise OSError(number, os.strerror(number), options.queue_directory)

    monkeypatch.setattr(os, "getuid", lambda: 4242)
    monkeypatch.setattr(permission, "owns_queue", fail)
    host.configure(PrivacyOptions="authwarnings")
    ran = host.run(*arguments)
    assert ran.code == os.EX_TEMPFAIL
    assert f"{host.root}/mqueue" in ran.err and os.strerror(number) in ran.err


@pytest.mark.parametrize("arguments", [["-qf"], ["-bp"], ["-bP"], ["-Am", "dave"]])
def test_a_queue_that_is_not_there_is_named(host: Host, arguments: list[str]) -> None:
    (host.root / "mqueue").rmdir()
    ran = host.run(*arguments)
    assert (ran.code, ran.out) == (
        78,
        f"can not chdir({host.root}/mqueue/): No such file or directory\n",
    )


# --- other modes ----------------------------------------------------------------------------------


def test_bv_tells_failures_first_and_where_the_others_lead(host: Host) -> None:
    ran = host.run(
        "-bv",
        "emma",
        "postmaster",
        "nosuch",
        "dave@lab2.campus",
        "|/bin/cat",
        ":include:/x",
        '"/x"',
    )
    assert ran.code == 67
    assert ran.out.splitlines() == [
        "|/bin/cat... Cannot mail directly to programs",
        ":include:/x... Cannot mail directly to :include:s",
        '"/x"... Cannot mail directly to files',
        "nosuch... User unknown",
        "emma... deliverable: mailer local, user emma",
        "dave@lab2.campus... deliverable: mailer esmtp, host lab2.campus, user dave@lab2.campus",
    ]


def test_bv_shows_programs_and_files_and_ends_as_the_first_failure_asks(host: Host) -> None:
    (host.root / "aliases").write_text(
        'postmaster: emma\nall: /dev/null, |out, "|out.sh a", dave, error:5.7.1:550 No\n'
    )
    ran = host.run("-bv", "all")
    assert ran.code == os.EX_UNAVAILABLE
    assert ran.out.splitlines() == [
        "error:5.7.1:550 No... No",
        "/dev/null... deliverable: mailer *file*, user /dev/null",
        "dave... deliverable: mailer local, user dave",
        "|out... deliverable: mailer prog, user |out",
        '"|out.sh a"... deliverable: mailer prog, user "|out.sh a"',
    ]


@pytest.mark.parametrize(
    ("name", "arguments"), [("newaliases", []), ("sendmail", ["-bi"]), ("sendmail", ["-I"])]
)
def test_three_ways_to_rebuild_the_aliases(host: Host, name: str, arguments: list[str]) -> None:
    ran = host.run(*arguments, name=name)
    assert (ran.code, ran.out) == (
        0,
        f"{host.root}/aliases: 2 aliases, longest 10 bytes, 28 bytes total\n",
    )


def test_logs_name_the_caller_and_never_the_text(host: Host) -> None:
    host.configure(LogTo="stderr")
    ran = host.run("-f", "x\u202e@y", "dave")
    assert ran.code == 65
    ran = host.run("dave", stdin=b"Message-Id: <1\x1b[2J@x>\n\nsecret\n")
    first = ran.err.splitlines()[0].partition(": ")[2].partition(": ")[2]
    assert first == (
        "from=<emma@lab1.campus>, size=30, class=0, nrcpts=1, msgid=<1?[2J@x>, relay=emma@localhost"
    )
    assert "secret" not in ran.err


def test_a_caller_who_cannot_be_looked_up_is_told_to_come_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(self: Users, uid: int) -> None:
        raise OSError(errno.EAGAIN, "user data base: not even root is found")

    monkeypatch.setattr(Users, "by_uid", look)
    for arguments in (["dave"], ["-bs"], ["-bi"]):
        ran = host.run(*arguments)
        assert ran.code == os.EX_TEMPFAIL
        assert "user data base" in ran.err
    assert not list((host.root / "mqueue").iterdir())


def test_what_is_queued_is_taken_though_it_cannot_be_tried_now(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def route(self: Router, bare: bytes) -> Route:
        raise OSError(errno.EIO, "Input/output error", "mailertable")

    monkeypatch.setattr(Router, "route", route)
    assert host.run("-odq", "x@lab2.campus").code == os.EX_OK
    assert host.queued()


def test_q_with_a_reason_holds_messages_and_without_lets_them_go(host: Host) -> None:
    host.run("-odq", "dave")
    (qid,) = [path.name[2:] for path in (host.root / "mqueue").glob("qf*")]
    ran = host.run("-Qlooks bad", "-qI" + qid)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert "     QUARANTINE: looks bad\n" in host.run("-bp", "-qQ").out
    assert "QUARANTINE" not in host.run("-bp").out
    assert host.run("-qQ", "-Q").code == 0
    assert [path.name for path in (host.root / "mqueue").glob("[qh]f*")] == ["qf" + qid]


def test_a_message_that_another_process_has_is_told_and_not_held(host: Host) -> None:
    host.run("dave")
    (qf,) = (host.root / "mqueue").glob("qf*")
    with qf.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ran = host.run("-Qlooks bad", "-qI" + qf.name[2:])
    assert (ran.code, ran.out, ran.err) == (os.EX_TEMPFAIL, f"{qf.name[2:]}: locked\n", "")
    assert qf.exists()


def test_q_wants_to_know_which_messages(host: Host) -> None:
    ran = host.run("-Qreason", "dave")
    assert (ran.code, bool(ran.out + ran.err)) == (64, True)


# --- addresses beyond ASCII -----------------------------------------------------------------------


def test_addresses_on_the_command_line_may_be_utf8(host: Host) -> None:
    assert host.run("-f", "jörg@müller.example", "söhne@käse.example").code == 0
    control, _ = host.only()
    assert control.reverse_path == "<jörg@müller.example>".encode()
    assert addresses(control) == ["<söhne@käse.example>".encode()]


def test_addresses_of_the_header_may_be_utf8(host: Host) -> None:
    message = "To: Söhne <söhne@käse.example>\nSubject: x\n\nHi\n".encode()
    assert host.run("-t", stdin=message).code == 0
    control, _ = host.only()
    assert addresses(control)[0].endswith("<söhne@käse.example>".encode())


def test_octets_that_are_no_utf8_are_no_address(host: Host) -> None:
    ran = host.run(os.fsdecode(b"s\xf6hne@x.example"))
    assert ran.code == os.EX_USAGE
    assert "UTF-8" in ran.out + ran.err
    assert host.queued() == []


def test_a_user_without_rights_may_name_addresses_beyond_ascii(host: Host, stranger: None) -> None:
    assert host.run("söhne@käse.example").code == 0
    control, _ = host.only("clientmqueue")
    assert addresses(control) == ["<söhne@käse.example>".encode()]


def test_who_interrupts_a_letter_reads_nothing_of_python(host: Host) -> None:
    """It ends by the signal, as a shell that asks whether to go on wants to see."""
    # A shell that starts the tests in the background lets them ignore SIGINT.
    command = ["env", "--default-signal=INT", sys.executable, f"{HOME}/bin/sendmail"]
    command += ["-C", str(host.root / "cf"), "-i", "dave"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as typed:
        assert typed.stdin and typed.stdout
        typed.stdin.write(
            b"Subject: s\n\n" + b"y\n" * 500_000
        )  # more than a pipe has room for: it reads
        typed.stdin.flush()
        typed.send_signal(signal.SIGINT)
        typed.stdin.close()  # Python may have heard of it just before a read that would wait
        said = typed.stdout.read()
    assert (said, typed.returncode) == (b"", -signal.SIGINT)
    assert host.queued() == []
