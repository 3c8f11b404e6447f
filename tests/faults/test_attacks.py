"""Attacks A1 to A6, with bounded load, against a real gateway: the table that `rhopush bench attacks` measures.

| | attack |
| --- | --- |
| A1 | numbers beyond any machine word |
| A2 | bodies that are expensive to parse |
| A3 | bodies, connections and responses that fill memory |
| A4 | floods of invented tokens and sessions |
| A5 | floods of wrong logins |
| A6 | sessions that access other people's devices |

During each attack a process of its own sends pings with a valid token, and each is answered with 200; so is
`/healthz`. Afterwards supervisor and workers are the same processes, no worker ever held 400 MB, and no response to
the attacker was a fault. `rhopush bench attacks` measures the latency of the pings, which is not asserted here, and
sends longer floods.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.bench.attacks import ATTACKS
from gateway.bench.child import Child
from gateway.bench.scenarios.attacks import CONNECTIONS, ENVIRON, MEMORY_MB, under_attack
from gateway.bench.testbed import BenchEnvironment, EnvironmentOptions
from tests.support.prepared import bench_forked

PING_USERS = 50
ATTACKER = """
import runpy
from gateway.bench.attacks import devices, logins, tokens
tokens._FLOOD = 3_000
logins._JUDGED = 25
devices._DEVICES = 1_200  # more than the thousand that one session may register
runpy.run_module("gateway.bench.roles.attacker", run_name="__main__")
"""
"""The attacker, whose floods are as long as it takes to reach each limit of the gateway."""
ON_TWO_WORKERS = [
    "A4: invented tokens in headers",
    "A5: 1,000 logins with invented names",
]


@contextmanager
def arena(workers: int) -> Iterator[tuple[BenchEnvironment, Child]]:
    """A gateway with all its surroundings, and the attacker."""
    plan = EnvironmentOptions(PING_USERS, workers, connections=CONNECTIONS, environ=ENVIRON)
    with (
        bench_forked(),
        BenchEnvironment(plan) as stand,
        Child("attacker", stand.folder, program(stand.folder)) as attacker,
    ):
        yield stand, attacker


def program(folder: Path) -> Path:
    """Write the attacker's program."""
    made = folder / "attacker"
    made.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, '-c', ATTACKER])}\n")
    made.chmod(0o700)
    return made


@pytest.fixture(scope="module")
def one_worker() -> Iterator[tuple[BenchEnvironment, Child]]:
    with arena(1) as arena_of_one:
        yield arena_of_one


@pytest.fixture(scope="module")
def two_workers() -> Iterator[tuple[BenchEnvironment, Child]]:
    with arena(2) as arena_of_two:
        yield arena_of_two


def assert_withstands(stand: BenchEnvironment, attacker: Child, name: str) -> None:
    """Attack the gateway, and assert all that the docstring of this module states."""
    attacked = under_attack(stand, attacker, name)
    assert attacked.faults == [], attacked.result.statuses
    assert attacked.result.statuses, "the attack received no response at all"
    assert attacked.latencies_us, "no good ping was sent"
    assert attacked.peak_bytes < MEMORY_MB * 1_000_000


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", ATTACKS)
def test_good_pings_are_answered_during_an_attack(
    one_worker: tuple[BenchEnvironment, Child], name: str
) -> None:
    assert_withstands(*one_worker, name)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", ON_TWO_WORKERS)
def test_two_workers_answer_good_pings_during_an_attack(
    two_workers: tuple[BenchEnvironment, Child], name: str
) -> None:
    assert_withstands(*two_workers, name)
