"""The option table."""

from __future__ import annotations

import pytest

from minimta.config import options, sendmail_names, unknown_names
from minimta.config.option import Option, OptionError
from minimta.config.options import Options
from minimta.config.ports import Port
from minimta.config.postfix_names import NAMES


def test_names_are_found_in_any_case_and_letters_exactly() -> None:
    assert options.by_name("queuedirectory") is options.by_letter("Q")
    assert options.by_letter("d").name == "DeliveryMode"


def test_an_unknown_name_is_told_with_its_neighbour() -> None:
    with pytest.raises(OptionError, match=r"QueDirectory \(did you mean QueueDirectory\?\)"):
        options.by_name("QueDirectory")


def test_who_comes_from_postfix_is_told_the_name_here() -> None:
    with pytest.raises(
        OptionError, match=r"unknown option name relayhost \(here it is SmartHost\)"
    ):
        options.by_name("relayhost")
    assert {options.by_name(name).name for name in NAMES.values()} == set(NAMES.values())
    assert not [name for name in NAMES if name != name.lower()]
    assert unknown_names.meant("message_size_limit = 0", options.TABLE) == "MaxMessageSize"
    assert unknown_names.meant("spooldir = /x", options.TABLE) == "QueueDirectory"


def test_an_unknown_letter_is_told_as_sendmail_does() -> None:
    with pytest.raises(OptionError, match="unknown option name 0x7e"):
        options.by_letter("~")


def test_no_name_attribute_or_letter_occurs_twice() -> None:
    for column in ("name", "attribute", "letter"):
        values = [
            getattr(option, column).lower() if column == "name" else getattr(option, column)
            for option in (*options.TABLE, *sendmail_names.ALWAYS)
        ]
        given = [value for value in values if value]
        assert len(given) == len(set(given)), column


@pytest.mark.parametrize("option", options.TABLE, ids=lambda option: str(option.name))
def test_every_row_has_its_default_until_it_is_set(option: Option) -> None:
    chosen = Options()
    default = option.value(option.default)
    assert getattr(chosen, option.attribute) == default
    setattr(chosen, option.attribute, "set")
    assert getattr(chosen, option.attribute) == "set"
    assert getattr(Options(), option.attribute) == default


@pytest.mark.parametrize("option", options.TABLE, ids=lambda option: str(option.name))
def test_every_row_is_an_attribute_of_the_one_type_that_its_reader_gives(
    option: Option,
) -> None:
    assert vars(Options)[option.attribute] is option
    chosen = Options()
    chosen.set(option, option.default)
    assert type(vars(chosen)[option.attribute]) is type(option.value(option.default))


def test_a_default_is_read_once_and_only_when_asked_for() -> None:
    chosen = Options()
    assert "dont_blame" not in vars(chosen)
    assert chosen.dont_blame is chosen.dont_blame


@pytest.mark.parametrize("option", sendmail_names.ALWAYS, ids=lambda option: str(option.name))
def test_what_is_always_so_may_be_said_and_sets_nothing(option: Option) -> None:
    chosen = Options()
    before = dict(vars(chosen))
    chosen.set(options.by_name(option.name), option.default or "1")
    assert vars(chosen) == before


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("SuperSafe", "False", "only True can be had: a message is on disk before"),
        ("SuperSafe", "Interactive", "not a boolean: 'Interactive'"),
        ("SevenBitInput", "", "only False can be had: the eighth bit"),
        ("TempFileMode", "0640", "only 0600 can be had: "),
        ("TempFileMode", "rw", "no mode of a file: 'rw'"),
        ("Timeout.ident", "5s", "only 0 can be had: clients are not asked"),
        ("OldStyleHeaders", "False", "only True can be had: blanks separate"),
        ("BlankSub", "_", "only . can be had: "),
        ("HoldExpensive", "perhaps", "not a boolean: 'perhaps'"),
        ("AliasWait", "x", "Invalid time unit 'x'"),
    ],
)
def test_what_is_otherwise_here_is_refused_with_the_reason(
    name: str, text: str, reason: str
) -> None:
    with pytest.raises(OptionError, match=f"^option {name}: {reason}"):
        Options().set(options.by_name(name), text)


@pytest.mark.parametrize("text", ["False", "True", "t", ""])
def test_what_cannot_matter_may_have_any_value(text: str) -> None:
    Options().set(options.by_name("HoldExpensive"), text)


def test_a_mode_may_be_written_with_or_without_the_nought() -> None:
    for text in ("0600", "600", " 0600 "):
        Options().set(options.by_name("QueueFileMode"), text)


def test_a_bad_value_names_the_option() -> None:
    with pytest.raises(OptionError, match="option MaxHopCount: not a number: 'many'"):
        Options().set(options.by_name("MaxHopCount"), "many")


def test_daemon_ports_accumulate_and_replace_the_default() -> None:
    chosen, ports = Options(), options.by_name("DaemonPortOptions")
    assert len(chosen.daemon_ports) == 2
    chosen.set(ports, "Name=MTA, Addr=127.0.0.1, Port=2525")
    chosen.set(ports, "Family=inet6, Port=smtp")
    assert chosen.daemon_ports == (
        Port(address="127.0.0.1", port=2525),
        Port(address="::", port=25),
    )


def test_ports_that_are_kept_are_read_when_they_are_asked_for() -> None:
    chosen, ports = Options(), options.by_name("DaemonPortOptions")
    for text in ("Port=26", "Port=27"):
        chosen.keep(ports, text)
    assert [port.port for port in chosen.daemon_ports] == [26, 27]

    chosen = Options()
    chosen.keep(ports, "Port=26")
    chosen.set(ports, "Port=27")
    assert [port.port for port in chosen.daemon_ports] == [26, 27]
    chosen.supersede()
    chosen.set(ports, "Port=28")
    assert [port.port for port in chosen.daemon_ports] == [28]

    chosen = Options()
    chosen.keep(ports, "Port=x")
    with pytest.raises(OptionError, match="option DaemonPortOptions: Port: service"):
        _ = chosen.daemon_ports


@pytest.mark.parametrize("text", ["Port=70000", "Prot=25", "Port=x", "Addr"])
def test_a_bad_port_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        Options().set(options.by_name("DaemonPortOptions"), text)


def test_a_choice_may_be_its_first_letter() -> None:
    chosen = Options()
    chosen.set(options.by_letter("d"), "q")
    chosen.set(options.by_letter("e"), "m")
    assert (chosen.delivery_mode, chosen.error_mode) == ("queueonly", "mail")


def privacy(text: str) -> tuple[str, ...]:
    chosen = Options()
    chosen.set(options.by_letter("p"), text)
    return chosen.privacy_options


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("public", ("public",)),
        ("NoExpn,needmailhelo noreceipts", ("noexpn", "needmailhelo", "noreceipts")),
        ("restrictmailq,restrictqrun", ("restrictmailq", "restrictqrun")),
        (
            "needmailhelo,needexpnhelo,needvrfyhelo,restrictqrun,restrictexpand,nobodyreturn,authwarnings",
            (
                "needmailhelo", "needexpnhelo", "needvrfyhelo", "restrictqrun", "restrictexpand",
                "nobodyreturn", "authwarnings",
            ),
        ),
        (
            "goaway,noetrn",
            (
                "authwarnings", "needmailhelo", "needexpnhelo", "needvrfyhelo", "noexpn", "noverb",
                "novrfy", "noetrn",
            ),
        ),
    ],
)  # fmt: skip
def test_privacy_options_are_the_words_of_sendmail(text: str, words: tuple[str, ...]) -> None:
    assert privacy(text) == words


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("authwarnings,noexpan", r"unknown name noexpan \(did you mean noexpn\?\)"),
        ("nosuch", "unknown name nosuch"),
    ],
)
def test_a_privacy_option_that_nothing_obeys_is_refused(text: str, reason: str) -> None:
    with pytest.raises(OptionError, match=f"^option PrivacyOptions: {reason}"):
        privacy(text)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("QueueDirectory = /x", "QueueDirectory"),
        ("queuedirectory=/x", "QueueDirectory"),
        ("O QueueDirectory=/x", "QueueDirectory"),
        ("Client Queue Directory = /x", "ClientQueueDirectory"),
        ("ClientQueueDirectry = /x", "ClientQueueDirectory"),
        ("QueueDirectory /x", "QueueDirectory"),
        ("QueueDirectory: /x", "QueueDirectory"),
        ("OQ/var/spool/mqueue", "QueueDirectory"),
        ("my spool = /x", "QueueDirectory"),
        ("MaxMesageSize = 1", "MaxMessageSize"),
        ("LocalHostName = x", "LocalHostNames"),
        ("Timeout.queuereturm = 5d", "Timeout.queuereturn"),
        ("= 5", ""),
        ("gibberish", ""),
    ],
)
def test_a_wrong_line_is_about_the_option_that_it_most_likely_means(line: str, name: str) -> None:
    assert unknown_names.meant(line, options.TABLE) == name


PLACES = ["QueueDirectory", "ClientQueueDirectory", "MailboxDirectory"]
FILES = ["PasswdFile", "LocalHostNames", "TrustedUsers", "MailerTable", "PidFile", "DeadLetterDrop"]
FILES += ["VirtUserTable", "GenericsTable", "SenderRelay", "AccessFile", "RelayDomains"]
FILES += ["AuthInfoFile", "TLSPolicy", "CACertFile", "CACertPath", "RelayCertFile", "SRSKeyFile"]
FILES += ["ClientCertFile", "ClientKeyFile", "ServerCertFile", "ServerKeyFile"]
FILES += ["SmrshDirectory", "TokenDirectory", "LoginSenders", "DKIMSign", "StatusFile"]


@pytest.mark.parametrize("name", [*PLACES, *FILES])
def test_a_path_means_the_same_wherever_a_command_is_called(name: str) -> None:
    chosen = Options()
    for text in ("mail", "./mail", "~/mail", "-o /etc/mail"):
        with pytest.raises(OptionError, match="no absolute path"):
            chosen.set(options.by_name(name), text)
    chosen.set(options.by_name(name), " /srv/mail ")


@pytest.mark.parametrize("name", PLACES)
def test_a_queue_and_the_mailboxes_must_be_somewhere(name: str) -> None:
    with pytest.raises(OptionError, match="no path at all"):
        Options().set(options.by_name(name), " ")


@pytest.mark.parametrize("name", FILES)
def test_a_file_need_not_be(name: str) -> None:
    Options().set(options.by_name(name), "")


def test_each_option_that_is_a_path_is_among_these() -> None:
    # Of several files, in QueueDirectory, or a file or something else: with readers of their own.
    elsewhere = {"AliasFile", "ForwardPath", "HostStatusDirectory", "AuthBackend"}
    paths = {
        row.name
        for row in options.TABLE
        if row.default[:1] == "/" or row.name.endswith(("File", "Directory", "Table", "Path"))
    }
    assert paths - elsewhere <= {*PLACES, *FILES}


#: RFC 5321 section 4.5.3.2, in seconds
LEAST = {
    "timeout_initial": 300,
    "timeout_mail": 300,
    "timeout_rcpt": 300,
    "timeout_datainit": 120,
    "timeout_datablock": 180,
    "timeout_datafinal": 600,
    "timeout_command": 300,
}


@pytest.mark.parametrize("attribute", LEAST)
def test_nobody_is_given_up_sooner_than_the_rfc_allows(attribute: str) -> None:
    assert getattr(Options(), attribute) >= LEAST[attribute]


def test_mail_is_given_up_and_warned_of_when_the_rfc_says() -> None:
    """RFC 5321 section 4.5.4.1: after four or five days; and section 6.3: a hundred hops."""
    chosen = Options()
    assert 4 * 86400 <= chosen.timeout_queuereturn <= 5 * 86400
    assert 0 < chosen.timeout_queuewarn <= 4 * 3600
    assert chosen.max_hop_count >= 100
    assert chosen.max_recipients >= 100


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("SSL_OP_NO_SSLv2", ()),
        ("+SSL_OP_NO_TLSv1_3, SSL_OP_NO_TICKET", ("OP_NO_TLSv1_3", "OP_NO_TICKET")),
    ],
)
def test_ssl_options_are_those_of_the_module(text: str, names: tuple[str, ...]) -> None:
    chosen = Options()
    chosen.set(options.by_name("ServerSSLOptions"), text)
    assert chosen.server_ssl_options == names


@pytest.mark.parametrize(
    "text", ["-SSL_OP_NO_SSLv3", "SSL_OP_ALL", "SSL_OP_NO_TLSv1_2 SSL_OP_NO_TLSv1_3"]
)
def test_what_would_make_tls_weaker_or_impossible_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="option ClientSSLOptions: "):
        Options().set(options.by_name("ClientSSLOptions"), text)
