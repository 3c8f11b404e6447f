"""Counters, gauges and histograms in the memory of one process.

An update assigns an attribute, without a lock or a file. All updates and `MetricRegistry.changes` must run on the
thread of the event loop. Reading from another thread is allowed and may miss the newest update.
"""

import enum
import time
from bisect import bisect_left
from collections import Counter as Multiset
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, Self

Labels = tuple[str, ...]
Numbers = tuple[float, ...]
"""The state of one child: a counter's or gauge's value; for a gauge with the merge `most recent`, value and time; a
histogram's sum, then the count of each bucket."""

Change = tuple[str, Labels, Numbers]
"""A metric's name, a child's label values, and the child's state."""

MetricKind = Literal["counter", "gauge", "histogram"]


class Merge(enum.Enum):
    """How the values of one gauge in several live workers become one value."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    MOST_RECENT = "most recent"


class Definition(NamedTuple):
    """Definition of a metric.

    Attributes:
        name: full name; a counter's without `_total`.
        kind: counter, gauge or histogram.
        text: help text.
        label_names: names of its labels, in order.
        merge: for a gauge; counters and histograms are always summed.
        buckets: upper bounds of a histogram's buckets, ascending, without +Inf.
    """

    name: str
    kind: MetricKind
    text: str
    label_names: tuple[str, ...] = ()
    merge: Merge = Merge.SUM
    buckets: tuple[float, ...] = ()

    @property
    def length(self) -> int:
        """Number of values in the state of a child."""
        if self.kind == "histogram":
            return len(self.buckets) + 2
        return 2 if self.kind == "gauge" and self.merge is Merge.MOST_RECENT else 1


class Value:
    """A metric, or the child of one: `labels` returns the child of some label values.

    Attributes:
        definition: definition of the metric.
        children: by label values.
        reported: the state that `MetricRegistry.changes` returned last; None: none yet.
    """

    __slots__ = ("children", "definition", "reported")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.children: dict[Labels, Self] = {}
        self.reported: Numbers | None = None

    def labels(self, *values: str) -> Self:
        """The child of these label values, in the order of the label names.

        Raises:
            ValueError: there are more or fewer values than label names.
        """
        values = tuple(map(_encodable, values))
        child = self.children.get(values)
        if child is None:
            if len(values) != len(self.definition.label_names):
                raise ValueError(f"{self.definition.name} has the labels {self.definition.label_names}")
            child = self.children[values] = type(self)(self.definition)
        return child

    def numbers(self) -> Numbers:
        """The state of this child."""
        raise NotImplementedError


def _encodable(text: str) -> str:
    """A label value without lone surrogates, which no encoding of the text formats can carry."""
    return text.encode("utf-8", "replace").decode()


class Counter(Value):
    """A count that only grows."""

    __slots__ = ("value",)

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which is not negative."""
        self.value += amount

    def advance(self, total: float) -> None:
        """Set the counter to a total that is counted elsewhere in this process."""
        self.value = max(self.value, total)

    def numbers(self) -> Numbers:
        """The state: the count."""
        return (self.value,)


class Gauge(Value):
    """A value that may fall."""

    __slots__ = ("_set_at_s", "_timed", "value")

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.value: float = 0
        self._timed = definition.merge is Merge.MOST_RECENT
        self._set_at_s = 0.0

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value
        if self._timed:  # monotonic, so that a corrected wall clock has no effect; all processes share it
            self._set_at_s = time.monotonic()

    def numbers(self) -> Numbers:
        """The state: the value, and its time for the merge `most recent`."""
        return (self.value, self._set_at_s) if self._timed else (self.value,)


class Histogram(Value):
    """Distribution of durations over buckets, and their sum, in seconds."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._bounds: Final = definition.buckets
        self.counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def observe_times(self, seconds: float, times: int) -> None:
        """Count one duration that applies to several events."""
        self.counts[bisect_left(self._bounds, seconds)] += times
        self.total += seconds * times

    def observe_many(self, seconds: Iterable[float]) -> None:
        """Count several durations."""
        # Deliveries of one batch waited together: a thousand durations have few different values.
        for value, number in Multiset(seconds).items():
            self.counts[bisect_left(self._bounds, value)] += number
            self.total += value * number

    def numbers(self) -> Numbers:
        """The state: the sum, then the count of each bucket, the last being that of +Inf."""
        return (self.total, *self.counts)


class MetricRegistry:
    """All metrics of one process."""

    def __init__(self) -> None:
        self._metrics: list[Value] = []

    def add(self, metric: Value) -> None:
        """Register `metric` and its children for the reports."""
        self._metrics.append(metric)

    @property
    def definitions(self) -> Mapping[str, Definition]:
        """Every metric, by its name."""
        return {metric.definition.name: metric.definition for metric in self._metrics}

    def states(self) -> Iterator[Change]:
        """The state of every child. Callable from any thread."""
        for metric, labels, child in self._walk():
            yield metric.definition.name, labels, child.numbers()

    def changes(self) -> Iterator[Change | None]:
        """The complete state of each child that changed since the last call; a repeated state is harmless.

        Yields None for an unchanged child, so that a caller that iterates over thousands of children can pause in
        between.
        """
        for metric, labels, child in self._walk():
            numbers = child.numbers()
            if numbers == child.reported:
                yield None
            else:
                child.reported = numbers
                yield metric.definition.name, labels, numbers

    def _walk(self) -> Iterator[tuple[Value, Labels, Value]]:
        for metric in self._metrics:
            if metric.definition.label_names:
                for labels, child in tuple(metric.children.items()):
                    yield metric, labels, child
            else:
                yield metric, (), metric
