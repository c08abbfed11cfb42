"""Sendmail's command line, letter by letter."""

from __future__ import annotations

import os

import pytest

from minimta.config import commandline
from minimta.config.commandline import Command, UsageError
from minimta.config.option import OptionError


def parse(*arguments: str) -> Command:
    return commandline.parse(["/usr/sbin/sendmail", *arguments])


@pytest.mark.parametrize(
    ("name", "mode"),
    [("sendmail", "m"), ("/usr/bin/mailq", "p"), ("newaliases", "i"), ("smtpd", "d")],
)
def test_the_name_of_the_program_decides_the_mode(name: str, mode: str) -> None:
    assert commandline.parse([name]).mode == mode


@pytest.mark.parametrize(
    "words", [["-fx@y", "z"], ["-f", "x@y", "z"], ["-r", "x@y", "z"], ["-rx@y", "z"]]
)
def test_a_value_is_glued_or_the_next_argument(words: list[str]) -> None:
    command = parse(*words)
    assert (command.sender, command.arguments) == (b"x@y", [b"z"])


def test_letters_may_be_grouped() -> None:
    command = parse("-tiv", "-oem", "-odq")
    assert command.take_header_recipients and command.verbose
    assert command.settings == [("IgnoreDots", "true"), ("ErrorMode", "m"), ("DeliveryMode", "q")]


def test_two_dashes_end_the_options() -> None:
    assert parse("-i", "--", "-henry").arguments == [b"-henry"]
    assert parse("--help", "-x").arguments == [b"-x"]


def test_a_lone_dash_is_an_argument() -> None:
    assert parse("-").arguments == [b"-"]


def test_an_initial_submission_is_one_like_any_other() -> None:
    command = parse("-U", "-t", "x")
    assert command.take_header_recipients
    assert command.arguments == [b"x"]


def test_an_address_ends_the_options() -> None:
    assert parse("dave", "-t").arguments == [b"dave", b"-t"]


@pytest.mark.parametrize(
    ("words", "text", "on_stderr"),
    [
        (["-K", "x"], "sendmail: illegal option -- K", True),
        (["-E"], "sendmail: illegal option -- E", True),
        (["-Z", "dave"], "sendmail: illegal option -- Z", True),
        (["-\x1b"], "sendmail: illegal option -- ?", True),
        (["-f"], "sendmail: option requires an argument -- f", True),
        (["-bX", "x"], "Invalid operation mode X", False),
        (["-bps"], "Invalid operation mode p", False),
        (["-N", "foo", "x"], "Invalid -N argument", False),
        (["-N", "never,success"], "Invalid -N argument", False),
        (["-R", "some"], "Invalid -R argument", False),
        (["-BFOO"], "Illegal body type FOO", False),
        (["-h", "abc"], "Bad hop count (abc)", False),
        (["-h", "\uff11"], "Bad hop count (\uff11)", False),
        (["-T5d"], "Invalid time unit `T'", False),
        (["-f", "a", "-f", "b"], 'More than one "from" person', False),
        (["-L", "a\nb"], "-L: bad tag 'a\\nb'", False),
        (["-d5.1"], "-d: only category 0 (version and identity) exists", False),
    ],
)
def test_a_wrong_word_is_answered_in_sendmails_words(
    words: list[str], text: str, on_stderr: bool
) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert (str(caught.value), caught.value.on_stderr) == (text, on_stderr)
    assert caught.value.exit_code == os.EX_USAGE


@pytest.mark.parametrize(
    ("value", "letters"),
    [
        ("never", "N"),
        ("success", "NS"),
        ("delay,success", "NSD"),
        ("FAILURE,delay", "NFD"),
        ("success,delay,failure", "NSFD"),
    ],
)
def test_notify_becomes_flags_in_sendmails_order(value: str, letters: str) -> None:
    assert parse("-N", value).notify == letters


def test_dsn_and_body_parameters() -> None:
    command = parse("-R", "hdrs", "-V", "env+2B1", "-B8bitmime", "-h3", "-p", "SMTP:foo.campus")
    assert (command.ret, command.envid, command.body_type) == (b"HDRS", b"env+2B1", b"8BITMIME")
    assert (command.hops, command.protocol, command.helo) == (3, b"SMTP", b"foo.campus")


def test_cron_as_debian_has_it() -> None:
    command = parse("-FCronDaemon", "-i", "-B8BITMIME", "-oem", "a@x,b@x")
    assert (command.full_name, command.arguments) == (b"CronDaemon", [b"a@x,b@x"])


@pytest.mark.parametrize("word", ["-q", "-d", "-C"])
def test_some_options_may_stand_without_a_value(word: str) -> None:
    assert parse(word, "-v").verbose


def test_queue_runs_are_kept_in_order() -> None:
    assert parse("-qRgrey", "-q!Sx", "-q").queue_runs == ["Rgrey", "!Sx", ""]


#: a value that each flag takes, "" for what takes any, or none
VALUES = {"B": "7BIT", "b": "m", "d": "0.1", "h": "1", "M": "rSMTP", "N": "never", "R": "full"}
VALUES |= {"O": "MeToo=true", "o": "i", "L": "tag"}


@pytest.mark.parametrize("letter", [letter for letter in commandline._FLAGS if letter not in "sTU"])
def test_every_flag_sets_attributes_that_a_command_has(letter: str) -> None:
    command = parse(f"-{letter}", *([] if letter in "dq" else [VALUES.get(letter, "x")]))
    assert vars(command).keys() == vars(Command(["sendmail"])).keys()


@pytest.mark.parametrize("words", [["-I"], ["-bi"]])
def test_both_ways_to_rebuild_the_aliases(words: list[str]) -> None:
    assert parse(*words).mode == "i"


@pytest.mark.parametrize(
    "words",
    [
        ["-oQ/tmp"],
        ["-O", "QueueDirectory=/tmp"],
        ["-oMrSMTP"],
        ["-ORunAsUser=root"],
        ["-D", "/tmp/x"],
        ["-OPrivacyOptions=public"],
        ["-oA/tmp/aliases"],
    ],
)
def test_what_only_an_administrator_may_say_is_noted(words: list[str]) -> None:
    assert parse(*words).unsafe


@pytest.mark.parametrize(
    "words", [["-oi"], ["-odi"], ["-oem"], ["-om"], ["-O", "DeliveryMode=q"], ["-pSMTP:x"]]
)
def test_what_concerns_only_ones_own_message_is_everybodys(words: list[str]) -> None:
    assert not parse(*words).unsafe


@pytest.mark.parametrize("words", [["-OAlwaysBcc=x@y"], ["-O", "alwaysbcc="], ["-ORedirectAll="]])
def test_what_belongs_in_the_file_is_refused_to_everybody(words: list[str]) -> None:
    with pytest.raises(UsageError, match="only the configuration file can set it"):
        commandline.parse(["sendmail", *words])


@pytest.mark.parametrize("words", [["-ONoSuchOption=1"], ["-o~x"], ["-o9"]])
def test_an_unknown_option_name_is_an_option_error(words: list[str]) -> None:
    with pytest.raises(OptionError, match="unknown option name"):
        parse(*words)


@pytest.mark.parametrize(
    "words", [["-oo"], ["-os"], ["-oc"], ["-oj"], ["-c"], ["-osTrue"], ["-O", "SuperSafe=True"]]
)
def test_what_is_always_so_may_be_said(words: list[str]) -> None:
    assert not parse(*words).settings
    assert not parse(*words).unsafe


@pytest.mark.parametrize("words", [["-osFalse"], ["-o7"], ["-O", "SendMimeErrors=False"]])
def test_what_is_otherwise_here_is_an_option_error(words: list[str]) -> None:
    with pytest.raises(OptionError, match="can be had"):
        parse(*words)
