"""``sendmail``, ``mailq``, ``newaliases``: reads the command line and calls what -bX stands for.

One letter, one row of _MODES, one function that takes the command line and the options and returns
the exit code (sysexits.h). A room is loaded when its mode is asked for: a submission, which cron and
others start every minute, pays for no other.

What is wrong with the command line, the configuration or the caller's rights ends here, in Sendmail's
words and on the stream where Sendmail says it.
"""

from __future__ import annotations

import os
import time

import minimta
from minimta.config import commandline
from minimta.config import file as config_file
from minimta.config.commandline import UsageError
from minimta.config.option import OptionError
from minimta.config.options import Options
from minimta.queue import permission
from minimta.system import log, safefile, startup_code
from minimta.system.terminal import complain, interrupted, occupy_standard_descriptors, printed, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minimta.config.commandline import Command
    from minimta.submission.submit import Submission


#: what root is told where the configuration says that there is no root
_NOT_ROOT = (
    "with OneUser = True nothing runs as root: run it as the owner of QueueDirectory (podman exec --user),"
    " or take the option away"
)
#: by Sendmail's names, for who looks for one of them
_FEATURES = "DANE LOG MILTER MIME8TO7 NETINET NETINET6 NETUNIX PIPELINING STARTTLS"


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code (sysexits.h)."""
    os.umask(0o077)
    try:
        occupy_standard_descriptors()
        command = commandline.parse(argv)
        is_help = argv[1:] == ["--help"]
        code = _help(command) if is_help else _run(command)
        return printed(os.path.basename(argv[0]), code) if is_help or _prints(command) else code
    except UsageError as error:
        (complain if error.on_stderr else say)(str(error))
        return error.exit_code
    except OptionError as error:
        say(f"readcf: {error}")
        return os.EX_SOFTWARE
    except OSError as error:  # a look that failed: who calls, whom RunAsUser names; no /dev/null
        where = f"{error.filename}: " if error.filename else ""
        complain(f"sendmail: {where}{error.strerror or error}")
        return os.EX_TEMPFAIL
    except KeyboardInterrupt:
        return interrupted()


def _prints(command: Command) -> bool:
    """Is what it prints all that it is for? Who brings a letter would bring it again."""
    return command.mode not in "amsdD"


def _run(command: Command) -> int:
    try:
        options = _options(command)
    except config_file.ConfigError as error:
        return _without_configuration(command, error)
    log.configure(command.tag or _tag(command), options.log_to, options.log_level)
    if command.debug is not None:
        _show_version(command, options)
    if command.traffic_log:
        _log_traffic(command.traffic_log)
    if command.mode in "dD" or command.queue_runs:
        startup_code.forget()  # this may run for months
    return _MODES[command.mode](command, options)


def _options(command: Command) -> Options:
    """The configuration as this caller may have it. Raise UsageError for what they may not say.

    DIFFERS: Sendmail obeys unsafe options and gives up its privileges. Here are none to give up,
    but whoever has no rights on the queue gets a refusal, not a second mail system.
    """
    # Who brings a letter does not ask for ports, and what is wrong there the daemon says.
    whole = command.mode not in "am" or bool(command.queue_runs)
    options = config_file.load(command.config_file, [], safefile.why_untrusted, whole=whole)
    _require_rights(command, options)
    config_file.override(options, command.settings)
    if options.one_user:
        _be_alone()
    return options


def _be_alone() -> None:
    """OneUser: nobody else is here, least of all root, whose files its user could not read."""
    if os.geteuid() == 0:
        raise UsageError(f"sendmail: {_NOT_ROOT}", exit_code=os.EX_CONFIG, on_stderr=True)
    safefile.forget_readers()


def _require_rights(command: Command, options: Options) -> None:
    """Raise UsageError for unsafe options of who has no rights on the queue that *options* name."""
    # The file decides whose the queue is, so it is asked before -O can say another one.
    if not os.getuid():
        return
    unsafe = list(command.unsafe)
    if command.config_file:
        unsafe.append(f"-C {log.clean(command.config_file)}")
    if unsafe and not permission.may_administer(options):
        text = f"{unsafe[0]}: Permission denied (real uid not trusted)"
        raise UsageError(text, exit_code=os.EX_NOPERM, on_stderr=True)


def _without_configuration(command: Command, error: config_file.ConfigError) -> int:
    """Keep a letter all the same, refuse everything else. Returns the exit code.

    Only the administrator's file is forgiven: what -C names is the caller's own choice.
    """
    is_plain = command.queue != "m" and command.quarantine is None and not command.queue_runs
    if command.mode in "am" and is_plain and not command.config_file and not command.traffic_log:
        from minimta.submission import held  # few letters come at such a time

        options = error.options or Options()
        _require_rights(command, options)
        config_file.override(options, command.settings)
        log.configure(command.tag or "sendmail", options.log_to, options.log_level)
        return _take(lambda: held.HeldSubmission(command, options, time.time(), error))
    if command.mode == "s":
        say(f"421 4.3.5 {os.uname().nodename} Local configuration error\r")
    (complain if command.mode == "s" else say)(str(error))
    return error.exit_code


def _tag(command: Command) -> str:
    """The daemon and queue runs log as Debian's sm-mta, which log readers look for."""
    return "sm-mta" if command.mode in "dD" or command.queue_runs else "sendmail"


def _help(command: Command) -> int:
    from minimta.commands import usage  # few ask

    # DIFFERS: Sendmail takes it for the end of the options, and asks for recipients.
    say(usage.text(command.mode))
    return os.EX_OK


def _show_version(command: Command, options: Options) -> None:
    """-d0.1: version, sandbox and names, on standard output or in the file that -D names.

    Raise UsageError.
    """
    text = _version(options)
    if not command.debug_file:
        return say(text)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        file = os.open(command.debug_file, flags, 0o600)
        try:
            os.write(file, text.encode("utf-8", "surrogateescape") + b"\n")
        finally:
            os.close(file)
    except OSError as error:
        text = f"sendmail: cannot write {log.clean(command.debug_file)}: {error.strerror}"
        raise UsageError(text, exit_code=os.EX_CANTCREAT, on_stderr=True) from error
    return None


def _version(options: Options) -> str:
    """What -d0.1 tells, as Sendmail does: what there is of its features, and how this host is called."""
    from minimta.system import hostnames, sandbox  # few ask

    name, node = hostnames.own_name(options), os.uname().nodename
    short, _, domain = name.partition(".")
    rows = (
        ("(short domain name) $w", short),
        ("(canonical domain name) $j", name),
        ("(subdomain name) $m", domain),
        ("(node name) $k", node),
    )
    return "\n".join(
        (
            f"Version {minimta.__version__}",
            f" Compiled with: {_FEATURES}",
            f"Sandbox: {sandbox.available(options)}",
            "",
            "============ SYSTEM IDENTITY (after readcf) ============",
            *(f"{label:>28} = {value}" for label, value in rows),
            "========================================================",
            "",
        )
    )


def _log_traffic(path: str) -> None:
    """-X. Raise UsageError if the caller may not write there."""
    from minimta.system import traffic  # few ask

    try:
        traffic.open_log(path)
    except OSError as error:
        text = f"cannot open {log.clean(path)}: {error.strerror}"
        raise UsageError(f"sendmail: {text}", exit_code=os.EX_CANTCREAT, on_stderr=True) from error


def _require_queue(options: Options) -> None:
    """Raise UsageError (78) if the caller may not enter the MTA queue."""
    from minimta.queue import directories

    reason = directories.why_not_queue(options)
    if not reason:
        return
    from minimta.submission.caller import Caller

    log.line("", f"NOQUEUE: SYSERR({log.clean(Caller(options).name)}): {reason}")
    say(reason)
    raise UsageError(permission.NO_RIGHTS, exit_code=os.EX_CONFIG, on_stderr=True)


# --- modes ----------------------------------------------------------------------------------------


def _submit(command: Command, options: Options) -> int:
    if command.quarantine is not None:
        return _quarantine(command, options)
    if command.queue_runs:
        return _run_queue(command, options)
    if command.queue == "m":
        _require_queue(options)
    from minimta.submission.submit import Submission

    return _take(lambda: Submission(command, options, time.time()))


def _take(letter: Callable[[], Submission]) -> int:
    """Take the letter on standard input. Returns the exit code."""
    from minimta.submission.sender import SubmissionError

    try:
        return letter().run()
    except SubmissionError as error:
        say(str(error))
        return error.exit_code
    except OSError as error:
        complain(f"sendmail: cannot queue the message: {error}")
        return os.EX_TEMPFAIL


def _run_queue(command: Command, options: Options) -> int:
    if "restrictqrun" in options.privacy_options and not permission.may_administer(options):
        raise UsageError(permission.NOT_TO_RUN, exit_code=os.EX_NOPERM)
    _require_queue(options)
    from minimta.commands import start_runner

    return start_runner.start(command, options, lambda: _reread(command, options))


def _quarantine(command: Command, options: Options) -> int:
    """-Qreason, -Q: hold chosen messages, or let them go; 75 if another process has some."""
    from minimta.commands import start_runner

    selections = start_runner.selections_of(command.queue_runs)
    if not selections:
        raise UsageError("-Q wants to know which messages: -qI, -qR, -qS or -qQ")
    if not permission.may_administer(options):
        raise UsageError(permission.NOT_TO_RUN, exit_code=os.EX_NOPERM)
    _require_queue(options)
    from minimta.runner import quarantine

    missed = quarantine.change(options, selections, command.quarantine or "", say)
    return os.EX_TEMPFAIL if missed else os.EX_OK


def _list_queue(command: Command, options: Options) -> int:
    from minimta.commands import mailq, start_runner

    selections = start_runner.selections_of(command.queue_runs)
    client = command.queue == "c"
    return mailq.show(options, verbose=command.verbose, client=client, selections=selections)


def _show_hosts(command: Command, options: Options) -> int:
    from minimta.commands import hoststat

    return hoststat.show(options, verbose=command.verbose)


def _purge_hosts(command: Command, options: Options) -> int:
    from minimta.commands import hoststat

    return hoststat.purge(options)


def _rebuild_aliases(command: Command, options: Options) -> int:
    from minimta.commands import newaliases

    return newaliases.run(options)


def _verify(command: Command, options: Options) -> int:
    _require_queue(options)
    from minimta.commands import verify

    return verify.show(command, options)


def _test_addresses(command: Command, options: Options) -> int:
    from minimta.commands import testmode

    return testmode.run(options)


def _speak_smtp(command: Command, options: Options) -> int:
    from minimta.listener import daemon

    return daemon.session_on_stdio(options)


def _serve(command: Command, options: Options) -> int:
    # A queue that is not there is nobody's; that it is missing is the better answer.
    if os.path.lexists(options.queue_directory) and not permission.may_listen(options):
        log.line("", f"user {os.getuid()} attempted to run daemon")
        raise UsageError("550 Permission denied (real uid not trusted)")
    _log_warnings(options)
    if options.one_user:
        permission.make_queues(options)
    from minimta.commands.start_runner import interval_of
    from minimta.listener import daemon
    from minimta.system import processes

    runs, is_foreground = command.queue_runs, command.mode == "D"
    if is_foreground and (where := log.missing()):
        complain(f"sendmail: cannot log to {where}: there is no log; see LogTo (LogTo = stderr)")

    def serve() -> int:
        return daemon.run(
            options,
            interval=interval_of(runs[-1]) if runs else None,
            queue_runner=bool(runs),
            foreground=is_foreground,
            command=command.argv,
            reread=lambda: _reread(command, options),
        )

    return processes.tended("daemon", serve) if is_foreground else serve()


def _log_warnings(options: Options) -> None:
    for warning in options.warnings:
        log.line("", log.clean(warning, 400))


def _reread(command: Command, before: Options) -> Options:
    """The configuration as it is now, for a daemon that began with *before*.

    Raise ConfigError, OptionError.
    """
    options = _options(command)
    if before.configured and not options.configured:
        # An editor may be about to write it anew. The defaults send mail elsewhere.
        path = command.config_file or config_file.DEFAULT_FILE
        text = "is empty or not there any more; if that is meant, restart"
        raise config_file.ConfigError(path, [(0, text)])
    log.configure(command.tag or _tag(command), options.log_to, options.log_level)
    _log_warnings(options)
    return options


def _check_configuration(command: Command, options: Options) -> int:
    for warning in options.warnings:
        say(warning)
    return os.EX_OK  # it has been read without an error


def _count_queue(command: Command, options: Options) -> int:
    """-bP, as Sendmail has it where its processes share memory."""
    _require_queue(options)
    # DIFFERS: Sendmail keeps the number in shared memory (SharedMemoryKey), or does not know it.
    from minimta.queue import pattern

    for path in pattern.paths(options):
        number = sum(name.startswith("qf") for name in os.listdir(path))
        many = f": entries={number}" if number else " is empty"
        say(f"{path}{many}")
    return os.EX_OK


#: for every letter of commandline.MODES
_MODES: dict[str, Callable[[Command, Options], int]] = {
    "a": _submit,  # ARPANET mode: lines end in CR LF, which is always taken
    "b": _serve,
    "C": _check_configuration,
    "D": _serve,
    "d": _serve,
    "H": _purge_hosts,
    "h": _show_hosts,
    "i": _rebuild_aliases,
    "m": _submit,
    "P": _count_queue,
    "p": _list_queue,
    "s": _speak_smtp,
    "t": _test_addresses,
    "v": _verify,
}
