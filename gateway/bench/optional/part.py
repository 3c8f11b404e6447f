"""One optional part of the gateway: pairs of measurements with it and without it."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Self

from gateway.bench.bench import Bench
from gateway.bench.child import Progress
from gateway.bench.result import Figure, Ratio, Spread
from gateway.bench.roles.load import LoadOrder
from gateway.bench.testbed import BenchEnvironment, Window, require_delivered
from gateway.bench.wire import ping_template

EFFECT_MAX_S: Final = 30.0
"""Longest wait for an effect of the part."""


class Cost(NamedTuple):
    """The CPU of a ping in microseconds: of the gateway, and of Redis."""

    gateway_us: float
    redis_us: float


class Pair(NamedTuple):
    """Two measurements beside one another in time."""

    without: Cost
    present: Cost

    @property
    def ratio(self) -> float:
        """The gateway's CPU with the part, to that without it."""
        return self.present.gateway_us / self.without.gateway_us


class Pairs(NamedTuple):
    """All pairs of a part.

    Attributes:
        name: the part.
        bar: highest ratio that the project accepts.
        pairs: the pairs.
        counts: counts of what the part did in all measurements with it, by name.
        notes: notes of the measurements.
    """

    name: str
    bar: float
    pairs: Sequence[Pair]
    counts: Counter[str]
    notes: Sequence[str]

    @property
    def spread(self) -> Spread:
        """The lowest and the highest ratio."""
        ratios = [one.ratio for one in self.pairs]
        return min(ratios), max(ratios)

    @property
    def ratio(self) -> Ratio:
        """The median of the ratios, with the lowest and the highest."""
        name, middle = (
            f"{self.name}: gateway CPU a ping, to that without",
            median(one.ratio for one in self.pairs),
        )
        return Ratio(name, middle, self.bar, at_most=True, spread=self.spread)

    def figures(self) -> Iterator[Figure]:
        """The costs as medians, with the lowest and the highest, and the counts."""
        for part, cost_of in _COSTS.items():
            yield _figure(
                f"{self.name}: {part} CPU a ping without", [cost_of(one.without) for one in self.pairs]
            )
            yield _figure(
                f"{self.name}: {part} CPU a ping with", [cost_of(one.present) for one in self.pairs]
            )
        for counted, number in self.counts.items():
            yield Figure(f"{self.name}: {counted}", number)


_COSTS: Final[dict[str, Callable[[Cost], float]]] = {
    "gateway": lambda cost: cost.gateway_us,
    "Redis": lambda cost: cost.redis_us,
}


def _figure(name: str, values: Sequence[float]) -> Figure:
    return Figure(name, median(values), "µs", (min(values), max(values)))


class Part(ABC):
    """A part, with the processes that it needs; they run while the context is open.

    Args:
        bench: the run.

    Attributes:
        name: its name.
        bar: highest ratio that the project accepts.
        factor: multiple of the pings that it is measured with, if its cost is one of time.
        rate: pings due a second; 0: as many as are answered.
        traced: whether each ping has a `traceparent` of its own while the part is present.
        counts: counts of what the part did.
    """

    name: ClassVar[str]
    bar: ClassVar[float]
    factor: ClassVar[int] = 1
    rate: ClassVar[float] = 0.0
    traced: ClassVar[bool] = False

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.counts: Counter[str] = Counter()
        self._notes: list[str] = []
        self._sent = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self.open(opening)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @abstractmethod
    def open(self, opening: ExitStack) -> None:
        """Start the processes of the part.

        Args:
            opening: stops them.
        """

    @abstractmethod
    def measure_pair(self, pings: int, order: Sequence[bool]) -> Pair:
        """Measure so many pings with the part, and as many without it.

        Args:
            pings: number of pings.
            order: whether the part is there, for the side that begins and for the other one.

        Raises:
            CannotMeasure: a ping was lost, or the part did not do its work.
        """

    def measure_pairs(self, pairs: int, pings: int) -> Pairs:
        """Measure all pairs, the second of two in the reverse order (A B B A), so that a steady drift of the machine
        adds to both sides alike.

        Args:
            pairs: number of pairs.
            pings: pings of each measurement.
        """
        found = []
        for number in range(pairs):
            self.bench.progress.begin(f"{self.name}, pair {number + 1} of {pairs}")
            order = (False, True) if number % 2 == 0 else (True, False)
            found.append(self.measure_pair(pings * self.factor, order))
        return Pairs(self.name, self.bar, found, self.counts, self._notes)

    def cost(
        self,
        stand: BenchEnvironment,
        pings: int,
        *,
        present: bool,
        finish: Callable[[], None] = lambda: None,
        on_progress: Progress | None = None,
    ) -> Cost:
        """Send the pings to a gateway and measure it until their last verdict.

        Args:
            stand: the gateway.
            pings: number of pings.
            present: whether the part is there.
            finish: called before the measurement ends, to wait for what follows the verdicts.
            on_progress: receives the progress; None: it is shown.

        Raises:
            CannotMeasure: the provider received another number of pushes.
        """
        traced = self.traced and present
        order = LoadOrder(
            stand.gateway.port,
            ping_template(traced=traced),
            pings,
            stand.plan.users,
            stand.plan.connections,
            self.rate,
            first=self._sent,
            traced=traced,
        )
        with stand.window() as window:
            stand.carry_out(order, on_progress or self.bench.progress.on_progress)
            stand.store.emptied()
            finish()
        self._sent += pings
        return self._cost_of(window, pings)

    def _cost_of(self, window: Window, pings: int) -> Cost:
        require_delivered(window.delivered, pings)
        if not self._notes and (note := window.limit_note()):  # the figures of later ones differ a little
            self._notes.append(f"{self.name}: {note}")
        return Cost(window.cpu_us("gateway", pings), window.cpu_us("redis", pings))
