"""The words behind a verb: what argparse makes of them, and one sentence for what nobody can mean."""

from __future__ import annotations

import os
import shlex
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from minimta.admin.checkout import AdminError
from minimta.admin.output import end_of_help
from minimta.system import log


def parsed(
    parser: ArgumentParser, arguments: Sequence[str], *, is_mixed: bool = False
) -> Namespace:
    """What *arguments* say; *is_mixed*: options may stand between the words.

    Raise AdminError: 64 for wrong ones, 0 when --help has been printed, as say() if it could not be.
    """
    given, unknown = known(parser, arguments, is_mixed=is_mixed)
    if unknown:
        raise not_understood(unknown)
    return given


def known(
    parser: ArgumentParser, arguments: Sequence[str], *, is_mixed: bool = False
) -> tuple[Namespace, list[str]]:
    """What *arguments* say, and what is left of them. Raise AdminError as parsed()."""
    parse = parser.parse_known_intermixed_args if is_mixed else parser.parse_known_args
    try:
        return parse(arguments)
    except ArgumentError as error:
        raise AdminError(log.clean(str(error), 1000), os.EX_USAGE) from error
    except SystemExit as end:
        if end.code:  # it has told itself: an option that may be two, or a word too few
            raise AdminError("", os.EX_USAGE) from end
        end_of_help()
        raise AdminError("", os.EX_OK) from end


def not_understood(words: Sequence[str]) -> AdminError:
    """What to raise for *words* that mean nothing here."""
    told = log.clean(shlex.join(words), 1000)
    return AdminError(f"cannot make sense of {told}; see --help", os.EX_USAGE)


def tree(root: str) -> Path:
    """The directory that --root names, absolute. Raise AdminError (66): a slip of the pen makes no new one."""
    path = Path(root).resolve()
    if not path.is_dir():
        raise AdminError(f"--root: {log.clean(str(path))} is no directory", os.EX_NOINPUT)
    return path
