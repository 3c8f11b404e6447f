"""Runs attacks of the table `gateway.bench.attacks.ATTACKS`, in a process of its own."""

import asyncio
import time
from typing import Final

import msgspec
import uvloop

from gateway.bench.attacks import ATTACKS
from gateway.bench.attacks.attack import AttackOutcome, AttackTarget
from gateway.bench.roles import orders, result
from gateway.system.open_files import raise_open_files_limit

_FILES: Final = 10_000
"""Open files: more than three times the limit of connections."""


class AttackOrder(msgspec.Struct):
    """One attack.

    Attributes:
        name: its name.
        target: the gateway.
        seconds: the attack is repeated for this time; it runs once at least.
    """

    name: str
    target: AttackTarget
    seconds: float = 0.0


class AttackResult(msgspec.Struct):
    """The attacker's observations.

    Attributes:
        seconds: duration.
        statuses: number of responses by status; 0: no response.
        faults: descriptions of the gateway's faults.
    """

    seconds: float
    statuses: dict[int, int]
    faults: list[str]


async def attack(order: AttackOrder) -> AttackResult:
    """Run the attack."""
    outcome, begun = AttackOutcome(), time.perf_counter()
    while True:
        try:
            await ATTACKS[order.name].run(order.target, outcome)
        except (OSError, EOFError, TimeoutError) as error:
            outcome.require(holds=False, fault=f"the attack was broken off: {type(error).__name__}: {error}")
        seconds = time.perf_counter() - begun
        if seconds >= order.seconds or outcome.faults:
            return AttackResult(seconds, dict(outcome.statuses), outcome.faults)
        await asyncio.sleep(0)


if __name__ == "__main__":
    raise_open_files_limit(_FILES)
    for each in orders(AttackOrder):
        result(uvloop.run(attack(each)))
