from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import minimta
from minimta.config.option import OptionError
from minimta.config.options import Options, by_name
from minimta.config.values import agent_words, host_and_port
from minimta.mailers.by_name import Mailers
from minimta.mailers.files.file_mailer import FileMailer
from minimta.mailers.files.maildir import MaildirMailer
from minimta.mailers.files.mbox import MboxMailer
from minimta.mailers.programs.agent import AgentMailer
from minimta.mailers.programs.prog import ProgMailer
from minimta.mailers.remote.lmtp import LmtpMailer
from minimta.mailers.remote.mailer import RemoteMailer
from minimta.system.users import Users
from tests.support.slots import slots


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
    made = Mailers(chosen(text), Users(), slots())["local"]
    assert type(made) is kind
    assert made.name == "local"


@pytest.mark.parametrize(
    ("name", "kind"), [("*file*", FileMailer), ("prog", ProgMailer), ("esmtp", RemoteMailer)]
)
def test_the_other_mailers_have_their_names(name: str, kind: type) -> None:
    made = Mailers(Options(), Users(), slots())[name]
    assert type(made) is kind
    assert made.name == name


def test_a_mailer_is_made_once_and_a_name_that_is_none_is_told() -> None:
    mailers = Mailers(Options(), Users(), slots())
    assert mailers["prog"] is mailers["prog"]
    with pytest.raises(KeyError):
        mailers["uucp"]


@pytest.mark.parametrize(
    ("local", "slow"), [("mbox", False), ("maildir", False), ("lmtp:h", True), ("|/a", True)]
)
def test_who_waits_for_others_is_slow(local: str, slow: bool) -> None:
    mailers = Mailers(chosen(local), Users(), slots())
    assert mailers.slow == {"prog", "esmtp"} | ({"local"} if slow else set())
    assert not mailers, "none had to be made for that"


def test_what_nobody_asks_for_is_not_even_imported() -> None:
    script = (
        "import sys\n"
        "from minimta.config.options import Options\n"
        "from minimta.mailers.by_name import Mailers\n"
        "from minimta.system.slots import Slots\n"
        "from minimta.system.users import Users\n"
        "assert Mailers(Options(), Users(), Slots('', 1))['local'].name == 'local'\n"
        "print(*(name for name in sys.modules if name.startswith('minimta.mailers.')))\n"
    )
    home = Path(minimta.__file__).parent.parent
    found = subprocess.check_output([sys.executable, "-c", script], cwd=home)
    loaded = {name.split(".")[2] for name in found.decode().split()}
    assert loaded == {"by_name", "job", "files"}


def test_without_the_option_there_are_mailboxes() -> None:
    assert type(Mailers(Options(), Users(), slots())["local"]) is MboxMailer


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


@pytest.mark.parametrize("port", [1, 65535])
def test_every_port_that_there_is_may_be_that_of_lmtp(port: int) -> None:
    assert host_and_port(f"localhost:{port}") == ("localhost", port)
    assert host_and_port(f"[::1]:{port}") == ("::1", port)


@pytest.mark.parametrize(
    "place",
    [
        "",
        ":24",
        "[]:24",
        "h:0",
        "h:65536",
        "[::1]:0",
        "[::1]:65536",
        "[::1",
        "[::1]24",
        "/h:24",
        "a b:24",
    ],
)
def test_what_is_no_host_and_port_is_told(place: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"no host and port: {place!r}")):
        host_and_port(place)
