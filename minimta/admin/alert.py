"""``minimta alert``: what was told of an outage; ``--test`` tells somebody now, as AlertCommand says."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser

from minimta.admin.arguments import parsed
from minimta.admin.checkout import AdminError
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.message import dates
from minimta.runner import alert, alert_send, alert_state
from minimta.runner.alert_send import Alert
from minimta.runner.alert_state import Trouble
from minimta.system import log, safefile
from minimta.system.safefile import Untrusted

_TOLD = {
    Trouble.AGE: "the oldest message waits for too long",
    Trouble.LOGIN: "a login is refused",
    Trouble.QUEUE: "the queue cannot be written",
}


def run(arguments: list[str]) -> int:
    """0: told; 78: there is no AlertCommand, or it cannot be used; 75: it was not told.

    Raise AdminError for other words, and for a configuration that cannot be read.
    """
    file, is_test = _parse(arguments)
    try:
        options = config_file.load(file, [], safefile.why_untrusted)
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error
    if not options.alert_command:
        remedy = "AlertCommand = /PROGRAM, or file:/PATH with an https URL in it (minimta(8))"
        raise AdminError(f"nobody hears of outages: {remedy}", os.EX_CONFIG)
    if options.one_user:
        safefile.forget_readers()
    elif os.geteuid() != 0 and options.run_as_user:
        raise AdminError("only root can do that", os.EX_NOPERM)
    return _test(options) if is_test else _tell_state(options)


def _parse(arguments: list[str]) -> tuple[str | None, bool]:
    parser = ArgumentParser(prog="minimta alert", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="configuration, instead of /etc/mail/minimta.cf")
    parser.add_argument("--test", action="store_true", help="tell somebody now")
    given = parsed(parser, arguments)
    return given.C, given.test


def _test(options: Options) -> int:
    host = alert.own_name(options)
    try:
        alert_send.send(options, Alert("test", host, f"{host}: a test of AlertCommand"))
    except (OSError, Untrusted, ValueError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        code = os.EX_TEMPFAIL if isinstance(error, OSError) else os.EX_CONFIG
        raise AdminError(f"not sent: {log.clean(why)}", code) from error
    say("sent")
    return os.EX_OK


def _tell_state(options: Options) -> int:
    record = alert_state.read(options.queue_directory)
    if record.told is Trouble.NONE:
        say("no outage was told of")
    else:
        say(f"told of since {dates.queue_time(record.since)}: {_TOLD[record.told]}")
    if record.tries and record.next > time.time():
        said = f"{record.tries} tries to tell were in vain"
        say(f"{said}; the next one is not before {dates.queue_time(record.next)}")
    return os.EX_OK
