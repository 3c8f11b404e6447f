"""The definition of an attack: a name, bounded load on a gateway, and the answers that this load may get."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import msgspec

NO_ANSWER = 0
"""Stands for a status when the gateway closed the connection without an answer."""


class AttackTarget(msgspec.Struct, frozen=True):
    """The gateway that is attacked. It believes `X-Forwarded-For` of its caller, so that attackers have addresses.

    Attributes:
        port: of the HTTP API on 127.0.0.1.
        push_port: of the RhoConnect Push port.
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
    """The observations of an attacker.

    Attributes:
        statuses: number of answers by status, `NO_ANSWER` among them.
        faults: each observation that is a fault of the gateway, in words, once.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []

    def note(self, status: int, allowed: Iterable[int], what: str) -> None:
        """Count an answer; it is a fault if its status is not allowed."""
        self.statuses[status] += 1
        self.require(status in set(allowed), f"{what} was answered with {status}")

    def require(self, holds: bool, fault: str) -> None:
        """Note a fault unless this holds."""
        if not holds and fault not in self.faults:
            self.faults.append(fault)


class Attack(NamedTuple):
    """One kind of hostile load.

    Attributes:
        name: of the attack, in reports.
        run: sends the load once, bounded in count and time.
    """

    name: str
    run: Callable[[AttackTarget, AttackOutcome], Awaitable[None]]
