"""Merged metrics of several workers, while they run and afterwards."""

import pytest

from gateway.telemetry.totals import Totals
from gateway.telemetry.values import Change, Definition, Merge, Numbers

C = Definition("c", "counter", "text", ("by",))
H = Definition("h", "histogram", "text", buckets=(1.0,))


def found(totals: Totals) -> dict[tuple[str, ...], Numbers]:
    return {
        (one.definition.name, *labels): value
        for one in totals.merged()
        for labels, value in one.children.items()
    }


def counts(count: float) -> list[Change]:
    return [("c", ("x",), (count,)), ("h", (), (count, count, 0.0))]


def test_counts_of_workers_are_summed_and_stay_when_one_ends() -> None:
    totals = Totals({"c": C, "h": H})
    totals.take(1, counts(3))
    totals.take(2, counts(4))
    assert found(totals) == {("c", "x"): (7,), ("h",): (7, 7, 0)}
    totals.end(1)
    assert found(totals) == {("c", "x"): (7,), ("h",): (7, 7, 0)}
    totals.take(3, counts(1))  # its successor begins at zero
    totals.take(3, counts(2))
    assert found(totals)["c", "x"] == (9,)
    totals.end(3)
    totals.end(2)
    totals.end(2)
    assert found(totals)["c", "x"] == (9,)


@pytest.mark.parametrize(
    ("merge", "states", "merged", "left"),
    [
        (Merge.SUM, [(3.0,), (4.0,)], 7, 4),
        (Merge.MAX, [(3.0,), (1.0,)], 3, 1),
        (Merge.MIN, [(3.0,), (4.0,)], 3, 4),
        (Merge.MOST_RECENT, [(3.0, 20.0), (4.0, 10.0)], 3, 4),
    ],
)
def test_a_gauge_is_merged_by_its_meaning_over_the_living(
    merge: Merge, states: list[Numbers], merged: float, left: float
) -> None:
    totals = Totals({"g": Definition("g", "gauge", "text", merge=merge)})
    for source, state in enumerate(states):
        totals.take(source, [("g", (), state)])
    assert found(totals) == {("g",): (merged,)}
    totals.end(0)
    assert found(totals) == {("g",): (left,)}
    totals.end(1)
    assert found(totals) == {}


def test_a_state_without_a_definition_is_ignored() -> None:
    totals = Totals({"c": C, "h": H})
    totals.take(
        1, [("c", ("x", "y"), (1.0,)), ("c", ("x",), (1.0, 2.0)), ("other", (), (1.0,)), ("h", (), (1.0,))]
    )
    assert found(totals) == {}
