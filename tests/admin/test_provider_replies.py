"""Refusals of real providers, as their customers have met them, and what each is about."""

from __future__ import annotations

import pytest

from minimta.admin.provider_replies import ReplyKind, explain

_K = ReplyKind
#: what the host said -> what it is about
SAID = [
    ("535-5.7.8 Username and Password not accepted. For more information, go to\n"
     "535 5.7.8  https://support.google.com/mail/?p=BadCredentials x-20020a - gsmtp", _K.PASSWORD),
    ("534-5.7.9 Application-specific password required. For more information, go to\n"
     "534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor x - gsmtp", _K.APP_PASSWORD),
    ("534-5.7.14 <https://accounts.google.com/signin/continue?sarp=1> Please log in via\n"
     "534-5.7.14 your web browser and then try again. p=WebLoginRequired x - gsmtp", _K.LOCKED),
    ("550-5.4.5 Daily user sending limit exceeded. https://support.google.com/mail/?p=UsersDailyLimit", _K.LIMIT),
    ("550-5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've registered", _K.RELAY),
    ("550-5.7.1 [192.0.2.1] The IP you're using to send mail is not authorized to\n"
     "550-5.7.1 send email directly to our servers. p=NotAuthorizedError x - gsmtp", _K.ADDRESS),
    ("550-5.7.26 This mail has been blocked because the sender is unauthenticated.", _K.DOMAIN),
    ("550-5.7.25 [192.0.2.1] The IP address sending this message does not have a\n"
     "550-5.7.25 PTR record setup, or the corresponding forward DNS entry", _K.ADDRESS),
    ("550-5.1.1 The email account that you tried to reach does not exist. p=NoSuchUser", _K.RECIPIENT),
    ("552-5.2.2 The email account that you tried to reach is over quota", _K.RECIPIENT),
    ("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. "
     "Visit https://aka.ms/smtp_auth_disabled for more information. [MN2.prod.outlook.com]", _K.LOGIN_DISABLED),
    ("535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [PN0.OUTLOOK.COM]", _K.OAUTH),
    ("550 5.7.30 Basic authentication is not supported for Client Submission.", _K.OAUTH),
    ("535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.", _K.LOGIN_DISABLED),
    ("535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated", _K.LOGIN_DISABLED),
    ("535 5.7.3 Authentication unsuccessful [DB6P18901CA0015.EURP189.PROD.OUTLOOK.COM]", _K.PASSWORD),
    ("530 5.7.57 Client not authenticated to send mail.", _K.LOGIN_WANTED),
    ("554 5.2.252 SendAsDenied; alerts@example.org not allowed to send as root@vm1.lan", _K.SENDER),
    ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", _K.SENDER),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal", _K.ADDRESS),
    ("550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet "
     "service provider since part of their network is on our block list (S3140).", _K.ADDRESS),
    ("550 5.7.501 Service unavailable. Spam abuse detected from this account", _K.LOCKED),
    ("550 5.1.90 Your message can't be sent because you've reached your daily limit", _K.LIMIT),
    ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", _K.LIMIT),
    ("550 5.7.515 Access denied, sending domain example.org does not meet the required authentication level.", _K.DOMAIN),
    ("550 5.7.64 TenantAttribution; Relay Access Denied", _K.RELAY),
    ("554 Message rejected: Email address is not verified. The following identities failed the check in "
     "region EU-WEST-1: root@vm1.lan", _K.SENDER),
    ("535 Authentication Credentials Invalid", _K.PASSWORD),
    ("454 Throttling failure: Maximum sending rate exceeded.", _K.LIMIT),
    ("454 Throttling failure: Daily message quota exceeded.", _K.LIMIT),
    ("554 Access denied: User `arn:aws:iam::1:user/ses' is not authorized to perform `ses:SendRawEmail'", _K.LOGIN_DISABLED),
    ("530 Must issue a STARTTLS command first", _K.TLS),
    ("550 The from address does not match a verified Sender Identity. Mail cannot be sent", _K.SENDER),
    ("535 Authentication failed: The provided authorization grant is invalid, expired, or revoked", _K.PASSWORD),
    ("451 Authentication failed: Maximum credits exceeded", _K.LIMIT),
    ("550 Unauthenticated senders not allowed", _K.LOGIN_WANTED),
    ("551 5.7.1 Not authorised to send from this header address", _K.SENDER),
    ("550-Requested action not taken: mailbox unavailable\n550 Sender address is not allowed.", _K.SENDER),
    ("553 5.7.1 <root@vm1.lan>: Sender address rejected: not owned by user emma", _K.SENDER),
    ("553 Relaying disallowed as root@vm1.lan", _K.SENDER),
    ("501 mail from address must be same as authorization user", _K.SENDER),
    ("550 5.7.0 From address is not one of your addresses", _K.SENDER),
    ("525 5.7.1 Unauthorized IP address", _K.ADDRESS),
    ("535 5.7.0 (#AUTH005) Too many bad auth attempts.", _K.LOCKED),
    ("535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6", _K.PASSWORD),
    ("535 Incorrect authentication data", _K.PASSWORD),
    ("530 Authentication required", _K.LOGIN_WANTED),
    ("554 5.7.1 <emma@example.net>: Relay access denied", _K.RELAY),
    ("550 5.7.1 Relaying denied", _K.RELAY),
    ("504 5.5.2 <vm1>: Helo command rejected: need fully-qualified hostname", _K.HELO),
    ("450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]", _K.ADDRESS),
    ("554-gmx.net (mxgmx115) Nemesis ESMTP Service not available\n554-No SMTP service\n"
     "554-Bad DNS PTR resource record.", _K.ADDRESS),
    ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", _K.ADDRESS),
    ("450 4.1.8 <root@vm1.lan>: Sender address rejected: Domain not found", _K.SENDER),
    ("553 5.1.8 <root@vm1.lan>... Domain of sender address root@vm1.lan does not exist", _K.SENDER),
    ("450 4.2.0 <emma@example.net>: Recipient address rejected: Greylisted", _K.LATER),
    ("552 5.3.4 Message size exceeds fixed limit", _K.SIZE),
    ("550 5.1.1 <x@example.net>: Recipient address rejected: User unknown in local recipient table", _K.RECIPIENT),
    ("554 5.7.1 Message rejected as spam", _K.CONTENT),
    ("421 4.3.2 Service shutting down", _K.LATER),
]  # fmt: skip


@pytest.mark.parametrize(("said", "kind"), SAID, ids=[said[:44] for said, _ in SAID])
def test_a_reply_is_put_into_words(said: str, kind: ReplyKind) -> None:
    found = explain(said)
    assert found is not None
    assert found.kind is kind
    assert found.meaning
    assert found.remedy
    assert "\n" not in found.meaning + found.remedy


def test_a_reply_is_found_in_what_mailq_says() -> None:
    said = "password of emma refused, correct /etc/mail/authinfo line 1: 535 5.7.8 Username and Password not accepted"
    found = explain(said)
    assert found is not None
    assert found.kind is ReplyKind.PASSWORD
    assert "Google" in found.meaning


@pytest.mark.parametrize(
    "said",
    ["", "250 2.0.0 Ok: queued as 535", "Connection refused by mx.lab2.campus.", "Deferred: 10.0.3.550"],
)  # fmt: skip
def test_what_is_no_refusal_means_nothing(said: str) -> None:
    assert explain(said) is None


def test_an_unknown_reply_is_not_explained_away() -> None:
    assert explain("571 The stars are wrong") is None


def test_nothing_that_a_host_says_is_part_of_the_answer() -> None:
    found = explain("535 5.7.8 \x1b[2Jevil words Username and Password not accepted")
    assert found is not None
    assert "evil" not in found.meaning + found.remedy
