"""`python -m tests.fuzz`: fuzz every target, print a table, end with 1 where something is wrong."""

import argparse
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fuzz.child import Outcome, table
from tests.fuzz.runner import Plan, fuzz, keep

FOLDER: Final = Path("fuzz-failures")
_HEAD: Final = f"{'target':<24}{'inputs':>9}{'refused':>9}{'slowest us/byte':>17}{'MiB':>6}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status."""
    said = _parser().parse_args(arguments)
    known = table(said.table)
    names = said.target or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such target: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    seed = random.SystemRandom().randrange(1 << 32) if said.seed is None else said.seed
    data = None if said.repeat is None else said.repeat.read_bytes()
    seconds = max(0.5, said.seconds * said.jobs / sum(known[name].weight for name in names))
    plan = Plan(said.table, seed=seed, inputs=said.inputs, seconds=seconds, jobs=said.jobs, data=data)
    print(f"seed {seed}, {len(names)} targets, {seconds:.1f} s each, {said.jobs} at a time")
    return report(fuzz(names, plan), seed, said.failures)


def report(outcomes: Sequence[Outcome], seed: int, folder: Path) -> int:
    """Print what was found; 1 where something is wrong."""
    print(_HEAD)
    for one in outcomes:
        line = f"{one.name:<24}{one.inputs:>9}{one.refused:>9}{one.slowest_us:>17.2f}{one.memory_mib:>6}"
        print(f"{line}  {'; '.join(found.kind for found in one.failures)}".rstrip())
    print(f"{'all':<24}{sum(one.inputs for one in outcomes):>9}{sum(one.refused for one in outcomes):>9}")
    wrong = [(one, kept) for one in outcomes for kept in keep(one, folder)]
    for one, (found, path) in wrong:
        print(f"\nFAILED {one.name}: {found.kind}: {found.about}")
        print(f"  repeat: {sys.executable} -m tests.fuzz --target {one.name} --repeat {path}")
        print(f"  or all: {sys.executable} -m tests.fuzz --target {one.name} --seed {seed}")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="for all targets together")
    parser.add_argument("--inputs", type=int, default=0, help="of each target; 0: as many as the time allows")
    parser.add_argument("--seed", type=int, help="of all random decisions; a fresh one without it")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="targets at a time")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--repeat", type=Path, help="a file with one input, for the target that is named")
    parser.add_argument("--table", default="tests.fuzz.targets", help="module that holds TARGETS")
    parser.add_argument("--failures", type=Path, default=FOLDER, help="folder for failing inputs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
