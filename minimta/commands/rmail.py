"""rmail: a message that came by UUCP, or by whatever else calls it, is given to sendmail.

    rmail [-T] [-D domain] user ...

Standard input begins with a From_ line for each host that it passed; the last of them is the nearest:

    From emma Sat Nov 16 00:19:13 2019 remote from lab1
    >From ...                             the way before that

The envelope sender is made of them, as people who use UUCP with domain names write it: the host that
is named last before the user, "emma@lab1". sendmail gets the rest, queues it (-odq), and tells what
is wrong by its exit code (-oee). Recipients that begin with "-" would be its flags: they are refused.
"""

from __future__ import annotations

import os
import tempfile
from getopt import GetoptError, gnu_getopt

from minimta.system import files
from minimta.system.terminal import complain, occupy_standard_descriptors, wrong_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

USAGE = "usage: rmail [-T] [-D domain] user ..."
_PIECE = 65536
#: octets of a From_ line, in however many pieces it comes
_LONGEST = 4096


class _Way:
    """What the From_ lines say."""

    def __init__(self) -> None:
        #: hosts that it passed, the nearest first
        self.hosts: list[str] = []
        self.user = ""

    def take(self, line: bytes) -> bool:
        """Take a line; False if it is none of them."""
        text = line.decode("utf-8", "surrogateescape").removeprefix(">")
        words = text.split()
        if not text.startswith("From ") or len(words) < 2:
            return False
        *path, self.user = words[1].split("!")
        _, remote, host = text.rpartition(" remote from ")
        self.hosts += [*([host.strip()] if remote else []), *path]
        return True

    def sender(self) -> str:
        """The envelope sender; "" if nobody is named."""
        if not self.user or "@" in self.user or not self.hosts:
            return self.user
        # DIFFERS: Sendmail makes lab1!emma of it, a form that hardly any host can answer.
        return f"{self.user}@{self.hosts[-1]}"


def main(argv: list[str]) -> int:
    """Run the command; its exit code (sysexits)."""
    try:
        given, users = gnu_getopt(argv[1:], "D:T")
    except GetoptError as error:
        return wrong_option("rmail", error, USAGE)
    if not users:
        complain(USAGE)
        return os.EX_USAGE
    for user in users:
        if user.startswith("-"):
            complain(f"rmail: dash precedes argument: {user}")
            return os.EX_USAGE
    try:
        occupy_standard_descriptors()
        return _send(dict(given), users)
    except OSError as error:
        complain(f"rmail: {error.strerror or error}")
        return os.EX_TEMPFAIL


def _send(flags: dict[str, str], users: list[str]) -> int:
    from minimta.commands import sendmail

    way = _Way()
    with tempfile.TemporaryFile() as text:
        _copy(way, text)
        if not way.user:
            complain("rmail: null message: no From_ line on standard input")
            return os.EX_DATAERR
        os.lseek(text.fileno(), 0, os.SEEK_SET)
        os.dup2(text.fileno(), 0)
    protocol = flags.get("-D", "UUCP")
    came = [f"-p{protocol}:{way.hosts[0]}"] if way.hosts else []
    command = ["sendmail", "-G", "-oee", "-odq", "-oi", *came, "-f", way.sender(), "--", *users]
    if "-T" in flags:
        complain(" ".join(command))
    return sendmail.main(command)


def _copy(way: _Way, text: IO[bytes]) -> None:
    """The From_ lines to *way*, what follows them to *text*. Raise OSError."""
    rest, is_begun, out = b"", False, text.fileno()
    while piece := os.read(0, _PIECE):
        if is_begun:
            files.write_all(out, piece)
            continue
        rest += piece
        while not is_begun and (b"\n" in rest or len(rest) > _LONGEST):
            line, _, after = rest.partition(b"\n")
            if len(line) <= _LONGEST and way.take(line):
                rest = after
            else:
                files.write_all(out, rest)
                is_begun = True
    if not is_begun and not way.take(rest):
        files.write_all(out, rest)
