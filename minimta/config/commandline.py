"""What a command line asks for, once it has been read; the letters themselves are in ``flags``."""

from __future__ import annotations

import os


class UsageError(Exception):
    """The command line cannot be obeyed: the text to print, where, and the exit code."""

    def __init__(self, text: str, *, exit_code: int = os.EX_USAGE, on_stderr: bool = False) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.on_stderr = on_stderr


class Command:
    """A command line, read."""

    __slots__ = (
        "arguments",
        "body_type",
        "config_file",
        "debug",
        "debug_file",
        "envid",
        "expand_aliases",
        "full_name",
        "gateway",
        "helo",
        "hops",
        "mode",
        "notify",
        "program",
        "protocol",
        "quarantine",
        "queue",
        "queue_runs",
        "ret",
        "sender",
        "settings",
        "tag",
        "take_header_recipients",
        "traffic_log",
        "unsafe",
        "verbose",
    )

    def __init__(self, program: str) -> None:
        self.program = program
        self.mode = "m"
        self.arguments: list[bytes] = []
        #: -f or -r, None if not given; b"" and b"<>" are the null reverse-path
        self.sender: bytes | None = None
        self.full_name = b""
        self.take_header_recipients = False
        #: N S F D letters of an R line's flags, "" if -N was not given
        self.notify = ""
        self.ret = b""
        self.envid = b""
        self.body_type = b""
        self.protocol = b""
        self.helo = b""
        self.hops = 0
        self.expand_aliases = True
        self.gateway = False
        self.verbose = False
        self.config_file: str | None = None
        #: (name, value) of -O and -o, in order
        self.settings: list[tuple[str, str]] = []
        #: what only those with rights may say, as it was said
        self.unsafe: list[str] = []
        #: "m" the MTA queue, "c" the client queue, "" as the caller's rights are
        self.queue = ""
        #: values of -q, in order; "" is one run
        self.queue_runs: list[str] = []
        self.quarantine: str | None = None
        self.tag = ""
        self.debug: str | None = None
        self.debug_file = ""
        self.traffic_log = ""
