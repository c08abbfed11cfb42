"""VirtUserTable, as ``sendmail -bt`` (3,0) resolves the same rows, and users who have moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from minimta.config.options import Options
from minimta.maps.cdbwriter import write_cdb
from minimta.message.envelope import Recipient
from minimta.routing import recipients
from minimta.routing.local_host import LocalHost
from minimta.routing.route import Route, Router
from tests.support.privatehost import DOWN, Elsewhere, PrivateHost
from tests.support.smtphost import STRANGER, SmtpHost

LOCAL = frozenset((b"lab2.campus", b"list.campus", b"nomx.campus", b"det.campus"))
ROWS = {
    b"info@list.campus": b"dave",
    b"sales@list.campus": b"henry@lab3.campus",
    b"blank@list.campus": b'"henry e"@lab3.campus',
    b"nobody@list.campus": b"error:nouser No such user here",
    b"temp@list.campus": b"error:4.2.0:450 Try later",
    b"@nomx.campus": b"%1@lab2.campus",
    b"join@list.campus": b"dave+join",
    b"emma@lab2.campus": b"emma@far.example",
    b"d+*@list.campus": b"%1-%2-%3@far.example",
    b"e@list.campus": b"%1.x%2@far.example",
    b"f++@list.campus": b"pp.%2@far.example",
    b"self@list.campus": b"self@list.campus",
    b"loop@list.campus": b"loop2@list.campus",
    b"loop2@list.campus": b"loop@list.campus",
    b"chain@list.campus": b"info@list.campus",
    b"+*@det.campus": b"star.%1.%2@far.example",
    b"@det.campus": b"plain.%1@far.example",
}


def route(bare: bytes, rows: Mapping[bytes, bytes] = ROWS) -> Route:
    return Router(LOCAL, virtual=lambda: rows.get).route(bare)


@pytest.mark.parametrize(
    ("bare", "user"),
    [
        (b"info@list.campus", b"dave"),
        (b"INFO@List.Campus.", b"dave"),
        (b"info+x@list.campus", b"dave"),
        (b"x@nomx.campus", b"x"),
        (b"join@list.campus", b"dave+join"),
        (b"d@list.campus", b"d"),
        (b"f+@list.campus", b"f+"),
        (b"chain@list.campus", b"dave"),
        (b"emma", b"emma"),
        (b"other@list.campus", b"other"),
        (b"self@list.campus", b"self"),
        (b'"info"@list.campus', b"dave"),
        (b'"i\\nfo"@list.campus', b"dave"),
        (b'"info+x"@list.campus', b"dave"),
        (b'"x"@nomx.campus', b"x"),
        (b'"x y"@nomx.campus', b'"x y"'),
        (b"\\x@nomx.campus", b"\\x"),
        (b'"\\x"@nomx.campus', b'"\\x"'),
        # nobody's row makes a program or a file of what a stranger says
        (b'"|cat"@nomx.campus', b'"|cat"'),
        (b"/tmp/x@nomx.campus", b"/tmp/x"),
    ],
)
def test_an_address_becomes_a_user(bare: bytes, user: bytes) -> None:
    assert route(bare) == Route("local", "", user)


@pytest.mark.parametrize(
    ("bare", "user"),
    [
        (b"sales@list.campus", b"henry@lab3.campus"),
        (b"blank@list.campus", b'"henry e"@lab3.campus'),
        (b"emma@lab2.campus", b"emma@far.example"),
        (b"d+x@list.campus", b"d-x-+x@far.example"),
        (b"d+@list.campus", b"d--+@far.example"),
        (b"e+q@list.campus", b"e.xq@far.example"),
        (b"e@list.campus", b"e.x@far.example"),
        (b"f+q@list.campus", b"pp.q@far.example"),
        (b"u+v@det.campus", b"star.u.v@far.example"),
        (b"u@det.campus", b"plain.u@far.example"),
    ],
)
def test_an_address_becomes_one_of_another_host(bare: bytes, user: bytes) -> None:
    assert route(bare) == Route("esmtp", user.rpartition(b"@")[2].decode(), user)


def test_error_rows_refuse() -> None:
    assert route(b"nobody@list.campus") == Route("error", "5.1.1", b"No such user here")
    assert route(b"temp@list.campus") == Route("error", "4.2.0", b"450 Try later")


@pytest.mark.parametrize(
    "value", [b"", b"a@x, b@y", b"|prog", b"/etc/passwd", b":include:/x", b"a b", b"error:", b"<a@b>"]
)  # fmt: skip
def test_a_slip_in_the_table_waits_and_bounces_nobodys_mail(value: bytes) -> None:
    found = route(b"info@list.campus", {b"info@list.campus": value})
    assert (found.mailer, found.host) == ("error", "4.3.5")
    assert found.user.decode().endswith(f"VirtUserTable: {value.decode()!r} is not one address")


def test_rows_that_lead_to_each_other_wait() -> None:
    assert route(b"loop@list.campus").host == "4.3.5"


def test_the_addresses_of_others_are_not_looked_up() -> None:
    assert route(b"x@far.example", {b"@far.example": b"dave"}).mailer == "esmtp"


# --- redirect ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [b"dave@lab3.campus.REDIRECT", b"dave@lab3.campus.redirect."])
def test_whoever_has_moved_is_told_where_to(bare: bytes) -> None:
    text = b"551 User has moved; please try <dave@lab3.campus>"
    assert route(bare) == Route("error", "5.1.6", text)


def test_a_user_named_redirect_has_not_moved() -> None:
    assert route(b"dave.REDIRECT").mailer == "local"
    assert route(b"dave@redirect").mailer == "esmtp"


# --- as recorded (smtp-conf/virtuser, smtp-conf/cw-local) --------------------------------------------------


@pytest.fixture
def smtp(tmp_path: Path) -> SmtpHost:
    host = SmtpHost(tmp_path)
    (tmp_path / "names").write_text("list.campus\nnomx.campus\n")
    table = b"".join(b"%b\t%b\n" % row for row in ROWS.items())
    (tmp_path / "virtusertable").write_bytes(table)
    host.options.virtuser_table = str(tmp_path / "virtusertable")
    (tmp_path / "aliases").write_text("gone: dave@lab3.campus.REDIRECT\npostmaster: root\n")
    return host


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("info@list.campus", "250 2.1.5 <info@list.campus>... Recipient ok"),
        ("sales@list.campus", "250 2.1.5 <sales@list.campus>... Recipient ok"),
        ("nobody@list.campus", "553 5.1.1 <nobody@list.campus>... No such user here"),
        ("temp@list.campus", "450 4.2.0 <temp@list.campus>... Try later"),
        ("join@list.campus", "250 2.1.5 <join@list.campus>... Recipient ok"),
        ("nosuch@list.campus", "550 5.1.1 <nosuch@list.campus>... User unknown"),
        ("carol@nomx.campus", "250 2.1.5 <carol@nomx.campus>... Recipient ok"),
        ("nosuch@nomx.campus", "550 5.1.1 <nosuch@nomx.campus>... User unknown"),
        (
            "gone@lab2.campus",
            "551 5.1.6 <gone@lab2.campus>... User has moved; please try <dave@lab3.campus>",
        ),
    ],
)
def test_rcpt_is_answered_as_recorded(smtp: SmtpHost, recipient: str, answer: str) -> None:
    peer = smtp.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    assert peer.says(f"RCPT TO:<{recipient}>") == [answer]


def test_a_catch_all_elsewhere_takes_no_routes_of_strangers_along(smtp: SmtpHost) -> None:
    Path(smtp.options.virtuser_table).write_text("@list.campus %1@lab3.campus\n")
    peer = smtp.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    for local in ("x%evil.example", "evil.example!x", '"x@evil.example"'):
        assert peer.says(f"RCPT TO:<{local}@list.campus>")[0].startswith("550 5.7.1")
    assert peer.says("RCPT TO:<x@list.campus>")[0].startswith("250")


def test_a_row_that_is_added_counts_at_once_and_makemaps_database_before_the_text(
    smtp: SmtpHost,
) -> None:
    peer = smtp.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    assert peer.says("RCPT TO:<new@list.campus>")[0].startswith("550 5.1.1")
    path = Path(smtp.options.virtuser_table)
    path.write_text("new@list.campus dave\n")
    assert peer.says("RCPT TO:<new@list.campus>")[0].startswith("250")
    write_cdb(
        str(path) + ".cdb", [(b"newer@list.campus", b"carol"), (b"other@list.campus", b"carol")]
    )
    assert peer.says("RCPT TO:<newer@list.campus>")[0].startswith("250")
    path.unlink()
    assert peer.says("RCPT TO:<other@list.campus>")[0].startswith("250")
    Path(str(path) + ".cdb").unlink()
    assert peer.says("RCPT TO:<newest@list.campus>")[0].startswith("550 5.1.1")


# --- delivery ----------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    host = PrivateHost(tmp_path)
    Path(host.options.local_host_names).write_text("list.campus other.campus\n")
    table = "info@list.campus dave\ninfo@other.campus carol\nsales@list.campus henry@lab3.campus\n"
    Path(host.options.virtuser_table).write_text(table + "no@list.campus error:5.7.1:550 No\n")
    return host


def test_mail_goes_where_the_table_says(host: PrivateHost) -> None:
    """Recorded: smtp-conf/virtuser-deliver."""
    elsewhere = Elsewhere({})
    to = (b"<info@list.campus>", b"<sales@list.campus>", b"<info@other.campus>")
    host.deliverer(esmtp=elsewhere).attempt([host.submit(b"<emma@lab1.campus>", *to)])
    assert [user.name for job in elsewhere.jobs for user in job.users] == [b"henry@lab3.campus"]
    assert len(host.letters("dave")) == len(host.letters("carol")) == 1 and host.files() == []


def test_aliases_follow_what_the_table_says_and_lead_to_it(host: PrivateHost) -> None:
    host.aliases("postmaster: root", "dave: carol", "list: sales@list.campus")
    elsewhere = Elsewhere({})
    to = (b"<info@list.campus>", b"<list@lab1.campus>")
    host.deliverer(esmtp=elsewhere).attempt([host.submit(b"<emma@lab1.campus>", *to)])
    assert len(host.letters("carol")) == 1 and host.letters("dave") == []
    assert elsewhere.jobs[0].users[0].name == b"henry@lab3.campus"


def test_neither_a_user_nor_a_row_of_the_same_name_takes_the_others_place(
    host: PrivateHost,
) -> None:
    passwd = Path(host.options.passwd_file)
    passwd.write_text(passwd.read_text().replace("emma:x", "sales:x").replace("carol:x", "no:x"))
    elsewhere = Elsewhere({})
    to = (b"<sales@lab1.campus>", b"<sales@list.campus>", b"<no@list.campus>", b"<no@lab1.campus>")
    host.deliverer(esmtp=elsewhere).attempt([host.submit(b"<dave@lab1.campus>", *to)])
    assert len(host.letters("sales")) == len(host.letters("no")) == len(elsewhere.jobs) == 1
    assert len(host.letters("dave")) == 1  # the bounce for the row "error:"


def test_a_retry_asks_the_table_again(host: PrivateHost) -> None:
    host.aliases("postmaster: root", "list: sales@list.campus, dave")
    qid = host.submit(b"<emma@lab1.campus>", b"<list@lab1.campus>")
    host.deliverer(esmtp=Elsewhere({b"henry@lab3.campus": DOWN})).attempt([qid])
    elsewhere = Elsewhere({})
    host.deliverer(esmtp=elsewhere).attempt([qid])
    assert elsewhere.jobs[0].users[0].name == b"henry@lab3.campus"
    assert len(host.letters("dave")) == 1 and host.files() == []


def test_a_table_that_cannot_be_read_makes_mail_wait(host: PrivateHost) -> None:
    path = Path(host.options.virtuser_table)
    path.unlink()
    path.mkdir()
    qid = host.submit(b"<emma@lab1.campus>", b"<info@list.campus>", b"<dave@lab1.campus>")
    host.deliverer().attempt([qid])
    assert host.control(qid).message == f"Deferred: {path}: Is a directory"
    assert host.letters("dave") == [] and host.letters("emma") == []


def test_the_same_name_in_two_domains_is_two_recipients(host: PrivateHost) -> None:
    here = LocalHost(host.options)
    keys = {
        here.key(b"info@" + domain) for domain in (b"list.campus", b"other.campus", b"lab1.campus")
    }
    assert len(keys) == 3
    assert here.key(b"dave@list.campus") == here.key(b"Dave") == b"dave"


def test_an_alias_of_somebody_who_has_moved_is_bounced_with_the_new_address(
    host: PrivateHost,
) -> None:
    host.aliases("postmaster: root", "gone: dave@lab3.campus.REDIRECT")
    gone = Recipient(b"<gone@lab1.campus>", "PFD")
    host.deliverer().attempt([host.submit(b"<emma@lab1.campus>", gone)])
    (bounce,) = host.letters("emma")
    assert "551 5.1.6 User has moved; please try <dave@lab3.campus>" in bounce.as_string()
    assert "Final-Recipient: RFC822; gone@lab1.campus" in bounce.as_string()


def test_a_table_is_not_looked_for_where_nobody_asks(host: PrivateHost) -> None:
    made = Options()
    made.virtuser_table = ""
    assert LocalHost(made).router.virtual(b"dave", b"lab1.campus") is None
    assert recipients.why_refused(b"info@list.campus", LocalHost(host.options)) is None


# --- VirtUserDomain: domains that are no names of this host ----------------------------------------------------


VIRTUAL = {
    b"info@virt.campus": b"dave",
    b"sales@virt.campus": b"henry@lab3.campus",
    b"bad@virt.campus": b"error:5.1.6:550 Gone",
    b"self@virt.campus": b"self@virt.campus",
    b"@sub.virt.campus": b"carol",
}


def virtual_host(host: PrivateHost | SmtpHost, tmp_path: Path, **chosen: object) -> LocalHost:
    host.options.virtuser_domain = ("virt.campus",)
    table = b"".join(b"%b\t%b\n" % row for row in VIRTUAL.items())
    host.options.virtuser_table = str(tmp_path / "virtual")
    Path(host.options.virtuser_table).write_bytes(table)
    for name, value in chosen.items():
        setattr(host.options, name, value)
    return LocalHost(host.options)


@pytest.mark.parametrize("entire", [False, True])
@pytest.mark.parametrize(
    ("bare", "mailer", "user"),
    [
        (b"info@virt.campus", "local", b"dave"),
        (b"Info+x@VIRT.campus.", "local", b"dave"),
        (b"sales@virt.campus", "esmtp", b"henry@lab3.campus"),
        (b"bad@virt.campus", "error", b"550 Gone"),
        (b"other@virt.campus", "esmtp", b"other@virt.campus"),
        (b"self@virt.campus", "esmtp", b"self@virt.campus"),
        (b"info@xvirt.campus", "esmtp", b"info@xvirt.campus"),
        (b"y@other.virt.campus", "esmtp", b"y@other.virt.campus"),
    ],
)
def test_a_virtual_domain_has_the_users_of_the_table_and_no_others(
    host: PrivateHost, tmp_path: Path, entire: bool, bare: bytes, mailer: str, user: bytes
) -> None:
    """As ``sendmail -bt`` (3,0) resolves them; ours, self@ is no loop."""
    here = virtual_host(host, tmp_path, virtuser_entire_domain=entire)
    found = here.router.route(bare)
    assert (found.mailer, found.user) == (mailer, user)


def test_what_is_below_a_virtual_domain_counts_if_an_option_says_so(
    host: PrivateHost, tmp_path: Path
) -> None:
    below = b"x@sub.virt.campus"
    assert virtual_host(host, tmp_path).router.route(below).mailer == "esmtp"
    here = virtual_host(host, tmp_path, virtuser_entire_domain=True)
    assert here.router.route(below) == Route("local", "", b"carol")


def test_virtual_domains_may_stand_in_a_file_that_must_be_there(
    host: PrivateHost, tmp_path: Path
) -> None:
    names = tmp_path / "virtual-domains"
    here = virtual_host(host, tmp_path, virtuser_domain=("a.campus", str(names)))
    with pytest.raises(OSError, match="virtual-domains"):
        here.router.route(b"info@virt.campus")
    names.write_text("virt.campus # ours\n")
    assert here.router.route(b"info@virt.campus") == Route("local", "", b"dave")


def test_anybody_may_send_to_a_virtual_domain(smtp: SmtpHost, tmp_path: Path) -> None:
    """It is in Sendmail's class R, with all below it."""
    virtual_host(smtp, tmp_path)
    peer = smtp.connect(*STRANGER)
    peer.says("EHLO lab1.campus")
    peer.says("MAIL FROM:<emma@lab1.campus>")
    for name in ("info@virt.campus", "sales@virt.campus", "other@virt.campus", "y@a.virt.campus"):
        assert peer.says(f"RCPT TO:<{name}>")[0].startswith("250"), name
    assert peer.says("RCPT TO:<bad@virt.campus>")[0].startswith("550 5.1.6")
    for name in ("info@other.campus", "info@xvirt.campus", "a%b.campus@virt.campus"):
        assert peer.says(f"RCPT TO:<{name}>")[0].startswith("550 5.7.1"), name


def test_mail_for_a_virtual_domain_is_delivered(host: PrivateHost, tmp_path: Path) -> None:
    virtual_host(host, tmp_path)
    elsewhere = Elsewhere({})
    to = (b"<info@virt.campus>", b"<sales@virt.campus>", b"<other@virt.campus>")
    host.deliverer(esmtp=elsewhere).attempt([host.submit(b"<emma@lab1.campus>", *to)])
    users = sorted(user.name for job in elsewhere.jobs for user in job.users)
    assert users == [b"henry@lab3.campus", b"other@virt.campus"]
    assert len(host.letters("dave")) == 1
