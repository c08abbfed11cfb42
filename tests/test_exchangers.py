"""More than one machine, as minimta-recipes(7) has it: one of two MX hosts is killed, and no letter is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.long,
    pytest.mark.root,
    pytest.mark.namespace,
    pytest.mark.debian("dovecot-core", "dovecot-lmtpd", "iproute2"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    system = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child"]
    shell = ["sh", "-c", 'mount -t proc proc /proc; mount -t sysfs sysfs /sys; "$@"; exit $?', "sh"]
    place = tmp_path_factory.mktemp("exchangers")
    done = subprocess.run(
        [*system, *shell, sys.executable, "-m", "tests.support.exchangers", str(place)],
        capture_output=True,
        text=True,
        cwd=HOME,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    return told


def test_both_take_mail(found: dict[str, int]) -> None:
    assert found["mx1"] and found["mx2"]
    assert found["mx1"] + found["mx2"] == 16


def test_while_one_is_dead_the_other_takes_all_that_comes(found: dict[str, int]) -> None:
    assert found["waits at the sender"] == 0
    assert found["waits on mx1"] + found["waits on mx2"] == 24


def test_what_the_dead_one_had_taken_waits_on_its_disk_and_arrives_once(
    found: dict[str, int],
) -> None:
    assert found["missing while mx1 is dead"] == found["waits on mx1"] > 0
    assert found["twice"] == 0


def test_killed_while_mail_flows_it_loses_none(found: dict[str, int]) -> None:
    """What was under way in that moment may come twice; it is one delivery at a time to Dovecot."""
    assert found["arrived"] == found["sent"] == 60
    assert found["twice, of those under way"] <= 3
