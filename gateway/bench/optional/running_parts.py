"""Parts that the callers and neighbours of a running gateway switch on and off.

One gateway is measured with and without them in turn, so that both sides have the same process.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import ClassVar, Final

from gateway.bench.bench import Bench
from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.optional.part import EFFECT_MAX_S, Cost, Pair, Part
from gateway.bench.roles.console_pages import PagesOrder, PagesResult
from gateway.bench.roles.sync_writer import SyncOrder
from gateway.bench.testbed import BenchEnvironment
from gateway.bench.wire import CALLER_KEY

PAGES: Final = 3
"""Live pages of the console."""
SYNC_SHARE: Final = 0.3
"""Share of the devices that sync within `SYNC_S`."""
SYNC_S: Final = 10.0
SYNC_AFTER_S: Final = 1.0
"""Twice the time after which a worker writes an effect."""
_EFFECTS: Final = "rhopush_sync_after_ping_seconds_count{"
_POLL_S: Final = 0.1


class RunningPart(Part):
    """A part of a running gateway.

    Args:
        bench: the run.
        stand: the gateway, which is warm.
    """

    def __init__(self, bench: Bench, stand: BenchEnvironment) -> None:
        super().__init__(bench)
        self.stand = stand

    def open(self, opening: ExitStack) -> None:
        """Start the processes of the part; by default, there are none."""

    def measure_pair(self, pings: int, order: Sequence[bool]) -> Pair:
        """Measure the running gateway twice, one time after the other."""
        costs = {present: self.measure(pings, present=present) for present in order}
        return Pair(costs[False], costs[True])

    def measure(self, pings: int, *, present: bool) -> Cost:
        """Measure the running gateway.

        Args:
            pings: number of pings.
            present: whether the part is there.

        Raises:
            CannotMeasure: as `measure_pair`.
        """
        return self.cost(self.stand, pings, present=present)


class ConsoleAndScrapes(RunningPart):
    """Live overviews of the console, and one scrape of the metrics a second. Both cost time, not pings: they are
    measured over four times as many pings as the other parts, some seconds at full rate."""

    name: ClassVar[str] = "3 live consoles, a scrape a second"
    bar: ClassVar[float] = 1.05
    factor: ClassVar[int] = 4

    def open(self, opening: ExitStack) -> None:
        """Start the process of the pages."""
        self._browser = opening.enter_context(Child("console_pages", self.stand.folder))

    def measure(self, pings: int, *, present: bool) -> Cost:
        """Measure, with open pages if the part is there."""
        if not present:
            return self.cost(self.stand, pings, present=False)
        with self._pages():
            return self.cost(self.stand, pings, present=True)

    @contextmanager
    def _pages(self) -> Iterator[None]:
        """Open the pages; on leaving, close them.

        Raises:
            CannotMeasure: a page did not stay open, or the metrics were not scraped.
        """
        order = PagesOrder(self.stand.gateway.port, CALLER_KEY, PAGES)
        self._browser.request(order, PagesResult)
        yield
        order.pages = 0
        done = self._browser.request(order, PagesResult)
        if done.open != PAGES or not done.scrapes:
            raise CannotMeasure(
                f"{self.name}: {done.open} pages were open, and {done.scrapes} scrapes succeeded"
            )
        self.counts["pages open"] = done.open
        self.counts["states shown"] += done.states
        self.counts["scrapes"] += done.scrapes


class Syncs(RunningPart):
    """Devices that sync after the pings with sources that they got. Pings and syncs come side by side at fixed rates,
    so that the pings find the devices that have synced changed; without the syncs, the pings come at the same rate."""

    name: ClassVar[str] = "effects of syncs, 30 % of the devices in 10 s"
    bar: ClassVar[float] = 1.03
    rate: ClassVar[float] = 2_000.0

    def open(self, opening: ExitStack) -> None:
        """Start the writer of the syncs."""
        self._writer = opening.enter_context(Child("sync_writer", self.stand.folder))
        self._synced = 0

    def measure(self, pings: int, *, present: bool) -> Cost:
        """Measure, with the writer if the part is there."""
        if not present:
            return self.cost(self.stand, pings, present=False, finish=lambda: time.sleep(SYNC_AFTER_S))
        users = self.stand.plan.users
        rate = users * SYNC_SHARE / SYNC_S
        count = max(1, round(rate * pings / self.rate))
        before = self._effects()
        self._writer.send(SyncOrder(self.stand.store.address, users, self._synced, count, rate))
        found = self.cost(self.stand, pings, present=True, finish=self._written)
        self._synced += count
        self.counts["syncs"] += count
        self.counts["effects"] += self._effects_of(count, before)
        return found

    def _written(self) -> None:
        """Wait for the last sync, and for its effect."""
        self._writer.receive(int)
        time.sleep(SYNC_AFTER_S)

    def _effects_of(self, syncs: int, before: float) -> int:
        """The number of effects that the gateway counted since; at least one for each sync, within a limited time.

        Raises:
            CannotMeasure: it counted none.
        """
        until = time.monotonic() + EFFECT_MAX_S
        while (found := self._effects() - before) < syncs and time.monotonic() < until:
            time.sleep(_POLL_S)
        if not found:
            raise CannotMeasure(f"{self.name}: the gateway counted no effect of {syncs} syncs")
        return int(found)

    def _effects(self) -> float:
        """The effects that the gateway has counted since its start."""
        _, text = self.stand.gateway.get("/metrics", EFFECT_MAX_S)
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(_EFFECTS))


class Traceparents(RunningPart):
    """A `traceparent` of its own in each request, for a gateway that does not trace."""

    name: ClassVar[str] = "tracing off, a traceparent in each request"
    bar: ClassVar[float] = 1.01
    traced: ClassVar[bool] = True
