from __future__ import annotations

import pytest

from minimta.config.options import OptionError, Options, by_name
from minimta.config.values import agent_words, host_and_port
from minimta.mailers.by_name import local_mailer
from minimta.mailers.files.maildir import MaildirMailer
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.programs.agent import AgentMailer
from minimta.mailers.remote.lmtp import LmtpMailer
from minimta.system.users import Users


def chosen(text: str) -> Options:
    options = Options()
    options.set(by_name("LocalMailer"), text)
    return options


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("|/usr/bin/procmail -a $h -d $u", AgentMailer),
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
        ("| /usr/lib/dovecot/dovecot-lda  -a $u+$h", "| /usr/lib/dovecot/dovecot-lda  -a $u+$h"),
        ("lmtp:[::1]:24", "lmtp:[::1]:24"),
        ("lmtp:[::1]", "lmtp:[::1]"),
        ("lmtp:10.0.3.134:2424", "lmtp:10.0.3.134:2424"),
    ],
)
def test_all_forms_are_read(text: str, read: str) -> None:
    assert chosen(text).local_mailer == read


@pytest.mark.parametrize(
    "text",
    ["", "m", "mboxo", "|", "| ", "|procmail", "|''", "| ./procmail", "lmtp", "lmtp:", "lmtp:run/lmtp", "lmtp::24", "lmtp:h:0",
     "lmtp:h:65536", "lmtp:h:x", "lmtp:h:24:25", "lmtp:::1", "lmtp:::1:24", "lmtp:[::1", "lmtp:[]:24",
     "lmtp:[::1]24", "lmtp:a b:24", "procmail", "/usr/bin/procmail"],
)  # fmt: skip
def test_a_bad_value_is_told_with_what_is_allowed(text: str) -> None:
    with pytest.raises(OptionError) as error:
        chosen(text)
    assert str(error.value).startswith(f"option LocalMailer: {text.strip()!r} is none of mbox, ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("|/a", ["/a"]),
        ("|/a -a $h  -d$u", ["/a", "-a", "$h", "-d$u"]),
        ("| '/a b' \"c d\" \\ e '' # f", ["/a b", "c d", " e", "", "#", "f"]),
    ],
)
def test_the_words_of_an_agent_are_split_as_in_a_shell(text: str, words: list[str]) -> None:
    assert agent_words(chosen(text).local_mailer) == words


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("|/a 'b", "No closing quotation"),
        ("|/a $x", r"\$x is none of \$u, \$h, \$f"),
        ("|/a $", r"\$ is none of"),
        ("|/a b$$u", r"\$ is none of"),
    ],
)
def test_an_agent_that_cannot_be_understood_is_refused(text: str, why: str) -> None:
    with pytest.raises(OptionError, match=f"option LocalMailer: {why}"):
        chosen(text)


def test_the_port_of_lmtp_is_24() -> None:
    assert host_and_port("localhost") == ("localhost", 24)
    assert host_and_port("[::1]") == ("::1", 24)
    assert host_and_port("[::1]:25") == ("::1", 25)
