from __future__ import annotations

import pytest

from minimta.smtp.client_command import Utf8Needed, mail_line, path, rcpt_line


@pytest.mark.parametrize(
    "address",
    [
        b"a>b@c",
        b"a@b> NOTIFY=NEVER",
        b"a<b@c",
        b"a b@c",
        b"a@b c",
        b'"a"@b c',
        b"x" * 1001,
        b"a\n@c",
        b"a\x00@c",
        b"j\xfc@c",
        b'"a>b"@c',
    ],
)
def test_no_address_that_could_end_its_path_is_said(address: bytes) -> None:
    with pytest.raises(ValueError, match="address"):
        path(address, ("SMTPUTF8",))


@pytest.mark.parametrize("address", [b"a@b", b'"a b"@c', b"a+b=c/d@[10.0.3.135]", b"postmaster"])
def test_ordinary_addresses_are_said_as_they_are(address: bytes) -> None:
    assert path(address, ()) == address


def test_parameters_go_only_to_a_peer_that_offered_them() -> None:
    everything = {"SIZE": "", "8BITMIME": "", "DSN": ""}

    def mail(extensions: dict[str, str]) -> bytes:
        return mail_line(
            b"a@b", extensions, size=17, body_type=b"8BITMIME", envid=b"e1", ret=b"HDRS"
        )

    def rcpt(extensions: dict[str, str]) -> bytes:
        return rcpt_line(b"c@d", extensions, notify="SUCCESS,FAILURE", original=b"rfc822;c@d")

    assert mail({}) == b"MAIL From:<a@b>"
    assert mail(everything) == b"MAIL From:<a@b> SIZE=17 BODY=8BITMIME ENVID=e1 RET=HDRS"
    assert rcpt({"SIZE": "", "8BITMIME": ""}) == b"RCPT To:<c@d>"
    assert rcpt(everything) == b"RCPT To:<c@d> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;c@d"


def test_what_was_not_asked_for_is_no_parameter() -> None:
    assert mail_line(b"", {"SIZE": "", "DSN": ""}, size=5) == b"MAIL From:<> SIZE=5"
    assert rcpt_line(b"c@d", {"DSN": ""}) == b"RCPT To:<c@d>"


def test_a_parameter_with_a_blank_is_left_out() -> None:
    assert mail_line(b"a@b", {"DSN": ""}, envid=b"x RET=FULL") == b"MAIL From:<a@b>"


def test_no_final_dot_goes_onto_the_wire() -> None:
    assert mail_line(b"emma@lab2.campus.", {}) == b"MAIL From:<emma@lab2.campus>"
    assert rcpt_line(b"bob@Example.org.", {}) == b"RCPT To:<bob@Example.org>"


@pytest.mark.parametrize(
    ("address", "offered", "said"),
    [
        ("dave@käse.example", (), b"dave@xn--kse-qla.example"),
        ("dave@käse.example", ("SMTPUTF8",), b"dave@xn--kse-qla.example"),
        ("döner@käse.example", ("SMTPUTF8",), "döner@käse.example".encode()),
        ("döner@x.example", ("SMTPUTF8",), "döner@x.example".encode()),
    ],
)
def test_only_the_domain_is_said_otherwise(address: str, offered: tuple[str], said: bytes) -> None:
    assert path(address.encode(), offered) == said


def test_what_needs_smtputf8_is_not_said_without_it() -> None:
    with pytest.raises(Utf8Needed):
        path("döner@x.example".encode(), ("8BITMIME",))


def test_smtputf8_is_asked_for_if_an_address_needs_it() -> None:
    offered = ("SMTPUTF8", "8BITMIME")
    assert mail_line(b"a@b", offered) == b"MAIL From:<a@b>"
    assert mail_line("a@käse.example".encode(), offered) == b"MAIL From:<a@xn--kse-qla.example>"
    assert mail_line(b"a@b", offered, utf8=True) == b"MAIL From:<a@b> SMTPUTF8"
    assert mail_line("ä@b".encode(), offered) == "MAIL From:<ä@b> SMTPUTF8".encode()
    assert mail_line(b"", offered, utf8=True) == b"MAIL From:<> SMTPUTF8"
