"""Tables of Sendmail that are given by themselves: access, authinfo. They are read here as they are.

What is told is what nothing here obeys; rows with logins that stand in the access table, where
Sendmail looks without FEATURE(authinfo), go to a file of their own.
"""

from __future__ import annotations

from minimta.admin.migrate.migration import ForeignLogin, ForeignPlace, Migration
from minimta.listener import access_problems
from minimta.mailers.remote import authinfo

_PREFIX = "authinfo:"


def carry_authinfo(text: str, path: str, migration: Migration) -> None:
    """Rows of FEATURE(authinfo), with their faults."""
    for row in authinfo.parse(text.encode("utf-8", "surrogateescape")):
        if row.fault:
            migration.wrong(ForeignPlace(path, row.line), f"row {row.key}: {row.fault}")
            continue
        value = row.value.decode("utf-8", "surrogateescape")
        mechanisms = " ".join(row.mechanisms)
        migration.login(ForeignLogin(row.key, row.user, row.source, value, row.host, mechanisms))
        if row.identity:
            migration.not_carried(
                ForeignPlace(path, row.line),
                f"row {row.key}: acting for another user: write I: and U: by hand",
            )


def carry_logins_of_access(text: str, path: str, migration: Migration) -> None:
    """The rows AuthInfo: of an access table, which everybody can read as a rule."""
    logins = [line if line.lower().startswith(_PREFIX) else "" for line in text.split("\n")]
    carry_authinfo("\n".join(logins), path, migration)
    count = sum(map(bool, logins))
    if count:
        migration.told(
            ForeignPlace(path), f"{count} rows AuthInfo: go to a file that only root can read"
        )


def carry_access(text: str, path: str, migration: Migration) -> None:
    """Rows of FEATURE(access_db): the file itself goes on, without rows that hold passwords."""
    lines: dict[bytes, int] = {}
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        key, value = [*line.split(None, 1), "", ""][:2]
        if not key or key.startswith("#") or line[:1].isspace():
            continue
        octets = key.lower().encode("utf-8", "surrogateescape")
        if octets.startswith(_PREFIX.encode()) or octets in lines:
            continue
        lines[octets] = number
        rows.append((octets, value.strip().encode("utf-8", "surrogateescape")))
        migration.row("AccessFile", key, value.strip())
    carry_logins_of_access(text, path, migration)
    for problem in access_problems.problems(iter(rows)):
        kind = migration.not_carried if problem.is_wrong else migration.told
        kind(ForeignPlace(path, lines[problem.key]), str(problem))
