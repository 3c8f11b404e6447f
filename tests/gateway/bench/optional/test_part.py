"""The order of the pairs of a part, and their ratios."""

import io
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from gateway.bench.bench import Bench, Options
from gateway.bench.optional.part import Cost, Pair, Pairs, Part
from gateway.system.progress import Progress


class Scripted(Part):
    """A part whose costs are given."""

    name = "scripted"
    bar = 1.05
    factor = 4

    def __init__(self, costs: list[float]) -> None:
        super().__init__(Bench(Options(peers=False), Progress(io.StringIO())))
        self.costs = costs
        self.measured: list[tuple[int, Sequence[bool]]] = []
        self.closed = False

    def open(self, opening: ExitStack) -> None:
        opening.callback(setattr, self, "closed", True)

    def measure_pair(self, pings: int, order: Sequence[bool]) -> Pair:
        self.measured.append((pings, order))
        self.counts["events"] += 1
        return Pair(Cost(self.costs.pop(0), 5.0), Cost(self.costs.pop(0), 5.0))


def test_the_order_of_two_pairs_is_without_with_with_without() -> None:
    with Scripted([40.0, 44.0, 40.0, 42.0, 50.0, 50.0]) as part:
        found = part.measure_pairs(3, 100)
        assert not part.closed
    assert part.closed
    assert part.measured == [(400, (False, True)), (400, (True, False)), (400, (False, True))]
    assert [pair.ratio for pair in found.pairs] == [1.1, 1.05, 1.0]
    assert found.counts == {"events": 3}


def test_the_ratio_is_the_median_of_the_pairs_with_the_lowest_and_the_highest() -> None:
    pairs = [
        Pair(Cost(40.0, 5.0), Cost(44.0, 6.0)),
        Pair(Cost(20.0, 7.0), Cost(21.0, 7.0)),
        Pair(Cost(30.0, 3.0), Cost(30.0, 9.0)),
    ]
    part = Scripted([])
    found = Pairs("webhook", 1.08, pairs, part.counts, ())
    ratio = found.ratio
    assert (ratio.name, ratio.value, ratio.spread) == (
        "webhook: gateway CPU a ping, to that without",
        pytest.approx(1.05),
        (1.0, pytest.approx(1.1)),
    )
    assert (ratio.bar, ratio.at_most, ratio.reached) == (1.08, True, True)
    part.counts["events"] = 7
    figures = {figure.name: figure for figure in found.figures()}
    without = figures["webhook: gateway CPU a ping without"]
    assert (without.value, without.unit, without.spread) == (30.0, "µs", (20.0, 40.0))
    assert figures["webhook: Redis CPU a ping with"].spread == (6.0, 9.0)
    assert figures["webhook: events"].value == 7
