"""Samples of the time series: sums of all workers, and coarser series as sums of finer ones."""

import msgspec
import pytest

from gateway.console.history import (
    OTHER,
    REASONS_MAX,
    SAMPLE_BYTES,
    SERIES,
    Sample,
    Sampler,
    added,
    joined,
    limited,
    point,
    quantile,
    totals,
)
from gateway.metrics import DELIVERY_BUCKETS_S
from gateway.telemetry.worker_report import DeliverySeconds, WorkerCounts, WorkerReport


def report(
    slot: int,
    pings: int,
    accepted: int = 0,
    *,
    at_ms: int = 1_000,
    gateway: str = "g",
    started_ms: int = 1,
    **counts: int,
) -> WorkerReport:
    return WorkerReport(
        gateway,
        slot,
        at_ms,
        started_ms=started_ms,
        counts=WorkerCounts(
            accepted={"http": pings},
            deliveries={"apns": {"accepted": accepted, "rejected": sum(counts.values())}},
            rejections=dict(counts),
            delivery_seconds={"apns": DeliverySeconds(1.0, (accepted, 0, 0))},
        ),
    )


def test_a_sample_is_the_difference_of_the_sums_of_all_workers() -> None:
    sampler = Sampler()
    assert sampler.sample([report(0, 10), report(1, 20)], 1_000, 0, 0.0) is None
    now = [report(0, 15, 3, at_ms=5_000), report(1, 40, 4, at_ms=7_000, Gone=2)]
    found = sampler.sample(now, 6_000, 7, 1.25)
    assert found == Sample(6_000, 5_000, 25, 0, 7, 2, (7, 0, 0), 7, 1.2, {"Gone": 2})


@pytest.mark.parametrize("step_ms", [700, 1_000, 5_000, 7_300])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_steady_load_gives_the_same_rate_in_every_sample(step_ms: int, workers: int) -> None:
    """Reports come every 2 s: a sample has none, two or three of each worker."""
    sampler, rates = Sampler(), set()
    for now_ms in range(step_ms, 100_000, step_ms):
        at_ms = now_ms // 2_000 * 2_000
        reports = [report(slot, at_ms // 100, at_ms=at_ms) for slot in range(workers)]
        sample = sampler.sample(reports, now_ms, 0, 0.0)
        if sample is not None:
            rates.add(point(sample)["pings"])
    assert rates == {10.0 * workers}


def test_a_worker_without_a_report_for_an_hour_is_forgotten() -> None:
    """Otherwise the counts of every worker that ever ran stay in memory."""
    sampler, hour_ms = Sampler(), 3_600_000
    sampler.sample([report(0, 0), report(1, 0)], 1_000, 0, 0.0)
    sampler.sample([report(0, 0, at_ms=hour_ms)], hour_ms, 0, 0.0)
    kept = sampler.sample(
        [report(0, 5, at_ms=hour_ms + 900), report(1, 5, at_ms=hour_ms)], hour_ms + 900, 0, 0.0
    )
    assert kept is not None
    assert kept.pings == 10
    sampler.sample([report(0, 5, at_ms=2 * hour_ms + 1)], 2 * hour_ms + 1, 0, 0.0)
    at_ms = 2 * hour_ms + 1_000
    found = sampler.sample([report(0, 6, at_ms=at_ms), report(1, 9, at_ms=at_ms)], at_ms, 0, 0.0)
    assert found is not None
    assert found.pings == 1


def test_a_worker_that_does_not_report_changes_no_rate() -> None:
    sampler = Sampler()
    sampler.sample([report(0, 0, at_ms=1), report(1, 0, at_ms=1)], 1_000, 0, 0.0)
    sample = sampler.sample([report(0, 50, at_ms=5_001), report(1, 0, at_ms=1)], 6_000, 0, 0.0)
    assert sample is not None
    assert point(sample)["pings"] == 10.0
    assert sampler.sample([report(0, 50, at_ms=5_001), report(1, 0, at_ms=1)], 7_000, 0, 0.0) is None


def test_a_new_worker_counts_from_its_first_report_and_a_restarted_one_from_zero() -> None:
    sampler = Sampler()
    sampler.sample([report(0, 1_000)], 1_000, 0, 0.0)
    found = sampler.sample([report(0, 3, started_ms=2), report(0, 500, gateway="other")], 2_000, 0, 0.0)
    assert found is not None
    assert found.pings == 3


def test_a_report_that_is_missing_for_a_moment_loses_nothing() -> None:
    sampler = Sampler()
    sampler.sample([report(0, 10)], 1_000, 0, 0.0)
    sampler.sample([], 2_000, 0, 0.0)
    found = sampler.sample([report(0, 16, at_ms=3_000)], 3_000, 0, 0.0)
    assert found is not None
    assert found.pings == 6


def test_a_clock_that_is_set_back_gives_no_sample() -> None:
    sampler = Sampler()
    sampler.sample([report(0, 10)], 5_000, 0, 0.0)
    assert sampler.sample([report(0, 20, at_ms=500)], 4_000, 0, 0.0) is None
    found = sampler.sample([report(0, 30, at_ms=2_500)], 6_000, 0, 0.0)
    assert found is not None
    assert (found.pings, found.span_ms) == (10, 2_000)


def test_joined_samples_keep_the_sums_and_the_highest_queue() -> None:
    one = Sample(1_000, 5_000, 1, 2, 3, 4, (1,), 5, 6.0, {"a": 1})
    two = Sample(6_000, 5_000, 10, 20, 30, 40, (1, 2), 4, 7.0, {"a": 2, "b": 1})
    assert joined([one, two]) == Sample(6_000, 10_000, 11, 22, 33, 44, (2, 2), 5, 7.0, {"a": 3, "b": 1})


def test_reasons_are_bounded() -> None:
    many = {f"reason {number:03}": number + 1 for number in range(100)}
    found = limited([many, {OTHER: 5}])
    assert len(found) == REASONS_MAX + 1
    assert sum(found.values()) == sum(many.values()) + 5
    assert "reason 099" in found
    long = limited([{"x" * 1_000: 1, "x" * 2_000: 1}])
    assert list(long.values()) == [2]


def test_all_series_together_have_less_than_two_megabytes() -> None:
    full = Sample(
        2**53, 2**53, *[2**53] * 4, (2**53,) * 16, 2**53, 1e15, {f"{n:060}": 2**53 for n in range(13)}
    )
    assert len(msgspec.msgpack.encode(full)) <= SAMPLE_BYTES
    assert sum(series.samples for series in SERIES) * SAMPLE_BYTES < 2_000_000


def test_the_periods_are_those_of_the_page() -> None:
    assert [series.period_ms for series in SERIES] == [300_000, 3_600_000, 86_400_000]


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ((), 0.5, None),
        ((0, 0), 0.5, None),
        ((10,), 0.5, 0.0025),
        ((0, 10), 1.0, 0.01),
        ((10, 10), 0.5, 0.005),
    ],
)
def test_a_quantile_is_interpolated(buckets: tuple[int, ...], share: float, expected: float | None) -> None:
    found = quantile(buckets, share)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_a_quantile_beyond_the_last_bucket_is_its_bound() -> None:
    assert quantile((0,) * len(DELIVERY_BUCKETS_S) + (5,), 0.99) == DELIVERY_BUCKETS_S[-1]


def test_a_point_has_rates_and_milliseconds() -> None:
    found = point(Sample(9_000, 5_000, 50, 5, 100, 10, (100,), 3, 2.0, {"a": 1}))
    assert found["pings"] == 10
    assert found["pushes"] == 20
    assert found["p50"] == 2.5
    assert point(Sample(1, 0))["p99"] is None


def test_totals_and_columns() -> None:
    assert totals(report(0, 5, 2, Gone=3)).rejected == 3
    assert added([(1, 2), (3,), ()]) == (4, 2)


def test_a_sample_of_no_time_has_rates_too() -> None:
    """Another program may have written it."""
    assert point(Sample(1_000, 0, pings=3))["pings"] == 3000.0


def test_workers_that_begin_after_a_clock_was_set_back_give_samples() -> None:
    sampler = Sampler()
    assert sampler.sample([report(0, 1, at_ms=10_000)], 10_000, 0, 0.0) is None
    assert sampler.sample([report(1, 1, at_ms=4_000)], 4_000, 0, 0.0) is None
    found = sampler.sample([report(2, 1, at_ms=5_000)], 5_000, 0, 0.0)
    assert found is not None
    assert (found.at_ms, found.span_ms) == (5_000, 1_000)
