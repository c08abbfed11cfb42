"""What ``minimta trace`` prints: one line for each address, and below it those that it leads to.

    list: alias, /etc/aliases line 12
      dave: user dave
        /home/dave/.forward refused: Group writable file (...)
        delivered to mailbox /var/mail/dave (mailer local)
      carol: user carol, delivered to mailbox /var/mail/carol (mailer local)
      "|/usr/bin/vacation dave": program, runs as dave (1001) in /home/dave (mailer prog)

Name servers are asked, and smrsh, but nothing is started or written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace

from minimta.mailers.programs import smrsh
from minimta.mailers.remote import mx_targets
from minimta.mailers.remote.mx_targets import Target
from minimta.mailers.remote.route_preview import RoutePreview, RoutePreviewer
from minimta.mailers.remote.tls_policy import Policy, TlsPolicies
from minimta.maps import text_table
from minimta.message import address
from minimta.message.outcome import Fate
from minimta.routing.destination import Destination, Node
from minimta.routing.local_host import LocalHost
from minimta.routing.route import Route
from minimta.system import log, privileges
from minimta.system.executables import trusted_owners
from minimta.system.users import User

#: why a file is refused -> the name of DontBlameSendmail that would allow it
_REMEDIES = {
    "Group writable file": "GroupWritable{}File",
    "World writable file": "WorldWritable{}File",
    "Group writable directory": "{}FileInGroupWritableDirPath",
    "World writable directory": "{}FileInUnsafeDirPath",
    "Wrong owner directory": "{}FileInUnsafeDirPath",
}
#: seconds for asking smrsh with the user's rights; a home may lie on a server that is down
_PATIENCE = 60


class TraceReport:
    """Grows line by line; everything in it is printable."""

    def __init__(self, here: LocalHost, previewer: RoutePreviewer) -> None:
        self.lines: list[str] = []
        #: of everything that arrived somewhere
        self.fates: set[Fate] = set()
        self._here = here
        self._options = here.options
        self._previewer = previewer
        self._previews: dict[tuple[str, str], RoutePreview] = {}

    def refuse(self, argument: bytes, problem: str) -> None:
        """What is no address."""
        self.fates.add(Fate.FAILED)
        self.lines.append(f"{log.clean(argument)}: refused: {problem}")

    def tell(self, node: Node, depth: int = 0) -> None:
        """Of *node*, and of all that it leads to."""
        head, *details = self._told(node)
        named = node.target.line if node.origin else 0
        line = f" (line {named})" if named else ""
        self.lines.append("  " * depth + f"{log.clean(bytes(node.target))}{line}: {head}")
        self.lines += ["  " * (depth + 1) + detail for detail in details]
        for child in node.children:
            self.tell(child, depth + 1)

    def _told(self, node: Node) -> list[str]:
        """What is said of the address, then what is said below it."""
        told = [self._expanded(node)]
        for path, reason in node.refused:
            assert node.user  # the .forward is theirs
            told.append(f"{log.clean(path)} refused: {_reason(path, reason, node.user, 'Forward')}")
        if node.followed and not node.children and node.target.kind == "user":
            told.append(f"{log.clean(node.followed)} names nobody")
        circular = "leads back to itself" in node.notes
        told += [note for note in node.notes if not (circular and node.end)]
        if node.end is not None:
            end = self._end(node, node.end)
            told += [f"leads back to itself: {end[0]}", *end[1:]] if circular else end
        told = [line for line in told if line]
        if len(told) == 2 and told[0].startswith("user ") and not node.children:
            told = [", ".join(told)]
        return [*(told or ["has been expanded before"]), *self._row(node)]

    def _row(self, node: Node) -> list[str]:
        """The row that makes an address local or an error, or of a virtual user table another one."""
        local, domain = (
            address.split(node.target.value) if node.target.kind == "user" else (b"", b"")
        )
        virtual = (
            self._here.router.virtual(local, domain)
            if domain and (self._here.router.is_local(domain) or self._here.is_virtual(domain))
            else None
        )
        if virtual is not None:
            table = self._options.virtuser_table
            where = f"{log.clean(table)}{_line_of(table, virtual[0])}"
            return [f"is {log.clean(virtual[1])} by {where}"]
        is_elsewhere = node.end and node.end.route and node.end.route.mailer == "esmtp"
        if is_elsewhere or self._here.router.is_local(domain):
            return []
        key, value = self._here.router.row(domain)
        table = self._options.mailer_table
        return [] if value is None else [f"by {log.clean(table)}{_line_of(table, key)}"]

    # --- what it expands to -----------------------------------------------------------------------

    def _expanded(self, node: Node) -> str:
        if node.alias is not None:
            return self._alias(node.local_part, node.alias)
        if node.target.kind == "include" and node.authority and node.authority.user:
            return f"list, read as {_user(node.authority.user)}{_members(node)}"
        if node.user is None:
            return ""
        name = f"user {log.clean(node.user.name)}"
        return name + (f", forwards by {log.clean(node.followed)}" if node.children else "")

    def _alias(self, local_part: bytes, name: bytes) -> str:
        if not name:
            return "no alias and no user, so it is root (RFC 5321 section 4.5.1)"
        origin = self._here.aliases.origin(name)
        shown = f" {log.clean(name)}" if name.lower() != local_part.lower() else ""
        if origin is None:  # it went away meanwhile
            return f"alias{shown}"
        path, line = origin
        if line:
            return f"alias{shown}, {log.clean(path)} line {line}"
        readable = os.access(path, os.R_OK, effective_ids=True)
        why = "does not say so any more" if readable else "cannot be read"
        return f"alias{shown}, by the database of {log.clean(path)}, which itself {why}"

    # --- where it ends ----------------------------------------------------------------------------

    def _end(self, node: Node, end: Destination) -> list[str]:
        route, outcome = end.route, end.outcome
        if outcome is not None and outcome.fate is not Fate.SENT:
            self.fates.add(outcome.fate)
            reason = outcome.text
            if outcome.status == "5.2.4" and node.authority and node.authority.user:
                start, _, why = reason.rpartition(": ")
                path = os.fsdecode(node.target.value)
                reason = f"{start}: {_reason(path, why, node.authority.user, 'Include')}"
            return [_verdict(outcome.fate, reason, outcome.status)]
        self.fates.add(Fate.SENT)
        if outcome is not None or route is None:
            return ["discarded"]
        ways: dict[str, Callable[[Route, Destination], list[str]]] = {
            "local": self._local,
            "prog": self._program,
            "*file*": self._file,
        }
        return ways.get(route.mailer, self._remote)(route, end)

    def _local(self, route: Route, end: Destination) -> list[str]:
        name, mailer = log.clean(route.user), self._options.local_mailer
        where = f"delivered to mailbox {log.clean(self._options.mailbox_directory)}/{name}"
        if mailer == "maildir":
            user = self._here.users.find(route.user)
            where = f"delivered to {log.clean(user.home if user else '~')}/Maildir"
        elif mailer != "mbox":
            where = f"handed to {log.clean(mailer)} for {name}"
        detail = f", detail {log.clean(route.host)}" if route.host else ""
        return [f"{where}{detail} (mailer local)"]

    def _program(self, route: Route, end: Destination) -> list[str]:
        user = end.controlling
        assert user is not None  # else it would have an outcome
        try:
            if smrsh.is_restricted(self._options):
                return self._restricted(route.user, user)
        except OSError as error:
            self.fates.add(Fate.DEFERRED)
            reason = f"{log.clean(self._options.smrsh_directory)}: {error.strerror}"
            return [_verdict(Fate.DEFERRED, reason, "4.3.0")]
        home = log.clean(user.home) if os.path.isdir(user.home) else "/"
        return [f"program, runs as {_user(user)} in {home} (mailer prog)"]

    def _restricted(self, command: bytes, user: User) -> list[str]:
        """smrsh decides with the rights of the user; a refusal it words itself."""

        def look() -> bytes:
            try:
                return b"=" + smrsh.checked(command, self._options, trusted_owners())
            except smrsh.CommandRefused as error:
                return b"%d %b" % (error.exit_code, os.fsencode(str(error)))

        answer = privileges.as_user(user, look, _PATIENCE)
        if answer[:1] == b"=":
            runs = log.clean(answer[1:], 400)
            return [f"program, smrsh runs {runs} as {_user(user)} (mailer prog)"]
        code, _, reason = answer.partition(b" ")
        fate = Fate.DEFERRED if int(code) == os.EX_TEMPFAIL else Fate.FAILED
        self.fates.add(fate)
        status = "4.3.0" if fate is Fate.DEFERRED else "5.0.0"
        return [_verdict(fate, f"smrsh: {log.clean(reason)}", status)]

    def _file(self, route: Route, end: Destination) -> list[str]:
        assert end.controlling is not None  # else it would have an outcome
        return [f"file, written as {_user(end.controlling)} (mailer *file*)"]

    # --- other hosts ------------------------------------------------------------------------------

    def _remote(self, route: Route, end: Destination) -> list[str]:
        because = self._because(route)
        preview = self._preview(route.host, route.option)
        self.fates.add(preview.fate)
        if not preview.targets:
            # The one that decides comes first: a "try later" outweighs every "never".
            return [
                _verdict(problem.fate, f"{because}{problem.text}", problem.status)
                for problem in sorted(preview.problems, key=lambda it: it.fate is not preview.fate)
            ]
        told = [f"but {problem.text} ({problem.status})" for problem in preview.problems]
        first, *others = [_shown(target) for target in preview.targets]
        return [
            f"next host {because}{first} (mailer {route.mailer})",
            *(f"then {other}" for other in others),
            *told,
            *self._tls(route),
        ]

    def _tls(self, route: Route) -> list[str]:
        """What TLS the next hops must have, if it is said somewhere."""
        try:
            policies = TlsPolicies.read(self._options)
            found = [(hop, policies.policy(hop)) for hop in mx_targets.parse(route.host)]
        except (OSError, ValueError) as error:
            self.fates.add(Fate.DEFERRED)
            reason = getattr(error, "strerror", None) or str(error)
            return [_verdict(Fate.DEFERRED, f"TLSPolicy: {log.clean(reason)}", "4.3.5")]
        usual = Policy(is_default=True)
        told = [
            (hop, policy) for hop, policy in found if policy != replace(usual, origin=policy.origin)
        ]
        return [f"TLS with {log.clean(hop.key)}: {policy.told()}" for hop, policy in told]

    def _because(self, route: Route) -> str:
        """Who chose the next hop, if it is not the domain's own."""
        options, domain = self._options, address.split(route.user)[1]
        key, value = self._here.router.row(domain)
        if value is not None:
            line = _line_of(options.mailer_table, key)
            return f"{log.clean(route.host)} by {log.clean(options.mailer_table)}{line}: "
        if route.option == "SmartHost":
            return f"{log.clean(route.host)}, the smart host: "
        return ""

    def _preview(self, next_hop: str, option: str) -> RoutePreview:
        known = self._previews.get((next_hop, option))
        if known is None:
            known = self._previewer.preview(next_hop, option=option)
            self._previews[next_hop, option] = known
        return known


def _shown(target: Target) -> str:
    name = target.name if target.address in target.name else target.relay
    port = f":{target.port}" if target.port != 25 else ""
    return f"{name}{port}" + (f" by MX {target.preference}" if target.preference >= 0 else "")


def _verdict(fate: Fate, reason: str, status: str) -> str:
    if fate is Fate.FAILED:
        return f"refused: {reason} ({status})"
    # 4.3.0 is an error of this system, 4.4.3 a name server: another time it may be otherwise.
    verb = "cannot be told now" if status in ("4.3.0", "4.4.3") else "waits"
    return f"{verb}: {reason} ({status})"


def _user(user: User) -> str:
    return f"{log.clean(user.name)} ({user.uid})"


def _members(node: Node) -> str:
    """As whom the programs and files of a list act, if it names some."""
    named = [child.authority for child in node.children if child.target.kind in ("program", "file")]
    acting = named[0].user if named and named[0] else None
    return f"; its programs and files act as {_user(acting)}" if acting else ""


def _reason(path: str, reason: str, user: User, kind: str) -> str:
    """The words of trust, with the directory that they mean and what would allow it."""
    name = _REMEDIES.get(reason, "").format(kind)
    where = _culprit(path, reason, user) if reason.endswith(" directory") else ""
    remedy = f" ({name} of DontBlameSendmail would allow it)" if name else ""
    return f"{log.clean(reason)}{where and ' '}{log.clean(where)}{remedy}"


def _culprit(path: str, reason: str, user: User) -> str:
    """The first directory on the way to *path* of which *reason* is true, "" if none is seen."""
    for whole in (path, os.path.realpath(path)):
        parts = whole.split("/")[:-1]
        for length in range(1, len(parts) + 1):
            directory = "/".join(parts[:length]) or "/"
            if _is_true(reason, directory, user):
                return directory
    return ""


def _is_true(reason: str, directory: str, user: User) -> bool:
    try:
        found = os.stat(directory)
    except OSError:
        return False
    if reason.startswith("Wrong owner"):
        return found.st_uid not in (0, user.uid)
    bit = stat.S_IWGRP if reason.startswith("Group") else stat.S_IWOTH
    return bool(found.st_mode & bit) and not found.st_mode & stat.S_ISVTX


def _line_of(table: str, key: bytes) -> str:
    """As " line 3" of a text table; "" if it is not there any more."""
    number = text_table.line_of(table, key)
    return f" line {number}" if number else ""
