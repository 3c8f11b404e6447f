"""Types of an attack: its name, its bounded load on a gateway, and the permitted responses."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import msgspec

NO_ANSWER = 0
"""Replaces the status if the gateway closed the connection instead of answering."""


class AttackTarget(msgspec.Struct, frozen=True):
    """The attacked gateway. It trusts `X-Forwarded-For` of its caller, so that attackers have addresses.

    Attributes:
        port: port of the HTTP API on 127.0.0.1.
        push_port: the RhoConnect Push port.
        token: a valid API token.
        ceiling: `limits.connections` of the gateway.
    """

    port: int
    push_port: int
    token: str
    ceiling: int

    def __repr__(self) -> str:
        return f"Target(port={self.port}, push_port={self.push_port}, ceiling={self.ceiling})"


class AttackOutcome:
    """The attacker's observations.

    Attributes:
        statuses: number of responses by status, including `NO_ANSWER`.
        faults: descriptions of the gateway's faults, each once.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []

    def note(self, status: int, allowed: Iterable[int], what: str) -> None:
        """Count a response; it is a fault if its status is not allowed."""
        self.statuses[status] += 1
        self.require(status in set(allowed), f"{what} was answered with {status}")

    def require(self, holds: bool, fault: str) -> None:
        """Record a fault unless the condition holds."""
        if not holds and fault not in self.faults:
            self.faults.append(fault)


class Attack(NamedTuple):
    """One kind of hostile load.

    Attributes:
        name: its name in reports.
        run: sends the load once, bounded in number and time.
    """

    name: str
    run: Callable[[AttackTarget, AttackOutcome], Awaitable[None]]
