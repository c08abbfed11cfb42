"""Jobs that a worker gets after it was forked are the same as before."""

from __future__ import annotations

import os
from dataclasses import replace

from minimta.mailers.job import Job, JobUser
from minimta.mailers.remote import handed_jobs
from minimta.message.deliver_by import DeliverBy
from tests.support.jobs import job

TOLD = [name for name in Job.__slots__ if name not in ("controlling", "body")]


def test_all_that_a_worker_is_told_of_a_job_arrives() -> None:
    plain = job("[127.0.0.1]")
    full = replace(
        job("lab2.campus", JobUser(b"x@lab2.campus", "NEVER", b"rfc822;x"), is_own=True),
        first_attempt=True,
        requires_tls=True,
        deliver_by=DeliverBy(60, True, False),
        created=1_800_000_000,
    )
    file = handed_jobs.written([plain, full], has_slot=False)
    jobs, slot = handed_jobs.received([file, plain.body, full.body])
    assert slot == -1
    for sent, got in zip((plain, full), jobs, strict=True):
        assert [getattr(got, name) for name in TOLD] == [getattr(sent, name) for name in TOLD]
        assert os.pread(got.body, 4, 0) == b"body"
