"""``minimta tlsrpt [DAY]``: how TLS with other hosts came out, as a report for each domain (RFC 8460).

One JSON object a line (section 4.4), of yesterday if no day is named. Nothing is sent: whom a report
is for says the TXT record ``_smtp._tls`` of its domain.
"""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import groupby

from minimta.admin.arguments import parsed
from minimta.admin.checkout import AdminError
from minimta.admin.output import say
from minimta.config import file as config_file
from minimta.mailers.remote import tls_results
from minimta.mailers.remote.tls_results import PolicyCounts
from minimta.system import hostnames, log, safefile


def run(arguments: list[str]) -> int:
    """0; 66: nothing was counted on that day.

    Raise AdminError for arguments, a configuration or a file that cannot be read.
    """
    file, day = _parse(arguments)
    try:
        options = config_file.load(file, [], safefile.why_untrusted)
        path = tls_results.beside(options.queue_directory)
        found = tls_results.counts(path, day)
        host = hostnames.own_name(options)
    except config_file.ConfigError as error:
        raise AdminError(str(error), error.exit_code) from error
    except FileNotFoundError as error:
        raise AdminError(f"nothing was counted on {day}", os.EX_NOINPUT) from error
    except OSError as error:
        where = f"{log.clean(str(error.filename))}: " if error.filename else ""
        raise AdminError(f"{where}{error.strerror or error}", os.EX_TEMPFAIL) from error
    for report in reports(found, day, host):
        say(json.dumps(report))
    return os.EX_OK


def _parse(arguments: list[str]) -> tuple[str | None, str]:
    """The configuration file, and the day. Raise AdminError."""
    parser = ArgumentParser(prog="minimta tlsrpt", exit_on_error=False)
    parser.add_argument("-C", metavar="FILE", help="configuration, instead of /etc/mail/minimta.cf")
    parser.add_argument(
        "day", nargs="?", metavar="YYYY-MM-DD", help="the day (UTC; without it yesterday)"
    )
    given = parsed(parser, arguments)
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    day = yesterday if given.day is None else given.day
    if not _is_day(day):
        raise AdminError(f"{day!r} is no day; write it as 2026-11-30", os.EX_USAGE)
    return given.C, day


def _is_day(text: str) -> bool:
    """Is it one of the calendar, in the form of the files' names? (date.fromisoformat takes others too.)"""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def reports(found: Sequence[PolicyCounts], day: str, host: str) -> Iterator[dict[str, object]]:
    """A report for each domain in *found*, of which *host* is the sender."""
    begin, end = (f"{day}T{clock}Z" for clock in ("00:00:00", "23:59:59"))
    for domain, entries in groupby(found, key=lambda entry: entry.domain):
        yield {
            "organization-name": host,
            "date-range": {"start-datetime": begin, "end-datetime": end},
            "contact-info": f"postmaster@{host}",
            "report-id": f"{begin}_{domain}",
            "policies": [_policy(entry) for entry in entries],
        }


def _policy(entry: PolicyCounts) -> dict[str, object]:
    policy: dict[str, object] = {
        "policy-type": entry.policy_type,
        "policy-domain": entry.domain,
    }
    if entry.policy:
        policy["policy-string"] = list(entry.policy)
    if hosts := [line.removeprefix("mx: ") for line in entry.policy if line.startswith("mx: ")]:
        policy["mx-host"] = hosts
    details = [
        {"result-type": result, "receiving-mx-hostname": host, "failed-session-count": number}
        for (result, host), number in sorted(entry.failures.items())
    ]
    summary = {
        "total-successful-session-count": entry.successes,
        "total-failure-session-count": sum(entry.failures.values()),
    }
    whole: dict[str, object] = {"policy": policy, "summary": summary}
    return {**whole, "failure-details": details} if details else whole
