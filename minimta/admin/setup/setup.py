"""``minimta setup [PROVIDER]``: mail goes out, root's mail is read, and a test letter has shown it.

    minimta setup gmail                       asks for the address and an app password
    minimta setup ses --user AKIA... --password-file - --from alerts@example.org < secret
    minimta setup local                       no mail leaves this machine

The new files are written beside the old ones, a letter is sent by them, and only when the other side
has taken it do they take their places; whatever else happens, an interrupt too, all is as it was. What
the files say beside what was asked stays, to the comment and the blank.

    exit code    0 done; 64 words that make no sense, 65 a password that can be none, 66 --root is no directory, 69
                 the provider cannot be reached, 73 a file cannot be written, 75 it wants the letter later,
                 or another setup is at work, 77 login or sender is refused, 78 minimta.cf is wrong, or a certificate; 130 interrupted
"""

from __future__ import annotations

import contextlib
import os
import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import FrameType

from minimta.admin import alias_database, token
from minimta.admin.arguments import known, tree
from minimta.admin.checkout import AdminError
from minimta.admin.install.machine_files import ENABLED_UNITS
from minimta.admin.install.sendmail_cf import SendmailCf
from minimta.admin.install.services import has_systemd
from minimta.admin.install.services import run as run_program
from minimta.admin.output import say
from minimta.admin.placing import Placing
from minimta.admin.placing import alone as placing_alone
from minimta.admin.setup import answers as questions
from minimta.admin.setup import changes, letter
from minimta.admin.setup.answers import Answers, Asker
from minimta.admin.setup.changes import SetupFiles
from minimta.admin.setup.letter import LetterResult
from minimta.admin.setup.providers import PROVIDERS
from minimta.admin.setup.trouble import Cause, Explanation, explain
from minimta.config import file as config_file
from minimta.config.options import Options
from minimta.system import hostnames, log, memory, pidfile, safefile

#: those that read the configuration, in either form of the installation
_UNITS = (*ENABLED_UNITS, "minimta-listener.service")
_CODES = {
    Cause.NAME: os.EX_UNAVAILABLE,
    Cause.PORT: os.EX_UNAVAILABLE,
    Cause.TLS: os.EX_CONFIG,
    Cause.CERTIFICATE: os.EX_CONFIG,
    Cause.LOGIN: os.EX_NOPERM,
    Cause.NO_LOGIN: os.EX_NOPERM,
    Cause.METHOD: os.EX_NOPERM,
    Cause.SENDER: os.EX_NOPERM,
    Cause.LIMIT: os.EX_TEMPFAIL,
    Cause.LATER: os.EX_TEMPFAIL,
}
_UNCHANGED = "Nothing was changed; --no-test writes it without a letter."


def run(arguments: list[str]) -> int:
    """See the module. Raise AdminError, with the codes that stand there."""
    given = _parse(arguments)
    root = tree(given.root)
    _end_by_signals()
    memory.hide()
    config = changes.default_config(given.C)
    options = _options(config, root, is_named=given.C is not None)
    name = hostnames.own_name(options)
    files = SetupFiles(options, config, root)
    asker = Asker()
    wanted = questions.collect(given, asker, own_name=name, has_root_alias=bool(files.root_alias()))
    is_here = root == Path("/")
    if wanted.client_id:
        _get_token(given, wanted)
    try:
        with placing_alone(files.config), Placing() as placing:
            files.add_changes(wanted, wanted.name or name, placing)
            if is_here and not given.no_test:
                _send(files, placing, wanted, options)
            told = placing.paths
            placing.commit()
    except OSError as error:
        code = os.EX_TEMPFAIL if isinstance(error, BlockingIOError) else os.EX_CANTCREAT
        raise AdminError(f"{error.filename or config}: {error.strerror}", code) from error
    except ValueError as error:
        raise AdminError(str(error), os.EX_CONFIG) from error
    _finish(files, told, root, options)
    return os.EX_OK


def _options(config: str, root: Path, *, is_named: bool) -> Options:
    """What minimta.cf says now; one that is not there yet says nothing. Raise AdminError."""
    path = str(root / config.lstrip("/")) if root != Path("/") else config
    if not os.path.lexists(path):
        return Options()
    try:
        # By its default name it may be unreadable to users, which is told as a warning only.
        return config_file.load(
            path if is_named or root != Path("/") else None, [], safefile.why_untrusted
        )
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error


def _end_by_signals() -> None:
    """A session that is closed ends as ^C does: what is beside is taken away."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not in the main thread nobody sends us signals either.
        with contextlib.suppress(ValueError):
            signal.signal(number, end)


def _get_token(given: Namespace, wanted: Answers) -> None:
    """An authorization by ``minimta token``, which shows what to do. Raise AdminError."""
    assert wanted.provider is not None
    words = ["get", wanted.token, "--provider", wanted.provider.oauth]
    words += ["--client-id", wanted.client_id, "--tenant", wanted.tenant or "common"]
    words += ["--app"] if given.app else []
    words += ["--secret-file", given.client_secret_file] if given.client_secret_file else []
    words += ["-C", given.C] if given.C else []
    token.run(words)


# --- the letter -----------------------------------------------------------------------------------


def _send(files: SetupFiles, placing: Placing, wanted: Answers, options: Options) -> None:
    """Raise AdminError with what to do if it is not taken."""
    recipient = _recipient(files, wanted)
    if not recipient:
        say("No test letter: there is nobody to send it to (--root-address).")
        return
    say(f"A test letter to {recipient} ...")
    config = placing.aside(files.config)
    result = letter.send(config, changes.overrides(files, placing), recipient, _letter(recipient))
    if result.is_sent:
        taken = f"{wanted.host} has taken it" if wanted.host else "The letter was taken"
        say(f"{taken}: {log.clean(result.text)} ({result.took:.1f} seconds)")
        return
    if wanted.place == "local" and changes.LOCAL_ONLY.endswith(result.text):
        text = f"root's mail goes to {recipient}, and mail for other hosts is refused with local"
        remedy = "--root-address with a user of this host"
        raise AdminError(f"{text}: {remedy}\n{_UNCHANGED}", os.EX_UNAVAILABLE)
    raise _refused(result, wanted)


def _recipient(files: SetupFiles, wanted: Answers) -> str:
    """Who reads root's mail, if that is one address, else the sender."""
    for one in (wanted.root_address, files.root_alias(), wanted.sender):
        if one and not set(one) & set(' ,|/:"\\') and ("@" in one or wanted.place):
            return one
    return "root" if wanted.place == "local" else ""


def _letter(recipient: str) -> str:
    return (
        f"To: {recipient}\nSubject: minimta setup: a test\nAuto-Submitted: auto-generated\n\n"
        f"This is the test letter of `minimta setup` on {os.uname().nodename}.\n"
        "Mail of this machine leaves it as this one did.\n"
    )


def _refused(result: LetterResult, wanted: Answers) -> AdminError:
    host, port = wanted.host or "the other host", wanted.port or 25
    found = explain(result.text, result.replies, host=host, port=port, advice=wanted.advice)
    said = [f"  {log.clean(line, 1000)}" for line in result.replies or (result.text,)]
    ports = _other_ports(found, wanted)
    text = "\n".join([f"{found}{ports}", *said, _UNCHANGED])
    return AdminError(text, _CODES.get(found.cause, os.EX_UNAVAILABLE))


def _other_ports(found: Explanation, wanted: Answers) -> str:
    if found.cause is not Cause.PORT or wanted.provider is None:
        return ""
    others = [
        port for port in (wanted.provider.port, *wanted.provider.other_ports) if port != wanted.port
    ]
    return f" ({wanted.provider.title} has {', '.join(map(str, others))}, too)"


# --- what follows ---------------------------------------------------------------------------------


def _finish(files: SetupFiles, paths: list[str], root: Path, options: Options) -> None:
    """Tell what changed, and let those know who have to."""
    for path in paths:
        say(f"written: {path}")
    if not paths:
        say("nothing to do: all of it is so already")
        return
    if files.aliases in paths:
        alias_database.renew(files.aliases, options if root == Path("/") else None)
    checked = SendmailCf(root)
    if checked.is_ours() and not checked.is_done():
        checked.do()
    if root == Path("/"):
        _reload(options)


def _reload(options: Options) -> None:
    """A daemon that runs reads what is new; where none does, the next command will."""
    active = [unit for unit in _UNITS if has_systemd() and _is_active(unit)]
    for unit in active:
        done = run_program(["systemctl", "reload", unit])
        say(
            f"{unit} is reloaded"
            if done.returncode == 0
            else f"systemctl reload {unit} failed: do it"
        )
    if active:
        return
    pid = pidfile.daemon(options.pid_file)
    if not pid:
        return
    try:
        os.kill(pid, signal.SIGHUP)
        say("the daemon is told to read its configuration again")
    except OSError as error:
        say(f"{options.pid_file}: the daemon was not told ({error}): kill -HUP it")


def _is_active(unit: str) -> bool:
    return run_program(["systemctl", "--quiet", "is-active", unit]).returncode == 0


# --- the command line -----------------------------------------------------------------------------


def _parse(arguments: list[str]) -> Namespace:
    """Raise AdminError."""
    parser = _parser()
    given, unknown = known(parser, arguments)
    if unknown:
        # Not shown: it may be a password that somebody put there.
        raise AdminError(f"{len(unknown)} word(s) too many; see --help", os.EX_USAGE)
    if given.port is not None and not 0 < given.port < 65536:
        raise AdminError(f"--port: there is no port {given.port}", os.EX_USAGE)
    if given.root != "/" and given.client_id:
        raise AdminError(
            "--client-id: a token is got on the machine itself (minimta token)", os.EX_USAGE
        )
    return given


def _parser() -> ArgumentParser:
    """In the order of --help."""
    parser = ArgumentParser(prog="minimta setup", exit_on_error=False)
    known = ", ".join(PROVIDERS)
    parser.add_argument(
        "where", nargs="?", metavar="PROVIDER", help=f"{known}, HOST[:PORT], mx, local"
    )
    parser.add_argument("-C", metavar="FILE", help="instead of /etc/mail/minimta.cf")
    parser.add_argument(
        "--root", default="/", metavar="DIR", help="work on the tree below DIR, without a letter"
    )
    parser.add_argument("--user", metavar="NAME", help="who logs in")
    parser.add_argument(
        "--password-file", metavar="FILE", help="its first line is the password; -: standard input"
    )
    parser.add_argument(
        "--from", dest="sender", metavar="ADDRESS", help="what senders of this host become"
    )
    parser.add_argument("--domain", metavar="DOMAIN", help="or only their domain")
    parser.add_argument("--root-address", metavar="ADDRESS", help="who gets root's mail")
    parser.add_argument("--hostname", metavar="NAME", help="full name of this host")
    parser.add_argument("--host", metavar="HOST", help="another host of the provider")
    parser.add_argument("--port", type=int, metavar="NUMBER", help="another port")
    parser.add_argument("--region", help="of Amazon SES (us-east-1)")
    _add_oauth(parser)
    parser.add_argument("--no-test", action="store_true", help="send no letter")
    return parser


def _add_oauth(parser: ArgumentParser) -> None:
    """Instead of a password."""
    parser.add_argument("--client-id", metavar="ID", help="OAuth: of your application")
    parser.add_argument(
        "--client-secret-file", metavar="FILE", help="OAuth: its secret, the first line"
    )
    parser.add_argument("--tenant", help="OAuth, Microsoft: of the organization")
    parser.add_argument(
        "--app", action="store_true", help="OAuth: the application logs in, without a user"
    )
    parser.add_argument(
        "--token", metavar="NAME", help="OAuth: one that `minimta token list` tells"
    )
