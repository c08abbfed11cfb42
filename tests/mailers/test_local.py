from __future__ import annotations

import pytest

from minimta.mailers.lmtp import LmtpMailer
from minimta.mailers.local import local_mailer
from minimta.mailers.maildir import MaildirMailer
from minimta.mailers.mbox import MboxMailer
from minimta.options import OptionError, Options, by_name, host_and_port
from minimta.users import Users


def chosen(text: str) -> Options:
    options = Options()
    options.set(by_name("LocalMailer"), text)
    return options


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("mbox", MboxMailer),
        (" Maildir ", MaildirMailer),
        ("lmtp:/run/dovecot/lmtp", LmtpMailer),
        ("lmtp:localhost:24", LmtpMailer),
    ],
)
def test_the_option_chooses_the_mailer(text: str, kind: type) -> None:
    made = local_mailer(chosen(text), Users())
    assert type(made) is kind
    assert made.name == "local"


def test_without_the_option_there_are_mailboxes() -> None:
    assert type(local_mailer(Options(), Users())) is MboxMailer


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("MBOX", "mbox"),
        ("LMTP: /run/Lmtp", "lmtp:/run/Lmtp"),
        ("lmtp:localhost", "lmtp:localhost"),
        ("lmtp:[::1]:24", "lmtp:[::1]:24"),
        ("lmtp:[::1]", "lmtp:[::1]"),
        ("lmtp:10.0.3.134:2424", "lmtp:10.0.3.134:2424"),
    ],
)
def test_all_forms_are_read(text: str, read: str) -> None:
    assert chosen(text).local_mailer == read


@pytest.mark.parametrize(
    "text",
    ["", "m", "mboxo", "|", "| ", "lmtp", "lmtp:", "lmtp:run/lmtp", "lmtp::24", "lmtp:h:0",
     "lmtp:h:65536", "lmtp:h:x", "lmtp:h:24:25", "lmtp:::1", "lmtp:::1:24", "lmtp:[::1", "lmtp:[]:24",
     "lmtp:[::1]24", "lmtp:a b:24", "procmail", "/usr/bin/procmail"],
)  # fmt: skip
def test_a_bad_value_is_told_with_what_is_allowed(text: str) -> None:
    with pytest.raises(OptionError) as error:
        chosen(text)
    assert str(error.value).startswith(f"option LocalMailer: {text.strip()!r} is none of mbox, ")


def test_the_port_of_lmtp_is_24() -> None:
    assert host_and_port("localhost") == ("localhost", 24)
    assert host_and_port("[::1]") == ("::1", 24)
    assert host_and_port("[::1]:25") == ("::1", 25)
