"""The command line of mail(1), as BSD's mailx of Debian has it.

    mail [-EinvI] [-a header] [-b bcc] [-c cc] [-r from] [-s subject] [--] address ...
    mail [-eHNniv] [-u user | -f [file]]

With an address a message is sent, without one messages are read. Options may follow the addresses.
"""

from __future__ import annotations

from getopt import gnu_getopt

USAGE = """\
usage: mail [-EInv] [-a header] [-b bcc] [-c cc] [-r from] [-s subject] [--] address ...
       mail [-eHInNv] [-u user]
       mail [-eHInNv] -f [file]"""
#: -d and -i are taken for those who give them: ours ends a message at an interrupt, or not at all
_LETTERS = "a:b:c:r:s:u:defiEHINnv"


class Arguments:
    """What the caller wants. Text is what stood in the arguments, not yet looked at."""

    def __init__(self, words: list[str]) -> None:
        """*words* are the arguments without the program's name. Raise GetoptError, ValueError."""
        pairs, rest = gnu_getopt(words, _LETTERS)
        flags = dict(pairs)
        #: header fields, "Name: value" each
        self.headers = [value for letter, value in pairs if letter == "-a"]
        #: lists of addresses
        self.bcc = [value for letter, value in pairs if letter == "-b"]
        self.cc = [value for letter, value in pairs if letter == "-c"]
        #: "" if the sender is whoever runs this
        self.sender = flags.get("-r", "")
        #: None: not given, so that one may be asked for
        self.subject = flags.get("-s")
        self.skips_empty = "-E" in flags
        self.is_interactive = "-I" in flags
        self.is_verbose = "-v" in flags
        self.skips_system_file = "-n" in flags
        #: read: no headers first, headers only, nothing but the exit code
        self.skips_headers = "-N" in flags
        self.only_headers = "-H" in flags
        self.only_asks = "-e" in flags
        self.user = flags.get("-u", "")
        self.reads_file = "-f" in flags
        #: of -f; "" is the user's mbox
        self.file = rest[0] if self.reads_file and rest else ""
        self.recipients = [] if self.reads_file else rest
        self._refuse_contradictions(rest)

    @property
    def sends(self) -> bool:
        """Is a message to be sent?"""
        return bool(self.recipients)

    def _refuse_contradictions(self, rest: list[str]) -> None:
        if self.reads_file and (len(rest) > 1 or self.user):
            raise ValueError("-f reads one file, and no user's mailbox beside it")
        if self.user and self.recipients:
            raise ValueError("-u reads a mailbox; it sends nothing to anybody")
        writes = self.headers or self.bcc or self.cc or self.sender or self.subject is not None
        if writes and not self.recipients:
            raise ValueError("You must specify direct recipients with -a, -b, -c, -r, or -s.")
        for header in self.headers:
            name, colon, _ = header.partition(":")
            if not (colon and name.isascii() and name.isprintable() and " " not in name and name):
                why = "is no header field (Name: value); to attach files take mutt or s-nail"
                raise ValueError(f"-a {header!r} {why}")
