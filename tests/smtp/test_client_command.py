from __future__ import annotations

import pytest

from minimta.smtp.client_command import mail_line, path, rcpt_line


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
        path(address)


@pytest.mark.parametrize("address", [b"a@b", b'"a b"@c', b"a+b=c/d@[10.0.3.135]", b"postmaster"])
def test_ordinary_addresses_are_said_as_they_are(address: bytes) -> None:
    assert path(address) == address


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
