"""The next hop by sender: whose, before and behind which other tables, and what a bad row does."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from minimta.maps.cdbwriter import write_cdb
from minimta.message.envelope import Recipient
from minimta.message.outcome import Fate, deferred
from minimta.routing.destination import Destination
from minimta.routing.route import Route
from minimta.routing.sender_relay import SenderRelays
from tests.support.privatehost import Elsewhere, PrivateHost

TABLE = {
    b"emma@example.org": b"[smtp.example.org]:587",
    b"@example.org": b"smtp2.example.org, [smtp3.example.org]:465",
    b"@address.example": b"10.9.9.1:2525",
    b"@bad.example": b"https://smtp.example.org",
    b"@empty.example": b"",
    b"dave@lab1.campus": b"relay:[smtp.lab1.campus]",
}
PATH = "/etc/mail/sender-relay"


def relays(table: Mapping[bytes, bytes] = TABLE) -> SenderRelays:
    return SenderRelays(PATH, lambda path: table)


def end(
    option: str = "SmartHost", mailer: str = "esmtp", recipient: bytes = b"<x@y.example>"
) -> Destination:
    route = Route(mailer, "[smart.example]", b"x@y.example", option)
    return Destination(Recipient(recipient), route)


def hop(sender: bytes, one: Destination | None = None) -> str:
    (found,) = relays().applied([one or end()], sender, "lab1.campus")
    assert found.route is not None
    return f"{found.route.host} {found.route.option}"


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (b"emma@example.org", "[smtp.example.org]:587 SenderRelay"),
        (b"Emma@EXAMPLE.org.", "[smtp.example.org]:587 SenderRelay"),
        (b'"Emma"@example.org', "[smtp.example.org]:587 SenderRelay"),
        (b"carol@example.org", "smtp2.example.org,[smtp3.example.org]:465 SenderRelay"),
        (b"carol@sub.example.org", "[smart.example] SmartHost"),
        (b"x@address.example", "[10.9.9.1]:2525 SenderRelay"),
        (b"dave", "[smtp.lab1.campus] SenderRelay"),
        (b"", "[smart.example] SmartHost"),
    ],
)
def test_the_row_of_the_sender_counts_then_that_of_the_domain(sender: bytes, expected: str) -> None:
    assert hop(sender) == expected


def test_it_counts_where_the_recipients_domain_would() -> None:
    assert hop(b"emma@example.org", end(option="")).endswith("SenderRelay")


def test_the_mailer_table_and_what_stays_here_come_first() -> None:
    assert hop(b"emma@example.org", end("MailerTable")) == "[smart.example] MailerTable"
    assert hop(b"emma@example.org", end("RedirectAll")) == "[smart.example] RedirectAll"
    assert hop(b"emma@example.org", end("", "local")) == "[smart.example] "


def test_who_is_settled_stays_so() -> None:
    settled = Destination(Recipient(b"<x@y>"), None, deferred("4.3.0", "x"))
    assert relays().applied([settled], b"emma@example.org", "lab1.campus") == [settled]


@pytest.mark.parametrize(
    ("sender", "why"),
    [
        (b"x@bad.example", "'https://smtp.example.org' is no host"),
        (b"x@empty.example", "no next hop"),
    ],
)
def test_a_row_that_makes_no_sense_delays_the_mail_of_its_senders(sender: bytes, why: str) -> None:
    (found,) = relays().applied([end()], sender, "lab1.campus")
    assert found.outcome is not None
    assert found.outcome.fate is Fate.DEFERRED
    assert f"SenderRelay: {PATH}, row @" in found.outcome.text
    assert why in found.outcome.text


def test_a_table_that_cannot_be_read_delays_and_is_read_again() -> None:
    answers: list[OSError | None] = [OSError(errno.EIO, "Input/output error"), None]

    def read(path: str) -> Mapping[bytes, bytes]:
        error = answers.pop(0)
        if error:
            raise error
        return TABLE

    asked = SenderRelays(PATH, read)
    (first,) = asked.applied([end()], b"emma@example.org", "lab1.campus")
    assert first.outcome is not None
    assert first.outcome.text == f"SenderRelay: {PATH}: Input/output error"
    asked.applied([end()], b"emma@example.org", "lab1.campus")
    (second,) = asked.applied([end()], b"emma@example.org", "lab1.campus")  # not read once more
    assert second.route is not None and second.route.option == "SenderRelay"


@pytest.mark.parametrize("kind", ["text", "cdb"])
def test_a_message_goes_by_the_relay_of_its_sender(tmp_path: Path, kind: str) -> None:
    host = PrivateHost(tmp_path)
    host.options.smart_host = "[smart.example]"
    if kind == "text":
        (tmp_path / "sender-relay").write_text("emma@lab1.campus [smtp.example.org]:587\n")
    else:
        row = (b"emma@lab1.campus", b"[smtp.example.org]:587")
        write_cdb(str(tmp_path / "sender-relay.cdb"), [row])
    elsewhere = Elsewhere({})
    deliverer = host.deliverer(esmtp=elsewhere)
    for sender in (b"<emma@lab1.campus>", b"<dave@lab1.campus>"):
        deliverer.attempt([host.submit(sender, b"<x@y.example>")])
    assert [(job.host, job.option) for job in elsewhere.jobs] == [
        ("[smtp.example.org]:587", "SenderRelay"),
        ("[smart.example]", "SmartHost"),
    ]
