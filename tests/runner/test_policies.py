"""After a policy has said no: what mailq says, and five days later the bounce."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimta.mailers.remote.sts_cache import StsCache
from minimta.mailers.remote.sts_policy import StsPolicy
from minimta.mailers.remote.tls_results import counts
from minimta.queue.control import Control
from minimta.routing.local_host import LocalHost
from minimta.runner.deliver import Deliverer
from minimta.system.dns import Resolver
from tests.support.fakedns import FakeDns, Zone
from tests.support.fakesmtp import FakeSmtp
from tests.support.privatehost import PrivateHost

DOMAIN, MX = "far.example", "mx.far.example"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateHost]:
    monkeypatch.setattr("minimta.mailers.remote.mx_targets.TargetFinder._is_us", lambda *_: False)
    made = PrivateHost(tmp_path, now=time.time())
    made.options.tls_policy = str(tmp_path / "tls-policy")
    yield made


def grow_old(control: Control) -> None:
    """Five days later, and tried half an hour ago."""
    control.created -= 5 * 86400 + 1800
    control.last_attempt -= 1800


def attempt(host: PrivateHost, qid: str) -> None:
    Deliverer(LocalHost(host.options), clock=host.clock).attempt([qid])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("sts", f"MTA-STS: {MX} is none of the hosts in the policy of {DOMAIN}; nothing was sent"),
        ("dane", "DANE: _25._tcp.mx.far.example: host name lookup failure; nothing was sent"),
    ],
)
def test_a_policy_that_says_no_is_told_by_mailq_and_by_the_bounce(
    host: PrivateHost, monkeypatch: pytest.MonkeyPatch, kind: str, reason: str
) -> None:
    with FakeSmtp() as server:
        zone: Zone = {
            DOMAIN: {"MX": [f"10 {MX}."]},
            MX: {"A": ["127.0.0.1"]},
            f"_{server.port}._tcp.{MX}": "SERVFAIL" if kind == "dane" else "NXDOMAIN",
        }
        reason = reason.replace("_25.", f"_{server.port}.")
        cache = StsCache(host.options.queue_directory + ".sts")
        cache.open()
        if kind == "sts":
            cache.note(DOMAIN, "1", StsPolicy("enforce", 20 * 86400, ("mx.other.example",)))
        cache.close()
        Path(host.options.mailer_table).write_text(f"{DOMAIN} esmtp:{DOMAIN}:{server.port}\n")
        with FakeDns(zone, signed=[DOMAIN]) as names:
            defaults = {**(Resolver.__init__.__kwdefaults__ or {}), "nameserver": names.address}
            monkeypatch.setattr(Resolver.__init__, "__kwdefaults__", defaults)
            qid = host.submit(b"<emma@lab1.campus>", b"<x@far.example>")
            attempt(host, qid)
            assert host.control(qid).message == f"Deferred: {reason}"
            host.rewrite(qid, grow_old)
            attempt(host, qid)
        assert server.commands == []
    assert host.queued() == []
    [bounce] = host.letters("emma")
    assert reason in " ".join(str(bounce).split())
    results = host.options.queue_directory + ".tlsrpt"
    [day] = {path.name for path in Path(results).iterdir()}
    [found] = counts(results, day)
    assert found.policy_type == {"sts": "sts", "dane": "tlsa"}[kind]
    assert sum(found.failures.values()) == 2
