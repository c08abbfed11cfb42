"""What providers answer, in words: replies as they document them, and who of them means what."""

from __future__ import annotations

import pytest

from minimta.admin.setup.trouble import Cause, explain


@pytest.mark.parametrize(
    ("reason", "replies", "cause"),
    [
        ("Host unknown (Name server: smtp.gmial.com: host not found)", [], Cause.NAME),
        ("Name server: smtp.gmail.com: no answer", [], Cause.NAME),
        ("Connection refused by [x]", [], Cause.PORT),
        ("Connection timed out with [x]", [], Cause.PORT),
        ("no answer in 9 seconds", [], Cause.PORT),
        ("TLS with x: the certificate has expired", [], Cause.CERTIFICATE),
        ("no TLS with x, and without it there is no login (authinfo line 1)", [], Cause.TLS),
        ("password of e refused, correct a line 1: x", ["535 5.7.8 Error"], Cause.LOGIN),
        ("x", ["534-5.7.9 Application-specific password required. For more", "534 5.7.9 i"], Cause.LOGIN),
        ("x", ["534-5.7.14 <https://accounts.google.com/signin/continue> Please log in via", "534 5.7.14 your web browser"], Cause.LOGIN),
        ("x", ["550 5.7.30 Basic authentication is not supported for Client Submission."], Cause.METHOD),
        ("x", ["535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."], Cause.METHOD),
        ("x", ["535 5.7.139 Authentication unsuccessful, the user credentials were incorrect."], Cause.LOGIN),
        ("Service unavailable", ["554 5.2.252 SendAsDenied; a@b not allowed to send as c@d"], Cause.SENDER),
        ("x", ["550 5.7.60 SMTP; Client does not have permissions to send as this sender"], Cause.SENDER),
        ("x", ["554 Message rejected: Email address is not verified. The following identities"], Cause.SENDER),
        ("x", ["550 The from address does not match a verified Sender Identity. Mail cannot be sent"], Cause.SENDER),
        ("x", ["553 5.7.1 <a@b>: Sender address rejected: not owned by user c"], Cause.SENDER),
        ("x", ["550-5.4.5 Daily user sending limit exceeded. For more information on Gmail"], Cause.LIMIT),
        ("x", ["530-5.7.0 Authentication Required. For more information"], Cause.NO_LOGIN),
        ("x", ["554 5.7.1 <a@b>: Relay access denied"], Cause.NO_LOGIN),
        ("User unknown", ["550 5.1.1 The email account that you tried to reach does not exist"], Cause.RECIPIENT),
        ("x", ["550-5.7.25 The IP address sending this message does not have a PTR record"], Cause.CONTENT),
        ("login as e put off by x: 454 4.7.0", ["454 4.7.0 Temporary authentication failure"], Cause.LATER),
        ("x", ["451 4.3.0 later"], Cause.LATER),
        ("something odd", [], Cause.UNKNOWN),
    ],
)  # fmt: skip
def test_each_answer_has_its_cause(reason: str, replies: list[str], cause: Cause) -> None:
    found = explain(reason, replies, host="smtp.example.org", port=587, advice="Do that.")
    assert found.cause is cause
    assert found.remedy and "{" not in found.remedy
