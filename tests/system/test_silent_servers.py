from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from minimta.system import processes, silent_servers
from minimta.system.silent_servers import MEMORY, SilentServers

ONE, TWO, THREE = ("10.0.3.1", 53), ("10.0.3.2", 53), ("fe80::1%lo", 53)
NOW = 1000.0


def test_who_was_silent_is_last_and_the_others_keep_their_order() -> None:
    silent = SilentServers()
    silent.note(ONE, NOW)
    assert silent.last([ONE, TWO, THREE], NOW) == [TWO, THREE, ONE]
    silent.note(TWO, NOW)
    assert silent.last([ONE, TWO, THREE], NOW) == [THREE, ONE, TWO]
    silent.note(THREE, NOW)
    assert silent.last([ONE, TWO, THREE], NOW) == [ONE, TWO, THREE]


def test_no_server_is_taken_for_another() -> None:
    servers = [(f"10.0.{number}.1", 53) for number in range(256)]
    silent = SilentServers()
    for server in servers[::2]:
        silent.note(server, NOW)
    assert silent.last(servers, NOW) == servers[1::2] + servers[::2]


def test_more_servers_than_places_do_no_harm() -> None:
    servers = [(f"10.{number // 250}.{number % 250}.1", 53) for number in range(600)]
    silent = SilentServers()
    for server in servers:
        silent.note(server, NOW)
    assert set(silent.last(servers, NOW)) == set(servers)
    assert silent.last([ONE, servers[-1]], NOW) == [ONE, servers[-1]]


def test_an_answer_makes_good() -> None:
    silent = SilentServers()
    silent.note(ONE, NOW)
    silent.forget(ONE)
    silent.forget(TWO)
    assert silent.last([ONE, TWO], NOW) == [ONE, TWO]


def test_after_a_while_a_server_is_asked_again_and_no_clock_keeps_it_behind() -> None:
    silent = SilentServers()
    silent.note(ONE, NOW)
    assert silent.last([ONE, TWO], NOW + MEMORY - 1) == [TWO, ONE]
    assert silent.last([ONE, TWO], NOW + MEMORY) == [ONE, TWO]
    assert silent.last([ONE, TWO], NOW - 1) == [ONE, TWO]


def test_what_a_child_learns_its_parent_and_other_children_know() -> None:
    silent = SilentServers()

    def learn() -> int:
        silent.note(ONE, NOW)
        return 0

    def know() -> int:
        return int(silent.last([ONE, TWO], NOW) != [TWO, ONE])

    for act in (learn, know):
        assert os.waitstatus_to_exitcode(os.waitpid(processes.fork("x", act), 0)[1]) == 0
    assert silent.last([ONE, TWO], NOW) == [TWO, ONE]


def test_the_resident_runner_has_the_memory_before_it_forks() -> None:
    script = (
        "import sys; from minimta.config.options import Options; from minimta.runner import resident\n"
        "from minimta.system.slots import Slots\n"
        "resident._load_for_children(Options(), Slots('/nonexistent', 1))\n"
        "assert 'minimta.system.silent_servers' in sys.modules\n"
    )
    home = Path(silent_servers.__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", script], cwd=home, check=True)
