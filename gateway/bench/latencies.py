"""Latencies by percentile, stored in an HdrHistogram (hdrhistogram.org): three digits at every magnitude.

No value is omitted or averaged. The load generator counts from the time at which a request was due, so the values
need no correction.
"""

from collections.abc import Iterable
from typing import Final

from gateway.bench.errors import CannotMeasure
from gateway.bench.result import Line

try:
    from hdrh.histogram import HdrHistogram
except ImportError:
    HdrHistogram = None

_LONGEST_US: Final = 120_000_000
_DIGITS: Final = 3
_CURVE: Final = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999)


def require() -> None:
    """Check the required package; called before any measurement.

    Raises:
        CannotMeasure: the package `hdrhistogram` is not installed.
    """
    if HdrHistogram is None:
        raise CannotMeasure("hdrhistogram is not installed (pip install '.[bench]')")


class Latencies:
    """A set of latencies.

    Args:
        times_us: all values, in microseconds.

    Raises:
        CannotMeasure: the package `hdrhistogram` is not installed; no value was measured.
    """

    def __init__(self, times_us: Iterable[int]) -> None:
        require()
        self._histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
        for time_us in times_us:
            self._histogram.record_value(max(time_us, 1))
        self.count: int = self._histogram.get_total_count()
        if not self.count:
            raise CannotMeasure("no value was measured")

    def ms(self, percentile: float) -> float:
        """The percentile in milliseconds."""
        found: int = self._histogram.get_value_at_percentile(percentile)
        return found / 1000

    def curve(self, name: str) -> Line:
        """The percentiles as a line over 1 / (1 - percentile), as in HdrHistogram's plots.

        It ends where it would depend on a single value.
        """
        points = []
        for percentile in _CURVE:
            one_in = 100 / (100 - percentile)
            if one_in <= self.count:
                points.append((one_in, self.ms(percentile)))
        return Line(name, tuple(points))
