"""The harness detects each kind of fault, reports its input, and repeats it."""

import hashlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.child import Outcome, table
from tests.fuzz.judge import RSS_SLACK_BYTES, Judge, measured_slowness, memory
from tests.fuzz.mutation import inputs
from tests.fuzz.runner import ROOT, Plan, fuzz
from tests.fuzz.target import Target, plain

PLAN = Plan("tests.fuzz.faulty", seed=1, inputs=30, seconds=60.0, hang_cpu_s=6.0)
PLANS = {"hang": PLAN._replace(hang_cpu_s=1.0), "square": PLAN._replace(inputs=5)}
"""For the target whose only slow step is the one that hangs, and for the one that is slow for each long input."""
KINDS = {
    "crash": "crash",
    "hang": "hang",
    "leak": "leak",
    "foreign": "exception",
    "square": "slow",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    found = fuzz([name for name in table(PLAN.table) if name not in PLANS], PLAN)
    for name, plan in PLANS.items():
        found += fuzz([name], plan)
    return {outcome.name: outcome for outcome in found}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_fault_is_seen_with_its_input(outcomes: dict[str, Outcome], name: str, kind: str) -> None:
    (found,) = outcomes[name].failures
    assert found.kind == kind
    if name in ("crash", "hang", "foreign"):
        assert b"!" in bytes.fromhex(found.data)
    if name == "crash":
        assert "SIGSEGV" in found.about


def test_a_sound_target_stays_green_and_its_errors_are_counted(outcomes: dict[str, Outcome]) -> None:
    sound = outcomes["sound"]
    assert (sound.failures, sound.inputs) == ([], PLAN.inputs)
    assert 0 < sound.refused < sound.inputs


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_kept_input_fails_again(outcomes: dict[str, Outcome], name: str) -> None:
    data = bytes.fromhex(outcomes[name].failures[0].data)
    (again,) = fuzz([name], PLANS.get(name, PLAN)._replace(data=data))
    assert [found.kind for found in again.failures] == [KINDS[name]]


def test_memory_that_grows_is_seen() -> None:
    assert memory(100 << 20, (100 << 20) + RSS_SLACK_BYTES, b"") is None
    found = memory(100 << 20, (100 << 20) + RSS_SLACK_BYTES + 1, b"x")
    assert found is not None
    assert found.kind == "memory"
    assert memory(0, 1 << 40, b"") is None, "where it cannot be read, nothing is said"


def test_the_command_prints_how_to_repeat_and_ends_with_1(tmp_path: Path, capsys: Any) -> None:
    words = ["--table", PLAN.table, "--inputs", "10", "--failures", str(tmp_path), "--jobs", "1"]
    assert main([*words, "--target", "foreign", "--seed", "5"]) == 1
    said = capsys.readouterr().out
    (kept,) = tmp_path.iterdir()
    assert "FAILED foreign: exception: KeyError at faulty.py" in said
    assert f"--target foreign --repeat {kept}" in said
    assert "--seed 5" in said
    assert main([*words, "--target", "foreign", "--repeat", str(kept)]) == 1
    assert main([*words, "--target", "sound", "--repeat", str(kept)]) == 0
    assert main([*words, "--target", "nonsense"]) == 2


def test_the_same_seed_gives_the_same_outcome() -> None:
    plan = PLAN._replace(inputs=200)
    first, second = (fuzz(["sound"], plan._replace(seed=9)) for _ in range(2))
    other = fuzz(["sound"], plan._replace(seed=10))
    assert first[0].refused == second[0].refused
    assert first[0].refused != other[0].refused


def digests(seed: int) -> list[str]:
    """The name of each target and a digest of its first inputs."""
    found = []
    for name, target in table("tests.fuzz.targets").items():
        made = itertools.islice(inputs(target, seed), len(target.seeds) + 30)
        found.append(f"{name} {hashlib.sha256(repr(list(made)).encode()).hexdigest()}")
    return found


def test_the_seed_alone_decides_the_inputs_of_every_target_in_every_process() -> None:
    """The other process has the texts of a set in another order."""
    other_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    said = subprocess.run(
        (sys.executable, "-c", "from tests.fuzz.test_harness import digests; print(*digests(1), sep='\\n')"),
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": other_seed},
        capture_output=True,
        check=True,
        text=True,
    )
    here = digests(1)
    assert len(here) == len(table("tests.fuzz.targets"))
    assert said.stdout.splitlines() == here


def _within(share: float) -> Target:
    """A step that uses this share of the CPU time that it may use."""
    limit_s = 0.05

    def step(_data: bytes) -> None:
        until_s = time.thread_time() + limit_s * share
        while time.thread_time() < until_s:
            pass

    return Target("within", plain(step), (b"x",), base_s=limit_s, byte_s=0.0)


@pytest.mark.parametrize(
    ("share", "slowness", "kind"), [(3.0, 1.0, "slow"), (3.0, 4.0, None), (0.2, 1.0, None)]
)
def test_cpu_time_is_judged_by_the_speed_of_the_machine(
    share: float, slowness: float, kind: str | None
) -> None:
    target = _within(share)
    with target.open() as step:
        failure = Judge(target, step, lambda: slowness).run(b"x")
    assert (None if failure is None else failure.kind) == kind


def test_the_speed_of_the_machine_never_makes_a_limit_tighter() -> None:
    assert measured_slowness() >= 1.0
