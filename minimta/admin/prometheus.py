"""Metrics in Prometheus' text format 0.0.4, for the textfile collector of node_exporter.

    # HELP minimta_queue_messages Messages in the queues.
    # TYPE minimta_queue_messages gauge
    minimta_queue_messages{state="new"} 3

The file is written beside and renamed, mode 0644: the collector reads whole files only, as another user.
"""

from __future__ import annotations

import contextlib
import os

from minimta.admin.mail_status import STATES, Status


def text(found: Status) -> str:
    """All metrics; what is not known is left out."""
    parts = [
        metric(
            "queue_messages",
            "gauge",
            "Messages in the queues.",
            {f'state="{state.replace(" ", "_")}"': found.states[state] for state in STATES},
        ),
        metric("queue_oldest_seconds", "gauge", "Age of the oldest message.", {"": found.age}),
        metric("daemon_up", "gauge", "Does a daemon run?", {"": int(bool(found.daemon))}),
        metric("runner_up", "gauge", "Is a runner resident?", {"": int(found.has_runner)}),
        metric("disk_free_bytes", "gauge", "Free for the queue.", {"": found.free_octets}),
        metric("disk_free_inodes", "gauge", "Free for the queue.", {"": found.free_inodes}),
        metric("status_timestamp_seconds", "gauge", "When this was written.", {"": int(found.now)}),
    ]
    if found.refusals is not None:
        rows = {f'code="{code}"': count for code, count in sorted(found.refusals.items())}
        about = "Refusals of the last 24 hours, by reply code."
        parts.append(metric("refusals_last_day", "gauge", about, rows))
        about = "Messages done in the last 24 hours."
        parts.append(metric("done_last_day", "gauge", about, {"": found.deliveries}))
    for column, name, about in (
        ("msgsfr", "messages_received_total", "Messages that came."),
        ("msgsto", "deliveries_total", "Recipients who got one."),
        ("msgsrej", "rejections_total", "Commands of clients that were refused."),
        ("msgsdis", "discarded_total", "Messages that a rule discarded."),
    ):
        if column in found.totals:
            parts.append(metric(name, "counter", about, {"": found.totals[column]}))
    return "".join(parts)


def metric(name: str, kind: str, about: str, values: dict[str, int]) -> str:
    """One metric; *values* are by label, 'state="new"', or "" for none. Nothing if there are none."""
    rows = [
        f"minimta_{name}{{{label}}} {value}\n" if label else f"minimta_{name} {value}\n"
        for label, value in values.items()
    ]
    head = f"# HELP minimta_{name} {about}\n# TYPE minimta_{name} {kind}\n"
    return head + "".join(rows) if rows else ""


def write(path: str, metrics: str) -> None:
    """Put them in the place of the file, whole or not at all. Raise OSError."""
    new = f"{path}.{os.getpid()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # of one that was killed: in a container numbers of processes come again
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        with os.fdopen(file, "w", encoding="ascii") as stream:
            os.fchmod(stream.fileno(), 0o644)  # whatever the umask says
            stream.write(metrics)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
