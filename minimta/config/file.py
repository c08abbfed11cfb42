"""The configuration file: ``Name = value`` lines, ``#`` comments, names from ``options``.

No file at all is a good configuration. A file that somebody else could have written is refused:
its writer decides where mail goes. The rule for that stands in system/safefile; this room imports
nothing, so it comes as an argument.
"""

from __future__ import annotations

import errno
import os
import stat
from codecs import BOM_UTF8

from minimta.config.options import OptionError, Options, by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    #: says what is wrong with who owns a file, one of the uids given, and who may write it
    Judge = Callable[[os.stat_result, tuple[int, ...]], str]

DEFAULT_FILE = "/etc/mail/minimta.cf"
_LONGEST = 1 << 20
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
    """The file cannot be used; ``str()`` names file, line and reason."""

    def __init__(self, path: str, line: int, text: str, exit_code: int = os.EX_CONFIG) -> None:
        """*line* 0: it is not about a line."""
        super().__init__(f"{path}: line {line}: {text}" if line else f"{path}: {text}")
        self.exit_code = exit_code


def load(path: str | None, overrides: list[tuple[str, str]], judge: Judge) -> Options:
    """Read *path* (None: the default file, which may be missing), then set *overrides*.

    *judge* is ``safefile.why_untrusted``. Raise ConfigError for the file, OptionError for a bad
    override.
    """
    options = Options()
    _read_into(options, path or DEFAULT_FILE, judge, required=path is not None)
    override(options, overrides)
    return options


def override(options: Options, settings: list[tuple[str, str]]) -> None:
    """Set what the command line says (-O, -o). Raise OptionError."""
    options.supersede()
    for name, value in settings:
        options.set(by_name(name), value)


def _read_into(options: Options, path: str, judge: Judge, *, required: bool) -> None:
    try:
        text = _text(path, judge)
    except FileNotFoundError as error:
        if required:
            raise ConfigError(
                path, 0, "cannot open: No such file or directory", os.EX_OSFILE
            ) from error
        return
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        code = os.EX_TEMPFAIL if error.errno in _PASSES else os.EX_OSFILE
        raise ConfigError(path, 0, f"cannot open: {reason}", code) from error
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        _apply(options, path, number, line.strip())
        _note_duplicate(options, path, number, line, seen)


def _apply(options: Options, path: str, number: int, line: str) -> None:
    if not line or line.startswith("#"):
        return
    name, equals, value = line.partition("=")
    if not equals:
        raise ConfigError(path, number, f'unknown configuration line "{line[:60]}"')
    try:
        options.set(by_name(name), value.strip())
    except OptionError as error:
        raise ConfigError(path, number, str(error)) from error


def _note_duplicate(
    options: Options, path: str, number: int, line: str, seen: dict[str, int]
) -> None:
    """Warn if an option was set in a line before, which then is without effect."""
    name = line.partition("=")[0].strip().lower()
    if not name or name.startswith("#"):
        return
    if name in seen and not by_name(name).accumulates:
        text = f"{by_name(name).name} is set in line {seen[name]}, too; this one counts"
        options.warnings.append(f"{path}: line {number}: Warning: {text}")
    seen[name] = number


def _text(path: str, judge: Judge) -> str:
    # O_NONBLOCK: a FIFO of that name must not hold us up. Judged is what was opened, whatever the
    # name leads to by now.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(path, 0, "is not a regular file")
        owners = (0, os.geteuid())
        if status.st_uid not in owners:
            raise ConfigError(path, 0, f"belongs to user {status.st_uid}, not to root or to you")
        fault = judge(status, owners)
        if fault:
            raise ConfigError(path, 0, f"{fault} file (chmod go-w {path})")
        octets = os.read(file, _LONGEST + 1)
    finally:
        os.close(file)
    if len(octets) > _LONGEST:
        raise ConfigError(path, 0, "is too long")
    try:
        return octets.removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(path, octets.count(b"\n", 0, error.start) + 1, "is not UTF-8") from error
