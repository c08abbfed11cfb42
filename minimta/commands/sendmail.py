"""``sendmail``, ``mailq``, ``newaliases``: reads the command line and calls one room."""

from __future__ import annotations

import os
import time

import minimta
from minimta.config import commandline
from minimta.config import file as config_file
from minimta.config.commandline import UsageError
from minimta.config.options import OptionError
from minimta.queue import permission
from minimta.queue.permission import NO_RIGHTS
from minimta.submission.caller import Caller
from minimta.system import log, safefile
from minimta.system.terminal import complain, occupy_standard_descriptors, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.config.commandline import Command
    from minimta.config.options import Options


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code (sysexits)."""
    occupy_standard_descriptors()
    os.umask(0o077)
    try:
        command = commandline.parse(argv)
        options = _options(command)
        log.configure(command.tag or _tag(command), options.log_to, options.log_level)
        if command.debug is not None:
            _show_version(command)
        return _MODES[command.mode](command, options, argv)
    except UsageError as error:
        (complain if error.on_stderr else say)(str(error))
        return error.exit_code
    except config_file.ConfigError as error:
        say(str(error))
        return error.exit_code
    except OptionError as error:
        say(f"readcf: {error}")
        return os.EX_SOFTWARE


def _show_version(command: Command) -> None:
    """-d0.1: version, on standard output or in the file that -D names."""
    text = f"Version {minimta.__version__}"
    if not command.debug_file:
        return say(text)
    commandline = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    file = os.open(command.debug_file, commandline, 0o600)
    os.write(file, text.encode("ascii") + b"\n")
    os.close(file)
    return None


def _tag(command: Command) -> str:
    """The daemon and queue runs log as Debian's sm-mta, which log readers look for."""
    return "sm-mta" if command.mode in "dD" or command.queue_runs else "sendmail"


def _options(command: Command) -> Options:
    """The configuration as this caller may have it. Raise UsageError for what he may not say.

    DIFFERS: Sendmail obeys unsafe options and gives up its privileges. Here are none to give up,
    but whoever has no rights on the queue gets a refusal, not a second mail system.
    """
    options = config_file.load(command.config_file, [], safefile.why_untrusted)
    if os.getuid():
        unsafe = list(command.unsafe)
        if command.config_file:
            unsafe.append(f"-C {log.clean(command.config_file)}")
        if unsafe and not permission.may_administer(options):
            text = f"{unsafe[0]}: Permission denied (real uid not trusted)"
            raise UsageError(text, exit_code=os.EX_NOPERM, on_stderr=True)
    config_file.override(options, command.settings)
    return options


def _require_queue(command: Command, options: Options) -> None:
    """Raise UsageError (78) if the caller may not enter the MTA queue."""
    reason = permission.why_not_queue(options.queue_directory)
    if not reason:
        return
    log.line("", f"NOQUEUE: SYSERR({log.clean(Caller(options).name)}): {reason}")
    say(reason)
    raise UsageError(NO_RIGHTS, exit_code=os.EX_CONFIG, on_stderr=True)


# --- modes ----------------------------------------------------------------------------------------


def _submit(command: Command, options: Options, argv: list[str]) -> int:
    if command.quarantine is not None:
        return _not_here("-Q: quarantining is not supported")
    if command.queue_runs:
        return _run_queue(command, options, argv)
    if command.traffic_log:
        return _not_here("-X: a log of the traffic is not supported; see -v")
    if command.queue == "m":
        _require_queue(command, options)
    from minimta.submission.sender import SubmissionError
    from minimta.submission.submit import Submission

    try:
        return Submission(command, options, Caller(options), time.time()).run()
    except SubmissionError as trouble:
        say(str(trouble))
        return trouble.exit_code
    except OSError as error:
        complain(f"sendmail: cannot queue the message: {error}")
        return os.EX_TEMPFAIL


def _list_queue(command: Command, options: Options, argv: list[str]) -> int:
    from minimta.commands import mailq, start_runner

    selections = start_runner.selections_of(command.queue_runs)
    client = command.queue == "c"
    return mailq.show(options, verbose=command.verbose, client=client, selections=selections)


def _rebuild_aliases(command: Command, options: Options, argv: list[str]) -> int:
    from minimta.commands import newaliases

    return newaliases.run(options)


def _verify(command: Command, options: Options, argv: list[str]) -> int:
    _require_queue(command, options)
    from minimta.commands import verify

    return verify.show(command, options)


def _speak_smtp(command: Command, options: Options, argv: list[str]) -> int:
    from minimta.listener import daemon

    return daemon.session_on_stdio(options)


def _serve(command: Command, options: Options, argv: list[str]) -> int:
    # A queue that is not there is nobody's; that it is missing is the better answer.
    if os.path.lexists(options.queue_directory) and not permission.may_administer(options):
        log.line("", f"user {os.getuid()} attempted to run daemon")
        raise UsageError("550 Permission denied (real uid not trusted)")
    from minimta.listener import daemon

    runs = command.queue_runs
    return daemon.run(
        options,
        interval=_interval(runs[-1]) if runs else None,
        queue_runner=bool(runs),
        foreground=command.mode == "D",
        command=argv,
    )


def _run_queue(command: Command, options: Options, argv: list[str]) -> int:
    _require_queue(command, options)
    from minimta.commands import start_runner

    return start_runner.start(command, options, argv)


def _interval(text: str) -> int | None:
    """ "15m", "p15m", "f" -> seconds, None for a single run. Raise UsageError."""
    from minimta.commands.start_runner import interval_of

    return interval_of(text)


def _not_here(text: str) -> int:
    complain(f"sendmail: {text}")
    return os.EX_UNAVAILABLE


def _check_configuration(command: Command, options: Options, argv: list[str]) -> int:
    """-bC: the configuration has been read without an error."""
    return os.EX_OK


def _address_test(command: Command, options: Options, argv: list[str]) -> int:
    from minimta.commands import testmode

    return testmode.run(options)


def _host_status(command: Command, options: Options, argv: list[str]) -> int:
    complain("sendmail: no host status is kept (-bh, -bH)")
    return os.EX_OK


def _queue_size(command: Command, options: Options, argv: list[str]) -> int:
    say("Data unavailable: shared memory not updated")
    return os.EX_OK


_MODES: dict[str, Callable[[Command, Options, list[str]], int]] = {
    "a": _submit,
    "b": _serve,
    "C": _check_configuration,
    "D": _serve,
    "d": _serve,
    "H": _host_status,
    "h": _host_status,
    "i": _rebuild_aliases,
    "m": _submit,
    "P": _queue_size,
    "p": _list_queue,
    "s": _speak_smtp,
    "t": _address_test,
    "v": _verify,
}
