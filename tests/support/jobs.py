"""Jobs for tests of the sending side."""

from __future__ import annotations

import tempfile
from typing import IO

from minimta.config.options import Options
from minimta.mailers.job import Job, JobUser

HEADER = b"Subject: c\n"
#: data files of this test's jobs, to be closed at its end
_files: list[IO[bytes]] = []


def close_all() -> None:
    """At the end of a test."""
    while _files:
        _files.pop().close()


def job(
    host: str,
    *names: str | JobUser,
    body: bytes = b"body\n",
    qid: str = "6AM9jfMc005642",
    reverse_path: bytes = b"emma@lab1.campus",
    header: bytes = HEADER,
    envid: bytes = b"",
    ret: bytes = b"",
    body_type: bytes = b"",
    size: int = -1,
    option: str | None = None,
    source: bytes = b"",
    is_own: bool = False,
) -> Job:
    """A Job with its data file, which is closed at the end of the test.

    A host in brackets is one that a mailer table names, if *option* does not say something else.
    """
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    _files.append(file)
    file.write(body)
    users = tuple(
        n if isinstance(n, JobUser) else JobUser(n.encode()) for n in names or ("x@lab2.campus",)
    )
    return Job(
        qid,
        reverse_path,
        host,
        users,
        header,
        file.fileno(),
        len(body) if size < 0 else size,
        eight_bit=not (header + body).isascii(),
        body_type=body_type,
        ret=ret,
        envid=envid,
        option=("MailerTable" if host[:1] == "[" else "") if option is None else option,
        source=source,
        is_own=is_own,
    )


def options(**values: str | int) -> Options:
    """Options of a test: nobody waits longer than a few seconds."""
    chosen = Options()
    for name in vars(chosen):
        if name.startswith("timeout_") and not name.startswith("timeout_queue"):
            setattr(chosen, name, 5)
    chosen.host_name = "lab1.campus"
    chosen.log_to = "none"
    for name, value in values.items():
        assert hasattr(chosen, name)
        setattr(chosen, name, value)
    return chosen
