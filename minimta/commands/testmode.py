"""``sendmail -bt``: questions about addresses, hosts and tables, one a line, answered at once.

The forms are Sendmail's, and so are the answers of those that need no rule sets. There are no rule
sets here: the forms that dump, change or trace them get a sentence that says so. Nothing is sent,
and everything is read with the rights of the caller.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import minimta
from minimta.config.options import Options
from minimta.mailers.programs import smrsh
from minimta.mailers.remote.route_preview import RoutePreviewer
from minimta.message import address, addresslist, dates
from minimta.routing import rewrite, targets
from minimta.routing.local_host import LocalHost
from minimta.routing.route import Route
from minimta.system import hostnames, log, users
from minimta.system.terminal import complain, prompt, say

_TITLE = "ADDRESS TEST MODE (ruleset 3 NOT automatically invoked)\nEnter <ruleset> <address>"
_NO_RULES = "There are no rule sets here; /parse and /try show what becomes of an address"
_HELP = """\
Help for test mode:
?                :this text
/parse ADDRESS   :mailer, host and user that a recipient is given to
/try MAILER ADDR :an address as MAILER would write it
/tryflags FLAGS  :what /try takes an address for: E or H, envelope or header, and S or R,
                  sender or recipient
/mx HOST         :the hosts that take the mail for HOST
/canon HOST      :the full name of HOST
/map MAP KEY     :look KEY up in MAP, which is one of: {maps}
=M               :the mailers
$X               :macro X, which is one of: {macros}
$=X              :class X: w, the names of this host; t, the trusted users
/quit            :the end; so is the end of the input
End of HELP info"""
#: what Sendmail has besides
_ELSEWHERE = (b"sender", b"expand", b"header", b"gethostbyname", b"dnslookup")
#: longest line that is read, octets
_LONGEST = 4096


def run(options: Options) -> int:
    """Answer the lines of standard input until it ends. Returns the exit code."""
    try:
        mode = TestMode(options)
    except OSError as error:  # a table that the caller may not read
        complain(f"sendmail: {log.clean(str(error.filename))}: {error.strerror}")
        return os.EX_NOINPUT
    say(_TITLE)
    try:
        with open(0, "rb", closefd=False) as lines:
            prompt("> ")
            while line := lines.readline(_LONGEST):
                if line.strip().lower() == b"/quit":
                    break
                for text in mode.answer(line.strip()):
                    say(text)
                prompt("> ")
    except (OSError, KeyboardInterrupt):
        pass  # the terminal is gone, or the user wants to end
    return os.EX_OK


class TestMode:
    """The answers, and what /tryflags has set."""

    __test__ = False  # pytest

    def __init__(self, options: Options, previewer: RoutePreviewer | None = None) -> None:
        self._options = options
        self._here = LocalHost(options)
        self._here.read_tables()
        self._previewer = previewer or RoutePreviewer(options)
        #: /try is about a header's address, about a sender's
        self._of_header = self._of_sender = False
        self._commands: dict[bytes, Callable[[bytes], Iterator[str]]] = {
            b"parse": self._parse,
            b"try": self._try,
            b"tryflags": self._try_flags,
            b"mx": self._exchangers,
            b"canon": self._canon,
            b"map": self._map,
        }
        self._maps: dict[bytes, Callable[[bytes], bytes | None]] = {
            b"aliases": self._here.aliases.find,
            b"mailertable": lambda key: self._here.router.row(key)[1],
            b"host": self._host,
        }

    def answer(self, line: bytes) -> Iterator[str]:
        """Lines for people, printable."""
        kind, rest = line[:1], line[1:].strip()
        if kind == b"?" or line.lower() == b"/help":
            maps = ", ".join(sorted(name.decode() for name in self._maps))
            yield _HELP.format(maps=maps, macros=" ".join(self._macros()))
        elif kind == b"/":
            yield from self._command(rest)
        elif kind == b"$":
            yield from self._class(rest[1:]) if rest[:1] == b"=" else self._macro(rest)
        elif line == b"=M":
            yield from self._mailers()
        elif kind == b"-":
            yield "There are no debug flags here"
        elif kind not in (b"", b"#"):
            yield _NO_RULES

    def _command(self, text: bytes) -> Iterator[str]:
        name, _, argument = text.partition(b" ")
        command = self._commands.get(name.lower())
        if command is not None:
            yield from command(argument.strip())
        elif name.lower() in _ELSEWHERE:
            yield f"There is no /{log.clean(name)} here; ? tells what there is"
        else:
            yield f'Unknown "/" command {log.clean(name)}'

    # --- addresses --------------------------------------------------------------------------------

    def _parse(self, text: bytes) -> Iterator[str]:
        if not text:
            yield "Usage: /parse address"
            return
        # In a program, a file or a list nothing is to be cracked.
        mailboxes = [] if address.why_special(text) else addresslist.parse(text)
        bare = mailboxes[0].address if mailboxes else text
        cracked = text.replace(bare, b"$g", 1) if bare else text
        yield f"Cracked address = {log.clean(cracked)}"
        yield f"Parsing {self._what()} address"
        if mailboxes and mailboxes[0].problem:
            yield f"{log.clean(text)}... {mailboxes[0].problem}"
        else:
            yield _triple(self._route(text if address.why_special(text) else bare))

    def _route(self, bare: bytes) -> Route:
        """As an alias would name it: a program, a file and a list too."""
        found = targets.parse(bare)
        target = found[0] if found else targets.AliasTarget("user", bare)
        if target.kind == "user":
            return self._here.router.route(target.value)
        user = target.value
        if target.kind == "program":
            user = target.written
        return Route(_SPECIAL[target.kind], "", user)

    def _try(self, text: bytes) -> Iterator[str]:
        mailer, _, given = text.partition(b" ")
        bare = given.strip()
        if not mailer or not bare:
            yield "Usage: /try mailer address"
        elif mailer not in _MAILERS:
            yield f"Unknown mailer {log.clean(mailer)}"
        else:
            yield f"Trying {self._what()} address {log.clean(bare)} for mailer {log.clean(mailer)}"
            try:
                yield f"Rcode = 0, addr = {log.clean(self._written(bare, mailer))}"
            except OSError as error:
                yield f"Rcode = {os.EX_TEMPFAIL}, {log.clean(str(error))}"

    def _written(self, bare: bytes, mailer: bytes) -> bytes:
        """The local mailers get names; everywhere else an address is complete."""
        is_remote = mailer in (b"esmtp", b"smtp", b"relay")
        if self._of_header or self._of_sender:
            return self._as_shown(self._here.qualified(bare), "esmtp" if is_remote else "local")
        if is_remote:
            return self._here.qualified(bare)
        return address.split(bare)[0] if self._here.is_local(bare) else bare

    def _as_shown(self, bare: bytes, mailer: str) -> bytes:
        """With masquerading and GenericsTable. Raise OSError."""
        rewriter = rewrite.rewriter(self._here)
        if rewriter is None:
            return bare
        if not self._of_header:
            return rewriter.sender(bare, mailer)
        name = b"From: " if self._of_sender else b"To: "
        return rewriter.field(name + bare, mailer).removeprefix(name)

    def _try_flags(self, text: bytes) -> Iterator[str]:
        flags = text.upper().replace(b" ", b"")
        if not flags or flags.strip(b"HESR"):
            yield "Usage: /tryflags [Hh|Ee][Ss|Rr]"
            return
        self._of_header = b"H" in flags or (self._of_header and b"E" not in flags)
        self._of_sender = b"S" in flags or (self._of_sender and b"R" not in flags)

    def _what(self) -> str:
        where = "header" if self._of_header else "envelope"
        return f"{where} {'sender' if self._of_sender else 'recipient'}"

    # --- hosts and tables -------------------------------------------------------------------------

    def _exchangers(self, host: bytes) -> Iterator[str]:
        if not host:
            yield "Usage: /mx address"
            return
        shown = log.clean(host)
        try:
            found = self._previewer.exchangers(host.decode("ascii", "replace"))
        except OSError as error:
            yield f"getmxrr({shown}) returns no value: {error.strerror}"
            return
        yield f"getmxrr({shown}) returns {len(found)} value(s):"
        for name in found:
            yield f"\t{name}."

    def _canon(self, host: bytes) -> Iterator[str]:
        if not host:
            yield "Usage: /canon address"
            return
        shown = log.clean(host)
        try:
            # As Sendmail: what has no other name keeps the one it has.
            found = log.clean(self._host(host) or host).removesuffix(".")
            yield f"getcanonname({shown}) returns {found}"
        except OSError as error:
            yield f"getcanonname({shown}) cannot be told now: {error.strerror}"

    def _host(self, key: bytes) -> bytes | None:
        """The map "host". Raise OSError if nobody can tell now."""
        try:
            return self._previewer.canonical(key.decode("ascii", "replace")).encode() + b"."
        except FileNotFoundError:
            return None

    def _map(self, text: bytes) -> Iterator[str]:
        name, _, given = text.partition(b" ")
        key = given.strip()
        look_up = self._maps.get(name)
        if not name:
            yield "Usage: /map mapname key"
        elif not key:
            yield "No key specified"
        elif look_up is None:
            yield f'Map named "{log.clean(name)}" not found'
        else:
            yield f"map_lookup: {log.clean(name)} ({log.clean(key)}) {_looked_up(look_up, key)}"

    # --- macros, classes, mailers -----------------------------------------------------------------

    def _macros(self) -> dict[str, str]:
        own = self._here.name
        first, _, domain = own.partition(".")
        return {
            "b": dates.rfc5322(int(time.time())),
            "j": own,
            "k": os.uname().nodename,
            "m": domain,
            "n": "MAILER-DAEMON",
            "v": minimta.__version__,
            "w": first,
            "Z": minimta.__version__,
        }

    def _macro(self, name: bytes) -> Iterator[str]:
        yield log.clean(self._macros().get(log.clean(name), "") or "Undefined")

    def _class(self, name: bytes) -> Iterator[str]:
        if name == b"w":
            own = self._here.name.lower().encode()
            names = hostnames.local_names(self._options)
            yield from map(log.clean, sorted(names, key=lambda n: (n[:1] == b"[", n != own, n)))
        elif name == b"t":
            try:
                trusted = users.trusted(self._options.trusted_users) | {b"root"}
            except OSError as error:
                yield f"cannot read {log.clean(self._options.trusted_users)}: {error.strerror}"
                return
            yield from map(log.clean, sorted(trusted))
        else:
            yield f"There is no class {log.clean(name)} here"

    def _shell(self) -> str:
        try:
            is_restricted = smrsh.is_restricted(self._options)
        except OSError as error:
            return f"cannot look at {log.clean(self._options.smrsh_directory)}: {error.strerror}"
        return f"P={smrsh.PATH} A=smrsh -c $u" if is_restricted else "P=/bin/sh A=sh -c $u"

    def _mailers(self) -> Iterator[str]:
        options = self._options
        local = options.local_mailer
        local = f"mbox {options.mailbox_directory}" if local == "mbox" else local
        places = {
            "prog": self._shell(),
            "*file*": "P=[FILE] A=FILE $u",
            "*include*": "P=/dev/null A=INCLUDE $u",
            "local": f"P=[{log.clean(local)}]",
            "esmtp": f"P=[IPC] M={options.max_message_size} E=\\r\\n A=TCP $h",
        }
        for number, (name, place) in enumerate(places.items()):
            yield f"mailer {number} ({name}): {place}"


#: smtp and relay are other names of esmtp
_MAILERS = (b"prog", b"*file*", b"local", b"esmtp", b"smtp", b"relay")
#: kind of a target -> mailer
_SPECIAL = {"program": "prog", "file": "*file*", "include": "*include*", "error": "error"}


def _triple(route: Route) -> str:
    host = f", host {log.clean(route.host)}" if route.host else ""
    return f"mailer {route.mailer}{host}, user {log.clean(route.user)}"


def _looked_up(look_up: Callable[[bytes], bytes | None], key: bytes) -> str:
    try:
        value = look_up(key)
    except OSError as error:
        where = f"{log.clean(error.filename)}: " if error.filename else ""
        return f"no match ({os.EX_TEMPFAIL}): {where}{error.strerror}"
    return "no match (0)" if value is None else f"returns {log.clean(value)} (0)"
