"""Masquerading and GenericsTable: what others see of our addresses, as Sendmail 8.17 does it.

The rows were read off ``sendmail -bt`` (/try, with each of /tryflags) with the same configuration.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from minimta.config.option import OptionError
from minimta.config.options import Options, by_name
from minimta.maps.cdbwriter import write_cdb
from minimta.routing import rewrite
from minimta.routing.local_host import LocalHost
from minimta.routing.rewrite import Rewriter

HERE = b"lab2.campus"


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """lab2.campus, which is also www.campus, exc.campus and list.campus."""
    made = Options()
    made.host_name = HERE.decode()
    made.local_host_names = str(tmp_path / "names")
    made.generics_table = str(tmp_path / "genericstable")
    made.mailer_table = str(tmp_path / "mailertable")
    Path(made.local_host_names).write_text("www.campus exc.campus list.campus\n")
    return made


def rewriter(options: Options, **settings: str) -> Rewriter:
    for name, text in settings.items():
        options.set(by_name(name), text)
    made = rewrite.rewriter(LocalHost(options))
    assert made is not None
    return made


def shown(maker: Rewriter, bare: bytes, mailer: str = "esmtp") -> tuple[bytes, bytes, bytes]:
    """Envelope sender, header sender, header recipient."""
    sender = maker.field(b"From: " + bare, mailer).removeprefix(b"From: ")
    recipient = maker.field(b"To: " + bare, mailer).removeprefix(b"To: ")
    return maker.sender(bare, mailer), sender, recipient


def table(options: Options, rows: Mapping[str, str]) -> None:
    text = "".join(f"{key}\t{value}\n" for key, value in rows.items())
    Path(options.generics_table).write_text(text)


# --- masquerading --------------------------------------------------------------------------------------

_ALL = {
    "MasqueradeAs": "campus",
    "MasqueradeEnvelope": "True",
    "AllMasquerade": "True",
    "ExposedUser": "root",
    "MasqueradeDomain": "other.campus",
    "MasqueradeException": "exc.campus",
}


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (b"dave", b"dave@campus"),
        (b"dave@lab2.campus", b"dave@campus"),
        (b"dave@LAB2.Campus.", b"dave@campus"),
        (b"dave@localhost", b"dave@campus"),
        (b"root@localhost", b"root@lab2.campus"),
        (b"root+x@lab2.campus", b"root+x@campus"),
        (b"root@lab2.campus", b"root@lab2.campus"),
        (b"Root@LAB2.campus", b"Root@LAB2.campus"),
        (b'"root"@lab2.campus', b'"root"@lab2.campus'),
        (b"x@other.campus", b"x@campus"),
        (b"root@other.campus", b"root@other.campus"),
        (b"x@sub.other.campus", b"x@sub.other.campus"),
        (b"y@exc.campus", b"y@exc.campus"),
        (b"y@sub.exc.campus", b"y@sub.exc.campus"),
        (b"z@www.campus", b"z@campus"),
        (b"q@else.example", b"q@else.example"),
        (b'"q @ x"@lab2.campus', b'"q @ x"@campus'),
    ],
)
def test_masquerading_shows_our_names_as_another(
    options: Options, given: bytes, seen: bytes
) -> None:
    assert shown(rewriter(options, **_ALL), given) == (seen, seen, seen)


def test_an_exception_is_one_for_all_below_it(options: Options) -> None:
    settings = {"MasqueradeAs": "campus", "MasqueradeException": "exc.campus"}
    maker = rewriter(options, MasqueradeDomain="sub.exc.campus notexc.campus", **settings)
    assert shown(maker, b"y@sub.exc.campus")[1] == b"y@sub.exc.campus"
    assert shown(maker, b"y@notexc.campus")[1] == b"y@campus"


def test_without_the_options_envelope_and_recipients_stay(options: Options) -> None:
    maker = rewriter(options, MasqueradeAs="campus")
    ours = b"dave@lab2.campus"
    assert shown(maker, ours) == (ours, b"dave@campus", ours)
    assert shown(maker, b"root@lab2.campus")[1] == b"root@campus"  # nobody is exposed


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (b"dave", b"dave@campus"),
        (b"dave@lab2.campus", b"dave@campus"),
        (b"z@www.campus", b"z@www.campus"),
        (b"x@other.campus", b"x@campus"),
        (b"x@sub.other.campus", b"x@campus"),
        (b"root@sub.other.campus", b"root@sub.other.campus"),
    ],
)
def test_limited_masquerade_and_entire_domains(options: Options, given: bytes, seen: bytes) -> None:
    settings = {"LimitedMasquerade": "", "MasqueradeEntireDomain": "", "ExposedUser": "root"}
    maker = rewriter(options, MasqueradeAs="campus", MasqueradeDomain="other.campus", **settings)
    assert shown(maker, given)[1] == seen


def test_local_mail_is_masqueraded_too_but_nothing_is_added(options: Options) -> None:
    maker = rewriter(options, **_ALL)
    assert shown(maker, b"dave@lab2.campus", "local") == (b"dave@campus",) * 3
    assert shown(maker, b"dave", "local") == (b"dave",) * 3


def test_always_add_domain_completes_local_mail(options: Options) -> None:
    maker = rewriter(options, AlwaysAddDomain="True")
    assert shown(maker, b"dave", "local") == (b"dave@lab2.campus",) * 3
    masked = rewriter(options, **_ALL)
    assert shown(masked, b"dave", "local") == (b"dave@campus",) * 3


def test_local_no_masquerade_leaves_local_mail_alone(options: Options) -> None:
    maker = rewriter(options, **_ALL, LocalNoMasquerade="True", AlwaysAddDomain="True")
    assert shown(maker, b"dave", "local") == (b"dave@lab2.campus",) * 3
    assert shown(maker, b"dave") == (b"dave@campus",) * 3


def test_the_null_reverse_path_stays_null(options: Options) -> None:
    maker = rewriter(options, **_ALL)
    assert maker.sender(b"", "esmtp") == b"" and maker.sender(b"", "local") == b""
    assert maker.field(b"From: <>", "esmtp") == b"From: <>"


def test_classes_may_stand_in_files(options: Options, tmp_path: Path) -> None:
    (tmp_path / "exposed").write_text("# who\nroot operator\n")
    (tmp_path / "domains").write_text("Other.Campus.\n")
    maker = rewriter(
        options,
        MasqueradeAs="campus",
        MasqueradeDomain=f"third.campus, {tmp_path}/domains",
        ExposedUser=f"{tmp_path}/exposed daemon",
    )
    senders = [
        b"operator@other.campus",
        b"daemon@lab2.campus",
        b"x@other.campus",
        b"x@third.campus",
    ]
    assert [shown(maker, one)[1] for one in senders] == [*senders[:2], b"x@campus", b"x@campus"]


@pytest.mark.parametrize("option", ["MasqueradeDomain", "ExposedUser", "GenericsDomain"])
def test_a_file_of_a_class_that_cannot_be_read_is_an_error(options: Options, option: str) -> None:
    with pytest.raises(FileNotFoundError):
        rewriter(options, MasqueradeAs="campus", **{option: "/nonexistent/names"})


@pytest.mark.parametrize("text", ["dave@lab2.campus", "names/file", "a;b"])
def test_what_is_no_name_is_no_class(options: Options, text: str) -> None:
    with pytest.raises(OptionError):
        options.set(by_name("MasqueradeDomain"), "a.example " + text.replace("names/", "<names"))


def test_without_any_of_it_there_is_nothing_to_do(options: Options) -> None:
    assert rewrite.rewriter(LocalHost(options)) is None


# --- fields --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (b"From: Dave Example <dave@lab2.campus>", b"From: Dave Example <dave@campus>"),
        (b"From: D\xc3\xa4ve <dave@lab2.campus> (x)", b"From: D\xc3\xa4ve <dave@campus> (x)"),
        (b"From: (Dave) dave@lab2.campus (E)", b"From: (Dave) dave@campus (E)"),
        (b'Reply-To: "a, b" <a@lab2.campus>,\n\tc@x.example', b'Reply-To: "a, b" <a@campus>,\n\tc@x.example'),
        (b"Sender:\n dave@lab2.campus", b"Sender:\n dave@campus"),
        (b"From: list: a@lab2.campus, b@x.example;", b"From: list: a@campus, b@x.example;"),
        (b"From: dave @ lab2 . campus", b"From: dave@campus"),
        (b"From: D <dave(x)@lab2.campus>", b"From: D <dave@campus (x)>"),
        (b"Resent-From: <dave@lab2.campus>", b"Resent-From: <dave@campus>"),
        (b"Errors-To: dave@lab2.campus", b"Errors-To: dave@campus"),
        (b"Disposition-Notification-To: dave@lab2.campus", b"Disposition-Notification-To: dave@campus"),
        (b"FROM : dave@lab2.campus", b"FROM : dave@campus"),
        # left as they are
        (b"From: <@a.example:dave@lab2.campus>", b"From: <@a.example:dave@lab2.campus>"),
        (b'From: "da ve"(x)@lab2.campus', b'From: "da ve"(x)@lab2.campus'),
        (b'From: "unbalanced <dave@lab2.campus>', b'From: "unbalanced <dave@lab2.campus>'),
        (b"From: Dave <dave@lab2.campus", b"From: Dave <dave@lab2.campus"),
        (b"X-From: dave@lab2.campus", b"X-From: dave@lab2.campus"),
        (b"Subject: <dave@lab2.campus>", b"Subject: <dave@lab2.campus>"),
        (b"Message-Id: <1@lab2.campus>", b"Message-Id: <1@lab2.campus>"),
        (b"DKIM-Signature: i=dave@lab2.campus", b"DKIM-Signature: i=dave@lab2.campus"),
        (b"To: dave@lab2.campus", b"To: dave@lab2.campus"),
    ],
)  # fmt: skip
def test_names_comments_and_folding_stay(options: Options, given: bytes, seen: bytes) -> None:
    assert rewriter(options, MasqueradeAs="campus").field(given, "esmtp") == seen


@pytest.mark.parametrize("name", [b"From", b"To", b"Cc", b"Reply-To"])
def test_a_field_of_others_stays_octet_for_octet(options: Options, name: bytes) -> None:
    field = name + b":  =?x?q?y?=\t<a@x.example> ,\n  (c) b @ y.example,, z z z;\n\t\xff <@q:r@s>"
    assert rewriter(options, **_ALL).field(field, "esmtp") == field


def test_a_line_that_grows_too_long_is_folded(options: Options) -> None:
    field = b"Reply-To: " + b",".join(b"u%d@lab2.campus" % n for n in range(60))
    maker = rewriter(options, MasqueradeAs="a-long-name-for-a-domain.example")
    made = maker.field(field, "esmtp")
    assert max(map(len, made.split(b"\n"))) <= 998
    assert made.count(b"@a-long-name-for-a-domain.example") == 60


# --- GenericsTable -------------------------------------------------------------------------------------

_ROWS = {
    "dave": "dave.example@campus",
    "carol": "carol.short",
    "henry+*": "henry.plus.%1@x.example",
    "@exc.campus": "kept.%1@exc.campus",
    "user@list.campus": "user.list@y.example",
    "emma@lab2.campus": "emma.full@z.example",
    "emma": "emma.local@z.example",
    "det+tail": "det.tail@q.example",
    "plain+*": "plain.%1",
    "both+*@list.campus": "both.%1@list.example",
    "base@list.campus": "base@list.example",
    "root": "admin@provider.example",
}


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (b"dave@lab2.campus", b"dave.example@campus"),
        (b"dave@localhost", b"dave.example@campus"),
        (b"Dave@LAB2.Campus", b"dave.example@campus"),
        (b'"dave"@lab2.campus', b"dave.example@campus"),
        (b'"who knows"@exc.campus', b'kept."who knows"@exc.campus'),
        (b'"dave."@exc.campus', b'kept."dave."@exc.campus'),
        (b"dave@list.campus", b"dave.example@campus"),
        (b"dave@www.campus", b"dave@campus"),  # no GenericsDomain
        (b"carol@lab2.campus", b"carol.short@campus"),  # masqueraded then
        (b"henry+box@lab2.campus", b"henry.plus.box@x.example"),
        (b"who@exc.campus", b"kept.who@exc.campus"),
        (b"user@list.campus", b"user.list@y.example"),
        (b"user@lab2.campus", b"user@campus"),
        (b"emma@lab2.campus", b"emma.full@z.example"),
        (b"emma@list.campus", b"emma.local@z.example"),
        (b"det+tail@lab2.campus", b"det.tail@q.example"),
        (b"det+other@lab2.campus", b"det+other@campus"),
        (b"plain+x@lab2.campus", b"plain.x@campus"),
        (b"both+z@list.campus", b"both.z@list.example"),
        (b"base+q@list.campus", b"base@list.example"),
        (b"dave+any@lab2.campus", b"dave.example@campus"),
        (b"root@lab2.campus", b"admin@provider.example"),  # before ExposedUser
        (b"dave@sub.list.campus", b"dave@sub.list.campus"),
        (b"dave@else.example", b"dave@else.example"),
    ],
)
def test_the_first_row_that_fits_counts(options: Options, given: bytes, seen: bytes) -> None:
    table(options, _ROWS)
    settings = {"MasqueradeAs": "campus", "ExposedUser": "root"}
    maker = rewriter(options, GenericsDomain="list.campus exc.campus", **settings)
    assert shown(maker, given) == (given, seen, given)


def test_envelope_and_recipients_follow_the_table_as_masquerading(options: Options) -> None:
    table(options, _ROWS)
    maker = rewriter(options, MasqueradeEnvelope="True", AllMasquerade="True")
    assert shown(maker, b"dave@lab2.campus") == (b"dave.example@campus",) * 3
    assert shown(maker, b"dave@lab2.campus", "local") == (b"dave.example@campus",) * 3
    assert shown(maker, b"carol@lab2.campus") == (b"carol.short@lab2.campus",) * 3


def test_a_database_of_makemap_counts_before_the_text(options: Options) -> None:
    table(options, {"dave": "text@x.example"})
    write_cdb(options.generics_table + ".cdb", [(b"dave", b"cdb@x.example")])
    assert shown(rewriter(options), b"dave@lab2.campus")[1] == b"cdb@x.example"
    Path(options.generics_table).unlink()
    assert shown(rewriter(options), b"dave@lab2.campus")[1] == b"cdb@x.example"


def test_generics_entire_domain_takes_what_is_below(options: Options) -> None:
    table(options, _ROWS)
    maker = rewriter(options, GenericsDomain="list.campus", GenericsEntireDomain="True")
    assert shown(maker, b"dave@sub.list.campus")[1] == b"dave.example@campus"
    assert shown(maker, b"dave@list.campus.example")[1] == b"dave@list.campus.example"


@pytest.mark.parametrize("value", ["two words", "a@b, c@d", "<a@b>", "dave@", "a@x\u3002example"])
def test_a_row_that_is_no_address_makes_mail_wait(options: Options, value: str) -> None:
    table(options, {"dave": value, "carol": "c@x.example"})
    maker = rewriter(options)
    with pytest.raises(OSError, match="is no address") as raised:
        maker.field(b"From: dave@lab2.campus", "esmtp")
    assert raised.value.errno == errno.EINVAL
    assert maker.field(b"From: carol@lab2.campus", "esmtp") == b"From: c@x.example"
