"""Reports, parsed as a mail program would."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from email import message_from_bytes
from email.message import Message

import pytest

from minimta.dsn.compose import compose, losses
from minimta.dsn.multipart import (
    RETURN_LIMIT,
    OriginalMessage,
    Report,
    ReportEntry,
    ReportKind,
    spell,
)
from minimta.message.envelope import Recipient
from minimta.message.mime8to7 import convert
from minimta.message.outcome import Fate, Outcome

QID = "6AM9WlS1002504"
NOW = 1795339967.0
REFUSED = Outcome(
    Fate.FAILED,
    "5.1.1",
    "User unknown",
    relay="lab2.campus. [10.0.3.135]",
    remote_mta="lab2.campus",
    diagnostic="550 5.1.1 <nosuch@lab2.campus>... User unknown",
    transcript=(
        "... while talking to lab2.campus.:",
        ">>> RCPT To:<nosuch@lab2.campus>",
        "<<< 550 5.1.1 <nosuch@lab2.campus>... User unknown",
    ),
)
UNKNOWN = Outcome(Fate.FAILED, "5.1.1", "User unknown")
REFUSES_CONNECTION = Outcome(
    Fate.DEFERRED, "4.4.1", "Connection refused by lab2.campus.", remote_mta="lab2.campus"
)
SENT = Outcome(Fate.SENT, "2.0.0", "Sent")
HEADER = b"Return-Path: <emma@lab1.campus>\nSubject: orig subject\nX-Orig: yes\n"


def entry(outcome: Outcome, mailer: str = "esmtp", original: bytes = b"") -> ReportEntry:
    final = b"RFC822; nosuch@lab2.campus"
    recipient = Recipient(b"<nosuch@lab2.campus>", "PFD", original=original, final=final)
    return ReportEntry(recipient, outcome, mailer)


def report(
    *entries: ReportEntry,
    kind: ReportKind = ReportKind.FAILURE,
    client: bytes = b"",
    helo: bytes = b"",
    envid: bytes = b"",
) -> Report:
    about = OriginalMessage("6AM9WlS0002504", int(NOW) - 20000, client, helo, envid)
    return Report(
        kind, b"<emma@lab1.campus>", about, entries, "lab1.campus", NOW, 4 * 3600, 5 * 86400
    )


def made(what: Report, header: bytes = HEADER, body: bytes | None = b"original body\n") -> Message:
    return message_from_bytes(compose(what, QID, header, body))


def text_of(message: Message) -> str:
    return part(message, 0).get_payload()  # type: ignore[return-value]


def part(message: Message, number: int) -> Message:
    return message.get_payload(number)  # type: ignore[return-value]


def status_of(message: Message, block: int) -> Message:
    """Block 0 is about the message, 1 about the first recipient."""
    return part(message, 1).get_payload(block)  # type: ignore[return-value]


def test_a_bounce_is_a_multipart_report_of_three_parts() -> None:
    message = made(report(entry(REFUSED)))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message.get_boundary() == f"{QID}.1795339967/lab1.campus"
    kinds = [p.get_content_type() for p in message.get_payload()]  # type: ignore[union-attr]
    assert kinds == ["text/plain", "message/delivery-status", "message/rfc822"]
    assert message["To"] == "<emma@lab1.campus>"
    assert message["Auto-Submitted"] == "auto-generated (failure)"
    assert message["Subject"] == "Returned mail: see transcript for details"


def test_the_status_part_has_the_fields_of_rfc_3464() -> None:
    refused = entry(REFUSED, original=b"rfc822;o+2Bx@campus")
    client = b"lab3.campus [10.0.3.136]"
    message = made(report(refused, client=client, helo=b"lab3.campus", envid=b"QQ+2B1"))
    about_message, about_recipient = status_of(message, 0), status_of(message, 1)
    assert about_message["Reporting-MTA"] == "dns; lab1.campus"
    assert about_message["Received-From-MTA"] == "DNS; lab3.campus"
    assert about_message["Original-Envelope-Id"] == "QQ+1"
    assert about_message["Arrival-Date"]
    assert about_recipient["Original-Recipient"] == "rfc822;o+x@campus"
    assert about_recipient["Final-Recipient"] == "RFC822; nosuch@lab2.campus"
    assert about_recipient["X-Actual-Recipient"] == "rfc822; nosuch@lab2.campus"
    assert about_recipient["Action"] == "failed"
    assert about_recipient["Status"] == "5.1.1"
    assert about_recipient["Remote-MTA"] == "DNS; lab2.campus"
    assert about_recipient["Diagnostic-Code"] == f"SMTP; {REFUSED.diagnostic}"
    assert about_recipient["Last-Attempt-Date"]
    assert about_recipient["Will-Retry-Until"] is None


def test_noactualrecipient_hides_what_an_address_leads_to() -> None:
    what = replace(report(entry(REFUSED)), hides_actual=True)
    about = status_of(made(what), 1)
    assert about["X-Actual-Recipient"] is None
    assert about["Final-Recipient"] == "RFC822; nosuch@lab2.campus"


@pytest.mark.parametrize(
    ("mailer", "named", "shown"),
    [("prog", b'"|out.sh a"', "|out.sh a"), ("*file*", b"/var/tmp/x", "/var/tmp/x")],
)
def test_a_program_or_file_is_told_by_its_exit_code_as_recorded(
    mailer: str, named: bytes, shown: str
) -> None:
    failed = Outcome(Fate.FAILED, "5.3.0", "Internal error", transcript=("out",), exit_code=70)
    recipient = Recipient(named, "FDA", final=b"RFC822; list@lab2.campus")
    message = made(report(ReportEntry(recipient, failed, mailer, expanded_from=b"list")))
    about = status_of(message, 1)
    assert about["Final-Recipient"] == "RFC822; list@lab2.campus"
    assert about["X-Actual-Recipient"] == f"X-Unix; {shown}"
    assert about["Diagnostic-Code"] == "X-Unix; 70"
    assert (
        f"{named.decode()}\n    (reason: Internal error)\n    (expanded from: list)\n\n"
        "   ----- Transcript of session follows -----\nout\n554 5.3.0 Internal error\n"
    ) in text_of(message)


def test_the_text_gives_reason_and_transcript_as_recorded() -> None:
    lines = text_of(made(report(entry(REFUSED), client=b"root@localhost"))).split("\n")
    assert "from root@localhost" in lines
    assert "    (reason: 550 5.1.1 <nosuch@lab2.campus>... User unknown)" in lines
    start = lines.index("... while talking to lab2.campus.:")
    assert lines[start + 2 : start + 4] == [
        "<<< 550 5.1.1 <nosuch@lab2.campus>... User unknown",
        "550 5.1.1 <nosuch@lab2.campus>... User unknown",
    ]


def test_a_local_failure_says_what_smtp_would_have_said() -> None:
    message = made(report(entry(UNKNOWN, "local")))
    assert status_of(message, 1)["Diagnostic-Code"] == "X-Unix; 550 5.1.1 User unknown"
    assert "550 5.1.1 <nosuch@lab2.campus>... User unknown" in text_of(message)


def test_what_has_waited_too_long_is_4_4_7_with_its_last_trouble() -> None:
    late = ReportEntry(Recipient(b"<x@lab2.campus>"), REFUSES_CONNECTION, "esmtp", expired=True)
    message = made(report(late))
    assert status_of(message, 1)["Action"] == "failed"
    assert status_of(message, 1)["Status"] == "4.4.7"
    assert text_of(message).endswith(
        "<x@lab2.campus>... Deferred: Connection refused by lab2.campus.\n"
        "Message could not be delivered for 5 days\nMessage will be deleted from queue\n"
    )


def test_a_warning_is_delayed_and_says_until_when() -> None:
    message = made(report(entry(REFUSES_CONNECTION), kind=ReportKind.DELAY), body=None)
    assert message["Subject"] == "Warning: could not send message for past 4 hours"
    assert message["Auto-Submitted"] == "auto-generated (warning-timeout)"
    assert status_of(message, 1)["Action"] == "delayed"
    assert status_of(message, 1)["Status"] == "4.4.1"
    assert status_of(message, 1)["Will-Retry-Until"]
    assert "THIS IS A WARNING MESSAGE ONLY" in text_of(message)
    assert "Will keep trying until message is 5 days old" in text_of(message)


@pytest.mark.parametrize(
    "mailer, action, status",
    [("local", "delivered (to mailbox)", "2.1.5"), ("esmtp", "relayed", "2.1.9")],
)
def test_success_is_delivered_here_and_relayed_elsewhere(
    mailer: str, action: str, status: str
) -> None:
    message = made(report(entry(SENT, mailer), kind=ReportKind.RECEIPT), body=None)
    assert message["Subject"] == "Return receipt"
    assert status_of(message, 1)["Action"] == action
    assert status_of(message, 1)["Status"] == status


def test_the_message_comes_back_octet_for_octet() -> None:
    text = compose(report(entry(REFUSED)), QID, HEADER, b"From x\n\n--y\n.\n")
    assert b"\n\n" + HEADER + b"\nFrom x\n\n--y\n.\n\n--" in text


def test_eight_bit_content_is_labelled_in_both_places() -> None:
    message = made(report(entry(REFUSED)), body="café\n".encode())
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert part(message, 2)["Content-Transfer-Encoding"] == "8bit"
    assert made(report(entry(REFUSED)))["Content-Transfer-Encoding"] is None


def test_without_a_body_the_third_part_is_the_header_alone() -> None:
    third = part(made(report(entry(REFUSED)), body=None), 2)
    assert third.get_content_type() == "text/rfc822-headers"
    assert "X-Orig: yes" in third.get_payload()
    assert "original body" not in third.get_payload()


def test_a_header_beyond_the_limit_is_cut_at_a_line() -> None:
    header = HEADER + b"X-Long: " + b"x" * 60 + b"\n"
    huge = header + b"X-More: y\n" * RETURN_LIMIT
    third = part(made(report(entry(REFUSED)), header=huge), 2)
    assert third.get_content_type() == "text/rfc822-headers"
    content = str(third.get_payload())
    assert len(content) <= RETURN_LIMIT + 2
    assert content.rstrip().endswith("X-More: y")


def test_octets_no_queue_takes_do_not_go_back() -> None:
    text = compose(report(entry(REFUSED)), QID, b"Subject: a\rb\0c\n", b"x\ry\n")
    assert b"\r" not in text and b"\0" not in text
    assert b"Subject: a?b?c\n" in text and b"x?y" not in text


def test_a_boundary_that_the_message_contains_is_not_used() -> None:
    planted = f"--{QID}.1795339967/lab1.campus--\nForged: yes\n".encode()
    message = made(report(entry(REFUSED)), body=planted)
    assert len(message.get_payload()) == 3
    assert "Forged: yes" in part(message, 2).as_string()


@pytest.mark.parametrize("field", ["diagnostic", "text", "remote_mta", "transcript"])
def test_a_newline_from_outside_forges_no_field(field: str) -> None:
    value = "evil\nAction: delivered\n\nStatus: 2.0.0\r--x"
    forged = {"text": "User unknown", field: (value,) if field == "transcript" else value}
    outcome = Outcome(Fate.FAILED, "5.1.1", **forged)  # type: ignore[arg-type]
    message = made(report(entry(outcome)))
    assert len(message.get_payload()) == 3
    assert len(part(message, 1).get_payload()) == 2
    assert status_of(message, 1).get_all("Action") == ["failed"]


def test_an_orcpt_with_a_coded_newline_forges_no_field() -> None:
    message = made(report(entry(REFUSED, original=b"rfc822;a+0AAction: delivered+0D+0A")))
    assert status_of(message, 1)["Original-Recipient"] == "rfc822;a?Action: delivered??"
    assert status_of(message, 1).get_all("Action") == ["failed"]


@pytest.mark.parametrize(
    "seconds, words",
    [
        (1, "1 second"),
        (4 * 3600, "4 hours"),
        (5 * 86400, "5 days"),
        (36 * 3600, "1 day, 12 hours"),
        (0, "0 seconds"),
    ],
)
def test_times_are_spelled_as_sendmail_does(seconds: int, words: str) -> None:
    assert spell(seconds) == words


def test_no_line_is_too_long_whatever_the_peer_says() -> None:
    """RFC 5322 section 2.1.1."""
    chatty = Outcome(
        Fate.FAILED,
        "5.1.1",
        "x " * 2000,
        remote_mta="m" * 300,
        diagnostic="550 5.1.1 " + "d " * 2000,
        transcript=("t " * 2000, ">>> " + "s" * 3000),
    )
    recipient = Recipient(
        b"<%b@lab2.campus>" % (b"r" * 240),
        "PFD",
        original=b"rfc822;" + b"o+2B" * 120,
        final=b"RFC822; " + b"f" * 300,
    )
    entries = [ReportEntry(recipient, chatty, mailer) for mailer in ("esmtp", "local", "prog")]
    client = b"h" * 255 + b" [10.0.3.136]"
    for kind in ReportKind:
        what = report(*entries, kind=kind, client=client, helo=b"h" * 255, envid=b"e" * 100)
        text = compose(what, QID, HEADER, None)
        assert max(map(len, text.split(b"\n"))) <= 998
        assert all(octet in b"\t\n" or 32 <= octet < 127 for octet in text)


def test_many_recipients_of_one_session_share_its_transcript() -> None:
    several = [
        ReportEntry(Recipient(b"<u%d@lab2.campus>" % n), REFUSED, "esmtp") for n in range(100)
    ]
    text = text_of(made(report(*several)))
    assert text.count("... while talking to lab2.campus.:") == 1
    assert text.count("(reason:") == 100


def test_the_note_about_losses_names_each_and_forges_nothing() -> None:
    note = message_from_bytes(losses([("6AM9", "bad\nTo: all")], "/q", "lab1.campus"))
    assert note["To"] == "postmaster"
    assert note["Auto-Submitted"].startswith("auto-generated")  # RFC 3834 section 5
    assert "Qf6AM9: bad?To: all" in note.get_payload()


# --- addresses beyond ASCII (RFC 6533) ------------------------------------------------------------

DOENER = "döner@käse.example"


def global_entry(original: bytes = b"") -> ReportEntry:
    recipient = Recipient(
        f"<{DOENER}>".encode(), "PFD", original=original, final=f"utf-8; {DOENER}".encode()
    )
    return ReportEntry(recipient, UNKNOWN, "esmtp")


def test_an_address_beyond_ascii_makes_it_a_global_report() -> None:
    original = b"utf-8;d\\x{F6}ner@k\\x{E4}se.example"
    octets = compose(report(global_entry(original)), QID, HEADER, b"body\n")
    whole = octets.decode("utf-8")
    message = message_from_bytes(octets)
    types = [part(message, number).get_content_type() for number in range(3)]
    assert types == ["text/plain", "message/global-delivery-status", "message/global"]
    assert part(message, 0).get_content_charset() == "utf-8"
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert message.get_content_type() == "multipart/report"
    assert f"\nOriginal-Recipient: utf-8;{DOENER}\n" in whole
    assert f"\nFinal-Recipient: utf-8; {DOENER}\n" in whole
    assert f"\nX-Actual-Recipient: utf-8; {DOENER}\n" in whole
    assert f"\n<{DOENER}>\n" in whole


def test_of_a_global_report_the_header_alone_is_global_headers() -> None:
    octets = compose(report(global_entry()), QID, HEADER, None)
    assert part(message_from_bytes(octets), 2).get_content_type() == "message/global-headers"


def test_a_header_that_is_no_utf8_goes_back_as_it_always_has() -> None:
    octets = compose(report(global_entry()), QID, b"Subject: \xe4\n", b"body\n")
    assert part(message_from_bytes(octets), 2).get_content_type() == "message/rfc822"


def test_a_sender_beyond_ascii_gets_its_report() -> None:
    what = replace(report(entry(UNKNOWN)), to="<jörg@x.example>".encode())
    assert "\nTo: <jörg@x.example>\n" in "\n" + compose(what, QID, HEADER, b"").decode("utf-8")


def test_ascii_addresses_leave_it_as_it_was() -> None:
    original = b"utf-8;d\\x{7A}ner@x.example"
    octets = compose(report(entry(UNKNOWN, original=original)), QID, HEADER, b"body\n")
    assert octets.isascii()
    assert b"message/delivery-status" in octets and b"global" not in octets


def test_octets_that_are_no_utf8_are_question_marks() -> None:
    recipient = Recipient(b"<d\xf6ner@x.example>", "PFD", final=b"RFC822; d\xf6ner@x.example")
    octets = compose(report(ReportEntry(recipient, UNKNOWN)), QID, HEADER, b"body\n")
    assert b"d?ner@x.example" in octets and octets.isascii()


def test_a_global_report_can_be_put_into_7_bits() -> None:
    octets = compose(report(global_entry()), QID, HEADER, b"body\n")
    header, _, body = octets.partition(b"\n\n")
    seven = b"\n\n".join(convert(header + b"\n", body, b"")[:2])
    assert seven.isascii()
    encoded = part(part(message_from_bytes(seven), 1), 0).get_payload()
    assert isinstance(encoded, str)
    assert f"Final-Recipient: utf-8; {DOENER}" in b64decode(encoded).decode("utf-8")
