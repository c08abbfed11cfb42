"""The configuration file: ``Name = value`` lines, ``#`` comments, names from ``options``.

No file at all is a good configuration. A file that somebody else could have written is refused:
its writer decides where mail goes. The rule for that stands in system/safefile; this room imports
nothing, so it comes as an argument. All wrong lines are told at once (of those that are about no
option, as in a file of another kind, the first few), and what the good ones say goes with the error: a
letter need not be refused for a line that does not concern it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from codecs import BOM_UTF8

from minimta.config.option import OptionError
from minimta.config.options import TABLE, Options, by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    #: says what is wrong with who owns a file, one of the uids given, and who may write it
    Judge = Callable[[os.stat_result, tuple[int, ...]], str]

DEFAULT_FILE = "/etc/mail/minimta.cf"
_LONGEST = 1 << 20
#: nothing in it is secret, and every user's sendmail reads it
_READABLE = (
    "all users must be able to read it (chmod a+r {}); what is secret belongs in a file of its own"
)
#: what is no fault of the file and passes
_PASSES = (
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.ESTALE,
    errno.ETIMEDOUT,
)


class ConfigError(Exception):
    """The file cannot be used; ``str()`` names file, line and reason, a line of text for each."""

    def __init__(
        self,
        path: str,
        faults: list[tuple[int, str]],
        exit_code: int = os.EX_CONFIG,
        *,
        options: Options | None = None,
        unknown: frozenset[str] = frozenset(),
    ) -> None:
        """*faults* are lines of the file, 0 if it is not about one, and what is wrong there.

        *options* are what the good lines say, None if the file could not be read; *unknown* names
        the options of which a wrong line has kept the value from us.
        """
        #: one sentence each
        self.sentences = [
            f"{path}: line {line}: {text}" if line else f"{path}: {text}" for line, text in faults
        ]
        super().__init__("\n".join(self.sentences))
        self.exit_code = exit_code
        self.options = options
        self.unknown = unknown


def load(
    path: str | None, overrides: list[tuple[str, str]], judge: Judge, *, whole: bool = True
) -> Options:
    """Read *path* (None: the default file, which may be missing), then set *overrides*.

    *judge* is ``safefile.why_untrusted``. If it is not *whole*, lines of options that are ``late``
    are read when they are asked for. Raise ConfigError for the file, OptionError for a bad override.
    """
    options = Options()
    _read_into(options, path or DEFAULT_FILE, judge, required=path is not None, whole=whole)
    override(options, overrides)
    return options


def override(options: Options, settings: list[tuple[str, str]]) -> None:
    """Set what the command line says (-O, -o). Raise OptionError."""
    options.supersede()
    for name, value in settings:
        options.set(by_name(name), value)
    if options.time_zone:
        # Before anybody asks for the time; what a caller's TZ says counts where this says nothing.
        os.environ["TZ"] = options.time_zone
        time.tzset()


def _read_into(options: Options, path: str, judge: Judge, *, required: bool, whole: bool) -> None:
    try:
        text = _text(options, path, judge, required=required)
    except FileNotFoundError as error:
        if required:
            text = "cannot open: No such file or directory"
            raise ConfigError(path, [(0, text)], os.EX_OSFILE) from error
        return
    except OSError as error:
        raise _unreadable(path, error, required=required) from error
    _Lines(options, path, whole=whole).read(text)


def _unreadable(path: str, error: OSError, *, required: bool) -> ConfigError:
    reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
    code = os.EX_TEMPFAIL if error.errno in _PASSES else os.EX_OSFILE
    if error.errno == errno.EACCES and not required:
        # The administrator's slip, not the caller's: who is told to come again does.
        reason, code = f"{reason}; {_READABLE.format(path)}", os.EX_TEMPFAIL
    return ConfigError(path, [(0, f"cannot open: {reason}")], code)


class _Lines:
    """The lines of one file, each read by itself: a wrong one does not hide the next."""

    def __init__(self, options: Options, path: str, *, whole: bool) -> None:
        self._options = options
        self._path = path
        self._whole = whole
        #: small letters -> number of the last line that has set it
        self._seen: dict[str, int] = {}
        self._faults: list[tuple[int, str]] = []
        self._unknown: set[str] = set()
        #: numbers of wrong lines that are about no option
        self._strays: set[int] = set()

    def read(self, text: str) -> None:
        """Set what they say. Raise ConfigError for all that are wrong."""
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            try:
                self._apply(number, line)
            except OptionError as error:
                self._faults.append((number, str(error)))
                from minimta.config import unknown_names  # hardly ever

                name = unknown_names.meant(line, TABLE)
                self._unknown.add(name)
                if not name and not unknown_names.is_setting(line):
                    self._strays.add(number)
        if self._faults:
            faults = unknown_names.told(text, self._faults, self._strays)
            unknown = frozenset(self._unknown)
            raise ConfigError(self._path, faults, options=self._options, unknown=unknown)

    def _apply(self, number: int, line: str) -> None:
        name, equals, value = line.partition("=")
        if not _is_text(line):
            raise OptionError("is not UTF-8")
        if not equals:
            raise OptionError(f'unknown configuration line "{line[:60]}"; wanted: Name = value')
        option = by_name(name)
        take = self._options.keep if option.late and not self._whole else self._options.set
        take(option, value.strip())
        self._options.configured += 1
        key = option.name.lower()
        if key in self._seen and not option.accumulates:
            text = f"{option.name} is set in line {self._seen[key]}, too; this one counts"
            self._options.warnings.append(f"{self._path}: line {number}: Warning: {text}")
        self._seen[key] = number


def _is_text(line: str) -> bool:
    """Were its octets UTF-8?"""
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text(options: Options, path: str, judge: Judge, *, required: bool) -> str:
    """The file; octets that are no UTF-8 are surrogates. Raise ConfigError or OSError."""
    # O_NONBLOCK: a FIFO of that name must not hold us up. Judged is what was opened, whatever the
    # name leads to by now.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if why := _why_refused(path, status, judge):
            raise ConfigError(path, [(0, why)])
        octets = os.read(file, _LONGEST + 1)
    finally:
        os.close(file)
    if len(octets) > _LONGEST:
        raise ConfigError(path, [(0, "is too long")])
    if not required and not status.st_mode & 0o004:
        mode = stat.S_IMODE(status.st_mode)
        options.warnings.append(f"{path}: Warning: mode {mode:o}; {_READABLE.format(path)}")
    return octets.removeprefix(BOM_UTF8).decode("utf-8", "surrogateescape")


def _why_refused(path: str, status: os.stat_result, judge: Judge) -> str:
    """What is wrong with the kind of file and with who may write it; "" if nothing is."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    owners = (0, os.geteuid())
    if status.st_uid not in owners:
        return f"belongs to user {status.st_uid}, not to root or to you"
    fault = judge(status, owners)
    return f"{fault} file (chmod go-w {path})" if fault else ""
