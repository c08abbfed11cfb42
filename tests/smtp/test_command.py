from __future__ import annotations

import string
from random import Random

import pytest

from minimta.message import address
from minimta.smtp import path
from minimta.smtp.command import parse_hello, parse_mail, parse_rcpt, split
from minimta.smtp.reply import CommandError


def refusal(argument: bytes, parse: object = parse_mail) -> str:
    assert callable(parse)
    with pytest.raises(CommandError) as caught:
        parse(argument)
    return str(caught.value.reply)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"mail FROM:<x@y>", (b"MAIL", b"FROM:<x@y>")),
        (b"NOOP  ", (b"NOOP", b"")),
        (b"EhLo\tx \t", (b"EHLO", b"x")),
        (b"", (b"", b"")),
    ],
)
def test_verbs_have_no_case_and_blanks_at_the_end_are_nothing(
    line: bytes, parts: tuple[bytes, bytes]
) -> None:
    assert split(line) == parts


@pytest.mark.parametrize(
    "name", [b"lab1.campus", b"[10.0.3.134]", b"[IPv6:2001:db8::1]", b"foo_bar", b"x"]
)
def test_any_name_that_looks_like_a_host_will_do(name: bytes) -> None:
    assert parse_hello("EHLO", name) == name


@pytest.mark.parametrize("name", [b"foo bar", b"a" * 300, b"a\x1bb", b"caf\xe9", b"<x>"])
def test_other_names_are_501(name: bytes) -> None:
    with pytest.raises(CommandError, match=r"501 5\.0\.0 Invalid domain name"):
        parse_hello("EHLO", name)


def test_a_hello_without_a_name_is_501() -> None:
    with pytest.raises(CommandError, match=r"501 5\.0\.0 HELO requires domain address"):
        parse_hello("HELO", b"")


@pytest.mark.parametrize(
    ("argument", "reverse_path"),
    [
        (b"FROM:<emma@lab1.campus>", b"<emma@lab1.campus>"),
        (b"FROM: emma@lab1.campus", b"emma@lab1.campus"),
        (b"from : <emma@lab1.campus>", b"<emma@lab1.campus>"),
        (b"FROM:<>", b"<>"),
        (b"FROM:<<emma@lab1.campus>>", b"<emma@lab1.campus>"),
        (b"FROM:<@x.campus,@y.campus:emma@lab1.campus>", b"<emma@lab1.campus>"),
        (b'FROM:<"a b"@lab1.campus>', b'<"a b"@lab1.campus>'),
        (b'FROM:<"a>b"@lab1.campus>', b'<"a>b"@lab1.campus>'),
        (b'FROM:<"a@b"@lab1.campus>', b'<"a@b"@lab1.campus>'),
        (b"FROM:<a@[10.0.3.134]>", b"<a@[10.0.3.134]>"),
        (b"FROM:<a@lab1.campus.>", b"<a@lab1.campus.>"),
        (b"FROM:<a%b@lab1.campus>", b"<a%b@lab1.campus>"),
        (b"FROM:<" + b"a" * 64 + b"@" + b"b" * 63 + b".campus>", None),
    ],
)
def test_a_path_is_taken_as_it_is_meant(argument: bytes, reverse_path: bytes | None) -> None:
    expected = argument.partition(b":")[2].strip() if reverse_path is None else reverse_path
    assert parse_mail(argument).reverse_path == expected


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        (b"", '501 5.5.2 Syntax error in parameters scanning ""'),
        (b"emma@lab1.campus", '501 5.5.2 Syntax error in parameters scanning "emma@lab1.campus"'),
        (b"TO:<emma@lab1.campus>", '501 5.5.2 Syntax error in parameters scanning "TO"'),
        (b"FROM <emma@lab1.campus>", '501 5.5.2 Syntax error in parameters scanning "FROM"'),
        (b"FROM:", '501 5.5.2 Syntax error in parameters scanning "FROM"'),
        (b"FROM:<emma@lab1.campus", "553 5.0.0 <emma@lab1.campus... Unbalanced '<'"),
        (b"FROM:emma@lab1.campus>", "553 5.0.0 emma@lab1.campus>... Unbalanced '>'"),
        (b'FROM:<"emma@lab1.campus>', "553 5.0.0 <\"emma@lab1.campus>... Unbalanced '\"'"),
        (b"FROM:<a@x@lab1.campus>", "553 5.1.3 <a@x@lab1.campus>... Invalid route address"),
        (b"FROM:<a@x@>", "553 5.1.2 <a@x@>... Invalid route address"),
        (b"FROM:<emma@>", "553 5.1.3 <emma@>... Hostname required"),
        (b"FROM:<@lab1.campus>", "553 5.1.3 <@lab1.campus>... User address required"),
        (b'FROM:<""@lab1.campus>', '553 5.1.3 <""@lab1.campus>... User address required'),
        (b"FROM:<a@b c>", "553 5.1.3 <a@b c>... Invalid host name"),
        (b"FROM:<a@-|x>", "553 5.1.3 <a@-|x>... Invalid host name"),
        (b"FROM:<a<b>@c>", "553 5.1.3 <a<b>@c>... Invalid address"),
        (
            b"FROM:<caf\xc3\xa9@lab1.campus>",
            "553 5.6.7 <caf??@lab1.campus>... Address must be ASCII",
        ),
        (b"FROM:<a\xef\xbc\xa0b@c.d>", "553 5.6.7 <a???b@c.d>... Address must be ASCII"),
        (b'FROM:<"\x1b"@c.d>', '553 5.1.3 <"?"@c.d>... Control character in address'),
        (b"FROM:<x@y>garbage", "555 5.5.4 garbage parameter unrecognized"),
        (b"FROM:<x@y> garbage", "555 5.5.4 garbage parameter unrecognized"),
        (b"FROM:<x@y> (Emma)", "555 5.5.4  parameter unrecognized"),
        (b"FROM:Emma <x@y>", "555 5.5.4  parameter unrecognized"),
    ],
)
def test_what_is_no_path_is_refused(argument: bytes, answer: str) -> None:
    assert refusal(argument) == answer


def test_what_is_written_as_a_path_is_read_as_the_same_mailbox() -> None:
    random = Random("paths")
    letters = string.ascii_letters + string.digits + string.punctuation + " "
    for _ in range(2000):
        meaning = "".join(random.choices(letters, k=random.randint(1, 20))).encode()
        mailbox = address.quoted(meaning) + b"@lab1.campus"
        assert parse_mail(b"FROM:<%b>" % mailbox).mailbox == mailbox
        local, domain = address.split(mailbox)
        assert (address.unquote(local), domain) == (meaning, b"lab1.campus")


def test_a_path_of_256_octets_is_taken_and_a_longer_one_refused() -> None:
    local = b"a" * (256 - len(b"@lab1.campus"))
    assert parse_mail(b"FROM:<" + local + b"@lab1.campus>")
    assert refusal(b"FROM:<a" + local + b"@lab1.campus>").startswith("553 5.1.0")


@pytest.mark.parametrize("mark", [b"<", b'"', b"\\", b"(", b"@", b"<@", b'"\\"', b"a.", b"@a:"])
def test_hostile_nesting_is_refused_in_no_time(mark: bytes) -> None:
    given, _ = path.scan(mark * 50_000)
    with pytest.raises(CommandError):
        path.parse(given)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        (b"SIZE=1000", "size", 1000),
        (b"size=0", "size", 0),
        (b"BODY=8bitmime", "body_type", b"8BITMIME"),
        (b"BODY=7BIT", "body_type", b"7BIT"),
        (b"RET=full", "ret", b"FULL"),
        (b"RET=HDRS ENVID=QQ123", "envid", b"QQ123"),
        (b"ENVID=a+3Db", "envid", b"a+3Db"),
        (b"AUTH=<>", "auth", b"<>"),
        (b"AUTH=emma@lab1.campus", "auth", b"emma@lab1.campus"),
        (b"SMTPUTF8 SIZE=1", "utf8", True),
        (b"SIZE=1", "utf8", False),
        (b"smtputf8 REQUIRETLS", "requires_tls", True),
        (b"ENVID=" + b"x" * 100, "envid", b"x" * 100),
        (b"AUTH=" + b"x" * 500, "auth", b"x" * 500),
        (b"SIZE=" + b"1" * 20, "size", int("1" * 20)),
        (b"", "size", -1),
    ],
)
def test_parameters_of_mail(text: bytes, field: str, value: object) -> None:
    assert getattr(parse_mail(b"FROM:<x@y> " + text).parameters, field) == value


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"FOO=BAR", "555 5.5.4 FOO parameter unrecognized"),
        (b"FOO", "555 5.5.4 FOO parameter unrecognized"),
        (b"SMTPUTF8=1", "501 5.5.4 SMTPUTF8 has no value"),
        (b"=x", "555 5.5.4  parameter unrecognized"),
        (b"ENVID=a=b", "555 5.5.4 b parameter unrecognized"),
        (b"BODY=BINARY", "501 5.5.4 Unknown BODY type BINARY"),
        (b"BODY", "501 5.5.2 BODY requires a value"),
        (b"RET=ALL", '501 5.5.2 Bad argument "ALL" to RET'),
        (b"RET=FULL RET=HDRS", "501 5.5.0 Duplicate RET parameter"),
        (b"RET", "501 5.5.2 RET requires a value"),
        (b"ENVID=x ENVID=y", "501 5.5.0 Duplicate ENVID parameter"),
        (b"ENVID=" + b"x" * 101, "501 5.5.4 Syntax error in ENVID parameter value"),
        (b"ENVID=a+zz", "501 5.5.4 Syntax error in ENVID parameter value"),
        (b"SIZE=1 SIZE=2", "501 5.5.0 Duplicate SIZE parameter"),
        (b"SIZE=abc", '501 5.5.4 Bad argument "abc" to SIZE'),
        (b"SIZE=", '501 5.5.4 Bad argument "" to SIZE'),
        (b"SIZE=-1", '501 5.5.4 Bad argument "-1" to SIZE'),
        (b"SIZE=+1", '501 5.5.4 Bad argument "+1" to SIZE'),
        (b"SIZE=1_0", '501 5.5.4 Bad argument "1_0" to SIZE'),
        (b"SIZE=1e3", '501 5.5.4 Bad argument "1e3" to SIZE'),
        ("SIZE=１２".encode(), '501 5.5.4 Bad argument "??????" to SIZE'),
        (b"SIZE=" + b"1" * 21, f'501 5.5.4 Bad argument "{"1" * 21}" to SIZE'),
        (b"AUTH=a+b", "501 5.5.4 Syntax error in AUTH parameter value"),
        (b"AUTH=" + b"x" * 501, "501 5.5.4 Syntax error in AUTH parameter value"),
        (b"SMTPUTF8 smtputf8", "501 5.5.0 Duplicate SMTPUTF8 parameter"),
        (b"REQUIRETLS REQUIRETLS", "501 5.5.0 Duplicate REQUIRETLS parameter"),
    ],
)
def test_bad_parameters_of_mail(text: bytes, answer: str) -> None:
    assert refusal(b"FROM:<x@y> " + text) == answer


@pytest.mark.parametrize(
    ("text", "notify", "original"),
    [
        (b"", "", b""),
        (b"NOTIFY=NEVER", "N", b""),
        (b"NOTIFY=SUCCESS,FAILURE,DELAY", "NSFD", b""),
        (b"NOTIFY=delay,success", "NSD", b""),
        (b"NOTIFY=SUCCESS NOTIFY=FAILURE", "NSF", b""),
        (b"ORCPT=rfc822;a+2Bb@c", "", b"rfc822;a+2Bb@c"),
        (b"ORCPT=rfc822;" + b"a" * 493, "", b"rfc822;" + b"a" * 493),
    ],
)
def test_parameters_of_rcpt(text: bytes, notify: str, original: bytes) -> None:
    found = parse_rcpt(b"TO:<x@y> " + text).parameters
    assert (found.notify, found.original) == (notify, original)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"NOTIFY=NEVER,SUCCESS", '501 5.5.4 Bad argument "NEVER"  to NOTIFY'),
        (b"NOTIFY=NEVER NOTIFY=DELAY", '501 5.5.4 Bad argument "NEVER"  to NOTIFY'),
        (b"NOTIFY=FOO", '501 5.5.4 Bad argument "FOO"  to NOTIFY'),
        (b"NOTIFY=", '501 5.5.4 Bad argument ""  to NOTIFY'),
        (b"NOTIFY", "501 5.5.2 NOTIFY requires a value"),
        (b"ORCPT=foo", "501 5.5.4 Syntax error in ORCPT parameter value"),
        (b"ORCPT=", "501 5.5.4 Syntax error in ORCPT parameter value"),
        (b"ORCPT=rfc822;a+b", "501 5.5.4 Syntax error in ORCPT parameter value"),
        (b"ORCPT=rfc822;" + b"a" * 494, "501 5.5.4 Syntax error in ORCPT parameter value"),
        (b"ORCPT=rfc822;a ORCPT=rfc822;b", "501 5.5.0 Duplicate ORCPT parameter"),
        (b"SIZE=1", "555 5.5.4 SIZE parameter unrecognized"),
    ],
)
def test_bad_parameters_of_rcpt(text: bytes, answer: str) -> None:
    assert refusal(b"TO:<x@y> " + text, parse_rcpt) == answer


def test_the_null_path_is_no_recipient() -> None:
    assert refusal(b"TO:<>", parse_rcpt) == "553 5.0.0 <>... User address required"


def test_without_dsn_its_parameters_are_504() -> None:
    with pytest.raises(CommandError, match=r"504 5\.7\.0 Sorry, RET not supported"):
        parse_mail(b"FROM:<x@y> RET=FULL", dsn=False)
    with pytest.raises(CommandError, match=r"504 5\.7\.0"):
        parse_rcpt(b"TO:<x@y> NOTIFY=NEVER", dsn=False)


@pytest.mark.parametrize(
    ("parameter", "answer"),
    [
        (b"BY=", "501 5.5.2 BY= missing ';'"),
        (b"BY=0;R", "501 5.5.4 mode R requires BY time > 0"),
        (b"BY=120;X", "501 5.5.2 illegal by-mode 'X'"),
        (b"BY=1;N BY=2;N", "501 5.5.0 Duplicate BY parameter"),
        (b"BY=\x1b;N", "501 5.5.2 BY= missing ';'"),
        (b"BY=1;\x1b", "501 5.5.2 illegal by-mode '?'"),
        (b"BY=1;\xff", "501 5.5.2 illegal by-mode '?'"),
        (b"REQUIRETLS=1", "501 5.5.4 REQUIRETLS has no value"),
        # FUTURERELEASE (RFC 4865) is not offered
        (b"HOLDFOR=60", "555 5.5.4 HOLDFOR parameter unrecognized"),
        (b"HOLDUNTIL=2030-01-01T00:00:00Z", "555 5.5.4 HOLDUNTIL parameter unrecognized"),
    ],
)
def test_wishes_that_cannot_be_obeyed(parameter: bytes, answer: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse_mail(b"FROM:<a@b> " + parameter)
    assert str(raised.value.reply) == answer
