"""Pings under load, with an exact record of accepted pings and received pushes."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import aiohttp

from gateway.simulators import SimulatedRecord
from tests.support.gateway import TOKEN, Gateway

_PATIENCE_S = 60.0


class Delivery(NamedTuple):
    """One push as a device receives it: the ping's text, which no other ping has, and the device."""

    alert: str
    token: str


class Deliveries:
    """Counts every push that a simulated provider accepted. `note` is the simulators' `on_push`."""

    def __init__(self) -> None:
        self.counts: Counter[Delivery] = Counter()
        self.times: list[float] = []
        self.times_of: dict[str, list[float]] = {"apns": [], "fcm": []}
        self.begun: list[tuple[Delivery, float]] = []
        """Every accepted push with the epoch seconds at which its request arrived."""
        self.refused = 0
        self._changed = asyncio.Event()

    def note(self, record: SimulatedRecord) -> None:
        if record.accepted:
            delivery = Delivery(record.summary.alert or "", record.token)
            self.counts[delivery] += 1
            self.begun.append((delivery, record.at_s))
            self.times.append(record.at_s)
            self.times_of[_provider(record.token)].append(record.at_s)
            self._changed.set()
        else:
            self.refused += 1

    async def has(self, expected: Iterable[Delivery]) -> None:
        """Wait until all of these arrived; AssertionError with the number of missing ones."""
        missing = set(expected)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while missing := {one for one in missing if one not in self.counts}:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{len(missing)} deliveries are missing, such as {missing.pop()}") from None

    async def reach(self, total: int) -> None:
        """Wait until `total` pushes were accepted, including repetitions."""
        async with asyncio.timeout(_PATIENCE_S):
            while len(self.times) < total:
                self._changed.clear()
                await self._changed.wait()

    @property
    def repeats(self) -> int:
        """Number of pushes beyond the first of each delivery."""
        return sum(self.counts.values()) - len(self.counts)

    def repeats_of(self, provider: str) -> int:
        """Number of repeated pushes of one provider."""
        return sum(
            count - 1 for delivery, count in self.counts.items() if _provider(delivery.token) == provider
        )

    def accepted_by(self) -> dict[str, int]:
        """How many pushes each provider accepted so far."""
        return {provider: len(times) for provider, times in self.times_of.items()}

    def busiest(self, window_s: float, provider: str | None = None) -> int:
        """The most pushes in any period of this length, at one provider or at both."""
        times = sorted(self.times if provider is None else self.times_of[provider])
        most = first = 0
        for last, moment in enumerate(times):
            while times[first] < moment - window_s:
                first += 1
            most = max(most, last - first + 1)
        return most


def _provider(token: str) -> str:
    """Whose token it is: those of the tests' Android phones are no hexadecimal numbers."""
    return "fcm" if token.startswith("registration-") else "apns"


class Promise(NamedTuple):
    """A ping that was answered with 200."""

    ping_id: str
    alert: str
    users: tuple[str, ...]


class Senders:
    """Callers that send one ping after the other, until stopped, whatever the state of the gateway."""

    def __init__(
        self,
        gateway: Gateway,
        choose: Callable[[int], Sequence[str]],
        callers: int,
        pause_s: float,
        name: str = "ping",
    ) -> None:
        self._gateway = gateway
        self._name = name
        self._choose = choose
        self._callers = callers
        self._pause_s = pause_s
        self._numbers = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []
        self.promises: list[Promise] = []
        self.broken = 0
        """Requests without a response: their pings were not confirmed, but may be delivered."""
        self.others: Counter[int] = Counter()
        """Responses other than 200, by status."""

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._send()) for _ in range(self._callers)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        headers = {"X-RhoConnect-API-TOKEN": TOKEN, "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                try:
                    await self._ping(session)
                except aiohttp.ClientError:
                    self.broken += 1
                    await asyncio.sleep(0.05)

    async def _ping(self, session: aiohttp.ClientSession) -> None:
        number = next(self._numbers)
        users = tuple(self._choose(number))
        alert = f"{self._name} {number}"
        body = json.dumps({"user_id": list(users), "message": alert})
        async with session.post(f"{self._gateway.url}/rc/v1/users/ping", data=body) as answer:
            if answer.status == 200:
                self.promises.append(Promise(answer.headers["X-Ping-Id"], alert, users))
            else:
                self.others[answer.status] += 1
                await asyncio.sleep(0.02)
        await asyncio.sleep(self._pause_s)
