"""Percentiles of latencies."""

import pytest

from gateway.bench.errors import CannotMeasure
from gateway.bench.latencies import Latencies


def test_percentiles_are_those_of_the_values_to_three_digits() -> None:
    latencies = Latencies(range(1, 100_001))
    assert latencies.ms(50) == pytest.approx(50.0, rel=0.001)
    assert latencies.ms(99) == pytest.approx(99.0, rel=0.001)
    assert latencies.ms(100) == pytest.approx(100.0, rel=0.001)


def test_one_slow_answer_in_a_thousand_is_not_lost() -> None:
    latencies = Latencies([1_000] * 999 + [2_000_000])
    assert latencies.ms(99) == pytest.approx(1.0, rel=0.001)
    assert latencies.ms(99.95) == pytest.approx(2_000.0, rel=0.001)


def test_the_curve_ends_where_it_depends_on_one_value() -> None:
    line = Latencies([1_000] * 200).curve("idle")
    assert [one_in for one_in, _ in line.points][-1] == pytest.approx(200)
    assert all(ms == pytest.approx(1.0, rel=0.001) for _, ms in line.points)


def test_without_values_there_is_an_error() -> None:
    with pytest.raises(CannotMeasure, match="no value was measured"):
        Latencies([])
